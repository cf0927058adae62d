"""The n-th allocation, and the n-th system call, fails: on every route of the real server, for every n.

For each request (endpoints.py) the faults go through it one by one: n = 1, 2, 3 ... until it has met none; once alone, once
with all that follow until the answer. What must hold each time:

  the server lives; its answer is the right one, or a problem document of 503, 507 or 429, or none
  what it acknowledged is there, what it refused is not there twice, and every accepted submission gets its verdict
  no memory and no descriptor stays behind

By day a sample of the n's is taken, within ASSAY_SWEEP_SECONDS; by night all of them.

    ASSAY_NIGHT=1 python3 tests/chaos/test_sweep.py
    ASSAY_SWEEP_ONLY=agents_create,login ASSAY_SWEEP_AT=38 ASSAY_SEED=7 python3 tests/chaos/test_sweep.py

ASSAY_SWEEP_AT tries that n alone.
"""

import collections
import errno
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import run  # noqa: F401 - puts the folders of the tests' parts on the path
from endpoints import ENDPOINTS, World, routes
from harness import Answer, Api, Server, main, wait_for
from shims import Fault

NIGHT = os.environ.get("ASSAY_NIGHT") == "1"
SECONDS = float(os.environ.get("ASSAY_SWEEP_SECONDS", "1e9" if NIGHT else "15"))
SEED = int(os.environ.get("ASSAY_SEED", str(random.SystemRandom().randrange(1 << 30))))
ONLY = [x for x in os.environ.get("ASSAY_SWEEP_ONLY", "").split(",") if x]
AT = int(os.environ.get("ASSAY_SWEEP_AT", "0"))
PERMITTED = {429, 503, 507}  # of an answer that is not the right one
FOR_IO = {500, 504}          # beyond these, where the disk itself failed

# name: (kinds, errno, part)
FAULTS = {
    "no memory": (Fault.ALLOC, errno.ENOMEM, False),
    "EIO": (Fault.READ | Fault.WRITE | Fault.SYNC | Fault.NAME, errno.EIO, False),
    "ENOSPC": (Fault.WRITE | Fault.NAME | Fault.SYNC, errno.ENOSPC, False),
    "EMFILE": (Fault.OPEN | Fault.MAKE | Fault.MAP, errno.EMFILE, False),
    "EINTR": (Fault.READ | Fault.WRITE | Fault.PEER, errno.EINTR, False),
    "half": (Fault.READ | Fault.WRITE | Fault.PEER, 0, True),
}

ALONE = {"half", "EINTR"}  # a signal at every call for ever is no fault of this world


