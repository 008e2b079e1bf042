"""KerasHub's classifier and the `fit` of Keras 3."""

from typing import Any

from scripts.benchmarks.systems.common import (
    BATCH,
    DECAY,
    Job,
    Logits,
    Start,
    dataset,
    multiple_of,
    planned,
    products,
    tokens,
)


def train(job: Job, start: Start) -> Logits:
    """https://keras.io/keras_hub/api/models/bert/bert_text_classifier: `fit` on raw texts.

    Tuned: on token ids in grouped batches, without XLA, which would compile each length anew.
    """
    import keras
    import keras_hub
    import tensorflow as tf

    keras.utils.set_random_seed(job.seed)
    keras.config.set_dtype_policy(job.precision)
    model = keras_hub.models.BertTextClassifier.from_preset(
        str(job.weights), num_classes=2, dropout=0.1, dtype=job.precision
    )
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.AdamW(job.rate, weight_decay=DECAY),
        jit_compile=False if job.grouped else "auto",
    )
    rounds = start(products(tf))
    ids = tokens(job.reviews, job.weights, job.length)
    lengths = [multiple_of(len(each), job.length) if job.grouped else job.length for each in ids]
    plan = planned(ids, lengths, job.grouped, rounds)

    def pack(batch: Any, mask: Any) -> dict[str, Any]:
        zeros = batch if isinstance(batch, tf.TensorSpec) else 0 * batch
        return {"token_ids": batch, "padding_mask": mask, "segment_ids": zeros}

    if job.grouped:
        model.preprocessor = None
        data = dataset(tf, job.reviews, ids, lengths, plan=plan, pack=pack)
    else:
        rows = [row for batch in plan for row in batch]
        texts = [job.reviews[row]["text"] for row in rows]
        labels = [job.reviews[row]["label"] for row in rows]
        data = tf.data.Dataset.from_tensor_slices((texts, labels)).batch(BATCH).prefetch(4)

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            rounds.step(float(logs["loss"]))

    model.fit(data, epochs=1, verbose=0, callbacks=[Stop()])
    return lambda ids, mask: model(pack(ids, mask))
