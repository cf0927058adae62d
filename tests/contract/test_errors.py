"""What every operation answers to a request that is wrong in a way that any request can be: in the form of the contract.

The proxy between test and server (tests/proxy) holds each answer to the operation's own entry, so here only the status is asked for.
What is wrong with one operation's fields alone is tested where that operation is.
"""

import io
import os
import re
import socket
import sys
import tempfile
import time
import zipfile

from contract import ROOT, Contract

sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import harness  # noqa: E402
from harness import Api, Server  # noqa: E402

NOWHERE = "0190a5b2-0000-7000-8000-000000000000"
CONTRACT = Contract()
OPERATIONS = [(m, re.sub(r"\{[a-z_]+\}", NOWHERE, p), op) for m, p, op in CONTRACT.operations()]
SCOPES = ["submissions:write", "submissions:read", "results:read", "results:write", "jobs:lease", "agents:read", "benchmarks:read", "scores:read",
          "leaderboard:read", "traces:write", "traces:read"]
ROLES = ("viewer", "user", "instructor", "admin")


def make_server():
    return Server(args=["--boxkeeper=false"])


class Callers:
    """Somebody of each role, and tokens of an agent: one that may all and two that may nearly nothing."""

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
        self.other = Api(server.port, root.post("/agents/errors-bot/tokens", {"scopes": ["traces:read"]}, expect=201).json["token"])

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
        bare = self.bare if op["x-assay-scope"] != "leaderboard:read" else self.other
        return next((self.by_role[r] for r in ROLES if r not in roles), bare)


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
    for name, method, path, body in (
            ("agents_update", "PATCH", f"/agents/{NOWHERE}", {"name": "x"}), ("agents_heartbeat", "POST", f"/agents/{NOWHERE}/heartbeat", {}),
            ("agent_tokens_create", "POST", f"/agents/{NOWHERE}/tokens", {}), ("benchmarks_update", "PATCH", f"/benchmarks/{NOWHERE}", {"name": "x"}),
            ("problems_create", "POST", f"/benchmarks/{NOWHERE}/problems", {"name": "x"}), ("problems_update", "PATCH", f"/problems/{NOWHERE}", {"name": "x"}),
            ("tests_replace", "PUT", f"/problems/{NOWHERE}/tests", {"tests": [{"input": "1"}]}),
            ("users_password", "POST", f"/users/{NOWHERE}/password", {"password": "a-long-enough-password"}),
            ("webhooks_update", "PATCH", f"/webhooks/{NOWHERE}", {"active": False}),
            ("leaderboard_statistics", "GET", "/leaderboard/statistics?benchmark_id=nowhere", None),
            ("leaderboard_compare", "GET", "/leaderboard/compare?benchmark_id=nowhere&a=x&b=y", None),
            ("leaderboard_history", "GET", "/leaderboard/history?benchmark_id=nowhere&agent_id=x", None)):
        rows.append((name, callers.by_role["admin"].call(method, path, body).status, 404))
    assert len(rows) > 35 and not wrong(rows), wrong(rows)


def test_one_key_for_two_bodies(server):
    """Idempotency-Key: the first answer is given again to the same body, and to no other."""
    callers = Callers(server)
    admin = callers.by_role["admin"]
    submission = {"benchmark_id": "errors-set", "agent_id": "errors-bot", "problem_id": "errors-problem", "language": "python", "source": "1"}
    zips = [package("one"), package("two")]
    of = {"/agents/errors-bot/tokens": [{"name": "a"}, {"name": "b"}], "/benchmarks/errors-set/problems": [{"name": "a"}, {"name": "b"}],
          "/submissions/batch": [{"items": [submission]}, {"items": [{**submission, "source": "2"}]}], "/benchmarks/import": zips,
          "/task": [{"translator": "python3", "code": "1"}, {"translator": "python3", "code": "2"}]}
    for path, (first, second) in of.items():
        headers = {"Idempotency-Key": f"two-bodies-{time.monotonic_ns()}", **({"Content-Type": "application/zip"} if isinstance(first, bytes) else {})}
        assert admin.call("POST", path, first, headers).status in (200, 201), path
        refused = admin.call("POST", path, second, headers)
        assert refused.status == 422, (path, refused)


def package(name):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for path, text in (("problem.yaml", f"name: {name}\n"), ("data/sample/1.in", "1\n"), ("data/sample/1.ans", "1\n"),
                           ("submissions/accepted/a.py", "print(input())\n")):
            z.writestr(path, text)
    return out.getvalue()


