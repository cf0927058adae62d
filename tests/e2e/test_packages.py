"""Problem packages: three of our own with the jury's submissions, what is wrong with others, and export."""

import csv
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

import harness
from harness import FIXTURES, PREFIX
from test_judging import start

PACKAGES = FIXTURES / "packages"


def assay(server, token, *args, code=0):
    env = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "ASSAY_URL": f"http://127.0.0.1:{server.port}", "ASSAY_TOKEN": token}
    env.update({k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")})
    p = subprocess.run([PREFIX / "bin" / "assay", *map(str, args)], env=env, capture_output=True, timeout=200)
    assert p.returncode == code, (args, p.returncode, p.stdout, p.stderr)
    return p.stdout.decode(), p.stderr.decode()


def take(server, name):
    admin = start(server)
    out, _ = assay(server, admin.token, "import", PACKAGES / name, "--json")
    report = json.loads(out)
    wrong = [s for s in report["submissions"] if not s["ok"]]
    assert not wrong, wrong
    found = {str(p.relative_to(PACKAGES / name)) for p in (PACKAGES / name / "submissions").glob("*/*")}
    assert {s["path"] for s in report["submissions"]} == found
    return admin, report


def test_a_package_with_groups_and_points(server):
    admin, report = take(server, "pairs")
    problem = admin.get(f"/problems/{report['problem_id']}").json
    assert [(g["name"], g["points"], g["aggregation"]) for g in problem["groups"]] == [("sample", 0, "sum"), ("large", 70, "min"), ("small", 30, "min")]
    assert problem["limits"]["time_limit_ms"] == 1000 and problem["statement"].startswith("# Pairs") and problem["sample_count"] == 1
    assert problem["compare"] == "nocase" and not problem["stop_on_failure"]
    partial = [s for s in report["submissions"] if s["partial"]]
    assert len(partial) == 3 and {s["score"] for s in partial} == {30}, partial
    shown = admin.get(f"/benchmarks/{report['benchmark_id']}").json
    assert (shown["visibility"], shown["name"]) == ("private", "Pairs"), shown
    # the jury's are judged, shown to judges, and on no board
    one = admin.get(f"/submissions/{report['submissions'][0]['id']}").json
    assert one["agent_id"] is None and one["owner_id"], one
    assert admin.get(f"/scores?benchmark_id={report['benchmark_id']}").json["items"] == []
    assert admin.get(f"/leaderboard?benchmark_id={report['benchmark_id']}").json["items"] == []


def test_a_package_with_a_validator_of_its_own(server):
    admin, report = take(server, "factors")
    problem = admin.get(f"/problems/{report['problem_id']}").json
    assert problem["name"] == "Factors" and problem["checker"]["kind"] == "validator", problem
    assert "enum { ACCEPT" in problem["checker"]["source"] and problem["groups"] == [] and problem["stop_on_failure"]


def test_an_interactive_package(server):
    if not (harness.ROOT / "services" / "runner" / "interact.c").exists():
        raise harness.Skip("this runner does not judge interactive problems")
    admin, report = take(server, "guess")
    assert admin.get(f"/problems/{report['problem_id']}").json["checker"]["interactive"]


def test_a_package_joins_a_benchmark(server):
    admin = start(server)
    admin.post("/benchmarks", {"id": "joined", "name": "Joined"}, expect=201)
    out, err = assay(server, admin.token, "import", PACKAGES / "factors", "-b", "joined", "--no-judge")
    assert out.startswith("benchmark joined, problem ") and len(admin.get("/benchmarks/joined").json["problems"]) == 1


def test_a_verdict_that_differs_is_told(server):
    admin = start(server)
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="assay-package-") as tmp:
        top = pathlib.Path(tmp) / "p"
        shutil.copytree(PACKAGES / "factors", top)
        shutil.rmtree(top / "submissions")
        (top / "submissions" / "accepted").mkdir(parents=True)
        (top / "submissions" / "accepted" / "wrong.py").write_text("print(1, 1)\n")
        (top / "submissions" / "accepted" / "told.py").write_text("# @EXPECTED_RESULTS@: WRONG-ANSWER\nprint(1, 1)\n")
        out, _ = assay(server, admin.token, "import", top, code=1)
        assert "1 of 2 submissions of the jury got what they should" in out and "DIFFERS" in out, out


SOUND = {"problem.yaml": "name: A\n", "data/secret/1.in": "1\n", "data/secret/1.ans": "1\n"}


def packed(files):
    b = io.BytesIO()
    with zipfile.ZipFile(b, "w", zipfile.ZIP_DEFLATED) as z:
        for name, text in files.items():
            z.writestr(name, text)
    return b.getvalue()


def test_a_malformed_package_is_told_file_and_line(server):
    admin = start(server)

    def details(files):
        body = files if isinstance(files, bytes) else packed(files)
        a = admin.call("POST", "/benchmarks/import", body, headers={"Content-Type": "application/zip"})
        assert a.status == 400, a
        return [e["detail"] for e in a.json["errors"]]

    def of(problem, **more):
        return details({**SOUND, "problem.yaml": problem, **more})

    assert details({k: v for k, v in SOUND.items() if k != "problem.yaml"})[0].startswith("problem.yaml: is missing")
    assert of("name: A\nlimits:\n  memory: [\n")[0].startswith("problem.yaml:4: ")
    assert of("name: A\nlimits:\n  memory: much\n") == ["problem.yaml:3: must be a number from 4 to 16384"]
    assert of("name: A\nproblem_format_version: 2030\n") == ["problem.yaml:2: the format must be legacy, legacy-icpc or 2023-07"]
    assert of("name: A\ntype: opinion\n")[0].startswith('problem.yaml:2: the type "opinion" is not taken')
    assert of("name: A\nvalidation: maybe\n")[0].startswith("problem.yaml:2: validation is default, or custom")
    assert of("name: A\nvalidation: custom\n")[0].startswith("problem.yaml:2: validation is custom, and output_validators/ holds no program")
    assert of("name: A\nvalidator_flags: float_tolerance x\n") == ['problem.yaml:2: the flag "float_tolerance" needs a number of 0 or more']
    assert of("name: A\nvalidator_flags: loudly\n") == ['problem.yaml:2: the default validator has no flag "loudly"']
    assert details({"problem.yaml": "name: A\n"})[0].startswith("data: holds no test")
    assert details({**SOUND, "data/secret/2.in": "1\n"}) == ["data/secret/2.in: has no .ans beside it"]
    assert details({**SOUND, "data/secret/2.ans": "1\n"}) == ["data/secret/2.ans: has no .in beside it"]
    assert details({**SOUND, "data/secret/2.in": b"\xff", "data/secret/2.ans": ""})[0].startswith("data/secret/2.in: is not UTF-8")
    scoring = {"problem.yaml": "name: A\ntype: scoring\n", "data/secret/g/1.in": "", "data/secret/g/1.ans": ""}
    assert details({**scoring, "data/secret/g/testdata.yaml": "range: 0\non_reject: stop\n"}) == \
        ["data/secret/g/testdata.yaml:2: on_reject is break or continue", "data/secret/g/testdata.yaml:1: range is two numbers: the least and the greatest score"]
    draft = {**scoring, "problem.yaml": "problem_format_version: 2023-07\nname: A\ntype: scoring\n"}
    assert details({**draft, "data/secret/g/test_group.yaml": "max_score: 3\nrequire_pass: other\n"}) == \
        ['data/secret/g/test_group.yaml:2: require_pass names "other", which is no group before this one']
    for name in ("../x", "/x", "a//b", "a/./b"):
        assert len(details({**SOUND, name: "x"})) == 1, name
    assert details({**SOUND, "Problem.yaml": "x"}) == ["Problem.yaml: is there twice, or differs from another name in case alone"] or \
        details({**SOUND, "Problem.yaml": "x"}) == ["problem.yaml: is there twice, or differs from another name in case alone"]
    assert "too large" in details({**SOUND, "data/secret/2.in": "0" * (33 << 20), "data/secret/2.ans": ""})[0]
    assert details(b"no archive")[0].startswith("the archive cannot be read")
    link = zipfile.ZipInfo("data/secret/2.in")
    link.external_attr = 0o120777 << 16
    b = io.BytesIO()
    with zipfile.ZipFile(b, "w") as z:
        for name, text in SOUND.items():
            z.writestr(name, text)
        z.writestr(link, "/etc/passwd")
    assert details(b.getvalue()) == ["data/secret/2.in: is neither a file nor a folder; links are not taken"]
    assert admin.call("POST", "/benchmarks/import", b"{}", headers={"Content-Type": "application/json"}).status in (400, 415)
    notes = admin.post("/benchmarks/import", packed({**SOUND, "problem.yaml": "name: A\nmood: good\n"}),
                       headers={"Content-Type": "application/zip"}, expect=201).json["notes"]
    assert 'problem.yaml:2: "mood" is not known and was passed over' in notes, notes


def test_only_judges_submit_for_the_jury(server):
    admin = start(server)
    b = admin.post("/benchmarks", {"name": "J", "starts_at": "2999-01-01T00:00:00Z", "tests": [{"expected_output": "1\n"}]}, expect=201).json["id"]
    body = {"benchmark_id": b, "language": "python", "source": "print(1)", "jury": True}
    user = server.register("jury-user")
    assert user.call("POST", "/submissions", body).status == 403
    assert admin.call("POST", "/submissions", {**body, "agent_id": "ada"}).status == 400
    s = admin.post("/submissions?wait=60", body, expect=200).json  # before it has begun
    assert s["verdict"] == "OK" and s["agent_id"] is None, s
    again = admin.post(f"/submissions/{s['id']}/rejudge", expect=(200, 202))
    assert server.wait_done(admin, s["id"])["verdict"] == "OK", again


def test_a_benchmark_comes_back_as_it_was(server):
    admin = start(server)
    made = admin.post("/benchmarks", {"id": "there", "name": "There", "feedback": "full", "languages": ["python", "c"]}, expect=201).json["id"]
    admin.post(f"/benchmarks/{made}/problems", {
        "name": "One", "compare": "float", "float_abs": 0.5, "statement": "s\n", "arguments": ["-v"], "environment": {"A": "b"},
        "groups": [{"name": "g", "points": 7, "aggregation": "max"}],
        "tests": [{"input": "1\n", "expected_output": "1\n", "group": "g", "points": 2}, {"name": "x", "expected_output": "\u00e9\n", "sample": True, "arguments": []}]}, expect=201)
    admin.post(f"/benchmarks/{made}/problems", {"name": "Two", "mode": "answer", "tests": [{"expected_output": "42"}]}, expect=201)
    admin.post("/submissions?wait=60", {"benchmark_id": made, "agent_id": "ada", "language": "python", "source": "print(1)\n",
                                        "problem_id": admin.get(f"/benchmarks/{made}").json["problems"][0]["id"]}, expect=200)
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="assay-package-") as tmp:
        first, second = pathlib.Path(tmp) / "first.json", pathlib.Path(tmp) / "second.json"
        assay(server, admin.token, "export", made, "-o", first)
        assay(server, admin.token, "import", first, "--id", "back")
        assay(server, admin.token, "export", "back", "-o", second)
        one, two = json.loads(first.read_text()), json.loads(second.read_text())
        assert two["benchmark"].pop("id") == "back" and one["benchmark"].pop("id") == "there"
        assert one == two and len(one["problems"]) == 2, (one, two)
        grades, _ = assay(server, admin.token, "export", made, "--grades")
        rows = list(csv.DictReader(io.StringIO(grades)))
        assert len(rows) == 1 and rows[0]["agent"] == "ada" and rows[0]["verdict"] and rows[0]["score"], rows
        folder = pathlib.Path(tmp) / "sources"
        assay(server, admin.token, "export", made, "--sources", folder)
        assert [p.read_text() for p in folder.glob("ada-*/source.python")] == ["print(1)\n"], list(folder.rglob("*"))
    assay(server, admin.token, "export", "not-there", code=5)


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
