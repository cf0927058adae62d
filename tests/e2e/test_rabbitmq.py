"""Workers on a real RabbitMQ: what old producers send is judged and answered, each message once, through deaths of workers and of the broker."""

import base64
import collections
import contextlib
import json
import os
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "parts"))
from harness import PREFIX, Server, Skip, main, wait_for  # noqa: E402
import pictures  # noqa: E402
import sharing  # noqa: E402
from rabbitmq import Missing, RabbitMQ  # noqa: E402

MQ = None
SUM = "print(sum(map(int, input().split())))"
SLOW = "import time; time.sleep({}); " + SUM


def settings(**more):
    return {"AMQP_URL": MQ.url, "ASSAY_INTAKE": "amqp", "ASSAY_ONLY": "submissions,runner", "ASSAY_AMQP_RECONNECT_MAX": "1s",
            "ASSAY_AMQP_RETRY_DELAY": "200ms", **more}


def make_server():
    global MQ
    if not (PREFIX / "lib" / "assay" / "plugins" / "assay_broker_amqp.so").exists():
        raise Skip("the RabbitMQ broker was not built: rabbitmq-c was not there (Debian: librabbitmq-dev)")
    try:
        MQ = RabbitMQ()
    except Missing as why:
        raise Skip(str(why))
    MQ.__enter__()
    return Server(env=settings())


class Queues:
    """A task queue and a results queue of one test's own."""

    def __init__(self, name):
        self.tasks, self.results, self.dead = f"{name}.tasks", f"{name}.results", f"{name}.dead"
        self.seen = collections.defaultdict(list)
        for q in (self.tasks, self.results):
            MQ.declare(q)

    @property
    def env(self):
        return settings(AMQP_QUEUE=self.tasks, AMQP_RESULTS_QUEUE=self.results, ASSAY_AMQP_DEAD_QUEUE=self.dead)

    def send(self, tasks):
        """All in one connection, without message ids, as older producers do."""
        lines = "".join(json.dumps(t) + "\n" for t in tasks)
        MQ.tool("amqp-publish", "-r", self.tasks, "-p", "-l", body=lines.encode())

    def take(self):
        while (body := MQ.get(self.results)) is not None:
            r = json.loads(body)
            self.seen[r["id"]].append(r)
        return self.seen

    def all_answered(self, ids, timeout=180):
        wait_for(f"{len(ids)} answers", lambda: set(ids) <= set(self.take()), timeout, 0.3)
        wait_for("every message to be acknowledged", lambda: MQ.counts(self.tasks) == (0, 0), 60, 0.5)
        self.take()
        assert set(self.seen) == set(ids), sorted(set(self.seen) - set(ids))

    def each_once(self, expected="OK"):
        twice = {i: len(r) for i, r in self.seen.items() if len(r) != 1}
        wrong = {i: r[0] for i, r in self.seen.items() if r[0].get("status") != expected}
        assert not twice and not wrong, (list(twice.items())[:3], list(wrong.items())[:3])


@contextlib.contextmanager
def workers(queues, n, **more):
    running = [Server(env={**queues.env, **more}, name=f"worker{i}") for i in range(n)]
    try:
        for w in running:
            w.spawn()
        for w in running:
            w.wait_ready(120)
        yield running
    finally:
        for w in running:
            with contextlib.suppress(AssertionError):
                w.stop()
            w.close()


def task(i, seconds=0):
    return {"id": str(i), "lang": "python", "code": SLOW.format(seconds) if seconds else SUM, "tests": [{"input": f"{len(str(i))} 2", "expected_output": f"{len(str(i)) + 2}\n"}]}


def result(queue, timeout=60):
    return json.loads(wait_for(f"a message in {queue}", lambda: MQ.get(queue), timeout, 0.1))


