"""A worker in the place of the older one, through RabbitMQ: what it is asked and what it answers, and that a kill loses nothing."""

import json
import os
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "parts"))

import harness  # noqa: E402
import rabbitmq  # noqa: E402
import scripts  # noqa: E402
from harness import Server, Skip, wait_for  # noqa: E402

RABBIT = None


def broker():
    """One for the file; each test has queues of its own."""
    global RABBIT
    if RABBIT is None:
        try:
            RABBIT = rabbitmq.RabbitMQ().__enter__()
        except rabbitmq.Missing as why:
            raise Skip(str(why)) from why
    return RABBIT


class Worker(Server):
    def __init__(self, name, env=None, args=()):
        self.rabbit, self.tasks, self.results = broker(), f"{name}-tasks", f"{name}-results"
        for q in (self.tasks, self.results):
            self.rabbit.declare(q)
        super().__init__(env={"RUNNER_MAX_PARALLEL": "4", "AMQP_URL": self.rabbit.url, "AMQP_QUEUE": self.tasks,
                              "AMQP_RESULTS_QUEUE": self.results, "ASSAY_AMQP_RECONNECT_MAX": "1s", **(env or {})},
                         args=["--only", "runner", "--intake", "amqp", *args])

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def send(self, body):
        self.rabbit.publish(self.tasks, body if isinstance(body, (bytes, str)) else json.dumps(body))

    def take(self, n, timeout=120):
        """n results that come, decoded."""
        got = []
        def more():
            while len(got) < n:
                body = self.rabbit.get(self.results)
                if body is None:
                    return False
                got.append(json.loads(body))
            return True
        wait_for(f"{n} results", more, timeout, every=0.1)
        return got

    def offered(self):
        api = self.api()
        def known():
            items = [i for i in api.get("/languages").json["items"] if i["name"] in scripts.LANGUAGES]
            return items if all(i["state"] != "testing" for i in items) else None
        return [i["name"] for i in wait_for("the self-tests", known, 120) if i["offered"]]


def test_all_combinations_of_language_and_outcome_in_the_older_format():
    with Worker("all") as w:
        w.start()
        have = w.offered()
        assert "python" in have and "c" in have, have
        messages = scripts.all_messages(languages=have)
        for _, _, body in messages:
            w.send(body)
        got = {r["id"]: r for r in w.take(len(messages))}
        assert set(got) == {id for id, _, _ in messages}, sorted(got)
        for id, expected, _ in messages:
            scripts.check(got[id], expected)
        assert len({r["event_id"] for r in got.values()}) == len(messages)
        wait_for("every message to be acknowledged", lambda: w.rabbit.counts(w.tasks) == (0, 0), 30)
        assert w.rabbit.counts(w.results) == (0, 0)
        assert w.stop() == 0


def test_what_has_no_tests_is_run_once_and_what_cannot_be_judged_is_answered():
    with Worker("odd") as w:
        w.start()
        w.send({"id": "none", "language": "python", "source": "import sys\nprint('out', sys.stdin.read() == '')\nprint('err', file=sys.stderr)"})
        w.send({"id": "task", "translator": "python3", "code": "print(input()[::-1])", "input": "abc"})
        w.send({"id": "crash", "language": "python", "source": "import sys\nprint('seen')\nsys.exit(3)"})
        w.send({"id": "files", "language": "python", "files": {"main.py": "import a\nprint(a.v)", "a.py": "v = 5"}})
        w.send({"id": "tokens", "language": "python", "source": "print(' 1   2')", "comparison": "tokens", "tests": [{"expected_output": "1 2"}]})
        w.send({"id": "empty", "language": "python", "source": ""})
        w.send({"id": "cobol", "language": "cobol", "source": "x"})
        w.send(b"not JSON at all")
        got = {r["id"]: r for r in w.take(8)}
        r = got["none"]
        assert r["status"] == "OK" and r["stdout"] == "out True\n" and r["stderr"] == "err\n" and "tests" not in r, r
        assert got["task"]["status"] == "OK" and got["task"]["stdout"] == "cba\n", got["task"]
        assert got["crash"]["status"] == "RE" and got["crash"]["exit_code"] == 3 and got["crash"]["stdout"] == "seen\n", got["crash"]
        assert got["files"]["status"] == "OK" and got["files"]["stdout"] == "5\n", got["files"]
        assert got["tokens"]["status"] == "OK" and got["tokens"]["tests"][0]["status"] == "OK", got["tokens"]
        bad = [r for r in got.values() if "status" not in r]
        assert len(bad) == 3 and all(set(r) == {"id", "error", "timestamp", "event_id"} for r in bad), bad
        assert got["empty"]["error"] == "empty source" and got["cobol"]["error"] == "unknown language: cobol", bad
        assert "no script" in next(r["error"] for r in bad if r["id"] not in ("empty", "cobol")), bad


