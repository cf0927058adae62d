"""Known verdicts at full load: none is wrong, none was hidden by a second try, and nothing is left.

Clients keep more submissions open than the server has slots: programs of five languages, each of every verdict, some
with a source that nobody sent before (a build, a miss of the cache) and some as they were sent before (a hit), Python
both forked from a warm interpreter and executed.  A ledger outside notes what each must get.  At the end each has that
verdict, from the first lease (fence 1, attempt 1, no interruption, no test run again), one result, one score and
one "submission.done" event, and the machine is as it was before (residue.py).

    ASSAY_MIXED=3000 ASSAY_SEED=7 python3 tests/chaos/test_mixed.py test_mixed_submissions_in_native_boxes

A seed deals the same submissions again, numbered as before; which of them meet in time is the machine's.  ASSAY_MIXED_FRESH=0.1
makes a tenth as many sources new, for a long run that is to be about judging and not about compilers; ASSAY_MIXED_SECONDS
ends the dealing after that time, and the run is then about those that were sent, whose number it says.
"""

import collections
import os
import pathlib
import random
import re
import sqlite3
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "e2e"), str(HERE.parent / "hostile")]

import drivers  # noqa: E402
import harness  # noqa: E402
from harness import Api, Skip, night, program, wait_for  # noqa: E402

NIGHT = os.environ.get("ASSAY_NIGHT") == "1"
COUNT = max(100, int(os.environ.get("ASSAY_MIXED", "30000" if NIGHT else "150")))  # fewer are no mixture
SEED = int(os.environ.get("ASSAY_SEED", str(random.SystemRandom().randrange(1 << 30))))
FRESH = float(os.environ.get("ASSAY_MIXED_FRESH", "1"))
SECONDS = float(os.environ.get("ASSAY_MIXED_SECONDS", "inf"))
SLOTS = os.cpu_count() or 1
CLIENTS = 4 * SLOTS  # each waits for its verdict: a slot that becomes free finds work
PATIENCE = 600       # seconds until a submission that was accepted must have ended, behind CLIENTS others

# ending: language, comment, weight, share of sources that nobody sent before. The weights hold the costs of a build down.
LANGUAGES = {"c": ("c", "//", 8, 0.5), "py": ("python", "#", 8, 0.5), "cpp": ("cpp", "//", 3, 0.3), "java": ("java", "//", 2, 0.3),
             "go": ("go", "//", 2, 0.3)}
# program: verdict, weight
PROGRAMS = {"right": ("OK", 6), "wrong": ("WA", 4), "crashing": ("RE", 3), "uncompilable": ("BF", 3), "flooding": ("OL", 2),
            "hungry": ("ML", 1), "spinning": ("TL", 1), "sleeping": ("TL", 1)}

# The verdict is decided by CPU time, which a crowd stretches only as far as caches and sibling threads are shared: the
# limits are several times what the programs need. Wall time is stretched by as much as there are others, so its limit is
# beyond any queue for a processor; but a program that sleeps ends by it alone, and whatever the load it is never early.
# Below a memory limit of 64 MiB a warm interpreter does not have the stack of an executed one, so there Python is executed.
TIGHT = {"time_limit_ms": 1000, "wall_limit_ms": 120000, "output_limit_bytes": 16384, "process_limit": 64}
BENCHMARKS = {
    "forked": {**TIGHT, "memory_limit_bytes": 128 << 20},
    "executed": {**TIGHT, "memory_limit_bytes": 48 << 20},
    "managed": {**TIGHT, "memory_limit_bytes": 256 << 20, "time_limit_ms": 3000},  # a JVM's start, a collector short of memory
    "asleep": {**TIGHT, "memory_limit_bytes": 256 << 20, "time_limit_ms": 500, "wall_limit_ms": 500},
}
TESTS = [{"input": "10 -5 7\n", "expected_output": "12\n"}, {"input": "2147483647 2147483647 2\n", "expected_output": "4294967296\n"}]

Sent = collections.namedtuple("Sent", "number name ending benchmark verdict fresh")


