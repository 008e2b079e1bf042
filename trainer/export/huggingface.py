"""A trained model for other programs: a folder that Hugging Face transformers opens in PyTorch."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from tokenizers import processors

from trainer import config as config_lib
from trainer.batch import IDS, MASK
from trainer.data.subwords import Subwords
from trainer.errors import UserError
from trainer.export import layouts
from trainer.export.card import Card, write_card
from trainer.export.folder import new_folder
from trainer.models import families, family_tables, network
from trainer.models.architecture import Architecture, from_scratch
from trainer.models.pretrained import WEIGHTS
from trainer.storage.workdir import Workdir
from trainer.tasks.task import Task, class_path

_TYPES = "encoder/embeddings/types"  # a module of families whose inputs have token types


def to_hugging_face(workdir: Workdir, output: Path, trusted: Collection[str] = ()) -> int:
    """Writes config.json, model.safetensors and the tokenizer of a run's best weights.

    `from_pretrained` of the class of transformers that config.json names opens the folder, as its
    AutoModelForSequenceClassification does for classifiers of texts; and so does
    `config.model.pretrained`.

    Args:
      workdir: of the run.
      output: a folder that does not exist yet, or is empty.
      trusted: packages of your own that the run's settings may name.

    Returns:
      The step of the weights.

    Raises:
      UserError: a model that transformers has no class for, or a folder that cannot be written.
    """
    config, derived = workdir.read_to_run(trusted)
    kept = workdir.load_tokenizer()
    task = config.task.bound(derived["facts"], kept)
    if why := why_not(config, derived, task):
        raise UserError(f"--workdir={workdir.path}: {why}")
    store, step = workdir.finished_weights()
    names = [name for name in store.shapes(step) if name.startswith("model/")]
    values = {n.removeprefix("model/"): v for n, v in store.values(step, names).items()}
    base, kind = derived["pretrained"], task.native_kind
    if not base:
        shape = _from_scratch(config, task, len(values[family_tables.TOKENS]))
        base, _ = layouts.described(shape, kind)
        values |= layouts.added(shape, base)
    family, fields = families.family_of(base, str(workdir.path)), task.native_config() or {}
    if task.own_head:
        fields["tie_word_embeddings"] = family_tables.DECODER not in values
    if family.writes:
        fields |= _scale(base, values, config.model, task)
    if kind == "causal":
        _begin_only(kept, fields["bos_token_id"])
    tokenizer = kept.for_transformers()
    tokenizer.model_max_length = config.data.max_length
    if _TYPES not in family.modules:  # the classes would take types for something else
        tokenizer.model_input_names = [IDS, MASK]
    if tokenizer.pad_token is None:  # GPT-2's: transformers needs one to make batches
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    with new_folder(output) as folder:
        tokenizer.save_pretrained(folder)
        beside = family.heads[kind].beside
        values = {n: v for n, v in values.items() if not n.startswith(beside)}
        described = _config(base, family, kind, tokenizer.pad_token_id) | fields
        text = json.dumps(described, indent=2) + "\n"
        (folder / "config.json").write_text(text, encoding="utf-8")
        # safetensors would write a file that only its owner may read.
        tensors = safetensors.numpy.save(_tensors(family, values, kind), {"format": "pt"})
        (folder / WEIGHTS).write_bytes(tensors)
        write_card(Card(workdir, config, derived, step), folder, "huggingface")
    return step


def why_not(config: config_lib.Experiment, derived: Mapping[str, Any], task: Task) -> str:
    """Why transformers has no class for a run's model; empty if it has one.

    Args:
      config, derived: of the run. task: bound to what it learned.
    """
    kind = task.native_kind
    others = "export it to savedmodel" if task.own_head else "export it to savedmodel or keras"
    if not kind or task.native_config() is None:
        return f"transformers has no class for {class_path(task)}: {others}"
    if not derived.get("pretrained"):
        ours = "the run holds a model of this library's own, which transformers has no class for"
        if kind == "sequence" or config.model.factory != network.FACTORY:
            return (
                f"{ours}: only runs that began with a pretrained model, and language models, can be"
                f" exported to huggingface: {others}"
            )
        why = layouts.described(_from_scratch(config, task, 1), kind)[1]
        if why:
            return f"{ours}: {why}; or {others}"
        native = ""
    else:
        heads = families.family_of(derived["pretrained"], "the run").heads
        if kind not in heads:
            return f"transformers has no class for {class_path(task)} in this model's family"
        native = heads[kind].class_name
    head, width = config.model.head, config.model.head_width
    plain = task.own_head or (task.kind == "tokens" and not width)  # as the native one
    if head != "native" and not plain:
        more = f" and head_width={width}" if width else ""
        return (
            f"{native} of transformers cannot hold config.model.head={head!r}{more}: train with"
            " head='native'"
        )
    return ""


def _from_scratch(config: config_lib.Experiment, task: Task, tokens: int) -> Architecture:
    sizes = config.model, tokens, config.data.max_length
    return from_scratch(*sizes, task.pairs, task.kind, task.longest_target)


def _scale(
    base: Mapping[str, Any], values: dict[str, np.ndarray], settings: config_lib.Model, task: Task
) -> dict[str, bool]:
    """Fields of config.json on the outputs of a decoder; gives a tied head a table if it must.

    Earlier versions of transformers scale these outputs where a head is tied, and only there.
    """
    shape = families.architecture(base, settings, "the model", target_length=task.longest_target)
    scaled, untied = shape.output_scale, family_tables.DECODER in values
    if not (scaled or untied):
        values[family_tables.DECODER] = values[family_tables.TOKENS]
    return {"scale_decoder_outputs": scaled, "tie_word_embeddings": scaled and not untied}


def _begin_only(tokenizer: Subwords, begin: int) -> None:
    """Has a text begin with a token and end with none: a model of words goes on from there."""
    backend = tokenizer.backend_tokenizer
    token, old = backend.id_to_token(begin), backend.post_processor
    template = processors.TemplateProcessing(
        single=[token, "$A"], pair=[token, "$A", "$B"], special_tokens=[(token, begin)]
    )
    bytewise = isinstance(old, processors.ByteLevel)  # corrects where tokens stand in a text
    backend.post_processor = processors.Sequence([old, template]) if bytewise else template


def _config(
    base: Mapping[str, Any], family: family_tables.Family, kind: str, pad_token_id: int | None
) -> dict[str, Any]:
    """The pretrained model's config.json, for the class that has a head of this kind."""
    native = family.heads[kind]
    dropped = ["num_labels", "problem_type", "torch_dtype", "_name_or_path", "auto_map"]
    if kind not in family_tables.KINDS:
        dropped += ["id2label", "label2id"]
    config = {k: v for k, v in base.items() if k not in dropped}
    config |= {"architectures": [native.class_name], "dtype": "float32"}
    # A decoder's last token is found by it. RoBERTa counts its positions from it: it must stay.
    if config.get("pad_token_id") is None or native.head.pooling == "last":
        config["pad_token_id"] = pad_token_id
    return config


def _tensors(
    family: family_tables.Family, values: Mapping[str, np.ndarray], kind: str
) -> dict[str, np.ndarray]:
    """The weights under the names, and in the layout, that transformers gives them."""
    places = families.stored(family, values, kind)
    parts: dict[str, dict[int, np.ndarray]] = {}
    for name, value in values.items():
        place = places[name]
        value = value.astype(np.float32)
        value = value.T if place.transposed else value
        # Where words have a table of their own, their bias stands under two names.
        twice = name == family_tables.BIAS and family_tables.DECODER in values
        also = place.also[:1] if twice else ()
        for theirs in (place.name, *also):
            parts.setdefault(theirs, {})[place.part[0]] = value
    return {
        name: np.ascontiguousarray(np.concatenate([of[k] for k in sorted(of)], axis=-1))
        for name, of in parts.items()
    }
