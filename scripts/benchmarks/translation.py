"""Sentences of Multi30k and a T5 with random weights, from which every system of peers.py trains.

A source stands behind T5's prefix; both texts are cut to LENGTH tokens, which cuts none here.
"""

import gzip
import json
import random
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

from scripts.benchmarks.systems import common
from trainer.errors import UserError

PAIRS, LENGTH, VOCABULARY, BUCKETS = 16_000, 64, 8000, 16
STEPS = 2500  # as many as peers.py may ask for
PREFIX = "translate English to German: "
# T5 small's shape (Raffel et al., 2020, section 2.1) with a vocabulary of these sentences.
SHAPE = {
    "d_model": 512,
    "d_kv": 64,
    "d_ff": 2048,
    "num_layers": 6,
    "num_heads": 8,
    "dropout_rate": 0.1,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
}
MAKE = (
    "import json, sys, transformers\n"
    "transformers.set_seed(0)\n"
    "config = transformers.T5Config(**json.loads(sys.argv[2]))\n"
    "transformers.T5ForConditionalGeneration(config).save_pretrained(sys.argv[1])\n"
)


def sentences(folder: Path) -> list[dict[str, Any]]:
    """Some pairs of the training set, "source" and "target". Raises UserError: it is not there."""
    sides = []
    for ending in ("en", "de"):
        path = folder / f"train.{ending}.gz"
        try:
            with gzip.open(path, "rt", encoding="utf-8") as file:
                sides.append(file.read().splitlines())
        except OSError as error:
            raise UserError(
                f"--data_dir={folder}: {error}: it must hold Multi30k's files"
            ) from error
    pairs = list(zip(*sides, strict=True))
    pairs = random.Random(0).sample(pairs, min(PAIRS, len(pairs)))
    return [{"source": PREFIX + source, "target": target} for source, target in pairs]


def weights(folder: Path, pairs: list[dict[str, Any]], python: Path) -> Path:
    """A T5 with its tokenizer in a new folder, by the transformers of this interpreter.

    Raises:
      UserError: it cannot make one.
    """
    from transformers import T5Tokenizer

    from trainer.data import spiece

    texts = [text for pair in pairs for text in (pair["source"], pair["target"])]
    words = Counter(spiece.SPACE + word for text in texts for word in text.split())
    pieces = spiece.train(dict(words), VOCABULARY, sorted({*"".join(words)}))
    folder.mkdir()
    made = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *pieces]
    T5Tokenizer(vocab=made, extra_ids=0).save_pretrained(folder)
    shape = json.dumps({**SHAPE, "vocab_size": len(made)})
    ran = subprocess.run(
        [python, "-c", MAKE, folder, shape], capture_output=True, text=True, check=False
    )
    if ran.returncode:
        raise UserError(f"{python} made no T5: {ran.stderr.strip().splitlines()[-1]}")
    return folder


def plan(pairs: list[dict[str, Any]], folder: Path) -> list[list[int]]:
    """The batches that we train on, and every tuned peer with us."""
    import numpy as np

    from trainer.data.plan import TrainPlan, buckets_for

    sides = common.pair_tokens(pairs, folder, LENGTH)
    lengths = np.array([[len(ids) for ids in side] for side in sides]).T
    made = TrainPlan(lengths, common.BATCH, buckets_for(lengths, BUCKETS), 0)
    return [made.batch(step)[0].tolist() for step in range(STEPS)]
