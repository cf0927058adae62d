"""A private S3 for tests: Ceph's radosgw over one monitor and one store in memory, on loopback, ended by their pids.

It verifies signatures, and is the real thing; it takes some ten seconds and half a gigabyte of memory to start, so
that it is for the night.  Debian: apt-get install --no-install-recommends radosgw ceph-mon ceph-osd ceph-common
"""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid

KEY, SECRET = "AKIDRADOSGW", "a-secret-of-radosgw"

CONF = """[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon2},v1:127.0.0.1:{mon1}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd crush chooseleaf type = 0
mon data avail warn = 1
mon warn on pool no redundancy = false
mon allow pool size one = true
mon osd min up ratio = 0
mon max pg per osd = 1000
run dir = {d}/run
admin socket = {d}/run/$name.asok
log file = {d}/log/$name.log
keyring = {d}/keyring
crash dir = {d}/log
[mon.a]
mon data = {d}/mon
[osd.0]
osd data = {d}/osd
osd objectstore = memstore
memstore device bytes = 512M
[client.rgw]
ms mon client mode = crc
keyring = {d}/keyring
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw enable usage log = false
rgw enable gc threads = false
rgw enable lc threads = false
rgw dns name = localhost
rgw run sync thread = false
"""


class Missing(Exception):
    """It cannot run here; the text says what is missing."""


def free_ports(n):
    held = [socket.socket() for _ in range(n)]
    for s in held:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


class Radosgw:
    bucket = "blobs"

    def __init__(self):
        for p in ("radosgw", "ceph-mon", "ceph-osd", "ceph", "monmaptool", "ceph-authtool", "radosgw-admin"):
            if not shutil.which(p):
                raise Missing(f"{p} is not installed (Debian: apt-get install --no-install-recommends radosgw ceph-mon ceph-osd ceph-common)")
        self.processes = []

    def run(self, *args, check=True):
        a = subprocess.run([str(x) for x in args], env=self.own, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
        assert not check or a.returncode == 0, f"{args}: {(a.stderr or a.stdout)[-1000:]}"
        return a.stdout

    def spawn(self, *args):
        self.processes.append(subprocess.Popen([str(x) for x in args], env=self.own, stdin=subprocess.DEVNULL,
                                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.__exit__()
            raise

    def start(self):
        d = self.dir = pathlib.Path(tempfile.mkdtemp(prefix="assay-rgw-", dir="/var/tmp"))
        for part in ("mon", "osd", "log", "run"):
            (d / part).mkdir()
        mon2, mon1, port = free_ports(3)
        fsid, osd = str(uuid.uuid4()), str(uuid.uuid4())
        (d / "ceph.conf").write_text(CONF.format(fsid=fsid, mon1=mon1, mon2=mon2, port=port, d=d))
        self.own = {"PATH": "/usr/sbin:/usr/bin:/bin", "CEPH_CONF": str(d / "ceph.conf"), "HOME": str(d)}
        key = d / "keyring"
        self.run("ceph-authtool", "--create-keyring", key, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
        self.run("ceph-authtool", key, "--gen-key", "-n", "client.admin", "--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *")
        self.run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{mon2},v1:127.0.0.1:{mon1}]", d / "monmap")
        self.run("ceph-mon", "--mkfs", "-i", "a", "--monmap", d / "monmap", "--keyring", key)
        self.spawn("ceph-mon", "-f", "-i", "a")
        self.run("ceph", "osd", "new", osd, "0")
        self.run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)  # the same id, or its boot is passed over without a word
        self.spawn("ceph-osd", "-f", "-i", "0")
        self.run("ceph", "osd", "crush", "add", "osd.0", "1", "root=default", check=False)
        self.until("the store", lambda: "1 up" in self.run("ceph", "osd", "stat"))
        with open(key, "a", encoding="ascii") as f:
            f.write(self.run("ceph", "auth", "get-or-create", "client.rgw", "mon", "allow *", "osd", "allow *", "mgr", "allow *"))
        self.spawn("radosgw", "-f", "-n", "client.rgw")
        self.url = f"http://127.0.0.1:{port}"
        self.until("radosgw", self.answers)
        self.run("radosgw-admin", "user", "create", "--uid=assay", "--display-name=assay", f"--access-key={KEY}", f"--secret={SECRET}")
        a = subprocess.run(["curl", "-sS", "-f", "-X", "PUT", "--aws-sigv4", "aws:amz:us-east-1:s3", "-u", f"{KEY}:{SECRET}", "-H",
                            "x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", f"{self.url}/{self.bucket}"],
                           capture_output=True, text=True, timeout=60)
        assert a.returncode == 0, a.stderr
        return self

    def answers(self):
        try:
            urllib.request.urlopen(self.url, timeout=2).read()
            return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False

    def until(self, what, predicate, timeout=120):
        end = time.monotonic() + timeout
        while not predicate():
            assert time.monotonic() < end, f"waited {timeout} s for {what}"
            time.sleep(0.2)

    def __exit__(self, *exc):
        for p in reversed(self.processes):
            p.send_signal(signal.SIGKILL)
            p.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    @property
    def env(self):
        return {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": self.url}
