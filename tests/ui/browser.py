"""Chromium, driven over its DevTools protocol: what a person does with a page, and what comes of it.

In:      URLs, clicks, keys, sizes of the window.
Out:     values of expressions, console messages, network traffic, screenshots.
Refuses: to wait longer than ANSWER_S for anything (AssertionError, with what was waited for).
"""

from __future__ import annotations

import base64
import json
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.js.runtimes import chromium
from tests.servers import ANSWER_S

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
POLL_S = 0.02
KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}


class Browser:
    """A running Chromium, whose pages share nothing with one another."""

    def __init__(self, wire: ClientConnection, address: str) -> None:
        self._wire = wire
        self._page_address = address.split("/devtools/", maxsplit=1)[0] + "/devtools/page/"

    @contextmanager
    def page(self, url: str = "about:blank", width: int = 1280, height: int = 900) -> Iterator[Page]:
        """A new page in a context of its own."""
        context = _call(self._wire, 1, "Target.createBrowserContext")["browserContextId"]
        made = {"url": "about:blank", "browserContextId": context}
        target = _call(self._wire, 2, "Target.createTarget", made)["targetId"]
        with connect(self._page_address + target, max_size=None, open_timeout=ANSWER_S) as wire:
            page = Page(wire)
            for domain in ("Page", "Runtime", "Log", "Network"):
                page.call(f"{domain}.enable")
            page.resize(width, height)
            if url != "about:blank":
                page.go(url)
            yield page
        _call(self._wire, 3, "Target.disposeBrowserContext", {"browserContextId": context})


