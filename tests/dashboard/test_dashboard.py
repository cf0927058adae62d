"""The dashboard in a headless Chromium on a real server: each page, each flow, by what people see and press.

After each test the browser must have seen no error on its console, no violation of the content-security policy and no request to
anywhere but the server.  Screenshots are left in build/dashboard/screenshots; `ASSAY_DOCS_SHOTS=1` puts those that the
documentation shows into docs/.
"""

import functools
import io
import json
import os
import pathlib
import re
import shutil
import sys
import tempfile
import time
import urllib.request
import zipfile

from browser import ROOT, SHOTS, Browser, By, Keys

sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import harness  # noqa: E402
from harness import ADMIN_PASSWORD, FIXTURES, Server, program, wait_for  # noqa: E402
from test_webhooks import Receiver, signed  # noqa: E402

PASSWORD = "a-long-enough-password"
DOCS = ("leaderboard", "submission", "project-feedback", "runners")
WRONG_PASSWORD = ["401 (Unauthorized)"]  # what the browser itself writes about an answer that a test wants


class World:
    """One server and two browsers for all tests of the file: an admin's and a student's."""

    def __init__(self, server):
        self.server = server
        self.base = f"http://127.0.0.1:{server.port}"
        self.admin = server.login()
        server.demo(self.admin)
        # samples of which the last are told apart from the first by their input, all of them run
        self.admin.post("/benchmarks", {"id": "steps", "name": "Steps", "feedback": "full", "description": "Print the double.", "tests": [
            {"input": f"{n}\n", "expected_output": f"{2 * n}\n", "sample": True} for n in (1, 2, 3)] + [{"input": "4\n", "expected_output": "8\n"}]}, expect=201)
        self.admin.post("/benchmarks", {"id": "patient", "name": "Patient", "limits": {"wall_limit_ms": 120000}, "tests": [{"input": "", "expected_output": ""}]}, expect=201)
        self.student = server.register("student", PASSWORD)
        self.browsers = {}
        self.files = pathlib.Path(tempfile.mkdtemp(prefix="assay-dashboard-", dir="/var/tmp"))

    def file(self, name, content):
        """A file for a page's file field; a dict is what a ZIP holds."""
        path = self.files / name
        if isinstance(content, dict):
            out = io.BytesIO()
            with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
                for n, text in content.items():
                    z.writestr(n, text)
            content = out.getvalue()
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    def judged(self, language, source, wait=60, benchmark="sum-integers"):
        """A submission of the student's first agent; with wait=0 it is not waited for."""
        agent = self.student.all(f"/agents?owner_id={self.student.get('/me').json['id']}")[0]["id"]
        return self.student.post(f"/submissions{f'?wait={wait}' if wait else ''}", {"benchmark_id": benchmark, "agent_id": agent, "language": language, "source": source}).json

    def browser(self, name):
        if name not in self.browsers:
            self.browsers[name] = Browser(self.base)
        return self.browsers[name]

    def close(self):
        for b in self.browsers.values():
            b.close()
        shutil.rmtree(self.files, ignore_errors=True)


WORLD = None


def make_server():
    shutil.rmtree(SHOTS, ignore_errors=True)  # pictures are this run's
    return Server(env={"RUNNER_MAX_PARALLEL": "2", "ASSAY_WEBHOOK_ALLOW": "127.0.0.1", "ASSAY_PROJECT_GRACE": "500ms"})


def in_browser(name):
    """Gives a test the world and a browser, and asks that browser for faults afterwards."""
    def decorate(test):
        @functools.wraps(test)
        def run(server):
            global WORLD
            if WORLD is None:
                WORLD = World(server)
            b = WORLD.browser(name)
            try:
                test(WORLD, b)
            except BaseException:
                b.shot(f"failed-{test.__name__}")
                raise
            faults = b.take()
            assert not faults, "\n".join(faults)
        del run.__wrapped__  # the harness asks how many parameters there are
        return run
    return decorate


def accessible(b, where):
    findings = b.axe()
    assert not findings, f"{where}:\n" + "\n".join(findings)


def sign_in(b, login, password):
    b.open("/")
    b.see("Sign in")
    b.fill("Login", login)
    b.fill("Password", password)
    b.click("button[type=submit]")


# ---- signing in -----------------------------------------------------------------------------------------


@in_browser("student")
def test_who_registers_is_signed_in_and_a_wrong_password_is_refused(w, b):
    b.open("/")
    b.see("Sign in")
    accessible(b, "sign in")
    b.shot("sign-in")
    b.fill("Login", "student")
    b.fill("Password", "not-the-password")
    b.click("button[type=submit]")
    b.find("[role=alert]")
    assert not [f for f in b.take(allowed=WRONG_PASSWORD)]
    b.click("button", "Make an account")
    b.see("Register")
    b.fill("Login", "newcomer")
    b.fill("Password", PASSWORD)
    b.click("button[type=submit]")
    b.see("Sum of integers")
    b.click("button", "Sign out")
    b.see("Sign in")
    assert b.run("return localStorage.getItem('assay.session')") is None
    sign_in(b, "student", PASSWORD)
    b.see("Sum of integers")
    # another page of the same browser has the session too, and so has this one when it is loaded again
    b.driver.refresh()
    b.see("Sum of integers")


