"""The client against a server that is scripted request by request: what it sends, says and exits with."""

import http.server
import io
import json
import os
import pathlib
import pty
import re
import select
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
import warnings
import zipfile

ASSAY = os.path.abspath(os.environ.get("ASSAY_CLIENT", "./assay"))
ID = "01a1fd2c-ddfb-7000-92f7-582965e0caeb"


class Server:
    """answers: {"METHOD /path": [answer, ...]}; the last one repeats. An answer is (status, value, headers) or "drop"."""

    def __init__(self, answers):
        self.seen = []
        self.left = {k: list(v) if isinstance(v, list) else [v] for k, v in answers.items()}
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                length = int(self.headers.get("content-length", 0))
                body = self.rfile.read(length)
                outer.seen.append((self.command, self.path, dict((k.lower(), v) for k, v in self.headers.items()), body))
                queue = outer.left.get(f"{self.command} {self.path.split('?')[0]}")
                answer = (404, {"title": "Not Found", "status": 404}, {}) if not queue else queue[0] if len(queue) == 1 else queue.pop(0)
                if answer == "drop":
                    self.close_connection = True
                    self.connection.close()
                    return
                status, value, headers = (answer + ({},))[:3]
                raw = value if isinstance(value, bytes) else json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-type", "application/problem+json" if status >= 400 else "application/json")
                self.send_header("content-length", str(len(raw)))
                self.send_header("x-request-id", "req-1")
                for k, v in headers.items():
                    self.send_header(k, v)
                self.end_headers()
                self.wfile.write(raw)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = handle_any

            def log_message(self, *_):
                pass

            def finish(self):
                try:
                    super().finish()
                except (BrokenPipeError, ValueError, OSError):
                    pass

        class Quiet(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass

        self.http = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()


class Case:
    def __init__(self, tmp):
        self.tmp = pathlib.Path(tmp)
        self.servers = []
        self.env = {"PATH": os.environ["PATH"], "XDG_CONFIG_HOME": str(self.tmp / "config"), "LC_ALL": "C.UTF-8"}
        for keep in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS"):
            if keep in os.environ:
                self.env[keep] = os.environ[keep]

    def server(self, answers):
        s = Server(answers)
        self.servers.append(s)
        self.env["ASSAY_URL"] = s.url
        return s

    def run(self, *argv, stdin=b"", **env):
        p = subprocess.run([ASSAY, *argv], input=stdin, capture_output=True, env={**self.env, **env}, timeout=60)
        return p.returncode, p.stdout.decode(), p.stderr.decode()

    def on_terminal(self, *argv):
        """The bytes that a terminal would get on standard output."""
        master, slave = pty.openpty()
        p = subprocess.Popen([ASSAY, *argv], stdin=subprocess.DEVNULL, stdout=slave, stderr=subprocess.DEVNULL,
                             env={**self.env, "TERM": "xterm"})
        os.close(slave)
        out = b""
        while True:
            ready, _, _ = select.select([master], [], [], 30)
            assert ready, "the client printed nothing for 30 s"
            try:
                chunk = os.read(master, 65536)
            except OSError:
                break
            if not chunk:
                break
            out += chunk
        os.close(master)
        return p.wait(), out

    def file(self, name, content):
        p = self.tmp / name
        p.parent.mkdir(parents=True, exist_ok=True)
        p.write_bytes(content)
        return str(p)

    def config(self):
        return self.tmp / "config" / "assay" / "config.json"


LOGIN = (200, {"token": "access-1", "refresh_token": "refresh-1", "expires_in": 3600,
               "user": {"id": ID, "login": "ada", "role": "user"}})


def done(verdict="OK", score=100.0, status="done"):
    return (200, {"id": ID, "status": status, "verdict": verdict, "score": score, "language": "c"})


def test_login_keeps_the_tokens_for_the_owner_only(t):
    s = t.server({"POST /login": LOGIN})
    rc, out, err = t.run("login", "ada", ASSAY_PASSWORD="correct horse")
    assert rc == 0 and "ada" in out and err == "", (rc, out, err)
    assert json.loads(s.seen[0][3]) == {"login": "ada", "password": "correct horse"}
    assert stat.S_IMODE(t.config().stat().st_mode) == 0o600
    kept = json.loads(t.config().read_text())
    assert (kept["url"], kept["token"], kept["refresh_token"]) == (s.url, "access-1", "refresh-1")
    assert "access-1" not in out


def test_a_mailed_link_signs_in(t):
    token = "asl_" + "0f" * 32
    s = t.server({"POST /auth/verify": LOGIN})
    for link in (f"https://assay.example.org/auth/verify?token={token}", f"https://assay.example.org/#/link/{token}", token):
        rc, out, err = t.run("login", link)
        assert rc == 0 and "as ada" in out and token not in out + err, (rc, out, err)
        kept = json.loads(t.config().read_text())
        assert (kept["token"], kept["refresh_token"], kept["login"]) == ("access-1", "refresh-1", "ada") and token not in t.config().read_text()
    assert [json.loads(seen[3]) for seen in s.seen] == [{"token": token}] * 3
    t.server({"POST /auth/verify": (401, {"title": "Unauthorized", "status": 401, "detail": "the link was used or has expired; ask for another"})})
    rc, _, err = t.run("login", token)
    assert rc == 6 and "used or has expired" in err, (rc, err)
    t.server({"POST /login": LOGIN})  # a login that only looks a little like one
    assert t.run("login", "wasl_of", ASSAY_PASSWORD="x")[0] == 0


def test_password_from_standard_input(t):
    s = t.server({"POST /login": LOGIN})
    rc, _, _ = t.run("login", "ada", "--password-stdin", stdin=b"from the pipe\n")
    assert rc == 0 and json.loads(s.seen[0][3])["password"] == "from the pipe"
    rc, _, err = t.run("login", "ada")
    assert rc == 9 and "ASSAY_PASSWORD" in err


def test_a_wrong_password_is_status_6(t):
    t.server({"POST /login": (401, {"title": "Unauthorized", "status": 401, "detail": "login or password is wrong"})})
    rc, _, err = t.run("login", "ada", ASSAY_PASSWORD="x")
    assert rc == 6 and "login or password is wrong" in err and "assay register ada" in err
    assert not t.config().exists()


def test_a_token_is_never_sent_to_another_server(t):
    t.server({"POST /login": LOGIN})
    assert t.run("login", "ada", ASSAY_PASSWORD="x")[0] == 0
    other = t.server({"GET /me": (200, {"id": ID, "login": "ada"})})
    t.run("whoami")
    t.run("whoami", "--url", other.url + "/")
    assert len(other.seen) == 2 and all("authorization" not in h for _, _, h, _ in other.seen), other.seen


def test_a_token_that_ran_out_is_replaced_once(t):
    s = t.server({"POST /login": LOGIN, "GET /me": [(401, {"detail": "expired"}), (200, {"login": "ada", "id": ID})],
                  "POST /auth/refresh": (200, {"token": "access-2", "refresh_token": "refresh-2"})})
    t.run("login", "ada", ASSAY_PASSWORD="x")
    rc, out, err = t.run("whoami")
    assert rc == 0 and "ada" in out, (rc, out, err)
    assert [h.get("authorization") for m, p, h, _ in s.seen[1:]] == ["Bearer access-1", None, "Bearer access-2"]
    assert json.loads(t.config().read_text())["refresh_token"] == "refresh-2"


def test_a_dead_refresh_token_ends_in_status_6(t):
    s = t.server({"POST /login": LOGIN, "GET /me": (401, {"detail": "expired"}), "POST /auth/refresh": (401, {})})
    t.run("login", "ada", ASSAY_PASSWORD="x")
    rc, _, err = t.run("whoami")
    assert rc == 6 and "assay login" in err
    assert sum(p == "/auth/refresh" for _, p, _, _ in s.seen) == 1


def test_logout_forgets_even_when_the_server_does_not_answer(t):
    t.server({"POST /login": LOGIN, "POST /logout": (500, {})})
    t.run("login", "ada", ASSAY_PASSWORD="x")
    rc, out, _ = t.run("logout")
    assert rc == 0 and "token" not in json.loads(t.config().read_text()), out


def test_submit_sends_one_file_as_source_and_many_as_files(t):
    s = t.server({"POST /submissions": (202, {"id": ID, "status": "queued"})})
    a, b = t.file("a.c", b"int main(void){return 0;}\n"), t.file("sub/b.h", "/* ü */\n".encode())
    assert t.run("submit", "-b", "sum", "-a", "ada", "--id-only", a)[:2] == (0, ID + "\n")
    assert t.run("submit", "--benchmark=sum", "--agent=ada", "-lc", a, b)[0] == 0
    one, many = (json.loads(x[3]) for x in s.seen)
    assert one == {"benchmark_id": "sum", "agent_id": "ada", "language": "c", "source": "int main(void){return 0;}\n"}
    assert many["files"] == {"a.c": "int main(void){return 0;}\n", "b.h": "/* ü */\n"}


def test_a_submission_is_repeated_under_the_same_key_after_a_broken_connection(t):
    s = t.server({"POST /submissions": ["drop", (503, {"detail": "full"}, {"retry-after": "0"}), (202, {"id": ID})]})
    rc, out, err = t.run("submit", "-b", "sum", "-a", "ada", "--id-only", t.file("a.py", b"pass\n"))
    assert (rc, out) == (0, ID + "\n"), (rc, out, err)
    keys = {h["idempotency-key"] for _, _, h, _ in s.seen}
    assert len(s.seen) == 3 and len(keys) == 1 and re.fullmatch("[0-9a-f]{32}", keys.pop())


def test_a_login_is_not_repeated_once_it_was_sent(t):
    s = t.server({"POST /login": ["drop", LOGIN]})
    assert t.run("login", "ada", ASSAY_PASSWORD="x")[0] == 3
    assert len(s.seen) == 1


def test_an_unreachable_server_is_status_3_and_named(t):
    rc, _, err = t.run("agents", "--url", "http://127.0.0.1:1")
    assert rc == 3 and "http://127.0.0.1:1" in err and "assayd" in err
    assert t.run("status", "--url", "http://127.0.0.1:1")[0] == 3
    assert t.run("agents", "--url", "gopher://127.0.0.1:1")[0] == 2


def test_refusals_show_detail_and_every_fault(t):
    t.server({"POST /agents": (400, {"title": "Bad Request", "status": 400, "detail": "2 faults", "errors": [
        {"pointer": "/id", "detail": "must be a slug"}, {"pointer": "/name", "detail": "must not be empty"}]}),
        "GET /agents/x": (404, {"detail": "no such agent"}), "GET /agents/y": (403, {"detail": "not yours"}),
        "GET /agents/z": (500, {"detail": "broken"})})
    rc, _, err = t.run("agents", "create", "Ada")
    assert rc == 4 and "/id: must be a slug" in err and "/name: must not be empty" in err
    rc, _, err = t.run("agents", "show", "x")
    assert rc == 5 and "no such agent" in err
    assert t.run("agents", "show", "y")[0] == 4
    rc, _, err = t.run("agents", "show", "z")
    assert rc == 7 and "req-1" in err


def test_an_id_is_escaped_in_the_path(t):
    s = t.server({})
    t.run("agents", "show", "../users?x=1#y")
    assert s.seen[0][1] == "/agents/..%2Fusers%3Fx%3D1%23y"


def test_watch_follows_to_the_verdict(t):
    t.server({f"GET /submissions/{ID}": [(200, {"id": ID, "status": "queued"}), (200, {"id": ID, "status": "running"}), done()],
              f"GET /results/{ID}": (200, {"submission_id": ID, "verdict": "OK", "score": 100, "tests": [
                  {"number": 1, "verdict": "OK", "exit_code": 0, "cpu_ms": 1, "wall_ms": 2, "memory_peak_bytes": 1048576}]})})
    rc, out, err = t.run("watch", ID)
    assert rc == 0, (rc, out, err)
    lines = out.splitlines()
    assert "queued" in lines[0] and "running" in lines[1] and "OK" in lines[2]
    assert "exit 0" in out and "1.0 MiB" in out and "\x1b" not in out


def test_a_failed_build_shows_what_the_compiler_said(t):
    t.server({f"GET /results/{ID}": (200, {"verdict": "BF", "score": 0, "tests": [], "build_output": "a.c:1: error: \x1b[31mno\n"})})
    rc, out, _ = t.run("results", ID)
    assert rc == 0 and "    a.c:1: error: \\x1B[31mno" in out, out


def test_watch_exit_status_tells_the_verdict(t):
    t.server({f"GET /submissions/{ID}": done("WA", 0)})
    rc, out, _ = t.run("watch", ID, "--json")
    assert rc == 1 and json.loads(out)["verdict"] == "WA"
    assert t.run("results", "--verdict-only", ID)[:2] == (0, "WA\n")


def test_watch_gives_up_after_its_timeout(t):
    t.server({f"GET /submissions/{ID}": (200, {"id": ID, "status": "queued"})})
    rc, _, err = t.run("watch", ID, "--timeout", "0.3")
    assert rc == 8 and "0.3 s" in err


def test_submit_wait_prints_the_verdict_alone(t):
    t.server({"POST /submissions": (202, {"id": ID}), f"GET /submissions/{ID}": done("TL", 0)})
    assert t.run("submit", "-b", "sum", "-a", "ada", "--wait", t.file("a.py", b"pass\n"))[:2] == (1, "TL\n")


EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp.exe\x00\x7f\r\n\tend"
RESULT = (200, {"submission_id": ID, "verdict": "WA\x1b[31m", "score": 0, "tests": [
    {"number": 1, "verdict": "WA", "stdout": EVIL, "stderr": EVIL, "exit_code": 0, "name": EVIL}]})


def test_what_a_program_printed_never_reaches_the_terminal_raw(t):
    t.server({f"GET /results/{ID}": RESULT})
    rc, out = t.on_terminal("results", "--outputs", ID)
    assert rc == 0 and b"\\x1B]0;owned\\x07" in out, out
    plain = re.sub(rb"\x1b\[[0-9;]*m", b"", out)  # the client's own colours
    assert not re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", plain), plain
    assert b"\x1b]" not in out and b"\x1b[2J" not in out and "\u202e".encode() not in out and "\x9b".encode() not in out
    _, out = t.on_terminal("results", "--json", ID)
    assert not re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x80-\xff]", out), out


