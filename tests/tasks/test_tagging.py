"""Tagging: tokens that stand for words, windows put together, entities scored as CoNLL does."""

import random
import re

import conlleval
import numpy as np
import pytest
import tensorflow as tf
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from trainer import config
from trainer.data.columns import Row
from trainer.data.encode import TextEncoder
from trainer.data.subwords import Subwords
from trainer.data.table import Table
from trainer.data.tokenizers import train_tokenizer
from trainer.errors import UserError
from trainer.storage.fields import Invalid
from trainer.tasks import shown
from trainer.tasks.entities import tagged
from trainer.tasks.tagging import Tagging
from trainer.tasks.task import Examples, Scores, weighted_sums

LETTERS = "abcdefghijklmnopqrstuvwxyz"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
TYPES = ["LOC", "PER"]
FACTS = {"types": TYPES, "scheme": "BIO"}
TEXTS = [
    "anna met bob in new york today",
    "the café of zoë, in são paulo",
    "don't ask: it's 1999 already",
]


def letters(unknown: str | None = "[UNK]") -> Subwords:
    """A tokenizer of single letters, which leaves control characters out, as BERT's does."""
    vocab = {token: i for i, token in enumerate((*SPECIAL, *LETTERS, *(f"##{c}" for c in LETTERS)))}
    options = {"unk_token": unknown} if unknown else {}
    backend = Tokenizer(models.WordPiece(vocab, max_input_chars_per_word=500, **options))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(token, vocab[token]) for token in ("[CLS]", "[SEP]")]
    pair = "[CLS] $A [SEP] $B:1 [SEP]:1"
    backend.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", pair, ends)
    special = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return Subwords(backend, special | options, {})


@pytest.fixture(scope="module")
def tokenizer() -> Subwords:
    return letters()


@pytest.fixture(params=["letters", "wordpiece", "bpe", "unigram"], scope="module")
def any_tokenizer(request) -> Subwords:
    """One of each kind that can be trained here, and one that makes many pieces."""
    if request.param == "letters":
        return letters()
    # Without the letters of the last text, so that some are unknown where that can be.
    settings = config.Tokenizer(kind=request.param, vocab_size=320)
    return train_tokenizer(settings, TEXTS[:2])


def task(tokenizer=None, facts=FACTS, **settings) -> Tagging:
    """The task of one run."""
    return Tagging(**settings).bound(facts, tokenizer)


def row(words: str | list[str], tags: str | list[str] | None = None, number: int = 0) -> Row:
    """A sentence of a file."""
    split = words.split() if isinstance(words, str) else words
    cells = {"words": split}
    if tags is not None:
        cells["tags"] = tags.split() if isinstance(tags, str) else tags
    return Row(cells, number, "file train.jsonl")


def words_of(piece) -> list[int]:
    """The words that tokens of a piece stand for, in order."""
    return [int(word) for word in piece.values["word"] if word >= 0]


def random_words(drawn: random.Random, count: int) -> list[str]:
    return ["".join(drawn.choices(LETTERS, k=drawn.randint(1, 5))) for _ in range(count)]


def random_entities(drawn: random.Random, words: int) -> list[tuple[int, int, str]]:
    found, at = [], 0
    while at < words:
        length = drawn.randint(1, 3)
        if drawn.random() < 0.5 and at + length <= words:
            found.append((at, at + length, drawn.choice(TYPES)))
        at += length
    return found


# Tokens and words


@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_those_of_the_text(any_tokenizer, text):
    encoder = TextEncoder(any_tokenizer, 256, "head")
    (piece,) = task(any_tokenizer).pieces([row(text)], encoder)
    (expected,) = encoder.encode([text])
    assert piece.tokens.ids.tolist() == expected.ids.tolist()
    assert not piece.tokens.cut


@pytest.mark.parametrize("text", TEXTS)
def test_the_first_token_of_a_word_stands_for_it(any_tokenizer, text):
    encoder = TextEncoder(any_tokenizer, 256, "head")
    words = text.split()
    (piece,) = task(any_tokenizer).pieces([row(text)], encoder)
    assert words_of(piece) == list(range(len(words)))
    spans = encoder.spans(text)
    starts = [match.start() for match in re.finditer(r"\S+", text)]
    at = np.flatnonzero(piece.values["word"] >= 0)
    # A token may hold the blank before its word.
    assert all(starts[i] - spans[place][0] in (0, 1) for i, place in enumerate(at))
    assert len(piece.values["word"]) == len(piece.tokens.ids)


