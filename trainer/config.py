"""The typed tree of settings, validated as a whole before anything is loaded.

A config file in configs/ returns an `Experiment` from `get_config()`; the command line changes
single fields (`--config.optimizer.weight_decay=0.1`, `--config.phases[0].epochs=2`). Fields that
define a run must be equal when it is resumed; `differences` lists those that are not.
"""

import dataclasses
import functools
import re
import typing
from dataclasses import dataclass, field

from trainer import settings
from trainer.errors import UserError, printable, shown
from trainer.imports import blamed_on
from trainer.storage.paths import local
from trainer.tasks import stored
from trainer.tasks.classification import Classification
from trainer.tasks.task import Task, check_columns, class_path

# Upper bounds of counts that need no memory of their own, and of what float32 can hold.
MANY, LARGE = 10**12, 1e38
FILES = ("train", "validation", "test")  # fields of Data: paths, where its source is "files"
SCHEDULES = ("constant", "linear", "cosine", "inverse_sqrt")
DECIDED_BY_PRETRAINED = (
    *("width", "depth", "heads", "ffn_width", "activation", "norm", "positions", "position_scale"),
    *("embedding_norm", "causal", "attention_window", "vocab_size"),
)
_SET = re.compile(r"[a-z][a-z0-9_]{0,39}")
XLA = ("off", "chains", "step")
COMMUNICATION = ("auto", "ring", "nccl")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16", "float64")


def _rate() -> typing.Any:
    """A dropout rate; -1: the pretrained model's, or else 0.1."""
    return field(default=-1.0, metadata={"low": 0.0, "high": 0.95, "unset": -1.0})


@dataclass
class Data:
    """Where the rows are, and how their texts are cut; `task` says which columns it reads."""

    source: str = settings.one_of("tfds", "files")
    name: str = "imdb_reviews"  # TFDS dataset, with its config after a slash ("glue/mrpc")
    data_dir: str = settings.here("", path=True)  # of TFDS datasets (empty: TFDS's own), or files
    train: str = "train"  # a split (tfds) or the path of a file: docs/use/own_data.md
    validation: str = ""  # a split or file of its own; empty: cut from train by text hash
    validation_share: float = settings.number(0.1, 0.0, 0.9)  # of train, where validation is empty
    test: str = "test"  # empty: there is none
    more_tests: tuple[str, ...] = settings.texts(100)  # further ones, each "name=split or file"
    format: str = settings.one_of("suffix", "csv", "tsv", "jsonl", "columns")  # of files
    header: bool = True  # CSV and TSV name their columns; else their names are 0, 1, …
    quoting: str = settings.one_of("suffix", "minimal", "none")  # suffix: .csv minimal, .tsv none
    max_length: int = settings.number(384, 8, 65_536)  # tokens, special ones included
    cut: str = settings.one_of("head+tail", "head", "tail")  # which part of a long text is kept
    buckets: int = settings.number(8, 1, 64)  # how many fixed lengths batches are padded to


@dataclass
class Tokenizer:
    """A subword tokenizer trained on the training split, or a pretrained one."""

    kind: str = settings.one_of("wordpiece", "bpe", "unigram")
    vocab_size: int = settings.number(8000, 32, 1_000_000)
    lowercase: bool = True
    pretrained: str = settings.here(
        "", path=True
    )  # hub name or folder; when set, nothing is trained


