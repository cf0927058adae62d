"""A private RabbitMQ for tests: a node, ports, an epmd and a folder of its own, on loopback only, ended by pid."""

import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse

BIN = pathlib.Path("/usr/lib/rabbitmq/bin")


class Missing(Exception):
    """There is no RabbitMQ here; the text says how to get one."""


def free_ports(n):
    socks = [socket.socket() for _ in range(n)]
    try:
        for s in socks:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in socks]
    finally:
        for s in socks:
            s.close()


def unprivileged():
    if os.geteuid() != 0:
        return {}
    u = pwd.getpwnam("nobody")
    return {"user": u.pw_uid, "group": u.pw_gid, "extra_groups": []}


class RabbitMQ:
    def __init__(self, settings="", tls=False):
        if not (BIN / "rabbitmq-server").exists():
            raise Missing("no RabbitMQ is installed (Debian: apt-get install --no-install-recommends rabbitmq-server)")
        self.settings, self.tls = settings, tls
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="assay-rabbit-", dir="/var/tmp"))
        self.dir.chmod(0o755)
        self.port, self.dist, self.epmd, self.tls_port = free_ports(4)
        self.who = unprivileged()
        self.process = None
        for name in ("mnesia", "log", "home"):
            (self.dir / name).mkdir()
        conf = [f"listeners.tcp.default = 127.0.0.1:{self.port}", "disk_free_limit.absolute = 50MB", "loopback_users.guest = true"]
        if tls:
            self.certificates()
            conf += [f"listeners.ssl.default = 127.0.0.1:{self.tls_port}", f"ssl_options.cacertfile = {self.dir}/ca.pem",
                     f"ssl_options.certfile = {self.dir}/cert.pem", f"ssl_options.keyfile = {self.dir}/key.pem",
                     "ssl_options.verify = verify_none", "ssl_options.fail_if_no_peer_cert = false"]
        (self.dir / "rabbitmq.conf").write_text("\n".join(conf + [settings]) + "\n")
        (self.dir / "enabled_plugins").write_text("[].\n")
        loopback = "-kernel inet_dist_use_interface {127,0,0,1}"
        self.env = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(self.dir / "home"),
            "RABBITMQ_NODENAME": f"assay{self.port}@localhost", "RABBITMQ_DIST_PORT": str(self.dist),
            "RABBITMQ_MNESIA_BASE": str(self.dir / "mnesia"), "RABBITMQ_LOG_BASE": str(self.dir / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.dir / "rabbitmq"), "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.dir / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(self.dir / "pid"), "RABBITMQ_CONF_ENV_FILE": "/dev/null", "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self.epmd), "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": loopback + " +S 2:2 +sbwt none",
            "RABBITMQ_CTL_ERL_ARGS": loopback}
        if self.who:
            subprocess.run(["chown", "-R", f"{self.who['user']}:{self.who['group']}", str(self.dir)], check=True)

    def certificates(self):
        """A CA of the test's own and a certificate for localhost."""
        def openssl(*args):
            subprocess.run(["openssl", *args], cwd=self.dir, check=True, capture_output=True)
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", "/CN=assay test CA")
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "csr.pem", "-subj", "/CN=localhost")
        (self.dir / "ext").write_text("subjectAltName=DNS:localhost\n")
        openssl("x509", "-req", "-in", "csr.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "cert.pem", "-days", "30",
                "-extfile", "ext")

    def __enter__(self):
        self.start()
        return self

    def start(self):
        out = open(self.dir / "out.log", "ab")
        self.process = subprocess.Popen([BIN / "rabbitmq-server"], env=self.env, cwd=self.dir, stdin=subprocess.DEVNULL, stdout=out,
                                        stderr=out, start_new_session=True, **self.who)
        out.close()
        end = time.monotonic() + 120
        while True:  # the port is open before the node is up: what counts is that somebody can sign in
            try:
                self.declare("assay.ready")
                self.tool("amqp-delete-queue", "-q", "assay.ready")
                return
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
                pass
            if self.process.poll() is not None or time.monotonic() > end:
                text = (self.dir / "out.log").read_text(errors="replace")[-2000:]
                self.kill()
                raise RuntimeError(f"RabbitMQ did not start: {text}")
            time.sleep(0.2)

    def pids(self):
        """The node's processes: its session, which is ours alone."""
        found = []
        for p in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = p.read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[3]) == self.process.pid and fields[0] != "Z":
                found.append(int(p.parent.name))
        return found

    def epmd_pids(self):
        found = []
        for p in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if (p / "comm").read_text().strip() == "epmd" and f"ERL_EPMD_PORT={self.epmd}\0" in (p / "environ").read_bytes().decode(errors="replace"):
                    found.append(int(p.name))
            except OSError:
                continue
        return found

    def signal(self, number):
        for pid in self.pids():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def kill(self):
        """kill -9 of the node; what it had on disk stays."""
        if self.process is None:
            return
        self.signal(signal.SIGKILL)
        self.process.wait()
        end = time.monotonic() + 10
        while self.pids() and time.monotonic() < end:
            self.signal(signal.SIGKILL)
            time.sleep(0.05)

    def restart(self):
        self.kill()
        self.start()

    def __exit__(self, *exc):
        self.kill()
        for pid in self.epmd_pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        shutil.rmtree(self.dir, ignore_errors=True)

    @property
    def url(self):
        return f"amqp://guest:guest@127.0.0.1:{self.port}"

    @property
    def tls_url(self):
        return f"amqps://guest:guest@localhost:{self.tls_port}"

    # ---- clients of another make than ours: amqp-tools, and a small one for what they cannot

    def tool(self, name, *args, body=None, timeout=20):
        return subprocess.run([name, "-u", self.url, *args], input=body, capture_output=True, check=True, timeout=timeout).stdout

    def declare(self, queue):
        self.tool("amqp-declare-queue", "-q", queue, "-d", timeout=5)

    def publish(self, queue, body, *more):
        self.tool("amqp-publish", "-r", queue, "-p", *more, body=body if isinstance(body, bytes) else body.encode())

    def get(self, queue):
        """One message's body, acknowledged, or None."""
        a = subprocess.run(["amqp-get", "-u", self.url, "-q", queue], capture_output=True, timeout=20)
        return a.stdout if a.returncode == 0 else None

    def ctl(self, *args, timeout=60):
        a = subprocess.run([BIN / "rabbitmqctl", "-q", *args], env=self.env, cwd=self.dir, capture_output=True, text=True, timeout=timeout, **self.who)
        assert a.returncode == 0, a.stdout + a.stderr
        return a.stdout

    def counts(self, queue):
        """(ready, unacknowledged)"""
        for line in self.ctl("list_queues", "--no-table-headers", "name", "messages_ready", "messages_unacknowledged").splitlines():
            name, ready, unacked = line.split("\t")
            if urllib.parse.unquote(name) == queue:
                return int(ready), int(unacked)
        return None
