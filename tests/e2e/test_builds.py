"""Builds that cost nothing twice: the cache over a restart, and warm material that is made once and only read."""

import contextlib
import json
import sys

import harness
import test_nonroot
from harness import Server, Skip, wait_for

STD = "#include <bits/stdc++.h>\nint main() { long long s = 0, v; while (std::cin >> v) s += v; std::cout << s << '\\n'; }\n"
MAIN = "import java.util.*;\npublic class Main { public static void main(String[] a) { Scanner in = new Scanner(System.in); " \
       "long s = 0; while (in.hasNextLong()) s += in.nextLong(); System.out.println(s); } }\n"
# what a program may try with what it is shown
POISON = """#include <cstdio>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
int main() {
    const char *path[] = {"/warm/bits/stdc++.h.gch", "/warm/x", "/warm/bits/stdc++.h", "/box/app/main", "/box/app/x"};
    for (const char *p : path) {
        if (open(p, O_WRONLY | O_CREAT | O_TRUNC, 0644) >= 0) std::puts(p);
        if (unlink(p) == 0 || chmod(p, 0777) == 0 || rename(p, "/box/y") == 0) std::puts(p);
    }
    if (rmdir("/warm") == 0 || rename("/warm", "/tmp/w") == 0 || access("/shared", F_OK) == 0) std::puts("moved");
    std::puts("6");
}
"""
# what warm material was made from is not shown
READS = '#include "/warm/bits/all.h"\nint main() {}\n'


@contextlib.contextmanager
def fresh(**kw):
    server = Server(**kw)
    try:
        yield server
    finally:
        server.close()


def languages(api):
    return {i["name"]: i for i in api.get("/languages").json["items"]}


def prepared(server, *names):
    api = server.login()
    wait_for("the languages", lambda: all(languages(api)[n]["state"] != "testing" for n in names), 120)
    for n in names:
        if not languages(api)[n]["offered"]:
            raise Skip(f"{n} is not installed: {languages(api)[n]['reason']}")
    if api.call("GET", "/agents/ada").status == 404:
        api.post("/agents", {"id": "ada", "name": "Ada"}, expect=201)
        api.post("/benchmarks", {"id": "sum", "name": "sum", "limits": {"time_limit_ms": 10000, "wall_limit_ms": 60000},
                                 "tests": [{"input": "1 2 3\n", "expected_output": "6\n"}]}, expect=201)
    return api


def judge(api, language, source, verdict="OK"):
    s = api.post("/submissions?wait=60", {"benchmark_id": "sum", "agent_id": "ada", "language": language, "source": source},
                 expect=200).json
    r = api.get(f"/results/{s['id']}").json
    assert s["verdict"] == verdict, r
    return r


def cached(server):
    return [f for f in (server.data / "builds").iterdir() if len(f.name) == 64]


def warmed(server, *names):
    wait_for("warm material", lambda: all(any(n in line for line in told(server, "language_warm")) for n in names), 240)


def told(server, event):
    return [line for line in server.log_text().splitlines() if event in line]


def metric(server, name):
    text = harness.Api(server.port).call("GET", "/metrics").body.decode()
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


