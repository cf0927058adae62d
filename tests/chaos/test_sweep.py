"""The n-th allocation, and the n-th system call, fails: on every endpoint of the real server, for every n.

For each request the faults go through it one by one: n = 1, 2, 3 ... until it has met none; once alone, once with all that
follow until the answer. What must hold each time:

  the server lives; its answer is the right one, or 503, 507 or 429, or none
  what it acknowledged is there, what it refused is not there twice, and every accepted submission gets its verdict
  no memory and no descriptor stays behind

By day a sample of the n's is taken, within ASSAY_SWEEP_SECONDS; by night all of them.

    ASSAY_NIGHT=1 python3 tests/chaos/test_sweep.py
    ASSAY_SWEEP_ONLY='POST /agents' ASSAY_SEED=7 python3 tests/chaos/test_sweep.py
"""

import collections
import errno
import http.client
import os
import random
import signal
import sys
import time

import run
import shims
from harness import Api, Server, Skip, main, program, wait_for
from shims import Fault

NIGHT = os.environ.get("ASSAY_NIGHT") == "1"
SECONDS = float(os.environ.get("ASSAY_SWEEP_SECONDS", "1e9" if NIGHT else "15"))
SEED = int(os.environ.get("ASSAY_SEED", str(random.SystemRandom().randrange(1 << 30))))
ONLY = os.environ.get("ASSAY_SWEEP_ONLY", "")
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


class World:
    """What the requests speak of; each request makes its own names."""

    def __init__(self, server, admin):
        self.server, self.admin, self.n = server, admin, 0
        admin.post("/agents", {"id": "ada", "name": "Ada"}, expect=201)
        self.problem = admin.post("/benchmarks", {
            "id": "swept", "name": "Swept", "compare": "tokens", "feedback": "full",
            "limits": {"time_limit_ms": 1000, "wall_limit_ms": 20000, "memory_limit_bytes": 64 << 20},
            "tests": [{"input": "1 2 3", "expected_output": "6"}]}, expect=201).json["problems"][0]["id"]
        self.accepted = {}  # submission -> verdict
        self.done = self.submit()
        server.wait_done(admin, self.done, 60)
        admin.post("/register", {"login": "somebody", "password": "a-long-enough-password"}, expect=201)

    def submit(self):
        a = self.admin.post("/submissions", {"benchmark_id": "swept", "agent_id": "ada", "language": "c", "source": program("right.c")})
        self.accepted[a.json["id"]] = "OK"
        return a.json["id"]

    def fresh(self):
        self.n += 1
        return self.n


def got(path):
    return lambda w, n: ("GET", path(w) if callable(path) else path, None)


def submission(file):
    return lambda w, n: ("POST", "/submissions", {"benchmark_id": "swept", "agent_id": "ada", "language": "c", "source": program(file)})


def took_submission(verdict):
    def note(w, n, a):
        assert w.accepted.setdefault(a.json["id"], verdict) == verdict
    return note


def took_batch(w, n, a):
    for item in a.json["items"]:
        if item["status"] == 202:
            w.accepted[item["submission"]["id"]] = "OK"


def there(path):
    def look(w, n, a):
        w.admin.get(path(n), expect=200)
    return look


def took_tests(w, n, a):
    tests = w.admin.get(f"/problems/{w.problem}/tests", expect=200).json
    assert any(t.get("input") == f"{n} 2 3" for t in tests["items"]), f"acknowledged and not there: {n} {tests}"


