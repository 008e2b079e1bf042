"""An encoder pretrained on IMDB's reviews alone, by words that are masked in them.

  python -m launch.train --config=configs/pretraining/imdb_masked.py --workdir=runs/imdb_masked \
      --config.data.data_dir=/path/to/tensorflow_datasets

It reads the texts of train and of unsupervised, no labels. The tenth that validation of
configs/imdb_pretrained.py has, cut by the same hash, is left out here too, and so are all texts
that stand in test. configs/imdb_pretrained.py thaws the encoder.
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
from trainer.tasks.masked import MaskedWords


def get_config() -> Experiment:
    """The experiment."""
    return Experiment(
        data=Data(
            name="imdb_reviews",
            train="train+unsupervised",
            test="",
            exclude=("test:text",),
            max_length=256,
            buckets=8,
        ),
        tokenizer=Tokenizer(kind="wordpiece", vocab_size=8000),
        model=Model(
            width=256,
            depth=4,
            heads=4,
            ffn_width=1024,
            norm="pre",
            position_scale=3.0,
            dropout=0.0,
            attention_dropout=0.0,
            embedding_dropout=0.0,
        ),
        task=MaskedWords(mask_share=0.15),
        optimizer=Optimizer(beta2=0.98),
        phases=[
            Phase(name="all", epochs=2, learning_rate=1e-3, warmup_steps=200, schedule="linear")
        ],
        evaluation=Evaluation(every_epochs=0.25),
        runtime=Runtime(precision="mixed_bfloat16", xla="chains"),
        global_batch_size=64,
        save_every_steps=100,
    )
