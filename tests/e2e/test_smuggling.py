"""Request smuggling: two servers in a row that disagree where a request ends.

assayd stands behind nginx, and behind haproxy, each with connections to it that are kept and shared by all clients.  Raw
bytes of each known kind go in at the front.  Each hides a request for /smuggled in what may be a body.  The proxy marks every
request that it forwards, so one for /smuggled without that mark was seen by assayd alone: the two have disagreed.  And
whoever asks next through the same connections must get the answer to his own question.
"""

import json
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import harness
from harness import Server, Skip, free_port, wait_for

HIDDEN = b"GET /smuggled HTTP/1.1\r\nHost: x\r\nX-Request-Id: evil\r\n\r\n"
CHUNK = b"%x\r\n%s\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)


def post(*headers, body=HIDDEN, path=b"/login", version=b"HTTP/1.1", line=b"\r\n"):
    return line.join([b"POST " + path + b" " + version, b"Host: x", b"Content-Type: application/json", *headers, b"", b""]) + body


def both(te, cl=4, body=None):
    """Transfer-Encoding as te beside a Content-Length."""
    return post(b"Content-Length: %d" % cl, te, body=b"0\r\n\r\n" + HIDDEN if body is None else body)


N = b"Content-Length: %d" % len(HIDDEN)
TE = b"Transfer-Encoding: chunked"
CASES = {
    "length before chunked": both(TE), "chunked before length": post(TE, b"Content-Length: 4", body=b"0\r\n\r\n" + HIDDEN),
    "chunked, length of all": both(TE, len(CHUNK), CHUNK), "chunked, length short": both(TE, 6, b"0\r\n\r\nX" + HIDDEN),
    "space before the colon": both(b"Transfer-Encoding : chunked"), "tab before the colon": both(b"Transfer-Encoding\t: chunked"),
    "vertical tab in the value": both(b"Transfer-Encoding: \x0bchunked"), "form feed behind": both(b"Transfer-Encoding: chunked\x0c"),
    "tab before the value": both(b"Transfer-Encoding:\tchunked"), "no space": both(b"Transfer-Encoding:chunked"),
    "quoted": both(b'Transfer-Encoding: "chunked"'), "upper case": both(b"TRANSFER-ENCODING: CHUNKED"),
    "unknown coding": both(b"Transfer-Encoding: xchunked"), "chunked, then identity": both(b"Transfer-Encoding: chunked, identity"),
    "identity, then chunked": both(b"Transfer-Encoding: identity, chunked"), "chunked twice": both(b"Transfer-Encoding: chunked, chunked"),
    "two headers": both(b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked"), "empty coding": both(b"Transfer-Encoding: ,chunked"),
    "semicolon": both(b"Transfer-Encoding: chunked;q=1"), "folded": both(b"Transfer-Encoding:\r\n chunked"), "folded name": both(b"X: y\r\n Transfer-Encoding: chunked"),
    "underscore": both(b"Transfer_Encoding: chunked"), "NUL in the name": both(b"Transfer-Encoding\0: chunked"), "NUL in the value": both(b"Transfer-Encoding: chunked\0"),
    "bare CR": both(b"X: y\rTransfer-Encoding: chunked"), "bare LF": both(b"X: y\nTransfer-Encoding: chunked"), "high byte": both(b"Transfer-Encoding: \xffchunked"),
    "trailing comma": both(b"Transfer-Encoding: chunked,"), "named hop by hop": post(N, b"Connection: Content-Length"),
    "hop by hop chunked": post(TE, b"Connection: Transfer-Encoding", body=CHUNK),
    "two lengths": post(b"Content-Length: 0", N), "two lengths, other order": post(N, b"Content-Length: 0"),
    "a list of lengths": post(b"Content-Length: 0, %d" % len(HIDDEN)), "plus": post(b"Content-Length: +%d" % len(HIDDEN)),
    "minus": post(b"Content-Length: -1"), "hexadecimal": post(b"Content-Length: 0x%x" % len(HIDDEN)), "leading zeros": post(b"Content-Length: 000"),
    "space inside": post(b"Content-Length: 0 1"), "empty length": post(b"Content-Length:"), "a fraction": post(b"Content-Length: 0.0"),
    "an exponent": post(b"Content-Length: 0e1"), "too large": post(b"Content-Length: 18446744073709551616"), "length with a NUL": post(b"Content-Length: 0\0%d" % len(HIDDEN)),
    "length, space before the colon": post(b"Content-Length : %d" % len(HIDDEN)), "length after a bare LF": post(b"X: y\nContent-Length: %d" % len(HIDDEN)),
    "chunk size in 0x": post(TE, body=b"0x0\r\n\r\n" + HIDDEN), "chunk size too large": post(TE, body=b"10000000000000000\r\n" + HIDDEN),
    "chunk size with a sign": post(TE, body=b"+0\r\n\r\n" + HIDDEN), "chunk size with a space": post(TE, body=b"0 \r\n\r\n" + HIDDEN),
    "chunk size, bare LF": post(TE, body=b"0\n\n" + HIDDEN), "chunk size, bare CR": post(TE, body=b"0\r\r" + HIDDEN),
    "chunk extension": post(TE, body=b"0;a=b\r\n\r\n" + HIDDEN), "chunk extension with a bare LF": post(TE, body=b"5;a\nX\r\n0\r\n\r\n" + HIDDEN),
    "no CRLF behind a chunk": post(TE, body=b"1\r\nAXX0\r\n\r\n" + HIDDEN), "a length among the trailers": post(TE, body=b"0\r\nContent-Length: 5\r\n\r\n" + HIDDEN),
    "a coding among the trailers": post(TE, body=b"0\r\nTransfer-Encoding: chunked\r\n\r\n" + HIDDEN), "an empty chunk size": post(TE, body=b"\r\n0\r\n\r\n" + HIDDEN),
    "HTTP/1.0 and chunked": post(TE, b"Connection: keep-alive", body=b"0\r\n\r\n" + HIDDEN, version=b"HTTP/1.0"),
    "HTTP/1.2": post(N, version=b"HTTP/1.2"), "HTTP/0.9": b"GET /healthz\r\n" + HIDDEN, "no version": b"GET /healthz \r\nHost: x\r\n\r\n" + HIDDEN,
    "line ends LF": post(b"Content-Length: 0", line=b"\n"), "line ends CR": post(b"Content-Length: 0", line=b"\r"),
    "a body on GET": b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + N + b"\r\n\r\n" + HIDDEN,
    "a chunked body on GET": b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + TE + b"\r\n\r\n" + CHUNK,
    "a body on HEAD": b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n" + N + b"\r\n\r\n" + HIDDEN,
    "a body on a path that is not there": post(N, path=b"/nowhere"), "a body that is refused": post(N, path=b"/me"),
    "a body too long": post(b"Content-Length: 999999", path=b"/login"), "expects 100": post(N, b"Expect: 100-continue"),
    "expects something else": post(N, b"Expect: 200-ok"), "upgrade": post(N, b"Connection: Upgrade", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),
    "upgrade to websocket": b"GET /events HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n" + HIDDEN,
    "CONNECT": b"CONNECT /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + HIDDEN, "TRACE with a body": b"TRACE /healthz HTTP/1.1\r\nHost: x\r\n" + N + b"\r\n\r\n" + HIDDEN,
    "line end in the target": b"GET /healthz%0d%0aHost:x HTTP/1.1\r\nHost: x\r\n" + N + b"\r\n\r\n" + HIDDEN,
    "two hosts": post(b"Host: y", N), "absolute target": b"POST http://x/login HTTP/1.1\r\nHost: y\r\n" + N + b"\r\n\r\n" + HIDDEN,
    "space in the method": b"GET  /healthz HTTP/1.1\r\nHost: x\r\n" + N + b"\r\n\r\n" + HIDDEN,
    "a header without a colon": post(b"Content-Length 0", N), "a first header with a space": b"POST /login HTTP/1.1\r\n Content-Length: 0\r\nHost: x\r\n" + N + b"\r\n\r\n" + HIDDEN,
    "an empty name": post(b": 0", N), "many lengths": post(*[N] * 50), "a very long length": post(b"Content-Length: " + b"0" * 5000 + b"1"),
}


def nginx(listen, upstream, folder):
    if not shutil.which("nginx", path="/usr/sbin:/usr/bin"):
        raise Skip("nginx is not installed")
    (folder / "nginx.conf").write_text(f"""
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream assay {{ server 127.0.0.1:{upstream}; keepalive 1; }}
  server {{
    listen 127.0.0.1:{listen};
    underscores_in_headers on;
    location / {{
      proxy_pass http://assay; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_request_buffering off;
      proxy_set_header X-Request-Id px-$request_id;
    }}
  }}
}}
""")
    return ["/usr/sbin/nginx", "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]


def haproxy(listen, upstream, folder):
    if not shutil.which("haproxy", path="/usr/sbin:/usr/bin"):
        raise Skip("haproxy is not installed")
    (folder / "haproxy.cfg").write_text(f"""
global
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 10s
  timeout server 10s
  http-reuse always
frontend front
  bind 127.0.0.1:{listen}
  http-request set-header X-Request-Id px-%[uuid()]
  default_backend assay
backend assay
  server one 127.0.0.1:{upstream} maxconn 1 pool-max-conn 1
""")
    return ["/usr/sbin/haproxy", "-db", "-f", str(folder / "haproxy.cfg")]


def send_raw(port, data):
    """Sends, and reads until the other side ends or says nothing more."""
    with socket.create_connection(("127.0.0.1", port), 10) as s:
        s.settimeout(0.25)
        got = b""
        try:
            s.sendall(data)
            while True:
                piece = s.recv(65536)
                if not piece:
                    break
                got += piece
        except OSError:
            pass
        return got


def requests_of(text, path):
    """Ids of the requests for a path in the server's log."""
    out = []
    for line in text.splitlines():
        if f'"{path}"' in line and "request_id" in line:
            out.append(json.loads(line)["request_id"])
    return out


def behind(make):
    server = Server(env={"ASSAY_LOG_FORMAT": "json"})
    folder = pathlib.Path(tempfile.mkdtemp(prefix="assay-proxy-", dir="/var/tmp"))
    folder.chmod(0o755)
    proxy = None
    try:
        port = free_port()
        argv = make(port, server.port, folder)
        server.start()
        with open(folder / "out", "wb") as out:
            proxy = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out)

        def up():
            assert proxy.poll() is None, (folder / "out").read_text()
            try:
                return harness.Api(port, timeout=2).call("GET", "/healthz").status == 200
            except OSError:
                return False
        wait_for("the proxy", up)
        marked = requests_of(server.log_text(), "/healthz")
        assert any(i.startswith("px-") for i in marked), "the proxy marks nothing"
        # the test would see it: what is sent past the proxy has no mark
        send_raw(server.port, HIDDEN)
        wait_for("the canary", lambda: "evil" in requests_of(server.log_text(), "/smuggled"), 10)
        seen, wrong = server.log_text().count('"/smuggled"'), []
        assert seen == 1
        for name, data in CASES.items():
            send_raw(port, data)
            for i in range(3):
                path = f"/honest-{i}-{re.sub('[^a-z0-9]', '-', name.lower())}"
                a = harness.Api(port, timeout=15).call("GET", path)
                if a.status != 404 or a.json.get("instance") != path:
                    wrong.append(f"{name}: {path} got {a}")
        time.sleep(0.3)
        unmarked = [i for i in requests_of(server.log_text(), "/smuggled") if not i.startswith("px-")]
        if unmarked != ["evil"]:
            wrong.append(f"{len(unmarked) - 1} hidden requests were taken for requests: {unmarked}")
        assert not wrong, "\n".join(wrong)
        assert server.process.poll() is None and proxy.poll() is None
        print(f"# {len(CASES)} cases, none desynchronises", flush=True)
    finally:
        if proxy:
            proxy.terminate()
            try:
                proxy.wait(10)
            except subprocess.TimeoutExpired:
                proxy.kill()
                proxy.wait()
        server.close()
        shutil.rmtree(folder, ignore_errors=True)


def test_behind_nginx_nothing_desynchronises():
    behind(nginx)


def test_behind_haproxy_nothing_desynchronises():
    behind(haproxy)


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
