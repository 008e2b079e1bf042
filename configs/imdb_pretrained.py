"""The encoder of a pretraining run, thawed into IMDB's sentiment: head, then all.

  python -m launch.train --config=configs/imdb_pretrained.py --workdir=runs/imdb_pretrained \
      --config.model.initial_run=runs/imdb_masked \
      --config.data.data_dir=/path/to/tensorflow_datasets

The run it begins with is of configs/pretraining/imdb_masked.py or imdb_replaced.py; its tokenizer
is taken with its weights. With imdb_pretrained.py:gradual the upper blocks thaw one after the other
between head and all (Howard & Ruder, 2018, arXiv:1801.06146).

For comparison, the same encoder begins with random weights, and reads the same tokens, with

      --config.model.initial_run= --config.tokenizer.pretrained=runs/imdb_masked/tokenizer
"""

from configs.pretraining import imdb_masked
from trainer.config import Data, Evaluation, Experiment, Phase
from trainer.tasks.classification import Classification


def get_config(thaws: str = "head") -> Experiment:
    """The experiment, which thaws all after the "head", or block by block ("gradual")."""
    if thaws not in ("head", "gradual"):
        raise ValueError("give imdb_pretrained.py:head or imdb_pretrained.py:gradual")
    config = imdb_masked.get_config()
    config.data = Data(name="imdb_reviews", max_length=384, cut="head+tail", buckets=24)
    model = config.model
    model.initial_run, model.head = "runs/imdb_masked", "mean+max"
    model.dropout = model.attention_dropout = model.embedding_dropout = model.head_dropout = 0.1
    config.task = Classification()
    config.phases = [
        Phase(name="head", train=("head/.*",), epochs=0.2, learning_rate=1e-3, warmup_steps=10),
        Phase(
            name="all",
            epochs=2,
            learning_rate=2e-4,
            warmup_steps=50,
            schedule="linear",
            layer_decay=0.9,
        ),
    ]
    if thaws == "gradual":
        blocks = range(model.depth - 1, 0, -1)
        config.phases[1:1] = [_from_block(first, model.depth) for first in blocks]
    config.evaluation = Evaluation(every_epochs=0.5, metric="loss")
    config.global_batch_size = 32
    return config


def _from_block(first: int, depth: int) -> Phase:
    """The phase in which the head and the blocks from this one on train."""
    blocks = "|".join(map(str, range(first, depth)))
    return Phase(
        name=f"block_{first}",
        train=("head/.*", f"encoder/block_({blocks})/.*", "encoder/final_norm/.*"),
        epochs=0.2,
        learning_rate=2e-4,
        warmup_steps=10,
        layer_decay=0.9,
    )
