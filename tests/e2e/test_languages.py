"""Languages are data: what is installed is offered, each says its own ways of dying, a new one is a file."""

import json
import pathlib
import shutil
import sys
import tempfile
import time

import harness
from harness import Server, Skip, wait_for

FIRST = ("python", "c", "cpp", "java", "go")
HUNGRY_JAVA = "import java.util.*; public class Main { public static void main(String[] a) { %s } }"

# language, source, verdict under 128 MiB
DEATHS = [
    ("c-clang", "int main(void) { return nothing; }", "BF"),
    ("c-clang", "int main(void) { return 3; }", "RE"),
    ("cpp-clang", "int main() { auto x = ; }", "BF"),
    ("cpp-clang", "#include <new>\nint main() { throw std::bad_alloc(); }", "ML"),
    ("cpp", "#include <vector>\nint main() { std::vector<char> v(1ull << 50, 'x'); }", "ML"),
    ("python", "raise MemoryError", "ML"),
    ("python", "x = [1] * (1 << 40)", "ML"),
    ("python", "import sys\nsys.setrecursionlimit(100)\ndef f(): f()\nf()", "RE"),
    ("python", "import os\nos.kill(os.getpid(), 11)", "RE"),
    ("java", HUNGRY_JAVA % "long[] x = new long[Integer.MAX_VALUE];", "ML"),
    ("java", HUNGRY_JAVA % 'StringBuilder s = new StringBuilder("x"); while (true) s.append(s);', "ML"),
    ("java", HUNGRY_JAVA % "try { List<int[]> l = new ArrayList<>(); while (true) l.add(new int[1 << 18]); } "
                           "catch (Error e) { System.exit(0); }", "ML"),
    ("java", HUNGRY_JAVA % "main(a);", "RE"),
    ("java", HUNGRY_JAVA % "System.exit(7);", "RE"),
    ("go", "package main\nfunc main() { x := make([]byte, 1<<45); x[0] = 1 }", ("ML", "RE")),
    ("go", "package main\nimport \"os\"\nfunc main() { os.Exit(3) }", "RE"),
    ("go", "package main\nfunc main() { var c chan int; <-c }", "RE"),
    ("javascript", "let x = ;", "BF"),
    ("javascript", "throw new Error('x')", "RE"),
    ("javascript", "const a = []; for (;;) a.push(new Array(1 << 16).fill(1.5));", "ML"),
    ("javascript", "const a = []; for (;;) a.push(Buffer.alloc(1 << 20, 1));", "ML"),
    ("rust", "fn main() { let x: i32 = \"a\"; }", "BF"),
    ("rust", "fn main() { panic!(); }", "RE"),
    ("rust", "fn main() { let mut v = vec![]; loop { v.push(vec![1u8; 1 << 20]); } }", "ML"),
    ("perl", "my $x = ;", "BF"),
    ("perl", "die 'x'", "RE"),
    ("bash", "exit 3", "RE"),
    ("bash", "a=x; while :; do a=$a$a; done", "ML"),
    ("ruby", "def (", "BF"),
    ("ruby", "raise 'x'", "RE"),
    ("ruby", "a = []\nloop { a << 'x' * (1 << 20) }", "ML"),
    ("lua", "x = = 2", "BF"),
    ("lua", "error('x')", "RE"),
    ("lua", "local t = {} while true do t[#t + 1] = string.rep('x', 1 << 20) .. #t end", "ML"),
    ("php", "<?php $x = = 2;", "BF"),
    ("php", "<?php throw new Exception('x');", "RE"),
    ("php", "<?php $a = []; while (1) $a[] = str_repeat('x', 1 << 20);", "ML"),
]


def languages(server):
    """Every language once its self-test has spoken."""
    api = server.login()

    def settled():
        items = api.get("/languages").json["items"]
        return {i["name"]: i for i in items} if all(i["state"] != "testing" for i in items) else None
    return wait_for("the self-tests", settled, 90)


def judge(api, language, source, benchmark="nothing"):
    s = api.post("/submissions?wait=60", {"benchmark_id": benchmark, "agent_id": "ada", "language": language, "source": source},
                 expect=200).json
    return s["verdict"], s["id"]


def prepared(server, benchmark="nothing", **limits):
    admin = server.login()
    if admin.call("GET", "/agents/ada").status == 404:
        admin.post("/agents", {"id": "ada", "name": "Ada"}, expect=201)
    if admin.call("GET", f"/benchmarks/{benchmark}").status == 404:
        admin.post("/benchmarks", {"id": benchmark, "name": benchmark, "limits": {"time_limit_ms": 5000, "wall_limit_ms": 20000, **limits},
                                   "tests": [{"input": "1 2 3\n", "expected_output": ""}]}, expect=201)
    return admin


