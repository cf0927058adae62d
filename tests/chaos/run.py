#!/usr/bin/env python3
"""Breaks a server under load, and counts: nothing lost, nothing double.

    tests/chaos/run.py --kills 50 --seed 7                       kill -9 of server, boxkeeper and supervisor
    tests/chaos/run.py --faults roll --strikes 100               rolling restarts
    tests/chaos/run.py --faults server,clock,full --seconds 60   a mixture
    tests/chaos/run.py --store postgres --kills 200
    tests/chaos/run.py --driver docker --kills 200               dockerd too

A seed deals the same submissions and the same faults again, in the same order and at the same distances; how far the
server has come at each is the machine's. The ledger stays beside the data directory, which --keep leaves behind.
"""

import argparse
import collections
import contextlib
import importlib
import os
import pathlib
import random
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e"), str(HERE.parent / "hostile"), str(HERE.parent / "parts")]

import check  # noqa: E402
import drivers  # noqa: E402
import faults  # noqa: E402
import ledger  # noqa: E402
from harness import PREFIX, Api, Server, Skip  # noqa: E402

SMALL_MB = 64


class Rig:
    """A server, and what the faults get hold of."""

    def __init__(self, store="sqlite", driver="native", wanted=(), env=None):
        # a job that is interrupted again and again ends as IE, by default at the 51st time: here that is the test's doing
        self.store, self.driver, self.env = store, driver, {"ASSAY_MAX_INTERRUPTIONS": "1000000", **(env or {})}
        self.engine = self.postgres = self.clock = self.small = self.server = None
        self.wanted = set(wanted)
        self.freeze_s, self.drains = 3.0, []
        self.starved = 0  # slow starts that were not given a processor
        self.after = contextlib.ExitStack()

    def __enter__(self):
        try:
            self.set_up()
        except BaseException:
            self.after.close()
            raise
        return self

    def set_up(self):
        if self.driver == "docker":
            docker = drivers.Docker()
            missing = docker.missing()
            if docker.engine:
                self.after.callback(docker.engine.stop)
            if missing:
                raise Skip(missing)
            self.engine = docker.engine
            self.env.update(ASSAY_SANDBOX="docker", DOCKER_HOST=self.engine.host, ASSAY_DOCKER_IMAGE=docker.IMAGE)
        if self.store == "postgres":
            if not (PREFIX / "lib" / "assay" / "plugins" / "assay_store_postgres.so").exists():
                raise Skip("the PostgreSQL store was not built: libpq was not there (Debian: libpq-dev)")
            postgres = importlib.import_module("postgres")
            try:
                self.postgres = self.after.enter_context(postgres.Postgres())
            except postgres.Missing as why:
                raise Skip(str(why))
            self.env["STORAGE_DSN"] = self.postgres.dsn
        if "clock" in self.wanted:
            shims = importlib.import_module("shims")
            self.clock = self.after.enter_context(shims.Clock())
            self.env.update(self.clock.env)
        self.server = Server(env=self.env, args=["--log-format=json"], name="chaos")
        self.after.callback(self.server.close)
        if "full" in self.wanted:
            if os.geteuid() != 0:
                raise Skip("a small file system for the data directory needs root")
            top = self.server.tmp
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL_MB}m,mode=755", "assay-chaos", str(top)], check=True)
            self.after.callback(subprocess.run, ["umount", "-l", str(top)], check=False)
            self.small = top
        self.server.start()
        # Judging is tried at the start; without a sandbox there is nothing to test here.
        self.server.login()

    def __exit__(self, *exc):
        self.after.close()

    def token(self):
        return self.server.login().token

    def rows(self):
        return check.postgres_rows(self.postgres) if self.postgres else check.sqlite_rows(self.server.data)


SLOW_S = 5        # a start may take so long
PATIENCE_S = 300  # and one that waits for a processor


def waits(rig):
    """Seconds that the server of this moment was ready to run and was given no processor, and that it ran: its main thread, which starts it."""
    try:
        ran, waited, _ = pathlib.Path(f"/proc/{rig.server.children()['server']}/schedstat").read_text().split()
    except (KeyError, OSError, ValueError):
        return 0.0, 0.0
    return int(waited) / 1e9, int(ran) / 1e9


def starved(rig):
    waited, ran = waits(rig)
    return waited > 1 and waited > 4 * ran


def answer_time(rig, since):
    """Seconds from `since` until the server answers again: 30 at most, but for a start that others leave no processor for, at a low priority
    on a loaded machine, where the wait is theirs."""
    while True:
        try:
            if Api(rig.server.port, timeout=5).call("GET", "/healthz").status == 200:
                return time.monotonic() - since
        except Exception:  # noqa: BLE001 - whatever it is, it is no answer
            pass
        took, (waited, ran) = time.monotonic() - since, waits(rig)
        if took > 30 and (not starved(rig) or took > PATIENCE_S):
            raise AssertionError(f"no answer for {took:.0f} s after a fault; the server ran {ran:.1f} s and waited {waited:.1f} s for a processor\n"
                                 + rig.server.log_text()[-3000:])
        time.sleep(0.005)


