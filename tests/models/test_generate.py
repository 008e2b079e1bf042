"""Generation on toys of which every probability is known."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from toys import Toy

from trainer.models.generate import NO_END, Generation, generate, kept
from trainer.models.random import draw_key, gumbel
from trainer.models.writing import Writing
from trainer.prediction.writer import padded_left

TEXTS = [[3], [1, 4, 2], [5, 5], [2, 1, 6, 4, 3]]
WAYS = {
    "greedy": {},
    "sampling": {"temperature": 1.3},
    "nucleus": {"top_p": 0.7, "top_k": 5},
    "penalty": {"temperature": 0.8, "repetition_penalty": 1.7},
    "beams": {"beams": 3},
    "penalised beams": {"beams": 3, "repetition_penalty": 1.7, "length_penalty": 0.0},
}


def write(model, texts, end=0, seed=5, rows=None, traced=False, jit=False, **settings):
    """The new tokens of each text, and their log-probabilities; a trace takes longer for few."""
    ids, mask = padded_left(texts, max(map(len, texts)) + 1)
    rows = tf.constant(range(len(texts)) if rows is None else rows, tf.int64)
    writing = Writing(**{"max_new_tokens": 8, **settings})

    def run(ids, mask, rows):
        return generate(model, ids, mask, writing, seed, rows, end)

    if traced or jit:
        run = tf.function(run, jit_compile=jit, autograph=False)
    found = run(ids, mask, rows)
    pairs = zip(found.ids_BN.numpy(), found.log_probs_BN.numpy(), strict=True)
    made = [(*pair, n) for pair, n in zip(pairs, found.lengths_B.numpy(), strict=True)]
    for tokens, log_probs, length in made:
        assert not tokens[length:].any()
        assert not log_probs[length:].any()
    return [(tokens[:n].tolist(), log_probs[:n]) for tokens, log_probs, n in made]


def log_softmax(logits):
    return logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()


def one_by_one(model, text, choose, end=0, most=8, penalty=1.0):
    """A continuation in plain Python; `choose` takes logits and the length of the text."""
    made, log_probs = [], []
    while len(made) < most and end not in made:
        whole = [*text, *made]
        logits = model.logits(whole)
        for token in set(whole):
            logits[token] = (
                logits[token] / penalty if logits[token] > 0 else logits[token] * penalty
            )
        made.append(choose(logits, len(whole)))
        log_probs.append(log_softmax(logits)[made[-1]])
    return made, log_probs


def same(found, expected):
    for (tokens, log_probs), (wanted, of_wanted) in zip(found, expected, strict=True):
        assert tokens == wanted
        np.testing.assert_allclose(log_probs, of_wanted, rtol=1e-12)


@pytest.mark.parametrize("penalty", [1.0, 1.7, 0.6])
def test_greedy_takes_the_most_probable_token_until_the_end(penalty):
    model = Toy()
    expected = [one_by_one(model, text, lambda x, _: x.argmax(), penalty=penalty) for text in TEXTS]
    assert {len(tokens) for tokens, _ in expected} != {8}  # some end
    same(write(model, TEXTS, repetition_penalty=penalty), expected)


def test_without_an_end_token_all_is_filled():
    assert [len(tokens) for tokens, _ in write(Toy(), TEXTS, end=NO_END)] == [8] * 4


def noise(row, position, values=7, seed=5):
    drawn = gumbel(draw_key(seed), tf.constant([row], tf.int64), tf.constant([position]), values)
    return drawn.numpy()[0].astype(np.float64)


def test_a_draw_is_a_function_of_seed_row_and_position():
    model = Toy()
    for row, text in enumerate(TEXTS):
        expected = one_by_one(
            model, text, lambda x, at, row=row: int((x / 1.3 + noise(row, at)).argmax())
        )
        same(write(model, [text], rows=[row], temperature=1.3), [expected])


@pytest.mark.parametrize("way", WAYS)
def test_neither_the_batch_nor_its_order_matters(way):
    model, rows = Toy(), [7, 2, 2**40, 11]
    together = write(model, TEXTS, rows=rows, **WAYS[way])
    alone = [
        write(model, [text], rows=[row], **WAYS[way])[0]
        for text, row in zip(TEXTS, rows, strict=True)
    ]
    same(together, alone)
    same(write(model, TEXTS[::-1], rows=rows[::-1], **WAYS[way]), together[::-1])


@pytest.mark.parametrize("way", [way for way in WAYS if "beams" not in way])
def test_going_on_from_half_of_it_gives_the_other_half(way):
    whole = write(Toy(), TEXTS, end=NO_END, **WAYS[way])
    begun = [[*text, *tokens[:3]] for text, (tokens, _) in zip(TEXTS, whole, strict=True)]
    rest = write(Toy(), begun, end=NO_END, max_new_tokens=5, **WAYS[way])
    same(rest, [(tokens[3:], log_probs[3:]) for tokens, log_probs in whole])


def test_seeds_and_rows_give_other_texts_and_each_its_own_again():
    made = {}
    for seed, row in itertools.product([0, 2**62], [0, 5]):
        drawn = [write(Toy(), [[3]], NO_END, seed, [row], temperature=1.0) for _ in range(2)]
        assert drawn[0][0][0] == drawn[1][0][0]
        made[seed, row] = tuple(drawn[0][0][0])
    assert len({*made.values()}) == len(made)


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
def test_compiled_by_xla_it_writes_the_same(way):
    same(write(Toy(), TEXTS, jit=True, **WAYS[way]), write(Toy(), TEXTS, **WAYS[way]))


@pytest.mark.parametrize("way", WAYS)
def test_in_parts_it_is_as_in_one_loop(way):
    model, writing = Toy(), Writing(max_new_tokens=8, **WAYS[way])
    whole = write(model, TEXTS, **WAYS[way])
    ids, mask = padded_left(TEXTS, 6)
    steps = Generation(model, writing, 0)
    state = steps.begin(ids, mask, tf.range(4, dtype=tf.int64), draw_key(5))
    for count in (1, 3, 9):
        state = steps.advance(state, count)
    found = steps.written(state)
    for row, (tokens, log_probs) in enumerate(whole):
        assert found.ids_BN[row].numpy().tolist() == tokens + [0] * (8 - len(tokens))
        np.testing.assert_allclose(found.log_probs_BN[row, : len(tokens)], log_probs, rtol=1e-12)


@pytest.mark.parametrize(
    ("settings", "count"),
    [({"temperature": 1.0}, 7), ({"temperature": 0.5}, 7), ({"top_k": 3}, 3), ({"top_p": 0.6}, 0)],
)
def test_draws_are_as_probable_as_the_model_says(settings, count):
    rows = 6000
    logits = Toy().logits([3])
    probabilities = np.exp(log_softmax(logits / settings.get("temperature", 1.0)))
    order = np.argsort(-probabilities)
    count = count or int((np.cumsum(probabilities[order]) < 0.6).sum()) + 1
    left_out = order[count:]
    probabilities[left_out] = 0
    drawn = write(Toy(), [[3]] * rows, NO_END, traced=True, max_new_tokens=1, **settings)
    counts = np.bincount([tokens[0] for tokens, _ in drawn], minlength=7)
    assert not counts[left_out].any()
    expected = rows * probabilities / probabilities.sum()
    squares = (counts - expected)[order[:count]] ** 2 / expected[order[:count]]
    # Chi-squared with 6 degrees of freedom or fewer: above 23 for one seed in a thousand.
    assert squares.sum() < 23


@pytest.mark.parametrize("top_k", [None, 1, 3, 6])
@pytest.mark.parametrize("top_p", [None, 1e-9, 0.3, 0.9, 1.0])
def test_tokens_that_are_left_out(top_k, top_p):
    logits = np.random.default_rng(0).normal(0, 2, [40, 6])
    found = kept(tf.constant(logits), top_k, top_p).numpy()
    for row, ours in zip(logits, found, strict=True):
        order = np.argsort(-row)[:top_k]
        probabilities = np.exp(log_softmax(row[order]))
        inside = np.cumsum(probabilities) - probabilities < (top_p or 1)
        assert {*np.flatnonzero(ours > -np.inf)} == {*order[inside]}
        np.testing.assert_array_equal(ours[order[inside]], row[order[inside]])


def test_noise_is_gumbels():
    drawn = gumbel(draw_key(1), tf.range(100, dtype=tf.int64), tf.zeros([100], tf.int32), 1000)
    values = np.sort(drawn.numpy().ravel().astype(np.float64))
    assert np.isfinite(values).all()
    distribution = np.exp(-np.exp(-values))
    # Kolmogorov-Smirnov: the largest difference times the root of the count, 1.95 in a thousand.
    ranks = np.arange(len(values)) / len(values)
    assert np.abs(distribution - ranks).max() * len(values) ** 0.5 < 1.95
    places = [noise(row, at).tobytes() for row in range(9) for at in range(9)]
    assert len({*places}) == 81


# Beams


def every_text(model, text, most, end):
    """All continuations: those that end, and those that are `most` tokens long; their totals."""
    open_ = {(): 0.0}
    for _ in range(most):
        longer = {}
        for made, total in open_.items():
            for token, log_prob in enumerate(log_softmax(model.logits([*text, *made]))):
                if token == end:
                    yield (*made, token), total + log_prob
                else:
                    longer[(*made, token)] = total + log_prob
        open_ = longer
    yield from open_.items()


LENGTHS = {"power": lambda n: n, "gnmt": lambda n: (5 + n) / 6}


@pytest.mark.parametrize(
    ("norm", "power", "n_best"),
    [
        *(("power", power, 1) for power in (0.0, 1.0, 3.0, -1.0)),
        ("gnmt", 0.6, 5),
        pytest.param("gnmt", -1.0, 40, marks=pytest.mark.long),
    ],
)
def test_beams_that_hold_everything_find_the_best_of_all_texts(norm, power, n_best):
    """With 4 tokens and 5 steps at most 324 candidates are there at once."""
    lengths = set()
    for seed in range(4):
        model, texts = Toy(vocabulary=4, seed=seed), [[3], [1, 2, 2]]
        best = []
        for text in texts:
            every = every_text(model, text, 5, 0)
            order = sorted(every, key=lambda e: -e[1] / LENGTHS[norm](len(e[0])) ** power)
            best += order[:n_best]
        how = {"length_penalty": power, "length_norm": norm, "n_best": n_best}
        found = write(model, texts, max_new_tokens=5, beams=400, **how)
        for (tokens, log_probs), (expected, total) in zip(found, best, strict=True):
            assert tokens == [*expected]
            np.testing.assert_allclose(log_probs.sum(), total, rtol=1e-12)
            lengths.add(len(tokens))
    assert len(lengths) > 1 or abs(power) > 1


def followed(model, text, beams, most, power, n_best, end=0):
    """Beam search in plain Python, without an early stop: its best texts."""
    open_, every_end = [((), 0.0)], []
    for count in range(1, most + 1):
        every = [
            ((*made, token), total + log_prob)
            for made, total in open_
            for token, log_prob in enumerate(log_softmax(model.logits([*text, *made])))
        ]
        every = sorted(every, key=lambda e: -e[1])[: 2 * beams]
        ended = [(made, total / count**power) for made, total in every[:beams] if made[-1] == end]
        every_end += ended
        open_ = [each for each in every if each[0][-1] != end][:beams]
    every_end += [(made, total / most**power) for made, total in open_]
    return [made for made, _ in sorted(every_end, key=lambda e: -e[1])[:n_best]]


@pytest.mark.parametrize("power", [0.0, 0.7, 2.0, -0.5])
@pytest.mark.parametrize(("beams", "n_best"), [(2, 1), (3, 2)])
def test_narrow_beams_are_those_of_plain_python(beams, power, n_best):
    for seed in range(3):
        model = Toy(seed=seed)
        found = write(model, TEXTS, beams=beams, length_penalty=power, n_best=n_best)
        expected = [
            made for text in TEXTS for made in followed(model, text, beams, 8, power, n_best)
        ]
        assert [tuple(tokens) for tokens, _ in found] == expected


def test_a_search_ends_when_nothing_better_can_come():
    model = Toy(seed=2)
    model.of_last[:, :, 0] += 4.0
    ids, mask = padded_left(TEXTS, 6)
    steps = Generation(model, Writing(max_new_tokens=8, beams=3), 0)
    state = steps.begin(ids, mask, tf.range(4, dtype=tf.int64), draw_key(0))
    state = steps.advance(state, 7)
    assert state.done_B.numpy().all()
    assert state.count < 8