def test_pieces_after_the_first_and_special_tokens_stand_for_nothing(tokenizer):
    encoder = TextEncoder(tokenizer, 32, "head")
    (piece,) = task(tokenizer).pieces([row("ab c def")], encoder)
    names = tokenizer.convert_ids_to_tokens(piece.tokens.ids)
    assert names == ["[CLS]", "a", "##b", "c", "d", "##e", "##f", "[SEP]"]
    assert piece.values["word"].tolist() == [-1, 0, -1, 1, 2, -1, -1, -1]


def test_a_word_of_several_words_of_the_tokenizer_is_one(tokenizer):
    encoder = TextEncoder(tokenizer, 32, "head")
    words = ["u.s.", "new york", "a-b"]
    (piece,) = task(tokenizer).pieces([row(words)], encoder)
    assert words_of(piece) == [0, 1, 2]
    firsts = piece.tokens.ids[piece.values["word"] >= 0]
    assert tokenizer.convert_ids_to_tokens(firsts) == ["u", "n", "a"]


def test_an_unknown_word_is_the_unknown_token(tokenizer):
    encoder = TextEncoder(tokenizer, 32, "head")
    (piece,) = task(tokenizer).pieces([row("ab 日 c")], encoder)
    names = tokenizer.convert_ids_to_tokens(piece.tokens.ids)
    assert names == ["[CLS]", "a", "##b", "[UNK]", "c", "[SEP]"]
    assert words_of(piece) == [0, 1, 2]


def test_a_word_that_makes_no_token_gets_the_unknown_one_at_its_place(tokenizer):
    encoder = TextEncoder(tokenizer, 32, "head")
    words = ["\u200b", "ab", "\ufeff", "\u200d\u200b", "c", "\u00ad"]
    (piece,) = task(tokenizer).pieces([row(words)], encoder)
    names = tokenizer.convert_ids_to_tokens(piece.tokens.ids)
    unknown = "[UNK]"
    assert names == ["[CLS]", unknown, "a", "##b", unknown, unknown, "c", unknown, "[SEP]"]
    assert words_of(piece) == [0, 1, 2, 3, 4, 5]


def test_a_word_that_makes_no_token_is_refused_where_none_is_unknown():
    bare = letters(unknown=None)
    encoder = TextEncoder(bare, 32, "head")
    with pytest.raises(UserError, match=r"train\.jsonl, row 8: the tokenizer makes nothing of the"):
        task(bare).pieces([row("ab"), row(["ab", "\u200b"], number=7)], encoder)


def test_a_sentence_without_words_is_a_row_all_the_same(tokenizer):
    encoder = TextEncoder(tokenizer, 32, "head")
    for each in (tokenizer, letters(unknown=None)):
        made = task(each)
        pieces = made.pieces([row([]), row("ab")], encoder)
        assert [piece.row for piece in pieces] == [0, 1]
        assert pieces[0].tokens.ids.tolist() == encoder.encode([""])[0].ids.tolist()
        line = made.line(row([]), pieces[:1], _answers(pieces[:1], []), None)
        assert line == {"tags": [], "entities": []}


# Windows


@pytest.mark.parametrize("length", [4, 5, 8, 13, 32])
def test_windows_of_a_long_sentence_hold_each_word_once(tokenizer, length):
    encoder = TextEncoder(tokenizer, length, "head")
    drawn = random.Random(length)
    rows = [row(random_words(drawn, drawn.randint(1, 60)), number=i) for i in range(8)]
    pieces = task(tokenizer, context=4).pieces(rows, encoder)
    for i, each in enumerate(rows):
        own = [piece for piece in pieces if piece.row == i]
        assert [word for piece in own for word in words_of(piece)] == [*range(len(each["words"]))]
    for piece in pieces:
        assert len(piece.tokens.ids) == len(piece.values["word"]) <= length
        names = tokenizer.convert_ids_to_tokens(piece.tokens.ids)
        assert (names[0], names[-1]) == ("[CLS]", "[SEP]")
        for place, word in enumerate(piece.values["word"]):
            if word >= 0:
                assert names[place] == rows[piece.row]["words"][word][0]
    assert [piece.row for piece in pieces] == sorted(piece.row for piece in pieces)


def test_a_sentence_of_ten_thousand_words_is_read_whole(tokenizer):
    encoder = TextEncoder(tokenizer, 32, "head")
    long = row(random_words(random.Random(0), 10_000))
    pieces = task(tokenizer).pieces([long], encoder)
    assert [word for piece in pieces for word in words_of(piece)] == list(range(10_000))


