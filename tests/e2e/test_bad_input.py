"""Bad input gets a precise 4xx that names the field; nothing is stored, nothing leaks, the server is unmoved."""

import json
import re
import socket
import sys

import harness
from harness import Api, program

GOOD = {"benchmark_id": "sum-integers", "agent_id": "ada", "language": "c", "source": program("right.c")}
LEAKS = re.compile(r"sqlite|SELECT |INSERT |/var/|/home/|\.c:\d+|assertion|0x[0-9a-f]{6,}", re.IGNORECASE)


def problem(a, status, pointer=None):
    """Checks that an answer is a problem document of that status (and names that field); gives it."""
    want = status if isinstance(status, (tuple, list)) else (status,)
    assert a.status in want, a
    assert a.headers["content-type"].startswith("application/problem+json"), a.headers
    p = a.json
    assert p["status"] == a.status and p["title"] and p["type"], p
    assert not LEAKS.search(a.body.decode()), f"the answer says too much: {p}"
    if pointer is not None:
        assert pointer in [e["pointer"] for e in p.get("errors", [])], f"{pointer} is not named: {p}"
    return p


def prepared(server):
    admin = server.login()
    if admin.call("GET", "/benchmarks/sum-integers").status == 404:
        server.demo(admin)
        admin.post("/submissions?wait=30", GOOD, expect=200)
    return admin


def stored(api):
    return {what: len(api.get(f"/{what}?limit=100").json["items"]) for what in ("submissions", "agents", "benchmarks", "users")}


def test_fields_of_a_submission(server):
    admin = prepared(server)
    before = stored(admin)
    cases = [
        ({"benchmark_id": None}, 400, "/benchmark_id"),
        ({"benchmark_id": 7}, 400, "/benchmark_id"),
        ({"benchmark_id": "../../etc"}, 400, "/benchmark_id"),
        ({"benchmark_id": "no-such"}, 404, None),
        ({"agent_id": "no-such"}, 404, None),
        ({"problem_id": "no-such"}, 404, None),
        ({"language": "klingon"}, 400, "/language"),
        ({"language": ["c"]}, 400, "/language"),
        ({"source": ""}, 400, "/source"),
        ({"source": 5}, 400, "/source"),
        ({"status": "done"}, 400, "/status"),
        ({"verdict": "OK"}, 400, "/verdict"),
        ({"owner_id": "somebody"}, 400, "/owner_id"),
        ({"limits": {"time_limit_ms": 99999}}, 400, "/limits"),
        ({"Source": "x"}, 400, "/Source"),
    ]
    for change, status, pointer in cases:
        body = {**GOOD, **change}
        problem(admin.call("POST", "/submissions", body), status, pointer)
    both = problem(admin.call("POST", "/submissions", {"source": 1, "extra": 2}), 400)
    assert {"/benchmark_id", "/source", "/extra"} <= {e["pointer"] for e in both["errors"]}, "all faults are told at once"
    assert stored(admin) == before


def test_bodies_that_are_not_json(server):
    admin = prepared(server)
    js = {"Content-Type": "application/json"}
    for text in (b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"a":1}{', b'{"benchmark_id":"a","benchmark_id":"b"}',
                 b"[" * 100000, b'{"source":"\\ud800"}', b'{"source":NaN}', b'{"source":' + b"9" * 5000 + b"}", b"'{}'"):
        problem(admin.call("POST", "/submissions", text, headers=js), 400)
    problem(admin.call("POST", "/submissions", b"benchmark_id=a", headers={"Content-Type": "application/x-www-form-urlencoded"}), 415)
    problem(admin.call("POST", "/submissions", json.dumps(GOOD).encode(), headers={"Content-Type": "text/plain"}), 415)
    nul = problem(admin.call("POST", "/agents", b'{"name":"a\\u0000b"}', headers=js), 400, "/name")
    assert "U+0000" in json.dumps(nul)


