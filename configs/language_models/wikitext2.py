"""WikiText-2 (Merity et al., 2016): a causal language model of subwords, judged by its words.

  python -m launch.train --config=configs/language_models/wikitext2.py \
      --workdir=runs/wikitext2 --config.data.data_dir=FOLDER

FOLDER holds wiki.train.tokens, wiki.valid.tokens and wiki.test.tokens, or their .gz; other names
are given as --config.data.train=NAME. All lines of a file make one stream. "word_perplexity"
counts words and ends of lines, as published figures do.
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
            format="text",
            documents="file",
            train="wiki.train.tokens",
            validation="wiki.valid.tokens",
            test="wiki.test.tokens",
            max_length=129,
            buckets=1,
        ),
        tokenizer=Tokenizer(kind="bpe", vocab_size=8000, lowercase=False),
        model=Model(
            width=256,
            depth=4,
            heads=4,
            ffn_width=1024,
            norm="pre",
            positions="learned",
            embedding_norm=False,
            causal=True,
            dropout=0.2,
            attention_dropout=0.1,
            embedding_dropout=0.2,
        ),
        task=Causal(blocks=True),
        optimizer=Optimizer(beta2=0.98, weight_decay=0.1),
        phases=[Phase(name="all", epochs=10, learning_rate=1e-3, warmup_steps=200)],
        evaluation=Evaluation(every_epochs=1),
        runtime=Runtime(precision="mixed_bfloat16", xla="chains"),
        global_batch_size=32,
    )