def test_windows_share_the_tags_of_their_sentence(tokenizer):
    drawn = random.Random(3)
    words = random_words(drawn, 50)
    tags = tagged(random_entities(drawn, 50), 50)
    long = row(words, tags)
    made = task(tokenizer, context=4)
    pieces = made.pieces([long], TextEncoder(tokenizer, 16, "head"))
    assert len(pieces) > 3
    found = [
        made.names[tag] for piece in pieces for tag in made.gold(long, piece)["tag"] if tag >= 0
    ]
    assert found == tags
    for piece in pieces:
        tag = made.gold(long, piece)["tag"]
        assert ((tag >= 0) == (piece.values["word"] >= 0)).all()
        assert tag.dtype == piece.values["word"].dtype == np.int32


def _answers(pieces, tags: list[int], junk: int = 0) -> dict[str, np.ndarray]:
    """Answers for the pieces of one sentence with these tags; other tokens have a tag of junk."""
    length = max(len(piece.tokens.ids) for piece in pieces) + 2  # padded further than need be
    tag = np.full((len(pieces), length), junk, np.int32)
    for i, piece in enumerate(pieces):
        for place, word in enumerate(piece.values["word"]):
            if word >= 0:
                tag[i, place] = tags[word]
    return {"tag": tag, "probability": np.full(tag.shape, 0.75, np.float32)}


def test_a_long_sentence_is_put_together_again(tokenizer):
    drawn = random.Random(5)
    words = random_words(drawn, 70)
    tags = tagged(random_entities(drawn, 70), 70)
    made, long = task(tokenizer, context=4), row(words)
    pieces = made.pieces([long], TextEncoder(tokenizer, 16, "head"))
    assert len(pieces) > 5
    answers = _answers(pieces, [made.names.index(tag) for tag in tags], junk=2)
    assert made.line(long, pieces, answers, None)["tags"] == tags


# Tags and schemes

IN = {
    "BIO": "B-PER I-PER O B-PER B-PER B-LOC I-LOC",
    "IOB1": "I-PER I-PER O I-PER B-PER I-LOC I-LOC",
    "BIOES": "B-PER E-PER O S-PER S-PER B-LOC E-LOC",
}


@pytest.mark.parametrize("scheme", IN)
@pytest.mark.parametrize("named", [False, True])
def test_each_scheme_gives_the_same_tags(tokenizer, scheme, named):
    unbound = Tagging(scheme=scheme if named else "found")
    rows = [row("a bc d e f g h", IN[scheme]), row("ab", "O", 1)]
    facts = unbound.learn(iter(rows), "train", {})
    assert facts == {"types": TYPES, "scheme": scheme}
    made = unbound.bound(facts, tokenizer)
    encoder = TextEncoder(tokenizer, 32, "head")
    for each in rows:
        (piece,) = made.pieces([each], encoder)
        tag = made.gold(each, piece)["tag"]
        expected = IN["BIO"].split() if len(each["words"]) > 1 else ["O"]
        assert [made.names[i] for i in tag if i >= 0] == expected


def test_tags_are_named_by_type():
    assert task().names == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    assert task().outputs == 5
    assert task().native_config()["id2label"]["3"] == "B-PER"


def _learn(tags: str | list[str], words: str | list[str] = "a b", **settings):
    rows = [row("a", "B-PER", 0), row(words, tags, 1)]
    made = Tagging(**settings)
    bound = made.bound(made.learn(iter(rows), "train", {}), None)
    for each in rows:
        piece = type("Piece", (), {"values": {"word": np.arange(len(each["words"]))}})
        bound.gold(each, piece)


@pytest.mark.parametrize(
    ("words", "tags", "said"),
    [
        ("a b", "O", r"row 2: 2 words and 1 tags: give a tag a word"),
        ("a", "O O O", r"row 2: 1 words and 3 tags: give a tag a word"),
        ([], "O", r"row 2: 0 words and 1 tags"),
        ([], [], r"row 2 has no word: leave it out"),
        ("a b", "O PER", r"row 2: the tag 'PER' is neither 'O' nor such as 'B-PER' or 'I-PER'"),
        ("a b", "O 0", r"row 2: the tag '0' is neither"),
        ("a b", "O I-PER", r"train: 'I-PER' in sentence \d begins .* 'B-PER' in sentence \d bel"),
    ],
)
def test_wrong_tags_are_refused(words, tags, said):
    with pytest.raises(UserError, match=said):
        _learn(tags, words)


