"""newman runs the Postman collection against a fresh server: every request, every assertion green."""

import json
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import harness  # noqa: E402
from harness import ADMIN_PASSWORD, ROOT, Skip  # noqa: E402

HERE = ROOT / "tests" / "contract" / "newman"
MADE = ROOT / "build" / "newman"


def newman():
    if not shutil.which("npm"):
        raise Skip("npm is not installed (Debian: apt-get install nodejs npm)")
    MADE.mkdir(parents=True, exist_ok=True)
    for f in ("package.json", "package-lock.json"):
        shutil.copy(HERE / f, MADE / f)
    binary = MADE / "node_modules" / ".bin" / "newman"
    if not binary.exists():
        a = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=MADE, capture_output=True, text=True)
        assert a.returncode == 0, a.stdout[-2000:] + a.stderr[-2000:]
    return binary


def test_the_postman_collection_is_green(server):
    report = MADE / "report.json"
    a = subprocess.run(
        [str(newman()), "run", str(ROOT / "postman" / "assay.postman_collection.json"),
         "-e", str(ROOT / "postman" / "assay.postman_environment.json"),
         "--env-var", f"base_url=http://127.0.0.1:{server.port}", "--env-var", f"admin_password={ADMIN_PASSWORD}",
         "--reporters", "json", "--reporter-json-export", str(report), "--timeout-request", "60000"],
        capture_output=True, text=True)
    run = json.loads(report.read_text())["run"]
    faults = [f"{f['source'].get('name')}: {f['error'].get('test')}: {f['error'].get('message')}" for f in run["failures"]]
    assert not faults, "\n".join(faults)
    assert a.returncode == 0, a.stdout + a.stderr
    stats = run["stats"]
    print(f"# {stats['requests']['total']} requests, {stats['assertions']['total']} assertions")
    assert stats["assertions"]["total"] >= stats["requests"]["total"] > 40


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
