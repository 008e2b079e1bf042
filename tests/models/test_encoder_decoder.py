"""An encoder and a decoder: what each place sees, and writing with and without a cache."""

import numpy as np
import pytest
import tensorflow as tf
import tiny

from trainer.batch import DECODER_IDS, IDS, MASK, TYPES
from trainer.models.architecture import from_scratch
from trainer.models.encoder_decoder import CachedDecoder, EncoderDecoder
from trainer.models.generate import Generation, generate
from trainer.models.heads import WordHead
from trainer.models.parameters import named_parameters
from trainer.models.random import draw_key, random_scope
from trainer.models.writing import Writing
from trainer.prediction.writer import padded_left

SOURCES = [[7], [5, 9, 6, 30], [11, 12]]
START = 2


def translator(dropout: bool = False, tied: bool = True, **changes) -> EncoderDecoder:
    """A model whose weights are large enough to have an opinion."""
    settings = (tiny.model_settings if dropout else tiny.no_dropout)(
        **{"norm": "pre", "depth": 2, "decoder_depth": 3, "kv_heads": 1, **changes}
    )
    shape = from_scratch(settings, tiny.VOCAB, 12, False, "sequence", target_length=9)
    with tiny.precision("float64"):
        model = EncoderDecoder(shape, WordHead(shape, transforms=False, tied=tied))
        model.build()
    for i, weight in enumerate([*model.encoder.weights, *model.decoder.weights]):
        weight.assign(np.random.default_rng(i).normal(size=weight.shape))
    return model


def inputs(sources, targets, length: int, left: bool = False) -> dict:
    ids, mask = padded_left(sources, length)
    if not left:
        ids, mask = (
            np.stack(
                [np.roll(row, -(length - len(s))) for row, s in zip(each, sources, strict=True)]
            )
            for each in (ids, mask)
        )
    return {IDS: ids, MASK: mask, TYPES: np.zeros_like(ids), DECODER_IDS: np.array(targets)}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("tables", [False, True])
def test_the_shapes_of_parameters_are_known_before(tied, tables):
    model = translator(tied=tied, positions="learned", decoder_table=tables)
    made = {name: tuple(v.shape) for name, v in named_parameters(model).items()}
    head = {} if tied else {"head/kernel": (tiny.VOCAB, 8)}
    assert made == model.architecture.shapes() | head
    assert ("decoder/embeddings/tokens/embeddings" in made) == tables


def test_a_decoder_with_a_table_of_its_own():
    """Outputs are tied to it, and the encoder's table is of sources alone."""
    model, batch = translator(decoder_table=True), inputs(SOURCES, [[2, 8, 9, 6]] * 3, 4)
    logits, tables = model(batch).numpy(), [model.encoder, model.decoder]
    of_source, of_target = (stack.embeddings.tokens.embeddings for stack in tables)
    of_source.assign(tf.tensor_scatter_nd_add(of_source, [[8]], tf.ones([1, 8], of_source.dtype)))
    np.testing.assert_array_equal(model(batch).numpy(), logits)  # no source has the token
    of_target.assign(tf.tensor_scatter_nd_add(of_target, [[7]], tf.ones([1, 8], of_source.dtype)))
    changed = np.abs(model(batch).numpy() - logits).max((0, 1))
    assert np.flatnonzero(changed > 1e-9).tolist() == [7]  # the outputs' token, which no target has


def test_the_decoder_sees_the_source_and_earlier_targets_alone():
    model = translator()
    batch = inputs(SOURCES, [[2, 8, 9, 6]] * 3, 4)
    logits = model(batch).numpy()
    assert logits.shape == (3, 4, tiny.VOCAB)
    later = model(batch | {DECODER_IDS: np.array([[2, 8, 9, 33]] * 3)}).numpy()
    np.testing.assert_allclose(later[:, :3], logits[:, :3], atol=1e-12)
    assert np.abs(later[:, 3] - logits[:, 3]).max() > 1e-3
    other = model(inputs([[7], [5, 9, 6, 31], [11, 12]], [[2, 8, 9, 6]] * 3, 4)).numpy()
    np.testing.assert_allclose(other[[0, 2]], logits[[0, 2]], atol=1e-12)
    assert np.abs(other[1] - logits[1]).min(-1).max() > 1e-3  # at every place of the target


def test_padding_changes_nothing():
    model = translator(positions="sinusoidal")
    targets = [[2, 8, 9, 6]] * 3
    plain = model(inputs(SOURCES, targets, 4)).numpy()
    longer = model(inputs(SOURCES, [[*t, 0, 0] for t in targets], 7)).numpy()
    np.testing.assert_allclose(longer[:, :4], plain, atol=1e-10)


