"""TFBertModel of transformers 4 and the `fit` of Keras 2."""

import os
from typing import Any

from scripts.benchmarks.systems.common import (
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
    """https://huggingface.co/docs/transformers/v4.57.6/tasks/sequence_classification, in Keras 2.

    Each batch is padded to its longest review, as `prepare_tf_dataset` does.
    """
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import tensorflow as tf
    import tf_keras
    import transformers
    from safetensors.numpy import load_file
    from transformers.modeling_tf_pytorch_utils import load_pytorch_state_dict_in_tf2_model

    transformers.logging.set_verbosity_error()
    tf_keras.utils.set_random_seed(job.seed)
    tf_keras.mixed_precision.set_global_policy(job.precision)
    shape = transformers.AutoConfig.from_pretrained(job.weights, num_labels=2)
    model = transformers.TFBertForSequenceClassification(shape)
    # Its own reader wants PyTorch, or a safetensors of its day.
    held = {
        f"bert.{k}": tf.constant(v) for k, v in load_file(job.weights / "model.safetensors").items()
    }
    load_pytorch_state_dict_in_tf2_model(model, held, allow_missing_keys=True)
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=tf_keras.optimizers.AdamW(job.rate, weight_decay=DECAY), loss=loss)
    rounds = start(products(tf))
    ids = tokens(job.reviews, job.weights, job.length)
    lengths = [multiple_of(len(each), job.length) if job.grouped else len(each) for each in ids]
    plan = planned(ids, lengths, job.grouped, rounds)

    def pack(batch: Any, mask: Any) -> dict[str, Any]:
        return {"input_ids": batch, "attention_mask": mask}

    class Stop(tf_keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            rounds.step(float(logs["loss"]))

    data = dataset(tf, job.reviews, ids, lengths, plan=plan, pack=pack)
    model.fit(data, epochs=1, verbose=0, callbacks=[Stop()])
    return lambda ids, mask: model(pack(ids, mask)).logits
