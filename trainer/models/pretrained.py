"""Pretrained weights: from the hub or a folder, in safetensors or BERT's and T5's own checkpoints.

Every tensor is accounted for: used, or listed as not used. Nothing is unpickled, no code that comes
with a model is run.
"""

import collections
import functools
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from trainer import config as config_lib
from trainer import hub
from trainer.errors import UserError, shown
from trainer.models import families, family_tables, model_config, t5_checkpoint
from trainer.models.architecture import Architecture
from trainer.models.tensor_files import Checkpoint, Safetensors, Tensors
from trainer.storage import strict_json

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
    r"(.*\.)?(position_ids|embeddings\.token_type_ids|attn\.(bias|masked_bias)"
    r"|rotary_emb\.inv_freq)"
)
# Parts of a head that are each stored or not, by whether it is a classifier's.
_PARTS = {
    True: ("head/hidden/", "head/logits/"),
    False: ("head/next/hidden/", "head/next/logits/", "head/"),
}
_FETCHES = Path(__file__).parents[2] / "scripts" / "fetch_sample_weights.py"  # of a checkout
_LISTED = 40  # names in one message, before those that differ in a number only are counted
_LISTED_CHARACTERS = 1200  # of them all
_KINDS = 12  # such kinds of names in one message
_LONGEST = 200  # characters of a name in a message


