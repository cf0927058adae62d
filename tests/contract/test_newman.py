"""The Postman collection runs green against a fresh server, by newman.

npm puts newman into build/newman the first time, by the lock file beside this test.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from contract import ROOT

sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import harness  # noqa: E402
from harness import ADMIN_PASSWORD, Skip  # noqa: E402

LOCK = ROOT / "tests" / "contract" / "newman"  # versions and hashes; no address is in it
POSTMAN = ROOT / "postman"


def newman():
    found = os.environ.get("NEWMAN")
    if found:
        return found
    if not shutil.which("npm"):
        raise Skip("npm is not installed (Debian: apt-get install nodejs npm)")
    place = ROOT / "build" / "newman"
    program = place / "node_modules" / ".bin" / "newman"
    if not program.exists():
        place.mkdir(parents=True, exist_ok=True)
        for f in ("package.json", "package-lock.json"):
            shutil.copy(LOCK / f, place / f)
        a = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=place, capture_output=True, text=True,
                           timeout=600)
        assert a.returncode == 0 and program.exists(), f"npm ci: {(a.stderr or a.stdout).strip()[-1000:]}"
    return str(program)


def run(server, *args, **variables):
    """(exit status, newman's report) of the collection against a server."""
    with tempfile.TemporaryDirectory() as d:
        report = pathlib.Path(d) / "report.json"
        values = {"base_url": f"http://127.0.0.1:{server.port}", "admin_password": ADMIN_PASSWORD, **variables}
        a = subprocess.run([newman(), "run", str(POSTMAN / "assay.postman_collection.json"), "-e", str(POSTMAN / "assay.postman_environment.json"),
                            *(x for k, v in values.items() for x in ("--env-var", f"{k}={v}")), "--reporters", "json",
                            "--reporter-json-export", str(report), "--timeout-request", "70000", *args],
                           capture_output=True, text=True, timeout=300)
        assert report.exists(), a.stderr or a.stdout
        return a.returncode, json.loads(report.read_text())["run"]


def failures(result):
    return list(dict.fromkeys(f"{f['source']['name']}: {f['error'].get('test', '')}: {f['error']['message']}" for f in result["failures"]))


def requests(item):
    for child in item["item"]:
        if "request" in child:
            yield child["name"]
        else:
            yield from requests(child)


def collection():
    return json.loads((POSTMAN / "assay.postman_collection.json").read_text())


def test_every_request_meets_its_expectations(server):
    status, result = run(server)
    assert not failures(result), "\n".join(failures(result))
    assert status == 0
    done = {e["item"]["name"] for e in result["executions"]}
    missing = [name for name in requests(collection()) if name not in done]
    assert not missing, f"not sent: {missing}"
    print(f"# {result['stats']['requests']['total']} requests, {result['stats']['assertions']['total']} expectations")


def test_it_runs_a_second_time_on_the_same_server(server):
    status, result = run(server)
    assert status == 0 and not failures(result), "\n".join(failures(result))


def test_an_expectation_that_is_not_met_fails_the_run(server):
    status, result = run(server, "--folder", "auth", admin_password="not the password")
    assert status != 0 and any("the admin signs in" in f for f in failures(result)), failures(result)


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
