"""Material of inputs: a run that has ended, tokenizers, pretrained models, a TFDS folder.

Made once; an input spoils a copy. `python -m fuzz.samples FOLDER` makes what needs TensorFlow.
"""

import csv
import shutil
import sys
from pathlib import Path

from programs import ROOT, Prewarmed

QUICK = Path(__file__).with_name("quick.py")
ROWS = [(f"{word} film number {i}", word) for i in range(12) for word in ("good", "bad")]
TOKENIZERS = ("bert", "roberta", "gpt2", "albert", "xlm_roberta")
ASKED = ("a good film", "", "bad \U0001f642")
MODELS = ("bert", "distilbert", "roberta", "electra", "albert", "gpt2", "llama")


class Samples:
    """Where they lie.

    Attributes:
      folder: of all. run: a workdir. tokenizers, models: folders, by name. tfds: a data_dir.
      cache: of tokens. train, test: CSV files.
      answers: what launch.predict prints for ASKED.
    """

    answers = ""

    def __init__(self, folder: Path):
        self.folder, self.run, self.cache = folder, folder / "run", folder / "cache"
        self.train, self.test = folder / "train.csv", folder / "test.csv"
        self.tokenizers, self.models = folder / "tokenizers", folder / "models"
        self.tfds = folder / "tfds"

    def flags(self, folder: Path, cached: bool = True) -> list[str]:
        """Those of a quick run in `folder`/run, with a cache of its own."""
        if cached:
            shutil.copytree(self.cache, folder / "cache")
        return [
            f"--config={QUICK}",
            f"--config.data.train={self.train}",
            f"--config.data.test={self.test}",
            f"--cache_dir={folder / 'cache'}",
            f"--workdir={folder / 'run'}",
        ]

    def copy_run(self, folder: Path) -> Path:
        """The run that has ended, in `folder`."""
        return Path(shutil.copytree(self.run, folder / "run"))


def make(folder: Path, server: Prewarmed) -> Samples:
    """Makes all of them in a new folder."""
    samples = Samples(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for path, rows in (
        (samples.train, ROWS),
        (samples.test, [(f"a {text}", label) for text, label in ROWS[:8]]),
    ):
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
    for arguments, program in (
        (samples.flags(folder, cached=False), "launch.train"),
        ([folder], "fuzz.samples"),
    ):
        ended = server(*arguments, program=program, path=[ROOT / "tests"])
        assert ended.status == 0, ended.stderr
    flags = [f"--workdir={samples.run}", *(f"--texts={text}" for text in ASKED)]
    samples.answers = server(*flags, program="launch.predict").stdout
    assert samples.answers.count("\n") == len(ASKED)
    return samples


def _make_with_tensorflow(samples: Samples) -> None:
    import pretrained_folders
    import tensorflow_datasets as tfds
    from transformers import AutoTokenizer

    for layout in MODELS:
        folder = pretrained_folders.copy(layout, samples.models / layout)
    pretrained_folders.as_google(samples.models / "bert", samples.models / "google")
    shards = Path(shutil.copytree(samples.models / "bert", samples.models / "shards"))
    pretrained_folders.shard(shards)
    for layout in TOKENIZERS:
        folder = samples.tokenizers / layout
        pretrained_folders.copy(layout, folder)
        whole = samples.tokenizers / f"{layout}_json"  # with a tokenizer.json
        AutoTokenizer.from_pretrained(str(folder)).save_pretrained(whole)
        shutil.copy(folder / "config.json", whole)
        for each in (folder, whole):
            (each / pretrained_folders.WEIGHTS).unlink(missing_ok=True)
    shutil.copytree(samples.run / "tokenizer", samples.tokenizers / "own")
    tfds.disable_progress_bar()
    labels = ["bad", "good"]
    rows = [{"text": text, "label": labels.index(label)} for text, label in ROWS]
    tfds.dataset_builders.store_as_tfds_dataset(
        name="tiny",
        version="1.0.0",
        data_dir=samples.tfds,
        features=tfds.features.FeaturesDict(
            {"text": tfds.features.Text(), "label": tfds.features.ClassLabel(names=labels)}
        ),
        split_datasets={
            "train": list(enumerate(rows)),
            "test": [(i, {**row, "text": f"a {row['text']}"}) for i, row in enumerate(rows[:8])],
        },
        disable_shuffling=True,
    )


if __name__ == "__main__":
    _make_with_tensorflow(Samples(Path(sys.argv[1])))
