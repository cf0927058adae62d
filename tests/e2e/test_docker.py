"""The Docker sandbox on a real engine: verdicts, places, restarts of everything, and nothing left behind."""

import contextlib
import hashlib
import json
import os
import re
import signal
import sys
import tarfile
import time

import engine
import harness
import test_judging
from harness import wait_for
from test_judging import judge, publish, result

RIGHT = "print(sum(map(int, input().split())))\n"
WRONG = "print(7)\n"
SPIN = "while True: pass\n"
HUNGRY = "x = bytearray(900 << 20)\nprint(len(x))\n"
TESTS = [("1 2 3\n", "6\n"), ("4 5\n", "9\n")]

_engine = None


def the_engine():
    global _engine
    if _engine is None:
        _engine = engine.engine_with_image()
        import atexit
        atexit.register(_engine.stop)
    return _engine


@contextlib.contextmanager
def serve(e, ready=True, **env):
    settings = {"ASSAY_SANDBOX": "docker", "DOCKER_HOST": e.host, "ASSAY_DOCKER_IMAGE": engine.IMAGE}
    settings.update({f"ASSAY_{k.upper()}": v for k, v in env.items()})
    server = harness.Server(env=settings)
    try:
        if ready:
            server.start()
        else:
            server.spawn()
        yield server
    except BaseException:
        for line in [l for l in server.log_text().splitlines() if '"event":"request"' not in l][-25:]:
            print("#", re.sub(r"[^\x20-\x7e]", "?", line)[:300], flush=True)
        raise
    finally:
        server.close()


def log_of(server, event):
    return [json.loads(l) if l.startswith("{") else l for l in server.log_path.read_text(errors="replace").splitlines() if event in l]


def ours(e):
    return [c for c in e.containers() if "assay.data" in c.get("Labels", {})]


def started(api):
    text = api.call("GET", "/metrics").body.decode()
    return sum(int(m) for m in re.findall(r'assay_docker_warden_starts_total\{outcome="ok"\} (\d+)', text))


def judged(server):
    api = test_judging.start(server)
    api.timeout = 120  # a machine under load makes a second of CPU time last
    b = publish(api, TESTS, limits={"time_limit_ms": 1000, "wall_limit_ms": 20000, "memory_limit_bytes": 256 << 20})
    s = judge(api, b, RIGHT)
    assert s["verdict"] == "OK", s
    for source, want in ((WRONG, "WA"), (SPIN, "TL"), (HUNGRY, "ML")):
        got = judge(api, b, source)["verdict"]
        assert got in ((want, "RE") if want == "ML" else (want,)), (want, got)
    return api, b, s


def test_programs_get_their_verdicts():
    e = the_engine()
    with serve(e) as server:
        api, b, s = judged(server)
        r = result(api, s)
        assert "docker" in json.dumps(r) and '"cpu_exact": true' in json.dumps(r), r
        # never the host: no network, no privilege, nothing written
        inspected = [json.loads(e.call("GET", f"/containers/{c['Id']}/json")[1]) for c in ours(e)]
        assert inspected
        for c in inspected:
            h = c["HostConfig"]
            assert not h["Privileged"] and h["ReadonlyRootfs"] and h["NetworkMode"] == "none" and h["CapDrop"] == ["ALL"], h
            assert c["Config"]["User"] == "65534:65534" and "no-new-privileges" in h["SecurityOpt"], c["Config"]
            assert not any("docker" in (m.get("Source") or "") and m["Source"].endswith(".sock") for m in c["Mounts"]), c["Mounts"]
    assert wait_for("containers to go", lambda: not ours(e)) is True


def test_a_dead_boxkeeper_leaves_nothing():
    e = the_engine()
    with serve(e) as server:
        api, b, _ = judged(server)
        before = {c["Id"] for c in ours(e)}
        assert before
        os.kill(server.children()["boxkeeper"], signal.SIGKILL)
        assert judge(api, b, RIGHT)["verdict"] == "OK"
        wait_for("the old containers to go", lambda: not before & {c["Id"] for c in ours(e)})
    wait_for("all containers to go", lambda: not ours(e))


