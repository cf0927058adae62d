"""Runs the hostile programs (table.py) against a real server and holds each to the rule that all of them share.

    ASSAY_PREFIX=/path/of/install python3 tests/hostile/run.py --driver native|ordinary|docker [H01 ...]
                                           [--repeat N] [--mixed N] [--no-honest]

For every case: the right verdict; wall time at most a second over the limit; nothing survives (residue.py); the same
three processes of the server live and answer; the next honest job is judged OK in the CPU time of the bare program
that runs before and after it; no more is stored than the caps allow; canaries of the host are as they were; the
memory of the server stays flat.  With --mixed N no case is run by itself: N submissions, honest and hostile, several at
a time, and then the same residue check.  Prints TAP.
"""

import argparse
import ctypes
import hashlib
import os
import pathlib
import random
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "e2e"), str(HERE)]

import archives  # noqa: E402
import checks  # noqa: E402
import drivers  # noqa: E402
import projects  # noqa: E402
import table  # noqa: E402
from harness import Skip, wait_for  # noqa: E402
from residue import Residue, read, status  # noqa: E402

BUILD_SECONDS = 6       # CPU time of a build on this server
TOLERANCE = 0.10        # of CPU time, beside the interleaved control
GROWTH_OF_STORE = 4 << 20   # bytes, by one case; a WAL may grow to its checkpoint once
GROWTH_OF_SERVER = 24 << 20  # bytes of memory, by one case
OPEN = {"time_limit_ms": 2000, "wall_limit_ms": 5000}


def tree_hash(paths):
    h = hashlib.sha256()
    for top in paths:
        for path in sorted([top, *top.rglob("*")] if top.is_dir() and not top.is_symlink() else [top]):
            s = path.lstat()
            h.update(f"{path} {s.st_mode:o} {s.st_uid} {s.st_gid} {s.st_nlink}\n".encode())
            if path.is_symlink():
                h.update(os.readlink(path).encode())
            elif path.is_file():
                h.update(path.read_bytes())
    return h.hexdigest()


