"""How programs are judged: comparison, limits, modes, bytes that are no text, feedback, cancelling, judging again."""

import os
import sys
import time

import harness
from harness import program, wait_for

MIB = 1 << 20
serial = 0
TIMES = int(os.environ.get("ASSAY_CHANGES", "1000" if os.environ.get("ASSAY_NIGHT") == "1" else "200"))


def start(server):
    """The admin, with an agent of its own."""
    admin = server.login()
    if admin.call("GET", "/agents/ada").status == 404:
        admin.post("/agents", {"id": "ada", "name": "Ada"}, expect=201)
    return admin


def publish(api, tests, **more):
    """A benchmark of one problem; gives its id. tests: (input, expected) or dicts."""
    global serial
    serial += 1
    tests = [t if isinstance(t, dict) else {"input": t[0], "expected_output": t[1]} for t in tests]
    return api.post("/benchmarks", {"id": f"judging-{serial}", "name": "Judging", "feedback": "full", "tests": tests, **more},
                    expect=201).json["id"]


def judge(api, benchmark, source=None, language="python", agent="ada", **more):
    body = {"benchmark_id": benchmark, "agent_id": agent, **more}
    if source is not None:
        body.update(language=language, source=source)
    s = api.post("/submissions?wait=60", body, expect=200).json
    assert s["status"] == "done", s
    return s


def verdict(api, benchmark, source, language="python", **more):
    return judge(api, benchmark, source, language, **more)["verdict"]


def result(api, submission):
    return api.get(f"/results/{submission['id']}").json


def changes(author, entrant, problem, benchmark, times):
    """Changes the tests of the problem and submits at once, so many times; gives those that were judged by tests that were no
    longer there: (how often it had been changed, verdict)."""
    stale = []
    for i in range(times):
        right = i % 3 != 1
        if i % 5 == 4:  # by a change of the problem that leaves its tests alone: "1" and "1 " are not the same bytes
            author.put(f"/problems/{problem}/tests", {"tests": [{"input": "", "expected_output": "1 \n"}]})
            author.call("PATCH", f"/problems/{problem}", {"compare": "tokens" if right else "exact"}, expect=200)
        else:
            author.call("PATCH", f"/problems/{problem}", {"compare": "exact"}, expect=200)
            author.put(f"/problems/{problem}/tests", {"tests": [{"input": "", "expected_output": "1\n" if right else f"not {i}\n"}]})
        got = judge(entrant, benchmark, "echo 1\n", "bash")["verdict"]
        if got != ("OK" if right else "WA"):
            stale.append((i, got))
    return stale


def prints(text):
    """A Python program that prints exactly these bytes."""
    return f"import sys\nsys.stdout.buffer.write({text.encode()!r})\n"


# ---- comparison --------------------------------------------------------------------------------------------


def compared(api, how, cases, expected, **more):
    b = publish(api, [("", expected)], compare=how, **more)
    wrong = [(text, want, got) for text, want in cases if (got := verdict(api, b, prints(text))) != want]
    assert not wrong, wrong


def test_exact_means_the_same_bytes(server):
    compared(start(server), "exact", [("a b\n", "OK"), ("a b", "WA"), ("a  b\n", "WA"), ("a b\r\n", "WA"), ("a b\n\n", "WA"),
                                      ("A b\n", "WA"), ("", "WA")], "a b\n")


def test_tokens_mean_the_same_words(server):
    compared(start(server), "tokens", [("a 1.0\n", "OK"), ("a\t\n 1.0", "OK"), ("\n\na 1.0 \r\n", "OK"), ("a 1.00", "WA"), ("a", "WA"),
                                       ("a 1.0 b", "WA"), ("a1.0", "WA"), ("a\u00a01.0", "WA")], "a 1.0\n")


def test_floats_may_differ_by_the_tolerance(server):
    admin = start(server)
    compared(admin, "float", [("x 3.14159 100", "OK"), ("x 3.1415 100.4", "OK"), ("x 3.1426 100", "OK"), ("x 3.16 100", "WA"),
                              ("x 3.14159 101", "WA"), ("y 3.14159 100", "WA"), ("x 314159e-5 1e2", "OK"), ("x nan 100", "WA"),
                              ("x inf 100", "WA"), ("x 3.14159", "WA"), ("x 0x3.2p0 100", "WA")], "x 3.14159 100\n",
             float_abs=0.001, float_rel=0.005)
    compared(admin, "float", [("0.0000001", "OK"), ("0.1", "WA"), ("-0", "OK")], "0", float_abs=0.000001)


