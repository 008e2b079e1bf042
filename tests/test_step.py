"""The step: the same numbers however it is shared out, and what it does when they are not finite.

Everything runs through the real components on a Transformer of 8 numbers a token.
"""

import collections
import re
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from trainer.config import Optimizer, Phase
from trainer.errors import UserError
from trainer.models.random import drop_share, keep_mask, random_scope
from trainer.step import STEP_METRICS
from trainer.tasks.classification import Classification
from trainer.tasks.losses import make_loss
from trainer.tasks.masking import Masking
from trainer.tasks.task import Task

POISON = tiny.VOCAB - 1  # a token that tiny.batch never draws


def flat() -> keras.Model:
    """Without a block: what is tested is around the model, and this is traced in a second."""
    return tiny.classifier(tiny.model_settings(depth=0))


def plain() -> keras.Model:
    """Without a norm too, whose backward pass multiplies gradients."""
    return tiny.classifier(tiny.model_settings(depth=0, embedding_norm=False))


class Poisoned(keras.Model):
    """A classifier whose logits are NaN in rows that hold the token POISON."""

    def __init__(self):
        super().__init__(name="poisoned")
        self.inner = flat()
        self.inner.name = "inner"

    def call(self, inputs, training=False):
        logits = self.inner(inputs, training=training)
        poisoned = tf.reduce_any(inputs["input_ids"] == POISON, -1, keepdims=True)
        return tf.where(poisoned, tf.constant(np.nan, logits.dtype), logits)


def poisoned() -> keras.Model:
    model = Poisoned()
    model(tiny.inputs(tiny.batch(2)))
    return model


def _assert_equal(ours: dict, theirs: dict) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], name)


@pytest.mark.long
@pytest.mark.parametrize(
    ("devices", "how"), [(1, {}), (2, {"accumulate": 2, "xla": "chains"})], ids=["1", "2"]
)
def test_recomputed_blocks_give_the_same_losses(strategy_over, devices, how):
    """Their dropout too: the backward pass draws what the forward pass drew."""
    batches = tiny.batches(3, 8)
    plain, recomputed = (
        tiny.Trainer(strategy_over(devices), batches, recompute=recompute, **CURVE, **how)
        for recompute in (False, True)
    )
    np.testing.assert_allclose(recomputed.losses(3), plain.losses(3), rtol=1e-12)


@pytest.mark.long
def test_the_backward_pass_computes_every_block_again(strategy_over):
    def probabilities(recompute: bool) -> int:
        trainer = tiny.Trainer(strategy_over(1), tiny.batches(1, 4), recompute=recompute)
        arguments = (trainer.iterator, tf.constant(1), tf.constant(False))
        library = trainer.step.run.get_concrete_function(*arguments).graph.as_graph_def().library
        ops = [node.op for function in library.function for node in function.node_def]
        return ops.count("Softmax")

    assert probabilities(True) == 2 * probabilities(False) > 0


@pytest.mark.long
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_blocks_are_recomputed_in_the_precision_they_were_computed_in(strategy_over, policy):
    batches = tiny.batches(3, 8)
    plain, recomputed = (
        tiny.Trainer(strategy_over(1), batches, recompute=recompute, policy=policy)
        for recompute in (False, True)
    )
    np.testing.assert_array_equal(recomputed.losses(3), plain.losses(3))


def test_a_model_that_cannot_recompute_is_refused(strategy_over):
    with pytest.raises(UserError, match="does not take it: set it to false"):
        tiny.Trainer(strategy_over(1), tiny.batches(1, 4), make_model=poisoned, recompute=True)


# However it is shared out


MASKED = tiny.classification(mask_share=0.2)
CURVE = {"policy": "float64", "task": MASKED}


@pytest.fixture(scope="module")
def one_device_curve(strategy_over):
    return tiny.Trainer(strategy_over(1), tiny.batches(5, 16), **CURVE).losses(5)


