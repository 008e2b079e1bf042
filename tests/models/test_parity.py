"""Our models against what PyTorch transformers computes from the same files.

The files and numbers in tests/models/parity are made by scripts/make_parity_fixtures.py.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from pretrained_folders import FAMILIES, kind_of
from programs import ROOT

from trainer.models import layers, model_config
from trainer.models.network import Network
from trainer.models.parameters import named_parameters
from trainer.models.pretrained import open_pretrained

FIXTURES = Path(__file__).parent / "parity"
LAYOUTS = (
    *(*FAMILIES, "bert_pretraining", "minilm", "electra_base", "gpt2_base"),
    *(f"{name}_tokens" for name in FAMILIES),
)
MINILM = ROOT / "data" / "minilm"
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
CLASSES = 3
LARGEST = 2e-5  # difference, in float32
SAMPLED = np.s_[::37, :16]  # of the hidden states of MiniLM
needs_minilm = pytest.mark.skipif(not MINILM.is_dir(), reason="no data/minilm: make weights")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_random_weights_give_what_pytorch_computes(layout):
    with np.load(FIXTURES / layout / "expected.npz") as expected:
        check(FIXTURES / layout, expected)


@pytest.mark.long
@needs_minilm
def test_the_real_weights_of_minilm_give_what_pytorch_computes():
    with np.load(FIXTURES / "minilm_real.npz") as expected:
        check(MINILM, expected, SAMPLED)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_dropout_acts_where_it_does_in_pytorch(layout, monkeypatch):
    rates = []

    def draw(dropout, shape, training):
        if training and dropout.rate:
            rates.append(dropout.rate)
        return []

    monkeypatch.setattr(layers.Dropout, "draw", draw)
    with np.load(FIXTURES / layout / "expected.npz") as expected:
        load(FIXTURES / layout)(inputs_of(expected, 3), training=True)
        assert rates == expected["dropouts"].tolist()


def check(folder: Path, expected: Mapping[str, np.ndarray], sample=np.s_[:]) -> None:
    """Prints how far our outputs are from the expected ones, and fails beyond LARGEST.

    `sample` is the part of the hidden states of real tokens [tokens, D] that is expected.
    """
    lengths = sorted(int(name.removeprefix("hidden_")) for name in expected if "hidden_" in name)
    model = load(folder)
    apart = {}
    for length in lengths:
        inputs = inputs_of(expected, length)
        real = inputs["attention_mask"] == 1
        hidden = model.encoder(*inputs.values()).numpy()[real]
        logits = model(inputs).numpy()
        ours = {
            "hidden": hidden[sample],
            "pooled": model.head.before_logits(model.encode(inputs)).numpy(),
            "logits": logits[real] if logits.ndim > 2 else logits,
        }
        for name, values in ours.items():
            if f"{name}_{length}" in expected:
                theirs = expected[f"{name}_{length}"]
                assert values.shape == theirs.shape
                apart.setdefault(name, []).append(abs(values - theirs).max())
    largest = {name: np.max(differences) for name, differences in apart.items()}
    print(
        f"{folder.parent.name}/{folder.name}, lengths {', '.join(map(str, lengths))}:",
        "largest differences",
        ", ".join(f"{name} {difference:.1e}" for name, difference in largest.items()),
    )
    (class_name,) = open_pretrained(str(folder)).config["architectures"]
    compared = ["hidden"] + ["pooled"] * (kind_of(folder.name) == "sequence")
    assert list(largest) == compared + ["logits"] * ("Classification" in class_name)
    assert all(difference <= LARGEST for difference in largest.values())


def load(folder: Path) -> Network:
    """The model of a folder, with its weights and as many outputs as it has or CLASSES."""
    pretrained = open_pretrained(str(folder))
    kind = kind_of(folder.name)
    outputs = len(model_config.labels(pretrained.config, "")) or CLASSES
    model = Network(pretrained.architecture(kind=kind), outputs)
    ones = np.ones([1, 2], np.int32)
    model(dict.fromkeys(INPUTS, ones * 0) | {"attention_mask": ones})
    pretrained.load(named_parameters(model), native_head=True, say=lambda line: None, kind=kind)
    return model


def inputs_of(expected: Mapping[str, np.ndarray], length: int) -> dict[str, np.ndarray]:
    """The batch of that length."""
    return {name: expected[f"{name}_{length}"] for name in INPUTS}
