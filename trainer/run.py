"""The parts of a run: data, tokenizer, batches, model. Loaded and checked before it starts."""

import contextlib
import copy
import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from trainer import config as config_lib
from trainer import sizing
from trainer.batch import INPUTS
from trainer.data.cache import TokenSplit, load_or_build
from trainer.data.encode import lengths_of, plain_backend
from trainer.data.mixture import MixedPlan, corpora, rates
from trainer.data.pipeline import evaluation_dataset, train_dataset
from trainer.data.plan import (
    Buckets,
    Length,
    Plan,
    TrainPlan,
    as_buckets,
    buckets_for,
    by_axis,
    evaluation_batches,
    with_longer,
)
from trainer.data.progress import Progress
from trainer.data.sources import open_source, readable
from trainer.data.subwords import Subwords
from trainer.data.survey import survey
from trainer.data.tokenizers import Corpus, load_tokenizer, make_tokenizer, vocabulary_size
from trainer.errors import UserError
from trainer.evaluation.evaluator import Evaluator
from trainer.features import FeatureExtractor
from trainer.models import families, size
from trainer.models.parameters import build_model, named_constants, named_parameters
from trainer.models.pretrained import Pretrained, open_pretrained
from trainer.phases import match
from trainer.runtime import devices
from trainer.runtime.workers import Workers
from trainer.storage.checkpoint import Store
from trainer.storage.workdir import Workdir
from trainer.tasks.stored import check_class
from trainer.tasks.task import Scores, Task, class_path, unnamed

SHORTER = "start another --workdir with a smaller config.data.max_length"
# What an encoder computes, besides the shapes of its weights.
ENCODER_FIELDS = (
    *("factory", "heads", "kv_heads", "activation", "gated_ffn", "biases", "norm", "norm_kind"),
    *("positions", "position_scale", "rotary_theta", "relative_buckets", "relative_distance"),
    *("attention_scale", "embedding_norm", "causal", "attention_window"),
)
# What its shapes follow from, the tokenizer besides.
_SHAPES = ("width", "depth", "decoder_depth", "ffn_width")


