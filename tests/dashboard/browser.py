"""A headless Chromium for the tests of the dashboard.

What a page must never do is watched at every page: errors on the console, exceptions, violations of its content-security policy,
requests to anywhere but the server.  take() gives what has been seen and forgets it.
"""

import json
import os
import pathlib
import shutil
import sys
import tempfile
import time

try:
    from selenium import webdriver
    from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
except ImportError:  # it is a package of Debian's: so is the Python that sees it
    if sys.executable == "/usr/bin/python3" or not os.path.exists("/usr/bin/python3") or os.environ.get("ASSAY_PYTHON_TRIED"):
        raise
    os.environ["ASSAY_PYTHON_TRIED"] = "1"
    os.execv("/usr/bin/python3", ["/usr/bin/python3", *sys.argv])

ROOT = pathlib.Path(__file__).resolve().parents[2]
AXE = ROOT / "build" / "dashboard" / "node_modules" / "axe-core" / "axe.min.js"
SHOTS = ROOT / "build" / "dashboard" / "screenshots"

# runs in each page before any script of its own
WATCH = """
window.seenFaults = [];
document.addEventListener('securitypolicyviolation', (e) => seenFaults.push(`policy: ${e.violatedDirective} ${e.blockedURI} ${e.sourceFile}:${e.lineNumber}`));
addEventListener('error', (e) => seenFaults.push(`error: ${e.message} ${e.filename}:${e.lineno}`));
addEventListener('unhandledrejection', (e) => seenFaults.push(`rejection: ${e.reason && (e.reason.stack || e.reason)}`));
"""


class Browser:
    def __init__(self, base, width=1280, height=900, dark=False):
        self.base = base
        self.profile = tempfile.mkdtemp(prefix="assay-chromium-")
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions", "--lang=en-GB",
                     "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--force-device-scale-factor=1",
                     f"--user-data-dir={self.profile}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(service=Service(shutil.which("chromedriver"), log_path=os.devnull), options=options)
        self.driver.set_page_load_timeout(120)
        self.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
        self.size(width, height)
        self.theme(dark)

    def close(self):
        self.driver.quit()
        shutil.rmtree(self.profile, ignore_errors=True)

    def size(self, width, height, mobile=False):
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile})

    def theme(self, dark):
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})

    # ---- going and looking ------------------------------------------------------------------------------

    def open(self, path):
        """A path of the server, or the part behind '#' of the dashboard."""
        self.driver.get(self.base + path if path.startswith("/") else f"{self.base}/#/{path}")

    def run(self, script, *args):
        return self.driver.execute_script(script, *args)

    def wait(self, what, predicate, timeout=60.0):
        end = time.monotonic() + timeout
        while True:
            try:
                value = predicate()
            except (StaleElementReferenceException, IndexError):  # the page was drawn anew meanwhile
                value = None
            if value:
                return value
            if time.monotonic() > end:
                raise AssertionError(f"waited {timeout} s for {what}; the page says:\n{self.text()[:3000]}\n{self.take()}")
            time.sleep(0.05)

    def text(self):
        return self.run("return document.body ? document.body.innerText : ''")

    def see(self, text, timeout=60.0):
        """Waits until the page shows a text."""
        self.wait(f"“{text}” to be shown", lambda: text in self.text(), timeout)

    def all(self, css):
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def find(self, css, text=None, timeout=60.0):
        """The first shown element, perhaps one whose text is this."""
        def shown():
            return next((e for e in self.all(css) if e.is_displayed() and (text is None or e.text.strip() == text)), None)
        return self.wait(f"{css}{f' with “{text}”' if text else ''}", shown, timeout)

    def labelled(self, label):
        """The control that a label names, as people find it."""
        def control():
            return self.run("""
              const labels = [...document.querySelectorAll('label')].filter((l) => l.textContent.trim() === arguments[0] && l.offsetParent);
              for (const l of labels) if (l.control) return l.control;
              return [...document.querySelectorAll('[aria-label]')].find((e) => e.getAttribute('aria-label') === arguments[0]) || null;""", label)
        return self.wait(f"a control named “{label}”", control)

    def click(self, css, text=None):
        def press():
            self.find(css, text).click()
            return True
        self.wait(f"{css} to be clicked", press)

    def fill(self, label, value):
        e = self.labelled(label)
        e.clear()
        e.send_keys(value)

    def choose(self, label, option):
        """By value or text, as a person does it: the change event included."""
        e = self.labelled(label)
        done = self.run("""
          const [select, wanted] = arguments;
          const o = [...select.options].find((x) => x.value === wanted || x.textContent === wanted);
          if (!o) return false;
          select.value = o.value;
          select.dispatchEvent(new Event('change', { bubbles: true }));
          return true;""", e, option)
        assert done, f"{label} has no option {option}: {[o.text for o in e.find_elements(By.TAG_NAME, 'option')]}"

    def keys(self, *keys):
        webdriver.ActionChains(self.driver).send_keys(*keys).perform()

    def chord(self, modifier, key):
        webdriver.ActionChains(self.driver).key_down(modifier).send_keys(key).key_up(modifier).perform()

    def focused(self):
        """The element that has the focus, through shadow roots."""
        return self.run("let e = document.activeElement; while (e && e.shadowRoot && e.shadowRoot.activeElement) e = e.shadowRoot.activeElement; return e;")

    # ---- what must not be ---------------------------------------------------------------------------------

    def take(self, allowed=()):
        """Faults since the last time. `allowed`: parts of console messages that a test brings about itself."""
        faults = []
        try:
            faults += self.run("const f = window.seenFaults || []; window.seenFaults = []; return f;")
        except WebDriverException as e:
            faults.append(f"the page cannot be asked: {e.msg}")
        faults += [f"console: {m['message']}" for m in self.driver.get_log("browser") if m["level"] in ("SEVERE", "WARNING")]
        for m in self.driver.get_log("performance"):
            event = json.loads(m["message"])["message"]
            if event["method"] == "Network.requestWillBeSent":
                url = event["params"]["request"]["url"]
                if not url.startswith((self.base + "/", "data:", "blob:", "chrome", "about:")):
                    faults.append(f"a request to {url}")
        return [f for f in faults if not any(a in f for a in allowed)]

    def axe(self):
        """Findings of axe-core that are serious or critical, as text."""
        self.driver.execute_cdp_cmd("Runtime.evaluate", {"expression": AXE.read_text()})
        self.driver.set_script_timeout(120)
        result = self.driver.execute_async_script("""
          const done = arguments[arguments.length - 1];
          axe.run(document, { resultTypes: ['violations'] }).then((r) => done(r.violations.filter((v) => ['serious', 'critical'].includes(v.impact))
            .map((v) => `${v.impact}: ${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160) + ' ' + (n.failureSummary || '').slice(0, 300)).join(' | ')}`)), (e) => done([String(e)]));""")
        return result

    def shot(self, name, most=1800):
        SHOTS.mkdir(parents=True, exist_ok=True)
        height = self.run("return Math.min(document.documentElement.scrollHeight, arguments[0])", most)
        width = self.run("return innerWidth")
        data = self.driver.execute_cdp_cmd("Page.captureScreenshot", {
            "format": "png", "captureBeyondViewport": True, "clip": {"x": 0, "y": 0, "width": width, "height": max(height, 300), "scale": 1}})["data"]
        import base64
        path = SHOTS / f"{name}.png"
        path.write_bytes(base64.b64decode(data))
        return path


__all__ = ["Browser", "By", "Keys", "ROOT", "SHOTS"]
