#!/usr/bin/env python3
"""The start and the life of the processes: what is refused and how it is said, plugins built outside
the tree, restarts, and an orderly end."""

import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

from harness import PREFIX, ROOT, Server, Skip, free_port, main, wait_for

ASSAYD = str(PREFIX / "bin" / "assayd")
PLUGINS = PREFIX / "lib" / "assay" / "plugins"


def scratch():
    d = pathlib.Path(tempfile.mkdtemp(prefix="assay-e2e-", dir="/var/tmp"))
    d.chmod(0o755)
    return d


def run(*args, env=None, timeout=60):
    e = {"PATH": "/usr/bin:/bin", "ASSAY_DATA_DIR": "/nonexistent/never-made"}
    for k, v in os.environ.items():
        if k.endswith("SAN_OPTIONS") or k.startswith("GCOV"):
            e[k] = v
    e.update(env or {})
    # into files, not pipes: a process left behind would hold a pipe open, and this would wait for it
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        p = subprocess.run([ASSAYD, *args], env=e, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=timeout)
        out.seek(0), err.seek(0)
        return subprocess.CompletedProcess(p.args, p.returncode, out.read(), err.read())


def refused(result, *texts, status=78):
    said = result.stdout + result.stderr
    assert result.returncode == status, f"want exit {status}, got {result.returncode}: {said}"
    for text in texts:
        assert text in said, f"want {text!r} in {said!r}"


def pkg_config(*args):
    env = dict(os.environ, PKG_CONFIG_PATH=str(PREFIX / "lib" / "pkgconfig"))
    return subprocess.run(["pkg-config", *args, "assay-plugin"], env=env, check=True, capture_output=True, text=True).stdout.split()


def sanitized():
    return b"__asan_init" in pathlib.Path(ASSAYD).read_bytes()


def build_faulty(folder, fault):
    """A plugin with one fault, built as a stranger would: installed headers, pkg-config."""
    so = folder / f"faulty_{fault.lower()}.so"
    subprocess.run(
        ["cc", "-std=gnu11", "-shared", "-fPIC", "-fvisibility=hidden", f"-DFAULT={fault}", *pkg_config("--cflags"),
         str(ROOT / "tests" / "plugins" / "faulty.c"), "-o", str(so), *pkg_config("--libs")],
        check=True, capture_output=True, text=True)
    return so


def logging_to(path):
    """Processes whose standard error is that file: all that a server has started, however deep."""
    found = []
    for proc in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(proc / "fd" / "2") == str(path):
                found.append((proc.name, (proc / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:60]))
        except OSError:
            pass
    return found


