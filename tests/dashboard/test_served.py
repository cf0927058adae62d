"""How the pages are served: from memory, compressed, with entity tags; and that no path leads out of their folder."""

import gzip
import pathlib
import re
import shutil
import socket
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import harness  # noqa: E402
from harness import PREFIX, Server  # noqa: E402

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def raw(server, target):
    """(status, whole answer) for a request line as it is, which no client library has tidied."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as s:
        s.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode("latin-1"))
        answer = b"".join(iter(lambda: s.recv(65536), b""))
    return int(answer.split()[1]), answer


def test_no_path_leads_out_of_the_folder(server):
    up = ("..", "%2e%2e", ".%2e", "%2E.", "..%2f..", "..%5c..", "..\\..", "....", "..;", "%c0%ae%c0%ae", "%252e%252e")
    ends = ("etc/passwd", "index.html", "share/assay/www/index.html", "docs/openapi.json")
    targets = [f"/{folder}/{'/'.join([u] * n)}/{end}" for folder in ("ui", "swagger") for u in up for n in (1, 2, 8) for end in ends]
    targets += ["/ui//etc/passwd", "/ui/", "/ui", "/ui/.", "/ui/..", "/ui/index.html", "/ui/%00", "/ui/licenses.txt%00.js", "/ui/licenses.txt/", "/ui/Licenses.txt",
                "/swagger/..", "/swagger//", "/swagger/ui/licenses.txt", "/ui/licenses.txt.gz", "/ui/" + "a" * 3000, "//ui/licenses.txt", "/index.html"]
    wrong = [(t, status) for t in targets for status, answer in [raw(server, t)] if status not in (400, 404) or b"root:" in answer or b"<script" in answer]
    assert not wrong, wrong
    print(f"# {len(targets)} paths")
    assert raw(server, "/ui/licenses.txt")[0] == 200


def test_pages_are_compressed_tagged_and_revalidated(server):
    api = server.api()
    page = api.get("/", headers=HTML)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for policy in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"):
        assert policy in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff" and page.headers["referrer-policy"] == "no-referrer"
    assert "style=" not in page.body.decode() and "<script>" not in page.body.decode()
    files = re.findall(r'(?:src|href)="(ui/[^"]+)"', page.body.decode())
    assert len(files) >= 3, files
    for f in files:
        plain = api.get(f"/{f}")
        assert plain.headers["cache-control"] == "public, max-age=31536000, immutable", f
        if len(plain.body) > 1000:
            small = api.get(f"/{f}", headers={"Accept-Encoding": "gzip;q=0.8, deflate"})
            assert small.headers["content-encoding"] == "gzip" and gzip.decompress(small.body) == plain.body
            assert "Accept-Encoding" in small.headers["vary"]
            smallest = api.get(f"/{f}", headers={"Accept-Encoding": "gzip, br"})
            assert smallest.headers["content-encoding"] == "br" and len(smallest.body) < len(small.body) < len(plain.body)
            assert len({a.headers["etag"] for a in (plain, small, smallest)}) == 3
        again = api.get(f"/{f}", headers={"If-None-Match": plain.headers["etag"]}, expect=304)
        assert again.body == b""
    assert api.call("HEAD", f"/{files[0]}").body == b""
    # a program that asks is answered as ever
    assert api.get("/").json["links"]["dashboard"] == "/"


def test_without_a_build_the_pages_say_how_to_make_one():
    with tempfile.TemporaryDirectory(dir="/var/tmp") as d:
        pathlib.Path(d).chmod(0o755)
        share = pathlib.Path(d) / "share"
        shutil.copytree(PREFIX / "share" / "assay", share, ignore=shutil.ignore_patterns("www"))
        server = Server(env={"ASSAY_SHARE_DIR": str(share)})
        try:
            server.start()
            api = server.api()
            for path in ("/", "/swagger/"):
                page = api.get(path, headers=HTML)
                assert "make dashboard" in page.body.decode() and page.headers["content-type"].startswith("text/html"), page
            assert "make dashboard" in api.get("/ui/main.js", expect=404).json["detail"]
            assert "dashboard" not in api.get("/").json["links"]
            assert "dashboard_not_built" in server.log_text()
            assert server.login().get("/benchmarks").json["items"] == []
        finally:
            server.stop()
            server.close()


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
