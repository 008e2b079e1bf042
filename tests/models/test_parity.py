"""Our models against what PyTorch transformers computes from the same files.

The files and numbers in tests/models/parity are made by scripts/make_parity_fixtures.py.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from pretrained_folders import FAMILIES, kind_of
from programs import ROOT

from trainer.batch import DECODER_IDS, IDS, MASK, TARGET, TARGET_MASK, WEIGHT
from trainer.config import Model
from trainer.models import layers, model_config, relative
from trainer.models.encoder_decoder import CachedDecoder, EncoderDecoder
from trainer.models.generate import Generation
from trainer.models.heads import WordHead
from trainer.models.network import Network
from trainer.models.parameters import named_parameters
from trainer.models.pretrained import open_pretrained
from trainer.models.random import draw_key
from trainer.models.replaced import ReplacedTokenHead
from trainer.models.writing import Writing
from trainer.tasks.text_to_text import TextToText

FIXTURES = Path(__file__).parent / "parity"
LAYOUTS = (
    *(*FAMILIES, "bert_pretraining", "minilm", "electra_base", "gpt2_base", "llama_base"),
    *(f"{name}_tokens" for name in FAMILIES),
)
# Those with a head for words, or for replaced ones.
WORDS = (
    *("bert_masked", "bert_untied_masked", "distilbert_masked", "roberta_masked"),
    *("xlm_roberta_masked", "electra_masked", "electra_replaced", "albert_masked", "gpt2_causal"),
    *("llama_causal", "llama_untied_causal"),
)
TEXTS = ("t5_text", "t5_gated_text")
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


@pytest.mark.parametrize("layout", [*WORDS, "bert_pretraining"])
def test_words_are_predicted_as_in_pytorch(layout):
    kind = kind_of(layout) if layout in WORDS else "masked"
    with np.load(FIXTURES / layout / "expected.npz") as expected:
        check(FIXTURES / layout, expected, kind=kind)


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
        load(FIXTURES / layout, kind_of(layout))(inputs_of(expected, 3), training=True)
        assert rates == expected["dropouts"].tolist()


def check(
    folder: Path, expected: Mapping[str, np.ndarray], sample=np.s_[:], kind: str = ""
) -> None:
    """Prints how far our outputs are from the expected ones, and fails beyond LARGEST.

    `sample` is the part of the hidden states of real tokens [tokens, D] that is expected, `kind`
    that of the head; "": of the name.
    """
    lengths = sorted(int(name.removeprefix("hidden_")) for name in expected if "hidden_" in name)
    kind = kind or kind_of(folder.name)
    model, of_words = load(folder, kind), kind not in ("sequence", "tokens")
    apart = {}
    for length in lengths:
        inputs = inputs_of(expected, length)
        real = inputs["attention_mask"] == 1
        hidden = model.encoder(*inputs.values()).numpy()[real]
        logits = model(inputs).numpy()
        ours = {"hidden": hidden[sample]}
        if of_words:
            ours["words"] = logits[real].reshape(real.sum(), -1)
        else:
            ours["pooled"] = model.head.before_logits(model.encode(inputs)).numpy()
            ours["logits"] = logits[real] if logits.ndim > 2 else logits
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
    compared = ["hidden"] + ["pooled"] * (kind == "sequence") + ["words"] * of_words
    assert list(largest) == compared + ["logits"] * ("Classification" in class_name)
    assert all(difference <= LARGEST for difference in largest.values())


def load(folder: Path, kind: str) -> Network:
    """The model of a folder, with its weights and as many outputs as it has or CLASSES."""
    pretrained = open_pretrained(str(folder))
    outputs = len(model_config.labels(pretrained.config, "")) or CLASSES
    shape, head = pretrained.architecture(kind=kind), None
    if kind in ("masked", "causal"):
        head = WordHead(shape, kind == "masked", pretrained.config["tie_word_embeddings"])
    if kind == "replaced":
        head = ReplacedTokenHead(shape, 0.5)
    model = Network(shape, outputs, head)
    ones = np.ones([1, 2], np.int32)
    model(dict.fromkeys(INPUTS, ones * 0) | {"attention_mask": ones})
    pretrained.load(named_parameters(model), native_head=True, say=lambda line: None, kind=kind)
    return model


def inputs_of(expected: Mapping[str, np.ndarray], length: int) -> dict[str, np.ndarray]:
    """The batch of that length."""
    return {name: expected[f"{name}_{length}"] for name in INPUTS}


@pytest.mark.parametrize("layout", TEXTS)
def test_t5_gives_what_pytorch_computes(layout):
    with np.load(FIXTURES / layout / "expected.npz") as expected:
        check_texts(FIXTURES / layout, expected)


@pytest.mark.long
@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("layout", TEXTS)
def test_t5_writes_what_it_does_in_pytorch(layout, beams):
    with np.load(FIXTURES / layout / "expected.npz") as expected:
        ended = check_written(FIXTURES / layout, expected, beams)
    assert any(ended)
    assert not all(ended)


@pytest.mark.parametrize("layout", TEXTS)
def test_distances_are_in_the_buckets_of_t5(layout):
    with np.load(FIXTURES / layout / "expected.npz") as expected:
        for name, causal in (("buckets", False), ("causal_buckets", True)):
            ours = relative.bucket_of(np.arange(-2000, 2001), 32, 128, causal)
            np.testing.assert_array_equal(ours, expected[f"{name}_2000"])


@pytest.mark.parametrize("layout", TEXTS)
def test_dropout_acts_where_it_does_in_t5(layout, monkeypatch):
    rates = []

    def draw(dropout, shape, training):
        if training and dropout.rate:
            rates.append(dropout.rate)
        return []

    monkeypatch.setattr(layers.Dropout, "draw", draw)
    with np.load(FIXTURES / layout / "expected.npz") as expected:
        load_texts(FIXTURES / layout)[0](texts_of(expected, 3), training=True)
        assert rates == expected["dropouts"].tolist()


def check_texts(folder: Path, expected: Mapping[str, np.ndarray]) -> None:
    """Like `check`, for an encoder and a decoder, whose inputs have padding on both sides."""
    (model, task), apart, first = load_texts(folder), {}, []
    for length in lengths_of(expected):
        batch = task.prepare(texts_of(expected, length), training=False)
        first.append(batch[MASK][:, 0].min())
        memory = model.encoder(batch[IDS], batch[MASK])
        vectors = model.encoder.embeddings.tokens(batch[DECODER_IDS])
        crossed = {"memory": memory, "memory_mask_BS": batch[MASK]}
        decoded = model.decoder(batch[DECODER_IDS], None, vectors_BTD=vectors, **crossed)
        logits, real = model(batch), batch[TARGET_MASK] == 1
        weights, losses = (
            of["words"].numpy() for of in (task.weights(batch), task.losses(batch, logits))
        )
        ours = {
            "hidden": memory.numpy()[batch[MASK] == 1],
            "decoded": decoded.numpy()[real],
            "words": logits.numpy()[real],
            "loss": (weights * losses).sum() / weights.sum(),
        }
        for name, values in ours.items():
            theirs = expected[f"{name}_{length}"]
            assert values.shape == theirs.shape
            apart.setdefault(name, []).append(abs(values - theirs).max())
    largest = {name: np.max(differences) for name, differences in apart.items()}
    said = ", ".join(f"{name} {difference:.1e}" for name, difference in largest.items())
    print(f"{folder.name}, lengths {lengths_of(expected)}: largest differences {said}")
    assert not all(first)  # padded on the left
    assert all(difference <= LARGEST for difference in largest.values())


def check_written(folder: Path, expected: Mapping[str, np.ndarray], beams: int) -> list[bool]:
    """Compares the tokens that a model writes, greedily or with beams; true of texts that end."""
    (model, task), ended = load_texts(folder), []
    writing = Writing(max_new_tokens=12, beams=beams, length_penalty=0.6 if beams > 1 else 1.0)
    steps = Generation(CachedDecoder(model, task.start_id), writing, task.end_id)
    texts = tf.TensorSpec([None, None], tf.int32)

    @tf.function(input_signature=[texts, texts], autograph=False)
    def write(ids_BT, mask_BT):
        rows_B = tf.range(tf.shape(ids_BT, tf.int64)[0])
        return steps.whole(ids_BT, mask_BT, rows_B, draw_key(0))

    for length in lengths_of(expected):
        found = write(*(expected[f"{name}_{length}"] for name in (IDS, MASK)))
        theirs = expected[f"{'beams' if beams > 1 else 'greedy'}_{length}"]
        ours = found.ids_BN.numpy()[:, : theirs.shape[1]]
        written = np.arange(ours.shape[1]) < found.lengths_B.numpy()[:, None]
        np.testing.assert_array_equal(np.where(written, ours, 0), theirs)
        ended += (found.lengths_B.numpy() < 12).tolist()
    return ended


def load_texts(folder: Path) -> tuple[EncoderDecoder, TextToText]:
    """The model of a folder of T5's, with its weights, and its task."""
    pretrained, said = open_pretrained(str(folder)), []
    shape = pretrained.architecture(Model(), target_length=20)
    task = TextToText(target_length=20, tied="gated" not in folder.name)
    vars(task).update(_start=pretrained.start_id, _end=pretrained.config["eos_token_id"])
    model = EncoderDecoder(shape, task.head(shape))
    model.build()
    parameters = named_parameters(model)
    pretrained.load(parameters, True, said.append, kind=task.native_kind)
    assert "start afresh: none; tensors not used: none" in said[-1]
    shapes = {name: tuple(each.shape) for name, each in parameters.items() if "head" not in name}
    assert shapes == shape.shapes()
    return model, task


def lengths_of(expected: Mapping[str, np.ndarray]) -> list[int]:
    return sorted(int(name.removeprefix("loss_")) for name in expected if "loss_" in name)


def texts_of(expected: Mapping[str, np.ndarray], length: int) -> dict[str, np.ndarray]:
    """The batch of sources of that length."""
    batch = {name: expected[f"{name}_{length}"] for name in (IDS, MASK, TARGET, TARGET_MASK)}
    return batch | {WEIGHT: np.ones(len(batch[IDS]), np.float32), DECODER_IDS: batch[TARGET]}
