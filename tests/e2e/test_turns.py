"""Whose turn it is among benchmarks: one runner's slot, two benchmarks, a death in between; the same of two gateways on PostgreSQL."""

import sys

from harness import Api, Server, Skip, main, wait_for
from test_events import open_stream

sys.path.insert(0, str(__import__("pathlib").Path(__file__).resolve().parents[1] / "parts"))
from postgres import Missing, Postgres  # noqa: E402

ONE = "echo 3\n"
SLACK = 2  # what a runner leases ahead of its slot, and one that was on its way


def publish(admin, name, **more):
    return admin.post("/benchmarks", {"id": name, "name": name, "visibility": "public", "feedback": "full",
                                      "limits": {"time_limit_ms": 5000, "wall_limit_ms": 200000},
                                      "tests": [{"input": "", "expected_output": "3\n", "sample": True}], **more}, expect=201).json


def item(benchmark, agent, source=ONE):
    return {"benchmark_id": benchmark, "agent_id": agent, "language": "bash", "source": source}


def fill(api, benchmark, agent, n):
    a = api.post("/submissions/batch", {"items": [item(benchmark, agent)] * n}, expect=200).json
    assert all(i["status"] == 202 for i in a["items"]), a
    return [i["submission"]["id"] for i in a["items"]]


def hold(*apis):
    """Takes each one's slot, and what a runner leases ahead of it, so that what comes meanwhile waits; gives what lets them go."""
    sids = [api.post("/submissions", item("big", "ada", "sleep 180\necho 3\n"), expect=202).json["id"] for api in apis for _ in range(2)]
    for sid in sids:
        wait_for("it to run", lambda sid=sid: apis[0].get(f"/submissions/{sid}").json["status"] == "running", 60)
    return lambda: [apis[0].post(f"/submissions/{sid}/cancel", expect=(200, 202)) for sid in sids]


def ended(server, api, ids, timeout=180):
    """The ids in the order in which they ended, each once and well."""
    done = [server.wait_done(api, i, timeout) for i in ids]
    assert all(s["verdict"] == "OK" for s in done), [s for s in done if s["verdict"] != "OK"]
    return [s["id"] for s in sorted(done, key=lambda s: s["finished_at"])]


def position(api, sid):
    """How many are ahead, as its stream tells."""
    s = open_stream(api, f"/submissions/{sid}/events")
    while True:
        e = s.next()
        assert e is not None, "the stream ended without a position"
        if e[1] == "position":
            return e[2]["ahead"]


def world(server):
    admin = server.login()
    admin.post("/agents", {"id": "ada"}, expect=201)
    grace = server.register("grace")
    grace.post("/agents", {"id": "grace"}, expect=201)
    assert publish(admin, "big")["priority"] == 10
    publish(admin, "small")
    return admin, grace


def again(api, server):
    return Api(server.port, api.token)


def test_one_of_another_benchmark_waits_for_few_and_a_death_changes_nothing():
    server = Server(env={"RUNNER_MAX_PARALLEL": "1"})
    try:
        server.start()
        admin, grace = world(server)
        go = hold(admin)
        big = fill(admin, "big", "ada", 50)
        small = [grace.post("/submissions", item("small", "grace"), expect=202).json["id"] for _ in range(3)]
        told = [position(grace, s) for s in small]
        assert told in ([0, 2, 4], [1, 3, 5]), told
        # the last of the fifty is as far back as it is
        assert position(admin, big[-1]) == 52
        go()
        wait_for("the first", lambda: grace.get(f"/submissions/{small[0]}").json["status"] == "done", 60)
        server.kill()
        server.start()
        admin, grace = again(admin, server), again(grace, server)
        late = [grace.post("/submissions", item("small", "grace"), expect=202).json["id"]]
        order = ended(server, admin, big + small + late)
        place = [order.index(s) for s in small]
        assert all(p <= 2 * k + 1 + SLACK for k, p in enumerate(place)), place
        assert order.index(late[0]) < len(order) - 30, f"the late one was number {order.index(late[0])} of {len(order)}"
    finally:
        server.close()


