"""What every operation answers to a request that is wrong in a way that any request can be: in the form of the contract.

The proxy between test and server (tests/proxy) holds each answer to the operation's own entry, so here only the status is asked for.
What is wrong with one operation's fields alone is tested where that operation is.
"""

import re
import socket
import sys

import harness
from harness import ROOT, Api, Server

sys.path.insert(0, str(ROOT / "tests" / "contract"))
from contract import Contract  # noqa: E402

NOWHERE = "0190a5b2-0000-7000-8000-000000000000"
CONTRACT = Contract()
OPERATIONS = [(m, re.sub(r"\{[a-z_]+\}", NOWHERE, p), op) for m, p, op in CONTRACT.operations()]
SCOPES = ["submissions:write", "submissions:read", "results:read", "results:write", "jobs:lease", "agents:read", "benchmarks:read", "scores:read",
          "leaderboard:read", "traces:write", "traces:read"]
ROLES = ("viewer", "user", "instructor", "admin")


def make_server():
    return Server(args=["--boxkeeper=false"])


class Callers:
    """Somebody of each role, and tokens of an agent: one that may all and one that may nearly nothing."""

    def __init__(self, server):
        self.by_role = {"admin": server.login()}
        root = self.by_role["admin"]
        for role in ROLES[:3]:
            root.call("POST", "/register", {"login": f"errors-{role}", "password": "a-long-enough-password", "role": role}, expect=(201, 409))
            self.by_role[role] = server.login(f"errors-{role}", "a-long-enough-password")
        root.call("POST", "/agents", {"id": "errors-bot"}, expect=(201, 409))
        root.call("POST", "/benchmarks", {"id": "errors-set"}, expect=(201, 409))
        root.call("POST", "/benchmarks/errors-set/problems", {"id": "errors-problem", "name": "p"}, expect=(201, 409))
        root.call("POST", "/pits", {"id": "errors-pit", "language": "bash", "testCommand": "true"}, expect=(201, 409))
        self.agent = Api(server.port, root.post("/agents/errors-bot/tokens", {"scopes": SCOPES}, expect=201).json["token"])
        self.bare = Api(server.port, root.post("/agents/errors-bot/tokens", {"scopes": ["leaderboard:read"]}, expect=201).json["token"])

    def target(self, path):
        """The path with things in it that are there."""
        for kind, thing in (("agents", "errors-bot"), ("benchmarks", "errors-set"), ("problems", "errors-problem"), ("pits", "errors-pit")):
            path = path.replace(f"/{kind}/{NOWHERE}", f"/{kind}/{thing}")
        return path

    def who_may(self, op):
        if op["x-assay-roles"] == ["agent"]:
            return self.agent
        return self.by_role["admin"]

    def who_may_not(self, op):
        """One whom the gate refuses, or None: anyone may."""
        roles = op["x-assay-roles"]
        if not roles:
            return None
        return next((self.by_role[r] for r in ROLES if r not in roles), self.bare if op["x-assay-scope"] != "leaderboard:read" else None)


def media(op):
    return next(iter(op["requestBody"]["content"]))


def begin(server, method, target, token, *headers):
    """Sends a head alone and gives the status."""
    with socket.create_connection(harness.at(server.port), 20) as s:
        lines = [f"{method} {target} HTTP/1.1", "Host: x", *([f"Authorization: Bearer {token}"] if token else []), *headers, "", ""]
        try:
            s.sendall("\r\n".join(lines).encode())
        except OSError:  # it was answered before
            pass
        return int(s.makefile("rb").readline().split()[1])


def wrong(answers):
    """The rows (name, got, wanted) that differ, as text."""
    return "\n".join(f"{name}: {got}, not {want}" for name, got, want in answers if got != want)


def test_a_token_that_is_not_good(server):
    api = Api(server.port, "not.a.token")
    rows = [(op["operationId"], api.call(m, p).status, 401) for m, p, op in OPERATIONS]
    assert not wrong(rows), wrong(rows)


def test_no_token_where_one_is_needed(server):
    api = server.api()
    rows = [(op["operationId"], api.call(m, p).status, 401) for m, p, op in OPERATIONS if op["x-assay-roles"]]
    assert rows and not wrong(rows), wrong(rows)