@pytest.mark.parametrize(
    ("scheme", "tags", "said"),
    [
        ("BIO", "O I-PER", "row 2: 'I-PER' stands where no entity of that type has begun, in BIO"),
        ("BIOES", "B-PER O", "row 1: 'O' follows an entity of 'PER' without its E-, in BIOES"),
    ],
)
def test_tags_that_do_not_fit_the_named_scheme_are_refused(scheme, tags, said):
    with pytest.raises(UserError, match=said):
        _learn(tags, scheme=scheme)


def test_a_type_that_train_has_not_is_refused():
    with pytest.raises(UserError, match="row 1: tag 'B-ORG' is of no type of train: 'LOC', 'PER'"):
        task().gold(row("a", "B-ORG"), type("P", (), {"values": {"word": np.zeros(1, int)}}))


def test_texts_instead_of_tags_are_refused():
    rows = (row("a", f"B-{i}", i) for i in range(2000))
    with pytest.raises(UserError, match="over 1,000 types of entities so far: is 'ner_tags' the"):
        Tagging().learn(rows, "train", {})
    with pytest.raises(UserError, match="train has no entity: is 'ner_tags' the column of tags"):
        Tagging().learn(iter([row("a b", "O O")]), "train", {})


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({}, "types"),
        ({"types": [], "scheme": "BIO"}, "types must hold texts"),
        ({"types": ["A", 1], "scheme": "BIO"}, "types must hold texts"),
        ({"types": ["A", "A"], "scheme": "BIO"}, "each name once"),
        ({"types": "AB", "scheme": "BIO"}, "types"),
        ({"types": ["A"] * 1001, "scheme": "BIO"}, "types"),
        ({"types": ["A"], "scheme": "IOB"}, "scheme must be one of BIO, IOB1, BIOES"),
        ({"types": ["A"], "scheme": 3}, "scheme"),
        ({"types": ["A"]}, "scheme"),
    ],
)
def test_damaged_facts_are_noticed(facts, said):
    Tagging().check_facts(FACTS)
    with pytest.raises(Invalid, match=said):
        Tagging().check_facts(facts)


# In the graph


def _batch(drawn, rows=4, length=6):
    tag = drawn.integers(-1, 5, (rows, length)).astype(np.int32)
    tag[0] = -1
    return {"tag": tag, "weight": np.array([1, 1, 1, 0], np.float32)}


def _log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_the_mean_over_words(smoothing):
    drawn = np.random.default_rng(0)
    batch, logits = _batch(drawn), drawn.normal(size=(4, 6, 5)) * 3
    tensors = {name: tf.constant(value) for name, value in batch.items()}
    ((total, weight),) = weighted_sums(
        task(label_smoothing=smoothing), tensors, tf.constant(logits)
    )
    counted = (batch["tag"] >= 0) & (batch["weight"] > 0)[:, None]
    target = np.eye(5)[batch["tag"]] * (1 - smoothing) + smoothing / 5
    expected = -(target * _log_softmax(logits)).sum(-1)[counted]
    assert weight == counted.sum()
    np.testing.assert_allclose(total, expected.sum(), rtol=1e-13)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_tokens_that_stand_for_no_word_pass_no_gradient(smoothing):
    """Smoothing neither: its uniform part would count them (pytorch#73205)."""
    drawn = np.random.default_rng(1)
    batch, logits = _batch(drawn), tf.constant(drawn.normal(size=(4, 6, 5)))
    made = task(label_smoothing=smoothing)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        ((total, _),) = weighted_sums(
            made, {name: tf.constant(value) for name, value in batch.items()}, logits
        )
    gradient = tape.gradient(total, logits).numpy()
    counted = (batch["tag"] >= 0) & (batch["weight"] > 0)[:, None]
    assert (gradient[~counted] == 0).all()
    assert (np.abs(gradient[counted]).max(-1) > 0).all()


def test_losses_are_in_float32_at_least():
    batch = {"tag": tf.constant([[1]]), "weight": tf.ones(1)}
    for given, expected in ((tf.bfloat16, tf.float32), (tf.float64, tf.float64)):
        made = task().losses(batch, tf.zeros([1, 1, 5], given))["loss"]
        assert made.dtype == expected
        assert made.shape == (1, 1)


def test_answers_are_the_likeliest_tags_and_their_probabilities():
    logits = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)
    found = task().answers({}, tf.constant(logits))
    np.testing.assert_array_equal(found["tag"], logits.argmax(-1))
    np.testing.assert_allclose(
        found["probability"], np.exp(_log_softmax(logits)).max(-1), rtol=1e-5
    )


