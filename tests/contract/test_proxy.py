"""The proxy between the tests and their servers (tests/proxy): it changes nothing, and it misses nothing.

The server here is a script: it says what each test wants it to say.
"""

import json
import os
import socket
import struct
import sys
import threading
import time

from contract import ROOT

sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import harness  # noqa: E402

sys.path.insert(0, str(ROOT / "tests" / "proxy"))
import door  # noqa: E402
import wire  # noqa: E402

ID = "X-Request-Id: r1\r\n"
UUID = "0190a5b2-0000-7000-8000-000000000000"


def say(status="200 OK", body=b"", media="application/json", headers=ID):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\n{headers}Content-Type: {media}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def problem(status, **more):
    words = {400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 429: "Too Many Requests", 418: "Teapot"}
    return say(f"{status} {words[status]}", {"type": "urn:assay:problem:x", "title": "x", "status": status, "request_id": "r1", **more},
               "application/problem+json")


def ask(target="/healthz", method="GET", headers="", body=b""):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
        headers += "Content-Type: application/json\r\n"
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} {target} HTTP/1.1\r\nHost: x\r\n{headers}{length}\r\n".encode() + body


class Behind:
    """A proxy of one's own, and before it a scripted server: `script(connection, peer)` runs for each connection."""

    def __init__(self, script):
        self.door, self.script, self.faults = door.Door(), script, []
        self.port = harness.free_port()
        self.listener = socket.create_server((door.BEHIND, self.port))
        self.door.open(self.port)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                s, peer = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.one, args=(s, peer), daemon=True).start()

    def one(self, s, peer):
        try:
            self.script(s, peer)
        except Exception as e:  # noqa: B902 - told by the test
            self.faults.append(repr(e))
        finally:
            s.close()

    def connect(self, source=None):
        return socket.create_connection(("127.0.0.1", self.port), 10, source_address=(source, 0) if source else None)

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.door.end()


def read_all(s):
    got = b""
    while piece := s.recv(1 << 16):
        got += piece
    return got


ONE = []  # a proxy for many conversations, since a start takes its time


def talk(pairs, cut=None, final=True):
    """What the proxy says of one connection on which these bytes went up and down: (faults, what was seen)."""
    up, down = b"".join(u for u, _ in pairs), b"".join(d for _, d in pairs)

    def script(s, peer):
        left = len(up)
        while left > 0:
            left -= len(s.recv(1 << 16))
        for i in range(0, len(down), cut or len(down) or 1):
            s.sendall(down[i:i + (cut or len(down))])
        if not final:
            assert s.recv(1) == b""
    if not ONE:
        ONE.append(Behind(script))
    b = ONE[0]
    b.script, b.door.seen, faults = script, {}, ""
    with b.connect() as s:
        for i in range(0, len(up), cut or len(up) or 1):
            s.sendall(up[i:i + (cut or len(up))])
        if final:
            s.shutdown(socket.SHUT_WR)
        got = b""
        while len(got) < len(down):
            got += s.recv(1 << 16)
        assert got == down, "the bytes were changed"
        if final:
            assert read_all(s) == b""
        else:
            faults = b.door.settle()
    faults += b.door.settle()
    assert not b.faults, b.faults
    return faults, {op: dict(n) for op, n in b.door.seen.items()}


# ---- it changes nothing -------------------------------------------------------------------------------------

def test_bytes_pass_as_they_are_both_ways():
    blob = os.urandom(3 << 20)

    def script(s, peer):
        got = read_all(s)
        s.sendall(got[::-1])
    with Behind(script) as b, b.connect() as s:
        sender = threading.Thread(target=lambda: (s.sendall(blob), s.shutdown(socket.SHUT_WR)))
        sender.start()
        assert read_all(s) == blob[::-1]
        sender.join()


def test_the_end_of_one_direction_leaves_the_other_open():
    def script(s, peer):
        s.sendall(b"first")
        s.shutdown(socket.SHUT_WR)
        assert read_all(s) == b"late"
    with Behind(script) as b, b.connect() as s:
        assert read_all(s) == b"first"
        time.sleep(0.05)
        s.sendall(b"late")
        s.shutdown(socket.SHUT_WR)
        time.sleep(0.1)
        assert not b.faults, b.faults