def test_lines_case_and_order_may_not_count(server):
    admin = start(server)
    compared(admin, "nocase", [("YES 1\n", "OK"), ("yes 1", "OK"), ("yes", "WA"), ("1 yes", "WA")], "Yes 1\n")
    compared(admin, "lines", [("a b \n c", "OK"), ("a b\n c\n\n", "OK"), ("a  b\n c\n", "WA"), ("a b\nc\n", "WA"), ("a b c", "WA")], "a b\n c\n")
    compared(admin, "unordered_lines", [("3\n1  2\n", "OK"), ("1 2\n3\n", "OK"), ("2 1\n3\n", "WA"), ("1 2\n", "WA"), ("3\n3\n1 2\n", "WA")], "1 2\n3\n")
    compared(admin, "unordered_tokens", [("3 2 1", "OK"), ("1 2", "WA"), ("1 2 3 3", "WA")], "1 2\n3\n")
    b = publish(admin, [("", "a b\n")], compare="exact")
    test = result(admin, judge(admin, b, prints("a b")))["tests"][0]
    assert test["verdict"] == "WA" and "white space" in test["message"], test


# ---- which tests are run -------------------------------------------------------------------------------------

FOUR = [("1\n", "1\n"), ("2\n", "no\n"), ("3\n", "3\n"), ("4\n", "no\n")]
ECHO = "print(input())"


def test_all_tests_or_up_to_the_first_failure(server):
    admin = start(server)
    for stop, verdicts, passed in ((False, ["OK", "WA", "OK", "WA"], 2), (True, ["OK", "WA", "-", "-"], 1)):
        s = judge(admin, publish(admin, FOUR, stop_on_failure=stop), ECHO)
        r = result(admin, s)
        assert [t["verdict"] for t in r["tests"]] == verdicts, r
        assert (r["verdict"], r["tests_passed"], r["tests_total"]) == ("WA", passed, 4), r
        assert r["first_failure"] == {"number": 2, "verdict": "WA"}, r
        assert s["score"] == 25 * passed, s


def test_points_weigh_the_tests(server):
    admin = start(server)
    tests = [{"input": i, "expected_output": e, "points": p} for (i, e), p in zip(FOUR, (1, 2, 3, 4))]
    assert judge(admin, publish(admin, tests, stop_on_failure=False), ECHO)["score"] == 40


def test_a_build_that_fails_ends_a_problem_of_many_tests(server):
    admin = start(server)
    b = publish(admin, [(f"{i}\n", f"{i}\n") for i in range(300)], stop_on_failure=False)
    for language, source in (("c", program("uncompilable.c")), ("python", program("uncompilable.py"))):
        r = result(admin, judge(admin, b, source, language))
        assert r["verdict"] == "BF" and r["build_output"] and r["score"] == 0, r
        assert r["tests"] == [] and (r["tests_passed"], r["tests_total"]) == (0, 300), r
    s = judge(admin, b, ECHO)
    assert (s["verdict"], s["score"]) == ("OK", 100)
    assert len(result(admin, s)["tests"]) == 300


# ---- limits ----------------------------------------------------------------------------------------------------

LIMITS = {"time_limit_ms": 600, "wall_limit_ms": 1500, "memory_limit_bytes": 64 * MIB, "output_limit_bytes": 1000, "process_limit": 8}

FORKS = r"""
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void)
{
    int made = 0;
    for (int i = 0; i < 100; i++) {
        pid_t p = fork();
        if (p == 0) { pause(); _exit(0); }
        made += p > 0;
    }
    printf("%d\n", made);
    return 0;
}
"""
HIDDEN_CHILD = r"""
#include <signal.h>
#include <unistd.h>
int main(void)
{
    signal(SIGCHLD, SIG_IGN);
    if (fork() == 0) { if (fork() == 0) for (;;) ; _exit(0); }
    for (;;) pause();
}
"""
BUDS = r"""
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(void)
{
    /* each child is under the limit, all of them are not */
    for (int i = 0; i < 6; i++)
        if (fork() == 0) { size_t n = 24 << 20; char *p = malloc(n); memset(p, 1, n); pause(); }
    for (;;) pause();
}
"""