class Context:
    def __init__(self, driver):
        self.driver = driver
        # readable and writable by everybody, so that only the box's walls are between it and a program
        self.tmp = pathlib.Path(tempfile.mkdtemp(prefix="assay-hostile-", dir="/var/tmp"))
        self.tmp.chmod(0o755)
        self.canaries = self.tmp / "canaries"
        (self.canaries / "deep").mkdir(parents=True)
        self.secret = secrets.token_hex(16)
        for name in ("canary", "deep/canary"):
            (self.canaries / name).write_text(f"the-secret-{self.secret}\n")
            (self.canaries / name).chmod(0o666)
        for folder in (self.canaries, self.canaries / "deep"):
            folder.chmod(0o777)
        self.sockets = []
        self.abstract = f"assay-hostile-{secrets.token_hex(4)}"
        self.path_socket = self.tmp / "listening"
        for address in ("\0" + self.abstract, str(self.path_socket)):
            s = socket.socket(socket.AF_UNIX)
            s.bind(address)
            s.listen(5)
            self.sockets.append(s)
        self.path_socket.chmod(0o777)
        self.honest_source = self.program("honest.c", {})
        self.honest = self.tmp / "honest"
        subprocess.run(["gcc", "-std=gnu17", "-O2", "-static", "-o", str(self.honest), str(HERE / "programs" / "honest.c")], check=True)
        self.honest_output = subprocess.run([str(self.honest)], capture_output=True, check=True).stdout.decode()
        self.serial = 0
        self.ratios, self.benchmarks, self.bare_beside, self.waits = [], {}, [], [1.0]

    def start(self):
        self.server = self.driver.start({"ASSAY_LANGUAGES_PATH": str(HERE / "languages"), "ASSAY_BUILD_TIME_LIMIT": f"{BUILD_SECONDS}s",
                                         "RUNNER_MAX_PARALLEL": "2", "HOSTILE_CANARY": f"the-secret-{self.secret}"})
        self.server.wait_ready(120)
        self.admin = self.server.login()
        self.admin.timeout = 120
        self.admin.post("/agents", {"id": "ada", "name": "Ada"}, expect=201)
        self.admin.post("/pits", {"id": "hostile", "language": "bash", "buildTool": "sh", "testCommand": "test -f nested.zip && test \"$(ls)\" = nested.zip",
                                  "maxTimeoutMs": 10000}, expect=201)

        def settled():
            items = self.admin.get("/languages").json["items"]
            return {i["name"]: i for i in items} if all(i["state"] != "testing" for i in items) else None
        known = wait_for("the languages' self-tests", settled, 180)
        missing = [n for n in sorted(set(table.ENDINGS.values())) if not known[n]["offered"]]
        assert not missing, {n: known[n]["reason"] for n in missing}
        self.version = {n: known[n]["version"] for n in sorted(set(table.ENDINGS.values()))}
        self.words = {"CANARY": str(self.canaries / "canary"), "CANARIES": str(self.canaries), "DATA": str(self.server.data),
                      "PORT": str(self.server.port), "ABSTRACT": self.abstract, "PATHSOCKET": str(self.path_socket), "SUM": self.honest_output}
        key = self.server.data / "jwt.secret"
        shadow = read("/etc/shadow").split("\n")[0] if os.geteuid() == 0 else ""
        self.secrets = [s for s in (f"the-secret-{self.secret}", read(key).strip(), shadow, self.server.env["ASSAY_ADMIN_PASSWORD"]) if s]
        self.judge_job("warm", self.honest_run())
        self.judge_job("warm", self.honest_run())
        self.residue = self.driver.residue(self.server)
        self.pids = {self.server.process.pid, *self.server.children().values()}
        first = self.residue.left()
        assert not first, first
        self.host = self.host_state()
        self.stored = self.store_bytes()

    def host_state(self):
        prefix = pathlib.Path(os.environ.get("ASSAY_PREFIX", HERE.parents[1] / "build" / "stage"))
        paths = [self.canaries, self.server.data / "jwt.secret", prefix / "bin", prefix / "libexec", pathlib.Path("/etc/passwd"),
                 pathlib.Path("/bin/env"), pathlib.Path("/etc/hostname"), pathlib.Path("/etc/ld.so.cache")]
        knobs = [read(f"/proc/sys/kernel/{k}") for k in ("core_pattern", "hostname", "modprobe", "shmmni", "msgmni", "sem")]
        return tree_hash([p for p in paths if p.exists()]), knobs

    def store_bytes(self):
        total = 0
        for folder, _, names in os.walk(self.server.data):
            for name in names:
                try:
                    total += os.lstat(os.path.join(folder, name)).st_blocks * 512
                except OSError:
                    pass
        return total

    # ---- submissions ----------------------------------------------------------------------------------------

    def program(self, name, words):
        text = (HERE / "programs" / name).read_text()
        for word, value in {**getattr(self, "words", {}), **words}.items():
            text = text.replace(f"@{word}@", value)
        return text

    def honest_run(self):
        return table.Run("honest.c", "OK", ("", ""), expect=self.honest_output, limits=OPEN)

    def publish(self, name, run):
        expect = self.words["SUM"] if run.expect == "@SUM@" else run.expect
        key = (run.tests, expect, tuple(sorted(run.limits.items())), run.compare, str(run.checker))
        if key not in self.benchmarks:
            self.serial += 1
            tests = [{"input": t[0], "expected_output": t[1]} if isinstance(t, tuple) else {"input": t, "expected_output": expect} for t in run.tests]
            body = {"id": f"hostile-{self.serial}", "name": name, "feedback": "full", "tests": tests, "compare": run.compare,
                    "limits": {**OPEN, **run.limits}, "stop_on_failure": False}
            if run.checker:
                body["checker"] = {**run.checker, "source": self.program(run.checker["source"], {})}
            self.benchmarks[key] = self.admin.post("/benchmarks", body, expect=201).json["id"]
        return self.benchmarks[key]

    def submit(self, name, run):
        ending = run.program.rsplit(".", 1)[1]
        language = run.language or table.ENDINGS[ending]
        text = self.program(run.program, run.words)
        body = {"benchmark_id": self.publish(name, run), "agent_id": "ada", "language": language}
        if '#include "hostile.h"' in text or run.files:
            main = {"c": "main.c", "python": "main.py"}[language]
            body["files"] = {main: text, **run.files, **({"hostile.h": self.program("hostile.h", {})} if language == "c" else {})}
        else:
            body["source"] = text
        return self.admin.post("/submissions", body, expect=202).json["id"]

    def verdict(self, sid, timeout=90):
        s = self.server.wait_done(self.admin, sid, timeout)
        return s, self.admin.get(f"/results/{sid}").json if s["status"] in ("done", "error") else {}

    def judge_job(self, name, run):
        return self.verdict(self.submit(name, run))

    def hold(self, run, s, r):
        """The verdict, the time, and what the program says."""
        allowed = run.verdicts.split()
        assert s["status"] == ("error" if "IE" in allowed else "done"), f"{run.program}: {s}"
        wrong = [f"test {t['number']}: {t['verdict']}" for t in r["tests"] if t["verdict"] not in allowed]
        if r["verdict"] == "BF":
            wrong = [] if "BF" in allowed else ["BF"]
        assert not wrong, f"{run.program} {run.words}: want {allowed}, got {wrong}: {str(r)[:3000]}"
        limits = {**OPEN, **run.limits}
        for t in r["tests"]:
            over = t.get("wall_ms") or 0
            assert over <= limits["wall_limit_ms"] + self.second(), f"{run.program}: {over} ms under a limit of {limits['wall_limit_ms']}"
            if run.says:
                assert checks.output(t).decode(errors="replace") == run.says + "\n", f"{run.program}: {checks.output(t)[:2000]}"
        assert (r.get("build_ms") or 0) <= BUILD_SECONDS * 2000 + self.second(), f"{run.program}: the build took {r['build_ms']} ms"

    def hold_archive(self, archive):
        """Refused for the right reason and within a second; or, where it is harmless, laid out as it is."""
        sid = projects.submit(self.admin, "hostile", getattr(archives, archive.make)())
        r = projects.feedback(self.admin, sid, 90)
        said = r["feedback"]
        if not archive.word:
            assert r["status"] == "DONE", f"{archive.make}: {r}"
            return
        assert r["status"] == "ERROR" and r["score"] == 0 and said["step"] == "unpack", f"{archive.make}: {r}"
        assert any(w in said["error"] for w in archive.word.split()), f"{archive.make}: want {archive.word}, got {said['error']}"
        assert said["error"].isprintable(), f"{archive.make}: {said['error']!r}"
        assert (said.get("durationMs") or 0) <= self.second(), f"{archive.make}: it took {said['durationMs']} ms"

    # ---- honest work ----------------------------------------------------------------------------------------

    def bare(self):
        """CPU time in ms of the bare program, as the kernel counts it. Also learns how much longer than that a run takes here."""
        started = time.monotonic()
        with open(os.devnull, "wb") as null:
            p = subprocess.Popen([str(self.honest)], stdout=null)
            _, _, ru = os.wait4(p.pid, 0)
            p.returncode = 0
        cpu = ru.ru_utime + ru.ru_stime
        self.waits = [*self.waits[-9:], (time.monotonic() - started) / cpu]
        return cpu * 1000

    def second(self):
        """A second in ms, on a machine that is ours alone: among others each second of work takes as much longer as the
        bare program's lately did."""
        return 1000 * max(1.0, *self.waits)

    def compare_times(self, judged, bare, what, again=None):
        """Noise only ever adds, so the least of each is compared; what is left of a hostile program would add to every one."""
        ratio = min(judged) / min(bare)
        for _ in range(4):
            if abs(ratio - 1) <= TOLERANCE or again is None:
                break
            judged, bare = again()
            ratio = min(judged) / min(bare)
        assert abs(ratio - 1) <= TOLERANCE, f"CPU time {what}: judged {judged} ms, bare {bare} ms, ratio {ratio:.3f}"
        return ratio

    def next_honest_job(self):
        def once():
            before = [self.bare(), self.bare()]
            s, r = self.judge_job("honest", self.honest_run())
            assert s["verdict"] == "OK", f"the next honest job: {s} {r}"
            return [t["cpu_ms"] for t in r["tests"]], before + [self.bare()]
        judged, bare = once()
        self.ratios.append(min(judged) / min(bare))
        self.compare_times(judged, bare, "of the next honest job", once)

    # ---- a case ---------------------------------------------------------------------------------------------

    def run_case(self, case, honest=True):
        if os.geteuid() == 0:
            pathlib.Path(f"/proc/{self.residue.judge}/clear_refs").write_text("5")
        memory = self.memory()
        for run in case.runs:
            if isinstance(run, table.Archive):
                self.hold_archive(run)
                continue
            self.run = run
            with Watch(self, run) as watch:
                beside = [self.submit(case.name, b) for b in run.beside]
                for sid in beside:
                    wait_for("a neighbour to run", lambda sid=sid: self.admin.get(f"/submissions/{sid}").json["status"] != "queued", 30)
                self.bare_beside = [self.bare() for _ in range(2)] if run.check == "time_beside_hogs" else []
                sid = self.submit(case.name, run)
                s, r = self.verdict(sid)
                self.bare_beside += [self.bare() for _ in range(2)] if run.check == "time_beside_hogs" else []
                for b, neighbour in zip(beside, run.beside):
                    self.hold(neighbour, *self.verdict(b))
            self.hold(run, s, r)
            if run.check:
                getattr(checks, run.check)(self, s, r)
            if run.tasks:
                assert watch.most <= run.tasks + 2, f"{run.program}: {watch.most} processes at once with a limit of {run.tasks}"
        left = self.residue.left()
        assert not left, left
        assert {self.server.process.pid, *self.server.children().values()} == self.pids, "a process of the server was replaced"
        assert self.server.api().call("GET", "/readyz").status == 200
        if honest:
            self.next_honest_job()
        grown = self.memory() - memory
        assert grown <= GROWTH_OF_SERVER, f"the server's memory grew by {grown} bytes"
        stored = self.store_bytes()
        assert stored - self.stored <= GROWTH_OF_STORE, f"{stored - self.stored} bytes were stored"
        self.stored = stored
        assert self.host_state() == self.host, "canaries of the host have changed"

    def memory(self):
        """The most that server and boxkeeper had resident since it was last asked to forget (as root), else what they have."""
        field = "VmHWM" if os.geteuid() == 0 else "VmRSS"
        return sum(int(status(p).get(field, "0 kB").split()[0]) << 10 for p in (self.residue.judge, self.residue.boxkeeper))

    def close(self):
        for s in self.sockets:
            s.close()
        try:
            self.driver.stop()
        finally:
            if os.environ.get("ASSAY_KEEP"):
                print(f"# kept: {self.tmp}")
            else:
                shutil.rmtree(self.tmp, ignore_errors=True)


