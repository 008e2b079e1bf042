"""KerasHub's classifier, or its model of masked words, and the `fit` of Keras 3."""

import json
from collections.abc import Iterator
from typing import Any

from scripts.benchmarks.systems.common import (
    BATCH,
    DECAY,
    MASKED,
    Job,
    Logits,
    Start,
    dataset,
    multiple_of,
    padded,
    pair_tokens,
    planned,
    products,
    random_batches,
    tokens,
)


def train(job: Job, start: Start) -> Logits:
    """https://keras.io/keras_hub/api/models/bert/bert_text_classifier: `fit` on raw texts.

    Masked words: .../models/bert/bert_masked_lm.

    Tuned: on token ids in grouped batches, without XLA, which would compile each length anew.
    """
    if job.objective == "text_to_text":
        return _train_pairs(job, start)
    import keras
    import keras_hub
    import tensorflow as tf

    keras.utils.set_random_seed(job.seed)
    keras.config.set_dtype_policy(job.precision)
    masked = job.objective == "masked"
    kind = keras_hub.models.BertMaskedLM if masked else keras_hub.models.BertTextClassifier
    labels = {} if masked else {"num_classes": 2}
    model = kind.from_preset(str(job.weights), dropout=0.1, dtype=job.precision, **labels)
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
        data = dataset(tf, job.reviews, ids, lengths, plan=plan, pack=pack)
        if masked:
            data = data.map(_masking(tf, model.preprocessor.tokenizer)).prefetch(4)
        model.preprocessor = None
    else:
        rows = [row for batch in plan for row in batch]
        texts = [job.reviews[row]["text"] for row in rows]
        given = texts if masked else (texts, [job.reviews[row]["label"] for row in rows])
        data = tf.data.Dataset.from_tensor_slices(given).batch(BATCH).prefetch(4)

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            rounds.step(float(logs["loss"]))

    model.fit(data, epochs=1, verbose=0, callbacks=[Stop()])
    return lambda ids, mask: model(pack(ids, mask))


def _masking(tf: Any, tokenizer: Any) -> Any:
    """Masks as BertMaskedLMPreprocessor does after padding, for batches of any length."""

    def mask(inputs: Any, labels: Any) -> Any:
        ids, shown = inputs["token_ids"], tf.cast(inputs["padding_mask"], tf.float32)
        special = (ids == tokenizer.cls_token_id) | (ids == tokenizer.sep_token_id)
        shape = tf.shape(ids)
        drawn = tf.random.uniform(shape) * shown * tf.cast(~special, tf.float32)
        share = tf.cast(tf.math.ceil(MASKED * tf.cast(shape[1], tf.float32)), tf.int32)
        places = tf.math.top_k(drawn, share).indices
        counts = tf.math.round(MASKED * tf.reduce_sum(shown, 1))
        weights = tf.cast(tf.range(share), tf.float32) < counts[:, None]
        targets = tf.gather(ids, places, batch_dims=1)
        fate = tf.random.uniform(tf.shape(places))
        other = tf.random.uniform(tf.shape(places), 0, tokenizer.vocabulary_size(), tf.int32)
        new = tf.where(fate < 0.8, tokenizer.mask_token_id, tf.where(fate < 0.9, other, targets))
        new = tf.where(weights, new, targets)
        rows = tf.repeat(tf.range(shape[0])[:, None], share, axis=1)
        made = tf.tensor_scatter_nd_update(ids, tf.stack([rows, places], -1), new)
        packed = {**inputs, "token_ids": made, "mask_positions": places}
        return packed, targets, tf.cast(weights, tf.float32)

    return mask


def _train_pairs(job: Job, start: Start) -> Logits:
    """A T5Backbone, whose outputs are products with its token table, for which there is no task.

    Texts are padded to `length` as the packers of its other models do. Tuned: as for reviews.
    """
    import keras
    import keras_hub
    import numpy as np
    import tensorflow as tf

    keras.utils.set_random_seed(job.seed)
    shape = json.loads((job.weights / "config.json").read_text(encoding="utf-8"))
    backbone = keras_hub.models.T5Backbone(
        vocabulary_size=shape["vocab_size"],
        num_layers=shape["num_layers"],
        num_heads=shape["num_heads"],
        hidden_dim=shape["d_model"],
        intermediate_dim=shape["d_ff"],
        key_value_dim=shape["d_kv"],
        dropout=shape["dropout_rate"],
        activation="relu",
        use_gated_activation=False,
        dtype=job.precision,
    )
    made = backbone.output["decoder_sequence_output"] * shape["d_model"] ** -0.5
    model = keras.Model(backbone.input, backbone.token_embedding(made, reverse=True))
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.AdamW(job.rate, weight_decay=DECAY),
        jit_compile=False if job.grouped else "auto",
    )
    rounds = start(products(tf))
    sides = pair_tokens(job.reviews, job.weights, job.length)
    plan = job.grouped or random_batches(len(job.reviews))
    names = ("encoder_token_ids", "encoder_padding_mask")
    names += ("decoder_token_ids", "decoder_padding_mask")

    def length_of(ids: list[list[int]], rows: list[int]) -> int:
        longest = max(len(ids[row]) for row in rows) if job.grouped else job.length
        return multiple_of(longest, job.length)

    def generate() -> Iterator[Any]:
        for rows in plan:
            (source, seen), (target, mask) = (
                padded(ids, rows, length_of(ids, rows)) for ids in sides
            )
            rounds.plan(mask.sum(1), target.size)
            before = np.pad(target, [(0, 0), (1, 0)])[:, :-1]
            arrays = (source, seen, before, mask)
            yield dict(zip(names, arrays, strict=True)), target, mask.astype(np.float32)

    matrix = tf.TensorSpec([None, None], tf.int32)
    signature = (dict.fromkeys(names, matrix), matrix, tf.TensorSpec([None, None], tf.float32))
    data = tf.data.Dataset.from_generator(generate, output_signature=signature).prefetch(4)

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            rounds.step(float(logs["loss"]))

    model.fit(data, epochs=1, verbose=0, callbacks=[Stop()])
    return lambda ids, mask: None
