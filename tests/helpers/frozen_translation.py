"""The run of small_translation.py in two phases: the encoder's blocks are frozen first."""

from tests.helpers import small_translation
from trainer.config import Evaluation, Experiment, Phase

STEPS = 60


def get_config() -> Experiment:
    """The experiment: the decoder and the token vectors alone, then all."""
    config = small_translation.get_config()
    config.data.max_length, config.data.buckets = 16, 3
    config.model.width, config.model.ffn_width = 16, 32
    config.task.target_length, config.task.label_smoothing, config.task.beams = 16, 0.1, 2
    config.phases = [
        Phase(
            name="decoder",
            train=("decoder/.*", "encoder/embeddings/.*"),
            steps=20,
            learning_rate=1e-2,
            warmup_steps=5,
        ),
        Phase(name="all", steps=STEPS - 20, learning_rate=1e-2, layer_decay=0.9),
    ]
    config.evaluation = Evaluation(every_steps=20, metric="loss")
    config.save_every_steps = 20
    return config
