"""The model card of an export: README.md (Mitchell et al. 2019, arXiv:1810.03993)."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from trainer import config as config_lib
from trainer.models.writing import Writing
from trainer.monitor.versions import versions
from trainer.storage.paths import real
from trainer.storage.workdir import Workdir
from trainer.trained import TrainedModel

LONGEST = 300  # characters of one value
LISTED = 100  # labels
_MARKS = r"[ !-/:-@\[-`{-~]"  # all that may mean something in Markdown or HTML
_LOAD = {
    "savedmodel": """import tensorflow as tf
import tensorflow_text  # its ops are in the graph

model = tf.saved_model.load("FOLDER")
model.signatures["serving_default"](texts=tf.constant(["a fine film"]))["probabilities"]""",
    "ids": """import tensorflow as tf

model = tf.saved_model.load("FOLDER")
model.signatures["ids"](input_ids=…, attention_mask=…, token_type_ids=…)["probabilities"]""",
    "keras": """import keras
import trainer.models.network  # the class of the model
from transformers import AutoTokenizer

model = keras.models.load_model("FOLDER/model.keras")
tokenizer = AutoTokenizer.from_pretrained("FOLDER/tokenizer")
logits = model(dict(tokenizer(["a fine film"], return_tensors="np")))""",
    "huggingface": """from transformers import pipeline

classify = pipeline("text-classification", model="FOLDER", truncation=True)
classify("a fine film")""",
    "huggingface tokens": """from transformers import pipeline

tag = pipeline("token-classification", model="FOLDER")
tag("a fine film")""",
    "huggingface masked": """from transformers import pipeline

fill = pipeline("fill-mask", model="FOLDER")
fill(f"a {fill.tokenizer.mask_token} film")""",
    "huggingface causal": """from transformers import pipeline

write = pipeline("text-generation", model="FOLDER")
write("a fine film", max_new_tokens=20)""",
    "huggingface pretraining": """from transformers import AutoTokenizer, BertForPreTraining

model = BertForPreTraining.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")""",
    "huggingface replaced": """from transformers import AutoTokenizer, ElectraForPreTraining

model = ElectraForPreTraining.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")""",
    "huggingface text": """from transformers import AutoTokenizer, T5ForConditionalGeneration

model = T5ForConditionalGeneration.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
texts = [PREFIX + "a fine film"]
ids = model.generate(**tokenizer(texts, return_tensors="pt"), max_new_tokens=20)
tokenizer.batch_decode(ids, skip_special_tokens=True)""",
    "savedmodel masked": """import tensorflow as tf
import tensorflow_text  # its ops are in the graph

model = tf.saved_model.load("FOLDER")
model.signatures["serving_default"](texts=tf.constant(["a [MASK] film"]))["tokens"]""",
    "savedmodel causal": """import tensorflow as tf
import tensorflow_text  # its ops are in the graph
from transformers import AutoTokenizer

model = tf.saved_model.load("FOLDER")
found = model.signatures["serving_default"](texts=tf.constant(["a fine film"]))
tokenizer = AutoTokenizer.from_pretrained("FOLDER/assets.extra/tokenizer")
tokenizer.decode(found["ids"][0, : found["lengths"][0]].numpy(), skip_special_tokens=True)""",
    "savedmodel text": """import tensorflow as tf
import tensorflow_text  # its ops are in the graph

model = tf.saved_model.load("FOLDER")
model.signatures["serving_default"](texts=tf.constant(["a fine film"]))["texts"]""",
    "ids text": """import tensorflow as tf

model = tf.saved_model.load("FOLDER")
model.signatures["ids"](input_ids=…, attention_mask=…)["texts"]""",
    "ids causal": """import tensorflow as tf

model = tf.saved_model.load("FOLDER")
model.signatures["ids"](input_ids=…, attention_mask=…)["ids"]""",
    "ids masked": """import tensorflow as tf

model = tf.saved_model.load("FOLDER")
model.signatures["ids"](input_ids=…, attention_mask=…, token_type_ids=…)["tokens"]""",
}
# Of the hub, by the kind of head that the model has.
_TAGS = {
    "tokens": "token-classification",
    "masked": "fill-mask",
    "causal": "text-generation",
    "text": "text2text-generation",
    "pretraining": "fill-mask",
    "replaced": "feature-extraction",
}