def alive(pid):
    """A zombie that its new parent has not waited for yet is not."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def answers(server):
    try:
        return server.api().call("GET", "/healthz").status == 200
    except OSError:
        return False


def kill_and_wait(server, role):
    pid = server.children()[role]
    os.kill(pid, signal.SIGKILL)
    return wait_for(f"a new {role}", lambda: server.children().get(role) not in (None, pid) and server.children()[role])


# ---- what is refused -------------------------------------------------------------------------------

def test_an_unknown_option_is_refused_with_the_nearest_name():
    refused(run("--http-prot=1"), "there is no option --http-prot; the nearest is --http-port")
    refused(run(env={"ASSAY_HTTP_PROT": "1"}), "there is no option for the variable ASSAY_HTTP_PROT; the nearest is ASSAY_HTTP_PORT")
    d = scratch()
    try:
        (d / "a.ini").write_text("http_port = 8080\nlog_levle = info\n")
        refused(run(f"--config={d / 'a.ini'}"), f"{d / 'a.ini'}:2: there is no option log_levle; the nearest is log_level")
    finally:
        shutil.rmtree(d)


def test_all_faults_of_a_configuration_are_said_at_once():
    r = run("--http-port=99999", "--log-level=loud", "--nonsense", env={"ASSAY_WORKERS": "many"})
    refused(r, "--http-port must lie between 0 and 65535", "--log-level must be one of", "--nonsense", "ASSAY_WORKERS must be a whole number")


def test_a_weak_signing_secret_is_refused_outside_development():
    for secret in ("dev-secret", "short", "x" * 31):
        r = run("--app-env=production", env={"JWT_SIGNING_SECRET": secret})
        refused(r, "jwt_signing_secret (JWT_SIGNING_SECRET)")
        assert secret == "dev-secret" or secret not in r.stderr, "the secret is in the message"
    assert run("--dump-config", "--app-env=production", env={"JWT_SIGNING_SECRET": "x" * 32}).returncode == 0
    assert run("--dump-config", env={"JWT_SIGNING_SECRET": "dev-secret"}).returncode == 0


def test_a_second_server_is_refused(server):
    refused(run(env={"ASSAY_DATA_DIR": str(server.data), "HTTP_PORT": str(free_port())}),
            f"another assayd (pid {server.process.pid}) uses the data directory {server.data}")
    d = scratch()
    try:
        refused(run(env={"ASSAY_DATA_DIR": str(d / "data"), "HTTP_PORT": str(server.port)}),
                f"cannot listen on 127.0.0.1 port {server.port}", "Address already in use")
    finally:
        shutil.rmtree(d)
    server.api().get("/healthz")


def test_a_folder_with_other_files_is_not_taken_over():
    d = scratch()
    try:
        (d / "thesis.txt").write_text("years of work")
        owner = d.stat().st_uid
        refused(run(env={"ASSAY_DATA_DIR": str(d)}), "has other files in it")
        assert [p.name for p in d.iterdir()] == ["thesis.txt"] and (d / "thesis.txt").stat().st_uid == owner
    finally:
        shutil.rmtree(d)


def test_a_faulty_plugin_stops_the_start_with_one_clear_error():
    if sanitized():
        raise Skip("the plugins of this test are built without sanitizers")
    minor = re.search(r"plugin ABI 1\.(\d+)", subprocess.run([ASSAYD, "--version"], capture_output=True, text=True).stdout).group(1)
    faults = {
        "WRONG_ABI": f"was built for ABI 2.{minor} and this program speaks 1.{minor}: rebuild the plugin",
        "WRONG_MAGIC": "its magic number is 0x12345678",
        "SHORT_STRUCT": "its descriptor says 24 bytes",
        "NO_DESCRIPTOR": "has no symbol assay_plugin: not a plugin",
        "MISSING_SYMBOL": "undefined symbol: a_symbol_that_nobody_has",
        "CLASH": "route clash: GET /healthz of plugin core and GET /healthz of plugin faulty",
        "MISSING_NEED": "plugin faulty needs interface assay.wanting (version 1), which no loaded plugin provides",
    }
    for fault, message in faults.items():
        d = scratch()
        try:
            so = build_faulty(d, fault)
            r = run(f"--plugin-path={PLUGINS}:{d}", env={"ASSAY_DATA_DIR": str(d / "data"), "HTTP_PORT": str(free_port())})
            refused(r, message)
            assert len(r.stderr.strip().splitlines()) == 1, f"{fault}: more than one line: {r.stderr}"
            if fault not in ("CLASH", "MISSING_NEED"):
                assert str(so) in r.stderr, f"{fault}: the file is not named: {r.stderr}"
            assert not (d / "data").exists(), f"{fault}: the server had begun to start"
        finally:
            shutil.rmtree(d)


def test_a_plugin_that_does_not_start_ends_the_server():
    if sanitized():
        raise Skip("the plugins of this test are built without sanitizers")
    for fault, message in {"FAILING_INIT": "the stars are wrong", "FAILING_START": "no start today"}.items():
        d = scratch()
        try:
            build_faulty(d, fault)
            port = free_port()
            r = run(f"--plugin-path={PLUGINS}:{d}", env={"ASSAY_DATA_DIR": str(d / "data"), "HTTP_PORT": str(port)})
            refused(r, "plugin faulty", f"did not start: {message}", "the server cannot start")
            c = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            try:
                c.connect()
                raise AssertionError(f"{fault}: something listens still")
            except OSError:
                pass
        finally:
            shutil.rmtree(d)


def test_a_damaged_or_open_signing_secret_is_refused():
    s = Server().start()
    try:
        assert s.stop() == 0
        secret = s.data / "jwt.secret"
        secret.chmod(0o644)
        refused(run(env={"ASSAY_DATA_DIR": str(s.data), "HTTP_PORT": str(s.port)}), "may be read by others")
        secret.chmod(0o600)
        os.truncate(secret, 10)
        refused(run(env={"ASSAY_DATA_DIR": str(s.data), "HTTP_PORT": str(s.port)}), "is damaged: delete it to make a new one")
        secret.unlink()
        s.start()
        assert s.stop() == 0
    finally:
        s.close()


def test_a_child_that_keeps_dying_ends_the_supervisor():
    d = scratch()
    try:
        fake = d / "assay-boxkeeper"
        fake.write_text("#!/bin/sh\nexit 3\n")
        fake.chmod(0o755)
        r = run(f"--libexec-dir={d}", env={"ASSAY_DATA_DIR": str(d / "data"), "HTTP_PORT": str(free_port())})
        refused(r, "the boxkeeper died 5 times before it was up, last with exit status 3", status=70)
    finally:
        shutil.rmtree(d)


# ---- what is shown ---------------------------------------------------------------------------------

def test_dump_config_names_sources_and_masks_secrets():
    d = scratch()
    try:
        ini = d / "assay.ini"
        ini.write_text("[log]\nlevel = debug\n")
        secret = "a-secret-of-more-than-thirty-two-bytes"
        args = [f"--config={ini}", "--workers=9"]
        env = {"JWT_SIGNING_SECRET": secret, "HTTP_PORT": "81"}
        text = run("--dump-config", *args, env=env)
        assert text.returncode == 0, text.stderr
        rows = {r["name"]: r for r in json.loads(run("--dump-config=json", *args, env=env).stdout)}
        assert secret not in text.stdout and secret not in json.dumps(rows)
        want = {"log_level": ("debug", "file", f"{ini}:2"), "workers": ("9", "flag", "--workers"),
                "http_port": ("81", "environment", "HTTP_PORT"),
                "jwt_signing_secret": ("********", "environment", "JWT_SIGNING_SECRET"),
                "app_env": ("development", "default", "default")}
        for name, (value, source, origin) in want.items():
            r = rows[name]
            assert (r["value"], r["source"], r["origin"]) == (value, source, origin), r
        # the text form is a configuration file that says the same
        (d / "again.ini").write_text(text.stdout)
        again = {r["name"]: r for r in json.loads(run("--dump-config=json", f"--config={d / 'again.ini'}", env={"ASSAY_DATA_DIR": ""}).stdout)}
        for name in ("log_level", "workers", "http_port", "data_dir", "drain_timeout"):
            assert again[name]["value"] == rows[name]["value"], (again[name], rows[name])
    finally:
        shutil.rmtree(d)


def test_help_and_version_and_routes():
    assert run("--version").stdout.startswith("assayd 0.")
    text = run("--help").stdout
    for flag in ("--http-port=NUMBER", "--dump-routes", "--jwt-signing-secret=TEXT", "Also read from: HTTP_PORT"):
        assert flag in text, flag
    routes = [json.loads(line) for line in run("--dump-routes").stdout.splitlines()]
    assert {"GET /healthz", "GET /readyz", "GET /metrics", "GET /swagger.json", "GET /"} <= {f"{r['method']} {r['path']}" for r in routes}
    assert all({"method", "path", "operation_id", "roles", "scope", "plugin"} <= r.keys() for r in routes)
    assert len({r["operation_id"] for r in routes}) == len(routes)
    only = [json.loads(line) for line in run("--dump-routes", "--only=leaderboard").stdout.splitlines()]
    assert {r["plugin"] for r in only} == {"core", "leaderboard"}
    refused(run("--dump-routes", "--only=leaderbord"), "only: there is no service leaderbord")
    refused(run("--dump-routes=xml"), status=64)


def test_doctor_says_what_is_there():
    d = scratch()
    try:
        r = run("--doctor=json", env={"ASSAY_DATA_DIR": str(d / "data"), "HTTP_PORT": str(free_port())})
        report = json.loads(r.stdout)
        checks = {c["name"]: c for c in report["checks"]}
        for name in ("configuration", "kernel", "namespaces", "cgroups", "seccomp", "privilege separation", "data directory",
                     "free space", "port", "plugins", "compilers"):
            assert name in checks, name
        assert checks["data directory"]["ok"] and checks["port"]["ok"], checks
        assert all("remedy" in c or c["ok"] or c["status"] == "note" for c in checks.values())
        assert r.returncode == (0 if report["ok"] else 1)
        usable = [n for n, c in checks.items() if n.startswith("sandbox ") and c["detail"].startswith("usable")]
        if usable:
            for option, status in (("auto", "ok"), ("off", "note")):
                r = run("--doctor=json", env={"ASSAY_DATA_DIR": str(d / "data"), "HTTP_PORT": str(free_port()), "RUNNER_PIN": option,
                                              "RUNNER_MAX_PARALLEL": "1"})
                rows = [c for c in json.loads(r.stdout)["checks"] if c["name"] == "  measurement"]
                assert len(rows) == len(usable), (usable, rows)
                for row in rows:
                    assert row["status"] == status and f"runner_pin={option}" in row["detail"], row
                    assert "calibration in GET /runners" in row["detail"] and ("remedy" in row) == (status == "note"), row
        assert not (d / "data").exists(), "the doctor made the data directory"
        assert "kernel" in run("--doctor", env={"ASSAY_DATA_DIR": str(d / "data")}).stdout
    finally:
        shutil.rmtree(d)


# ---- a plugin from outside ---------------------------------------------------------------------------

def test_an_example_plugin_out_of_tree_builds_and_serves_its_route():
    if sanitized():
        raise Skip("the example is built without sanitizers")
    d = scratch()
    try:
        example = d / "plugin-hello"
        shutil.copytree(ROOT / "docs" / "examples" / "plugin-hello", example)
        env = dict(os.environ, PKG_CONFIG_PATH=str(PREFIX / "lib" / "pkgconfig"))
        env.pop("MAKEFLAGS", None)
        built = subprocess.run(["make", "-C", str(example), "CFLAGS=-O1 -Werror"], env=env, capture_output=True, text=True)
        assert built.returncode == 0, built.stdout + built.stderr
        s = Server(args=[f"--plugin-path={PLUGINS}:{example}", "--hello-word=bonjour"], direct="a plugin of others has routes that our contract does not know").start()
        try:
            assert s.api().get("/hello/world").json == {"bonjour": "world"}
            s.api().get("/hello/world?loud=1", expect=400)
            assert "assay_hello_greetings_total 1" in s.api().get("/metrics").body.decode()
            r = run("--dump-routes", f"--plugin-path={PLUGINS}:{example}")
            assert '"operation_id":"hello_greet"' in r.stdout.replace(": ", ":")
            assert s.stop() == 0
        finally:
            s.close()
    finally:
        shutil.rmtree(d)


# ---- the life of the processes -------------------------------------------------------------------------

def test_the_server_holds_no_privilege(server):
    status = dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{server.children()['server']}/status").read_text().splitlines() if ":\t" in line)
    assert status["CapEff"].strip() == "0000000000000000" and status["CapPrm"].strip() == "0000000000000000", status
    assert status["NoNewPrivs"].strip() == "1"
    if os.geteuid() == 0:
        installed = PREFIX.resolve()
        if all(p.stat().st_mode & 0o001 for p in [installed, *installed.parents]):
            assert "0" not in status["Uid"].split(), status["Uid"]
        else:  # a checkout in root's home: no other user could read the plugins; said in the log
            assert "privilege_separation_nominal" in server.log_text()
    keeper = pathlib.Path(f"/proc/{server.children()['boxkeeper']}/environ").read_bytes()
    assert b"PASSWORD" not in keeper and b"ASSAY_" not in keeper and b"PATH=" in keeper, keeper
    secret = server.data / "jwt.secret"
    assert secret.stat().st_mode & 0o777 == 0o600 and len(secret.read_bytes()) == 64


def test_a_data_directory_that_the_servers_user_cannot_reach():
    if os.geteuid() != 0:
        raise Skip("only root's server becomes another user")
    d = scratch()
    d.chmod(0o700)
    try:
        refused(run("--app-env=production", env={"ASSAY_DATA_DIR": str(d / "data"), "HTTP_PORT": str(free_port())}),
                "which the server becomes, cannot reach", str(d))
        # a checkout in root's home must still be tried out: root without any of its powers, and said so
        s = Server(data=d / "more").start()
        try:
            status = pathlib.Path(f"/proc/{s.children()['server']}/status").read_text()
            assert "CapEff:\t0000000000000000" in status and "NoNewPrivs:\t1" in status, status
            assert "privilege_separation_nominal" in s.log_text()
            assert s.stop() == 0
        finally:
            s.close()
    finally:
        shutil.rmtree(d)


def test_the_index_and_liveness_and_readiness(server):
    assert server.api().get("/").json["name"] == "assay"
    assert server.api().get("/healthz").json["status"] == "ok"
    ready = server.api().get("/readyz").json
    assert ready["ready"] and {"serving", "store", "blobs", "boxkeeper"} <= {c["name"] for c in ready["checks"]}
    assert server.api().get("/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")


def test_a_killed_server_is_replaced_and_no_connection_is_refused(server):
    before = (server.data / "jwt.secret").read_bytes()
    for _ in range(3):
        pid = server.children()["server"]
        os.kill(pid, signal.SIGKILL)
        started = time.monotonic()
        # a request sent at once waits in the listening socket, which the supervisor holds
        answered = False
        while not answered:
            try:
                server.api().get("/healthz")
                answered = True
            except (http.client.RemoteDisconnected, ConnectionResetError):
                pass  # it was with the server that died
            assert time.monotonic() - started < 2, "no answer within 2 s"
        wait_for("a new server", lambda: server.children().get("server") not in (None, pid))
        server.wait_ready(5)
    assert (server.data / "jwt.secret").read_bytes() == before


def test_a_killed_boxkeeper_is_replaced(server):
    kill_and_wait(server, "boxkeeper")
    wait_for("the boxkeeper to be connected", lambda: server.api().call("GET", "/readyz").status == 200, timeout=5)
    wait_for("the new boxkeeper's metrics", lambda: "assay_boxkeeper_peers_total" in server.api().get("/metrics").body.decode(), timeout=5)


def test_the_children_die_with_their_supervisor():
    s = Server().start()
    try:
        children = s.children()
        s.process.kill()
        s.process.wait()
        wait_for("both children to end", lambda: not any(map(alive, children.values())), timeout=5)
        started = time.monotonic()
        s.start()  # at once, on the same data directory and port
        assert time.monotonic() - started < 5
        assert s.stop() == 0
    finally:
        s.close()


def test_a_stop_is_orderly():
    for sig in (signal.SIGTERM, signal.SIGINT):
        s = Server().start()
        try:
            children = s.children()
            started = time.monotonic()
            assert s.stop(sig) == 0
            assert time.monotonic() - started < 5, "an idle server took its time to stop"
            assert not any(map(alive, children.values()))
            log = s.log_text()
            assert '"event":"stopped"' in log.replace(": ", ":"), log[-2000:]
            assert "cut_short" not in log, log[-2000:]
            wait_for("all processes to end", lambda: not logging_to(s.log_path), timeout=3)
        finally:
            s.close()


def test_a_request_under_way_is_answered_before_the_end():
    s = Server().start()
    try:
        c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=20)
        c.putrequest("POST", "/login")
        c.putheader("Content-Type", "application/json")
        body = json.dumps({"login": "nobody", "password": "nothing at all"}).encode()
        c.putheader("Content-Length", str(len(body)))
        c.endheaders()
        c.send(body[:5])
        time.sleep(0.2)
        stopper = threading.Thread(target=lambda: s.stop())
        stopper.start()
        time.sleep(0.3)
        c.send(body[5:])
        answer = c.getresponse()
        answer.read()
        # which answer it is belongs to others; that it is one, and the last on its connection, is ours
        assert answer.status in (401, 404, 429), answer.status
        assert answer.getheader("Connection", "").lower() == "close"
        stopper.join(20)
        assert not stopper.is_alive()
    finally:
        s.close()


def test_an_expired_event_cursor_is_reset_by_a_person():
    """A group whose next events are no longer kept stands still, says so, and goes on after assayd --reset-cursor."""
    s = Server(args=["--log-format=json"])
    env = {"ASSAY_DATA_DIR": str(s.data), "HTTP_PORT": str(s.port), "ASSAY_BOXKEEPER": "false"}

    def reset(group):
        return run(f"--reset-cursor={group}", env=env)

    try:
        nowhere = run("--reset-cursor=scoring", env={**env, "ASSAY_DATA_DIR": str(s.tmp / "nothing")})
        refused(nowhere, "is not the data directory of a server that has run")
        assert not (s.tmp / "nothing").exists()
        refused(run("--reset-cursor", env=env), "--reset-cursor wants a value: --reset-cursor=GROUP", status=64)
        s.start()
        admin = s.login()
        for i in range(5):
            admin.post("/agents", {"id": f"agent-{i}"}, expect=201)
        refused(reset("scoring"), "another assayd")
        assert s.stop() == 0
        refused(reset("scores"), 'no plugin has a durable event group "scores"', "scoring", "leaderboard", status=64)
        refused(reset("scoring"), "the cursor of scoring has not expired", status=1)

        with sqlite3.connect(s.data / "assay.db") as db:
            head = db.execute("SELECT MAX(seq) FROM assay_events").fetchone()[0]
            db.execute("DELETE FROM assay_events WHERE seq < ?", (head - 1,))
            db.execute("UPDATE assay_store SET number = ? WHERE name = 'pruned_to'", (head - 2,))
            assert db.execute("UPDATE assay_cursors SET seq = 1 WHERE grp = 'scoring'").rowcount == 1
            owner = (s.data / "assay.db").stat().st_uid
        db.close()
        for left in s.data.glob("assay.db-*"):  # what this process made would belong to it
            os.chown(left, owner, -1)

        def events():
            a = s.api().call("GET", "/readyz")
            check = [c for c in a.json["checks"] if c["name"] == "events"] if a.body else []
            return a.status == 503 and check and not check[0]["ok"] and check[0]["reason"]

        s.spawn()
        wait_for("the server to answer", lambda: answers(s))
        reason = wait_for("/readyz to name the group", events)
        assert "scoring" in reason and "assayd --reset-cursor=" in reason, reason
        line = wait_for("the log to say so", lambda: [x for x in s.log_text().splitlines() if '"cursor_expired"' in x])[0]
        assert "assayd --reset-cursor=scoring" in line and json.loads(line)["group"] == "scoring", line
        s.login().post("/agents", {"id": "another"}, expect=201)  # everything else goes on
        assert s.stop() == 0

        done = reset("scoring")
        assert done.returncode == 0, done.stderr
        assert f"was at event 1 and is at {head - 2} now: up to {head - 3} events" in done.stdout, done.stdout
        owners = {f.stat().st_uid for f in s.data.glob("assay.db*")}
        assert owners == {owner}, owners
        refused(reset("scoring"), "has not expired", status=1)
        s.start()
        assert [c for c in s.api().get("/readyz").json["checks"] if c["name"] == "events"][0]["ok"]
    finally:
        s.close()


if __name__ == "__main__":
    main(sys.modules[__name__])
