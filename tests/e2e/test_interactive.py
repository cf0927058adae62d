"""Interactive problems: a program and an interactor talk, each in its box; who spoils it, and what that comes to."""

import sys

import harness
from test_checkers import checker, faults, say
from test_judging import judge, publish, result, start

QUICK = {"time_limit_ms": 400, "wall_limit_ms": 3000}  # by the clock each waits for the other to start

# Guess a number of 1 to 100 within 7 questions; how the interactor goes wrong is in its input.
GUESS = r'''
import os, sys, time
secret, how = (open(sys.argv[1]).read().split() + ["well"])[:2]
secret = int(secret)
def end(code, why):
    open(sys.argv[3] + "judgemessage.txt", "w").write(why)
    sys.exit(code)
if how == "crash":
    os.abort()
if how == "spin":
    while True:
        pass
if how == "deaf":
    os.close(0)
    time.sleep(0.3)
    end(43, "did not listen")
for n in range(7):
    line = sys.stdin.readline()
    if not line:
        end(43, "no more guesses")
    try:
        guess = int(line)
    except ValueError:
        end(43, "no number")
    if guess == secret:
        print("right", flush=True)
        end(42, f"after {n + 1}")
    print("higher" if guess < secret else "lower", flush=True)
end(43, "too many guesses")
'''

SOLVE = '''
low, high = 1, 100
while True:
    middle = (low + high) // 2
    print(middle, flush=True)
    answer = input()
    if answer == "right":
        break
    if answer == "higher":
        low = middle + 1
    else:
        high = middle - 1
'''

SOLVE_C = r'''
#include <stdio.h>
#include <string.h>
int main(void)
{
    int low = 1, high = 100;
    char word[20];
    for (;;) {
        int middle = (low + high) / 2;
        printf("%d\n", middle);
        fflush(stdout);
        if (scanf("%19s", word) != 1)
            return 1;
        if (strcmp(word, "right") == 0)
            return 0;
        if (strcmp(word, "higher") == 0)
            low = middle + 1;
        else
            high = middle - 1;
    }
}
'''


def problem(api, test="37", **more):
    return publish(api, [(test, "")], checker=checker("validator", GUESS, interactive=True, time_limit_ms=1000), limits=QUICK, **more)


def test_a_program_and_its_interactor_talk_and_the_transcript_is_kept(server):
    admin = start(server)
    b = problem(admin)
    for source, language in (SOLVE, "python"), (SOLVE_C, "c"):
        s = judge(admin, b, source, language)
        t = result(admin, s)["tests"][0]
        assert s["verdict"] == "OK", t
        assert t["transcript"].split("\n")[:4] == ["> 50", "< lower", "> 25", "< higher"], t["transcript"]
        assert t["transcript"].rstrip().endswith("< right") and t["judge_message"].startswith("after"), t
        assert t["cpu_us"] > 0 and t["wall_us"] >= t["cpu_us"] // 2, t


def test_what_either_side_spoils_comes_to_the_right_verdict(server):
    admin = start(server)
    b = problem(admin)
    cases = {
        "never prints": ("import time; time.sleep(60)", "TL"),
        "does not flush": ("import sys; sys.stdout.write('50'); input()", "TL"),
        "spins": ("while True: pass", "TL"),
        "reads nothing and floods": ("while True: print(1)", "WA OL"),  # whichever comes first
        "ends at once": ("pass", "WA"),
        "ends with an error": ("import sys; sys.exit(3)", "RE"),
        "goes on after the end": (SOLVE + "\nwhile True: pass", "TL"),
        "fails after the end": (SOLVE + "\nraise SystemExit(5)", "RE"),
        "closes its output": ("import os; os.close(1); input()", "WA"),
        "closes its input": ("import os, time; os.close(0); print(1, flush=True); time.sleep(60)", "TL"),
        "says nonsense and dies of the closed pipe": ("print('x', flush=True)\nwhile True: print(1, flush=True)", "WA"),
        "does not load": ("def (", "BF"),
    }
    wrong = {}
    for name, (source, want) in cases.items():
        s = judge(admin, b, source)
        if s["verdict"] not in want.split():
            wrong[name] = s["verdict"], want, result(admin, s)
    assert not wrong, wrong


def test_an_interactor_that_fails_is_no_verdict(server):
    admin = start(server)
    for how, want in ("crash", "IE"), ("spin", "IE"), ("deaf", "WA"):
        b = problem(admin, f"37 {how}")
        before = sum(faults(server).values())
        s = admin.post("/submissions?wait=60", {"benchmark_id": b, "agent_id": "ada", "language": "python", "source": SOLVE}).json
        assert s["verdict"] == want, (how, s)
        assert (sum(faults(server).values()) > before) == (want == "IE"), how
    # the lane is sound after all that
    assert judge(admin, problem(admin), SOLVE)["verdict"] == "OK"


def test_long_talks_are_carried_whole_and_transcripts_cut(server):
    admin = start(server)
    echo = "import sys\nn = int(open(sys.argv[1]).read())\nfor i in range(n):\n    print(i, flush=True)\n    if sys.stdin.readline() != f'{i}\\n':\n        sys.exit(43)\nprint('end', flush=True)\nsys.exit(42)\n"
    b = publish(admin, [("8000", "")], checker=checker("validator", echo, interactive=True, time_limit_ms=20000),
                limits={"time_limit_ms": 20000, "wall_limit_ms": 40000})
    s = judge(admin, b, "while (line := input()) != 'end': print(line, flush=True)")
    t = result(admin, s)["tests"][0]
    assert s["verdict"] == "OK", t
    assert 60000 < len(t["transcript"]) <= 70000, len(t["transcript"])
    print(f"# 8000 exchanges took {t['wall_us'] / 1e6:.2f} s, {t['wall_us'] / 8000:.0f} us each", flush=True)
    big = "import sys\nsys.stdout.write('x' * 3000000 + '\\n')\nsys.stdout.flush()\nsys.exit(42 if len(sys.stdin.readline()) == 900001 else 43)\n"
    b = publish(admin, [("", "")], checker=checker("validator", big, interactive=True))
    s = judge(admin, b, "line = input(); assert len(line) == 3000000; print('y' * 900000, flush=True)")
    assert s["verdict"] == "OK", result(admin, s)


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
