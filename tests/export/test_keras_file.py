"""A Keras file gives the logits of the model it was made of."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from trainer.export.keras_file import NAME, to_keras
from trainer.models.architecture import Architecture, Head
from trainer.models.network import Network
from trainer.storage.workdir import Workdir
from trainer.trained import TrainedModel

FEATURES = tiny.inputs(tiny.batch(4))
SHAPES = {
    "window": {"attention_window": 5, "positions": "sinusoidal"},
    "pre": {"norm": "pre", "causal": True, "head": Head("last", bias=False)},
    "shared": {"shared": True, "embedding_width": 4, "token_types": 2},
    "tokens": {"head": Head("tokens"), "norm": "pre"},
    "llama": {
        **{"norm_kind": "rms", "positions": "rotary", "kv_heads": 1, "head_dim": 6},
        **{"gated_ffn": True, "attention_biases": False, "ffn_biases": False},
    },
    "hidden": {"head": Head("cls", 6), "output_dropouts": ("ffn",)},
}


@pytest.mark.parametrize("name", SHAPES)
def test_reads_what_it_wrote(tmp_path, name):
    changes = {"head": Head("mean+max"), **SHAPES[name]}
    shape = Architecture(
        vocab_size=tiny.VOCAB, max_length=8, width=8, depth=2, heads=2, ffn_width=16, **changes
    )
    model = Network(shape, 3)
    logits = model(FEATURES).numpy()
    model.save(tmp_path / "model.keras")
    read = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(read(FEATURES).numpy(), logits)
    assert read.architecture == shape


def test_a_run_is_exported_with_tokenizer_and_card(finished, tmp_path):
    trained = TrainedModel(Workdir(finished), tf.distribute.get_strategy())
    to_keras(trained, tmp_path / "made")
    read = keras.models.load_model(tmp_path / "made" / NAME)
    ids = trained.encoder.encode(["a fine film"])[0].ids[None].astype(np.int32)
    inputs = {"input_ids": ids, "attention_mask": ids > 0, "token_type_ids": 0 * ids}
    np.testing.assert_array_equal(read(inputs), trained.model(inputs))
    card = (tmp_path / "made" / "README.md").read_text()
    assert "keras.models.load_model" in card
    assert (tmp_path / "made" / "tokenizer" / "tokenizer.json").is_file()