def test_what_conflicts_with_what_is_there(server):
    callers = Callers(server)
    admin = callers.by_role["admin"]
    zipped = {"Content-Type": "application/zip"}
    admin.call("POST", "/benchmarks/import?id=errors-packed", package("p"), zipped, expect=201)
    admin.call("POST", "/benchmarks/import?id=errors-packed", package("p"), zipped, expect=409)
    admin.call("POST", "/me/erase", {"password": harness.ADMIN_PASSWORD}, expect=409)  # the last admin
    sent = admin.post("/task", {"translator": "python3", "code": "1"}, expect=201).json["task_id"]
    admin.call("POST", f"/submissions/{sent}/rejudge", expect=409)  # it waits
    # bodies that found no match have made nothing: the key is free for another
    key = {"Idempotency-Key": "nothing-matches"}
    admin.call("POST", "/rejudgings", {"benchmark_id": "errors-packed"}, key, expect=409)
    file = next(p["id"] for p in admin.all("/pits?") if p["source"] == "file")
    admin.call("PATCH", f"/pits/{file}", {"title": "x"}, expect=409)
    admin.call("DELETE", f"/pits/{file}", expect=409)
    worker = callers.agent
    result = {"id": sent, "status": "OK", "stdout": "1\n"}
    worker.call("POST", "/commit", {"task_id": sent, "fence": 77, "result": result}, expect=409)
    worker.call("POST", "/results", {"submission_id": sent, "fence": 77, "result": result}, expect=409)
    for _ in range(200):
        admin.post("/traces", {"submission_id": sent, "message": "x"}, expect=201)
    admin.call("POST", "/traces", {"submission_id": sent, "message": "x"}, expect=409)
    admin.call("POST", "/agents", {"id": "errors-many"}, expect=201)
    for _ in range(100):
        admin.post("/agents/errors-many/tokens", {}, expect=201)
    admin.call("POST", "/agents/errors-many/tokens", {}, expect=409)


def test_an_upload_that_comes_too_late(server):
    admin = Callers(server).by_role["admin"]
    for pit in ("errors-kept", "errors-gone"):
        admin.call("POST", "/pits", {"id": pit, "language": "bash", "testCommand": "true"}, expect=201)
        up = admin.post("/submissions/request-upload", {"pitId": pit}, expect=201).json
        path, zipped = up["uploadUrl"].split(str(server.port), 1)[1], {"Content-Type": "application/zip"}
        server.api().call("PUT", path, package("x"), zipped, expect=200)
        if pit == "errors-gone":
            admin.delete(f"/pits/{pit}", expect=204)
            admin.call("POST", "/submissions/confirm", {"pitId": pit, "fileKey": up["fileKey"]}, expect=404)
        else:
            admin.post("/submissions/confirm", {"pitId": pit, "fileKey": up["fileKey"]}, expect=201)
            server.api().call("PUT", path, package("y"), zipped, expect=409)


def test_what_a_server_is_told_not_to_give():
    """Registration, metrics and webhooks by configuration, and what is not installed."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="assay-e2e-share-") as share:
        os.chmod(share, 0o755)
        for part in (harness.PREFIX / "share" / "assay").iterdir():
            if part.name not in ("docs", "www"):
                os.symlink(part, f"{share}/{part.name}")
        server = Server(args=["--boxkeeper=false"], env={
            "ASSAY_REGISTRATION": "closed", "ASSAY_METRICS_PUBLIC": "false", "ASSAY_TRUSTED_PROXIES": "127.0.0.1", "ASSAY_WEBHOOK_MAX": "1",
            "ASSAY_SHARE_DIR": share})
        try:
            server.start()
            api, admin = server.api(), server.login()
            api.call("POST", "/register", {"login": "somebody", "password": "a-long-enough-password"}, expect=403)
            api.call("GET", "/metrics", headers={"X-Forwarded-For": "203.0.113.9"}, expect=404)
            api.call("GET", "/metrics", expect=200)
            api.call("GET", "/swagger.json", expect=404)
            admin.call("POST", "/benchmarks", {"id": "errors-hooked"}, expect=201)
            hook = {"url": "https://hooks.invalid/x", "benchmark_id": "errors-hooked"}
            admin.call("POST", "/webhooks", hook, expect=201)
            admin.call("POST", "/webhooks", hook, expect=409)
        finally:
            server.close()


def test_pages_that_have_not_changed(server):
    if not (harness.PREFIX / "share" / "assay" / "www").is_dir():
        raise harness.Skip("the dashboard was not built into the installation (make dashboard)")
    for path in ("/", "/swagger/", "/swagger/start.js", "/ui/licenses.txt"):
        first = server.api().call("GET", path, headers={"Accept": "text/html, */*"}, expect=200)
        server.api().call("GET", path, headers={"Accept": "text/html, */*", "If-None-Match": first.headers["etag"]}, expect=304)


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