def test_a_dead_boxkeepers_end_is_no_verdict():
    """What runs when the boxkeeper dies is run again, uncharged. That a warden may tell of its box's end before its stream breaks is a
    race, which this meets seldom and the night's kills (tests/chaos/test_kill.py) often."""
    e = the_engine()
    with serve(e) as server:
        api, b, _ = judged(server)
        sent = [api.post("/submissions", {"benchmark_id": b, "agent_id": "ada", "language": "python",
                                          "source": f"import time\ntime.sleep(1.5)\n{RIGHT}#{k}\n"}).json["id"] for k in range(2)]
        for sid in sent:
            wait_for("it to run", lambda sid=sid: api.get(f"/submissions/{sid}").json["status"] == "running", 30)
        os.kill(server.children()["boxkeeper"], signal.SIGKILL)
        for sid in sent:
            s = server.wait_done(api, sid, 60)
            assert (s["status"], s["verdict"], s["attempts"]) == ("done", "OK", 1), (s, result(api, s))


def test_containers_are_replaced_after_so_many_boxes():
    e = the_engine()
    with serve(e, docker_boxes="3") as server:
        api, b, _ = judged(server)
        for _ in range(6):
            assert judge(api, b, RIGHT)["verdict"] == "OK"
        assert started(api) >= 4
    wait_for("all containers to go", lambda: not ours(e))


def restarts(e, server, times):
    api = test_judging.start(server)
    b = publish(api, TESTS)
    want = {}
    for i in range(times):
        for source, verdict in ((RIGHT, "OK"), (WRONG, "WA")) * 3:
            s = api.post("/submissions", {"benchmark_id": b, "agent_id": "ada", "language": "python", "source": source + f"#{i}\n"}).json
            want[s["id"]] = verdict
        time.sleep(0.7)
        e.kill()
        time.sleep(0.2)
        e.start()
    for sid, verdict in want.items():
        s = wait_for(f"submission {sid}", lambda: (lambda a: a if a["status"] in ("done", "error") else None)(api.get(f"/submissions/{sid}").json),
                     timeout=180, every=0.2)
        assert s["status"] == "done" and s["verdict"] == verdict, s
    return api


def test_restarts_of_the_engine_cost_no_verdict():
    e = the_engine()
    times = int(os.environ.get("ASSAY_ENGINE_RESTARTS", "2"))
    with serve(e) as server:
        restarts(e, server, times)
        api = test_judging.start(server)
        # what the crash left behind is removed while work goes on; an end in its midst would leave it to the next start
        wait_for("the dead containers to be removed", lambda: re.search(
            r'assay_docker_wardens\{state="ending"\} 0\n', api.call("GET", "/metrics").body.decode()), timeout=60)
        text = api.call("GET", "/metrics").body.decode()
        assert float(re.search(r"assay_docker_engine_losses_total (\d+)", text).group(1)) >= 1, text
    wait_for("all containers to go", lambda: not ours(e))


def readiness(server):
    try:
        return harness.Api(server.port).call("GET", "/readyz").body.decode()
    except OSError:
        return ""


def test_a_missing_image_is_said_and_taken_when_it_comes():
    e = the_engine()
    with serve(e, ready=False, docker_image="assay-test/later:1") as server:
        wait_for("the reason on /readyz", lambda: "assay-test/later:1" in readiness(server))
        e.load(e.tmp / "image.tar", "assay-test/later:1")
        server.wait_ready()


