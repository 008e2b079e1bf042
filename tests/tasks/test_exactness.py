"""Every task trains the same run on any number of devices and in any parts, up to rounding.

Rows have unequal numbers of words, so replicas have unequal numbers of what counts.
"""

import functools
from dataclasses import dataclass

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
import words

from trainer.batch import MASK, TARGET_MASK, WEIGHT
from trainer.config import Phase, Tokenizer
from trainer.data.tokenizer_training import train_tokenizer
from trainer.models.architecture import from_scratch
from trainer.models.encoder_decoder import EncoderDecoder
from trainer.models.network import Network
from trainer.models.random import keep_mask
from trainer.tasks.causal import Causal
from trainer.tasks.masked import MaskedWords
from trainer.tasks.multi_label import MultiLabel
from trainer.tasks.regression import Regression
from trainer.tasks.replaced import ReplacedTokens
from trainer.tasks.span_corruption import SpanCorruption
from trainer.tasks.tagging import Tagging
from trainer.tasks.task import Task
from trainer.tasks.text_to_text import TextToText

ROWS, BATCHES = 8, 25  # of a batch; different ones, which come again
TYPES = {"types": ["LOC", "PER"], "scheme": "BIO"}


@dataclass
class Two(Task):
    """Two losses of tokens' outputs: the first token's for the row, and some of the others'."""

    kind = "tokens"

    @property
    def outputs(self):
        return 5

    def prepare(self, batch, training):
        kept = tf.cast(keep_mask(tf.shape(batch["input_ids"]), 0.5), tf.int32)
        return {**batch, "kept": kept * batch["attention_mask"]}

    def weights(self, batch):
        return {
            "row": batch[WEIGHT] * (1 + tf.abs(batch["score"])),
            "tokens": batch[WEIGHT][:, None] * tf.cast(batch["kept"], tf.float32),
        }

    def losses(self, batch, outputs):
        target = tf.cast(batch["input_ids"] % 5, tf.int32)
        of_tokens = tf.nn.sparse_softmax_cross_entropy_with_logits(target, outputs)
        score = tf.cast(batch["score"], outputs.dtype)
        return {"row": tf.square(outputs[:, 0, 0] - score), "tokens": of_tokens}


SENTINELS = Tokenizer(kind="words", vocab_size=tiny.VOCAB, sentinels=4)
TASKS = {
    "tagging": Tagging(label_smoothing=0.1).bound(TYPES, words.TOKENIZER),
    "regression": Regression(mask_share=0.2).bound({}, words.TOKENIZER),
    "several labels": MultiLabel(label_smoothing=0.1).bound({"labels": [*"abcd"]}, words.TOKENIZER),
    "two losses": Two().bound({}, words.TOKENIZER),
    "masked": MaskedWords(mask_share=0.3).bound({}, words.TOKENIZER),
    "sentences": MaskedWords(whole_words=True, next_sentence=True).bound({}, words.TOKENIZER),
    "causal": Causal().bound({}, words.TOKENIZER),
    "text to text": TextToText(label_smoothing=0.1, target_length=tiny.LENGTH).bound(
        {}, words.TOKENIZER
    ),
    "replaced": ReplacedTokens(mask_share=0.3, weight=5.0).bound({}, words.TOKENIZER),
    "spans": SpanCorruption(noise_density=0.5, span_length=1.5, target_length=tiny.LENGTH).bound(
        {}, train_tokenizer(SENTINELS, [" ".join(words.LETTERS)])
    ),
}


