"""Erasing an account: the person's data is gone from everywhere it was kept, what was judged stays, and no token works."""

import sys

import harness
from harness import program, wait_for

LOGIN, NAME, MAIL, PASSWORD = "gertrude-blanch", "Gertrude Blanch", "gertrude@nbs.example", "a-long-enough-password"
TRACES = (LOGIN.encode(), NAME.encode(), MAIL.encode(), b"Table Maker")


def test_an_erased_person_is_nowhere(server):
    admin = server.login()
    server.demo(admin)
    admin.post("/register", {"login": LOGIN, "name": NAME, "email": MAIL, "password": PASSWORD}, expect=201)
    session = server.api().post("/login", {"login": LOGIN, "password": PASSWORD}, expect=200).json
    person = harness.Api(server.port, session["token"])
    me = person.get("/me").json["id"]
    person.post("/agents", {"id": "walker", "name": "Table Maker of " + NAME, "description": f"ask {MAIL}"}, expect=201)
    token = person.post("/agents/walker/tokens", {"name": f"laptop of {NAME}"}, expect=201).json["token"]
    worker = harness.Api(server.port, token)
    worker.get("/agents/walker")
    sid = person.post("/submissions", {"benchmark_id": "sum-integers", "agent_id": "walker", "language": "c", "source": program("right.c")},
                      expect=202).json["id"]
    admin.post("/submissions", {"benchmark_id": "sum-integers", "agent_id": "ada", "language": "c", "source": program("wrong.c")}, expect=202)
    assert server.wait_done(admin, sid)["verdict"] == "OK"

    def board():
        items = admin.get("/leaderboard?benchmark_id=sum-integers").json["items"]
        return items if len(items) == 2 else None
    before = wait_for("the board", board, 20)
    assert before[0]["agent_name"] == "Table Maker of " + NAME, before

    person.call("DELETE", f"/users/{me}", expect=403)
    admin.delete(f"/users/{me}", expect=204)
    admin.call("GET", f"/users/{me}", expect=404)
    admin.call("DELETE", f"/users/{me}", expect=404)

    # tokens of the account and of its agents are dead, and it cannot come back in
    wait_for("the access token to be refused", lambda: person.call("GET", "/me").status == 401, 5)
    wait_for("the agent's token to be refused", lambda: worker.call("GET", "/agents/walker").status == 401, 5)
    server.api().call("POST", "/login", {"login": LOGIN, "password": PASSWORD}, expect=401)
    server.api().call("POST", "/auth/refresh", {"refresh_token": session["refresh_token"]}, expect=401)

    # boards keep their places without the name; nothing that answers says who it was
    wait_for("the board without the name", lambda: board()[0]["agent_name"] == "erased", 10)
    after = board()
    assert [(r["rank"], r["agent_id"], r["score"]) for r in after] == [(r["rank"], r["agent_id"], r["score"]) for r in before]
    assert after[1]["agent_name"] == "Ada"
    said = b"".join(admin.call("GET", p).body for p in
                    ("/users?limit=200", "/agents?limit=200", "/agents/walker", "/leaderboard", "/leaderboard?benchmark_id=sum-integers",
                     "/scores?benchmark_id=sum-integers", f"/submissions/{sid}", f"/results/{sid}"))
    assert not [t for t in TRACES if t in said], said
    assert admin.get(f"/results/{sid}").json["verdict"] == "OK", "what was judged stays"

    # the login is free, and whoever takes it is somebody else
    admin.post("/register", {"login": LOGIN, "password": PASSWORD}, expect=201)
    other = server.login(LOGIN, PASSWORD)
    assert other.get("/me").json["id"] != me and other.get("/submissions").json["items"] == []
    other.call("GET", f"/submissions/{sid}", expect=404)


def test_one_erases_one_s_own_account(server):
    server.login().post("/register", {"login": "leaver", "password": PASSWORD}, expect=201)
    leaver = server.login("leaver", PASSWORD)
    leaver.call("POST", "/me/erase", {"password": "not it, surely"}, expect=403)
    leaver.call("POST", "/me/erase", {"password": PASSWORD}, expect=204)
    wait_for("the access token to be refused", lambda: leaver.call("GET", "/me").status == 401, 5)
    server.api().call("POST", "/login", {"login": "leaver", "password": PASSWORD}, expect=401)


def test_the_last_admin_is_not_erased(server):
    admin = server.login()
    me = admin.get("/me").json["id"]
    a = admin.call("DELETE", f"/users/{me}", expect=409)
    assert "last account that can administer" in a.json["detail"], a
    admin.post("/register", {"login": "second-admin", "password": PASSWORD, "role": "admin"}, expect=201)
    second = server.login("second-admin", PASSWORD)
    second.delete(f"/users/{me}", expect=204)
    wait_for("the first admin's token to be refused", lambda: admin.call("GET", "/me").status == 401, 5)
    second.call("DELETE", f"/users/{second.get('/me').json['id']}", expect=409)


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
