"""The commands of docs/guide.md work as written, one after the other, on a fresh server."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from contract import ROOT, Contract

sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import harness  # noqa: E402
from harness import ADMIN_PASSWORD, PREFIX, Skip  # noqa: E402

GUIDE = (ROOT / "docs" / "guide.md").read_text()


def run(server, script):
    with tempfile.TemporaryDirectory() as home:
        path = pathlib.Path(home) / "script"
        # curl must not take an error for an answer here
        path.write_text("set -euo pipefail\ncurl() { command curl --fail-with-body \"$@\"; }\n" + script)
        a = subprocess.run(["timeout", "120", "bash", str(path)], cwd=home, capture_output=True, text=True, stdin=subprocess.DEVNULL, env={
            "PATH": f"{PREFIX / 'bin'}:{os.environ['PATH']}", "HOME": home, "LC_ALL": "C.UTF-8",
            "ASSAY_URL": f"http://127.0.0.1:{server.port}", "ADMIN_PASSWORD": ADMIN_PASSWORD})
        assert a.returncode != 124, f"the commands do not come to an end:\n{a.stdout[-3000:]}{a.stderr[-1000:]}"
        return a


def test_the_commands_of_the_guide(server):
    for tool in ("jq", "curl"):
        if not shutil.which(tool):
            raise Skip(f"{tool} is not installed (Debian: apt-get install {tool})")
    blocks = re.findall(r"^```sh\n(.*?)^```$", GUIDE, re.M | re.S)
    assert len(blocks) > 8, f"only {len(blocks)} blocks of commands"
    script = "".join(f"echo '### {i}'\n{block}" for i, block in enumerate(blocks))
    a = run(server, script)
    assert a.returncode == 0, a.stdout[-3000:] + a.stderr[-2000:]
    parts = dict(re.findall(r"^### (\d+)\n(.*?)(?=^### |\Z)", a.stdout, re.M | re.S))
    assert "OK" in parts["1"] and "ada-bot" in parts["1"], parts["1"]
    ids = re.findall(r"^[0-9a-f-]{36}$", parts[str(len(blocks) - 2)], re.M)
    assert len(ids) == 2 and ids[0] == ids[1], parts[str(len(blocks) - 2)]
    assert "42\n" in a.stdout


def test_a_command_that_fails_would_be_seen(server):
    assert run(server, "assay leaderboard no-such-benchmark\n").returncode != 0
    assert run(server, 'curl -sS "$ASSAY_URL/no/such/path" | cat\n').returncode != 0


def test_what_the_guide_names_is_in_the_contract():
    c = Contract()
    faults = []
    for method, path in re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/[^`?\s]*)", GUIDE):
        if c.find(method, path)[1] is None:
            faults.append(f"{method} {path}")
    schemas = c.document["components"]["schemas"]
    for scope in schemas["Scope"]["enum"]:
        if f"`{scope}`" not in GUIDE:
            faults.append(f"the scope {scope} is not explained")
    for name in ("Benchmark_Create", "Test_In"):
        for field, schema in schemas[name]["properties"].items():
            if f"`{field}`" not in GUIDE and f"`{field}." not in GUIDE and not schema.get("deprecated") and field != "limits":
                faults.append(f"{name}.{field} is not explained")
    for word in schemas["Outcome"]["enum"] + schemas["Feedback"]["enum"] + schemas["Role"]["enum"] + schemas["Status"]["enum"]:
        if f"`{word}`" not in GUIDE:
            faults.append(f"{word} is not explained")
    assert not faults, "\n".join(faults)


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