# name: (request, right answers, what must be true when one came)
ENDPOINTS = {
    "POST /submissions": (submission("right.c"), {202}, took_submission("OK")),
    "POST /submissions that does not build": (submission("uncompilable.c"), {202}, took_submission("BF")),
    "POST /submissions/batch": (lambda w, n: ("POST", "/submissions/batch", {"items": [
        {"benchmark_id": "swept", "agent_id": "ada", "language": "c", "source": program("right.c")}] * 3}), {200, 202, 207}, took_batch),
    "GET /submissions": (got("/submissions?benchmark_id=swept&limit=10"), {200}, None),
    "GET /submissions/{id}": (got(lambda w: f"/submissions/{w.done}"), {200}, None),
    "GET /submissions/{id}/source": (got(lambda w: f"/submissions/{w.done}/source"), {200}, None),
    "POST /submissions/{id}/rejudge": (lambda w, n: ("POST", f"/submissions/{w.done}/rejudge", None), {200, 202, 409}, None),
    "POST /login": (lambda w, n: ("POST", "/login", {"login": "somebody", "password": "a-long-enough-password"}), {200}, None),
    "POST /register": (lambda w, n: ("POST", "/register", {"login": f"user-{n}", "password": "a-long-enough-password"}), {201},
                       lambda w, n, a: w.admin.post("/login", {"login": f"user-{n}", "password": "a-long-enough-password"}, expect=(200, 429))),
    "GET /me": (got("/me"), {200}, None),
    "GET /users": (got("/users"), {200}, None),
    "POST /agents": (lambda w, n: ("POST", "/agents", {"id": f"agent-{n}", "name": "An agent"}), {201}, there(lambda n: f"/agents/agent-{n}")),
    "GET /agents": (got("/agents"), {200}, None),
    "PATCH /agents/{id}": (lambda w, n: ("PATCH", "/agents/ada", {"name": f"Ada {n}"}), {200}, None),
    "POST /agents/{id}/tokens": (lambda w, n: ("POST", "/agents/ada/tokens", {"name": f"token {n}"}), {201}, None),
    "POST /benchmarks": (lambda w, n: ("POST", "/benchmarks", {"id": f"bench-{n}", "name": "A benchmark", "tests": [
        {"input": f"{n}", "expected_output": "6"}]}), {201}, there(lambda n: f"/benchmarks/bench-{n}")),
    "GET /benchmarks": (got("/benchmarks"), {200}, None),
    "GET /benchmarks/{id}": (got("/benchmarks/swept"), {200}, None),
    "PATCH /benchmarks/{id}": (lambda w, n: ("PATCH", "/benchmarks/swept", {"name": f"Swept {n}"}), {200}, None),
    "PUT /problems/{id}/tests": (lambda w, n: ("PUT", f"/problems/{w.problem}/tests", {"tests": [
        {"input": f"{n} 2 3", "expected_output": str(n + 5)}]}), {200, 204}, took_tests),
    "GET /problems/{id}/tests": (got(lambda w: f"/problems/{w.problem}/tests"), {200}, None),
    "GET /leaderboard": (got("/leaderboard?benchmark_id=swept"), {200}, None),
    "GET /results": (got("/results?benchmark_id=swept"), {200}, None),
    "GET /results/{id}": (got(lambda w: f"/results/{w.done}"), {200}, None),
    "GET /scores": (got("/scores?benchmark_id=swept"), {200}, None),
    "GET /traces": (got(lambda w: f"/traces?submission_id={w.done}"), {200}, None),
    "POST /traces": (lambda w, n: ("POST", "/traces", {"submission_id": w.done, "message": f"note {n}"}), {200, 201}, None),
    "POST /task": (lambda w, n: ("POST", "/task", {"translator": "python", "code": f"print({n})"}), {201}, None),
    "GET /languages": (got("/languages"), {200}, None),
    "GET /runners": (got("/runners"), {200}, None),
    "GET /readyz": (got("/readyz"), {200, 503}, None),
    "GET /metrics": (got("/metrics"), {200}, None),
    "GET /swagger.json": (got("/swagger.json"), {200}, None),
    "GET /nothing": (got("/nothing"), {404}, None),
}


class Sweep:
    def __init__(self, server, fault, world):
        self.server, self.fault, self.world = server, fault, world
        self.pid = server.children()["server"]
        self.wrong, self.counts = [], collections.Counter()

    def ask(self, make, n, timeout=10):
        method, path, body = make(self.world, n)
        try:
            return Api(self.server.port, self.world.admin.token, timeout=timeout).call(
                method, path, body, headers={"Idempotency-Key": f"s-{n}"} if method == "POST" else None)
        except (OSError, http.client.HTTPException):
            return None

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
            # what libraries do with a failed allocation, which the server cannot keep them from: libjwt writes through a
            # NULL, the C library ends the process when a thread's variables of a plugin find no room
            if "jwt_encode_str" in stack or "exit status 127" in str(how):
                self.counts["deaths by libraries"] += 1
            else:
                self.wrong.append(f"{where}: the server died: {how} {stack}")
            self.pid = pid
            self.languages_offered()

    def languages_offered(self):
        """A new server tries its languages first; one whose try met a fault stays out until the next start, so there is one."""
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

    def one(self, name, what, nth, persistent):
        """One request with the n-th call failing. False: it met no fault."""
        make, right, check = ENDPOINTS[name]
        kinds, err, part = FAULTS[what]
        n = self.world.fresh()
        where = f"{name}, {what} at {nth}{' and on' if persistent else ''}"
        self.fault.arm(kinds, nth, err, persistent, part)
        a = self.ask(make, n, 4 if persistent else 10)
        hits = self.fault.disarm()
        self.counts["faults"] += hits
        self.counts["requests"] += 1
        if self.server.children().get("server") != self.pid:
            self.settle(where)
            return True
        if a is None:
            self.counts["closed"] += 1
            # its outcome is settled under its key, as a client would
            self.settle(where)
            a = self.ask(make, n)
            again = True
        else:
            again = False
        if a is not None and a.status in PERMITTED | (FOR_IO if what != 'no memory' else set()) and a.status not in right:
            self.counts[a.status] += 1
            if a.status in (503, 429) and "retry-after" not in a.headers:
                self.wrong.append(f"{where}: {a.status} without Retry-After: {a}")
            self.settle(where)
            if make(self.world, n)[0] != "POST":
                return hits > 0
            a, again = self.ask(make, n), True
        if a is None or (a.status not in right and not (again and a.status in (401, 409, 429))):
            self.wrong.append(f"{where}: answer {a}{' on the second try' if again else ''}")
            self.settle(where)
        elif a.status in right:
            self.counts["right"] += 1
            if check:
                try:
                    check(self.world, n, a)
                except AssertionError as e:
                    self.wrong.append(f"{where}: {e}")
        return hits > 0

    def through(self, name, what, persistent, rng, end):
        """Every n, or what of them there is time for."""
        kinds, err, part = FAULTS[what]
        most = 0
        for _ in range(3):  # how many calls a request makes at most
            self.fault.arm(kinds, 1 << 60)
            self.ask(ENDPOINTS[name][0], self.world.fresh())
            most = max(most, self.fault.calls)
            self.fault.disarm()
        clean, n = 0, 1
        if NIGHT:
            while clean < 3 and n < 3 * most + 50:
                clean = 0 if self.one(name, what, n, persistent) else clean + 1
                n += 1
        else:
            for n in rng.sample(range(1, most + 2), min(6, most + 1)):
                if time.monotonic() < end:
                    self.one(name, what, n, persistent)
        return most

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))


