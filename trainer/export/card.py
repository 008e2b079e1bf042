"""The model card of an export: README.md (Mitchell et al. 2019, arXiv:1810.03993)."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from trainer import config as config_lib
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
        """That of a model that was loaded."""
        return cls(trained.workdir, trained.config, trained.derived, trained.step)


def write_card(card: Card, folder: Path, format_: str, no_texts: str = "") -> None:
    """Writes README.md.

    Args:
      card: the run.
      folder: of the export.
      format_: "savedmodel", "keras" or "huggingface".
      no_texts: why a SavedModel takes no texts; empty: it does.

    Raises:
      UserError: result.json holds something else.
    """
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
    labels = task.output_names
    load = "ids" if no_texts else format_
    how = _LOAD.get(f"{load} {task.kind}", _LOAD[load])
    if not labels or task.kind == "tokens":
        how = how.replace('["probabilities"]', "")
    text = environment.get_template("card.md").render(
        name=real(card.workdir.path).name,
        format=format_,
        kind=task.kind,
        step=card.step,
        labels=labels,
        calibrates=task.calibrates,
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