def test_old_and_new_bodies_are_answered(server):
    MQ.declare("answers")

    def ask(body, *more):
        MQ.publish("tasks", body if isinstance(body, str) else json.dumps(body), *more)
        return result("answers" if more else "task-results")
    r = ask({"id": "1", "lang": "python", "code": "print(42)"})
    assert r["id"] == "1" and r["status"] == "OK" and r["stdout"] == "42\n" and r["exit_code"] == 0 and "tests" not in r, r
    r = ask({"translator": "gcc", "code": '#include <stdio.h>\nint main(void){puts("hi");}'}, "-t", "answers")
    assert r["status"] == "OK" and r["stdout"] == "hi\n" and r["id"], r
    r = ask({"type": "script", "id": "3", "language": "python", "source": SUM,
             "tests": [{"input": "1 2 3", "expected_output": "6\n"}, {"input": "1", "expected_output": "2\n"}, {"input": "4", "expected_output": "4\n"}]}, "-t", "answers")
    assert r["status"] == "WA" and [t["status"] for t in r["tests"]] == ["OK", "WA", "-"], r
    r = ask({"id": "4", "lang": "c", "code": "int main("})
    assert r["status"] == "BF" and "error" in r["stderr"] and "tests" not in r, r
    r = ask({"id": "5", "lang": "brainfuck", "code": "+"})
    assert r["id"] == "5" and "error" in r and "status" not in r, r
    r = ask({"id": "6", "lang": "python", "code": ""}, "-t", "answers")
    assert r["id"] == "6" and "error" in r, r
    wait_for("all to be acknowledged", lambda: MQ.counts("tasks") == (0, 0), 30, 0.3)


def test_filters_of_images(server):
    rows = [[(10, 200, 30, 255), (0, 0, 255, 9)]]
    image = base64.b64encode(pictures.png(rows)).decode()

    def ask(body):
        MQ.publish("tasks", json.dumps(body))
        return result("task-results")
    r = ask({"id": "n-1", "filter": {"name": "Negative"}, "image": image})
    assert r["id"] == "n-1" and r["status"] == "OK" and r["exit_code"] == 0 and "tests" not in r and "stderr" not in r, r
    assert pictures.png_rows(base64.b64decode(r["stdout"])) == [[(245, 55, 225, 255), (255, 255, 0, 9)]], r
    r = ask({"id": "n-2", "filter": {"name": "resize", "parameters": {"width": 4, "height": 1, "mode": "stretch"}}, "image": image})
    assert [p[3] for p in pictures.png_rows(base64.b64decode(r["stdout"]))[0]][0] == 255, r
    r = ask({"id": "n-3", "filter": {"name": "negative"}, "image": base64.b64encode(b"no image").decode()})
    assert r["id"] == "n-3" and r["status"] == "RE" and r["error"].startswith("not_an_image") and "stdout" not in r, r
    noise = [[(x * y * 7919 >> 3 & 255, (x ^ y * 31) * 97 & 255, x * 2654435761 * (y + 3) >> 9 & 255, 255) for x in range(700)] for y in range(700)]
    r = ask({"id": "n-4", "filter": {"name": "negative"}, "image": base64.b64encode(pictures.png(noise)).decode()})
    assert r["status"] == "OL" and r["error"].startswith("too_large") and "stdout" not in r, "a message has 900,000 bytes at most, and half of an image is none"
    for body, why in (({"filter": {"name": "sepia"}, "image": image}, "filter/name: there is no such filter; there are: negative"),
                      ({"filter": {"name": "blur", "parameters": {"sigma": 0}}, "image": image}, "filter/parameters/sigma"),
                      ({"filter": {"name": "blur"}}, "no image"), ({"filter": {"name": "blur"}, "image": image, "lang": "c", "code": "x"}, "both")):
        r = ask({"id": "n-5", **body})
        assert r["id"] == "n-5" and why in r["error"] and "status" not in r, r
    wait_for("all to be acknowledged", lambda: MQ.counts("tasks") == (0, 0), 30, 0.3)


