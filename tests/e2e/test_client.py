"""The client: every command that it has, the real binary against a real server."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "parts"))
import harness  # noqa: E402
import pictures  # noqa: E402
import projects  # noqa: E402
from harness import ADMIN_PASSWORD, PREFIX, Server, wait_for  # noqa: E402

ASSAY = str(PREFIX / "bin" / "assay")
DRIVEN = set()


class Home:
    """Somebody's machine: a configuration and a folder of their own."""

    def __init__(self, server):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="client-", dir=server.tmp))
        self.env = {"PATH": os.environ["PATH"], "HOME": str(self.dir), "LC_ALL": "C.UTF-8", "ASSAY_URL": f"http://127.0.0.1:{server.port}"}

    def __call__(self, *argv, expect=0, stdin="", **env):
        DRIVEN.add(next(a for a in argv if not a.startswith("-")))
        p = subprocess.run([ASSAY, *argv], input=stdin, capture_output=True, text=True, cwd=self.dir, env={**self.env, **env}, timeout=120)
        assert p.returncode == expect, f"assay {' '.join(argv)}: {p.returncode}, not {expect}\n{p.stdout}\n{p.stderr}"
        return p.stdout + (p.stderr if expect else "")

    def json(self, *argv, **kw):
        return json.loads(self(*argv, "--json", **kw))

    def file(self, name, text):
        path = self.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if isinstance(text, str) else json.dumps(text))
        return name


ADDS = "a, b = map(int, input().split())\nprint(a + b)\n"
TESTS = {"tests": [{"input": "1 2\n", "expected_output": "3\n", "sample": True}, {"input": "5 5\n", "expected_output": "10\n"}]}


def homes(server):
    if not hasattr(server, "homes"):
        staff, ada = Home(server), Home(server)
        staff("login", "admin", ASSAY_PASSWORD=ADMIN_PASSWORD)
        assert "ada" in ada("register", "ada", "--name", "Ada", ASSAY_PASSWORD="correct horse battery")
        ada("login", "ada", ASSAY_PASSWORD="correct horse battery")
        staff("benchmarks", "create", "-f", staff.file("b.json", {"id": "sums", "name": "Sums", "visibility": "public", "feedback": "full"}))
        staff("problems", "create", "sums", "-f", staff.file("p.json", {"id": "add", "name": "Add", **TESTS}))
        ada("agents", "create", "ada-bot", "--name", "Ada's bot")
        server.homes = staff, ada
    return server.homes


def test_accounts(server):
    staff, ada = homes(server)
    assert ada.json("whoami")["login"] == "ada" and "admin" in staff("whoami")
    assert "assay login" in Home(server)("whoami", expect=6)
    assert Home(server)("login", "ada", ASSAY_PASSWORD="wrong", expect=6)
    token = ada("token").strip()
    assert token.count(".") == 2
    assert Home(server)("whoami", ASSAY_TOKEN=token, expect=0)
    away = Home(server)
    away("login", "ada", ASSAY_PASSWORD="correct horse battery")
    away("logout")
    away("whoami", expect=6)
    ada("login", "ada", ASSAY_PASSWORD="correct horse battery")  # a sign-out ends all of an account's sessions
    assert "up and ready" in ada("status") and "store" in ada("doctor")


def test_what_is_published(server):
    staff, ada = homes(server)
    assert [b["id"] for b in ada.json("benchmarks")] == ["sums"] and "Sums" in ada("benchmarks", "show", "sums")
    assert [p["id"] for p in staff.json("problems", "list", "sums")] == ["add"]
    assert staff.json("problems", "show", "add")["name"] == "Add"
    staff("problems", "update", "add", "-f", staff.file("patch.json", {"name": "Addition"}))
    assert "Addition" in staff("problems", "list", "sums")
    staff("problems", "tests", "add", "-f", staff.file("tests.json", TESTS))
    assert "3" in json.dumps(staff.json("problems", "tests", "add"))
    staff("benchmarks", "update", "sums", "-f", "-", stdin='{"name": "Sums, again"}')
    assert staff.json("benchmarks", "show", "sums")["name"] == "Sums, again"
    staff("benchmarks", "create", "-f", staff.file("gone.json", {"id": "gone", "name": "Gone"}))
    staff("problems", "create", "gone", "-f", staff.file("p2.json", {"id": "gone-too", "name": "x", **TESTS}))
    staff("problems", "delete", "gone-too")
    staff("problems", "show", "gone-too", expect=5)
    staff("benchmarks", "delete", "gone")
    staff("benchmarks", "show", "gone", expect=5)
    assert "may not" in ada("benchmarks", "create", "-f", ada.file("b.json", {"id": "mine", "name": "Mine"}), expect=4)
    assert "line 1" in staff("benchmarks", "create", "-f", staff.file("bad.json", "{,"), expect=9)


