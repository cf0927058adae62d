"""Problems that are judged by programs: validators, testlib's exit codes, scripts, several passes; and checkers that fail."""

import sys

import harness
from harness import wait_for
from test_judging import judge, publish, result, start

C = "c"
PY = "python"

# Any two different numbers with the sum that the input asks for; the answer is one such pair.
PAIR = '''
import os, sys
total = int(open(sys.argv[1]).read())
want = open(sys.argv[2]).read().split()
where = sys.argv[3]
def say(name, text):
    with open(os.path.join(where, name), "w") as f:
        f.write(text)
got = sys.stdin.read().split()
if "scored" in sys.argv[4:]:
    say("score.txt", "0.25")
try:
    a, b = map(int, got)
except ValueError:
    say("judgemessage.txt", "not two numbers, one pair is " + " ".join(want))
    say("teammessage.txt", "print two numbers")
    sys.exit(43)
if a + b != total or a == b:
    say("judgemessage.txt", f"{a} + {b}, wanted {total} like {' '.join(want)}")
    sys.exit(43)
sys.exit(42)
'''

# argv: input output answer; testlib's exit codes
TESTLIB = r'''
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv)
{
    FILE *in = fopen(argv[1], "r"), *out = fopen(argv[2], "r"), *answer = fopen(argv[3], "r");
    int n, got, want;
    if (argc < 4 || in == NULL || out == NULL || answer == NULL || fscanf(in, "%d", &n) != 1 || fscanf(answer, "%d", &want) != 1)
        return 3;
    if (fscanf(out, "%d", &got) != 1) {
        fprintf(stderr, "wrong output format Expected integer\n");
        return 2;
    }
    if (got == 77)
        abort();
    if (got == want) {
        fprintf(stderr, "ok %d\n", got);
        return 0;
    }
    if (got == -want) {
        fprintf(stderr, "points 1 the sign is wrong\n");
        return 7;
    }
    if (got == 2 * want)
        return 16 + 100;
    fprintf(stderr, "wrong answer expected %d, found %d\n", want, got);
    return 1;
}
'''

SCRIPT = '''
import sys
got = open(sys.argv[2]).read().strip()
if got == "boom":
    raise RuntimeError("the checker does not like this")
if got == "hang":
    while True:
        pass
if got == "eat":
    kept = []
    while True:
        kept.append(bytearray(16 << 20))
print("right" if got[::-1] == open(sys.argv[3]).read().strip() else "part 0.5" if got else "wrong")
print("looked at", got)
'''

ECHO = "print(input())"


def checker(kind, source, language=PY, **more):
    return {"kind": kind, "language": language, "source": source, **more}


def say(text):
    return f"print({text!r})"


def test_a_validator_judges_by_42_and_43_and_its_messages_go_to_whom_they_are_for(server):
    admin = start(server)
    b = publish(admin, [("10", "4 6")], checker=checker("validator", PAIR))
    assert judge(admin, b, say("1 9"), PY)["verdict"] == "OK"
    assert judge(admin, b, say("5 5"), PY)["verdict"] == "WA"
    s = judge(admin, b, say("a b"), PY)
    r = result(admin, s)
    assert s["verdict"] == "WA" and r["tests"][0]["team_message"] == "print two numbers", r
    assert "one pair is 4 6" in r["tests"][0]["judge_message"], r
    user = server.register("checked")
    user.post("/agents", {"id": "eve", "name": "Eve"}, expect=201)
    s = judge(user, b, say("a b"), PY, agent="eve")
    r = user.get(f"/results/{s['id']}").json
    assert "judge_message" not in r["tests"][0] and r["tests"][0]["team_message"] == "print two numbers", r
    p = user.get(f"/benchmarks/{b}").json["problems"][0]["id"]
    shown = user.get(f"/problems/{p}").json["checker"]
    assert shown["kind"] == "validator" and "source" not in shown and "flags" not in shown, shown
    assert admin.get(f"/problems/{p}").json["checker"]["source"] == PAIR


def test_a_program_that_failed_is_not_checked(server):
    admin = start(server)
    b = publish(admin, [("10", "4 6")], checker=checker("validator", "import sys; sys.exit(42)"), limits={"time_limit_ms": 300})
    assert judge(admin, b, "import sys; print('1 9'); sys.exit(1)", PY)["verdict"] == "RE"
    assert judge(admin, b, "while True: pass", PY)["verdict"] == "TL"
    assert judge(admin, b, "#include <none.h>", C)["verdict"] == "BF"