@in_browser("student")
def test_a_mailed_link_signs_in_at_the_press_of_a_button(w, b):
    anyone = w.server.api()
    anyone.post("/register", {"login": "mailed", "password": PASSWORD, "email": "mailed@example.com"}, expect=201)

    def link():
        n = w.server.log_text().count("/auth/verify?token=asl_")
        anyone.post("/auth/request", {"email": "mailed@example.com"}, expect=202)
        wait_for("the link", lambda: w.server.log_text().count("/auth/verify?token=asl_") > n, 10)
        return re.findall(r"(/auth/verify\?token=asl_[0-9a-f]+)", w.server.log_text())[-1]
    first = link()
    for _ in range(2):  # looked at, and left: nothing is used up
        b.open(first)
        b.see("Sign in by the mailed link")
    accessible(b, "a mailed link")
    b.click("button[type=submit]")
    b.see("Sum of integers")
    b.see("mailed")
    assert b.run("return location.hash") == "#/benchmarks"
    b.open(first)
    b.see("Here mailed is signed in")
    b.click("button[type=submit]")
    assert "used or has expired" in b.find("[role=alert]").text
    assert not [f for f in b.take(allowed=WRONG_PASSWORD)]


@in_browser("student")
def test_an_access_token_that_is_no_longer_good_is_replaced(w, b):
    b.open("benchmarks")
    b.see("Sum of integers")
    b.run("const s = JSON.parse(localStorage['assay.session']); s.access = s.access.slice(0, -6) + 'AAAAAA'; localStorage['assay.session'] = JSON.stringify(s);")
    b.driver.refresh()
    b.see("Sum of integers")
    faults = b.take(allowed=WRONG_PASSWORD)
    assert not faults, faults
    b.run("localStorage['assay.session'] = JSON.stringify({access: 'x', refresh: 'y', user: {id: 'x', login: 'x', role: 'admin'}})")
    b.driver.refresh()
    b.see("Sign in")
    assert not b.take(allowed=WRONG_PASSWORD + ["400 (Bad Request)"])
    sign_in(b, "student", PASSWORD)
    b.see("Sum of integers")


# ---- benchmarks and submitting --------------------------------------------------------------------------


@in_browser("student")
def test_benchmarks_are_found_and_their_problems_read(w, b):
    b.open("benchmarks")
    b.see("Sum of integers")
    accessible(b, "benchmarks")
    b.fill("Filter by name", "nothing like it")
    b.see("None has “nothing like it”")
    b.fill("Filter by name", "sum")
    b.click("a", "Sum of integers")
    b.see("Expected output")
    b.see("small")
    accessible(b, "a benchmark")
    b.shot("benchmark")


@in_browser("student")
def test_a_program_is_written_submitted_and_watched_test_by_test(w, b):
    b.open("benchmarks/steps/submit")
    b.see("Who competes?")
    b.fill("Name of the agent", "Students")
    b.click("button", "Make the agent")
    b.labelled("Agent")
    b.choose("Language", "python")
    editor = b.wait("the editor", lambda: b.run("return document.querySelector('.editor').shadowRoot?.querySelector('.cm-content')"))
    accessible(b, "the editor")
    editor.click()
    b.keys("import time")
    b.keys(Keys.ENTER)
    b.keys("time.sleep(1.2)")
    b.keys(Keys.ENTER)
    b.keys("n = int(input())")
    b.keys(Keys.ENTER)
    b.keys("print(2 * n - (n > 2))")
    b.shot("submit")
    b.chord(Keys.CONTROL, Keys.ENTER)
    b.see("Live")
    # tests come one after the other, before the end
    first = b.wait("a first test", lambda: b.run("const c = document.querySelector('.chips li'); return c && document.querySelector('#live') && c.innerText"))
    assert "OK" in first, first
    b.shot("live")
    b.see("Results")
    b.see("WA wrong answer")
    b.see("Trace")
    # what was wanted beside what came
    b.find("tr.gone")
    b.find("tr.come")
    gone, come = b.find("tr.gone code").text, b.find("tr.come code").text
    assert (gone, come) == ("6", "5")
    assert b.all(".resource .bar")
    accessible(b, "a submission")
    b.shot("submission")
    # the draft is still there, to be mended
    b.click("a", "Submit another")
    b.wait("the draft", lambda: "time.sleep" in (b.run("return document.querySelector('.editor')?.shadowRoot?.querySelector('.cm-content')?.innerText") or ""))


@in_browser("student")
def test_a_file_is_opened_and_chooses_its_language(w, b):
    b.open("benchmarks/sum-integers/submit")
    b.labelled("Or open a file").send_keys(str(ROOT / "fixtures" / "demo" / "programs" / "right.c"))
    b.wait("the language", lambda: b.labelled("Language").get_attribute("value") == "c")
    b.wait("the text", lambda: "main" in (b.run("return document.querySelector('.editor').shadowRoot?.querySelector('.cm-content')?.innerText") or ""))
    b.click("button", "Submit")
    b.see("OK passed")


