"""The hostile programs: what each is given, and what must come of it.

A case is one or more runs.  A run is one submission: a program of tests/hostile/programs, the language it is in (by its
ending, unless said), the inputs of its tests, and the verdicts that each test, or the build, may have.  A verdict
alone proves little where a program is refused something; such programs print "held", and only when every attempt
of theirs failed (hostile.h), and `says` demands that line.  The numbers are those of the project's catalogue of hostile
programs.  H48 and H49 are archives: projects whose test command is satisfied by nested.zip.
"""

import dataclasses

MIB = 1 << 20
ENDINGS = {"c": "c", "cpp": "cpp", "py": "python", "java": "java", "go": "go", "sh": "hostile-build"}


@dataclasses.dataclass
class Run:
    program: str
    verdicts: str                 # of each test; of the submission when it is BF
    tests: tuple = ("",)          # inputs; a pair is an input and its expected output
    expect: str = "held\n"
    says: str = ""                # "held": stdout is exactly that (and may end otherwise than with exit code 0)
    language: str = ""
    limits: dict = dataclasses.field(default_factory=dict)
    files: dict = dataclasses.field(default_factory=dict)
    words: dict = dataclasses.field(default_factory=dict)  # @WORD@ in the program, beside those that run.py knows
    compare: str = "exact"
    checker: dict = dataclasses.field(default_factory=dict)  # of the problem; its source is one of the programs
    check: str = ""               # a function of checks.py: (context, submission, result)
    beside: tuple = ()            # runs that are submitted a moment before and live at the same time
    tasks: int = 0                # most processes of this run at any time


@dataclasses.dataclass
class Archive:
    make: str                     # a function of archives.py
    word: str                     # assay-unpack's for it, of several any; "": it is harmless


@dataclasses.dataclass
class Case:
    id: str
    name: str
    runs: tuple


def variants(program, words, verdicts, **more):
    return tuple(Run(program, verdicts, words={"VARIANT": w}, **more) for w in words)


QUICK = {"time_limit_ms": 400, "wall_limit_ms": 800}
ROOMY = {"time_limit_ms": 4000, "wall_limit_ms": 8000}
SMALL = {"memory_limit_bytes": 4 * MIB, **ROOMY}
NASTY = "\x1b]0;owned\x07\x1b[2J\x1b[31mred \u009b31m <script>alert(1)</script> \u2028 \u202e \"},{\"verdict\":\"OK\"} \\u0000 \U0001f600"
ELF = "\x7fELF\x02\x01\x01" + "\0" * 9 + "\x02\0>\0\x01\0\0\0"
SIGNALS = tuple(n for n in range(1, 65) if n not in (17, 18, 19, 20, 21, 22, 23, 28, 32, 33))  # those that end a program
IGNORED = (17, 18, 20, 21, 22, 23, 28)
HARMLESS = {n: "hijacked" for n in ("libc.so.6", "sitecustomize.py", "usercustomize.py", "ld.so.preload", "pyvenv.cfg", "gcc", "python3")}
HARMLESS["sitecustomize.py"] = HARMLESS["usercustomize.py"] = "import sys\nsys.hijacked = 1\n"
HARMLESS["pyvenv.cfg"] = "home = /box\n"

TALK = {"time_limit_ms": 400, "wall_limit_ms": 1200}
INTERACTOR = {"kind": "validator", "language": "python", "source": "h71_interactor.py", "interactive": True, "time_limit_ms": 1000}
CHECKER = {"kind": "validator", "language": "python", "source": "h72_checker.py", "time_limit_ms": 400, "memory_limit_bytes": 64 * MIB}

