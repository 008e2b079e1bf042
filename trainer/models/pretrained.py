"""Pretrained weights: from the hub or a folder, in safetensors or Google's TensorFlow checkpoints.

Every tensor is accounted for: used, or listed as not used. Nothing is unpickled, no code that comes
with a model is run.
"""

import collections
import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from safetensors import SafetensorError, safe_open

from trainer import config as config_lib
from trainer import hub
from trainer.disk import sha256_of
from trainer.errors import UserError
from trainer.models import families
from trainer.models.architecture import Architecture

WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
GOOGLE_CONFIG, GOOGLE_WEIGHTS = "bert_config.json", "bert_model.ckpt"
# Of a repository on the hub: no pickles, and no weights for other libraries.
WANTED = (
    *("config.json", WEIGHTS, INDEX, "model-*-of-*.safetensors"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.txt", "vocab.json", "merges.txt", "spiece.model"),
)
# What older versions of the libraries wrote beside the weights: constants, not parameters.
_CONSTANTS = re.compile(
    r"(.*\.)?(position_ids|embeddings\.token_type_ids|attn\.(bias|masked_bias))"
)
_FLOATS = ("F64", "F32", "F16", "BF16")
_LISTED = 40  # names in one message, before those that differ in a number only are counted


class Tensors(Protocol):
    """Named tensors on disk, under the names that Hugging Face transformers gives them."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """All tensors, and their shapes."""

    def read(self, name: str) -> np.ndarray:
        """One tensor, in float32 where it was stored in half precision."""

    def sha256(self) -> dict[str, str]:
        """sha256 in hex of each file that holds them, by name."""


class Pretrained:
    """A pretrained model on disk.

    Attributes:
      name: as it was asked for.
      folder: where its files are.
      config: what its config.json holds.
    """

    def __init__(self, name: str, folder: Path, config: dict[str, Any], tensors: Tensors):
        self.name, self.folder, self.config = name, folder, config
        self._tensors = tensors

    def architecture(self, settings: config_lib.Model | None = None) -> Architecture:
        """Its architecture, with the head and the dropout rates that `config.model` sets.

        Without settings, all is as the family has it. Raises UserError for what the encoder cannot
        compute.
        """
        settings = settings or config_lib.Model(head="native")
        return families.architecture(self.config, settings, f"pretrained model {self.name!r}")

    def load(
        self,
        parameters: Mapping[str, tf.Variable],
        native_head: bool,
        say: Callable[[str], None],
        labels: Sequence[str] = (),
    ) -> None:
        """Assigns the weights, and says what was not used and what starts afresh.

        Args:
          parameters: all of the model's, by name.
          native_head: whether the model has the family's own head, which may be stored too.
          say: told what a person should know.
          labels: of this run, in the order of their ids.

        Raises:
          UserError: a tensor of the encoder is missing or has another shape, or a value is not
            finite. Nothing was assigned then.
        """
        family = families.family_of(self.config, self.name)
        shapes = self._tensors.shapes()
        prefixed = any(name.startswith(family.prefix) for name in shapes)
        places = {
            name: place._replace(
                name=place.name if prefixed else place.name.removeprefix(family.prefix)
            )
            for name, place in families.stored(family, parameters).items()
            if native_head or not name.startswith("head/")
        }
        wanted = {n: _stored_shape(tuple(parameters[n].shape), p) for n, p in places.items()}
        for module in ("head/hidden/", "head/logits/"):
            of_head = {n: places[n].name for n in places if n.startswith(module)}
            if not self._has_module(module, of_head, wanted, shapes, say):
                places = {n: place for n, place in places.items() if n not in of_head}
        values = {}
        for name, place in places.items():
            if place.name not in shapes:
                raise UserError(f"pretrained model {self.name!r} lacks the tensor {place.name!r}")
            if shapes[place.name] != wanted[name]:
                raise UserError(
                    f"pretrained model {self.name!r}: tensor {place.name!r} has shape"
                    f" {_shape(shapes[place.name])}, its config.json asks for"
                    f" {_shape(wanted[name])}"
                )
            values[name] = self._value(place)
        self._order_labels(values, labels, say)
        for name, value in values.items():
            parameters[name].assign(value)
        used = {place.name for place in places.values()}
        fresh = [name for name in parameters if name not in values]
        unused = [n for n in shapes if n not in used and not _CONSTANTS.fullmatch(n)]
        say(
            f"{self.name}: {len(values)} of {len(parameters)} parameters loaded from"
            f" {len(used)} tensors; start afresh: {_listed(fresh)}; tensors not used:"
            f" {_listed(unused)}"
        )

    def sha256(self) -> dict[str, str]:
        """sha256 in hex of each file of weights, by name."""
        return self._tensors.sha256()

    def _has_module(
        self,
        module: str,
        names: Mapping[str, str],
        wanted: Mapping[str, tuple[int, ...]],
        shapes: Mapping[str, tuple[int, ...]],
        say: Callable[[str], None],
    ) -> bool:
        """Whether a module of the head is stored, for this task and as many labels."""
        stored = {name: shapes[theirs] for name, theirs in names.items() if theirs in shapes}
        if not stored or module != "head/logits/":
            return bool(stored)
        architectures = self.config.get("architectures") or ()
        if not any("ForSequenceClassification" in str(name) for name in architectures):
            return False  # of another task
        (theirs, *_), (ours, *_) = next((stored[name], wanted[name]) for name in stored)
        if theirs != ours:
            say(
                f"{self.name}: its head has {theirs} labels, this run {ours}: the last layer of the"
                " head starts afresh"
            )
        return theirs == ours

    def _order_labels(
        self, values: dict[str, np.ndarray], labels: Sequence[str], say: Callable[[str], None]
    ) -> None:
        """Puts the rows of a stored head in the order of this run's labels, where it has these."""
        named = self.config.get("id2label") or {}
        theirs = [str(named[i]) for i in sorted(named, key=int)]
        if "head/logits/kernel" not in values or not labels or theirs in ([], list(labels)):
            return
        if sorted(theirs) != sorted(labels):
            say(
                f"Note: the labels {', '.join(theirs)} of its head are taken for"
                f" {', '.join(labels)}, in this order"
            )
            return
        order = [theirs.index(label) for label in labels]
        for name in ("head/logits/kernel", "head/logits/bias"):
            if name in values:
                values[name] = values[name][..., order]

    def _value(self, place: families.Place) -> np.ndarray:
        value = self._tensors.read(place.name)
        if not np.isfinite(value).all():
            raise UserError(
                f"pretrained model {self.name!r}: tensor {place.name!r} holds infinite or NaN"
                " values: the file was altered, fetch it again"
            )
        k, parts = place.part
        value = np.split(value, parts, axis=-1)[k] if parts > 1 else value
        return value.T if place.transposed else value


def open_pretrained(name: str) -> Pretrained:
    """A pretrained model, from a folder, or by its name on the hub.

    A folder holds config.json and model.safetensors (or its shards), or bert_config.json and
    bert_model.ckpt as Google published BERT. A model of the hub is downloaded to the cache of
    huggingface_hub, unless it is there already.

    Raises:
      UserError: there is no such model, or its files cannot be used.
    """
    folder = hub.folder_of(name, WANTED, "pretrained model")
    where = f"pretrained model {name!r}"
    if (folder / GOOGLE_CONFIG).is_file() and not (folder / "config.json").is_file():
        config = {"model_type": "bert", **_json(folder / GOOGLE_CONFIG, where)}
        return Pretrained(name, folder, config, _Google(folder / GOOGLE_WEIGHTS, where))
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{where}: {folder} holds no config.json: give a folder with config.json and"
            f" {WEIGHTS}, or a name on the hub"
        )
    config = _json(folder / "config.json", where)
    families.family_of(config, where)
    return Pretrained(name, folder, config, _Safetensors(_files(folder, where), where))