# The judgement of a set


class Judged:
    """Sentences with random tags, cut into shuffled windows, and random predictions of all tags."""

    def __init__(self, seed: int, length: int = 12, sentences: int = 12, wrong: float = 1.0):
        drawn = random.Random(seed)
        tokenizer = letters()
        self.task = task(tokenizer, context=3)
        self.rows, self.gold_tags, self.found_tags = [], [], []
        for i in range(sentences):
            words = random_words(drawn, drawn.randint(1, 20))
            tags = tagged(random_entities(drawn, len(words)), len(words))
            guessed = [
                drawn.choice(self.task.names) if drawn.random() < wrong else tag for tag in tags
            ]
            self.rows.append(row(words, tags, 10 * i))
            self.gold_tags.append(tags)
            self.found_tags.append(guessed)
        pieces = self.task.pieces(self.rows, TextEncoder(tokenizer, length, "head"))
        assert len(pieces) > sentences or length > 100
        drawn.shuffle(pieces)
        self.pieces = [
            piece._replace(values=piece.values | self.task.gold(self.rows[piece.row], piece))
            for piece in pieces
        ]
        table = Table.of(self.pieces, self.task.arrays(), 0)
        self.gold = table.gold
        longest = int(table.lengths.max()) + 3
        tag = np.array(drawn.choices(range(5), k=len(pieces) * longest), np.int32)
        tag = tag.reshape(len(pieces), longest)  # what no word has means nothing
        for i, piece in enumerate(self.pieces):
            for place, word in enumerate(piece.values["word"]):
                if word >= 0:
                    name = self.found_tags[piece.row][word]
                    tag[i, place] = self.task.names.index(name)
        sure = np.random.default_rng(seed).uniform(0.2, 1, tag.shape).astype(np.float32)
        ones = np.ones(len(pieces))
        self.scores = Scores({"loss": ones}, {"loss": ones}, {"tag": tag, "probability": sure})


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("length", [12, 128])
def test_scores_are_those_of_the_shared_task(seed, length):
    """Predictions hold I- without B-, which its program counts as the start of an entity."""
    judged = Judged(seed, length, wrong=(1.0, 0.5, 0.1)[seed % 3])
    expected, accuracy = conlleval.evaluate(judged.gold_tags, judged.found_tags)
    found = judged.task.judge(judged.gold, judged.scores)
    ours = [found[name] for name in ("precision", "recall", "f1")]
    assert ours == pytest.approx(expected[""], abs=1e-12)
    assert found["accuracy"] == pytest.approx(accuracy, abs=1e-12)
    assert found["examples"] == len(judged.rows)
    assert found["loss"] == 1
    groups = judged.task.judge_groups(judged.gold, judged.scores)
    assert {*groups} == {*TYPES}
    for kind, values in groups.items():
        assert [values[name] for name in ("precision", "recall", "f1")] == pytest.approx(
            expected[kind], abs=1e-12
        )
        assert values["support"] == sum(
            tag == f"B-{kind}" for tags in judged.gold_tags for tag in tags
        )


def test_an_entity_without_its_beginning_counts_as_in_the_shared_task():
    gold, found = [["B-PER", "O"]], [["I-PER", "O"]]
    assert conlleval.evaluate(gold, found)[0][""] == (1, 1, 1)
    one = Judged(0, sentences=1, length=128)
    made = one.task
    arrays = {
        "word": np.array([0, 1], np.int32),
        "tag": np.array([made.names.index(tag) for tag in gold[0]], np.int32),
        "rows": np.zeros(1, np.int64),
        "lengths": np.array([2], np.int32),
    }
    answers = {"tag": np.array([[made.names.index(tag) for tag in found[0]]], np.int32)}
    scores = Scores({"loss": np.ones(1)}, {"loss": np.ones(1)}, answers)
    assert made.judge(arrays, scores)["f1"] == 1
    none = {"precision": 0, "recall": 0, "f1": 0, "support": 0}
    assert made.judge_groups(arrays, scores)["LOC"] == none  # which does not occur


def test_right_predictions_have_the_score_1():
    judged = Judged(1, wrong=0.0)
    found = judged.task.judge(judged.gold, judged.scores)
    assert found["f1"] == found["precision"] == found["recall"] == found["accuracy"] == 1
    assert judged.task.correct(judged.gold, judged.scores).all()
    assert len(judged.task.mistakes(judged.gold, judged.scores)) == 0


