"""Headless Chromium, driven by the WebDriver protocol, and servers on free loopback ports."""

import base64
import contextlib
import http.client
import io
import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from PIL import Image

from trainer.errors import UserError

_PATIENCE = 60  # seconds for a program to start, or a page to show something
_BROWSER_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # Chromium refuses its sandbox as root, as in most containers
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
)
# all(selector): elements, also those in shadow trees and frames; within(outer, inner): those in
# others; text(): what they all say.
_DEEP = """
const inside = node => node.shadowRoot ? [node.shadowRoot] :
    node.tagName === 'IFRAME' && node.contentDocument?.body ? [node.contentDocument.body] : [];
const all = (selector, root = document) => [...root.querySelectorAll(selector),
    ...[...root.querySelectorAll('*')].flatMap(inside).flatMap(tree => all(selector, tree))];
const within = (outer, inner) => all(outer)
    .flatMap(each => [each, ...inside(each)]).flatMap(tree => all(inner, tree));
const say = node => node.nodeType === 3 ? node.data + ' ' :
    ['STYLE', 'SCRIPT', 'TEMPLATE'].includes(node.tagName) ? '' :
    [...inside(node), ...node.childNodes].map(say).join('');
const text = () => say(document.body ?? document).replace(/\\s+/g, ' ');
"""


@contextlib.contextmanager
def server(command: list[str], ready_path: str) -> Iterator[int]:
    """Runs a program that serves on a free loopback port, until the context ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([*command, f"--port={port}"], stdout=said, stderr=said)
        try:
            wait_for(lambda: process.poll() is not None or _answers(port, ready_path), command[0])
            if process.poll() is not None:
                said.seek(0)
                last = said.read().decode(errors="replace").strip().splitlines()[-1:]
                raise UserError(f"{' '.join(command)} ended with {process.returncode}: {last}")
            yield port
        finally:
            process.terminate()
            process.wait()


class Browser:
    """A page in headless Chromium (https://www.w3.org/TR/webdriver2/)."""

    def __init__(self, call: Callable[..., Any]):
        self._call = call

    def open(self, url: str) -> None:
        """Leaves the page for another."""
        self._call("POST", "/url", {"url": "about:blank"})  # a new #fragment alone loads nothing
        self._call("POST", "/url", {"url": url})

    def run(self, script: str) -> Any:
        """The value that a JavaScript function's body returns; it may call `all` and `text`."""
        return self._call("POST", "/execute/sync", {"script": _DEEP + script, "args": []})

    def wait(self, condition: str, what: str) -> None:
        """Waits until a JavaScript expression is true.

        Raises:
          UserError: `what` did not appear.
        """
        wait_for(lambda: bool(self.run(f"return !!({condition});")), what)

    def picture(self) -> Image.Image:
        """The visible part of the page, in RGB."""
        png = base64.b64decode(self._call("GET", "/screenshot"))
        return Image.open(io.BytesIO(png)).convert("RGB")


@contextlib.contextmanager
def browser(width: int, height: int, phone: bool = False) -> Iterator[Browser]:
    """A browser with a window of so many dots, or a phone's.

    Raises:
      UserError: chromium or its driver is not installed.
    """
    for program in ("chromium", "chromedriver"):
        if not shutil.which(program):
            raise UserError(
                f"{program} is not on PATH: on Debian, apt-get install chromium chromium-driver"
            )
    chrome: dict[str, Any] = {"args": [*_BROWSER_FLAGS, f"--window-size={width},{height}"]}
    if phone:  # no window is as narrow
        screen = {"width": width, "height": height, "pixelRatio": 1.0}
        chrome["mobileEmulation"] = {"deviceMetrics": screen}
    options = {"goog:chromeOptions": chrome}
    with server(["chromedriver"], "/status") as port:
        opened = _call(port, "POST", "/session", {"capabilities": {"alwaysMatch": options}})
        session = f"/session/{opened['sessionId']}"
        try:
            yield Browser(lambda method, path, *body: _call(port, method, session + path, *body))
        finally:
            _call(port, "DELETE", session)


def _call(port: int, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    try:
        connection.request(method, path, None if body is None else json.dumps(body))
        value = json.loads(connection.getresponse().read())["value"]
    finally:
        connection.close()
    if isinstance(value, dict) and "error" in value:
        first = value["message"].splitlines()[0]
        raise UserError(f"the browser failed: {value['error']}: {first}")
    return value


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def wait_for(ready: Callable[[], bool], what: str) -> None:
    """Asks until it is so. Raises UserError where it takes too long."""
    deadline = time.monotonic() + _PATIENCE
    while not ready():
        if time.monotonic() > deadline:
            raise UserError(f"{what} did not appear within {_PATIENCE} s")
        time.sleep(0.2)
