"""Inside the virtual machine of server_test.sh: the demo's Python programs on cgroup version 2, all accounts exact."""

import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

import harness  # noqa: E402
from harness import Server, program, wait_for  # noqa: E402
from measured import BURNING, GROWING, MAPPING, MIB, PROCESSORS, growth_faults  # noqa: E402

# an emulated processor is some twenty times slower than the real one
LIMITS = {"time_limit_ms": 6000, "wall_limit_ms": 20000, "memory_limit_bytes": 48 << 20, "output_limit_bytes": 65536, "process_limit": 16}
WANTED = {"right": "OK", "wrong": "WA", "spinning": "TL", "hungry": "ML", "flooding": "OL", "crashing": "RE", "uncompilable": "BF"}
HIDDEN = "import os, signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nif os.fork() == 0:\n" \
         "    if os.fork() == 0:\n        while True: pass\n    os._exit(0)\nwhile True: signal.pause()\n"


def leaves():
    """Folders of cgroups with a box's limit."""
    return [p for p in pathlib.Path("/sys/fs/cgroup").rglob("memory.max") if p.read_text().strip() == str(LIMITS["memory_limit_bytes"])]


IMAGE = os.environ.get("ASSAY_VM_DOCKER")  # a tar: the programs run in containers of an engine in this machine


def make_server():
    env = {"RUNNER_MAX_PARALLEL": "1", "ASSAY_LOG_LEVEL": "info", "ASSAY_SANDBOX": "native"}
    if IMAGE:
        import atexit
        import engine
        e = engine.Engine()
        atexit.register(e.stop)
        e.load(IMAGE)
        env.update({"ASSAY_SANDBOX": "docker", "DOCKER_HOST": e.host, "ASSAY_DOCKER_IMAGE": engine.IMAGE})
    return Server(env=env)


def test_a_server_judges_on_cgroup_version_2(server):
    assert pathlib.Path("/sys/fs/cgroup/cgroup.controllers").exists()
    admin = server.login()
    admin.post("/agents", {"id": "ada", "name": "Ada"}, expect=201)
    admin.post("/benchmarks", {"id": "vm", "name": "VM", "feedback": "full", "compare": "tokens", "limits": LIMITS,
                               "tests": [{"input": "10 -5 7\n", "expected_output": "12\n"}]}, expect=201)
    wait_for("Python", lambda: [i for i in admin.get("/languages").json["items"] if i["name"] == "python" and i["offered"]], 120)
    wrong = []
    for kind, verdict in WANTED.items():
        s = admin.post("/submissions", {"benchmark_id": "vm", "agent_id": "ada", "language": "python", "source": program(f"{kind}.py")},
                       expect=202).json
        got = server.wait_done(admin, s["id"], 120)
        if got["verdict"] != verdict:
            wrong.append((kind, verdict, got["verdict"], admin.get(f"/results/{s['id']}", expect=(200, 404)).body[:600]))
    assert not wrong, "\n".join(map(str, wrong))


def test_its_accounts_are_exact(server):
    admin = server.login()
    features = admin.get("/runners").json["items"][0]["features"]
    assert features["cpu_accounting"] and features["memory_limit"] and features["process_limit"], features
    assert IMAGE or features["started_as_root"] == (os.getuid() == 0), features
    ran = [r for r in admin.get("/results?limit=100").json["items"] if r["verdict"] != "BF"]
    assert len(ran) == len(WANTED) - 1
    for r in ran:
        assert r["sandbox"]["cpu_exact"] and r["sandbox"]["memory_exact"] and r["sandbox"]["processes_exact"], r
        if r["verdict"] == "ML":
            assert 40 << 20 <= r["memory_peak_bytes"] <= 50 << 20, r
        if r["verdict"] == "TL":
            assert 5900 <= r["cpu_ms"] <= 8000, r


def test_a_hidden_childs_time_is_counted_in_its_leaf(server):
    admin = server.login()
    s = admin.post("/submissions", {"benchmark_id": "vm", "agent_id": "ada", "language": "python", "source": HIDDEN}, expect=202).json
    wait_for("a leaf with its limit", leaves, 30)
    assert server.wait_done(admin, s["id"], 120)["verdict"] == "TL"
    assert admin.get(f"/results/{s['id']}").json["cpu_ms"] >= 5900


def runner_of(admin, **limits):
    """Gives run(language, source, input): the one test of the result."""
    limits = {"time_limit_ms": 60000, "wall_limit_ms": 150000, "memory_limit_bytes": 512 * MIB, **limits}

    def run(language, source, text):
        runner_of.serial = getattr(runner_of, "serial", 0) + 1
        name = f"measured-{runner_of.serial}"
        admin.post("/benchmarks", {"id": name, "name": name, "feedback": "full", "limits": limits,
                                   "tests": [{"input": text, "expected_output": "x"}]}, expect=201)
        s = admin.post("/submissions", {"benchmark_id": name, "agent_id": "ada", "language": language, "source": source},
                       expect=202).json
        server_wait(admin, s["id"])
        return admin.get(f"/results/{s['id']}").json["tests"][0]
    return run


def server_wait(admin, submission):
    wait_for(f"submission {submission}", lambda: admin.get(f"/submissions/{submission}").json["status"] == "done", 180)


def test_reported_memory_grows_as_the_program_does(server):
    run = runner_of(server.login())
    faults = growth_faults(run, "python", GROWING["python"]) + growth_faults(run, "python", MAPPING)
    assert not faults, faults


def test_cpu_time_is_what_the_program_counted(server):
    run = runner_of(server.login())
    # the difference of two runs: a start takes a second on an emulated processor
    short, long = (run("python", BURNING, f"{ms}\n") for ms in (1000, 5000))
    own = int(long["stdout"]) - int(short["stdout"])
    assert own > 3500000 and abs(long["cpu_us"] - short["cpu_us"] - own) <= own * 0.01 + 500000, (short, long)
    assert long["cpu_user_us"] + long["cpu_system_us"] == long["cpu_us"] and long["finished"], long


def test_over_the_limit_one_sees_by_how_much(server):
    t = runner_of(server.login(), time_limit_ms=4000, hard_time_limit_ms=40000)("python", BURNING, "5000\n")
    assert t["verdict"] == "TL" and t["over_limit"] == "cpu" and t["finished"] and 1.25 <= t["time_ratio"] < 3, t


def test_a_program_keeps_to_its_processors(server):
    admin = server.login()
    t = runner_of(admin)("python", PROCESSORS, "")
    assert t["stdout"].split("\n")[:2] == ["refused", "1 1"], t
    assert admin.get("/runners").json["items"][0]["calibration"]["pinned"]


def test_nothing_is_left_after_the_stop(server):
    assert server.stop() == 0
    left = [p.parent.name for p in leaves()]
    assert not left, left


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
