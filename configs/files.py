"""A small Transformer, from scratch, on the rows of one file: CSV, TSV, JSONL or Parquet.

python -m launch.train --config=configs/files.py --config.data.train=tickets.csv --workdir=runs/a

A tenth of the rows is validation, another the test, each with its share of every label. Columns are
found where there is no doubt: else --config.task.text=… and --config.task.label=… name them. Sizes
follow from the rows, and are said; --config.global_batch_size=64 is an own one. Behind the config's
path stands the task: configs/files.py:labels (lists of labels), :regression, :tagging,
:text_to_text (two texts, config.task.source and target); of texts alone, which .txt files may hold
too, :masked and :causal. The encoder is the same but for :causal, which writes:
--config.model.initial_run=RUN begins with that of a run of :masked.

On the 500 rows of `python tests/helpers/tickets.py 500 > tickets.csv` this printed test accuracy
1.0000 on 49 rows; it took 43 s on 2 quiet cores of an Intel Xeon of 2.8 GHz, start and end
included.
"""

from trainer import one_file
from trainer.config import (
    FROM_ROWS,
    Evaluation,
    Experiment,
    Model,
    Optimizer,
    Phase,
    Runtime,
    Tokenizer,
)


def get_config(task: str = "classification") -> Experiment:
    """The experiment."""
    chosen = one_file.task(task)
    return Experiment(
        data=one_file.data(),
        tokenizer=Tokenizer(vocab_size=FROM_ROWS),
        model=Model(
            width=128,
            depth=2 if chosen.causal else 1,
            causal=bool(chosen.causal),
            heads=8,
            ffn_width=256,
            activation="relu",
            position_scale=3.0,
            head="mean+max",
            embedding_dropout=0.3,
            attention_dropout=0.0,
            dropout=0.2,
            head_dropout=0.2,
        ),
        task=chosen,
        optimizer=Optimizer(beta2=0.98, ema=FROM_ROWS),
        phases=[Phase(epochs=FROM_ROWS, learning_rate=1e-3, warmup_share=0.1)],
        evaluation=Evaluation(every_epochs=FROM_ROWS, metric="loss"),
        runtime=Runtime(xla="chains"),
        global_batch_size=FROM_ROWS,
    )