def test_a_missing_image_is_pulled():
    """From a registry on loopback, by the real engine: how far it is can be seen, and then work begins."""
    e = the_engine()
    registry = engine.Registry(e.tmp / "image.tar")
    try:
        with serve(e, ready=False, docker_image=f"{registry.host}/team/image:1") as server:
            how_far = rf"{re.escape(registry.host)}/team/image:1 is being pulled: 0 of 1 layers, (?!0\.0 )[0-9.]+ of [0-9.]+ MB"
            wait_for("progress on /readyz", lambda: re.search(how_far, readiness(server)))
            wait_for("progress in the log", lambda: log_of(server, "docker_pull_progress"))
            registry.go.set()
            server.wait_ready()
            assert log_of(server, "docker_pulled"), server.log_text()
            judged(server)
        for name, says in (("private/image:1", "docker login"), ("team/other:1", "check name and tag")):
            with serve(e, ready=False, docker_image=f"{registry.host}/{name}") as server:
                wait_for(f"the reason for {name} on /readyz", lambda: says in readiness(server))
        with serve(e, ready=False, docker_image=f"{registry.host}/team/image:2", docker_pull="never") as server:
            wait_for("the reason on /readyz", lambda: "docker pull" in readiness(server))
            assert not log_of(server, "docker_pull"), server.log_text()
    finally:
        registry.stop()
    wait_for("all containers to go", lambda: not ours(e))


def test_a_stop_ends_a_pull():
    e = the_engine()
    noise = e.tmp / "noise"
    noise.write_bytes(os.urandom(4 << 20))  # a layer that the engine cannot have
    with tarfile.open(e.tmp / "noise.tar", "w") as t:
        t.add(noise, arcname="noise")
    registry = engine.Registry(e.tmp / "noise.tar")
    try:
        with serve(e, ready=False, docker_image=f"{registry.host}/team/image:1") as server:
            wait_for("the pull", lambda: "is being pulled" in readiness(server))
            server.stop(timeout=20)
            registry.go.set()
            time.sleep(1)  # in which an engine that was not told would end it
    finally:
        registry.stop()
    images = [n for i in json.loads(e.call("GET", "/images/json")[1]) for n in i.get("RepoTags") or ()]
    assert f"{registry.host}/team/image:1" not in images, images


def test_auto_takes_docker_where_it_answers_and_native_otherwise():
    e = the_engine()
    with serve(e, sandbox="auto") as server:
        assert log_of(server, "boxkeeper_ready")
        assert "docker is usable" in server.log_path.read_text(errors="replace")
    with serve(e, sandbox="auto", docker_host="unix:///nonexistent/docker.sock") as server:
        text = server.log_path.read_text(errors="replace")
        assert "docker is not usable" in text and "native is usable" in text, text[-2000:]


def test_through_the_engine_without_our_files():
    """As from inside a container that has the socket: no path of ours means anything to the engine."""
    e = the_engine()
    with serve(e, docker_stream="attach") as server:
        api, b, s = judged(server)
        assert '"cpu_exact": false' in json.dumps(result(api, s)), result(api, s)
    wait_for("all containers to go", lambda: not ours(e))


