"""Pictures of the pages of TensorBoard for some runs, taken by headless Chromium.

    .venv/bin/python scripts/screenshot_tensorboard.py --logdir=runs --output=docs/images

Writes tensorboard_time_series.png, tensorboard_hparams.png and so on, a picture a page; the profile
page only where a run was profiled (--config.runtime.profile_steps) and xprof is installed. Needs
`chromium` and `chromedriver` on PATH (Debian: apt-get install chromium chromium-driver).
"""

import json
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from absl import flags
from browser import Browser, browser, server

from launch import main as program
from trainer.errors import UserError

_LOGDIR = program.define_path("logdir", "folder of runs")
_OUTPUT = program.define_path("output", "folder to write the pictures to", default=".")
_PAGES = flags.DEFINE_list("pages", [], "which pages (all of them)")

_WIDTH, _HEIGHT = 1600, 1060  # pixels
_PINNED = (
    "train/loss",
    "train/learning_rate",
    "validation/accuracy",
    "validation/loss",
    "train/tokens_per_second",
    "validation/auc",
)


class Page(NamedTuple):
    """A page of TensorBoard.

    Attributes:
      address: what stands behind the "/" of its URL.
      ready: JavaScript, true when it shows the runs.
      prepare: JavaScript, run first when the page is there, and the condition for it.
    """

    address: str
    ready: str
    prepare: tuple[str, str] = ("true", "")


_PINS = json.dumps([{"plugin": "scalars", "tag": tag} for tag in _PINNED])
# Every card in sight holds a chart with at least one drawn line.
_CARDS_DRAWN = """all('scalar-card').length > 0 && all('scalar-card').every(card =>
    [...card.querySelectorAll('line-chart svg path')]
        .some(path => (path.getAttribute('d') || '').length > 10))"""
# Every point in sight, and room: no step table under the charts, then no settings beside them.
_TIDY = """
all('.scalars-ignore-outliers input')[0].click();
all('.scalars-step-selector input')[0].click();
all('metrics-dashboard-right-pane')[0].parentElement.querySelector('button').click();
"""
_SELECT = "all('mat-select').find(each => each.textContent.includes('Overview Page'))"
_ACTUAL_SIZE = "all('paper-checkbox').find(each => each.textContent.includes('actual image size'))"
_CONFIG_HEADING = (  # to close it: the tables below are more to look at
    "all('button.heading').find(each => each.textContent.trim().startsWith('config'))"
)
_PROJECTOR = "all('vz-projector-data-panel')[0]"
PAGES = {
    "time_series": Page(
        "?" + urllib.parse.urlencode({"pinnedCards": _PINS, "smoothing": 0}) + "#timeseries",
        _CARDS_DRAWN,
        (_CARDS_DRAWN, _TIDY),
    ),
    "custom_scalars": Page(
        "#custom_scalars",
        "['train/loss', 'validation/loss', 'memory/host_mib']"  # in the order in which they come
        ".every(tag => RegExp(`Matches .* ${tag} `).test(text()))",
    ),
    "hparams": Page("#hparams", "text().includes('final/test/accuracy')"),
    "pr_curves": Page(
        "#pr_curves",
        "text().includes('tag: validation/') && within('tf-pr-curve-card', 'path')"
        ".some(path => (path.getAttribute('d') || '').length > 300)",
    ),
    "images": Page(
        "#images",
        "all('img').length > 2 && all('img').every(image => image.naturalWidth > 50)",
        (f"all('img').length > 2 && {_ACTUAL_SIZE}", f"{_ACTUAL_SIZE}.click()"),
    ),
    "histograms": Page(
        "#histograms",
        "text().includes('tag: gradients/')"
        " && within('vz-histogram-timeseries', 'path').length > 4",
    ),
    "text": Page(
        "#text",
        "text().includes('wrong predictions') && all('tf-text-loader')"
        ".every(each => all('pre, table', each.shadowRoot || each).length > 0)",
        (_CONFIG_HEADING, f"{_CONFIG_HEADING}.click()"),
    ),
    "projector": Page(
        "#projector",
        "/Points: \\d+/.test(text()) && all('canvas').length > 0",
        (
            f"({_PROJECTOR}?.colorOptions || []).some(each => each.name === 'label')",
            f"{_PROJECTOR}.selectedColorOptionName = 'label';",
        ),
    ),
    "profile": Page(
        "#profile",
        "text().includes('/host:CPU')",
        (
            f"/Tools \\(\\d+\\)/.test(text()) && {_SELECT}",
            f"{_SELECT}.querySelector('.mat-mdc-select-trigger').click();"
            " setTimeout(() => all('mat-option')"
            ".find(each => each.textContent.includes('Trace Viewer')).click(), 500);",
        ),
    ),
}


def visit(logdir: Path, names: Sequence[str] = tuple(PAGES)) -> Iterator[tuple[str, Browser]]:
    """Serves the runs under `logdir` and shows one page after the other.

    Yields:
      A page's name, and the browser when the page is drawn.

    Raises:
      UserError: nothing to show, a program is missing, or a page did not appear.
    """
    if not any(logdir.rglob("*tfevents*")):
        raise UserError(f"{logdir} holds no TensorBoard event files: is it a folder of runs?")
    board = ("-m", "tensorboard.main", "--host=127.0.0.1", "--load_fast=false")
    with (
        browser(_WIDTH, _HEIGHT) as page,
        server([sys.executable, *board, f"--logdir={logdir}"], "/data/runs") as port,
    ):
        for name in names:
            address, ready, (there, prepare) = PAGES[name]
            page.open(f"http://127.0.0.1:{port}/{address}")
            if prepare:
                page.wait(there, f"TensorBoard's page {name!r}")
                page.run(prepare)
                time.sleep(1)  # what was clicked on takes its new place
            page.wait(ready, f"TensorBoard's page {name!r}")
            yield name, page


def profiled(logdir: Path) -> bool:
    """True if there is a profile to show."""
    return any(logdir.rglob("*.xplane.pb"))


def screenshots(
    logdir: Path, output: Path, names: Sequence[str], say: Callable[[str], None]
) -> None:
    """Writes a picture of each page."""
    for name, page in visit(logdir, names):
        time.sleep(1)  # animations end
        file = output / f"tensorboard_{name}.png"
        page.picture().quantize(128).save(file, optimize=True)
        say(f"wrote {file} ({file.stat().st_size / 1000:.0f} kB)")


def main() -> None:
    """Checks the flags and takes the pictures."""
    if not _LOGDIR.value:
        raise UserError("--logdir is missing: name a folder of runs")
    logdir, output = _LOGDIR.value, _OUTPUT.value
    if not output.is_dir():
        raise UserError(f"--output={output}: there is no such folder")
    unknown = [name for name in _PAGES.value if name not in PAGES]
    if unknown:
        raise UserError(f"--pages: {unknown[0]!r} is not one of: {', '.join(PAGES)}")
    names = _PAGES.value or [n for n in PAGES if n != "profile" or profiled(logdir)]
    screenshots(logdir, output, names, print)


if __name__ == "__main__":
    program.run(main, __doc__)
