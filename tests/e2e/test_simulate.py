"""assay simulate against the real server over HTTP: the commands of docs/load.md in a small form."""

import csv
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import harness
from harness import PREFIX, ROOT, Server

LANGUAGES = ("python", "go", "c", "cpp", "java")


def make_server():
    return Server(env={"RUNNER_MAX_PARALLEL": "4", "ASSAY_LOG_LEVEL": "info"})


def offered(server):
    api = server.login()
    def known():
        items = api.get("/languages").json["items"]
        return items if all(i["state"] != "testing" for i in items if i["name"] in LANGUAGES) else None
    items = harness.wait_for("the self-tests", known, 120)
    return [i["name"] for i in items if i["offered"] and i["name"] in LANGUAGES]


def simulate(server, *argv, timeout=300, **env):
    with tempfile.TemporaryDirectory(prefix="assay-simulate-") as tmp:
        log = pathlib.Path(tmp, "log")
        p = subprocess.run([str(PREFIX / "bin" / "assay"), "simulate", "--login", "admin", "--json", "--log", str(log), *argv],
                           capture_output=True, timeout=timeout, cwd=tmp,
                           env={"PATH": "/usr/bin:/bin", "HOME": tmp, "ASSAY_URL": f"http://127.0.0.1:{server.port}",
                                "ASSAY_PASSWORD": harness.ADMIN_PASSWORD, **env})
        lines = [json.loads(l) for l in log.read_text().splitlines()] if log.exists() else []
        return p.returncode, json.loads(p.stdout) if p.stdout.strip() else p.stderr.decode(), lines


def test_every_language_and_outcome_gets_its_verdict(server):
    have = offered(server)
    rc, s, lines = simulate(server, "--languages", ",".join(have), "--seed", "1", "--wait", "120")
    assert rc == 0, (s, [l for l in lines if "difference" in l])
    assert s["all"]["sent"] == s["all"]["judged"] == 7 * len(have) and s["differences"] == 0
    assert {(r["language"], r["outcome"]) for r in s["rows"]} == {(l, o) for l in have for o in ("ok", "wa", "tl", "ml", "bf", "re", "ol")}
    # the server says the same: one submission for each, each with its verdict
    api = server.login()
    rows = api.get(f"/submissions?agent_id=simulate-{s['run']}&limit=500").json["items"]
    assert {r["id"] for r in rows} == {l["id"] for l in lines if l["event"] == "produced"}
    expected = {l["id"]: l["expected"] for l in lines if l["event"] == "produced"}
    assert all(r["verdict"] == expected[r["id"]] and r["attempts"] == 1 for r in rows), rows


def test_unique_sources_are_built_and_repeated_ones_are_not(server):
    api = server.login()

    def from_the_cache(*argv):
        rc, s, lines = simulate(server, "--languages", "c", "--outcomes", "ok=3", "-n", "2", "-c", "1", *argv)
        assert rc == 0, (s, lines)
        return [api.get(f"/results/{l['id']}").json["build_cached"] for l in lines if l["event"] == "produced"]
    repeated, unique = from_the_cache(), from_the_cache("--unique")
    assert len(repeated) == 6 and sum(repeated) >= 5 and unique == [False] * 6, (repeated, unique)


def test_a_user_is_told_what_an_instructor_has_to_do(server):
    server.register("student")
    with tempfile.TemporaryDirectory() as tmp:
        p = subprocess.run([str(PREFIX / "bin" / "assay"), "simulate", "--login", "student", "-b", "not-there-yet", "--languages", "c"],
                           capture_output=True, timeout=120,
                           env={"PATH": "/usr/bin:/bin", "HOME": tmp, "ASSAY_URL": f"http://127.0.0.1:{server.port}",
                                "ASSAY_PASSWORD": "a-long-enough-password"})
    assert p.returncode == 4 and b"instructor" in p.stderr, (p.returncode, p.stderr)


def blocks():
    """The shell commands of docs/load.md that begin with assay simulate, one string each."""
    text = (ROOT / "docs" / "load.md").read_text()
    out = []
    for block in re.findall(r"```sh\n(.*?)```", text, re.S):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("assay simulate"):
                out.append(line)
    return out


def test_the_documented_commands_work_in_a_small_form(server):
    have = offered(server)
    commands = [c for c in blocks() if "--via" not in c]
    assert len(commands) >= 4, commands
    for command in commands:
        words = command.split("#")[0].split()[2:]
        small = []
        skip = False
        for i, w in enumerate(words):
            if skip:
                skip = False
            elif w in ("--duration", "-n", "--iterations", "--rate", "--login", "--log"):
                skip = True
            else:
                small.append(w)
        weights = "--outcomes" if "--outcomes" not in small else None
        small += ["-n", "1", "--languages", "c" if "c" in have else have[0]]
        small += [weights, "ok,tl"] if weights and "timeouts" in small else [weights, "ok,bf"] if weights else []
        with tempfile.TemporaryDirectory() as tmp:
            p = subprocess.run([str(PREFIX / "bin" / "assay"), "simulate", "--login", "admin", *small], capture_output=True, timeout=300, cwd=tmp,
                               env={"PATH": "/usr/bin:/bin", "HOME": tmp, "ASSAY_URL": f"http://127.0.0.1:{server.port}",
                                    "ASSAY_PASSWORD": harness.ADMIN_PASSWORD})
            assert p.returncode == 0 and (b"No differences." in p.stdout or b'"differences": 0' in p.stdout), (command, p.stdout, p.stderr)
            for flag, check in (("--csv", lambda f: list(csv.DictReader(f.open()))), ("--plot", lambda f: "<svg" in f.read_text())):
                if flag in small:
                    assert check(pathlib.Path(tmp, small[small.index(flag) + 1])), command


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
