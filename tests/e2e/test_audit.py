"""The audit log: what admins and instructors change for others is on record, with the change or not at all."""

import json
import sqlite3
import sys
import time

import harness
from harness import Server, wait_for


def test_what_staff_changes_is_on_record():
    s = Server(args=["--boxkeeper=false"])
    try:
        s.start()
        admin = s.login()
        me = admin.get("/me").json["id"]
        teacher, user = s.register("teacher"), s.register("pupil")
        ids = {u["login"]: u["id"] for u in admin.get("/users").json["items"]}
        admin.patch(f"/users/{ids['teacher']}", {"role": "instructor"})
        teacher = s.login("teacher", "a-long-enough-password")
        done = [("users_update", ids["teacher"], me)]

        def act(action, target, who=ids["teacher"]):
            done.append((action, target, who))
        b = teacher.post("/benchmarks", {"id": "course", "mode": "answer", "tests": [{"expected_output": "1"}]}, expect=201).json
        act("benchmarks_create", "course")
        teacher.patch("/benchmarks/course", {"freezes_at": "2098-01-01T00:00:00Z", "ends_at": "2099-01-01T00:00:00Z"})
        act("benchmarks_update", "course")
        problem = b["problems"][0]["id"]
        teacher.put(f"/problems/{problem}/tests", {"tests": [{"expected_output": "2"}]})
        act("tests_replace", problem)
        user.post("/agents", {"id": "bot"}, expect=201)  # what one makes for oneself is on no record
        token = user.post("/agents/bot/tokens", {}, expect=201).json
        act("agent_tokens_create", "bot", ids["pupil"])
        teacher.delete(f"/agents/bot/tokens/{token['id']}")
        act("agent_tokens_delete", "bot")
        sid = user.post("/submissions", {"benchmark_id": "course", "agent_id": "bot", "payload": "2"}, expect=202).json["id"]
        teacher.post(f"/submissions/{sid}/cancel", expect=(200, 202))
        act("submissions_cancel", sid)
        teacher.post(f"/submissions/{sid}/rejudge", expect=202)
        act("submissions_rejudge", sid)
        user.post(f"/submissions/{sid}/cancel", expect=(200, 202))  # its owner: not recorded
        assert teacher.call("PATCH", "/benchmarks/course", {"ends_at": "2019-01-01T00:00:00Z"}).status == 400  # nothing changed: no record
        teacher.post("/pits", {"id": "pit", "testCommand": "x"}, expect=201)
        act("pits_create", "pit")
        teacher.delete("/pits/pit")
        act("pits_delete", "pit")
        teacher.delete("/benchmarks/course")
        act("benchmarks_delete", "course")
        admin.post(f"/users/{ids['pupil']}/password", {"password": "another-long-password"})
        act("users_password", ids["pupil"], me)

        def records(query=""):
            return [(r["action"], r["target"], r["actor_id"]) for r in reversed(admin.all(f"/audit?since=2000-01-01T00:00:00Z{query}"))]
        wait_for("all records", lambda: len(records()) >= len(done), 10)
        assert records() == done, (records(), done)
        assert records("&target=course") == [d for d in done if d[1] == "course"]
        assert records(f"&actor_id={me}") == [d for d in done if d[2] == me]
        assert records("&action=pits_delete") == [("pits_delete", "pit", ids["teacher"])]
        assert records("&until=2000-01-01T00:00:00Z") == []
        first = admin.get("/audit?limit=1").json
        assert first["items"][0]["action"] == "users_password" and first["next_cursor"], first
        entry = admin.get("/audit?action=users_update").json["items"][0]
        assert entry["detail"]["role"] == "instructor" and entry["role"] == "admin" and entry["remote"] == "127.0.0.1" and entry["request_id"], entry
        assert "another-long-password" not in json.dumps(admin.all("/audit?since=2000-01-01T00:00:00Z"))
        assert teacher.call("GET", "/audit").status == 403
        # who is erased is no longer told by an address
        admin.delete(f"/users/{ids['teacher']}")
        wait_for("the erasure's record", lambda: records("&action=users_erase"), 10)
        assert {r["remote"] for r in admin.all(f"/audit?actor_id={ids['teacher']}")} == {None}
        # it outlives the server
        before = len(records())
        s.stop()
        s.start()
        admin = s.login()
        assert len(records()) == before
    finally:
        s.close()


