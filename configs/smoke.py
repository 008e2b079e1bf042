"""A small run on part of the sample, for tests: two phases, dropout, evaluations, many checkpoints.

python -m launch.train --config=configs/smoke.py --workdir=runs/smoke
"""

from trainer.config import (
    Data,
    Evaluation,
    Experiment,
    Model,
    Optimizer,
    Phase,
    Tokenizer,
)
from trainer.tasks.classification import Classification


def get_config() -> Experiment:
    """The experiment."""
    return Experiment(
        data=Data(
            name="imdb_sample",
            data_dir="data",
            train="train[:6000]",
            test="test[:1000]",
            validation_share=0.3,
            max_length=128,
            buckets=3,
        ),
        tokenizer=Tokenizer(vocab_size=4000),
        model=Model(
            width=64,
            depth=1,
            heads=2,
            ffn_width=128,
            dropout=0.1,
            attention_dropout=0.1,
            embedding_dropout=0.1,
            head_dropout=0.1,
        ),
        task=Classification(mask_share=0.1),
        optimizer=Optimizer(beta2=0.98),
        phases=[
            Phase(name="head", train=("head/.*",), steps=40, learning_rate=3e-4, warmup_steps=10),
            Phase(name="all", steps=200, learning_rate=3e-4, warmup_steps=20, schedule="linear"),
        ],
        evaluation=Evaluation(every_steps=100),
        global_batch_size=32,
        save_every_steps=20,
    )
