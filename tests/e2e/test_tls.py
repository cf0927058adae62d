"""TLS by the server itself: versions, certificates that are replaced under load and kept when the new one is bad, slow and broken
handshakes, large bodies, event streams, and the client, a remote runner and webhooks that trust an authority of one's own."""

import hashlib
import http.client
import http.server
import json
import os
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

from harness import ADMIN_PASSWORD, PREFIX, Server, Skip, free_port, main, program, wait_for

MIB = 1 << 20


class Authority:
    """A private authority, and certificates of it, made with the openssl command."""

    def __init__(self, where, name="Assay test authority"):
        self.dir = pathlib.Path(where)
        self.pem = self.dir / f"{name.split()[-1]}.pem"
        self.key = self.dir / f"{name.split()[-1]}.key"
        self.run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650", "-subj", f"/CN={name}",
                 "-keyout", self.key, "-out", self.pem)

    @staticmethod
    def run(*args, **kw):
        done = subprocess.run(["openssl", *map(str, args)], capture_output=True, text=True, **kw)
        assert done.returncode == 0, done.stderr

    def issue(self, cert, key, days=365, names="DNS:localhost,IP:127.0.0.1", kind=("ec", "-pkeyopt", "ec_paramgen_curve:P-256"), dates=None):
        """Writes a certificate with its chain, and its key; each file appears whole."""
        csr, ext, new = self.dir / "new.csr", self.dir / "new.ext", self.dir / "new"
        self.run("req", "-newkey", *kind, "-nodes", "-subj", "/CN=assay under test", "-keyout", f"{new}.key", "-out", csr)
        ext.write_text(f"subjectAltName={names}\n")
        if dates:  # "openssl x509" knows days only
            db = self.dir / "db"
            db.write_text("")
            (self.dir / "ca.cnf").write_text(f"[ca]\ndefault_ca=d\n[d]\ndatabase={db}\nnew_certs_dir={self.dir}\nrand_serial=yes\npolicy=p\n[p]\ncommonName=supplied\n")
            self.run("ca", "-batch", "-notext", "-config", self.dir / "ca.cnf", "-md", "sha256", "-cert", self.pem, "-keyfile", self.key, "-in", csr,
                     "-extfile", ext, "-startdate", dates[0], "-enddate", dates[1], "-out", f"{new}.pem")
        else:
            self.run("x509", "-req", "-in", csr, "-CA", self.pem, "-CAkey", self.key, "-CAcreateserial", "-days", days, "-extfile", ext,
                     "-out", f"{new}.pem")
        own = pathlib.Path(f"{new}.key")
        own.chmod(0o640)
        if os.geteuid() == 0:
            os.chown(own, 0, 65534)
        with open(f"{new}.pem", "a") as f:
            f.write(self.pem.read_text())
        own.rename(key)
        pathlib.Path(f"{new}.pem").rename(cert)


class TlsServer(Server):
    def __init__(self, env=None, args=(), kind=("ec", "-pkeyopt", "ec_paramgen_curve:P-256"), **kw):
        super().__init__(args=args, **kw)
        self.pki = pathlib.Path(tempfile.mkdtemp(prefix="tls-", dir=self.data.parent))
        self.pki.chmod(0o755)
        self.ca = Authority(self.pki)
        self.cert, self.key = self.pki / "cert.pem", self.pki / "key.pem"
        self.kind = kind
        self.ca.issue(self.cert, self.key, kind=kind)
        self.tls_port = free_port()
        self.env.update({"ASSAY_TLS_CERT_FILE": str(self.cert), "ASSAY_TLS_KEY_FILE": str(self.key), "ASSAY_TLS_PORT": str(self.tls_port),
                         "ASSAY_TLS_ADDRESS": "127.0.0.1",  # not through the proxy that holds answers to the contract
                         **(env or {})})

    @property
    def url(self):
        return f"https://127.0.0.1:{self.tls_port}"

    def context(self, ca=None):
        return ssl.create_default_context(cafile=str(ca or self.ca.pem))

    def connect(self, timeout=20, context=None):
        s = (context or self.context()).wrap_socket(socket.create_connection(("127.0.0.1", self.tls_port), timeout), server_hostname="localhost")
        return s

    def https(self, timeout=30, context=None):
        return http.client.HTTPSConnection("localhost", self.tls_port, timeout=timeout, context=context or self.context())

    def call(self, method, path, body=None, headers=None, connection=None):
        c = connection or self.https()
        c.request(method, path, body=body, headers=headers or {})
        r = c.getresponse()
        answer = r.status, {k.lower(): v for k, v in r.getheaders()}, r.read()
        if connection is None:
            c.close()
        return answer

    def serial(self):
        with self.connect() as s:
            return s.getpeercert()["serialNumber"]

    def failures(self, reason):
        return self.metric(f'assay_tls_handshake_failures_total{{reason="{reason}"}}')

    def reload(self, want):
        before = self.log_text().count(want)
        self.process.send_signal(signal.SIGHUP)
        wait_for(want, lambda: self.log_text().count(want) > before)


