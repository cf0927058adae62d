"""The real server on a real PostgreSQL: the same verdicts, and what becomes of work when the database is restarted."""

import os
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "parts"))
from harness import FIXTURES, PREFIX, Server, Skip, main, program, wait_for  # noqa: E402
import sharing  # noqa: E402
from postgres import Missing, Postgres  # noqa: E402

PG = None


def make_server():
    """PostgreSQL over TCP with a password, since the server gives root up and peers are strangers to it."""
    global PG
    if not (PREFIX / "lib" / "assay" / "plugins" / "assay_store_postgres.so").exists():
        raise Skip("the PostgreSQL store was not built: libpq was not there (Debian: libpq-dev)")
    try:
        PG = Postgres()
    except Missing as why:
        raise Skip(str(why))
    PG.__enter__()
    return Server(env={"STORAGE_DSN": PG.dsn})


def submissions(languages):
    for line in (FIXTURES / "demo" / "submissions.tsv").read_text().splitlines():
        if not line.startswith("#") and line.split("\t")[1] in languages:
            yield line.split("\t")[1:]


def send(admin, language, file):
    a = admin.post("/submissions", {"benchmark_id": "sum-integers", "agent_id": "ada", "language": language, "source": program(file)},
                   expect=202)
    return a.json["id"]


def test_the_demo_gets_its_verdicts(server):
    admin = server.login()
    server.demo(admin)
    sent = [(send(admin, language, file), file, verdict) for language, file, verdict in submissions(["c", "python"])]
    for sid, file, verdict in sent:
        s = server.wait_done(admin, sid, timeout=120)
        assert s["verdict"] == verdict, (file, s)
    board = wait_for("the board", lambda: admin.get("/leaderboard?benchmark_id=sum-integers").json["items"], 20)
    assert board[0]["agent_id"] == "ada" and board[0]["score"] == 100, board
    assert not (server.data / "assay.db").exists(), "a SQLite file was made all the same"


def test_a_restart_of_the_server_finds_everything(server):
    before = server.login().get("/submissions?limit=100").json["items"]
    server.stop()
    server.start()
    assert server.login().get("/submissions?limit=100").json["items"] == before


def test_a_restart_of_the_database_loses_nothing(server):
    admin = server.login()
    sent = [send(admin, "c", "right.c") for _ in range(10)]
    PG.stop()  # as by a crash: without a word to anybody

    def refused():
        a = admin.call("POST", "/submissions", {"benchmark_id": "sum-integers", "agent_id": "ada", "language": "c", "source": "x"})
        return a if a.status == 503 else None
    answer = wait_for("a write to be refused", refused, 30)
    assert "retry-after" in answer.headers, answer
    wait_for("/readyz to say why", lambda: server.api().call("GET", "/readyz").status == 503, 30)
    PG.start()
    wait_for("/readyz to be well again", lambda: server.api().call("GET", "/readyz").status == 200, 60)
    for sid in sent:
        s = server.wait_done(admin, sid, timeout=120)
        assert s["status"] == "done" and s["verdict"] == "OK", s


def test_a_dump_and_a_backup_of_the_blobs_make_the_same_server(server):
    """As docs/operating.md says: pg_dump, then assayd backup, beside the running server; and the way back into another database."""
    admin = server.login()
    before = {s["id"]: s for s in admin.get("/submissions?limit=100").json["items"]}
    results = {i: admin.get(f"/results/{i}").json for i in list(before)[:10]}
    tests = admin.get("/benchmarks/sum-integers/problems").json
    dump = PG.run(PG.bin / "pg_dump", "--format=custom", "--file=assay.dump", PG.dsn)
    assert dump.returncode == 0, dump.stderr
    folder = server.tmp / "backup"
    assayd = str(PREFIX / "bin" / "assayd")
    a = subprocess.run([assayd, "backup", str(folder)], env=server.env, capture_output=True, text=True, timeout=120)
    assert a.returncode == 0 and "the database (store_postgres) is not in it" in a.stderr, a
    assert PG.run(PG.bin / "createdb", "-h", PG.dir, "-U", "assay", "again").returncode == 0
    dsn = PG.dsn.replace("/postgres?", "/again?")
    a = PG.run(PG.bin / "pg_restore", "--dbname", dsn, "assay.dump")
    assert a.returncode == 0, a.stderr
    other = Server(env={"STORAGE_DSN": dsn}, name="again", data=server.tmp / "again")
    try:
        a = subprocess.run([assayd, "restore", str(folder)], env=other.env, capture_output=True, text=True, timeout=120)
        assert a.returncode == 0, a
        other.start()
        again = other.login()
        assert {s["id"]: s for s in again.get("/submissions?limit=100").json["items"]} == before
        assert {i: again.get(f"/results/{i}").json for i in results} == results
        assert again.get("/benchmarks/sum-integers/problems").json == tests
        sid = send(again, "c", "right.c")
        assert other.wait_done(again, sid, timeout=120)["verdict"] == "OK"
    finally:
        other.close()


