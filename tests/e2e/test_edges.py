"""The edges: what a hostile or broken client sends, byte for byte, and what it must get.

Each row is sent alone on a fresh connection, once whole and once byte by byte, and must be answered once, by the
status named, and the connection closed where nobody could know where the next request begins.
"""

import base64
import hashlib
import hmac
import json
import pathlib
import socket
import sys
import threading
import time
import zlib

import harness
from harness import ADMIN_PASSWORD, Api, Server

SECRET = "an-end-to-end-secret-of-more-than-32-bytes"
LIMITS = {
    "ASSAY_HTTP_HEADER_TIMEOUT": "700ms", "ASSAY_HTTP_BODY_TIMEOUT": "2s", "ASSAY_HTTP_BODY_GRACE": "700ms",
    "ASSAY_HTTP_RATE_MIN": "100000", "ASSAY_HTTP_IDLE_TIMEOUT": "30s", "ASSAY_HTTP_CONNECTIONS_MAX": "400",
    "JWT_SIGNING_SECRET": SECRET, "ASSAY_TRUSTED_PROXIES": "127.0.0.2",
}


def make_server():
    return Server(env=LIMITS)


def connect(server, timeout=10, source=None):
    return socket.create_connection(harness.at(server.port), timeout=timeout, source_address=(source, 0) if source else None)


def read_all(s):
    got = b""
    try:
        while chunk := s.recv(65536):
            got += chunk
    except ConnectionResetError:
        pass
    return got


def exchange(server, raw, cut=None, finish=True):
    """Sends raw, whole or in pieces, and gives all that comes until the server closes."""
    with connect(server) as s:
        try:
            if cut is None:
                s.sendall(raw)
            else:
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for i in range(0, len(raw), cut):
                    s.sendall(raw[i:i + cut])
            if finish:
                s.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return read_all(s)


