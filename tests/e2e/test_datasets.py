"""Data sets of functions with hidden tests: imported, judged, and not to be cheated.

The set is our own; with HumanEval beside the source tree (../shared/data, or ASSAY_HUMANEVAL) that one is judged whole too.
"""

import gzip
import json
import os
import pathlib
import subprocess
import sys
import time

import harness
from harness import ADMIN_PASSWORD, PREFIX, ROOT, Skip

HUMANEVAL = pathlib.Path(os.environ.get("ASSAY_HUMANEVAL", ROOT.parent.parent / "shared/data/humaneval/HumanEval.jsonl.gz"))


def task(n, prompt, entry, solution, test, setup=""):
    return {"task_id": f"Own/{n}", "prompt": setup + prompt, "entry_point": entry, "canonical_solution": solution, "test": test}


OWN = [
    task(0, 'def absolute(n: int) -> int:\n    """ The distance of n from zero. """\n', "absolute",
         "    return n if n >= 0 else -n\n",
         "def check(candidate):\n    assert candidate(3) == 3\n    assert candidate(-4) == 4\n    assert candidate(0) == 0\n"),
    task(1, 'def split(s, at):\n    """ What is before and behind the first at, as a tuple, or None. """\n', "split",
         "    a, b, c = s.partition(at)\n    return (a, c) if b else None\n",
         "def check(candidate):\n    assert candidate('a=b', '=') == ('a', 'b')\n    assert candidate('ab', '=') is None\n"
         "    assert candidate('a=b=c', '=') == ('a', 'b=c')\n"),
    task(2, 'def halve(x: float) -> float:\n    """ Half of x; a ValueError for what is below zero. """\n', "halve",
         "    if x < 0:\n        raise ValueError('below zero')\n    return x / 2\n",
         "def check(candidate):\n    assert abs(candidate(3) - 1.5) < 1e-9\n    assert abs(candidate(0.1) - 0.05) < 1e-9\n"
         "    try:\n        candidate(-1)\n    except ValueError:\n        return\n    assert False, 'no exception'\n"),
    task(3, 'def count(words):\n    """ How often each word comes. """\n', "count",
         "    out = {}\n    for w in words:\n        out[w] = out.get(w, 0) + 1\n    return out\n",
         "def check(candidate):\n    assert candidate(['a', 'b', 'a']) == {'a': 2, 'b': 1}\n    assert candidate([]) == {}\n"
         "    assert sorted(candidate(list('zxz'))) == ['x', 'z']\n"),
    task(4, 'def undo(s):\n    """ The inverse of shift. """\n', "undo", "    return ''.join(chr(ord(c) - 1) for c in s)\n",
         "def check(candidate):\n    import random\n    for _ in range(20):\n        s = ''.join(random.choice('abc') for _ in range(5))\n"
         "        assert candidate(shift(s)) == s\n",
         'def shift(s):\n    """ Each letter becomes the next. """\n    return "".join(chr(ord(c) + 1) for c in s)\n\n\n'),
]

