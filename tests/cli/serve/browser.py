#!/usr/bin/env python3
"""Drives headless Chromium through the pages of `snap serve` as a person would: see tests/cli/serve/browser.rs.

Needs Python's standard library alone: DevTools' protocol is spoken over pipes, as JSON messages that end with NUL.
"""
import datetime
import fcntl
import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.parse

ENTER = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
TAB = {"key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9}
SPACE = {"key": " ", "code": "Space", "windowsVirtualKeyCode": 32, "text": " "}


class Browser:
    def __init__(self, program, home):
        (to_read, self.to), (self.out, from_write) = os.pipe(), os.pipe()
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (to_read, from_write)]
        arguments = [
            program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-extensions", "--disable-background-networking", "--disable-component-update",
            "--remote-debugging-pipe", f"--user-data-dir={home}/profile", "--hide-scrollbars",
        ]
        environment = {"HOME": str(home), "PATH": os.environ["PATH"], "TZ": "UTC"}
        self.process = subprocess.Popen(
            arguments, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            preexec_fn=lambda: (os.dup2(ends[0], 3), os.dup2(ends[1], 4)), pass_fds=(3, 4),
        )
        for end in [to_read, from_write, *ends]:
            os.close(end)
        self.number, self.buffer, self.events = 0, b"", []
        self.session = None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.ask("Page.enable")

    def ask(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def receive(self):
        while b"\0" not in self.buffer:
            some = os.read(self.out, 1 << 16)
            if not some:
                raise RuntimeError("the browser has ended")
            self.buffer += some
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def wait(self, method):
        while True:
            event = self.events.pop(0) if self.events else self.receive()
            if event.get("method") == method:
                return event["params"]

    def loading(self, act):
        """Does something that leads to another page, and waits for it."""
        self.events.clear()
        result = act()
        self.wait("Page.loadEventFired")
        return result

    def open(self, address):
        self.loading(lambda: self.ask("Page.navigate", url=address))

    def value(self, expression):
        result = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def text(self):
        return self.value("document.body.innerText")

    def click(self, selector):
        """Clicks on what leads to another page."""
        name = json.dumps(selector)
        assert self.value(f"!!document.querySelector({name})"), f"no {selector}: {self.text()}"
        self.loading(lambda: self.value(f"document.querySelector({name}).click()"))

    def key(self, key):
        self.ask("Input.dispatchKeyEvent", type="keyDown", **key)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **{name: key[name] for name in key if name != "text"})

    def focus(self, matches, most=60):
        """Presses Tab until the focused element matches."""
        for _ in range(most):
            self.key(TAB)
            if self.value(f"document.activeElement.matches({json.dumps(matches)})"):
                return
        raise AssertionError(f"{matches} cannot be reached with the keyboard")

    def type(self, text):
        self.ask("Input.insertText", text=text)

    def width(self, pixels):
        self.ask("Emulation.setDeviceMetricsOverride", width=pixels, height=900, deviceScaleFactor=1, mobile=pixels < 800)

    def overflows(self):
        return self.value("document.documentElement.scrollWidth > document.documentElement.clientWidth")

    def close(self):
        self.process.terminate()
        self.process.wait(10)


def day(ago):
    return str(datetime.date.today() - datetime.timedelta(days=ago))


def has(browser, *pieces):
    text = browser.text()
    for piece in pieces:
        assert piece in text, f"{piece!r} is not in the page: {text}"


def sign_in(browser, secret):
    """Types a token or the password into the form that is shown."""
    has(browser, "Token or password")
    browser.focus("input[name=token]") if not browser.value("document.activeElement.name == 'token'") else None
    browser.type(secret)
    browser.loading(lambda: browser.key(ENTER))


def counted(browser, address, *pieces):
    """Opens a page that is counted in the background, and waits until it has loaded itself again."""
    browser.open(address)
    for _ in range(100):
        try:
            if all(piece in browser.text() for piece in pieces):
                return
        except RuntimeError:
            # It is loading itself.
            pass
        time.sleep(0.1)
    has(browser, *pieces)