class Pretrained:
    """A pretrained model on disk, whose config.json and tensors fit together.

    Attributes:
      name: as it was asked for.
      folder: where its files are.
      config: what its config.json holds.

    Raises:
      UserError: the encoder cannot compute it, a tensor of it (or the decoder) is missing or has
        another shape than config.json says, or a file was altered.
    """

    def __init__(self, name: str, folder: Path, config: dict[str, Any], tensors: Tensors):
        self.name, self.folder, self.config = name, folder, config
        self._tensors, self._where = tensors, f"pretrained model {name!r}"
        shapes = self.architecture().shapes()
        for parameter, place in self._places(shapes).items():
            self._check(place, shapes[parameter])
        if self._family.writes:
            self._check_tables()
        self._sha256 = tensors.sha256()

    def architecture(
        self,
        settings: config_lib.Model | None = None,
        kind: str = "sequence",
        target_length: int = 0,
    ) -> Architecture:
        """Its architecture, with the head and the dropout rates that `config.model` sets.

        Without settings, all is as the family has it, with its head of that kind, and the longest
        text of a decoder, if it has one, is 1 token. Raises UserError for what the encoder cannot
        compute.
        """
        if settings is None:
            settings, target_length = config_lib.Model(head="native"), int(self._family.writes)
        return families.architecture(self.config, settings, self._where, kind, target_length)

    @property
    def start_id(self) -> int | None:
        """The token that its decoder begins with, as config.json says; None: it says none."""
        return model_config.start_id(self.config, self._where)

    def load(
        self,
        parameters: Mapping[str, tf.Variable],
        native_head: bool,
        say: Callable[[str], None],
        labels: Sequence[str] = (),
        kind: str = "sequence",
    ) -> None:
        """Assigns the weights, and says what was not used and what starts afresh.

        Args:
          parameters: all of the model's, by name.
          native_head: whether the model has the family's own head, which may be stored too.
          say: told what a person should know.
          labels: of this run, in the order of their ids; none for a regression.
          kind: of the head, see `family_tables.KINDS`.

        Raises:
          UserError: a tensor is missing or has another shape, a value is not finite, or words are
            predicted by a table of their own here or there. Nothing was assigned then.
        """
        shapes = self._tensors.shapes()
        ours = {name: tuple(variable.shape) for name, variable in parameters.items()}
        wanted = [n for n in ours if native_head or not n.startswith("head/")]
        places = self._places(wanted, kind)
        self._check_decoder(places, kind, native_head)
        left = dict(places)
        left.pop(family_tables.DECODER, None)
        for module in _PARTS[kind in family_tables.KINDS]:
            of_head = {n: left.pop(n) for n in list(left) if n.startswith(module)}
            if not self._has_module(of_head, ours, kind, say):
                places = {n: place for n, place in places.items() if n not in of_head}
        values = {}
        for name, place in places.items():
            self._check(place, ours[name])
            values[name] = self._value(place)
        self._order_labels(values, labels, say)
        for name, value in values.items():
            parameters[name].assign(value)
        tokens = places.get(family_tables.TOKENS)
        if tokens and tokens.name in families.tied_names(self._family):
            say(
                f"{self.name}: {tokens.name} is taken for the token table, with which it shares"
                " its memory in models that predict words"
            )
        decoder = places.get(family_tables.DECODER)
        if tokens and decoder and decoder.name == tokens.name:
            say(f"{self.name}: {family_tables.DECODER} begins as a copy of the token table")
        used = {place.name for place in places.values()}
        used |= {*self._copies} if self._family.writes else set()
        fresh = [name for name in parameters if name not in values]
        unused = [n for n in shapes if n not in used and not _CONSTANTS.fullmatch(n)]
        say(
            f"{self.name}: {len(values)} of {len(parameters)} parameters loaded from"
            f" {len(used)} tensors; start afresh: {_listed(fresh)}; tensors not used:"
            f" {_listed(unused)}"
        )

    @property
    def _family(self) -> family_tables.Family:
        return families.family_of(self.config, self._where)

    @functools.cached_property
    def _tied(self) -> bool:
        """True if words are predicted by the token table, in a model that predicts them."""
        if self._family.writes:  # transformers goes by the tensors too, whatever the config says
            (name, *_) = families.tied_names(self._family)
            return name not in self._tensors.shapes() or name in self._copies
        checked = model_config.checked(self.config, self._where)
        return bool(getattr(checked, "tie_word_embeddings", True))

    @functools.cached_property
    def _copies(self) -> list[str]:
        """Tensors of a model with a decoder that are, or equal, the token table."""
        shared, stored = self._family.modules[family_tables.TOKENS], self._tensors.shapes()
        names = (shared.name, *shared.also, *families.tied_names(self._family)[:1])
        table, *others = [name for name in names if name in stored] or [""]
        if not others:
            return [table]
        values, read = self._tensors.read(table), self._tensors.read
        return [table, *(name for name in others if np.array_equal(read(name), values))]

    def _check_tables(self) -> None:
        """Refuses stacks with tables of their own, and a head that lacks its own."""
        stored = self._tensors.shapes()
        for name in self._family.modules[family_tables.TOKENS].also:
            if name in stored and name not in self._copies:
                raise UserError(
                    f"{self._where}: tensor {name!r} is not the token table: an encoder and a"
                    " decoder with tables of their own are not supported"
                )
        (words, *_) = families.tied_names(self._family)
        if self.config.get("tie_word_embeddings") is False and words not in stored:
            raise UserError(f"{self._where} lacks the tensor {words!r}")

    def _places(
        self, parameters: Iterable[str], kind: str = "sequence"
    ) -> dict[str, family_tables.Place]:
        """Tensors of parameters, under the names that these files have for them."""
        family, shapes = self._family, self._tensors.shapes()
        prefixed = any(name.startswith(family.prefix) for name in shapes)
        places = families.stored(family, parameters, kind)
        if not prefixed:
            for name, place in places.items():
                places[name] = place._replace(name=place.name.removeprefix(family.prefix))
        for name, place in places.items():
            names = (place.name, *place.also) if self._tied else (*place.also, place.name)
            stored = [each for each in names if each in shapes]
            places[name] = place._replace(name=stored[0] if stored else place.name)
        tokens = places.get(family_tables.TOKENS)
        if tokens and tokens.name not in shapes and self._tied:
            shared = [name for name in families.tied_names(family) if name in shapes]
            if shared:
                tokens = places[family_tables.TOKENS] = tokens._replace(name=shared[0])
        decoder = places.get(family_tables.DECODER)
        if decoder and tokens and (self._tied or decoder.name not in shapes):
            places[family_tables.DECODER] = decoder._replace(name=tokens.name)
        return places

    def _check_decoder(
        self, places: Mapping[str, family_tables.Place], kind: str, native_head: bool
    ) -> None:
        """Refuses to predict words by the token table where the model has a table for it."""
        head = families.head_of(self._family, kind)
        decoder = head.modules.get(family_tables.DECODER) if head and native_head else None
        if decoder is None or family_tables.DECODER in places or self._tied:
            return
        if decoder.name in self._tensors.shapes():
            raise UserError(
                f"{self._where} predicts words by a table of their own, {decoder.name!r}: set"
                " config.task.tied=False"
            )

    def _check(self, place: family_tables.Place, shape: tuple[int, ...]) -> None:
        """Refuses a tensor that is missing, or does not hold a parameter of this shape."""
        found, wanted = self._tensors.shapes().get(place.name), _stored_shape(shape, place)
        if found is None:
            raise UserError(f"{self._where} lacks the tensor {place.name!r}")
        if found != wanted:
            raise UserError(
                f"{self._where}: tensor {place.name!r} has shape {_shape(found)}, its config.json"
                f" asks for {_shape(wanted)}"
            )

    def sha256(self) -> dict[str, str]:
        """sha256 in hex of each file of weights, by name."""
        return self._sha256

    def _has_module(
        self,
        places: Mapping[str, family_tables.Place],
        ours: Mapping[str, tuple[int, ...]],
        kind: str,
        say: Callable[[str], None],
    ) -> bool:
        """True if a module of the head is stored, in a head of this kind with as many outputs."""
        shapes = self._tensors.shapes()
        stored = [name for name, place in places.items() if place.name in shapes]
        if not stored or not stored[0].startswith("head/logits/"):
            return bool(stored)
        saved = model_config.architectures(self.config, self._where)
        if not any(family_tables.KINDS[kind] in name for name in saved):
            return False  # of another task
        theirs, outputs = shapes[places[stored[0]].name][:1], ours[stored[0]][-1]
        if theirs and theirs != (outputs,):
            say(
                f"{self.name}: its head has {theirs[0]} labels, this run {outputs}: the last layer"
                " of the head starts afresh"
            )
            return False
        return True

    def _order_labels(
        self, values: dict[str, np.ndarray], labels: Sequence[str], say: Callable[[str], None]
    ) -> None:
        """Puts the rows of a stored head in the order of this run's labels, where it has these."""
        theirs = model_config.labels(self.config, self._where)
        if "head/logits/kernel" not in values or not labels or theirs in ([], list(labels)):
            return
        if sorted(theirs) != sorted(labels):
            say(
                f"Note: the labels {_listed(theirs)} of its head are taken for"
                f" {_listed(list(labels))}, in this order"
            )
            return
        order = [theirs.index(label) for label in labels]
        for name in ("head/logits/kernel", "head/logits/bias"):
            if name in values:
                values[name] = values[name][..., order]

    def _value(self, place: family_tables.Place) -> np.ndarray:
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
    bert_model.ckpt as Google published BERT, or a model.ckpt of T5's own code. A model of the hub
    is downloaded to the cache of huggingface_hub, unless it is there already.

    Raises:
      UserError: there is no such model, or its files cannot be used.
    """
    try:
        folder = hub.folder_of(name, WANTED, "pretrained model")
    except UserError as error:
        fetched = "minilm" in name.lower() and _FETCHES.is_file()
        said = f"; `python {shlex.quote(str(_FETCHES))}` fetches MiniLM" if fetched else ""
        raise UserError(f"{error} (config.model.pretrained){said}") from error
    where = f"pretrained model {name!r}"
    _refuse_what_is_ours(folder, where)
    if (folder / GOOGLE_CONFIG).is_file() and not (folder / "config.json").is_file():
        config = {"model_type": "bert", **_json(folder / GOOGLE_CONFIG, where)}
        families.family_of(config, where)
        return Pretrained(name, folder, config, Checkpoint(folder / GOOGLE_WEIGHTS, where))
    prefix = t5_checkpoint.prefix_in(folder, where)
    if prefix and not (folder / "config.json").is_file():
        tensors = Checkpoint(prefix, where, t5_checkpoint.renamed)
        return Pretrained(
            name, folder, t5_checkpoint.config_of(tensors.shapes(), folder, where), tensors
        )
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{where}: {folder} holds no config.json: give a folder with config.json and"
            f" {WEIGHTS}, or a name on the hub"
        )
    config = _json(folder / "config.json", where)
    families.family_of(config, where)
    return Pretrained(name, folder, config, _safetensors(folder, where))


def _refuse_what_is_ours(folder: Path, where: str) -> None:
    """Says how to use the weights of a run, or of an export that is not for transformers."""
    if (folder / "checkpoints").is_dir() and not _holds(folder, WEIGHTS):
        raise UserError(
            f"{where}: {folder} is the workdir of a run: to begin with its weights set"
            " config.model.initial_run, or export it with launch.export --format=huggingface"
        )
    for kind, file in (("savedmodel", "saved_model.pb"), ("keras", "model.keras")):
        if (folder / file).is_file() and not (folder / "config.json").is_file():
            raise UserError(
                f"{where}: {folder} is an export of format {kind}, which only predicts: export the"
                " run again with --format=huggingface"
            )


def _safetensors(folder: Path, where: str) -> Safetensors:
    """The tensors of a model, in one file or in shards."""
    if (folder / WEIGHTS).is_file():
        return Safetensors([folder / WEIGHTS], where)
    if (folder / INDEX).is_file():
        weight_map = _json(folder / INDEX, where).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise UserError(f"{where}: {INDEX} has no weight_map")
        shards = sorted({str(shard) for shard in weight_map.values()})
        for shard in shards:
            if not _holds(folder, shard):
                raise UserError(f"{where}: {INDEX} names {shown(shard)}, which is not in {folder}")
        tensors = Safetensors([folder / shard for shard in shards], where)
        for tensor, shard in weight_map.items():
            if tensors.file_of(tensor) != folder / shard:
                raise UserError(
                    f"{where}: {INDEX} says that {shown(tensor)} is in {shard}, which"
                    " does not hold it: fetch both again"
                )
        return tensors
    pickles = sorted(p.name for p in folder.iterdir() if p.suffix in (".bin", ".h5"))
    if pickles:
        raise UserError(
            f"{where} has its weights in {_listed(pickles)} only, which may run code when it is"
            f" read: convert it to {WEIGHTS} (in PyTorch: save_pretrained of transformers)"
        )
    raise UserError(
        f"{where}: there is no {WEIGHTS} in {folder}: weights in another form (a pickle, say) are"
        " not read; convert them (in PyTorch: save_pretrained), or, offline, complete"
        " the hub's cache"
    )


def _holds(folder: Path, name: str) -> bool:
    """True if a file of this name lies in the folder itself."""
    try:
        return Path(name).name == name and (folder / name).is_file()
    except OSError:  # longer than a name may be
        return False


def _json(path: Path, where: str) -> dict[str, Any]:
    try:
        return strict_json.read(path)
    except (OSError, strict_json.InvalidJson) as error:
        raise UserError(f"{where}: cannot read {path}: {error}") from error


def _stored_shape(shape: tuple[int, ...], place: family_tables.Place) -> tuple[int, ...]:
    """The shape of the tensor that holds a parameter of this shape."""
    whole = (*shape[:-1], shape[-1] * place.part[1])
    return whole[::-1] if place.transposed else whole


def _shape(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _listed(names: Sequence[str]) -> str:
    """Names of a stranger's file in one line: without control characters, and shortened."""
    names = ["".join(c if c.isprintable() else "?" for c in name[:_LONGEST]) for name in names]
    if len(names) <= _LISTED and sum(map(len, names)) <= _LISTED_CHARACTERS:
        return ", ".join(names) or "none"
    # Moments that Google's AdamW and Adafactor left say nothing, whatever they are of.
    names = [re.sub(r"^.+(?=\.adam_[mv]$|_slot_v[cr]?$)", "*", name) for name in names]
    kinds = collections.Counter(re.sub(r"(?<=[._/])\d+", "*", name) for name in names)
    said = [f"{kind} ({count})" if count > 1 else kind for kind, count in kinds.items()]
    more = [f"{len(said) - _KINDS} further kinds"] if len(said) > _KINDS else []
    return ", ".join(said[:_KINDS] + more)