def test_testlib_exit_codes(server):
    admin = start(server)
    b = publish(admin, [{"input": "3", "expected_output": "5", "points": 4}], checker=checker("testlib", TESTLIB, C))
    seen = {}
    for text in ("5", "6", "none", "-5", "10"):
        s = judge(admin, b, say(text), PY)
        seen[text] = s["verdict"], result(admin, s)["tests"][0].get("judge_message", "")
    assert [seen[k][0] for k in seen] == ["OK", "WA", "WA", "WA", "WA"], seen
    assert seen["6"][1] == "wrong answer expected 5, found 6" and seen["-5"][1] == "points 1 the sign is wrong", seen


def test_a_script_answers_in_words(server):
    admin = start(server)
    b = publish(admin, [("x", "abc")], checker=checker("script", SCRIPT))
    assert judge(admin, b, say("cba"), PY)["verdict"] == "OK"
    s = judge(admin, b, say("abc"), PY)
    assert s["verdict"] == "WA" and result(admin, s)["tests"][0]["judge_message"] == "looked at abc", result(admin, s)


def test_a_checker_that_fails_is_no_verdict_and_somebody_is_told(server):
    admin = start(server)
    cases = [(checker("script", SCRIPT), "boom", "exit"), (checker("script", SCRIPT, time_limit_ms=300), "hang", "time"),
             (checker("script", SCRIPT, memory_limit_bytes=64 << 20), "eat", "memory exit"),
             (checker("testlib", TESTLIB, C), "77", "crash"), (checker("validator", "import sys; sys.exit(1)"), "x", "exit"),
             (checker("validator", "this is no program", C), "x", "build")]
    for c, text, kinds in cases:
        b = publish(admin, [("3", "5"), ("4", "6")], checker=c)
        before = faults(server)
        s = admin.post("/submissions?wait=60", {"benchmark_id": b, "agent_id": "ada", "language": PY, "source": say(text)}).json
        assert s["status"] == "error" and s["verdict"] == "IE", (text, s)
        new = {k for k, v in faults(server).items() if v > before.get(k, 0)}
        assert new and new <= set(kinds.split()), (text, new)
        r = result(admin, s)
        assert "the checker failed on test 1" in r["fault"] and r["tests"][0]["verdict"] == "IE", r
        wait_for("the log's word on it", lambda: f"checker_failed" in server.log_text() and s["id"] in server.log_text())
        told = admin.call("GET", f"/submissions/{s['id']}/events", headers={"Last-Event-ID": "1"}).body.decode()
        assert "event: checker_failed" in told, told
    # mended, the same submission is judged again
    p = admin.get(f"/benchmarks/{b}").json["problems"][0]["id"]
    admin.patch(f"/problems/{p}", {"checker": checker("validator", "int main(void) { return 42; }", C)})

    def again():  # what a problem is now reaches those who judge a moment later
        admin.call("POST", f"/submissions/{s['id']}/rejudge")
        return server.wait_done(admin, s["id"])["verdict"] == "OK"
    wait_for("the mended checker", again, 30, 0.2)


def faults(server):
    import re
    return {m[1]: float(m[2]) for m in re.finditer(r'assay_runner_checker_faults_total\{fault="(\w+)"\} (\S+)',
                                                   server.api().get("/metrics").body.decode())}


def test_only_staff_hear_that_a_checker_failed(server):
    start(server)
    admin, user = server.login(), server.register("curious")
    user.post("/agents", {"id": "mallory", "name": "Mallory"}, expect=201)
    b = publish(admin, [("1", "2")], checker=checker("validator", "import sys; sys.exit(9)"))
    s = user.post("/submissions?wait=60", {"benchmark_id": b, "agent_id": "mallory", "language": PY, "source": say("1")}).json
    assert s["status"] == "error", s
    for header in {}, {"Last-Event-ID": "1"}:
        assert "checker_failed" not in user.call("GET", f"/submissions/{s['id']}/events", headers=header).body.decode()
    r = user.get(f"/results/{s['id']}").json
    assert "fault" not in r and "judge_message" not in str(r), r


def test_a_checker_is_out_of_the_programs_reach(server):
    """What a program leaves behind, and what it prints, changes nothing for its checker."""
    admin = start(server)
    b = publish(admin, [("7", "7")] * 2, checker=checker("script", '''
import os, sys
assert sorted(os.listdir("judge")) == ["answer", "feedback", "input", "output"], os.listdir("judge")
assert not [f for f in os.listdir("/tmp")], os.listdir("/tmp")
assert len([p for p in os.listdir("/proc") if p.isdigit()]) <= 2
print("right" if open("judge/output").read() == open("judge/answer").read() else "wrong")
'''))
    source = "import os\nfor d in ('/tmp', '/box', '/dev/shm'):\n    open(d + '/left', 'w').write('x')\nif os.fork() == 0:\n    import time; time.sleep(9)\nprint(7, end='')\n"
    assert judge(admin, b, source, PY)["verdict"] == "OK"