class Whole:
    """The model without a cache: the whole text is decoded again for each token."""

    continues = False

    def __init__(self, model: EncoderDecoder):
        self.model = model

    def prefill(self, ids_RT, mask_RT, room):
        # Without the padding on the left, for which a plain call has no positions.
        ids_RT = tf.boolean_mask(ids_RT[0], mask_RT[0] > 0)[None]
        logits, written_RM = self.step(
            tf.constant([START]), None, ids_RT, tf.zeros([1, 0], tf.int32)
        )
        return logits, ids_RT, written_RM

    def step(self, tokens_R, positions_R, memory, cache):
        written_RM = tf.concat([cache, tokens_R[:, None]], 1)
        given = {IDS: memory, MASK: tf.ones_like(memory), DECODER_IDS: written_RM}
        return self.model(given)[:, -1], written_RM


@pytest.mark.parametrize(
    ("way", "changes"),
    [
        ({"repetition_penalty": 3.0}, {"positions": "learned", "decoder_table": True}),
        pytest.param(
            {"temperature": 1.5, "top_p": 0.9}, {"positions": "rotary"}, marks=pytest.mark.long
        ),
        pytest.param(
            {"repetition_penalty": 3.0}, {"norm": "post", "kv_heads": 0}, marks=pytest.mark.long
        ),
        pytest.param({"beams": 3}, {"positions": "sinusoidal"}, marks=pytest.mark.long),
    ],
)
def test_cached_is_uncached_and_a_batch_is_each_alone(way, changes):
    model, writing = translator(**changes), Writing(max_new_tokens=6, **way)
    rows = tf.constant([4, 0, 9], tf.int64)
    run = tf.function(generate, autograph=False)
    cached = CachedDecoder(model, START)
    found = run(cached, *padded_left(SOURCES, 6), writing, 3, rows, 1)
    for i, (source, row) in enumerate(zip(SOURCES, tf.split(rows, 3), strict=True)):
        one = padded_left([source], len(source))
        if way.get("beams"):  # the plain model cannot change the order of its rows
            alone = run(cached, *one, writing, 3, row, 1)
        else:
            alone = uncached(model, one, writing, row)
        np.testing.assert_array_equal(found.ids_BN[i], alone.ids_BN[0])
        np.testing.assert_allclose(found.log_probs_BN[i], alone.log_probs_BN[0], atol=1e-10)
    assert len(np.unique(found.ids_BN)) > 2


def uncached(model, source, writing, row):
    """Writes a token at a time, in Python, from the whole text."""
    steps = Generation(Whole(model), writing, 1)
    state = steps.begin(*source, row, draw_key(3))
    while not state.done_B[0] and state.count < writing.max_new_tokens:
        last = state.tokens_RN[:, state.count - 1]
        logits, cache = steps.model.step(last, None, state.memory, state.cache)
        state = steps._extended(state._replace(cache=cache), logits)
    return steps.written(state)


@pytest.mark.long
@pytest.mark.parametrize("shares", [False, True])
def test_recomputed_blocks_have_the_same_gradients(shares):
    model = translator(dropout=True)
    batch = inputs(SOURCES, [[2, 8, 9, 6]] * 3, 4)
    trained = [v for name, v in named_parameters(model).items() if shares or "encoder" not in name]

    @tf.function(autograph=False)
    def gradients(recompute: bool):
        zero = tf.zeros([], tf.int64)
        with random_scope(1, zero, zero):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(trained)
                loss = tf.reduce_mean(tf.square(model(batch, training=True, recompute=recompute)))
            return tape.gradient(loss, trained)

    plain, again = (gradients(recompute) for recompute in (False, True))
    for one, other in zip(plain, again, strict=True):
        np.testing.assert_allclose(
            tf.convert_to_tensor(other), tf.convert_to_tensor(one), rtol=1e-9, atol=1e-12
        )


@pytest.mark.long
def test_frozen_levels_run_without_dropout():
    """The encoder's come first, then the decoder's."""
    model = translator(dropout=True)
    batch = inputs(SOURCES, [[2, 8, 9, 6]] * 3, 4)

    @tf.function(autograph=False)
    def outputs(levels: int, step: tf.Tensor):
        zero = tf.zeros([], tf.int64)
        with random_scope(1, step, zero):
            memory = model.encoder(batch[IDS], batch[MASK], training=True, frozen_levels=levels)
            whole = model(batch, training=True, frozen_levels=levels)
        return memory, whole

    for levels, still in ((2, (False, False)), (3, (True, False)), (7, (True, True))):
        one, other = (outputs(levels, tf.constant(step, tf.int64)) for step in (1, 2))
        assert (
            tuple(np.array_equal(*map(np.array, (a, b))) for a, b in zip(one, other, strict=True))
            == still
        )
