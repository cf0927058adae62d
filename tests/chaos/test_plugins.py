"""A plugin of a stranger's that crashes, does not come back, leaks descriptors or answers without end: the others are served, and what was accepted ends."""

import http.client
import sys
import threading
import time

import run  # noqa: F401 - puts the folders of the tests' parts on the path
from harness import PREFIX, Api, Server, Skip, main, program
from test_start import build_faulty, sanitized, scratch

import shutil


def with_plugin(fault, use, **more):
    if sanitized():
        raise Skip("the plugins of this test are built without sanitizers")
    d = scratch()
    s = Server(env={"ASSAY_PLUGIN_PATH": f"{PREFIX / 'lib' / 'assay' / 'plugins'}:{d}"}, args=["--log-format=json"], name="plugins", **more)
    try:
        build_faulty(d, fault)
        s.start()
        admin = s.login()
        s.demo(admin)
        use(s, admin)
        assert s.stop() == 0
    finally:
        s.close()
        shutil.rmtree(d, ignore_errors=True)


def submit(admin):
    return admin.post("/submissions", {"benchmark_id": "sum-integers", "agent_id": "ada", "language": "c", "source": program("right.c")},
                      expect=202).json["id"]


def test_a_plugin_that_crashes_costs_its_moment_and_no_submission():
    def use(s, admin):
        for _ in range(3):
            sent = [submit(admin) for _ in range(4)]
            pid, started = s.children()["server"], time.monotonic()
            try:
                a = Api(s.port, admin.token, timeout=20).call("GET", "/faulty/1")
                raise AssertionError(f"answered by a process that had crashed: {a}")
            except (OSError, http.client.HTTPException):
                pass
            while True:
                try:
                    if s.api().call("GET", "/healthz").status == 200:
                        break
                except (OSError, http.client.HTTPException):
                    assert time.monotonic() - started < 30
            print(f"# served again {time.monotonic() - started:.3f} s after the crash", flush=True)
            assert s.children()["server"] != pid
            s.wait_ready(30)
            for sid in sent:
                assert s.wait_done(admin, sid, 60)["verdict"] == "OK"
        assert s.log_text().count("signal 4") == 3
    with_plugin("CRASHING", use)


def test_a_plugin_that_does_not_come_back_holds_up_nobody_else():
    def use(s, admin):
        ended = []

        def ask():
            try:
                ended.append(Api(s.port, admin.token, timeout=60).call("GET", "/faulty/1").status)
            except (OSError, http.client.HTTPException) as e:
                ended.append(e)
        threads = [threading.Thread(target=ask, daemon=True) for _ in range(3)]
        for t in threads:
            t.start()
        time.sleep(0.5)
        sid, slowest = submit(admin), 0.0
        for _ in range(100):
            started = time.monotonic()
            admin.get("/submissions?limit=5")
            slowest = max(slowest, time.monotonic() - started)
        assert s.wait_done(admin, sid, 60)["verdict"] == "OK"
        assert not ended, "the plugin came back: this test shows nothing"
        print(f"# 100 requests beside three that hang: the slowest took {slowest:.3f} s", flush=True)
        assert slowest < 5, slowest
        for t in threads:
            t.join(60)
    with_plugin("HANGING", use)


def test_a_plugin_that_leaks_descriptors_gets_its_server_renewed_and_costs_no_submission():
    def use(s, admin):
        pid, sent, asked, started = s.children()["server"], [submit(admin)], 0, time.monotonic()
        while s.children().get("server") == pid and time.monotonic() < started + 60:
            try:
                # to the last: between two of its requests others may still come in
                Api(s.port, admin.token, timeout=5).call("GET", "/faulty/1")
                asked += 1
                if asked % 5 == 0:
                    sent.append(submit(admin))
            except (OSError, http.client.HTTPException, AssertionError):
                time.sleep(0.2)
        s.wait_ready(30)
        print(f"# {asked} requests took all descriptors; served by another server {time.monotonic() - started:.1f} s after the first", flush=True)
        assert s.children()["server"] != pid and asked >= 10
        assert "descriptors_run_out" in s.log_text() and "exit status 75" in s.log_text()
        for sid in sent:
            assert s.wait_done(admin, sid, 60)["verdict"] == "OK"
    with_plugin("LEAKING", use, wrap=["prlimit", "--nofile=2000:2000"])


def test_an_answer_that_is_too_large_is_an_error_and_its_memory_is_given_back():
    def use(s, admin):
        def rss():
            text = open(f"/proc/{s.children()['server']}/status").read()
            return int(text.split("VmRSS:")[1].split()[0]) >> 10
        pid, before, ended = s.children()["server"], rss(), []

        def ask():
            ended.append(Api(s.port, admin.token, timeout=60).call("GET", "/faulty/1"))
        for _ in range(5):
            threads = [threading.Thread(target=ask, daemon=True) for _ in range(4)]
            for t in threads:
                t.start()
            sid = submit(admin)
            for t in threads:
                t.join(60)
            assert s.wait_done(admin, sid, 60)["verdict"] == "OK"
        assert len(ended) == 20 and all(a.status == 500 and len(a.body) < 1000 for a in ended), ended[:3]
        print(f"# {before} MiB before, {rss()} MiB after 20 answers of 192 MiB", flush=True)
        assert s.children()["server"] == pid and rss() < before + 100
    with_plugin("HUGE_REPLY", use)


if __name__ == "__main__":
    main(sys.modules[__name__])