def _files(folder: Path, where: str) -> list[Path]:
    """The safetensors files of a model, in one piece or in shards."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        weight_map = _json(folder / INDEX, where).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise UserError(f"{where}: {INDEX} has no weight_map")
        shards = sorted({str(shard) for shard in weight_map.values()})
        for shard in shards:
            if Path(shard).name != shard or not (folder / shard).is_file():
                raise UserError(f"{where}: {INDEX} names {shard!r}, which is not in {folder}")
        return [folder / shard for shard in shards]
    pickles = sorted(p.name for p in folder.glob("*.bin")) + sorted(
        p.name for p in folder.glob("*.h5")
    )
    if pickles:
        raise UserError(
            f"{where} has its weights in {', '.join(pickles)} only, which may run code when it is"
            f" read: convert it to {WEIGHTS} (in PyTorch: save_pretrained of transformers)"
        )
    raise UserError(
        f"{where}: there is no {WEIGHTS} in {folder}: weights in another form (a pickle, say) are"
        " not read; convert them (in PyTorch: save_pretrained), or, offline, complete"
        " the hub's cache"
    )


class _Safetensors:
    """Tensors of one or several safetensors files."""

    def __init__(self, files: list[Path], where: str):
        self._where = where
        self._sha256 = {file.name: _checked_sha256(file, where) for file in files}
        self._stored: dict[str, tuple[Path, str, str]] = {}  # file, name and type by present name
        self._shapes: dict[str, tuple[int, ...]] = {}
        for file in files:
            with self._open(file) as tensors:
                for name in tensors.keys():  # noqa: SIM118 (it is no dict)
                    now = _renamed(name)
                    view = tensors.get_slice(name)
                    self._stored[now] = file, name, view.get_dtype()
                    self._shapes[now] = tuple(view.get_shape())

    @contextlib.contextmanager
    def _open(self, file: Path) -> Iterator[Any]:
        try:
            with safe_open(file, "numpy") as tensors:
                yield tensors
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"{self._where}: {file.name} is cut short or damaged ({error}): fetch it again"
            ) from error

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return self._shapes

    def read(self, name: str) -> np.ndarray:
        file, stored, kind = self._stored[name]
        if kind not in _FLOATS:
            raise UserError(
                f"{self._where}: tensor {name!r} is stored as {kind}: quantised weights are not"
                f" supported, only {', '.join(_FLOATS)} are"
            )
        with self._open(file) as tensors:
            return np.asarray(tensors.get_tensor(stored)).astype(np.float32)

    def sha256(self) -> dict[str, str]:
        return self._sha256


class _Google:
    """A TensorFlow checkpoint as Google published BERT, under the names of transformers."""

    def __init__(self, prefix: Path, where: str):
        try:
            self._reader = tf.train.load_checkpoint(str(prefix))
            stored = self._reader.get_variable_to_shape_map()
        except (tf.errors.OpError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{where}: cannot read {prefix.name} in {prefix.parent}: {reason}"
            ) from error
        self._where, self._prefix = where, prefix
        self._names: dict[str, str] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        for name, shape in sorted(stored.items()):
            now = self._in_transformers(name)
            self._names[now] = name
            self._shapes[now] = tuple(shape[::-1] if name.endswith("/kernel") else shape)

    @staticmethod
    def _in_transformers(name: str) -> str:
        name = re.sub(r"/layer_(\d+)/", r"/layer/\1/", name)
        name = re.sub(r"/kernel$|/gamma$|_embeddings$", _to_weight, name)
        return re.sub(r"/beta$", "/bias", name).replace("/", ".")

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return self._shapes

    def read(self, name: str) -> np.ndarray:
        try:
            value = self._reader.get_tensor(self._names[name])
        except (tf.errors.OpError, IndexError) as error:  # IndexError: it ends too early
            raise UserError(
                f"{self._where}: cannot read {name!r} from {GOOGLE_WEIGHTS}: the file is cut short"
                " or damaged, fetch it again"
            ) from error
        value = np.asarray(value).astype(np.float32)
        return value.T if self._names[name].endswith("/kernel") else value

    def sha256(self) -> dict[str, str]:
        files = sorted(self._prefix.parent.glob(f"{self._prefix.name}.data-*"))
        return {file.name: sha256_of(file) for file in files}


def _to_weight(found: re.Match) -> str:
    return found[0] + ".weight" if found[0].startswith("_") else "/weight"


def _renamed(name: str) -> str:
    """Some files still have the names that TensorFlow gives the two parameters of a norm."""
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace(
        "LayerNorm.beta", "LayerNorm.bias"
    )


def _checked_sha256(file: Path, where: str) -> str:
    """The hub's cache names large files by their sha256: one that does not fit was altered."""
    try:
        digest, blob = sha256_of(file), file.resolve().name
    except OSError as error:
        raise UserError(f"{where}: cannot read {file}: {error.strerror}") from error
    if file.is_symlink() and re.fullmatch(r"[0-9a-f]{64}", blob) and digest != blob:
        raise UserError(f"{where}: {file.name} was altered in the hub's cache: delete {file}")
    return digest


def _json(path: Path, where: str) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{where}: cannot read {path}: {error}") from error
    if not isinstance(values, dict):
        raise UserError(f"{where}: {path} holds no settings")
    return values


def _stored_shape(shape: tuple[int, ...], place: families.Place) -> tuple[int, ...]:
    """The shape of the tensor that holds a parameter of this shape."""
    whole = (*shape[:-1], shape[-1] * place.part[1])
    return whole[::-1] if place.transposed else whole


def _shape(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _listed(names: list[str]) -> str:
    if len(names) <= _LISTED:
        return ", ".join(names) or "none"
    kinds = collections.Counter(re.sub(r"(?<=[._/])\d+", "*", name) for name in names)
    return ", ".join(f"{kind} ({count})" if count > 1 else kind for kind, count in kinds.items())
