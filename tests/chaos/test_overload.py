"""Ten times more than the server can judge, a queue of many thousands, and a disk that is full.

    ASSAY_OVERLOAD_S=600 ASSAY_QUEUED=100000 python3 tests/chaos/test_overload.py [name ...]

What must hold on any machine is asserted: every refusal has Retry-After and the right type, whatever was accepted ends with
its right verdict, memory stays within its bound, who comes with one submission is not held up by who has sent thousands.
How long things take is printed; bars for that are bench/run's.
"""

import json
import os
import pathlib
import re
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]

import harness  # noqa: E402
from flood import Line  # noqa: E402
from harness import Server, Skip, program, wait_for  # noqa: E402

NIGHT = os.environ.get("ASSAY_NIGHT") == "1"
OVERLOAD_S = float(os.environ.get("ASSAY_OVERLOAD_S", "600" if NIGHT else "12"))
QUEUED = int(os.environ.get("ASSAY_QUEUED", "100000" if NIGHT else "5000"))
RSS_MAX_MB = 256
SENDERS = 40
PROGRAMS = [("right.py", "python", "OK"), ("wrong.py", "python", "WA"), ("crashing.py", "python", "RE"), ("right.py", "python", "OK")]
TESTS = [{"input": "10 -5 7\n", "expected_output": "12\n"}, {"input": "2147483647 2147483647 2\n", "expected_output": "4294967296\n"}]
NO_RUNNER = {"ASSAY_ONLY": "auth,agents,benchmarks,submissions,scoring,traces,leaderboard", "ASSAY_BOXKEEPER": "false"}


def publish(admin, name):
    admin.post("/benchmarks", {"id": name, "name": name, "visibility": "public", "feedback": "verdict", "compare": "tokens",
                               "stop_on_failure": True, "tests": TESTS,
                               "limits": {"time_limit_ms": 2000, "wall_limit_ms": 60000, "memory_limit_bytes": 128 << 20}}, expect=201)


def memory_mb(server, what="VmRSS"):
    status = pathlib.Path(f"/proc/{server.children()['server']}/status").read_text()
    return int(re.search(rf"{what}:\s+(\d+) kB", status).group(1)) / 1024


def metric(server, name):
    text = server.api().get("/metrics").body.decode()
    return sum(float(v) for v in re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.M))


