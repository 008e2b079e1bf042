"""The card of a model says what the run holds, and nothing of it is taken for Markdown or HTML."""

import html.parser
import json
import re

import numpy as np
import pytest
import yaml
from markdown_it import MarkdownIt
from sealing import DERIVED

from trainer.config import Data, Experiment, Model
from trainer.export.card import Card, code, number, prose, words, write_card
from trainer.storage.workdir import Workdir
from trainer.tasks.calibration import Calibration
from trainer.tasks.regression import Regression

HOSTILE = (
    *("a|b", "`", "``a``", "<script>alert(1)</script>", "</code><img src=x onerror=alert(1)>"),
    *(
        "[a](http://evil.example)",
        "![a](b)",
        "<http://evil.example>",
        "*a* _b_ __c__",
        "# a",
        "---",
    ),
    *("a\\|b", "a\\", "&amp;", "&#124;", " a ", "", "größe ♥", "$x$", "{{ 7 * 7 }}", "1. a", "- a"),
    *("| a | b |", "~~a~~", "`` | ``", "https://evil.example", "|", "\\`", "'", '"'),
)
UNSEEN = (
    "a\nb",
    "---\nlibrary_name: evil\n---",
    "a\n\n# b",
    "\n```\n",
    "a\x00b",
    "a\u202eb",
    "a\tb",
)


class Ended(Workdir):
    """The folder of a run with these results."""

    def __init__(self, folder, result):
        super().__init__(folder)
        self._result = result

    def result(self):
        return self._result


class Page(html.parser.HTMLParser):
    """Texts of the elements of a page by tag, and the cells of its tables by row."""

    def __init__(self, text: str):
        super().__init__()
        self._open: list[tuple[str, str]] = []
        self.texts: dict[str, list[str]] = {}
        self.rows: list[list[str]] = []
        self.feed(MarkdownIt("commonmark").enable("table").render(text))

    def handle_starttag(self, tag, attrs):
        self._open.append((tag, ""))
        if tag == "tr":
            self.rows.append([])

    def handle_data(self, data):
        self._open = [(tag, text + data) for tag, text in self._open]

    def handle_endtag(self, tag):
        name, text = self._open.pop()
        assert name == tag
        self.texts.setdefault(tag, []).append(text)
        if tag in ("td", "th"):
            self.rows[-1].append(text)


def shown(value: str) -> str:
    return value if value.isprintable() else json.dumps(value)


@pytest.mark.parametrize("value", HOSTILE + UNSEEN)
def test_a_value_is_shown_as_it_is(value):
    page = Page(f"before {code(value)} after\n\n| a | b |\n|---|---|\n| {code(value)} | c |\n")
    assert page.texts["code"] == [shown(value)] * 2
    assert page.texts["p"] == [f"before {shown(value)} after"]
    assert [[cell.strip() for cell in row] for row in page.rows] == [
        ["a", "b"],
        [shown(value).strip(), "c"],
    ]
    assert page.texts.keys() == {"code", "p", "table", "thead", "tbody", "tr", "th", "td"}
    assert Page(f"# {words(value)}").texts["h1"] == [shown(value)]


@pytest.mark.parametrize("value", [value for value in HOSTILE if value.strip() == value])
def test_a_sentence_that_quotes(value):
    assert Page(prose(f"it has {value} in it")).texts == {"p": [f"it has {value} in it"]}


def test_plain_values_stay_readable():
    assert words("roc auc") == "roc auc"
    assert words("my_run") == code("my_run") == "`my_run`"
    assert code("phases[0].learning_rate") == "`phases[0].learning_rate`"
    assert [number(v) for v in (0.5, 1, None, "a|b", True)] == [
        *("0.5000", "1.0000", "", code("a|b"), "`True`"),
    ]
    assert number(7.0, 0) == "7"
    assert code("x" * 1000) == "`" + "x" * 300 + "…`"


def front_matter(text: str) -> dict:
    return yaml.safe_load(text.split("---\n")[1])


