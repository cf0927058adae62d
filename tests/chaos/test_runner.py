"""The runner freezes, dies in the middle of a job, and meets a job that kills it each time."""

import os
import pathlib
import random
import signal
import sys
import threading
import time

import check
import ledger
import run
from faults import pid_of, send
from harness import main, program, wait_for
from residue import Residue, descendants, status

NIGHT = os.environ.get("ASSAY_NIGHT") == "1"
SEED = int(os.environ.get("ASSAY_SEED", str(random.SystemRandom().randrange(1 << 30))))
SLEEPER = "#include <unistd.h>\nint main(void) { sleep(%d); return 0; }\n"


def slow_benchmark(admin):
    admin.post("/benchmarks", {
        "id": "slow", "name": "Slow", "compare": "tokens", "feedback": "full",
        "limits": {"time_limit_ms": 2000, "wall_limit_ms": 60000, "memory_limit_bytes": 64 << 20},
        "tests": [{"input": "", "expected_output": ""}, {"input": "", "expected_output": ""}]}, expect=201)


def submit(admin, source, benchmark="slow"):
    return admin.post("/submissions", {"benchmark_id": benchmark, "agent_id": "ada", "language": "c", "source": source}, expect=202).json["id"]


def running(server, name):
    """Processes below the boxkeeper whose program has that name."""
    found = []
    for pid in descendants(server.children().get("boxkeeper", 0)):
        if status(pid).get("Name", "").strip() == name:
            found.append(pid)
    return found


def sleeping(residue, least=0.4):
    """A program of a box that has been there for a while."""
    ticks = os.sysconf("SC_CLK_TCK")
    for pid in residue.programs():
        try:
            born = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]) / ticks
            up = float(pathlib.Path("/proc/uptime").read_text().split()[0])
        except OSError:
            continue
        if up - born > least:
            return pid
    return None


def warden_of(residue, pid):
    wardens = set(residue.wardens())
    while pid and pid not in wardens:
        pid = int(status(pid).get("PPid", 0))
    return pid or None


def test_a_runner_that_was_frozen_past_its_leases_doubles_nothing():
    """Stopped for longer than a lease, the jobs in its hands, and let go on: one verdict each."""
    run.chaos(SEED, ["freeze-server", "freeze-boxkeeper"], count=40 if NIGHT else 4, env={"ASSAY_RUNNER_LEASE": "1s"}, clients=3)


def test_a_death_while_compiling_while_running_and_between_tests():
    with run.Rig() as rig:
        server = rig.server
        admin = server.login()
        ledger.publish(admin)
        slow_benchmark(admin)
        slow_build = "#define A(x) x x x x x x x x\nint f(int i) { A(A(A(i = i * 7 + i / 3;))) return i; }\nint main(int c, char **v) { (void)v; return f(c) & 0; }\n"
        for role in ("server", "boxkeeper"):
            for n, (when, source) in enumerate([("cc1", slow_build), ("program", SLEEPER % 2)]):
                sid = submit(admin, source + f"// {role} {n} {SEED}\n")
                if when == "cc1":
                    wait_for("the compiler", lambda: running(server, "cc1"), 60)
                else:
                    residue = Residue(server, range(0))
                    wait_for("the program", lambda: sleeping(residue), 60)
                since = time.monotonic()
                send(pid_of(rig, role), signal.SIGKILL)
                s = server.wait_done(admin, sid, 120)
                assert (s["status"], s["verdict"]) == ("done", "OK"), (role, when, s)
                print(f"# {role} killed at its {when}: judged {time.monotonic() - since:.1f} s later, attempts {s['attempts']}", flush=True)
        # of the dead runs nothing is left
        residue = Residue(server, range(0))
        wait_for("the end of all programs", lambda: not residue.programs(), 20)


def test_a_job_that_kills_its_runner_ends_and_hurts_nobody_else():
    """Each time it runs, its warden is killed. After max_attempts it ends as ours; the others are judged as fast as before."""
    with run.Rig(env={"RUNNER_MAX_PARALLEL": "2"}) as rig:
        server = rig.server
        admin = server.login()
        ledger.publish(admin)
        slow_benchmark(admin)
        residue = Residue(server, range(0))

        def others(n):
            started = time.monotonic()
            sent = [submit(admin, program("right.c"), ledger.BENCHMARK) for _ in range(n)]
            for sid in sent:
                s = server.wait_done(admin, sid, 120)
                assert (s["status"], s["verdict"]) == ("done", "OK"), s
            return n / (time.monotonic() - started)

        others(10)
        alone = others(40)
        killed, stop = [], threading.Event()

        def killer():
            while not stop.wait(0.05):
                pid = sleeping(residue)
                warden = pid and warden_of(residue, pid)
                if warden:
                    send(warden, signal.SIGKILL)
                    killed.append(warden)
                    time.sleep(0.3)
        thread = threading.Thread(target=killer, daemon=True)
        thread.start()
        try:
            poison = submit(admin, SLEEPER % 30)
            beside = others(40)
            s = server.wait_done(admin, poison, 120)
        finally:
            stop.set()
            thread.join()
        assert (s["status"], s["attempts"]) == ("error", 3), s
        assert len(killed) >= 3, f"its warden was killed only {len(killed)} times"
        assert server.stop() == 0
        rows = check.sqlite_rows(server.data)
        ends = rows(f"SELECT COUNT(*) FROM assay_events WHERE topic = 'submission.done' AND subject = '{poison}'")
        assert ends == [(1,)], ends
        print(f"# others: {alone:.1f}/s alone, {beside:.1f}/s beside it", flush=True)
        # it holds one of two slots for half a second three times; more than that must not be lost
        assert beside > alone / 3, f"{alone:.1f}/s fell to {beside:.1f}/s"


if __name__ == "__main__":
    main(sys.modules[__name__])
