"""MiniLM, a small pretrained BERT, on the rows of one file: CSV, TSV, JSONL or Parquet.

python -m launch.train --config=configs/files_pretrained.py --config.data.train=tickets.csv \
    --workdir=runs/a

First its head is trained, with the encoder frozen, then all of it. All else is as in files.py.
`python scripts/fetch_sample_weights.py` of the checkout, in any environment with this library,
fetches MiniLM (84 MB) into its data/minilm; where it is not, it comes from the hub.

On the 500 rows of `python tests/helpers/tickets.py 500 > tickets.csv` this printed test accuracy
1.0000 on 49 rows; it took 169 s on 2 quiet cores of an Intel Xeon of 2.8 GHz.
"""

from pathlib import Path

from trainer import one_file
from trainer.config import FROM_ROWS, Evaluation, Experiment, Model, Optimizer, Phase, Runtime
from trainer.tasks.texts import TextTask

FOLDER = Path(__file__).parents[1] / "data" / "minilm"
ON_THE_HUB = "sentence-transformers/all-MiniLM-L6-v2"


def get_config(task: str = "classification") -> Experiment:
    """The experiment."""
    chosen = one_file.task(task)
    tokens = chosen.kind == "tokens"
    if isinstance(chosen, TextTask):
        chosen.mask_share = 0.0
    head = Phase(
        name="head",
        train=("head/.*",),
        epochs=2 if tokens else 10,
        learning_rate=2e-3,
        warmup_share=0.1,
        cache_features=not tokens,
    )
    whole = Phase(
        name="all",
        epochs=FROM_ROWS,
        learning_rate=2e-4,
        warmup_share=0.1,
        schedule="linear",
        layer_decay=0.95,
    )
    return Experiment(
        data=one_file.data(),
        model=Model(pretrained=str(FOLDER) if FOLDER.is_dir() else ON_THE_HUB, head="native"),
        task=chosen,
        optimizer=Optimizer(beta2=0.98),
        phases=[head, whole],
        evaluation=Evaluation(every_epochs=FROM_ROWS, metric="loss"),
        runtime=Runtime(xla="chains"),
        global_batch_size=FROM_ROWS,
    )
