"""A gateway that judges nothing itself, and runners elsewhere that take its work over HTTP: the same verdicts, and each
submission ends once, whoever is killed, stopped or started again."""

import base64
import os
import pathlib
import re
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "parts"))
import pictures  # noqa: E402
import test_judging  # noqa: E402
from harness import FIXTURES, Server, free_port, main, program, wait_for  # noqa: E402
from test_checkers import PAIR, checker  # noqa: E402
from test_interactive import GUESS, SOLVE  # noqa: E402

LEASE_S = 4
SLEEPER = "import time\ntime.sleep({})\nprint(sum(map(int, input().split())))\n"


def make_server():
    return Server(args=["--boxkeeper=false"], env={"ASSAY_RUNNER_LEASE": f"{LEASE_S}s"})


class Worker(Server):
    def __init__(self, gateway, agent, token, env=None):
        super().__init__(args=["--only", "runner", "--gateway", f"http://127.0.0.1:{gateway.port}"],
                         env={"ASSAY_GATEWAY_AGENT": agent, "ASSAY_AGENT_TOKEN": token, "RUNNER_MAX_PARALLEL": "2", **(env or {})})

    def pids(self):
        return [self.process.pid, *self.children().values()]

    def all(self, sig):
        for pid in self.pids():
            os.kill(pid, sig)


def published(server):
    admin = server.login()
    if admin.call("GET", "/benchmarks/sum-integers").status == 404:
        server.demo(admin)
        admin.post("/benchmarks", {"id": "slow", "name": "Slow", "visibility": "public", "feedback": "full", "limits": {"time_limit_ms": 5000,
                                   "wall_limit_ms": 20000}, "tests": [{"input": "1 2\n", "expected_output": "3\n", "sample": True}]}, expect=201)
    return admin


def worker(server, admin, name, env=None):
    if admin.call("GET", f"/agents/{name}").status == 404:
        admin.post("/agents", {"id": name, "name": name}, expect=201)
    token = admin.post(f"/agents/{name}/tokens", {"scopes": ["jobs:lease", "results:write"]}, expect=201).json["token"]
    return Worker(server, name, token, env)


def send(admin, benchmark, language, source):
    return admin.post("/submissions", {"benchmark_id": benchmark, "agent_id": "ada", "language": language, "source": source},
                      expect=202).json["id"]


def counter(server, name, label=""):
    text = server.api().get("/metrics").body.decode()
    return sum(float(m.group(1)) for m in re.finditer(rf"^{name}{{?[^}}\n]*{label}[^}}\n]*}}? ([0-9.e+]+)$", text, re.M))


def test_the_demo_gets_its_verdicts_from_runners_elsewhere(server):
    admin = published(server)
    lines = [x.split("\t")[1:] for x in (FIXTURES / "demo" / "submissions.tsv").read_text().splitlines() if not x.startswith("#")]
    sent = [(send(admin, "sum-integers", lang, program(file)), file, verdict) for lang, file, verdict in lines if lang in ("c", "python")]
    task = admin.post("/task", {"language": "python", "code": "print(input() * 2)", "input": "ab\n"}, expect=201).json["task_id"]
    one, two = worker(server, admin, "w1"), worker(server, admin, "w2")
    try:
        one.start()
        two.start()
        by = set()
        for sid, file, verdict in sent:
            s = server.wait_done(admin, sid, timeout=180)
            assert s["verdict"] == verdict, (file, s)
            r = admin.get(f"/results/{sid}").json
            by.add(r["runner"])
            if verdict == "OK":
                assert s["score"] == 100 and all(t["cpu_us"] > 0 and t["memory_peak_bytes"] > 0 for t in r["tests"]), r
                assert r["environment"]["language"] and r["sandbox"]["mode"], r
            if verdict == "BF":
                assert r["build_output"] or r["tests"] == [], r
        assert by <= {"agent:w1", "agent:w2"} and by, by
        wait_for("the task", lambda: admin.get(f"/status/{task}").json["status"] == "ready", 60)
        assert admin.get(f"/result/{task}").json["result"] == "abab\n"
        assert counter(server, "assay_runner_workers") == 2
        assert counter(server, "assay_runner_away_results_total", "taken") == len(sent) + 1
    finally:
        one.close()
        two.close()