def test_a_caller_of_another_role(server):
    callers, rows = Callers(server), []
    for m, p, op in OPERATIONS:
        who = callers.who_may_not(op)
        if who:
            rows.append((op["operationId"], who.call(m, p, {} if "requestBody" in op and media(op) == "application/json" else None).status, 403))
    assert len(rows) > 60 and not wrong(rows), wrong(rows)


def test_a_malformed_head(server):
    rows = [(op["operationId"], begin(server, m, p, "one", "Authorization: Bearer two"), 400) for m, p, op in OPERATIONS]
    assert not wrong(rows), wrong(rows)


def test_what_is_not_there(server):
    """Each operation that names a thing in its path and needs no body for it."""
    callers, rows = Callers(server), []
    for m, p, op in OPERATIONS:
        if NOWHERE in p and "404" in op["responses"] and "requestBody" not in op:
            rows.append((op["operationId"], callers.who_may(op).call(m, p).status, 404))
    # a reference of a blob is a hash, so a UUID is malformed; an upload's link is checked before what it names
    rows = [r for r in rows if r[0] != "blobs_get"]
    assert len(rows) > 25 and not wrong(rows), wrong(rows)


def test_a_body_that_is_too_long(server):
    callers = Callers(server)
    rows = [(op["operationId"], begin(server, m, p, callers.who_may(op).token, f"Content-Type: {media(op)}", "Content-Length: 99999999999"), 413)
            for m, p, op in OPERATIONS if "requestBody" in op]
    rows += [(op["operationId"], begin(server, m, p, callers.who_may(op).token, "Content-Length: 1"), 413)
             for m, p, op in OPERATIONS if "requestBody" not in op]
    assert not wrong(rows), wrong(rows)


def test_a_body_of_another_type(server):
    callers, rows = Callers(server), []
    for m, p, op in OPERATIONS:
        if "415" in op["responses"]:
            rows.append((op["operationId"], callers.who_may(op).call(m, callers.target(p), b"x", headers={"Content-Type": "text/plain"}).status, 415))
    want = {op["operationId"] for _, _, op in OPERATIONS if "requestBody" in op and media(op) == "application/json"}
    assert want <= {r[0] for r in rows}, f"415 is not documented: {want - {r[0] for r in rows}}"
    assert not wrong(rows), wrong(rows)


def test_a_body_that_is_no_json(server):
    callers, rows = Callers(server), []
    for m, p, op in OPERATIONS:
        if "requestBody" in op and media(op) == "application/json":
            rows.append((op["operationId"], callers.who_may(op).call(m, callers.target(p), b"{", headers={"Content-Type": "application/json"}).status, 400))
    assert len(rows) > 25 and not wrong(rows), wrong(rows)


def test_more_than_the_rate_limits_allow():
    """The address is counted before anybody looks at who asks, so every operation meets its limit."""
    server = Server(args=["--boxkeeper=false", "--rate-limit-exempt="],
                    env={"ASSAY_RATE_LIMITS": "address=1/24h,address:health_live=1/24h,address:metrics_get=1/24h,address:health_ready=200/24h"})
    try:
        server.start()
        api = server.api()
        for path in ("/healthz", "/metrics", "/languages"):
            api.call("GET", path)
        while api.call("GET", "/readyz").status != 429:
            pass
        rows = []
        for m, p, op in OPERATIONS:
            a = api.call(m, p)
            rows.append((op["operationId"], a.status, 429))
            assert a.status != 429 or int(a.headers["retry-after"]) > 60 and "ratelimit" in a.headers, (a, a.headers)
        assert not wrong(rows), wrong(rows)
    finally:
        server.close()


def test_more_connections_than_the_server_has():
    server = Server(args=["--boxkeeper=false"], env={"ASSAY_HTTP_CONNECTIONS_MAX": "4"})
    held = []
    try:
        server.start()
        held = [socket.create_connection(harness.at(server.port), 20) for _ in range(4)]
        for s in held:
            s.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            s.recv(100)
        rows = []
        for m, p, op in OPERATIONS:
            rows.append((op["operationId"], begin(server, m, p, None), 503))
        assert not wrong(rows), wrong(rows)
    finally:
        for s in held:
            s.close()
        server.close()


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