DAY = 86400 * 1000


def age(server, rows):
    """Records of the given ages in days, oldest first, before all that are there: as if the server had run for so long."""
    db = sqlite3.connect(server.data / "assay.db")
    now = int(time.time() * 1000)
    db.executemany("INSERT INTO auth_audit (seq, at_ms, id, actor_id, agent_id, role, action, target, remote, request_id, detail)"
                   " VALUES (?, ?, ?, 'a', '', 'admin', 'users_update', 'aged', '192.0.2.1', 'r', '')",
                   [(i - len(rows), now - days * DAY, f"01a2214a-ecf1-7000-a03b-{i:012x}") for i, days in enumerate(rows)])
    db.commit()
    db.close()


def kept(server):
    """(how many aged records are there, how many the log says that it removed, in how many steps)"""
    db = sqlite3.connect(f"file:{server.data}/assay.db?mode=ro", uri=True)
    there = db.execute("SELECT COUNT(*) FROM auth_audit WHERE target = 'aged'").fetchone()[0]
    # a record is an event first, and in the log a moment later
    told = {row[0]: json.loads(json.loads(row[1])["detail"])["removed"] for row in db.execute(
        "SELECT id, payload FROM assay_events WHERE topic = 'audit.recorded'") if json.loads(row[1])["action"] == "audit_purge"}
    db.close()
    return there, sum(told.values()), len(told)


def test_the_log_is_kept_as_long_as_the_rule_says_and_each_purge_is_on_record():
    s = Server(args=["--boxkeeper=false"])
    try:
        s.env["ASSAY_AUDIT_KEEP"] = "2159h"
        s.spawn()
        assert s.process.wait(60) == 78 and "2160h (90 days) at the least" in s.log_text(), s.log_text()[-500:]
        del s.env["ASSAY_AUDIT_KEEP"]
        s.start()
        assert s.stop() == 0
        age(s, [100] * 5300 + [92] * 3 + [89] * 7)
        s.start()
        assert kept(s) == (5310, 0, 0), "without a rule everything is kept"
        assert s.stop() == 0
        # killed in the middle: whole steps are done, each with its record
        s.env["ASSAY_AUDIT_KEEP"] = "2160h"
        s.spawn()
        wait_for("the first step", lambda: kept(s)[0] < 5310, 60, every=0.01)
        s.process.kill()
        s.process.wait()
        time.sleep(1)  # its children go with it
        there, told, steps = kept(s)
        assert there + told == 5310 and told > 0, (there, told)
        s.start()
        admin = s.login()
        wait_for("the rest", lambda: kept(s)[0] == 7, 30)
        there, told, steps = kept(s)
        assert (there, told) == (7, 5303) and steps >= 6, (there, told, steps)
        records = wait_for("the records of the purge", lambda: (lambda r: r if len(r) == steps else None)(admin.all("/audit?action=audit_purge")), 20)
        assert {(r["actor_id"], r["role"], r["target"], r["agent_id"], r["remote"]) for r in records} == {("assayd", "assayd", "audit", None, None)}
        assert sum(r["detail"]["removed"] for r in records) == 5303 and max(r["detail"]["removed"] for r in records) == 1000
        assert s.metric("assay_audit_removed_total") >= 303
        assert {r["target"] for r in admin.all("/audit?target=aged")} == {"aged"} and len(admin.all("/audit?target=aged")) == 7
    finally:
        s.close()


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