def test_source_comes_back_byte_for_byte(t):
    path = f"GET /submissions/{ID}/source"
    sent = {"id": ID, "language": "c", "source": "int main(){}\r\n\x1b[2J\x00", "files": None, "payload": None}
    t.server({path: (200, sent)})
    rc, out, _ = t.run("source", ID)
    assert (rc, out.encode()) == (0, sent["source"].encode()), out
    shown = t.on_terminal("source", ID)[1]
    assert b"\x1b" not in shown and b"\\x1B[2J" in shown, shown
    assert json.loads(t.run("source", ID, "--json")[1]) == sent
    t.server({path: (200, {**sent, "source": None, "payload": ""})})
    assert t.run("source", ID)[:2] == (0, "")
    t.server({path: (404, {"detail": "there is no such submission of yours"})})
    assert t.run("source", ID)[0] == 5
    assert t.run("source")[0] == 2


def test_source_writes_files_below_its_folder_only(t):
    path = f"GET /submissions/{ID}/source"

    def serve(**files):
        t.server({path: (200, {"id": ID, "language": "c", "source": None, "files": files, "payload": None})})

    serve(**{"main.c": "int x;\n", "lib/deep/a.h": "int y;\n"})
    top = t.tmp / "out"
    rc, _, err = t.run("source", ID, "-o", str(top))
    assert rc == 0, err
    assert (top / "main.c").read_text() == "int x;\n" and (top / "lib/deep/a.h").read_text() == "int y;\n"
    (top / "main.c").write_text("mine")
    rc, _, err = t.run("source", ID, "-o", str(top))
    assert rc == 9 and "main.c" in err and (top / "main.c").read_text() == "mine"
    assert "==> lib/deep/a.h <==\nint y;\n" in t.run("source", ID)[1]
    (t.tmp / "elsewhere").mkdir()
    (top / "link").symlink_to(t.tmp / "elsewhere")
    for name, status in (("../x", 7), ("/tmp/x", 7), ("a/../../x", 7), ("a//x", 7), ("", 7), ("link/x", 9)):
        serve(**{name: "evil"})
        rc, _, err = t.run("source", ID, "-o", str(top))
        assert rc == status and err, (name, rc, err)
    assert not list((t.tmp / "elsewhere").iterdir()) and not (t.tmp / "x").exists()


