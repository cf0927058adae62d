"""The demo's programs, each of its kind, get their verdict; scores and leaderboard follow."""

import os
import sys

import harness
from harness import program, wait_for

REPEATS = int(os.environ.get("ASSAY_REPEATS", "1"))


def submissions():
    for line in (harness.FIXTURES / "demo" / "submissions.tsv").read_text().splitlines():
        if line and not line.startswith("#"):
            yield line.split("\t")


def test_every_demo_program_gets_its_verdict(server):
    admin = server.login()
    server.demo(admin)
    for agent in {agent for agent, *_ in submissions()} - {"ada"}:
        admin.post("/agents", {"id": agent, "name": agent.title()}, expect=201)
    wrong = []
    for repeat in range(REPEATS):
        sent = []
        for agent, language, file, verdict in submissions():
            a = admin.post("/submissions", {"benchmark_id": "sum-integers", "agent_id": agent, "language": language,
                                            "source": program(file)}, expect=202)
            assert a.headers["location"] == f"/submissions/{a.json['id']}"
            sent.append((a.json["id"], file, verdict))
        for sid, file, verdict in sent:
            s = server.wait_done(admin, sid, timeout=120)
            if s["verdict"] != verdict or s["status"] != "done":
                detail = admin.get(f"/results/{sid}", expect=(200, 404)).body.decode()[:600]
                wrong.append(f"round {repeat}: {file}: want {verdict}, got {s['status']} {s['verdict']}: {detail}")
    assert not wrong, "\n".join(wrong)


def test_results_tell_each_test(server):
    admin = server.login()
    for s in admin.get("/submissions?limit=100").json["items"]:
        r = admin.get(f"/results/{s['id']}").json
        assert r["submission_id"] == s["id"] and r["verdict"] == s["verdict"], r
        if s["verdict"] == "BF":
            assert r["build_output"] and r["tests"] == [] and r["tests_passed"] == 0, r
            continue
        assert [t["number"] for t in r["tests"]] == [1, 2, 3, 4], r
        for t in r["tests"]:
            if t["verdict"] == "-":
                continue
            assert t["wall_ms"] >= 0 and t["cpu_ms"] >= 0, t
            if t["verdict"] == "RE":
                assert t["signal"] or t["exit_code"], t
    right = [s for s in admin.get("/submissions?limit=100&verdict=OK").json["items"]]
    assert right and all(s["score"] == 100 for s in right)


def test_the_leaderboard_ranks_the_best_of_each_agent(server):
    admin = server.login()
    order = list(dict.fromkeys(agent for agent, *_ in submissions()))

    def rows():
        items = admin.get("/leaderboard?benchmark_id=sum-integers").json["items"]
        return items if len(items) == len(order) and all(r["score"] == 100 for r in items) else None
    items = wait_for("the leaderboard to settle", rows, 10)
    assert [r["rank"] for r in items] == list(range(1, len(order) + 1))
    assert [r["agent_id"] for r in items] == order, "ties go to the earlier submission"


def test_scores_and_traces_follow_each_submission(server):
    admin = server.login()
    done = [s for s in admin.get("/submissions?limit=100").json["items"] if s["status"] == "done"]
    scores = {}
    cursor = ""
    while cursor is not None:
        page = admin.get(f"/scores?benchmark_id=sum-integers&limit=50&cursor={cursor}").json
        scores.update({s["submission_id"]: s for s in page["items"]})
        cursor = page.get("next_cursor")
    for s in done:
        assert scores[s["id"]]["score"] == s["score"], (s, scores[s["id"]])
    tree = admin.get(f"/traces?submission_id={done[0]['id']}").json
    assert tree["items"], tree


def test_a_second_account_sees_neither_source_nor_results(server):
    admin = server.login()
    other = server.register("stranger")
    sid = admin.get("/submissions?limit=1").json["items"][0]["id"]
    for path in (f"/submissions/{sid}", f"/results/{sid}", f"/traces?submission_id={sid}"):
        a = other.call("GET", path)
        assert a.status == 404 or (a.status == 200 and a.json.get("items") == []), (path, a)
    assert other.get("/submissions").json["items"] == []
    assert other.call("POST", f"/submissions/{sid}/cancel").status == 404
    assert other.call("DELETE", f"/submissions/{sid}").status == 404


def test_wait_answers_when_the_verdict_is_there(server):
    admin = server.login()
    a = admin.post("/submissions?wait=30", {"benchmark_id": "sum-integers", "agent_id": "ada", "language": "c",
                                            "source": program("right.c")}, expect=200).json
    assert (a["status"], a["verdict"]) == ("done", "OK"), a


def test_the_same_idempotency_key_gives_the_first_answer_again(server):
    admin = server.login()
    body = {"benchmark_id": "sum-integers", "agent_id": "ada", "language": "c", "source": program("right.c")}
    key = {"Idempotency-Key": "one-and-only"}
    first = admin.post("/submissions", body, headers=key, expect=202)
    again = admin.post("/submissions", body, headers=key, expect=202)
    assert first.json["id"] == again.json["id"]
    body["source"] += "\n"
    admin.call("POST", "/submissions", body, headers=key, expect=422)


def test_a_queued_submission_can_be_cancelled(server):
    admin = server.login()
    ids = [admin.post("/submissions", {"benchmark_id": "sum-integers", "agent_id": "ada", "language": "c",
                                       "source": program("spinning.c")}, expect=202).json["id"] for _ in range(6)]
    for sid in ids:
        admin.post(f"/submissions/{sid}/cancel", expect=(200, 202))
    for sid in ids:
        assert server.wait_done(admin, sid)["status"] in ("cancelled", "done")
    assert server.wait_done(admin, ids[-1])["status"] == "cancelled"


def test_the_short_form_runs_a_program(server):
    user = server.register("shorty")
    task = user.post("/task", {"translator": "python3", "code": "print(6 * 7)"}, expect=201).json["task_id"]
    wait_for("the task", lambda: user.get(f"/status/{task}").json["status"] == "ready", 30)
    assert user.get(f"/result/{task}").json["result"] == "42\n"
    user.call("GET", "/status/not-an-id", expect=400)
    user.call("GET", "/status/0190a5b2-0000-7000-8000-000000000000", expect=404)
    user.call("DELETE", f"/task?id={task}", expect=(200, 204))
    user.call("GET", f"/status/{task}", expect=404)


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