def test_limits_on_time_memory_and_output(server):
    admin = start(server)
    b = publish(admin, [("", "")], limits=LIMITS)
    cases = [
        ("spins", "c", program("spinning.c"), "TL"),
        ("spins in a child that hides", "c", HIDDEN_CHILD, "TL"),
        ("sleeps", "c", program("sleeping.c"), "TL"),
        ("waits for input that is not there", "python", "import sys, os\nos.dup2(os.pipe()[0], 0)\ninput()", "TL"),
        ("takes memory", "c", program("hungry.c"), "ML"),
        ("takes memory in children", "c", BUDS, "ML"),
        ("takes memory as files", "python", "f = open('/tmp/x', 'wb')\nwhile True: f.write(b'x' * 1048576); f.flush()", ("ML", "RE")),
        ("floods", "c", program("flooding.c"), "OL"),
        ("prints one byte too many", "python", prints("x" * 1001), "OL"),
        ("prints what is allowed", "python", prints("x" * 1000), "WA"),
        ("crashes", "c", program("crashing.c"), "RE"),
        ("stops itself", "c", "#include <signal.h>\nint main(void) { raise(SIGSTOP); }", "TL"),
    ]
    wrong = []
    for what, language, source, want in cases:
        s = judge(admin, b, source, language)
        if s["verdict"] not in (want if isinstance(want, tuple) else (want,)):
            wrong.append((what, want, s["verdict"], result(admin, s)["tests"]))
    assert not wrong, "\n".join(map(str, wrong))
    spinning = [r for r in admin.get(f"/results?benchmark_id={b}&verdict=TL&limit=100").json["items"]]
    for r in spinning:
        # over one of its two limits, and stopped soon
        assert r["cpu_ms"] >= 600 or r["wall_ms"] >= 1500, r
        assert r["cpu_ms"] < 1000 and r["wall_ms"] < 2500, r


def test_limits_on_processes_and_files(server):
    admin = start(server)
    b = publish(admin, [("", "")], limits=LIMITS)
    made = int(result(admin, judge(admin, b, FORKS, "c"))["tests"][0]["stdout"])
    assert 1 <= made < 8, made
    bomb = "int main(void) { for (;;) __builtin_trap_or_fork(); }".replace("__builtin_trap_or_fork", "fork")
    assert verdict(admin, b, "#include <unistd.h>\n" + bomb, "c") in ("TL", "ML", "RE")
    opened = "n = []\ntry:\n    while True: n.append(open('/dev/null'))\nexcept OSError as e: print(len(n) < 70000, e.errno)"
    assert result(admin, judge(admin, b, opened))["tests"][0]["stdout"] == "True 24\n"
    many = "import os\nn = 0\ntry:\n    while n < 3000000: os.close(os.open(f'/tmp/{n}', os.O_CREAT)); n += 1\n" \
           "except OSError as e: print(e.errno)"
    s = judge(admin, b, many)
    assert s["verdict"] in ("WA", "ML", "TL") and result(admin, s)["tests"][0].get("stdout") in ("28\n", "12\n", ""), result(admin, s)
    # what one run leaves behind, the next one does not find
    assert verdict(admin, publish(admin, [("", "no\n"), ("", "no\n")]),
                   "import os\nprint('yes' if os.path.exists('/tmp/left') else 'no')\nopen('/tmp/left', 'w').close()") == "OK"


def test_a_programs_limits_never_bind_its_build(server):
    admin = start(server)
    tight = {"time_limit_ms": 100, "wall_limit_ms": 5000, "memory_limit_bytes": 16 * MIB, "output_limit_bytes": 16, "process_limit": 1}
    b = publish(admin, [("1 2 3\n", "6\n")], limits=tight)
    heavy = "#include <algorithm>\n#include <iostream>\n#include <map>\n#include <regex>\n" \
            "int main() { std::regex r(\"[0-9]+\"); long s = 0, x; while (std::cin >> x) s += x; std::cout << s << '\\n'; }\n"
    r = result(admin, judge(admin, b, heavy, "cpp"))
    assert r["verdict"] == "OK" and r["build_ms"] > 100, r


# ---- modes -------------------------------------------------------------------------------------------------------


def test_a_harness_gets_the_payload_on_stdin_and_the_input_as_a_file(server):
    admin = start(server)
    source = "import sys\nwant = open('input.txt').read().split()\ngot = sys.stdin.read().split()\n" \
             "print('pass' if got == want[::-1] else 'fail')\n"
    b = publish(admin, [("1 2 3\n", "pass\n")], mode="harness", harness={"language": "python", "source": source})
    for payload, want in (("3 2 1", "OK"), ("1 2 3", "WA"), ("", "WA"), ("\0\x01\u20ac", "WA")):
        assert judge(admin, b, payload=payload)["verdict"] == want, payload