def test_what_nobody_can_take_is_a_dead_letter(server):
    before = MQ.counts("tasks.dead")[0]
    MQ.publish("tasks", "this is no JSON")
    wait_for("a dead letter", lambda: MQ.counts("tasks.dead")[0] > before, 60, 0.3)
    letters = []
    while (body := MQ.get("tasks.dead")) is not None:
        letters.append(body)
    assert b"this is no JSON" in letters, letters
    r = result("task-results")  # and whoever sent it is told, under the id that it was given
    assert "not JSON" in r["error"] and r["id"].startswith("assay-") and "status" not in r, r
    wait_for("it to leave the queue", lambda: MQ.counts("tasks") == (0, 0), 30, 0.3)


def test_nothing_is_acknowledged_before_its_result_is_there(server):
    MQ.publish("tasks", json.dumps({"id": "slow", "lang": "python", "code": SLOW.format(6), "limits": {"time_limit_ms": 30000},
                                    "tests": [{"input": "1", "expected_output": "1\n"}]}))
    wait_for("the task to be taken", lambda: MQ.counts("tasks") == (0, 1), 30, 0.1)
    assert MQ.get("task-results") is None
    r = result("task-results")
    assert r["id"] == "slow" and r["status"] == "OK", r
    wait_for("its acknowledgement", lambda: MQ.counts("tasks") == (0, 0), 30, 0.1)


def test_equal_tasks_are_as_many_as_were_sent(server):
    for _ in range(3):
        MQ.publish("tasks", json.dumps({"id": "same", "lang": "python", "code": "print(1)"}))
    answers = [result("task-results") for _ in range(3)]
    assert all(a["id"] == "same" and a["status"] == "OK" for a in answers), answers
    wait_for("all to be acknowledged", lambda: MQ.counts("tasks") == (0, 0), 30, 0.3)
    assert MQ.get("task-results") is None


def test_a_killed_worker_loses_and_repeats_nothing(server):
    q = Queues("killed")
    with workers(q, 1) as (w,):
        ids = [str(i) for i in range(16)]
        q.send(task(i, 0.3) for i in ids)
        for _ in range(3):
            wait_for("some answers", lambda: len(q.take()) > len(ids) // 8, 60, 0.2)
            os.kill(w.children()["server"], signal.SIGKILL)
            time.sleep(1.5)
        q.all_answered(ids)
        q.each_once()


def test_three_workers_share_a_queue_and_a_killed_ones_work_is_done_by_the_others(server):
    q = Queues("shared")
    with workers(q, 3, RUNNER_MAX_PARALLEL="2") as three:
        def answers():
            return {i: [r.get("status") for r in rs] for i, rs in q.take().items()}
        # the broker sees the end of a killed worker's connection at once
        sharing.three_then_two(three, lambda ids, seconds: q.send(json.loads(sharing.script(i, seconds)) for i in ids), answers, 0)
        wait_for("every message to be acknowledged", lambda: MQ.counts(q.tasks) == (0, 0), 60, 0.5)


def test_a_broker_that_is_killed_under_load_costs_nothing(server):
    q = Queues("broker")
    with workers(q, 1) as (w,):
        ids = [str(i) for i in range(20)]
        q.send(task(i, 0.3) for i in ids)
        wait_for("some answers", lambda: len(q.take()) >= 2, 60, 0.2)
        MQ.kill()
        wait_for("/readyz to say so", lambda: w.api().call("GET", "/readyz").status == 503, 30, 0.2)
        MQ.start()
        q.all_answered(ids)
        wait_for("/readyz to be well", lambda: w.api().call("GET", "/readyz").status == 200, 30, 0.2)
        wrong = {i: r for i, r in q.seen.items() if any(x["status"] != "OK" for x in r)}
        assert not wrong, list(wrong.items())[:3]
        # a task is answered again only where the broker died between taking the answer and saying so
        twice = sum(len(r) > 1 for r in q.seen.values())
        print(f"# answered twice: {twice}")
        assert all(len({x["event_id"] for x in r}) == 1 for r in q.seen.values()), "a message was judged twice"


def test_the_end(server):
    """The last of the file: it ends the broker as well."""
    server.stop()
    MQ.__exit__()


if __name__ == "__main__":
    main(sys.modules[__name__])