def test_filters_are_applied_elsewhere(server):
    admin = published(server)
    image = base64.b64encode(pictures.png([[(1, 2, 3, 255), (4, 5, 6, 7)]])).decode()
    noise = base64.b64encode(pictures.png([[(x * y * 7919 >> 3 & 255, (x ^ y * 31) * 97 & 255, x * y & 255, 255) for x in range(250)] for y in range(200)])).decode()
    ask = lambda body: admin.post("/task", body, expect=201).json["task_id"]
    tasks = [ask({"filter": {"name": "negative"}, "image": image}), ask({"filter": {"name": "rotate", "parameters": {"angle": 180}}, "image": noise}),
             ask({"filter": {"name": "blur"}, "image": base64.b64encode(b"GIF89a").decode()})]
    admin.call("POST", "/task", {"filter": {"name": "sepia"}, "image": image}, expect=400)
    w = worker(server, admin, "w1")
    try:
        w.start()
        for t in tasks:
            wait_for("the filter", lambda t=t: admin.get(f"/status/{t}").json["status"] == "ready", 60)
        said = [admin.get(f"/result/{t}").json for t in tasks]
        assert pictures.png_rows(base64.b64decode(said[0]["result"])) == [[(254, 253, 252, 255), (251, 250, 249, 7)]], said[0]
        assert pictures.png_rows(base64.b64decode(said[1]["result"])) == [r[::-1] for r in pictures.png_rows(base64.b64decode(noise))[::-1]]
        assert said[2]["result"] == "" and said[2]["error"].startswith("not_an_image"), said[2]
        r = admin.get(f"/results/{tasks[0]}").json
        assert r["runner"] == "agent:w1" and r["tests"][0]["cpu_us"] > 0 and not r["tests"][0]["stdout"], r
        assert counter(w, "assay_filters_total", 'result="OK"') == 2
    finally:
        w.close()


def test_answers_cancels_and_orderly_stops(server):
    admin = published(server)
    admin.post("/benchmarks", {"id": "answers", "name": "Answers", "visibility": "public", "feedback": "full", "mode": "answer",
                               "tests": [{"input": "", "expected_output": "42\n", "sample": True}]}, expect=201)
    w = worker(server, admin, "w1")
    try:
        w.start()
        for payload, verdict in (("42\n", "OK"), ("41\n", "WA")):
            sid = admin.post("/submissions", {"benchmark_id": "answers", "agent_id": "ada", "payload": payload}, expect=202).json["id"]
            s = server.wait_done(admin, sid, timeout=60)
            assert s["verdict"] == verdict, s
        # a cancel reaches the runner with its next heartbeat
        sid = send(admin, "slow", "python", SLEEPER.format(15))
        wait_for("it to run", lambda: admin.get(f"/submissions/{sid}").json["status"] == "running", 30)
        admin.post(f"/submissions/{sid}/cancel")
        began = time.monotonic()
        s = server.wait_done(admin, sid, timeout=30)
        assert s["status"] == "cancelled" and time.monotonic() - began < 14, (s, time.monotonic() - began)
        # what is stopped in order hands its work back uncharged
        sid = send(admin, "slow", "python", SLEEPER.format(12))
        wait_for("it to run", lambda: admin.get(f"/submissions/{sid}").json["status"] == "running", 30)
        w.stop()
        wait_for("it to be queued again", lambda: admin.get(f"/submissions/{sid}").json["status"] == "queued", 10)
        admin.post(f"/submissions/{sid}/cancel")
    finally:
        w.close()


