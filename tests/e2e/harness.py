"""What the end-to-end tests share: a real server from a staged install, an HTTP client, TAP output.

A test file defines functions named test_*; each takes a Server that is up (one per file, on its own
data directory and port), or no argument when it starts its own.  Run one file with

    ASSAY_PREFIX=/path/of/install python3 tests/e2e/test_x.py [name ...]

Every process that a test starts is ended by its pid, also when the test fails.

Between a test and the servers that it starts stands a proxy (tests/proxy), which passes the bytes on as they are and holds every
answer to docs/openapi.json: the server listens at another address of the loopback, the proxy at 127.0.0.1, both at `port`.  A test that
looks at the sockets themselves goes past it by @direct("why"), a server has none by Server(direct="why").  ASSAY_PROXY=0: none at all.
"""

import http.client
import inspect
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "proxy"))
import door  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
PREFIX = pathlib.Path(os.environ.get("ASSAY_PREFIX", ROOT / "build" / "stage"))
FIXTURES = ROOT / "fixtures"
ADMIN_PASSWORD = "an-admin-password-for-tests"
PROXIED = {"e2e", "contract", "dashboard"}  # chaos, hostile and bench count and time what passes; nothing may stand between
SEEN = pathlib.Path(os.environ.get("ASSAY_SEEN", ROOT / "build" / "test" / "seen"))

DOOR = None     # the proxy, while main() runs a suite that has one
PAST = False    # a test that goes past it is running
BEHIND = set()  # ports of the servers behind it


class Skip(Exception):
    """Raised by a test that cannot run here; the text says what is missing."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def at(port):
    """The address and port at which this test finds the server of that port."""
    return (door.BEHIND if PAST and port in BEHIND else "127.0.0.1", port)


def direct(why):
    """Marks a test that must talk to the server itself; the reason is shown."""
    def mark(f):
        f.direct = why
        return f
    return mark


def wait_for(what, predicate, timeout=30.0, every=0.02):
    """Polls until predicate() is true and returns its value; fails naming what it waited for."""
    end = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout} s for {what}")
        time.sleep(every)


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:400]!r}>"


class Api:
    """One account's view of a server. Opens a connection per request: simple, and never stale."""

    def __init__(self, port, token=None, timeout=30):
        self.port, self.token, self.timeout = port, token, timeout

    def call(self, method, path, body=None, headers=None, expect=None):
        h = {"Accept": "application/json"}
        if self.token:
            h["Authorization"] = f"Bearer {self.token}"
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            h["Content-Type"] = "application/json"
        h.update(headers or {})
        c = http.client.HTTPConnection(*at(self.port), timeout=self.timeout)
        try:
            c.request(method, path, body=body, headers=h)
            r = c.getresponse()
            a = Answer(r.status, {k.lower(): v for k, v in r.getheaders()}, r.read())
        finally:
            c.close()
        if expect is not None:
            want = expect if isinstance(expect, (tuple, list)) else (expect,)
            assert a.status in want, f"{method} {path}: want {want}, got {a}"
        return a

    def get(self, path, expect=200, **kw):
        return self.call("GET", path, expect=expect, **kw)

    def post(self, path, body=None, expect=(200, 201, 202), **kw):
        return self.call("POST", path, body=body, expect=expect, **kw)

    def patch(self, path, body, expect=200, **kw):
        return self.call("PATCH", path, body=body, expect=expect, **kw)

    def put(self, path, body, expect=200, **kw):
        return self.call("PUT", path, body=body, expect=expect, **kw)

    def delete(self, path, expect=(200, 204), **kw):
        return self.call("DELETE", path, expect=expect, **kw)

    def all(self, path):
        """Every item of a list, page by page; the path has a query already."""
        items, cursor = [], ""
        while cursor is not None:
            page = self.get(f"{path}&limit=100&cursor={cursor}").json
            items += page["items"]
            cursor = page.get("next_cursor")
        return items


