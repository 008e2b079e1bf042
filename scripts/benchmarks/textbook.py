"""The peer of `speed.py time-to-accuracy`: a Transformer classifier as a Keras tutorial has it.

Words as tokens, learned positions, `compile` and `fit`, early stopping on the test set. Nothing of
Thaw is used. For every epoch it appends a line to --output: its number, the test accuracy, the
clock, and the seconds that scoring the test set took.
"""

import argparse
import json
import time

import keras
import tensorflow as tf
import tensorflow_datasets as tfds
from keras import layers

VOCABULARY, LENGTH = 10_000, 200  # words; the last ones of a review
WIDTH, HEADS, FFN_WIDTH, BLOCKS = 128, 4, 256, 2
BATCH, LEARNING_RATE, DROPOUT, PATIENCE = 64, 1e-4, 0.1, 2


class TokenAndPositionEmbedding(layers.Layer):
    """Adds a learned vector for the word and one for its place."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.token = layers.Embedding(VOCABULARY, WIDTH)
        self.position = layers.Embedding(LENGTH, WIDTH)

    def call(self, words):
        return self.token(words) + self.position(keras.ops.arange(LENGTH))


class TransformerBlock(layers.Layer):
    """Self-attention and a two-layer network, each with a residual connection and a norm."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.attention = layers.MultiHeadAttention(HEADS, WIDTH // HEADS)
        self.network = keras.Sequential([layers.Dense(FFN_WIDTH, "relu"), layers.Dense(WIDTH)])
        self.norms = [layers.LayerNormalization(epsilon=1e-6) for _ in range(2)]
        self.dropouts = [layers.Dropout(DROPOUT) for _ in range(2)]

    def call(self, x, mask, training=False):
        attended = self.attention(x, x, attention_mask=mask[:, None, :])
        x = self.norms[0](x + self.dropouts[0](attended, training=training))
        return self.norms[1](x + self.dropouts[1](self.network(x), training=training))


def build() -> keras.Model:
    """The model: embedding, blocks, mean over the words, a dense head."""
    words = layers.Input((LENGTH,), dtype="int32")
    mask = words != 0
    x = TokenAndPositionEmbedding()(words)
    for _ in range(BLOCKS):
        x = TransformerBlock()(x, mask)
    x = layers.GlobalAveragePooling1D()(x, mask=mask)
    x = layers.Dropout(DROPOUT)(x)
    return keras.Model(words, layers.Dense(2, "softmax")(x))


class Log(keras.callbacks.Callback):
    """Appends a line an epoch to a file."""

    def __init__(self, path: str):
        super().__init__()
        self.path, self.scoring = path, 0.0

    def on_test_begin(self, logs=None):
        self.scoring -= time.time()

    def on_test_end(self, logs=None):
        self.scoring += time.time()

    def on_epoch_end(self, epoch, logs=None):
        line = {
            "epoch": epoch + 1,
            "test_accuracy": float(logs["val_accuracy"]),
            "clock": time.time(),
            "scoring_seconds": self.scoring,
        }
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def main() -> None:
    """Reads, vectorises and trains."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", required=True, help="TFDS dataset")
    parser.add_argument("--data_dir", required=True, help="folder of prepared TFDS datasets")
    parser.add_argument("--train", default="train", help="split")
    parser.add_argument("--test", default="test", help="split")
    parser.add_argument("--epochs", type=int, default=10, help="at most")
    parser.add_argument("--output", required=True, help="file to append to")
    arguments = parser.parse_args()

    keras.utils.set_random_seed(0)
    splits = [arguments.train, arguments.test]
    (train_texts, train_labels), (test_texts, test_labels) = tfds.load(
        arguments.name,
        split=splits,
        data_dir=arguments.data_dir,
        download=False,
        as_supervised=True,
        batch_size=-1,
    )
    vectorize = layers.TextVectorization(max_tokens=VOCABULARY, ragged=True)
    vectorize.adapt(train_texts)

    def last_words(texts: tf.Tensor) -> tf.Tensor:
        return vectorize(texts)[:, -LENGTH:].to_tensor(shape=(None, LENGTH))

    model = build()
    model.compile(
        keras.optimizers.Adam(LEARNING_RATE),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    model.fit(
        last_words(train_texts),
        train_labels,
        batch_size=BATCH,
        epochs=arguments.epochs,
        validation_data=(last_words(test_texts), test_labels),
        callbacks=[
            Log(arguments.output),
            keras.callbacks.EarlyStopping("val_accuracy", patience=PATIENCE),
        ],
        verbose=2,
    )


if __name__ == "__main__":
    main()