def test_an_answer_is_compared_and_never_run(server):
    admin = start(server)
    b = publish(admin, [("", "42\n")], mode="answer", compare="tokens")
    for payload, want in (("42", "OK"), (" 42\n\n", "OK"), ("41", "WA"), ("", "WA")):
        s = judge(admin, b, payload=payload)
        assert s["verdict"] == want and s["score"] == (100 if want == "OK" else 0), (payload, s)


MAINS = {
    "python": ("import solution\nprint(solution.twice(int(input())))\n", "def twice(n): return 2 * n\n", "def twice(n): return n\n"),
    "cpp": ("#include <iostream>\n#include \"solution.hpp\"\nint main() { int n; std::cin >> n; std::cout << twice(n) << '\\n'; }\n",
            "int twice(int n) { return 2 * n; }\n", "int twice(int n) { return n; }\n"),
    "c": ("#include <stdio.h>\nint twice(int);\nint main(void) { int n; if (scanf(\"%d\", &n) == 1) printf(\"%d\\n\", twice(n)); }\n",
          "int twice(int n) { return 2 * n; }\n", "int twice(int n) { return n; }\n"),
}


def test_a_function_stands_beside_the_main_program_of_its_problem(server):
    admin = start(server)
    for language, (main, right, wrong) in MAINS.items():
        b = publish(admin, [("21\n", "42\n")], mode="function", harness={"language": language, "source": main})
        assert verdict(admin, b, right, language) == "OK", language
        assert verdict(admin, b, wrong, language) == "WA", language
    b = publish(admin, [("21\n", "42\n")], mode="function", harness={"language": "python3", "source": MAINS["python"][0]})
    assert verdict(admin, b, MAINS["python"][1]) == "OK", "a language has several names"
    r = result(admin, judge(admin, b, MAINS["c"][1], "c"))
    assert r["verdict"] == "BF" and "functions in python" in r["build_output"], r
    more = {"solution.py": "import more\ntwice = more.twice\n", "more.py": MAINS["python"][1]}

    def of_files(files):
        s = admin.post("/submissions?wait=60", {"benchmark_id": b, "agent_id": "ada", "language": "python", "files": files}, expect=200)
        return result(admin, s.json)
    assert of_files(more)["verdict"] == "OK"
    for files in ({"other.py": "pass"}, {"solution.py": MAINS["python"][2], "main.py": "print(42)"}):
        r = of_files(files)
        assert r["verdict"] == "BF" and "solution.py" in r["build_output"], r
    admin.call("POST", "/submissions", {"benchmark_id": b, "agent_id": "ada", "payload": "x"}, expect=400)


# ---- bytes ---------------------------------------------------------------------------------------------------------


def test_sources_of_any_bytes_are_judged(server):
    admin = start(server)
    b = publish(admin, [("", "x\n")])
    assert verdict(admin, b, "print('x')\0") in ("OK", "BF", "RE"), "what a NUL is to Python depends on its version"
    assert verdict(admin, b, "int main(void) { return 0; }\0", "c") in ("BF", "WA")
    assert verdict(admin, b, "\ufeffprint('x')") == "OK"
    assert verdict(admin, b, "print('x')  # \u00e4\u20ac\U0001f600") == "OK"
    assert verdict(admin, b, "print('x')\r\n") == "OK"
    raw = b'{"benchmark_id":"%s","agent_id":"ada","language":"python","source":"print(\'\xff\')"}' % b.encode()
    admin.call("POST", "/submissions", raw, headers={"Content-Type": "application/json"}, expect=400)


def test_outputs_of_any_bytes_are_kept_and_compared(server):
    admin = start(server)
    b = publish(admin, [("", "a\0b\n")], compare="exact")
    assert verdict(admin, b, "import sys; sys.stdout.buffer.write(b'a\\0b\\n')") == "OK"
    assert verdict(admin, b, "import sys; sys.stdout.buffer.write(b'a')") == "WA"
    s = judge(admin, b, "import sys\nsys.stdout.buffer.write(b'\\xff\\xfe\\0')\nsys.stderr.buffer.write(b'\\xc3')")
    t = result(admin, s)["tests"][0]
    assert t["verdict"] == "WA" and t["stdout_bytes"] == 3 and t["stderr_bytes"] == 1, t
    assert t["stdout_base64"] == "//4A" and t["stderr_base64"] == "ww==", t
    b = publish(admin, [("in\0put \u20ac\n", "in\0put \u20ac\n")], compare="exact")
    assert verdict(admin, b, "import sys\nsys.stdout.buffer.write(sys.stdin.buffer.read())") == "OK"


