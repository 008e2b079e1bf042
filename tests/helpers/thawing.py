"""A pretrained model of a few numbers: its head first, then all of it. A test names the files."""

from trainer.config import Data, Evaluation, Experiment, Model, Phase


def get_config() -> Experiment:
    """The experiment."""
    return Experiment(
        data=Data(source="files", validation_share=0.4, max_length=16, buckets=2),
        model=Model(pretrained="", head="native"),
        phases=[
            Phase(name="head", train=("head/.*",), steps=2, learning_rate=1e-3),
            Phase(name="all", steps=2, learning_rate=1e-4, layer_decay=0.95),
        ],
        evaluation=Evaluation(metric="loss"),
        global_batch_size=8,
        save_every_steps=2,
    )