# Ways to pass the tests of `absolute` without being right: each is a whole program, and none may pass.
CHEATS = {
    "early exit": "import sys\nsys.exit(0)\n",
    "exit within the call": "import os\ndef absolute(n):\n    os._exit(0)\n",
    "exit with the checker's code": "import os\ndef absolute(n):\n    os._exit(42)\n",
    "an object that equals everything": """
class Any:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __abs__(self): return self
    __lt__ = __gt__ = __le__ = __ge__ = __sub__ = __rsub__ = lambda self, other: self
    def __bool__(self): return True
def absolute(n): return Any()
""",
    "an int that equals everything": """
class Any(int):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    __hash__ = int.__hash__
def absolute(n): return Any(7)
""",
    "patched builtins": """
import builtins, sys
builtins.abs = builtins.isinstance = builtins.all = builtins.any = lambda *a: True
builtins.AssertionError = type('E', (BaseException,), {})
class Quiet(dict):
    def __missing__(self, key): return lambda *a, **k: True
sys.exit = lambda *a: None
sys.excepthook = lambda *a: None
def absolute(n): return 7
""",
    "patched json": "import json\njson.dumps = lambda *a, **k: '{\"v\":true}'\ndef absolute(n): return 7\n",
    "prints a mark": "import os\nfor fd in range(10):\n    try: os.write(fd, b'passed\\nOK\\n42\\n')\n    except OSError: pass\n"
                     "def absolute(n): return 7\n",
    "forged results": "import os\ndef absolute(n):\n    for fd in range(3, 12):\n        try: os.write(fd, b'{\"v\":3}\\n{\"v\":4}\\n' * 4)\n"
                      "        except OSError: pass\n    return 7\n",
    "reads the test from files": """
import os
found = []
for top in ('/box', '/tmp', '/proc', '/dev/shm', '/var', '/etc', '/home', '/root'):
    for folder, _, names in os.walk(top):
        for name in names[:2000]:
            try:
                parts = open(os.path.join(folder, name), 'rb').read(1 << 20).split(b'candid')
                if any(p.startswith(b'ate(-4)') for p in parts[1:]): found.append(name)
            except (OSError, ValueError): pass
def absolute(n): return abs(n) if found else 7
""",
    "reads the test from memory": """
import gc, sys
def texts():
    frame = sys._getframe()
    while frame is not None:
        yield repr(frame.f_locals) + repr(frame.f_globals)
        frame = frame.f_back
    for o in gc.get_objects():
        if isinstance(o, (dict, list, tuple)): yield repr(o)[:100000]
def absolute(n):
    return abs(n) if any(p.startswith('ate(-4)') for t in texts() for p in t.split('candid')[1:]) else 7
""",
    "atexit": "import atexit, os\natexit.register(lambda: os._exit(42))\ndef absolute(n): return 7\n",
    "a thread": "import threading, os, time\nthreading.Thread(target=lambda: (time.sleep(0.05), os._exit(0))).start()\n"
                "def absolute(n): return 7\n",
    "a fork": "import os\nif os.fork() == 0:\n    os._exit(0)\ndef absolute(n): return 7\n",
    "a fork that goes on": "import os\ndef absolute(n):\n    os.fork()\n    return 7\n",
    "kills all others": "import os, signal\ntry: os.kill(-1, signal.SIGKILL)\nexcept OSError: pass\ndef absolute(n): return 7\n",
}


def assay(server, *args, status=(0,), **more):
    r = subprocess.run([str(PREFIX / "bin" / "assay"), *args], capture_output=True, text=True, timeout=300,
                       env={"PATH": "/usr/bin:/bin", "HOME": str(server.tmp), "XDG_CONFIG_HOME": str(server.tmp), "ASSAY_URL": f"http://127.0.0.1:{server.port}",
                            "ASSAY_PASSWORD": ADMIN_PASSWORD}, **more)
    assert r.returncode in status, f"assay {args}: exit status {r.returncode}\n{r.stdout}{r.stderr}"
    return r


def started(server):
    api = server.login()
    if api.call("GET", "/agents/bot").status == 404:
        assay(server, "login", "admin")
        api.post("/agents", {"id": "bot", "name": "A model"}, expect=201)
    return api


def lines(server, name, rows, packed=False):
    path = server.tmp / name
    with (gzip.open if packed else open)(path, "wt") as f:
        f.writelines(json.dumps(r) + "\n" for r in rows)
    return str(path)


def imported(server, benchmark="own"):
    api = started(server)
    if api.call("GET", f"/benchmarks/{benchmark}").status == 404:
        out = assay(server, "import", "humaneval", "-b", benchmark, lines(server, "own.jsonl.gz", OWN, packed=True)).stdout
        assert f"{len(OWN)} problems" in out, out
    return api


def judged(server, benchmark, rows, *more):
    r = assay(server, "submit-samples", "-b", benchmark, "-a", "bot", "--wait", "--json", *more, lines(server, "samples.jsonl", rows), status=(0, 1))
    return json.loads(r.stdout)


