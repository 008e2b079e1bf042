"""Tokenizers inside a TensorFlow graph: which one does what a run's tokenizer does, if one does."""

import importlib.util

from trainer.data.encode import TextEncoder
from trainer.data.subwords import Subwords
from trainer.export import unigram, wordpiece
from trainer.tasks.task import Task

_KINDS = {
    "WordPiece": (wordpiece.why_not, wordpiece.GraphTokenizer),
    "Unigram": (unigram.why_not, unigram.UnigramTokenizer),
}


def why_no_texts(task: Task, tokenizer: Subwords) -> str:
    """Why a SavedModel takes token ids alone; empty if it takes texts too."""
    if task.alone().pairs:
        return "it takes pairs of texts"
    kind = _kind(tokenizer)
    if kind not in _KINDS:
        return (
            f"its tokenizer is of the kind {kind}, not BERT's WordPiece or Unigram: train with"
            " config.tokenizer.kind='unigram' for texts"
        )
    if task.word_pattern and kind != "WordPiece":
        return f"its tokenizer is of the kind {kind}, not BERT's WordPiece, and it answers words"
    why_not, _ = _KINDS[kind]
    return why_not(tokenizer)


def graph_tokenizer(tokenizer: Subwords, encoder: TextEncoder) -> wordpiece.InGraph:
    """The tokenizer in a graph, where `why_no_texts` is empty. Raises UserError: see there."""
    _, made = _KINDS[_kind(tokenizer)]
    return made(tokenizer, encoder)


def can_write(task: Task, tokenizer: Subwords) -> bool:
    """True if there can be a SavedModel, and what `trainer.export.savedmodel` needs is here."""
    if not (task.serves or task.writes):
        return False
    return bool(why_no_texts(task, tokenizer)) or bool(importlib.util.find_spec("tensorflow_text"))


def _kind(tokenizer: Subwords) -> str:
    return type(tokenizer.backend_tokenizer.model).__name__