class Sweep:
    def __init__(self, server, fault, world):
        self.server, self.fault, self.world = server, fault, world
        self.pid = server.children()["server"]
        self.wrong, self.counts = [], collections.Counter()

    def complain(self, text):
        self.wrong.append(text)
        said = self.server.log_text()
        text += "\n" + "\n".join(self.frames(said[said.rfind("fault.c: this call fails"):]))
        print("# WRONG", text[:3000].replace("\n", "\n#   "), flush=True)

    @staticmethod
    def frames(said):
        """The stack of the call that failed, as far as it is ours, with the names of functions where they can be told."""
        out = []
        for path, symbol, at in re.findall(r"^(/\S+?)\(([^)+]*)\+(0x[0-9a-f]+)\)\[", said, re.M)[:40]:
            if "fault.so" in path or "libc.so" in path:
                continue
            name = symbol
            if not name and shutil.which("addr2line"):
                name = subprocess.run(["addr2line", "-fse", path, at], capture_output=True, text=True).stdout.replace("\n", " ")
            out.append(f"{os.path.basename(path)}: {name or at}")
        return out

    def ask(self, name, n, timeout=10):
        row = ENDPOINTS[name]
        method, path, body, *headers = row.make(self.world, n)
        token = row.token(self.world, n) if row.token else self.world.admin.token
        try:
            if row.stream:
                return self.listen(path, token, timeout)
            return Api(self.server.port, token, timeout=timeout).call(
                method, path, body, headers={**(headers[0] if headers else {}), **({"Idempotency-Key": f"s-{n}"} if method == "POST" else {})})
        except (OSError, http.client.HTTPException):
            return None

    def listen(self, path, token, timeout):
        """The head of a stream and its first events; a refusal as a whole."""
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=timeout) as s:
            s.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: 0\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
            got, end = b"", time.monotonic() + timeout
            while b"\r\n\r\n" not in got or (b" 200 " in got[:16] and b"event:" not in got):
                s.settimeout(max(0.01, end - time.monotonic()))
                piece = s.recv(65536)
                if not piece:
                    return None
                got += piece
            head, _, body = got.partition(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
            while "content-length" in headers and len(body) < int(headers["content-length"]):
                piece = s.recv(65536)
                if not piece:
                    return None
                body += piece
            return Answer(int(lines[0].split(" ")[1]), headers, body)

    def settle(self, where, limit=40):
        """Whether the server is well again; a new one is taken note of."""
        def well():
            try:
                return Api(self.server.port, timeout=5).call("GET", "/readyz").status == 200
            except (OSError, http.client.HTTPException):
                return False
        try:
            wait_for(f"/readyz after {where}", well, limit)
        except AssertionError:
            said = [x for x in self.server.log_text().splitlines() if '"level":"warn"' in x or '"level":"error"' in x][-8:]
            raise AssertionError(f"not ready after {where}: {self.server.api().call('GET', '/readyz')}\n" + "\n".join(x[:300] for x in said))
        pid = self.server.children().get("server")
        if pid != self.pid:
            said = self.server.log_text()
            how = [x for x in said.splitlines() if '"event":"died"' in x][-1:]
            stack = said[said.rfind("fault.c: the process crashes"):][:2000] if "fault.c: the process crashes" in said else ""
            self.complain(f"{where}: the server died: {how} {stack}")
            self.pid = pid
            if self.world.judges:
                self.languages_offered()

    def languages_offered(self):
        """A new server tries its languages first; one whose try met a fault stays out for a while, so there is another server."""
        def offered():
            known = {i["name"]: i for i in self.world.admin.get("/languages").json["items"] if i["name"] in ("c", "python")}
            if any(i["state"] == "unavailable" for i in known.values()):
                os.kill(self.pid, signal.SIGKILL)
                self.pid = wait_for("a new server", lambda: self.server.children().get("server") not in (None, self.pid) and
                                    self.server.children()["server"])
                self.server.wait_ready(60)
                return False
            return all(i["offered"] for i in known.values())
        wait_for("the languages", offered, 120, 0.2)

    def prepared(self, name):
        n = self.world.fresh()
        if ENDPOINTS[name].prepare:
            self.world.kept[n] = ENDPOINTS[name].prepare(self.world, n)
        return n

    def sound(self, where, a, permitted):
        """Whether a is an answer that a request may get when it fails; complains when it is one but not in its form."""
        if a.status not in permitted:
            return False
        try:
            faults = [] if a.headers["content-type"] == "application/problem+json" and a.json["status"] == a.status and a.json["type"] else ["form"]
        except (ValueError, KeyError, TypeError):
            faults = ["form"]
        if a.status in (503, 429) and "retry-after" not in a.headers:
            faults.append("no Retry-After")
        if faults:
            self.complain(f"{where}: {', '.join(faults)}: {a} {a.headers}")
        return True

    def look(self, where, row, n, a):
        """Whether what was acknowledged has happened. The server may die of the fault after its answer: then of the next one."""
        for more in (True, False):
            try:
                return row.happened(self.world, n, a)
            except AssertionError as e:
                return self.complain(f"{where}: {e}")
            except (OSError, http.client.HTTPException) as e:
                before = len(self.wrong)
                self.settle(where)
                if not more or len(self.wrong) == before:
                    self.complain(f"{where}: then no answer: {e}")

    def ask_again(self, name, n):
        """As a client would: a 503 is asked again after its Retry-After, three times at most."""
        for _ in range(3):
            a = self.ask(name, n)
            if a is None or a.status != 503:
                break
            self.counts["busy again"] += 1
            time.sleep(min(float(a.headers.get("retry-after", 1)), 2))
        return a

    def one(self, name, what, nth, persistent):
        """One request with the n-th call failing. False: it met no fault."""
        row = ENDPOINTS[name]
        kinds, err, part = FAULTS[what]
        n = self.prepared(name)
        where = f"{name}, {what} at {nth}{' and on' if persistent else ''}"
        permitted = PERMITTED | (FOR_IO if what != "no memory" else set())
        self.fault.arm(kinds, nth, err, persistent, part, trace=True)
        # a stream that finds no memory waits for some
        a = self.ask(name, n, 0.5 if row.stream else 4 if persistent else 10)
        hits = self.fault.disarm()
        self.counts["faults"] += hits
        self.counts["requests"] += 1
        if self.server.children().get("server") != self.pid:
            self.settle(where)
            return True
        again = False
        if a is None:
            # its outcome is settled under its key, as a client would
            self.counts["closed"] += 1
            self.settle(where)
            a, again = self.ask_again(name, n), True
        elif a.status not in row.right and self.sound(where, a, permitted):
            self.counts[a.status] += 1
            self.settle(where)
            a, again = self.ask_again(name, n), True
        if a is None or (a.status not in row.right and not (again and a.status in row.again)):
            self.complain(f"{where}: answer {a}{' on the second try' if again else ''}")
            self.settle(where)
        elif a.status in row.right:
            self.counts["right"] += 1
            if hits and what != "no memory":
                self.settle(where)  # a database that could not be written is opened anew
            if row.happened:
                self.look(where, row, n, a)
        self.world.kept.pop(n, None)
        return hits > 0

    def most(self, name, what):
        """How many calls a request makes at most."""
        most = 0
        for _ in range(3 if NIGHT else 1):
            n = self.prepared(name)
            self.fault.arm(FAULTS[what][0], 1 << 60)
            self.ask(name, n)
            most = max(most, self.fault.calls)
            self.fault.disarm()
        return most

    def through(self, name, what, persistent):
        """Every n, until three requests met no fault."""
        most, clean, n = self.most(name, what), 0, 1
        while clean < 3 and n < 3 * most + 50:
            clean = 0 if self.one(name, what, n, persistent) else clean + 1
            n += 1
        return most

    def whole(self, names, faults):
        for name in names:
            for _ in range(10):  # what a first request sets up for good
                self.ask(name, self.prepared(name))
            fds, live, pid, begun = self.fds(), self.fault.live, self.pid, time.monotonic()
            calls = {what: max(self.through(name, what, p) for p in ((False,) if what in ALONE else (False, True))) for what in faults}
            time.sleep(0.2)
            stays = f"descriptors {self.fds() - fds:+d}, allocations {self.fault.live - live:+d}" if self.pid == pid else "another process"
            print(f"# {name}: {', '.join(f'{w} {n}' for w, n in calls.items())} calls, {time.monotonic() - begun:.0f} s; {stays}", flush=True)
            if self.pid == pid and self.fds() > fds + 16:
                self.complain(f"{name}: {self.fds() - fds} descriptors stay")

    def sample(self, names, faults, rng, seconds):
        """Rounds of one n for each route, another fault each time."""
        ways = [(w, p) for w in faults for p in ((False,) if w in ALONE else (False, True))]
        most, rounds = {}, 0
        for name in names:
            for _ in range(2):
                self.ask(name, self.prepared(name))
        fds, end = self.fds(), time.monotonic() + seconds
        while time.monotonic() < end and rounds < 1000:
            for i, name in enumerate(names):
                if time.monotonic() > end:
                    break
                what, persistent = ways[(i + rounds) % len(ways)]
                if (name, what) not in most:
                    most[name, what] = self.most(name, what)
                self.one(name, what, rng.randint(1, most[name, what] + 1), persistent)
            rounds += 1
        if self.fds() > fds + 32:
            self.complain(f"{self.fds() - fds} descriptors stay")

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))


