"""Projects over HTTP: the sample PITs with projects that pass, fail in part, do not build and do not end; uploads and their
confirmation; and projects that want more than they may."""

import concurrent.futures
import io
import os
import re
import signal
import sys
import time
import zipfile

import projects
from harness import Server, Skip, main, wait_for

SHELL = {"language": "bash", "buildTool": "sh", "maxTimeoutMs": 10000}


def make_server():
    return Server(env={"ASSAY_PROJECT_GRACE": "500ms"})


def accounts(server):
    try:
        return server.login(), server.login("ada", "a-long-enough-password")
    except AssertionError:
        return server.login(), server.register("ada")


def shell(server, name, command, files, tests=None, **more):
    """A project whose test command is a line of shell; its feedback."""
    admin, user = accounts(server)
    admin.post("/pits", {**SHELL, "id": name, "testCommand": command, **more}, expect=201)
    if tests:
        admin.post(f"/pits/{name}/upload-tests", expect=201, **projects.form(projects.packed(tests)))
    sid = projects.submit(user, name, files if isinstance(files, bytes) else projects.packed(files))
    return sid, projects.feedback(user, sid)


def test_each_sample_pit_judges_its_four_kinds_of_projects(server):
    pits = projects.here()
    if not pits:
        raise Skip("none of the sample PITs' toolchains is installed")
    admin, user = accounts(server)
    sent = {}
    for pit in pits:
        short = projects.publish(admin, pit, 3000)
        for case in projects.CASES:
            sent[pit, case] = projects.submit(user, short if case == "hanging" else pit, projects.sample(pit, case))
    for (_, case), sid in sent.items():
        projects.check(case, projects.feedback(user, sid))
    mine = user.get("/submissions/mine?limit=200").json
    assert {m["submissionId"] for m in mine} >= set(sent.values()) and mine == sorted(mine, key=lambda m: m["submissionId"], reverse=True)
    one = user.get(f"/submissions/mine?pitId={pits[0]}").json
    assert len(one) == 3 and all(m["pitId"] == pits[0] and "feedback" not in m for m in one), one


def test_an_upload_is_confirmed_once(server):
    admin, user = accounts(server)
    admin.post("/pits", {**SHELL, "id": "once", "title": "Once", "testCommand": "true"}, expect=201)
    up = user.post("/submissions/request-upload", {"pit_id": "once"}, expect=201).json
    me = user.get("/me").json["id"]
    assert re.fullmatch(rf"submissions/{me}/once/[0-9a-z-]+\.zip", up["fileKey"]), up
    confirm = {"pitId": "once", "fileKey": up["fileKey"]}
    early = user.call("POST", "/submissions/confirm", confirm, expect=409)
    assert "PUT" in early.json["detail"], early
    forged = up["uploadUrl"][:-1] + ("0" if up["uploadUrl"][-1] != "0" else "1")
    late = re.sub(r"expires=\d+", "expires=1000", up["uploadUrl"])
    zipped = projects.packed({"a": "1"})
    assert projects.put(forged, zipped) == 403 and projects.put(late, zipped) == 403
    assert projects.put(up["uploadUrl"], b"no archive, but a text that is long enough") == 400
    assert projects.put(up["uploadUrl"], zipped) == 200
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: user.post("/submissions/confirm", confirm, expect=201).json, range(8)))
    assert len({a["submissionId"] for a in answers}) == 1 and all(a["status"] == "ok" for a in answers), answers
    assert projects.put(up["uploadUrl"], zipped) == 409, "what was confirmed cannot be changed"
    sid = answers[0]["submissionId"]
    r = projects.feedback(user, sid)
    assert (r["status"], r["score"], r["pitTitle"]) == ("DONE", 100, "Once"), r
    assert [m["submissionId"] for m in user.get("/submissions/mine?pit_id=once").json] == [sid]
    try:
        other = server.register("eve")
    except AssertionError:
        other = server.login("eve", "a-long-enough-password")
    other.call("POST", "/submissions/confirm", confirm, expect=403)
    other.call("GET", f"/submissions/feedback/{sid}", expect=404)
    other.call("GET", f"/submissions/feedback/{sid}/log", expect=404)
    user.call("POST", "/submissions/confirm", {"pitId": "other", "fileKey": up["fileKey"]}, expect=400)
    user.call("POST", "/submissions/request-upload", {"pitId": "no-such-pit"}, expect=404)
    assert user.get(f"/submissions/{sid}").json["kind"] == "project"


def blob(server, key):
    return (server.data / "blobs" / key).exists()