def make_server():
    return TlsServer(args=["--boxkeeper=false"], env={"ASSAY_TLS_HSTS": "24h", "ASSAY_HTTP_HEADER_TIMEOUT": "2s", "ASSAY_HTTP_BODY_GRACE": "3s",
                                                      "ASSAY_LOG_FORMAT": "json"})


def read_all(s):
    got = b""
    while True:
        piece = s.recv(65536)
        if not piece:
            return got
        got += piece


# ---- what is spoken -------------------------------------------------------------------------------------


def test_both_listeners_answer_and_each_says_what_it_is(server):
    status, headers, body = server.call("GET", "/healthz")
    assert status == 200 and json.loads(body)["status"] == "ok"
    assert headers["strict-transport-security"] == "max-age=86400", headers
    plain = server.api().get("/healthz")
    assert "strict-transport-security" not in plain.headers, plain.headers
    assert (server.data / "run" / "url").read_text().strip() == f"http://{server.env['ASSAY_HTTP_ADDRESS']}:{server.port}"
    assert (server.data / "run" / "tls_url").read_text().strip() == server.url
    lines = [json.loads(x) for x in server.log_text().splitlines() if '"event":"request"' in x and '"/healthz"' in x]
    assert {x["tls"] for x in lines} == {"1.3", ""}, lines


def test_protocols_and_versions(server):
    context = server.context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with server.connect(context=context) as s:
        assert s.selected_alpn_protocol() == "http/1.1" and s.version() == "TLSv1.3"
    before = server.failures("alpn")
    context = server.context()
    context.set_alpn_protocols(["h2"])
    try:
        server.connect(context=context).close()
        raise AssertionError("h2 alone was taken")
    except ssl.SSLError as e:
        assert "application protocol" in str(e).lower().replace("_", " "), e
    wait_for("the count of it", lambda: server.failures("alpn") == before + 1)
    context = server.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with server.connect(context=context) as s:
        assert s.version() == "TLSv1.2"
    before = server.failures("version")
    old = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{server.tls_port}", "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"],
                         input="", capture_output=True, text=True)
    assert old.returncode != 0 and "alert protocol version" in old.stderr, old.stderr
    wait_for("the count of it", lambda: server.failures("version") == before + 1)


def test_a_least_version_of_1_3_refuses_1_2():
    s = TlsServer(args=["--boxkeeper=false"], env={"ASSAY_TLS_MIN_VERSION": "1.3", "ASSAY_TLS_SESSION_TICKETS": "false"})
    try:
        s.start()
        context = s.context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        try:
            s.connect(context=context).close()
            raise AssertionError("1.2 was taken")
        except ssl.SSLError as e:
            assert "protocol version" in str(e).lower().replace("_", " "), e
        context = s.context()
        with s.connect(context=context) as one:
            one.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert read_all(one).startswith(b"HTTP/1.1 200")
            assert one.session is None or not one.session.has_ticket, "a ticket was given although they are off"
    finally:
        s.close()


def test_sessions_resume(server):
    before = server.metric('assay_tls_handshakes_total{version="1.3",resumed="yes"}')
    context = server.context()
    ask = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    with server.connect(context=context) as one:
        one.sendall(ask)
        read_all(one)
        session = one.session
    s = context.wrap_socket(socket.create_connection(("127.0.0.1", server.tls_port), 20), server_hostname="localhost", session=session)
    with s:
        s.sendall(ask)
        assert s.session_reused and read_all(s).startswith(b"HTTP/1.1 200")
    assert server.metric('assay_tls_handshakes_total{version="1.3",resumed="yes"}') == before + 1