@in_browser("student")
def test_a_submission_is_cancelled_while_it_runs(w, b):
    made = w.judged("python", "import time\ntime.sleep(100)\n", wait=0, benchmark="patient")
    b.open(f"submissions/{made['id']}")
    b.see("Live")
    b.click("button", "Cancel")
    b.click("button", "Yes")
    b.wait("its end", lambda: b.all("h1 .status.cancelled"), 60)


HOSTILE = r'''import sys
sys.stdout.buffer.write(b"<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\n")
sys.stdout.buffer.write(b"\x1b[2J\x1b[31mred\x07\x00 \xe2\x80\xaetxt.exe \xe2\x80\x8b\xef\xbb\xbf end\n")
sys.stderr.write("javascript:alert(1) &lt;b&gt; </pre><h1>owned</h1>\n")
'''


@in_browser("student")
def test_output_of_programs_is_shown_harmlessly(w, b):
    made = w.judged("python", HOSTILE)
    b.open(f"submissions/{made['id']}")
    b.see("<img src=x onerror=")
    assert "owned" not in b.driver.title
    assert not b.all("main img") and not b.all("main pre script") and not b.all("main pre h1")
    text = b.find("pre[aria-label=Output]").text
    shown = [e.get_attribute("title") for e in b.all("pre[aria-label=Output] .ctl")]
    assert "ESC (U+001B)" in shown and "BEL (U+0007)" in shown and "NUL (U+0000)" in shown, shown
    assert "U+202E" in shown and "U+200B" in shown and "U+FEFF" in shown, shown
    assert "\u202e" not in text and "\u001b" not in text and "\u27e8ESC\u27e9[31mred\u27e8BEL\u27e9" in text, text
    accessible(b, "hostile output")
    b.shot("hostile-output")


@in_browser("student")
def test_output_that_is_no_text_is_shown_too(w, b):
    made = w.judged("python", "import sys\nsys.stdout.buffer.write(bytes(range(256)))\n")
    b.open(f"submissions/{made['id']}")
    b.see("not UTF-8")


@in_browser("student")
def test_what_a_compiler_says_is_shown(w, b):
    made = w.judged("c", program("uncompilable.c"))
    b.open(f"submissions/{made['id']}")
    b.see("BF build failed")
    b.see("The compiler said")


@in_browser("student")
def test_lists_are_filtered(w, b):
    b.open("submissions")
    b.see("WA")
    accessible(b, "submissions")
    b.choose("Verdict", "BF")
    b.wait("one row", lambda: len(b.all("tbody tr")) == 1 and "BF" in b.text())
    b.open("benchmarks/sum-integers/submissions")
    b.wait("rows", lambda: len(b.all("tbody tr")) > 2)


# ---- the board ------------------------------------------------------------------------------------------


@in_browser("student")
def test_the_board_has_intervals_and_plots_and_follows_what_happens(w, b):
    b.open("benchmarks/sum-integers/board")
    b.see("Students")
    b.find(".interval .scale")
    b.wait("the plot", lambda: b.all(".plot canvas"))
    b.click("summary", "As a table")
    b.see("Score on the board")
    accessible(b, "the board")
    assert "Ada" not in b.text()
    w.admin.post("/submissions?wait=60", {"benchmark_id": "sum-integers", "agent_id": "ada", "language": "c", "source": program("right.c")})
    b.see("Ada")  # by itself
    b.see("Difference of scores")
    b.shot("leaderboard")


# ---- agents and tokens ----------------------------------------------------------------------------------


@in_browser("student")
def test_agents_are_made_and_their_tokens_work_until_they_are_revoked(w, b):
    b.open("agents")
    b.see("Students")
    b.fill("Name", "Second")
    b.fill("Id (if you like)", "second-agent")
    b.click("button", "Make the agent")
    b.click("a", "Second")
    b.see("A new token")
    accessible(b, "an agent")
    b.fill("Name", "ci")
    b.fill("Good for days", "7")
    b.click("button", "Make the token")
    token = b.find("code.secret").text
    assert token.startswith("asy_")
    harness.Api(w.server.port, token).get("/benchmarks")
    b.shot("token")
    b.click("button", "I have it")
    assert token not in b.text()
    b.click("button", "Revoke")
    b.click("button", "Yes")
    b.see("It has no tokens yet.")
    wait_for("the token to be refused", lambda: harness.Api(w.server.port, token).get("/benchmarks", expect=None).status == 401)


@in_browser("student")
def test_pages_of_staff_are_not_there_for_others(w, b):
    for page in ("users", "runners", "rejudgings", "nothing-of-the-kind"):
        b.open(page)
        b.see("Nothing is here")
    assert "Users" not in b.find("nav").text


# ---- keys, themes, sizes --------------------------------------------------------------------------------