def test_uploads_and_logs_go_by_rule_and_nothing_that_is_needed():
    server = Server(env={"ASSAY_UPLOADS_KEEP": "3s", "ASSAY_LOGS_KEEP": "3s", "ASSAY_RETENTION_EVERY": "200ms"})
    try:
        server.start()
        admin, user = accounts(server)
        admin.post("/pits", {**SHELL, "id": "keep", "testCommand": "echo hello; test ! -e slow || sleep 8"}, expect=201)
        slow = projects.submit(user, "keep", projects.packed({"slow": "1"}))
        sid = projects.submit(user, "keep", projects.packed({"a": "1"}))
        waiting = user.post("/submissions/request-upload", {"pitId": "keep"}, expect=201).json
        assert projects.put(waiting["uploadUrl"], projects.packed({"b": "1"})) == 200
        done = projects.feedback(user, sid)
        assert done["status"] == "DONE" and b"hello" in user.get(f"/submissions/feedback/{sid}/log").body, done
        admin.post(f"/submissions/{sid}/rejudge", expect=202)  # it is there still
        projects.feedback(user, sid)
        wait_for("the upload and the log to go", lambda: user.call("GET", f"/submissions/feedback/{sid}/log").status == 404, 20)
        wait_for("the rule to be through", lambda: admin.call("POST", f"/submissions/{sid}/rejudge").status == 409, 10)
        again = user.get(f"/submissions/feedback/{sid}").json
        assert again["status"] == "DONE" and again["score"] == done["score"], again  # what came of it stays
        assert projects.feedback(user, slow)["status"] == "DONE", "what ran all the time kept its upload"
        assert b"hello" in user.get(f"/submissions/feedback/{slow}/log").body
        assert blob(server, waiting["fileKey"])
        late = user.post("/submissions/confirm", {"pitId": "keep", "fileKey": waiting["fileKey"]}, expect=201).json["submissionId"]
        assert projects.feedback(user, late)["status"] == "DONE"
        text = server.api().get("/metrics").body.decode()
        assert 'assay_retention_removed_total{what="upload"}' in text and 'assay_retention_removed_total{what="log"}' in text, text
    finally:
        server.close()


def test_what_is_deleted_takes_its_upload_and_log_along_and_by_itself_nothing_goes():
    server = Server(env={"ASSAY_RETENTION_EVERY": "200ms"})
    try:
        server.start()
        admin, user = accounts(server)
        admin.post("/pits", {**SHELL, "id": "keep", "testCommand": "echo hello"}, expect=201)
        gone, kept = (projects.submit(user, "keep", projects.packed({"a": "1"})) for _ in range(2))
        for sid in (gone, kept):
            assert projects.feedback(user, sid)["status"] == "DONE"
        user.call("DELETE", f"/submissions/{gone}", expect=204)
        wait_for("the log to go", lambda: not blob(server, f"logs/{gone}/run.log"), 20)
        wait_for("the upload to go", lambda: len([f for f in (server.data / "blobs" / "submissions").rglob("*.zip")]) == 1, 20)
        assert blob(server, f"logs/{kept}/run.log") and b"hello" in user.get(f"/submissions/feedback/{kept}/log").body
        admin.post(f"/submissions/{kept}/rejudge", expect=202)
        assert projects.feedback(user, kept)["status"] == "DONE"
    finally:
        server.close()


def test_the_instructors_tests_win_and_what_is_required_must_be_there(server):
    sid, r = shell(server, "theirs", 'test "$(cat check.sh)" = instructor && sh check.sh; cat check.sh; exit $?', {"check.sh": "student"},
                   tests={"check.sh": "instructor"})
    assert r["feedback"]["exitCode"] == 0 and r["status"] == "DONE", r
    assert accounts(server)[1].get(f"/submissions/feedback/{sid}/log").body.decode().endswith("instructor")
    _, r = shell(server, "required", "true", {"top/a": "1"}, requiredFiles=["pom.xml"])
    assert r["status"] == "ERROR" and r["feedback"]["step"] == "required" and "pom.xml" in r["feedback"]["error"], r
    _, r = shell(server, "stripped", "test -f a", {"top/a": "1", "top/b": "2"}, requiredFiles=["a"])
    assert r["status"] == "DONE", r


def test_setup_environment_and_both_ends_of_the_log(server):
    sid, r = shell(server, "setup", 'cat made; echo "$GREETING"; seq 1 100000; echo "Tests run: 4, Failures: 1, Errors: 0, Skipped: 1"',
                   {"a": "1"}, setupCommands=["echo made in setup > made", "test -f made"], environment={"GREETING": "hello from the PIT"})
    f = r["feedback"]
    assert (f["totalTests"], f["passedTests"], f["failedTests"], f["skippedTests"]) == (4, 2, 1, 1) and r["score"] == 50, r
    assert r["status"] == "DONE" and f["exitCode"] == 0, "the exit status decides, not the counts"
    log = accounts(server)[1].get(f"/submissions/feedback/{sid}/log").body.decode()
    assert "made in setup" in log and "hello from the PIT" in log and "bytes left out" in log and "Tests run: 4" in log
    assert len(log) < 201000, len(log)
    _, r = shell(server, "setup-fails", "echo never", {"a": "1"}, setupCommands=["true", "echo no luck; exit 7"])
    assert r["status"] == "ERROR" and r["feedback"]["step"] == "setup" and "command 2" in r["feedback"]["error"] and r["feedback"]["exitCode"] == 7, r