def test_correct_is_of_sentences():
    judged = Judged(2, wrong=0.1)
    right = judged.task.correct(judged.gold, judged.scores)
    pairs = zip(judged.gold_tags, judged.found_tags, strict=True)
    assert right.tolist() == [gold == found for gold, found in pairs]
    assert 0 < right.sum() < len(right)


def test_mistakes_are_windows_with_the_surest_wrong_tag_first():
    judged = Judged(3, wrong=0.2)
    sure = judged.scores.answers["probability"]
    worst = []
    for i, piece in enumerate(judged.pieces):
        wrong = [
            sure[i, place]
            for place, word in enumerate(piece.values["word"])
            if word >= 0 and judged.gold_tags[piece.row][word] != judged.found_tags[piece.row][word]
        ]
        worst.append(max(wrong, default=0))
    found = judged.task.mistakes(judged.gold, judged.scores)
    assert 0 < len(found) < len(judged.pieces)
    assert {*found} == {*np.flatnonzero(worst)}
    assert [worst[i] for i in found] == sorted((w for w in worst if w), reverse=True)


def test_confusions_are_of_the_types_of_words():
    judged = Judged(4)
    names = [*TYPES, ""]
    counts = np.zeros((3, 3), int)
    for gold, found in zip(judged.gold_tags, judged.found_tags, strict=True):
        for one, other in zip(gold, found, strict=True):
            counts[names.index(one[2:]), names.index(other[2:])] += 1
    counts[2, 2] = 0
    none = Examples(np.zeros(0, int), (), (), ())
    matrix, marked = judged.task.show(judged.gold, judged.scores, none)
    assert isinstance(matrix, shown.Matrix)
    assert matrix.counts.tolist() == counts.tolist()
    assert [*matrix.names] == ["LOC", "PER", "none"]
    assert marked.rows == []


def test_wrong_sentences_are_shown_with_their_spans(tokenizer):
    made = task(tokenizer)
    sentence = row("anna met bob in new york", "B-PER O B-PER O B-LOC I-LOC", 41)
    (piece,) = made.pieces([sentence], TextEncoder(tokenizer, 64, "head"))
    piece = piece._replace(values=piece.values | made.gold(sentence, piece))
    gold = Table.of([piece], made.arrays(), 0).gold
    found = ["B-PER", "O", "O", "B-LOC", "B-LOC", "I-LOC"]
    answers = _answers([piece], [made.names.index(tag) for tag in found])
    scores = Scores({"loss": np.ones(1)}, {"loss": np.ones(1)}, answers)
    tokens = tokenizer.convert_ids_to_tokens(piece.tokens.ids)
    wrong = Examples(np.array([0]), [41], ["anna met bob in new york"], [tokens])
    *_, marked = made.show(gold, scores, wrong)
    assert isinstance(marked, shown.Marked)
    ((id_, spans),) = marked.rows
    assert id_ == 41
    assert [tuple(span) for span in spans if span.text != " "] == [
        ("anna", "PER", "PER"),
        ("met", "", ""),
        ("bob", "PER", ""),
        ("in", "", "LOC"),
        ("new york", "LOC", "LOC"),
    ]
    assert "".join(span.text for span in spans) == "anna met bob in new york"


def test_a_set_without_entities_cannot_choose():
    gold = {"tag": np.array([0, 0, -1])}
    with pytest.raises(UserError, match=r"metric='f1' cannot choose .* validation has no entity"):
        task().check(gold, "validation", "f1")
    task().check(gold, "validation", "loss")
    task().check({"tag": np.array([0, 1])}, "validation", "f1")


def test_what_is_said_of_the_sets():
    judged = Judged(5)
    lines, notes = judged.task.about({"train": judged.gold, "test": judged.gold}, cut=[])
    words = sum(map(len, judged.gold_tags))
    counts = [
        sum(tag == f"B-{kind}" for tags in judged.gold_tags for tag in tags) for kind in TYPES
    ]
    more = len(judged.pieces) - len(judged.rows)
    assert lines[0] == "tags in BIO, learned in BIO"
    assert lines[1] == (
        f"train: {len(judged.rows)} sentences, {more} more windows of long ones, {words} words"
    )
    assert [line.split() for line in lines[-1].splitlines()] == [
        ["2", "types,", "entities", "in", "train,", "test:"],
        ["0", "'LOC'", str(counts[0]), str(counts[0])],
        ["1", "'PER'", str(counts[1]), str(counts[1])],
    ]
    assert notes == []
    empty = {**judged.gold, "tag": np.minimum(judged.gold["tag"], 0)}
    _, notes = judged.task.about({"train": judged.gold, "test": empty}, cut=[])
    assert notes == ["test has no entity: its precision, recall and F1 are 0"]