@in_browser("student")
def test_everything_is_reached_with_the_keyboard(w, b):
    b.open("benchmarks")
    b.see("Sum of integers")
    # a row is asked for while the rows are still on their way: the first of them gets the focus when they are there
    b.driver.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": False, "latency": 700, "downloadThroughput": -1, "uploadThroughput": -1})
    b.keys("g", "s")
    b.see("Look again")
    assert not b.all("main tbody tr"), "the rows were there before a row could be asked for"
    b.keys("j")
    first = b.wait("the first row to have the focus", lambda: b.focused().get_attribute("href"))
    b.driver.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1})
    rows = [e.get_attribute("href") for e in b.all("main tbody th a")]
    assert first == rows[0], (first, rows)
    b.keys("j")
    assert b.focused().get_attribute("href") == rows[1], rows
    b.keys("k", Keys.ENTER)
    b.wait("the first row's page", lambda: b.driver.current_url == first)
    b.keys("g", "b")
    b.see("Seen by")
    b.keys("/")
    assert b.focused().get_attribute("type") == "search"
    b.keys("xyz")
    b.see("None has “xyz”")
    b.run("document.activeElement.blur()")
    b.keys("?")
    b.find("dialog[open]")
    accessible(b, "the help")
    b.keys(Keys.ESCAPE)
    b.wait("the help to go", lambda: not b.all("dialog[open]"))
    # Tab reaches the first link of the navigation, by way of the skip link
    b.open("agents")
    b.driver.refresh()
    b.see("A new agent")
    b.keys(Keys.TAB)
    assert b.focused().text == "To the content"
    b.keys(Keys.ENTER)
    assert b.focused().get_attribute("id") == "main"
    # the editor does not keep the focus
    b.open("benchmarks/sum-integers/submit")
    editor = b.wait("the editor", lambda: b.run("return document.querySelector('.editor')?.shadowRoot?.querySelector('.cm-content')"))
    editor.click()
    b.keys(Keys.ESCAPE, Keys.TAB)
    b.wait("the focus to leave the editor", lambda: b.focused().tag_name != "div")
    # a question takes the focus to its answer, and gives it back
    b.open("agents/second-agent")
    button = b.find("button", "Make the token")
    button.send_keys(Keys.ENTER)
    b.find("code.secret")
    b.click("button", "I have it")
    b.find("button", "Revoke").send_keys(Keys.ENTER)
    assert b.focused().text == "Yes"
    b.keys(Keys.TAB, Keys.ENTER)
    b.wait("the focus to be back", lambda: b.focused().text == "Revoke")


PAGES = ("benchmarks", "benchmarks/sum-integers", "benchmarks/sum-integers/board", "benchmarks/sum-integers/submit", "benchmarks/sum-integers/manage",
         "benchmarks/sum-integers/problem/new", "benchmarks/new", "submissions", "projects", "projects/new", "webhooks", "agents", "runners", "users",
         "rejudgings", "account")


@in_browser("admin")
def test_every_page_is_accessible_in_both_themes_and_fits_a_telephone(w, b):
    sign_in(b, "admin", ADMIN_PASSWORD)
    b.see("Sum of integers")
    submission = w.admin.get("/submissions?benchmark_id=sum-integers&verdict=WA&limit=1").json["items"][0]["id"]
    for dark in (True, False):
        b.theme(dark)
        b.size(*((1280, 900) if dark else (390, 844)), mobile=not dark)
        for page in (*PAGES, f"submissions/{submission}"):
            b.open(page)
            b.wait(f"{page} to be loaded", lambda: b.all("main h1") and "loading…" not in b.text())
            accessible(b, f"{page}, {'dark' if dark else 'light, narrow'}")
            name = page.replace(submission, "one").replace("/", "-")
            b.shot(f"{'dark' if dark else 'phone'}-{name}")
            # a telephone makes its window as wide as the page: so the width that it should have is what is compared with
            wide = b.run("return document.documentElement.scrollWidth") - (1280 if dark else 390)
            assert wide <= 0, f"{page}: {wide} pixels too wide"
            assert b.driver.title.endswith(" · Assay"), f"{page}: its title is “{b.driver.title}”"
    b.size(1280, 900)
    # chosen by hand, against what the system says
    b.open("benchmarks")
    b.driver.refresh()
    b.see("Sum of integers")
    ground = "return getComputedStyle(document.body).backgroundColor"
    light = b.run(ground)
    b.click("button[aria-label='Colours: auto. Change to light']")
    b.click("button[aria-label='Colours: light. Change to dark']")
    dark = b.wait("another ground", lambda: b.run(ground) != light and b.run(ground))
    b.driver.refresh()
    b.wait("the choice to be kept", lambda: b.run(ground) == dark)
    b.click("button[aria-label='Colours: dark. Change to auto']")


# ---- staff ----------------------------------------------------------------------------------------------


@in_browser("admin")
def test_runners_pools_and_queue_are_seen_at_a_glance(w, b):
    b.open("runners")
    b.see("Pools of wardens")
    b.see("native")
    b.find(".slots .free, .slots .busy")
    b.see("Python 3")
    b.size(1100, 900)
    b.shot("runners", most=900)
    b.size(1280, 900)


@in_browser("admin")
def test_accounts_get_roles_and_are_disabled(w, b):
    b.open("users")
    b.see("newcomer")
    b.choose("Role of newcomer", "instructor")
    b.see("newcomer: is instructor now.")
    assert next(u for u in w.admin.all("/users?role=instructor") if u["login"] == "newcomer")
    row = b.wait("the row", lambda: next(r for r in b.all("tbody tr") if "newcomer" in r.text))
    row.find_element(By.XPATH, ".//button[text()='Disable']").click()
    b.click("button", "Yes")
    b.see("newcomer: is disabled.")
    w.server.api().post("/login", {"login": "newcomer", "password": PASSWORD}, expect=(401, 403))
    b.shot("users")


