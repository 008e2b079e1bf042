"""Corpora with files, columns and words of their own."""

import dataclasses

import numpy as np
import pytest

from trainer import config
from trainer.config import Corpus, Data, Experiment
from trainer.data import mixture, sources
from trainer.errors import UserError
from trainer.tasks.classification import Classification
from trainer.tasks.several import SeveralTasks

TASK = SeveralTasks(metrics=("mood=accuracy", "german=bleu"))


def corpora(tmp_path) -> list[Corpus]:
    (tmp_path / "moods").mkdir()
    (tmp_path / "moods" / "all.tsv").write_text("".join(f"{i % 2}\tmood {i}\n" for i in range(10)))
    (tmp_path / "moods" / "dev.tsv").write_text("1\tfine\n0\tbad\n")
    for name, rows in {"train": 5, "val": 2, "test": 3}.items():
        for language in ("en", "de"):
            lines = "".join(f"{name} {language} {i}\n" for i in range(rows))
            (tmp_path / f"{name}.{language}").write_text(lines)
    mood = Corpus(
        name="mood",
        dataset="moods",
        train="all.tsv[:80%]",
        validation="all.tsv[80%:]",
        test="dev.tsv",
        header=False,
        source="1",
        target="0",
        prefix="mood: ",
        words=("0=bad", "1=good"),
    )
    german = Corpus(
        name="german",
        train="train",
        validation="val",
        test="test",
        format="parallel",
        source="en",
        target="de",
        prefix="in German: ",
    )
    return [mood, german]


def data(tmp_path, **changes) -> Data:
    given = {"corpora": corpora(tmp_path), "source": "files", "test": "", **changes}
    return Data(data_dir=str(tmp_path), **given)


def test_rows_have_prefixes_words_and_names(tmp_path):
    source = sources.open_source(data(tmp_path), TASK)
    assert source.names == ["train", "validation", "mood", "german"]
    train = list(source.rows("train"))
    assert train[1] == {"source": "mood: mood 1", "target": "good", "corpus": "mood"}
    assert train[8] == {
        "source": "in German: train en 0",
        "target": "train de 0",
        "corpus": "german",
    }
    assert train[8].where.endswith("train.de, row 1")
    assert mixture.corpora(np.array([row.id for row in train])).tolist() == [0] * 8 + [1] * 5
    held = [(row["corpus"], row["target"]) for row in source.rows("validation")]
    assert held == [("mood", "bad"), ("mood", "good")] + [("german", f"val de {i}") for i in (0, 1)]
    assert [row["target"] for row in source.rows("mood")] == ["good", "bad"]
    assert len(list(source.rows("german"))) == 3


@pytest.mark.parametrize(
    ("number", "change"),
    [
        (0, {"prefix": "m: "}),
        (0, {"words": ("0=no", "1=yes")}),
        (1, {"source": "de", "target": "en"}),
    ],
)
def test_what_rows_are_made_of_is_in_the_fingerprint(tmp_path, number, change):
    one = data(tmp_path)
    other = dataclasses.replace(one, corpora=[dataclasses.replace(each) for each in one.corpora])
    prints = lambda of: sources.open_source(of, TASK).fingerprint("train")  # noqa: E731
    assert prints(one) == prints(other)
    vars(other.corpora[number]).update(change)
    assert prints(one) != prints(other)


def test_without_validation_a_share_of_all_is_cut(tmp_path):
    given = data(tmp_path, validation_share=0.4)
    for each in given.corpora:
        each.validation = ""
    source = sources.open_source(given, TASK)
    assert source.cut == ["validation"]
    count = sum(len(list(source.rows(name))) for name in ("train", "validation"))
    assert count == 13


@pytest.mark.parametrize(
    ("number", "change", "said"),
    [
        (
            0,
            {"words": ("0=bad",)},
            r"row 2: the label '1' has no text in config\.data\.corpora",
        ),
        (0, {"validation": "all.tsv[70%:]"}, "this would select on examples that were trained on"),
        (0, {"test": "all.tsv"}, "this would be selecting on the split that is reported"),
        (1, {"train": "none"}, r"config\.data\.corpora\[1\]\.train='none' with .* no such file"),
        (1, {"source": "fr"}, r"with config\.data\.corpora\[1\]\.source='fr': there is no such"),
    ],
)
def test_files_that_do_not_do(tmp_path, number, change, said):
    given = data(tmp_path)
    vars(given.corpora[number]).update(change)
    with pytest.raises(UserError, match=said):
        list(sources.open_source(given, TASK).rows("train"))


def experiment(tmp_path, **changes) -> Experiment:
    return Experiment(data=data(tmp_path, **changes), task=TASK)


def test_settings_come_back_and_files_may_move(tmp_path):
    made = experiment(tmp_path)
    config.validate(made)
    again = config.from_dict(config.to_dict(made), made)
    assert again.data == made.data
    again.data.corpora[1].train = "moved"
    assert config.differences(made, again) == []
    again.data.corpora[1].prefix = "to German: "
    (line,) = config.differences(made, again)
    assert line.startswith("config.data.corpora[1].prefix: 'in German: '")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"test": "t"}, r"config\.data\.test='t' is not for config\.data\.corpora"),
        ({"mixture": ("a",)}, r"config\.data\.mixture=\('a',\) is not for config\.data\.corpora"),
        ({"weights": (1.0,)}, r"weights has 1 numbers: give 2, one for each of config\.data\.corp"),
        (
            {"weights": (1.0, 1.0), "mixing_limit": 3},
            r"mixing_limit=3 and mixing_temperature=1\.0 have no effect, as config\.data\.weights",
        ),
    ],
)
def test_settings_that_contradict_corpora(tmp_path, change, said):
    with pytest.raises(UserError, match=said):
        config.validate(experiment(tmp_path, **change))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "german"}, r"corpora\[0\]\.name='german' must be a word of small letters"),
        ({"source": ""}, r"corpora\[0\]\.source is empty"),
        ({"validation": ""}, r"corpora\[1\]\.validation='val': give one to each corpus"),
        ({"words": ("0=a", "1=a")}, r"corpora\[0\]\.words=.*give each label once, with a text"),
    ],
)
def test_corpora_that_cannot_be(tmp_path, change, said):
    made = experiment(tmp_path)
    vars(made.data.corpora[0]).update(change)
    with pytest.raises(UserError, match=said):
        config.validate(made)


def test_a_task_that_reads_no_sources_is_refused(tmp_path):
    made = experiment(tmp_path)
    made.task = Classification()
    with pytest.raises(UserError, match=r"hold sources and targets, which config\.task=.* not"):
        config.validate(made)
    with pytest.raises(UserError, match="have no effect, as there is a single corpus"):
        config.validate(Experiment(data=Data(mixing_temperature=2.0)))


def test_rates_are_of_rows_up_to_a_limit_and_of_a_temperature():
    assert mixture.rates([100, 900, 50], 0, 1.0) == [100, 900, 50]
    assert mixture.rates([100, 900, 50], 400, 1.0) == [100, 400, 50]
    assert mixture.rates([100, 900, 50], 400, 2.0) == pytest.approx([10, 20, 50**0.5])
