"""A private Docker engine for a test, and a small image for it that comes from no registry.

The engine has its own data, socket and containers (dockerd --data-root, --exec-root), no bridge and no rules of
the firewall, and is ended by its pid. The image is a tar of what this machine has: its Python with the libraries it
needs, and /bin/sh; made once for each test file.
"""

import gzip
import hashlib
import http.client
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time

import harness

IMAGE = "assay-test/python:1"


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("docker", timeout=60)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self.path)


class Engine:
    def __init__(self):
        if os.geteuid() != 0:
            raise harness.Skip("a private dockerd needs root")
        self.dockerd = shutil.which("dockerd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if self.dockerd is None:
            raise harness.Skip("there is no dockerd here (packaging/install-deps test)")
        self.tmp = pathlib.Path(tempfile.mkdtemp(prefix="assay-dk-", dir="/var/tmp"))
        self.tmp.chmod(0o755)
        self.sock = self.tmp / "d.sock"
        self.process = None
        # its own containerd, which outlives a dockerd that is killed, as on a machine with both as services
        (self.tmp / "containerd.toml").write_text(
            f'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\nroot = "{self.tmp}/c-root"\n'
            f'state = "{self.tmp}/c-state"\n[grpc]\naddress = "{self.tmp}/c.sock"\n')
        with open(self.tmp / "containerd.log", "ab") as log:
            self.containerd = subprocess.Popen(["containerd", "--config", str(self.tmp / "containerd.toml")], stdout=log, stderr=log,
                                               stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            self.start()
        except AssertionError as e:
            text = (self.tmp / "dockerd.log").read_text(errors="replace")[-300:].replace("\n", " ")
            self.stop()
            raise harness.Skip(f"dockerd does not start here: {e} {text}")

    @property
    def host(self):
        return f"unix://{self.sock}"

    def start(self):
        log = open(self.tmp / "dockerd.log", "ab")
        self.process = subprocess.Popen(
            [self.dockerd, "--data-root", str(self.tmp / "data"), "--exec-root", str(self.tmp / "exec"), "--containerd",
             str(self.tmp / "c.sock"), "--pidfile",
             str(self.tmp / "pid"), "-H", self.host, "--bridge=none", "--iptables=false", "--ip-forward=false",
             "--ip-masq=false"], stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        log.close()
        harness.wait_for("dockerd", self.answers, timeout=60)

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError(f"dockerd ended with {self.process.returncode}")
        try:
            return self.call("GET", "/_ping")[0] == 200
        except OSError:
            return False

    def call(self, method, path, body=None, kind="application/json"):
        c = Connection(self.sock)
        try:
            if isinstance(body, dict):
                body = json.dumps(body).encode()
            c.request(method, path, body, {"Content-Type": kind})
            r = c.getresponse()
            return r.status, r.read()
        finally:
            c.close()

    def kill(self):
        """As a crash: its containers go on until the next start."""
        self.process.kill()
        self.process.wait()

    def containers(self):
        return json.loads(self.call("GET", "/containers/json?all=1")[1])

    def load(self, tar, name=IMAGE):
        repo, tag = name.split(":")
        status, text = self.call("POST", f"/images/create?fromSrc=-&repo={repo}&tag={tag}", open(tar, "rb"), "application/x-tar")
        assert status == 200 and b"errorDetail" not in text, (status, text)

    def end_shims(self):
        """What a containerd leaves of containers that it lost sight of, when dockerd was killed in the middle: nobody would ever end them."""
        for proc in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                words = (proc / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"containerd-shim" in words[0] and str(self.tmp / "c.sock").encode() in words:
                for pid in [*subprocess.run(["pgrep", "-P", proc.name], capture_output=True, text=True).stdout.split(), proc.name]:
                    try:
                        os.kill(int(pid), signal.SIGKILL)
                    except ProcessLookupError:
                        pass

    def stop(self):
        if self.process.poll() is None:
            try:
                for c in self.containers():
                    self.call("DELETE", f"/containers/{c['Id']}?force=1&v=1")
            except OSError:
                pass
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.containerd.send_signal(signal.SIGTERM)
        try:
            self.containerd.wait(20)
        except subprocess.TimeoutExpired:
            self.containerd.kill()
            self.containerd.wait()
        self.end_shims()
        mounts = [l.split()[4] for l in open("/proc/self/mountinfo") if f" {self.tmp}/" in l]
        for m in sorted(mounts, key=len, reverse=True):
            subprocess.run(["umount", "-l", m], check=False, capture_output=True)
        shutil.rmtree(self.tmp, ignore_errors=True)


def libraries(path):
    out = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout
    return set(re.findall(r"(/\S+)(?= \(0x)", out))


def programs_below(folder):
    for f in sorted(pathlib.Path(folder).rglob("*")):
        if f.is_file() and not f.is_symlink():
            with open(f, "rb") as opened:
                if opened.read(4) == b"\x7fELF":
                    yield str(f)


def make_image(tar, runs=None):
    """This machine's Python, alone; and the libraries that the programs below the folder `runs` need from outside of it."""
    python = os.path.realpath("/usr/bin/python3")
    lib = f"/usr/lib/{os.path.basename(python)}"
    need = {python, "/bin/dash", "/usr/bin/true"} | libraries("/usr/bin/true") | libraries(python) | libraries("/bin/dash")
    for f in pathlib.Path(lib, "lib-dynload").glob("*.so"):
        need |= libraries(str(f))
    for program in programs_below(runs) if runs is not None else ():
        need |= {f for f in libraries(program) if not f.startswith(f"{runs}/")}
    with tarfile.open(tar, "w") as t:
        for d in ("usr", "usr/bin", "usr/lib", "usr/lib64", "usr/local", "etc", "tmp", "proc", "dev", "sys", "run", "var", "var/lib"):
            i = tarfile.TarInfo(d)
            i.type, i.mode = tarfile.DIRTYPE, 0o755
            t.addfile(i)
        links = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "sbin": "usr/bin",
                 "usr/bin/python3": os.path.basename(python), "usr/bin/sh": "dash"}
        done = set()
        for f in sorted(need):
            real = os.path.realpath(f)
            # under the name that the loader looks for, in /usr (merged)
            for name in {f, real}:
                name = name if name.startswith("/usr/") else "/usr" + name
                if name not in done:
                    done.add(name)
                    t.add(real, arcname=name.lstrip("/"))
        for n, to in links.items():
            i = tarfile.TarInfo(n)
            i.type, i.linkname = tarfile.SYMTYPE, to
            t.addfile(i)
        t.add(lib, arcname=lib.lstrip("/"),
              filter=lambda i: None if re.search(r"/(test|idlelib|tkinter|lib2to3|__pycache__|config-[^/]*)$", i.name) else i)


class Registry:
    """A registry with one image of one layer, for engines on this machine (which speak HTTP with a loopback address). It
    gives half of the layer and then waits for `go`."""

    def __init__(self, tar):
        layer = pathlib.Path(tar).read_bytes()
        self.go = go = threading.Event()
        packed = gzip.compress(layer, 1)
        config = json.dumps({"architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
                             "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [self.digest(layer)]}}).encode()
        kind = "application/vnd.docker.distribution.manifest.v2+json"
        manifest = json.dumps({
            "schemaVersion": 2, "mediaType": kind,
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(config), "digest": self.digest(config)},
            "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": len(packed),
                        "digest": self.digest(packed)}]}).encode()
        blobs = {self.digest(config): config, self.digest(packed): packed}

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                last = self.path.rsplit("/", 1)[-1]
                if self.path == "/v2/":
                    self.give(b"{}", "application/json")
                elif self.path.startswith("/v2/team/image/manifests/") and last in ("1", Registry.digest(manifest)):
                    self.give(manifest, kind)
                elif self.path.startswith("/v2/team/image/blobs/") and last in blobs:
                    self.give(blobs[last], "application/octet-stream")
                elif self.path.startswith("/v2/private/"):
                    self.give(b'{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}', "application/json", 403)
                else:
                    self.give(b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}', "application/json", 404)

            do_HEAD = do_GET

            def give(self, body, kind, status=200):
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Docker-Content-Digest", Registry.digest(body))
                self.end_headers()
                if self.command == "HEAD":
                    return
                half = len(body) // 2 if len(body) > 1 << 20 else len(body)
                try:
                    self.wfile.write(body[:half])
                    if half < len(body) and go.wait(60):
                        self.wfile.write(body[half:])
                except OSError:
                    pass  # the engine gave up

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.host = f"127.0.0.1:{self.server.server_address[1]}"

    @staticmethod
    def digest(data):
        return f"sha256:{hashlib.sha256(data).hexdigest()}"

    def stop(self):
        self.go.set()
        self.server.shutdown()
        self.server.server_close()


def engine_with_image():
    e = Engine()
    try:
        make_image(e.tmp / "image.tar")
        e.load(e.tmp / "image.tar")
    except BaseException:
        e.stop()
        raise
    return e
