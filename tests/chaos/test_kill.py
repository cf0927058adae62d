"""kill -9 at random moments under load: every accepted submission ends with exactly one right verdict.

A ledger outside the system notes every submission that was answered 202, with the verdict that its
program must get.  While clients submit, a random one of supervisor, server and boxkeeper is killed at
random moments.  At the end each submission of the ledger must have one terminal verdict, the right
one, one result, one score, one "submission.done" event; nothing may be there that was never accepted.

    ASSAY_KILLS=50 ASSAY_SEED=7 python3 tests/chaos/test_kill.py
"""

import os
import random
import signal
import sqlite3
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import harness  # noqa: E402
from harness import Api, Server, program  # noqa: E402

NIGHT = os.environ.get("ASSAY_NIGHT") == "1"
KILLS = int(os.environ.get("ASSAY_KILLS", "1000" if NIGHT else "50"))
SEED = int(os.environ.get("ASSAY_SEED", str(random.SystemRandom().randrange(1 << 30))))
CLIENTS = 4
MIX = [("right.c", "c", "OK"), ("wrong.c", "c", "WA"), ("crashing.c", "c", "RE"), ("uncompilable.c", "c", "BF"),
       ("right.py", "python", "OK"), ("flooding.c", "c", "OL"), ("spinning.c", "c", "TL")]
WEIGHTS = [6, 3, 3, 2, 4, 1, 1]


class Ledger:
    def __init__(self):
        self.lock = threading.Lock()
        self.accepted = {}   # submission id -> expected verdict
        self.answered = 0
        self.refused = 0
        self.unknown = 0

    def client(self, port, token, stop, seed):
        rng = random.Random(seed)
        n = 0
        while not stop.is_set():
            file, language, verdict = rng.choices(MIX, WEIGHTS)[0]
            n += 1
            key = f"k-{seed}-{n}"
            body = {"benchmark_id": "chaos", "agent_id": "ada", "language": language, "source": program(file)}
            # retried under the same key until the outcome is known: a lost answer must not make two
            while not stop.is_set():
                try:
                    a = Api(port, token, timeout=15).call("POST", "/submissions", body, headers={"Idempotency-Key": key})
                except (OSError, ValueError):
                    with self.lock:
                        self.unknown += 1
                    time.sleep(0.05)
                    continue
                except Exception:  # noqa: BLE001 - http.client has its own family for a cut answer
                    with self.lock:
                        self.unknown += 1
                    time.sleep(0.05)
                    continue
                with self.lock:
                    if a.status == 202:
                        self.answered += 1
                        before = self.accepted.setdefault(a.json["id"], verdict)
                        assert before == verdict
                        break
                    self.refused += 1
                    if a.status not in (401, 429, 503, 500):
                        raise AssertionError(f"unexpected answer {a}")
                time.sleep(0.1)
            time.sleep(rng.uniform(0.05, 0.4))


def answer_time(server, since):
    """Seconds from `since` until the server answers a request again."""
    while True:
        try:
            if Api(server.port, timeout=5).call("GET", "/healthz").status == 200:
                return time.monotonic() - since
        except Exception:  # noqa: BLE001
            pass
        if time.monotonic() - since > 30:
            raise AssertionError("no answer for 30 s after a kill\n" + server.log_text()[-3000:])
        time.sleep(0.005)


def test_kill_9_loses_and_doubles_nothing():
    print(f"# seed {SEED}, {KILLS} kills", flush=True)
    rng = random.Random(SEED)
    server = Server(name="chaos").start()
    ledger, stop, threads = Ledger(), threading.Event(), []
    killed = {"server": 0, "boxkeeper": 0, "supervisor": 0}
    restarts = []
    try:
        admin = server.login()
        server.demo(admin)
        # its own benchmark: short limits, so that the backlog is worked off soon after the last kill
        admin.post("/benchmarks", {
            "id": "chaos", "name": "Chaos", "compare": "tokens", "stop_on_failure": True, "feedback": "verdict",
            "limits": {"time_limit_ms": 300, "wall_limit_ms": 3000, "memory_limit_bytes": 64 << 20, "output_limit_bytes": 65536},
            "tests": [{"input": "1 2 3", "expected_output": "6"}, {"input": "2147483647 2147483647 2", "expected_output": "4294967296"}],
        }, expect=201)
        for i in range(CLIENTS):
            t = threading.Thread(target=ledger.client, args=(server.port, admin.token, stop, SEED * 100 + i), daemon=True)
            t.start()
            threads.append(t)
        for k in range(KILLS):
            time.sleep(rng.uniform(0.2, 1.2))
            role = rng.choice(["server", "server", "boxkeeper", "supervisor"])
            if role == "supervisor":
                server.process.kill()
                server.process.wait()
                since = time.monotonic()
                server.spawn()
            else:
                harness.wait_for(f"a {role} to kill", lambda: role in server.children(), 15)
                pid = server.children()[role]
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                since = time.monotonic()
            killed[role] += 1
            if role != "boxkeeper":
                restarts.append(answer_time(server, since))
        stop.set()
        for t in threads:
            t.join(30)
        assert ledger.answered > KILLS / 2, f"too little was accepted to prove anything: {ledger.answered}"
        server.wait_ready(60)
        admin = server.login()
        wrong = []
        for sid, verdict in ledger.accepted.items():
            s = server.wait_done(admin, sid, timeout=180)
            if (s["status"], s["verdict"]) != ("done", verdict):
                wrong.append((sid, verdict, s["status"], s["verdict"]))
        assert not wrong, f"{len(wrong)} of {len(ledger.accepted)} have a wrong end: {wrong[:5]}"
        # scoring works off the same events; give it the time to be done
        harness.wait_for("scores of all", lambda: len(all_of(admin, "/scores?benchmark_id=chaos")) >= len(ledger.accepted), 60, 0.2)
        scored = [s["submission_id"] for s in all_of(admin, "/scores?benchmark_id=chaos")]
        assert len(scored) == len(set(scored)), "a submission was scored twice"
        seen = [s["id"] for s in all_of(admin, "/submissions?benchmark_id=chaos")]
        assert len(seen) == len(set(seen))
        assert set(seen) >= set(ledger.accepted), "an accepted submission is gone"
        # an answer that was lost with its server may have left one submission, which must be whole too
        extra = set(seen) - set(ledger.accepted)
        assert len(extra) <= CLIENTS * 2 + ledger.unknown, extra
        assert server.stop() == 0
        db = sqlite3.connect(f"file:{server.data}/assay.db?mode=ro", uri=True)
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        done = db.execute("SELECT subject, COUNT(*) FROM assay_events WHERE topic = 'submission.done' GROUP BY subject").fetchall()
        double = [row for row in done if row[1] != 1]
        assert not double, f"two terminal events: {double[:5]}"
        assert {row[0] for row in done} >= set(ledger.accepted), "an accepted submission has no terminal event"
        db.close()
        restarts.sort()
        print(f"# killed {killed}; accepted {len(ledger.accepted)}, lost answers {ledger.unknown}, refused {ledger.refused}; "
              f"restart to first answer median {restarts[len(restarts) // 2]:.3f} s, worst {restarts[-1]:.3f} s", flush=True)
        assert restarts[-1] <= 2.0, f"the slowest restart took {restarts[-1]:.2f} s"
    finally:
        stop.set()
        server.close()


def all_of(api, path):
    items, cursor = [], ""
    while cursor is not None:
        page = api.get(f"{path}&limit=100&cursor={cursor}").json
        items += page["items"]
        cursor = page.get("next_cursor")
    return items


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