@pytest.mark.parametrize("format_", ["savedmodel", "keras", "huggingface"])
@pytest.mark.parametrize(
    "value", ["a|b", "</td><script>alert(1)</script>", "---\nlicense: mit\n---"]
)
def test_a_hostile_run_changes_nothing_but_its_own_words(tmp_path, format_, value):
    folder = tmp_path / ("run" if "/" in value else value)
    folder.mkdir()
    metrics = {"accuracy": 0.75, "examples": 8, value: 0.5, "text": value}
    result = {
        "validation": metrics,
        "test": metrics,
        "test_calibration_error": {"before": 0.25, "after": 0.125},
        "versions": {"python": value, value: "1"},
    }
    workdir = Ended(folder, result)
    fitted = Calibration.fit(9, np.array([0, 1, 1]), np.eye(2)[[0, 1, 0]], 0.9)
    fitted.save(workdir.calibration_file)
    config = Experiment(data=Data(source="files", train=value), model=Model(pretrained=value))
    derived = {"facts": {"labels": [value, "pos"]}, "data_fingerprint": {value: value}}
    write_card(Card(workdir, config, derived, 9), tmp_path, format_, f"it holds {value!r}")
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert text.startswith("---\n")
    library = {"savedmodel": "tensorflow", "huggingface": "transformers"}.get(format_, format_)
    assert front_matter(text) == {
        "pipeline_tag": "text-classification",
        "library_name": library,
    }
    page = Page(text.partition("---\n\n")[2])
    assert page.texts.keys() <= {
        *("h1", "h2", "p", "pre", "code", "table", "thead", "tbody", "tr", "th", "td", "ul", "li"),
    }
    said = shown(value)
    assert page.texts["h1"] == [shown(folder.name)]
    sections = ["Use", "Data", "Metrics", "Calibration", "Limits", "Settings", "Versions"]
    assert page.texts["h2"] == sections
    assert f"for the labels {said}, pos, the weights of step 9" in page.texts["p"][0].replace(
        "\n", " "
    )
    for row in (
        ["source", f"files: {said}"],
        [said, f"sha256 {said}"],
        ["accuracy", "0.7500", "0.7500"],
        ["examples", "8", "8"],
        [shown(value.replace("_", " ")), "0.5000", "0.5000"],
        ["text", said, said],
        ["model.pretrained", said],
    ):
        assert row in page.rows
    assert f"python {said}" in page.texts["p"][-1]


def test_the_unit_of_the_outputs_is_said(tmp_path):
    config = Experiment(task=Regression(standardized=True))
    derived = {"facts": {"mean": 212.5, "deviation": 80.0}}
    write_card(Card(Workdir(tmp_path), config, derived, 9), tmp_path, "keras")
    said = Page((tmp_path / "README.md").read_text(encoding="utf-8")).texts["p"]
    end = "gives the task's outputs; a score is an output times 80, plus 212.5."
    assert any(each.replace("\n", " ").endswith(end) for each in said), said


def test_many_labels_are_cut(tmp_path):
    labels = [f"label {i}" for i in range(1000)]
    write_card(
        Card(Workdir(tmp_path), Experiment(), {"facts": {"labels": labels}}, 9), tmp_path, "keras"
    )
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "`label 99` and 900 more, the weights" in text
    assert "label 100" not in text


@pytest.mark.parametrize("format_", ["savedmodel", "keras", "huggingface"])
def test_says_calibrated_only_where_something_was_fitted(tmp_path, format_):
    workdir = Workdir(tmp_path)
    card = Card(workdir, Experiment(), DERIVED, 9)
    said = []
    for fitted in (False, True):
        if fitted:
            Calibration.fit(9, np.array([0, 1, 1]), np.eye(2)[[0, 1, 0]], 0.9).save(
                workdir.calibration_file
            )
        write_card(card, tmp_path, format_)
        said.append((tmp_path / "README.md").read_text(encoding="utf-8"))
    assert "Not fitted" in said[0]
    assert " calibrated" not in said[0]
    assert " calibrated" in said[1] or "divide" in said[1]
    assert re.search(r"`pos` from \d\.\d{4} on", said[1])