def test_a_harness_and_several_files_go_to_a_runner_elsewhere(server):
    admin = published(server)
    source = "import sys\nwant = open('input.txt').read().split()\nprint('pass' if sys.stdin.read().split() == want[::-1] else 'fail')\n"
    admin.post("/benchmarks", {"id": "harness", "name": "Harness", "visibility": "public", "feedback": "full", "mode": "harness",
                               "harness": {"language": "python", "source": source},
                               "tests": [{"input": "1 2 3\n", "expected_output": "pass\n"}]}, expect=201)
    sent = [(admin.post("/submissions", {"benchmark_id": "harness", "agent_id": "ada", "payload": payload}, expect=202).json["id"], verdict)
            for payload, verdict in (("3 2 1", "OK"), ("1 2 3", "WA"))]
    # the second file is what makes it right
    for files, verdict in (({"main.c": '#include "sum.h"\n', "sum.h": program("right.c")}, "OK"),
                           ({"main.c": '#include "sum.h"\n', "sum.h": program("wrong.c")}, "WA"),
                           ({"main.c": '#include "missing.h"\n', "sum.h": program("right.c")}, "BF")):
        a = admin.post("/submissions", {"benchmark_id": "sum-integers", "agent_id": "ada", "language": "c", "files": files}, expect=202)
        sent.append((a.json["id"], verdict))
    w = worker(server, admin, "w1")
    try:
        w.start()
        for sid, verdict in sent:
            s = server.wait_done(admin, sid, timeout=120)
            assert s["verdict"] == verdict and admin.get(f"/results/{sid}").json["runner"] == "agent:w1", (verdict, s)
    finally:
        w.close()


def test_a_checker_and_an_interactor_go_to_a_runner_elsewhere(server):
    """The job carries its checker; messages and transcript come back; one that fails raises the alarm at the gateway."""
    admin = published(server)
    for name, c, tests in (("checked", checker("validator", PAIR), [{"input": "10", "expected_output": "4 6"}]),
                           ("talks", checker("validator", GUESS, interactive=True), [{"input": "37"}]),
                           ("broken", checker("validator", "import sys; sys.exit(9)"), [{"input": "1"}])):
        admin.post("/benchmarks", {"id": name, "name": name, "visibility": "public", "feedback": "full", "checker": c, "tests": tests}, expect=201)
    w = worker(server, admin, "w1")
    try:
        w.start()
        for source, verdict in (("print(1, 9)", "OK"), ("print('a b')", "WA")):
            s = server.wait_done(admin, send(admin, "checked", "python", source), timeout=60)
            assert s["verdict"] == verdict, s
        r = admin.get(f"/results/{s['id']}").json
        assert r["runner"] == "agent:w1" and r["tests"][0]["team_message"] == "print two numbers" and "one pair" in r["tests"][0]["judge_message"], r
        s = server.wait_done(admin, send(admin, "talks", "python", SOLVE), timeout=60)
        r = admin.get(f"/results/{s['id']}").json
        assert s["verdict"] == "OK" and r["tests"][0]["transcript"].startswith("> 50\n< lower\n"), r
        s = server.wait_done(admin, send(admin, "broken", "python", "print(1)"), timeout=60)
        assert s["verdict"] == "IE" and s["status"] == "error", s
        assert counter(server, "assay_runner_checker_faults_total", 'fault="elsewhere"') >= 1
        assert "checker failed" in admin.get(f"/results/{s['id']}").json["fault"]
    finally:
        w.close()