@dataclass
class Model:
    """The encoder and its head. A factory of your own reads the fields it needs."""

    pretrained: str = settings.path()  # hub name or folder; its config decides: docs/use/bert.md
    factory: str = "trainer.models.network:build"  # "package.module:function"
    width: int = settings.number(128, 1, 65_536)
    depth: int = settings.number(1, 0, 256)  # Transformer blocks
    heads: int = settings.number(4, 1, 1024)
    ffn_width: int = settings.number(256, 1, 262_144)
    activation: str = settings.one_of("gelu", "relu", "silu", "gelu_tanh")
    norm: str = settings.one_of("post", "pre")
    positions: str = settings.one_of("sinusoidal", "learned", "none")
    position_scale: float = settings.number(
        1.0, 0.0, 1e6
    )  # of sinusoids, against new token vectors
    embedding_norm: bool = True  # layer norm after the embeddings, as BERT has it
    causal: bool = False
    attention_window: int = settings.number(
        0, 0, 65_536
    )  # tokens seen to either side of a token; 0: all
    head: str = settings.one_of(
        "mean+max", "mean", "max", "cls", "last", "native"
    )  # native: pretrained's
    head_width: int = settings.number(0, 0, 65_536)  # a dense layer before the logits; 0: none
    dropout: float = _rate()  # in 1/256; -1: the pretrained model's, or 0.1
    attention_dropout: float = _rate()
    embedding_dropout: float = _rate()
    head_dropout: float = _rate()
    vocab_size: int = settings.number(0, 0, 10_000_000)  # 0: the tokenizer's
    initial_run: str = settings.here(
        "", path=True
    )  # workdir of an earlier run to take weights from
    initial_patterns: tuple[str, ...] = ("encoder/.*",)  # which weights are taken from it


@dataclass
class Optimizer:
    """AdamW (Loshchilov & Hutter, 2019)."""

    beta1: float = settings.number(0.9, 0.0, 0.9999999)
    beta2: float = settings.number(0.999, 0.0, 0.9999999)
    epsilon: float = settings.number(1e-8, 0.0, 1.0)
    weight_decay: float = settings.number(0.01, 0.0, 1e6)  # decoupled; none on biases and norms
    clip_norm: float = settings.number(1.0, 0.0, LARGE)  # of the global gradient; 0: no clipping
    ema: float = settings.number(0.0, 0.0, 0.9999999)  # decay of averaged weights; 0: none
    initial_loss_scale: float = settings.number(32768.0, 1.0, LARGE)  # mixed_float16 only
    loss_scale_growth_steps: int = settings.number(
        2000, 1, 10**9
    )  # finite steps before the scale doubles


@dataclass
class Phase:
    """The parameters that train, for how long, at what rate."""

    name: str = "all"
    train: tuple[str, ...] = (".*",)  # regular expressions, each matched on a whole parameter name
    steps: int = settings.number(0, 0, MANY)  # give steps or epochs
    epochs: float = settings.number(0.0, 0.0, 1e6)
    learning_rate: float = settings.number(1e-3, 0.0, LARGE)  # the peak
    warmup_steps: int = settings.number(0, 0, MANY)  # or give the share
    warmup_share: float = settings.number(0.0, 0.0, 0.99)  # of the phase's steps
    schedule: str = settings.one_of(*SCHEDULES, default="cosine")
    layer_decay: float = settings.number(
        1.0, 1e-6, 1.0
    )  # factor on the rate for each layer further down
    patience: int = settings.number(
        0, 0, 10**9
    )  # evaluations without a better one that end it; 0: never
    cache_features: bool = False  # run a frozen encoder once, not in every epoch


@dataclass
class Evaluation:
    """When validation is scored, and what is best."""

    every_steps: int = settings.number(0, 0, MANY)  # or epochs; both 0: only at the end of a phase
    every_epochs: float = settings.number(1.0, 0.0, 1e6)
    metric: str = ""  # of validation, chooses the best weights; empty: the task's own
    batch_size: int = settings.how(256, 1, 2**20)


