"""Whatever the server answers stands in docs/openapi.json: the status, the headers and the body's shape.

The flows of typical clients run against a fresh server; each answer, good or bad, is held against the
schema of its operation, and each body that a client sends against the schema of the request.
"""

import copy
import http.client
import io
import json
import os
import re
import socket
import sys
import zipfile

from contract import ROOT, Contract

sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import harness  # noqa: E402
import projects  # noqa: E402
from harness import ADMIN_PASSWORD, Api, program, wait_for  # noqa: E402

CONTRACT = Contract()
# (operation id, status) -> an answer of the server, for the last test
SEEN = {}
BUILT = (harness.PREFIX / "share" / "assay" / "www").is_dir()  # the pages need npm to be built
NOWHERE = "0190a5b2-0000-7000-8000-000000000000"
PASSWORD = "a-long-enough-password"


def judge(c, method, path, answer):
    """What is wrong with an answer, by the contract; here every request is an operation's."""
    if c.find(method, path)[1] is None:
        return [f"{method} {path} is no operation of the contract"]
    return c.judge(method, path, answer.status, answer.headers, answer.body)


class Checked(Api):
    """An Api that holds every answer against the contract, and every request that was taken too."""

    def call(self, method, path, body=None, headers=None, expect=None):
        a = super().call(method, path, body, headers, expect)
        faults = judge(CONTRACT, method, path, a)
        _, op = CONTRACT.find(method, path)
        if a.status < 300 and isinstance(body, dict):
            schema = op["requestBody"]["content"]["application/json"]["schema"]
            faults += [f"the request was taken, although by the contract {f}" for f in CONTRACT.faults(body, schema)]
        assert not faults, f"{method} {path}: {a}\n" + "\n".join(faults)
        if op is not None and a.status < 500:
            better = SEEN.get((op["operationId"], a.status))
            # an example with something in its lists says more
            if better is None or len(a.body) > len(better.body) and len(a.body) < 2500:
                SEEN[op["operationId"], a.status] = a
        return a


def endless(api, path):
    """A stream without an end: its head is held against the contract."""
    c = http.client.HTTPConnection("127.0.0.1", api.port, timeout=30)
    c.request("GET", path, headers={"Authorization": f"Bearer {api.token}"})
    r = c.getresponse()
    a = harness.Answer(r.status, {k.lower(): v for k, v in r.getheaders()}, b"")
    c.sock.shutdown(socket.SHUT_RDWR)
    c.close()
    faults = judge(CONTRACT, "GET", path, a)
    assert a.status == 200 and not faults, (path, a, faults)
    SEEN[CONTRACT.find("GET", path)[1]["operationId"], a.status] = a


def checked(server, login="admin", password=ADMIN_PASSWORD):
    a = Checked(server.port).post("/login", {"login": login, "password": password}, expect=200)
    return Checked(server.port, a.json["token"])


def person(server, login):
    a = Checked(server.port).call("POST", "/register", {"login": login, "password": PASSWORD})
    assert a.status in (201, 409), a
    return checked(server, login, PASSWORD)


def prepared(server):
    """An admin, and the demo published by it."""
    admin = checked(server)
    if admin.call("GET", "/benchmarks/sum-integers").status == 404:
        admin.post("/benchmarks", json.loads((harness.FIXTURES / "demo" / "benchmark.json").read_text()), expect=201)
        admin.post("/agents", {"id": "ada", "name": "Ada"}, expect=201)
    return admin


# ---- the validator itself --------------------------------------------------------------------------------

