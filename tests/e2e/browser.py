"""Debian's Chromium without a window, driven over its DevTools protocol: real clicks and keys.

    browser = Browser(folder)                  # None of it without chromium: Browser.missing() says so
    page = browser.page(1280, 900, dark=True)
    page.open(url); page.click("#file"); page.wait("document.title === 'kindred'")
"""

import base64
import json
import shutil
import subprocess
import time
from urllib.request import Request, urlopen

try:
    import websocket
except ImportError:  # python3-websocket
    websocket = None

KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "ArrowRight": 39, "ArrowDown": 40}


class Browser:
    @staticmethod
    def missing():
        """Why there is none, or None."""
        if not shutil.which("chromium"):
            return "chromium is not installed (tools/deps.sh)"
        return None if websocket else "python3-websocket is not installed (tools/deps.sh)"

    def __init__(self, folder):
        self._folder = folder / "chromium"
        self._folder.mkdir()
        self._process = subprocess.Popen(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--no-first-run", "--disable-background-networking", "--disable-component-update",
             "--disable-sync", "--no-proxy-server", "--remote-debugging-port=0",
             f"--user-data-dir={self._folder}", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port = self._folder / "DevToolsActivePort"
        end = time.monotonic() + 60
        while not (port.exists() and port.read_text(encoding="utf-8").count("\n")):
            assert self._process.poll() is None and time.monotonic() < end, "chromium did not start"
            time.sleep(0.02)
        self._port = int(port.read_text(encoding="utf-8").splitlines()[0])

    def page(self, width=1280, height=900, dark=False, phone=False):
        request = Request(f"http://127.0.0.1:{self._port}/json/new?about:blank", method="PUT")
        with urlopen(request, timeout=30) as answer:
            return Page(json.load(answer)["webSocketDebuggerUrl"], width, height, dark, phone)

    def end(self):
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(30)


class Page:
    def __init__(self, address, width, height, dark, phone):
        self._socket = websocket.create_connection(address, timeout=60, suppress_origin=True)
        self._number = 0
        self.complaints = []  # of the console and the content security policy
        self._frames = []  # sessions of those that have a process of their own, as sandboxed ones
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.ask(f"{domain}.enable")
        self.ask("Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=False, flatten=True)
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height,
                 deviceScaleFactor=2 if phone else 1, mobile=phone)
        self.ask("Emulation.setTouchEmulationEnabled", enabled=phone)
        self.ask("Emulation.setScrollbarsHidden", hidden=True)  # pictures are as wide as the page
        self.ask("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce"}])

    def close(self):
        self.ask("Page.close")
        self._socket.close()

    def ask(self, method, session=None, **params):
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params,
                                      **({"sessionId": session} if session else {})}))
        while True:
            said = json.loads(self._socket.recv())
            self._listen(said)
            if said.get("id") == self._number:
                assert "error" not in said, f"{method}: {said['error']}"
                return said["result"]

    def _listen(self, said):
        if said.get("method") == "Runtime.exceptionThrown":
            details = said["params"]["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description", details["text"]))
        elif said.get("method") == "Log.entryAdded" and said["params"]["entry"]["level"] == "error":
            self.complaints.append(said["params"]["entry"]["text"])
        elif said.get("method") == "Target.attachedToTarget":
            if said["params"]["targetInfo"]["type"] == "iframe":
                self._frames.append(said["params"]["sessionId"])
        elif said.get("method") == "Target.detachedFromTarget":
            self._frames = [one for one in self._frames if one != said["params"]["sessionId"]]

    # -- What a user does

    def open(self, url):
        self.ask("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def click(self, selector):
        """Where the element is seen, with the mouse; it must be what the click would meet."""
        self.ask("Page.bringToFront")
        box = self.run(f"""(() => {{
            const one = document.querySelector({json.dumps(selector)});
            one.scrollIntoView({{block: "center"}});
            const box = one.getBoundingClientRect();
            const x = box.x + box.width / 2, y = box.y + box.height / 2;
            const top = document.elementFromPoint(x, y);
            return {{x, y, met: top === one || one.contains(top) || top?.contains(one)}};
        }})()""")
        assert box["met"], f"something lies over {selector}"
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=box["x"], y=box["y"], button="left",
                     clickCount=1)

    def key(self, name):
        text = {"Enter": "\r", " ": " "}.get(name, "")
        event = {"key": name, "code": name, "windowsVirtualKeyCode": KEYS[name], "text": text}
        self.ask("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **event)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **event)

    def type(self, text):
        self.ask("Input.insertText", text=text)

    def choose_file(self, selector, path):
        node = self.ask("DOM.querySelector", nodeId=self.ask("DOM.getDocument")["root"]["nodeId"],
                        selector=selector)["nodeId"]
        self.ask("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def frame(self):
        """The page's sandboxed frame, as another page."""
        end = time.monotonic() + 15
        while not self._frames:
            assert time.monotonic() < end, "no frame within 15 s"
            self.run("0")  # hears what has come
        return Frame(self, self._frames[0])

    # -- What is to be seen

    def run(self, script, **where):
        got = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True,
                       **where)
        assert "exceptionDetails" not in got, got["exceptionDetails"]
        return got["result"].get("value")

    def wait(self, condition, timeout=15):
        end = time.monotonic() + timeout
        while True:
            if self.run(f"Boolean({condition})"):
                return
            assert time.monotonic() < end, f"not within {timeout} s: {condition}; " + self.run(
                "document.body.innerText.slice(0, 800)")
            time.sleep(0.02)

    def text(self, selector):
        return self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")

    def texts(self, selector):
        return self.run(
            f"[...document.querySelectorAll({json.dumps(selector)})].map((one) => one.innerText)")

    def picture(self, path):
        """The whole page, however long, as PNG."""
        self.ask("Page.bringToFront")  # a page behind another is not drawn
        shot = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


class Frame:
    """What a frame shows; what it complains of is among its page's complaints."""

    def __init__(self, page, session):
        self._page, self._session = page, session
        for domain in ("Runtime", "Log"):
            page.ask(f"{domain}.enable", session)

    def run(self, script):
        return self._page.run(script, session=self._session)

    wait = Page.wait