def test_a_set_is_imported_and_its_own_solutions_pass(server):
    imported(server)
    rows = [{"task_id": t["task_id"], "completion": t["canonical_solution"]} for t in OWN]
    got = judged(server, "own", rows)
    assert got["verdicts"] == {"OK": len(OWN)} and got["pass_at"] == {"1": 1.0}, got


def test_what_is_wrong_fails(server):
    imported(server)
    rows = [{"task_id": t["task_id"], "completion": "    pass\n"} for t in OWN]
    got = judged(server, "own", rows)
    assert got["verdicts"] == {"WA": len(OWN)} and got["passed"] == 0, got
    rows = [{"task_id": "Own/0", "completion": c} for c in ("    return n\n", "    return [n]\n", "    return str(abs(n))\n", "    return\n  x\n")]
    got = judged(server, "own", rows)
    assert got["passed"] == 0, got
    rows = [{"task_id": "Own/1", "completion": "    r = s.split(at, 1)\n    return r if len(r) > 1 else None\n"}]
    assert judged(server, "own", rows)["passed"] == 0, "a list is no tuple"


def test_pass_at_k_is_the_unbiased_estimate(server):
    imported(server)
    right, wrong = "    return abs(n)\n", "    return n\n"
    rows = [{"task_id": "Own/0", "completion": c} for c in [right] * 2 + [wrong] * 4]
    rows += [{"task_id": "Own/1", "completion": c} for c in ["    pass\n"] * 5] + [{"task_id": "Own/1", "solution": "def split(s, at):\n    return 1\n"}]
    got = judged(server, "own", rows)
    # 1 - C(4,5)/C(6,5) = 1 and 1 - C(6,5)/C(6,5) = 0
    assert got["samples"] == 12 and got["passed"] == 2, got
    assert abs(got["pass_at"]["1"] - (2 / 6 + 0) / 2) < 1e-12 and abs(got["pass_at"]["5"] - (1 + 0) / 2) < 1e-12 and "10" not in got["pass_at"], got


def test_none_of_the_ways_to_cheat_passes(server):
    api = imported(server)
    got = judged(server, "own", [{"task_id": "Own/0", "solution": program} for program in CHEATS.values()])
    by_id = {i["submission_id"]: i["verdict"] for i in got["items"]}
    passed = [name for name, i in zip(CHEATS, got["items"]) if i["verdict"] == "OK"]
    assert not passed and len(by_id) == len(CHEATS), passed
    ours = [name for name, i in zip(CHEATS, got["items"]) if i["verdict"] not in ("WA", "RE", "TL")]
    assert not ours, f"what a program does is its own fault: {ours}"
    right = judged(server, "own", [{"task_id": "Own/0", "solution": "print('noise')\ndef absolute(n):\n    print('more', n)\n    return abs(n)\n"}])
    assert right["passed"] == 1, "what a program prints is no cheating"


def test_the_test_is_seen_by_judges_only(server):
    admin = imported(server)
    problem = admin.get("/benchmarks/own/problems").json["items"][0]["id"]
    hidden = admin.get(f"/problems/{problem}/tests").json["items"]
    assert "candidate(-4)" in hidden[0]["expected_output"], hidden
    if server.login().call("POST", "/login", {"login": "eve", "password": "a-long-enough-password"}).status != 200:
        admin.post("/register", {"login": "eve", "password": "a-long-enough-password"}, expect=201)
    eve = harness.Api(server.port, admin.post("/login", {"login": "eve", "password": "a-long-enough-password"}).json["token"])
    for path in (f"/problems/{problem}", f"/problems/{problem}/tests", "/benchmarks/own"):
        assert b"candidate(-4)" not in eve.get(path).body, path
    eve.post("/agents", {"id": "eves", "name": "Eve's"}, expect=201)
    s = eve.post("/submissions?wait=60", {"benchmark_id": "own", "problem_id": problem, "agent_id": "eves", "language": "python",
                                          "source": "def absolute(n): return 7\n"}, expect=200).json
    assert s["verdict"] == "WA", s
    assert b"candidate(" not in eve.get(f"/results/{s['id']}").body
    assert b"candidate(3) == 3" in admin.get(f"/results/{s['id']}").body, "a judge sees which line failed"