def test_json_elsewhere_is_the_servers_own_text(t):
    t.server({f"GET /results/{ID}": RESULT})
    rc, out, _ = t.run("results", "--json", ID)
    assert rc == 0 and json.loads(out) == RESULT[1]


def test_an_error_from_the_server_cannot_act_on_the_terminal(t):
    t.server({"GET /agents": (400, {"detail": "bad \x1b[2J\u202e"})})
    _, _, err = t.run("agents")
    assert "\x1b" not in err and "\u202e" not in err and "\\x1B[2J" in err


def test_lists_follow_their_cursors(t):
    s = t.server({"GET /agents": [(200, {"items": [{"id": "a", "name": "A"}], "next_cursor": "c+1/"}), (200, {"items": [{"id": "b"}]})]})
    rc, out, _ = t.run("agents")
    assert rc == 0 and len(out.splitlines()) == 3, out
    assert s.seen[1][1].endswith("cursor=c%2B1%2F")
    s = t.server({"GET /agents": (200, {"items": [], "next_cursor": "again"})})
    assert t.run("agents")[0] == 0 and len(s.seen) == 1, "an empty page ends the list"


def test_leaderboard_prints_ranks(t):
    s = t.server({"GET /leaderboard": (200, {"items": [{"rank": 1, "agent_id": "ada", "agent_name": "Ada (C)", "score": 87.5,
                                                       "submission_id": ID}], "next_cursor": None})})
    rc, out, _ = t.run("leaderboard", "sum")
    assert rc == 0 and "87.5" in out and "Ada (C)" in out and "benchmark_id=sum" in s.seen[0][1]