def test_http_without_tls_is_told_and_garbage_is_closed(server):
    before = server.failures("plain_http"), server.failures("not_tls")
    for text in (b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", b"DELETE /x HTTP/1.1\r\nHost: a\r\n\r\n", b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200000):
        with socket.create_connection(("127.0.0.1", server.tls_port), 20) as s:
            s.sendall(text)
            got = read_all(s)
        head, _, body = got.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ") and b"use https://" in body, got
        assert int(re.search(rb"Content-Length: (\d+)", head).group(1)) == len(body), got
    for text in (b"\x00\x01\x02\x03", b"\x80\x2e\x01", b"\xff" * 5000):
        with socket.create_connection(("127.0.0.1", server.tls_port), 20) as s:
            s.sendall(text)
            try:
                assert read_all(s) == b""
            except ConnectionResetError:
                pass
    wait_for("the counts", lambda: (server.failures("plain_http"), server.failures("not_tls")) == (before[0] + 3, before[1] + 3))
    assert server.call("GET", "/healthz")[0] == 200


def test_damaged_handshakes_are_counted_and_harm_nobody(server):
    # a ClientHello, cut at and changed in each of many places
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    hello = server.context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    try:
        hello.do_handshake()
    except ssl.SSLWantReadError:
        pass
    hello = outgoing.read()
    for i in range(1, len(hello), 7):
        for text in (hello[:i], hello[:i] + bytes([hello[i] ^ 0xFF]) + hello[i + 1:]):
            with socket.create_connection(("127.0.0.1", server.tls_port), 20) as s:
                s.sendall(text)
                s.shutdown(socket.SHUT_WR)
                try:
                    read_all(s)
                except ConnectionResetError:
                    pass
    assert server.failures("closed") > 10
    assert server.call("GET", "/healthz")[0] == 200


def test_the_way_a_proxy_says_the_client_came_is_not_taken_from_strangers(server):
    # the upload address of a project is built from the scheme that the client used
    admin = server.login()
    pit = {"id": "tls", "language": "python", "testCommand": "true", "maxTimeoutMs": 1000}
    admin.call("POST", "/pits", pit)
    h = {"Authorization": f"Bearer {admin.token}", "Content-Type": "application/json"}
    body = json.dumps({"pitId": "tls"})
    status, _, over = server.call("POST", "/submissions/request-upload", body, h)
    assert status in (200, 201) and json.loads(over)["uploadUrl"].startswith("https://localhost:"), (status, over)
    plain = admin.post("/submissions/request-upload", {"pitId": "tls"}, headers={"X-Forwarded-Proto": "https"}).json
    assert plain["uploadUrl"].startswith("http://"), plain


# ---- what the front promises holds over TLS -----------------------------------------------------------------


def test_pipelined_requests_and_both_ways_to_close(server):
    ask = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    with server.connect() as s:
        s.sendall(ask * 500 + ask.replace(b"Host", b"Connection: close\r\nHost"))
        got = read_all(s)  # an end without close_notify would be an error here
    assert got.count(b"HTTP/1.1 200 OK") == 501, got.count(b"HTTP/1.1 200")
    # the client says that it is done, and still gets what it asked for
    for goodbye in ("close_notify", "fin"):
        c = server.context()
        raw = socket.create_connection(("127.0.0.1", server.tls_port), 20)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        t = c.wrap_bio(incoming, outgoing, server_hostname="localhost")

        def step(f):
            while True:
                try:
                    return f()
                except ssl.SSLWantReadError:
                    raw.sendall(outgoing.read())
                    piece = raw.recv(65536)
                    if piece:
                        incoming.write(piece)
                    else:
                        incoming.write_eof()

        step(t.do_handshake)
        t.write(ask * 3)
        raw.sendall(outgoing.read())
        if goodbye == "close_notify":
            try:
                t.unwrap()
            except ssl.SSLWantReadError:
                pass
            raw.sendall(outgoing.read())
        else:
            raw.shutdown(socket.SHUT_WR)
        sealed = read_all(raw)
        raw.close()
        assert len(sealed) > 3 * 300, (goodbye, len(sealed))  # three answers, sealed
        if goodbye == "fin":
            incoming.write(sealed)
            got = b""
            try:
                while True:
                    piece = t.read(65536)
                    if not piece:
                        break
                    got += piece
            except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
                pass
            assert got.count(b"HTTP/1.1 200 OK") == 3, got


def test_the_body_is_asked_for_and_slow_ones_are_ended(server):
    token = server.login().token
    head = f"POST /agents HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: 20\r\n"
    with server.connect() as s:
        s.sendall((head + "Expect: 100-continue\r\n\r\n").encode())
        assert s.recv(1000).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        s.sendall(b'{"id":"e","name":"E"')
        assert s.recv(4000).startswith(b"HTTP/1.1 4")
    began = time.monotonic()
    with server.connect() as s:
        s.sendall((head + "\r\n").encode() + b"{")
        got = read_all(s)
    assert got.startswith(b"HTTP/1.1 408 ") and time.monotonic() - began < 20, got
    with server.connect() as s:
        s.sendall(b"GET /healthz HTTP/1.1\r\nHos")
        got = read_all(s)
    assert got.startswith(b"HTTP/1.1 408 "), got


def test_slow_handshakes_end_in_time_and_honest_requests_are_answered(server):
    before = server.failures("timeout"), server.metric("assay_http_timeouts_total")
    slow = [socket.create_connection(("127.0.0.1", server.tls_port), 20) for _ in range(300)]
    began = time.monotonic()
    try:
        drip = True
        worst = 0
        while time.monotonic() - began < 1.5:
            for i, s in enumerate(slow):  # a third says nothing, a third a byte, a third a byte now and then
                if i % 3 == 1 and drip or i % 3 == 2:
                    s.send(b"\x16" if drip else b"\x03")
            drip = False
            at = time.monotonic()
            assert server.call("GET", "/healthz")[0] == 200
            worst = max(worst, time.monotonic() - at)
            time.sleep(0.2)
        wait_for("all of them to be ended", lambda: server.failures("timeout") >= before[0] + 300, timeout=20)
        assert server.metric("assay_http_timeouts_total") >= before[1] + 300
        for s in slow:
            s.settimeout(5)
            try:
                assert s.recv(100) == b""
            except ConnectionResetError:
                pass
    finally:
        for s in slow:
            s.close()
    assert worst < 5, worst


def test_event_streams(server):
    admin = server.login()
    with server.connect() as s:
        s.sendall(f"GET /events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {admin.token}\r\n\r\n".encode())
        got = s.recv(65536)
        assert got.startswith(b"HTTP/1.1 200 OK") and b"text/event-stream" in got, got
        if admin.call("GET", "/benchmarks/sum-integers").status == 404:
            server.demo(admin)
        sid = admin.post("/submissions", {"benchmark_id": "sum-integers", "agent_id": "ada", "language": "c", "source": program("right.c")}).json["id"]
        end = time.monotonic() + 20
        while sid.encode() not in got and time.monotonic() < end:
            got += s.recv(65536)
        assert sid.encode() in got, got


def test_64_mib_up_and_down_and_a_reader_that_takes_its_time():
    s = TlsServer(args=["--boxkeeper=false"], env={"ASSAY_BLOB_DRIVER": "fs"})
    try:
        s.start()
        admin = s.login()
        pit = {"id": "big", "language": "python", "testCommand": "true", "maxTimeoutMs": 1000}
        admin.call("POST", "/pits", pit)
        # a ZIP of one stored file: what is noise stays as long as it is
        import io
        import zipfile
        noise = os.urandom(49 * MIB)
        z = io.BytesIO()
        with zipfile.ZipFile(z, "w", zipfile.ZIP_STORED) as f:
            f.writestr("a.bin", noise)
        h = {"Authorization": f"Bearer {admin.token}", "Content-Type": "application/json"}
        status, _, up = s.call("POST", "/submissions/request-upload", json.dumps({"pitId": "big"}), h)
        assert status in (200, 201), up
        where = json.loads(up)["uploadUrl"]
        assert where.startswith("https://localhost:"), where
        path = "/" + where.split("/", 3)[3]
        status, _, said = s.call("PUT", path, z.getvalue(), {"Content-Type": "application/zip"})
        assert status in (200, 201, 204), said
        # the contract is some 400 kB: asked for often on one connection by somebody who reads late, it waits in the server's memory
        one = s.api().get("/swagger.json").body
        digest = hashlib.sha256(one).digest()
        with s.connect(timeout=60) as c:
            times = 64 * MIB // len(one) + 1
            ask = b"GET /swagger.json HTTP/1.1\r\nHost: a\r\n\r\n"
            c.sendall(ask * (times - 1) + ask.replace(b"Host", b"Connection: close\r\nHost"))
            time.sleep(1)
            got = bytearray()
            while True:
                piece = c.recv(1 << 20)
                if not piece:
                    break
                got += piece
        at = n = 0
        while at < len(got):
            end = got.index(b"\r\n\r\n", at) + 4
            assert got[at:at + 15] == b"HTTP/1.1 200 OK", bytes(got[at:at + 100])
            assert hashlib.sha256(got[end:end + len(one)]).digest() == digest, n
            at, n = end + len(one), n + 1
        assert n == times, (n, times)
    finally:
        s.close()


def test_connections_over_the_bound_are_closed_and_counted():
    s = TlsServer(args=["--boxkeeper=false"], env={"ASSAY_HTTP_CONNECTIONS_MAX": "20"})
    try:
        s.start()
        held = [s.connect() for _ in range(15)]
        more = [socket.create_connection(("127.0.0.1", s.tls_port), 20) for _ in range(10)]
        wait_for("some to be refused", lambda: sum(1 for x in more if refused(x)) >= 5)
        for x in held + more:
            x.close()
        wait_for("an answer again", lambda: answers(s))
        assert s.metric("assay_http_connections_refused_total") >= 5
    finally:
        s.close()


def refused(s):
    s.settimeout(0.2)
    try:
        return s.recv(10) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


def answers(s):
    try:
        return s.call("GET", "/healthz")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


# ---- the certificate is replaced ------------------------------------------------------------------------------


class Load:
    """Requests without end on connections that are kept and on new ones; what went wrong is kept."""

    def __init__(self, server, n=6):
        self.server, self.stop, self.faults, self.done, self.lock = server, False, [], 0, threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(i % 2 == 0,)) for i in range(n)]
        for t in self.threads:
            t.start()

    def run(self, kept):
        context = self.server.context()
        c = None
        while not self.stop:
            try:
                if c is None:
                    c = self.server.https(context=context)
                assert self.server.call("GET", "/healthz", connection=c)[0] == 200
                if not kept:
                    c.close()
                    c = None
                with self.lock:
                    self.done += 1
            except Exception as e:  # noqa: B902 - whatever it is, it is a fault
                self.faults.append(repr(e))
                c = None

    def end(self):
        self.stop = True
        for t in self.threads:
            t.join()
        return self.faults


