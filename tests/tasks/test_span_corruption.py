"""Span corruption: which tokens are left out, the sources and targets, and bad settings."""

import numpy as np
import pytest
import tensorflow as tf
import words

from trainer.batch import DECODER_IDS, IDS, MASK, TARGET, TARGET_MASK, WEIGHT
from trainer.config import Tokenizer
from trainer.data.columns import Row
from trainer.data.encode import TextEncoder
from trainer.data.table import Table
from trainer.data.tokenizer_training import train_tokenizer
from trainer.errors import UserError
from trainer.models.random import random_scope
from trainer.tasks.span_corruption import SpanCorruption

TOKENIZER = train_tokenizer(
    Tokenizer(kind="words", vocab_size=60, sentinels=12), [" ".join(words.LETTERS)]
)
SENTINELS = [TOKENIZER.get_vocab()[f"<extra_id_{i}>"] for i in range(12)]
END = TOKENIZER.id_of("sep_token")


def made(**settings) -> SpanCorruption:
    given = {"target_length": 40, "noise_density": 0.3, "span_length": 2.0, **settings}
    return SpanCorruption(**given).bound({}, TOKENIZER)


def table(task: SpanCorruption, lengths, room: int = 40) -> Table:
    """Rows of so many tokens each, all of them different letters in turn."""
    letters = [words.LETTERS[i % 26] for i in range(1000)]
    texts = [" ".join(letters[i : i + n]) for i, n in enumerate(lengths)]
    encoder = TextEncoder(TOKENIZER, room, "head")
    rows = [Row({"text": text}, i, "file a.txt") for i, text in enumerate(texts)]
    pieces = [*task.joined(iter(task.pieces(rows, encoder)), encoder)]
    return Table.of(pieces, task.arrays(), encoder.pad_id, targets=True)


def prepared(task, rows: Table, places, length, step: int = 3) -> dict[str, np.ndarray]:
    batch = rows.gather(tf.constant(places, tf.int64), length)
    with random_scope(5, tf.constant(step, tf.int64), tf.constant(0, tf.int64)):
        return {name: each.numpy() for name, each in task.prepare(batch, True).items()}


def restored(source: list[int], target: list[int]) -> list[int]:
    """The row of which both were made."""
    spans: dict[int, list[int]] = {}
    for id_ in target[:-1]:
        if id_ in SENTINELS:
            spans[id_] = []
            last = id_
        else:
            spans[last].append(id_)
    assert all(spans.values())
    assert list(spans) == SENTINELS[: len(spans)]
    return [one for id_ in source for one in spans.get(id_, [id_])]


def test_sources_and_targets_make_the_row_again():
    task = made()
    lengths = [10, 17, 24, 38, 11, 30]
    rows = table(task, lengths)
    assert rows.lengths.tolist() == [n + 2 for n in lengths]
    batch = prepared(task, rows, [0, 1, 2, 3, 4, 5, -1], (40, 20))
    plain = rows.gather(tf.range(6, dtype=tf.int64), (40, 20))[IDS].numpy()
    for i, length in enumerate(lengths):
        noise, spans = task.counts(length)
        source = batch[IDS][i][batch[MASK][i] > 0].tolist()
        target = batch[TARGET][i][batch[TARGET_MASK][i] > 0].tolist()
        assert len(source) == length + 2 - noise + spans
        assert len(target) == noise + spans + 1
        assert target[-1] == END
        assert target.count(END) == 1
        assert restored(source, target) == plain[i][: length + 2].tolist()
        assert source[1] not in SENTINELS  # the first span stays
        assert source[-2] == SENTINELS[spans - 1]  # and the last does not
        assert batch[DECODER_IDS][i][1 : len(target)].tolist() == target[:-1]
    assert batch[MASK].shape[1] == 40 - task.counts(38)[0] + task.counts(38)[1]
    assert not batch[TARGET_MASK][6].any()
    assert batch[MASK][6].sum() >= 1
    assert batch[WEIGHT].tolist() == [1] * 6 + [0]


def test_spans_are_those_of_the_place_and_the_step():
    task = made()
    rows = table(task, [24, 24, 30])
    one = prepared(task, rows, [0, 1, 2], (32, 20))
    again = prepared(task, rows, [0, 1, 2], (32, 20))
    later = prepared(task, rows, [0, 1, 2], (32, 20), step=4)
    np.testing.assert_array_equal(one[IDS], again[IDS])
    assert (one[IDS] != later[IDS]).any(1).all()
    batch = rows.gather(tf.constant([1, 2], tf.int64), (32, 20))
    with random_scope(5, tf.constant(3, tf.int64), tf.constant(1, tf.int64)):
        part = task.prepare(batch, True)  # another replica's rows
    np.testing.assert_array_equal(part[IDS], one[IDS][1:])
    np.testing.assert_array_equal(part[TARGET], one[TARGET][1:])


def test_every_cut_is_as_likely():
    """Of 10 tokens 3 are left out in 2 spans: 2 x 6 ways, uniformly."""
    task = made(span_length=1.5)
    assert task.counts(10) == (3, 2)
    with random_scope(1, tf.constant(0, tf.int64), tf.constant(0, tf.int64)):
        left = task._left_out(tf.constant([6000, 12]), tf.fill([6000], 10)).numpy()
    assert not left[:, [0, 1, 11]].any()
    assert left[:, 10].all()
    assert (left.sum(1) == 3).all()
    _, counts = np.unique(left, axis=0, return_counts=True)
    assert len(counts) == 12
    assert abs(counts - 500).max() < 110  # five deviations


@pytest.mark.parametrize("settings", [{}, {"noise_density": 0.15, "span_length": 3.0}])
def test_the_graph_counts_as_the_host_does(settings):
    task = made(**settings)
    lengths = np.arange(2, 3000, dtype=np.int32)
    noise, spans = (each.numpy() for each in task._counts(tf.constant(lengths)))
    assert [*zip(noise.tolist(), spans.tolist(), strict=True)] == [task.counts(n) for n in lengths]
    if settings:
        assert task.counts(512) == (77, 26)  # as text-to-text-transfer-transformer has them
    sizes = lengths - noise + spans
    assert (np.diff(sizes) >= 0).all()
    assert (np.diff(noise + spans) >= 0).all()


def test_short_texts_are_left_out_or_joined():
    assert table(made(), [3, 24, 4]).rows.tolist() == [1]
    rows = table(made(blocks=True), [3, 24, 4, 9])
    assert rows.lengths.tolist() == [40]  # 38 of 44 tokens with ends; six are too few
    batch = prepared(made(blocks=True), rows, [0], (40, 20))
    assert batch[TARGET_MASK].sum() == sum(made().counts(38)) + 1


def test_what_does_not_fit_is_refused():
    with pytest.raises(UserError, match=r"no token <extra_id_0> .* set config\.tokenizer\.sentin"):
        SpanCorruption().bound({}, words.TOKENIZER)
    with pytest.raises(UserError, match=r"max_length=40 makes targets of 18 tokens: set"):
        table(made(target_length=17), [30])
    with pytest.raises(UserError, match=r"makes 15 spans of a row, and the tokenizer has 12 sent"):
        table(made(noise_density=0.4, span_length=1.0), [30])
    with pytest.raises(UserError, match="5 special tokens and 59 sentinels: make it 66 or"):
        train_tokenizer(Tokenizer(kind="words", vocab_size=60, sentinels=59), ["a"])
