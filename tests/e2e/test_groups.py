"""Groups of tests and their points, arguments and variables of a program: what is run, what it gives, what is shown."""

import sys

import harness
from test_judging import judge, publish, result, start

ECHO = "print(input())"


def tests(*spec):
    """(group, passes?) for each test: the program echoes, so a test passes when its input is its output."""
    return [{"input": f"{i}\n", "expected_output": f"{i}\n" if ok else "no\n", "group": g} for i, (g, ok) in enumerate(spec)]


def test_groups_give_their_points(server):
    admin = start(server)
    groups = [{"name": "sample", "points": 0, "sample": True}, {"name": "small", "points": 30, "aggregation": "min"},
              {"name": "large", "points": 60, "depends_on": ["small"]}, {"name": "any", "aggregation": "max", "points": 10}]
    b = publish(admin, tests(("sample", True), ("small", True), ("small", True), ("large", True), ("large", False), ("any", False), ("any", True)),
                groups=groups)
    s = judge(admin, b, ECHO)
    r = result(admin, s)
    assert (s["verdict"], s["score"]) == ("WA", 70) and (r["points"], r["points_awarded"]) == (100, 70), r
    assert [(g["name"], g["verdict"], g["points_awarded"], g["points"]) for g in r["groups"]] == \
        [("sample", "OK", 0, 0), ("small", "OK", 30, 30), ("large", "WA", 30, 60), ("any", "WA", 10, 10)], r["groups"]
    assert [t["sample"] for t in r["tests"]] == [True] + 6 * [False]
    assert [t["group"] for t in r["tests"]][:2] == ["sample", "small"]
    problem = admin.get(f"/benchmarks/{b}").json["problems"][0]["id"]
    shown = admin.get(f"/problems/{problem}").json
    assert [(g["name"], g["aggregation"], g["points"], g["stop_on_failure"], g["depends_on"]) for g in shown["groups"]] == \
        [("sample", "sum", 0, False, []), ("small", "min", 30, True, []), ("large", "sum", 60, False, ["small"]), ("any", "max", 10, False, [])]
    admin.patch(f"/problems/{problem}", {"name": "other"})  # what a change leaves out stays
    assert admin.get(f"/problems/{problem}").json["groups"] == shown["groups"]
    assert judge(admin, b, ECHO)["score"] == 70


def test_what_failed_is_not_gone_on_with(server):
    admin = start(server)
    groups = [{"name": "a", "stop_on_failure": True}, {"name": "b", "depends_on": ["a"]}, {"name": "c", "depends_on": ["b"]}, {"name": "d"}]
    b = publish(admin, tests(("a", False), ("a", True), ("b", True), ("c", True), ("d", True)), groups=groups)
    r = result(admin, judge(admin, b, ECHO))
    assert [t["verdict"] for t in r["tests"]] == ["WA", "-", "-", "-", "OK"], r["tests"]
    assert [(g["verdict"], g["points_awarded"]) for g in r["groups"]] == [("WA", 0), ("-", 0), ("-", 0), ("OK", 1)], r["groups"]
    assert (r["points"], r["points_awarded"], r["score"]) == (5, 1, 20), r
    r = result(admin, judge(admin, b, "int main(void) {", "c"))
    assert r["verdict"] == "BF" and (r["points"], r["points_awarded"], r["score"]) == (5, 0, 0), r
    assert all(g["verdict"] == "-" for g in r["groups"]), r["groups"]


def test_groups_that_cannot_be_are_refused(server):
    admin = start(server)

    def faults(spec, groups):
        a = admin.call("POST", "/benchmarks", {"name": "x", "tests": tests(*spec), "groups": groups})
        assert a.status == 400, a
        return {(e["pointer"], e["detail"]) for e in a.json["errors"]}

    assert faults([("b", True)], [{"name": "a"}]) == {("/tests/0/group", "names none of the groups"), ("/groups/0", "has no test")}
    assert ("/groups/1/name", "is the name of a group before it") in faults([("a", True)], [{"name": "a"}, {"name": "a"}])
    assert ("/groups/0/depends_on", "may name only groups that come before it") in \
        faults([("a", True), ("b", True)], [{"name": "a", "depends_on": ["b"]}, {"name": "b"}])
    assert ("/groups/1/depends_on", "the tests of the groups that it names must come before its own") in \
        faults([("a", True), ("b", True), ("a", True)], [{"name": "a"}, {"name": "b", "depends_on": ["a"]}])
    assert admin.call("POST", "/benchmarks", {"name": "x", "groups": [{"name": "a"}]}).status == 400


HALF = """
import sys
want, got = open(sys.argv[2]).read(), sys.stdin.read()
with open(sys.argv[3] + "/score_multiplier.txt", "w") as f:
    f.write("1" if want == got else "0.5")
sys.exit(42)
"""


def test_a_checkers_part_of_the_points_counts_in_groups(server):
    admin = start(server)
    groups = [{"name": "least", "points": 40, "aggregation": "min"}, {"name": "mean", "points": 60}]
    b = publish(admin, tests(("least", True), ("least", False), ("mean", True), ("mean", True), ("mean", False), ("mean", False)), groups=groups,
                checker={"kind": "validator", "language": "python", "source": HALF})
    s = judge(admin, b, ECHO)
    r = result(admin, s)
    assert (s["verdict"], s["score"], r["points_awarded"]) == ("OK", 65, 65), r
    assert [t["points_awarded"] for t in r["tests"]] == [1, 0.5, 1, 1, 0.5, 0.5], r["tests"]
    assert [(g["verdict"], g["points_awarded"]) for g in r["groups"]] == [("OK", 20), ("OK", 45)], r["groups"]


