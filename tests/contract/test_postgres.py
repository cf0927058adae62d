"""Every migration runs, and every statement prepares, on a real PostgreSQL: the SQL stays portable.

Starts a private PostgreSQL on a unix socket and ends it by its pid.
"""

import json
import os
import pathlib
import pwd
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import harness  # noqa: E402
from harness import PREFIX, ROOT, Skip  # noqa: E402

BUILD = pathlib.Path(os.environ.get("ASSAY_BUILD", ROOT / "build" / "gcc"))
TYPES = {"t": "text", "i": "bigint", "r": "double precision", "b": "bytea"}


def bindir():
    for d in sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (d / "initdb").exists():
            return d
    raise Skip("no PostgreSQL server is installed (Debian: apt-get install postgresql)")


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
    def __init__(self):
        self.bin = bindir()
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="assay-pg-", dir="/var/tmp"))
        self.who = unprivileged()
        if self.who:
            os.chown(self.dir, self.who["user"], self.who["group"])

    def run(self, *args, **kw):
        return subprocess.run([str(a) for a in args], cwd=self.dir, capture_output=True, text=True,
                              env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}, **self.who, **kw)

    def __enter__(self):
        a = self.run(self.bin / "initdb", "-D", self.dir / "data", "-U", "assay", "-A", "trust", "-E", "UTF8", "--no-sync")
        assert a.returncode == 0, a.stderr
        a = self.run(self.bin / "pg_ctl", "-D", self.dir / "data", "-w", "-l", self.dir / "log", "-o",
                     f"-c listen_addresses='' -c unix_socket_directories={self.dir} -c fsync=off", "start")
        assert a.returncode == 0, a.stdout + a.stderr
        return self

    def __exit__(self, *exc):
        self.run(self.bin / "pg_ctl", "-D", self.dir / "data", "-m", "immediate", "stop")
        shutil.rmtree(self.dir, ignore_errors=True)

    def sql(self, text):
        return self.run(self.bin / "psql", "-h", self.dir, "-U", "assay", "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-qAt",
                        input=text)


def portable_sql():
    tool = BUILD / "tests" / "contract" / "dump_sql"
    plugins = sorted(str(p) for p in (PREFIX / "lib" / "assay" / "plugins").glob("assay_*.so"))
    a = subprocess.run([str(tool), *plugins], capture_output=True, text=True)
    assert a.returncode == 0, a.stderr
    # drivers speak their own engine's SQL
    return [p for p in json.loads(a.stdout)["plugins"] if not p["name"].startswith("store_")]


def test_migrations_and_statements_prepare_on_postgresql():
    with Postgres() as pg:
        plugins = portable_sql()
        faults, statements = [], 0
        for p in plugins:
            for m in p["migrations"]:
                a = pg.sql("BEGIN;\n" + m["sql"] + ";\nCOMMIT;")
                if a.returncode:
                    faults.append(f"{p['name']}: migration {m['number']}: {a.stderr.strip()}")
        for p in plugins:
            for s in p["statements"]:
                statements += 1
                sql = s["sql"].replace("/*+skip_locked*/", "FOR UPDATE SKIP LOCKED")
                types = ", ".join(TYPES[c] for c in s["params"])
                a = pg.sql(f"PREPARE s{f'({types})' if types else ''} AS {sql};")
                if a.returncode:
                    faults.append(f"{s['name']}: {a.stderr.strip()}\n{sql}")
        assert not faults, "\n".join(faults)
        assert statements > 50, f"only {statements} statements were found"
        print(f"# {statements} statements of {len(plugins)} plugins prepared")


def test_a_faulty_statement_would_be_seen():
    with Postgres() as pg:
        assert pg.sql("PREPARE s(text) AS SELECT $1 FROM no_such_table;").returncode != 0
        assert pg.sql("PREPARE s(bigint) AS SELECT $1 + 1;").returncode == 0


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