def test_the_command_line_is_checked(t):
    a = t.file("a.txt", b"x")
    t.server({})
    for argv in ([], ["fly"], ["submit"], ["submit", "-b", "x"], ["submit", "-b", "x", a], ["watch"], ["results"],
                 ["results", "a", "b"], ["agents", "fly"], ["agents", "--limit", "0"], ["agents", "--fly"],
                 ["watch", ID, "--timeout", "soon"], ["benchmarks", "create"], ["login", "a", "b"],
                 ["submit", "-b"], ["status", "--json=1"]):
        rc, _, err = t.run(*argv)
        assert rc == 2 and err, (argv, rc, err)
    for argv in (["--help"], ["help", "submit"], ["watch", "-h"], ["--version"]):
        rc, out, _ = t.run(*argv)
        assert rc == 0 and out, argv
    assert "Exit status" in t.run("--help")[1]


def test_local_trouble_is_status_9(t):
    s = t.server({})
    assert t.run("submit", "-b", "x", "-a", "y", "-l", "c", str(t.tmp / "absent"))[0] == 9
    (t.tmp / "empty").mkdir()
    rc, _, err = t.run("submit", "-b", "x", "-a", "y", "-l", "c", str(t.tmp / "empty"))
    assert rc == 2 and "has no files" in err, err
    rc, _, err = t.run("submit", "-b", "x", "-a", "y", t.file("a.c", b"\xff\xfe"))
    assert rc == 9 and "UTF-8" in err
    assert t.run("benchmarks", "create", "-f", t.file("b.json", b'{"a": 1,}'))[0] == 9
    assert s.seen == []
    t.file("config/assay/config.json", b"not json")
    assert t.run("whoami")[0] == 9


def test_a_folder_is_sent_by_the_names_of_its_files(t):
    s = t.server({"POST /submissions": (202, {"id": ID, "status": "queued"})})
    for name in ("p/main.py", "p/lib/tool.py", "p/.git/config", "p/.hidden"):
        t.file(name, b"x = 1\n")
    os.symlink("/etc/passwd", t.tmp / "p" / "link.py")
    rc, out, err = t.run("submit", "-b", "x", "-a", "y", "--id-only", str(t.tmp / "p"))
    assert rc == 0 and out == ID + "\n" and "link.py" in err, (out, err)
    body = json.loads(s.seen[0][3])
    assert body["files"] == {"main.py": "x = 1\n", "lib/tool.py": "x = 1\n"} and body["language"] == "python", body


def test_options_of_the_compiler_are_sent(t):
    s = t.server({"POST /submissions": (202, {"id": ID, "status": "queued"})})
    a = t.file("a.c", b"int main(void) { return 0; }\n")
    rc, _, err = t.run("submit", "-b", "x", "-a", "y", "--option", "-O0", "-o", "-std=c11", "--option=-lm", a)
    body = json.loads(s.seen[0][3])
    assert rc == 0 and body["compiler_options"] == ["-O0", "-std=c11", "-lm"] and body["language"] == "c", (err, body)
    assert t.run("submit", "-b", "x", "-a", "y", *["--option=-O0"] * 17, a)[0] == 2 and len(s.seen) == 1


def zipped(t, name, entries):
    """A ZIP of (name, bytes, mode) as they come; mode 0: a plain file's."""
    path = t.tmp / name
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        warnings.simplefilter("ignore")  # two of a name are what is tried
        for entry, content, mode in entries:
            info = zipfile.ZipInfo(entry)
            info.external_attr = (mode or stat.S_IFREG | 0o644) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            z.writestr(info, content)
    return str(path)


