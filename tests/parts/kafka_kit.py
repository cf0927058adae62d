"""What the tests of workers on a real Kafka share: producing scripts and reading results by kcat, another client; and the count.

Each message has a known status. At the end every key must have results, all with one event id and the right status.
"""

import collections
import json
import pathlib
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "e2e"), str(HERE)]
from harness import FIXTURES, PREFIX, Server, Skip, wait_for  # noqa: E402
from kafka import Kafka, Missing  # noqa: E402

TESTS = [{"number": 1, "input": "1 2 3", "expected_output": "6\n"}, {"number": 2, "input": "2147483647 2147483647 2", "expected_output": "4294967296\n"}]
# language, program of the demo, status in the wire format
MIX = [("c", "right.c", "OK"), ("c", "wrong.c", "WA"), ("c", "uncompilable.c", "BF"), ("python", "right.py", "OK"), ("c", "crashing.c", "RE")]


def kafka(partitions):
    if not (PREFIX / "lib" / "assay" / "plugins" / "assay_broker_kafka.so").exists():
        raise Skip("the Kafka driver was not built: librdkafka was not there (Debian: librdkafka-dev)")
    if not shutil.which("kcat"):
        raise Skip("kcat is not installed (Debian: apt-get install kcat)")
    try:
        return Kafka(partitions)
    except Missing as why:
        raise Skip(str(why))


def script(key, language, file, fresh=True):
    source = (FIXTURES / "demo" / "programs" / file).read_text()
    if fresh:
        source += f"\n{'#' if language == 'python' else '//'} {key}\n"
    return json.dumps({"type": "script", "id": key, "language": language, "source": source, "tests": TESTS,
                       "limits": {"time_limit_ms": 5000, "memory_limit_bytes": 256 << 20}})


def kcat(k, *args, **kw):
    flags = [f for p in k.properties.split(",") for f in ("-X", p)]
    return subprocess.run(["kcat", "-m", "60", "-b", k.brokers, *flags, *args], capture_output=True, text=True, timeout=120, **kw)


def produce(k, messages, topic="scripts"):
    """(key, one line of value) each; returns when the broker has them."""
    # a question makes the topic; it has leaders a moment later
    wait_for(f"the topic {topic}", lambda: "leader 0" in (t := kcat(k, "-L", "-t", topic).stdout) and "Leader not available" not in t and
             "leader -1" not in t, 60, every=0.2)
    a = kcat(k, "-P", "-t", topic, "-K", "\t", input="".join(f"{key}\t{value}\n" for key, value in messages))
    assert a.returncode == 0, a.stderr


def read(k, topic="script-results"):
    """Everything in a topic, as (key, text)."""
    a = kcat(k, "-C", "-e", "-q", "-o", "beginning", "-t", topic, "-J")
    if a.returncode != 0:
        return []
    lines = [json.loads(line) for line in a.stdout.splitlines() if line.strip()]
    return [(m["key"], m["payload"]) for m in lines]


def results(k, topic="script-results"):
    out = collections.defaultdict(list)
    for key, text in read(k, topic):
        out[key].append(json.loads(text))
    return out


def wait_results(k, keys, timeout=120):
    keys = set(keys)
    got = {}

    def all_there():
        nonlocal got
        got = results(k)
        return keys <= set(got)
    try:
        wait_for("results", all_there, timeout, every=0.5)
    except AssertionError:
        missing = sorted(keys - set(got))
        raise AssertionError(f"{len(missing)} of {len(keys)} have no result after {timeout} s: {missing[:10]}") from None
    return got


def check(got, expected):
    """expected: {key: status}. Returns how many results were there more than once (with the same event id)."""
    assert set(got) == set(expected), (sorted(set(got) ^ set(expected))[:10])
    repeated = 0
    for key, status in expected.items():
        rs = got[key]
        assert {r.get("status") for r in rs} == {status}, (key, status, rs)
        assert len({r["event_id"] for r in rs}) == 1, (key, rs)
        assert all(r["id"] == key for r in rs), rs
        repeated += len(rs) - 1
    return repeated


class Worker(Server):
    def __init__(self, k, name="worker", properties="", env=None, args=(), session_ms=6000):
        mine = f"consumer.session.timeout.ms={session_ms},consumer.heartbeat.interval.ms={session_ms // 6}"
        super().__init__(env={"KAFKA_BROKERS": k.brokers, "KAFKA_PROPERTIES": ",".join(p for p in (k.properties, mine, properties) if p),
                              "RUNNER_MAX_PARALLEL": "2", "ASSAY_LOG_LEVEL": "info", **(env or {})},
                         args=["--only", "runner", "--intake", "kafka", *args], name=name)

    def has_partitions(self):
        try:
            return self.metric("assay_kafka_partitions{") > 0
        except OSError:
            return False


class Workers:
    """with Workers(k, 3) as ws: started, and each with partitions."""

    def __init__(self, k, n, **kw):
        self.all = [Worker(k, name=f"worker{i}", **kw) for i in range(n)]

    def __enter__(self):
        try:
            for w in self.all:
                w.spawn()
            for w in self.all:
                w.wait_ready(120)
            wait_for("partitions for every worker", lambda: all(w.has_partitions() for w in self.all), 90, every=0.3)
        except BaseException:
            self.__exit__()
            raise
        return self.all

    def __exit__(self, *exc):
        for w in self.all:
            if exc and exc[0]:
                for line in w.log_text().splitlines()[-5:]:
                    print("#", line[:300])
            w.close()


def messages(n, prefix, mix=None):
    """n of (key, value), and {key: status}."""
    mix = mix or MIX
    out, expected = [], {}
    for i in range(n):
        language, file, status = mix[i % len(mix)]
        key = f"{prefix}-{i}"
        out.append((key, script(key, language, file)))
        expected[key] = status
    return out, expected


def elapsed(since):
    return time.monotonic() - since
