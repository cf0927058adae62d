"""What a verdict alone does not show.  Each check takes the context (run.py), the submission and its result."""

import base64
import json
import os
import pathlib
import pty
import subprocess

from harness import PREFIX

STORED = 64 << 10  # bytes of each output that may be kept


def output(test, stream="stdout"):
    if f"{stream}_base64" in test:
        return base64.b64decode(test[f"{stream}_base64"])
    return test.get(stream, "").encode()


def everything(result):
    return json.dumps(result, ensure_ascii=False)


def tells_nothing(ctx, text):
    for secret in ctx.secrets:
        assert secret not in text, f"{secret[:40]!r} leaked: {text[:1500]}"


def cpu_was_counted(ctx, submission, result):
    for t in result["tests"]:
        assert t["cpu_ms"] >= 300, f"the grandchildren's time is missing: {t}"


def threads_were_counted(ctx, submission, result):
    made = int(output(result["tests"][0]))
    # without a leaf they are counted by user, with room for the warden's own
    most = 63 if result["sandbox"]["processes_exact"] else 66
    assert 1 <= made <= most, f"{made} threads with a limit of 64 tasks"


def descriptors_were_bounded(ctx, submission, result):
    assert output(result["tests"][0]) == b"bounded Too many open files\n", result["tests"][0]


def segmentation_fault(ctx, submission, result):
    assert [t["signal"] for t in result["tests"]] == [11, 11], result["tests"]


def bad_system_call(ctx, submission, result):
    assert result["tests"][0]["signal"] == 31, result["tests"]


def aborted(ctx, submission, result):
    assert result["tests"][0]["signal"] == 6, result["tests"]


def fault_is_theirs(ctx, submission, result):
    for t in result["tests"]:
        assert t["verdict"] == "ML" or output(t, "stderr") or t.get("message") or t["signal"], f"nothing says why: {t}"


def output_was_capped(ctx, submission, result):
    for t in result["tests"]:
        for stream in ("stdout", "stderr"):
            assert len(output(t, stream)) <= STORED, f"{len(output(t, stream))} bytes of {stream} are kept"


def inodes_were_capped(ctx, submission, result):
    for t in result["tests"]:
        assert t["verdict"] == "ML" or output(t).startswith(b"capped "), t


