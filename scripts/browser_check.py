#!/usr/bin/env python3
"""Checks pages in headless Chromium, which is spoken to through two pipes: nothing but Python is needed.

    browser_check.py --browser PROGRAM [--shots FOLDER] [--alive PAGE PROCESS] PAGE...

Each page is opened 1280 and 390 pixels wide, light and dark. It must load without an error or a warning on the console, be
no wider than the window, show every picture, and have no letters below 9 pixels. The page of a run that is ALIVE must renew
itself, and must cease to when the process is killed and the page has grown old. First of all, pages with a fault each must
be found faulty.
"""

import argparse
import base64
import itertools
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZES = {"desk": (1280, 900, False), "phone": (390, 844, True)}
SECONDS = 30

# What is wrong with a page, as a list of sentences.
LOOK = """(() => {
  const faults = [], root = document.documentElement;
  // A phone's window widens with its page: innerWidth would be no measure.
  if (root.scrollWidth > root.clientWidth) {
    const wide = [...document.body.querySelectorAll('*')].find((e) =>
      e.getBoundingClientRect().right > root.clientWidth + 1 && !e.parentElement.closest('.wide, pre'));
    faults.push(`${root.scrollWidth} pixels wide in a window of ${root.clientWidth}: ${wide ? wide.outerHTML.slice(0, 80) : '?'}`);
  }
  for (const image of document.images)
    if (!image.complete || image.naturalWidth === 0) faults.push('an image is not there: ' + image.alt);
  const shown = (e) => e.getClientRects().length > 0;
  for (const svg of [...document.querySelectorAll('svg')].filter(shown)) {
    if (svg.querySelectorAll('path').length === 0) faults.push('a plot is empty');
    const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    for (const text of svg.querySelectorAll('text')) {
      const size = parseFloat(getComputedStyle(text).fontSize) * scale;
      if (size < 9) { faults.push(`letters of ${size.toFixed(1)} pixels in a plot: ${text.textContent}`); break; }
    }
  }
  if (document.body.innerText.trim().length < 20) faults.push('there is nothing to read');
  return faults;
})()"""

FAULTY = {
    "wider than the window": "<p>A page that is too wide.</p><div style='width:2000px'>x</div>",
    "an image is not there": "<p>A page without its picture.</p><img alt=x src='data:image/png;base64,AAAA'>",
    "letters of": "<p>A page with small letters.</p><svg viewBox='0 0 4000 9'><path d='M0 0h9'/><text>x</text></svg>",
    "a plot is empty": "<p>A page with an empty plot.</p><svg viewBox='0 0 9 9'></svg>",
    "console": "<p>A page with a broken script.</p><script>nonsense()</script>",
    "cannot be loaded": "<p>A page that needs another file.</p><script src='nowhere.js'></script>",
    "nothing to read": "",
}