CASES = (
    Case("H01", "fork bomb", (Run("h01_fork_bomb.c", "TL RE ML", limits=QUICK, tasks=64),)),
    Case("H02", "fork and setsid bomb", (Run("h02_fork_setsid_bomb.c", "TL RE ML", limits=QUICK, tasks=64),)),
    Case("H03", "orphan daemons", (Run("h03_orphan_daemon.c", "OK", expect="42\n", limits={**ROOMY, "process_limit": 128}, tasks=128),
                                   Run("h03_orphan_daemon.c", "WA", expect="43\n", limits={**ROOMY, "process_limit": 128}))),
    Case("H04", "CPU time in grandchildren", (Run("h04_cpu_in_grandchildren.c", "TL", limits={"time_limit_ms": 400, "wall_limit_ms": 15000}, check="cpu_was_counted"),)),
    Case("H05", "a child sleeps", (Run("h05_child_sleeps.c", "TL", limits=QUICK),)),
    Case("H06", "thread bomb", (Run("h06_thread_bomb.c", "RE TL", limits=ROOMY, tasks=64, check="threads_were_counted"),)),
    Case("H07", "sleep", (Run("h07_sleep.py", "TL", limits=QUICK),)),
    Case("H08", "block forever", (Run("h08_block_forever.c", "TL", ("pause", "select", "read"), limits=QUICK),)),
    Case("H09", "stops itself", (Run("h09_self_stop.c", "TL", limits=QUICK),)),
    Case("H10", "stops the judge", (Run("h10_stop_the_judge.c", "TL", limits=QUICK),)),
    Case("H11", "kills the judge", (Run("h11_kill_the_judge.c", "RE", limits=ROOMY),)),
    Case("H12", "ignores signals", (Run("h12_ignore_signals.c", "TL", limits=QUICK),)),
    Case("H13", "clock-read stall", (Run("h13_clock_stall.cpp", "TL", limits=QUICK),)),
    Case("H14", "heap bomb", (Run("h14_heap_bomb.c", "ML RE", limits=ROOMY), Run("h14_heap_bomb.java", "ML RE", limits=ROOMY))),
    Case("H15", "bss bomb", (Run("h15_bss_bomb.c", "ML RE", limits=ROOMY),)),
    Case("H16", "memory in children", (Run("h16_memory_in_children.c", "ML", limits={**ROOMY, "memory_limit_bytes": 64 * MIB}),)),
    Case("H17", "tmpfs bomb", (Run("h17_tmpfs_bomb.c", "RE ML", ("/tmp", "/dev/shm", "/box", "."), limits=ROOMY),
                               Run("h17_tmpfs_bomb.c", "RE ML", ("/tmp",), limits={**ROOMY, "memory_limit_bytes": 32 * MIB}))),
    Case("H18", "memory that is nobody's", (Run("h18_shared_memory_bomb.c", "ML RE", ("memfd", "shared", "sysv"), limits=ROOMY),)),
    Case("H19", "pipe and socket bomb", (Run("h19_pipe_bomb.c", "RE ML", ("pipes", "sockets"), limits=ROOMY),)),
    Case("H20", "descriptor bomb", (Run("h20_fd_bomb.c", "RE", limits=ROOMY, check="descriptors_were_bounded"),)),
    Case("H21", "stack overflow", (Run("h21_stack_overflow.c", "RE", ("deep", "big"), limits=ROOMY, check="segmentation_fault"),)),
    Case("H22", "hardly any memory", tuple(Run(f"h22_small.{e}", "ML RE", limits=SMALL, check="fault_is_theirs")
                                           for e in ("c", "py", "java", "go"))),
    Case("H23", "stdout flood", (Run("h23_stdout_flood.c", "OL", limits=ROOMY, check="output_was_capped"),)),
    Case("H24", "stderr flood", (Run("h24_stderr_flood.cpp", "TL OL", limits=QUICK, check="output_was_capped"),)),
    Case("H25", "right, then a flood", (Run("h25_correct_then_flood.c", "OL", limits=ROOMY, compare="tokens", check="output_was_capped"),)),
    Case("H26", "slow output", (Run("h26_slow_output.py", "TL", limits=QUICK),)),
    Case("H27", "big file", (Run("h27_big_file.c", "RE", ("refused",), says="held", limits=ROOMY),
                             Run("h27_big_file.c", "RE", ("killed",), limits=ROOMY))),
    Case("H28", "inode flood", (Run("h28_inode_flood.c", "RE ML", ("files", "directories"), limits=ROOMY, check="inodes_were_capped"),)),
    Case("H29", "long lines, NULs, no text", (Run("h29_odd_output.py", "WA", ("long", "nul", "random", "surrogates"),
                                                  limits={**ROOMY, "output_limit_bytes": 16 * MIB}, check="output_was_capped"),)),
    Case("H30", "escapes in outputs", (Run("h30_escapes.py", "WA", check="nothing_reaches_a_terminal"),
                                       Run("h30_escapes.c", "BF", words={"NASTY": NASTY}, check="nothing_reaches_a_terminal"))),
    Case("H31", "no output, no newline", (Run("h31_no_output.c", "WA", compare="tokens"), Run("h31_no_newline.c", "OK", compare="tokens"),
                                          Run("h31_no_newline.c", "WA", compare="exact"))),
    Case("H32", "reads test data", (Run("h32_read_testdata.py", "WA RE", expect="the-secret-answer", limits=ROOMY, check="found_nothing"),)),
    Case("H33", "reads test data while it is compiled", (
        Run("h33_read_testdata_at_compile.c", "BF", expect="the-secret-answer", check="log_tells_nothing"),
        Run("h33_read_testdata_at_compile.cpp", "BF", expect="the-secret-answer", check="log_tells_nothing"))),
    Case("H34", "includes secrets", (Run("h34_include_secrets.c", "BF", check="log_tells_nothing"),)),
    Case("H35", "rewrites its input", (Run("h35_rewrite_input.c", "WA", (("41\n", "41\n"), ("40\n", "40\n"))),)),
    Case("H36", "reads another submission", (
        Run("h36_look_for_traces.py", "OK", ("", ""), beside=(Run("h36_leave_traces.py", "OK", ("", "")),)),
        Run("h36_look_for_traces.py", "OK"))),
    Case("H37", "leaks from case to case", (Run("h37_between_cases.c", "OK", ("1", "2", "3")),)),
    Case("H38", "environment leak", (Run("h38_env_leak.py", "WA", check="environment_is_ours"),)),
    Case("H39", "inherited descriptors", (Run("h39_inherited_fd.c", "OK", says="held"),)),
    Case("H40", "writes to proc", (Run("h40_proc_write.c", "OK", says="held"),)),
    Case("H41", "chroot, pivot and mount", (Run("h41_chroot_escape.c", "RE", says="held"),)),
    Case("H42", "traces others", (Run("h42_trace_others.c", "OK", says="held", beside=(Run("h36_leave_traces.py", "OK"),)),)),
    Case("H43", "network egress", (Run("h43_network_egress.py", "RE", says="held", limits=ROOMY),)),
    Case("H44", "services of the machine", (Run("h44_local_services.c", "OK", says="held"),)),
    Case("H45", "links where the judge writes or reads", variants(
        "h45_symlink_over_output.sh", ("output", "absolute", "upward", "source", "place", "folder", "inside", "procfd", "root"), "BF",
        check="log_tells_nothing")),
    Case("H46", "links for a careless clean-up", (Run("h46_links_for_cleanup.sh", "BF", check="log_tells_nothing"),)),
    Case("H47", "artefacts that are no files", variants(
        "h47_special_outputs.sh", ("urandom", "fifo", "device", "socket", "sparse", "hardlink", "many", "deep"), "BF") + variants(
        "h47_special_outputs.sh", ("unreadable", "newline", "fifo_inside"), "BF RE")),
    Case("H48", "archives that leave their folder", tuple(Archive(*a) for a in (
        ("up", "escapes"), ("up_inside", "escapes"), ("absolute", "escapes"), ("drive", "escapes"), ("link_and_file", "not_a_file"),
        ("twice", "name_twice"), ("but_for_case", "name_twice"), ("below_a_file", "name_twice"), ("line_feed", "bad_name"),
        ("escape_sequence", "bad_name"), ("not_utf8", "bad_name"), ("long_name", "bad_name"), ("deep", "bad_name")))),
    Case("H49", "archives that are bombs", tuple(Archive(*a) for a in (
        ("zeros", "bomb"), ("many_zeros", "bomb too_large"), ("overlapping", "bomb damaged too_large"), ("many_entries", "too_many_files"),
        ("many_entries_unsaid", "too_many_files"), ("lying_size", "bomb damaged too_large"), ("nested", "")))),
    Case("H50", "bogus file names", (Run("h50_bogus_names.py", "OK", check="bogus_names_are_refused"),)),
    Case("H51", "options for the compiler", (Run("h50_bogus_names.py", "OK", check="options_reach_no_compiler"),)),
    Case("H52", "compile-time bomb", (Run("h52_compile_time_bomb.cpp", "BF"), Run("h52_macro_bomb.c", "BF"))),
    Case("H53", "compile-memory bomb", (Run("h53_dev_zero.c", "BF"), Run("h53_big_array.c", "BF OK RE ML WA"))),
    Case("H54", "compile-output bomb", (Run("h54_compile_output.cpp", "BF", check="log_was_truncated"),)),
    Case("H55", "runs code while it is compiled", (
        Run("h55_run_at_build.sh", "OK", says="held"), Run("h55_annotation.java", "OK", limits=ROOMY, check="log_tells_nothing"),
        Run("h55_generate.go", "BF", check="log_tells_nothing"))),
    Case("H56", "objects and binaries in place of sources", (
        Run("h56_object.c", "BF", words={"ELF": ELF}), Run("h56_script.c", "BF")) + variants(
        "h56_binary.sh", ("script", "system", "garbage", "plain", "setuid"), "WA RE BF")),
    Case("H57", "executes what it wrote", (Run("h57_execute.c", "OK", says="held"),)),
    Case("H58", "files that loaders take up", (Run("h58_preload.py", "OK", files=HARMLESS, check="no_environment_by_request"),)),
    Case("H59", "privileged calls", (Run("h59_privileged_calls.c", "OK", ("refused",), says="held", limits=ROOMY),
                                     Run("h59_privileged_calls.c", "RE", ("reboot",), check="bad_system_call"))),
    Case("H60", "io_uring", (Run("h60_io_uring.c", "OK", says="held"),)),
    Case("H61", "nested namespaces", (Run("h61_nested_namespaces.c", "OK", says="held"),)),
    Case("H62", "keys and ipc left behind", (Run("h62_ipc_residue.c", "OK", ("1", "2", "3")),)),
    Case("H63", "log flood", (Run("h63_log_flood.c", "OK", says="held", limits=ROOMY, check="logs_are_quiet"),)),
    Case("H64", "core dump", (Run("h64_core_dump.c", "RE", says="held", limits=ROOMY, check="aborted"),)),
    Case("H65", "exit games", (
        Run("h65_exit_games.c", "RE", tuple(f"signal {n}\n" for n in SIGNALS), check="signals_are_told"),
        Run("h65_exit_games.c", "RE", tuple(f"{how} {n}\n" for how in ("exit", "_exit") for n in (1, 9, 127, 137, 139, 255, 257, -1)),
            check="exit_codes_are_told"),
        Run("h65_exit_games.c", "OK", tuple(f"signal {n}\n" for n in IGNORED) + ("exit 0\n", "_exit 256\n", "thread 0\n")),
        Run("h65_exit_games.c", "TL", ("signal 19\n",), limits=QUICK))),
    Case("H66", "bad pointers", (Run("h66_bad_pointers.c", "OK", says="held", limits={"time_limit_ms": 8000, "wall_limit_ms": 30000}),)),
    Case("H67", "fake results", (Run("h67_fake_result.c", "WA", check="the_result_is_ours"), Run("h67_fake_result.sh", "RE BF WA"))),
    Case("H68", "cheats on time", (Run("h68_time_cheat.c", "OK", ("clocks",), says="held"),
                                   Run("h68_time_cheat.c", "OK", ("atexit",), check="late_work_is_charged"),
                                   Run("h68_time_cheat.c", "TL", ("closed",), limits=QUICK))),
    Case("H69", "noisy neighbours", (Run("honest.c", "OK", ("", "", ""), expect="@SUM@", limits=ROOMY, check="time_beside_hogs",
                                         beside=(Run("h69_hog.c", "OK", ("memory", "io", "memory", "io"), limits=ROOMY),) * 2),)),
    Case("H70", "side channels", (Run("h70_side_channel.c", "OK", says="held"),)),
    Case("H71", "interactor abuse", variants(
        "h71_talk.py", ("never_reads", "ends_early"), "WA", tests=("37",), checker=INTERACTOR, limits=TALK) + variants(
        "h71_talk.py", ("floods", "floods_and_forks"), "OL WA", tests=("37",), checker=INTERACTOR, limits=TALK) + variants(
        "h71_talk.py", ("silent", "no_flush", "right_then_forever"), "TL", tests=("37",), checker=INTERACTOR, limits=TALK) + variants(
        "h71_talk.py", ("closes_early",), "WA TL", tests=("37",), checker=INTERACTOR, limits=TALK) + variants(
        "h71_talk.py", ("fails_early",), "RE", tests=("37",), checker=INTERACTOR, limits=TALK) + variants(
        "h71_talk.py", ("kills",), "TL RE", tests=("37",), checker=INTERACTOR, limits=TALK)),
    Case("H72", "breaks its checker", variants(
        "h72_break_checker.py", ("crash", "raise", "spin", "hang", "eat", "fork", "flood", "fill", "link"), "IE", checker=CHECKER,
        check="alarm_was_raised")),
)