def test_types_that_look_like_a_mistake():
    odd = task(facts={"types": ["Org", "ORG "], "scheme": "BIO"})
    train = {"tag": np.array([[1, 2, 1], [1, 3, -1]]), "rows": np.arange(2)}
    _, notes = odd.about({"train": train}, cut=[])
    assert notes == [
        "types that differ only in case, blanks, Unicode form or the form of a number: 'Org' and"
        " 'ORG ': give them one name if they are one",
        "types with blanks around them or characters not seen: 'ORG '",
        "types of fewer than 3 entities in train: 'ORG ' (1)",
    ]
    other = {"tag": np.array([[3]]), "rows": np.arange(1)}
    unseen = {"tag": np.array([[1, 2]]), "rows": np.arange(1)}
    said = r"all entities of type 'ORG ' \(1\) fell into the validation part of train"
    with pytest.raises(UserError, match=said):
        odd.about({"train": unseen, "validation": other}, cut=["validation"])
    with pytest.raises(UserError, match="type 'ORG ' has 1 entities in test and none in train"):
        odd.about({"train": unseen, "test": other}, cut=[])
    odd.about({"train": unseen, "test": other}, cut=[], fresh=False)


def test_many_types_with_long_names_are_shown_shortened():
    many = [f"{i:02}{'x' * 1000}" for i in range(25)]
    begins = np.arange(1, 51, 2)
    lines, _ = task(facts={"types": many, "scheme": "BIO"}).about(
        {"train": {"tag": begins[None], "rows": np.arange(1)}}, cut=[]
    )
    assert "… 5 more" in lines[-1]
    assert max(map(len, lines[-1].splitlines())) < 100


# Files that were kept


def _damaged(judged: Judged, **changes) -> tuple[dict, Scores]:
    gold = {**judged.gold, **{k: v for k, v in changes.items() if k in judged.gold}}
    gold |= {k[5:]: v for k, v in changes.items() if k.startswith("gold_")}
    answers = {**judged.scores.answers}
    for name in ("tag", "probability"):
        if f"answer_{name}" in changes:
            answers[name] = changes[f"answer_{name}"]
            if answers[name] is None:
                del answers[name]
    return gold, Scores(judged.scores.losses, judged.scores.weights, answers)


@pytest.mark.parametrize(
    "change",
    [
        lambda j: {"answer_tag": j.scores.answers["tag"] + 5},
        lambda j: {"answer_tag": j.scores.answers["tag"] - 6},
        lambda j: {"answer_tag": j.scores.answers["tag"].astype(np.float32)},
        lambda j: {"answer_tag": j.scores.answers["tag"][:, 0]},
        lambda j: {"answer_tag": j.scores.answers["tag"][:, :2]},
        lambda j: {"answer_tag": j.scores.answers["tag"][:, :0]},
        lambda j: {"answer_tag": j.scores.answers["tag"][..., None]},
        lambda j: {"answer_tag": None},
        lambda j: {"answer_probability": None},
        lambda j: {"answer_probability": j.scores.answers["probability"][:, :2]},
        lambda j: {"answer_probability": j.scores.answers["probability"][:, 0]},
        lambda j: {"answer_probability": j.scores.answers["tag"]},
        lambda j: {"gold_tag": j.gold["tag"] + 5},
        lambda j: {"gold_tag": j.gold["tag"] - 2},
        lambda j: {"gold_tag": j.gold["tag"].astype(np.float64)},
        lambda j: {"gold_tag": np.where(j.gold["word"] >= 0, -1, j.gold["tag"])},
        lambda j: {"gold_word": j.gold["word"].astype(np.float32)},
        lambda j: {"gold_word": j.gold["word"] + 10**8},
        lambda j: {"gold_word": np.full_like(j.gold["word"], -1)},
    ],
)
def test_damaged_scores_are_noticed(change):
    judged = Judged(6)
    judged.task.check_kept(judged.gold, judged.scores)
    with pytest.raises(Invalid):
        judged.task.check_kept(*_damaged(judged, **change(judged)))


# Predictions


def _line(tokenizer, text: str, found: dict[int, str]) -> dict:
    made = task(tokenizer)
    plain = Row(made.cells_of(text), 0, "file x.txt")
    pieces = made.pieces([plain], TextEncoder(tokenizer, 64, "head"))
    tags = [made.names.index(found.get(i, "O")) for i in range(len(plain["words"]))]
    return made.line(plain, pieces, _answers(pieces, tags), None)


