"""The dashboard in a headless Chromium on a real server: each page, each flow, by what people see and press.

After each test the browser must have seen no error on its console, no violation of the content-security policy and no request to
anywhere but the server.  Screenshots are left in build/dashboard/screenshots; `ASSAY_DOCS_SHOTS=1` puts those that the
documentation shows into docs/.
"""

import functools
import json
import os
import shutil
import sys
import urllib.request

from browser import ROOT, SHOTS, Browser, By, Keys

sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import harness  # noqa: E402
from harness import ADMIN_PASSWORD, Server, program, wait_for  # noqa: E402

PASSWORD = "a-long-enough-password"
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


WORLD = None


def make_server():
    shutil.rmtree(SHOTS, ignore_errors=True)  # pictures are this run's
    return Server(env={"RUNNER_MAX_PARALLEL": "2"})


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
    b.see("There are none yet.")
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
    b.keys("g", "s")
    b.see("Look again")
    b.keys("j")
    first = b.focused().get_attribute("href")
    b.keys("j")
    second = b.focused().get_attribute("href")
    assert first and second and first != second, (first, second)
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


PAGES = ("benchmarks", "benchmarks/sum-integers", "benchmarks/sum-integers/board", "benchmarks/sum-integers/submit", "benchmarks/sum-integers/manage",
         "submissions", "agents", "runners", "users", "rejudgings", "account")


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
            wide = b.run("return document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, f"{page}: {wide} pixels too wide at {b.run('return innerWidth')}"
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
    b.shot("runners")


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


# ---- Swagger UI, and what is served -----------------------------------------------------------------------


@in_browser("admin")
def test_swagger_ui_shows_the_contract_and_tries_it(w, b):
    b.open("/swagger")
    b.see("Liveness of the server")
    assert b.driver.current_url.endswith("/swagger/")
    findings = [f for f in b.axe() if "nested-interactive" not in f]  # of Swagger UI's own making: a link in each row's button
    assert not findings, "\n".join(findings)
    b.click(".opblock-summary-path", "/healthz")
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
        for name in ("leaderboard", "submission"):
            shutil.copy(ROOT / "build" / "dashboard" / "screenshots" / f"{name}.png", ROOT / "docs" / f"dashboard-{name}.png")
    made = {p.stem for p in (ROOT / "build" / "dashboard" / "screenshots").glob("*.png")}
    wanted = {"sign-in", "benchmark", "submit", "live", "submission", "leaderboard", "runners", "users", "rejudging", "swagger"}
    assert wanted <= made, f"no picture of {wanted - made}"


if __name__ == "__main__":
    try:
        harness.main(sys.modules[__name__])
    finally:
        if WORLD is not None:
            WORLD.close()