@dataclass
class Runtime:
    """How the run is executed: only `precision` and `tf32` change what it computes."""

    precision: str = settings.one_of(*PRECISIONS)
    max_rows_per_device: int = settings.how(
        0, 0, 2**20
    )  # accumulates gradients above this; 0: never
    recompute: bool = settings.how(False)  # blocks once more in the backward pass, for less memory
    steps_per_call: int = settings.how(10, 1, 100_000)  # training steps on the device in one call
    xla: str = settings.how(
        "off", choices=XLA
    )  # compiles chains of elementwise operations, or the step
    deterministic: bool = settings.how(True)  # TensorFlow's deterministic kernels
    tf32: bool = False  # TensorFloat-32 matrix products on GPUs
    memory_growth: bool = settings.how(True)  # take GPU memory as it is needed
    gpus: tuple[int, ...] = settings.here((), 0, 1023)  # which GPUs; empty: all
    cpu_devices: int = settings.how(0, 0, 64)  # logical CPU devices instead of GPUs; 0: off
    intra_op_threads: int = settings.here(0, 0, 1024)  # 0: TensorFlow's choice
    inter_op_threads: int = settings.here(0, 0, 1024)
    communication: str = settings.how(
        "auto", choices=COMMUNICATION
    )  # of workers: auto is NCCL on GPUs
    pack_mebibytes: int = settings.how(
        0, 0, 65_536
    )  # of gradients at once; 0: 4 on CPUs, all on GPUs
    hang_seconds: int = settings.how(
        1800, 0, 10**7
    )  # without progress, then the run is ended; 0: never
    profile_steps: tuple[int, ...] = settings.how(
        (), 1, MANY
    )  # first and last to profile; empty: none


@dataclass
class Experiment:
    """Everything that defines a run, and how it is executed."""

    data: Data = field(default_factory=Data)
    tokenizer: Tokenizer = field(default_factory=Tokenizer)
    model: Model = field(default_factory=Model)
    task: Task = field(default_factory=Classification)
    optimizer: Optimizer = field(default_factory=Optimizer)
    phases: list[Phase] = field(default_factory=lambda: [Phase(epochs=3)])
    evaluation: Evaluation = field(default_factory=Evaluation)
    runtime: Runtime = field(default_factory=Runtime)
    seed: int = settings.number(0, 0, 2**31 - 1)
    global_batch_size: int = settings.number(64, 1, 2**20)
    max_steps: int = settings.how(
        0, 0, MANY
    )  # cuts the run short, schedules unchanged; 0: no limit
    log_every_steps: int = settings.how(10, 1, MANY)
    histograms_every_steps: int = settings.how(200, 0, MANY)  # 0: none
    save_every_steps: int = settings.how(200, 1, MANY)
    keep_checkpoints: int = settings.how(2, 1, 10**6)


def metric(config: Experiment) -> str:
    """The metric that chooses the best weights.

    Raises:
      UserError: the task has none of that name.
    """
    with blamed_on(class_path(config.task), "config.task"):
        names = config.task.metric_names()
    chosen = config.evaluation.metric
    if chosen and chosen not in names:
        raise UserError(
            f"config.evaluation.metric={shown(chosen)} is not one of: {', '.join(names)}"
        )
    return chosen or config.task.metric


def validate(config: Experiment) -> None:
    """Checks every field on its own and against the others.

    Raises:
      UserError: the first field that is wrong, its value, and what it may be.
    """
    stranger = isinstance(config.task, stored.StoredTask)
    for path, spec, value in _walk(config):
        if not (stranger and path.startswith("config.task.")):
            settings.check_field(path, spec, value)
    if not config.phases:
        raise UserError("config.phases is empty: give at least one trainer.config.Phase")
    if len(config.phases) > 1000:
        raise UserError(f"config.phases has {len(config.phases):,} entries: give at most 1,000")
    for path, text, _ in _paths(config):
        local(text, path)
    names = [phase.name for phase in config.phases]
    for i, phase in enumerate(config.phases):
        at = f"config.phases[{i}]"
        if bool(phase.steps) == bool(phase.epochs):
            raise UserError(
                f"{at} ({phase.name!r}) needs either steps or epochs, and not both:"
                f" steps={phase.steps}, epochs={phase.epochs}"
            )
        if phase.warmup_steps and phase.warmup_share:
            raise UserError(
                f"{at} needs warmup_steps or warmup_share, and not both:"
                f" warmup_steps={phase.warmup_steps}, warmup_share={phase.warmup_share}"
            )
        if names.count(phase.name) > 1:
            raise UserError(f"{at}.name={phase.name!r} is used twice: give each phase its own name")
        if not phase.train:
            raise UserError(f"{at}.train is empty: name at least one pattern of parameters")
        if not phase.name or printable(phase.name) != phase.name:
            raise UserError(f"{at}.name={shown(phase.name)} must be a word that can be printed")
        for pattern in phase.train:
            _check_pattern(f"{at}.train", pattern)
    for pattern in config.model.initial_patterns:
        _check_pattern("config.model.initial_patterns", pattern)
    if config.model.factory == Model.factory:
        _check_model(config.model)
    elif config.model.pretrained:
        raise UserError(
            "config.model.pretrained needs the encoder of this library: leave config.model.factory"
            f" at {Model.factory!r}"
        )
    _check_shares(config)
    profiled = config.runtime.profile_steps
    if profiled and not (len(profiled) == 2 and 1 <= profiled[0] <= profiled[1]):
        raise UserError(
            f"config.runtime.profile_steps={profiled} must be the first and the last step to"
            " profile, such as (100, 104)"
        )
    if config.evaluation.every_steps and config.evaluation.every_epochs != Evaluation.every_epochs:
        raise UserError("give config.evaluation.every_steps or every_epochs, not both")
    if not stranger:
        config.task.validate()
        check_columns(config.task)
    data = config.data
    if not data.validation and not data.validation_share:
        raise UserError(
            "config.data.validation is empty and config.data.validation_share is 0:"
            " name a validation split, or a share of train to cut one from"
        )
    if not data.train:
        raise UserError("config.data.train is empty: name the split or file")
    sets(data)


