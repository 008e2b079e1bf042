"""Multi30k (Elliott et al., 2016): captions of photographs, from English into German.

  python -m launch.train --config=configs/translation/multi30k_en_de.py \
      --workdir=runs/multi30k_en_de --config.data.data_dir=FOLDER

FOLDER holds train, val and test_2016_flickr, each with the endings .en and .de or .en.gz and
.de.gz, of github.com/multi30k/dataset (data/task1/raw). The shape is "tiny" of Wu et al., 2021
(arXiv:2105.14462): so few sentences are learned best by a small model.
docs/results/text_to_text.md has its BLEU.
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
from trainer.tasks.text_to_text import TextToText


def get_config() -> Experiment:
    """The experiment."""
    return Experiment(
        data=Data(
            source="files",
            format="parallel",
            train="train",
            validation="val",
            test="test_2016_flickr",
            max_length=96,
            cut="head",
            buckets=16,
        ),
        tokenizer=Tokenizer(kind="unigram", vocab_size=8000, lowercase=False),
        model=Model(
            width=128,
            depth=4,
            heads=4,
            ffn_width=256,
            activation="relu",
            norm="pre",
            embedding_norm=False,
            dropout=0.15,
            attention_dropout=0.0,
            embedding_dropout=0.15,
        ),
        task=TextToText(source="en", target="de", target_length=96, label_smoothing=0.1, beams=5),
        optimizer=Optimizer(beta2=0.98, weight_decay=0.01, ema=0.999),
        phases=[
            Phase(name="all", epochs=20, learning_rate=3e-3, warmup_steps=1000, schedule="linear")
        ],
        evaluation=Evaluation(every_epochs=5, metric="bleu"),
        runtime=Runtime(precision="mixed_bfloat16"),
        global_batch_size=64,
    )
