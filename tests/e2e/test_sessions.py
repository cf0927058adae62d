"""Two gateways on one PostgreSQL and one Redis: who is signed in at one is signed in at the other, who is signed out is out, and
what happens while Redis is killed, hangs, or comes back empty or with what it knew before."""

import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "parts"))
import postgres  # noqa: E402
import redis  # noqa: E402
from harness import PREFIX, Api, Server, Skip, main, wait_for  # noqa: E402

PG = REDIS = OTHER = None
PASSWORD = "a-long-enough-password"
SEEN = 1.0  # seconds within which a revocation is seen everywhere
SLOW = 2.0  # what a busy machine may add


def settings(**more):
    return {"STORAGE_DSN": PG.dsn, "JWT_SIGNING_SECRET": "one secret that both of the gateways sign and check with",
            "ASSAY_SESSION_DRIVER": "redis", "REDIS_URL": REDIS.url, "ASSAY_BOXKEEPER": "false", "ASSAY_ONLY": "auth,agents", **more}


def make_server():
    global PG, REDIS
    for part in ("store_postgres", "session_redis"):
        if not (PREFIX / "lib" / "assay" / "plugins" / f"assay_{part}.so").exists():
            raise Skip(f"{part} was not built: its library was not there (Debian: libpq-dev libhiredis-dev)")
    try:
        REDIS = redis.Redis(password="with a space & more".replace(" ", "_").replace("&", "and"))
        PG = postgres.Postgres()
    except (redis.Missing, postgres.Missing) as why:
        raise Skip(str(why))
    PG.__enter__()
    REDIS.__enter__()
    return Server(env=settings())


def other():
    global OTHER
    if OTHER is None:
        OTHER = Server(env=settings(), name="other").start()
    return OTHER


def status(api, deadline=30):
    return api.call("GET", "/me").status


def check(server):
    """What /readyz says about sessions."""
    a = server.api().call("GET", "/readyz")
    return a.status, next(c for c in a.json["checks"] if c["name"] == "sessions")


def metric(server, line):
    for text in server.api().call("GET", "/metrics").body.decode().splitlines():
        if text.startswith(line + " "):
            return float(text.rsplit(" ", 1)[1])
    return 0.0


def signed_in(server, name):
    """An account, and its token at both gateways."""
    here = server.register(name)
    there = Api(other().port, here.token)
    assert status(here) == 200 and status(there) == 200
    return here, there


def is_out_within(api, seconds, what):
    """At every one of the gateway's loops, each of which remembers for a second what it has looked up."""
    wait_for(what, lambda: all(status(api) == 401 for _ in range(12)), timeout=seconds)


def test_signing_in_at_one_signs_in_at_the_other(server):
    here, there = signed_in(server, "ada")
    a = server.api().post("/login", {"login": "ada", "password": PASSWORD}, expect=200)
    b = other().api().post("/auth/refresh", {"refresh_token": a.json["refresh_token"]}, expect=200)
    assert status(Api(server.port, b.json["token"])) == 200
    server.api().post("/auth/refresh", {"refresh_token": a.json["refresh_token"]}, expect=401)  # it was good once
    assert REDIS.cmd("KEYS", "assay:account:*"), "nothing was kept in Redis"
    asked = metric(other(), 'assay_session_lookups_total{answer="shared"}')
    fresh = other().login("ada", PASSWORD)
    assert status(fresh) == 200

    def shared():
        status(fresh)
        return metric(other(), 'assay_session_lookups_total{answer="shared"}') > asked
    wait_for("an account to be looked up in Redis", shared, 20)


def test_signing_out_at_one_signs_out_at_the_other(server):
    for i, change in enumerate(("logout", "disable", "role", "password")):
        here, there = signed_in(server, f"leaver-{i}")
        uid = here.get("/me").json["id"]
        if change == "logout":
            here.post("/logout", expect=204)
        elif change == "password":
            here.post(f"/users/{uid}/password", {"current_password": PASSWORD, "password": "a-different-password"}, expect=200)
        else:
            server.login().patch(f"/users/{uid}", {"disabled": True} if change == "disable" else {"role": "viewer"})
        is_out_within(there, SEEN + SLOW, f"{change} to be seen at the other gateway")
        is_out_within(here, SEEN + SLOW, f"{change} to be seen at this gateway")
        time.sleep(1.2)  # and it stays so, once the caches are looked up again
        assert status(there) == 401 and status(here) == 401


