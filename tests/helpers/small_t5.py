"""A pretrained encoder and decoder of a few numbers: the decoder first. A test names the files."""

from trainer.config import Data, Evaluation, Experiment, Model, Phase
from trainer.tasks.text_to_text import TextToText


def get_config() -> Experiment:
    """The experiment."""
    return Experiment(
        data=Data(source="files", validation_share=0.4, max_length=16, buckets=2),
        model=Model(pretrained=""),
        task=TextToText(target_length=9),
        phases=[
            Phase(name="decoder", train=("decoder/.*", "head/.*"), steps=2, learning_rate=1e-3),
            Phase(name="all", steps=2, learning_rate=1e-3, layer_decay=0.9),
        ],
        evaluation=Evaluation(metric="loss"),
        global_batch_size=8,
        save_every_steps=2,
    )
