"""What protects a server from its callers, and them from each other: rate limits, headers, sign-in, keys."""

import sys

import harness
from harness import Server


def make_server():
    return Server(args=["--rate-limit-exempt="], env={"ASSAY_TRUSTED_PROXIES": "127.0.0.1",
        "ASSAY_RATE_LIMITS": "address:languages_list=3/1h, account:agents_list=4/1m, agent:agents_list=2/1h, address=100000/1m"})


def items(header):
    """{policy: {parameter: number}} of a structured field's list."""
    out = {}
    for item in header.split(", "):
        name, *parameters = item.split(";")
        out[name.strip('"')] = {k: int(v) for k, v in (p.split("=") for p in parameters)}
    return out


def test_limits_hold_by_account_agent_and_address(server):
    admin = server.login()
    a = admin.get("/agents")
    assert items(a.headers["ratelimit-policy"]) == {"address/1m": {"q": 100000, "w": 60}, "account:agents_list/1m": {"q": 4, "w": 60}}, a.headers
    left = items(a.headers["ratelimit"])["account:agents_list/1m"]
    assert left == {"r": 3, "t": 15}, left
    for _ in range(3):
        last = admin.get("/agents")
    assert items(last.headers["ratelimit"])["account:agents_list/1m"]["r"] == 0
    refused = admin.call("GET", "/agents", expect=429)
    assert 1 <= int(refused.headers["retry-after"]) <= 15 and "account" in refused.json["detail"], refused
    assert refused.headers["content-type"] == "application/problem+json" and refused.json["type"] == "urn:assay:problem:rate_limited", refused
    admin.get("/benchmarks")  # another route
    user = server.register("ada")
    user.get("/agents")  # another account

    # an agent has a bound of its own, within its owner's
    user.post("/agents", {"id": "bot"}, expect=201)
    bot = server.api(user.post("/agents/bot/tokens", {}, expect=201).json["token"])
    assert "agent:agents_list/1h" in items(bot.get("/agents").headers["ratelimit"])
    bot.get("/agents")
    assert "agent" in bot.call("GET", "/agents", expect=429).json["detail"]
    assert user.call("GET", "/agents").status == 429  # three of its agent's tries, the refused one too, and one of its own

    # addresses, as a trusted proxy tells them; an IPv6 client has its whole /64
    def ask(address):
        return server.api().call("GET", "/languages", headers={"X-Forwarded-For": address})
    assert [ask("192.0.2.7").status for _ in range(4)] == [200, 200, 200, 429]
    assert ask("192.0.2.8").status == 200
    assert [ask(f"2001:db8:5:6::{i}").status for i in range(1, 5)] == [200, 200, 200, 429]
    assert ask("2001:db8:5:7::1").status == 200
    assert int(ask("192.0.2.7").headers["retry-after"]) > 600
    assert server.metric('assay_http_limited_total{policy="address:languages_list/1h"}') >= 3
    assert "ratelimit" not in server.api().get("/healthz").headers


def test_every_answer_is_harmless_to_a_browser(server):
    admin = server.login()
    for path, status in (("/", 200), ("/me", 200), ("/swagger.json", 200), ("/nothing", 404), ("/healthz", 200)):
        h = admin.call("GET", path, expect=status).headers
        assert h["x-content-type-options"] == "nosniff" and h["x-frame-options"] == "DENY" and h["referrer-policy"] == "no-referrer", (path, h)
        assert h["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'", (path, h)
        assert h["cross-origin-resource-policy"] == "same-origin" and h["cache-control"], (path, h)


def test_a_wrong_rule_ends_the_start():
    for rules, word in (("account=5", "account=5"), ("account:fly=1/1s", "fly"), ("mars=1/1s", "mars")):
        s = Server(env={"ASSAY_RATE_LIMITS": rules})
        try:
            s.spawn()
            assert s.process.wait(60) != 0
            assert "rate_limits" in s.log_text() and word in s.log_text(), s.log_text()[-2000:]
        finally:
            s.close()


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