class Run:
    """Data, tokenizer and model of a run, under a strategy.

    Args:
      config: the settings, validated.
      workdir: where the run lives; its tokenizer is used where it has one.
      cache_dir: folder of token caches, shared by all runs.
      strategy: from `trainer.runtime.devices.start`.
      progress: shows what takes long.
      say: told what a person should know.
      workers: all workers of the run, who have met; None: this process is alone.
      weights: a checkpoint that the model must fit, if it is a stranger's: before it is built.

    Raises:
      UserError: whatever of it cannot be had, or is not the same on all workers.
    """

    def __init__(
        self,
        config: config_lib.Experiment,
        workdir: Workdir,
        cache_dir: Path,
        strategy: tf.distribute.Strategy,
        progress: Progress,
        say: Callable[[str], None],
        workers: Workers | None = None,
        weights: tuple[Store, int] | None = None,
    ):
        self.workdir, self.strategy = workdir, strategy
        self.workers = workers or Workers()
        self._cache_dir, self._progress = cache_dir, progress
        check_class(config.task)
        config_lib.metric(config)  # before the data are read
        fresh = not (workdir.checkpoints.steps() or workdir.best.steps())
        name = config.model.pretrained
        pretrained = open_pretrained(name) if name and fresh else None
        initial = Workdir(Path(config.model.initial_run)) if config.model.initial_run else None
        # The config.json of a pretrained model, as Hugging Face's libraries know it.
        self.pretrained: dict[str, Any] | None = None
        self.pretrained_sha256: dict[str, str] | None = None
        if pretrained:
            self.pretrained, self.pretrained_sha256 = pretrained.config, pretrained.sha256()
        elif before_this := workdir if workdir.started else initial:
            _, derived = before_this.read()
            self.pretrained = derived["pretrained"]
            self.pretrained_sha256 = derived["pretrained_sha256"]
        if config.model.head == "native" and not self.pretrained:
            raise UserError(
                f"config.model.initial_run={config.model.initial_run!r} began with no pretrained"
                " model, whose head config.model.head='native' is: choose another head"
            )
        before = workdir.read(config)[1]["facts"] if workdir.started else None
        self._links = contextlib.ExitStack()  # goes with this run
        self.source = open_source(readable(config.data, self._links), config.task, before)
        given = dataclasses.replace(config, task=self.source.task)
        if wanted := unnamed(config.task):
            said = [f"{c.field}={getattr(given.task, c.key)!r}" for c in wanted]
            say(f"Columns found: {', '.join(said)}")
        known = copy.copy(given.task)
        vars(known).update(facts=self.source.facts)
        config_lib.metric(given, known)  # before a tokenizer is trained for it
        del config  # which may leave settings to the rows
        self.config, found = given, None
        if sizing.unsized(given):
            found = survey(self.source.rows("train"), given.task)
            self.config = sizing.by_rows(given, found.rows)
        self.rows_and_parts()
        self.tokenizer = self._make_tokenizer(pretrained, initial, say)
        self.task = self.config.task.bound(self.source.facts, self.tokenizer)
        self.metric = config_lib.metric(self.config, self.task)
        self._splits: dict[str, TokenSplit] = {}
        architecture = (
            families.architecture(
                self.pretrained,
                given.model,
                f"pretrained model {name or given.model.initial_run!r}",
                self.task.kind,
                self.task.longest_target,
            )
            if self.pretrained
            else None
        )
        if found:
            most = architecture.max_length if architecture else None
            sample, written = found.sample, None
            if self.task.longest_target:  # a row is a source and its target
                written = lengths_of([texts[1:] for texts in sample], self.tokenizer)
                sample = [texts[:1] for texts in sample]
            lengths = lengths_of(sample, self.tokenizer)
            self.config = sizing.by_lengths(self.config, lengths, most, written)
            self.task = self.config.task.bound(self.source.facts, self.tokenizer)
            say(sizing.chosen(given, self.config, found.rows))
        config = self.config
        tokens = vocabulary_size(self.tokenizer)
        _check_direction(self.task, architecture.causal if architecture else config.model.causal)
        if pretrained:
            self._check_start(pretrained)
        if architecture and config.tokenizer.pretrained and tokens < architecture.vocab_size:
            say(
                f"Note: the tokenizer has {tokens} tokens, the pretrained model knows"
                f" {architecture.vocab_size}: is it the model's own?"
            )
        sizes = config, tokens, self.task.outputs, architecture, self.task.kind
        if weights:
            size.check_stored(size.shapes(*sizes), *weights, str(workdir.config_file))
        size.check(*sizes, trains=not weights)
        # Before TensorFlow's first message from worker to worker, which none could answer.
        self.workers.compare(self._notes(), "give every worker the same files")
        with strategy.scope():
            self.model = build_model(*sizes, make_head=self.task.head)
            self.parameters = named_parameters(self.model)
            self.constants = named_constants(self.model)
        if pretrained:
            native = config.model.head == "native" or self.task.own_head
            names, kind = self.task.output_names, self.task.native_kind
            pretrained.load(self.parameters, native, say, names, kind)
        if initial and fresh:
            self._take_weights(initial, say)
        self._fuses = config.runtime.xla == "chains"
        self.evaluator = Evaluator(strategy, self.model, self.task, config.seed, self._fuses)

    def _make_tokenizer(
        self, pretrained: Pretrained | None, initial: Workdir | None, say: Callable[[str], None]
    ) -> Subwords:
        settings = self.config.tokenizer
        if self.workdir.started:
            return self.workdir.load_tokenizer()
        if initial and not settings.pretrained:
            return initial.load_tokenizer()
        if pretrained and not settings.pretrained:
            try:
                return load_tokenizer(pretrained.folder, say)
            except UserError as error:
                raise UserError(f"{error}; or name one: --config.tokenizer.pretrained=") from error
        texts = Corpus(self.source.fingerprint("train"), self._texts)
        return make_tokenizer(settings, texts, self._cache_dir, self._progress, say)

    def _check_start(self, pretrained: Pretrained) -> None:
        """Refuses a decoder that begins with another token than it learned to begin with."""
        start, ours = pretrained.start_id, getattr(self.task, "start_id", None)
        if start is None or ours is None or start == ours:
            return
        token, other = self.tokenizer.convert_ids_to_tokens([start, ours])
        raise UserError(
            f"the decoder of pretrained model {pretrained.name!r} begins with token {start}, not"
            f" with {other!r}: "
            + (
                f"set config.task.start_token={token!r}"
                if token
                else "use the tokenizer that belongs to it"
            )
        )

    def _texts(self) -> Iterator[str]:
        """All texts of train, as a tokenizer is trained on them."""
        for row in self.source.rows("train"):
            yield from self.config.task.texts(row)

    def split(self, name: str) -> TokenSplit:
        """The tokens of a set."""
        if name not in self._splits:
            self._splits[name] = load_or_build(
                self.source,
                name,
                self.task,
                tokenizer=self.tokenizer,
                data=self.config.data,
                cache_dir=self._cache_dir,
                progress=self._progress,
            )
        return self._splits[name]

    def texts(self, name: str, rows: np.ndarray) -> list[str]:
        """The texts of the rows `rows` of a split, int [N], as the model is given them."""
        return [self.tokenizer.text_of(ids) for ids in self._ids(name, rows)]

    def tokens(self, name: str, rows: np.ndarray) -> list[list[str]]:
        """The tokens of the rows `rows` of a split, int [N], special ones included."""
        return [self.tokenizer.convert_ids_to_tokens(ids) for ids in self._ids(name, rows)]

    def _ids(self, name: str, rows: np.ndarray) -> list[np.ndarray]:
        if not len(rows):
            return []
        split = self.split(name)
        lengths = split.lengths[rows]
        batch = split.gather(tf.constant(rows, tf.int64), split.longest(rows))
        return [ids[:n] for ids, n in zip(batch[INPUTS[0]].numpy(), lengths, strict=True)]

    def restore(self, store: Store, step: int) -> None:
        """Reads the model's weights from a checkpoint."""
        store.restore_weights(step, self.model_variables())

    def _take_weights(self, other: Workdir, say: Callable[[str], None]) -> None:
        """Starts the parameters that `model.initial_patterns` match from an earlier run's best.

        Raises:
          UserError: a pattern matches nothing, or a parameter is missing or misshapen there.
        """
        names = match(
            self.config.model.initial_patterns,
            list(self.parameters),
            "config.model.initial_patterns",
        )
        config, derived = other.read()
        where = f"config.model.initial_run={str(other.path)!r}"
        if derived["tokenizer"] != self.derived()["tokenizer"]:
            raise UserError(
                f"{where} has another tokenizer, so its weights mean other tokens: leave"
                " config.tokenizer.pretrained out"
            )
        # All of a pretrained encoder is known, and settings of one from scratch are left alone.
        theirs = vars(config_lib.Model() if self.pretrained else config.model)
        ours = vars(self.config.model)
        store, step = other.best_weights()
        shapes = store.shapes(step)
        fits = all(shapes.get(f"model/{n}") == tuple(self.parameters[n].shape) for n in names)
        asked: list[str] = [*(() if fits else _SHAPES), *ENCODER_FIELDS]
        if self.pretrained:
            asked = [*config_lib.DECIDED_BY_PRETRAINED]
        different = [
            f"{name}={theirs[name]!r}, here {ours[name]!r}"
            for name in asked
            if theirs[name] != ours[name]
        ]
        if different:
            raise UserError(f"{where} has another encoder ({'; '.join(different)}): set the same")
        types = "encoder/embeddings/types/embeddings"
        if f"model/{types}" in shapes and types not in self.parameters:
            raise UserError(
                f"{where} has an encoder with token types: set config.model.token_types=2"
            )
        store.restore_weights(step, {f"model/{name}": self.parameters[name] for name in names})
        fresh = [name for name in self.parameters if name not in names]
        say(
            f"{len(names)} parameters start from {store.path(step)}; {len(fresh)} start afresh:"
            f" {', '.join(fresh) or 'none'}"
        )

    def model_variables(self) -> dict[str, tf.Variable]:
        """All the model's variables, under the names that checkpoints give them."""
        weights = {f"model/{name}": v for name, v in self.parameters.items()}
        return weights | {f"constant/{name}": v for name, v in self.constants.items()}

    def derived(self) -> dict[str, Any]:
        """Facts that must be equal on a resume besides the settings."""
        roles = json.dumps(self.tokenizer.special_tokens_map, sort_keys=True)
        tokenizer = plain_backend(self.tokenizer).to_str() + roles
        return {
            "pretrained": self.pretrained,
            "pretrained_sha256": self.pretrained_sha256,
            "facts": self.source.facts,
            "tokenizer": hashlib.sha256(tokenizer.encode()).hexdigest(),
            "data_fingerprint": {name: self.source.fingerprint(name) for name in self.source.names},
        }

    def _notes(self) -> dict[str, Any]:
        """Facts that must be equal on all workers, by their names in a message."""
        derived = self.derived()
        fingerprints = derived.pop("data_fingerprint").items()
        notes = {f"{name} data": fingerprint for name, fingerprint in fingerprints}
        return {**notes, **derived, "run begun in the workdir": self.workdir.started}

    def describe(self, plan: Plan) -> str:
        """The data in a few lines: sizes, cuts, padding, and what the task says of it.

        Raises:
          UserError: what is scored could not be learned.
        """
        data = self.config.data
        splits = {name: self.split(name) for name in self.source.names}
        lines = []
        for name, split in splits.items():
            cut = f"examples, {split.cut_count:,} cut to {data.max_length} tokens ({data.cut})"
            if self.task.cuts_in_windows:
                cut = f"windows of at most {data.max_length} tokens"
            left = f"; texts of too few tokens for one: {split.rowless_count:,}"
            empty = f"{split.empty_count:,} with an empty text{left if split.rowless_count else ''}"
            lines.append(f"{name}: {len(split):,} {cut}, {empty}")
        lines.append(
            f"{plan.steps_per_epoch:,} batches of {self.config.global_batch_size} an epoch, padded"
            f" to {_listed(plan.buckets)} tokens: {plan.padding:.1%} padding"
        )
        lines += plan.about()
        golds = {name: split.gold for name, split in splits.items()}
        said, told = self.task.about(golds, self.source.cut, fresh=not self.workdir.started)
        lines += said
        remarks = {name: split.remarks for name, split in splits.items() if split.remarks}
        for name in self.source.cut:  # rows of the same file
            remarks.pop(name, None)
        notes = [f"{name}: {remark}" for name, remark in remarks.items()]
        notes += told
        if "validation" not in self.scored:
            notes.append("there is no validation: the weights of the last step are kept")
        return "\n".join([*lines, *(f"Note: {note}" for note in notes)])

    def plan(self) -> Plan:
        """The batches of training."""
        split = self.split("train")
        how = (self.config.global_batch_size, self._buckets(split), self.config.seed)
        data, weights = self.config.data, self.config.data.weights
        of, names = corpora(split.rows), config_lib.corpus_names(data)
        if data.mixing_limit or data.mixing_temperature != 1:
            counts = np.bincount(of, minlength=len(names)).tolist()
            weights = tuple(rates(counts, data.mixing_limit, data.mixing_temperature))
        if weights:
            return MixedPlan(split.sizes, of, weights, *how, names=names)
        return TrainPlan(split.sizes, *how)

    def _buckets(self, split: TokenSplit) -> Buckets:
        """The lengths that batches are padded to; none is longer than the model's positions.

        Those that suit the training split serve all: what is compiled for one serves the next.
        """
        limits = self.config.data.max_length, self.task.longest_target
        return with_longer(self.buckets, split.sizes, limits)

    @functools.cached_property
    def buckets(self) -> Buckets:
        """The lengths that suit the training split; the workdir of a run holds them."""
        if self.workdir.started:
            return as_buckets(self.workdir.read()[1]["buckets"])
        return buckets_for(self.split("train").sizes, self.config.data.buckets)

    @property
    def scored(self) -> list[str]:
        """The names of the sets that are scored at the end: all but train."""
        return [name for name in self.source.names if name != "train"]

    def check_metrics(self) -> None:
        """Refuses metrics that could not be computed, before hours are spent on what they score.

        Raises:
          UserError: which, of which split, and why.
        """
        for name in self.scored:
            chosen = self.metric if name == "validation" else ""
            self.task.check(self.split(name).gold, name, chosen)

    def train_batches(
        self,
        plan: Plan,
        first_step: int,
        last_step: int,
        features: tf.experimental.Optional | None = None,
    ) -> tf.data.Dataset:
        """Batches of the steps in [first_step, last_step): this worker's rows of them.

        Where `features` are given, they stand in the place of the tokens.
        """
        size = self.rows_and_parts()[0] * self.strategy.num_replicas_in_sync
        first_row, rows = self._place(size)
        return train_dataset(
            self.split("train"),
            plan,
            first_step,
            last_step,
            size=size,
            first_row=first_row,
            rows=rows,
            features=features,
        )

    def features(self, stop: Callable[[], bool]) -> tf.experimental.Optional:
        """The encoder's output for each training example, [N, D]; see `FeatureExtractor.run`."""
        split = self.split("train")
        batches, dataset = self._in_order(split)
        extractor = FeatureExtractor(self.strategy, self.model, self._fuses)
        rows = [each for each, _ in batches]
        with self._progress("Encoding train", len(split)) as advance, self._fits():
            return extractor.run(
                dataset, rows, len(split), self.workdir.path, stop=stop, advance=advance
            )

    def _place(self, size: int) -> tuple[int, int]:
        """This worker's part of the rows of a global batch: the first, and how many."""
        rows = size // self.workers.count
        return self.workers.index * rows, rows

    def score(self, name: str, stop: Callable[[], bool]) -> Scores:
        """Scores a split with the model's present weights; see `Evaluator.run`."""
        split = self.split(name)
        batches, dataset = self._in_order(split)
        with self._progress(f"Evaluating {name}", len(split)) as advance, self._fits():
            return self.evaluator.run(dataset, len(batches), len(split), stop, advance)

    @contextlib.contextmanager
    def _fits(self) -> Iterator[None]:
        try:
            yield
        except tf.errors.ResourceExhaustedError as error:
            replicas = self.strategy.num_replicas_in_sync
            rows = self._evaluation_size() // replicas
            half = rows // 2 * replicas
            flags = f"--config.evaluation.batch_size={half}", f"--batch_size={half}"
            fewer = f"go on with {half} ({flags[0]}; for launch.evaluate, {flags[1]})"
            raise UserError(
                f"config.evaluation.batch_size={rows * replicas} does not fit in the memory of a"
                f" device: {fewer if rows > 1 else SHORTER}"
            ) from error

    def _in_order(
        self, split: TokenSplit
    ) -> tuple[list[tuple[np.ndarray, Length]], tf.data.Dataset]:
        """Each example of a split once: evaluation_batches, and this worker's rows of them."""
        size = self._evaluation_size()
        batches = evaluation_batches(split.sizes, size, self._buckets(split))
        return batches, evaluation_dataset(split, batches, size, *self._place(size))

    def _evaluation_size(self) -> int:
        """Rows of a global batch: as many on each replica."""
        replicas = self.strategy.num_replicas_in_sync
        return -(-self.config.evaluation.batch_size // replicas) * replicas

    def rows_and_parts(self) -> tuple[int, int]:
        """Rows on each replica, and the micro-batches they are cut into."""
        return devices.rows_and_parts(
            self.config.global_batch_size,
            self.strategy.num_replicas_in_sync,
            self.config.runtime.max_rows_per_device,
        )


def _listed(buckets: Buckets) -> str:
    axes = [", ".join(map(str, each.tolist())) for each in by_axis(buckets)]
    return " and, of targets, ".join(axes)


def _check_direction(task: Task, causal: bool) -> None:
    """Refuses an encoder that sees what the task is to predict, or not all it may see."""
    if task.causal is None or task.causal == causal:
        return
    sees = "only the tokens before a place" if causal else "the tokens behind a place too"
    raise UserError(
        f"the encoder sees {sees}, which does not fit config.task={class_path(task)!r}: set"
        f" config.model.causal={task.causal}, or choose another pretrained model"
    )
