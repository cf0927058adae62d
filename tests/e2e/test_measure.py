"""Results say what a program used: each figure under its own name, and near to what the program counted itself."""

import os
import subprocess
import sys
import time

import harness
from harness import Server, wait_for
from measured import BURNING, GROWING, MIB, PROCESSORS, SPINNING, growth_faults
from test_judging import judge, publish, result, start


WALL = 55000  # the machine may be busy: only CPU time is held against anything here


def make_server():
    return Server(env={"ASSAY_LOG_LEVEL": "info"})


def offered(api, language):
    def known():
        return [i for i in api.get("/languages").json["items"] if i["name"] == language and i["state"] != "testing"]
    return wait_for(f"the self-test of {language}", known, 120)[0]["offered"]


def exact(api):
    f = api.get("/runners").json["items"][0]["features"]
    return f["cpu_accounting"] and f["memory_limit"]


def runner_of(api, **limits):
    """Gives run(language, source, input): the one test of the result."""
    base = {"time_limit_ms": 5000, "wall_limit_ms": WALL, "memory_limit_bytes": 1024 * MIB, **limits}

    def run(language, source, text):
        b = publish(api, [(text, "x")], limits=base)
        return result(api, judge(api, b, source, language))["tests"][0]
    return run


def test_the_runner_says_what_an_empty_box_costs(server):
    admin = start(server)
    c = wait_for("the calibration", lambda: [c for c in [admin.get("/runners").json["items"][0]["calibration"]] if c["runs"]], 60)[0]
    assert c["runs"] == 11 and c["trouble"] is None, c
    assert 0 < c["cpu_us"] <= c["cpu_us_max"] < 1000000 and c["cpu_us"] <= c["wall_us"] * os.cpu_count(), c
    assert 0 < c["clock_ns"] <= 10000000 and c["tick_us"] > 0, c
    if exact(admin):
        # less than the kernel's stock of charges for a processor may be reported as 0
        assert 0 <= c["memory_own_bytes"] < 16 * MIB, c
    assert "runner_calibrated" in server.log_text()


def test_cpu_time_is_what_the_program_counted(server):
    admin = start(server)
    if not exact(admin):
        raise harness.Skip("no cgroup leaves here: CPU time is what wait4 says")
    run = runner_of(admin)
    for ms in (100, 400, 1000):
        t = run("python", BURNING, f"{ms}\n")
        own = int(t["stdout"])
        assert t["verdict"] == "WA" and t["finished"] and t["over_limit"] is None and t["reruns"] == 0, t
        # what a program cannot count: its start up to where its own clock begins, and its end
        assert own <= t["cpu_us"] <= own * 1.01 + 15000, (own, t)
        assert t["cpu_user_us"] + t["cpu_system_us"] == t["cpu_us"] and t["cpu_ms"] == t["cpu_us"] // 1000, t
        assert t["time_ratio"] == round(t["cpu_us"] / 5000 + 1e-9) / 1000, t
        assert t["voluntary_switches"] >= 0 and t["forced_switches"] >= 0 and not t["oom_killed"], t


def test_over_the_limit_one_sees_by_how_much(server):
    admin = start(server)
    b = publish(admin, [("1150\n", "x")], limits={"time_limit_ms": 1000, "hard_time_limit_ms": 3000, "wall_limit_ms": WALL})
    r = result(admin, judge(admin, b, BURNING))
    t = r["tests"][0]
    assert r["verdict"] == "TL" and r["limits"]["time_limit_ms"] == 1000 and r["limits"]["hard_time_limit_ms"] == 3000, r
    assert t["over_limit"] == "cpu" and t["finished"] and 1.15 <= t["time_ratio"] < 2.9 and t["exit_code"] == 0, t
    b = publish(admin, [("", "x")], limits={"time_limit_ms": 300, "wall_limit_ms": WALL})
    r = result(admin, judge(admin, b, SPINNING))
    t = r["tests"][0]
    assert r["verdict"] == "TL" and r["limits"]["hard_time_limit_ms"] == 430, r
    assert t["over_limit"] == "cpu" and not t["finished"] and t["time_ratio"] >= 1.43, t
    b = publish(admin, [("", "x")], limits={"time_limit_ms": 1000, "hard_time_limit_ms": 1000, "wall_limit_ms": 1000})
    t = result(admin, judge(admin, b, "import time\ntime.sleep(60)\n"))["tests"][0]
    assert t["verdict"] == "TL" and t["over_limit"] == "wall" and not t["finished"] and t["time_ratio"] < 1, t
    admin.post("/benchmarks", {"id": "x", "name": "x", "limits": {"time_limit_ms": 1000, "hard_time_limit_ms": 999},
                               "tests": [{"input": "", "expected_output": ""}]}, expect=400)