MBPP = [
    {"task_id": 7, "text": "Write a function that gives the larger of two.", "code": "def larger(a, b):\n    return a if a > b else b\n",
     "test_list": ["assert larger(1, 2) == 2", "assert larger(2, 1) == 2", "assert larger(-1.5, -2) == -1.5"], "test_setup_code": ""},
    {"task_id": 8, "prompt": "Write a function that gives the square root of a square.", "code": "import math\ndef root(n):\n    return math.isqrt(n)\n",
     "test_list": ["assert root(9) == math.sqrt(9)", "assert root(0) == 0"], "test_imports": ["import math"]},
]


def test_mbpp_is_imported(server):
    started(server)
    assay(server, "import", "mbpp", "-b", "basic", lines(server, "mbpp.jsonl", MBPP))
    got = judged(server, "basic", [{"task_id": t["task_id"], "completion": t["code"]} for t in MBPP])
    assert got["verdicts"] == {"OK": 2}, got
    got = judged(server, "basic", [{"task_id": 7, "completion": "def larger(a, b): return a\n"}, {"task_id": 8, "completion": "def root(n): pass\n"}])
    assert got["passed"] == 0, got


X = {"task_id": "Python/0", "declaration": "def add(a, b):\n", "prompt": 'def add(a, b):\n    """ The sum. """\n',
     "canonical_solution": "    return a + b\n", "test": "def check(add):\n    assert add(1, 2) == 3\n    assert add('a', 'b') == 'ab'\n\ncheck(add)\n"}


def test_humaneval_x_is_imported(server):
    started(server)
    assay(server, "import", "humaneval-x", "-b", "x", lines(server, "x.jsonl", [X]))
    got = judged(server, "x", [{"task_id": "Python/0", "completion": c} for c in ("    return a + b\n", "    return a\n")])
    assert [i["verdict"] for i in got["items"]] == ["OK", "WA"], got
    r = assay(server, "import", "humaneval-x", "-b", "y", lines(server, "x.jsonl", [dict(X, task_id="Cobol/0"), dict(X, task_id="1")]), status=(9,))
    assert "x.jsonl:1" in r.stderr and "x.jsonl:2" in r.stderr and "-l LANGUAGE" in r.stderr, r.stderr


JS = {"task_id": "JavaScript/0", "declaration": "\nconst tally = (words) => {\n",
      "prompt": "const plus = (s) => {\n  return s + 1\n}\n\n/* How often each comes. */\nconst tally = (words) => {\n",
      "canonical_solution": "  const out = {};\n  for (const w of words) out[w] = (out[w] || 0) + 1;\n  return out;\n}\n",
      "test": "const testTally = () => {\n  console.assert(JSON.stringify(tally(['a', 'b', 'a'])) === '{\"a\":2,\"b\":1}')\n"
              "  console.assert(tally([plus(1)])[2] === 1)\n}\n\ntestTally()\n"}
JS_CHEATS = ["process.exit(0)\n", "const tally = () => process.exit(42)\n", "console.assert = () => {}\nconst tally = () => 1\n",
             "const tally = () => new Proxy({}, {get: () => 1})\n", "JSON.stringify = () => '{\"v\":1}'\nconst tally = () => 1\n",
             "const tally = () => ({toJSON() { return {a: 2, b: 1} }})\n", "const tally = (w) => {\n", "const tally = () => ({2: 1, toString: () => 'x'})\n",
             "require('fs').writeSync(1, '{\"v\":{\"d\":[[\"a\",2],[\"b\",1]]}}\\n'.repeat(5))\nconst tally = () => 1\n"]


