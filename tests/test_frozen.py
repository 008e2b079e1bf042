"""Frozen parameters: unchanged bit for bit, without dropout, without a gradient.

By the real step on a pretrained model's architecture with 2 blocks of 8 numbers a token.
"""

import collections
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from trainer.config import Optimizer, Phase
from trainer.models.architecture import Architecture, Head
from trainer.models.network import Network
from trainer.phases import frozen_levels

RATES = ("dropout", "attention_dropout", "embedding_dropout")
HEAD, TOP, ALL = ("head/.*",), ("encoder/block_1/.*", "head/.*"), (".*",)
FAMILIES = {
    "bert": {},
    "albert": {"shared": True, "embedding_width": 4, "output_dropouts": ("attention",)},
    "gpt2": {"norm": "pre", "causal": True, "embedding_norm": False, "head": Head("last")},
    "llama": {
        **{"norm": "pre", "norm_kind": "rms", "causal": True, "embedding_norm": False},
        **{"positions": "rotary", "gated_ffn": True, "activation": "silu", "kv_heads": 1},
        **{"attention_biases": False, "ffn_biases": False, "head": Head("last")},
    },
}


def trainer(strategy, train=HEAD, accumulate=1, xla="off", **shape) -> tiny.Trainer:
    """A model whose weights depend on its shape only, and its steps with `train`."""

    def make():
        keras.utils.set_random_seed(0)
        fields = {
            **{"vocab_size": tiny.VOCAB, "max_length": tiny.LENGTH, "token_types": 2},
            **{"width": 8, "depth": 2, "heads": 2, "ffn_width": 16},
            **{"head": Head("cls", 8, dropout=0.1), "epsilon": 1e-3},
        }
        model = Network(Architecture(**{**fields, **shape}), tiny.CLASSES)
        model(tiny.inputs(tiny.batch(2)))
        return model

    return tiny.Trainer(
        strategy,
        tiny.batches(4, 8),
        make_model=make,
        optimizer=Optimizer(weight_decay=0.1, clip_norm=0.0),
        phases=[Phase(steps=20, train=train, learning_rate=1e-2)],
        accumulate=accumulate,
        xla=xla,
    )


def changed(before: dict, after: dict) -> set[str]:
    return {name for name in before if before[name].tobytes() != after[name].tobytes()}


# What does not train does not change


@pytest.mark.long
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("devices", [1, 2])
def test_the_head_phase_leaves_the_encoder_as_it_is(strategy_over, family, devices):
    run = trainer(strategy_over(devices), **FAMILIES[family])
    before = run.state()
    run.run(3)
    touched = changed(before, run.state())
    of_head = {name for name in run.parameters if name.startswith("head/")}
    assert of_head <= touched
    assert not [name for name in touched if "encoder/" in name]  # nor its moments and counts
    for weights in run.on_each_replica():
        assert not [n for n in changed(before, {**before, **weights}) if n.startswith("encoder/")]


@pytest.mark.long
def test_only_the_block_that_trains_changes(strategy_over):
    run = trainer(strategy_over(1), TOP)
    before = run.weights()
    run.run(3)
    expected = {n for n in before if n.startswith(("encoder/block_1/", "head/"))}
    assert changed(before, run.weights()) == expected


@pytest.mark.long
def test_freezing_does_not_change_the_gradient_of_what_trains(strategy_over):
    """Without dropout in the encoder: the head's first step is that of the whole model's."""
    still = dict.fromkeys(RATES, 0.0)
    whole, head = (trainer(strategy_over(1), train, **still) for train in (ALL, HEAD))
    whole.run()
    head.run()
    for name, value in head.weights().items():
        if name.startswith("head/"):
            np.testing.assert_allclose(value, whole.weights()[name], rtol=1e-6, atol=1e-8)


# Dropout


def losses(strategy, train, family="bert", **shape) -> list[float]:
    return trainer(strategy, train, **{**FAMILIES[family], **shape}).losses(2).tolist()