def test_what_is_installed_is_offered_with_its_version(server):
    known = languages(server)
    files = {p.stem for p in (harness.ROOT / "languages").glob("*.json")}
    assert set(known) == files, set(known) ^ files
    for name in FIRST:
        assert known[name]["offered"], known[name]
    for name, language in known.items():
        if language["offered"]:
            assert language["version"] and language["reason"] is None, language
        else:
            assert name not in FIRST and language["reason"], language


def test_each_alias_leads_to_its_language(server):
    admin = prepared(server)
    known = languages(server)
    for alias, name in {"python3": "python", "py": "python", "gcc": "c", "C": "c", "g++": "cpp", "c++": "cpp", "cpp17": "cpp",
                        "clang": "c-clang", "clang++": "cpp-clang", "golang": "go", "Java": "java", "js": "javascript",
                        "node": "javascript", "nodejs": "javascript", "rs": "rust", "sh": "bash", "pl": "perl"}.items():
        if known[name]["offered"]:
            a = admin.post("/submissions", {"benchmark_id": "nothing", "agent_id": "ada", "language": alias, "source": "x"}, expect=202)
            assert admin.get(f"/submissions/{a.json['id']}").json["language"] == name, alias


def test_each_language_says_its_own_ways_of_dying(server):
    admin = prepared(server, "small", memory_limit_bytes=128 << 20)
    known = languages(server)
    wrong = []
    for language, source, verdict in DEATHS:
        if not known[language]["offered"]:
            continue
        got, sid = judge(admin, language, source, "small")
        if got not in (verdict if isinstance(verdict, tuple) else (verdict,)):
            wrong.append(f"{language}: {source!r}: want {verdict}, got {got}: {admin.get(f'/results/{sid}').body[-1500:]}")
    assert not wrong, "\n".join(wrong)


def test_a_runtime_that_cannot_live_under_the_limit_is_out_of_memory(server):
    admin = prepared(server, "tiny", memory_limit_bytes=4 << 20)
    known = languages(server)
    for language in ("java", "go", "javascript", "python"):
        if known[language]["offered"]:
            # its own sample, right wherever it can live; those of Go and Python live in 4 MiB
            source = json.loads((harness.ROOT / "languages" / f"{language}.json").read_text())["sample"]["source"]
            if language in ("go", "python"):
                source = harness.program("hungry.go" if language == "go" else "hungry.py")
            got, sid = judge(admin, language, source, "tiny")
            assert got == "ML", (language, got, admin.get(f"/results/{sid}").body)


def awk(**change):
    return {
        "name": "awk", "title": "awk", "aliases": ["mawk"], "source": "main.awk", "extensions": [".awk"],
        "tools": {"awk": "mawk gawk original-awk"},
        "version": ["{awk}", "BEGIN { print \"awk\" }"],
        "run": {"argv": ["{awk}", "-f", "{source}"]},
        "sample": {"source": "{ for (i = 1; i <= NF; i++) sum += $i }\nEND { print sum }\n", "input": "1 2 3\n", "output": "6\n"},
        **change,
    }


class Folder:
    """A server with a folder of more languages."""

    def __init__(self, *files, env=None):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="assay-languages-", dir="/var/tmp"))
        self.path.chmod(0o755)
        for i, f in enumerate(files):
            (self.path / f"{i}.json").write_text(f if isinstance(f, str) else json.dumps(f))
        self.server = Server(env={"ASSAY_LANGUAGES_PATH": str(self.path), **(env or {})})

    def __enter__(self):
        return self.server

    def __exit__(self, *_):
        self.server.close()
        shutil.rmtree(self.path)


def need_awk():
    if not any(pathlib.Path(f"/usr/bin/{name}").exists() for name in ("mawk", "gawk", "original-awk")):
        raise Skip("there is no awk")


def test_a_new_language_is_a_file_and_no_code():
    need_awk()
    with Folder(awk()) as server:
        server.start()
        admin = prepared(server)
        assert judge(admin, "mawk", "BEGIN { }\n")[0] == "OK"
        assert judge(admin, "awk", "BEGIN { exit 3 }\n")[0] == "RE"


