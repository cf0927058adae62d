"""The mix of the older worker's simulator through a real Kafka: five languages, each right, wrong, over its time, over its memory, and
not to be built. `assay simulate` publishes, and checks every verdict; a difference fails the measurement.

A fifth of the programs sleep until they are ended by their wall time (3 s under a limit of 1 s), which costs a slot and no
processor: so there are more slots here than processors, 0.6 for each verdict a second and some that work. Too many are wrong as
well: where every slot compiles at once, an honest program may not see a processor until its own wall time is over.
"""

import json
import pathlib
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP / "tests" / "parts"))
import kafka  # noqa: E402

Missing = kafka.Missing
SLOTS = {True: 16, False: 48}  # by whether each source is new
PARTITIONS = 6


class Mix:
    """with Mix(Assayd, prefix, True) as m: m.rate(30). Assayd is bench/run's server; unique: each source is new."""

    def __init__(self, assayd, prefix, unique):
        self.assayd, self.prefix, self.unique, self.slots = assayd, prefix, unique, SLOTS[unique]
        self.kafka = kafka.Kafka(PARTITIONS)
        self.cpu_ms, self.messages = 0.0, 0

    def __enter__(self):
        self.kafka.__enter__()
        try:
            self.env = {"KAFKA_BROKERS": self.kafka.brokers, "KAFKA_PROPERTIES": self.kafka.properties}
            for topic in ("scripts", "script-results"):
                self.kafka.topic(topic, PARTITIONS)
            # as it is in production: warm material is made, and builds are cached
            self.server = self.assayd("kafka", environment={**self.env, "RUNNER_MAX_PARALLEL": str(self.slots)}, only="auth,submissions,runner",
                                      intake="kafka", warm="true", log_level="info")
            self.server.wait("the languages", lambda: all(
                x["state"] != "testing" for x in self.server.call("GET", "/languages", None, 200)["items"]), 240)
            self.server.wait("what is made ahead for C++ and Java", lambda: all(
                any(name in line for line in self.server.log.read_text().splitlines() if "language_warm" in line or "warm_failed" in line)
                for name in ("cpp", "java")), 300)
            self.simulate("-n", "2")  # every source that repeats has been built, or has failed to twice
            time.sleep(0.5)           # what was built is kept after its verdict
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc):
        self.kafka.__exit__()

    def simulate(self, *more):
        p = subprocess.run([str(self.prefix / "bin" / "assay"), "simulate", "--via", "kafka", "--profile", "older", "--json", "--wait", "120", *more],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=1800,
                           env={"PATH": "/usr/bin:/bin", "HOME": str(self.kafka.dir), **self.env})
        said = json.loads(p.stdout) if p.stdout.strip() else {}
        if p.returncode != 0 or said["differences"] != 0 or said["all"]["judged"] != said["all"]["sent"]:
            raise AssertionError(f"assay simulate ended with {p.returncode}: {p.stdout[-2000:]}{p.stderr[-1500:]}")
        return said

    def rate(self, seconds):
        """Verdicts a second; the messages are dealt for so long, and all of them are waited for."""
        before = self.server.cpu_s()
        said = self.simulate("--duration", str(seconds), "-c", str(3 * self.slots), *(["--unique"] if self.unique else []))
        self.cpu_ms += (self.server.cpu_s() - before) * 1e3
        self.messages += said["all"]["judged"]
        return said["per_second"]
