"""Power cuts: whatever was acknowledged is there afterwards, and nobody has to mend anything.

A driver, and by night the whole server, works while every write and fsync is written down; then disks are made as a cut at
random moments could have left them (power.py), and each is taken into use as a start does.

    ASSAY_CUTS=500 ASSAY_SEED=7 python3 tests/chaos/test_power.py
"""

import os
import pathlib
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time

import run  # noqa: F401 - puts the folders of the tests' parts on the path
import shims
from harness import Server, main, program
from power import Disk, records

NIGHT = os.environ.get("ASSAY_NIGHT") == "1"
CUTS = int(os.environ.get("ASSAY_CUTS", "2000" if NIGHT else "150"))
SEED = int(os.environ.get("ASSAY_SEED", str(random.SystemRandom().randrange(1 << 30))))


class Scratch:
    def __enter__(self):
        # the trace of an fsync is what counts, so memory will do
        self.top = pathlib.Path(tempfile.mkdtemp(prefix="assay-power-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
        return self.top

    def __exit__(self, *exc):
        shutil.rmtree(self.top, ignore_errors=True)


def drive(top, plugin, command, n):
    """Lets the driver work on a folder; gives the trace."""
    work = top / "work"
    work.mkdir()
    env = {"PATH": "/usr/bin:/bin", "LD_PRELOAD": str(shims.library("power")), "POWER_ROOT": str(work), "POWER_TRACE": str(top / "trace")}
    a = subprocess.run([shims.driver(), shims.plugin(plugin), work, command, str(n)], env=env, capture_output=True, text=True, timeout=300)
    assert a.returncode == 0 and a.stdout.count("ack ") >= n, (a.returncode, a.stdout[-500:], a.stderr[-500:])
    return work, (top / "trace").read_bytes()


def disks(work, raw, rng, count, base=None):
    """(disk, length of the trace) at `count` random moments, in their order."""
    everything = list(records(raw))
    assert any(kind == "W" for _, kind, *_ in everything), "the trace is empty: the library was not loaded"
    moments = sorted(rng.sample(range(len(everything)), min(count, len(everything))))
    disk, at = Disk(work, base), 0
    for moment in moments:
        while at <= moment:
            end, kind, a, b, data = everything[at]
            disk.feed(kind, a, b, data)
            at += 1
        yield disk, end


def check(top, plugin, command, stdin=""):
    a = subprocess.run([shims.driver(), shims.plugin(plugin), top, command], input=stdin, capture_output=True, text=True, timeout=60)
    return a.returncode, a.stdout.splitlines()


def test_a_power_cut_loses_no_acknowledged_transaction():
    rng = random.Random(SEED)
    with Scratch() as top:
        work, raw = drive(top, "store_sqlite", "store-write", 250)
        kept = unsynced = 0
        for disk, _ in disks(work, raw, rng, CUTS):
            cut = top / "cut"
            cut.mkdir()
            disk.cut(rng, cut)
            code, lines = check(cut, "store_sqlite", "store-check")
            assert code == 0, f"seed {SEED}: it does not start after a cut behind {len(disk.acked)} acknowledgements: {lines[-3:]}"
            rows = {x[4:] for x in lines if x.startswith("row ")}
            damaged = [x for x in lines if x.startswith("damaged")]
            lost = set(disk.acked) - rows
            assert not lost and not damaged, f"seed {SEED}: of {len(disk.acked)}: lost {sorted(lost)[:5]}, damaged {damaged[:5]}"
            db = sqlite3.connect(f"file:{cut}/assay.db?mode=ro", uri=True)
            said = db.execute("PRAGMA integrity_check").fetchone()[0]
            # the event of a transaction is there with it, or neither is
            events = {s for (s,) in db.execute("SELECT subject FROM assay_events WHERE topic = 't.put'")}
            assert said == "ok" and events >= rows and {e for e in events - rows if not e.startswith("after-")} == set(), (said, SEED)
            db.close()
            kept, unsynced = kept + len(rows), unsynced + len(rows - set(disk.acked))
            shutil.rmtree(cut)
        print(f"# seed {SEED}: {CUTS} cuts, {kept} rows found, of which {unsynced} had not been acknowledged yet; 0 lost", flush=True)


def test_a_power_cut_loses_no_acknowledged_blob():
    rng = random.Random(SEED)
    with Scratch() as top:
        work, raw = drive(top, "blob_fs", "blob-write", 120)
        found = 0
        for disk, _ in disks(work, raw, rng, CUTS // 2):
            cut = top / "cut"
            cut.mkdir()
            disk.cut(rng, cut)
            code, lines = check(cut, "blob_fs", "blob-check", "".join(f"{a}\n" for a in disk.acked))
            bad = [x for x in lines if not x.startswith("blob ")]
            assert code == 0 and not bad, f"seed {SEED}: of {len(disk.acked)} acknowledged: {code} {bad[:5]}"
            found += len(lines)
            shutil.rmtree(cut)
        assert found, "no blob was looked at"
        print(f"# seed {SEED}: {CUTS // 2} cuts, {found} blobs found; 0 lost", flush=True)


def test_a_cut_that_loses_something_is_seen():
    """The same with an fsync that does nothing: then acknowledged rows and blobs are lost, and this test must see it."""
    rng = random.Random(SEED)
    with Scratch() as top:
        work, raw = drive(top, "store_sqlite", "store-write", 40)
        lies, lost = b"".join(without_syncs(raw)), 0
        for disk, _ in disks(work, lies, rng, 20):
            cut = top / "cut"
            cut.mkdir()
            disk.cut(rng, cut)
            code, lines = check(cut, "store_sqlite", "store-check")
            lost += code != 0 or bool(set(disk.acked) - {x[4:] for x in lines if x.startswith("row ")})
            shutil.rmtree(cut)
        assert lost, "a disk that never syncs loses nothing: the cuts cut nothing"


def without_syncs(raw):
    at = 0
    for end, kind, *_ in records(raw):
        if kind != "S":
            yield raw[at:end]
        at = end


def test_a_power_cut_of_the_whole_server():
    """Submissions accepted by a real server, cut off at random moments, and judged by one that starts on what is left."""
    cuts = 40 if NIGHT else 2
    rng = random.Random(SEED)
    with Scratch() as top:
        top.chmod(0o755)
        (top / "trace").touch()
        (top / "trace").chmod(0o666)
        work = top / "data"
        env = {"LD_PRELOAD": str(shims.library("power")), "POWER_ROOT": str(work), "POWER_TRACE": str(top / "trace")}
        server = Server(data=work, name="power")
        accepted = []  # (length of the trace when the answer was there, id, verdict)
        try:
            server.start()  # makes what there is before; its first start is not what is cut
            server.demo(server.login())
            assert server.stop() == 0
            shutil.copytree(work, top / "base")
            server.env.update(env)
            server.start()
            admin = server.login()
            for n in range(60):
                file, verdict = rng.choice([("right.c", "OK"), ("wrong.c", "WA"), ("uncompilable.c", "BF")])
                a = admin.post("/submissions", {"benchmark_id": "sum-integers", "agent_id": "ada", "language": "c",
                                                "source": program(file) + f"// {n}\n"}, expect=202)
                accepted.append(((top / "trace").stat().st_size, a.json["id"], verdict))
                time.sleep(rng.uniform(0, 0.05))
            for _, sid, _ in accepted:
                server.wait_done(admin, sid, 120)
            server.process.kill()
            server.process.wait()
        finally:
            server.close()
        raw = (top / "trace").read_bytes()
        for disk, end in disks(work, raw, rng, cuts, top / "base"):
            acked = [(sid, verdict) for size, sid, verdict in accepted if size <= end]
            cut = top / "cut"
            cut.mkdir()
            disk.cut(rng, cut)
            owner = (top / "base" / "assay.db").stat()
            for path in [cut, *cut.rglob("*")]:
                os.chown(path, work.stat().st_uid, work.stat().st_gid)
                if path.is_file():
                    path.chmod(0o600)
            again = Server(data=cut, name="cut")
            try:
                again.start()
                admin = again.login()
                for sid, verdict in acked:
                    s = again.wait_done(admin, sid, 120)
                    assert (s["status"], s["verdict"]) == ("done", verdict), (SEED, sid, verdict, s)
                assert again.stop() == 0
                print(f"# a cut after {len(acked)} acceptances: all judged", flush=True)
            finally:
                again.close()
            shutil.rmtree(cut)


if __name__ == "__main__":
    main(sys.modules[__name__])