def one_of_many(here, there, name):
    """One session of three is ended at `here`: its tokens are refused at both gateways, those of the others go on, until all are ended."""
    here.register(name)
    one, two, three = (here.api().post("/login", {"login": name, "password": PASSWORD}, expect=200).json for _ in range(3))
    at = {(i, s): Api(s.port, token["token"]) for i, token in enumerate((one, two, three)) for s in (here, there)}
    assert all(status(api) == 200 for api in at.values())
    at[1, here].post("/logout", {"refresh_token": two["refresh_token"]}, expect=204)
    for s in (here, there):
        is_out_within(at[1, s], SEEN + SLOW, "the end of a session to be seen")
    for _ in range(15):  # and it stays so, beyond what the caches hold
        for s in (here, there):
            assert (status(at[0, s]), status(at[1, s]), status(at[2, s])) == (200, 401, 200)
        time.sleep(0.1)
    here.api().post("/auth/refresh", {"refresh_token": two["refresh_token"]}, expect=401)
    # by another session of the account, at the other gateway
    at[0, there].post("/logout", {"refresh_token": three["refresh_token"]}, expect=204)
    for s in (here, there):
        is_out_within(at[2, s], SEEN + SLOW, "the end of a session to be seen")
        assert status(at[0, s]) == 200
    fresh = Api(there.port, there.api().post("/auth/refresh", {"refresh_token": one["refresh_token"]}, expect=200).json["token"])
    assert status(fresh) == 200
    uid = fresh.get("/me").json["id"]
    here.login().patch(f"/users/{uid}", {"role": "viewer"})  # ends all tokens, though the session lives
    for api in (at[0, here], at[0, there], fresh):
        is_out_within(api, SEEN + SLOW, "a change of role to be seen")


def token_of_an_agent(here, there, name):
    """A token is revoked at `here`: it is refused at both gateways, the agent's others go on."""
    admin = here.login()
    admin.post("/agents", {"id": name, "name": name}, expect=201)
    made = [admin.post(f"/agents/{name}/tokens", {"scopes": ["agents:read"]}, expect=201).json for _ in range(2)]
    at = {(i, s): Api(s.port, token["token"]) for i, token in enumerate(made) for s in (here, there)}

    def seen(api):
        return api.call("GET", "/agents").status
    assert all(seen(api) == 200 for api in at.values())
    admin.delete(f"/agents/{name}/tokens/{made[0]['id']}")
    for s in (here, there):
        wait_for("the token to be refused", lambda s=s: all(seen(at[0, s]) == 401 for _ in range(12)), SEEN + SLOW)
    for _ in range(12):
        assert all((seen(at[0, s]), seen(at[1, s])) == (401, 200) for s in (here, there))
        time.sleep(0.1)
    for s in (here, there):
        listed = s.login().get(f"/agents/{name}/tokens").json["items"]
        assert [t["id"] for t in listed] == [made[1]["id"]] and "token" not in listed[0], listed


def test_one_session_or_one_token_ends_alone_and_everywhere(server):
    one_of_many(server, other(), "many")
    token_of_an_agent(server, other(), "two-tokens")


def test_one_session_or_one_token_ends_alone_over_the_database_alone(server):
    third, fourth = (Server(env=settings(ASSAY_SESSION_DRIVER=""), name=name) for name in ("third", "fourth"))
    try:
        third.start(), fourth.start()
        one_of_many(third, fourth, "plenty")
        token_of_an_agent(third, fourth, "more-tokens")
    finally:
        for s in (third, fourth):
            s.stop()
            s.close()


