"""A private RabbitMQ for tests: a node, ports, an epmd and a folder of its own, on loopback only, ended by pid."""

import os
import pathlib
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

BIN = pathlib.Path("/usr/lib/rabbitmq/bin")

# Asks the node for its queues, once for each line that it reads: rabbitmqctl starts a virtual machine for each question, which is
# seconds of a processor.
ASKS = """
N = list_to_atom(os:getenv("RABBITMQ_NODENAME")),
Ask = fun(Again) ->
    case io:get_line("") of
        eof -> halt(0);
        _ ->
            case rpc:call(N, rabbit_amqqueue, info_all, [<<"/">>, [name, messages_ready, messages_unacknowledged]], 30000) of
                L when is_list(L) ->
                    [io:format("~ts\t~w\t~w~n", [element(4, proplists:get_value(name, Q)), proplists:get_value(messages_ready, Q),
                                                 proplists:get_value(messages_unacknowledged, Q)]) || Q <- L],
                    io:format(".~n");
                Else -> io:format("!~0p~n", [Else])
            end,
            Again(Again)
    end
end,
Ask(Ask).
"""


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
        self.asks = None
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
        if self.asks is not None:
            self.asks.kill()
            self.asks.wait()
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
        """(ready, unacknowledged); None without such a queue"""
        if self.asks is None or self.asks.poll() is not None:
            self.asks = subprocess.Popen(
                ["erl", "-hidden", "-sname", f"asks{self.port}@localhost", "-kernel", "inet_dist_use_interface", "{127,0,0,1}", "-noshell", "+S", "1:1",
                 "-eval", ASKS], env=self.env, cwd=self.dir, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True, **self.who)
        self.asks.stdin.write("?\n")
        self.asks.stdin.flush()
        found = None
        while (line := self.asks.stdout.readline().rstrip("\n")) != ".":
            assert line and not line.startswith("!"), f"the node does not tell of its queues: {line[1:] or self.asks.wait()}"
            name, ready, unacked = line.split("\t")
            if name == queue and ready.isdigit() and unacked.isdigit():
                found = int(ready), int(unacked)
        return found

    def client(self):
        return Client(self.port)


class Client:
    """As much of AMQP 0-9-1 as a producer and a reader of results need: one connection, one channel, publications confirmed."""

    def __init__(self, port, timeout=30):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.stream = self.sock.makefile("rwb")
        self.published = 0
        self.stream.write(b"AMQP\0\0\x09\x01")
        self.stream.flush()
        self.expect(10, 10)
        self.send(0, 10, 11, struct.pack(">L", 0) + short("PLAIN") + long(b"\0guest\0guest") + short("en_US"))
        self.expect(10, 30)
        self.send(0, 10, 31, struct.pack(">HLH", 2047, 131072, 0))
        self.send(0, 10, 40, short("/") + short("") + b"\0")
        self.expect(10, 41)
        self.send(1, 20, 10, short(""))
        self.expect(20, 11)
        self.send(1, 85, 10, b"\0")
        self.expect(85, 11)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.sock.close()

    def frame(self, kind, channel, payload):
        self.stream.write(struct.pack(">BHL", kind, channel, len(payload)) + payload + b"\xce")

    def send(self, channel, klass, method, args):
        self.frame(1, channel, struct.pack(">HH", klass, method) + args)
        self.stream.flush()

    def read(self):
        head = self.stream.read(7)
        if len(head) < 7:
            raise ConnectionError("RabbitMQ closed the connection")
        kind, _, size = struct.unpack(">BHL", head)
        payload = self.stream.read(size + 1)
        if len(payload) < size + 1:
            raise ConnectionError("RabbitMQ closed the connection")
        return kind, payload[:-1]

    def expect(self, klass, *methods):
        """The arguments of the next method of these, with its number where there are several."""
        while True:
            kind, payload = self.read()
            if kind != 1:
                continue
            k, m = struct.unpack(">HH", payload[:4])
            if k == klass and m in methods:
                return payload[4:] if len(methods) == 1 else (m, payload[4:])
            if (k, m) in ((10, 50), (20, 40)):
                raise ConnectionError(f"RabbitMQ says {payload[4:]!r}")

    def declare(self, queue, passive=False):
        """Durable; how many messages are ready."""
        self.send(1, 50, 10, b"\0\0" + short(queue) + (b"\x03" if passive else b"\x02") + struct.pack(">L", 0))
        args = self.expect(50, 11)
        return struct.unpack(">L", args[1 + args[0]:5 + args[0]])[0]

    def publish(self, queue, body, message_id=None, reply_to=None, correlation_id=None):
        """Returns when the broker has it."""
        flags, props = 1 << 12, b"\x02"
        for bit, value in ((10, correlation_id), (9, reply_to), (7, message_id)):
            if value is not None:
                flags |= 1 << bit
                props += short(value)
        body = body if isinstance(body, bytes) else body.encode()
        self.frame(1, 1, struct.pack(">HHH", 60, 40, 0) + short("") + short(queue) + b"\0")
        self.frame(2, 1, struct.pack(">HHQH", 60, 0, len(body), flags) + props)
        for at in range(0, len(body), 100000):
            self.frame(3, 1, body[at:at + 100000])
        self.stream.flush()
        self.published += 1
        while struct.unpack(">Q", self.expect(60, 80)[:8])[0] < self.published:
            pass

    def get(self, queue):
        """(body, {message_id, correlation_id}), acknowledged, or None."""
        self.send(1, 60, 70, b"\0\0" + short(queue) + b"\1")
        method, _ = self.expect(60, 71, 72)
        if method == 72:
            return None
        kind, head = self.read()
        assert kind == 2, kind
        _, _, size, flags = struct.unpack(">HHQH", head[:14])
        body = b""
        while len(body) < size:
            kind, part = self.read()
            assert kind == 3, kind
            body += part
        return body, properties(flags, head[14:])


def short(text):
    return struct.pack(">B", len(text.encode())) + text.encode()


def long(data):
    return struct.pack(">L", len(data)) + data


def properties(flags, data):
    """The ones of a message that have text or are skipped, up to message_id."""
    out, at = {}, 0
    for bit, name in ((15, "content_type"), (14, "content_encoding"), (13, "headers"), (12, None), (11, None), (10, "correlation_id"), (9, "reply_to"),
                      (8, "expiration"), (7, "message_id")):
        if not flags & 1 << bit:
            continue
        if name is None:
            at += 1
        elif name == "headers":
            at += 4 + struct.unpack(">L", data[at:at + 4])[0]
        else:
            out[name] = data[at + 1:at + 1 + data[at]].decode()
            at += 1 + data[at]
    return out
