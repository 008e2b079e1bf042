"""The model card of an export: README.md (Mitchell et al. 2019, arXiv:1810.03993)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from trainer import config as config_lib
from trainer.calibration import Calibration
from trainer.monitor.versions import versions
from trainer.trained import TrainedModel
from trainer.workdir import Workdir

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
}


class Card(NamedTuple):
    """What a card is written from.

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
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("trainer.export"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    settings = config_lib.defining(card.config)
    default = config_lib.defining(config_lib.Experiment())
    text = environment.get_template("card.md").render(
        name=card.workdir.path.resolve().name,
        format=format_,
        step=card.step,
        labels=[_code(label) for label in card.derived["id2label"]],
        data=card.config.data,
        fingerprints=card.derived.get("data_fingerprint", {}),
        pretrained=card.config.model.pretrained and _code(card.config.model.pretrained),
        changed={k: _code(v) for k, v in settings.items() if default.get(k) != v},
        result=card.workdir.result() or {},
        calibration=Calibration.load(card.workdir.calibration_file, len(card.derived["id2label"])),
        no_texts=no_texts,
        load=_LOAD["ids" if no_texts else format_],
        versions=versions(),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def _code(value: object) -> str:
    """A value as it stands, on one line, in a table or out of it."""
    line = "".join(c if c.isprintable() else " " for c in str(value))
    return "`" + line.replace("`", "'").replace("|", "\\|") + "`"