def sets(data: Data) -> dict[str, str]:
    """The split or file of each set of rows that has one of its own, by the set's name.

    Raises:
      UserError: a name of config.data.more_tests is no word, or is taken.
    """
    found = {name: getattr(data, name) for name in FILES if getattr(data, name)}
    for each in data.more_tests:
        name, _, where = each.partition("=")
        if not _SET.fullmatch(name) or not where:
            raise UserError(
                f"config.data.more_tests: {shown(each)} must be a name of small letters, = and the"
                " split or file, such as 'mismatched=validation_mismatched'"
            )
        if name in (*FILES, *found):
            raise UserError(f"config.data.more_tests: the name {name!r} is used twice")
        found[name] = where
    return found


def field_of(name: str) -> str:
    """The field of `Data` that names a set."""
    return name if name in FILES else "more_tests"


def expand_paths(config: Experiment) -> None:
    """Puts the paths that "~/x" and such stand for in their place; `config` is valid."""
    for path, text, put in list(_paths(config)):
        if text.startswith((".", "~")):
            put(str(local(text, path)))


def _paths(
    config: Experiment,
) -> typing.Iterator[tuple[str, str, typing.Callable[[str], None]]]:
    """Yields the field, the text, and what puts another there, of each path that is given."""
    files = config.data.source == "files"
    for part in dataclasses.fields(config):
        owner = getattr(config, part.name)
        for spec in dataclasses.fields(owner) if dataclasses.is_dataclass(owner) else ():
            is_path = spec.metadata.get("path") or (
                files and owner is config.data and spec.name in FILES
            )
            if is_path and getattr(owner, spec.name):
                put = functools.partial(setattr, owner, spec.name)
                yield f"config.{part.name}.{spec.name}", getattr(owner, spec.name), put
    for i, each in enumerate(config.data.more_tests if files else ()):
        name, _, where = each.partition("=")

        def put_set(text: str, i: int = i, name: str = name) -> None:
            sets = list(config.data.more_tests)
            sets[i] = f"{name}={text}"
            config.data.more_tests = tuple(sets)

        if where:
            yield "config.data.more_tests", where, put_set


def _check_model(model: Model) -> None:
    """The fields that the default factory reads, against each other."""
    if model.pretrained:
        if model.initial_run:
            raise UserError("give config.model.pretrained or config.model.initial_run, not both")
        return
    if model.head == "native":
        raise UserError(
            "config.model.head='native' is the head of a pretrained model: set"
            " config.model.pretrained, or choose another head"
        )
    if model.width % model.heads:
        raise UserError(
            f"config.model.width={model.width} is not a multiple of"
            f" config.model.heads={model.heads}"
        )
    if model.positions == "sinusoidal" and model.width % 2:
        raise UserError("config.model.width must be even for sinusoidal positions")
    if model.head == "cls" and (model.causal or model.attention_window):
        raise UserError(
            "config.model.head='cls' takes the first token's vector, which sees little or"
            " nothing of the text with config.model.causal or attention_window: pool otherwise"
        )