def test_humaneval_x_in_javascript(server):
    started(server)
    if not any(i["name"] == "javascript" and i["offered"] for i in server.login().get("/languages").json["items"]):
        raise Skip("no Node.js where boxes run")
    assay(server, "import", "humaneval-x", "-b", "js", lines(server, "js.jsonl", [JS]))
    right = "  const out = {};\n  words.forEach((w) => { out[w] = (out[w] ?? 0) + 1 });\n  console.log(words);\n  return out;\n}\n"
    rows = [{"task_id": "JavaScript/0", "completion": c} for c in (right, "  return {}\n}\n")]
    got = judged(server, "js", rows + [{"task_id": "JavaScript/0", "solution": s} for s in JS_CHEATS])
    assert [i["verdict"] == "OK" for i in got["items"]] == [True, False] + [False] * len(JS_CHEATS), got
    assert set(got["verdicts"]) <= {"OK", "WA", "RE"}, got["verdicts"]
    wrong = dict(JS, canonical_solution="  return {}\n}\n")
    r = assay(server, "import", "humaneval-x", "-b", "js2", lines(server, "js2.jsonl", [wrong]), status=(1,))
    assert "console.assert(JSON" in r.stderr, r.stderr


def test_faults_of_a_set_are_named_and_nothing_is_made(server):
    api = started(server)
    bad = [OWN[0], {"task_id": "Own/9", "prompt": "def f():\n", "entry_point": "f", "test": "x"}]
    r = assay(server, "import", "humaneval", "-b", "bad", lines(server, "bad.jsonl", bad), status=(9,))
    assert "bad.jsonl:2" in r.stderr and "canonical_solution" in r.stderr, r.stderr
    pathlib.Path(server.tmp / "bad.jsonl").write_text(json.dumps(OWN[0]) + "\n{\n")
    r = assay(server, "import", "humaneval", "-b", "bad", str(server.tmp / "bad.jsonl"), status=(9,))
    assert "bad.jsonl:2" in r.stderr, r.stderr
    wrong = dict(OWN[0], task_id="Own/1", canonical_solution="    return n\n")
    path = lines(server, "bad.jsonl", [OWN[0], wrong, dict(OWN[3], task_id="Own/2", test="def check(candidate):\n    assert True\n")])
    r = assay(server, "import", "humaneval", "-b", "bad", path, status=(1,))
    assert "Own/1" in r.stderr and "candidate(-4) == 4" in r.stderr and "Own/2" in r.stderr and "Own/0" not in r.stderr, r.stderr
    assert api.call("GET", "/benchmarks/bad").status == 404
    cut = pathlib.Path(lines(server, "cut.jsonl.gz", OWN, packed=True))
    cut.write_bytes(cut.read_bytes()[:-40])
    assert "gzip" in assay(server, "import", "humaneval", "-b", "bad", str(cut), status=(9,)).stderr
    assay(server, "import", "humaneval", "-b", "some", path, "--skip")
    assert len(api.get("/benchmarks/some/problems").json["items"]) == 1
    for args, says in ((("import", path, "humaneval", "-b", "x"), "before the file"), (("import", "humaneval", path), "-b"), (("submit-samples", path), "-b")):
        assert says in assay(server, *args, status=(2,)).stderr
    r = assay(server, "submit-samples", "-b", "some", "-a", "bot", lines(server, "s.jsonl", [{"task_id": "Own/77", "completion": ""}]), status=(9,))
    assert "s.jsonl:1" in r.stderr and "Own/77" in r.stderr, r.stderr


def test_humaneval_passes_and_fails_whole(server):
    if not HUMANEVAL.exists():
        raise Skip(f"HumanEval is not at {HUMANEVAL}")
    started(server)
    assay(server, "import", "humaneval", "-b", "humaneval", str(HUMANEVAL))
    with gzip.open(HUMANEVAL, "rt") as f:
        tasks = [json.loads(line) for line in f]
    rows = [{"task_id": t["task_id"], "completion": c} for t in tasks for c in (t["canonical_solution"], "    pass\n")]
    begin = time.monotonic()
    got = judged(server, "humaneval", rows)
    print(f"# 2 x {len(tasks)} in {time.monotonic() - begin:.1f} s")
    assert got["problems"] == 164 and got["passed"] == 164 and got["pass_at"]["1"] == 0.5, (got["verdicts"], got["pass_at"])
    assert all((i["verdict"] == "OK") == (n % 2 == 0) for n, i in enumerate(got["items"])), got["verdicts"]


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
