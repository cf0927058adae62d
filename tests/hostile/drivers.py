"""How the server under test is started: what differs between the sandbox drivers, and nothing else."""

import importlib
import os
import secrets
import subprocess

import test_nonroot
from harness import PREFIX, ROOT, Server, Skip
from residue import Residue, read


class Native:
    """Boxes on this machine, over its own /usr; each run of the tests has a range of users of its own."""

    def __init__(self):
        self.uid_base = 100_000_000 + secrets.randbelow(10_000) * 10_000
        self.server = self.engine = None

    def missing(self):
        return None

    def start(self, env):
        self.server = Server(env={**env, "ASSAY_SANDBOX": "native", "ASSAY_BOX_UID_BASE": str(self.uid_base)})
        return self.server.spawn()

    def residue(self, server):
        # an ordinary user's boxes run as that user: there the tree of namespaces alone tells them apart
        uids = range(self.uid_base, self.uid_base + 10_000) if os.geteuid() == 0 else range(0)
        return Residue(server, uids)

    def stop(self):
        if self.server:
            self.server.stop()
            self.server.close()

    def log_text(self):
        return self.server.log_text() if self.server else ""


class Ordinary(Native):
    """The same without root: user namespaces, and whatever cgroup the user was given, which may be none."""

    def missing(self):
        try:
            test_nonroot.need()
        except Skip as why:
            return str(why)
        return None

    def start(self, env):
        self.server = test_nonroot.ordinary()
        self.server.env.update({**env, "ASSAY_SANDBOX": "native"})
        return self.server.spawn()

    def residue(self, server):
        return Residue(server, range(0))


class Docker(Native):
    """Boxes in containers of an engine of the test's own, from the image of all languages. Every container's user is the
    same on the machine, so programs are told by the tree of namespaces."""

    IMAGE = "assay-hostile/languages:1"

    def missing(self):
        if not (PREFIX / "lib" / "assay" / "plugins" / "assay_sandbox_docker.so").exists():
            return "the plugin sandbox_docker is not part of this install"
        made = subprocess.run([str(ROOT / "tests" / "images" / "rootfs.sh"), "--tar", "languages"], stdout=subprocess.PIPE, check=False)
        if made.returncode == 77:
            return "the image of all languages cannot be built here"
        assert made.returncode == 0, f"tests/images/rootfs.sh ended with {made.returncode}"
        try:
            self.engine = importlib.import_module("engine").Engine()
        except Skip as why:
            return str(why)
        self.engine.load(made.stdout.decode().strip(), self.IMAGE)
        return None

    def start(self, env):
        self.server = Server(env={**env, "ASSAY_SANDBOX": "docker", "DOCKER_HOST": self.engine.host, "ASSAY_DOCKER_IMAGE": self.IMAGE})
        return self.server.spawn()

    def processes(self):
        """The engine's: what names its folder on the command line. The parents of containers are nobody's children."""
        mine = str(self.engine.tmp).encode()
        return [int(pid) for pid in filter(str.isdigit, os.listdir("/proc")) if mine in read(f"/proc/{pid}/cmdline").encode()]

    def ended(self):
        """Containers that have ended and are still there: those that run are wardens, warm or at work."""
        return [f"{c['Id'][:12]} {c['State']}" for c in self.engine.containers() if c["State"] not in ("running", "created")]

    def residue(self, server):
        return Residue(server, range(0), self.processes, self.ended)

    def stop(self):
        try:
            super().stop()
            left = [c["Id"] for c in self.engine.containers()] if self.engine else []
            assert not left, f"containers outlive the server: {left}"
        finally:
            if self.engine:
                self.engine.stop()


DRIVERS = {"native": Native, "ordinary": Ordinary, "docker": Docker}