def _check_shares(config: Experiment) -> None:
    """Dropout and masks draw 8 random bits."""
    rates = {f"config.model.{k}": v for k, v in vars(config.model).items() if k.endswith("dropout")}
    for path, rate in rates.items():
        if 0 < rate < 1 / 512:
            raise UserError(f"{path}={rate} is too small to act: shares are in 1/256")


def without_effect(config: Experiment, workers: int = 1) -> list[str]:
    """Settings that were changed and will change nothing with so many workers, a line each."""
    model = config.model
    pretrained = "tokenizer.pretrained" if config.tokenizer.pretrained else "model.pretrained"
    half = config.runtime.precision == "mixed_float16"
    no_effect = (
        (
            "tokenizer",
            ("kind", "vocab_size", "lowercase"),
            bool(config.tokenizer.pretrained or model.pretrained),
            pretrained,
        ),
        ("model", DECIDED_BY_PRETRAINED, bool(model.pretrained), "model.pretrained"),
        ("model", ("head_width",), model.head == "native", "model.head='native'"),
        ("data", ("cut",), config.task.cuts_in_windows, "a task that cuts long rows in windows"),
        ("data", ("validation_share",), bool(config.data.validation), "data.validation"),
        (
            "data",
            ("format", "header", "quoting"),
            config.data.source == "tfds",
            "data.source='tfds'",
        ),
        ("model", ("initial_patterns",), not model.initial_run, "no model.initial_run"),
        (
            "model",
            ("position_scale",),
            not model.pretrained and model.positions != "sinusoidal",
            f"model.positions={model.positions!r}",
        ),
        (
            "optimizer",
            ("initial_loss_scale", "loss_scale_growth_steps"),
            not half,
            f"runtime.precision={config.runtime.precision!r}",
        ),
        ("runtime", ("communication", "pack_mebibytes"), workers == 1, "a single worker"),
    )
    return [
        f"config.{part}.{name} has no effect with {why}"
        for part, names, idle, why in no_effect
        for name in names
        if idle and getattr(getattr(config, part), name) not in _unset(part, name)
    ]


def _unset(part: str, name: str) -> tuple[typing.Any, ...]:
    """Values that say nothing: the default; for a share, none at all."""
    default = getattr(getattr(Experiment(), part), name)
    return (default, 0.0) if name == "validation_share" else (default,)


def _walk(
    node: typing.Any, path: str = "config"
) -> typing.Iterator[tuple[str, typing.Any, typing.Any]]:
    """Yields (path, (dataclass field, type), value) for every leaf."""
    hints = typing.get_type_hints(type(node))
    for spec in dataclasses.fields(node):
        value, at = getattr(node, spec.name), f"{path}.{spec.name}"
        if spec.name == "phases" and isinstance(node, Experiment):
            if not isinstance(value, (list, tuple)):
                raise UserError(f"{at} must be a list of trainer.config.Phase, is {shown(value)}")
            for i, phase in enumerate(value):
                if not isinstance(phase, Phase):
                    raise UserError(f"{at}[{i}] must be a trainer.config.Phase, is {shown(phase)}")
                yield from _walk(phase, f"{at}[{i}]")
        elif dataclasses.is_dataclass(hints[spec.name]):
            if not isinstance(value, hints[spec.name]):
                raise UserError(f"{at} must be a {hints[spec.name].__name__}, is {shown(value)}")
            yield from _walk(value, at)
        else:
            yield at, (spec, hints[spec.name]), value