@pytest.mark.long
@pytest.mark.parametrize("family", FAMILIES)
def test_a_frozen_encoder_runs_without_dropout(strategy_over, family):
    none, much = (dict.fromkeys(RATES, rate) for rate in (0.0, 0.5))
    one = strategy_over(1)
    assert losses(one, HEAD, family, **none) == losses(one, HEAD, family, **much)


@pytest.mark.long
def test_the_head_that_trains_keeps_its_dropout(strategy_over):
    one = strategy_over(1)
    rates = [losses(one, HEAD, head=Head("cls", 8, dropout=rate)) for rate in (0.0, 0.5)]
    assert rates[0] != rates[1]


@pytest.mark.long
def test_gradual_unfreezing_drops_nothing_below_what_trains(strategy_over):
    one = strategy_over(1)
    plain = losses(one, TOP)
    assert losses(one, TOP, embedding_dropout=0.5) == plain
    for rate in ("dropout", "attention_dropout"):  # block_1 has them
        assert losses(one, TOP, **{rate: 0.5}) != plain


NAMES = [
    "encoder/embeddings/tokens/embeddings",
    *(f"encoder/block_{i}/ffn_in/kernel" for i in range(11)),
    "encoder/final_norm/gamma",
    "head/logits/kernel",
]


@pytest.mark.parametrize(
    ("trained", "levels"),
    [
        (NAMES, 0),
        (NAMES[1:], 1),
        (NAMES[2:], 2),
        (NAMES[11:], 11),  # block_10, the final norm and the head
        (NAMES[12:], 12),
        (NAMES[13:], 12),
        ([NAMES[0], NAMES[13]], 0),  # the blocks between pass a gradient on
        ([NAMES[3]], 3),
    ],
)
def test_levels_below_all_that_trains(trained, levels):
    assert frozen_levels(NAMES, trained) == levels


# The graph of a step

MATRIX_PRODUCTS = ("MatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum")
RANDOM = "StatelessRandomUniformFullIntV2"


def count(graph: tf.Graph) -> tuple[int, int]:
    """The matrix products and the draws of random numbers it holds, in all branches."""
    defined = graph.as_graph_def()
    nodes = [*defined.node, *(n for f in defined.library.function for n in f.node_def)]
    products = [node.op for node in nodes if not re.search(r"\bsums(_\d+)?/", node.name)]
    found = collections.Counter(products)
    return sum(found[op] for op in MATRIX_PRODUCTS), found[RANDOM]


def products_and_draws(run: tiny.Trainer) -> tuple[int, int]:
    arguments = (run.iterator, tf.constant(1), tf.constant(False))
    return count(run.step.run.get_concrete_function(*arguments).graph)


# A block has 4 linear products (queries, keys and values are one) and 2 of attention; the head 2
# linear layers. The gradient of a product takes one for each of its factors.
BLOCK, HEAD_FORWARD = 6, 2
FORWARD = 2 * BLOCK + HEAD_FORWARD
DRAWS_OF_BLOCK = 3


@pytest.mark.long
@pytest.mark.parametrize(
    ("train", "backward", "draws"),
    [
        (HEAD, 2 + 1, 1),  # nothing below the head is asked for a gradient
        (TOP, 2 * 2 + (2 * BLOCK - 1), 1 + DRAWS_OF_BLOCK),  # nor below block_1
        (ALL, 2 * 2 + 2 * 2 * BLOCK, 1 + 2 * DRAWS_OF_BLOCK + 1),
    ],
    ids=["head", "head and block_1", "all"],
)
def test_what_is_computed_for_a_step(strategy_over, train, backward, draws):
    run = trainer(strategy_over(1), train)
    inputs = tiny.inputs(tiny.batch(8))
    forward = tf.function(lambda: run.model(inputs)).get_concrete_function()
    assert count(forward.graph) == (FORWARD, 0)
    assert products_and_draws(run) == (FORWARD + backward, draws)


@pytest.mark.parametrize("how", [{"accumulate": 2}, {"xla": "step"}])
def test_however_it_runs_no_more_is_computed(strategy_over, how):
    """In a loop over micro-batches; with forward and backward compiled."""
    assert products_and_draws(trainer(strategy_over(1), **how)) == (FORWARD + 3, 1)
