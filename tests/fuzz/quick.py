"""The quickest run that there is, for inputs that train; the driver names the files."""

from trainer.config import Data, Experiment, Model, Phase, Tokenizer


def get_config() -> Experiment:
    """The experiment."""
    return Experiment(
        data=Data(source="files", validation_share=0.4, max_length=16, buckets=1),
        tokenizer=Tokenizer(vocab_size=64),
        model=Model(width=8, depth=0, heads=2, ffn_width=16),
        phases=[Phase(steps=4, learning_rate=1e-4)],
        global_batch_size=4,
        histograms_every_steps=0,
        save_every_steps=2,
        max_steps=2,
    )