def test_a_killed_redis_is_done_without(server):
    here, there = signed_in(server, "kay")
    REDIS.kill()
    try:
        time.sleep(1.2)
        assert status(here) == 200 and status(there) == 200
        late = other().login("kay", PASSWORD)
        assert status(late) == 200
        ready, said = check(server)
        assert ready == 200 and said["ok"] and "session_fallback=store" in said["note"] and "with_a" not in said["note"], said
        assert metric(server, 'assay_session_lookups_total{answer="store_fallback"}') > 0
        assert metric(server, "assay_session_up") == 0
        here.post("/logout", expect=204)
        is_out_within(there, SEEN + SLOW, "a logout to be seen without Redis")
        is_out_within(late, SEEN + SLOW, "a logout to be seen without Redis")
    finally:
        REDIS.start()  # empty
    wait_for("Redis to be found again", lambda: status(other().login("kay", PASSWORD)) == 200 and "note" not in check(other())[1], 20, 0.2)
    assert (status(there), status(late)) == (401, 401), late.call("GET", "/me")


def test_a_hanging_redis_costs_no_request_more_than_its_deadline(server):
    here, there = signed_in(server, "hal")
    REDIS.hang()
    try:
        time.sleep(1.2)
        slowest = 0
        for _ in range(40):
            start = time.monotonic()
            assert status(here) == 200 and server.api().call("GET", "/healthz").status == 200
            slowest = max(slowest, time.monotonic() - start)
            time.sleep(0.05)
        assert slowest < 0.3 + SLOW, slowest
        here.post("/logout", expect=204)
        is_out_within(there, SEEN + 0.3 + SLOW, "a logout to be seen while Redis hangs")
    finally:
        REDIS.go_on()
    # it comes back with what it knew: an account that is signed in
    for _ in range(30):
        assert status(there) == 401 and status(here) == 401
        time.sleep(0.1)


def test_an_old_state_in_redis_is_not_believed(server):
    here, there = signed_in(server, "old")
    uid = here.get("/me").json["id"]
    key = f"assay:account:{uid}"
    before = REDIS.cmd("HGETALL", key)
    here.post("/logout", expect=204)
    is_out_within(there, SEEN + SLOW, "the logout to be seen")
    REDIS.cmd("DEL", key)
    REDIS.cmd("HSET", key, *before)  # as a replica that was behind, or a restored copy
    for _ in range(15):
        seen = status(there), status(here)
        assert seen == (401, 401), seen
        time.sleep(0.1)
    assert metric(server, 'assay_session_lookups_total{answer="old"}') + metric(other(), 'assay_session_lookups_total{answer="old"}') > 0


def test_refusing_is_a_choice(server):
    third = Server(env=settings(ASSAY_SESSION_FALLBACK="refuse"), name="third").start()
    try:
        user = Api(third.port, server.login().token)
        assert status(user) == 200
        REDIS.kill()
        try:
            def refused():
                a = user.call("GET", "/me")
                assert a.status in (200, 503), a
                return a if a.status == 503 else None
            a = wait_for("tokens to be refused", refused, 20)
            assert "retry-after" in a.headers, a
            ready, said = check(third)
            assert ready == 503 and not said["ok"] and "session_fallback=refuse" in said["reason"], said
            assert third.api().call("GET", "/healthz").status == 200
        finally:
            REDIS.start()
        wait_for("tokens to be taken again", lambda: status(user) == 200, 20, 0.1)
        wait_for("/readyz to be well", lambda: check(third)[0] == 200, 20, 0.1)
    finally:
        third.stop()
        third.close()


def test_what_is_missing_is_said(server):
    for env, says in (({"REDIS_URL": ""}, "REDIS_URL="), ({"REDIS_URL": "rediss://h"}, "no TLS"), ({"REDIS_URL": "redis://word@h"}, "cannot be read")):
        wrong = Server(env=settings(**env), name="wrong")
        try:
            wrong.spawn()
            assert wrong.process.wait(60) != 0
            assert says in wrong.log_text(), wrong.log_text()
        finally:
            wrong.close()


def test_the_end(server):
    """The last of the file: it ends what the others used."""
    other().stop()
    other().close()
    server.stop()
    REDIS.__exit__()
    PG.__exit__()


if __name__ == "__main__":
    main(sys.modules[__name__])
