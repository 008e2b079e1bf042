"""A trained model for other programs: a folder that Hugging Face transformers opens in PyTorch."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from transformers import PreTrainedTokenizerFast

from trainer import config as config_lib
from trainer.errors import UserError
from trainer.export.card import Card, write_card
from trainer.export.folder import new_folder
from trainer.models import families
from trainer.models.pretrained import WEIGHTS
from trainer.storage.workdir import Workdir
from trainer.tasks.task import class_path


def to_hugging_face(workdir: Workdir, output: Path, trusted: Collection[str] = ()) -> int:
    """Writes config.json, model.safetensors and the tokenizer of a run's best weights.

    `transformers.AutoModelForSequenceClassification.from_pretrained` opens the folder, of a task
    with an answer for each token AutoModelForTokenClassification's; and so does
    `config.model.pretrained`.

    Args:
      workdir: of a run that began with pretrained weights.
      output: a folder that does not exist yet, or is empty.
      trusted: packages of your own that the run's settings may name.

    Returns:
      The step of the weights.

    Raises:
      UserError: a model that transformers has no class for, or a folder that cannot be written.
    """
    config, derived = workdir.read_to_run(trusted)
    task = config.task.bound(derived["facts"])
    fields = task.native_config()
    if fields is None or task.own_head:
        raise UserError(
            f"--workdir={workdir.path}: transformers has no class for {class_path(task)}: export it"
            " to savedmodel or keras"
        )
    family = _family(config, derived, workdir, task.kind)
    store, step = workdir.finished_weights()
    names = [name for name in store.shapes(step) if name.startswith("model/")]
    values = {n.removeprefix("model/"): v for n, v in store.values(step, names).items()}
    tokenizer = workdir.load_tokenizer()
    tokenizer.model_max_length = config.data.max_length
    if tokenizer.pad_token is None:  # GPT-2's: transformers needs one to make batches
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    with new_folder(output) as folder:
        tokenizer.save_pretrained(folder)
        described = _config(derived, family.heads[task.kind], tokenizer) | fields
        text = json.dumps(described, indent=2) + "\n"
        (folder / "config.json").write_text(text, encoding="utf-8")
        # safetensors would write a file that only its owner may read.
        tensors = safetensors.numpy.save(_tensors(family, values, task.kind), {"format": "pt"})
        (folder / WEIGHTS).write_bytes(tensors)
        write_card(Card(workdir, config, derived, step), folder, "huggingface")
    return step


def _family(
    config: config_lib.Experiment, derived: Mapping[str, Any], workdir: Workdir, kind: str
) -> families.Family:
    if not derived.get("pretrained"):
        raise UserError(
            f"--workdir={workdir.path} holds a model of this library's own, which transformers has"
            " no class for: only runs with config.model.pretrained can be exported to huggingface"
        )
    family = families.family_of(derived["pretrained"], str(workdir.path))
    head, width = config.model.head, config.model.head_width
    plain = kind == "tokens" and not width  # as the native one, whatever the setting
    if head != "native" and not plain:
        more = f" and head_width={width}" if width else ""
        raise UserError(
            f"--workdir={workdir.path} has config.model.head={head!r}{more}, which"
            f" {family.heads[kind].class_name} of transformers cannot hold: train with"
            " head='native'"
        )
    return family


def _config(
    derived: Mapping[str, Any], native: families.NativeHead, tokenizer: PreTrainedTokenizerFast
) -> dict[str, Any]:
    """The pretrained model's config.json, for this class."""
    dropped = ("num_labels", "problem_type", "torch_dtype", "_name_or_path", "auto_map")
    config = {k: v for k, v in derived["pretrained"].items() if k not in dropped}
    config |= {"architectures": [native.class_name], "dtype": "float32"}
    # A decoder's last token is found by it. RoBERTa counts its positions from it: it must stay.
    if config.get("pad_token_id") is None or native.head.pooling == "last":
        config["pad_token_id"] = tokenizer.pad_token_id
    return config


def _tensors(
    family: families.Family, values: Mapping[str, np.ndarray], kind: str
) -> dict[str, np.ndarray]:
    """The weights under the names, and in the layout, that transformers gives them."""
    places = families.stored(family, values, kind)
    parts: dict[str, dict[int, np.ndarray]] = {}
    for name, value in values.items():
        place = places[name]
        value = value.astype(np.float32)
        parts.setdefault(place.name, {})[place.part[0]] = value.T if place.transposed else value
    return {
        name: np.ascontiguousarray(np.concatenate([of[k] for k in sorted(of)], axis=-1))
        for name, of in parts.items()
    }