def test_a_zip_is_sent_by_the_names_of_its_files(t):
    s = t.server({"POST /submissions": (202, {"id": ID, "status": "queued"})})
    z = zipped(t, "p.ZIP", [("src/", b"", stat.S_IFDIR | 0o755), ("main.py", b"x = 1\n", 0), ("lib/tool.py", b"y = 2\n", 0), (".git/config", b"z", 0),
                            ("__MACOSX/main.py", b"\xff", 0), ("lib/.DS_Store", b"\xff", 0)])
    rc, out, err = t.run("submit", "-b", "x", "-a", "y", "--id-only", z)
    assert rc == 0 and out == ID + "\n", (out, err)
    body = json.loads(s.seen[0][3])
    assert body["files"] == {"main.py": "x = 1\n", "lib/tool.py": "y = 2\n"} and body["language"] == "python", body
    rc, _, err = t.run("submit", "-b", "x", "-a", "y", "--each", "--id-only", z, z)
    assert rc == 0 and [list(json.loads(r[3])["files"]) for r in s.seen[1:]] == [["main.py", "lib/tool.py"]] * 2, err


def test_a_zip_that_nobody_should_take_is_refused_and_nothing_is_sent(t):
    s = t.server({})
    link = stat.S_IFLNK | 0o777
    bad = {"up": [("../a.py", b"", 0)], "deep": [("a/../../b.py", b"", 0)], "absolute": [("/etc/a.py", b"", 0)],
           "link": [("a.py", b"/etc/passwd", link)], "twice": [("a.py", b"1", 0), ("a.py", b"2", 0)],
           "bytes": [("a.py", b"\xff\xfe", 0)], "bomb": [(f"{i}.py", b"\0" * (4 << 20), 0) for i in range(5)],
           "many": [(f"d{i}/", b"", stat.S_IFDIR | 0o755) for i in range(10001)], "files": [(f"{i}.py", b"", 0) for i in range(1001)],
           "hidden": [(".a.py", b"1", 0)]}
    for name, entries in bad.items():
        rc, out, err = t.run("submit", "-b", "x", "-a", "y", "-l", "python", zipped(t, f"{name}.zip", entries))
        assert rc in (2, 9) and out == "" and (name in err or "two files would be called a.py" in err), (name, rc, err)
    for name, content in (("text.zip", b"no archive"), ("empty.zip", b""), ("cut.zip", open(zipped(t, "whole.zip", [("a.py", b"x" * 999, 0)]), "rb").read()[:60])):
        rc, _, err = t.run("submit", "-b", "x", "-a", "y", "-l", "python", t.file(name, content))
        assert rc in (2, 9) and name in err, (name, rc, err)
    assert s.seen == []


def test_a_project_goes_to_the_address_that_the_server_gave_without_a_token(t):
    other = t.server({"PUT /bucket/key": (200, {})})
    feedback = {"submissionId": ID, "pitId": "p", "status": "ERROR", "score": 50, "logsS3Key": "k", "feedback": {
        "step": "test", "error": "1 of 2 tests failed\x1b[2J", "totalTests": 2, "passedTests": 1, "failedTests": 1, "skippedTests": 0, "durationMs": 2100,
        "details": "failed: a\nfailed: b"}}
    s = t.server({"POST /submissions/request-upload": (201, {"uploadUrl": f"{other.url}/bucket/key?signature=secret", "fileKey": "k"}),
                  "POST /submissions/confirm": (201, {"status": "ok", "submissionId": ID}),
                  f"GET /submissions/feedback/{ID}": [(200, {**feedback, "status": "RUNNING", "feedback": None, "score": None}), (200, feedback)]})
    t.env["ASSAY_TOKEN"] = "tok"
    for name in ("p/src/a.py", "p/.git/config"):
        t.file(name, b"x = 1\n")
    os.symlink("/etc/passwd", t.tmp / "p" / "link.py")
    rc, out, err = t.run("pit", "submit", "p", str(t.tmp / "p"))
    assert rc == 1 and "RUNNING" in out and "ERROR  score 50  1 of 2 tests passed  2.1 s" in out and "test: 1 of 2 tests failed\\x1B[2J" in out, (out, err)
    assert "  failed: a\n  failed: b" in out and f"assay pit log {ID}" in err and "link.py" in err, (out, err)
    method, path, headers, body = other.seen[0]
    assert (method, path) == ("PUT", "/bucket/key?signature=secret") and "authorization" not in headers, headers
    assert zipfile.ZipFile(io.BytesIO(body)).namelist() == ["src/a.py"]
    assert all(h["authorization"] == "Bearer tok" for _, _, h, _ in s.seen)
    assert [json.loads(b) for m, _, _, b in s.seen if m == "POST"] == [{"pitId": "p"}, {"pitId": "p", "fileKey": "k"}]
    rc, _, err = t.run("pit", "submit", "p", t.file("no.zip", b"text"))
    assert rc == 9 and "is no ZIP archive" in err