def test_three_servers_share_a_database_and_a_killed_ones_work_is_done_by_the_others(server):
    server.stop()
    silence_s, sent = 3, {}
    env = {"STORAGE_DSN": PG.dsn, "ASSAY_INSTANCE_SILENCE": f"{silence_s}s", "RUNNER_MAX_PARALLEL": "2",
           "ASSAY_BLOB_DIR": str(server.data / "blobs")}
    three = [Server(env=env, name=f"server-{i}") for i in range(3)]
    try:
        for s in three:
            s.spawn()
        for s in three:
            s.wait_ready(120)
        admin = three[0].login()
        admin.post("/benchmarks", {"id": "shared", "name": "Shared", "visibility": "public", "feedback": "full",
                                   "tests": [{"input": "1 2\n", "expected_output": "3\n"}]}, expect=201)

        def submit(ids, seconds):
            for i in ids:
                sent[admin.post("/submissions", {"benchmark_id": "shared", "agent_id": "ada", "language": "python",
                                                 "source": sharing.program(i, seconds)}, expect=202).json["id"]] = i

        def answers():
            items = [s for s in admin.all("/submissions?benchmark_id=shared") if s["status"] not in ("queued", "running")]
            return {sent[s["id"]]: [s["verdict"]] for s in items}
        # the first is asked, so it is not the one that is killed
        sharing.three_then_two(three, submit, answers, silence_s, spare=three[:1])
        assert len(admin.all("/results?benchmark_id=shared")) == len(sent)
    finally:
        for s in three:
            s.close()


def test_gateways_on_one_database_keep_one_bound(server):
    """Each knows what the others have taken as of its last count, every two seconds: then the bound holds for all of them."""
    server.stop()
    env = {"STORAGE_DSN": PG.dsn, "ASSAY_ONLY": "auth,agents,benchmarks,submissions", "ASSAY_BOXKEEPER": "false", "ASSAY_QUEUE_MAX": "30"}
    gateways = [Server(env=env, name=f"gateway-{i}") for i in range(2)]

    def waiting(gateway):
        text = gateway.api().get("/metrics").body.decode()
        said = re.search(r'^assay_submissions_open\{state="queued"\} (\d+)', text, re.M)
        return int(said.group(1)) if said else None  # it has not counted yet
    try:
        one, two = [g.start().login() for g in gateways]
        for _ in range(20):
            send(one, "c", "right.c")
        wait_for("the other's count", lambda: waiting(gateways[1]) == 20, 60, 0.2)
        for _ in range(10):
            send(two, "c", "right.c")
        body = {"benchmark_id": "sum-integers", "agent_id": "ada", "language": "c", "source": "x"}
        full = two.call("POST", "/submissions", body)
        assert (full.status, full.json["bound"]) == (503, "queue_max"), full
        wait_for("the first one's count", lambda: waiting(gateways[0]) == 30, 60, 0.2)
        full = one.call("POST", "/submissions", body)
        assert (full.status, full.json["bound"]) == (503, "queue_max"), full
        # a place that one gives up is the other's after its next count
        first = one.get("/submissions?status=queued&limit=1").json["items"][0]["id"]
        one.post(f"/submissions/{first}/cancel", expect=200)
        wait_for("a place at the other", lambda: two.call("POST", "/submissions", body).status == 202, 60, 0.2)
    finally:
        for g in gateways:
            g.close()


def test_the_older_variables_name_the_database(server):
    """The last of the file: it ends the database as well."""
    server.stop()
    second = Server(env={"DB_HOST": str(PG.dir), "DB_USERNAME": "assay", "DB_NAME": "postgres"}, data=server.data)
    try:
        second.start()
        assert second.login().get("/submissions?limit=1").json["items"]
        second.stop()
    finally:
        second.close()
        PG.__exit__(None, None, None)


if __name__ == "__main__":
    main(sys.modules[__name__])