@in_browser("admin")
def test_a_board_is_frozen_and_thawed(w, b):
    b.open("benchmarks/sum-integers/manage")
    b.see("The board is open.")
    b.click("button", "Freeze it now")
    b.see("The board is frozen.")
    wait_for("the board to know", lambda: w.admin.get("/leaderboard?benchmark_id=sum-integers&view=public").json.get("frozen"))
    b.open("benchmarks/sum-integers/board")
    b.see("Frozen since")
    b.shot("frozen")
    b.open("benchmarks/sum-integers/manage")
    b.click("button", "Thaw it now")
    b.see("The board is open")
    wait_for("the board to know", lambda: not w.admin.get("/leaderboard?benchmark_id=sum-integers&view=public").json.get("frozen"))


@in_browser("admin")
def test_settings_are_saved(w, b):
    b.open("benchmarks/sum-integers/manage")
    b.fill("Name", "Sum of many integers")
    b.click("button", "Save")
    b.see("Saved.")
    assert w.admin.get("/benchmarks/sum-integers").json["name"] == "Sum of many integers"
    w.admin.patch("/benchmarks/sum-integers", {"name": "Sum of integers"})


@in_browser("admin")
def test_what_a_rejudging_would_change_is_seen_before_it_counts(w, b):
    b.open("benchmarks/sum-integers/manage")
    b.see("Judge again")
    b.choose("Verdict until now", "OK")
    b.fill("Why", "the tests were wrong")
    b.click("button", "Judge and show what would change")
    b.see("Would change")
    b.see("What would change")
    b.wait("all to be judged", lambda: not b.find("button.primary", "Apply").get_attribute("disabled"), 60)
    accessible(b, "a rejudging")
    b.shot("rejudging")
    b.click("button", "Apply")
    b.click("button", "Yes")
    b.see("It ended")
    b.open("rejudgings")
    b.see("the tests were wrong")


# ---- course projects -----------------------------------------------------------------------------------

REPORT = """<testsuite tests="4"><testcase classname="words" name="empty"/><testcase classname="words" name="one"/>
<testcase classname="words" name="many"><failure message="expected 3, got 2"/></testcase><testcase classname="words" name="space"/></testsuite>"""
COUNTED = f"test -f words.py || exit 9\necho running 4 tests\ncat >report.xml <<'END'\n{REPORT}\nEND\necho '<b>done</b>'\n"


@in_browser("admin")
def test_a_project_is_set_handed_in_and_its_feedback_read(w, b):
    b.open("projects/new")
    b.fill("Title", "A word counter")
    b.fill("Id (if you like)", "words")
    b.fill("Language", "python")
    b.fill("Time limit, seconds", "20")
    b.fill("What is to be done", "Write words.py: it prints how many words a text has.")
    b.fill("Test command", "sh run.sh")
    b.fill("Required files", "words.py")
    b.fill("Variables", "no variable")
    b.click("button", "Make the project")
    b.see("write NAME=value")
    b.fill("Variables", "MODE=strict")
    b.click("button", "Make the project")
    b.see("Hand in")
    pit = w.admin.get("/pits/words").json
    assert (pit["maxTimeoutMs"], pit["requiredFiles"], pit["environment"].get("MODE")) == (20000, ["words.py"], "strict"), pit
    b.labelled("ZIP of tests").send_keys(w.file("tests.txt", "no archive"))
    b.see("is no ZIP archive")
    b.labelled("ZIP of tests").send_keys(w.file("tests.zip", {"run.sh": COUNTED}))
    b.see("The tests of “tests.zip” are in force.")
    accessible(b, "a project, its owner's view")
    b.shot("project")
    # the student's side
    s = w.browser("student")
    s.open("projects")
    s.see("A word counter")
    accessible(s, "projects")
    s.click("a", "A word counter")
    s.see("It must hold")
    assert not s.all("#tests-zip")
    s.labelled("ZIP of the project").send_keys(w.file("work.tar", b"ustar no ZIP"))
    s.see("is no ZIP archive")
    s.labelled("ZIP of the project").send_keys(w.file("work.zip", {"words.py": "print(1)\n", "notes.txt": os.urandom(300_000)}))
    s.see("3 of 4 tests passed.")
    s.see("expected 3, got 2")
    s.click("button", "Show the log")
    s.see("running 4 tests")
    assert "<b>done</b>" in s.find("pre[aria-label=Log]").text and not s.all("main pre b")
    accessible(s, "feedback")
    s.size(1100, 900)
    s.shot("project-feedback")
    s.size(1280, 900)
    s.open("projects/words")
    s.wait("it in the list", lambda: len(s.all("tbody tr")) == 1 and "75" in s.all("tbody tr")[0].text)
    s.labelled("ZIP of the project").send_keys(w.file("other.zip", {"wurds.py": ""}))
    s.see("Required files are missing.")
    s.see("words.py")
    faults = s.take()
    assert not faults, faults
    # closed, then deleted by typing its id
    b.click("button", "Close it")
    b.click("button", "Yes")
    b.see("It is closed")
    s.open("projects/words")
    s.see("It is closed")
    assert not s.all("#zip")
    b.fill("Delete it with its tests; what was handed in stays", "word")
    assert b.find("button", "Delete the project").get_attribute("disabled")
    b.labelled("Delete it with its tests; what was handed in stays").send_keys("s", Keys.ENTER)
    b.wait("the list without it", lambda: b.driver.current_url.endswith("#/projects") and "A word counter" not in b.find("main").text.split("Your hand-ins")[0])


