"""Forked interpreters, over the whole server: results say which it was, and the same program gets the same either way."""

import sys

import harness
from harness import Server, wait_for
from test_judging import judge, publish, result, start

SAYS = "import sys, os\nprint(sorted(sys.modules), hash('text'), {'a', 'b', 'c'}, sys.flags, os.getpid(), sys.argv, __file__)\n"
ENDS = [
    ("1/0\n", "RE"),
    ("def f(:\n", "BF"),
    ("import sys; sys.exit(3)\n", "RE"),
    ("while True: pass\n", "TL"),
    ("x = []\nwhile True: x.append(bytearray(1 << 20))\n", "ML"),
    ("while True: print('x' * 1000)\n", "OL"),
    ("print('x')\n", "OK"),
]
LIMITS = {"time_limit_ms": 500, "wall_limit_ms": 20000, "memory_limit_bytes": 96 << 20, "output_limit_bytes": 1 << 20}


def make_server():
    return Server(env={"ASSAY_LOG_LEVEL": "info"})


def has_python(api):
    def known():
        return [i for i in api.get("/languages").json["items"] if i["name"] == "python" and i["state"] != "testing"]
    return wait_for("the self-test of python", known, 120)[0]["offered"]


def ends(api):
    b = publish(api, [("", "x\n")], limits=LIMITS)
    found = [result(api, judge(api, b, source, "python")) for source, _ in [(SAYS, None), *ENDS]]
    return found[0], found[1:]


def test_forked_and_executed_programs_get_the_same(server):
    admin = start(server)
    if not has_python(admin):
        raise harness.Skip("python is not offered here")
    said, forked = ends(admin)
    assert "interpreter_warm" in server.log_text(), server.log_text()[-2000:]
    own = Server(env={"ASSAY_WARM_INTERPRETERS": "false"}, name="cold").start()
    try:
        cold = start(own)
        assert has_python(cold)
        said_too, executed = ends(cold)
        assert "interpreter_warm" not in own.log_text()
    finally:
        own.close()
    assert said["sandbox"]["warm"] is True and said_too["sandbox"]["warm"] is False
    assert said["tests"][0]["stdout"] == said_too["tests"][0]["stdout"]
    for (source, want), a, b in zip(ENDS, forked, executed):
        assert a["verdict"] == b["verdict"] == want, (source, a, b)
        if want not in ("BF", "OL"):
            assert a["sandbox"]["warm"] is True and b["sandbox"]["warm"] is False, (source, a, b)
        for x, y in zip(a.get("tests", []), b.get("tests", [])):
            assert {k: x.get(k) for k in ("exit_code", "signal", "stderr", "message")} == \
                   {k: y.get(k) for k in ("exit_code", "signal", "stderr", "message")} or want in ("TL", "ML", "OL"), (x, y)


def test_a_benchmark_pins_how_interpreters_begin(server):
    admin = start(server)
    if not has_python(admin):
        raise harness.Skip("python is not offered here")
    pinned = {mode: publish(admin, [("", "5\n")], warm_interpreters=mode) for mode in ("auto", "off", "on")}
    found = {mode: result(admin, judge(admin, b, "print(5)", "python")) for mode, b in pinned.items()}
    assert {mode: r["verdict"] for mode, r in found.items()} == dict.fromkeys(pinned, "OK"), found
    assert {mode: r["sandbox"]["warm"] for mode, r in found.items()} == {"auto": True, "off": False, "on": True}, found
    small = publish(admin, [("", "5\n")], warm_interpreters="on", limits={"memory_limit_bytes": 48 << 20})
    r = result(admin, judge(admin, small, "print(5)", "python"))
    assert r["verdict"] == "OK" and r["sandbox"]["warm"] is False, "less memory than an interpreter's stack: executed on every runner"
    admin.patch(f"/benchmarks/{pinned['on']}", {"warm_interpreters": "off"}, expect=200)
    wait_for("the change to reach the runner",
             lambda: not result(admin, judge(admin, pinned["on"], "print(5)", "python"))["sandbox"]["warm"], 30)
    own = Server(env={"ASSAY_WARM_INTERPRETERS": "false", "ASSAY_PIN_REFUSALS": "2"}, name="cold").start()
    try:
        cold = start(own)
        assert has_python(cold)
        only = publish(cold, [("", "5\n")], warm_interpreters="on")
        s = cold.post("/submissions?wait=60", {"benchmark_id": only, "agent_id": "ada", "language": "python", "source": "print(5)"}).json
        assert s["status"] == "error", s
        r = result(cold, s)
        assert r["verdict"] == "IE" and "forked from a warm interpreter" in r["fault"], "a runner that cannot fork does not judge it"
        small = publish(cold, [("", "5\n")], warm_interpreters="off")
        assert result(cold, judge(cold, small, "print(5)", "python"))["verdict"] == "OK"
    finally:
        own.close()


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