# which servers a route's request is made to: one that judges, and one that leaves that to workers elsewhere
KINDS = {True: [], False: ["--boxkeeper=false"]}
_clean = {}


def kept_by_a_clean_run(judges):
    """The allocations that a server does not give back at its end, when nothing fails: those of libraries, made once. On the
    way, that each request is one that is answered well and happens."""
    if judges not in _clean:
        with Fault() as fault:
            server = Server(env=fault.env, args=["--log-format=json", *KINDS[judges]], name="clean")
            try:
                server.start()
                sweep = Sweep(server, fault, World(server, judges))
                for name, row in ENDPOINTS.items():
                    if row.judges != judges:
                        continue
                    n = sweep.prepared(name)
                    a = sweep.ask(name, n)
                    assert a is not None and a.status in row.right, f"{name}: {a}"
                    if row.happened:
                        row.happened(sweep.world, n, a)
                assert server.stop() == 0
                _clean[judges] = fault.live
            finally:
                server.close()
    return _clean[judges]


def sweep_all(faults):
    for judges in KINDS:
        names = [n for n, row in ENDPOINTS.items() if row.judges == judges and (not ONLY or n in ONLY)]
        if names:
            sweep_one(judges, names, faults)


def sweep_one(judges, names, faults):
    kept = kept_by_a_clean_run(judges)
    rng = random.Random(SEED)
    print(f"# seed {SEED}; {len(names)} requests, {'every call' if NIGHT else 'a sample'}", flush=True)
    with Fault() as fault:
        server = Server(env=fault.env, args=["--log-format=json", *KINDS[judges]], name="sweep")
        try:
            server.start()
            sweep = Sweep(server, fault, World(server, judges))
            if judges:
                sweep.languages_offered()
            rng.shuffle(names)
            if AT:
                for name in names:
                    for persistent in (False, True):
                        sweep.one(name, faults[0], AT, persistent)
            elif NIGHT:
                sweep.whole(names, faults)
            else:
                sweep.sample(names, faults, rng, SECONDS * len(names) / len(ENDPOINTS))
            print(f"# {dict(sweep.counts)}", flush=True)
            for sid, verdict in sweep.world.accepted.items() if judges else ():
                try:
                    s = server.wait_done(sweep.world.admin, sid, 60)
                except AssertionError:
                    s = sweep.world.admin.get(f"/submissions/{sid}").json
                    s["log"] = [x[:400] for x in server.log_text().splitlines() if sid in x][-12:]
                if (s["status"], s["verdict"]) != ("done", verdict):
                    told = sweep.world.admin.call("GET", f"/results/{sid}")
                    sweep.complain(f"{sid} must be {verdict}: {json.dumps(s)} {told.body.decode()}")
            assert not sweep.wrong, f"{len(sweep.wrong)} (seed {SEED})"
            assert sweep.counts["faults"], "nothing failed: the library was not loaded"
            assert server.stop() == 0
            # what a server that met faults keeps at its end, beyond one that met none
            leaked = fault.live - kept
            print(f"# allocations that are not given back: {kept} without faults, {leaked:+d} with {sweep.counts['faults']}", flush=True)
            assert leaked <= 40, f"{leaked} allocations were lost to {sweep.counts['faults']} faults"
        finally:
            server.close()


def test_every_route_has_a_request_that_is_right():
    known = routes()
    missing = sorted(set(known) - set(ENDPOINTS))
    assert not missing, f"tests/chaos/endpoints.py has no request for {missing}"
    gone = sorted(n for n in ENDPOINTS if n not in known and " " not in n)
    assert not gone, f"tests/chaos/endpoints.py has requests for routes that are not there: {gone}"
    for judges in KINDS:
        kept_by_a_clean_run(judges)


def test_the_nth_allocation_fails():
    sweep_all(["no memory"])


def test_the_nth_system_call_fails():
    sweep_all([f for f in FAULTS if f != "no memory"])


if __name__ == "__main__":
    main(sys.modules[__name__])
