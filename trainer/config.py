"""The typed tree of settings, validated as a whole before anything is loaded.

A config file in configs/ returns an `Experiment` from `get_config()`; the command line changes
single fields (`--config.optimizer.weight_decay=0.1`, `--config.phases[0].epochs=2`). Fields that
define a run must be equal when it is resumed; `differences` lists those that are not.

Where a field may be FROM_ROWS (-1), `trainer.sizing` chooses it from the number and length of the
rows when a run begins, and says what it chose.
"""

import dataclasses
import difflib
import functools
import re
import typing
from dataclasses import dataclass, field
from pathlib import PurePath

from trainer import settings
from trainer.errors import UserError, printable, shown
from trainer.imports import blamed_on
from trainer.storage.paths import local
from trainer.tasks import metric_words, stored
from trainer.tasks.classification import Classification
from trainer.tasks.task import Task, check_columns, class_path, unnamed

# Upper bounds of counts that need no memory of their own, and of what float32 can hold.
MANY, LARGE = 10**12, 1e38
FILES = ("train", "validation", "test")  # fields of Data: paths, where its source is "files"
MIXTURE = "mixture"  # the field of further corpora
PATHS = (*FILES, "more_tests", "exclude", MIXTURE)  # all of them
FORMATS = ("csv", "tsv", "jsonl", "parquet", "columns", "text", "parallel")
FROM_ROWS = settings.FROM_ROWS  # the value of a setting that trainer.sizing is to choose
SCHEDULES = ("constant", "linear", "cosine", "inverse_sqrt")
DECIDED_BY_PRETRAINED = (
    *(
        "width",
        "depth",
        "decoder_depth",
        "decoder_table",
        "heads",
        "kv_heads",
        "ffn_width",
        "activation",
    ),
    *("gated_ffn", "biases"),
    *("norm", "norm_kind", "positions", "position_scale", "rotary_theta"),
    *("relative_buckets", "relative_distance", "attention_scale"),
    *("embedding_norm", "token_types", "causal", "attention_window", "vocab_size"),
)
_SET = re.compile(r"[a-z][a-z0-9_]{0,39}")
XLA = ("off", "chains", "step")
COMMUNICATION = ("auto", "ring", "nccl")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16", "float64")


def _rate() -> typing.Any:
    """A dropout rate; -1: the pretrained model's, or else 0.1."""
    return field(default=-1.0, metadata={"low": 0.0, "high": 0.95, "unset": -1.0})


@dataclass
class Corpus:
    """One of several corpora of sources and targets, each with files of its own."""

    name: str = ""  # of its test set, and of its metrics
    dataset: str = ""  # its subfolder of config.data.data_dir, or TFDS dataset
    train: str = "train"  # a split or file, as in Data
    validation: str = ""  # of all corpora or none
    test: str = ""
    format: str = settings.one_of("suffix", *FORMATS)  # of files
    header: bool = True  # as in Data
    source: str = ""  # its column
    target: str = ""  # its column
    prefix: str = ""  # before each source
    # Of labels as targets, each "label=text"; empty: targets are texts.
    words: tuple[str, ...] = settings.texts(1000)