def deal(count, seed):
    """The submissions, in order: each language with each program once and the rest by weight, shuffled."""
    rng = random.Random(seed)
    pairs = [(name, ending) for name in PROGRAMS for ending in LANGUAGES]
    weights = [PROGRAMS[name][1] * LANGUAGES[ending][2] for name, ending in pairs]
    dealt = (pairs + rng.choices(pairs, weights, k=max(0, count - len(pairs))))[:count]
    rng.shuffle(dealt)
    sent = []
    for number, (name, ending) in enumerate(dealt):
        chosen = rng.choice(["forked", "executed"])
        benchmark = "asleep" if name == "sleeping" else "managed" if ending in ("java", "go") else chosen
        sent.append(Sent(number, name, ending, benchmark, PROGRAMS[name][0], rng.random() < FRESH * LANGUAGES[ending][3]))
    return sent


class Ledger:
    def __init__(self, sent):
        self.lock = threading.Lock()
        self.todo = collections.deque(sent)
        self.sent, self.until = 0, time.monotonic() + SECONDS
        self.accepted = {}  # submission id -> Sent
        self.refused = 0
        self.broken = []
        self.busy = []      # samples of the share of slots that have a job

    def client(self, server):
        api, signed_in = server.login(), time.monotonic()
        api.timeout = PATIENCE
        try:
            while True:
                with self.lock:
                    if not self.todo or self.broken or time.monotonic() > self.until:
                        return
                    sent = self.todo.popleft()
                    self.sent += 1
                if time.monotonic() - signed_in > 1800:  # a token lives an hour, which a long run outlasts
                    api.token, signed_in = server.login().token, time.monotonic()
                self.submit(api, sent)
        except BaseException as e:  # noqa: B902 - a thread's end must be seen by the test
            with self.lock:
                self.broken.append(f"{type(e).__name__}: {e}")

    def submit(self, api, sent):
        language, comment, _, _ = LANGUAGES[sent.ending]
        source = program(f"{sent.name}.{sent.ending}") + (f"{comment} {SEED} {sent.number}\n" if sent.fresh else "")
        body = {"benchmark_id": sent.benchmark, "agent_id": "ada", "language": language, "source": source}
        # asked again under one key when the server has too much to do, which is its right
        while (a := api.call("POST", "/submissions?wait=60", body, headers={"Idempotency-Key": f"m-{sent.number}"})).status in (429, 503):
            with self.lock:
                self.refused += 1
            time.sleep(0.1)
        assert a.status in (200, 202), f"{sent}: {a}"
        with self.lock:
            assert a.json["id"] not in self.accepted, f"{a.json['id']} is the answer to two submissions"
            self.accepted[a.json["id"]] = sent
        if a.status == 202:
            wait_for(f"{a.json['id']} {sent}", lambda: api.get(f"/submissions/{a.json['id']}").json["status"] in
                     ("done", "error", "cancelled"), PATIENCE, 0.1)

    def watch(self, port, threads):
        """Until all have ended: what every client waits for must be the slots."""
        while any(t.is_alive() for t in threads):
            busy = metric(port, "assay_runner_slots_busy")
            with self.lock:
                if self.todo and time.monotonic() < self.until:
                    self.busy.append(busy / SLOTS)
            time.sleep(0.5)


def metric(port, name):
    text = Api(port).get("/metrics").body.decode()
    return sum(float(v) for v in re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.M))


def ready(server):
    """The admin, when every language is offered and what is made ahead for it is there."""
    admin = server.login()
    admin.timeout = 120
    names = {language for language, *_ in LANGUAGES.values()}

    def settled():
        known = {i["name"]: i for i in admin.get("/languages").json["items"]}
        return known if all(i["state"] != "testing" for i in known.values()) else None
    known = wait_for("the languages' self-tests", settled, 240)
    missing = {n: known[n]["reason"] for n in sorted(names) if not known[n]["offered"]}
    assert not missing, missing
    if admin.get("/runners").json["items"][0]["features"]["shared_artefacts"]:
        def made():
            lines = [line for line in server.log_text().splitlines() if "language_warm" in line or "warm_failed" in line]
            return all(any(name in line for line in lines) for name in ("cpp", "java"))
        wait_for("what is made ahead for C++ and Java", made, 300, 0.2)
    admin.post("/agents", {"id": "ada", "name": "Ada"}, expect=201)
    for name, limits in BENCHMARKS.items():
        admin.post("/benchmarks", {"id": name, "name": name, "compare": "tokens", "feedback": "full", "stop_on_failure": True,
                                   "limits": limits, "tests": TESTS}, expect=201)
    for _ in range(2 * SLOTS):  # each slot has had a box before what there is is counted
        admin.post("/submissions?wait=60", {"benchmark_id": "forked", "agent_id": "ada", "language": "c", "source": program("right.c")},
                   expect=200)
    return admin