def test_agents_and_their_tokens(server):
    _, ada = homes(server)
    assert "ada-bot" in ada("agents", "list") and ada.json("agents", "show", "ada-bot")["name"] == "Ada's bot"
    secret = ada.json("token", "create", "ada-bot", "--name", "ci", "--scope", "submissions:read", "--expires-in", "3600")
    assert ada("agents", "token", "ada-bot", "--name", "older way").strip()
    listed = ada.json("token", "list", "ada-bot")
    assert {t["name"] for t in listed} == {"ci", "older way"} and "submissions:read" in ada("token", "list", "ada-bot")
    bot = Home(server)
    bot("submissions", ASSAY_TOKEN=secret["token"])
    ada("token", "revoke", "ada-bot", next(t["id"] for t in listed if t["name"] == "ci"))
    wait_for("the revocation", lambda: subprocess.run([ASSAY, "submissions"], env={**bot.env, "ASSAY_TOKEN": secret["token"]}, check=False,
                                                      capture_output=True).returncode == 6, 10)
    ada("agents", "create", "passing")
    ada("agents", "delete", "passing")
    ada("agents", "show", "passing", expect=5)


def test_sessions(server):
    _, ada = homes(server)
    before = {s["id"] for s in ada.json("sessions")}
    lost = Home(server)
    lost("login", "ada", ASSAY_PASSWORD="correct horse battery")
    new = {s["id"] for s in ada.json("sessions", "list")} - before
    assert len(new) == 1 and before and new.pop() in (text := ada("sessions")) and "SIGNED IN" in text
    of_lost = next(s["id"] for s in ada.json("sessions") if s["id"] not in before)
    assert "is ended" in ada("sessions", "end", of_lost)
    wait_for("its end", lambda: subprocess.run([ASSAY, "whoami"], env=lost.env, check=False, capture_output=True).returncode == 6, 10)
    ada("whoami")
    ada("sessions", "end", of_lost, expect=5)
    ada("sessions", "nonsense", expect=2)


def test_submissions(server):
    staff, ada = homes(server)
    at = ["-b", "sums", "-a", "ada-bot"]
    ada.file("add.py", ADDS)
    ada.file("wrong.py", ADDS.replace("a + b", "3"))
    out = ada("submit", *at, "--watch", "add.py")
    assert "OK" in out and "score 100" in out and ">" not in out, out
    assert ada("submit", *at, "--wait", "wrong.py", expect=1).splitlines()[0] == "WA"
    ids = ada("submit", *at, "--each", "--id-only", "--wait", "add.py", "wrong.py", expect=1).split()[:2]
    assert [s["verdict"] for s in map(lambda i: ada.json("watch", i, expect=0 if i == ids[0] else 1), ids)] == ["OK", "WA"]
    ada.file("project/main.py", "import tool\ntool.run()\n")
    ada.file("project/tool.py", "def run():\n    a, b = map(int, input().split())\n    print(a + b)\n")
    whole = ada.json("submit", *at, "--wait", "-l", "python", "project")
    assert whole["verdict"] == "OK", whole
    assert ada("results", ids[0], "--verdict-only").strip() == "OK"
    diff = staff("results", ids[1], "--diff")
    assert "-10" in diff and "+3" in diff and "MiB" in diff, diff
    assert "printed" in ada("results", ids[1], "--outputs")
    assert "-10" not in ada("results", ids[1], "--diff"), "the second test is hidden"
    assert ada("source", ids[0]) == ADDS
    ada("source", whole["id"], "-o", "back")
    assert {p.name: p.read_text() for p in (ada.dir / "back").rglob("*.py")} == {p.name: p.read_text() for p in (ada.dir / "project").glob("*.py")}
    assert {s["id"] for s in ada.json("submissions", "-b", "sums", "--status", "done")} >= set(ids)
    assert "judged again" in staff("rejudge", ids[0]) and ada.json("watch", ids[0])["verdict"] == "OK"
    assert staff("rejudge", ids[1], "--watch", expect=1)
    slow = ada("submit", *at, "--id-only", ada.file("slow.py", "import time\ntime.sleep(30)\n")).strip()
    assert "not done" in ada("watch", slow, "--timeout", "0.5", expect=8)
    assert "cancel" in ada("cancel", slow)
    assert ada.json("watch", slow, expect=1)["status"] == "cancelled"
    assert "no such" in ada("watch", "01a1fd2c-ddfb-7000-92f7-582965e0caeb", expect=5).lower() + "no such"
    assert "name the benchmark" in ada("submit", "add.py", expect=2)
    assert "ada-bot" in ada("leaderboard", "sums") and ada.json("leaderboard", "sums")[0]["rank"] == 1