@dataclass
class Data:
    """The place of the rows, and how their texts are cut; `task` says which columns it reads."""

    source: str = settings.one_of("tfds", "files")
    name: str = "imdb_reviews"  # TFDS dataset, with its config after a slash ("glue/mrpc")
    data_dir: str = settings.here("", path=True)  # of TFDS datasets (empty: TFDS's own), or files
    train: str = "train"  # a split (tfds), or a file, a folder, or a pattern of files such as *.txt
    validation: str = ""  # a split or file of its own; empty: cut from train by text hash
    validation_share: float = settings.number(0.1, 0.0, 0.9)  # of train, where validation is empty
    test: str = "test"  # empty: there is none, or a share of train
    test_share: float = settings.number(0.0, 0.0, 0.9)  # of train, where test is empty
    stratify: bool = False  # shares of each label, rather than of all rows
    more_tests: tuple[str, ...] = settings.texts(100)  # further ones, each "name=split or file"
    mixture: tuple[str, ...] = settings.texts(100)  # more of train: further splits or files
    # Of train and each of the mixture: shares of the batches; empty: each row counts once.
    weights: tuple[float, ...] = settings.numbers(1e-6, 1e6, 101)
    # Instead of weights, by the rows of each: at most `mixing_limit`, 0 for all of them, to the
    # power of 1 / mixing_temperature (Raffel et al., 2020, section 3.5.2).
    mixing_limit: int = settings.number(0, 0, MANY)
    mixing_temperature: float = settings.number(1.0, 1.0, 1e6)
    corpora: list[Corpus] = field(default_factory=list)  # instead of train, validation and test
    exclude: tuple[str, ...] = settings.texts(100)  # texts left out, each "split or file:column"
    format: str = settings.one_of("suffix", *FORMATS)  # of files
    header: bool = True  # CSV and TSV name their columns; else their names are 0, 1, …
    quoting: str = settings.one_of("suffix", "minimal", "none")  # suffix: .csv minimal, .tsv none
    documents: str = settings.one_of("lines", "paragraphs", "file")  # of plain text: one is a row
    max_length: int = settings.sized(384, 8, 65_536)  # tokens, special ones included
    cut: str = settings.one_of("head+tail", "head", "tail")  # which part of a long text is kept
    buckets: int = settings.number(8, 1, 64)  # how many fixed lengths batches are padded to


@dataclass
class Tokenizer:
    """A tokenizer trained on the training split, or a pretrained one."""

    kind: str = settings.one_of("wordpiece", "bpe", "unigram", "words", "characters")
    vocab_size: int = settings.sized(8000, 32, 1_000_000)  # tokens at most, with special ones
    lowercase: bool = True  # letters, before a text is cut into pieces
    # Of the tokens <extra_id_0>, <extra_id_1> and so on, which stand for spans that are left out.
    sentinels: int = settings.number(0, 0, 10_000)
    pretrained: str = settings.here(
        "", path=True, begins=True
    )  # hub name or folder; when set, nothing is trained


@dataclass
class Model:
    """The encoder and its head. A factory of your own reads the fields it needs."""

    pretrained: str = settings.path()  # hub name or folder; its config decides: docs/use/bert.md
    factory: str = "trainer.models.network:build"  # "package.module:function"
    width: int = settings.number(128, 1, 65_536)
    depth: int = settings.number(1, 0, 256)  # Transformer blocks
    decoder_depth: int = settings.number(0, 0, 256)  # of a task's decoder; 0: as the encoder
    decoder_table: bool = False  # a decoder has token vectors of its own, to which outputs are tied
    heads: int = settings.number(4, 1, 1024)
    kv_heads: int = settings.number(0, 0, 1024)  # of keys and values, shared by others; 0: as heads
    ffn_width: int = settings.number(256, 1, 262_144)
    activation: str = settings.one_of("gelu", "relu", "silu", "gelu_tanh")
    gated_ffn: bool = False  # the activation gates a second layer; with silu: SwiGLU
    biases: bool = True  # in attention and feed-forward layers
    norm: str = settings.one_of("post", "pre")
    norm_kind: str = settings.one_of("layer", "rms")
    positions: str = settings.one_of("sinusoidal", "learned", "rotary", "relative", "none")
    position_scale: float = settings.number(
        1.0, 0.0, 1e6
    )  # of sinusoids, against new token vectors
    token_types: int = settings.number(0, 0, 2)  # segment vectors; 0: 2 for pairs, else none
    rotary_theta: float = settings.number(
        10_000.0, 2.0, 1e9
    )  # of rotary positions: the slowest pair turns once in some 2 pi x so many tokens
    relative_buckets: int = settings.number(32, 4, 4096)  # of relative positions: of distances
    relative_distance: int = settings.number(128, 3, 65_536)  # from here on there is one bucket
    attention_scale: bool = True  # divides scores by the root of a head's width; not in T5
    embedding_norm: bool = True  # layer norm after the embeddings, as BERT has it
    causal: bool = False  # a token sees itself and those before it only
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
    # Workdir of an earlier run, whose tokenizer and weights are taken.
    initial_run: str = settings.here("", path=True, begins=True)
    initial_patterns: tuple[str, ...] = ("encoder/.*",)  # which weights are taken from it