def problem_of(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head, answer[:300]
    return json.loads(body)


# ---- HTTP: the table of the reference, and what a strict llhttp still lets through -------------------------

def post(head, body=b""):
    return b"POST /login HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n" + body


def get(head, target=b"/healthz", version=b"HTTP/1.1", host=b"Host: x\r\n"):
    return b"GET " + target + b" " + version + b"\r\n" + host + head + b"\r\n"


HIDDEN = b"GET /healthz HTTP/1.1\r\nHost: smuggled\r\n\r\n"  # must never be answered
REFUSED = [
    ("two lengths that differ", post(b"Content-Length: 3\r\nContent-Length: 44\r\n", b"abc" + HIDDEN), 400),
    ("two lengths alike", post(b"Content-Length: 3\r\nContent-Length: 3\r\n", b"abc" + HIDDEN), 400),
    ("a list of lengths", post(b"Content-Length: 3, 3\r\n", b"abc" + HIDDEN), 400),
    ("space before the colon", post(b"Content-Length : 3\r\n", b"abc" + HIDDEN), 400),
    ("tab before the colon", post(b"Content-Length\t: 3\r\n", b"abc" + HIDDEN), 400),
    ("length with a plus", post(b"Content-Length: +3\r\n", b"abc" + HIDDEN), 400),
    ("length with a minus", post(b"Content-Length: -1\r\n", HIDDEN), 400),
    ("length in hex", post(b"Content-Length: 0x3\r\n", b"abc" + HIDDEN), 400),
    ("length behind a vertical tab", post(b"Content-Length: \x0b3\r\n", b"abc" + HIDDEN), 400),
    ("empty length", post(b"Content-Length: \r\n", HIDDEN), 400),
    ("length of twenty digits", post(b"Content-Length: 99999999999999999999\r\n", b"abc"), 413),
    ("length and chunks", post(b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n" + HIDDEN), 400),
    ("chunks and length", post(b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", b"0\r\n\r\n" + HIDDEN), 400),
    ("xchunked", post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n" + HIDDEN), 400),
    ("chunked twice", post(b"Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n" + HIDDEN), 400),
    ("two codings", post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n" + HIDDEN), 400),
    ("chunked and identity", post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", b"0\r\n\r\n" + HIDDEN), 400),
    ("quoted chunked", post(b'Transfer-Encoding: "chunked"\r\n', b"0\r\n\r\n" + HIDDEN), 400),
    ("chunked behind a vertical tab", post(b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n" + HIDDEN), 400),
    ("chunked on HTTP/1.0", b"POST /login HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("chunk size 0x3", post(b"Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n", b"0x3\r\nabc\r\n0\r\n\r\n" + HIDDEN), 400),
    ("chunk size +3", post(b"Transfer-Encoding: chunked\r\n", b"+3\r\nabc\r\n0\r\n\r\n" + HIDDEN), 400),
    ("chunk size -3", post(b"Transfer-Encoding: chunked\r\n", b"-3\r\nabc\r\n0\r\n\r\n" + HIDDEN), 400),
    ("chunk size behind a space", post(b"Transfer-Encoding: chunked\r\n", b" 3\r\nabc\r\n0\r\n\r\n" + HIDDEN), 400),
    ("chunk without its end", post(b"Transfer-Encoding: chunked\r\n", b"3\r\nabcd0\r\n\r\n" + HIDDEN), 400),
    ("chunk size of seventeen digits", post(b"Transfer-Encoding: chunked\r\n", b"10000000000000003\r\nabc"), 400),
    ("chunk line with a bare LF", post(b"Transfer-Encoding: chunked\r\n", b"3\nabc\r\n0\r\n\r\n" + HIDDEN), 400),
    ("NUL in a value", get(b"X: a\x00b\r\n"), 400),
    ("NUL in a name", get(b"X\x00: ab\r\n"), 400),
    ("NUL in the target", get(b"", b"/healthz\x00"), 400),
    ("bare CR in a value", get(b"X: a\rb\r\n"), 400),
    ("bare CR as a line's end", b"GET /healthz HTTP/1.1\rHost: x\r\r", (400, 505)),
    ("bare LF as a line's end", b"GET /healthz HTTP/1.1\nHost: x\n\n", 400),
    ("folded line", get(b"X: a\r\n b\r\n"), 400),
    ("folded line behind Host", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\ty\r\n\r\n", 400),
    ("space in a name", get(b"Bad Name: x\r\n"), 400),
    ("no name", get(b": x\r\n"), 400),
    ("no colon", get(b"Nonsense\r\n"), 400),
    ("line that begins with a space", b"GET /healthz HTTP/1.1\r\n Host: x\r\n\r\n", 400),
    ("no Host", get(b"", host=b""), 400),
    ("two Hosts", get(b"Host: y\r\n"), 400),
    ("empty Host", get(b"", host=b"Host:\r\n"), 400),
    ("Host with a path", get(b"", host=b"Host: a/b\r\n"), 400),
    ("Host with an at sign", get(b"", host=b"Host: a@b\r\n"), 400),
    ("two Content-Types", post(b"Content-Type: application/json\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n", b"{}" + HIDDEN), 400),
    ("two Authorizations", get(b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n"), 400),
    ("raw space in the target", get(b"", b"/health z"), 400),
    ("0xFF in the target", get(b"", b"/\xff"), 400),
    ("fragment in the target", get(b"", b"/healthz#x"), 400),
    ("backslash in the target", get(b"", b"/a\\b"), 400),
    ("target without its slash", get(b"", b"healthz"), 400),
    ("absolute target", get(b"", b"http://x/healthz"), 400),
    ("broken escape", get(b"", b"/users/%zz"), 400),
    ("encoded slash", get(b"", b"/users/a%2fb"), 400),
    ("encoded NUL", get(b"", b"/users/a%00b"), 400),
    ("overlong UTF-8", get(b"", b"/users/%c0%af"), 400),
    ("HTTP/1.9", get(b"", version=b"HTTP/1.9"), 505),
    ("HTTP/2.0", get(b"", version=b"HTTP/2.0"), 505),
    ("HTTP/0.9", b"GET /healthz HTTP/0.9\r\n\r\n", 505),
    ("no version", b"GET /healthz\r\n\r\n", (400, 505)),
    ("lower-case version", get(b"", version=b"http/1.1"), 400),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("unknown method", b"G3T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("known method that is none of ours", b"PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    ("TRACE", b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    ("CONNECT", b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", (400, 501)),
    ("expectation", post(b"Expect: 200-ok\r\nContent-Length: 2\r\n"), 417),
    ("gzip", post(b"Content-Encoding: gzip\r\nContent-Length: 3\r\n", b"abc"), 415),
    ("too many headers", get(b"".join(b"X-%d: y\r\n" % i for i in range(1000))), 431),
    ("long headers", get(b"X: " + b"a" * 100_000 + b"\r\n"), 431),
    ("long target", get(b"", b"/" + b"a" * 100_000), 414),
    ("TLS hello", bytes.fromhex("160301020001000001fc0303") + b"\0" * 40, 400),
]


def test_every_malformed_request_is_refused_once_and_ends_its_connection(server):
    for name, raw, want in REFUSED:
        for cut in (None, 1 if len(raw) < 2000 else 997):
            answer = exchange(server, raw, cut)
            wants = want if isinstance(want, tuple) else (want,)
            assert answer[9:12].isdigit() and int(answer[9:12]) in wants, (name, cut, answer[:300])
            assert answer.count(b"HTTP/1.1 ") == 1, f"{name}: more than one answer: {answer[:600]!r}"
            assert problem_of(answer)["status"] == int(answer[9:12])
            assert b"\r\nConnection: close\r\n" in answer, (name, answer[:300])


def test_sound_but_odd_requests_are_answered(server):
    rows = [
        ("chunks with an extension and trailers", post(b"Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n", b"2;a=b\r\n{}\r\n0\r\nX-T: 1\r\n\r\n"), 400),
        ("CHUNKED", post(b"Transfer-Encoding: CHUNKED\r\nContent-Type: application/json\r\n", b"2\r\n{}\r\n0\r\n\r\n"), 400),
        ("empty lines before", b"\r\n\r\n" + get(b""), 200),
        ("HTTP/1.0 without Host", b"GET /healthz HTTP/1.0\r\n\r\n", 200),
        ("HEAD", b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        ("OPTIONS *", b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 204),
        ("a body where none belongs", b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 413),
        ("wrong method", b"DELETE /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    ]
    for name, raw, want in rows:
        for cut in (None, 1):
            answer = exchange(server, raw, cut)
            assert int(answer[9:12]) == want, (name, answer[:300])
    assert b"\r\nAllow: GET, HEAD, OPTIONS\r\n" in exchange(server, rows[-1][1])
    head = exchange(server, rows[4][1])
    assert head.endswith(b"\r\n\r\n") and b"Content-Length: " in head
    allow = exchange(server, b"OPTIONS /submissions HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"\r\nAllow: GET, HEAD, POST, OPTIONS\r\n" in allow, allow


def test_expect_is_answered_before_the_body_and_only_when_it_will_be_read(server):
    with connect(server) as s:
        s.sendall(post(b"Expect: 100-continue\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"))
        assert s.recv(100).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        s.sendall(b"{}")
        assert s.recv(65536).startswith(b"HTTP/1.1 400 ")
    for length, status in ((b"1000000000", b"413"), (b"2", b"401")):
        with connect(server) as s:
            target = b"/login" if status == b"413" else b"/benchmarks"
            s.sendall(b"POST " + target + b" HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: " + length + b"\r\n\r\n")
            answer = s.recv(65536)
            assert answer.startswith(b"HTTP/1.1 " + status), answer[:200]


def test_a_gzip_bomb_is_not_opened(server):
    bomb = zlib.compress(b"\0" * 10_000_000)
    for coding in ("gzip", "deflate", "br", "gzip, identity"):
        a = Api(server.port).call("POST", "/login", bomb[:1000], headers={"Content-Encoding": coding, "Content-Type": "application/json"})
        assert a.status == 415, (coding, a)
    assert Api(server.port).call("POST", "/login", b"{}", headers={"Content-Encoding": "identity", "Content-Type": "application/json"}).status == 400


def test_ten_thousand_pipelined_requests_are_answered_in_order(server):
    n = 10_000
    raw = b"".join(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: r-%d\r\n\r\n" % i for i in range(n))
    with connect(server, timeout=60) as s:
        sender = threading.Thread(target=s.sendall, args=(raw,))
        sender.start()
        got = b""
        end = b"X-Request-Id: r-%d\r\n" % (n - 1)
        while end not in got[-4096:]:
            chunk = s.recv(1 << 20)
            assert chunk, "the connection ended early"
            got += chunk
        sender.join()
    ids = [line[16:] for line in got.split(b"\r\n") if line.startswith(b"X-Request-Id: r-")]
    assert ids == [b"%d" % i for i in range(n)]
    assert got.count(b"HTTP/1.1 200 OK\r\n") == n


# ---- slow clients --------------------------------------------------------------------------------------------

def resident(server):
    pid = server.children()["server"]
    return int(next(l for l in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if l.startswith("VmRSS")).split()[1]) * 1024


def test_slow_connections_are_bounded_and_hurt_nobody(server):
    before = resident(server)
    slow = []
    started = time.monotonic()
    for i in range(100):
        s = connect(server)
        s.setblocking(False)
        slow.append(s)
        s.send((b"GET /healthz HTTP/1.1\r\nX", b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n{", b"")[i % 3])
    worst, calls = 0.0, 0
    while time.monotonic() - started < 2.5:
        for s in slow:
            try:
                s.send(b"a")  # a byte now and then restarts no deadline
            except OSError:
                pass
        at = time.monotonic()
        Api(server.port).get("/healthz")
        worst, calls = max(worst, time.monotonic() - at), calls + 1
        time.sleep(0.05)
    answered = 0
    for s in slow:
        s.setblocking(True)
        s.settimeout(5)
        answered += b" 408 " in read_all(s)[:20]
        s.close()
    assert answered >= 60, f"{answered} of the slow ones were told 408"
    assert calls > 10 and worst < 5.0, f"others waited up to {worst:.2f} s"
    assert resident(server) - before < 64 << 20


@harness.direct("what the server can write before a reader stops it is what is tried")
def test_a_client_that_does_not_read_is_let_go(server):
    with connect(server) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.setblocking(False)
        raw = b"GET /swagger.json HTTP/1.1\r\nHost: x\r\n\r\n" * 50
        try:
            s.send(raw)
        except BlockingIOError:
            pass
        def gone():
            text = Api(server.port).get("/metrics").body.decode()
            return "assay_http_connections 1\n" in text
        harness.wait_for("the reader that does not read to be let go", gone, timeout=60, every=0.2)


def test_connections_over_the_bound_are_told_so(server):
    many = []
    try:
        refused = None
        for _ in range(420):
            s = connect(server)
            many.append(s)
        for s in many:
            s.settimeout(0.01)
            try:
                if (got := s.recv(1000)):
                    refused = got
                    break
            except OSError:
                continue
        assert refused and refused.startswith(b"HTTP/1.1 503 ") and b"Retry-After: 1\r\n" in refused, refused
    finally:
        for s in many:
            s.close()
    harness.wait_for("room again", lambda: Api(server.port).call("GET", "/healthz").status == 200)


# ---- tokens ------------------------------------------------------------------------------------------------------

def b64(data):
    return base64.urlsafe_b64encode(data if isinstance(data, bytes) else data.encode()).rstrip(b"=").decode()


def parts(server):
    if not hasattr(server, "edge_token"):
        server.edge_token = server.login().token
    head, claims, _ = server.edge_token.split(".")
    text = [base64.urlsafe_b64decode(p + "=" * (-len(p) % 4)).decode() for p in (head, claims)]
    return json.loads(text[0]), json.loads(text[1])


def sign(head, claims, secret=SECRET):
    """head and claims are dicts or JSON texts: a forger who knows the secret, so that only the rule refuses."""
    text = [p if isinstance(p, str) else json.dumps(p) for p in (head, claims)]
    first = f"{b64(text[0])}.{b64(text[1])}"
    return f"{first}.{b64(hmac.new(secret.encode(), first.encode(), hashlib.sha256).digest())}"


def status_of(server, token):
    return Api(server.port, token).call("GET", "/me").status


def test_a_token_signed_with_the_secret_is_taken(server):
    h, c = parts(server)
    assert status_of(server, sign(h, c)) == 200, "else the refusals below would prove nothing"
    assert status_of(server, sign({**h, "jku": "http://evil.test/k", "x5u": "http://evil.test", "jwk": {"kty": "oct", "k": "AA"}}, c)) in (200, 401)


def test_headers_of_tokens(server):
    h, c = parts(server)
    kid = h["kid"]
    bad = [{**h, "alg": a} for a in ("none", "None", "NONE", "nOnE", "HS384", "HS512", "RS256", "ES256", "PS256", "EdDSA", "hs256", "", None, 256, ["HS256"], True)]
    bad += [{**h, "kid": k} for k in ("../../etc/passwd", "' OR 1=1 --", "", kid + "\u0000", kid.upper() + "x", "/dev/null", kid * 100, None, 7, [kid], " " + kid, kid + "|id")]
    bad += [{**h, "crit": ["exp"]}, {**h, "crit": []}, {**h, "b64": False, "crit": ["b64"]}, {**h, "b64": False}, {**h, "zip": "DEF"}]
    bad += [{k: v for k, v in h.items() if k != "alg"}, {k: v for k, v in h.items() if k != "kid"}, {}]
    text = json.dumps(h)
    bad += [text[:-1] + ', "alg": "none"}', '{"alg": "none", ' + text[1:], text[:-1] + f', "kid": "{kid}"}}', text + " x", "[]", "null", '"HS256"', "", "{",
            "[" * 3000, text.replace("HS256", "HS256\\u0000")]
    for head in bad:
        assert status_of(server, sign(head, c)) in (401, 431), head


def mutations(claims, name, now):
    """30 ways to spoil one claim: absent, twice, and of every wrong type and value."""
    rest = {k: v for k, v in claims.items() if k != name}
    text = json.dumps(claims)
    yield rest
    yield text[:-1] + f", {json.dumps(name)}: {json.dumps(claims[name])}}}"
    yield text[:-1] + f", {json.dumps(name)}: null}}"
    yield {**rest, name.upper(): claims[name]}
    yield {**rest, name + " ": claims[name]}
    yield {**rest, name + "\u0000": claims[name]}
    for wrong in (None, True, False, [], {}, [claims[name]], {"a": claims[name]}):
        yield {**claims, name: wrong}
    if isinstance(claims[name], str):
        for wrong in ("", " ", claims[name] + " ", " " + claims[name], claims[name] + "\u0000", claims[name] + "x", claims[name][:-1], claims[name] * 50,
                      "x", "*", "null", "' OR 1=1 --", "../admin", 0, 1, -1, 1.5, [claims[name], "x"], "\ud83d\ude00"):
            yield {**claims, name: wrong}
    else:
        for wrong in ("", str(claims[name]), "soon", float(claims[name]) + 0.5, 1e300, -1e300, 2**63, -2**63, 2**64, 10**30, -1, 0):
            yield {**claims, name: wrong}
        if name == "exp":
            wrongs = (now - 3600, now - 120, 1, now + 3600 * 24, now + 7300, claims["iat"] + 3601, claims["iat"], claims["iat"] - 1)
        elif name == "iat":
            wrongs = (now + 3600, now + 600, now + 120, now - 3600 * 24, claims["exp"] + 1, claims["exp"], now + 10**6, 1)
        else:
            wrongs = ()
        for wrong in wrongs:
            yield {**claims, name: wrong}


def test_thirty_mutations_of_each_claim(server):
    h, c = parts(server)
    now = int(time.time())
    for name in ("exp", "iat", "iss", "aud", "sub"):
        tried = 0
        for claims in mutations(c, name, now):
            tried += 1
            try:
                token = sign(h, claims)
            except UnicodeEncodeError:
                continue
            status = status_of(server, token)
            assert status in (401, 431), f"{name}: {claims} got {status}"
        assert tried >= 30, f"{name}: only {tried}"
    for nbf in (now + 3600, now + 120, "soon", 1.5, None, -1e300, 10**30, [], True):
        assert status_of(server, sign(h, {**c, "nbf": nbf})) == 401, nbf
    # of no session: one that lives on keeps the tokens that it had before another ended (test_sessions.py)
    for epoch in (c.get("epoch", 0) - 1, "0", None, 1.5, 10**30, []):
        assert status_of(server, sign(h, {**c, "jti": "x", "epoch": epoch})) == 401, epoch


def test_forms_of_tokens(server):
    h, c = parts(server)
    good = sign(h, c)
    a, b, s = good.split(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    # the last character of 32 bytes carries two bits that mean nothing: three other spellings of the same signature
    twins = [s[:-1] + alphabet[alphabet.index(s[-1]) ^ bits] for bits in (1, 2, 3)]
    bad = [a, f"{a}.{b}", f"{a}.{b}.", f".{b}.{s}", f"{a}..{s}", f"{good}.", f".{good}", f"{good}.{s}", f"{a}.{b}.{s}.{s}.{s}", f"{good}=", f"{a}=.{b}.{s}",
           f"{a}.{b}=.{s}", f"{a}.{b}.{s}==", f"{a} .{b}.{s}", f"{a}.{b}.{s[:-1]}", f"{a}.{b}.{s}A", f"{a}.{b}.{s[::-1]}", f"{a}.{b}.{'A' * 43}",
           f"{a}+.{b}.{s}", good.replace("-", "+").replace("_", "/") + "/", f"{b}.{a}.{s}", sign(h, c, SECRET + "x"), sign(h, c, SECRET[:-1]), sign(h, c, "dev-secret"),
           sign(h, {**c, "pad": "x" * 8192})] + [f"{a}.{b}.{t}" for t in twins]
    for token in bad:
        assert status_of(server, token) in (401, 431), token[-80:]
    for header in (good, f"bearer: {good}", f"Basic {good}", f"Bearer  {good} x", "Bearer", f"JWT {good}"):
        assert Api(server.port).call("GET", "/me", headers={"Authorization": header}).status == 401, header[:20]
    assert status_of(server, good) == 200


# ---- fields that a caller may not set -----------------------------------------------------------------------------

def test_mass_assignment_is_refused_and_never_stored(server):
    admin = server.login()
    user = server.register("mallory")
    me = user.get("/me").json
    stolen = {"role": "admin", "is_admin": True, "isAdmin": True, "Role": "admin", "ROLE": "admin", "user_id": "0193a1b2-0000-7000-8000-00000000000a", "id": "root",
              "owner_id": "x", "epoch": 9, "status": "done", "verdict": "OK", "score": 100, "limits": {"time_limit_ms": 10**6}, "image": "evil", "cmd": ["sh"],
              "password_hash": "x", "created_at": "2020-01-01T00:00:00Z", "__proto__": {"role": "admin"}, "constructor": {}, "role ": "admin", "user": {"role": "admin"}}
    calls = [("POST", "/register", {"login": "m%d", "password": "a-long-enough-password"}, ()),
             ("PATCH", f"/users/{me['id']}" if "id" in me else "/users/x", {}, ()),
             ("POST", "/agents", {"id": "agent-%d", "name": "A"}, ("id",)),
             ("POST", "/submissions", {"benchmark_id": "none", "agent_id": "none", "language": "c", "source": "x"}, ()),
             ("POST", "/task", {"translator": "python", "code": "print(1)"}, ())]
    n = 0
    for method, path, body, own in calls:
        for field, value in stolen.items():
            if field in own:
                continue
            n += 1
            full = {k: (v % n if isinstance(v, str) and "%d" in v else v) for k, v in body.items()}
            full[field] = value
            a = user.call(method, path, full)
            assert a.status in (400, 403, 404), (method, path, field, a)
    raw = b'{"login":"dup","password":"a-long-enough-password","role":"user","role":"admin"}'
    assert Api(server.port).call("POST", "/register", raw, headers={"Content-Type": "application/json"}).status == 400
    users = {u["login"]: u["role"] for u in admin.get("/users?limit=100").json["items"]}
    assert users == {"admin": "admin", "mallory": "user"}, users
    for header in ({"X-HTTP-Method-Override": "DELETE"}, {"X-Method-Override": "PUT"}, {"X-Original-URL": "/users"}, {"X-Rewrite-URL": "/users"},
                   {"X-User-Id": "admin"}, {"X-Role": "admin"}):
        assert user.call("GET", "/users", headers=header).status == 403
    for path in ("/users/", "//users", "/./users", "/x/../users", "/users;a=b", "/USERS", "/users%2f", "/users.", "/%75sers/"):
        assert user.call("GET", path).status in (400, 403, 404), path


def test_json_that_eats_memory(server):
    before = resident(server)
    js = {"Content-Type": "application/json"}
    bombs = [b"[" * 100_000, b'{"a":' * 50_000, b'{"login":"' + b"\\u0041" * 9000 + b'"}', b'{"login":' + b"9" * 15_000 + b"}",
             b'{"login":1e' + b"9" * 10_000 + b"}", b"{" + b",".join(b'"k%d":0' % i for i in range(1500)) + b"}",
             b'{"login":"' + b"\xed\xa0\x80" + b'"}', b'\xef\xbb\xbf{"login":"a"}', b'{"login":"a",}', b"{'login':'a'}", b'{"login":"a"}\0', b"\0", b'{"login":NaN}',
             b'{"\\u0000":1}', b'{"login":"\\ud800"}', b'{"login":"a\nb"}', b"// x\n{}", b'{"login":01}', b'{"login":+1}', b'{"login":.5}', b"tru", b'"']
    for body in bombs:
        a = Api(server.port).call("POST", "/login", body, headers=js)
        assert a.status in (400, 413), (body[:40], a)
    assert resident(server) - before < 64 << 20


# ---- proxies ---------------------------------------------------------------------------------------------------------

def test_only_a_listed_proxy_says_who_its_client_is(server):
    for source, header, want in (("127.0.0.1", "6.6.6.6", "127.0.0.1"), ("127.0.0.2", "6.6.6.6, 198.51.100.7", "198.51.100.7")):
        marker = f"proxy-{source.replace('.', '-')}"
        with connect(server, source=source) as s:
            s.sendall(get(f"X-Forwarded-For: {header}\r\nForwarded: for=7.7.7.7\r\nX-Request-Id: {marker}\r\nConnection: close\r\n".encode()))
            assert read_all(s).startswith(b"HTTP/1.1 200 ")
        line = harness.wait_for("the access log", lambda: next((l for l in server.log_text().splitlines() if marker in l), None))
        assert f'"remote":"{want}"' in line.replace(": ", ":") or f"remote={want}" in line, line


def test_cross_origin_calls_from_this_machine_in_development(server):
    pre = {"Origin": "http://localhost:8081", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    a = Api(server.port).call("OPTIONS", "/submissions", headers=pre)
    assert a.status == 204 and a.headers["access-control-allow-origin"] == "http://localhost:8081", a.headers
    assert "POST" in a.headers["access-control-allow-methods"] and "Authorization" in a.headers["access-control-allow-headers"]
    assert int(a.headers["access-control-max-age"]) > 0 and "access-control-allow-credentials" not in a.headers
    assert Api(server.port).call("GET", "/me", headers={"Origin": "http://localhost:8081"}).headers["access-control-allow-origin"], "errors too, or a page cannot read them"
    assert "access-control-allow-origin" not in Api(server.port).call("GET", "/healthz", headers={"Origin": "http://evil.test"}).headers


def test_a_long_body_goes_through_a_file(server):
    admin = server.login()
    big = [{"input": "x" * 700_000 + str(i), "expected_output": "y"} for i in range(4)]
    before = resident(server)
    a = admin.call("POST", "/benchmarks", {"id": "long-body", "name": "Long", "tests": big})
    assert a.status == 201, a
    assert not list((server.data / "run" / "spool").iterdir()), "files of bodies have no names"
    assert resident(server) - before < 64 << 20


def test_the_server_is_unmoved(server):
    assert "child_died" not in server.log_text()
    assert server.login(password=ADMIN_PASSWORD).get("/me").json["login"] == "admin"
    assert server.stop() == 0


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