class Reader(threading.Thread):
    """Reads one submission many times a second from each of some servers in turn, until it is told to end."""

    def __init__(self, targets):
        super().__init__(daemon=True)
        self.lines = {name: (Line(port), f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
                      for name, (port, path, token) in targets.items()}
        self.times, self.bad, self.ending = {n: [] for n in targets}, [], threading.Event()

    def run(self):
        while not self.ending.wait(0.02):
            for name, (line, data) in self.lines.items():
                begun = time.monotonic()
                try:
                    status, _, body = line.ask(data)
                    if status != 200:
                        self.bad.append(f"{name}: {status} {body[:200]!r}")
                except OSError as e:
                    self.bad.append(f"{name}: {e}")
                self.times[name].append(time.monotonic() - begun)

    def stop(self):
        self.ending.set()
        self.join(30)
        return {n: percentiles(t) for n, t in self.times.items()}


def percentiles(times):
    t = sorted(times)
    return {"n": len(t), "p50": t[len(t) // 2] * 1e3, "p99": t[len(t) * 99 // 100] * 1e3}


def told(figures):
    return "; ".join(f"{name} p50 {f['p50']:.2f} ms, p99 {f['p99']:.2f} ms ({f['n']})" for name, f in figures.items())


def one_ended(admin):
    """A submission that has ended, for readers."""
    a = admin.post("/submissions?wait=60", {"benchmark_id": "flood", "agent_id": "ada", "language": "python", "source": program("right.py")},
                   expect=200).json
    assert a["verdict"] == "OK", a
    return f"/submissions/{a['id']}"


def everybody(admin, server, n):
    """Submitters, each with an account and an agent of its own."""
    out = []
    for i in range(n):
        api = server.register(f"sender-{i}")
        api.post("/agents", {"id": f"agent-{i}"}, expect=201)
        out.append({"token": api.token, "agent": f"agent-{i}"})
    return out


def flood(server, senders, rate, seconds, connections=24):
    """A flood under way: a function that waits for its end and gives the outcome."""
    tmp = pathlib.Path(tempfile.mkdtemp(prefix="flood-", dir=server.data.parent))
    programs = [{"language": lang, "source": program(file), "verdict": verdict} for file, lang, verdict in PROGRAMS]
    (tmp / "plan.json").write_text(json.dumps({"port": server.port, "out": str(tmp / "out.json"), "seconds": seconds, "rate": rate,
                                               "connections": connections, "senders": senders, "programs": programs}))
    process = subprocess.Popen([sys.executable, str(HERE / "flood.py"), str(tmp / "plan.json")], stdin=subprocess.DEVNULL)

    def outcome():
        try:
            code = process.wait(seconds + 120)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        assert code == 0, f"flood.py ended with {code}"
        return json.loads((tmp / "out.json").read_text())
    return outcome


def capacity(server, senders):
    """Verdicts a second when there is always something to do, and not more than that."""
    before = metric(server, "assay_runner_verdicts_total")
    begun = time.monotonic()
    out = flood(server, senders, 1000, 1.0)()
    wait_for("the first lot", lambda: metric(server, "assay_submissions_open") == 0, 300, 0.2)
    rate = (metric(server, "assay_runner_verdicts_total") - before) / (time.monotonic() - begun)
    return rate, out["accepted"]


def ended_right(data, accepted):
    """Of a stopped server's file: every accepted submission once, with its verdict, and none besides."""
    db = sqlite3.connect(f"file:{data}/assay.db?mode=ro", uri=True)
    assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    rows = db.execute("SELECT id, state, verdict, attempts, interruptions FROM submissions WHERE benchmark_id = 'flood' AND agent_id <> 'ada'").fetchall()
    odd = [f"{r} and not {accepted.get(r[0])}" for r in rows if r[1:] != ("done", accepted.get(r[0]), 1, 0)]
    odd += [f"{sid} was accepted and is gone" for sid in set(accepted) - {r[0] for r in rows}]
    twice = db.execute("SELECT subject, COUNT(*) FROM assay_events WHERE topic = 'submission.done' GROUP BY subject HAVING COUNT(*) > 1").fetchall()
    db.close()
    return odd + twice


def test_ten_times_overload():
    server, twin = Server({"ASSAY_QUEUE_MAX": "200", "ASSAY_QUEUE_MAX_PER_USER": "20", "ASSAY_ACCESS_LOG": "false"}, name="flooded"), Server(name="twin")
    try:
        server.start(), twin.start()
        targets = {}
        for s in (server, twin):
            admin = s.login()
            admin.timeout = 120
            admin.post("/agents", {"id": "ada"}, expect=201)
            publish(admin, "flood")
            targets["flooded" if s is server else "twin"] = (s.port, one_ended(admin), admin.token)
        admin = server.login()
        senders = everybody(admin, server, SENDERS)
        alone = Reader(targets)
        alone.start()
        time.sleep(min(10, OVERLOAD_S / 4))
        idle = alone.stop()
        can, accepted = capacity(server, senders)
        print(f"# {can:.1f} verdicts a second; reads without load: {told(idle)}", flush=True)
        accepted, rate = dict(accepted), 10 * can
        refused, sent, seconds, late, worst, odd = {}, 0, 0.0, 0.0, 0.0, {}
        # in rounds shorter than a token lives, with a reader beside each
        figures, end = [], time.monotonic() + OVERLOAD_S
        while (left := end - time.monotonic()) > 1:
            for i, s in enumerate(senders):
                s["token"] = server.login(f"sender-{i}", "a-long-enough-password").token
            admin = server.login()
            targets["flooded"] = (*targets["flooded"][:2], admin.token)
            targets["twin"] = (*targets["twin"][:2], twin.login().token)
            reader, outcome = Reader(targets), flood(server, senders, rate, min(left, 300))
            reader.start()
            out = outcome()
            figures.append(reader.stop())
            assert not reader.bad, reader.bad[:3]
            accepted.update(out["accepted"])
            odd.update(out["odd"])
            sent, seconds, late = sent + out["sent"], seconds + out["seconds"], max(late, out["late_s"])
            for k, n in out["answers"].items():
                refused[k] = refused.get(k, 0) + n
            worst = max(worst, memory_mb(server, "VmHWM"))
            print(f"# {out['sent']} sent in {out['seconds']:.0f} s, {out['sent'] / out['seconds']:.0f} a second ({out['late_s']:.1f} s late at most), "
                  f"answers {out['answers']}, Retry-After {dict(sorted(out['retry_after'].items(), key=lambda x: int(x[0] or 0)))}; "
                  f"reads: {told(figures[-1])}; server at most {worst:.0f} MB", flush=True)
        assert not odd, list(odd.items())[:5]
        assert sent / seconds > 5 * can, f"no overload: {sent / seconds:.0f} a second where {can:.0f} are judged"
        assert refused.get("202", 0) > 0 and refused.get("429", 0) + refused.get("503", 0) > sent / 2, refused
        assert set(refused) == {"202", "429", "503"}, refused
        assert worst <= RSS_MAX_MB, f"the server took {worst:.0f} MB"
        wait_for("the queue to drain", lambda: metric(server, "assay_submissions_open") == 0, 300, 0.5)
        told_of = metric(server, "assay_submissions_refused_total")
        assert told_of >= refused.get("429", 0) + refused.get("503", 0) - (0 if not odd else len(odd)), (told_of, refused)
        assert "queue_count_mended" not in server.log_text()
        assert server.stop() == 0
        wrong = ended_right(server.data, accepted)
        assert not wrong, f"{len(wrong)} of {len(accepted)}: {wrong[:5]}"
        print(f"# {len(accepted)} accepted, each with one right verdict; server at most {worst:.0f} MB", flush=True)
    finally:
        server.close()
        twin.close()


def fill(admin, n, agent, benchmark="flood"):
    """n submissions that wait, by batches."""
    item = {"benchmark_id": benchmark, "agent_id": agent, "language": "python", "source": program("right.py")}
    while n > 0:
        a = admin.post("/submissions/batch", {"items": [item] * min(n, 100)}, expect=200).json
        assert all(i["status"] == 202 for i in a["items"]), a["items"][:2]
        n -= 100


def plans(data, statements):
    """How SQLite goes about each statement, on the real file."""
    db = sqlite3.connect(f"file:{data}/assay.db?mode=ro", uri=True)
    out = {}
    for name, sql in statements.items():
        sql = re.sub(r"\$(\d+)", r"?\1", sql)
        out[name] = [r[3] for r in db.execute("EXPLAIN QUERY PLAN " + sql, [None] * max([int(x) for x in re.findall(r"\?(\d+)", sql)] or [0]))]
    db.close()
    return out


def beside_an_empty_queue(server, admin, seconds):
    """Reads of a submission that waits, here and in turn from a server where nothing else does."""
    twin = Server({**NO_RUNNER}, name="twin")
    try:
        twin.start()
        other = twin.login()
        other.post("/agents", {"id": "ada"}, expect=201)
        publish(other, "flood")
        fill(other, 1, "ada")
        admin = server.login()
        reader = Reader({name: (s.port, "/submissions/" + api.get("/submissions?benchmark_id=flood&limit=1").json["items"][0]["id"], api.token)
                         for name, s, api in (("queue", server, admin), ("twin", twin, other))})
        reader.start()
        time.sleep(seconds)
        figures = reader.stop()
        assert not reader.bad, reader.bad[:3]
        assert twin.stop() == 0
        return figures
    finally:
        twin.close()


def test_a_queue_of_thousands_holds_up_nobody():
    none = {"ASSAY_QUEUE_MAX": "0", "ASSAY_QUEUE_MAX_PER_USER": "0", "ASSAY_QUEUE_MAX_BYTES": "0"}
    server = Server({**none, **NO_RUNNER}, name="queue")
    try:
        server.start()
        admin = server.login()
        admin.timeout = 120
        admin.post("/agents", {"id": "ada"}, expect=201)
        publish(admin, "flood")
        api = server.register("grace")
        api.post("/agents", {"id": "grace"}, expect=201)
        begun = time.monotonic()
        fill(admin, QUEUED, "ada")
        filled = time.monotonic() - begun
        assert metric(server, "assay_submissions_refused_total") == 0
        wait_for("the gauge", lambda: metric(server, "assay_submissions_open") == QUEUED, 30, 0.2)
        assert server.stop() == 0

        begun = time.monotonic()
        server.start()
        ready = time.monotonic() - begun
        # right at once, from one count of an index
        wait_for("the gauge", lambda: metric(server, "assay_submissions_open") == QUEUED, 30, 0.2)
        assert metric(server, "assay_submissions_oldest_queued_seconds") > 0
        full = memory_mb(server)
        assert full <= RSS_MAX_MB, f"the server takes {full:.0f} MB with {QUEUED} queued"
        print(f"# {QUEUED} queued in {filled:.1f} s; ready again after {ready:.2f} s, {full:.0f} MB", flush=True)
        reads = beside_an_empty_queue(server, admin, 20 if NIGHT else 3)
        print(f"# reads of one that waits: {told(reads)}", flush=True)
        assert server.stop() == 0
        # leases and places are found along indexes, and no query that counts looks at a table
        tool = pathlib.Path(os.environ.get("ASSAY_BUILD", harness.ROOT / "build" / "gcc")) / "tests" / "contract" / "dump_sql"
        if tool.exists():
            so = sorted(str(p) for p in (harness.PREFIX / "lib" / "assay" / "plugins").glob("assay_submissions.so"))
            dumped = json.loads(subprocess.run([str(tool), *so], capture_output=True, text=True, check=True).stdout)["plugins"][0]
            wanted = {s["name"]: s["sql"] for s in dumped["statements"]
                      if s["name"] in ("submissions.turn_choose", "submissions.turn_lease", "submissions.turn_served", "submissions.line_wake",
                                       "submissions.insert", "submissions.count_queued", "submissions.queue_heads", "submissions.get")}
            assert len(wanted) == 8, sorted(wanted)
            for name, plan in plans(server.data, wanted).items():
                slow = [step for step in plan if re.match(r"SCAN (submissions|q|w|r|s|l)\b(?! USING (COVERING )?INDEX submissions_(queued|lines_waiting))", step)]
                turn = name in ("submissions.turn_choose", "submissions.turn_lease")
                assert not slow and not (turn and any("TEMP B-TREE" in step for step in plan)), f"{name}: {plan}"

        # with a runner: who comes with one is judged while the other's thousands wait
        for k in NO_RUNNER:
            del server.env[k]
        server.start(120)
        api = server.login("grace", "a-long-enough-password")
        api.timeout = 120
        one = api.post("/submissions?wait=60", {"benchmark_id": "flood", "agent_id": "grace", "language": "python", "source": program("right.py")},
                       expect=(200, 202)).json
        done = server.wait_done(api, one["id"], 120)
        waiting = wait_for("the gauge", lambda: metric(server, "assay_submissions_open"), 30, 0.2)  # there a second after the start
        assert done["verdict"] == "OK", done
        assert waiting > QUEUED / 2, f"only {waiting} of {QUEUED} still waited: that shows no turns"
        print(f"# one of another submitter was judged while {waiting:.0f} of {QUEUED} were open", flush=True)
        assert server.stop() == 0
    finally:
        server.close()


SMALL_MB = 48
BALLOON_MB = 4


def test_a_full_disk_refuses_and_recovers():
    if os.geteuid() != 0:
        raise Skip("a small file system for the data directory needs root")
    server = Server(name="full")
    top = server.tmp
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL_MB}m,mode=755", "assay-full", str(top)], check=True)
    balloon = top / "balloon"
    try:
        balloon.write_bytes(bytes(BALLOON_MB << 20))  # what the server leaves it grows by: it may be nothing
        server.start()
        admin = server.login()
        admin.timeout = 60
        admin.post("/agents", {"id": "ada"}, expect=201)
        publish(admin, "flood")
        path = one_ended(admin)
        body = {"benchmark_id": "flood", "agent_id": "ada", "language": "python", "source": program("right.py")}
        large = {**body, "source": program("right.py") + "#" * (300 << 10)}   # becomes a blob
        larger = {**body, "source": program("right.py") + "\n#" + "\\u00e9" * 160000}  # and its body a file
        accepted = {}

        def send(what):
            begun = time.monotonic()
            a = admin.call("POST", "/submissions", what)
            if a.status == 202:
                accepted[a.json["id"]] = "OK"
            return a, time.monotonic() - begun
        for what in (body, large, larger) * 2:
            assert send(what)[0].status == 202
        # work is under way while the disk fills up
        with open(balloon, "ab") as f:
            try:
                while True:
                    f.write(bytes(65536))
                    f.flush()
            except OSError:
                pass
        slowest, seen = 0.0, set()
        wait_for("a refusal", lambda: send(body)[0].status in (503, 507), 30, 0.01)
        for what in (body, large, larger) * 20:
            a, took = send(what)
            seen.add(a.status)
            slowest = max(slowest, took)
            assert a.status in (202, 503, 507), a
            assert a.headers["content-type"] == ("application/problem+json" if a.status != 202 else "application/json"), a
        assert 507 in seen, seen
        not_ready = wait_for("/readyz to say so", lambda: next((a for a in [server.api().call("GET", "/readyz")] if a.status == 503), None), 10)
        assert "store" in not_ready.body.decode(), not_ready
        assert server.api().call("GET", "/healthz").status == 200
        assert admin.call("GET", path).status == 200, "what is there can be read all the same"
        time.sleep(2)
        begun = time.monotonic()
        os.unlink(balloon)
        wait_for("/readyz", lambda: server.api().call("GET", "/readyz").status == 200, 30, 0.02)
        ready = time.monotonic() - begun
        wait_for("a submission to be taken", lambda: send(body)[0].status == 202, 30, 0.02)
        back = time.monotonic() - begun
        assert send(large)[0].status == 202 and send(larger)[0].status == 202
        for sid in accepted:
            done = server.wait_done(admin, sid, 120)
            assert (done["status"], done["verdict"]) == ("done", "OK"), done
        wal = (server.data / "assay.db-wal").stat().st_size
        assert wal <= 64 << 20, f"the log is {wal >> 20} MiB"
        listed = {s["id"] for s in admin.all("/submissions?benchmark_id=flood")}
        assert set(accepted) <= listed and len(listed) == len(accepted) + 1, (len(listed), len(accepted))
        assert server.stop() == 0
        left = [p.name for p in server.data.rglob("*") if p.is_file() and ("tmp" in p.name or "spool" in p.name)]
        assert not left, f"files of refused requests are left: {left}"
        print(f"# answers {sorted(seen)}, the slowest after {slowest * 1e3:.0f} ms; ready {ready:.2f} s and taking {back:.2f} s after there was room; "
              f"{len(accepted)} accepted, all right", flush=True)
    finally:
        try:
            server.stop()
        finally:
            subprocess.run(["umount", "-l", str(top)], check=False)
            server.close()


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
