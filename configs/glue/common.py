"""MiniLM fine-tuned on a task of GLUE (Wang et al., 2019, arXiv:1804.07461).

Test labels of GLUE are hidden: its validation set is the test here, and validation is cut from
train. Files are the official ones (train.tsv and dev.tsv, or .gz of them); with ":tfds" behind the
config's path the same is read from TFDS.
"""

from trainer.config import Data, Evaluation, Experiment, Model, Optimizer, Phase, Runtime
from trainer.tasks.task import Task


def experiment(
    task: Task,
    source: str,
    *,
    folder: str,
    dataset: str,
    metric: str,
    epochs: float,
    learning_rate: float = 2e-4,
    batch: int = 16,
    head: str = "native",
) -> Experiment:
    """The experiment of a task.

    Args:
      task: names the columns of the source.
      source: "files" or "tfds".
      folder: of the official files, below config.data.data_dir or the same.
      dataset: its name in TFDS.
      metric: chooses the best weights.
      epochs, learning_rate: of the phase in which everything trains.
      batch: rows of a step.
      head: what the label is read from: "native", the first token's vector, which an export for
        transformers needs, or "mean" of all tokens, by which this MiniLM was trained before.
    """
    data = Data(max_length=128, cut="head", buckets=16, validation_share=0.1)
    data.source = source
    if source == "files":
        data.name, data.train, data.test = folder, "train.tsv", "dev.tsv"
    else:
        data.name, data.train, data.test = dataset, "train", "validation"
    whole = Phase(
        name="all",
        epochs=epochs,
        learning_rate=learning_rate,
        warmup_share=0.1,
        schedule="linear",
        layer_decay=0.95,
    )
    return Experiment(
        data=data,
        model=Model(pretrained="data/minilm", head=head),
        task=task,
        optimizer=Optimizer(beta2=0.98),
        phases=[whole],
        evaluation=Evaluation(every_epochs=1, metric=metric),
        runtime=Runtime(precision="mixed_bfloat16", xla="chains"),
        global_batch_size=batch,
    )