def nothing_reaches_a_terminal(ctx, submission, result):
    """The API's answer is JSON that a strict reader takes, and the client shows none of it raw, not even on a terminal."""
    raw = ctx.admin.get(f"/results/{submission['id']}").body
    raw.decode("utf-8")
    assert not any(c < 0x20 for c in raw.replace(b"\n", b"")), "raw control characters in the JSON"
    if result["verdict"] == "WA":
        kept = output(result["tests"][0])
        assert kept.startswith(b"\x1b]0;owned\x07") and kept.endswith(b"\xf0\x9f\x98\x80\n") and b"\xff\xfe\xc3(" in kept, \
            f"not the bytes that the program wrote: {kept!r}"
    ours, theirs = pty.openpty()
    env = {"PATH": "/usr/bin:/bin", "ASSAY_URL": f"http://127.0.0.1:{ctx.server.port}", "ASSAY_TOKEN": ctx.admin.token,
           "TERM": "dumb", "HOME": str(ctx.tmp)}
    client = subprocess.Popen([str(PREFIX / "bin" / "assay"), "results", "--outputs", submission["id"]], env=env, stdin=subprocess.DEVNULL,
                              stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    client.wait(30)
    os.close(ours)
    assert b"owned" in shown, f"the client shows nothing of it: {shown[:500]!r}"
    for raw in (b"\x1b]", b"\x07", b"\x1b[2J", "\u2028".encode(), "\u202e".encode(), "\u009b".encode()):
        assert raw not in shown, f"{raw!r} reached the terminal: {shown[:1500]!r}"


def found_nothing(ctx, submission, result):
    text = output(result["tests"][0]).decode()
    assert text.startswith("found nothing in ") and "many files" in text, text
    tells_nothing(ctx, text)


def log_tells_nothing(ctx, submission, result):
    tells_nothing(ctx, everything(result))


def log_was_truncated(ctx, submission, result):
    log = result["build_output"]
    assert 1000 < len(log.encode()) <= STORED + 200, f"{len(log)} bytes of the compiler's output are kept"


def environment_is_ours(ctx, submission, result):
    text = output(result["tests"][0]).decode()
    names = {line.split()[1].split("=")[0] for line in text.splitlines() if line.startswith("environ ")}
    # the base environment, what the interpreter adds to it by itself, and what the language's definition gives
    assert names <= {"PATH", "HOME", "LANG", "TMPDIR", "LC_CTYPE", "PYTHONHASHSEED"} and "PATH" in names, names
    others = [line for line in text.splitlines() if line.startswith("other ") and not line.endswith(" b''")]
    assert not others, others
    tells_nothing(ctx, text)


def no_environment_by_request(ctx, submission, result):
    for more in ({"env": {"LD_PRELOAD": "/box/libc.so.6"}}, {"environment": {"PYTHONPATH": "/box"}}, {"argv": ["-c"]}, {"args": "-x"}):
        body = {"benchmark_id": submission["benchmark_id"], "agent_id": "ada", "language": "python", "source": "print(1)", **more}
        ctx.admin.post("/submissions", body, expect=400)


def bogus_names_are_refused(ctx, submission, result):
    names = ["a\nb.py", "a'b.py", 'a"b.py', "#\\.py", "-o.py", "-wrapper.py", "@file.py", ";rm -rf.py", "$(id).py", "`id`.py", "a b.py",
             "x" * 4096, "a\0b.py", "\u202eyp.exe", "\u00e4.py", "../x.py", "/etc/x.py", "a/../b.py", "./a.py", "a//b.py", ".hidden.py", "",
             ".", "..", "a/-o.py", "a\\b.py", "con\x7f.py", "*.py", "~root.py", "a|b.py", "a&b.py", "a>b.py", "%s%n.py", "a:b.py"]
    taken = []
    for language in ("python", "c", "java"):
        main = {"python": "main.py", "c": "main.c", "java": "Main.java"}[language]
        for name in names:
            body = {"benchmark_id": submission["benchmark_id"], "agent_id": "ada", "language": language,
                    "files": {main: "x", name.replace(".py", os.path.splitext(main)[1]): "x"}}
            a = ctx.admin.call("POST", "/submissions", body)
            if a.status != 400:
                taken.append((name, a.status))
    raw = b'{"benchmark_id":"%s","agent_id":"ada","language":"python","files":{"main.py":"x","a\xff.py":"x"}}' % submission["benchmark_id"].encode()
    a = ctx.admin.call("POST", "/submissions", raw, headers={"Content-Type": "application/json"})
    assert a.status == 400 and not taken, (a, taken)


OPTIONS = ["-fplugin=/box/x.so", "@/etc/passwd", "-I/etc", "-specs=/box/specs", "-wrapper,sh", "-x", "-B/box", "-o/box/y", ";id", "$(id)"]
NEARLY = ["-O2 -fplugin=/box/x.so", "-O2\n-o", " -O2", "-O2 ", "-O22", "-o2", "-std=c11,-x", "-std=", "-lm/../x", "-l:x", "-Wall,-wrapper", "{source}", ""]


def options_reach_no_compiler(ctx, submission, result):
    """Of options a submission has the language's list and no more, no name is one, and a problem's arguments are its program's alone."""
    body = {"benchmark_id": submission["benchmark_id"], "agent_id": "ada", "language": "c", "files": {"main.c": "int main(void) { return 0; }"}}
    taken = []
    for option in OPTIONS:
        for member in ("compiler_options", "options", "arguments", "environment"):
            if ctx.admin.call("POST", "/submissions", {**body, member: [option]}).status != 400:
                taken.append((member, option))
        for name in (option, f"{option}.c", f"lib/{option}.c"):
            if ctx.admin.call("POST", "/submissions", {**body, "files": {**body["files"], name: "x"}}).status != 400:
                taken.append((name,))
    listed = [o for i in ctx.admin.get("/languages").json["items"] if i["name"] == "c" for g in i["compiler_options"] for o in g["options"]]
    for option in OPTIONS + NEARLY:
        for more in ([option], ["-O1", option], [option, "-O1"]):
            a = ctx.admin.call("POST", "/submissions", {**body, "compiler_options": more})
            fault = a.json["errors"][0] if a.status == 400 else {"detail": ""}
            if not all(o in fault["detail"] for o in listed):
                taken.append((more, a))
        problem = {"name": "H51", "tests": [{}], "compiler_options": [{"language": "c", "always": [option]}]}
        a = ctx.admin.call("POST", "/benchmarks", problem)
        if a.status == 201:  # it could be an option somewhere: nothing is built with it all the same
            s = ctx.admin.post("/submissions?wait=60", {**body, "benchmark_id": a.json["id"]}, expect=200).json
            if s["verdict"] != "IE":
                taken.append((option, s))
    assert len(listed) > 10 and not taken, (listed, taken)
    says = "#include <stdio.h>\nint main(int n, char **v) { for (int i = 1; i < n; i++) puts(v[i]); return 0; }\n"
    b = ctx.admin.post("/benchmarks", {"name": "H51", "arguments": OPTIONS, "tests": [{"expected_output": "\n".join(OPTIONS) + "\n"}]}, expect=201).json["id"]
    s = ctx.admin.post("/submissions?wait=60", {**body, "benchmark_id": b, "files": {"main.c": says}}, expect=200).json
    assert s["verdict"] == "OK", s


def logs_are_quiet(ctx, submission, result):
    for log in ("/var/log/syslog", "/var/log/messages", "/var/log/user.log"):
        if os.path.exists(log):
            with open(log, "rb") as f:
                f.seek(max(0, os.path.getsize(log) - (4 << 20)))
                assert b"hostile-h63" not in f.read(), log
    try:
        fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return
    lines = 0
    while True:
        try:
            lines += b"hostile-h63" in (record := os.read(fd, 8192)) or b"segfault" in record and b"main[" in record
        except BlockingIOError:
            break
        except OSError:  # a record was overwritten under the reader
            continue
    os.close(fd)
    assert lines < 200, f"{lines} lines in the kernel's log"


def signals_are_told(ctx, submission, result):
    want = [int(n.split()[1]) for n in ctx.run.tests]
    assert [t["signal"] for t in result["tests"]] == want, [t["signal"] for t in result["tests"]]


def exit_codes_are_told(ctx, submission, result):
    want = [int(n.split()[1]) & 255 for n in ctx.run.tests]
    assert [t["exit_code"] for t in result["tests"]] == want, [t["exit_code"] for t in result["tests"]]
    assert not any(t["signal"] for t in result["tests"]), result["tests"]


def the_result_is_ours(ctx, submission, result):
    t = result["tests"][0]
    assert result["verdict"] == "WA" and submission["score"] == 0 and t["stdout_bytes"] > 1000 and t["wall_ms"] > 0, result


def late_work_is_charged(ctx, submission, result):
    assert result["tests"][0]["cpu_ms"] >= 280, result["tests"][0]


def time_beside_hogs(ctx, submission, result):
    """Beside hogs a program is charged what the bare program, beside the same hogs, is: the neighbours' time is not its own."""
    ctx.compare_times([t["cpu_ms"] for t in result["tests"]], ctx.bare_beside, "beside hogs")


def alarm_was_raised(ctx, submission, result):
    """A checker that failed is nobody's verdict, and those who can mend it are told."""
    assert submission["verdict"] == "IE" and "the checker failed on test 1" in result["fault"], result
    log = [line for line in ctx.server.log_text().splitlines() if "checker_failed" in line and submission["id"] in line]
    assert log, "the log does not tell"
    assert "assay_runner_checker_faults_total{" in ctx.server.api().get("/metrics").body.decode()