def test_strict_says_what_older_consumers_know_and_ends_after_as_many_as_expected():
    with Worker("strict", env={"ASSAY_BROKER_STRICT": "true", "SCRIPT_EXPECTED": "5"}) as w:
        w.start()
        crash = "import sys\nprint(sum(map(int, sys.stdin.read().split())))\nsys.exit(1)"
        w.send({"id": "matches", "language": "python", "source": crash, "tests": scripts.TESTS})
        w.send({"id": "differs", "language": "python", "source": crash, "tests": [{"input": "1", "expected_output": "2\n"}, {"input": "1"}]})
        w.send({"id": "none", "language": "python", "source": crash})
        w.send({"id": "flood", "language": "c", "source": "#include <stdio.h>\nint main(void) { for (;;) puts(\"flood\"); }",
                "tests": [{"expected_output": "x"}]})
        got = {r["id"]: r for r in w.take(4)}
        assert got["matches"]["status"] == "OK" and got["matches"]["exit_code"] == 1, got["matches"]
        assert [t["status"] for t in got["matches"]["tests"]] == ["OK", "OK"], got["matches"]
        assert got["differs"]["status"] == "WA" and [t["status"] for t in got["differs"]["tests"]] == ["WA", "-"], got["differs"]
        assert got["none"]["status"] == "OK" and got["flood"]["status"] == "WA", got
        assert w.process.poll() is None
        w.send({"id": "last", "language": "python", "source": "print(1)"})
        w.take(1)
        assert w.process.wait(40) == 0, w.log_text()[-2000:]


def test_a_killed_worker_loses_nothing_and_answers_nothing_twice():
    with Worker("kill") as w:
        w.start()
        n = 24
        for i in range(n):
            w.send(scripts.message("python", "ok" if i % 2 == 0 else "wa", f"k{i}", unique=str(i)))
        seen = w.take(4)
        for _ in range(2):
            server = w.children()["server"]
            os.kill(server, signal.SIGKILL)
            wait_for("the next server", lambda: w.children().get("server") not in (None, server), 30)
            time.sleep(1)
        end = time.monotonic() + 120
        while len({r["id"] for r in seen}) < n or w.rabbit.counts(w.tasks) != (0, 0):
            assert time.monotonic() < end, (len(seen), w.rabbit.counts(w.tasks), w.log_text()[-2000:])
            body = w.rabbit.get(w.results)
            if body is not None:
                seen.append(json.loads(body))
            else:
                time.sleep(0.1)
        while (body := w.rabbit.get(w.results)) is not None:
            seen.append(json.loads(body))
        for i in range(n):
            mine = [r for r in seen if r["id"] == f"k{i}"]
            assert {r["status"] for r in mine} == {"OK" if i % 2 == 0 else "WA"}, mine
            assert len({r["event_id"] for r in mine}) == 1, mine  # one that came twice is known by it
        assert w.stop() == 0


def test_a_worker_that_could_not_judge_says_so():
    s = Server(args=["--only", "scoring", "--intake", "amqp"])
    try:
        s.spawn()
        assert s.process.wait(30) == 78
        assert "has no runner to judge it: add runner to only" in s.log_text(), s.log_text()
    finally:
        s.close()


if __name__ == "__main__":
    try:
        harness.main(sys.modules[__name__])
    finally:
        if RABBIT is not None:
            RABBIT.__exit__()