def wrong_answers(admin, accepted):
    """What the API says of each submission that it should not."""
    wrong, forked, cached = [], 0, 0
    for sid, sent in accepted.items():
        s, r = admin.get(f"/submissions/{sid}").json, admin.get(f"/results/{sid}", expect=(200, 404)).json
        if (s["status"], s["verdict"], r.get("verdict")) != ("done", sent.verdict, sent.verdict):
            wrong.append(f"{sid} {sent}: {s['status']} {s['verdict']}: {str(r)[:1500]}")
            continue
        ran = [t for t in r["tests"] if t["verdict"] != "-"]
        if s["attempts"] != 1 or any(t["reruns"] for t in ran):
            wrong.append(f"{sid} {sent}: tried again: {s} {str(r)[:1500]}")
        # all pass, or those before the last; which of the tests a wrong program fails is its own affair
        passed = len(TESTS) if sent.verdict == "OK" else max(0, len(ran) - 1)
        last = [] if sent.verdict in ("OK", "BF") else [sent.verdict]
        if [t["verdict"] for t in ran] != ["OK"] * passed + last or s["score"] != 100 * passed / len(TESTS):
            wrong.append(f"{sid} {sent}: score {s['score']}, tests {[t['verdict'] for t in r['tests']]}")
        if sent.ending == "py" and ran:
            forked += r["sandbox"]["warm"]
            if sent.benchmark == "executed" and r["sandbox"]["warm"]:
                wrong.append(f"{sid} {sent}: was to be executed, and was forked")
        cached += bool(r["build_cached"])
    return wrong, forked, cached


def wrong_rows(data, accepted):
    """What the store has of each submission that it should not."""
    db = sqlite3.connect(f"file:{data}/assay.db?mode=ro", uri=True)
    try:
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        ours = "benchmark_id IN ({})".format(", ".join(f"'{b}'" for b in BENCHMARKS))
        odd = db.execute(f"SELECT id, state, verdict, fence, attempts, interruptions, reason FROM submissions WHERE {ours} AND"
                         " (state <> 'done' OR fence <> 1 OR attempts <> 1 OR interruptions <> 0 OR reason IS NOT NULL)").fetchall()
        odd += db.execute(f"SELECT submission_id, fence, fault FROM runner_results WHERE {ours} AND (fence <> 1 OR fault <> '')").fetchall()
        odd += db.execute("SELECT submission_id, number, fence, reruns FROM runner_tests WHERE fence <> 1 OR reruns <> 0").fetchall()
        odd += db.execute(f"SELECT submission_id, attempt FROM scoring_scores WHERE {ours} AND attempt <> 1").fetchall()
        odd += db.execute("SELECT subject, topic FROM assay_events WHERE topic IN ('submission.queued', 'submission.cancelled')").fetchall()
        odd += db.execute("SELECT * FROM assay_dead_letters").fetchall()
        once = {"results": f"SELECT submission_id, verdict FROM runner_results WHERE {ours}",
                "scores": f"SELECT submission_id, verdict FROM scoring_scores WHERE {ours}",
                "done events": "SELECT subject, NULL FROM assay_events WHERE topic = 'submission.done'"}
        for what, query in once.items():
            rows = db.execute(query).fetchall()
            count = collections.Counter(sid for sid, _ in rows)
            odd += [(what, sid, count[sid]) for sid in accepted if count[sid] != 1]
            odd += [(what, sid, verdict) for sid, verdict in rows if verdict and sid in accepted and verdict != accepted[sid].verdict]
        return odd
    finally:
        db.close()


# what the look at the store must find, each in a row of its own
PLANTED = ["UPDATE submissions SET interruptions = 1 WHERE id = :id", "UPDATE submissions SET fence = 2 WHERE id = :id",
           "UPDATE submissions SET attempts = 2 WHERE id = :id", "DELETE FROM runner_results WHERE submission_id = :id",
           "UPDATE scoring_scores SET verdict = 'IE' WHERE submission_id = :id", "DELETE FROM assay_events WHERE subject = :id",
           "INSERT INTO assay_events SELECT NULL, at_ms, id, topic, subject, owner, benchmark, payload FROM assay_events WHERE subject = :id",
           "UPDATE runner_tests SET reruns = 1 WHERE submission_id = (SELECT MAX(submission_id) FROM runner_tests)"]


