#!/usr/bin/env python3
"""Accounts, agents and benchmarks through the real server: what a token opens, for how long, and for whom."""

import concurrent.futures
import sys
import threading

from harness import Api, Server, main, wait_for


def make_server():
    return Server(args=["--no-boxkeeper", "--only", "auth,agents,benchmarks"])


def pointers(answer):
    return {e["pointer"] for e in answer.json["errors"]}


def test_signing_in_says_who_one_is(server):
    admin = server.login()
    me = admin.get("/me").json
    assert (me["login"], me["role"]) == ("admin", "admin"), me
    a = server.api().post("/register", {"username": "Ada", "password": "analytical engine"}, expect=201)
    assert a.headers["location"] == "/users/" + a.json["id"]
    old = server.api().post("/auth?user_id=ada", {"password": "analytical engine"}, expect=200)
    assert old.json["user"] == {"id": a.json["id"], "login": "Ada", "role": "user"}
    assert old.headers["cache-control"] == "no-store"
    server.api().post("/register", {"login": "ADA", "password": "another password"}, expect=409)
    server.api().get("/me", expect=401)
    server.api("asy_" + "0" * 64).get("/agents", expect=401)


def test_wrong_and_unknown_get_one_answer(server):
    api = server.api()
    a = api.post("/login", {"login": "admin", "password": "wrong password"}, expect=401).json
    b = api.post("/login", {"login": "nobody-here", "password": "wrong password"}, expect=401).json
    for x in (a, b):
        x.pop("request_id", None)
    assert a == b, (a, b)
    assert api.post("/login", {"login": "admin"}, expect=400).json["errors"][0]["pointer"] == "/password"
    api.call("POST", "/login", body=b"login=admin", headers={"Content-Type": "text/plain"}, expect=415)


def test_a_refresh_token_works_once_and_reuse_ends_the_family(server):
    server.register("rotating")
    first = server.api().post("/login", {"login": "rotating", "password": "a-long-enough-password"}).json
    second = server.api().post("/auth/refresh", {"refresh_token": first["refresh_token"]}, expect=200).json
    Api(server.port, second["access_token"]).get("/me")
    server.api().post("/auth/refresh", {"refresh_token": first["refresh_token"]}, expect=401)
    server.api().post("/auth/refresh", {"refresh_token": second["refresh_token"]}, expect=401)
    wait_for("the access token to be refused", lambda: Api(server.port, second["access_token"]).get("/me", expect=None).status == 401,
             timeout=2)


def test_revocation_is_seen_within_a_second(server):
    admin = server.login()
    for change in ("logout", "disable", "role", "password"):
        user = server.register("leaver-" + change)
        uid = user.get("/me").json["id"]
        if change == "logout":
            user.post("/logout", expect=204)
        elif change == "disable":
            admin.patch(f"/users/{uid}", {"disabled": True})
        elif change == "role":
            admin.patch(f"/users/{uid}", {"role": "viewer"})
        else:
            user.post(f"/users/{uid}/password", {"current_password": "a-long-enough-password", "password": "a-different-password"},
                      expect=200)
        wait_for(change + " to be seen", lambda u=user: u.get("/me", expect=None).status == 401, timeout=1.5)


def test_one_session_of_several_is_ended_and_stays_ended_after_a_restart():
    server = make_server().start()
    try:
        server.register("several")
        first, second = (server.api().post("/login", {"login": "several", "password": "a-long-enough-password"}).json for _ in range(2))
        me = Api(server.port, second["access_token"])
        sessions = {s["id"] for s in me.get("/me/sessions").json["items"]}
        ended, kept = first["refresh_token"][4:40], second["refresh_token"][4:40]
        assert {ended, kept} <= sessions and len(sessions) == 3, sessions  # the third is the harness's
        server.login().delete(f"/me/sessions/{ended}", expect=404)
        me.delete("/me/sessions/not-an-id", expect=404)
        me.get("/me/sessions?limit=1", expect=400)
        me.delete(f"/me/sessions/{ended}", expect=204)
        wait_for("its token to be refused", lambda: Api(server.port, first["access_token"]).get("/me", expect=None).status == 401, timeout=2)
        me.get("/me")
        server.stop()
        server.start()
        Api(server.port, first["access_token"]).get("/me", expect=401)
        server.api().post("/auth/refresh", {"refresh_token": first["refresh_token"]}, expect=401)
        assert ended not in {s["id"] for s in Api(server.port, second["access_token"]).get("/me/sessions").json["items"]}
        server.api().post("/auth/refresh", {"refresh_token": second["refresh_token"]}, expect=200)
    finally:
        server.stop()


def test_guessing_is_slowed_down(server):
    server.register("victim")
    answers = [server.api().post("/login", {"login": "victim", "password": "guess"}, expect=(401, 429)) for _ in range(12)]
    assert answers[0].status == 401 and answers[-1].status == 429, answers
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60