class Watch:
    """Counts, while a run is judged, how many of its processes and threads there are."""

    def __init__(self, ctx, run):
        self.ctx, self.run, self.most, self.over = ctx, run, 0, threading.Event()

    def __enter__(self):
        if self.run.tasks:
            self.thread = threading.Thread(target=self.count)
            self.thread.start()
        return self

    def count(self):
        while not self.over.wait(0.05):
            n = 0
            for pid in self.ctx.residue.programs():
                try:
                    n += len(os.listdir(f"/proc/{pid}/task"))
                except OSError:
                    pass
            self.most = max(self.most, n)

    def __exit__(self, *why):
        self.over.set()
        if self.run.tasks:
            self.thread.join()


# ---- is the check awake? ---------------------------------------------------------------------------------------

def planted(ctx):
    """One of each kind that a program may leave is put there; the residue check must find them all, and then none."""
    if os.geteuid() != 0:
        raise Skip("leaving things as another user needs root")
    residue = ctx.residue
    uid = residue.uids[-1]
    path = pathlib.Path(f"/tmp/assay-planted-{uid}")
    leaf = next(pathlib.Path(p).parent for p in residue.leaves()) / "planted-1" if residue.leaves() else None
    libc = ctypes.CDLL(None, use_errno=True)
    key = number = -1
    r, w = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            path.write_text("x")
            number = libc.shmget(0, 4096, 0o1600)
            key = libc.syscall(248, b"user", b"assay-planted", b"x", ctypes.c_size_t(1), -2) if os.uname().machine == "x86_64" else -1
            os.write(w, f"{number} {key}".encode())
            time.sleep(60)
        finally:
            os._exit(0)
    try:
        number, key = map(int, os.read(r, 64).split())
        want = ["runs as a box's user", f"file: {path}"]
        want += ["ipc on the host: shm"] if number >= 0 else []
        want += ["keys: "] if key >= 0 and os.path.exists("/proc/key-users") else []
        if leaf:
            leaf.mkdir()
            (leaf / "cgroup.procs").write_text(str(child))
            want += [f"1 tasks in the leaf {leaf}"]
        found = residue.left(patience=0)
        unseen = [w for w in want if not any(w in f for f in found)]
        assert not unseen, f"the residue check does not see {unseen}: {found}"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(r)
        os.close(w)
        path.unlink(missing_ok=True)
        if number >= 0:
            libc.shmctl(number, 0, None)
        if leaf:
            wait_for("the planted leaf to go", lambda: not leaf.exists() or not leaf.rmdir(), 10)
    left = residue.left(patience=30)
    assert not left, left


