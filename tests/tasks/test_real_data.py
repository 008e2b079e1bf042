"""Real data sets as their configs read them: counts that their authors published.

THAW_TASK_DATA names a folder that holds conll2003, wnut17 and glue; nothing of them is kept here.
"""

import importlib
import os
from pathlib import Path

import numpy as np
import pytest

from trainer import config
from trainer.data.encode import Encoded
from trainer.data.sources import open_source
from trainer.tasks.task import Piece

TAGGED = {
    "conll2003": (
        "IOB1",
        ["LOC", "MISC", "ORG", "PER"],
        {
            "train": (14_041, 203_621, 23_499),
            "validation": (3_250, 51_362, 5_942),
            "test": (3_453, 46_435, 5_648),
        },
    ),
    "wnut17": (
        "BIO",
        ["corporation", "creative-work", "group", "location", "person", "product"],
        {"train": (3_394, 0, 1_975), "validation": (1_009, 0, 836), "test": (1_287, 0, 1_079)},
    ),
}
GLUE = {
    "cola": ("CoLA", 8_551, 1_043),
    "mrpc": ("MRPC", 3_668, 408),
    "rte": ("RTE", 2_490, 277),
    "sst2": ("SST-2", 67_349, 872),
    "stsb": ("STS-B", 5_749, 1_500),
}
CONFIGS = [*(f"tagging.{name}" for name in TAGGED), *(f"glue.{name}" for name in GLUE)]


def experiment(name: str, *source: str) -> config.Experiment:
    return importlib.import_module(f"configs.{name}").get_config(*source)


@pytest.fixture(scope="module")
def folder() -> Path:
    """The folder of the data."""
    found = Path(os.environ.get("THAW_TASK_DATA", "/nowhere"))
    if not found.is_dir():
        pytest.skip("THAW_TASK_DATA names no folder with conll2003, wnut17 and glue")
    return found


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_are_valid(name):
    given = experiment(name)
    config.validate(given)
    given.task.validate()
    assert given.data.source == "files"
    assert given.model.pretrained == "data/minilm"
    metric = given.evaluation.metric or given.task.metric
    bound = given.task.bound({"types": ["A"], "scheme": "BIO", "labels": ["0", "1"]})
    assert metric in bound.metric_names()


@pytest.mark.parametrize("name", [name for name in CONFIGS if "wnut" not in name])
def test_configs_read_tfds_too(name):
    given = experiment(name, "tfds")
    config.validate(given)
    assert given.data.source == "tfds"
    assert "/" in given.data.name
    assert "test" not in given.data.test or name == "tagging.conll2003"  # GLUE's are hidden


@pytest.mark.parametrize("name", TAGGED)
@pytest.mark.parametrize("below", [False, True])
def test_sentences_words_and_entities(folder, name, below):
    scheme, types, sets = TAGGED[name]
    given = experiment(f"tagging.{name}")
    given.data.data_dir = str(folder / name if below else folder)
    source = open_source(given.data, given.task)
    assert source.facts == {"types": types, "scheme": scheme}
    task = given.task.bound(source.facts)
    begins = [task.names.index(f"B-{kind}") for kind in types]
    for split, expected in sets.items():
        sentences = words = entities = 0
        for row in source.rows(split):
            tokens = Encoded(np.zeros(len(row["words"])), 0, cut=False)
            piece = Piece(0, tokens, {"word": np.arange(len(row["words"]))})
            tags = task.gold(row, piece)["tag"]
            sentences, words = sentences + 1, words + len(tags)
            entities += int(np.isin(tags, begins).sum())
        assert (sentences, entities) == (expected[0], expected[2])
        assert words == expected[1] or not expected[1]


@pytest.mark.parametrize("name", GLUE)
def test_pairs_and_phrases_of_glue(folder, name):
    place, train, test = GLUE[name]
    given = experiment(f"glue.{name}")
    for data_dir in (folder, folder / "glue" / place):
        given.data.data_dir = str(data_dir)
        source = open_source(given.data, given.task)
        task = given.task.bound(source.facts)
        counts = {"train": 0, "validation": 0, "test": 0}
        for split in counts:
            for row in source.rows(split):
                counts[split] += 1
                task.gold(row, Piece(0, Encoded(np.zeros(1), 1, cut=False), {}))
        assert counts["train"] + counts["validation"] == train
        assert counts["test"] == test
        assert 0.08 < counts["validation"] / train < 0.12