@pytest.mark.parametrize(
    ("devices", "accumulate"),
    [
        (2, 2),
        *(pytest.param(d, a, marks=pytest.mark.long) for d, a in ((1, 2), (2, 1), (4, 4))),
        *(pytest.param(d, a, marks=pytest.mark.slow) for d, a in ((1, 4), (2, 4), (4, 1), (4, 2))),
    ],
)
def test_same_losses_on_any_devices_in_any_parts(
    strategy_over, one_device_curve, devices, accumulate
):
    batches = tiny.batches(5, 16)
    trainer = tiny.Trainer(strategy_over(devices), batches, accumulate=accumulate, **CURVE)
    np.testing.assert_allclose(trainer.losses(5), one_device_curve, rtol=1e-12)
    assert len(set(one_device_curve)) == 5


@pytest.mark.long
def test_xla_gives_the_same_losses(strategy_over):
    batches = tiny.batches(3, 8)
    plain, compiled = (
        tiny.Trainer(strategy_over(1), batches, make_model=flat, accumulate=2, xla=xla, **CURVE)
        for xla in ("off", "step")
    )
    np.testing.assert_allclose(compiled.losses(3), plain.losses(3), rtol=1e-12)


@pytest.mark.long
def test_compiled_whole_rows_are_summed_by_no_product(strategy_over):
    """As in chains, see test_fusion.py."""
    trainer = tiny.Trainer(strategy_over(1), tiny.batches(1, 4), xla="step")
    batch = {key: tf.constant(value) for key, value in tiny.batch(4).items() if key != "id"}
    zero = tf.zeros([], tf.int64)
    scale = trainer.loss_scale.scale
    ir = trainer.step._micro.experimental_get_compiler_ir(batch, zero, zero, scale, None)
    products = re.findall(r" = \w+\[([\d,]*)\]\S* dot\(", ir(stage="optimized_hlo"))
    assert not {"8", "16", "24"} & set(products)  # the widths of biases


@pytest.mark.long
def test_compiled_chains_give_the_same_losses(strategy_over):
    batches = tiny.batches(3, 8)
    plain, compiled = (
        tiny.Trainer(strategy_over(2), batches, accumulate=2, xla=xla, **CURVE)
        for xla in ("off", "chains")
    )
    np.testing.assert_allclose(compiled.losses(3), plain.losses(3), rtol=1e-12)


@pytest.mark.long
def test_the_seed_and_the_step_change_the_masks(strategy_over):
    """Twice the same batch at rate 0: only the masks differ."""
    same = [tiny.batch(8)] * 2
    still = [Phase(steps=9, learning_rate=0.0, schedule="constant")]
    curves = [
        tiny.Trainer(strategy_over(1), same, make_model=flat, phases=still, seed=seed).losses(2)
        for seed in (1, 2)
    ]
    assert len(np.unique(curves)) == 4


@pytest.mark.long
def test_accumulation_is_the_large_batch(strategy_over):
    batches = tiny.batches(4, 16)
    gentle = [Phase(steps=20, learning_rate=1e-4)]
    found = []
    for accumulate in (1, 4):
        trainer = tiny.Trainer(
            strategy_over(1), batches, accumulate=accumulate, task=MASKED, phases=gentle
        )
        metrics = [trainer.run() for _ in batches]
        found.append([(m["loss"], m["gradient_norm"]) for m in metrics])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-6)


@pytest.mark.long
def test_padding_rows_count_for_nothing(strategy_over):
    """A batch of 10 on 4 replicas, in 3 parts each, is 12 rows, two of them padding."""
    task = tiny.classification(mask_share=0.2, class_weights=(0.5, 1.0, 3.0))
    plain = tiny.batches(3, 10)
    full = [tiny.filled(batch, 12) for batch in plain]
    settings = {**CURVE, "task": task, "make_model": flat}
    expected = tiny.Trainer(strategy_over(1), plain, **settings)
    uneven = tiny.Trainer(strategy_over(4), full, accumulate=3, **settings)
    np.testing.assert_allclose(uneven.losses(3), expected.losses(3), rtol=1e-12)


@pytest.mark.long
def test_the_loss_is_the_mean_weighed_by_class(strategy_over):
    task = tiny.classification(class_weights=(0.5, 1.0, 3.0))
    batch = tiny.batch(8)
    trainer = tiny.Trainer(
        strategy_over(2),
        [batch],
        task=task,
        policy="float64",
        make_model=lambda: tiny.classifier(tiny.no_dropout(depth=0)),
    )
    logits = trainer.model(tiny.inputs(batch))
    losses = make_loss(Classification(), tiny.CLASSES).example_losses(batch["label"], logits)
    expected = np.average(losses, weights=np.array([0.5, 1.0, 3.0])[batch["label"]])
    np.testing.assert_allclose(trainer.run()["loss"], expected, rtol=1e-12)