def test_a_build_is_found_again_after_a_restart():
    with fresh() as server:
        server.start()
        api = prepared(server, "c")
        source = "#include <stdio.h>\nint main(void) { puts(\"6\"); return 0; }\n"
        first = judge(api, "c", source)
        assert first["build_cached"] is False
        wait_for("the entry", lambda: len(cached(server)) == 1)
        again = judge(api, "c", source)
        assert again["build_cached"] is True and again["build_output"] == first["build_output"], again
        said = [judge(api, "c", "int main(void) {", "BF") for _ in range(3)]
        assert [r["build_cached"] for r in said] == [False, False, True], said  # believed when it has come twice
        assert said[0]["build_output"] == said[2]["build_output"] and len(cached(server)) == 1, said
        server.stop()
        server.start()
        api = prepared(server, "c")
        assert judge(api, "c", source)["build_cached"] is True
        assert metric(server, 'assay_runner_build_cache_total{outcome="hit"}') == 1
        assert metric(server, "assay_runner_build_cache_bytes") > 0
        server.stop()
        entry, = cached(server)
        data = bytearray(entry.read_bytes())
        data[len(data) // 2] ^= 1
        entry.chmod(0o600)
        entry.write_bytes(data)
        server.start()
        api = prepared(server, "c")
        assert judge(api, "c", source)["build_cached"] is False
        assert told(server, "build_cache_damaged")
        wait_for("the entry", lambda: len(cached(server)) == 1)
        assert judge(api, "c", source)["build_cached"] is True


def test_time_tells_no_hit_from_a_build():
    with fresh() as server:
        server.start()
        api = prepared(server, "c")
        source = '#include <stdio.h>\nint main(void) { fputs(__DATE__ " " __TIME__, stderr); puts("6"); return 0; }\n'
        first = judge(api, "c", source)["tests"][0]["stderr"]
        assert first == "Jan  1 2000 00:00:00", first
        assert judge(api, "c", source + "\n")["tests"][0]["stderr"] == first


def warm_cpp(server, *more):
    server.start()
    api = prepared(server, "cpp", *more)
    if not api.get("/runners").json["items"][0]["features"]["shared_artefacts"]:
        raise Skip("this sandbox shares no artefacts")
    warmed(server, "cpp", *more)
    return api


def trees(server):
    return [d for d in (server.data / "warm").iterdir() if d.is_dir()]


def check_warm(server):
    api = warm_cpp(server, "java")
    assert judge(api, "cpp", STD)["build_cached"] is False
    judge(api, "java", MAIN)
    before = {f: f.read_bytes()[:4096] for d in trees(server) for f in d.rglob("*") if f.is_file()}
    assert len(before) == 2, before
    r = judge(api, "cpp", POISON)
    assert r["tests"][0]["stdout"] == "6\n", r
    judge(api, "cpp", READS, "BF")
    # whoever uses the header otherwise than it was made gets the header itself
    judge(api, "cpp", "#define _GLIBCXX_DEBUG\n" + STD)
    judge(api, "cpp", "#include <vector>\nint x;\n" + STD)
    judge(api, "cpp", '#pragma GCC optimize("O3")\n' + STD)
    files = {"files": {"warm/main.cpp": STD, "main.cpp": "// the other one\n"}}
    s = api.post("/submissions?wait=60", {"benchmark_id": "sum", "agent_id": "ada", "language": "cpp", **files}, expect=200).json
    assert s["verdict"] == "OK", api.get(f"/results/{s['id']}").json
    assert {f: f.read_bytes()[:4096] for f in before} == before
    server.stop()

    # found again, not made again; what is damaged is made again
    for d in trees(server):
        for f in d.rglob("*.gch"):
            f.chmod(0o600)
            with open(f, "r+b") as gch:
                gch.seek(-1000, 2)
                gch.write(b"damage")
            f.chmod(0o444)
    server.log_path.unlink()
    api = warm_cpp(server, "java")
    assert len(told(server, "warm_damaged")) == 1, told(server, "warm")
    judge(api, "cpp", STD + "\n")
    server.stop()
    server.log_path.unlink()
    inodes = {f.stat().st_ino for d in trees(server) for f in d.rglob("*") if f.is_file()}
    api = warm_cpp(server, "java")
    assert {f.stat().st_ino for d in trees(server) for f in d.rglob("*") if f.is_file()} == inodes
    assert not told(server, "warm_damaged") and not told(server, "warm_failed"), told(server, "warm")
    assert judge(api, "cpp", STD + "\n")["build_cached"] is True  # with the header that was made again


def test_warm_material_is_made_once_and_only_read():
    with fresh() as server:
        server.env["ASSAY_WARM"] = "true"
        check_warm(server)


def test_warm_material_for_an_ordinary_user():
    test_nonroot.need()
    with contextlib.closing(test_nonroot.ordinary()) as server:
        server.env["ASSAY_WARM"] = "true"
        check_warm(server)


def test_warm_material_that_cannot_be_made_costs_nothing_else():
    with fresh() as server:
        share = server.data.parent / "languages"
        share.mkdir()
        text = json.loads((harness.PREFIX / "share" / "assay" / "languages" / "c.json").read_text())
        text["build"]["argv"].insert(1, "-I{warm}")
        text["warm"] = {"files": {"x.h": "#error no\n"}, "argv": ["{cc}", "-x", "c-header", "-o", "x.h.gch", "x.h"], "artefacts": ["x.h.gch"]}
        (share / "c.json").write_text(json.dumps(text))
        server.env.update(ASSAY_WARM="true", ASSAY_LANGUAGES_PATH=str(share))
        server.start()
        api = prepared(server, "c")
        wait_for("the failure", lambda: any("#error no" in line for line in told(server, "warm_failed")), 120)
        judge(api, "c", "#include <stdio.h>\nint main(void) { puts(\"6\"); return 0; }\n")


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
