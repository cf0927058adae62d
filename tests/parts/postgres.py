"""A private PostgreSQL for tests: on a unix socket in a directory of its own, ended by its pid."""

import os
import pathlib
import pwd
import shutil
import subprocess
import tempfile


class Missing(Exception):
    """There is no PostgreSQL server here; the text says how to get one."""


def bindir():
    for d in sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (d / "initdb").exists():
            return d
    raise Missing("no PostgreSQL server is installed (Debian: apt-get install postgresql)")


def unprivileged():
    """What to run the server as: it refuses root."""
    if os.geteuid() != 0:
        return {}
    try:
        u = pwd.getpwnam("postgres")
    except KeyError:
        u = pwd.getpwnam("nobody")
    return {"user": u.pw_uid, "group": u.pw_gid, "extra_groups": []}


class Postgres:
    def __init__(self, settings=""):
        self.settings = settings  # more of "-c name=value"
        self.bin = bindir()
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="assay-pg-", dir="/var/tmp"))
        self.dir.chmod(0o755)  # others connect: the data below is closed by itself
        self.who = unprivileged()
        if self.who:
            os.chown(self.dir, self.who["user"], self.who["group"])

    def run(self, *args, **kw):
        return subprocess.run([str(a) for a in args], cwd=self.dir, capture_output=True, text=True,
                              env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}, **self.who, **kw)

    def __enter__(self):
        a = self.run(self.bin / "initdb", "-D", self.dir / "data", "-U", "assay", "-A", "trust", "-E", "UTF8", "--no-sync")
        assert a.returncode == 0, a.stderr
        self.start()
        return self

    def start(self):
        a = self.run(self.bin / "pg_ctl", "-D", self.dir / "data", "-w", "-l", self.dir / "log", "-o",
                     f"-c listen_addresses='' -c unix_socket_directories={self.dir} -c fsync=off {self.settings}", "start")
        assert a.returncode == 0, a.stdout + a.stderr

    def stop(self, mode="immediate"):
        self.run(self.bin / "pg_ctl", "-D", self.dir / "data", "-m", mode, "-w", "stop")

    @property
    def dsn(self):
        return f"postgresql:///postgres?host={self.dir}&user=assay"

    def __exit__(self, *exc):
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def sql(self, text):
        return self.run(self.bin / "psql", "-h", self.dir, "-U", "assay", "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-qAt",
                        input=text)