class Two(Task):
    """Two losses with weights of their own: of a row's label, and of some of its tokens."""

    def prepare(self, batch, training):
        kept = keep_mask(tf.shape(batch["input_ids"]), 0.5)
        return {**batch, "counts": tf.cast(kept, tf.int32) * batch["attention_mask"]}

    def weights(self, batch):
        return {
            "label": batch["weight"] * tf.cast(1 + batch["label"], tf.float32),
            "tokens": batch["weight"][:, None] * tf.cast(batch["counts"], tf.float32),
        }

    def losses(self, batch, outputs):
        targets = tf.cast(batch["input_ids"], outputs.dtype) / tiny.VOCAB
        of_label = tf.nn.sparse_softmax_cross_entropy_with_logits(batch["label"], outputs)
        return {"label": of_label, "tokens": (outputs[:, :1] - targets) ** 2}


TWO = {"task": Two(), "policy": "float64", "optimizer": Optimizer(weight_decay=0.0, clip_norm=0.0)}


@pytest.mark.long
def test_several_losses_are_the_sum_of_their_means(strategy_over):
    batch = tiny.filled(tiny.batch(7), 8)
    trainer = tiny.Trainer(strategy_over(1), [batch], **TWO)
    with tf.GradientTape() as tape, random_scope(7, tf.constant(0), tf.constant(0)):
        prepared = Two().prepare(
            {name: tf.constant(value) for name, value in batch.items()}, training=True
        )
        logits = trainer.model(tiny.inputs(prepared), training=True)
        weights, losses = Two().weights(prepared), Two().losses(prepared, logits)
        means = [
            tf.reduce_sum(tf.cast(weights[name], tf.float64) * losses[name])
            / tf.cast(tf.reduce_sum(weights[name]), tf.float64)
            for name in losses
        ]
    gradients = tape.gradient(means, list(trainer.parameters.values()))
    np.testing.assert_allclose(trainer.run()["loss"], sum(means), rtol=1e-9)
    for moment, gradient in zip(trainer.optimizer.first_moments.values(), gradients, strict=True):
        expected = 0.1 * tf.convert_to_tensor(gradient).numpy()
        np.testing.assert_allclose(moment.numpy(), expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(
    ("devices", "accumulate"),
    [
        (1, 4),
        pytest.param(2, 1, marks=pytest.mark.long),
        pytest.param(4, 2, marks=pytest.mark.long),
    ],
)
def test_several_losses_are_the_same_however_they_are_shared_out(
    strategy_over, devices, accumulate
):
    batches = [tiny.filled(batch, 8) for batch in tiny.batches(3, 7)]
    how = {**TWO, "make_model": flat}
    one = tiny.Trainer(strategy_over(1), batches, **how)
    shared = tiny.Trainer(strategy_over(devices), batches, accumulate=accumulate, **how)
    np.testing.assert_allclose(shared.losses(3), one.losses(3), rtol=1e-12)


@pytest.mark.long
def test_a_padding_row_that_is_not_finite_changes_nothing(strategy_over):
    states = []
    for token in (5, POISON):
        batches = [tiny.filled(batch, 8) for batch in tiny.batches(2, 7)]
        for batch in batches:
            batch["input_ids"][-1, 0] = token
        trainer = tiny.Trainer(strategy_over(2), batches, make_model=poisoned)
        assert np.isfinite(trainer.losses(2)).all()
        states.append(trainer.state())
    _assert_equal(*states)


@pytest.mark.long
def test_several_steps_a_call_are_the_single_ones(strategy_over):
    batches = tiny.batches(5, 8)
    single, several = (
        tiny.Trainer(strategy_over(1), batches, make_model=flat, task=MASKED) for _ in range(2)
    )
    each = [single.run() for _ in range(5)]
    assert several.run(2) == each[1]
    assert several.run(3) == each[4]
    assert several.counters.step.numpy() == 5
    _assert_equal(several.state(), single.state())


# Gradients, clipping and what is reported


@pytest.mark.long
def test_reports_norms_and_clips_the_gradient_of_the_global_batch(strategy_over):
    optimizer = Optimizer(clip_norm=0.01, weight_decay=0.0)
    batch = tiny.batch(8)
    trainer = tiny.Trainer(strategy_over(2), [batch], optimizer=optimizer, policy="float64")
    before = trainer.weights()
    with tf.GradientTape() as tape, random_scope(7, tf.constant(0), tf.constant(0)):
        logits = trainer.model(tiny.inputs(batch), training=True)
        losses = make_loss(Classification(), tiny.CLASSES).example_losses(batch["label"], logits)
        loss = tf.reduce_mean(losses)
    gradients = tape.gradient(loss, list(trainer.parameters.values()))
    gradients = [tf.convert_to_tensor(gradient).numpy() for gradient in gradients]
    norm = np.sqrt(sum((gradient**2).sum() for gradient in gradients))
    assert norm > 0.1

    metrics = trainer.run()
    np.testing.assert_allclose(metrics["gradient_norm"], norm, rtol=1e-12)  # before clipping
    np.testing.assert_allclose(metrics["learning_rate"], 1e-2 / 3, rtol=1e-12)
    moved = sum(((value - before[name]) ** 2).sum() for name, value in trainer.weights().items())
    np.testing.assert_allclose(metrics["update_norm"], np.sqrt(moved), rtol=1e-9)
    for moment, gradient in zip(trainer.optimizer.first_moments.values(), gradients, strict=True):
        np.testing.assert_allclose(moment.numpy(), 0.1 * gradient * (0.01 / norm), atol=1e-16)


@pytest.mark.long
def test_small_gradients_are_not_clipped(strategy_over):
    batches = tiny.batches(2, 8)
    free, wide = (
        tiny.Trainer(
            strategy_over(1), batches, make_model=flat, optimizer=Optimizer(clip_norm=clip)
        )
        for clip in (0.0, 1e6)
    )
    np.testing.assert_array_equal(free.losses(2), wide.losses(2))
    _assert_equal(free.state(), wide.state())


# Phases


HEAD_THEN_ALL = [
    Phase(name="head", train=("head/.*",), steps=3, learning_rate=1e-2, schedule="constant"),
    Phase(name="all", steps=9, learning_rate=1e-2, schedule="constant"),
]


@pytest.mark.long
def test_frozen_parameters_stay_and_a_thawed_one_starts_as_if_new(strategy_over):
    optimizer = Optimizer(weight_decay=0.0, ema=0.9, clip_norm=0.0)
    trainer = tiny.Trainer(
        strategy_over(1), tiny.batches(4, 8), optimizer=optimizer, phases=HEAD_THEN_ALL
    )
    start = trainer.state()
    trainer.run(3)
    state = trainer.state()
    for name, value in state.items():
        changed = not np.array_equal(value, start[name])
        assert changed == ("head/" in name), name

    trainer.start_phase(1, phase_start=3)
    trainer.run(1)
    name = "encoder/block_0/attention/value/kernel"
    gradient = trainer.state()[f"first_moment/{name}"] / 0.1
    change = trainer.weights()[name] - start[name]
    clear = np.abs(gradient) > 1e-5
    assert clear.mean() > 0.9
    # Adam's first update is the rate, whatever the gradient: 3.2 times it with a global count.
    np.testing.assert_allclose(change[clear], -1e-2 * np.sign(gradient[clear]), rtol=2e-3)
    assert trainer.optimizer.updates[name].numpy() == 1
    assert trainer.optimizer.updates["head/logits/kernel"].numpy() == 4


def test_the_schedule_begins_anew_with_each_phase(strategy_over):
    phases = [
        Phase(name="one", train=("head/.*",), steps=2, learning_rate=1e-2, schedule="linear"),
        Phase(name="two", train=("head/.*",), steps=4, learning_rate=4e-3, warmup_steps=2),
    ]
    trainer = tiny.Trainer(strategy_over(1), tiny.batches(4, 4), make_model=flat, phases=phases)
    rates = [trainer.run()["learning_rate"] for _ in range(2)]
    trainer.start_phase(1, phase_start=2)
    rates += [trainer.run()["learning_rate"] for _ in range(2)]
    np.testing.assert_allclose(rates, [1e-2, 5e-3, 2e-3, 4e-3], rtol=1e-12)


@pytest.mark.long
def test_frozen_parameters_cost_no_backward_and_no_all_reduce(strategy_over, monkeypatch):
    reduced = []
    original = tf.distribute.ReplicaContext.all_reduce

    def spy(self, op, value, *args, **kwargs):
        reduced.append(len(tf.nest.flatten(value)))
        return original(self, op, value, *args, **kwargs)

    monkeypatch.setattr(tf.distribute.ReplicaContext, "all_reduce", spy)
    products = {}
    for index, phase in enumerate(HEAD_THEN_ALL):
        trainer = tiny.Trainer(
            strategy_over(1), tiny.batches(1, 4), phases=HEAD_THEN_ALL, phase=index
        )
        traced = trainer.step.run.get_concrete_function(
            trainer.iterator, tf.constant(1), tf.constant(False)
        )
        ops = collections.Counter(
            node.op
            for function in traced.graph.as_graph_def().library.function
            for node in function.node_def
            if not re.search(r"\bsums(_\d+)?/", node.name)
        )
        products[phase.name] = ops["MatMul"], ops["BatchMatMulV2"]
        sums = 2  # losses and weights go along
        assert reduced.pop() == len(trainer.step.names) + sums
        assert not reduced  # all in one
    # Five linear products and two of attention forward; backward twice as many, but for the head
    # alone only the gradient of its kernel.
    assert products == {"head": (6, 2), "all": (15, 6)}


# Not finite


def _heavy(row: int) -> list[dict[str, np.ndarray]]:
    """Three batches; in the second, one row weighs so much that its gradient overflows float16."""
    batches = tiny.batches(3, 8)
    batches[1]["weight"][row] = 32.0
    return batches


def test_float16_overflow_on_one_replica_skips_the_step_on_all(strategy_over):
    optimizer = Optimizer(initial_loss_scale=2.0**12, ema=0.9)
    trainer = tiny.Trainer(
        strategy_over(2),
        _heavy(row=-1),
        make_model=plain,
        optimizer=optimizer,
        policy="mixed_float16",
    )
    trainer.run()
    assert trainer.counters.skipped.numpy() == 0
    before = trainer.state()
    metrics = trainer.run()
    assert not np.isfinite(metrics["gradient_norm"])
    assert np.isfinite(metrics["loss"])
    assert metrics["loss_scale"] == 2.0**12  # what this step was computed with
    assert metrics["update_norm"] == 0
    _assert_equal(trainer.state(), before)  # update counts among it
    assert trainer.counters.skipped.numpy() == 1
    assert trainer.counters.step.numpy() == 2
    assert trainer.loss_scale.scale.numpy() == 2.0**11
    assert not trainer.counters.failed.numpy()

    metrics = trainer.run()
    np.testing.assert_allclose(metrics["learning_rate"], 1e-2, rtol=1e-12)  # third of warm-up
    assert trainer.counters.skipped.numpy() == 1
    assert metrics["loss_scale"] == 2.0**11
    assert {count.numpy() for count in trainer.optimizer.updates.values()} == {2}
    first, second = trainer.on_each_replica()
    _assert_equal(first, second)
    assert any(not np.array_equal(value, before[name]) for name, value in first.items())


def test_float16_fails_when_the_scale_cannot_fall_further(strategy_over):
    batches = tiny.batches(4, 4)
    for batch in batches[1:]:
        batch["weight"][0] = 1e6
    trainer = tiny.Trainer(
        strategy_over(1),
        batches,
        make_model=plain,
        optimizer=Optimizer(initial_loss_scale=2.0),
        policy="mixed_float16",
    )
    trainer.run(4)
    assert trainer.counters.failed.numpy()
    assert trainer.counters.skipped.numpy() == 1
    assert trainer.counters.step.numpy() == 2


@pytest.mark.long
def test_a_loss_that_is_not_finite_stops_inside_the_call(strategy_over):
    batches = tiny.batches(6, 8)
    for row in (2, 6):
        batches[3]["input_ids"][row, 0] = POISON
    trainer, good = (tiny.Trainer(strategy_over(2), batches, make_model=poisoned) for _ in range(2))
    good.run(3)
    trainer.run(1)
    metrics = trainer.run(5)
    assert np.isnan(metrics["loss"])
    assert trainer.counters.failed.numpy()
    assert trainer.counters.step.numpy() == 3  # 0 is the first: the step that failed
    _assert_equal(trainer.state(), good.state())
    trainer.run(1)  # takes no further batch
    assert trainer.counters.step.numpy() == 3

    batch = next(iter(tiny.distributed(trainer.strategy, batches[3:], first_step=3)))
    ids, losses = trainer.step.diagnose(batch)
    assert ids.tolist() == batches[3]["id"].tolist()
    assert ids[~np.isfinite(losses)].tolist() == [302, 306]


def test_bfloat16_does_not_wait_for_a_smaller_scale(strategy_over):
    batches = tiny.batches(2, 4)
    batches[1]["input_ids"][3, 0] = POISON
    trainer = tiny.Trainer(strategy_over(1), batches, make_model=poisoned, policy="mixed_bfloat16")
    trainer.run(2)
    assert trainer.counters.failed.numpy()
    assert trainer.counters.step.numpy() == 1
    assert trainer.counters.skipped.numpy() == 0


@pytest.mark.long
def test_diagnose_sees_the_masks_of_the_step(strategy_over):
    batches = tiny.batches(2, 8)
    trainer = tiny.Trainer(
        strategy_over(2), batches, make_model=flat, task=MASKED, policy="float64"
    )
    trainer.run()
    _, losses = trainer.step.diagnose(next(iter(tiny.distributed(trainer.strategy, batches[1:]))))
    np.testing.assert_allclose(losses.mean(), trainer.run()["loss"], rtol=1e-12)


# Masked tokens


def test_masking_replaces_its_share_of_the_tokens_that_are_not_special():
    ids = np.random.default_rng(0).integers(0, tiny.VOCAB, (500, 40)).astype(np.int32)
    masking = Masking(0.3, tiny.MASK_ID, tiny.SPECIAL_IDS)
    with random_scope(0, tf.constant(0), tf.constant(0)):
        masked = masking({"input_ids": tf.constant(ids), "label": 1})
    assert masked["label"] == 1
    found = masked["input_ids"].numpy()
    special = np.isin(ids, tiny.SPECIAL_IDS)
    np.testing.assert_array_equal(found[special], ids[special])
    replaced = found[~special] == tiny.MASK_ID
    assert abs(replaced.mean() - drop_share(0.3)) < 0.015
    np.testing.assert_array_equal(found[~special][~replaced], ids[~special][~replaced])


def test_masking_is_of_the_share_and_the_tokenizers_tokens():
    tokenizer = SimpleNamespace(mask_token_id=4, all_special_ids=[3, 0, 4])
    assert Masking.of(0.3, tokenizer) == Masking(0.3, 4, (0, 3, 4))
    assert Masking.of(0.0, tokenizer) is Masking.of(0.3, None) is None
    tokenizer.mask_token_id = None
    assert Masking.of(0.0, tokenizer) is None
    with pytest.raises(UserError, match=r"config\.task\.mask_share needs a tokenizer with a mask"):
        Masking.of(0.3, tokenizer)


@pytest.mark.long
def test_the_gradient_is_sampled_before_it_is_clipped(strategy_over):
    sums = []
    for devices in (1, 2):
        trainer = tiny.Trainer(
            strategy_over(devices),
            tiny.batches(3, 8),
            optimizer=Optimizer(clip_norm=1e-3, weight_decay=0.0),
            make_model=flat,
            phases=[Phase(steps=9, learning_rate=1e-3, schedule="constant")],
        )
        trainer.call(1)
        called = trainer.call(1, sampled=True)
        norm = dict(zip(STEP_METRICS, called.metrics.numpy(), strict=True))["gradient_norm"]
        # So few numbers are all taken.
        np.testing.assert_allclose(np.linalg.norm(called.gradients), norm, rtol=1e-5)
        assert float(called.input_seconds) > 0
        groups = trainer.step.samples.by_group(called.gradients.numpy())
        assert set(groups) == {"encoder/embeddings", "head/logits"}
        sums.append(groups["head/logits"])
        assert not trainer.call(1).gradients.numpy().any()
    np.testing.assert_allclose(*sums, rtol=1e-4, atol=1e-7)