# ---- what who sees ----------------------------------------------------------------------------------------------------

SECRET = "the-hidden-answer"


def test_feedback_shows_what_the_policy_says_to_whom_it_may(server):
    admin = start(server)
    owner = server.register("feedback-owner")
    stranger = server.register("feedback-stranger")
    owner.post("/agents", {"id": "fed", "name": "Fed"}, expect=201)
    tests = [{"input": "1\n", "expected_output": "1\n", "sample": True},
             {"input": "2\n", "expected_output": SECRET, "sample": False}]
    seen = {}
    for policy in ("none", "verdict", "first_failure", "samples", "full"):
        b = publish(admin, tests, feedback=policy, visibility="public", stop_on_failure=False)
        leak = f"print(input())\nimport sys\nprint('{policy} leak ' + 'secret', file=sys.stderr)"
        s = owner.post("/submissions", {"benchmark_id": b, "agent_id": "fed", "language": "python", "source": leak}, expect=202).json
        server.wait_done(admin, s["id"])
        full = result(admin, s)
        assert full["verdict"] == "WA" and [t["verdict"] for t in full["tests"]] == ["OK", "WA"], "staff sees all"
        assert full["tests"][1]["stderr"] == f"{policy} leak secret\n", full
        mine = seen[policy] = owner.get(f"/results/{s['id']}").json
        view = owner.get(f"/submissions/{s['id']}").json
        listed = [r for r in owner.get("/results?limit=100").json["items"] if r["submission_id"] == s["id"]][0]
        assert listed["verdict"] == mine["verdict"] == view["verdict"] and view["score"] == mine["score"], (listed, mine, view)
        assert mine["feedback"] == policy, mine
        for path in (f"/submissions/{s['id']}", f"/results/{s['id']}"):
            stranger.call("GET", path, expect=404)
        assert s["id"] not in stranger.get("/results?limit=100").body.decode()
        # whatever the way: a hidden test's own output and the expected one stay hidden
        everything = "".join(owner.call("GET", p).body.decode() for p in (
            f"/submissions/{s['id']}", f"/results/{s['id']}", "/results?limit=100", f"/scores?benchmark_id={b}",
            f"/traces?submission_id={s['id']}", f"/benchmarks/{b}", f"/benchmarks/{b}/problems"))
        assert SECRET not in everything, policy
        assert everything.count("leak secret") == (2 if policy == "full" else 1 if policy == "samples" else 0), (policy, everything)
    assert seen["none"]["verdict"] is None and seen["none"]["score"] is None and "tests" not in seen["none"]
    assert seen["verdict"]["verdict"] == "WA" and not {"tests", "first_failure", "tests_passed", "cpu_ms"} & set(seen["verdict"])
    assert seen["first_failure"]["first_failure"] == {"number": 2, "verdict": "WA"} and "tests" not in seen["first_failure"]
    sample, hidden = seen["samples"]["tests"]
    assert sample["stdout"] == "1\n" and hidden["verdict"] == "WA" and "stdout" not in hidden and "cpu_ms" not in hidden, seen["samples"]
    assert [t["stdout"] for t in seen["full"]["tests"]] == ["1\n", "2\n"]


# ---- cancelling and judging again -----------------------------------------------------------------------------------------


def test_a_running_submission_can_be_cancelled(server):
    admin = start(server)
    b = publish(admin, [("", "")], limits={"time_limit_ms": 60000, "wall_limit_ms": 120000})
    s = admin.post("/submissions", {"benchmark_id": b, "agent_id": "ada", "language": "c", "source": program("sleeping.c")}, expect=202).json
    wait_for("it to run", lambda: admin.get(f"/submissions/{s['id']}").json["status"] == "running", 20)
    admin.post(f"/submissions/{s['id']}/cancel", expect=(200, 202))
    assert server.wait_done(admin, s["id"], 10)["status"] == "cancelled"
    assert admin.get(f"/submissions/{s['id']}").json["verdict"] is None
    admin.call("GET", f"/results/{s['id']}", expect=404)
    assert verdict(admin, publish(admin, [("", "x\n")]), "print('x')") == "OK", "the slot is free again"