def test_each_file_may_be_a_submission_of_its_own(t):
    s = t.server({"POST /submissions": [(202, {"id": ID, "status": "queued"}), (202, {"id": ID[:-1] + "c", "status": "queued"})]})
    a, b = t.file("a.py", b"print(1)\n"), t.file("b.c", b"int main;\n")
    rc, out, _ = t.run("submit", "-b", "x", "-a", "y", "--each", "--id-only", a, b)
    assert rc == 0 and out.split() == [ID, ID[:-1] + "c"], out
    assert [(json.loads(r[3])["language"], json.loads(r[3])["source"]) for r in s.seen] == [("python", "print(1)\n"), ("c", "int main;\n")]


def test_a_difference_is_shown_line_by_line(t):
    long = "".join(f"line {i}\n" for i in range(20))
    t.server({f"GET /results/{ID}": (200, {"verdict": "WA", "tests": [
        {"number": 1, "verdict": "WA", "stdout": long.replace("line 9\n", "line nine\n\x1b[2J\n")},
        {"number": 2, "verdict": "OK", "stdout": "x"}, {"number": 3, "verdict": "WA", "stdout": "y"},
        {"number": 4, "verdict": "WA", "stdout": "1"}], "problem_id": "p"}),
        "GET /problems/p/tests": (200, {"items": [{"number": 1, "expected_output": long}, {"number": 2, "expected_output": "x"},
                                                  {"number": 4, "input": "", "expected_output": "1\n"}], "next_cursor": None})})
    rc, out, err = t.run("results", ID, "--diff")
    assert rc == 0, err
    shown = out[out.index("test 1 "):]
    assert "  (6 equal lines)\n   line 6\n   line 7\n   line 8\n  -line 9\n  +line nine\n  +\\x1B[2J\n   line 10\n   line 11\n   line 12\n" in shown, shown
    assert "  (7 equal lines)" in shown and "test 2" not in shown, shown
    assert "  -1\n  +1   (without a line feed)\n" in shown, shown
    assert "1 test went wrong whose texts" in err, err


def test_help_manual_and_completion_name_the_same_commands(t):
    help_ = t.run("help")[1]
    commands = re.findall(r"^  ([a-z-]+) +[a-z]", help_.split("\n\n")[2], re.M)
    assert len(commands) > 15 and "submit" in commands, commands
    assert t.run("completion", "words", "1", "--", "assay", "")[1].split() == commands
    manual = t.run("help", "--man")[1].replace("\\-", "-")
    for c in commands:
        text = t.run("help", c)[1]
        assert text.startswith(f"Usage: assay {c}"), text
        assert f'.SS "assay {text.splitlines()[0][13:]}"' in manual, c
        named = set(re.findall(r"(?<![\w-])--?[a-z][A-Za-z-]*", "\n".join(x[2:25].split("  ")[0] for x in text.splitlines() if x.startswith("  -"))))
        offered = set(t.run("completion", "words", "2", "--", "assay", c, "-")[1].split())
        assert named == offered, (c, named ^ offered)
    assert t.run("completion", "words", "2", "--", "assay", "agents", "")[1].split() == ["list", "show", "create", "token", "delete"]
    assert t.run("completion", "words", "3", "--", "assay", "submit", "-b", "")[1] == ""
    assert t.run("completion", "words", "2", "--", "assay", "help", "sub")[1].split() == ["submit", "submissions", "submit-samples"]


def test_bash_completes_what_assay_says(t):
    script = t.file("completion", t.run("completion", "bash")[1].encode())
    link = t.tmp / "bin" / "assay"
    link.parent.mkdir()
    link.symlink_to(ASSAY)
    ask = f"source {script}; COMP_WORDS=(assay subm); COMP_CWORD=1; _assay; echo \"${{COMPREPLY[@]}}\"; complete -p assay"
    p = subprocess.run(["bash", "--norc", "-c", ask], capture_output=True, text=True, env={**t.env, "PATH": f"{link.parent}:{t.env['PATH']}"}, timeout=60)
    assert p.stdout.splitlines() == ["submit submissions submit-samples", "complete -o default -F _assay assay"], p
    assert t.run("completion", "fish")[0] == 2


def test_watch_follows_the_stream(t):
    state = {"id": ID, "status": "queued", "language": "python"}
    done = {**state, "status": "done", "verdict": "OK", "score": 100}
    events = [("state", {"submission": state}), ("position", {"ahead": 2}), ("running", {"detail": {}}),
              ("test", {"detail": {"number": 1, "verdict": "OK"}}), ("done", {"submission": done})]
    stream = "".join(f"id: {i}\nevent: {n}\ndata: {json.dumps(d)}\n\n" for i, (n, d) in enumerate(events))
    s = t.server({f"GET /submissions/{ID}": (200, state), f"GET /submissions/{ID}/events": (200, (": hello\n\n" + stream).encode()),
                  f"GET /results/{ID}": (200, {"verdict": "OK", "tests": []})})
    rc, out, err = t.run("watch", ID)
    assert rc == 0 and "queued" in out and "score 100" in out, (out, err)
    assert [r[1] for r in s.seen].count(f"/submissions/{ID}") == 1, [r[1] for r in s.seen]  # not polled beside it


def test_an_answer_that_is_no_json_is_not_believed(t):
    t.server({"GET /agents": (200, b"<html>hello</html>"), "POST /login": (200, b"[1, 2]"), "GET /agents/a": (502, b"bad gateway")})
    assert t.run("agents")[0] == 7
    assert t.run("login", "ada", ASSAY_PASSWORD="x")[0] == 7
    rc, _, err = t.run("agents", "show", "a")
    assert rc == 7 and "502" in err


