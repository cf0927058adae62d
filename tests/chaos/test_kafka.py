"""kill -9 of workers on Kafka, and of Kafka, at random moments under load: each message is judged, and its verdict is one.

    ASSAY_KILLS=200 ASSAY_SEED=7 python3 tests/chaos/test_kafka.py

The ledger is the topic itself: whatever the producer got through is there, and each message of it must have results with its own
event id, all of them saying the same, and the right thing. A result may be there more than once (a worker that dies between the broker's
confirmation and its commit); a consumer knows it by the event id, and it is counted. A seed deals the same messages, victims and distances again.
"""

import collections
import hashlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "e2e"), str(HERE.parent / "parts")]
import kafka_kit as kit  # noqa: E402
from harness import main, wait_for  # noqa: E402

NIGHT = os.environ.get("ASSAY_NIGHT") == "1"
KILLS = int(os.environ.get("ASSAY_KILLS", "200" if NIGHT else "8"))
SEED = int(os.environ.get("ASSAY_SEED", str(random.SystemRandom().randrange(1 << 30))))
WORKERS, PARTITIONS = 3, 6


def event_id(message):
    """As the intake makes it (services/submissions/intake.c): of where a message stands and what it says."""
    name = f"{message['topic']}:{message['partition']}:{message['offset']}"
    h = list(hashlib.sha256(b"kafka\0" + name.encode() + b"\0" + message["payload"].encode()).hexdigest())
    h[12], h[16] = "8", "89ab"[int(h[16], 16) & 3]
    h = "".join(h)
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:32]}"


def everything(k, topic):
    """A broker that has just been started listens before it answers."""
    said = []

    def read():
        a = kit.kcat(k, "-C", "-e", "-q", "-o", "beginning", "-t", topic, "-J")
        said[:] = [a.stderr]
        return [a.stdout] if a.returncode == 0 else None
    try:
        text, = wait_for(f"the topic {topic}", read, 60, 0.5)
    except AssertionError as why:
        raise AssertionError(f"{why}: {said}") from None
    return [json.loads(line) for line in text.splitlines() if line.strip()]


class Producer(threading.Thread):
    """Sends through kcat, which gives up when the broker is away, with what it held: the producer is not what is tried here."""

    def __init__(self, k, rng):
        super().__init__()
        self.k, self.rng, self.expected, self.ending, self.fault = k, rng, {}, threading.Event(), None
        self.kcat = None

    def write(self, line):
        while not self.ending.is_set():
            if self.kcat is None or self.kcat.poll() is not None:
                flags = [f for p in (*self.k.properties.split(","), "linger.ms=20") for f in ("-X", p)]
                self.kcat = subprocess.Popen(["kcat", "-b", self.k.brokers, *flags, "-P", "-t", "scripts", "-K", "\t"], stdin=subprocess.PIPE,
                                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)
            try:
                self.kcat.stdin.write(line)
                self.kcat.stdin.flush()
                return
            except BrokenPipeError:
                self.kcat.wait()
                self.ending.wait(0.5)

    def run(self):
        try:
            while not self.ending.is_set():
                language, file, status = self.rng.choice(kit.MIX)
                key = f"m{len(self.expected)}"
                self.expected[key] = status
                # some sources come again: builds are found in the cache
                self.write(f"{key}\t{kit.script(key, language, file, fresh=self.rng.random() < 0.5)}\n")
                self.ending.wait(self.rng.uniform(0.05, 0.4))
        except BaseException as e:  # noqa: B902 - told by end()
            self.fault = e

    def end(self):
        self.ending.set()
        self.join()
        if self.kcat is not None:
            try:
                self.kcat.stdin.close()
            except BrokenPipeError:
                pass
            self.kcat.wait(120)
        if self.fault:
            raise self.fault


def strike(rng, k, workers):
    """Ends somebody; gives the victim's name."""
    victim = rng.choices(["server", "boxkeeper", "worker", "kafka"], [8, 3, 8, 1])[0]
    w = rng.choice(workers)
    if victim == "kafka":
        k.stop(kill=True)
        k.start()
    elif victim == "worker":
        w.kill()
        w.spawn()
    else:
        pid = w.children().get(victim)
        if pid is None:
            return None
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return None
    return victim


def test_kill_9_of_workers_and_of_the_broker_loses_nothing_and_gives_one_verdict():
    rng = random.Random(SEED)
    print(f"# ASSAY_SEED={SEED} ASSAY_KILLS={KILLS}")
    with kit.kafka(PARTITIONS) as k:
        kit.produce(k, [])
        kit.produce(k, [], topic="script-results")
        with kit.Workers(k, WORKERS, session_ms=3000, env={"ASSAY_MAX_INTERRUPTIONS": "1000000"}) as workers:
            producer = Producer(k, random.Random(SEED + 1))
            producer.start()
            struck = collections.Counter()
            try:
                while struck.total() < KILLS:
                    time.sleep(rng.uniform(0.2, 2.0))
                    victim = strike(rng, k, workers)
                    if victim:
                        struck[victim] += 1
            finally:
                producer.end()
            quiet = time.monotonic()
            messages = everything(k, "scripts")
            keys = collections.Counter(m["key"] for m in messages)
            assert set(keys) <= set(producer.expected) and len(keys) > len(producer.expected) // 2, (len(keys), len(producer.expected))
            due = {event_id(m): m["key"] for m in messages}
            found = collections.defaultdict(list)

            def all_answered():
                found.clear()
                for m in everything(k, "script-results"):
                    r = json.loads(m["payload"])
                    found[r["event_id"]].append(r)
                return set(due) <= set(found)
            try:
                wait_for("every message's result", all_answered, 240, every=1)
            except AssertionError:
                missing = sorted(due[e] for e in set(due) - set(found))
                raise AssertionError(f"{len(missing)} of {len(due)} messages have no result: {missing[:10]}") from None
            print(f"# all were answered {kit.elapsed(quiet):.1f} s after the last kill")
            strangers = set(found) - set(due)
            assert not strangers, f"{len(strangers)} results belong to no message"
            for e, key in due.items():
                what = {(r["id"], r.get("status")) for r in found[e]}
                assert what == {(key, producer.expected[key])}, (key, producer.expected[key], found[e])
            for w in workers:
                w.wait_ready(60)
            repeated = sum(len(r) - 1 for r in found.values())
            print(f"# {dict(struck)}; {len(due)} messages ({len(producer.expected) - len(keys)} of the producer's never came, "
                  f"{len(messages) - len(keys)} came twice), "
                  f"{repeated} results there more than once, with one event id")
            assert repeated <= max(4, struck.total()), repeated
            # what is committed is all: nobody has anything left
            wait_for("no lag", lambda: all(w.metric("assay_kafka_lag_messages") == 0 for w in workers), 60, every=0.5)
            for i, w in enumerate(workers):
                code = w.stop()
                assert code == 0, f"worker {i} ended with {code}:\n{w.log_text()[-3000:]}"


if __name__ == "__main__":
    main(sys.modules[__name__])