def test_the_checker_is_built_once_and_comes_from_the_cache(server):
    admin = start(server)
    b = publish(admin, [("1", "5")], checker=checker("testlib", TESTLIB, C))
    def hits():
        import re
        m = re.search(r'assay_runner_build_cache_total\{outcome="hit"\} (\S+)', server.api().get("/metrics").body.decode())
        return float(m[1]) if m else 0
    judge(admin, b, say("5"), PY)
    before = hits()
    assert judge(admin, b, say("5"), PY)["verdict"] == "OK"
    wait_for("a hit", lambda: hits() > before)


def test_passes(server):
    """The validator asks for another run with what it writes to nextpass.in; what it wrote elsewhere stays."""
    admin = start(server)
    source = '''
import os, sys
d = sys.argv[3]
seen = open(d + "log").read() if os.path.exists(d + "log") else ""
assert not os.path.exists(d + "nextpass.in")
got = sys.stdin.read().split()
open(d + "log", "w").write(seen + " ".join(got) + ";")
n = int(open(sys.argv[1]).read())
if got != [str(n - 1)]:
    open(d + "judgemessage.txt", "w").write("seen " + seen)
    sys.exit(43)
if n > 1:
    open(d + "nextpass.in", "w").write(str(n - 1))
sys.exit(42)
'''
    b = publish(admin, [("3", "")], checker=checker("validator", source, passes=3))
    s = judge(admin, b, "print(int(input()) - 1)", PY)
    assert s["verdict"] == "OK", result(admin, s)
    s = judge(admin, b, "n = int(input()); print(n - 1 if n > 1 else 5)", PY)
    assert s["verdict"] == "WA" and result(admin, s)["tests"][0]["judge_message"] == "seen 2;1;", result(admin, s)
    b = publish(admin, [("4", "")], checker=checker("validator", source, passes=3))
    s = admin.post("/submissions?wait=60", {"benchmark_id": b, "agent_id": "ada", "language": PY, "source": "print(int(input()) - 1)"}).json
    assert s["verdict"] == "IE" and "another pass" in result(admin, s)["fault"], s


def test_what_a_problem_may_not_say_is_refused_with_its_place(server):
    admin = start(server)
    for more, pointer in [(dict(checker={"kind": "validator", "language": PY}), "/checker/source"),
                          (dict(checker=checker("other", "x")), "/checker/kind"),
                          (dict(checker=checker("script", "x", passes=2)), "/checker/passes"),
                          (dict(checker=checker("script", "x", interactive=True)), "/checker/interactive"),
                          (dict(checker=checker("validator", "x", flags=["a\nb"])), "/checker/flags/0"),
                          (dict(checker=checker("validator", "x", time_limit_ms=1)), "/checker/time_limit_ms"),
                          (dict(checker=checker("validator", "x"), mode="answer"), "/checker")]:
        a = admin.call("POST", "/benchmarks", {"id": "refused", "name": "R", "tests": [{"input": "1"}], **more}, expect=400)
        assert pointer in [e["pointer"] for e in a.json["errors"]], (pointer, a)


def test_a_problem_keeps_its_checker_until_it_is_taken_away(server):
    admin = start(server)
    b = publish(admin, [("10", "4 6")], checker=checker("validator", PAIR, flags=["scored"]))
    p = admin.get(f"/benchmarks/{b}").json["problems"][0]["id"]
    admin.put(f"/problems/{p}/tests", {"tests": [{"input": "12", "expected_output": "4 8"}]})
    admin.patch(f"/problems/{p}", {"statement": "Two numbers."})
    assert admin.get(f"/problems/{p}").json["checker"] == {
        "kind": "validator", "language": PY, "interactive": False, "passes": 1, "time_limit_ms": 10000,
        "memory_limit_bytes": 512 << 20, "flags": ["scored"], "source": PAIR}
    wait_for("the new test", lambda: judge(admin, b, say("1 11"), PY)["verdict"] == "OK", 30, 0.2)
    assert admin.patch(f"/problems/{p}", {"checker": None}).json["checker"] is None
    wait_for("a verdict without it", lambda: judge(admin, b, say("1 11"), PY)["verdict"] == "WA", 30, 0.2)


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
