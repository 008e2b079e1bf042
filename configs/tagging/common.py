"""MiniLM fine-tuned to tag names in sentences."""

from trainer.config import Data, Evaluation, Experiment, Model, Optimizer, Phase, Runtime
from trainer.tasks.tagging import Tagging


def experiment(data: Data, task: Tagging, epochs: float) -> Experiment:
    """The experiment on some data, of so many epochs."""
    whole = Phase(
        name="all",
        epochs=epochs,
        learning_rate=3e-4,
        warmup_share=0.1,
        schedule="linear",
        layer_decay=0.95,
    )
    return Experiment(
        data=data,
        model=Model(pretrained="data/minilm", head="native"),
        task=task,
        optimizer=Optimizer(beta2=0.98),
        phases=[whole],
        evaluation=Evaluation(every_epochs=1),
        runtime=Runtime(precision="mixed_bfloat16", xla="chains"),
        global_batch_size=16,
    )