def test_a_reset_passes_both_ways():
    reset = struct.pack("ii", 1, 0)
    told = []

    def script(s, peer):
        if s.recv(10) == b"you":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            return
        try:
            told.append(s.recv(10))
        except ConnectionResetError:
            told.append("reset")
    with Behind(script) as b:
        with b.connect() as s:
            s.sendall(b"you")
            try:
                got = s.recv(10)
            except ConnectionResetError:
                got = "reset"
            assert got == "reset", got
        s = b.connect()
        s.sendall(b"me")
        time.sleep(0.1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        s.close()
        harness.wait_for("the reset", lambda: told, 5)
        assert told == ["reset"], told


def test_the_server_sees_the_clients_address():
    with Behind(lambda s, peer: s.sendall(peer[0].encode())) as b:
        for source in ("127.0.0.1", "127.0.0.9"):
            with b.connect(source) as s:
                assert read_all(s).decode() == source


def test_who_does_not_read_stops_who_writes():
    written = [0]

    def script(s, peer):
        s.settimeout(0.5)
        try:
            while True:
                written[0] += s.send(b"x" * 65536)
        except TimeoutError:
            pass
    with Behind(script) as b, b.connect() as s:
        harness.wait_for("a stop", lambda: written[0] and (lambda n: time.sleep(1) or n == written[0])(written[0]), 20)
        assert written[0] < 32 << 20, written
        s.close()


def test_where_nobody_listens_the_connection_ends():
    with Behind(lambda s, peer: None) as b:
        b.listener.close()
        try:
            with b.connect() as s:
                s.sendall(ask())
                got = s.recv(100)
        except ConnectionResetError:
            got = b""
        assert got == b""
        b.door.close(b.port)
        try:
            b.connect().close()
        except ConnectionRefusedError:
            pass
        else:
            raise AssertionError("a door that was closed is open")
        b.listener = socket.create_server((door.BEHIND, b.port))


# ---- it reads what has passed ---------------------------------------------------------------------------------

GOOD = {"status": "ok", "version": "1.0"}
LIVE = say(body=GOOD)


def test_every_form_of_exchange_is_read():
    chunked = f"HTTP/1.1 200 OK\r\n{ID}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    body = json.dumps(GOOD).encode()
    chunked += b"5\r\n" + body[:5] + b"\r\n" + f"{len(body) - 5:x};a=b\r\n".encode() + body[5:] + b"\r\n0\r\nX: y\r\n\r\n"
    until_close = f"HTTP/1.1 200 OK\r\n{ID}Content-Type: application/json\r\n\r\n".encode() + body
    head = f"HTTP/1.1 200 OK\r\n{ID}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    login = {"login": "a", "password": "b"}
    no = problem(400)
    rows = {
        "pipelined": [(ask() * 3, LIVE * 3)],
        "chunks": [(ask(), chunked), (ask(), LIVE)],
        "until the close": [(ask(), LIVE), (ask(), until_close)],
        "HEAD": [(ask(method="HEAD"), head), (ask(), LIVE)],
        "100-continue": [(ask("/login", "POST", "Expect: 100-continue\r\n", login), b"HTTP/1.1 100 Continue\r\n\r\n" + no), (ask(), LIVE)],
        "no answer yet": [(ask(), LIVE), (ask("/login", "POST", "", login), b"")],
        "chunks up": [(ask("/login", "POST", "Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n") + b"2\r\n{}\r\n0\r\n\r\n", no), (ask(), LIVE)],
        "answered early": [(ask("/login", "POST", "Content-Length: 99999\r\nContent-Type: application/json\r\n"), no)],
    }
    want = {"pipelined": {"health_live": {"200": 3}}, "no answer yet": {"health_live": {"200": 1}}, "answered early": {"login": {"400": 1}},
            "100-continue": {"health_live": {"200": 1}, "login": {"400": 1}}, "chunks up": {"health_live": {"200": 1}, "login": {"400": 1}}}
    for name, pairs in rows.items():
        for cut in (None, 1):
            faults, seen = talk(pairs, cut)
            assert not faults, f"{name}: {faults}"
            assert seen == want.get(name, {"health_live": {"200": 2}}), f"{name}: {seen}"


def test_what_is_open_at_the_end_of_a_test_is_judged_too():
    stream = f"HTTP/1.1 200 OK\r\n{ID}Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n: x\n\r\n".encode()

    def script(s, peer):
        s.recv(1000)
        s.sendall(stream)
        time.sleep(3)
    with Behind(script) as b, b.connect() as s:
        s.sendall(ask("/events"))
        harness.wait_for("the stream", lambda: s.recv(1000), 5)
        assert b.door.settle() == "" and b.door.seen == {"events_stream": {"200": 1}}, b.door.seen
        assert b.door.settle() == "" and b.door.seen == {"events_stream": {"200": 1}}, "counted twice"
    faults, seen = talk([(ask(), say(body={"status": 7}))], final=False)
    assert "/status" in faults and seen == {"health_live": {"200": 1}}, (faults, seen)


def test_what_is_no_request_gets_a_problem():
    bad = b"GET /healthz HTTP/1.1\r\nHost: x\r\nBad Name: x\r\n\r\n"
    for raw in (bad, b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n", b"GET / HT", b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na"):
        faults, seen = talk([(raw, problem(400))])
        assert not faults and seen == {"-": {"400": 1}}, (raw, faults, seen)
    faults, _ = talk([(bad, LIVE)])
    assert "what is not well-formed HTTP" in faults, faults


def test_every_disagreement_is_told():
    agent = {"name": "x"}
    rows = [
        ("an operation that is not there", ask("/nothing"), LIVE, "is no operation"),
        ("a status that is not documented", ask(), problem(418), "the status 418 is not documented"),
        ("a type that is not documented", ask(), say(body=b"ok", media="text/plain"), "'text/plain' is not documented"),
        ("no request id", ask(), say(body=GOOD, headers=""), "the header X-Request-Id is missing"),
        ("a member of another type", ask(), say(body={"status": 1}), "/status: 1 is not"),
        ("a member too many", ask(), say(body={**GOOD, "surprise": 1}), "/surprise: is not in the contract"),
        ("a body that is no JSON", ask(), say(body=b"{"), "the body is not JSON"),
        ("a header that is not documented", ask(), say(body=GOOD, headers=ID + "ETag: x\r\n"), "the header etag of 200 is not documented"),
        ("a problem of another status", ask("/nothing"), problem(404).replace(b'"status": 404', b'"status": 400'), "/status: is not the answer's"),
        ("a problem of another request", ask("/nothing"), problem(404, request_id="r2"), "/request_id: is not X-Request-Id"),
        ("429 without Retry-After", ask("/me"), problem(429), "Retry-After is missing"),
        ("405 without Allow", ask("/me", "PUT"), problem(405), "Allow is missing"),
        ("a HEAD with a body", ask(method="HEAD"), LIVE + LIVE, "is not HTTP"),
        ("an answer too many", ask(), LIVE + LIVE, "no request asked for"),
        ("no answer", ask(), b"hello, world\r\n\r\n", "is not HTTP"),
        ("a query parameter taken", ask("/agents?colour=red"), say(body={"items": [], "next_cursor": None}), "the query parameter 'colour'"),
        ("a parameter's value taken", ask("/agents?limit=many"), say(body={"items": [], "next_cursor": None}), "the query parameter limit with"),
        ("a member taken", ask("/agents", "POST", "", {**agent, "colour": "red"}), say("201 Created", {}), "had a body with /colour"),
        ("a body's type taken", ask("/agents", "POST", "Content-Type: text/plain\r\n", b"{}"), say("201 Created", {}), "'text/plain', which is not documented"),
        ("a body taken", ask("/me", "GET", "", {}), say(body={}), "the operation takes none"),
        ("no body taken", ask("/agents", "POST"), say("201 Created", {}), "had no body"),
        ("a path taken", ask("/users/odd"), say(body={}), "the path's {id}"),
    ]
    for name, up, down, told in rows:
        faults, _ = talk([(up, down)])
        assert told in faults, f"{name}: {faults!r}"


def test_a_fault_fails_the_test_that_it_happened_in():
    """As the harness does it; what signs in is not shown."""
    def script(s, peer):
        s.recv(1000)
        s.sendall(say(body={"status": 1}))
    with Behind(script) as b:
        old, harness.DOOR = harness.DOOR, b.door
        try:
            def bad():
                with b.connect() as s:
                    s.sendall(ask(headers="Authorization: Bearer secret-word\r\n"))
                    s.shutdown(socket.SHUT_WR)
                    read_all(s)
            try:
                harness.run(bad, None, [None])
            except AssertionError as e:
                assert "GET /healthz (health_live), 200" in str(e) and "secret-word" not in str(e), e
            else:
                raise AssertionError("it passed")
            harness.run(lambda: None, None, [None])
        finally:
            harness.DOOR = old


def test_what_is_cut_short_is_no_fault():
    cut = say(body={"status": "ok" * 1000})[:300]
    faults, seen = talk([(ask(), cut)])
    assert not faults and seen == {"health_live": {"200": 1}}, (faults, seen)
    assert talk([(ask(), b"HTTP/1.1 20")]) == ("", {})


def test_a_conversation_is_read_in_any_pieces():
    up, down = ask() + ask("/login", "POST", "", {"login": "a"}) + ask(), LIVE + problem(400) + LIVE
    for cut in (1, 2, 7, 64, 10000):
        c, got = wire.Conversation(), []
        for i in range(0, max(len(up), len(down)), cut):
            c.up += up[i:i + cut]
            got += c.exchanges()
            c.down += down[i:i + cut]
            got += c.exchanges()
        got += c.exchanges(final=True)
        assert [(r.target, a.status) for r, a in got] == [("/healthz", 200), ("/login", 400), ("/healthz", 200)], (cut, got)


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
