"""The E2E challenge (Novikova et al., 2017): a restaurant's fields as a text.

  python -m launch.train --config=configs/text_to_text/e2e.py --workdir=runs/e2e \
      --config.data.data_dir=FOLDER

FOLDER holds devset.csv and testset_w_refs.csv, as .gz too, of tuetschek.github.io/e2e-dataset, and
e2e_aligned.tar.gz of github.com/harvardnlp/neural-template-gen: see trainer/data/e2e.py. An input
stands in some eight rows, each with another text: BLEU is that of one text against all of them.
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
            train="e2e_aligned.tar.gz",
            validation="devset.csv",
            test="testset_w_refs.csv",
            max_length=96,
            cut="head",
            buckets=8,
        ),
        tokenizer=Tokenizer(kind="bpe", vocab_size=2000, lowercase=False),
        model=Model(
            width=128,
            depth=2,
            heads=4,
            ffn_width=512,
            activation="relu",
            norm="pre",
            embedding_norm=False,
            dropout=0.1,
            attention_dropout=0.0,
            embedding_dropout=0.1,
        ),
        task=TextToText(
            source="mr",
            target="ref",
            several_references=True,
            target_length=96,
            label_smoothing=0.1,
            beams=5,
            length_penalty=1.0,
        ),
        optimizer=Optimizer(beta2=0.98, weight_decay=0.01, ema=0.999),
        phases=[
            Phase(name="all", epochs=8, learning_rate=2e-3, warmup_steps=500, schedule="linear")
        ],
        evaluation=Evaluation(every_epochs=2, metric="bleu"),
        runtime=Runtime(precision="mixed_bfloat16"),
        global_batch_size=64,
    )
