"""A model as TensorFlow users write it: BERT of Keras's own layers, and a step of GradientTape.

The yardstick of `make bench` and `make bench-quick`; nothing in it is tuned.
"""

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from scripts.benchmarks.synthetic import Shape
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

LENGTH = 512  # that there are positions for
DROPOUT, EPSILON = 0.1, 1e-12


class Block(keras.layers.Layer):
    """Post-norm self-attention and feed-forward (Devlin et al., 2019)."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.attention = keras.layers.MultiHeadAttention(
            shape.heads, shape.width // shape.heads, dropout=DROPOUT
        )
        self.hidden = keras.layers.Dense(shape.ffn_width, activation="gelu")
        self.output_layer = keras.layers.Dense(shape.width)
        self.norms = [keras.layers.LayerNormalization(epsilon=EPSILON) for _ in range(2)]
        self.dropouts = [keras.layers.Dropout(DROPOUT) for _ in range(2)]

    def call(self, x: Any, mask: Any, training: bool = False) -> Any:
        attended = self.attention(x, x, attention_mask=mask, training=training)
        x = self.norms[0](x + self.dropouts[0](attended, training=training))
        hidden = self.output_layer(self.hidden(x))
        return self.norms[1](x + self.dropouts[1](hidden, training=training))


class Bert(keras.Model):
    """A classifier on the first token."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        rows = (shape.vocab_size, LENGTH, 2)
        self.tables = [keras.layers.Embedding(n, shape.width) for n in rows]
        self.norm = keras.layers.LayerNormalization(epsilon=EPSILON)
        self.dropout = keras.layers.Dropout(DROPOUT)
        self.blocks = [Block(shape) for _ in range(shape.depth)]
        self.pooler = keras.layers.Dense(shape.width, activation="tanh")
        self.logits = keras.layers.Dense(2, dtype="float32")

    def call(self, ids: Any, mask: Any, training: bool = False) -> Any:
        tokens, positions, types = self.tables
        x = tokens(ids) + positions(tf.range(tf.shape(ids)[1]))[None] + types(tf.zeros_like(ids))
        x = self.dropout(self.norm(x), training=training)
        for block in self.blocks:
            x = block(x, mask[:, None, :], training=training)
        return self.logits(self.dropout(self.pooler(x[:, 0]), training=training))

    def load(self, folder: Path) -> None:
        """Takes the weights of a Hugging Face folder."""
        from safetensors.numpy import load_file

        held = load_file(folder / "model.safetensors")
        ones = tf.ones([1, 2], tf.int32)
        self(ones, ones)

        def linear(layer: Any, name: str, kernel: Any = None, bias: Any = None) -> None:
            layer.set_weights(
                [
                    held[f"{name}.weight"].T.reshape(kernel or layer.kernel.shape),
                    held[f"{name}.bias"].reshape(bias or layer.bias.shape),
                ]
            )

        def norm(layer: Any, name: str) -> None:
            layer.set_weights([held[f"{name}.weight"], held[f"{name}.bias"]])

        names = ("word_embeddings", "position_embeddings", "token_type_embeddings")
        for table, name in zip(self.tables, names, strict=True):
            table.set_weights([held[f"embeddings.{name}.weight"]])
        norm(self.norm, "embeddings.LayerNorm")
        width = self.shape.width
        heads = (self.shape.heads, width // self.shape.heads)
        for i, block in enumerate(self.blocks):
            at = f"encoder.layer.{i}"
            for part in ("query", "key", "value"):
                layer = getattr(block.attention, f"{part}_dense")
                linear(layer, f"{at}.attention.self.{part}", (width, *heads), heads)
            output = block.attention.output_dense
            linear(output, f"{at}.attention.output.dense", (*heads, width), (width,))
            linear(block.hidden, f"{at}.intermediate.dense")
            linear(block.output_layer, f"{at}.output.dense")
            norm(block.norms[0], f"{at}.attention.output.LayerNorm")
            norm(block.norms[1], f"{at}.output.LayerNorm")
        linear(self.pooler, "pooler.dense")


def train_step(model: Bert, optimizer: keras.optimizers.Optimizer) -> Any:
    """A compiled step: int32 ids, mask [B, T] and labels [B] -> the mean loss."""
    ones = tf.ones([1, 2], tf.int32)
    model(ones, ones)
    optimizer.build(model.trainable_variables)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    whole = tf.TensorSpec([None, None], tf.int32)

    @tf.function(input_signature=[whole, whole, tf.TensorSpec([None], tf.int32)])
    def step(ids: Any, mask: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(labels, model(ids, mask, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    return step


def train(job: Job, start: Start) -> Logits:
    """A loop of GradientTape and tf.function over Keras's own layers."""
    keras.utils.set_random_seed(job.seed)
    keras.config.set_dtype_policy(job.precision)
    model = Bert(Shape.of(job.weights))
    model.load(job.weights)
    step = train_step(model, keras.optimizers.AdamW(job.rate, weight_decay=DECAY))
    rounds = start(products(tf))
    ids = tokens(job.reviews, job.weights, job.length)
    lengths = [multiple_of(len(each), job.length) if job.grouped else job.length for each in ids]
    plan = planned(ids, lengths, job.grouped, rounds)
    data = dataset(tf, job.reviews, ids, lengths, plan=plan, pack=lambda batch, mask: (batch, mask))
    for (batch, mask), labels in data:
        rounds.step(float(step(batch, mask, labels)))
    return lambda ids, mask: model(ids, mask)