def strikes(rig, rng, names, count, seconds, pause):
    """Deals the faults; gives how often each struck, and how long each restart took."""
    struck, restarts, end = collections.Counter(), [], time.monotonic() + seconds
    weights = [faults.FAULTS[n][1] for n in names]
    n = 0
    while n < count if count else time.monotonic() < end:
        time.sleep(rng.uniform(*pause))
        name = rng.choices(names, weights)[0]
        since = faults.FAULTS[name][0](rig, rng)
        struck[name] += 1
        n += 1
        if since is not None:
            took = answer_time(rig, since)
            restarts.append(took)
            if took > SLOW_S:
                waited, ran = waits(rig)
                print(f"# answered {took:.1f} s after {name}: the server ran {ran:.2f} s and waited {waited:.1f} s for a processor", flush=True)
                rig.starved += starved(rig)
        if n % 100 == 0:
            print(f"# {n} faults", flush=True)
    return struck, sorted(restarts)


def chaos(seed, names, count=0, seconds=0, store="sqlite", driver="native", clients=4, pause=(0.2, 1.2), env=None,
          patience=240, restart_max=SLOW_S, say=print):
    """The whole of it. Raises AssertionError when anything is not as it must be."""
    rng = random.Random(seed)
    for name in names:
        need = faults.FAULTS[name][2]
        assert need != "engine" or driver == "docker", f"{name} is a fault of --driver docker"
        assert need != "postgres" or store == "postgres", f"{name} is a fault of --store postgres"
    say(f"# seed {seed}: {', '.join(names)}; {count or seconds} {'faults' if count else 's'}; {store}, {driver}", flush=True)
    with Rig(store, driver, names, env) as rig:
        server = rig.server
        ledger.publish(server.login())
        book = ledger.Ledger(rig.token, server.port, seed, server.data.parent / "ledger.jsonl")
        try:
            book.start(clients)
            struck, restarts = strikes(rig, rng, list(names), count, seconds, pause)
            if rig.clock:
                rig.clock.set(0)
            book.stop()
            assert not book.broken, book.broken
            assert len(book.accepted) > sum(struck.values()) / 2, f"too little was accepted to prove anything: {len(book.accepted)}"
            check.settled(server, book, patience)
            assert server.stop() == 0
            odd = check.by_rows(rig.rows(), book.accepted)
            assert not odd, f"{len(odd)} of {len(book.accepted)} (seed {seed}):\n" + "\n".join(odd[:8])
            if store == "sqlite":
                check.sees_planted(server.data, book.accepted)
        except BaseException:
            for line in [x for x in server.log_text().splitlines() if '"level":"warn"' in x or '"level":"error"' in x][-20:]:
                say("#", line[:400], flush=True)
            raise
        finally:
            book.ending.set()
        say(f"# {dict(struck)}; accepted {len(book.accepted)}, requests without an answer {book.unknown}, refused {dict(book.refused)}",
            flush=True)
        if restarts:
            say(f"# to the first answer: median {restarts[len(restarts) // 2]:.3f} s, worst {restarts[-1]:.3f} s", flush=True)
            slow = sum(r > restart_max for r in restarts)
            assert slow <= rig.starved, f"{slow} restarts took more than {restart_max} s, of which {rig.starved} were not given a processor"
        if rig.drains:
            say(f"# drains: median {sorted(rig.drains)[len(rig.drains) // 2]:.2f} s, worst {max(rig.drains):.2f} s", flush=True)
        return book, struck


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    p.add_argument("--kills", "--strikes", type=int, default=0, dest="count", help="how many faults; without it, --seconds")
    p.add_argument("--seconds", type=float, default=30)
    p.add_argument("--faults", default="", help=f"of {', '.join(faults.FAULTS)}; default: every kill -9 of the store and driver")
    p.add_argument("--store", choices=["sqlite", "postgres"], default="sqlite")
    p.add_argument("--driver", choices=["native", "docker"], default="native")
    p.add_argument("--clients", type=int, default=4)
    p.add_argument("--keep", action="store_true", help="leave the data directory and the ledger behind")
    a = p.parse_args()
    have = {"engine": a.driver == "docker", "postgres": a.store == "postgres"}
    names = a.faults.split(",") if a.faults else [k for k in faults.KILLS if have.get(faults.FAULTS[k][2], True)]
    unknown = [n for n in names if n not in faults.FAULTS]
    if unknown:
        p.error(f"no fault is named {unknown[0]}; there are: {', '.join(faults.FAULTS)}")
    if a.keep:
        os.environ["ASSAY_KEEP"] = "1"
    try:
        chaos(a.seed, names, a.count, a.seconds, a.store, a.driver, a.clients)
    except Skip as why:
        print(f"# SKIP {why}")
        return 77
    except AssertionError as e:
        print(f"not ok - seed {a.seed}: {e}")
        return 1
    print(f"ok - nothing lost, nothing double (seed {a.seed})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
