"""launch.report as a program, and its page in a real browser."""

import itertools
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from programs import ROOT

sys.path.insert(0, str(ROOT / "tests" / "reports"))
sys.path.insert(0, str(ROOT / "scripts"))

from made import run

MISSING = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]


def report(launch, *arguments: object):
    return launch(*arguments, program="launch.report")


@pytest.mark.browser
@pytest.mark.skipif(bool(MISSING), reason=f"not on PATH: {', '.join(MISSING)}")
def test_the_page_in_a_browser(launch, finished, tmp_path):
    import browser

    other = tmp_path / "other"
    shutil.copytree(finished, other)
    page = tmp_path / "report.html"
    ended = report(launch, f"--workdir={finished}", other, f"--output={page}")
    assert ended.status == 0, ended.stderr
    result = json.loads((finished / "result.json").read_text())
    errors = result["test_calibration_error"]
    for width, height, phone in ((1280, 900, False), (390, 844, True)):
        with browser.browser(width, height, phone) as shown:
            shown.open(f"file://{page}")
            text = shown.run("return text();")
            assert shown.run("return innerWidth;") == width
            assert shown.run("return document.documentElement.scrollWidth;") <= width
            sizes = shown.run(
                "return all('svg').map(s => s.getBoundingClientRect())"
                ".map(box => [box.width, box.height]);"
            )
            found = {
                name: shown.run(f"return document.getElementById('{name}-1').textContent;")
                for name in ("share", "calibration_error")
            }
        assert len(sizes) == 16
        assert all(w > 200 and 80 < h < 1000 for w, h in sizes)
        assert found["share"] == f"{100 * result['test']['accuracy']:.2f}\u00a0%"
        before, after = (f"{errors[name]:.4f}" for name in ("before", "after"))
        assert found["calibration_error"] == before
        becomes = rf"calibration error here, {before}, (becomes|rises to) {after} when logits are"
        assert re.search(becomes, text)
        titles = ("Wrong predictions", "By length", "By label", "Precision and recall")
        for said in ("not told from noise", *titles):
            assert said in text


OUTSIDE = """return all('body *').filter(each => !each.closest('.wide, pre'))
    .filter(each => each.getBoundingClientRect().right > innerWidth + 1)
    .map(each => each.outerHTML.slice(0, 200));"""
OVERLAPS = """const boxes = all('svg').map(svg => all('text', svg)
    .map(each => [each.textContent, each.getBoundingClientRect()])
    .filter(each => each[1].width > 0));
return boxes.flatMap(found => found.flatMap(([said, a], i) => found.slice(i + 1)
    .filter(([_, b]) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
        Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3)
    .map(([other]) => [said, other])));"""


@pytest.mark.browser
@pytest.mark.skipif(bool(MISSING), reason=f"not on PATH: {', '.join(MISSING)}")
@pytest.mark.parametrize("classes", [2, 30])
def test_long_names_overlap_nothing(classes, launch, tmp_path):
    import browser
    from test_page import long_name

    names = [long_name(i) for i in range(classes)]
    folder = run(tmp_path / "one", np.arange(600) % 7 > 0, names)
    ended = report(launch, f"--workdir={folder}")
    assert ended.stderr == f"Wrote {folder / 'report.html'}\n"  # and nothing about fonts
    for width, phone in ((1400, False), (480, True)):
        with browser.browser(width, 1000, phone) as shown:
            shown.open(f"file://{folder / 'report.html'}")
            assert shown.run("return document.documentElement.scrollWidth;") <= width
            assert shown.run(OUTSIDE) == []
            assert shown.run(OVERLAPS) == []
            rows = shown.run(
                "return all('.matrix th[scope=row] div').map(e => [e.title, e.textContent]);"
            )
            heads = shown.run(
                "return all('.matrix th[scope=col]').map(each => each.getBoundingClientRect())"
                ".map(box => [box.left, box.right]);"
            )
        assert rows == [[name, f"{i}\u00a0{name}"] for i, name in enumerate(names)]
        assert all(one[1] <= other[0] + 1 for one, other in itertools.pairwise(heads))


def test_the_page_of_one_run_lies_in_its_folder(launch, tmp_path):
    folder = run(tmp_path / "one", np.arange(60) % 4 > 0)
    ended = report(launch, f"--workdir={folder}")
    assert ended.status == 0, ended.stderr
    assert ended.stderr == f"Wrote {folder / 'report.html'}\n"
    assert "75.00" in (folder / "report.html").read_text()


@pytest.mark.long
def test_a_mistake_is_one_line_and_writes_nothing(launch, killed, tmp_path):
    one = run(tmp_path / "one", np.arange(60) % 4 > 0)
    two = run(tmp_path / "two", np.arange(80) % 4 > 0)
    page, loop = tmp_path / "page.html", tmp_path / "loop"
    loop.symlink_to(loop)
    for flags, said in (
        ([f"--workdir={tmp_path / 'none'}", f"--output={page}"], "holds no run"),
        ([f"--workdir={killed}", f"--output={page}"], "has not ended"),
        ([f"--workdir={one}", two], "--output is missing"),
        ([f"--workdir={one}", two, f"--output={page}"], "same test examples"),
        ([f"--workdir={one}", Path(f"{one}/../one"), f"--output={page}"], "named twice"),
        ([f"--workdir={one}", f"--output={tmp_path}/no/page.html"], "there is no folder"),
        ([f"--workdir={one}", "--output=."], "--output=. is a folder: name a file"),
        ([f"--workdir={loop}", f"--output={page}"], "Too many levels of symbolic links"),
        ([f"--workdir={one}", loop, f"--output={page}"], "Too many levels of symbolic links"),
        ([], "workdir"),
    ):
        ended = report(launch, *flags)
        assert ended.status == 2, ended.stderr
        assert len(ended.stderr.splitlines()) == 1
        assert said in ended.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loop", "one", "two"]
