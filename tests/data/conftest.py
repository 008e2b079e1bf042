"""Small real data: CSV files, TFDS records, and a tokenizer trained on them."""

import csv
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from transformers import PreTrainedTokenizerFast

from trainer import config
from trainer.data import cache, sources, tokenizers
from trainer.data.encode import Encoded
from trainer.data.progress import Progress, quiet
from trainer.tasks.classification import Classification
from trainer.tasks.task import Piece

Rows = Sequence[tuple[str, object]]

NO_PIECE = Piece(0, Encoded(np.zeros(1, np.int64), 1, cut=False), {})
TEXT = "the film was good bad funny long story about a man who never came home again"
WORDS = TEXT.split()
ROWS: Rows = [
    (
        " ".join(WORDS[(i * k) % len(WORDS)] for k in range(1, 3 + i % 17)),
        "good" if i % 3 else "bad",
    )
    for i in range(200)
]


def write_csv(path: Path, rows: Sequence[Sequence[object]], header: Sequence[str]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writerows([header, *rows])
    return path


@pytest.fixture
def make_files(tmp_path: Path) -> Callable[..., config.Data]:
    """Writes train and test rows as CSV files and returns the settings that read them."""

    def make(train: Rows = ROWS, test: Rows = ROWS[:20], **fields: object) -> config.Data:
        paths = {}
        for name, rows in {"train": train, "test": [(f"{t} .", v) for t, v in test]}.items():
            paths[name] = str(write_csv(tmp_path / f"{name}.csv", rows, ["text", "label"]))
        return config.Data(source="files", **{**paths, **fields})

    return make


def opened(
    data: config.Data, facts: dict[str, Any] | None = None, **settings: object
) -> sources.Source:
    """The source of a classification with these settings."""
    return sources.open_source(data, Classification(**settings), facts)


def gold_of(source: sources.Source, split: str, **settings: object) -> list[dict[str, Any]]:
    """Class ids of each row's label, by a classification with these settings."""
    task = Classification(**settings).bound(source.facts)
    return [task.gold(row, NO_PIECE) for row in source.rows(split)]


def load_or_build(
    source: sources.Source,
    split: str,
    tokenizer: PreTrainedTokenizerFast,
    data: config.Data,
    cache_dir: Path,
    progress: Progress = quiet,
    **settings: object,
) -> cache.TokenSplit:
    """A split's table on disk, as a classification with these settings makes it."""
    task = Classification(**settings).bound(source.facts, tokenizer)
    return cache.load_or_build(
        source,
        split,
        task,
        tokenizer=tokenizer,
        data=data,
        cache_dir=cache_dir,
        progress=progress,
    )


@pytest.fixture
def source(make_files: Callable[..., config.Data]) -> sources.Source:
    return opened(make_files())


@pytest.fixture(scope="session")
def tokenizer():
    """A WordPiece tokenizer of the words in ROWS."""
    return tokenizers.train_tokenizer(config.Tokenizer(vocab_size=120), [text for text, _ in ROWS])


@pytest.fixture(scope="session")
def tfds_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared TFDS dataset "tiny" with splits train (60), test (20) and unlabelled (3)."""
    folder = tmp_path_factory.mktemp("tfds")
    tfds.disable_progress_bar()
    labels = {"bad": 0, "good": 1}
    rows = [{"text": t, "label": labels[v], "stars": 10 * labels[v]} for t, v in ROWS]
    splits = {
        "train": rows[:60],
        "test": rows[60:80],
        "unlabelled": [row | {"label": -1} for row in rows[80:83]],
    }
    tfds.dataset_builders.store_as_tfds_dataset(
        name="tiny",
        version="1.0.0",
        data_dir=folder,
        features=tfds.features.FeaturesDict(
            {
                "text": tfds.features.Text(),
                "label": tfds.features.ClassLabel(names=list(labels)),
                "stars": np.int32,
            }
        ),
        split_datasets={name: list(enumerate(rows)) for name, rows in splits.items()},
        disable_shuffling=True,
    )
    return folder


@pytest.fixture(scope="session")
def imdb_dir() -> Path:
    """The TFDS folder of the real reviews that IMDB= names, or the one beside the checkout."""
    folder = Path(os.environ.get("IMDB", Path(__file__).parents[3] / "shared" / "tfds"))
    if not (folder / "imdb_reviews").is_dir():
        pytest.skip(f"IMDB= names no TFDS folder with imdb_reviews, nor is there one in {folder}")
    return folder