def batches() -> list[dict]:
    """Batches of 7 rows and one of padding; many rows have few words that count."""
    made = []
    for seed in range(BATCHES):
        random = np.random.default_rng(seed)
        batch = tiny.batch(ROWS - 1, seed, 100 * seed)
        real = batch["attention_mask"] > 0
        share = random.uniform(0, 1, (ROWS - 1, 1)) ** 2
        counts = real & (random.uniform(size=real.shape) < share)
        tag = random.integers(0, 5, real.shape)
        batch |= {
            "tag": np.where(counts, tag, -1).astype(np.int32),
            "word": np.where(counts, np.cumsum(counts, 1) - 1, -1).astype(np.int32),
            "score": random.normal(size=ROWS - 1).astype(np.float32),
            "label": random.integers(0, 2, (ROWS - 1, 4), np.uint8),
            "random": random.integers(0, 2, ROWS - 1).astype(np.int32),
            "target_ids": np.where(counts, batch["input_ids"][:, ::-1], 0).astype(np.int32),
            "target_mask": (np.cumsum(~counts[:, 1:], 1) == 0).astype(np.int32),
        }
        end = np.ones((ROWS - 1, 1), np.int32)
        batch["target_mask"] = np.concatenate([end, batch["target_mask"]], 1)
        made.append(tiny.filled(batch, ROWS))
        made[-1]["tag"][-1] = made[-1]["word"][-1] = -1
    return made


def test_replicas_have_unequal_numbers_of_words():
    words = np.array([(batch["tag"] >= 0).sum(1) for batch in batches()])
    halves = words.reshape(BATCHES, 2, -1).sum(-1)
    assert (halves[:, 0] != halves[:, 1]).mean() > 0.8
    assert (words.reshape(BATCHES, 4, -1).sum(-1) == 0).any()  # a replica with none


def curve(strategy, name: str, steps: int, policy: str, accumulate: int = 1) -> np.ndarray:
    """The losses of a run, with dropout everywhere; the short one has no block, whose trace costs.

    tests/test_step.py has blocks.
    """
    task = TASKS[name]
    settings = tiny.model_settings(depth=int(steps > 50), causal=bool(task.causal))
    longest = task.longest_target
    shape = from_scratch(settings, tiny.VOCAB, tiny.LENGTH, False, task.kind, longest)

    def model() -> Network | EncoderDecoder:
        keras.utils.set_random_seed(0)
        if longest:
            translator = EncoderDecoder(shape, task.head(shape))
            translator.build()
            return translator
        made = Network(shape, task.outputs, task.head(shape))
        made(tiny.inputs(tiny.batch(2)))
        return made

    given = batches()
    if isinstance(task, SpanCorruption):
        for batch in given:
            counts = [sum(task.counts(n - 2)) + 1 for n in batch[MASK].sum(1).tolist()]
            batch[TARGET_MASK] = np.int32(np.arange(tiny.LENGTH) < np.array(counts)[:, None])
    trainer = tiny.Trainer(
        strategy,
        [given[i % BATCHES] for i in range(steps)],
        make_model=model,
        task=task,
        phases=[Phase(steps=steps, learning_rate=3e-3, warmup_steps=5)],
        policy=policy,
        accumulate=accumulate,
    )
    return trainer.losses(steps)


@functools.cache
def on_one(over, name: str, steps: int, policy: str) -> np.ndarray:
    return curve(over(1), name, steps, policy)


@pytest.mark.parametrize(
    "name",
    [
        "masked",
        pytest.param("tagging", marks=pytest.mark.long),
        pytest.param("sentences", marks=pytest.mark.long),
        pytest.param("causal", marks=pytest.mark.long),
        pytest.param("text to text", marks=pytest.mark.long),
        pytest.param("replaced", marks=pytest.mark.long),
        pytest.param("spans", marks=pytest.mark.long),
        pytest.param("two losses", marks=pytest.mark.long),  # tests/test_step.py has two as well
        pytest.param("regression", marks=pytest.mark.long),
        pytest.param("several labels", marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize(("devices", "parts"), [(2, 2), pytest.param(4, 1, marks=pytest.mark.slow)])
def test_50_steps_in_float32_agree_to_1e_4(strategy_over, name, devices, parts):
    one = on_one(strategy_over, name, 50, "float32")
    shared = curve(strategy_over(devices), name, 50, "float32", parts)
    np.testing.assert_allclose(shared, one, rtol=1e-4)
    assert len(set(one)) == 50


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize(("devices", "parts"), [(1, 2), (1, 8), (2, 1), (4, 1), (4, 2)])
def test_100_steps_in_float64_agree_to_1e_8(strategy_over, name, devices, parts):
    one = on_one(strategy_over, name, 100, "float64")
    shared = curve(strategy_over(devices), name, 100, "float64", parts)
    np.testing.assert_allclose(shared, one, rtol=1e-8)
