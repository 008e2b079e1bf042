"""A first model on real reviews: a Transformer of one block, trained from scratch in minutes.

  make train

or `python -m launch.train --config=configs/quickstart.py --workdir=runs/quickstart`, after
`python scripts/fetch_sample.py --output=data`.

On 2 cores of an Intel Xeon (AMX, bfloat16), in an hour in which the machine was slow, `make train`
took 292 s after the installation and printed test accuracy 0.8762 on the 5,000 reviews (weights
chosen by validation loss). Faster hours, and how much it varies with the seed: README.md and
docs/use/speed.md.
"""

from trainer.config import (
    Data,
    Evaluation,
    Experiment,
    Model,
    Optimizer,
    Phase,
    Runtime,
    Tokenizer,
)
from trainer.tasks.classification import Classification


def get_config() -> Experiment:
    """The experiment."""
    return Experiment(
        data=Data(name="imdb_sample", data_dir="data", max_length=384, cut="head+tail", buckets=24),
        tokenizer=Tokenizer(kind="wordpiece", vocab_size=8000),
        model=Model(
            width=128,
            depth=1,
            heads=8,
            ffn_width=256,
            activation="relu",
            position_scale=3.0,
            attention_window=2,
            head="mean+max",
            embedding_dropout=0.3,
            attention_dropout=0.0,
            dropout=0.2,
            head_dropout=0.2,
        ),
        task=Classification(mask_share=0.15, label_smoothing=0.1),
        optimizer=Optimizer(beta2=0.98, ema=0.999),
        phases=[Phase(name="all", epochs=3, learning_rate=1e-3, warmup_steps=200)],
        evaluation=Evaluation(every_epochs=0.5, metric="loss"),
        runtime=Runtime(precision="mixed_bfloat16", xla="chains"),
        global_batch_size=32,
    )