# ---- webhooks -------------------------------------------------------------------------------------------


@in_browser("admin")
def test_a_webhook_is_told_and_told_again_and_its_secret_shown_once(w, b):
    receiver = Receiver()
    try:
        b.open("webhooks")
        b.see("There are no webhooks yet.")
        b.fill("URL", receiver.url)
        b.wait("the benchmarks", lambda: b.all("#w-of option"))
        b.choose("Benchmark", "sum-integers")
        b.click("button", "Make the webhook")
        secret = b.find("code.secret").text
        assert secret.startswith("whsec_")
        b.click("button", "I have it")
        assert secret not in b.text() and secret not in b.run("return document.documentElement.outerHTML + JSON.stringify(localStorage)")
        b.click("main tbody th a")
        b.see("Nothing was sent yet.")
        w.admin.post("/submissions?wait=60", {"benchmark_id": "sum-integers", "agent_id": "ada", "language": "c", "source": program("right.c")})
        [first] = receiver.wait(1)
        assert signed(secret, first)

        def told():
            b.click("button", "Look again")
            return b.all(".status.done") and "delivered" in b.text()
        b.wait("the delivery", told)
        accessible(b, "a webhook")
        b.shot("webhook")
        b.find("button.danger, tbody button").click()
        again = receiver.wait(2)[1]
        assert (again["webhook-id"], again["body"]) == (first["webhook-id"], first["body"]) and signed(secret, again)
        b.see("One event is sent again.")
        b.click("details.inline summary")
        b.see('"type": "submission.done"')
        b.click("button", "Switch off")
        b.click("button", "Yes")
        b.see("It is off.")
        assert not w.admin.all("/webhooks?")[0]["active"]
        b.click("button", "Switch on")
        b.see("It is on again.")
        b.click("button", "Delete")
        b.click("button", "Yes")
        b.see("There are no webhooks yet.")
    finally:
        receiver.close()


# ---- making a benchmark -----------------------------------------------------------------------------------


@in_browser("admin")
def test_a_benchmark_is_drafted_filled_published_and_closed(w, b):
    b.open("benchmarks")
    b.click("a", "New benchmark")
    b.fill("Name", "Doubles")
    b.fill("Id (if you like)", "doubles")
    b.click("button", "Make the draft")
    b.see("A draft: only you and admins see it")
    assert b.find("button", "Publish it").get_attribute("disabled")
    b.click("a", "Add a problem")
    b.fill("Name", "Double")
    b.fill("Statement", "Read n, print 2 n.")
    b.fill("CPU time, ms", "1500")
    b.click("button", "Make the problem")
    b.see("Tests")
    # one typed, two from files, of which one is a sample by its name; a file without its other half is refused
    b.click("button", "Add a test")
    b.fill("Test 1: name", "typed")
    b.fill("Test 1: input", "4")
    b.fill("Test 1: expected output", "8")
    b.labelled("Add tests from files").send_keys(w.file("3.in", "3\n"))
    b.see("Without their other half: 3.")
    b.labelled("Add tests from files").send_keys("\n".join(w.file(n, t) for n, t in (("2.in", "2\n"), ("2.ans", "4\n"), ("sample1.in", "1\n"), ("sample1.ans", "2\n"))))
    b.see("2 tests are added")
    accessible(b, "the editor of a problem")
    b.shot("problem")
    b.click("button", "Save the tests")
    b.see("Saved. Submissions from now on are judged by these.")
    [ref] = w.admin.get("/benchmarks/doubles").json["problems"]
    tests = w.admin.all(f"/problems/{ref['id']}/tests?")
    assert [(t["name"], t["input"], t["sample"]) for t in tests] == [("typed", "4", False), ("2", "2\n", False), ("sample1", "1\n", True)], tests
    problem = w.admin.get(f"/problems/{ref['id']}").json
    assert (problem["limits"]["time_limit_ms"], problem["compare"], problem["limits"]["wall_limit_ms"]) == (1500, "tokens", 4000), problem
    # edited again: the name, and one test taken out
    b.wait("the tests to be folded", lambda: len(b.all("details.test")) == 3 and not b.all("details.test[open]"))
    b.click("summary", None)
    b.click("button", "Take test 1 out")
    b.click("button", "Save the tests")
    wait_for("two tests", lambda: w.admin.get(f"/problems/{ref['id']}").json["test_count"] == 2)
    b.see("2 of them")
    b.fill("Name", "Twice")
    b.click("button", "Save")
    b.see("Saved. Submissions from now on are judged by it.")
    wait_for("the name", lambda: w.admin.get(f"/problems/{ref['id']}").json["name"] == "Twice")
    b.open("benchmarks/doubles/manage")
    b.see("Twice")
    w.student.get("/benchmarks/doubles", expect=404)
    b.click("button", "Publish it")
    b.see("It is published.")
    b.shot("publish")
    s = w.browser("student")
    s.open("benchmarks/doubles")
    s.see("Read n, print 2 n.")
    assert w.judged("python", "print(2 * int(input()))\n", benchmark="doubles")["verdict"] == "OK"
    b.click("button", "Close it now")
    b.click("button", "Yes")
    b.see("nothing more is taken")
    agent = w.student.all(f"/agents?owner_id={w.student.get('/me').json['id']}")[0]["id"]
    w.student.post("/submissions", {"benchmark_id": "doubles", "agent_id": agent, "language": "python", "source": "print(1)"}, expect=(403, 409))
    b.fill("Delete it with its problems and tests; this cannot be undone", "doubles")
    b.click("button", "Delete the benchmark")
    b.wait("the list without it", lambda: b.driver.current_url.endswith("#/benchmarks") and "Sum of integers" in b.text() and "Doubles" not in b.text())