def test_a_time_out_is_sigterm_then_sigkill_for_the_whole_tree(server):
    started = time.monotonic()
    sid, r = shell(server, "stubborn", 'trap "echo got TERM" TERM; (setsid sh -c "trap \'\' TERM; while :; do sleep 1; done" &); while :; do sleep 0.2; done',
                   {"a": "1"}, maxTimeoutMs=1000)
    assert r["status"] == "ERROR" and r["feedback"]["timedOut"] and r["score"] == 0, r
    assert 1000 <= r["feedback"]["durationMs"] < 20000 and time.monotonic() - started < 60, r
    assert "got TERM" in accounts(server)[1].get(f"/submissions/feedback/{sid}/log").body.decode()


def test_archives_that_break_the_rules_are_refused(server):
    """H48: nothing gets out of the workspace."""
    bad = {
        "up": projects.packed({"../../escaped": "x"}),
        "absolute": projects.packed({"/tmp/escaped": "x"}),
        "link": projects.packed({"out": ("link", "/etc"), "out/passwd": "x"}),
        "twice": projects.packed({"A.txt": "1", "a.txt": "2"}),
        "damaged": projects.packed({"a": "1" * 1000})[:-30],
    }
    for name, data in bad.items():
        _, r = shell(server, f"bad-{name}", "true", data)
        assert r["status"] == "ERROR" and r["score"] == 0 and r["feedback"]["step"] == "unpack", (name, r)
        assert "refused" in r["feedback"]["error"], (name, r)


def test_an_archive_that_is_a_bomb_is_refused(server):
    """H49: some kilobytes that would be a thousand times as much."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as z:
        z.writestr("zeros", bytes(40 << 20))
    _, r = shell(server, "bomb", "true", out.getvalue())
    assert r["status"] == "ERROR" and r["feedback"]["step"] == "unpack" and re.search("bomb|too_large", r["feedback"]["error"]), r


FAKE = '<testsuite><testcase name="a"/><testcase name="b"/></testsuite>'


def test_reports_that_a_project_brings_along_do_not_count(server):
    _, r = shell(server, "brought", "exit 0", {"TEST-fake.xml": FAKE, "target/surefire-reports/TEST-fake.xml": FAKE})
    assert r["feedback"]["totalTests"] == 0, r
    _, r = shell(server, "made", f"echo '{FAKE}' > made.xml; echo '{FAKE}' > other.xml", {"old.xml": FAKE}, reports=["**/made.xml"])
    assert r["feedback"]["totalTests"] == 2 and r["score"] == 100, r


def test_a_project_cannot_answer_in_our_place(server):
    """It has the user of the program that tests it, and may at most end it."""
    _, r = shell(server, "kills", "kill -9 $PPID; sleep 5", {"a": "1"})
    assert r["status"] == "ERROR" and r["score"] == 0 and r["feedback"]["step"] == "box", r
    peek = "for p in $PPID 1 2 3; do for f in 2 100 101; do echo assay-answer-1 > /proc/$p/fd/$f; done; cat /proc/$p/environ /proc/$p/mem | head -c 10; done 2>/dev/null; exit 3"
    _, r = shell(server, "peeks", peek, {"a": "1"})
    assert r["status"] == "ERROR" and r["feedback"]["exitCode"] == 3, r


def test_memory_and_processes_have_their_limits(server):
    _, r = shell(server, "hungry", "head -c 4000000000 /dev/zero | tail", {"a": "1"}, maxTimeoutMs=30000)
    assert r["status"] == "ERROR" and r["score"] == 0, r
    _, r = shell(server, "forks", "f() { f | f & }; f; sleep 2; exit 5", {"a": "1"}, maxTimeoutMs=8000)
    assert r["status"] == "ERROR", r
    _, r = shell(server, "after-them", "true", {"a": "1"})
    assert r["status"] == "DONE", r


def test_a_cancel_ends_it_and_a_killed_server_does_it_again(server):
    admin, user = accounts(server)
    admin.post("/pits", {**SHELL, "id": "slow", "testCommand": "sleep 4; echo 'Tests run: 2, Failures: 1, Errors: 0, Skipped: 0'", "maxTimeoutMs": 60000}, expect=201)
    status = lambda sid: user.get(f"/submissions/feedback/{sid}").json["status"]
    first, second = (projects.submit(user, "slow", projects.packed({"a": n})) for n in "12")
    wait_for("it runs", lambda: status(first) == "RUNNING", 60)
    user.post(f"/submissions/{first}/cancel", expect=(200, 202))
    r = projects.feedback(user, first)
    assert r["status"] == "ERROR" and r["score"] == 0 and r["feedback"]["step"] == "queue", r
    wait_for("it runs", lambda: status(second) == "RUNNING", 60)
    os.kill(server.children()["server"], signal.SIGKILL)

    def back():
        try:
            return user.get("/healthz").status == 200
        except OSError:
            return False
    wait_for("the server again", back, 60)
    r = projects.feedback(user, second)
    assert r["status"] == "DONE" and r["score"] == 50, r
    assert user.get(f"/submissions/{second}").json["attempts"] == 1, "an interruption is not charged"
    assert server.login().post(f"/submissions/{second}/rejudge", expect=(200, 202))
    assert projects.feedback(user, second)["score"] == 50


if __name__ == "__main__":
    main(sys.modules[__name__])
