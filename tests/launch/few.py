"""A model of a few numbers on a few texts; a test names the files."""

from trainer.config import Data, Experiment, Model, Phase, Tokenizer


def get_config() -> Experiment:
    """The experiment."""
    return Experiment(
        data=Data(source="files", validation_share=0.4, max_length=16, buckets=1),
        tokenizer=Tokenizer(vocab_size=64),
        model=Model(width=8, heads=2, ffn_width=16),
        phases=[Phase(steps=4, learning_rate=1e-4)],
        global_batch_size=4,
        save_every_steps=2,
    )