def test_a_languages_factors_scale_a_problems_limits():
    need_awk()
    slow = awk(factors={"time": 3, "memory": 2, "memory_extra_mb": 100})
    with Folder(slow) as server:
        server.start()
        admin = prepared(server, "short", time_limit_ms=300, wall_limit_ms=2000, memory_limit_bytes=64 << 20)
        for language, source, least in (("awk", "BEGIN { for (;;) x++ }", 900), ("c", "int main(void) { for (;;) { } }", 300)):
            verdict, sid = judge(admin, language, source, "short")
            cpu = admin.get(f"/results/{sid}").json["cpu_ms"]
            # the hard limit is a tenth and 100 ms more, and a busy machine looks late: less than another factor of three
            assert verdict == "TL" and least <= cpu < 3 * least, (language, verdict, cpu)
        hoard = "BEGIN { s = \"x\"; for (;;) { s = s s; a[n++] = s } }"
        verdict, sid = judge(admin, "awk", hoard, "short")
        peak = admin.get(f"/results/{sid}").json["memory_peak_bytes"]
        assert verdict in ("ML", "RE") and (verdict == "RE" or peak > 130 << 20), (verdict, peak)


def test_a_tool_may_be_pinned_and_what_a_box_cannot_run_is_said():
    shim = pathlib.Path(tempfile.mkdtemp(prefix="assay-shim-", dir="/var/tmp"))
    try:
        shim.chmod(0o755)
        (shim / "awk").write_text("#!/bin/sh\nexec /usr/bin/awk \"$@\"\n")
        (shim / "awk").chmod(0o755)
        shutil.copy("/usr/bin/false", shim / "elf")
        cases = [
            (awk(name="shim", aliases=[], tools={"awk": "/opt/tools/awk"}), "no ELF file"),
            (awk(name="outside", aliases=[], tools={"awk": str(shim / "awk")}), "not there where boxes run"),
            (awk(name="gone", aliases=[], tools={"awk": "/usr/bin/no-such-awk"}), "not there"),
            (awk(name="none", aliases=[], tools={"awk": "no-such-awk nor-this"}), "no-such-awk nor-this"),
            (awk(name="other", aliases=[], tools={"awk": "/opt/tools/elf"}), "version command failed"),
            (awk(name="liar", aliases=[], sample={"source": "BEGIN { print 5 }", "input": "", "output": "6\n"}), "sample got WA"),
        ]
        right = str(pathlib.Path("/usr/bin/mawk").resolve())
        pinned = pathlib.Path(right).exists()
        with Folder(*(c[0] for c in cases), awk(name="pinned", aliases=[], tools={"awk": right}),
                    env={"ASSAY_NATIVE_BINDS": f"{shim}:/opt/tools"}) as server:
            server.start()
            known = languages(server)
            for definition, reason in cases:
                language = known[definition["name"]]
                assert not language["offered"] and reason in language["reason"], language
            assert known["pinned"]["offered"] == pinned, known["pinned"]
            stranger = server.register("stranger")
            told = {i["name"]: i for i in stranger.get("/languages").json["items"]}
            assert told["gone"]["reason"] is None, "the machine's paths are the operator's business"
            admin = prepared(server)
            a = admin.call("POST", "/submissions", {"benchmark_id": "nothing", "agent_id": "ada", "language": "gone", "source": "x"})
            assert a.status in (400, 422, 501) and "not offered" in a.body.decode(), a
    finally:
        shutil.rmtree(shim)


def test_a_language_whose_trial_failed_is_tried_again():
    need_awk()
    # its sample is right from a moment on that comes after the first trials: three, and then again and again
    soon = time.time() + 25
    late = awk(sample={"source": f"BEGIN {{ srand(); print (srand() >= {soon:.0f}) ? 6 : 5 }}\n", "input": "", "output": "6\n"})
    with Folder(late, env={"ASSAY_LANGUAGE_RETEST": "1s"}) as server:
        server.start()
        admin = server.login()
        row = lambda: next(i for i in admin.get("/languages").json["items"] if i["name"] == "awk")  # noqa: E731
        wait_for("its trial to fail", lambda: not row()["offered"] and "WA" in (row().get("reason") or ""), 25)
        wait_for("a later one to pass", lambda: row()["offered"], 90)
        assert judge(prepared(server), "awk", "BEGIN { }\n")[0] == "OK"


def test_a_later_file_replaces_one_of_its_name():
    mine = json.loads((harness.ROOT / "languages" / "python.json").read_text())
    mine["title"] = "Python as we have it"
    with Folder(mine) as server:
        server.start()
        assert languages(server)["python"]["title"] == "Python as we have it"


def test_a_file_with_a_fault_stops_the_start_and_says_which():
    wrong = [
        (awk(aliases=["python3"]), "python3"),
        (awk(colour="red"), "/colour"),
        (awk(run={}), "/run/argv"),
        (awk(factors={"time": 0.0001}), "/factors/time"),
        ("{", "0.json"),
    ]
    for definition, word in wrong:
        with Folder(definition) as server:
            server.spawn()
            wait_for("the refusal", lambda: server.process.poll() is not None, 30)
            assert server.process.returncode != 0 and word in server.log_text(), (word, server.log_text()[-1500:])


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
