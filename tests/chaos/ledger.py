"""The ledger outside the system: what was accepted, and what each must get.

Clients submit programs whose verdicts are known. A request whose outcome is not known (no answer, a cut one, a refusal) is
sent again under the same idempotency key until it is; so at the end the server must have exactly the submissions of the
ledger, not one more. Each line of the ledger is fsynced before the next request goes out.
"""

import collections
import http.client
import json
import os
import pathlib
import random
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from harness import Api, program  # noqa: E402

BENCHMARK = "chaos"
# program, language, verdict, weight
MIX = [("right.c", "c", "OK", 6), ("wrong.c", "c", "WA", 3), ("crashing.c", "c", "RE", 3), ("uncompilable.c", "c", "BF", 2),
       ("right.py", "python", "OK", 4), ("flooding.c", "c", "OL", 1), ("spinning.c", "c", "TL", 1)]
OPEN = 20  # submissions that a client has open at a time
# what the outcome of a request may be while things are broken: sent again under the same key
UNSETTLED = {401, 429, 500, 502, 503, 504, 507}


def publish(admin):
    """The benchmark of the ledger: short limits, so that a backlog is worked off soon. Done again, nothing happens."""
    admin.post("/agents", {"id": "ada", "name": "Ada"}, expect=(201, 409))
    admin.post("/benchmarks", {
        "id": BENCHMARK, "name": "Chaos", "compare": "tokens", "stop_on_failure": True, "feedback": "verdict",
        "limits": {"time_limit_ms": 300, "wall_limit_ms": 10000, "memory_limit_bytes": 64 << 20, "output_limit_bytes": 65536},
        "tests": [{"input": "1 2 3", "expected_output": "6"}, {"input": "2147483647 2147483647 2", "expected_output": "4294967296"}],
    }, expect=(201, 409))


class Ledger:
    def __init__(self, login, port, seed, path=None, mix=None, pause=(0.05, 0.4)):
        """login() gives a fresh token, or raises while the server is away."""
        self.login, self.port, self.seed = login, port, seed
        self.mix, self.pause = mix or MIX, pause
        self.lock = threading.Lock()
        self.accepted = {}   # submission id -> verdict that it must get
        self.answered = 0    # answers 202
        self.unknown = 0     # requests without an answer
        self.refused = collections.Counter()
        self.broken = []     # why a client gave up: each is a failure
        self.latest = 0.0    # when the latest was accepted (monotonic)
        self.threads, self.ending = [], threading.Event()
        self.file = open(path, "a", encoding="utf-8") if path else None
        self.token, self.token_lock = None, threading.Lock()

    def fresh_token(self, stale):
        with self.token_lock:
            if self.token == stale:
                try:
                    self.token = self.login()
                except Exception:  # noqa: BLE001 - it is away: the next try says whether it is back
                    return stale
            return self.token

    def note(self, sid, key, file, verdict):
        with self.lock:
            self.answered += 1
            self.latest = time.monotonic()
            before = self.accepted.setdefault(sid, verdict)
            if before != verdict:
                self.broken.append(f"{sid} is the answer to two submissions, {before} and {verdict}")
            if self.file:
                self.file.write(json.dumps({"id": sid, "key": key, "program": file, "verdict": verdict}) + "\n")
                self.file.flush()
                os.fsync(self.file.fileno())

    def submit(self, key, file, language, verdict, patience=180.0, fresh=""):
        """One submission, until its outcome is known."""
        body = {"benchmark_id": BENCHMARK, "agent_id": "ada", "language": language, "source": program(file) + fresh}
        end = time.monotonic() + patience
        token = self.token
        while True:
            try:
                a = Api(self.port, token, timeout=15).call("POST", "/submissions", body, headers={"Idempotency-Key": key})
            except (OSError, ValueError, http.client.HTTPException):
                with self.lock:
                    self.unknown += 1
                time.sleep(0.05)
            else:
                if a.status == 202:
                    self.note(a.json["id"], key, file, verdict)
                    return a.json["id"]
                with self.lock:
                    self.refused[a.status] += 1
                if a.status not in UNSETTLED:
                    raise AssertionError(f"{key}: unexpected answer {a}")
                if a.status == 401:
                    token = self.fresh_token(token)
                time.sleep(0.1)
            if time.monotonic() > end:
                raise AssertionError(f"{key}: no outcome within {patience} s")

    def ended(self, sid):
        try:
            a = Api(self.port, self.token, timeout=5).call("GET", f"/submissions/{sid}")
            return a.status == 200 and a.json["status"] in ("done", "error", "cancelled")
        except (OSError, ValueError, http.client.HTTPException):
            return False

    def client(self, number):
        rng, n = random.Random(self.seed * 100 + number), 0
        open_ones = collections.deque()
        try:
            while not self.ending.is_set():
                file, language, verdict, _ = rng.choices(self.mix, [m[3] for m in self.mix])[0]
                n += 1
                open_ones.append(self.submit(f"k-{self.seed}-{number}-{n}", file, language, verdict))
                # no more than that waits to be judged: what is counted is what is lost, not how long a queue can get
                while len(open_ones) > OPEN and not self.ending.is_set():
                    if self.ended(open_ones[0]):
                        open_ones.popleft()
                    else:
                        time.sleep(0.1)
                # in bursts: a fault then finds requests under way, and the backlog stays bounded
                if rng.random() < 0.3:
                    time.sleep(rng.uniform(*self.pause) * 3)
        except BaseException as e:  # noqa: B902 - a thread's end must be seen by the test
            with self.lock:
                self.broken.append(f"{type(e).__name__}: {e}")

    def start(self, clients):
        self.token = self.login()
        self.threads = [threading.Thread(target=self.client, args=(i,), daemon=True) for i in range(clients)]
        for t in self.threads:
            t.start()

    def stop(self):
        """Ends the clients, each when the outcome of its last request is known."""
        self.ending.set()
        for t in self.threads:
            t.join(200)
            if t.is_alive():
                self.broken.append("a client does not end")
        if self.file:
            self.file.close()
            self.file = None
