"""What protects a server from its callers, and them from each other: rate limits, headers, sign-in, keys."""

import base64
import json
import os
import pwd
import signal
import sys

import harness
from harness import ADMIN_PASSWORD, Server, wait_for


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


def server_uid():
    try:
        return pwd.getpwnam("assay").pw_uid
    except KeyError:
        return 65534


def kid(api):
    head = api.token.split(".")[0]
    return json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))["kid"]


def test_signing_keys_follow_one_another_without_a_restart():
    s = Server(env={"APP_ENV": "production", "ASSAY_ADMIN_PASSWORD": ADMIN_PASSWORD})
    try:
        file = s.data.parent / "keys"

        def keys(*lines):
            file.write_text("\n".join(lines) + "\n")
            file.chmod(0o600)
            if os.geteuid() == 0:  # the server then becomes somebody else
                os.chown(file, server_uid(), -1)
        first, second = "k1 " + "1" * 20 + "a" * 20, "k2 " + "2" * 20 + "b" * 20
        keys("# the first signs", first)
        s.env["JWT_SECRETS_FILE"] = str(file)
        s.start()
        old = s.login()
        assert kid(old) == "k1"
        keys(second, first)

        def reload(word, times):
            s.process.send_signal(signal.SIGHUP)
            wait_for(word, lambda: s.log_text().count(word) >= times, 10)
        reload("signing_keys_reloaded", 1)
        new = s.login()
        assert kid(new) == "k2" and old.get("/me").status == 200
        # what is wrong with the file is said, and changes nothing
        keys("short")
        reload("signing_keys_not_reloaded", 1)
        keys(second)
        file.chmod(0o644)
        reload("signing_keys_not_reloaded", 2)
        assert kid(s.login()) == "k2" and old.get("/me").status == 200
        keys(second)
        reload("signing_keys_reloaded", 2)
        wait_for("the first key's tokens to be refused", lambda: old.call("GET", "/me").status == 401, 5)
        assert new.get("/me").status == 200
        for line in s.log_text().splitlines():
            assert "1" * 20 + "a" not in line and "2" * 20 + "b" not in line, "a secret in the log"
        # the same by options, over a restart
        s.stop()
        del s.env["JWT_SECRETS_FILE"]
        s.env.update({"JWT_SIGNING_SECRET": "3" * 40 + "c", "JWT_PREVIOUS_SECRETS": f"{second.split()[1]},{'4' * 40}d"})
        s.start()
        assert s.login().get("/me").status == 200
    finally:
        s.close()


def test_weak_secrets_end_the_start_outside_development():
    strong = "5" * 40 + "e"
    for env, word in (({"JWT_SIGNING_SECRET": "dev-secret"}, "dev-secret"), ({"JWT_SIGNING_SECRET": "x" * 31}, "at least 32"),
                      ({"JWT_SIGNING_SECRET": "changeme" * 5}, "everybody knows"), ({"JWT_SIGNING_SECRET": strong, "JWT_PREVIOUS_SECRETS": "short"}, "at least 32"),
                      ({"JWT_PREVIOUS_SECRETS": strong}, "jwt_signing_secret"), ({"JWT_SECRETS_FILE": "/nowhere/keys"}, "jwt_secrets_file"),
                      ({"JWT_SIGNING_SECRET": strong, "JWT_PREVIOUS_SECRETS": strong}, "two signing keys")):
        for app_env in ("test", "staging", "production"):
            s = Server(env={"APP_ENV": app_env, **env})
            try:
                s.spawn()
                assert s.process.wait(60) != 0, env
                assert word in s.log_text(), (env, s.log_text()[-1500:])
            finally:
                s.close()
            if word != "dev-secret":
                break


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
