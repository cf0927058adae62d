"""assay simulate through real brokers: workers take what it publishes, and every message comes back once, with its verdict."""

import contextlib
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import harness
from harness import PREFIX, ROOT, Server, wait_for

sys.path.insert(0, str(ROOT / "tests" / "parts"))
import kafka  # noqa: E402
import rabbitmq  # noqa: E402
import sqs  # noqa: E402

LANGUAGES = ("python", "go", "c", "cpp", "java")


def driver(name):
    if not (PREFIX / "lib" / "assay" / "plugins" / f"assay_broker_{name}.so").exists():
        raise harness.Skip(f"broker_{name} was not built: its library is missing (packaging/install-deps build)")


@contextlib.contextmanager
def workers(n, intake, **env):
    """n processes that judge what a broker brings, each with a store of its own."""
    all_of_them = []
    try:
        for i in range(n):
            all_of_them.append(Server(args=["--only", "submissions,runner"], name=f"worker{i}",
                                      env={"ASSAY_INTAKE": intake, "RUNNER_MAX_PARALLEL": "2", "ASSAY_LOG_LEVEL": "info", **env}).spawn())
        for w in all_of_them:
            w.wait_ready(120)
        yield all_of_them
    finally:
        for w in all_of_them:
            w.close()


def judged(worker):
    text = worker.api().get("/metrics").body.decode()
    return sum(float(v) for v in re.findall(r"^assay_runner_verdicts_total\{[^}]*\} (\S+)$", text, re.M))


def simulate(*argv, timeout=600, **env):
    with tempfile.TemporaryDirectory(prefix="assay-simulate-") as tmp:
        log = pathlib.Path(tmp, "log")
        p = subprocess.run([str(PREFIX / "bin" / "assay"), "simulate", "--json", "--log", str(log), *argv], capture_output=True, timeout=timeout, cwd=tmp,
                           env={"PATH": "/usr/bin:/bin", "HOME": tmp, **env})
        lines = [json.loads(l) for l in log.read_text().splitlines()] if log.exists() else []
        assert p.stdout.strip(), (p.returncode, p.stderr)
        return p.returncode, json.loads(p.stdout), [l for l in lines if l.get("difference") or l["event"] in ("lost", "doubled", "refused", "unreadable")]


def have():
    """What this machine can build, by its compilers: as the runner finds them."""
    tools = {"python": "/usr/bin/python3", "go": "/usr/bin/go", "c": "/usr/bin/gcc", "cpp": "/usr/bin/g++", "java": "/usr/bin/javac"}
    return [l for l in LANGUAGES if shutil.which(tools[l])]


def broker(part, *args):
    try:
        return part(*args)
    except (kafka.Missing, rabbitmq.Missing, sqs.Missing) as why:
        raise harness.Skip(str(why))


def test_two_workers_on_one_kafka_topic_share_it_and_answer_each_once():
    driver("kafka")
    with broker(kafka.Kafka, 4) as k:
        env = {"KAFKA_BROKERS": k.brokers, "KAFKA_PROPERTIES": k.properties}
        k.topic("scripts", 4)
        k.topic("script-results", 2)
        with workers(2, "kafka", **env) as two:
            languages = ",".join(have())
            rc, s, odd = simulate("--profile", "older", "--languages", languages, "--unique", "--wait", "120", **env)
            assert rc == 0 and s["via"] == "kafka", (s, odd)
            assert s["all"]["sent"] == s["all"]["judged"] == 5 * len(have()), s
            shares = [judged(w) for w in two]
            # what the first had taken when the second joined the group may be judged by both; it is answered once, as simulate has seen
            assert all(shares) and sum(shares) >= s["all"]["judged"], f"one of two did nothing: {shares}"
            rc, s, odd = simulate("--outcomes", "re,ol", "--languages", "python,c", "-n", "2", "--send-done", "--wait", "120", **env)
            assert rc == 0 and s["all"]["judged"] == 8, (s, odd)
            ended = wait_for("the worker that was told that no more will come to end", lambda: [w for w in two if w.process.poll() is not None], 120)
            assert [w.process.returncode for w in ended] == [0], [w.log_text()[-1000:] for w in ended]


def test_a_strict_worker_keeps_to_the_older_statuses():
    driver("kafka")
    with broker(kafka.Kafka, 1) as k:
        env = {"KAFKA_BROKERS": k.brokers, "KAFKA_PROPERTIES": k.properties}
        k.topic("scripts", 1)
        k.topic("script-results", 1)
        with workers(1, "kafka", ASSAY_BROKER_STRICT="true", **env):
            rc, s, odd = simulate("--strict", "--outcomes", "ok,re,ol", "--languages", "python", "--wait", "120", **env)
            assert rc == 0 and s["all"]["judged"] == 3, (s, odd)


def test_a_rabbitmq_queue_brings_everything_back():
    driver("amqp")
    with broker(rabbitmq.RabbitMQ) as r:
        with workers(2, "amqp", AMQP_URL=r.url):
            rc, s, odd = simulate("--via", "amqp", "--languages", "python,c", "-n", "2", "--wait", "120", AMQP_URL=r.url)
            assert rc == 0 and s["all"]["sent"] == s["all"]["judged"] == 28, (s, odd)


def test_an_sqs_queue_brings_everything_back():
    driver("sqs")
    with broker(sqs.Sqs) as s:
        env = {**s.env, "AWS_SQS_QUEUE_URL": s.queue("simulate-jobs"), "AWS_SQS_RESULTS_QUEUE_URL": s.queue("simulate-results")}
        with workers(2, "sqs", RUNNER_POLL_INTERVAL_MS="1000", **env) as two:
            rc, s, odd = simulate("--via", "sqs", "--languages", "python,c", "-n", "2", "--wait", "120", **env)
            assert rc == 0 and s["all"]["sent"] == s["all"]["judged"] == 28, (s, odd)
            shares = [judged(w) for w in two]
            assert all(shares) and sum(shares) == 28, shares


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