SAYS = "import os, sys\nprint(sys.argv[1:], os.environ.get('MODE'))"


def test_programs_get_arguments_and_variables(server):
    admin = start(server)
    c = '#include <stdio.h>\n#include <stdlib.h>\nint main(int n, char **v)\n{\n    printf("%d %s %s\\n", n, v[n - 1], getenv("MODE"));\n}\n'
    b = publish(admin, [{"expected_output": "['-n', 'a b; $(id)'] fast\n"}, {"expected_output": "[] fast\n", "arguments": []},
                        {"expected_output": "['@x'] fast\n", "arguments": ["@x"]}],
                arguments=["-n", "a b; $(id)"], environment={"MODE": "fast"})
    s = judge(admin, b, SAYS)
    assert s["verdict"] == "OK", result(admin, s)
    r = result(admin, judge(admin, b, c, "c"))
    assert [t["stdout"] for t in r["tests"]][::2] == ["3 a b; $(id) fast\n", "2 @x fast\n"], r
    problem = admin.get(f"/benchmarks/{b}").json["problems"][0]["id"]
    shown = admin.get(f"/problems/{problem}").json
    assert shown["arguments"] == ["-n", "a b; $(id)"] and shown["environment"] == {"MODE": "fast"}, shown
    admin.patch(f"/problems/{problem}", {"arguments": None, "environment": None})
    shown = admin.get(f"/problems/{problem}").json
    assert shown["arguments"] == [] and shown["environment"] == {}, shown
    for name in ("LD_PRELOAD", "PATH", "PYTHONPATH", "1x", "a b", "GLIBC_TUNABLES"):
        a = admin.call("PATCH", f"/problems/{problem}", {"environment": {name: "x"}})
        assert a.status == 400 and a.json["errors"][0]["pointer"] == "/environment", a


FILES = {
    "c": {"main.c": '#include <stdio.h>\n#include "lib/add.h"\nint main(void) { int a, b; scanf("%d %d", &a, &b); printf("%d\\n", add(a, b)); }\n',
          "lib/add.h": "int add(int a, int b);\n", "lib/add.c": '#include "add.h"\nint add(int a, int b) { return a + b; }\n'},
    "python": {"main.py": "from lib.deep.add import add\nprint(add(*map(int, input().split())))\n", "lib/__init__.py": "", "lib/deep/__init__.py": "",
               "lib/deep/add.py": "from ..one import one\n\n\ndef add(a, b):\n    return a + b * one()\n", "lib/one.py": "def one():\n    return 1\n"},
    "java": {"Main.java": "import org.sums.Adder;\nimport java.util.Scanner;\npublic class Main { public static void main(String[] a) {\n"
                          "Scanner s = new Scanner(System.in); System.out.println(new Adder().add(s.nextInt(), s.nextInt())); } }\n",
             "org/sums/Adder.java": "package org.sums;\npublic class Adder { public int add(int a, int b) { return One.one() * a + b; } }\n",
             "org/sums/One.java": "package org.sums;\nclass One { static int one() { return 1; } }\n"},
}


def test_files_of_several_folders_are_one_program(server):
    admin = start(server)
    b = publish(admin, [("2 3\n", "5\n")])
    offered = {l["name"] for l in admin.get("/languages").json["items"] if l["offered"]}
    assert {"c", "python"} <= offered
    for language in sorted(offered & FILES.keys()):
        s = admin.post("/submissions?wait=60", {"benchmark_id": b, "agent_id": "ada", "language": language, "files": FILES[language]}, expect=200)
        r = result(admin, s.json)
        assert r["verdict"] == "OK", (language, r)
    s = admin.post("/submissions?wait=60", {"benchmark_id": b, "agent_id": "ada", "language": "python", "files": {"other.py": "print(5)\n"}}, expect=200)
    r = result(admin, s.json)
    assert r["verdict"] == "BF" and "main.py" in r["build_output"], r


def test_names_and_options_do_not_reach_a_compiler_as_options(server):
    admin = start(server)
    b = publish(admin, [("2 3\n", "5\n")])
    good = {"benchmark_id": b, "agent_id": "ada", "language": "c", "files": {"main.c": "int main(void) { return 0; }\n"}}
    for name in ("-fplugin=x.c", "@options.c", "lib/-wrapper,sh.c", "../main.c", "/etc/x.c", "a b.c", "a;b.c", "$(id).c", "-I/etc"):
        a = admin.call("POST", "/submissions", {**good, "files": {**good["files"], name: "x"}})
        assert a.status == 400 and a.json["errors"][0]["pointer"] == "/files", (name, a)
    for member in ("compiler_options", "options", "arguments", "flags"):
        a = admin.call("POST", "/submissions", {**good, member: ["-fplugin=/box/x.so", "@file", "-I/etc"]})
        assert a.status == 400 and a.json["errors"][0]["pointer"] == f"/{member}", (member, a)


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