def test_a_set_of_one_agents_submissions_is_cancelled_without_a_trace_and_applied(server):
    """ASSAY_REJUDGE of them (60; at night 10,000), a multiple of four. What anybody sees after a cancel is what was seen before, and the board after
    applying is the one that is derived from nothing."""
    n = int(os.environ.get("ASSAY_REJUDGE", "10000" if os.environ.get("ASSAY_NIGHT") == "1" else "60"))
    admin = start(server)
    b = publish(admin, [("", "1\n")])
    problem = admin.get(f"/benchmarks/{b}/problems").json["items"][0]["id"]
    for at in range(0, n, 100):
        items = [{"benchmark_id": b, "agent_id": "ada", "language": "bash", "source": f"echo {'1223'[k % 4]}\n"} for k in range(at, min(n, at + 100))]
        while items:
            left = [i for i, r in zip(items, admin.post("/submissions/batch", {"items": items}).json["items"]) if r["status"] != 202]
            time.sleep(1 if left else 0)
            items = left

    def seen():
        rows, cursor = [], ""
        while cursor is not None:
            page = admin.get(f"/scores?benchmark_id={b}&limit=500" + (f"&cursor={cursor}" if cursor else "")).json
            rows += [(s["submission_id"], s["verdict"], s["score"]) for s in page["items"]]
            cursor = page.get("next_cursor")
        return rows

    def board():
        return admin.get(f"/leaderboard?benchmark_id={b}&with=problems").json["items"]
    wait_for("all to be judged", lambda: (x := board()) and x[0]["problems"][0]["submissions"] == n, 60 + n)
    before = seen(), board()
    assert len(before[0]) == n and sum(v == "OK" for _, v, _ in before[0]) == n // 4

    def judged():
        made = admin.post("/rejudgings", {"benchmark_id": b, "reason": "another answer"}, expect=201).json["id"]
        return wait_for("the set to be judged", lambda: (r := admin.get(f"/rejudgings/{made}").json)["judged"] == n and r, 60 + n)

    admin.put(f"/problems/{problem}/tests", {"tests": [{"input": "", "expected_output": "2\n"}]})
    r = judged()
    assert r["changed"] == 3 * n // 4 and r["failed"] == 0, r
    assert (seen(), board()) == before
    admin.post(f"/rejudgings/{r['id']}/cancel")
    assert (seen(), board()) == before
    r = judged()
    began = time.monotonic()
    assert admin.post(f"/rejudgings/{r['id']}/apply").json["state"] == "applied"
    now = wait_for("the board", lambda: (x := board())[0]["problems"][0]["correct"] == n // 2 and x, 60 + n)
    print(f"# {n} of one agent applied and on the board in {time.monotonic() - began:.1f} s")
    assert sum(v == "OK" for _, v, _ in seen()) == n // 2
    for rule in ("mean", "best"):  # another rule and back: derived anew
        admin.patch(f"/benchmarks/{b}", {"scoring": rule})
        wait_for("the rule", lambda: admin.get(f"/leaderboard?benchmark_id={b}").json["scoring"] == rule, 20)
    anew = wait_for("the board anew", lambda: (x := board()) and x, 20)
    assert anew == now, (anew, now)


def test_a_change_of_a_problem_is_in_force_when_it_is_answered(server):
    admin = start(server)
    b = publish(admin, [("", "1\n")])
    problem = admin.get(f"/benchmarks/{b}/problems").json["items"][0]["id"]
    stale = changes(admin, admin, problem, b, TIMES)
    assert not stale, f"{len(stale)} of {TIMES} were judged by tests that had been replaced: {stale[:5]}"


def test_judging_again_uses_the_tests_of_now(server):
    admin = start(server)
    b = publish(admin, [("", "old\n")])
    s = judge(admin, b, "print('new')")
    assert s["verdict"] == "WA"
    problem = admin.get(f"/benchmarks/{b}/problems").json["items"][0]["id"]
    admin.put(f"/problems/{problem}/tests", {"tests": [{"input": "", "expected_output": "new\n"}]})
    stranger = server.register("rejudge-stranger")
    stranger.call("POST", f"/submissions/{s['id']}/rejudge", expect=(403, 404))
    admin.post(f"/submissions/{s['id']}/rejudge", expect=(200, 202))
    assert server.wait_done(admin, s["id"])["verdict"] == "OK"
    r = admin.get(f"/results/{s['id']}").json
    assert r["verdict"] == "OK" and r["score"] == 100 and len(r["tests"]) == 1, r
    wait_for("the score", lambda: admin.get(f"/scores?benchmark_id={b}").json["items"][0]["score"] == 100, 10)


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
