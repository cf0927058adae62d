"""A gateway whose work goes out through a broker to workers with data directories of their own, and comes back through it."""

import contextlib
import os
import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "parts"))
import kafka_kit as kit  # noqa: E402
import test_sqs  # noqa: E402
from harness import PREFIX, Server, Skip, main, wait_for  # noqa: E402
from rabbitmq import Missing, RabbitMQ  # noqa: E402
from test_judging import prints, publish, result, start  # noqa: E402

SUM = "print(sum(map(int, input().split())))\n"
TESTS = [("1 2 3\n", "6\n"), ("10 -5 7\n", "12\n")]


@contextlib.contextmanager
def gateway_and_worker(broker, env, **dispatch):
    """dispatch: the gateway's options; its own runner has nothing left to lease."""
    gateway = Server(env={**env, **{f"ASSAY_{k.upper()}": broker for k in dispatch}}, name="gateway")
    worker = Server(env={**env, "ASSAY_INTAKE": broker}, args=["--only", "submissions,runner"], name="worker")
    try:
        gateway.start()
        worker.start(120)
        yield gateway, worker
    except BaseException:
        for s in (gateway, worker):
            lines = [line for line in s.log_text().splitlines() if '"event":"request"' not in line]
            print(*("# " + line[:300] for line in lines[-15:]), sep="\n", flush=True)
        raise
    finally:
        gateway.close()
        worker.close()


def taken(worker):
    """Messages that the worker has taken."""
    lines = worker.api().get("/metrics").body.decode().splitlines()
    return sum(int(float(line.rsplit(" ", 1)[1])) for line in lines if line.startswith("assay_intake_messages_total") and 'outcome="taken"' in line)


def judged_elsewhere(gateway, worker):
    admin = start(gateway)
    b = publish(admin, TESTS, compare="tokens", stop_on_failure=False)
    sent = {}
    for i in range(4):
        for source, verdict in ((SUM, "OK"), (prints("6\n"), "WA"), ("1 / 0\n", "RE")):
            s = admin.post("/submissions", {"benchmark_id": b, "agent_id": "ada", "language": "python", "source": f"#{i}\n{source}"}, expect=202).json
            sent[s["id"]] = verdict
    for sid, verdict in sent.items():
        assert gateway.wait_done(admin, sid, 180)["verdict"] == verdict, admin.get(f"/results/{sid}").body
    for sid, verdict in sent.items():
        r = result(admin, {"id": sid})
        want = {"OK": ["OK", "OK"], "WA": ["OK", "WA"], "RE": ["RE", "RE"]}[verdict]
        assert [t["verdict"] for t in r["tests"]] == want and r["runner"], r
    board = admin.get(f"/leaderboard?benchmark_id={b}").json["items"]
    assert [row["score"] for row in board] == [100], board
    assert taken(worker) >= len(sent), "the gateway's own runner has judged some of them"
    return admin, b


def test_submissions_go_out_through_kafka_and_come_back():
    with kit.kafka(partitions=2) as k, gateway_and_worker("kafka", {"KAFKA_BROKERS": k.brokers, "KAFKA_PROPERTIES": k.properties}, dispatch=True) as (gateway, worker):
        admin, b = judged_elsewhere(gateway, worker)
        # the gateway dies with work outside; what comes back finds its lease
        slow = "import time\ntime.sleep(3)\n" + SUM
        sid = admin.post("/submissions", {"benchmark_id": b, "agent_id": "ada", "language": "python", "source": slow}, expect=202).json["id"]
        wait_for("it to be out", lambda: admin.get(f"/submissions/{sid}").json["status"] == "running", 60)
        os.kill(gateway.children()["server"], signal.SIGKILL)
        gateway.wait_ready(60)
        done = gateway.wait_done(gateway.login(), sid, 180)
        assert done["verdict"] == "OK" and done["attempts"] <= 2, done


def test_tasks_go_out_through_rabbitmq_and_submissions_stay():
    if not (PREFIX / "lib" / "assay" / "plugins" / "assay_broker_amqp.so").exists():
        raise Skip("the RabbitMQ broker was not built: rabbitmq-c was not there (Debian: librabbitmq-dev)")
    try:
        broker = RabbitMQ()
    except Missing as why:
        raise Skip(str(why))
    with broker as mq:
        env = {"AMQP_URL": mq.url, "AMQP_QUEUE": "d.tasks", "AMQP_RESULTS_QUEUE": "d.results"}
        with gateway_and_worker("amqp", env, dispatch_tasks=True) as (gateway, worker):
            admin = start(gateway)
            ids = [admin.post("/task", {"translator": "python3", "code": f"print({i} * 2)\n"}, expect=201).json["task_id"] for i in range(5)]
            for i, task in enumerate(ids):
                wait_for(f"task {i}", lambda task=task: admin.get(f"/status/{task}").json["status"] == "ready", 180)
                assert admin.get(f"/result/{task}").json["result"] == f"{i * 2}\n"
            assert taken(worker) == 5
            b = publish(admin, TESTS)
            s = admin.post("/submissions?wait=60", {"benchmark_id": b, "agent_id": "ada", "language": "python", "source": SUM}, expect=200).json
            assert s["verdict"] == "OK", s


def test_submissions_go_out_through_sqs_and_come_back():
    s = test_sqs.emulator()
    env = {**s.env, "AWS_SQS_QUEUE_URL": s.queue("out-jobs"), "AWS_SQS_RESULTS_QUEUE_URL": s.queue("out-results"), "RUNNER_POLL_INTERVAL_MS": "1000"}
    with gateway_and_worker("sqs", env, dispatch=True) as (gateway, worker):
        judged_elsewhere(gateway, worker)


if __name__ == "__main__":
    try:
        main(sys.modules[__name__])
    finally:
        if test_sqs.SQS is not None:
            test_sqs.SQS.__exit__()