class Browser:
    """A headless Chromium with one page."""

    def __init__(self, program, profile):
        to_browser, own_end = os.pipe()
        from_own, from_browser = os.pipe()
        # The browser reads commands from descriptor 3 and answers on 4; copies above those cannot be overwritten.
        script = f"exec 3<&{to_browser} 4>&{from_browser}; exec \"$0\" \"$@\""
        switches = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe"]
        self.process = subprocess.Popen(
            ["bash", "-c", script, program, *switches, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(to_browser, from_browser),
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self.write, self.read, self.buffer, self.number = own_end, from_own, b"", 0
        self.events, self.session = [], None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Log", "Network"]:
            self.call(f"{domain}.enable")
        # A page may remember the colours of another window.
        self.call("Page.addScriptToEvaluateOnNewDocument", source="try { localStorage.clear() } catch (error) {}")

    def message(self, seconds):
        """The next message, or None if there is none for so long."""
        end = time.monotonic() + seconds
        while b"\0" not in self.buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.read], [], [], left)[0]:
                return None
            data = os.read(self.read, 1 << 20)
            if not data:
                sys.exit("browser_check.py: the browser has ended")
            self.buffer += data
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.write, data) :]
        while True:
            answer = self.message(SECONDS)
            if answer is None:
                sys.exit(f"browser_check.py: no answer to {method}")
            if answer.get("id") == self.number:
                if "error" in answer:
                    sys.exit(f"browser_check.py: {method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def wait(self, method, seconds=SECONDS):
        """Waits for an event; returns False if it does not come."""
        end = time.monotonic() + seconds
        while not any(event.get("method") == method for event in self.events):
            message = self.message(max(0, end - time.monotonic()))
            if message is None:
                return False
            self.events.append(message)
        return True

    def evaluate(self, script):
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def window(self, width, height, is_mobile, colours):
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=is_mobile
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": colours}])

    def open(self, page):
        self.events.clear()
        self.call("Page.navigate", url=page.resolve().as_uri())
        if not self.wait("Page.loadEventFired"):
            sys.exit(f"browser_check.py: {page} does not load")

    def complaints(self):
        """Errors and warnings since the page was opened."""
        found = []
        for event in self.events:
            method, params = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                found.append("console: " + details.get("exception", {}).get("description", details["text"]))
            elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
                found.append("console: " + str([argument.get("value") for argument in params["args"]]))
            elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                found.append("console: " + params["entry"]["text"])
            elif method == "Network.loadingFailed":
                found.append("cannot be loaded: " + params["errorText"])
        return found

    def faults(self):
        return self.evaluate(LOOK) + self.complaints()

    def picture(self, path):
        height = self.evaluate("document.documentElement.scrollHeight")
        width = self.evaluate("innerWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": min(height, 12000), "scale": 1}
        shot = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


def find_planted_faults(browser, folder):
    for (words, body), (width, height, is_mobile) in itertools.product(FAULTY.items(), SIZES.values()):
        browser.window(width, height, is_mobile, "light")
        page = folder / "faulty.html"
        page.write_text(f"<!doctype html><meta charset=utf-8><title>x</title><link rel=icon href='data:,'><body>{body}")
        browser.open(page)
        faults = browser.faults()
        expected = "pixels wide" if words == "wider than the window" else words
        if not any(expected in fault for fault in faults):
            sys.exit(f"browser_check.py: a page that is faulty ({words}) passes: {faults}")


def check(browser, page, shots):
    """Opens a page in every window; returns the faults."""
    found = []
    for name, (width, height, is_mobile) in SIZES.items():
        for colours in ["light", "dark"]:
            browser.window(width, height, is_mobile, colours)
            browser.open(page)
            label = f"{page.parent.name}-{page.stem}-{name}-{colours}"
            found += [f"{label}: {fault}" for fault in browser.faults()]
            if shots:
                browser.picture(shots / f"{label.replace(' ', '_')}.png")
    return found


def check_alive(browser, page, process, shots):
    """Follows the page of a run that trains until it is killed; returns the faults."""
    end = time.monotonic() + SECONDS
    while not page.exists() or "; the first step" in page.read_text():
        if time.monotonic() > end:
            return [f"{page}: the run has not begun"]
        time.sleep(0.2)
    found = check(browser, page, shots)
    is_open = "!document.getElementById('training').hidden && document.getElementById('silent').hidden"
    browser.open(page)
    before = browser.evaluate("document.getElementById('training').innerText")
    if not browser.evaluate(is_open):
        found.append("the page of a run that is alive says that it is not")
    browser.events.clear()
    if not browser.wait("Page.loadEventFired"):
        found.append("the page of a run that is alive does not renew itself")
    elif browser.evaluate("document.getElementById('training').innerText") == before:
        found.append(f"the page was renewed and says the same: {before}")
    os.kill(process, signal.SIGKILL)
    # Ten minutes later, without waiting for them.
    old = re.sub(r'data-written="(\d+)"', lambda m: f'data-written="{int(m[1]) - 600}"', page.read_text())
    page.write_text(old)
    browser.open(page)
    browser.events.clear()
    if browser.evaluate(is_open) or not browser.evaluate("document.getElementById('silent').innerText.length > 20"):
        found.append("the page of a killed run says that it is alive")
    if browser.wait("Page.frameStartedLoading", 8):
        found.append("the page of a killed run renews itself")
    if shots:
        browser.picture(shots / "killed.png")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--browser", required=True)
    parser.add_argument("--shots", type=Path)
    parser.add_argument("--alive", nargs=2, metavar=("PAGE", "PROCESS"))
    parser.add_argument("pages", nargs="+", type=Path)
    arguments = parser.parse_args()
    if arguments.shots:
        arguments.shots.mkdir(parents=True, exist_ok=True)
    # The browser may still write to its profile while it ends.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = Browser(arguments.browser, folder)
        try:
            find_planted_faults(browser, Path(folder))
            found = [fault for page in arguments.pages for fault in check(browser, page, arguments.shots)]
            if arguments.alive:
                page, process = arguments.alive
                found += check_alive(browser, Path(page), int(process), arguments.shots)
        finally:
            browser.process.kill()
            browser.process.wait()
    for fault in found:
        print(fault, file=sys.stderr)
    if found:
        sys.exit(1)
    print(f"{len(arguments.pages) + bool(arguments.alive)} pages in {2 * len(SIZES)} windows: nothing to complain of")


main()