def test_killed_stopped_and_restarted_each_submission_ends_once(server):
    """R7, R8: one runner is killed in the middle of its work, one is stopped for three leases, the gateway is killed."""
    admin = published(server)
    one, two = worker(server, admin, "w1"), worker(server, admin, "w2")
    try:
        one.start()
        sent = [send(admin, "slow", "python", SLEEPER.format(2.5)) for _ in range(4)]
        wait_for("the first runner to have some", lambda: [s for s in sent if admin.get(f"/submissions/{s}").json["status"] == "running"], 30)
        had = [s for s in sent if admin.get(f"/submissions/{s}").json["status"] == "running"]
        one.process.kill()
        one.process.wait()
        killed = time.monotonic()
        two.start()
        for s in had:
            wait_for("its work to be leased again", lambda s=s: admin.get(f"/submissions/{s}").json["attempts"] >= 1
                     or admin.get(f"/submissions/{s}").json["status"] == "queued", LEASE_S + 5 + 5)
        assert time.monotonic() - killed < LEASE_S + 5 + 10, "the machine is slow, or the lease did not expire"
        for s in sent:
            got = server.wait_done(admin, s, timeout=120)
            assert got["verdict"] == "OK" and got["attempts"] <= 2, got

        # a zombie
        zombie = send(admin, "slow", "python", SLEEPER.format(3))
        wait_for("it to run", lambda: admin.get(f"/submissions/{zombie}").json["status"] == "running", 30)
        two.all(signal.SIGSTOP)
        one.start()
        got = server.wait_done(admin, zombie, timeout=60)
        assert got["verdict"] == "OK" and admin.get(f"/results/{zombie}").json["runner"] == "agent:w1", got
        time.sleep(max(0.0, 3 * LEASE_S - 8))
        two.all(signal.SIGCONT)
        one.stop()
        again = send(admin, "slow", "python", SLEEPER.format(0))
        assert server.wait_done(admin, again, timeout=60)["verdict"] == "OK"  # it works on
        now = admin.get(f"/submissions/{zombie}").json
        assert now == got, (got, now)
        assert admin.get(f"/results/{zombie}").json["runner"] == "agent:w1"

        # the gateway is killed while its runners work
        sent = [send(admin, "slow", "python", SLEEPER.format(1.5)) for _ in range(4)]
        wait_for("one to run", lambda: [s for s in sent if admin.get(f"/submissions/{s}").json["status"] == "running"], 30)
        server.process.kill()
        server.process.wait()
        time.sleep(1)
        server.start()
        admin = server.login()
        for s in sent:
            got = server.wait_done(admin, s, timeout=120)
            # an answer to a lease that the kill swallowed costs no attempt
            assert got["verdict"] == "OK" and got["attempts"] == 1, got
    finally:
        one.close()
        two.close()


def test_what_is_missing_is_said(server):
    for env, words in (({}, "gateway_agent and gateway_token"), ({"ASSAY_GATEWAY_AGENT": "w1", "ASSAY_AGENT_TOKEN": "x", "ASSAY_GATEWAY": "ftp://x"}, "gateway must be")):
        w = Server(args=["--only", "runner", "--intake", "http"], env={"ASSAY_GATEWAY": "http://127.0.0.1:1", **env}, port=free_port())
        try:
            w.spawn()
            code = w.process.wait(30)
            assert code != 0 and words in w.log_text(), (code, w.log_text()[-2000:])
        finally:
            w.close()


def test_a_change_of_a_problem_reaches_runners_elsewhere_before_what_is_submitted_after_it(server):
    admin = published(server)
    b = test_judging.publish(admin, [("", "1\n")])
    problem = admin.get(f"/benchmarks/{b}/problems").json["items"][0]["id"]
    w = worker(server, admin, "w3")
    try:
        w.start()
        stale = test_judging.changes(admin, admin, problem, b, test_judging.TIMES // 4)
        assert not stale, stale
    finally:
        w.close()


def test_what_a_worker_fetched_goes_when_it_is_not_wanted_and_is_fetched_again(server):
    admin = published(server)
    right = program("right.py")
    w = worker(server, admin, "w4", {"ASSAY_FETCHED_KEEP": "3s", "ASSAY_RUNNER_CACHE": "0"})  # nothing is kept in memory
    held = lambda: sum(f.is_file() for f in (w.data / "blobs" / "sha256").rglob("*"))  # noqa: E731
    try:
        w.start()
        for _ in range(2):
            sid = send(admin, "sum-integers", "python", right)
            assert server.wait_done(admin, sid, timeout=120)["verdict"] == "OK"
            assert held() > 0, "it keeps what it fetched"
            wait_for("what is not wanted to go", lambda: held() == 0, 30)
    finally:
        w.close()
    both = Server(env={"ASSAY_FETCHED_KEEP": "3s"})
    try:
        both.start()
        raise AssertionError("a server with problems of its own started with fetched_keep")
    except AssertionError as why:
        assert "fetched_keep is for workers" in both.log_text() or "fetched_keep is for workers" in str(why), why
    finally:
        both.close()


if __name__ == "__main__":
    main(sys.modules[__name__])