# ---- many at once -----------------------------------------------------------------------------------------------

def mixed(ctx, count, seed):
    """Honest and hostile submissions, several at a time, each held to its verdict; the residue check has the last word."""
    rng = random.Random(seed)
    quick = [run for case in table.CASES for run in case.runs
             if isinstance(run, table.Run) and case.id not in ("H22", "H30", "H50", "H52", "H53", "H54", "H55", "H65", "H66", "H69") and not run.beside and not run.program.endswith(".java")
             and len(run.tests) == 1 and run.limits.get("time_limit_ms", 0) != table.QUICK["time_limit_ms"]]
    slow = [run for case in table.CASES for run in case.runs if isinstance(run, table.Run) and run.limits == table.QUICK and len(run.tests) == 1 and case.id not in ("H24",)]
    open_, wrong, done = [], [], 0
    while done < count:
        while len(open_) < 6 and done + len(open_) < count:
            kind = rng.random()
            run = ctx.honest_run() if kind < 0.4 else rng.choice(slow) if kind < 0.45 else rng.choice(quick)
            open_.append((run, ctx.submit("mixed", run)))
        run, sid = open_.pop(0)
        try:
            ctx.run = run
            ctx.hold(run, *ctx.verdict(sid))
        except AssertionError as e:
            wrong.append(str(e)[:1000])
        done += 1
    assert not wrong, f"{len(wrong)} of {count} (seed {seed}): " + "\n".join(wrong[:5])
    left = ctx.residue.left()
    assert not left, left
    assert {ctx.server.process.pid, *ctx.server.children().values()} == ctx.pids, "a process of the server was replaced"
    assert ctx.host_state() == ctx.host, "canaries of the host have changed"
    ctx.next_honest_job()