@dataclass
class Optimizer:
    """AdamW (Loshchilov & Hutter, 2019)."""

    beta1: float = settings.number(0.9, 0.0, 0.9999999)
    beta2: float = settings.number(0.999, 0.0, 0.9999999)
    epsilon: float = settings.number(1e-8, 0.0, 1.0)
    weight_decay: float = settings.number(0.01, 0.0, 1e6)  # decoupled; none on biases and norms
    clip_norm: float = settings.number(1.0, 0.0, LARGE)  # of the global gradient; 0: no clipping
    ema: float = settings.sized(0.0, 0.0, 0.9999999)  # decay of averaged weights; 0: none
    initial_loss_scale: float = settings.number(32768.0, 1.0, LARGE)  # mixed_float16 only
    loss_scale_growth_steps: int = settings.number(
        2000, 1, 10**9
    )  # finite steps before the scale doubles


@dataclass
class Phase:
    """The parameters that train, for how long, at what rate."""

    name: str = "all"  # in logs and charts
    train: tuple[str, ...] = (".*",)  # regular expressions, each matched on a whole parameter name
    steps: int = settings.number(0, 0, MANY)  # give steps or epochs
    epochs: float = settings.sized(0.0, 0.0, 1e6)
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
    every_epochs: float = settings.sized(1.0, 0.0, 1e6)
    metric: str = ""  # of validation, chooses the best weights; empty: the task's own
    batch_size: int = settings.how(256, 1, 2**20)


@dataclass
class Runtime:
    """Settings of execution: only `precision` and `tf32` change what is computed."""

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
    inter_op_threads: int = settings.here(0, 0, 1024)  # 0: TensorFlow's choice
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
    seed: int = settings.number(0, 0, 2**31 - 1)  # of weights, order, dropout and masks
    global_batch_size: int = settings.sized(64, 1, 2**20)  # rows of a step, on all devices
    max_steps: int = settings.how(
        0, 0, MANY
    )  # cuts the run short, schedules unchanged; 0: no limit
    log_every_steps: int = settings.how(10, 1, MANY)  # to the console and TensorBoard
    histograms_every_steps: int = settings.how(200, 0, MANY)  # 0: none
    save_every_steps: int = settings.how(200, 1, MANY)  # a checkpoint
    keep_checkpoints: int = settings.how(2, 1, 10**6)  # the newest ones


def metric(config: Experiment, task: Task | None = None) -> str:
    """The metric that chooses the best weights.

    Args:
      config: the settings.
      task: bound to what it learned of the data; None: nothing is known of them yet.

    Raises:
      UserError: the task has none of that name.
    """
    task = task or config.task
    with blamed_on(class_path(task), "config.task"):
        names = task.metric_names()
    chosen = config.evaluation.metric
    if chosen and chosen not in names:
        hint = metric_words.of_metric(chosen, names)
        raise UserError(
            f"config.evaluation.metric={shown(chosen)} is not one of: {', '.join(names)}"
            + (f": {hint}" if hint else "")
        )
    return chosen or task.metric


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
    not_given = (Evaluation.every_epochs, FROM_ROWS, 0)
    if config.evaluation.every_steps and config.evaluation.every_epochs not in not_given:
        raise UserError("give config.evaluation.every_steps or every_epochs, not both")
    data = config.data
    if not stranger:
        config.task.validate()
        missing = unnamed(config.task) if data.source == "tfds" else []
        if missing:
            raise UserError(f"{missing[0].field} is empty: name the feature of TFDS")
        check_columns(config.task)
    if not validates(data):
        _check_without_validation(config)
    if data.test and data.test_share:
        raise UserError(
            f"config.data.test={shown(data.test)} and config.data.test_share={data.test_share}: a"
            " test set of its own or a share of train: set config.data.test_share=0, or test=''"
        )
    if data.test_share + (0 if own(data, "validation") else data.validation_share) > 0.95:
        raise UserError(
            "config.data.validation_share and test_share leave too little of train: make them"
            " smaller"
        )
    if not data.train:
        raise UserError("config.data.train is empty: name the split or file, --config.data.train=…")
    _check_corpora(config)
    sets(data)
    excluded(data)
    if not all(data.mixture):
        raise UserError("config.data.mixture holds an empty name: name splits or files")
    corpora = len(corpus_names(data))
    if data.weights and not len(data.weights) == corpora > 1:
        raise UserError(
            f"config.data.weights has {len(data.weights)} numbers: give one for train and one for"
            f" each of config.data.mixture, which has {len(data.mixture)}"
            if not data.corpora
            else f"config.data.weights has {len(data.weights)} numbers: give {corpora}, one for"
            " each of config.data.corpora"
        )
    if (data.mixing_limit or data.mixing_temperature != 1) and (data.weights or corpora < 2):
        why = "config.data.weights say the shares" if data.weights else "there is a single corpus"
        raise UserError(
            f"config.data.mixing_limit={data.mixing_limit} and mixing_temperature="
            f"{data.mixing_temperature} have no effect, as {why}: leave them at 0 and 1"
        )


