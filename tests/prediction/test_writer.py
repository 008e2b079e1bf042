"""Texts that are continued: their characters, where they end, on one device and on four."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from toys import Script, Toy

from trainer.data.subwords import Subwords
from trainer.errors import Interrupted, UserError
from trainer.models.writing import Writing
from trainer.prediction import writer as writer_lib
from trainer.prediction.writer import Writer

BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
END = len(BYTES)
STORY = "Die Brücke 🙂 日本, done. Then more."


@functools.cache
def tokenizer() -> Subwords:
    """A token a byte, and an end token."""
    backend = Tokenizer(models.BPE({c: i for i, c in enumerate(BYTES)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<end>"])
    return Subwords(backend, {"eos_token": "<end>"}, {})


def encode(texts) -> list[list[int]]:
    return [tokenizer().backend_tokenizer.encode(text).ids for text in texts]


def of(model, strategy, positions=96, **settings) -> Writer:
    stop = settings.pop("interrupted", lambda: False)
    return Writer(
        model,
        tokenizer(),
        encode,
        Writing(**{"max_new_tokens": 64, **settings}),
        strategy,
        vocabulary=END + 1,
        positions=positions,
        end_id=END,
        seed=4,
        stop=stop,
    )


def story() -> Script:
    return Script([*encode([STORY])[0], END], END + 1)


@pytest.fixture
def one(strategy_over) -> tf.distribute.Strategy:
    return strategy_over(1)


@pytest.mark.parametrize(
    "steps", [2, *(pytest.param(steps, marks=pytest.mark.long) for steps in (1, 5, 64))]
)
@pytest.mark.parametrize(
    ("stop", "text", "ended"),
    [
        ((), STORY, "end"),
        (("nowhere", "🙂 日本x"), STORY, "end"),
        (("done.",), "Die Brücke 🙂 日本, ", "stop"),
        (("🙂 日", "本", "Th"), "Die Brücke ", "stop"),
        (("Brücke 🙂 日", "ü"), "Die Br", "stop"),
        (("D",), "", "stop"),
    ],
)
def test_pieces_are_whole_characters_and_end_before_a_stop_text(
    monkeypatch, one, steps, stop, text, ended
):
    """Wherever blocks of tokens end."""
    monkeypatch.setattr(writer_lib, "STREAMED", steps)
    monkeypatch.setattr(writer_lib, "STEPS", steps)
    writer = of(story(), one, stop=stop)
    (whole,) = writer.continue_texts(["a"])
    assert (whole.text, whole.ended) == (text, ended)
    assert len(whole.tokens) == len(whole.log_probs) <= len(encode([STORY])[0]) + 1
    if steps < 64:
        pieces = [*writer.stream("a")]
        assert "".join(pieces) == text
        assert not any("\ufffd" in piece or not piece for piece in pieces)
        assert len(pieces) > 5 or len(text) < 20


class Counting:
    """The tokenizer, which notes what it has decoded."""

    def __init__(self):
        self.backend_tokenizer, self.decoded = self, []

    def decode(self, ids: list[int]) -> str:
        self.decoded.append(ids)
        return tokenizer().backend_tokenizer.decode(ids)


def test_only_new_tokens_are_searched_for_stop_texts(monkeypatch, one):
    """Of a row that stopped, or ended, nothing while another goes on."""
    monkeypatch.setattr(writer_lib, "STEPS", 2)
    prompts = encode(["ab", "q", "xyz"])
    plus, minus = encode(["+-"])[0]
    model = Chain({prompts[0][-1]: plus, plus: plus, prompts[1][-1]: minus, minus: minus})
    writer = of(model, one, stop=("++", "nowhere"))
    writer._tokenizer = counting = Counting()
    stops, goes_on, ends = writer.continue_texts(["ab", "q", "xyz"])
    assert (stops.ended, goes_on.ended, ends.ended) == ("stop", "length", "end")
    assert (len(stops.tokens), len(goes_on.tokens), len(ends.tokens)) == (2, 64, 1)
    counts = [sum(ids[: len(p)] == p for ids in counting.decoded) for p in prompts]
    # The prompt, each block's text, and the whole; where a text stops, after each token.
    assert counts[0] <= 1 + 2 + 2 + 2
    assert counts[1] <= 1 + 33 + 1
    assert counts[2] <= 1 + 1 + 1


class Chain(Script):
    """Writes, behind each token, the one that a mapping has for it, or else the end."""

    def __init__(self, following: dict[int, int]):
        super().__init__([following.get(token, END) for token in range(END + 1)], END + 1)

    def prefill(self, ids_RT, mask_RT, room):
        return self._of(ids_RT[:, -1]), (), ids_RT[:, -1]

    def step(self, tokens_R, positions_R, memory, cache):
        return self._of(tokens_R), tokens_R


def test_what_is_no_character_comes_in_the_end(one):
    model = Script([*encode(["ab 🙂"])[0][:5], END], END + 1)
    assert [*of(model, one).stream("a")][-1] == "\ufffd"
    (whole,) = of(model, one, max_new_tokens=2).continue_texts(["a"])
    assert (whole.text, whole.ended) == ("ab", "length")


def test_a_character_begun_in_the_prompt_is_finished(one):
    begun = [*encode(["a🙂"])[0]]
    writer = of(Script([begun[-1], END], END + 1), one)
    writer._encode = lambda texts: [begun[:-1]]
    assert writer.continue_texts(["a"])[0].text == "🙂"


TEXTS = ["a", "bcd", "ef ", "a", "xyzxyzxyzxyz", "q", "rs"]


def byte_toy() -> Toy:
    model = Toy(END + 1, 40, size=1.0)
    model.of_last[:, :, END] += 4.0  # rows end at different lengths
    return model


@pytest.mark.parametrize(
    "way",
    [
        pytest.param({}, marks=pytest.mark.slow, id="greedy"),
        pytest.param({"temperature": 1.0}, marks=pytest.mark.long, id="sampling"),
        pytest.param({"beams": 3}, marks=pytest.mark.slow, id="beams"),
    ],
)
def test_four_devices_write_what_one_writes(strategy_over, way):
    made = [
        of(byte_toy(), strategy_over(devices), 40, max_new_tokens=20, **way).continue_texts(TEXTS)
        for devices in (1, 4)
    ]
    for ours, theirs in zip(*made, strict=True):
        assert ours.tokens == theirs.tokens
        assert (ours.text, ours.ended) == (theirs.text, theirs.ended)
        np.testing.assert_allclose(ours.log_probs, theirs.log_probs, rtol=1e-12)
    assert len({len(each.tokens) for each in made[0]}) > 1


@pytest.mark.long
def test_draws_go_by_the_number_of_a_text_in_batches_of_any_size(monkeypatch, one):
    how = {"max_new_tokens": 20, "temperature": 1.0}
    whole = of(byte_toy(), one, 40, **how).continue_texts(TEXTS)
    assert whole[0].tokens != whole[3].tokens  # the prompt is the same
    monkeypatch.setattr(writer_lib, "BATCH_TOKENS", 60)
    writer = of(byte_toy(), one, 40, **how)
    parts = writer.continue_texts(TEXTS[:4]) + writer.continue_texts(TEXTS[4:], [4, 5, 6])
    assert [each.tokens for each in parts] == [each.tokens for each in whole]
    assert "".join(writer.stream("a", 3)) == whole[3].text


@pytest.mark.long
def test_several_texts_of_each_are_given_the_best_first(one):
    how = {"max_new_tokens": 12, "beams": 3}
    alone = of(byte_toy(), one, 40, **how).continue_texts(TEXTS[:3])
    found = of(byte_toy(), one, 40, n_best=3, **how).continue_texts(TEXTS[:3])
    for best, several in zip(alone, found, strict=True):
        assert several._replace(n_best=()) == best == several.n_best[0]
        assert len({tuple(each.tokens) for each in several.n_best}) == 3
        scores = [sum(each.log_probs) / len(each.tokens) for each in several.n_best]
        assert scores == sorted(scores, reverse=True)


def test_beams_are_streamed_at_the_end_and_cut_at_a_stop_text(one):
    assert [*of(story(), one, beams=2, stop=("done",)).stream("a")] == ["Die Brücke 🙂 日本, "]


def test_what_does_not_fit_is_refused(one):
    with pytest.raises(UserError, match="text 2 has 80 tokens, which leaves room for 16 more"):
        of(story(), one).continue_texts(["a", "b" * 80], [7, 2])
    with pytest.raises(UserError, match="the text has no token to go on from"):
        list(of(story(), one).stream(""))
    with pytest.raises(UserError, match="beams=300 is more than the 257 tokens"):
        of(story(), one, beams=300)


def test_logits_that_are_no_numbers_are_said(one):
    model = byte_toy()
    model.of_counts[:] = np.nan
    with pytest.raises(UserError, match="logits are not finite: its weights are damaged"):
        of(model, one, 40, max_new_tokens=20).continue_texts(["a"])


def test_a_signal_ends_it_between_blocks(one):
    asked = []

    def interrupted() -> bool:
        asked.append(1)
        return len(asked) > 2

    with pytest.raises(Interrupted):
        of(story(), one, interrupted=interrupted).continue_texts(["a"])
    assert len(asked) == 3


class Hungry(Script):
    """A model that needs more memory than there is."""

    def prefill(self, ids_RT, mask_RT, room):
        logits, *rest = super().prefill(ids_RT, mask_RT, room)
        many = tf.tile(logits[0], [tf.cast(tf.shape(ids_RT)[0], tf.int64) * 2**42])
        return (logits + 0 * tf.reduce_max(many), *rest)


@pytest.mark.long  # TensorFlow tries for ten seconds
def test_what_does_not_fit_in_memory_is_one_line(one):
    writer = of(Hungry([END], END + 1), one, beams=3, max_new_tokens=9)
    said = "1 texts of up to 9 new tokens with 3 beams do not fit in the memory of a device"
    with pytest.raises(UserError, match=said):
        writer.continue_texts(["a"])