def test_a_class_that_signs_in_at_once_is_served(server):
    def pupil(i):
        body = {"login": f"pupil-{i}", "password": f"password-of-{i}"}
        server.api().post("/register", body, expect=201)
        return server.api().post("/login", body, expect=200).status

    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        assert list(pool.map(pupil, range(40))) == [200] * 40


def test_an_agents_token_opens_what_it_names_until_it_is_revoked(server):
    owner, other = server.register("owner"), server.register("other")
    owner.post("/agents", {"id": "robot", "name": "Robot"}, expect=201)
    other.post("/agents", {"id": "robot"}, expect=409)
    other.patch("/agents/robot", {"name": "Mine"}, expect=403)
    t = owner.post("/agents/robot/tokens", {"scopes": ["agents:read"]}, expect=201).json
    robot = server.api(t["token"])
    assert robot.get("/agents/robot").json["name"] == "Robot"
    robot.get("/benchmarks", expect=403)
    robot.get("/me", expect=403)
    robot.patch("/agents/robot", {"name": "Free"}, expect=403)
    assert "token" not in owner.get("/agents/robot/tokens").json["items"][0]
    owner.delete("/agents/robot/tokens/" + t["id"])
    wait_for("the token to be refused", lambda: robot.get("/agents/robot", expect=None).status == 401, timeout=1.5)
    # nobody makes a worker of an agent for himself
    a = owner.post("/agents/robot/tokens", {"scopes": ["jobs:lease"]}, expect=400)
    assert pointers(a) == {"/scopes/0"}


def test_disabling_an_account_ends_its_agents_tokens(server):
    admin, user = server.login(), server.register("landlord")
    user.post("/agents", {"id": "tenant"}, expect=201)
    robot = server.api(user.post("/agents/tenant/tokens", {}, expect=201).json["token"])
    robot.get("/agents/tenant")
    uid = user.get("/me").json["id"]
    admin.patch(f"/users/{uid}", {"disabled": True})
    wait_for("the token to be refused", lambda: robot.get("/agents/tenant", expect=None).status == 401, timeout=3)


def test_a_private_benchmark_and_its_hidden_tests(server):
    admin, entrant, stranger = server.login(), server.register("entrant"), server.register("stranger")
    entrant.post("/agents", {"id": "runner-up"}, expect=201)
    b = admin.post("/benchmarks", {
        "id": "cup", "visibility": "private", "entrants": ["runner-up"],
        "tests": [{"input": "1", "expected_output": "1", "sample": True}, {"input": "hidden-input", "expected_output": "2"}],
    }, expect=201)
    pid = b.json["problems"][0]["id"]
    stranger.get("/benchmarks/cup", expect=404)
    stranger.get(f"/problems/{pid}", expect=404)
    stranger.get(f"/problems/{pid}/tests", expect=404)
    assert stranger.get("/benchmarks").json["items"] == []
    wait_for("the entrant to see it", lambda: entrant.get("/benchmarks/cup", expect=None).status == 200, timeout=3)
    seen = entrant.get(f"/problems/{pid}/tests")
    assert len(seen.json["items"]) == 1 and b"hidden-input" not in seen.body
    assert len(admin.get(f"/problems/{pid}/tests").json["items"]) == 2
    entrant.patch("/benchmarks/cup", {"visibility": "public"}, expect=403)


def test_all_faults_come_at_once_with_their_pointers(server):
    a = server.login().post("/benchmarks", {"id": "No Slug", "colour": "red", "feedback": "loud",
                                            "limits": {"time_limit_ms": 1, "memory_limit_bytes": "much"},
                                            "tests": [{"input": 5}]}, expect=400)
    assert a.headers["content-type"].startswith("application/problem+json")
    want = {"/id", "/colour", "/feedback", "/limits/time_limit_ms", "/limits/memory_limit_bytes", "/tests/0/input"}
    assert want <= pointers(a), pointers(a)


def test_a_retried_creation_is_one_creation(server):
    admin = server.login()
    key = {"Idempotency-Key": "0b6f7b1e-retry"}
    body = {"name": "Retried", "tests": [{"input": "1"}]}
    gate = threading.Barrier(8)

    def create(_):
        gate.wait()
        return admin.post("/benchmarks", body, expect=201, headers=key)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(create, range(8)))
    assert len({a.body for a in answers}) == 1
    assert len({a.headers["location"] for a in answers}) == 1
    assert sum(a.headers.get("idempotency-replayed") == "true" for a in answers) == 7
    admin.post("/benchmarks", {"name": "Other"}, expect=422, headers=key)


def test_accounts_and_data_outlive_the_server(server):
    server.register("lasting")
    server.login().post("/benchmarks", {"id": "lasting", "tests": [{"input": "x", "expected_output": "y"}]}, expect=201)
    assert server.stop() == 0
    server.start()
    server.login("lasting", "a-long-enough-password")
    pid = server.login().get("/benchmarks/lasting").json["problems"][0]["id"]
    assert server.login().get(f"/problems/{pid}/tests").json["items"][0]["expected_output"] == "y"
    assert server.log_text().count("admin_account_created") == 1


if __name__ == "__main__":
    main(sys.modules[__name__])