def tap(number, name, what):
    started = time.monotonic()
    try:
        what()
        print(f"ok {number} - {name} ({time.monotonic() - started:.1f} s)", flush=True)
        return 0
    except Skip as why:
        print(f"ok {number} - {name} # SKIP {why}", flush=True)
        return 0
    except Exception:
        print(f"not ok {number} - {name} ({time.monotonic() - started:.1f} s)", flush=True)
        for line in traceback.format_exc().splitlines():
            print("#", "".join(c if " " <= c <= "~" else "?" for c in line)[:4000], flush=True)
        return 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="H01")
    parser.add_argument("--driver", choices=sorted(drivers.DRIVERS), default="native")
    parser.add_argument("--repeat", type=int, default=1, help="each case so many times")
    parser.add_argument("--mixed", type=int, default=0, metavar="N", help="instead: N submissions, mixed, and then the residue check")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("ASSAY_SEED", secrets.randbelow(1 << 31))))
    parser.add_argument("--no-honest", action="store_true", help="leave out the honest job after each case")
    args = parser.parse_args()
    unknown = set(args.cases) - {c.id for c in table.CASES}
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chosen = [c for c in table.CASES if not args.cases or c.id in args.cases]
    names = [f"hostile {args.driver}: {c.id} {c.name}" for c in chosen for _ in range(args.repeat)]
    tests = [] if args.mixed else [c for c in chosen for _ in range(args.repeat)]
    driver = drivers.DRIVERS[args.driver]()
    missing = driver.missing()
    if missing:
        print(f"1..1\nok 1 - hostile {args.driver} # SKIP {missing}")
        return 0
    failed = 0
    ctx = Context(driver)
    try:
        if args.mixed:
            print("1..1", flush=True)
            ctx.start()
            return tap(1, f"hostile {args.driver}: nothing is left after {args.mixed} mixed submissions (seed {args.seed})",
                       lambda: mixed(ctx, args.mixed, args.seed))
        ctx.start()
        print(f"# {ctx.version}", flush=True)
        for i, (case, name) in enumerate(zip(tests, names), 1):
            failed += tap(i, name, lambda case=case: ctx.run_case(case, not args.no_honest))

        def steady():
            assert ctx.ratios, "no honest job was run between the cases"
            middle = statistics.median(ctx.ratios)
            print(f"# honest jobs after hostile ones: CPU time {middle:.3f} x bare (median of {len(ctx.ratios)}, "
                  f"{min(ctx.ratios):.3f} to {max(ctx.ratios):.3f})", flush=True)
            assert abs(middle - 1) <= TOLERANCE, f"median {middle:.3f}"
        checks = []
        if ctx.residue.uids:  # else boxes have no users of their own on the machine, whose things could be left
            checks.append(("the residue check finds what is planted", lambda: planted(ctx)))
        if not args.no_honest:
            checks.append(("honest jobs between them cost what the bare program costs", steady))
        for i, (what, check) in enumerate(checks, len(tests) + 1):
            failed += tap(i, f"hostile {args.driver}: {what}", check)
        print(f"1..{len(tests) + len(checks)}", flush=True)
    except Exception:
        failed += 1
        print(f"not ok - hostile {args.driver}: the server to test", flush=True)
        for line in (traceback.format_exc() + getattr(ctx, "server", driver).log_text()[-1000:]).splitlines():
            print("#", line, flush=True)
    finally:
        ctx.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
