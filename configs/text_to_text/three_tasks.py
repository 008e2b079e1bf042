"""One model for three tasks as text to text: SST-2, CoLA, and Multi30k from English into German.

  python -m launch.train --config=configs/text_to_text/three_tasks.py --workdir=runs/three_tasks \
      --config.data.data_dir=FOLDER

FOLDER holds glue/SST-2, glue/CoLA and multi30k, with the official files of each, or .gz of them:
see configs/glue and configs/translation. GLUE's validation sets are the tests of the first two,
and validation is the end of their train.tsv. Corpora have shares of the batches by the square roots
of their rows, which Raffel et al., 2020 (section 3.5.2) call a temperature of 2. A text to predict
begins with a prefix, as in "sst2 sentence: a fine film".
"""

from trainer.config import (
    Corpus,
    Data,
    Evaluation,
    Experiment,
    Model,
    Optimizer,
    Phase,
    Runtime,
    Tokenizer,
)
from trainer.tasks.several import SeveralTasks


def get_config() -> Experiment:
    """The experiment."""
    sst2 = Corpus(
        name="sst2",
        dataset="glue/SST-2",
        train="train.tsv[:98%]",
        validation="train.tsv[98%:]",
        test="dev.tsv",
        source="sentence",
        target="label",
        prefix="sst2 sentence: ",
        words=("0=negative", "1=positive"),
    )
    cola = Corpus(
        name="cola",
        dataset="glue/CoLA",
        train="train.tsv[:90%]",
        validation="train.tsv[90%:]",
        test="dev.tsv",
        header=False,
        source="3",
        target="1",
        prefix="cola sentence: ",
        words=("0=unacceptable", "1=acceptable"),
    )
    multi30k = Corpus(
        name="multi30k",
        dataset="multi30k",
        train="train",
        validation="val",
        test="test_2016_flickr",
        format="parallel",
        source="en",
        target="de",
        prefix="translate English to German: ",
    )
    return Experiment(
        data=Data(
            source="files",
            test="",
            corpora=[sst2, cola, multi30k],
            mixing_temperature=2.0,
            max_length=96,
            cut="head",
            buckets=16,
        ),
        tokenizer=Tokenizer(kind="bpe", vocab_size=8000, lowercase=False),
        model=Model(
            width=128,
            depth=4,
            heads=4,
            ffn_width=256,
            activation="relu",
            norm="pre",
            embedding_norm=False,
            dropout=0.2,
            attention_dropout=0.0,
            embedding_dropout=0.2,
        ),
        task=SeveralTasks(
            metrics=("sst2=accuracy", "cola=matthews", "multi30k=bleu"),
            target_length=96,
            label_smoothing=0.1,
            beams=4,
        ),
        optimizer=Optimizer(beta2=0.98, weight_decay=0.01, ema=0.999),
        phases=[
            Phase(name="all", epochs=16, learning_rate=2e-3, warmup_steps=1000, schedule="linear")
        ],
        evaluation=Evaluation(every_epochs=2),
        runtime=Runtime(precision="mixed_bfloat16"),
        global_batch_size=64,
    )
