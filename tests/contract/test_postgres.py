"""Every migration runs, and every statement prepares, on a real PostgreSQL: the SQL stays portable.

Starts a private PostgreSQL on a unix socket and ends it by its pid.
"""

import json
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "parts"))
import harness  # noqa: E402
from harness import PREFIX, ROOT, Skip  # noqa: E402
from postgres import Missing, Postgres  # noqa: E402

BUILD = pathlib.Path(os.environ.get("ASSAY_BUILD", ROOT / "build" / "gcc"))
TYPES = {"t": "text", "i": "bigint", "r": "double precision", "b": "bytea"}


def portable_sql():
    tool = BUILD / "tests" / "contract" / "dump_sql"
    plugins = sorted(str(p) for p in (PREFIX / "lib" / "assay" / "plugins").glob("assay_*.so"))
    a = subprocess.run([str(tool), *plugins], capture_output=True, text=True)
    assert a.returncode == 0, a.stderr
    # drivers speak their own engine's SQL
    return [p for p in json.loads(a.stdout)["plugins"] if not p["name"].startswith("store_")]


def test_migrations_and_statements_prepare_on_postgresql():
    try:
        server = Postgres()
    except Missing as why:
        raise Skip(str(why))
    with server as pg:
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
    try:
        server = Postgres()
    except Missing as why:
        raise Skip(str(why))
    with server as pg:
        assert pg.sql("PREPARE s(text) AS SELECT $1 FROM no_such_table;").returncode != 0
        assert pg.sql("PREPARE s(bigint) AS SELECT $1 + 1;").returncode == 0


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
