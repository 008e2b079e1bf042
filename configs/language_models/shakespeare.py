"""Shakespeare, character by character (Karpathy, 2015): a small causal language model.

  python -m launch.train --config=configs/language_models/shakespeare.py \
      --workdir=runs/shakespeare --config.data.data_dir=FOLDER

FOLDER holds input.txt or input.txt.gz of github.com/karpathy/char-rnn, 1,115,394 characters: the
last tenth is test, and the twentieth before it validation.
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
from trainer.tasks.causal import Causal


def get_config() -> Experiment:
    """The experiment."""
    return Experiment(
        data=Data(
            source="files",
            documents="file",
            train="input.txt[:85%]",
            validation="input.txt[85%:90%]",
            test="input.txt[90%:]",
            max_length=129,
            buckets=1,
        ),
        tokenizer=Tokenizer(kind="characters", vocab_size=1000, lowercase=False),
        model=Model(
            width=192,
            depth=4,
            heads=6,
            ffn_width=768,
            norm="pre",
            positions="learned",
            embedding_norm=False,
            causal=True,
            dropout=0.2,
            attention_dropout=0.0,
            embedding_dropout=0.1,
        ),
        task=Causal(blocks=True),
        optimizer=Optimizer(beta2=0.99, weight_decay=0.1),
        phases=[Phase(name="all", epochs=14, learning_rate=2e-3, warmup_steps=100)],
        evaluation=Evaluation(every_epochs=1),
        runtime=Runtime(precision="mixed_bfloat16", xla="chains"),
        global_batch_size=32,
    )