def test_a_body_over_its_routes_limit_is_refused_before_it_is_read(server):
    prepared(server)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as s:
        s.sendall(b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000000000\r\n\r\n")
        answer = s.recv(65536)  # no byte of the body was sent
        assert answer.startswith(b"HTTP/1.1 413 "), answer


def test_without_the_right_the_body_is_not_read_either(server):
    prepared(server)
    for token, status in ((b"", b"401"), (b"Authorization: Bearer not.a.token\r\n", b"401")):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as s:
            s.sendall(b"POST /benchmarks HTTP/1.1\r\nHost: x\r\n" + token + b"Content-Type: application/json\r\nContent-Length: 60000000\r\n\r\n")
            answer = s.recv(65536)
            assert answer.startswith(b"HTTP/1.1 " + status), answer
    user = server.register("nobody-special")
    problem(user.call("POST", "/benchmarks", {"name": "x"}), 403)


def test_unknown_paths_methods_and_parameters(server):
    admin = prepared(server)
    problem(admin.call("GET", "/no/such/path"), 404)
    problem(admin.call("GET", "/submissions/not-a-uuid"), 404)
    problem(admin.call("GET", "/submissions/0190a5b2-0000-7000-8000-000000000000"), 404)
    a = admin.call("PUT", "/submissions", GOOD)
    problem(a, 405)
    assert {"GET", "POST"} <= {m.strip() for m in a.headers["allow"].split(",")}, a.headers
    problem(admin.call("GET", "/submissions?limt=5"), 400)
    problem(admin.call("GET", "/submissions?limit=0"), 400)
    problem(admin.call("GET", "/submissions?limit=1000000"), 400)
    problem(admin.call("GET", "/submissions?limit=5&limit=6"), 400)
    problem(admin.call("GET", "/submissions?cursor=%00%ff"), 400)
    problem(admin.call("GET", "/submissions?status=sleeping"), 400)
    problem(admin.call("GET", "/submissions?since=yesterday"), 400)
    problem(admin.call("POST", "/submissions?wait=100000", GOOD), 400)
    for odd in ("//submissions", "/submissions/", "/SUBMISSIONS", "/submissions/..", "/%2e%2e/submissions", "/submissions;x=1"):
        assert admin.call("GET", odd).status in (400, 404), odd


def test_what_requests_smuggle_with_is_refused(server):
    prepared(server)
    cases = [
        b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length : 3\r\n\r\nabc",
        b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc",
        b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST /login HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
        b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n",
        b"GET / HTTP/1.9\r\nHost: a\r\n\r\n",
        b"G3T / HTTP/1.1\r\nHost: a\r\n\r\n",
    ]
    for raw in cases:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as s:
            s.sendall(raw)
            s.shutdown(socket.SHUT_WR)
            answer = b""
            while chunk := s.recv(65536):
                answer += chunk
        status = answer[9:12]
        assert status in (b"400", b"405", b"501", b"505"), (raw, answer[:200])
        assert answer.count(b"HTTP/1.1 ") == 1, f"two answers, one request: {raw!r}"


def test_tokens_that_are_not_ours(server):
    admin = prepared(server)
    import base64
    head, claims, signature = admin.token.split(".")

    def b64(d):
        return base64.urlsafe_b64encode(json.dumps(d).encode()).rstrip(b"=").decode()

    def decoded(part):
        return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))

    c, h = decoded(claims), decoded(head)
    bad = [
        "", "x", "a.b.c", f"{head}.{claims}.", f"{head}.{claims}", f"{head}.{claims}.{signature}.",
        f"{b64({**h, 'alg': 'none'})}.{claims}.", f"{b64({**h, 'alg': 'None'})}.{claims}.{signature}",
        f"{b64({**h, 'alg': 'HS512'})}.{claims}.{signature}", f"{b64({**h, 'alg': 'RS256'})}.{claims}.{signature}",
        f"{b64({**h, 'kid': '../../etc/passwd'})}.{claims}.{signature}", f"{b64({**h, 'crit': ['exp']})}.{claims}.{signature}",
        f"{head}.{b64({**c, 'role': 'admin', 'sub': 'x'})}.{signature}", f"{head}.{b64({**c, 'exp': 9999999999})}.{signature}",
        f"{head}=.{claims}.{signature}", f"{head}.{claims}.{signature}A", "asy_" + "0" * 64, "A" * 20000,
    ]
    for token in bad:
        a = Api(server.port, token).call("GET", "/me")
        assert a.status in (401, 431), (token[:60], a)
    assert admin.get("/me").json["login"] == "admin"


def test_accounts(server):
    admin = prepared(server)
    api = server.api()
    problem(api.call("POST", "/register", {"login": "x" * 300, "password": "long enough to pass"}), 400, "/login")
    problem(api.call("POST", "/register", {"login": "shortpw", "password": "short"}), 400, "/password")
    problem(api.call("POST", "/register", {"login": "root2", "password": "long enough to pass", "is_admin": True}), 400, "/is_admin")
    problem(api.call("POST", "/register", {"login": "root2", "password": "long enough to pass", "role": "admin"}), (400, 403))
    problem(api.call("POST", "/register", {"login": "admin", "password": "long enough to pass"}), 409)
    unknown = problem(api.call("POST", "/login", {"login": "nobody-at-all", "password": "wrong password"}), 401)
    wrong = problem(api.call("POST", "/login", {"login": "admin", "password": "wrong password"}), 401)
    assert unknown["detail"] == wrong["detail"], "an unknown account must not be told from a wrong password"
    assert "root2" not in json.dumps(admin.get("/users?limit=100").json)


def test_benchmarks(server):
    admin = prepared(server)
    before = stored(admin)
    test = {"input": "1", "expected_output": "1"}
    cases = [
        ({"id": "UPPER"}, "/id"), ({"feedback": "loud"}, "/feedback"), ({"compare": "vibes"}, "/compare"),
        ({"limits": {"time_limit_ms": 1}}, "/limits/time_limit_ms"), ({"limits": {"time_limit_ms": "1 s"}}, "/limits/time_limit_ms"),
        ({"limits": {"memory_limit_bytes": -1}}, "/limits/memory_limit_bytes"), ({"tests": []}, "/tests"),
        ({"tests": [{"input": 1}]}, "/tests/0/input"), ({"tests": [{**test, "points": -3}]}, "/tests/0/points"),
        ({"starts_at": "tomorrow"}, "/starts_at"),
        ({"starts_at": "2026-01-02T00:00:00Z", "ends_at": "2026-01-01T00:00:00Z"}, "/ends_at"),
        ({"tests": [{**test, "secret": 1}]}, "/tests/0/secret"),
    ]
    for change, pointer in cases:
        problem(admin.call("POST", "/benchmarks", {"name": "Bad", "tests": [test], **change}), 400, pointer)
    problem(admin.call("POST", "/benchmarks", {"id": "sum-integers", "name": "Twice", "tests": [test]}), 409)
    assert stored(admin) == before


def test_the_server_is_unmoved(server):
    admin = prepared(server)
    pid = server.children()["server"]
    a = admin.post("/submissions?wait=30", GOOD, expect=200).json
    assert a["verdict"] == "OK", a
    assert server.children()["server"] == pid
    assert '"child_died"' not in server.log_text()
    assert "child_died" not in server.log_text()


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