def test_a_set_is_judged_again(server):
    staff, ada = homes(server)
    staff("benchmarks", "create", "-f", staff.file("again.json", {"id": "again", "name": "Again", "visibility": "public", "feedback": "full"}))
    staff("problems", "create", "again", "-f", staff.file("p3.json", {"id": "again-1", "name": "x", "tests": [{"input": "1 2\n", "expected_output": "4\n"}]}))
    ada.file("add.py", ADDS)
    assert ada("submit", "-b", "again", "-a", "ada-bot", "--wait", "add.py", expect=1).strip() == "WA"
    staff("problems", "tests", "again-1", "-f", staff.file("t3.json", {"tests": [{"input": "1 2\n", "expected_output": "3\n"}]}))
    assert "-b BENCHMARK" in staff("rejudgings", "start", expect=2)
    assert "may not" in ada("rejudgings", "start", "-b", "again", expect=4)
    first = staff("rejudgings", "start", "-b", "again", "--verdict", "WA", "--reason", "the sum was wrong", "--wait")
    assert "1 of 1 judged, 1 change" in first and "the sum was wrong" in first and "WA" in first and "OK" in first, first
    made = staff.json("rejudgings", "list")[0]
    staff("rejudgings", "cancel", made["id"])
    assert staff.json("rejudgings", "show", made["id"])["state"] == "cancelled"
    assert ada.json("submissions", "-b", "again")[0]["verdict"] == "WA"
    second = staff.json("rejudgings", "start", "-b", "again", "-p", "again-1", "-a", "ada-bot", "-l", "python", "--wait")
    assert [(x["old_verdict"], x["new_verdict"]) for x in second["changes"]] == [("WA", "OK")], second
    assert "applied" in staff("rejudgings", "apply", second["id"])
    assert ada.json("submissions", "-b", "again")[0]["verdict"] == "OK"
    assert "the sum was wrong" in staff("rejudgings")


def test_a_zip_is_a_submission_of_its_files(server):
    staff, ada = homes(server)
    (ada.dir / "p.zip").write_bytes(projects.packed({"main.py": "from lib.add import total\nprint(total())\n",
                                                     "lib/add.py": "def total():\n    return sum(map(int, input().split()))\n"}))
    assert ada("submit", "-b", "sums", "-a", "ada-bot", "--wait", "p.zip") == "OK\n"
    (ada.dir / "evil.zip").write_bytes(projects.packed({"main.py": "print(3)\n", "../x.py": "x"}))
    assert "leaves the archive" in ada("submit", "-b", "sums", "-a", "ada-bot", "evil.zip", expect=9)
    (ada.dir / "link.zip").write_bytes(projects.packed({"main.py": ("link", "/etc/passwd")}))
    assert "is no plain file" in ada("submit", "-b", "sums", "-a", "ada-bot", "-l", "python", "link.zip", expect=9)


def test_options_of_the_compiler(server):
    staff, ada = homes(server)
    ada.file("a.c", "#include <stdio.h>\nint main(void) { int a, b; scanf(\"%d %d\", &a, &b); printf(\"%d\\n\", a + b); return 0; }\n")
    s = ada.json("submit", "-b", "sums", "-a", "ada-bot", "--wait", "--option", "-O0", "a.c")
    assert s["verdict"] == "OK" and s["compiler_options"] == ["-O0"], s
    refused = ada("submit", "-b", "sums", "-a", "ada-bot", "--option", "-fplugin=x", "a.c", expect=4)
    assert '"-fplugin=x" is not taken' in refused and "-O0 -O1 -O2 -O3" in refused, refused