def test_turns_go_by_priority_within_the_bound_of_owners():
    server = Server(env={"RUNNER_MAX_PARALLEL": "1", "ASSAY_BENCHMARK_PRIORITY_MAX": "20"})
    try:
        server.start()
        admin, grace = world(server)
        # who may set it: its owner up to the bound, an admin above it too
        users = {u["login"]: u["id"] for u in admin.get("/users?limit=100").json["items"]}
        admin.patch(f"/users/{users['grace']}", {"role": "instructor"})
        grace = server.login("grace", "a-long-enough-password")
        assert publish(grace, "hers", priority=20)["priority"] == 20
        for bad, why in ((21, "benchmark_priority_max"), (0, ""), (101, ""), ("10", ""), (1.5, ""), (None, "")):
            a = grace.call("PATCH", "/benchmarks/hers", {"priority": bad})
            assert a.status == 400 and a.json["errors"][0]["pointer"] == "/priority" and why in a.json["errors"][0]["detail"], a
        assert grace.call("POST", "/benchmarks", {"id": "more", "priority": 50}).status == 400
        assert grace.patch("/benchmarks/hers", {"priority": 1}).json["priority"] == 1
        assert admin.patch("/benchmarks/hers", {"priority": 100}).json["priority"] == 100
        # what an admin has set stays when its owner changes something else, and comes back from no one but an admin
        assert grace.patch("/benchmarks/hers", {"name": "Hers", "priority": 100}).json["priority"] == 100
        assert grace.call("PATCH", "/benchmarks/hers", {"priority": 99}).status == 400
        assert grace.get("/benchmarks/hers").json["priority"] == 100
        assert next(b for b in grace.get("/benchmarks").json["items"] if b["id"] == "hers")["priority"] == 100

        go = hold(admin)
        big, hers = fill(admin, "big", "ada", 30), fill(admin, "hers", "ada", 30)
        admin.patch("/benchmarks/hers", {"priority": 30})  # counts for what waits already
        wait_for("the count", lambda: server.metric('assay_submissions_waiting{priority="high"}') > 20, 20, 0.3)
        assert server.metric('assay_submissions_waiting{priority="normal"}') >= 29
        assert server.metric('assay_submissions_longest_wait_seconds{priority="high"}') > 0
        go()
        order = ended(server, admin, big + hers)
        share = sum(s in hers for s in order[:24])
        assert 18 - SLACK <= share <= 18 + SLACK, f"{share} of the first 24 had three times the priority"
        assert sum(s in big for s in order[:24]) >= 4, "nobody is starved"
        wait_for("the count", lambda: server.metric("assay_submissions_waiting") == 0, 20, 0.3)
    finally:
        server.close()


def test_two_gateways_on_postgresql_share_the_turns():
    try:
        pg = Postgres()
    except Missing as why:
        raise Skip(str(why))
    with pg:
        env = {"STORAGE_DSN": pg.dsn, "RUNNER_MAX_PARALLEL": "1", "JWT_SIGNING_SECRET": "the same for both gateways, and long enough"}
        one, two = Server(env=env), Server(env=env)
        two.env["ASSAY_BLOB_DIR"] = one.env["ASSAY_BLOB_DIR"] = str(one.data / "blobs")
        try:
            one.start()
            two.start()
            admin, grace = world(one)
            go = hold(admin, again(admin, two))
            big = fill(admin, "big", "ada", 40)
            apis = [grace, again(grace, two)]
            small = [apis[k % 2].post("/submissions", item("small", "grace"), expect=202).json["id"] for k in range(6)]
            told = [position(apis[k % 2], s) for k, s in enumerate(small)]
            assert told in ([0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11]), told
            go()
            wait_for("the first", lambda: grace.get(f"/submissions/{small[0]}").json["status"] == "done", 60)
            two.kill()
            two.start()
            order = ended(one, admin, big + small)
            place = [order.index(s) for s in small]
            # what the killed one had in its hands, two at most, comes back when it is there again
            late = [p for k, p in enumerate(place) if p > 2 * k + 1 + 2 * SLACK]
            assert len(late) <= 2, place
            # weights hold across gateways
            go = hold(admin, again(admin, two))
            admin.patch("/benchmarks/small", {"priority": 30})
            big, small = fill(admin, "big", "ada", 30), fill(again(admin, two), "small", "ada", 30)
            go()
            order = ended(one, admin, big + small)
            share = sum(s in small for s in order[:24])
            assert 18 - 2 * SLACK <= share <= 18 + 2 * SLACK, f"{share} of the first 24 had three times the priority"
        finally:
            one.close()
            two.close()


if __name__ == "__main__":
    main(sys.modules[__name__])