def story(browser, address, token, password, downloads, axe):
    # Without the token, nothing; with it, the page that was asked for.
    looks(browser, address, ["/search?q=plan"], axe)
    sign_in(browser, token)
    has(browser, "holiday-plan.txt", "deleted")
    base = browser.value("document.querySelector('.brand').getAttribute('href')").rstrip("/")
    pages = [base + "/"]
    # A deleted file by a part of its name, with the keyboard alone.
    browser.open(address + base + "/")
    has(browser, "Late", "OK")
    browser.focus("header input[name=q]")
    browser.type("iday-pl")
    browser.loading(lambda: browser.key(ENTER))
    has(browser, "holiday-plan.txt", "deleted")
    pages.append(browser.value("location.pathname + location.search"))
    # Its versions, and the lines in which two differ.
    browser.click("a[aria-label^='Versions of']")
    has(browser, "2 versions", "Not in snapshot", day(21))
    pages.append(browser.value("location.pathname"))
    browser.focus("main form button")
    browser.loading(lambda: browser.key(ENTER))
    has(browser, "1 line added", "1 line removed", "Rome", "Oslo")
    pages.append(browser.value("location.pathname + location.search"))
    # The older snapshot has it: tick it, and restore it.
    browser.click("main dl a")
    browser.click(".way li:nth-last-child(2) a")
    pages.append(browser.value("location.pathname"))
    browser.focus("input[name=e][aria-label*=holiday]")
    browser.key(SPACE)
    browser.focus("button[value=restore]")
    browser.loading(lambda: browser.key(ENTER))
    has(browser, "Restore on the command line", "snap -r", "--include /holiday-plan.txt")
    browser.value("document.querySelector('input[name=to]').value = 'got back'")
    browser.click("form button.first")
    for _ in range(100):
        if "✓ Done" in browser.text():
            break
        time.sleep(0.1)
        browser.loading(lambda: browser.ask("Page.reload"))
    has(browser, "✓ Done", "1 file")
    pages.append(browser.value("location.pathname"))
    # A directory as zip.
    browser.open(address + pages[4])
    browser.session, session = None, browser.session
    browser.ask("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads), eventsEnabled=True)
    browser.session = session
    browser.value("document.querySelector(\"a[href*='/zip/']\").click()")
    for _ in range(100):
        if any(name.suffix == ".zip" for name in downloads.iterdir()):
            break
        time.sleep(0.1)
    # The days on which a directory changed lead to its states, and sizes of directories stand in the list.
    browser.open(address + pages[4])
    has(browser, "Changed on", "1 B")
    browser.focus(f".days a[aria-label^='{day(21)}']")
    browser.loading(lambda: browser.key(ENTER))
    has(browser, day(21), "Show deleted entries")
    # What changed in it since another day, and between two snapshots: a tree with sums, and links to both versions.
    browser.focus(".travel form button")
    browser.loading(lambda: browser.key(ENTER))
    has(browser, "- removed", "holiday-plan.txt")
    browser.open(address + base + "/snapshots")
    browser.value("document.querySelectorAll('input[name=a]')[2].click()")
    browser.click("main form .sticky button")
    has(browser, "1 added, 1 removed", "Size before", "Growth")
    pages.append(browser.value("location.pathname + location.search"))
    browser.click("a[aria-label^='Before: '][aria-label*=holiday]")
    has(browser, "Rome")
    # A document is drawn in its frame, a picture in its page.
    for name in ("paper.pdf", "dot.gif"):
        browser.open(address + pages[4] + "/" + name)
        browser.value("document.querySelector('.preview').scrollIntoView()")
        pages.append(browser.value("location.pathname"))
    assert browser.value("document.querySelector('img.preview').naturalWidth") == 1
    # What holds the bytes, as a map and as a table; statistics.
    counted(browser, address + base + "/stats", "Storage per set", "Only it needs")
    usage = pages[4].replace("/s/", "/usage/")
    counted(browser, address + usage, "files here", "a/")
    looks(browser, address, [*pages, usage, base + "/snapshots", base + "/stats", base + "/logins", base + "/status"], axe)
    # Out, and in again at the same page.
    browser.open(address + pages[1])
    browser.loading(lambda: browser.value("document.querySelector('.logout button').click()"))
    browser.open(address + pages[1])
    sign_in(browser, "wrong " + password)
    has(browser, "This is neither the token")
    sign_in(browser, password)
    has(browser, "holiday-plan.txt")


# Runs axe-core, and returns what is serious. Sizes of targets (WCAG 2.2) are not among its defaults.
SERIOUS = """axe.run({rules: {'target-size': {enabled: true}}}).then(result => result.violations
    .filter(one => ['serious', 'critical'].includes(one.impact))
    .flatMap(one => one.nodes.map(node => one.id + ': ' + node.html + ': ' + node.failureSummary)))"""
# The other side of the palette differs in nothing else.
CONTRAST = SERIOUS.replace("{rules", "{runOnly: ['color-contrast'], rules", 1)


def looks(browser, address, pages, axe):
    """No page overflows at any width, or has a serious fault of accessibility, light or dark."""
    for page in pages:
        browser.open(address + page)
        for width in (1280, 390, 320):
            browser.width(width)
            assert not browser.overflows(), f"{page} overflows at {width} px"
        if axe:
            browser.value(axe + "; 0")
            for side, run in (("light", SERIOUS), ("dark", CONTRAST)):
                browser.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": side}])
                found = browser.value(run)
                assert not found, f"{page} ({side}): {found}"
            browser.ask("Emulation.setEmulatedMedia", features=[])
    browser.width(1280)


def main():
    program, home, address, token, password, axe = sys.argv[1:7]
    home = pathlib.Path(home)
    downloads = home / "downloads"
    downloads.mkdir(parents=True)
    browser = Browser(program, home)
    try:
        script = pathlib.Path(axe).read_text() if axe else ""
        story(browser, address, token, password, downloads, script)
    finally:
        browser.close()
    print("ok", *sorted(name.name for name in downloads.iterdir()))


if __name__ == "__main__":
    main()