def sets(data: Data) -> dict[str, str]:
    """The split or file of each set of rows that has one of its own, by the set's name.

    Raises:
      UserError: a name of config.data.more_tests is no word, or is taken.
    """
    found = {name: getattr(data, name) for name in FILES if getattr(data, name)}
    if data.corpora:
        named = (name for name in ("train", "validation") if own(data, name))
        found = {name: own(data, name) for name in named}
        found |= {each.name: each.test for each in data.corpora if each.test}
    for each in data.more_tests:
        name, _, where = each.partition("=")
        if not _SET.fullmatch(name) or not where:
            raise UserError(
                f"config.data.more_tests: {shown(each)} must be a name of small letters, = and the"
                " split or file, such as 'mismatched=validation_mismatched'"
            )
        if name in (*FILES, "exclude", *found):
            raise UserError(f"config.data.more_tests: the name {name!r} is used twice")
        found[name] = where
    return found


def excluded(data: Data) -> list[tuple[str, str]]:
    """The splits or files whose texts are left out of train, each with its column of text.

    Raises:
      UserError: an entry of config.data.exclude has no such form.
    """
    found = []
    for each in data.exclude:
        where, _, name = each.rpartition(":")
        if not where or not name or "]" in name:
            raise UserError(
                f"config.data.exclude: {shown(each)} must be a split or file, a colon and its"
                " column of text, such as 'test:text' or 'test.csv:text'"
            )
        found.append((where, name))
    return found


def own(data: Data, name: str) -> str:
    """The split or file of train, validation or test, or those of all corpora; "": it has none."""
    if not data.corpora or name == "test":
        return getattr(data, name)
    return " and ".join(getattr(each, name) for each in data.corpora if getattr(each, name))


def corpus_names(data: Data) -> list[str]:
    """The name of each corpus of train, or the split or file where it has no name."""
    return [each.name for each in data.corpora] or [data.train, *data.mixture]


def validates(data: Data) -> bool:
    """True if there is a validation set, by which weights are chosen."""
    return bool(own(data, "validation") or data.validation_share)


def cut_from_train(data: Data) -> dict[str, float]:
    """The sets that are cut from train, with their shares of it."""
    shares = {"validation": data.validation_share, "test": data.test_share}
    return {name: share for name, share in shares.items() if share and not own(data, name)}


def set_names(data: Data) -> list[str]:
    """The names of all sets of rows: train first, and then validation, where there is one."""
    first = ["train", "validation"] if validates(data) else ["train"]
    return list(dict.fromkeys([*first, *cut_from_train(data), *sets(data)]))


def field_of(name: str) -> str:
    """The field of `Data` that names a set."""
    if name.startswith("corpora["):
        return name
    known = name if name in (*FILES, "exclude") else "more_tests"
    return MIXTURE if name.startswith(f"{MIXTURE} ") else known


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
    for path, corpus, name in _corpus_files(config.data) if files else ():
        yield path, getattr(corpus, name), functools.partial(setattr, corpus, name)
    for i, each in enumerate(config.data.more_tests if files else ()):
        name, _, where = each.partition("=")
        if where:
            put = functools.partial(_put_part, config.data, "more_tests", i, f"{name}=", "")
            yield "config.data.more_tests", where, put
    for i, where in enumerate(config.data.mixture if files else ()):
        if where:
            put = functools.partial(_put_part, config.data, MIXTURE, i, "", "")
            yield "config.data.mixture", where, put
    for i, each in enumerate(config.data.exclude if files else ()):
        where, _, name = each.rpartition(":")
        if where:
            put = functools.partial(_put_part, config.data, "exclude", i, "", f":{name}")
            yield "config.data.exclude", where, put


