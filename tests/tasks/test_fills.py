"""Masks in texts to predict, filled with the most probable tokens."""

import numpy as np
import pytest
import tensorflow as tf
import words
from begun_runs import scratch

from trainer.batch import IDS, MASK, POSITIONS
from trainer.data.columns import Row
from trainer.errors import UserError
from trainer.prediction.predictor import Predictor
from trainer.tasks.masked import FILLS, MaskedWords
from trainer.trained import TrainedModel

LENGTH = 12
TEXTS = [
    "a [MASK] c",
    "nothing here",
    "",
    " ".join(["a b [MASK] d", *"efgh", "[MASK] bab z [MASK]", *"klm"]),  # two windows
]


def rows(texts):
    return [Row({"text": text}, i, "file t") for i, text in enumerate(texts)]


def predicted(trained, texts):
    predictor = Predictor(trained)
    return [
        trained.task.line(row, *answered, None)
        for row, answered in zip(rows(texts), predictor.run(rows(texts)), strict=True)
    ]


def by_hand(trained, row_ids):
    """The best tokens and their probabilities at each mask of a row of ids."""
    ids = tf.constant([row_ids], tf.int32)
    places = np.flatnonzero(ids[0] == words.MASK)
    batch = {IDS: ids, MASK: tf.ones_like(ids), POSITIONS: tf.constant([places], tf.int32)}
    best = tf.math.top_k(tf.nn.softmax(trained.model(batch)[0]), FILLS)
    return [
        [(words.TOKENS[i], p) for i, p in zip(of, shares, strict=True)]
        for of, shares in zip(best.indices.numpy(), best.values.numpy(), strict=True)
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return scratch(tmp_path_factory.mktemp("fills") / "run", MaskedWords(blocks=True), LENGTH)


@pytest.mark.parametrize("devices", [1, pytest.param(2, marks=pytest.mark.long)])
def test_masks_are_filled_in_order_through_windows(run, strategy_over, devices):
    trained = TrainedModel(run, strategy_over(devices))
    lines = predicted(trained, TEXTS)
    assert [len(line["fills"]) for line in lines] == [1, 0, 0, 3]
    windows = [words.ids_of(TEXTS[3])[i : i + LENGTH - 2] for i in range(0, 20, LENGTH - 2)]
    wanted = by_hand(trained, [words.BEGIN, *words.ids_of(TEXTS[0]), words.END])
    for window in windows:
        wanted += by_hand(trained, [words.BEGIN, *window, words.END])
    found = [fill for line in lines for fill in line["fills"]]
    for fill, expected in zip(found, wanted, strict=True):
        assert [each["token"] for each in fill] == [token for token, _ in expected]
        shares = [each["probability"] for each in fill]
        np.testing.assert_allclose(shares, [p for _, p in expected], rtol=1e-4)
        assert shares == sorted(shares, reverse=True)


def test_the_text_is_the_users_own_with_the_first_of_them(run, strategy_over):
    trained = TrainedModel(run, strategy_over(1))
    given = ["a [MASK]  Naïve, [MASK]c!", "Unknown: nothing"]
    lines = predicted(trained, given)
    tokens = [fill[0]["token"] for fill in lines[0]["fills"]]
    text = given[0]
    for token in tokens:
        before, after = text.split("[MASK]", 1)
        inside = token.startswith("##")
        text = (before.rstrip() if inside else before) + token.removeprefix("##") + after
    assert [line["text"] for line in lines] == [text, given[1]]
    # Damaged:
    trained.model.head.bias.assign(np.full(40, np.nan))
    with pytest.raises(UserError, match=r"the model's outputs for file t, .* are not finite"):
        predicted(trained, ["a [MASK]"])


def test_a_filled_token_may_go_on_with_a_word():
    with_ = MaskedWords().bound({}, words.TOKENIZER)._with
    assert with_("un ", "##b") == "unb"
    assert with_("a ", " b") == with_("a ", "b") == "a b"
    assert with_("a", " b") == "a b"


def test_unknown_words_are_shown_where_a_text_is_that_of_the_ids():
    ids = [words.BEGIN, *words.ids_of("a WORD c"), words.END, words.PAD]
    assert words.TOKENIZER.text_of(ids) == "a [UNK] c"


def test_a_set_has_no_answers():
    task = MaskedWords().bound({}, words.TOKENIZER)
    assert task.answers({POSITIONS: 0}, None) == {}
