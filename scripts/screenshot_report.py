"""Pictures of a page of launch.report, taken by headless Chromium at desktop and phone width.

    .venv/bin/python scripts/screenshot_report.py --page=runs/quickstart/report.html \
        --output=docs/images/report.png

Writes report.png and report_phone.png. Needs `chromium` and `chromedriver` on PATH.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags
from browser import browser

from trainer.errors import UserError

_PAGE = flags.DEFINE_string("page", None, "the HTML file", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "the PNG file to write", required=True)
_SIZES = (("", 1280, 1500, False), ("_phone", 390, 1500, True))  # pixels


def main(arguments: Sequence[str]) -> None:
    """Takes both pictures."""
    try:
        if len(arguments) > 1:
            raise UserError(f"unexpected argument: {arguments[1]!r}")
        page, output = Path(_PAGE.value), Path(_OUTPUT.value)
        if not page.is_file():
            raise UserError(f"--page={page} is not there: launch.report writes it")
        if not output.parent.is_dir():
            raise UserError(f"--output={output}: there is no folder {output.parent}")
        for suffix, width, height, phone in _SIZES:
            with browser(width, height, phone) as shown:
                shown.open(page.resolve().as_uri())
                shown.wait("all('svg').length > 0", "the report")
                time.sleep(0.5)
                file = output.with_stem(output.stem + suffix)
                shown.picture().quantize(128).save(file, optimize=True)
            print(f"wrote {file} ({file.stat().st_size / 1000:.0f} kB)")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    app.run(main)