def _corpus_files(data: Data) -> list[tuple[str, Corpus, str]]:
    """The field, the corpus, and its own field, of each file of a corpus."""
    return [
        (f"config.data.corpora[{i}].{name}", corpus, name)
        for i, corpus in enumerate(data.corpora)
        for name in FILES
        if getattr(corpus, name)
    ]


def _put_part(data: Data, field_: str, i: int, before: str, after: str, text: str) -> None:
    """Puts another path between the parts of an entry of a field of `Data`."""
    entries = list(getattr(data, field_))
    entries[i] = f"{before}{text}{after}"
    setattr(data, field_, tuple(entries))


def _check_corpora(config: Experiment) -> None:
    """Corpora with files of their own, against each other and the fields that they stand for."""
    data = config.data
    if not data.corpora:
        return
    names = [each.name for each in data.corpora]
    for i, each in enumerate(data.corpora):
        at = f"config.data.corpora[{i}]"
        if not _SET.fullmatch(each.name) or each.name in FILES or names.count(each.name) > 1:
            said = "must be a word of small letters, another one for each corpus"
            raise UserError(f"{at}.name={shown(each.name)} {said}, and not train or the like")
        for name in ("train", "source", "target"):
            if not getattr(each, name):
                raise UserError(f"{at}.{name} is empty: name it")
        texts_of(each, at)
        if bool(each.validation) != bool(data.corpora[0].validation):
            raise UserError(
                f"{at}.validation={shown(each.validation)}: give one to each corpus, such as"
                " 'train.tsv[95%:]', or to none"
            )
    for name in ("validation", "test", "test_share", MIXTURE, "exclude", "stratify"):
        if getattr(data, name):
            raise UserError(
                f"config.data.{name}={shown(getattr(data, name))} is not for config.data.corpora,"
                " which have files of their own: leave it out"
            )
    if not isinstance(config.task, stored.StoredTask):
        keys = {column.key for column in config.task.columns()}
        if not {"source", "target"} <= keys:
            raise UserError(
                f"config.data.corpora hold sources and targets, which"
                f" config.task={class_path(config.task)!r} does not read"
            )


def texts_of(corpus: Corpus, at: str) -> dict[str, str]:
    """The text of each label of a corpus; empty where its targets are texts.

    Args:
      corpus: the settings.
      at: their path, for a message.

    Raises:
      UserError: an entry has no such form, or a label or text is there twice.
    """
    pairs = [each.partition("=") for each in corpus.words]
    found = {label: text for label, _, text in pairs if label and text.strip()}
    if len(found) < len(pairs) or len(set(found.values())) < len(pairs):
        raise UserError(
            f"{at}.words={shown(corpus.words)}: give each label once, with a text of its own, such"
            " as '1=positive'"
        )
    return found


def _check_without_validation(config: Experiment) -> None:
    """Refuses settings by which validation would decide something."""
    why = "there is no validation: name config.data.validation, or config.data.validation_share"
    for i, phase in enumerate(config.phases):
        if phase.patience:
            raise UserError(f"config.phases[{i}].patience={phase.patience}, and {why}")
    if config.evaluation.metric:
        raise UserError(f"config.evaluation.metric={shown(config.evaluation.metric)}, and {why}")


def _check_model(model: Model) -> None:
    """The fields that the default factory reads, against each other."""
    if model.pretrained:
        if model.initial_run:
            raise UserError("give config.model.pretrained or config.model.initial_run, not both")
        return
    if model.head == "native" and not model.initial_run:
        raise UserError(
            "config.model.head='native' is the head of a pretrained model: set"
            " config.model.pretrained, or choose another head"
        )
    if model.width % model.heads:
        raise UserError(
            f"config.model.width={model.width} is not a multiple of"
            f" config.model.heads={model.heads}"
        )
    if model.kv_heads and model.heads % model.kv_heads:
        raise UserError(
            f"config.model.kv_heads={model.kv_heads} does not divide config.model.heads="
            f"{model.heads}: choose a divisor, or 0"
        )
    if model.positions == "sinusoidal" and model.width % 2:
        raise UserError("config.model.width must be even for sinusoidal positions")
    if model.positions == "rotary" and model.width // model.heads % 2:
        raise UserError(
            f"config.model.positions='rotary' turns pairs of numbers: heads of width"
            f" {model.width // model.heads} (config.model.width / heads) must be even"
        )
    if model.positions == "relative":
        if model.relative_buckets % 2:
            raise UserError(
                f"config.model.relative_buckets={model.relative_buckets} must be even: half of"
                " them are for short distances"
            )
        if model.relative_distance <= model.relative_buckets // 2:
            raise UserError(
                f"config.model.relative_distance={model.relative_distance} must be more than half"
                f" of config.model.relative_buckets={model.relative_buckets}, which are for"
                " shorter distances, one each"
            )
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
    return [
        f"config.{part}.{name} has no effect with {why}"
        for (part, name), why in idle(config, workers).items()
        if getattr(getattr(config, part), name) not in _unset(part, name)
    ]