def kept_by_a_clean_run():
    """The allocations that a server does not give back at its end, when nothing fails: those of libraries, made once."""
    with Fault() as fault:
        server = Server(env=fault.env, args=["--log-format=json"], name="clean")
        try:
            server.start()
            sweep = Sweep(server, fault, World(server, server.login()))
            for name in ENDPOINTS:
                for _ in range(3):
                    sweep.ask(ENDPOINTS[name][0], sweep.world.fresh())
            assert server.stop() == 0
            return fault.live
        finally:
            server.close()


def sweep_all(names, faults):
    kept = kept_by_a_clean_run()
    rng = random.Random(SEED)
    print(f"# seed {SEED}; {'all' if NIGHT else 'a sample'}", flush=True)
    with Fault() as fault:
        server = Server(env=fault.env, args=["--log-format=json"], name="sweep")
        try:
            server.start()
            sweep = Sweep(server, fault, World(server, server.login()))
            sweep.languages_offered()
            end = time.monotonic() + SECONDS
            rng.shuffle(names)
            for name in names:
                for _ in range(10):  # what a first request sets up for good
                    sweep.ask(ENDPOINTS[name][0], sweep.world.fresh())
                fds, live, pid, before = sweep.fds(), fault.live, sweep.pid, sum(sweep.counts.values())
                for what in faults:
                    for persistent in (False,) if what in ALONE else (False, True):
                        if time.monotonic() < end:
                            most = sweep.through(name, what, persistent, rng, end)
                            if NIGHT:
                                print(f"# {name}, {what}{' and on' if persistent else ''}: {most} calls", flush=True)
                if sweep.pid == pid and sum(sweep.counts.values()) > before:
                    time.sleep(0.2)
                    print(f"# {name}: descriptors {sweep.fds() - fds:+d}, allocations {fault.live - live:+d}", flush=True)
                    if sweep.fds() > fds + 16:
                        sweep.wrong.append(f"{name}: {sweep.fds() - fds} descriptors stay")
                if time.monotonic() > end:
                    break
            print(f"# {dict(sweep.counts)}", flush=True)
            for sid, verdict in sweep.world.accepted.items():
                try:
                    s = server.wait_done(sweep.world.admin, sid, 60)
                except AssertionError:
                    s = sweep.world.admin.get(f"/submissions/{sid}").json
                    s["log"] = [x[:400] for x in server.log_text().splitlines() if sid in x][-12:]
                if (s["status"], s["verdict"]) != ("done", verdict):
                    sweep.wrong.append(f"{sid} must be {verdict}: {s}")
            for line in sweep.wrong[:60]:
                print("# WRONG", line, flush=True)
            assert not sweep.wrong, f"{len(sweep.wrong)} (seed {SEED})"
            assert sweep.counts["faults"], "nothing failed: the library was not loaded"
            assert server.stop() == 0
            # what a server that met faults keeps at its end, beyond one that met none
            leaked = fault.live - kept
            print(f"# allocations that are not given back: {kept} without faults, {leaked:+d} with {sweep.counts['faults']}", flush=True)
            assert leaked <= 40, f"{leaked} allocations were lost to {sweep.counts['faults']} faults"
        finally:
            server.close()


def chosen():
    return [n for n in ENDPOINTS if not ONLY or n == ONLY]


def test_the_nth_allocation_fails():
    # not clean yet (docs/reliability.md says what is left), so that a sample of it says nothing about a change
    if not NIGHT:
        raise Skip("a matter of the night (ASSAY_NIGHT=1)")
    sweep_all(chosen(), ["no memory"])


def test_the_nth_system_call_fails():
    sweep_all(chosen(), [f for f in FAULTS if f != "no memory"])


if __name__ == "__main__":
    main(sys.modules[__name__])
