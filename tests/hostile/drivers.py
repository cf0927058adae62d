"""How the server under test is started: what differs between the sandbox drivers, and nothing else."""

import os
import secrets

import test_nonroot
from harness import PREFIX, Server, Skip
from residue import Residue


class Native:
    """Boxes on this machine, over its own /usr; each run of the tests has a range of users of its own."""

    def __init__(self):
        self.uid_base = 100_000_000 + secrets.randbelow(10_000) * 10_000
        self.server = None

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
    """Boxes in containers of the engine that DOCKER_HOST names."""

    def missing(self):
        if not (PREFIX / "lib" / "assay" / "plugins" / "sandbox_docker.so").exists():
            return "the plugin sandbox_docker is not part of this install"
        return None


DRIVERS = {"native": Native, "ordinary": Ordinary, "docker": Docker}