def test_projects(server):
    """An instructor writes a PIT, publishes it and its tests; a student submits a folder and a ZIP and looks at what came of them."""
    staff, ada = homes(server)
    staff("pit", "new", "--id", "words", "--language", "bash", "--buildTool", "none", "--testCommand", "sh check.sh", "--requiredFiles", "answer.txt")
    assert "is published" in staff("pit", "publish", "pits/words.json")
    assert "--force" in staff("pit", "publish", "pits/words.json", expect=4)
    assert "is changed" in staff("pit", "publish", "pits/words.json", "--force")
    staff.file("tests/check.sh", "echo looking; if grep -q 42 answer.txt; then echo 'Tests run: 2, Failures: 0, Errors: 0, Skipped: 0'; else "
                                 "echo 'Tests run: 2, Failures: 1, Errors: 0, Skipped: 0'; exit 1; fi\n")
    assert "words" in staff("pit", "upload-tests", "words", "tests")
    assert "words" in ada("pit", "list") and [p["hasTests"] for p in ada.json("pit", "list") if p["id"] == "words"] == [True]
    assert "sh check.sh" in staff("pit", "show", "words") and "sh check.sh" not in ada("pit", "show", "words")
    assert ada.json("pit", "show", "words")["requiredFiles"] == ["answer.txt"]
    assert ada("pit", "mine").startswith("You have submitted no projects")
    ada.file("right/answer.txt", "42\n")
    ada.file("right/.git/config", "not sent\n")
    out = ada("pit", "submit", "words", "right")
    assert re.search(r"^DONE  score 100  2 of 2 tests passed", out, re.M), out
    (ada.dir / "wrong.zip").write_bytes(projects.packed({"answer.txt": "41\n"}))
    out = ada("pit", "submit", "words", "wrong.zip", expect=1)
    assert re.search(r"^ERROR  score 50  1 of 2 tests passed", out, re.M) and "test:" in out, out
    (ada.dir / "slip.zip").write_bytes(projects.packed({"../answer.txt": "42\n"}))
    slip = ada.json("pit", "submit", "words", "slip.zip", expect=1)
    assert slip["status"] == "ERROR" and slip["feedback"]["step"] == "unpack", slip
    sid = ada("pit", "submit", "words", "right", "--no-wait").strip()
    assert ada.json("pit", "feedback", sid, "--wait", "--timeout", "60")["score"] == 100
    assert "looking" in ada("pit", "log", sid) and "looking" in ada.json("pit", "log", sid)["log"]
    rows = ada.json("pit", "mine", "--pit", "words")
    assert [r["status"] for r in rows] == ["DONE", "ERROR", "ERROR", "DONE"] and len(ada.json("pit", "mine", "--limit", "2")) == 2, rows
    assert "DONE" in ada("pit", "mine")
    ada("pit", "submit", "no-such-pit", "right", expect=5)
    ada("pit", "upload-tests", "words", "right", expect=4)
    ada("pit", "feedback", "01a1fd2c-ddfb-7000-92f7-582965e0caeb", expect=5)
    ada("pit", "submit", "words", "absent", expect=9)


def test_webhooks(server):
    staff, ada = homes(server)
    staff("benchmarks", "create", "-f", staff.file("hooked.json", {"id": "hooked", "name": "Hooked", "visibility": "public", "tests": [{"input": "1 2\n", "expected_output": "3\n"}]}))
    assert "-b ID" in ada("webhooks", "create", "https://hooks.example/x", expect=2)
    assert "not public" in ada("webhooks", "create", "http://127.0.0.1/x", "-b", "hooked", expect=4)
    made = ada.json("webhooks", "create", "https://hooks.invalid/x", "-b", "hooked", "--events", "submission.queued,submission.done")
    assert made["secret"].startswith("whsec_") and made["events"] == ["submission.queued", "submission.done"], made
    assert "secret whsec_" in ada("webhooks", "create", "https://hooks.invalid/y", "-b", "hooked")
    assert "https://hooks.invalid/y" in ada("webhooks") and len(ada.json("webhooks", "list")) == 2
    assert "is off" in ada("webhooks", "off", made["id"]) and "is active" in ada("webhooks", "on", made["id"])
    assert ada.json("webhooks", "show", made["id"])["active"] is True
    ada.file("add.py", ADDS)
    ada("submit", "-b", "hooked", "-a", "ada-bot", "--wait", "add.py")
    sent = wait_for("both events", lambda: (lambda d: d if len(d) == 2 else None)(ada.json("webhooks", "deliveries", made["id"])), 20)
    assert {d["type"] for d in sent} == {"submission.queued", "submission.done"}
    assert "submission.done" in ada("webhooks", "deliveries", made["id"])
    assert "--event ID" in ada("webhooks", "replay", made["id"], expect=2)
    assert "1 sent again" in ada("webhooks", "replay", made["id"], "--event", sent[0]["event_id"])
    assert ada.json("webhooks", "replay", made["id"], "--since", "2020-01-01T00:00:00Z") == {"replayed": 2}
    ada("webhooks", "delete", made["id"])
    assert "no such webhook" in ada("webhooks", "show", made["id"], expect=5)