def test_entities_of_a_plain_text_have_their_characters(tokenizer):
    text = "  Mr. Bob-Joe Smith's dog\tsaw  New York, U.S.A., (twice)!"
    line = _line(tokenizer, text, {2: "B-PER", 3: "I-PER", 7: "B-LOC", 8: "I-LOC", 10: "B-LOC"})
    assert line["words"][:9] == ["Mr", ".", "Bob-Joe", "Smith", "'s", "dog", "saw", "New", "York"]
    found = [(each["type"], each["text"]) for each in line["entities"]]
    assert found == [("PER", "Bob-Joe Smith"), ("LOC", "New York"), ("LOC", "U.S.A.")]
    for each in line["entities"]:
        assert text[each["start"] : each["end"]] == each["text"]
        assert each["probability"] == 0.75
    assert [each["words"] for each in line["entities"]] == [[2, 4], [7, 9], [10, 11]]


def test_characters_are_those_of_python_whatever_stands_before(tokenizer):
    text = "🙂 日本 ﬁne \u200b zoë"
    line = _line(tokenizer, text, {1: "B-LOC", len(task().cells_of(text)["words"]) - 1: "B-PER"})
    assert [text[e["start"] : e["end"]] for e in line["entities"]] == ["日本", "zoë"]


@pytest.mark.parametrize("text", ["", " ", "\t \n", "\u3000"])
def test_a_text_without_words(tokenizer, text):
    assert _line(tokenizer, text, {}) == {"words": [], "tags": [], "entities": []}


def test_all_that_is_no_blank_belongs_to_one_word():
    drawn = random.Random(0)
    for _ in range(200):
        text = "".join(drawn.choices("ab.- '@#1,é日🙂\n_/:", k=30))
        cells = Tagging().cells_of(text)
        covered = [i for start, end in cells["spans"] for i in range(start, end)]
        assert covered == [i for i, c in enumerate(text) if not c.isspace()]
        assert cells["words"] == [text[start:end] for start, end in cells["spans"]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\u0939\u093f\u0928\u094d\u0926\u0940 \u0939\u0948", 2),  # Hindi, with vowel signs
        ("cafe\u0301 zoe\u0308.", 3),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", 1),  # Persian, with a joiner
    ],
)
def test_a_word_has_its_accents_and_vowel_signs(text, words):
    assert len(Tagging().cells_of(text)["words"]) == words


def test_the_words_of_a_text_are_those_of_the_graph():
    tensorflow_text = pytest.importorskip("tensorflow_text")
    drawn = random.Random(0)
    kinds = "ab.- '@#1,\u00e9\u65e5\n_/:\u0301\u0939\u093f\u200c\u200d\u00a0\u2028\x1c\x85\u0660"
    texts = ["".join(drawn.choices(kinds, k=30)) for _ in range(200)]
    pattern = Tagging().word_pattern
    split = tensorflow_text.regex_split(texts, pattern, keep_delim_regex_pattern=pattern)
    for text, parts in zip(texts, split.to_list(), strict=True):
        words = [part.decode() for part in parts if part.decode().strip()]
        assert words == Tagging().cells_of(text)["words"]


def test_entities_of_words_have_their_words(tokenizer):
    made, sentence = task(tokenizer), row("anna met new york")
    pieces = made.pieces([sentence], TextEncoder(tokenizer, 64, "head"))
    tags = [made.names.index(tag) for tag in ("B-PER", "O", "I-LOC", "I-LOC")]
    answers = _answers(pieces, tags)
    answers["probability"][0, np.flatnonzero(pieces[0].values["word"] == 3)] = 0.5
    assert made.line(sentence, pieces, answers, None) == {
        "tags": ["B-PER", "O", "I-LOC", "I-LOC"],
        "entities": [
            {"type": "PER", "words": [0, 1], "text": "anna", "probability": 0.75},
            {"type": "LOC", "words": [2, 4], "text": "new york", "probability": 0.5},
        ],
    }


def test_answers_that_are_not_finite_are_refused(tokenizer):
    made, sentence = task(tokenizer), row("anna met", number=3)
    pieces = made.pieces([sentence], TextEncoder(tokenizer, 64, "head"))
    answers = _answers(pieces, [0, 0])
    answers["probability"][:] = np.nan
    with pytest.raises(UserError, match=r"row 4 are not finite"):
        made.line(sentence, pieces, answers, None)