def test_reported_memory_grows_as_the_program_does(server):
    admin = start(server)
    if not exact(admin):
        raise harness.Skip("no cgroup leaves here: memory is that of the largest process")
    run = runner_of(admin)
    faults = []
    for language in GROWING:
        if offered(admin, language):
            faults += growth_faults(run, language, GROWING[language])
        else:
            print(f"# {language} is not offered here")
    assert not faults, "\n".join(map(str, faults))


def test_each_program_has_a_processor_of_its_own(server):
    admin = start(server)
    t = runner_of(admin)("python", PROCESSORS, "")
    answer, counts = t["stdout"].split("\n")[:2]
    r = admin.get("/runners").json["items"][0]
    assert answer == "refused" and counts == "1 1" if r["processors"] else True, (t, r)
    assert r["processors"] == len(os.sched_getaffinity(0)) and 1 <= r["cores"] <= r["processors"], r


def test_pinning_can_be_switched_off_and_a_wrong_list_is_refused(server):
    own = Server(env={"RUNNER_PIN": "off", "RUNNER_MAX_PARALLEL": "1"}, name="unpinned").start()
    try:
        admin = start(own)
        t = runner_of(admin)("python", PROCESSORS, "")
        n = len(os.sched_getaffinity(0))
        assert t["stdout"] == f"refused\n{n} {n}\n", t
        assert admin.get("/runners").json["items"][0]["processors"] == 0
    finally:
        own.close()
    wrong = Server(env={"RUNNER_PIN": "0-"}, name="wrong")
    try:
        wrong.spawn()
        assert wrong.process.wait(60) != 0
        assert "neither auto, off nor a list" in wrong.log_text(), wrong.log_text()
    finally:
        wrong.close()


# takes just more CPU time than it may until an instant that its test names, and hardly any after it
LATER = """import time
early = time.time() < float(input())
while early and time.process_time() < 1.06:
    pass
print('ok')
"""


def crowd():
    """A process that spins on each processor: whoever runs there waits for it half of the time."""
    return [subprocess.Popen([sys.executable, "-c", f"import os\nos.sched_setaffinity(0, [{cpu}])\nwhile os.getppid() == {os.getpid()}: pass"])
            for cpu in os.sched_getaffinity(0)]


def test_a_time_limit_on_a_disturbed_machine_is_tried_again(server):
    """The first run is before the instant, and over its time while others crowd it; a later one is after it, and passes."""
    if not os.path.exists("/proc/pressure/cpu"):
        raise harness.Skip("this kernel does not say who waits for a processor (/proc/pressure/cpu)")
    limits = {"time_limit_ms": 1000, "hard_time_limit_ms": 5000, "wall_limit_ms": WALL, "memory_limit_bytes": 256 * MIB}

    def tried(api):
        offered(api, "python")
        b = publish(api, [(f"{time.time() + 1.5}\n", "ok\n")], limits=limits)
        t = result(api, judge(api, b, LATER))["tests"][0]
        print(f"# {t['verdict']} after {t['reruns']} reruns, {t['forced_switches']} forced switches in {t['wall_ms']} ms")
        return t

    own = Server(env={"RUNNER_RERUNS": "3", "RUNNER_MAX_PARALLEL": "1", "ASSAY_LOG_LEVEL": "info"}, name="reruns").start()
    spinning = []
    try:
        api = start(own)
        offered(api, "python")
        spinning = crowd()
        for _ in range(5):  # a machine that is slow enough begins the first run after the instant
            t = tried(api)
            if t["reruns"]:
                break
        assert t["verdict"] == "OK" and 1 <= t["reruns"] <= 3, t
        assert own.log_text().count("test_run_again") >= t["reruns"], "each is in the log"
        offered(start(server), "python")
        t = tried(server.login())
        assert t["reruns"] == 0 and (t["verdict"], t["over_limit"]) in (("TL", "cpu"), ("OK", None)), f"off by default: {t}"
    finally:
        for p in spinning:
            p.kill()
            p.wait()
        own.close()


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
