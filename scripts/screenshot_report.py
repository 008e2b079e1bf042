"""Pictures of a page of launch.report, taken by headless Chromium at desktop and phone width.

    .venv/bin/python scripts/screenshot_report.py --page=runs/quickstart/report.html \
        --output=docs/images/report.png

Writes report.png and report_phone.png. Needs `chromium` and `chromedriver` on PATH.
"""

import time

from browser import browser

from launch import main as program
from trainer.errors import UserError

_PAGE = program.define_path("page", "the HTML file", required=True)
_OUTPUT = program.define_path("output", "the PNG file to write", required=True)
_SIZES = (("", 1280, 1500, False), ("_phone", 390, 1500, True))  # pixels


def main() -> None:
    """Takes both pictures."""
    page, output = _PAGE.value, _OUTPUT.value
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


if __name__ == "__main__":
    program.run(main, __doc__)
