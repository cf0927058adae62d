"""Boxes without namespaces: what a plain container allows, tried by taking away what such a container lacks.

The server runs as root with the capabilities that a container's root has by default (no CAP_SYS_ADMIN, so neither
namespaces nor mounts), and then as an ordinary user.  `sandbox=reduced` has to be asked for by name, and everything that
shows a verdict says what such a box lacks.
"""

import ctypes
import json
import os
import pathlib
import shutil
import subprocess
import sys

from harness import FIXTURES, PREFIX, Server, Skip, main, program, wait_for

UID = 41998  # of nobody on the machine
BOXES = 3210000  # likewise, 64 of them
# what Docker leaves to root in a container
CONTAINER = ("chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot mknod audit_write "
             "setfcap").split()


def contained():
    if os.getuid() != 0:
        raise Skip("needs root, to take capabilities away")
    if shutil.which("setpriv") is None:
        raise Skip("setpriv is not installed (util-linux)")
    caps = "-all," + ",".join("+" + c for c in CONTAINER)
    return ["setpriv", "--bounding-set", caps, "--inh-caps=-all", "--no-new-privs"]


def landlock():
    return ctypes.CDLL(None, use_errno=True).syscall(444, None, 0, 1)


def submissions(languages):
    for line in (FIXTURES / "demo" / "submissions.tsv").read_text().splitlines():
        if not line.startswith("#") and line.split("\t")[1] in languages:
            yield line.split("\t")[1:]


def make_server():
    return Server(args=["--sandbox", "reduced", "--box-uid-base", str(BOXES)], wrap=contained())


def judge(server, languages):
    admin = server.login()
    server.demo(admin)
    sent = []
    for language, file, verdict in submissions(languages):
        a = admin.post("/submissions", {"benchmark_id": "sum-integers", "agent_id": "ada", "language": language, "source": program(file)},
                       expect=202)
        sent.append((a.json["id"], file, verdict))
    wrong = []
    for sid, file, verdict in sent:
        s = server.wait_done(admin, sid, timeout=120)
        r = admin.get(f"/results/{sid}").json
        if s["verdict"] != verdict:
            wrong.append(f"{file}: want {verdict}, got {s['verdict']}: {json.dumps(r)[:600]}")
        assert r["sandbox"]["mode"] == "reduced", r
    assert not wrong, "\n".join(wrong)
    return len(sent)


def processes(uids):
    found = []
    for p in pathlib.Path("/proc").iterdir():
        try:
            if p.name.isdigit() and p.stat().st_uid in uids:
                found.append((p / "cmdline").read_bytes())
        except OSError:
            continue
    return found


def test_the_demo_gets_its_verdicts_without_namespaces(server):
    refused = subprocess.run([*contained(), "unshare", "--mount", "true"], capture_output=True)
    assert refused.returncode != 0, "namespaces could be made here: the test would show nothing"
    assert judge(server, ["c", "python", "cpp", "java", "go"]) == 40


def test_nothing_is_left_of_them(server):
    pid = server.children()["boxkeeper"]
    folder = [a.split(b"=", 1)[1].decode() for c in pathlib.Path("/proc").glob("[0-9]*/cmdline")
              for a in read(c).split(b"\0") if a.startswith(b"--mount-at=") and parent(c) == pid]
    assert folder, "no warden runs"
    for place in folder:
        for part in pathlib.Path(place).glob("assay-reduced-*/[01]/*"):
            wait_for(f"{part} to be empty", lambda: list(part.iterdir()) == [], 10)
    assert processes(range(BOXES, BOXES + 64)) == []


def read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


def parent(cmdline):
    text = read(cmdline.parent / "stat").decode(errors="replace")
    return int(text.rsplit(")", 1)[1].split()[1]) if text else 0


def test_log_and_doctor_say_what_is_missing(server):
    assert "reduced_boxes" in server.log_text()
    doctor = subprocess.run([*server.wrap, str(PREFIX / "bin" / "assayd"), "--doctor", "--sandbox", "reduced"], capture_output=True,
                            text=True, env=server.env)
    text = doctor.stdout + doctor.stderr
    assert "sandbox=reduced asks for none" in text and "Landlock" in text, text


def test_programs_stay_in(server):
    admin = server.login()
    secret = server.data.parent / "secret"
    secret.write_text("the host's")
    secret.chmod(0o644)
    mine = admin.post("/benchmarks", {"id": "reach", "name": "Reach", "tests": [{"input": "", "expected_output": "nothing\n", "sample": True}]}).json
    source = f"""
import os, socket, signal
reached = []
def attempt(name, f):
    try:
        f()
        reached.append(name)
    except (OSError, PermissionError):
        pass
attempt("file", lambda: open({str(secret)!r}).read())
attempt("shadow", lambda: open("/etc/shadow").read())
attempt("environ", lambda: open("/proc/1/environ").read())
attempt("write", lambda: open("/var/tmp/x", "w"))
attempt("shm", lambda: open("/dev/shm/x", "w"))
attempt("tcp", lambda: socket.create_connection(("127.0.0.1", {server.port}), 1))
attempt("unix", lambda: socket.socket(socket.AF_UNIX))
attempt("parent", lambda: os.kill(os.getppid(), signal.SIGKILL))
attempt("server", lambda: os.kill({server.process.pid}, signal.SIGKILL))
print(" ".join(reached) or "nothing")
"""
    a = admin.post("/submissions?wait=60", {"benchmark_id": mine["id"], "agent_id": "ada", "language": "python", "source": source}).json
    r = admin.get(f"/results/{a['id']}").json
    assert r["verdict"] == "OK", r


def test_a_stopped_server_leaves_no_directory(server):
    place = f"/tmp/{next(iter(names(server)))}"
    assert pathlib.Path(place).is_dir(), place
    server.stop()
    left = [str(p) for p in pathlib.Path(place).glob("*/assay-reduced-*")]
    assert left == [], left
    server.start()


def names(server):
    for c in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        for a in read(c).split(b"\0"):
            if a.startswith(b"--name=") and parent(c) == server.children().get("boxkeeper"):
                yield a.split(b"=", 1)[1].decode().rsplit("-", 1)[0]


def test_an_ordinary_user_behind_landlock():
    if os.getuid() != 0:
        raise Skip("needs root, to become another user")
    if landlock() < 6:
        raise Skip(f"Landlock is version {landlock()} here; an ordinary user needs 6 (Linux 6.12)")
    wrap = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]
    if subprocess.run([*wrap, "test", "-x", str(PREFIX / "bin" / "assayd")], cwd="/").returncode != 0:
        raise Skip(f"an ordinary user cannot read the install under {PREFIX}")
    server = Server(args=["--sandbox", "reduced"], wrap=wrap, env={"HOME": "/nonexistent"})
    server.data.mkdir()
    os.chown(server.data, UID, UID)
    try:
        server.start()
        assert judge(server, ["c", "python"]) == 16
        server.stop()
    finally:
        server.close()


def test_auto_never_chooses_it():
    server = Server(wrap=contained())
    try:
        server.spawn()
        wait_for("the log to say why", lambda: "native is not usable" in server.log_text() or "driver" in server.log_text(), 30)
        answer = wait_for("/readyz", lambda: ready(server), 30)
        assert answer.status == 503, answer
        server.stop()
    finally:
        server.close()


def ready(server):
    try:
        a = server.api().call("GET", "/readyz")
        return a if b"sandbox" in a.body or b"warden" in a.body else None
    except OSError:
        return None


if __name__ == "__main__":
    main(sys.modules[__name__])
