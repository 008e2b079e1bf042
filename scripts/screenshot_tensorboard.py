"""A picture of a run's TensorBoard page, taken by headless Chromium.

    .venv/bin/python scripts/screenshot_tensorboard.py --workdir=runs/quickstart --output=tb.png

Needs `chromium` and `chromedriver` on PATH (Debian: apt-get install chromium chromium-driver).
"""

import base64
import contextlib
import http.client
import io
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags
from PIL import Image

from trainer.errors import UserError

_WORKDIR = flags.DEFINE_string("workdir", "", "the run's folder")
_OUTPUT = flags.DEFINE_string("output", "tensorboard.png", "the PNG file to write")

_PINNED = (
    "train/loss",
    "train/learning_rate",
    "validation/accuracy",
    "validation/loss",
    "train/tokens_per_second",
    "validation/auc",
)
_WIDTH, _HEIGHT = 1600, 1060  # pixels
_PATIENCE = 60  # seconds for a program to start, or the page to draw its charts
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
    f"--window-size={_WIDTH},{_HEIGHT}",
)
# Every point in sight, and room: no step table under the charts, then no settings beside them.
_TIDY = """
document.querySelector('.scalars-ignore-outliers input').click();
document.querySelector('.scalars-step-selector input').click();
document.querySelector('metrics-dashboard-right-pane').parentElement.querySelector('button').click();
"""
# Every card on the screen holds a chart with at least one drawn line.
_CHARTS_DRAWN = """
const cards = [...document.querySelectorAll('scalar-card')];
const lines = card => [...card.querySelectorAll('line-chart svg path')]
    .filter(path => (path.getAttribute('d') || '').length > 10);
return cards.length > 0 && cards.every(card => lines(card).length > 0);
"""


def screenshot(folder: Path, output: Path) -> None:
    """Serves the event files under `folder` and writes a picture of their curves to `output`.

    Raises:
      UserError: nothing to show, a program is missing, or the charts did not appear.
    """
    if not any(folder.glob("*tfevents*")):
        raise UserError(f"{folder} holds no TensorBoard event files: is it a run's folder?")
    for program in ("chromium", "chromedriver"):
        if not shutil.which(program):
            raise UserError(
                f"{program} is not on PATH: on Debian, apt-get install chromium chromium-driver"
            )
    named = f"--logdir_spec={folder.parent.resolve().name}:{folder}"  # the run's name on the page
    board = ("-m", "tensorboard.main", "--host=127.0.0.1", "--load_fast=false", named)
    pins = json.dumps([{"plugin": "scalars", "tag": tag} for tag in _PINNED])
    query = urllib.parse.urlencode({"pinnedCards": pins, "smoothing": 0})
    with (
        _server([sys.executable, *board], "/data/runs") as board_port,
        _server(["chromedriver"], "/status") as driver_port,
        _browser(driver_port) as browser,
    ):
        page = f"http://127.0.0.1:{board_port}/?{query}#timeseries"
        browser("POST", "/url", {"url": page})
        drawn = {"script": _CHARTS_DRAWN, "args": []}
        _wait_for(lambda: browser("POST", "/execute/sync", drawn), "TensorBoard's charts")
        browser("POST", "/execute/sync", {"script": _TIDY, "args": []})
        time.sleep(1)  # the cards take their new places
        _wait_for(lambda: browser("POST", "/execute/sync", drawn), "TensorBoard's charts")
        time.sleep(1)
        picture = Image.open(io.BytesIO(base64.b64decode(browser("GET", "/screenshot"))))
    picture.convert("RGB").quantize(128).save(output, optimize=True)


@contextlib.contextmanager
def _server(command: list[str], ready_path: str) -> Iterator[int]:
    """Runs a program that serves on a free loopback port, until the context ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([*command, f"--port={port}"], stdout=said, stderr=said)
        try:
            _wait_for(lambda: process.poll() is not None or _answers(port, ready_path), command[0])
            if process.poll() is not None:
                said.seek(0)
                last = said.read().decode(errors="replace").strip().splitlines()[-1:]
                raise UserError(f"{' '.join(command)} ended with {process.returncode}: {last}")
            yield port
        finally:
            process.terminate()
            process.wait()


@contextlib.contextmanager
def _browser(port: int) -> Iterator[Callable[..., Any]]:
    """A browser driven by the WebDriver protocol (https://www.w3.org/TR/webdriver2/)."""
    options = {"goog:chromeOptions": {"args": list(_BROWSER_FLAGS)}}
    opened = _call(port, "POST", "/session", {"capabilities": {"alwaysMatch": options}})
    session = f"/session/{opened['sessionId']}"
    try:
        yield lambda method, path, body=None: _call(port, method, session + path, body)
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


def _wait_for(ready: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not ready():
        if time.monotonic() > deadline:
            raise UserError(f"{what} did not appear within {_PATIENCE} s")
        time.sleep(0.2)


def main(arguments: Sequence[str]) -> None:
    """Checks the flags and takes the picture."""
    try:
        if len(arguments) > 1:
            raise UserError(f"unexpected argument: {arguments[1]!r}")
        if not _WORKDIR.value:
            raise UserError("--workdir is missing: name the run's folder")
        output = Path(_OUTPUT.value)
        if not output.parent.is_dir():
            raise UserError(f"--output={output}: there is no folder {output.parent}")
        screenshot(Path(_WORKDIR.value) / "tensorboard", output)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"wrote {output} ({output.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    app.run(main)
