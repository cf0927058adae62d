"""Under systemd: sockets that are handed over, readiness that is told, units that systemd finds nothing wrong with."""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading

import harness
from harness import PREFIX, ROOT, Server, Skip

UNITS = ROOT / "packaging" / "systemd"


class Handed(Server):
    """assayd as systemd starts it: the sockets at 3 and up, LISTEN_PID its own process."""

    def __init__(self, sockets, env=None, own=True, **kw):
        super().__init__(env=env, direct="the test itself listens, and hands its sockets over", **kw)
        self.sockets, self.own = sockets, own

    def spawn(self, extra_args=()):
        self.log = open(self.log_path, "ab")
        fds = [s.fileno() for s in self.sockets]

        def hand():
            high = [os.dup2(fd, 200 + i, inheritable=True) for i, fd in enumerate(fds)]
            for i, fd in enumerate(high):
                os.dup2(fd, 3 + i, inheritable=True)

        pid = "$$" if self.own else "1"
        self.process = subprocess.Popen(
            ["sh", "-c", f'LISTEN_PID={pid} LISTEN_FDS={len(fds)} exec "$@"', "sh", str(PREFIX / "bin" / "assayd"), *self.args, *extra_args],
            env=self.env, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, preexec_fn=hand, pass_fds=range(3, 3 + len(fds)))
        return self


def listening(address="127.0.0.1", kind=socket.SOCK_STREAM):
    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    s.bind((address, 0))
    if kind == socket.SOCK_STREAM:
        s.listen(64)
    return s


def test_a_restart_refuses_no_connection_of_a_socket_that_was_handed_over():
    s = listening()
    port = s.getsockname()[1]
    server = Handed([s], env={"ASSAY_HTTP_ADDRESS": "192.0.2.1", "ASSAY_HTTP_LOOPS": "2"})  # which says nothing then: nobody could listen there
    server.port = port
    try:
        server.start()
        assert (server.data / "run" / "url").read_text().strip() == f"http://127.0.0.1:{port}"
        for _ in range(20):
            assert server.api().call("GET", "/healthz").status == 200
        assert server.stop() == 0
        # stopped: a client waits in the socket's queue, and is answered by the next one
        answer = []
        waiting = threading.Thread(target=lambda: answer.append(harness.Api(port, timeout=60).call("GET", "/healthz").status))
        waiting.start()
        server.start()
        waiting.join(60)
        assert answer == [200], answer
        assert server.stop() == 0
    finally:
        server.close()
        s.close()


def test_several_sockets_are_served():
    one, two = listening(), listening("::1") if socket.has_ipv6 else listening()
    server = Handed([one, two], env={"ASSAY_HTTP_LOOPS": "1"})
    server.port = one.getsockname()[1]
    try:
        server.start()
        for s in (one, two):
            with socket.create_connection(s.getsockname()[:2], 10) as c:
                c.sendall(b"GET /healthz HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
                assert c.makefile("rb").readline().startswith(b"HTTP/1.1 200")
    finally:
        server.close()


def test_what_is_no_listening_socket_is_refused_and_others_are_not_taken():
    datagram, plain = listening(kind=socket.SOCK_DGRAM), socket.socket()
    for wrong in (datagram, plain):
        server = Handed([wrong])
        try:
            server.spawn()
            assert server.process.wait(60) == 78
            assert "descriptor 3 of LISTEN_FDS is not a listening TCP socket" in server.log_text()
        finally:
            server.close()
    # the variables of another process are not for us, as when a shell between has passed them on
    server = Handed([datagram], own=False)
    try:
        server.start()
        assert server.api().call("GET", "/healthz").status == 200
    finally:
        server.close()


def test_readiness_is_told_when_requests_are_answered():
    with tempfile.TemporaryDirectory() as folder:
        told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        told.bind(f"{folder}/notify")
        told.settimeout(60)
        server = Server(env={"NOTIFY_SOCKET": f"{folder}/notify"})
        try:
            server.spawn()
            assert told.recv(100).splitlines() == [b"READY=1"]
            assert server.api().call("GET", "/healthz").status == 200
        finally:
            server.close()
            told.close()


def test_the_units_are_sound_and_their_exposure_is_as_documented():
    if not shutil.which("systemd-analyze"):
        raise Skip("systemd-analyze is not here (Debian: systemd)")
    with tempfile.TemporaryDirectory() as folder:
        for unit in ("assayd.service", "assayd.socket"):
            text = (UNITS / unit).read_text().replace("/usr/bin/assayd", str(PREFIX / "bin" / "assayd"))
            pathlib.Path(folder, unit).write_text(text)
        a = subprocess.run(["systemd-analyze", "verify", "--man=no", f"{folder}/assayd.service", f"{folder}/assayd.socket"],
                           capture_output=True, text=True, timeout=60)
        ours = [line for line in a.stderr.splitlines() if "assayd" in line]
        assert not ours, ours
        service = (UNITS / "assayd.service").read_text()
        # found in tests/deb/test_units.py: it forbids openat2 to all, and no warden starts; nor may a restart of the service take its socket along
        assert not re.search(r"^(RestrictSUIDSGID=(yes|true|1)|Also=)", service, re.M)
        a = subprocess.run(["systemd-analyze", "security", "--offline=true", f"{folder}/assayd.service"], capture_output=True, text=True, timeout=60)
        score = re.search(r"Overall exposure level for assayd.service: ([\d.]+)", a.stdout)
        assert score, a
        said = re.search(r"exposure level of ([\d.]+)", (ROOT / "docs" / "install-deb.md").read_text()).group(1)
        assert float(score.group(1)) <= float(said), f"docs/install-deb.md says {said}, systemd-analyze {score.group(1)}"


def test_the_units_capabilities_are_enough_to_judge():
    """What CapabilityBoundingSet and NoNewPrivileges leave, tried with setpriv: nobody but systemd can try the rest."""
    if os.geteuid() != 0:
        raise Skip("only root has capabilities to give up")
    names = re.search(r"^CapabilityBoundingSet=(.*)$", (UNITS / "assayd.service").read_text(), re.M).group(1).split()
    keep = ",".join("+" + n.removeprefix("CAP_").lower() for n in names)
    server = Server(wrap=["setpriv", "--bounding-set", f"-all,{keep}", "--no-new-privs"])
    try:
        server.start()
        admin = server.login()
        server.demo(admin)
        for language, file, verdict in (("c", "right.c", "OK"), ("c", "hungry.c", None), ("python", "right.py", "OK")):
            s = admin.post("/submissions?wait=60", {"benchmark_id": "sum-integers", "agent_id": "ada", "language": language,
                                                    "source": harness.program(file)}, expect=(200, 202)).json
            s = server.wait_done(admin, s["id"])
            assert s["status"] == "done" and verdict in (None, s["verdict"]), s
        status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
        assert re.search(r"^NoNewPrivs:\t1$", status, re.M), status
        assert server.stop(signal.SIGTERM) == 0
    finally:
        server.close()


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