class Page:
    """One page. `said` holds errors and warnings of the console, `received` the answers of the network."""

    def __init__(self, wire: ClientConnection) -> None:
        self._wire = wire
        self._count = 0
        self.said: list[str] = []
        self.received: list[dict[str, Any]] = []
        self.sizes: dict[str, int] = {}  # octets of each finished request, by its id
        self._loaded = 0

    def call(self, method: str, /, **params: Any) -> Any:
        """One command of the protocol."""
        self._count += 1
        return _call(self._wire, self._count, method, params, self._note)

    def _note(self, event: dict[str, Any]) -> None:
        params = event["params"]
        match event["method"]:
            case "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                self.said.append(details.get("exception", {}).get("description", details["text"]))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.said.append(json.dumps(params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.said.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
            case "Network.responseReceived":
                self.received.append(params["response"] | {"id": params["requestId"]})
            case "Network.loadingFinished":
                self.sizes[params["requestId"]] = int(params["encodedDataLength"])
            case "Page.loadEventFired":
                self._loaded += 1

    def go(self, url: str) -> None:
        """Opens a URL, and waits until it is loaded; another place in the same page is there at once."""
        before = self._loaded
        if "loaderId" not in self.call("Page.navigate", url=url):
            return
        deadline = time.monotonic() + ANSWER_S
        while self._loaded == before:
            assert time.monotonic() < deadline, f"{url} was not loaded"
            self.evaluate("1")

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript, awaited if it is a promise."""
        got = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in got, got["exceptionDetails"]
        return got["result"].get("value")

    def wait(self, expression: str, within_s: float = ANSWER_S) -> Any:
        """Waits until an expression is true, and returns its value."""
        deadline = time.monotonic() + within_s
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < deadline, (
                f"not within {within_s} s: {expression}; {self.text()[-2000:]}; {self.said}"
            )
            time.sleep(POLL_S)
        return value

    def text(self) -> str:
        """What can be read on the page."""
        text: str = self.evaluate("document.body.innerText")
        return text

    def click(self, selector: str, nth: int = 0) -> None:
        """Clicks into the middle of an element."""
        x, y = self.middle(selector, nth)
        self.click_at(x, y)

    def click_text(self, text: str, selector: str = "button, a, summary, label") -> None:
        """Clicks the first control with exactly this text."""
        find = f"[...document.querySelectorAll({json.dumps(selector)})]"
        place = self.evaluate(f"{find}.findIndex((found) => found.innerText.trim() === {json.dumps(text)})")
        assert place >= 0, f"no {selector} with the text {text!r}: {self.text()[:2000]}"
        self.click(selector, place)

    def middle(self, selector: str, nth: int = 0) -> tuple[float, float]:
        """Where an element is, once it is scrolled into sight."""
        find = f"document.querySelectorAll({json.dumps(selector)})[{nth}]"
        self.wait(f"!!{find}")
        box = self.evaluate(
            f"(({find}).scrollIntoView({{block: 'center'}}), "
            f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({find}.getBoundingClientRect()))"
        )
        return box[0], box[1]

    def click_at(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Moves the pointer with its button down."""
        (x, y), (to_x, to_y) = start, end
        self.call("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, button="left", buttons=1, clickCount=1)
        for share in (0.25, 0.5, 0.75, 1.0):
            at = {"x": x + (to_x - x) * share, "y": y + (to_y - y) * share}
            self.call("Input.dispatchMouseEvent", type="mouseMoved", button="left", buttons=1, **at)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", x=to_x, y=to_y, button="left", clickCount=1)

    def press(self, key: str, *, shift: bool = False) -> None:
        """Presses a key and lets it go."""
        text = {"Enter": "\r", " ": " "}.get(key)
        down: dict[str, Any] = {"key": key, "code": "Space" if key == " " else key, "modifiers": 8 if shift else 0}
        down["windowsVirtualKeyCode"] = KEYS[key]
        self.call("Input.dispatchKeyEvent", type="keyDown", **down, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **down)

    def type(self, text: str) -> None:
        """Types into the element that has the focus, in place of what it holds."""
        self.evaluate("document.activeElement.select?.()")
        self.call("Input.insertText", text=text)

    def choose(self, selector: str, value: str, nth: int = 0) -> None:
        """Chooses an option, or moves a slider."""
        find = f"document.querySelectorAll({json.dumps(selector)})[{nth}]"
        self.wait(f"!!{find}")
        kinds = "['input', 'change']"
        self.evaluate(
            f"{find}.value = {json.dumps(value)}, "
            f"{kinds}.forEach((kind) => {find}.dispatchEvent(new Event(kind, {{bubbles: true}})))"
        )

    def upload(self, selector: str, file: Path) -> None:
        """Chooses a file."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(file)], nodeId=node)

    def resize(self, width: int, height: int) -> None:
        """Another size of the window."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def prefer(self, **features: str) -> None:
        """What the reader prefers: `prefers_color_scheme="dark"`."""
        listed = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", features=listed)

    def screenshot(self, file: Path) -> None:
        """The whole page as PNG."""
        picture = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        file.write_bytes(base64.b64decode(picture))


def _call(wire: ClientConnection, number: int, method: str, params: Any = None, note: Any = None) -> Any:
    wire.send(json.dumps({"id": number, "method": method, "params": params or {}}))
    while True:
        message = json.loads(wire.recv(ANSWER_S))
        if message.get("id") == number:
            assert "error" not in message, (method, params, message["error"])
            return message["result"]
        if note is not None and "method" in message:
            note(message)


@contextmanager
def running_browser(profile: Path) -> Iterator[Browser]:
    """Chromium without a window, which ends on leaving."""
    program, environment = chromium()
    command = [program, *FLAGS, f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank"]
    # Without a buffer, so that whatever was not read yet is seen by select().
    with subprocess.Popen(
        command, bufsize=0, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        try:
            address = _address(process)
            with connect(address, max_size=None, open_timeout=ANSWER_S) as wire:
                yield Browser(wire, address)
        finally:
            process.kill()


def _address(process: subprocess.Popen[bytes]) -> str:
    """Where it listens, as it says itself."""
    assert process.stderr is not None
    deadline = time.monotonic() + ANSWER_S
    while time.monotonic() < deadline:
        if select.select([process.stderr], [], [], 1.0)[0]:
            line = process.stderr.readline().decode(errors="replace")
            if "listening on " in line:
                return line.partition("listening on ")[2].strip()
            assert line, "Chromium ended"
    raise AssertionError("Chromium did not start")