class Server:
    """assayd from the staged install, on a data directory of its own."""

    def __init__(self, env=None, args=(), data=None, port=None, name="server", wrap=(), direct=None):
        self.wrap = list(wrap)  # a command that starts the server, such as setpriv
        self.prefix = PREFIX    # the next start is of what is installed there
        self.tmp = None
        if data is None:
            # under /var/tmp: not a tmpfs, so that fsync is real; traversable for the unprivileged server
            self.tmp = pathlib.Path(tempfile.mkdtemp(prefix="assay-e2e-", dir="/var/tmp"))
            self.tmp.chmod(0o755)
            data = self.tmp / "data"
        self.data = pathlib.Path(data)
        self.port = port or free_port()
        self.args = list(args)
        self.log_path = self.data.parent / f"{name}.log"
        self.process = None
        self.env = {
            "PATH": "/usr/bin:/bin",
            "APP_ENV": "development",
            "HTTP_PORT": str(self.port),
            "ASSAY_HTTP_ADDRESS": "127.0.0.1",
            "ASSAY_DATA_DIR": str(self.data),
            "ASSAY_ADMIN_PASSWORD": ADMIN_PASSWORD,
            "ASSAY_WARM": "false",  # seconds of work for each new data directory; test_builds.py is about it
        }
        # sanitizer and coverage settings pass through
        for k, v in os.environ.items():
            if k.endswith("SAN_OPTIONS") or k.startswith("GCOV"):
                self.env[k] = v
        self.env.update(env or {})
        # where the server itself listens
        self.address = self.env["ASSAY_HTTP_ADDRESS"]
        if DOOR and not direct and self.address == "127.0.0.1":
            self.address = self.env["ASSAY_HTTP_ADDRESS"] = door.BEHIND
            BEHIND.add(self.port)

    def spawn(self, extra_args=()):
        if self.port in BEHIND:
            DOOR.open(self.port)
        self.log = open(self.log_path, "ab")
        self.process = subprocess.Popen(
            [*self.wrap, str(self.prefix / "bin" / "assayd"), *self.args, *extra_args],
            env=self.env, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
        )
        return self

    def start(self, timeout=60):
        self.spawn()
        self.wait_ready(timeout)
        return self

    def wait_ready(self, timeout=60):
        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"assayd ended with {self.process.returncode}:\n{self.log_text()[-4000:]}")
            try:
                return Api(self.port, timeout=2).call("GET", "/readyz").status == 200
            except OSError:
                return False
        wait_for("/readyz", ready, timeout)

    def log_text(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def children(self):
        """{role: pid} of the supervisor's children, by what they execute."""
        roles = {}
        pid = self.process.pid
        path = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
        try:
            kids = [int(p) for p in path.read_text().split()]
        except OSError:
            return roles
        for kid in kids:
            try:
                line = pathlib.Path(f"/proc/{kid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            text = b" ".join(line).decode(errors="replace")
            if "boxkeeper" in line[0].decode(errors="replace"):
                roles["boxkeeper"] = kid
            elif "role=server" in text:
                roles["server"] = kid
        return roles

    def stop(self, sig=signal.SIGTERM, timeout=40):
        if self.process and self.process.poll() is None:
            self.process.send_signal(sig)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"assayd did not stop within {timeout} s of signal {sig}")
        code = self.process.returncode if self.process else None
        self.process = None
        self.shut()
        return code

    def shut(self):
        """Nobody listens any more."""
        if self.port in BEHIND:
            DOOR.close(self.port)

    def kill(self):
        """kill -9 of all of it, at once."""
        for pid in (self.process.pid, *self.children().values()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        self.shut()

    def close(self):
        try:
            if self.process and self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.shut()
        finally:
            if self.tmp and not os.environ.get("ASSAY_KEEP"):
                # the children end with their supervisor; their files may take a moment
                for _ in range(20):
                    shutil.rmtree(self.tmp, ignore_errors=True)
                    if not self.tmp.exists():
                        break
                    time.sleep(0.05)

    # ---- conveniences -------------------------------------------------------------------------

    def api(self, token=None):
        return Api(self.port, token)

    def metric(self, name):
        """The sum of all samples whose line begins so."""
        text = self.api().call("GET", "/metrics").body.decode()
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))

    def login(self, login="admin", password=ADMIN_PASSWORD):
        a = self.api().post("/login", {"login": login, "password": password}, expect=200)
        return Api(self.port, a.json["token"])

    def register(self, login, password="a-long-enough-password"):
        self.api().post("/register", {"login": login, "password": password}, expect=201)
        return self.login(login, password)

    def demo(self, admin):
        """Publishes the demo benchmark and the agent "ada"; gives the benchmark's answer."""
        b = json.loads((FIXTURES / "demo" / "benchmark.json").read_text())
        admin.post("/benchmarks", b, expect=201)
        admin.post("/agents", {"id": "ada", "name": "Ada"}, expect=201)
        return b

    def wait_done(self, api, submission_id, timeout=60):
        def done():
            s = api.get(f"/submissions/{submission_id}").json
            return s if s["status"] in ("done", "error", "cancelled") else None
        return wait_for(f"submission {submission_id} to end", done, timeout)


