"""The audit log: what admins and instructors change for others is on record, with the change or not at all."""

import json
import sys

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


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