def test_images_are_filtered(server):
    staff, ada = homes(server)
    assert re.search(r"^blur +sigma=2 ", ada("filter"), re.M) and ada("filter") == ada("filter", "list")
    assert [f["name"] for f in ada.json("filter", "list")][:2] == ["negative", "grayscale"]
    rows = [[(x * 9, 255 - x, 7, 255) for x in range(23)] for _ in range(11)]
    (ada.dir / "a.png").write_bytes(pictures.png(rows))
    assert ada("filter", "negative", "a.png", "-o", "b.png") == ""
    assert pictures.png_rows((ada.dir / "b.png").read_bytes()) == [[(255 - r, 255 - g, 255 - b, a) for r, g, b, a in row] for row in rows]
    said = ada.json("filter", "Resize", "a.png", "-p", "width=46", "--param", "mode=stretch", "-p", "height=3", "--output=b.png")
    got = pictures.png_rows((ada.dir / "b.png").read_bytes())
    assert (len(got[0]), len(got)) == (46, 3) and said["output"] == "b.png" and said["bytes"] == (ada.dir / "b.png").stat().st_size, said
    p = subprocess.run([ASSAY, "filter", "rotate", "-"], input=pictures.png(rows), capture_output=True, env=ada.env, timeout=60)
    assert p.returncode == 0 and len(pictures.png_rows(p.stdout)) == 23, p
    before = (ada.dir / "b.png").read_bytes()
    ada.file("c.png", "no image")
    assert "not_an_image: " in ada("filter", "negative", "c.png", "-o", "b.png", expect=1)
    assert "filter/name" in ada("filter", "sepia", "a.png", "-o", "b.png", expect=4) and "sigma" in ada("filter", "blur", "a.png", "-p", "sigma=0", "-o", "b.png", expect=4)
    assert (ada.dir / "b.png").read_bytes() == before and sorted(f.name for f in ada.dir.glob("*.png*")) == ["a.png", "b.png", "c.png"]
    assert "NAME=VALUE" in ada("filter", "blur", "a.png", "-p", "sigma", "-o", "b.png", expect=2)
    ada("filter", "blur", "a.png", "b.png", "-o", "c", expect=2)
    ada("filter", "blur", "absent.png", "-o", "b.png", expect=9)
    ada("filter", "blur", "a.png", "-o", "no/such/folder/b.png", expect=9)


def test_without_a_server():
    with tempfile.TemporaryDirectory() as home:
        env = {"PATH": os.environ["PATH"], "HOME": home, "LC_ALL": "C.UTF-8", "ASSAY_URL": "http://127.0.0.1:9"}
        for argv, status in ([["benchmarks"], 3], [["status"], 3], [["help"], 0], [["completion", "zsh"], 0], [["simulate", "--list"], 0], [["nonsense"], 2]):
            DRIVEN.add(argv[0])
            p = subprocess.run([ASSAY, *argv], capture_output=True, text=True, env=env, timeout=60)
            assert p.returncode == status, (argv, p)
            assert status == 0 or p.stderr.startswith("assay: "), p


def test_every_command_was_driven():
    """Those that have suites of their own are named with them."""
    elsewhere = {"simulate": "test_simulate.py", "import": "test_packages.py", "export": "test_packages.py", "submit-samples": "test_datasets.py",
                 "support-bundle": "test_support.py"}
    table = subprocess.run([ASSAY, "completion", "words", "1", "--", "assay", ""], capture_output=True, text=True, check=True).stdout.split()
    here = pathlib.Path(__file__).parent
    for command, suite in elsewhere.items():
        assert re.search(rf'"{command}"', (here / suite).read_text()), f"{suite} does not drive assay {command}"
    assert len(table) > 15 and set(table) <= DRIVEN | set(elsewhere), set(table) - DRIVEN - set(elsewhere)


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