def program(name):
    return (FIXTURES / "demo" / "programs" / name).read_text()


def night(f):
    """A test of the night: by day it is neither run nor counted."""
    f.night = True
    return f


def run(f, make, server):
    """Runs one test, and judges what passed the proxy meanwhile; gives the server that is up for the file."""
    global PAST
    try:
        PAST = hasattr(f, "direct")
        if inspect.signature(f).parameters:
            if server[0] is None:
                server[0] = make().start()
            f(server[0])
        else:
            f()
    finally:
        PAST = False
        faults = DOOR.settle() if DOOR else ""
        if faults:
            raise AssertionError(f"what the server said is not what docs/openapi.json says:\n{faults}")


def main(module):
    """Runs the test_* functions of a module and prints TAP."""
    global DOOR
    wanted = sys.argv[1:]
    tests = [(n, f) for n, f in vars(module).items() if n.startswith("test_") and callable(f)]
    tests.sort(key=lambda t: t[1].__code__.co_firstlineno)
    if wanted:
        tests = [t for t in tests if t[0] in wanted]
    elif os.environ.get("ASSAY_NIGHT", "0") == "0":
        for name, f in tests:
            if hasattr(f, "night"):
                print(f"# left to the night: {name[5:].replace('_', ' ')}")
        tests = [t for t in tests if not hasattr(t[1], "night")]
    print(f"1..{len(tests)}", flush=True)
    here = pathlib.Path(module.__file__).resolve()
    if here.parent.name in PROXIED and os.environ.get("ASSAY_PROXY") != "0":
        DOOR = door.Door()
    server, failed = [None], 0
    make = getattr(module, "make_server", Server)
    try:
        for i, (name, f) in enumerate(tests, 1):
            label = f"{here.stem}: {name[5:].replace('_', ' ')}"
            started = time.monotonic()
            if DOOR and hasattr(f, "direct"):
                print(f"# past the proxy: {name[5:].replace('_', ' ')}: {f.direct}")
            try:
                run(f, make, server)
                print(f"ok {i} - {label} ({time.monotonic() - started:.1f} s)", flush=True)
            except Skip as why:
                print(f"ok {i} - {label} # SKIP {why}", flush=True)
            except BaseException as e:  # noqa: B902 - also an interrupt ends with its test named
                failed += 1
                print(f"not ok {i} - {label}", flush=True)
                for line in traceback.format_exc().splitlines():
                    print("#", re.sub(r"[^\x20-\x7e]", "?", line), flush=True)
                up = server[0]
                if up and up.process and up.process.poll() is not None:
                    print("# the server has ended; the end of its log:")
                    for line in up.log_text().splitlines()[-15:]:
                        print("#", re.sub(r"[^\x20-\x7e]", "?", line), flush=True)
                    up.close()
                    server[0] = None
                if isinstance(e, KeyboardInterrupt):
                    break
    finally:
        if server[0]:
            server[0].close()
        if DOOR:
            DOOR.end()
    if DOOR and not wanted:
        SEEN.joinpath(here.parent.name).mkdir(parents=True, exist_ok=True)
        seen = {"operations": DOOR.seen, "unread": DOOR.unread, "cpu_s": DOOR.cpu_s, "past": {n: f.direct for n, f in tests if hasattr(f, "direct")}}
        if os.environ.get("ASSAY_PROXY_SAMPLES"):
            seen["samples"] = DOOR.samples
        SEEN.joinpath(here.parent.name, f"{here.stem}.json").write_text(json.dumps(seen, indent=1, sort_keys=True))
    sys.exit(1 if failed else 0)