class Card(NamedTuple):
    """The facts that a card is written from.

    Attributes:
      workdir: of the run. config, derived: what it read. step: of the weights.
    """

    workdir: Workdir
    config: config_lib.Experiment
    derived: Mapping[str, Any]
    step: int

    @classmethod
    def of(cls, trained: TrainedModel) -> "Card":
        """The card of a model that was loaded."""
        return cls(trained.workdir, trained.config, trained.derived, trained.step)


def write_card(
    card: Card, folder: Path, format_: str, no_texts: str = "", writing: Writing | None = None
) -> None:
    """Writes README.md.

    Args:
      card: the run.
      folder: of the export.
      format_: "savedmodel", "keras" or "huggingface".
      no_texts: why a SavedModel takes no texts; empty: it does.
      writing: how a SavedModel continues texts; None: it does not.

    Raises:
      UserError: result.json holds something else.
    """
    import jinja2  # which a run that is not exported need not wait for

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("trainer.export"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"code": code, "words": words, "prose": prose, "number": number}
    settings = config_lib.defining(card.config)
    default = config_lib.defining(config_lib.Experiment())
    result = card.workdir.result() or {}
    task = card.config.task.bound(card.derived["facts"])
    labels, kind = task.output_names, task.native_kind or task.kind
    load = "ids" if no_texts else format_
    if kind == "pretraining" and format_ == "savedmodel":
        kind = "masked"
    if writing:
        kind = "text" if task.longest_target else "causal"
    how = _LOAD.get(f"{load} {kind}", _LOAD[load])
    how = how.replace("PREFIX", repr(getattr(task, "prefix", "")))
    if writing and writing.samples:
        for last in ('"a fine film"])', "attention_mask=…"):
            how = how.replace(last, f"{last}, seed=tf.constant(0, tf.int64)")
    if not labels or kind == "tokens":
        how = how.replace('["probabilities"]', "")
    text = environment.get_template("card.md").render(
        name=real(card.workdir.path).name,
        format=format_,
        kind=kind,
        writing=_shown(writing) if writing else {},
        tag=_TAGS.get(kind, "text-classification"),
        step=card.step,
        labels=labels,
        calibrates=task.calibrates,
        unit=task.output_unit,
        listed=LISTED,
        data=card.config.data,
        fingerprints=card.derived.get("data_fingerprint", {}),
        pretrained=card.config.model.pretrained,
        changed={k: v for k, v in settings.items() if default.get(k) != v},
        result=result,
        calibration=task.load_fitted(card.workdir.calibration_file),
        no_texts=no_texts,
        load=how,
        versions={"trained": result.get("versions", {}), "exported": versions()},
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def _shown(writing: Writing) -> dict[str, Any]:
    """The settings that have an effect in a SavedModel."""
    of_beams = {"length_penalty", "length_norm"} if writing.beams == 1 else set()
    left_out = {"stop", "n_best", *of_beams}
    return {name: value for name, value in asdict(writing).items() if name not in left_out}


def code(value: object) -> str:
    """A value of the run as code in Markdown, in a table or out of it; what it says is text.

    One that holds characters which cannot be seen is written as a JSON string, a long one is cut.
    """
    text = str(value)
    text = text if text.isprintable() else json.dumps(text)
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    if text and text == text.strip() and not re.search(r"[`|]", text):
        return f"`{text}`"
    # Between the tags Markdown goes on, but not in an entity.
    return f"<code>{re.sub(_MARKS, lambda mark: f'&#{ord(mark[0])};', text)}</code>"


def words(value: object) -> str:
    """A value that is plain words as it stands, any other as `code`."""
    text = str(value)
    return text if re.fullmatch(r"[A-Za-z0-9]+([ -][A-Za-z0-9]+)*", text) else code(text)


def prose(sentence: str) -> str:
    """A sentence of this library that quotes something, in which no character means anything."""
    return re.sub(r"[^\w ,'-]|_", lambda mark: f"&#{ord(mark[0])};", sentence)


def number(value: object, digits: int = 4) -> str:
    """A number with so many digits behind the point, None as nothing, anything else as `code`."""
    if value is None:
        return ""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return code(value)
    return f"{value:.{digits}f}"