def test_a_new_certificate_under_load_without_a_failed_request(server):
    load = Load(server)
    serials = [server.serial()]
    with server.connect() as before:
        before.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert before.recv(65536).startswith(b"HTTP/1.1 200")
        for _ in range(5):
            server.ca.issue(server.cert, server.key)
            server.reload("tls_certificate_replaced")
            serials.append(server.serial())
        assert before.getpeercert()["serialNumber"] == serials[0]
        before.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        try:
            assert read_all(before).startswith(b"HTTP/1.1 200"), "who was connected before is served on"
        except (ssl.SSLEOFError, ConnectionResetError) as e:
            raise AssertionError(f"the reload ended a connection: {e!r}") from e
    time.sleep(0.5)
    faults = load.end()
    assert not faults, faults[:5]
    assert len(set(serials)) == 6 and load.done > 100, (serials, load.done)
    assert server.metric('assay_tls_certificate_reloads_total{result="ok"}') >= 5
    server.reload("tls_certificate_unchanged")


def test_a_bad_new_certificate_keeps_the_old_one_and_says_so(server):
    good = server.cert.read_bytes(), server.key.read_bytes()
    serial, ends = server.serial(), server.metric("assay_tls_certificate_expiry_timestamp_seconds")
    other = Authority(server.pki, "Another other")
    cert, key = server.pki / "x.pem", server.pki / "x.key"
    other.issue(cert, key)
    other.issue(server.pki / "old.pem", server.pki / "old.key", dates=("20200101000000Z", "20210101000000Z"))
    Authority.run("pkey", "-in", key, "-aes256", "-passout", "pass:secret", "-out", server.pki / "locked.key")
    bad = {
        "does not belong to the certificate": (cert.read_bytes(), good[1]),
        "holds no certificate": (b"nothing\n", good[1]),
        "holds no private key": (good[0], b"nothing\n"),
        "is damaged": (good[0] + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", good[1]),
        "has a passphrase": (cert.read_bytes(), (server.pki / "locked.key").read_bytes()),
        "has ended": ((server.pki / "old.pem").read_bytes(), (server.pki / "old.key").read_bytes()),
        "has 0 bytes": (b"", good[1]),
    }
    failed = 0
    for why, (c, k) in bad.items():
        server.cert.write_bytes(c)
        server.key.write_bytes(k)
        server.reload("tls_certificate_not_reloaded")
        failed += 1
        line = [x for x in server.log_text().splitlines() if "tls_certificate_not_reloaded" in x][-1]
        assert why in line and '"error"' in line, (why, line)
        assert server.serial() == serial, why
    server.cert.unlink()
    server.reload("tls_certificate_not_reloaded")
    assert "No such file" in server.log_text()
    assert server.serial() == serial and server.metric("assay_tls_certificate_expiry_timestamp_seconds") == ends
    assert server.metric('assay_tls_certificate_reloads_total{result="failed"}') >= failed + 1
    server.cert.write_bytes(good[0])
    server.key.write_bytes(good[1])
    server.reload("tls_certificate_unchanged")
    assert server.call("GET", "/healthz")[0] == 200


def test_a_key_that_the_server_may_not_read_is_said_with_what_to_do():
    if os.geteuid() != 0:
        raise Skip("needs root: the server becomes another user")
    s = TlsServer(args=["--boxkeeper=false"])
    try:
        s.key.chmod(0o600)
        os.chown(s.key, 0, 0)
        s.spawn()
        assert s.process.wait(60) == 78
        log = s.log_text()
        assert "may not read" in log and "chgrp" in log and "tls_key_file" in log, log[-1500:]
        s.key.chmod(0o644)
        s.start()
        assert "tls_key_exposed" in s.log_text()
        assert answers(s)
    finally:
        s.close()


def test_what_cannot_be_is_refused_before_anything_runs():
    s = TlsServer(args=["--boxkeeper=false"])
    try:
        whole = dict(s.env)
        for change, words in (({"ASSAY_TLS_KEY_FILE": ""}, "tls_key_file is not"), ({"ASSAY_TLS_CERT_FILE": ""}, "tls_cert_file is not"),
                              ({"ASSAY_TLS_CERT_FILE": "", "ASSAY_TLS_KEY_FILE": "", "ASSAY_HTTP_PLAIN": "false"}, "there is no TLS either"),
                              ({"ASSAY_TLS_PORT": str(s.port)}, "give TLS another port"), ({"ASSAY_TLS_MIN_VERSION": "1.1"}, "1.2|1.3"),
                              ({"ASSAY_TLS_CERT_FILE": "/nowhere/cert.pem"}, "/nowhere/cert.pem"), ({"ASSAY_TLS_ADDRESS": "example.org"}, "is not an IP address")):
            s.env = {**whole, **change}
            if change.get("ASSAY_TLS_PORT"):
                s.env["HTTP_PORT"] = change["ASSAY_TLS_PORT"]
            before = len(s.log_text())
            s.spawn()
            assert s.process.wait(60) == 78, change
            assert words in s.log_text()[before:], (change, s.log_text()[before:][-800:])
    finally:
        s.close()


def test_tls_alone_and_a_kill_of_the_server():
    s = TlsServer(args=["--boxkeeper=false"], env={"ASSAY_HTTP_PLAIN": "false"}, kind=("rsa:2048",))
    try:
        s.spawn()
        wait_for("an answer over TLS", lambda: answers(s), timeout=60)
        assert (s.data / "run" / "url").read_text().strip() == s.url
        with socket.socket() as plain:
            assert plain.connect_ex((s.env["ASSAY_HTTP_ADDRESS"], s.port)) != 0, "plain HTTP is spoken although it is off"
        for _ in range(3):
            pid = s.children()["server"]
            os.kill(pid, signal.SIGKILL)
            wait_for("the next server", lambda: s.children().get("server") not in (None, pid) and answers(s), timeout=60)
        # an ended certificate is told, and does not keep the server down
        s.ca.issue(s.cert, s.key, dates=("20200101000000Z", "20210101000000Z"))
        pid = s.children()["server"]
        os.kill(pid, signal.SIGKILL)
        wait_for("it to say so", lambda: "tls_certificate_ended" in s.log_text(), timeout=60)
        context = s.context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        wait_for("an answer all the same", lambda: quiet(lambda: s.connect(context=context).close() or True), timeout=30)
        s.ca.issue(s.cert, s.key)
        s.reload("tls_certificate_replaced")
        assert answers(s)
        assert s.stop() == 0
    finally:
        s.close()


def quiet(f):
    try:
        return f()
    except OSError:
        return False


def test_a_stop_lets_requests_end(server):
    s = TlsServer(args=["--boxkeeper=false"])
    try:
        s.start()
        token = s.login().token
        idle, half = s.connect(), s.connect()
        half.sendall(f"POST /agents HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: 21\r\n\r\n".encode())
        half.sendall(b'{"id":"e"')
        time.sleep(0.5)
        s.process.send_signal(signal.SIGTERM)
        assert read_all(idle) == b""  # close_notify, not a cut
        half.sendall(b',"name":"E"}')
        got = read_all(half)
        assert got.startswith(b"HTTP/1.1 201 ") and b"Connection: close" in got, got
        assert s.process.wait(40) == 0
    finally:
        s.close()


def test_sockets_of_systemd():
    s = TlsServer(args=["--boxkeeper=false"])
    held = []
    try:
        for where in ((s.env["ASSAY_HTTP_ADDRESS"], s.port), ("127.0.0.1", s.tls_port)):
            x = socket.socket()
            x.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            x.bind(where)
            x.listen(64)
            held.append(x)
        s.env["ASSAY_TLS_PORT"], s.env["HTTP_PORT"] = "1", "2"  # say nothing then
        shell = ("import os, sys\n"
                 f"os.dup2({held[0].fileno()}, 3 + 20); os.dup2({held[1].fileno()}, 4 + 20)\n"
                 "os.dup2(23, 3); os.dup2(24, 4)\n"
                 "[os.set_inheritable(f, True) for f in (3, 4)]\n"
                 "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='2', LISTEN_FDNAMES='http:tls')\n"
                 "os.execv(sys.argv[1], sys.argv[1:])\n")
        for x in held:
            x.set_inheritable(True)
        log = open(s.log_path, "ab")
        s.process = subprocess.Popen([sys.executable, "-c", shell, str(PREFIX / "bin" / "assayd"), *s.args], env=s.env, close_fds=False,
                                     stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for("an answer over TLS", lambda: answers(s), timeout=60)
        c = http.client.HTTPConnection(s.env["ASSAY_HTTP_ADDRESS"], s.port, timeout=20)
        c.request("GET", "/healthz")
        assert c.getresponse().status == 200
        c.close()
    finally:
        s.close()
        for x in held:
            x.close()


# ---- doctor, client, runner, webhooks ------------------------------------------------------------------------


def doctor(s, **env):
    done = subprocess.run([str(PREFIX / "bin" / "assayd"), "--doctor=json", "--boxkeeper=false"], env={**s.env, **env}, capture_output=True, text=True, timeout=120)
    return {c["name"]: c for c in json.loads(done.stdout)["checks"]}


def test_the_doctor_looks_at_the_certificate():
    s = TlsServer()
    try:
        c = doctor(s)["TLS"]
        assert c["status"] == "ok" and "DNS:localhost" in c["detail"], c
        c = doctor(s, ASSAY_PUBLIC_URL="https://assay.example.org")["TLS name"]
        assert c["status"] == "note" and "assay.example.org" in c["detail"] and c["remedy"], c
        assert doctor(s, ASSAY_PUBLIC_URL=f"https://localhost:{s.tls_port}")["TLS name"]["status"] == "ok"
        s.key.chmod(0o644)
        assert doctor(s)["TLS key"]["status"] == "note"
        s.key.chmod(0o600)
        if os.geteuid() == 0:
            os.chown(s.key, 0, 0)
            assert doctor(s)["TLS"]["status"] == "missing" and "may not read" in doctor(s)["TLS"]["detail"]
            os.chown(s.key, 0, 65534)
        s.key.chmod(0o640)
        s.ca.issue(s.cert, s.key, days=5)
        c = doctor(s)["TLS"]
        assert c["status"] == "note" and "renew" in c["remedy"], c
        s.ca.issue(s.cert, s.key, dates=("20200101000000Z", "20210101000000Z"))
        c = doctor(s)["TLS"]
        assert c["status"] == "missing" and "ended" in c["detail"], c
        s.ca.issue(s.pki / "x.pem", s.key)
        assert "does not belong" in doctor(s)["TLS"]["detail"]
        s.cert.unlink()
        assert "No such file" in doctor(s)["TLS"]["detail"]
    finally:
        s.close()


def client(s, *args, **env):
    return subprocess.run([str(PREFIX / "bin" / "assay"), *args], capture_output=True, text=True, timeout=120,
                          env={"PATH": "/usr/bin:/bin", "HOME": str(s.pki), "ASSAY_URL": s.url, "ASSAY_PASSWORD": ADMIN_PASSWORD, **env})


def test_the_client_trusts_whom_it_is_told_to(server):
    bad = client(server, "login", "admin")
    assert bad.returncode == 9 and "not to be trusted" in bad.stderr and "--ca FILE" in bad.stderr, bad
    assert client(server, "status").stderr.count("assay:") <= 1, client(server, "status")
    assert "cannot read" in client(server, "status", "--ca", "/nowhere.pem").stderr
    other = Authority(server.pki, "Stranger strange")
    assert "not to be trusted" in client(server, "status", "--ca", str(other.pem)).stderr
    ok = client(server, "status", "--ca", str(server.ca.pem))
    assert ok.returncode == 0, ok
    ok = client(server, "--ca", str(server.ca.pem), "login", "admin")
    assert ok.returncode == 0, ok
    # signed in, the file is remembered with the address
    ok = client(server, "benchmarks", ASSAY_URL="")
    assert ok.returncode == 0, ok
    # ... and belongs to it alone
    assert "not to be trusted" in client(server, "status", "--url", server.url.replace("127.0.0.1", "localhost")).stderr
    ok = client(server, "status", ASSAY_CA=str(server.ca.pem), ASSAY_URL=server.url.replace("127.0.0.1", "localhost"))
    assert ok.returncode == 0, ok
    wrong = client(server, "status", ASSAY_URL=server.url.replace("https:", "http:"))
    assert wrong.returncode != 0, wrong


def test_a_remote_runner_over_tls():
    s = TlsServer(args=["--boxkeeper=false"])
    worker = None
    try:
        s.start()
        admin = s.login()
        s.demo(admin)
        admin.post("/agents", {"id": "w", "name": "w"}, expect=201)
        token = admin.post("/agents/w/tokens", {"scopes": ["jobs:lease", "results:write"]}, expect=201).json["token"]
        worker = Server(args=["--only", "runner", "--gateway", s.url], name="worker",
                        env={"ASSAY_GATEWAY_AGENT": "w", "ASSAY_AGENT_TOKEN": token, "RUNNER_MAX_PARALLEL": "1"})
        worker.spawn()
        wait_for("the runner to say whom it does not trust", lambda: "name its authority's file in gateway_ca" in worker.log_text(), timeout=60)
        worker.stop()
        worker.env["ASSAY_GATEWAY_CA"] = str(s.ca.pem)
        worker.start()
        # one with its events read by the client over TLS, while the certificate is replaced
        sid = admin.post("/submissions", {"benchmark_id": "sum-integers", "agent_id": "ada", "language": "c", "source": program("right.c")}).json["id"]
        s.ca.issue(s.cert, s.key)
        s.reload("tls_certificate_replaced")
        assert s.wait_done(admin, sid, timeout=180)["verdict"] == "OK"
        shown = client(s, "submit", "-b", "sum-integers", "-a", "ada", "-l", "c", "--watch", str(pathlib.Path(__file__).resolve().parents[2] / "fixtures/demo/programs/right.c"),
                       ASSAY_TOKEN=admin.token, ASSAY_CA=str(s.ca.pem))
        assert shown.returncode == 0 and "OK" in shown.stdout, shown
    finally:
        if worker:
            worker.close()
        s.close()


def test_a_webhook_to_a_receiver_with_a_certificate_of_the_same_authority():
    s = TlsServer(env={"ASSAY_WEBHOOK_ALLOW": "127.0.0.1", "ASSAY_WEBHOOK_PAUSE": "100ms", "ASSAY_WEBHOOK_PAUSE_MAX": "400ms"})
    got = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):  # noqa: N802
            got.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args):
            pass

    receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    try:
        s.ca.issue(s.pki / "r.pem", s.pki / "r.key")
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        c.load_cert_chain(s.pki / "r.pem", s.pki / "r.key")
        receiver.socket = c.wrap_socket(receiver.socket, server_side=True)
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        s.env["ASSAY_WEBHOOK_CA_FILE"] = str(s.ca.pem)
        s.start()
        admin = s.login()
        s.demo(admin)
        admin.post("/webhooks", {"url": f"https://127.0.0.1:{receiver.server_address[1]}/hook", "benchmark_id": "sum-integers"}, expect=201)
        admin.post("/submissions", {"benchmark_id": "sum-integers", "agent_id": "ada", "language": "c", "source": program("right.c")})
        wait_for("the receiver to be told", lambda: got, timeout=30)
    finally:
        receiver.shutdown()
        s.close()


if __name__ == "__main__":
    main(sys.modules["__main__"])