def idle(config: Experiment, workers: int = 1) -> dict[tuple[str, str], str]:
    """The settings that change nothing beside others: why, by their group and name."""
    model = config.model
    pretrained = "model.pretrained" if model.pretrained else "model.initial_run"
    pretrained = "tokenizer.pretrained" if config.tokenizer.pretrained else pretrained
    half = config.runtime.precision == "mixed_float16"
    no_effect = (
        (
            "tokenizer",
            ("kind", "vocab_size", "lowercase", "sentinels"),
            bool(config.tokenizer.pretrained or model.pretrained or model.initial_run),
            pretrained,
        ),
        ("model", DECIDED_BY_PRETRAINED, bool(model.pretrained), "model.pretrained"),
        ("model", ("head_width",), model.head == "native", "model.head='native'"),
        (
            "model",
            ("head", "head_width"),
            model.head != "native" and (config.task.own_head or config.task.kind == "tokens"),
            "a task that has an output for each token, or a head of its own",
        ),
        ("data", ("cut",), config.task.cuts_in_windows, "a task that cuts long rows in windows"),
        (
            "data",
            ("validation_share",),
            bool(own(config.data, "validation")),
            "data.validation",
        ),
        (
            "evaluation",
            ("every_steps", "every_epochs"),
            not validates(config.data),
            "data.validation_share=0 and no data.validation",
        ),
        (
            "data",
            ("format", "header", "quoting", "documents"),
            config.data.source == "tfds",
            "data.source='tfds'",
        ),
        ("data", ("train",), bool(config.data.corpora), "data.corpora"),
        ("model", ("initial_patterns",), not model.initial_run, "no model.initial_run"),
        (
            "model",
            ("position_scale",),
            not model.pretrained and model.positions != "sinusoidal",
            f"model.positions={model.positions!r}",
        ),
        (
            "model",
            ("rotary_theta",),
            not model.pretrained and model.positions != "rotary",
            f"model.positions={model.positions!r}",
        ),
        (
            "model",
            ("relative_buckets", "relative_distance"),
            not model.pretrained and model.positions != "relative",
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
    return {(part, name): why for part, names, holds, why in no_effect if holds for name in names}


def _unset(part: str, name: str) -> tuple[typing.Any, ...]:
    """Values that say nothing: the default, what is left to the rows; for a share, none at all."""
    default = getattr(getattr(Experiment(), part), name)
    return (default, FROM_ROWS, 0.0) if name == "validation_share" else (default, FROM_ROWS)


def _walk(
    node: typing.Any, path: str = "config"
) -> typing.Iterator[tuple[str, typing.Any, typing.Any]]:
    """Yields (path, (dataclass field, type), value) for every leaf."""
    hints = settings.types_of(type(node))
    _check_names(node, path)
    for spec in dataclasses.fields(node):
        value, at = getattr(node, spec.name), f"{path}.{spec.name}"
        if kind := _kind_of_list(hints[spec.name]):
            said = f"trainer.config.{kind.__name__}"
            if not isinstance(value, (list, tuple)):
                raise UserError(f"{at} must be a list of {said}, is {shown(value)}")
            for i, each in enumerate(value):
                if not isinstance(each, kind):
                    raise UserError(f"{at}[{i}] must be a {said}, is {shown(each)}")
                yield from _walk(each, f"{at}[{i}]")
        elif dataclasses.is_dataclass(hints[spec.name]):
            if not isinstance(value, hints[spec.name]):
                raise UserError(f"{at} must be a {hints[spec.name].__name__}, is {shown(value)}")
            yield from _walk(value, at)
        else:
            yield at, (spec, hints[spec.name]), value


def _kind_of_list(hint: typing.Any) -> type | None:
    """The class of the groups of settings in a list of them; None: it is no such list."""
    return next((kind for kind in (Phase, Corpus) if hint == list[kind]), None)  # type: ignore


def _check_names(node: typing.Any, path: str) -> None:
    """Refuses what was assigned to a name that is no field; a class of the user's may do so."""
    if type(node).__module__.partition(".")[0] != __name__.partition(".")[0]:
        return
    known = [spec.name for spec in dataclasses.fields(node)]
    for name in vars(node):
        if name in known or name.startswith("_") or hasattr(type(node), name):
            continue
        near = difflib.get_close_matches(name, known, n=1)
        hint = f": is it {near[0]}?" if near else f"; its fields: {', '.join(known)}"
        raise UserError(f"{path} has no field {shown(name)}{hint}")


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


def sized_fields(config: Experiment) -> list[tuple[str, typing.Any, str]]:
    """The path, owner and name of each field that may be FROM_ROWS."""
    owners: list[tuple[str, typing.Any]] = [("config", config)]
    parts = ((part.name, getattr(config, part.name)) for part in dataclasses.fields(config))
    owners += [(f"config.{name}", part) for name, part in parts if dataclasses.is_dataclass(part)]
    owners += [(f"config.phases[{i}]", phase) for i, phase in enumerate(config.phases)]
    return [
        (f"{path}.{spec.name}", owner, spec.name)
        for path, owner in owners
        for spec in dataclasses.fields(owner)
        if spec.metadata.get("sized")
    ]


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


def _build(group: type, values: typing.Any, path: str) -> typing.Any:
    if not isinstance(values, dict):
        raise UserError(f"{path} must be an object with the fields of a {group.__name__}")
    hints = settings.types_of(group)
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
        elif kind := _kind_of_list(hint):
            if not isinstance(value, list):
                raise UserError(f"{at} must be a list")
            made[name] = [_build(kind, v, f"{at}[{i}]") for i, v in enumerate(value)]
        else:
            listed = typing.get_origin(hint) is tuple and isinstance(value, list)
            made[name] = tuple(value) if listed else value
    return group(**made)


def shared_fields(config: Experiment) -> dict[str, typing.Any]:
    """The fields that must be equal on all workers of a run, by path."""
    files = config.data.source == "files"
    here = _moving(config.data) if files else set()
    return {
        path: value
        for path, (metadata, value) in _leaves(config).items()
        if not metadata.get("here") and path not in here
    }


def _moving(data: Data) -> set[str]:
    """Paths of the fields that name files."""
    of_corpora = {path for path, _, _ in _corpus_files(data)}
    return {f"config.data.{name}" for name in PATHS} | of_corpora


def defining(config: Experiment) -> dict[str, bool | float | str]:
    """The settings that tell runs apart, by path without "config.", those it begins with too."""
    return {
        path.removeprefix("config."): ", ".join(map(str, value))
        if isinstance(value, (tuple, list))
        else value
        for path, (metadata, value) in _leaves(config).items()
        if not metadata.get("how") or metadata.get("begins")
    }


def differences(old: Experiment, new: Experiment) -> list[str]:
    """The fields that define a run and are not equal, as "config.seed: 0 -> 1" lines."""
    before, after = _leaves(old), _leaves(new)
    lines = []
    # A file may move: the fingerprint of its content is compared, not its path.
    moved = _moving(old.data) | _moving(new.data)
    paths = moved if old.data.source == new.data.source == "files" else set()
    for path in sorted((before.keys() | after.keys()) - paths):
        metadata = (before.get(path) or after[path])[0]
        values = [side[path][1] if path in side else "absent" for side in (before, after)]
        if values[0] != values[1] and not metadata.get("how"):
            lines.append(f"{path}: {values[0]!r} -> {values[1]!r}")
    # So may the run that a run began with; but it keeps its name.
    began = [side.model.initial_run for side in (old, new)]
    if PurePath(began[0]).name != PurePath(began[1]).name:
        lines.append(f"config.model.initial_run: {began[0]!r} -> {began[1]!r}")
    return lines