def test_from_inside_a_container():
    """assayd in an ordinary container with the engine's socket mounted, as docs/operating.md shows it: what it says of its
    own files means nothing to the engine, so all goes through the API."""
    e = the_engine()
    prefix = harness.PREFIX.resolve()
    engine.make_image(e.tmp / "server.tar", runs=prefix)
    e.load(e.tmp / "server.tar", "assay-test/server:1")
    server = harness.Server(env={"ASSAY_SANDBOX": "docker", "DOCKER_HOST": "unix:///run/engine.sock",
                                 "ASSAY_DOCKER_IMAGE": engine.IMAGE, "ASSAY_DATA_DIR": "/var/lib/assay",
                                 "ASSAY_PLUGIN_PATH": f"{prefix}/lib/assay/plugins", "ASSAY_SHARE_DIR": f"{prefix}/share/assay",
                                 "ASSAY_LIBEXEC_DIR": f"{prefix}/libexec/assay"}, direct="the engine starts it, in a container")  # the prefix may have been configured as a/../b
    status, text = e.call("POST", "/containers/create", {
        "Image": "assay-test/server:1", "Cmd": [f"{prefix}/bin/assayd"], "Env": [f"{k}={v}" for k, v in server.env.items()],
        "HostConfig": {"NetworkMode": "host", "Mounts": [
            {"Type": "bind", "Source": str(e.sock), "Target": "/run/engine.sock"},
            {"Type": "bind", "Source": str(prefix), "Target": str(prefix), "ReadOnly": True}]}})
    assert status == 201, text
    me = json.loads(text)["Id"]

    def log():
        return e.call("GET", f"/containers/{me}/logs?stdout=1&stderr=1")[1].decode(errors="replace")

    def runs():
        return json.loads(e.call("GET", f"/containers/{me}/json")[1])["State"]["Running"]

    try:
        status, text = e.call("POST", f"/containers/{me}/start")
        assert status == 204, text
        wait_for("/readyz or an end", lambda: not runs() or json.loads(readiness(server) or "{}").get("ready"), timeout=90)
        assert runs(), "assayd ended"
        api, b, s = judged(server)
        r = json.dumps(result(api, s))
        assert '"cpu_exact": false' in r and "docker_attach" in log(), (r, log()[-3000:])
        many = "1 " * 300_000  # more than any pipe or packet holds
        b = publish(api, [(many + "\n", "300000\n")])
        assert judge(api, b, RIGHT)["verdict"] == "OK"
        assert judge(api, b, "print(300001)\n")["verdict"] == "WA"
        inspected = [json.loads(e.call("GET", f"/containers/{c['Id']}/json")[1]) for c in ours(e)]
        assert inspected and all(not c["Mounts"] and not c["HostConfig"]["Privileged"] for c in inspected), inspected
        e.call("POST", f"/containers/{me}/stop?t=30")
        state = json.loads(e.call("GET", f"/containers/{me}/json")[1])["State"]
        assert not state["Running"] and state["ExitCode"] == 0, state
        wait_for("all containers to go", lambda: not ours(e))
    except BaseException:
        for line in [l for l in log().splitlines() if '"event":"request"' not in l][-25:]:
            print("#", re.sub(r"[^\x20-\x7e]", "?", line)[:300], flush=True)
        raise
    finally:
        e.call("DELETE", f"/containers/{me}?force=1&v=1")
        server.close()


def test_a_container_for_each_submission_where_none_can_nest():
    """An engine whose profile forbids namespaces: reduced boxes, each job in a container that is thrown away."""
    e = the_engine()
    profile = json.loads((harness.ROOT / "packaging" / "docker-seccomp.json").read_text())
    for rule in profile["syscalls"]:
        rule["names"] = [n for n in rule["names"] if n != "unshare"]
    path = e.tmp / "no-nesting.json"
    path.write_text(json.dumps(profile))
    with serve(e, docker_seccomp=str(path)) as server:
        api, b, s = judged(server)
        assert "docker_single" in server.log_text()
        before = started(api)
        for _ in range(4):
            assert judge(api, b, RIGHT)["verdict"] == "OK"
        wait_for("a fresh container for each job", lambda: started(api) >= before + 4)
        assert "docker-single" in json.dumps(result(api, s)) or "docker-single" in readiness(server), result(api, s)
    wait_for("all containers to go", lambda: not ours(e))


def test_nothing_is_left_after_many():
    e = the_engine()
    with serve(e) as server:
        api = test_judging.start(server)
        b = publish(api, TESTS)
        ids = [api.post("/submissions", {"benchmark_id": b, "agent_id": "ada", "language": "python", "source": RIGHT + f"#{i}\n"}).json["id"]
               for i in range(int(os.environ.get("ASSAY_DOCKER_MANY", "40")))]
        for i in ids:
            s = wait_for("a verdict", lambda: (lambda a: a if a["status"] == "done" else None)(api.get(f"/submissions/{i}").json), timeout=120)
            assert s["verdict"] == "OK", s
    wait_for("all containers to go", lambda: not ours(e))
    folder = hashlib.sha256(f"docker {server.data.resolve()}".encode()).hexdigest()[:16]
    assert not os.path.exists(f"/run/assay-{folder}"), folder


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