def planted(data, accepted):
    found = 0
    for sid, statement in zip(accepted, PLANTED):
        db = sqlite3.connect(data / "assay.db")
        db.execute(statement, {"id": sid})
        db.commit()
        db.close()
        before, found = found, len(wrong_rows(data, accepted))
        assert found > before, f"not seen: {statement}"


def mixed(driver):
    missing = driver.missing()
    if missing:
        raise Skip(missing)
    print(f"# seed {SEED}, {COUNT} submissions by {CLIENTS} clients on {SLOTS} slots", flush=True)
    try:
        # a build's limit, as a program's, must not be in a crowd's reach
        server = driver.start({"ASSAY_BUILD_TIME_LIMIT": "120s", "RUNNER_MAX_PARALLEL": str(SLOTS), "ASSAY_WARM": "true"})
        server.wait_ready(120)
        admin = ready(server)
        residue = driver.residue(server)
        before = residue.left()
        assert not before, before
        pids = {server.process.pid, *server.children().values()}
        earlier = {s["id"] for s in admin.all("/submissions?benchmark_id=forked")}

        ledger, started = Ledger(deal(COUNT, SEED)), time.monotonic()
        threads = [threading.Thread(target=ledger.client, args=(server,), daemon=True) for _ in range(CLIENTS)]
        for t in threads:
            t.start()
        ledger.watch(server.port, threads)
        seconds = time.monotonic() - started
        accepted, broken = ledger.accepted, ledger.broken
        if broken:  # what was judged until then is looked at all the same
            wrong, *_ = wrong_answers(server.login(), accepted)
            raise AssertionError(f"a client gave up after {len(accepted)}, of which {len(wrong)} are wrong: {broken[:3]} {wrong[:3]}")
        count = ledger.sent
        assert len(accepted) == count, f"{len(accepted)} of {count} were accepted"
        assert count == COUNT or seconds >= SECONDS, f"{count} of {COUNT} were sent"
        busy = sum(ledger.busy) / max(1, len(ledger.busy))

        admin = server.login()
        wait_for("scores of all", lambda: scored(admin) >= count + len(earlier), 120, 0.5)
        wrong, forked, cached = wrong_answers(admin, accepted)
        verdicts = collections.Counter(s.verdict for s in accepted.values())
        print(f"# {count} in {seconds:.1f} s, {count / seconds:.1f} a second, {ledger.refused} asked to wait; slots busy {busy:.0%}; "
              f"{dict(sorted(verdicts.items()))}; {cached} from the build cache; Python: {forked} forked of "
              f"{sum(s.ending == 'py' and s.verdict != 'BF' for s in accepted.values())}", flush=True)
        assert not wrong, f"{len(wrong)} of {count} (seed {SEED}):\n" + "\n".join(wrong[:5])
        seen = [s["id"] for b in BENCHMARKS for s in admin.all(f"/submissions?benchmark_id={b}")]
        assert sorted(seen) == sorted({*accepted, *earlier}), "another set of submissions than was sent"
        # the mixture was one
        assert cached and cached < count, f"{cached} of {count} builds came from the cache"
        assert busy > 0.8, f"the slots were busy for {busy:.0%} of the time: that is no full load"
        left = residue.left()
        assert not left, left
        assert {server.process.pid, *server.children().values()} == pids, "a process of the server was replaced"
        assert metric(server.port, "assay_runner_warden_deaths_total") == 0, "a warden died"
        assert server.stop() == 0
        odd = wrong_rows(server.data, accepted)
        assert not odd, f"{len(odd)} rows (seed {SEED}): {odd[:5]}"
        planted(server.data, accepted)
    except BaseException:
        for line in [l for l in driver.log_text().splitlines() if re.search('"level":"(warn|error)"', l) and '"event":"request"' not in l][-20:]:
            print("#", re.sub(r"[^\x20-\x7e]", "?", line)[:400], flush=True)
        raise
    finally:
        driver.stop()


def scored(admin):
    return sum(len(admin.all(f"/scores?benchmark_id={b}")) for b in BENCHMARKS)


def test_mixed_submissions_in_native_boxes():
    mixed(drivers.Native())


@night  # by day the residue of 200 mixed submissions in containers is looked at, and their verdicts with it (tests/hostile/run.py)
def test_mixed_submissions_in_docker_boxes():
    mixed(drivers.Docker())


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
