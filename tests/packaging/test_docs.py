"""The pages: their links lead somewhere; the settings and flags of the guide are there."""

import dataclasses
import functools
import re
import typing

import pytest
from programs import ROOT

from trainer.config import Experiment
from trainer.tasks.classification import Classification
from trainer.tasks.regression import Regression
from trainer.tasks.tagging import Tagging
from trainer.tasks.text_to_text import TextToText

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
GUIDE = [ROOT / "README.md", *sorted((ROOT / "docs" / "use").glob("*.md"))]
FOREIGN = {"constraint", "editable", "gres", "logdir", "timeout"}  # flags of other programs


def _of(pages):
    return pytest.mark.parametrize("page", pages, ids=[str(p.relative_to(ROOT)) for p in pages])


def _anchors(text: str) -> set[str]:
    """Of the headings of a page, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@_of(PAGES)
def test_links_lead_somewhere(page):
    plain = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", plain):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target.read_text(encoding="utf-8")), link


def test_the_guide_names_each_of_its_pages():
    index = (ROOT / "docs" / "use" / "README.md").read_text(encoding="utf-8")
    names = {page.name for page in GUIDE} - {"README.md"}
    assert not names - set(re.findall(r"\]\((\w+\.md)\)", index))


def test_the_first_page_is_short_and_begins_with_two_commands_and_a_picture():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    screen = "\n".join(lines[:40])
    assert screen.count("\nmake t") == 2
    assert "![" in screen


@_of(GUIDE)
def test_settings_are_there(page):
    text = re.sub(r"config\.(json|py\b)", "", page.read_text(encoding="utf-8"))
    for head, field in re.findall(r"--config\.(\w+)(?:\[\w\])?(?:\.(\w+))?", text):
        assert head in _fields(Experiment), head
        assert not field or field in _fields_of(head), f"{head}.{field}"


def _fields(node: type) -> set[str]:
    return {each.name for each in dataclasses.fields(node)}


def _fields_of(name: str) -> set[str]:
    if name == "task":
        return set().union(*map(_fields, (Classification, Regression, Tagging, TextToText)))
    kind = typing.get_type_hints(Experiment)[name]
    return set().union(*(_fields(k) for k in (kind, *typing.get_args(kind)) if _is_node(k)))


def _is_node(kind: object) -> bool:
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


@functools.cache
def _flags() -> set[str]:
    sources = [*ROOT.glob("launch/*.py"), *ROOT.glob("scripts/**/*.py")]
    defined = r"(?:DEFINE_\w+|define_\w+|add_argument)\(\s*\"(?:--)?([\w-]+)\""
    found = re.findall(defined, "\n".join(each.read_text(encoding="utf-8") for each in sources))
    return {*found, "config", "cache_dir", "trust", "help"}


@_of(GUIDE)
def test_flags_are_there(page):
    named = re.findall(r"(?<![\w-])--([a-z][\w-]+)(?![\w.\[]|-)", page.read_text(encoding="utf-8"))
    assert not set(named) - _flags() - FOREIGN