def test_status_tells_ready_from_up(t):
    t.server({"GET /readyz": [(200, {"ready": True}), (503, {"ready": False, "checks": [{"name": "store", "ok": False, "reason": "disk full"}]})]})
    assert t.run("status")[0] == 0
    rc, out, _ = t.run("status")
    assert rc == 7 and "not ready" in out and "disk full" in out


def pit_new(t, *argv, stdin=b""):
    return t.run("pit", "new", *argv, "--dir", str(t.tmp / "pits"), stdin=stdin)


def pit_file(t, name):
    return json.loads((t.tmp / "pits" / f"{name}.json").read_text())


def test_pit_new_by_flags(t):
    rc, out, err = pit_new(t, "--id", "java-maven-bank-account-v1")
    assert (rc, err) == (0, ""), err
    assert pit_file(t, "java-maven-bank-account-v1") == {"language": "java", "buildTool": "maven", "testCommand": "mvn -q test", "maxTimeoutMs": 60000}
    for text in ("java-maven-bank-account-v1.json", "java", "maven", "mvn -q test", "60000 ms"):
        assert text in out, out
    rc, out, _ = pit_new(t, "--id", "a.b-c_1", "--language=python", "--buildTool", "pytest", "--testCommand", "pytest -q; echo a,b", "--maxTimeoutMs", "1000",
                         "--setupCommands", "pip --version", "--setupCommands", "echo a,b", "--requiredFiles", "a.py,src/b.py", "--requiredFiles", "c",
                         "--environment", "A=1=2", "--environment", "B=")
    assert rc == 0
    assert pit_file(t, "a.b-c_1") == {"language": "python", "buildTool": "pytest", "testCommand": "pytest -q; echo a,b", "maxTimeoutMs": 1000,
                                     "setupCommands": ["pip --version", "echo a,b"], "requiredFiles": ["a.py", "src/b.py", "c"],
                                     "environment": {"A": "1=2", "B": ""}}
    for text in ("pip --version", "src/b.py", "A=1=2"):
        assert text in out, out
    rc, _, _ = pit_new(t, "--id", "lists", "--setupCommands", '["x", "y"]', "--requiredFiles", '["a,b"]', "--environment", '{"A": "1"}')
    assert rc == 0 and pit_file(t, "lists")["requiredFiles"] == ["a,b"] and pit_file(t, "lists")["environment"] == {"A": "1"}
    rc, out, _ = pit_new(t, "--id", "asjson", "--json")
    assert rc == 0 and json.loads(out)["pit"] == pit_file(t, "asjson")
    assert sorted(p.name for p in (t.tmp / "pits").iterdir()) == ["a.b-c_1.json", "asjson.json", "java-maven-bank-account-v1.json", "lists.json"]


def test_pit_new_refuses_what_a_server_would(t):
    for flags, why in ((["--id", "../x"], "an id is"), (["--id", "a/b"], "an id is"), (["--id", "Ab"], "an id is"), (["--id", ".x"], "an id is"),
                       (["--id", ""], "an id is"), (["--id", "x" * 65], "an id is"), (["--id", "x", "--maxTimeoutMs", "0"], "time limit"),
                       (["--id", "x", "--maxTimeoutMs", "-5"], "time limit"), (["--id", "x", "--maxTimeoutMs", "1e4"], "time limit"),
                       (["--id", "x", "--maxTimeoutMs", "99999999999999999999"], "time limit"), (["--id", "x", "--testCommand", " "], "empty"),
                       (["--id", "x", "--requiredFiles", "/etc/passwd"], "relative"), (["--id", "x", "--requiredFiles", "a/../../b"], "inside"),
                       (["--id", "x", "--environment", "NOVALUE"], "NAME=VALUE"), (["--id", "x", "--environment", "1A=x"], "NAME=VALUE"),
                       (["--id", "x", "--setupCommands", "[1]"], "list"), (["--language", "java"], "--id is needed"), (["--nonsense"], "no option"),
                       (["more"], "pit new takes no more")):
        rc, out, err = pit_new(t, *flags)
        assert rc == 2 and why in err and out == "", (flags, rc, err)
    assert t.run("pit", "old")[0] == 2 and t.run("pit", "submit", "x")[0] == 2
    assert not (t.tmp / "pits").exists()


def test_pit_new_warns_of_what_it_does_not_know(t):
    rc, _, err = pit_new(t, "--id", "x", "--language", "cobol", "--buildTool", "mavn", "--testCommand", "true")
    assert rc == 0 and 'language "cobol" is not known' in err and 'build tool "mavn" is not known' in err
    assert pit_file(t, "x")["language"] == "cobol"
    rc, _, err = pit_new(t, "--id", "y", "--language", "python")
    assert rc == 0 and err == "" and pit_file(t, "y")["buildTool"] == "pytest"


def test_pit_new_never_overwrites_with_flags_unless_forced(t):
    assert pit_new(t, "--id", "x")[0] == 0
    rc, _, err = pit_new(t, "--id", "x", "--language", "c")
    assert rc == 2 and "is there already" in err and "--force" in err
    assert pit_file(t, "x")["language"] == "java"
    assert pit_new(t, "--id", "x", "--language", "c", "--force")[0] == 0
    assert pit_file(t, "x")["language"] == "c"
    (t.tmp / "pits" / "link.json").symlink_to(t.tmp / "elsewhere")
    assert pit_new(t, "--id", "link")[0] == 2 and not (t.tmp / "elsewhere").exists()