SAMPLES = [
    # schema, values that fit, values that do not
    ({"type": "string"}, ["", "x"], [1, None, [], {}, True]),
    ({"type": "integer"}, [0, -3, 2.0], [1.5, "1", True, None]),
    ({"type": "number", "minimum": 0, "maximum": 1}, [0, 1, 0.5], [-0.1, 1.1, "0", True]),
    ({"type": "number", "exclusiveMinimum": 0}, [0.1], [0, -1]),
    ({"type": ["string", "null"]}, ["", None], [0, False]),
    ({"type": "boolean"}, [True, False], [0, 1, "true"]),
    ({"enum": ["OK", "WA", None]}, ["OK", None], ["ok", "", 0]),
    ({"const": 1}, [1, 1.0], [True, "1", 2]),
    ({"const": "Bearer"}, ["Bearer"], ["bearer"]),
    ({"type": "string", "minLength": 2, "maxLength": 3}, ["ab", "äöü"], ["a", "abcd"]),
    ({"type": "string", "pattern": "^[a-z]+$"}, ["abc"], ["Abc", "abc\n", ""]),
    ({"type": "string", "format": "date-time"}, ["2026-11-21T07:10:47.123Z", "2026-11-21T07:10:47+01:00"],
     ["2026-11-21", "2026-11-21 07:10:47Z", "2026-13-21T07:10:47Z", "2026-11-21T25:10:47Z", "2026-11-21T07:10:47"]),
    ({"type": "string", "format": "uuid"}, [NOWHERE], ["0190a5b2", NOWHERE + "0", NOWHERE.replace("a", "g")]),
    ({"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2}, [[1], [1, 2]], [[], [1, 2, 3], ["1"], {}, "1"]),
    ({"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}, [{"a": ""}, {"a": "", "b": 1}], [{}, {"a": 1}, []]),
    ({"type": "object", "properties": {"a": {}}, "additionalProperties": False}, [{}, {"a": 1}], [{"b": 1}]),
    ({"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1, "maxProperties": 1}, [{"x": ""}],
     [{}, {"x": 1}, {"x": "", "y": ""}]),
    ({"anyOf": [{"type": "null"}, {"$ref": "#/components/schemas/Verdict"}]}, [None, "OK"], ["-", 0]),
    ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, [0.5], [1, "1"]),
    ({"type": "array", "items": {"$ref": "#/components/schemas/Trace_Span"}}, [[]],
     [[{"name": "x"}]]),
]


def test_the_validator_tells_right_from_wrong():
    for schema, right, wrong in SAMPLES:
        for v in right:
            assert CONTRACT.faults(v, schema) == [], (schema, v, CONTRACT.faults(v, schema))
        for v in wrong:
            assert CONTRACT.faults(v, schema), f"{v!r} fits {schema}"
    assert CONTRACT.faults({"a": 1}, {"type": "object", "properties": {}}, strict=True) == ["/a: is not in the contract"]
    for bad in ({"maximun": 3}, {"$ref": "#/components/schemas/Nothing"}, {"type": "strnig"}, {"type": "string", "format": "tiem"}):
        try:
            CONTRACT.faults("x", bad)
        except (ValueError, KeyError):
            continue
        raise AssertionError(f"{bad} was taken for a schema")


def test_a_wrong_answer_is_caught(server):
    """Every single change of a good answer that breaks it is seen."""
    admin = prepared(server)
    path = "/benchmarks/sum-integers"
    good = admin.get(path)
    assert judge(CONTRACT, "GET", path, good) == []

    def with_body(change):
        body = copy.deepcopy(good.json)
        change(body)
        return harness.Answer(good.status, good.headers, json.dumps(body).encode())
    breaks = [
        lambda b: b.pop("name"), lambda b: b.update(name=7), lambda b: b.update(surprise=1), lambda b: b.update(created_at="today"),
        lambda b: b.update(visibility="secret"), lambda b: b.update(languages=None), lambda b: b["problems"][0].pop("position"),
        lambda b: b.update(entrant_count=-1), lambda b: b.update(id="NOT AN ID"), lambda b: b.update(starts_at=0),
    ]
    for i, change in enumerate(breaks):
        assert judge(CONTRACT, "GET", path, with_body(change)), f"change {i} is not seen"
    headers = {k: v for k, v in good.headers.items() if k != "x-request-id"}
    assert judge(CONTRACT, "GET", path, harness.Answer(200, headers, good.body))
    assert judge(CONTRACT, "GET", path, harness.Answer(201, good.headers, good.body)), "a status that is not documented"
    html = {**good.headers, "content-type": "text/html"}
    assert judge(CONTRACT, "GET", path, harness.Answer(200, html, b"<p>")), "a content type that is not documented"
    bad = admin.call("GET", "/benchmarks/none")
    assert judge(CONTRACT, "GET", "/benchmarks/none", harness.Answer(404, good.headers, bad.body)), "a problem as plain JSON"
    assert judge(CONTRACT, "POST", "/benchmarks/none", good), "an operation that does not exist"


# ---- the flows -------------------------------------------------------------------------------------------

def test_operations(server):
    anyone = Checked(server.port)
    anyone.get("/healthz")
    anyone.get("/readyz")
    anyone.get("/metrics")
    anyone.get("/swagger.json")
    anyone.get("/")
    anyone.get("/healthz", headers={"X-Request-Id": "mine-1"})
    assert anyone.get("/swagger.json").json == CONTRACT.document, "the server serves another contract than docs/openapi.json"


def test_accounts(server):
    admin, anyone = checked(server), Checked(server.port)
    made = anyone.post("/register", {"login": "Carol", "password": PASSWORD, "email": "carol@example.com", "name": "Carol"},
                       headers={"Idempotency-Key": "carol"}, expect=201)
    again = anyone.post("/register", {"login": "Carol", "password": PASSWORD, "email": "carol@example.com", "name": "Carol"},
                        headers={"Idempotency-Key": "carol"}, expect=201)
    assert again.headers["idempotency-replayed"] == "true" and again.json == made.json
    anyone.call("POST", "/register", {"login": "carol2", "password": PASSWORD, "email": "carol@example.com"}, expect=409)
    anyone.call("POST", "/register", {"login": "Carol", "password": PASSWORD}, headers={"Idempotency-Key": "carol"}, expect=422)
    anyone.call("POST", "/register", {"login": "-", "password": "short", "email": "nowhere", "role": "king"}, expect=400)
    anyone.call("POST", "/register", {"login": "dave", "password": PASSWORD, "role": "admin"}, expect=400)
    anyone.call("POST", "/register", b"{}", headers={"Content-Type": "text/plain"}, expect=415)
    anyone.call("POST", "/register", b"x" * 20000, headers={"Content-Type": "application/json"}, expect=413)
    admin.post("/register", {"username": "erin", "password": PASSWORD, "role": "instructor"}, expect=201)
    tokens = anyone.post("/login", {"login": "carol", "password": PASSWORD}, expect=200).json
    anyone.post("/login", {"email": "carol@example.com", "password": PASSWORD}, expect=200)
    anyone.post("/login", {"username": "carol@example.com", "password": PASSWORD}, expect=200)
    anyone.post("/auth", {"user_id": "carol", "password": PASSWORD}, expect=200)
    anyone.post(f"/auth?user_id={made.json['id']}", {"password": PASSWORD}, expect=200)
    anyone.call("POST", "/auth?user=carol", {"password": PASSWORD}, expect=400)
    anyone.call("POST", "/login", {"login": "carol", "password": "wrong password"}, expect=401)
    anyone.call("POST", "/login", {"password": PASSWORD}, expect=400)
    fresh = anyone.post("/auth/refresh", {"refresh_token": tokens["refresh_token"]}, expect=200).json
    anyone.call("POST", "/auth/refresh", {"refreshToken": tokens["refresh_token"]}, expect=401)  # a second time
    anyone.call("POST", "/auth/refresh", {}, expect=400)
    carol = checked(server, "carol", PASSWORD)
    me = carol.get("/me").json
    carol.get(f"/users/{me['id']}")
    carol.call("GET", f"/users/{NOWHERE}", expect=404)
    carol.call("GET", "/users", expect=403)
    carol.call("PATCH", f"/users/{me['id']}", {"role": "admin"}, expect=403)
    anyone.call("GET", "/me", expect=401)
    Checked(server.port, "not.a.token").call("GET", "/me", expect=401)
    Checked(server.port, "not.a.token").call("GET", "/healthz", expect=(200, 401))
    admin.get("/users")
    page = admin.get("/users?limit=1&role=user").json
    while page["next_cursor"]:
        page = admin.get(f"/users?limit=1&role=user&cursor={page['next_cursor']}").json
    for bad in ("limit=0", "limit=9999", "cursor=%21", "role=king", "sort=up", "limit=1&limit=2"):
        admin.call("GET", f"/users?{bad}", expect=400)
    admin.patch(f"/users/{me['id']}", {"name": None, "email": "carol@elsewhere.example"})
    admin.call("PATCH", f"/users/{me['id']}", {"email": "admin@example.com"}, expect=409)
    admin.call("PATCH", f"/users/{me['id']}", {"role": "king", "disabled": "no"}, expect=400)
    admin.call("PATCH", f"/users/{NOWHERE}", {"name": "x"}, expect=404)
    carol.call("POST", f"/users/{me['id']}/password", {"current_password": "not it, surely", "password": PASSWORD + "1"}, expect=403)
    carol.call("POST", f"/users/{me['id']}/password", {"password": PASSWORD + "1"}, expect=400)
    carol.post(f"/users/{me['id']}/password", {"current_password": PASSWORD, "password": PASSWORD + "1"}, expect=200)
    carol = checked(server, "carol", PASSWORD + "1")
    carol.call("POST", "/logout", {"refresh_token": "not one"}, expect=400)
    carol.call("POST", "/logout", {"refresh_token": fresh["refresh_token"]}, expect=204)
    carol = checked(server, "carol", PASSWORD + "1")
    carol.call("POST", "/logout", expect=204)
    wait_for("the token to be refused", lambda: carol.call("GET", "/me").status == 401, 5)
    admin.patch(f"/users/{me['id']}", {"disabled": True})
    admin.call("DELETE", f"/users/{me['id']}", expect=204)
    admin.call("DELETE", f"/users/{me['id']}", expect=404)
    admin.call("DELETE", f"/users/{admin.get('/me').json['id']}", expect=409)
    erin = checked(server, "erin", PASSWORD)
    erin.call("DELETE", f"/users/{NOWHERE}", expect=403)
    Checked(server.port).post("/register", {"login": "leaver", "password": PASSWORD}, expect=201)
    lost, leaver = checked(server, "leaver", PASSWORD), checked(server, "leaver", PASSWORD)
    sessions = leaver.get("/me/sessions").json["items"]
    assert len(sessions) == 2, sessions
    leaver.call("DELETE", f"/me/sessions/{min(sessions, key=lambda s: (s['created_at'], s['id']))['id']}", expect=204)
    leaver.call("DELETE", f"/me/sessions/{NOWHERE}", expect=404)
    wait_for("the session's end", lambda: lost.call("GET", "/me").status == 401, 5)
    leaver.call("POST", "/me/erase", {"password": "not it, surely"}, expect=403)
    leaver.call("POST", "/me/erase", {"password": PASSWORD}, expect=204)


def test_a_mailed_link(server):
    anyone = Checked(server.port)
    anyone.call("POST", "/register", {"login": "mailed", "password": PASSWORD, "email": "mailed@example.com"})
    anyone.post("/auth/request", {"email": "mailed@example.com"}, expect=202)
    anyone.call("POST", "/auth/request", {"email": "nowhere"}, expect=400)
    link = wait_for("the link", lambda: re.findall(r"/auth/verify\?token=asl_[0-9a-f]+", server.log_text()), 10)[-1]
    anyone.call("GET", link, headers={"Accept": "text/html"}, expect=303)
    anyone.get(link)
    anyone.call("GET", link, expect=401)
    anyone.call("GET", "/auth/verify", expect=400)
    anyone.call("POST", "/auth/verify", {"token": link.split("=")[1]}, expect=401)
    anyone.call("POST", "/auth/verify", {"token": 7}, expect=400)
    anyone.post("/auth/request", {"email": "mailed@example.com"}, expect=202)
    links = wait_for("the link", lambda: re.findall(r"/auth/verify\?token=(asl_[0-9a-f]+)", server.log_text())[1:], 10)
    anyone.post("/auth/verify", {"token": links[-1]}, expect=200)


def test_the_audit_log(server):
    admin = checked(server)
    person(server, "audited")
    uid = next(u["id"] for u in admin.get("/users?limit=200").json["items"] if u["login"] == "audited")
    admin.patch(f"/users/{uid}", {"role": "viewer"})
    wait_for("the record", lambda: admin.get(f"/audit?target={uid}&action=users_update&limit=1").json["items"], 10)
    admin.get("/audit?since=2020-01-01T00:00:00Z&until=2099-01-01T00:00:00Z")
    admin.call("GET", "/audit?since=yesterday", expect=400)
    admin.call("GET", "/audit?limit=0", expect=400)
    admin.call("GET", "/audit?cursor=%21", expect=400)


def test_too_many_failed_sign_ins(server):
    anyone = Checked(server.port)
    person(server, "mallory")
    statuses = [anyone.call("POST", "/login", {"login": "mallory", "password": f"guess number {i}"}).status for i in range(15)]
    assert set(statuses) == {401, 429} and statuses == sorted(statuses), statuses


def test_agents(server):
    admin, user, other = prepared(server), person(server, "walter"), person(server, "someone-else")
    a = user.post("/agents", {"name": "Walter's", "description": "tries"}, headers={"Idempotency-Key": "w"}, expect=201).json
    user.post("/agents", {"name": "Walter's", "description": "tries"}, headers={"Idempotency-Key": "w"}, expect=201)
    user.call("POST", "/agents", {"name": "another"}, headers={"Idempotency-Key": "w"}, expect=422)
    user.post("/agents", {"id": "walter.bot"}, expect=201)
    user.call("POST", "/agents", {"id": "walter.bot"}, expect=409)
    user.call("POST", "/agents", {"id": "Not A Slug", "surprise": 1}, expect=400)
    user.call("POST", "/agents", {}, expect=400)
    user.call("POST", "/agents", b"{", headers={"Content-Type": "application/json"}, expect=400)
    user.call("POST", "/agents", b"x" * 70000, headers={"Content-Type": "application/json"}, expect=413)
    user.get("/agents?owner_id=me&limit=1")
    user.call("GET", "/agents?owner=me", expect=400)
    user.get(f"/agents/{a['id']}")
    user.call("GET", "/agents/nobody", expect=404)
    user.patch(f"/agents/{a['id']}", {"name": "W", "description": None})
    other.call("PATCH", f"/agents/{a['id']}", {"name": "mine"}, expect=403)
    user.call("PATCH", f"/agents/{a['id']}", {"name": ""}, expect=400)
    t = user.post(f"/agents/{a['id']}/tokens", {"name": "ci", "scopes": ["submissions:read", "scores:read"], "expires_in": 3600}, expect=201)
    user.post(f"/agents/{a['id']}/tokens", {}, headers={"Idempotency-Key": "t"}, expect=201)
    again = user.post(f"/agents/{a['id']}/tokens", {}, headers={"Idempotency-Key": "t"}, expect=201)
    assert again.headers["idempotency-replayed"] == "true"
    user.call("POST", f"/agents/{a['id']}/tokens", {"scopes": ["jobs:lease", "everything"], "expires_in": 0}, expect=400)
    user.call("POST", f"/agents/{a['id']}/tokens", {"scopes": []}, expect=400)
    other.call("POST", f"/agents/{a['id']}/tokens", {}, expect=403)
    user.get(f"/agents/{a['id']}/tokens?limit=1")
    bot = Checked(server.port, t.json["token"])
    bot.get("/submissions")
    bot.get("/scores")
    bot.call("GET", "/me", expect=(200, 403))
    bot.call("POST", "/agents", {"name": "child"}, expect=403)
    bot.call("GET", "/leaderboard", expect=403)  # lacks the scope
    worker = admin.post("/agents/ada/tokens", {"scopes": ["jobs:lease"]}, expect=201).json["token"]
    Checked(server.port, worker).post("/agents/ada/heartbeat", {"status": "busy", "capacity": 2, "running": 1, "version": "1.0"})
    Checked(server.port, worker).call("POST", f"/agents/{a['id']}/heartbeat", expect=403)
    admin.post("/agents/ada/heartbeat")
    admin.call("POST", "/agents/ada/heartbeat", {"status": "asleep"}, expect=400)
    user.call("DELETE", f"/agents/{a['id']}/tokens/{t.json['id']}", expect=204)
    user.call("DELETE", f"/agents/{a['id']}/tokens/{t.json['id']}", expect=404)
    other.call("DELETE", f"/agents/{a['id']}", expect=403)
    user.call("DELETE", f"/agents/{a['id']}", expect=204)
    user.call("GET", f"/agents/{a['id']}", expect=404)


def test_pits(server):
    admin, user = prepared(server), person(server, "walter")
    pit = {"id": "shell-project", "title": "A project", "language": "bash", "buildTool": "sh", "testCommand": "sh ./run-tests", "maxTimeoutMs": 10000}
    made = admin.post("/pits", pit, headers={"Idempotency-Key": "pit"}, expect=201)
    assert admin.post("/pits", pit, headers={"Idempotency-Key": "pit"}, expect=201).json == made.json
    admin.call("POST", "/pits", {**pit, "title": "another"}, headers={"Idempotency-Key": "pit"}, expect=422)
    admin.call("POST", "/pits", pit, expect=409)
    refused = admin.call("POST", "/pits", {"id": "b", "testCommand": "x", "requiredFiles": ["../up"], "environment": {"1": ""}}, expect=400)
    assert {e["pointer"] for e in refused.json["errors"]} == {"/requiredFiles/0", "/environment"}, refused
    user.call("POST", "/pits", {"id": "mine", "testCommand": "x"}, expect=403)
    seen = user.get("/pits/shell-project").json
    assert "testCommand" not in seen and seen["active"] and seen["source"] == "api", seen
    assert admin.patch("/pits/shell-project", {"max_timeout_ms": 20000, "requiredFiles": ["run-tests"]}).json["maxTimeoutMs"] == 20000
    admin.call("PATCH", "/pits/shell-project", {"id": "x"}, expect=400)
    admin.call("PATCH", "/pits/none", {"title": "x"}, expect=404)
    assert "shell-project" in {p["id"] for p in user.get("/pits?limit=200").json["items"]}

    def form(data, name="file"):
        head = f'--assay\r\nContent-Disposition: form-data; name="{name}"; filename="t.zip"\r\nContent-Type: application/zip\r\n\r\n'
        return {"body": head.encode() + data + b"\r\n--assay--\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=assay"}}
    empty = b"PK\5\6" + bytes(18)
    assert admin.post("/pits/shell-project/upload-tests", expect=201, **form(empty)).json == {"status": "ok", "key": "pits/shell-project/tests.zip"}
    assert admin.get("/pits/shell-project").json["testsS3Key"] == "pits/shell-project/tests.zip"
    admin.call("POST", "/pits/shell-project/upload-tests", expect=400, **form(b"no archive at all, however long it is"))
    admin.call("POST", "/pits/shell-project/upload-tests", expect=400, **form(empty, "other"))
    admin.call("POST", "/pits/none/upload-tests", expect=404, **form(empty))
    admin.post("/pits", {**pit, "id": "gone"}, expect=201)
    admin.delete("/pits/gone", expect=204)
    admin.call("DELETE", "/pits/gone", expect=404)


def test_projects(server):
    admin, user = prepared(server), person(server, "walter")
    admin.post("/pits", {"id": "project-flow", "language": "bash", "testCommand": "sh ./run-tests"}, expect=201)
    up = user.post("/submissions/request-upload", {"pitId": "project-flow"}, expect=201).json
    path = up["uploadUrl"].split(str(server.port), 1)[1]
    confirm = {"pitId": "project-flow", "fileKey": up["fileKey"]}
    user.call("POST", "/submissions/confirm", confirm, expect=409)
    anyone = Checked(server.port)
    archive = projects.packed({"run-tests": "echo 'Tests run: 2, Failures: 1, Errors: 0, Skipped: 0'; exit 1"})
    anyone.call("PUT", path[:-1] + "x", archive, expect=403)
    anyone.call("PUT", re.sub(r"expires=\d+", "expires=1", path), archive, expect=403)
    anyone.call("PUT", path, b"no archive, but long enough to be one", expect=400)
    anyone.call("PUT", path, archive, expect=200)
    sid = user.post("/submissions/confirm", confirm, expect=201).json["submissionId"]
    assert user.post("/submissions/confirm", confirm, expect=201).json["submissionId"] == sid
    user.call("GET", f"/submissions/feedback/{NOWHERE}", expect=404)
    told = wait_for("feedback", lambda: (lambda r: r if r["status"] == "ERROR" else None)(user.get(f"/submissions/feedback/{sid}").json), 120)
    assert told["score"] == 50 and told["feedback"]["failedTests"] == 1, told
    assert b"Tests run: 2" in user.get(f"/submissions/feedback/{sid}/log").body
    assert [m["submissionId"] for m in user.get("/submissions/mine?pitId=project-flow").json] == [sid]
    admin.call("POST", "/submissions/confirm", confirm, expect=403)
    user.call("POST", "/submissions/request-upload", {"pitId": "nothing-of-that-name"}, expect=404)
    user.call("POST", "/submissions/confirm", {"fileKey": up["fileKey"], "more": 1}, expect=400)


def test_runners_elsewhere():
    """A server that judges nothing itself: this test is its runner."""
    with_none = harness.Server(args=["--boxkeeper=false"])
    try:
        server = with_none.start()
        admin = prepared(server)
        secret = admin.post("/agents/ada/tokens", {"scopes": ["jobs:lease", "results:write"]}, expect=201).json["token"]
        worker = Checked(server.port, secret)
        assert worker.post("/agents/ada/lease", {"max": 2}).json["jobs"] == []
        worker.call("POST", "/agents/ada/lease", {"max": 99}, expect=400)
        worker.call("POST", "/agents/grace/lease", {}, expect=403)
        sent = admin.post("/submissions", {"benchmark_id": "sum-integers", "agent_id": "ada", "language": "python",
                                           "source": program("right.py")}, expect=202).json["id"]
        task = admin.post("/task", {"language": "python", "code": "print(1)"}, expect=201).json["task_id"]
        jobs = {j["submission_id"]: j for j in worker.post("/agents/ada/lease", {"max": 2, "wait_s": 10}).json["jobs"]}
        assert set(jobs) <= {sent, task}
        for j in worker.post("/agents/ada/lease", {"max": 2}).json["jobs"]:
            jobs[j["submission_id"]] = j
        manifest = jobs[sent]["script"]["assay"]["manifest"]
        ref = manifest["tests"][0]["expected_ref"]
        worker.get(f"/blobs/{ref}")
        worker.call("GET", "/blobs/" + "0" * 64, expect=404)
        admin.call("GET", f"/blobs/{ref}", expect=403)
        beat = worker.post("/agents/ada/heartbeat", {"leases": [{"submission_id": sent, "fence": 1}, {"submission_id": task, "fence": 9}]})
        assert [x["state"] for x in beat.json["leases"]] == ["held", "lost"], beat
        tests = [{"number": t["number"], "status": "OK"} for t in manifest["tests"]]
        worker.call("POST", "/results", {"submission_id": sent, "fence": 1, "result": {"id": sent, "status": "OK", "tests": tests[:1]}}, expect=400)
        worker.post("/results", {"submission_id": sent, "fence": 1, "result": {"id": sent, "status": "OK", "tests": tests}})
        worker.call("POST", "/results", {"submission_id": sent, "fence": 1, "returned": {"reason": "late"}}, expect=409)
        worker.post("/commit", {"task_id": task, "fence": 1, "result": {"id": task, "status": "OK", "stdout": "1\n"}})
        assert admin.get(f"/submissions/{sent}").json["verdict"] == "OK"
        assert admin.get(f"/results/{sent}").json["runner"] == "agent:ada"
        assert admin.get(f"/result/{task}").json == {"result": "1\n"}
        assert "runners elsewhere" in json.dumps(admin.get("/readyz").json)
    finally:
        with_none.close()


def test_benchmarks(server):
    admin, user = prepared(server), person(server, "walter")
    b = admin.post("/benchmarks", {"name": "Three problems", "description": "d", "visibility": "private", "feedback": "first_failure",
                                   "starts_at": "2020-01-01T00:00:00Z", "ends_at": "2099-01-01T00:00:00.000Z",
                                   "freezes_at": "2098-01-01T00:00:00+01:00", "languages": ["c", "python"], "entrants": ["ada"]},
                   headers={"Idempotency-Key": "b"}, expect=201).json
    at = f"/benchmarks/{b['id']}"
    admin.call("POST", "/benchmarks", {"name": "Another"}, headers={"Idempotency-Key": "b"}, expect=422)
    admin.call("POST", "/benchmarks", {"id": "sum-integers"}, expect=409)
    admin.call("POST", "/benchmarks", {"mode": "answer", "starts_at": "now", "entrants": ["-"]}, expect=400)
    user.call("POST", "/benchmarks", {"name": "x"}, expect=403)
    user.call("GET", at, expect=404)
    user.get("/benchmarks")
    admin.get("/benchmarks?visibility=private&owner_id=me&limit=1")
    admin.call("GET", "/benchmarks?visibility=some", expect=400)
    admin.patch(at, {"description": None, "entrants": None, "visibility": "public"})
    admin.call("PATCH", at, {"ends_at": "2019-01-01T00:00:00Z"}, expect=400)
    user.call("PATCH", at, {"name": "mine"}, expect=403)
    p = admin.post(f"{at}/problems", {"name": "First", "id": "first", "statement": "s", "compare": "float", "float_abs": 0.001,
                                      "limits": {"time_limit_ms": 500, "wall_limit_ms": None}, "stop_on_failure": True,
                                      "tests": [{"input": "1", "expected_output": "1", "sample": True}]}, expect=201).json
    admin.post(f"{at}/problems", {"name": "Judged by a harness", "mode": "harness", "position": 7,
                                  "harness": {"language": "python", "source": "print(input())"}}, expect=201)
    admin.call("POST", f"{at}/problems", {"name": "Again", "id": "first"}, expect=409)
    admin.call("POST", f"{at}/problems", {"name": "There", "position": 7}, expect=409)
    admin.call("POST", f"{at}/problems", {"mode": "harness"}, expect=400)
    admin.call("POST", "/benchmarks/none/problems", {"name": "x"}, expect=404)
    user.get(f"{at}/problems?limit=1")
    admin.get(at)
    user.get("/problems/first")
    user.call("GET", "/problems/none", expect=404)
    admin.patch("/problems/first", {"compare": "tokens", "float_abs": None, "limits": {"process_limit": 8}, "statement": None})
    admin.call("PATCH", "/problems/first", {"position": 7}, expect=409)
    admin.call("PATCH", "/problems/first", {"limits": {"time_limit_ms": 1}, "version": 3}, expect=400)
    user.call("PATCH", "/problems/first", {"name": "x"}, expect=403)
    admin.put("/problems/first/tests", {"tests": [{"input": "1", "expectedOutput": "1", "sample": True}, {"name": "hidden", "points": 2.5}]})
    admin.call("PUT", "/problems/first/tests", {"tests": []}, expect=400)
    admin.call("PUT", "/problems/first/tests", {"tests": [{"points": 0}]}, expect=400)
    assert len(admin.get("/problems/first/tests").json["items"]) == 2
    assert len(user.get("/problems/first/tests").json["items"]) == 1
    admin.get("/problems/first/tests?limit=1")
    admin.call("DELETE", "/problems/first", expect=204)
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as z:
        for name, text in {"problem.yaml": "name: P\n", "data/sample/1.in": "1\n", "data/sample/1.ans": "1\n",
                           "submissions/accepted/a.py": "print(input())\n"}.items():
            z.writestr(name, text)
    zipped = {"Content-Type": "application/zip"}
    admin.call("POST", "/benchmarks/import?id=packed", package.getvalue(), headers=zipped, expect=201)
    admin.call("POST", f"/benchmarks/import?benchmark_id={b['id']}", package.getvalue(), headers=zipped, expect=201)
    admin.call("POST", "/benchmarks/import?benchmark_id=none", package.getvalue(), headers=zipped, expect=404)
    admin.call("POST", "/benchmarks/import", b"PK", headers=zipped, expect=400)
    admin.call("POST", "/benchmarks/import", {"name": "x"}, expect=415)
    user.call("DELETE", at, expect=403)
    admin.call("DELETE", at, expect=204)
    admin.call("DELETE", at, expect=404)
    assert p["version"] == 1


def test_submissions(server):
    admin, user, other = prepared(server), person(server, "walter"), person(server, "someone-else")
    user.call("POST", "/agents", {"id": "walters"}, expect=(201, 409))
    good = {"benchmark_id": "sum-integers", "agent_id": "walters", "language": "python3", "source": program("right.py")}
    taken = user.post("/submissions", good, headers={"Idempotency-Key": "s"}, expect=202)
    again = user.post("/submissions", good, headers={"Idempotency-Key": "s"}, expect=202)
    assert again.headers["idempotency-replayed"] == "true" and again.headers["location"] == taken.headers["location"]
    user.call("POST", "/submissions", {**good, "source": "pass"}, headers={"Idempotency-Key": "s"}, expect=422)
    done = user.post("/submissions?wait=60", good, expect=200).json
    assert done["verdict"] == "OK", done
    bad = user.post("/submissions?wait=60", {**good, "language": "c", "source": program("uncompilable.c")}, expect=200).json
    assert bad["verdict"] == "BF", bad
    files = user.post("/submissions?wait=60", {"benchmark_id": "sum-integers", "agent_id": "walters", "language": "python",
                                               "files": {"main.py": "import util\nutil.run()\n",
                                                         "util.py": "def run():\n    print(sum(map(int, input().split())))\n"}}, expect=200).json
    assert files["verdict"] == "OK", files
    for change, status in (({"benchmark_id": "none"}, 404), ({"agent_id": "ada"}, 404), ({"problem_id": "none"}, 404), ({"language": "klingon"}, 400),
                           ({"source": None}, 400), ({"payload": "x"}, 400), ({"verdict": "OK"}, 400), ({"files": {"../x": ""}, "source": None}, 400)):
        user.call("POST", "/submissions", {**good, **change}, expect=status)
    user.call("POST", "/submissions?wait=61", good, expect=400)
    user.call("POST", "/submissions", b"a=b", headers={"Content-Type": "application/x-www-form-urlencoded"}, expect=415)
    Checked(server.port).call("POST", "/submissions", good, expect=401)
    admin.call("POST", "/benchmarks", {"id": "empty"}, expect=(201, 409))
    user.call("POST", "/submissions", {**good, "benchmark_id": "empty"}, expect=409)
    admin.call("POST", "/benchmarks", {"id": "over", "ends_at": "2020-01-01T00:00:00Z", "tests": [{}]}, expect=(201, 409))
    user.call("POST", "/submissions", {**good, "benchmark_id": "over"}, expect=403)

    batch = user.post("/submissions/batch", {"items": [good, {**good, "benchmark_id": "none"}, {**good, "language": "klingon"}]}, expect=200).json
    assert [i["status"] for i in batch["items"]] == [202, 404, 400], batch
    user.call("POST", "/submissions/batch", {"items": []}, expect=400)
    user.call("POST", "/submissions/batch", {"items": [{**good, "source": None}]}, expect=400)

    user.get("/submissions")
    page = user.get("/submissions?limit=1&status=done&verdict=OK&benchmark_id=sum-integers&agent_id=walters&since=2020-01-01T00:00:00Z").json
    user.get(f"/submissions?limit=1&cursor={page['next_cursor']}")
    for q in ("verdict=AC", "status=over", "since=yesterday", "colour=red"):
        user.call("GET", f"/submissions?{q}", expect=400)
    user.get(f"/submissions/{done['id']}")
    other.call("GET", f"/submissions/{done['id']}", expect=404)
    sent = user.get(f"/submissions/{done['id']}/source").json
    assert sent == {"id": done["id"], "language": "python", "source": program("right.py"), "files": None, "payload": None}, sent
    assert set(admin.get(f"/submissions/{files['id']}/source").json["files"]) == {"main.py", "util.py"}
    other.call("GET", f"/submissions/{done['id']}/source", expect=404)
    user.call("GET", f"/submissions/{done['id']}/source?pretty=1", expect=400)
    assert "event: state" in user.get(f"/submissions/{done['id']}/events").body.decode()  # it has ended, and so does its stream
    told = user.get(f"/submissions/{done['id']}/events", headers={"Last-Event-ID": "0"}).body.decode()
    assert told.count("event: done") == 1, told
    last = re.findall(r"^id: (\d+)$", told, re.M)[-1]
    user.call("GET", f"/submissions/{done['id']}/events", headers={"Last-Event-ID": last}, expect=204)
    other.call("GET", f"/submissions/{done['id']}/events", expect=404)
    user.call("GET", "/events", headers={"Last-Event-ID": "yesterday"}, expect=400)
    endless(user, "/events")
    user.call("POST", f"/submissions/{done['id']}/cancel", expect=409)
    user.call("POST", f"/submissions/{done['id']}/rejudge", expect=403)
    admin.post(f"/submissions/{bad['id']}/rejudge", expect=202)
    admin.call("POST", f"/submissions/{NOWHERE}/rejudge", expect=404)

    # slots are few: of several that spin, the first is running and the last is queued when they are cancelled
    spin = {**good, "source": "while True: pass"}
    ids = [user.post("/submissions", spin, expect=202).json["id"] for _ in range(12)]
    user.call("DELETE", f"/submissions/{ids[-1]}", expect=409)
    assert user.post(f"/submissions/{ids[-1]}/cancel", expect=(200, 202)).status == 200
    running = wait_for("one to run", lambda: user.get("/submissions?status=running&agent_id=walters").json["items"], 30)
    user.call("POST", f"/submissions/{running[0]['id']}/cancel", expect=(200, 202, 409))
    for sid in ids[:-1]:
        user.call("POST", f"/submissions/{sid}/cancel", expect=(200, 202, 409))
    for sid in ids:
        assert server.wait_done(user, sid, 90)["status"] in ("cancelled", "done")
    user.call("DELETE", f"/submissions/{ids[0]}", expect=204)
    user.call("DELETE", f"/submissions/{ids[0]}", expect=404)


def test_a_full_queue():
    """Each refusal for want of a place has the contract's shape, says which bound it was, and when to come back."""
    server = harness.Server({"ASSAY_ONLY": "auth,agents,benchmarks,submissions", "ASSAY_BOXKEEPER": "false", "ASSAY_QUEUE_MAX": "3",
                     "ASSAY_QUEUE_MAX_PER_USER": "2"}).start()
    try:
        user, other, admin = person(server, "walter"), person(server, "someone-else"), checked(server)
        admin.call("POST", "/benchmarks", {"id": "any", "tests": [{}]}, expect=201)
        for who, agent in ((user, "walters"), (other, "elses")):
            who.call("POST", "/agents", {"id": agent}, expect=201)
        good = {"benchmark_id": "any", "agent_id": "walters", "language": "python", "source": "pass"}
        batch = user.post("/submissions/batch", {"items": [good] * 3}, expect=200)
        assert [i["status"] for i in batch.json["items"]] == [202, 202, 429] and int(batch.headers["retry-after"]) >= 1, batch
        yours = [user.call("POST", "/submissions", good, expect=429), user.call("POST", "/submissions/batch", {"items": [good]}, expect=429),
                 user.call("POST", "/task", {"lang": "python", "code": "pass"}, expect=429)]
        other.post("/submissions", {**good, "agent_id": "elses"}, expect=202)
        everybodys = [other.call("POST", "/submissions", {**good, "agent_id": "elses"}, expect=503),
                      other.call("POST", "/task", {"lang": "python", "code": "pass"}, expect=503)]
        for answers, bound, word in ((yours, "queue_max_per_user", "rate_limited"), (everybodys, "queue_max", "busy")):
            for a in answers:
                assert a.json["bound"] == bound and a.json["type"] == f"urn:assay:problem:{word}" and bound in a.json["detail"], a
                assert a.json["retry_after_s"] == int(a.headers["retry-after"]) >= 1, a
        queued = [i["submission"]["id"] for i in batch.json["items"][:2]]
        user.post(f"/submissions/{queued[0]}/cancel", expect=200)
        admin.call("POST", f"/submissions/{queued[0]}/rejudge", expect=202)
    finally:
        server.close()


def test_results_under_each_feedback_policy(server):
    admin, user = prepared(server), person(server, "walter")
    user.call("POST", "/agents", {"id": "walters"}, expect=(201, 409))
    tests = [{"name": "one", "input": "1\n", "expected_output": "1\n", "sample": True}, {"name": "two", "input": "2 2\n", "expected_output": "4\n"}]
    told = {}
    for policy in ("none", "verdict", "first_failure", "samples", "full"):
        b = admin.post("/benchmarks", {"name": policy, "feedback": policy, "compare": "tokens", "tests": tests}, expect=201).json["id"]
        s = user.post("/submissions?wait=60", {"benchmark_id": b, "agent_id": "walters", "language": "python", "source": "print(input()[0])"}, expect=200).json
        assert s["status"] == "done", s
        r = wait_for("the result", lambda: (lambda a: a.json if a.status == 200 else None)(user.call("GET", f"/results/{s['id']}")), 5)
        told[policy] = r
        assert r["feedback"] == policy and s["verdict"] == r["verdict"] == (None if policy == "none" else "WA"), r
        everything = admin.get(f"/results/{s['id']}").json
        assert everything["feedback"] == "full" and [t["verdict"] for t in everything["tests"]] == ["OK", "WA"], everything
        user.get(f"/results?benchmark_id={b}&verdict=WA")
        user.get(f"/traces?submission_id={s['id']}")
        user.get(f"/scores?submission_id={s['id']}")
        user.get(f"/leaderboard?benchmark_id={b}")
    assert "first_failure" not in told["verdict"] and told["first_failure"]["first_failure"] == {"number": 2, "verdict": "WA"}
    assert "tests" not in told["first_failure"]
    assert "stdout" in told["samples"]["tests"][0] and "stdout" not in told["samples"]["tests"][1]
    assert told["full"]["tests"][1]["stdout"] == "2\n"
    user.get("/results?limit=1")
    admin.get("/results")
    user.call("GET", "/results?verdict=no", expect=400)
    user.call("GET", f"/results/{NOWHERE}", expect=404)
    Checked(server.port).call("GET", "/results", expect=401)
    failed = user.post("/submissions?wait=60", {"benchmark_id": "sum-integers", "agent_id": "walters", "language": "c", "source": "int main("}, expect=200).json
    r = user.get(f"/results/{failed['id']}").json
    assert r["verdict"] == "BF" and "error" in r["build_output"] and r["tests"] == [], r
    odd = user.post("/submissions?wait=60", {"benchmark_id": "sum-integers", "agent_id": "walters", "language": "python",
                                             "source": "import os\nos.write(1, b'\\xff\\xfe')\nos.kill(os.getpid(), 9)"}, expect=200).json
    t = user.get(f"/results/{odd['id']}").json["tests"][0]
    assert (t["stdout_base64"], t["signal"]) == ("//4=", 9), t


def test_languages_and_runners(server):
    admin = prepared(server)
    names = [language["name"] for language in Checked(server.port).get("/languages").json["items"]]
    assert {"c", "python"} <= set(names), names
    admin.get("/languages")
    Checked(server.port).get("/filters")
    admin.get("/runners")
    person(server, "walter").call("GET", "/runners", expect=403)


def test_problems_that_take_an_answer_or_a_harness(server):
    admin, user = prepared(server), person(server, "walter")
    user.call("POST", "/agents", {"id": "walters"}, expect=(201, 409))
    b = admin.post("/benchmarks", {"name": "Answers", "feedback": "full"}, expect=201).json["id"]
    admin.post(f"/benchmarks/{b}/problems", {"id": f"answer-{b[-6:]}", "name": "a", "mode": "answer", "compare": "tokens",
                                             "tests": [{"expected_output": "42"}]}, expect=201)
    admin.post(f"/benchmarks/{b}/problems", {"id": f"harness-{b[-6:]}", "name": "h", "mode": "harness",
                                             "harness": {"language": "python", "source": "print(input().upper())"},
                                             "tests": [{"expected_output": "HELLO\n"}]}, expect=201)
    send = {"benchmark_id": b, "agent_id": "walters", "payload": "42"}
    s = user.post("/submissions?wait=60", {**send, "problem_id": f"answer-{b[-6:]}"}, expect=200).json
    assert s["verdict"] == "OK", s
    user.get(f"/results/{s['id']}")
    s = user.post("/submissions?wait=60", {**send, "problem_id": f"harness-{b[-6:]}", "payload": "hello"}, expect=200).json
    assert s["verdict"] == "OK", s
    user.get(f"/results/{s['id']}")
    user.call("POST", "/submissions", send, expect=400)
    user.call("POST", "/submissions", {**send, "problem_id": f"answer-{b[-6:]}", "payload": None, "language": "c", "source": "x"}, expect=400)


def test_tasks(server):
    user, other = person(server, "walter"), person(server, "someone-else")
    task = user.post("/task", {"translator": "python3", "code": "print(6 * 7)"}, headers={"Idempotency-Key": "t"}, expect=201)
    user.post("/task", {"translator": "python3", "code": "print(6 * 7)"}, headers={"Idempotency-Key": "t"}, expect=201)
    image = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTj2FAAAAABJRU5ErkJggg=="
    for body, keys in (({"filter": {"name": "negative"}, "image": image}, {"result"}),
                       ({"filter": {"name": "blur", "parameters": {"sigma": 1}}, "image": "eA=="}, {"result", "error"})):
        filtered = user.post("/task", body, expect=201).json["task_id"]
        wait_for("a filter", lambda f=filtered: user.get(f"/status/{f}").json["status"] == "ready")
        assert set(user.get(f"/result/{filtered}").json) == keys
    user.get(f"/submissions/{filtered}")
    user.get(f"/submissions/{filtered}/source")
    user.get(f"/results/{filtered}")
    user.post("/task", {"lang": "gcc", "source": "int main(void) { return 0; }", "stdin": "x"}, expect=201)
    user.call("POST", "/task", {"code": "x"}, expect=400)
    user.call("POST", "/task", {"translator": "klingon", "code": "x"}, expect=400)
    user.call("POST", "/task", {"translator": "c", "lang": "c", "code": "x"}, expect=400)
    tid = task.json["task_id"]
    user.get(f"/status/{tid}")
    user.get(f"/result/{tid}")
    wait_for("the task", lambda: user.get(f"/status/{tid}").json["status"] == "ready", 30)
    assert user.get(f"/result/{tid}").json == {"result": "42\n"}
    user.get(f"/traces?submission_id={tid}")
    user.get(f"/results/{tid}")
    user.call("POST", "/agents", {"id": "walters"}, expect=(201, 409))
    token = user.post("/agents/walters/tokens", {"scopes": ["submissions:write", "submissions:read"]}, expect=201).json["token"]
    bot = Checked(server.port, token)
    own = bot.post("/task", {"translator": "python3", "code": "print(1)"}, expect=201).json["task_id"]
    bot.get(f"/status/{own}")  # an agent sees what it made
    bot.call("GET", f"/status/{tid}", expect=404)  # and not what its owner made
    bot.call("DELETE", f"/task?id={own}", expect=204)
    user.call("GET", "/status/odd", expect=400)
    user.call("GET", f"/result/{NOWHERE}", expect=404)
    other.call("GET", f"/status/{tid}", expect=404)
    user.call("DELETE", "/task", expect=400)
    user.call("DELETE", f"/task?id={NOWHERE}", expect=404)
    user.call("DELETE", f"/task?id={tid}", expect=204)
    user.call("GET", f"/result/{tid}", expect=404)


def test_scores_traces_and_the_leaderboard(server):
    admin, user, other = prepared(server), person(server, "walter"), person(server, "someone-else")
    user.call("POST", "/agents", {"id": "walters"}, expect=(201, 409))
    s = user.post("/submissions?wait=60", {"benchmark_id": "sum-integers", "agent_id": "walters", "language": "python", "source": program("right.py")}, expect=200).json
    wait_for("the score", lambda: user.get(f"/scores?submission_id={s['id']}").json["items"], 10)
    user.get("/scores?benchmark_id=sum-integers&agent_id=walters&since=2020-01-01T00:00:00Z&limit=1")
    user.call("GET", "/scores?since=no", expect=400)
    user.call("GET", "/scores?benchmark_id=NO", expect=400)
    rows = wait_for("the leaderboard", lambda: user.get("/leaderboard?benchmark_id=sum-integers").json["items"], 10)
    assert rows[0]["mine"] is True
    user.get("/leaderboard?limit=1")
    admin.get("/leaderboard?agent_id=walters")
    user.call("GET", "/leaderboard?benchmark_id=none", expect=404)
    user.call("GET", "/leaderboard?benchmark_id=-", expect=400)
    user.get("/leaderboard?benchmark_id=sum-integers&with=problems,metrics")
    user.get("/leaderboard/statistics?benchmark_id=sum-integers&draws=100")
    user.get("/leaderboard/compare?benchmark_id=sum-integers&a=walters&b=nobody")
    user.get("/leaderboard/history?benchmark_id=sum-integers&agent_id=walters")
    user.call("GET", "/leaderboard/history?benchmark_id=sum-integers", expect=400)
    note = {"submission_id": s["id"], "message": "planned it", "level": "WARNING",
            "spans": [{"name": "plan", "started_at": "2026-11-21T07:10:40Z", "ended_at": "2026-11-21T07:10:44.25Z", "attributes": {"model": "small"}},
                      {"name": "write", "parent": "plan", "started_at": "2026-11-21T07:10:41Z"}]}
    user.post("/traces", note, headers={"Idempotency-Key": "n"}, expect=201)
    assert user.post("/traces", note, headers={"Idempotency-Key": "n"}, expect=201).headers["idempotency-replayed"] == "true"
    user.call("POST", "/traces", {**note, "message": "other"}, headers={"Idempotency-Key": "n"}, expect=422)
    other.call("POST", "/traces", note, expect=404)
    user.call("POST", "/traces", {**note, "level": "loud", "message": ""}, expect=400)
    tree = user.get(f"/traces?submission_id={s['id']}").json["items"][0]
    assert tree["messages"] and {c["name"] for c in tree["spans"][0]["children"]} >= {"queue", "plan"}, tree
    user.get("/traces?benchmark_id=sum-integers&agent_id=walters&limit=1")
    other.call("GET", f"/traces?submission_id={s['id']}", expect=404)


def test_webhooks(server):
    admin = checked(server)
    person(server, "hooker")
    carol = checked(server, "hooker", PASSWORD)
    admin.post("/benchmarks", {"id": "hooked", "visibility": "public", "tests": [{"expected_output": "1\n"}]}, expect=201)
    carol.post("/agents", {"id": "hooker-bot"}, expect=201)
    body = {"url": "https://hooks.invalid/x", "benchmark_id": "hooked"}
    made = carol.post("/webhooks", body, headers={"Idempotency-Key": "hook"}, expect=201).json
    carol.call("POST", "/webhooks", {**body, "active": False}, headers={"Idempotency-Key": "hook"}, expect=422)
    carol.call("POST", "/webhooks", {"url": "http://10.0.0.1/", "benchmark_id": "hooked"}, expect=400)
    carol.call("POST", "/webhooks", {**body, "benchmark_id": "no-such"}, expect=404)
    carol.call("POST", "/webhooks", {"url": "https://hooks.invalid/x", "submission_id": NOWHERE}, expect=404)
    carol.call("POST", "/webhooks", b"{}", headers={"Content-Type": "text/plain"}, expect=415)
    sid = carol.post("/submissions?wait=60", {"benchmark_id": "hooked", "agent_id": "hooker-bot", "language": "python", "source": "print(1)"}, expect=(200, 202)).json["id"]
    at = f"/webhooks/{made['id']}"
    wait_for("the event", lambda: carol.get(f"{at}/deliveries").json["items"], 30)
    sent = carol.get(f"{at}/deliveries?limit=1").json["items"][0]
    assert sent["body"]["data"]["submission_id"] == sid
    carol.call("GET", f"{at}/deliveries?state=lost", expect=400)
    carol.post(f"{at}/replay", {"event_id": sent["event_id"]}, expect=202)
    carol.call("POST", f"{at}/replay", {"event_id": NOWHERE}, expect=404)
    carol.call("POST", f"{at}/replay", {}, expect=400)
    carol.get("/webhooks?limit=1")
    carol.get(at)
    carol.patch(at, {"active": False, "events": ["board.updated"]})
    carol.call("PATCH", at, {"events": []}, expect=400)
    person(server, "passer-by")
    checked(server, "passer-by", PASSWORD).call("GET", at, expect=404)
    carol.call("DELETE", at, expect=204)


def test_sets_that_are_judged_again(server):
    admin, user = prepared(server), person(server, "walter")
    user.call("POST", "/agents", {"id": "walters"}, expect=(201, 409))
    s = user.post("/submissions?wait=60", {"benchmark_id": "sum-integers", "agent_id": "walters", "language": "python", "source": program("right.py")}, expect=200).json
    old = user.get(f"/results/{s['id']}").json
    user.call("POST", "/rejudgings", {"benchmark_id": "sum-integers"}, expect=403)
    copies = []
    for end in ("cancel", "apply"):
        body, key = {"benchmark_id": "sum-integers", "submission_id": s["id"], "reason": end}, {"Idempotency-Key": end}
        made = admin.post("/rejudgings", body, headers=key, expect=201).json
        admin.call("POST", "/rejudgings", {**body, "reason": "another"}, headers=key, expect=422)
        at = f"/rejudgings/{made['id']}"
        wait_for("the copy's verdict", lambda: (lambda r: r["judged"] == r["submissions"] == 1)(admin.get(at).json), 60)
        change = admin.get(f"{at}/changes?all=true&limit=5").json["items"][0]
        assert change["submission_id"] == s["id"] and change["old_verdict"] == change["new_verdict"] == "OK", change
        copies.append(change["copy_id"])
        admin.get(f"/results/{change['copy_id']}")
        assert admin.post(f"{at}/{end}", expect=200).json["state"] == {"cancel": "cancelled", "apply": "applied"}[end]
        admin.call("POST", f"{at}/{'apply' if end == 'cancel' else 'cancel'}", expect=409)
    for copy in copies:
        wait_for("the copy's result to go", lambda: admin.call("GET", f"/results/{copy}").status == 404, 10)  # noqa: B023
        admin.call("GET", f"/submissions/{copy}", expect=404)
    # what the second copy found out is the submission's now
    new = wait_for("the new result", lambda: (lambda a: a.status == 200 and a.json["finished_at"] != old["finished_at"] and a.json)(
        user.call("GET", f"/results/{s['id']}")), 10)
    assert new["verdict"] == "OK" and len(new["tests"]) == len(old["tests"]), new
    admin.get("/rejudgings?limit=1")
    admin.call("GET", "/rejudgings?limit=0", expect=400)


def test_a_query_parameter_that_is_not_known_is_refused_by_every_operation(server):
    admin = prepared(server)
    worker = Checked(server.port, admin.post("/agents/ada/tokens", {"scopes": ["jobs:lease", "results:write"]}, expect=201).json["token"])
    for method, path, op in CONTRACT.operations():
        if op["tags"] == ["operations"]:
            continue  # probes and caches add parameters of their own
        target = re.sub(r"\{[a-z_]+\}", NOWHERE, path)
        who = worker if op["x-assay-roles"] == ["agent"] else admin
        a = who.call(method, f"{target}?colour=red", {} if "requestBody" in op else None, expect=400)
        assert "colour" in json.dumps(a.json), (method, path, a)


def test_methods_that_a_path_does_not_have(server):
    admin = prepared(server)
    raw = Api(server.port, admin.token)
    paths = {}
    for method, path, _ in CONTRACT.operations():
        paths.setdefault(path, set()).add(method)
    for path, methods in paths.items():
        target = re.sub(r"\{[a-z_]+\}", NOWHERE, path)
        # a word in the place of another path's parameter: what the word has not, the parameter may
        wider = {m for p, ms in paths.items() if p != path and re.fullmatch(re.sub(r"\{[a-z_]+\}", "[^/]+", p), target) for m in ms
                 if not any(CONTRACT.resolve(CONTRACT.resolve(q)["schema"]).get("format") == "uuid"
                            for q in CONTRACT.find(m, re.sub(r"\{[a-z_]+\}", NOWHERE, p))[1]["parameters"] if CONTRACT.resolve(q)["in"] == "path")}
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - methods - wider:
            a = raw.call(method, target)
            assert a.status == 405 and a.headers["content-type"].startswith("application/problem+json"), (method, target, a)
            assert {m.strip() for m in a.headers["allow"].split(",")} - {"HEAD", "OPTIONS"} == methods | wider, (method, target, a.headers)
        if "GET" in methods and path not in ("/metrics", "/events"):  # figures change, and a stream has no end
            got, head = raw.call("GET", target), raw.call("HEAD", target)
            assert head.status == got.status and not head.body, (path, got, head)
        assert raw.call("OPTIONS", target).status == 204, path


def test_the_pages_for_browsers(server):
    anyone = Checked(server.port)
    for path in ("/", "/swagger", "/swagger/"):
        page = anyone.get(path, headers={"Accept": "text/html"})
        assert page.headers["content-type"].startswith("text/html"), page
    if not BUILT:
        raise harness.Skip("the dashboard was not built into the installation (make dashboard)")
    for path in ("/ui/licenses.txt", "/swagger/start.js"):
        file = anyone.get(path)
        anyone.get(path, headers={"If-None-Match": file.headers["etag"]}, expect=304)


def test_every_operation_was_seen_to_succeed():
    """Runs last: what no flow above has called is not known to keep its contract."""
    if len(sys.argv) > 1:
        raise harness.Skip("only some tests were asked for")
    missing = []
    for _, _, op in CONTRACT.operations():
        for status in op["responses"]:
            if not BUILT and op["operationId"] in ("dashboard_file", "swagger_file"):
                continue
            if status[0] == "2" and (op["operationId"], int(status)) not in SEEN:
                missing.append(f"{op['operationId']} {status}")
    # which of the two a cancel meets is a matter of timing
    missing = [m for m in missing if m != "submissions_cancel 202"]
    assert not missing, ", ".join(missing)
    refused = {s for _, s in SEEN if s >= 400}
    assert refused >= {400, 401, 403, 404, 409, 413, 415, 422, 429}, refused
    if os.environ.get("ASSAY_RECORD"):
        with open(os.environ["ASSAY_RECORD"], "w") as f:
            json.dump({f"{oid} {s}": a.json for (oid, s), a in SEEN.items() if a.body and "json" in a.headers["content-type"]}, f)


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
