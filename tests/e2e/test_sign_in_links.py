"""Signing in by a mailed link, through a small SMTP server of the test's own, and through the log in development."""

import re
import socket
import sys
import threading
import time

import harness
from harness import ADMIN_PASSWORD, Server, free_port, wait_for

PASSWORD = "a-long-enough-password"


class Smtp(threading.Thread):
    """Takes mail as RFC 5321 says and keeps it; refuses addresses that begin with refused."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port, self.mail, self.said = self.listener.getsockname()[1], [], []

    def run(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.talk, args=(s,), daemon=True).start()

    def talk(self, s):
        with s, s.makefile("rb") as lines:
            s.settimeout(20)
            to = None
            s.sendall(b"220 test\r\n")
            for line in lines:
                word = line.strip().decode()
                self.said.append(word)
                verb = word[:4].upper()
                if verb == "EHLO":
                    s.sendall(b"250-test\r\n250 8BITMIME\r\n")
                elif verb == "RCPT":
                    to = re.search("<(.*)>", word).group(1)
                    s.sendall(b"550 no such box\r\n" if to.startswith("refused") else b"250 ok\r\n")
                elif verb == "DATA":
                    s.sendall(b"354 go on\r\n")
                    text = b""
                    for piece in lines:
                        if piece == b".\r\n":
                            break
                        text += piece[1:] if piece.startswith(b"..") else piece
                    self.mail.append((to, text.decode()))
                    s.sendall(b"250 taken\r\n")
                elif verb == "QUIT":
                    s.sendall(b"221 bye\r\n")
                    return
                else:
                    s.sendall(b"250 ok\r\n")

    def close(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)  # also ends an accept that waits
        except OSError:
            pass
        self.listener.close()


def person(server, login, email):
    return server.api().post("/register", {"login": login, "password": PASSWORD, "email": email}, expect=201).json["id"]


def opened_by_scanners(anyone, link):
    """As programs that look through mail open links: nothing is used up, by HEAD whatever it says it takes, by GET as a browser or as a tool."""
    token = link.split("=")[1]
    for method, accept in (("HEAD", "application/json"), ("HEAD", "*/*"), ("HEAD", ""), ("GET", "text/html,application/xhtml+xml,*/*;q=0.8"),
                           ("GET", "*/*"), ("GET", ""), ("GET", "text/html, application/json")):
        a = anyone.call(method, link, headers={"Accept": accept}, expect=303)
        assert a.headers["location"] == f"../#/link/{token}" and a.headers["cache-control"] == "no-store" and not a.body, a
    # what is not one of ours goes into no header
    for bad in ("asl_none", "asl_" + "0" * 63 + "G", "asl_" + "0" * 64 + "%0d%0aX:1", "javascript:alert(1)"):
        a = anyone.call("GET", f"/auth/verify?token={bad}", headers={"Accept": "text/html"}, expect=401)
        assert "location" not in a.headers, a


def test_a_mailed_link_signs_in_once():
    smtp = Smtp()
    smtp.start()
    port = free_port()
    server = Server(port=port, env={"APP_ENV": "production", "ASSAY_REGISTRATION": "open", "SMTP_URL": f"smtp://127.0.0.1:{smtp.port}", "SMTP_TLS": "off",
                                    "MAIL_FROM": "assay@example.org", "PUBLIC_URL": "https://assay.example.org"})
    try:
        server.start()
        anyone = server.api()
        uid = person(server, "ada", "Ada@example.com")
        answer = anyone.post("/auth/request", {"email": "ada@Example.com"}, expect=202)
        assert answer.json == {"status": "accepted", "expires_in": 900}, answer
        wait_for("the mail", lambda: smtp.mail, 20)
        to, text = smtp.mail[0]
        head, body = text.split("\r\n\r\n", 1)
        assert to == "ada@example.com" and "From: <assay@example.org>" in head and "Subject: Sign in" in head and "Message-ID: <" in head, text
        link = re.search(r"https://assay\.example\.org(/auth/verify\?token=asl_[0-9a-f]{64})\r\n", body).group(1)
        opened_by_scanners(anyone, link)
        tokens = anyone.get(link).json
        assert tokens["user"]["id"] == uid and tokens["refresh_token"], tokens
        ada = server.api(tokens["access_token"])
        assert ada.get("/me").json["id"] == uid
        # once, and only as it was made
        used = anyone.call("GET", link, expect=401)
        assert "used or has expired" in used.json["detail"], used
        anyone.call("GET", link[:-1] + ("0" if link[-1] != "0" else "1"), expect=401)
        anyone.call("GET", "/auth/verify?token=x", expect=401)
        anyone.call("GET", "/auth/verify", expect=400)
        assert link.split("token=")[1] not in server.log_text(), "a token in the log"

        # nobody learns who has an account: one answer for all, and mail for those who have one
        same = anyone.post("/auth/request", {"email": "nobody@example.com"}, expect=202)
        assert same.json == answer.json
        person(server, "off", "off@example.com")
        admin = server.login()
        off = next(u["id"] for u in admin.get("/users").json["items"] if u["login"] == "off")
        admin.patch(f"/users/{off}", {"disabled": True})
        assert anyone.post("/auth/request", {"email": "off@example.com"}, expect=202).json == answer.json
        wait_for("both to be passed over", lambda: server.log_text().count("sign_in_link_not_sent") == 2, 10)
        assert len(smtp.mail) == 1

        # three links at a time; using one ends the others
        for _ in range(5):
            anyone.post("/auth/request", {"email": "ada@example.com"}, expect=202)
        wait_for("three mails more", lambda: len(smtp.mail) == 4 and server.log_text().count("sign_in_link_not_sent") == 4, 20)
        links = [re.search(r"(/auth/verify\S+)", t).group(1) for _, t in smtp.mail[1:]]
        assert len(set(links)) == 3
        for wrong in ({}, {"token": ""}, {"token": 5}, {"token": links[1], "more": 1}):
            anyone.call("POST", "/auth/verify", wrong, expect=400)
        anyone.call("POST", "/auth/verify", {"token": "asl_none"}, expect=401)
        used = anyone.post("/auth/verify", {"token": links[1].split("=")[1]}, expect=200)
        assert used.json["user"]["id"] == uid and used.headers["cache-control"] == "no-store", used
        anyone.call("POST", "/auth/verify", {"token": links[1].split("=")[1]}, expect=401)
        for other in (links[0], links[2]):
            anyone.call("GET", other, expect=401)

        # an address that asks too often waits, whatever it asks for
        statuses = [anyone.call("POST", "/auth/request", {"email": f"x{i}@example.com"}) for i in range(12)]
        assert {a.status for a in statuses} == {202, 429} and int(statuses[-1].headers["retry-after"]) >= 1
        anyone.call("POST", "/auth/request", {"email": "no address"}, expect=400)
        anyone.call("POST", "/auth/request", {"email": "a@b\r\nRCPT TO:<c@d>"}, expect=400)
        assert not any("c@d" in line for line in smtp.said)
    finally:
        server.close()
        smtp.close()


def test_a_mail_server_that_refuses_or_is_away_is_said_and_hurts_nobody():
    smtp = Smtp()
    smtp.start()
    server = Server(env={"SMTP_URL": f"smtp://127.0.0.1:{smtp.port}", "SMTP_TLS": "off", "MAIL_FROM": "assay@example.org", "PUBLIC_URL": "http://127.0.0.1"})
    try:
        server.start()
        person(server, "ada", "refused@example.com")
        server.api().post("/auth/request", {"email": "refused@example.com"}, expect=202)
        wait_for("the refusal", lambda: "sign_in_link_failed" in server.log_text(), 20)
        smtp.close()
        person(server, "bob", "bob@example.com")
        server.api().post("/auth/request", {"email": "bob@example.com"}, expect=202)
        wait_for("the silence", lambda: server.log_text().count("sign_in_link_failed") == 2, 40)
        assert server.login().get("/me").status == 200
    finally:
        server.close()
        smtp.close()


def test_in_development_the_link_is_in_the_log_and_expires():
    server = Server(env={"ASSAY_SIGN_IN_LINK_TTL": "2s"})
    try:
        server.start()
        person(server, "ada", "ada@example.com")

        def link(n):
            server.api().post("/auth/request", {"email": "ada@example.com"}, expect=202)
            return wait_for("the link", lambda: re.findall(rf"http://{re.escape(server.address)}:{server.port}(/auth/verify\?token=asl_[0-9a-f]+)", server.log_text())[n - 1:], 10)[0]
        first = link(1)
        time.sleep(2.1)
        server.api().call("GET", first, expect=401)
        assert server.api().get(link(2)).json["token"]
    finally:
        server.close()


def test_without_mail_there_are_no_links_outside_development():
    server = Server(env={"APP_ENV": "production", "ASSAY_ADMIN_PASSWORD": ADMIN_PASSWORD})
    try:
        server.start()
        assert server.api().call("POST", "/auth/request", {"email": "admin@example.com"}).status == 501
    finally:
        server.close()
    for env, word in (({"SMTP_URL": "smtp://127.0.0.1:1"}, "public_url"), ({"SMTP_URL": "http://x", "PUBLIC_URL": "http://x"}, "smtp://"),
                      ({"SMTP_URL": "smtp://127.0.0.1:1", "PUBLIC_URL": "http://x"}, "mail_from"), ({"PUBLIC_URL": "assay.example.org"}, "public_url")):
        server = Server(env=env)
        try:
            server.spawn()
            assert server.process.wait(60) != 0 and word in server.log_text(), (env, server.log_text()[-1500:])
        finally:
            server.close()


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