def _leaves(config: Experiment) -> dict[str, tuple[typing.Mapping, typing.Any]]:
    """The metadata and value of every setting by its path; the class of the task is one."""
    found = {path: (spec.metadata, value) for path, (spec, _), value in _walk(config)}
    if isinstance(config.task, stored.StoredTask):
        found = {p: leaf for p, leaf in found.items() if not p.startswith("config.task.")}
        found |= {f"config.task.{name}": ({}, v) for name, v in config.task.fields.items()}
    return found | {"config.task": ({}, stored.to_dict(config.task)[stored.CLASS])}


def _check_pattern(path: str, pattern: str) -> None:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError, MemoryError) as error:
        said = f"{shown(pattern)} is not a regular expression: {error}"
        raise UserError(f"{path}: {said}") from error


def to_dict(config: Experiment) -> dict[str, typing.Any]:
    """The whole tree as plain dicts, lists, numbers and texts, for config.json."""
    return {**dataclasses.asdict(config), "task": stored.to_dict(config.task)}


def from_dict(values: dict[str, typing.Any], like: Experiment | None = None) -> Experiment:
    """The inverse of `to_dict`, from parsed JSON; `validate` checks the values.

    Args:
      values: parsed JSON.
      like: settings whose task is the caller's own; any other task of a foreign class stays a
        `StoredTask`.

    Raises:
      UserError: a field that is unknown or missing, or something else in the place of a group.
    """
    made: Experiment = _build(Experiment, values, "config")
    task: typing.Any = made.task
    if not isinstance(task, dict):
        raise UserError("config.task must be an object with the fields of a task")
    made.task = stored.from_dict(task, like.task if like else None)
    return made


def _build(kind: type, values: typing.Any, path: str) -> typing.Any:
    if not isinstance(values, dict):
        raise UserError(f"{path} must be an object with the fields of a {kind.__name__}")
    hints = typing.get_type_hints(kind)
    if unknown := sorted(values.keys() - hints.keys()):
        raise UserError(f"{path} has an unknown field: {unknown[0][:100]}")
    if missing := sorted(hints.keys() - values.keys()):
        raise UserError(f"{path}.{missing[0]} is missing")
    made = {}
    for name, value in values.items():
        hint, at = hints[name], f"{path}.{name}"
        if hint is Task:
            made[name] = value
        elif dataclasses.is_dataclass(hint):
            made[name] = _build(typing.cast(type, hint), value, at)
        elif name == "phases":
            phases = value if isinstance(value, list) else []  # none: `validate` refuses it
            made[name] = [_build(Phase, v, f"{at}[{i}]") for i, v in enumerate(phases)]
        else:
            listed = typing.get_origin(hint) is tuple and isinstance(value, list)
            made[name] = tuple(value) if listed else value
    return kind(**made)


def shared_fields(config: Experiment) -> dict[str, typing.Any]:
    """The fields that must be equal on all workers of a run, by path."""
    files = config.data.source == "files"
    here = {f"config.data.{name}" for name in (*FILES, "more_tests")} if files else set()
    return {
        path: value
        for path, (metadata, value) in _leaves(config).items()
        if not metadata.get("here") and path not in here
    }


def defining(config: Experiment) -> dict[str, bool | float | str]:
    """The settings that define a run, by path without "config.": what runs are compared by."""
    return {
        path.removeprefix("config."): ", ".join(map(str, value))
        if isinstance(value, (tuple, list))
        else value
        for path, (metadata, value) in _leaves(config).items()
        if not metadata.get("how")
    }


def differences(old: Experiment, new: Experiment) -> list[str]:
    """The fields that define a run and are not equal, as "config.seed: 0 -> 1" lines."""
    before, after = _leaves(old), _leaves(new)
    lines = []
    # A file may move: the fingerprint of its content is compared, not its path.
    moved = {f"config.data.{name}" for name in (*FILES, "more_tests")}
    paths = moved if old.data.source == new.data.source == "files" else set()
    for path in sorted((before.keys() | after.keys()) - paths):
        metadata = (before.get(path) or after[path])[0]
        values = [side[path][1] if path in side else "absent" for side in (before, after)]
        if values[0] != values[1] and not metadata.get("how"):
            lines.append(f"{path}: {values[0]!r} -> {values[1]!r}")
    return lines