@in_browser("admin")
def test_a_package_is_imported_and_its_jury_judged(w, b):
    top = FIXTURES / "packages" / "pairs"
    package = {f"pairs/{p.relative_to(top)}": p.read_bytes() for p in sorted(top.rglob("*")) if p.is_file()}
    b.open("benchmarks/new")
    b.labelled("ZIP of the package").send_keys(w.file("broken.zip", {"nothing/here.txt": "no package"}))
    b.find("[role=alert]")
    faults = b.take(allowed=["400 (Bad Request)"])
    assert not faults, faults
    b.labelled("ZIP of the package").send_keys(w.file("pairs.zip", package))
    b.see("is imported.")
    b.see("The jury's submissions")
    b.click("button", "Judge them here")
    b.see("got what they must.", timeout=120)
    accessible(b, "the report of an import")
    b.shot("import")
    b.click("a", "To the new benchmark")
    b.see("A draft: only you and admins see it")


# ---- one's own account ------------------------------------------------------------------------------------


@in_browser("student")
def test_times_are_those_of_the_reader_s_zone(w, b):
    b.driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "Asia/Tokyo"})
    try:
        b.open("submissions")
        b.driver.refresh()
        title = b.find("tbody time").get_attribute("title")
        assert "GMT+9" in title or "JST" in title, title
    finally:
        b.driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": ""})
        b.driver.refresh()


@in_browser("student")
def test_sessions_and_tokens_of_one_s_own_are_seen_and_ended(w, b):
    agent = w.student.all(f"/agents?owner_id={w.student.get('/me').json['id']}")[0]["id"]
    token = harness.Api(w.server.port, w.student.post(f"/agents/{agent}/tokens", {"name": "of the lab", "scopes": ["benchmarks:read"]}, expect=201).json["token"])
    elsewhere = w.server.login("student", PASSWORD)
    elsewhere.get("/me")
    b.open("account")
    b.see("this one")
    rows = b.wait("the sessions", lambda: b.all("section[aria-labelledby=sessions] tbody tr"))
    before = len(rows)
    assert before >= 3 and "this one" in rows[0].text or any("this one" in r.text for r in rows)
    accessible(b, "account")
    b.shot("account")
    # the one used last that is not this one is the one that was made just now
    other = next(r for r in b.all("section[aria-labelledby=sessions] tbody tr") if "this one" not in r.text)
    other.find_element(By.TAG_NAME, "button").click()
    b.click("button", "Yes")
    b.wait("one less", lambda: len(b.all("section[aria-labelledby=sessions] tbody tr")) == before - 1)
    wait_for("its token to be refused", lambda: elsewhere.get("/me", expect=None).status == 401)
    b.see("of the lab")
    token.get("/benchmarks")
    row = next(r for r in b.all("section[aria-labelledby=own-tokens] tbody tr") if "of the lab" in r.text)
    row.find_element(By.TAG_NAME, "button").click()
    b.click("button", "Yes")
    b.wait("the token to go", lambda: "of the lab" not in b.text())
    wait_for("the token to be refused", lambda: token.get("/benchmarks", expect=None).status == 401)
    w.student.get("/me")  # the test's own session goes on


