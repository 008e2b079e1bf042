"""A trained model as a TensorFlow SavedModel, which answers without this library.

`serving_default` takes raw texts, where the tokenizer can be put into the graph; `ids` takes token
ids. Loading the first needs `import tensorflow_text`, for its ops.
"""

import json
from pathlib import Path

import tensorflow as tf

from trainer.batch import INPUTS
from trainer.errors import UserError
from trainer.export import continuations, tokenizing
from trainer.export.card import Card, write_card
from trainer.export.folder import new_folder
from trainer.export.wordpiece import GraphTokenizer, InGraph
from trainer.models.writing import Writing
from trainer.tasks.task import class_path
from trainer.trained import TrainedModel

LABELS = "labels.json"  # a list: a name may hold a line end
TOKENIZER = "tokenizer"  # of a model that writes texts: what its ids mean


class Served(tf.Module):
    """The saved object: the weights, and functions of them."""

    def __init__(self, trained: TrainedModel, tokenizer: InGraph | None):
        super().__init__()
        self._model, self._task, self._fitted = trained.model, trained.task, trained.fitted
        self._tokenizer = tokenizer
        self.weights = [variable.value for variable in trained.model.variables]
        ids = {name: tf.TensorSpec([None, None], tf.int32, name) for name in INPUTS}
        self.ids = tf.function(self._of_ids, list(ids.values()), autograph=False)
        texts = tf.TensorSpec([None], tf.string, "texts")
        self.texts = tf.function(self._of_texts, [texts], autograph=False)

    def _of_ids(self, input_ids, attention_mask, token_type_ids):
        inputs = dict(zip(INPUTS, (input_ids, attention_mask, token_type_ids), strict=True))
        answers = self._task.answers(inputs, self._model(inputs, training=False))
        return self._task.serve(answers, self._fitted)

    def _of_texts(self, texts):
        assert self._tokenizer
        if not self._task.word_pattern:
            return self._of_ids(**self._tokenizer(texts))
        assert isinstance(self._tokenizer, GraphTokenizer)
        inputs, words, at = self._tokenizer.of_words(texts, self._task.word_pattern)
        answers = self._task.answers(inputs, self._model(inputs, training=False))
        of_words = {
            name: tf.gather(each, tf.maximum(at, 0), batch_dims=1) for name, each in answers.items()
        }
        return {"words": words, **self._task.serve({**of_words, "place": at}, self._fitted)}


def to_saved_model(trained: TrainedModel, output: Path, writing: Writing | None = None) -> str:
    """Writes saved_model.pb, variables/, assets.extra and a model card.

    assets.extra/labels.json holds the names of the classes; of a model that writes texts
    assets.extra/tokenizer says what its ids mean.

    Args:
      trained: in float32, see `trainer.trained.for_prediction`.
      output: a folder that does not exist yet, or is empty.
      writing: how texts are written, of a model that does; else None.

    Returns:
      What a person should know: why texts cannot be taken, or nothing.

    Raises:
      UserError: the task answers nothing to a text, the settings of writing do not fit,
        tensorflow-text is missing, or the folder cannot be written.
    """
    task = trained.task
    if not (task.serves or task.writes):
        raise UserError(
            f"config.task={class_path(task)!r} has no answer to a text that a SavedModel"
            " could give: export it with --format=huggingface"
        )
    why = tokenizing.why_no_texts(task, trained.tokenizer)
    tokenizer = None if why else tokenizing.graph_tokenizer(trained.tokenizer, trained.encoder)
    served: Served | continuations.Continues
    if writing:
        served = continuations.Continues(trained, writing, tokenizer)
    else:
        served = Served(trained, tokenizer)
    signatures = {"ids": served.ids.get_concrete_function()}
    if tokenizer:
        signatures["serving_default"] = served.texts.get_concrete_function()
    else:
        del served.texts
    with new_folder(output) as folder:
        tf.saved_model.save(served, str(folder), signatures)
        extra = folder / "assets.extra"
        extra.mkdir()
        if writing:
            trained.tokenizer.save_pretrained(extra / TOKENIZER)
        else:
            labels = json.dumps(task.output_names, ensure_ascii=False)
            (extra / LABELS).write_text(f"{labels}\n", encoding="utf-8")
        write_card(Card.of(trained), folder, "savedmodel", why, writing)
    return why
