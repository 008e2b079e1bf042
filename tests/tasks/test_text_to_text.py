"""Text to text: rows, the shift, the loss, and the judgement of what is written."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import words

from tests.models.test_encoder_decoder import translator
from trainer.batch import DECODER_IDS, TARGET, TARGET_MASK, WEIGHT
from trainer.data.columns import Row
from trainer.data.encode import TextEncoder
from trainer.data.table import Table
from trainer.errors import UserError
from trainer.evaluation.scores import Kept
from trainer.storage import fields
from trainer.tasks.strings import Strings
from trainer.tasks.task import Scores
from trainer.tasks.text_to_text import WORDS, TextToText

TOKENIZER = words.TOKENIZER


def task(**settings) -> TextToText:
    return TextToText(**{"target_length": 6, **settings}).bound({}, TOKENIZER)


def row(source: str, target: str | None = None, number: int = 0) -> Row:
    cells = {"source": source} | ({} if target is None else {"target": target})
    return Row(cells, number, "file a.tsv")


def test_a_row_is_a_source_and_its_target():
    encoder = TextEncoder(TOKENIZER, 12, "head")
    made = task()
    (piece,) = made.pieces([row("a b", "b a")], encoder)
    (source,) = encoder.encode(["a b"])
    assert piece.tokens.second_start == len(source.ids)
    target = piece.tokens.ids[len(source.ids) :].tolist()
    assert target == [*encoder.contents(["b a"])[0].tolist(), made.end_id]
    assert piece.values == {"cut": 0}
    (longer,) = made.pieces([row("a b", "b a b a b a b a")], encoder)
    assert len(longer.tokens.ids) - longer.tokens.second_start == 6
    assert longer.tokens.ids[-1] == made.end_id
    assert longer.values == {"cut": 1}
    _, notes = made.about({"test": {"cut": np.array([1, 0, 1])}}, [])
    assert notes == [
        "test: 2 targets were cut to config.task.target_length=6 tokens, and are judged by their"
        " whole texts"
    ]


def test_a_target_of_just_the_length_is_whole():
    encoder = TextEncoder(TOKENIZER, 12, "head")
    counts = [len(encoder.contents([text])[0]) for text in ("a b a b a", "a b a b a b")]
    assert counts == [5, 6]  # and the end
    pieces = task().pieces([row("a", "a b a b a"), row("a", "a b a b a b")], encoder)
    assert [piece.values["cut"] for piece in pieces] == [0, 1]


def test_a_prefix_stands_before_each_source():
    encoder = TextEncoder(TOKENIZER, 12, "head")
    plain, prefixed = task(), task(prefix="b a ")
    (one,) = prefixed.pieces([row("b", "a")], encoder)
    (other,) = plain.pieces([row("b a b", "a")], encoder)
    np.testing.assert_array_equal(one.tokens.ids, other.tokens.ids)
    (one,), (other,) = prefixed.sources(["b"], encoder), plain.sources(["b a b"], encoder)
    np.testing.assert_array_equal(one.ids, other.ids)


def test_a_row_to_predict_has_no_target():
    made = task()
    assert [column.key for column in made.text_columns] == ["source"]
    assert made.texts(row("a", "b")) == ["a", "b"]
    assert made.texts(row("a")) == ["a"]
    assert made.identity(row("a", "b")) == ["a"]  # with all its targets in one set
    assert not made.pairs
    with pytest.raises(UserError, match=r"file a.tsv, row 1: the target 'target' is empty: leave"):
        made.pieces([row("a", " ")], TextEncoder(TOKENIZER, 12, "head"))


def test_a_tokenizer_without_an_end_is_refused():
    bare = SimpleNamespace(id_of=lambda role: None)
    with pytest.raises(UserError, match="the tokenizer has no end token, which a written text"):
        TextToText().bound({}, bare)


def prepared(made: TextToText, training: bool) -> dict:
    return made.prepare(
        {
            TARGET: tf.constant([[7, 8, 3], [9, 3, 0]]),
            TARGET_MASK: tf.constant([[1, 1, 1], [1, 1, 0]]),
            WEIGHT: tf.constant([1.0, 1.0]),
        },
        training,
    )


def test_the_decoder_reads_the_target_behind_a_start_token():
    made = task()
    assert prepared(made, training=True)[DECODER_IDS].numpy().tolist() == [
        [made.start_id, 7, 8],
        [made.start_id, 9, 3],
    ]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_of_smoothed_targets_in_training_alone(smoothing):
    made = task(label_smoothing=smoothing)
    logits = np.random.default_rng(0).normal(size=(2, 3, 12))
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    own = -np.take_along_axis(log_probs, np.array([[7, 8, 3], [9, 3, 0]])[..., None], -1)[..., 0]
    for training in (True, False):
        batch = prepared(made, training)
        (found,) = made.losses(batch, tf.constant(logits)).values()
        share = smoothing if training else 0.0
        wanted = (1 - share) * own - share * log_probs.mean(-1)
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
        assert made.weights(batch)[WORDS].numpy().tolist() == [[1, 1, 1], [1, 1, 0]]


def judged(made: TextToText, rows: list[tuple[str, str]], written: list[str]):
    """Gold and scores of a set for which the model wrote these texts."""
    encoder = TextEncoder(TOKENIZER, 12, "head")
    pieces = [
        piece._replace(row=i, values=piece.values | {"source": source, "target": target})
        for i, (source, target) in enumerate(rows)
        for piece in made.pieces([row(source, target)], encoder)
    ]
    gold = Table.of(pieces, made.arrays(), encoder.pad_id).gold
    ids = np.zeros((len(rows), 6), np.int32)
    count = np.zeros(len(rows), np.int32)
    for i, text in enumerate(written):
        own = [*encoder.contents([text])[0].tolist(), made.end_id]
        ids[i, : len(own)], count[i] = own, len(own)
    ones = np.ones(len(rows), np.float32)
    answers = {"ids": ids, "count": count, "log_probability": -ones}
    return gold, Scores({WORDS: 2 * ones}, {WORDS: 4 * ones}, answers)


def test_a_set_is_judged_by_its_own_texts():
    made = task()
    gold, scores = judged(made, [("a", "b a b a"), ("b", "a a b a")], ["b a b a", "a a b a"])
    found = made.judge(gold, scores)
    assert found["bleu"] == pytest.approx(100)
    assert found["exact_match"] == 1
    assert (found["loss"], found["tokens"], found["examples"]) == (0.5, 8, 2)
    assert found["perplexity"] == pytest.approx(math.exp(0.5))
    assert made.metric in found
    assert set(made.metric_names()) <= found.keys()
    gold, scores = judged(made, [("a", "b a b a"), ("b", "a a b a")], ["b a b a", "b"])
    found = made.judge(gold, scores)
    assert found["exact_match"] == 0.5
    result = {"test": found, **made.results(None, gold, scores)}
    (title, _), bleu, (_, chrf) = made.summary(result)
    assert (title, bleu) == ("Test", ("BLEU", result["bleu_signature"]))
    assert "tok:13a" in bleu[1]
    assert "nc:6" in chrf


def test_rows_of_one_source_are_its_references():
    made = task(several_references=True)
    rows = [("a", "b b b b"), ("b", "a a b a"), ("a", "b a b a")]
    gold, scores = judged(made, rows, ["b a b a", "a a b a", "b"])
    found = made.judge(gold, scores)  # the third row's own text is not asked for
    assert (found["bleu"], found["examples"]) == (pytest.approx(100), 2)


@pytest.mark.long
def test_one_text_is_written_for_all_rows_of_a_source():
    made = task(several_references=True, beams=2, target_length=9)
    rows = [("a", "b"), ("b", "a"), ("a", "c"), ("b", "b"), ("c", "d")]
    encoder = TextEncoder(TOKENIZER, 12, "head")
    pieces = [
        piece._replace(row=i, values=piece.values | {"source": source, "target": target})
        for i, (source, target) in enumerate(rows)
        for piece in made.pieces([row(source, target)], encoder)
    ]
    table = Table.of([*made.joined(iter(pieces), encoder)], made.arrays(), 0, targets=True)
    assert table.gold["first"].tolist() == [1, 1, 0, 0, 1]
    model = translator()

    @tf.function(autograph=False)
    def written(rows):
        return made.written(model, table.gather(rows, (6, 9)))

    together = {name: each.numpy() for name, each in written(tf.range(5, dtype=tf.int64)).items()}
    assert together["ids"].shape == (5, 9)
    assert (together["count"] > 0).tolist() == [True, True, False, False, True]
    assert not together["ids"][[2, 3]].any()
    of_each = made.sampled(model, table.gather(tf.range(5, dtype=tf.int64), (6, 9)))
    assert (of_each["count"].numpy() > 0).all()
    for i in range(5):
        alone = written(tf.constant([i, -1], tf.int64))
        for name, each in alone.items():
            np.testing.assert_allclose(each[0], together[name][i], rtol=1e-6)
            assert not each[1].numpy().any()
    gold = {**table.gold, "rows": np.arange(5)}
    shown = made.show(gold, Scores({}, {}, together), SimpleNamespace(rows=np.array([3, 2])))
    first = {source: text for source, _, text in shown[2].rows[:2]}
    assert all(first.get(source, text) == text for source, _, text in shown[2].rows)


def test_what_is_kept_for_reports_comes_back(tmp_path):
    made = task()
    gold, scores = judged(made, [("a", "b ☃"), ("b", "a a")], ["b", "a a"])
    kept = Kept(gold, scores, made.judge(gold, scores), [])
    assert not kept.why_not
    digest = kept.save(tmp_path / "scores" / "test.npz")
    again = Kept.load(tmp_path / "scores" / "test.npz", digest, made)
    assert isinstance(again.gold["target"], Strings)
    assert [*again.gold["target"]] == ["b ☃", "a a"]
    assert again.metrics == kept.metrics
    tables = made.show(again.gold, again.scores, again.examples)
    assert [table.name for table in tables] == [
        "BLEU by length of the source", "signature of BLEU", "written texts", "largest losses",
    ]  # fmt: skip
    assert tables[2].rows[1] == ("b", "a a", "a a")
    assert "tok:13a" in tables[1].rows[0][0]


@pytest.mark.parametrize(
    "damage",
    [
        {"count": np.array([7, 0], np.int32)},
        {"ids": np.full((2, 6), -1, np.int32)},
        {"more": np.zeros(2, np.int32)},
        {"ids": np.full((2, 6), 2**40)},
        {"count": np.ones(2)},
    ],
)
def test_damaged_answers_are_refused(damage):
    made = task()
    gold, scores = judged(made, [("a", "b"), ("b", "a")], ["b", "a"])
    made.check_kept(gold, scores)
    with pytest.raises(fields.Invalid):
        made.check_kept(gold, Scores(scores.losses, scores.weights, scores.answers | damage))


def test_strings_are_a_sequence_of_texts():
    texts = ["ein", "", "größer\n☃", "z"]
    made = Strings.made(texts)
    assert [*made] == texts
    assert (len(made), made[-1], made[1:3]) == (4, "z", texts[1:3])
    assert [*made.of_rows(np.array([3, 0]))] == ["z", "ein"]
    again = Strings.of_columns(made.columns("text"), "text")
    assert [*again] == texts
    with pytest.raises(IndexError):
        made[4]