@in_browser("student")
def test_an_account_is_exported_and_erased(w, b):
    api = w.server.register("leaver", PASSWORD)
    api.post("/agents", {"id": "leavers-agent", "name": "Leaver's"}, expect=201)
    source = "print(sum(map(int, input().split())))\n"
    sent = api.post("/submissions?wait=60", {"benchmark_id": "sum-integers", "agent_id": "leavers-agent", "language": "python", "source": source}).json
    b.open("benchmarks")
    b.click("button", "Sign out")
    sign_in(b, "leaver", PASSWORD)
    b.see("Sum of integers")
    b.driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(w.files)})
    b.open("account")
    b.click("button", "Export it")
    b.see("1 submissions are in the file.")
    got = json.loads(wait_for("the file", lambda: (w.files / "assay-leaver.json").exists() and (w.files / "assay-leaver.json").read_text()))
    assert got["account"]["login"] == "leaver" and [a["id"] for a in got["agents"]] == ["leavers-agent"], got
    [one] = got["submissions"]
    assert (one["id"], one["sent"]["source"], one["result"]["verdict"]) == (sent["id"], source, "OK"), one
    # the word alone does not do, nor a wrong password
    b.fill("Your password", "not-the-password")
    b.fill("Your login", "leave")
    assert b.find("button", "Erase my account").get_attribute("disabled")
    b.labelled("Your login").send_keys("r", Keys.ENTER)
    b.see("The password is wrong.")
    faults = b.take(allowed=["403 (Forbidden)"])
    assert not faults, faults
    b.fill("Your password", PASSWORD)
    b.click("button", "Erase my account")
    b.see("Sign in")
    assert b.run("return localStorage.getItem('assay.session')") is None
    w.server.api().post("/login", {"login": "leaver", "password": PASSWORD}, expect=401)
    wait_for("the agent to be nameless", lambda: w.admin.get("/agents/leavers-agent").json["name"] == "erased")
    sign_in(b, "student", PASSWORD)
    b.see("Sum of integers")


@in_browser("student")
def test_nothing_jumps_while_a_page_loads(w, b):
    moved = {}
    for page in ("benchmarks", "benchmarks/sum-integers", "benchmarks/sum-integers/board", "benchmarks/sum-integers/submit", "submissions", "projects", "agents", "account"):
        b.open(page)
        b.driver.refresh()
        b.wait(f"{page} to be loaded", lambda: b.all("main h1") and "loading…" not in b.text())
        time.sleep(0.3)
        moved[page] = b.driver.execute_async_script("""
          const done = arguments[arguments.length - 1];
          let sum = 0;
          new PerformanceObserver((l) => { for (const e of l.getEntries()) sum += e.value; }).observe({ type: 'layout-shift', buffered: true });
          setTimeout(() => done(sum), 100);""")
    print("# layout shift: " + ", ".join(f"{p} {v:.3f}" for p, v in moved.items()))
    assert all(v <= 0.1 for v in moved.values()), moved  # what the makers of the measure call good


# ---- Swagger UI, and what is served -----------------------------------------------------------------------


@in_browser("admin")
def test_swagger_ui_shows_the_contract_and_tries_it(w, b):
    b.open("/swagger")
    b.see("Liveness of the server")
    assert b.driver.current_url.endswith("/swagger/")
    accessible(b, "Swagger UI")
    b.click(".opblock-summary-path", "/healthz")
    b.wait("its address", lambda: b.driver.current_url.endswith("health_live"))
    b.click("button", "Try it out")
    b.click("button", "Execute")
    b.wait("the answer", lambda: any('"status": "ok"' in e.text for e in b.all(".live-responses-table .microlight, .live-responses-table pre")))
    b.shot("swagger")


@in_browser("admin")
def test_the_first_view_is_small_and_everything_comes_from_the_server(w, b):
    sizes = json.loads((ROOT / "build" / "dashboard" / "sizes.json").read_text())
    got = 0
    for name in sizes["first"]:
        path = "/" if name == "index.html" else f"/{name}"
        r = urllib.request.Request(w.base + path, headers={"Accept": "text/html", "Accept-Encoding": "gzip"})
        with urllib.request.urlopen(r) as a:
            got += len(a.read())
    assert 10_000 < got <= 300 * 1024, got
    print(f"# the first view: {got} bytes, {len(sizes['first'])} files")
    b.driver.execute_cdp_cmd("Network.clearBrowserCache", {})
    b.open("/")
    b.see("Sum of integers")
    loaded = b.run("return performance.getEntriesByType('resource').filter((r) => ['script', 'link', 'img', 'css'].includes(r.initiatorType) || r.name.includes('/ui/')).map((r) => new URL(r.name).pathname.slice(1))")
    assert set(loaded) <= set(sizes["first"]), f"the first view also loads {set(loaded) - set(sizes['first'])}"


@in_browser("admin")
def test_pictures_for_the_documentation(w, b):
    if os.environ.get("ASSAY_DOCS_SHOTS"):
        for name in DOCS:
            shutil.copy(SHOTS / f"{name}.png", ROOT / "docs" / f"dashboard-{name}.png")
    text = (ROOT / "docs" / "dashboard.md").read_text()
    for name in DOCS:
        size = (ROOT / "docs" / f"dashboard-{name}.png").stat().st_size
        assert f"(dashboard-{name}.png)" in text and size <= 150_000, (name, size)
        assert (SHOTS / f"{name}.png").stat().st_size <= 150_000, f"{name} would be too large for the documentation"
    made = {p.stem for p in (ROOT / "build" / "dashboard" / "screenshots").glob("*.png")}
    wanted = {"sign-in", "benchmark", "submit", "live", "submission", "leaderboard", "runners", "users", "rejudging", "swagger",
              "project-feedback", "webhook", "publish", "import", "account"}
    assert wanted <= made, f"no picture of {wanted - made}"


if __name__ == "__main__":
    try:
        harness.main(sys.modules[__name__])
    finally:
        if WORLD is not None:
            WORLD.close()