def test_pit_new_by_questions(t):
    answers = b"Bad Id\nq\n\n\n\nsoon\n30000\nmake deps\n\n/abs\nMakefile\n\nX\nX=1\n\n"
    rc, out, err = pit_new(t, stdin=answers)
    assert rc == 0, err
    assert pit_file(t, "q") == {"language": "java", "buildTool": "maven", "testCommand": "mvn -q test", "maxTimeoutMs": 30000, "setupCommands": ["make deps"],
                                "requiredFiles": ["Makefile"], "environment": {"X": "1"}}
    assert "an id is" in err and "time limit is" in err and "relative" in err and "NAME=VALUE" in err and "[mvn -q test]" in err
    plain = b"q\n" + b"\n" * 7
    for answer, language in ((b"", "java"), (b"n\n", "java"), (b"y\n", "go")):
        rc, _, err = pit_new(t, stdin=b"q\ngo\n" + b"\n" * 6 + answer)
        assert "Overwrite" in err and rc == (0 if language == "go" else 2) and pit_file(t, "q")["language"] == language, (answer, rc, err)
    rc, _, err = pit_new(t, "--force", stdin=plain)
    assert rc == 0 and "Overwrite" not in err and pit_file(t, "q")["language"] == "java"
    rc, _, err = pit_new(t, stdin=b"r\njava\n")
    assert rc == 2 and "nothing was written" in err and not (t.tmp / "pits" / "r.json").exists()


def test_pit_new_says_what_cannot_be_written(t):
    t.file("pits", b"a file")
    rc, _, err = pit_new(t, "--id", "x")
    assert rc == 9 and "pits" in err


MASKED = [  # a line of a log; what of it must be gone; what must be left
    ('{"event":"x","password":"s3cret-one","user":"ada"}', "s3cret-one", '"user":"ada"'),
    ('{"password":"quo\\"ted-s3cret","user":"ada"}', "ted-s3cret", '"user":"ada"'),
    ("event=x admin_password=s3cret-two request_id=r1", "s3cret-two", "request_id=r1"),
    ("Authorization: Bearer abc.def-ghi_123", "abc.def", "Authorization"),
    ("authorization=Basic YWRhOnNlY3JldA==", "YWRhOnNlY3JldA", "authorization"),
    ("dsn=postgresql://ada:s3cret-three@db.example/assay", "s3cret-three", "dsn="),
    ("cannot reach amqp://ada:s3cret@four@mq.example:5672/ now", "s3cret", "mq.example:5672/ now"),
    ("got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl here", "eyJzdWIi", "here"),
    ("token asy_0123456789abcdefABCDEF was used", "asy_0123", "was used"),
    ("GET /auth/verify?token=one-time-s3cret&next=/ 200", "one-time", "next=/ 200"),
    ("https://b.s3/x?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F1&X-Amz-Signature=0123abcd&x=1", "0123abcd", "x=1"),
    ("aws_access_key_id: AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7", "aws_access_key_id"),
    ("set-cookie: session=abcdef123456; Path=/", "abcdef123456", "Path=/"),
    ("the value known-by-its-variable stands anywhere", "known-by-its-variable", "stands anywhere"),
    ("-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n-----END PRIVATE KEY-----\nafter", "MIIEvQ", "after"),
    ("a\0b password=s3cret-five", "s3cret-five", "a?b"),
    ("a request of 12 ms for /agents/ada/tokens ended", "\x01", "/agents/ada/tokens ended"),
]


def test_a_support_bundle_hides_what_looks_like_a_secret(t):
    t.server({"GET /healthz": (200, {"status": "ok"}), "GET /metrics": (200, b'x{route="/agents/{id}/tokens"} 5\n')})
    t.env["MY_API_KEY"] = "known-by-its-variable"
    log = t.file("log", "\n".join(line for line, _, _ in MASKED).encode())
    rc, out, err = t.run("support-bundle", "--json", "-o", str(t.tmp / "b.tar.gz"), "--log", log, "--assayd", "/nonexistent")
    assert rc == 0, (out, err)
    told = {p["file"]: p for p in json.loads(out)["parts"]}
    assert told["log.txt"]["there"] and not told["assayd/doctor.txt"]["there"] and not told["server/readyz.json"]["there"]
    with tarfile.open(t.tmp / "b.tar.gz") as bundle:
        texts = {m.name.split("/", 1)[1]: bundle.extractfile(m).read().decode() for m in bundle.getmembers()}
    for line, gone, left in MASKED:
        assert gone not in texts["log.txt"], f"{gone} of {line}"
        assert left in texts["log.txt"], f"{left} of {line}:\n{texts['log.txt']}"
    assert texts["server/metrics.txt"] == 'x{route="/agents/{id}/tokens"} 5\n', texts["server/metrics.txt"]
    assert stat.S_IMODE((t.tmp / "b.tar.gz").stat().st_mode) == 0o600


def main():
    tests = [(n, f) for n, f in sorted(globals().items()) if n.startswith("test_") and callable(f)]
    print(f"1..{len(tests)}")
    failed = 0
    for i, (name, f) in enumerate(tests, 1):
        with tempfile.TemporaryDirectory(prefix="assay-cli-") as tmp:
            case = Case(tmp)
            try:
                f(case)
                print(f"ok {i} - {name}")
            except Exception as e:  # pylint: disable=broad-except
                failed += 1
                print(f"not ok {i} - {name}")
                print("\n".join("# " + line for line in f"{type(e).__name__}: {e}".splitlines()))
            for s in case.servers:
                s.close()
        sys.stdout.flush()
    return 1 if failed else 0


sys.exit(main())
