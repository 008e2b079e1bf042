"""Answers of a SavedModel, in a process that has nothing but TensorFlow.

python -P saved_answers.py MODEL INPUTS.npz OUTPUTS.npz [MODULE]

INPUTS holds arguments of the signature "ids"; and under "texts" those of "serving_default". OUTPUTS
holds the numbers that each answers, by signature and name: "ids/probabilities". MODULE is imported
for its ops.
"""

import importlib
import sys

import numpy as np


class _Blocked:
    """Finds none of the modules that the model must do without."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Raises ImportError for them."""
        if name.partition(".")[0] in ("trainer", "thaw", "launch", "transformers", "tokenizers"):
            raise ImportError(f"{name} is not to be had here")


def main() -> None:
    """Loads, asks and writes."""
    sys.meta_path.insert(0, _Blocked())
    import tensorflow as tf

    for module in sys.argv[4:]:
        importlib.import_module(module)
    model = tf.saved_model.load(sys.argv[1])
    inputs = dict(np.load(sys.argv[2]))
    texts = inputs.pop("texts", None)
    given = {"ids": {name: tf.constant(value) for name, value in inputs.items()}}
    if texts is not None:
        given["serving_default"] = {"texts": tf.constant(texts.tolist())}
    found = {}
    for signature in given.keys() & model.signatures.keys():
        for name, value in model.signatures[signature](**given[signature]).items():
            if value.dtype != tf.string:
                found[f"{signature}/{name}"] = value.numpy()
    np.savez(sys.argv[3], **found)


if __name__ == "__main__":
    main()
