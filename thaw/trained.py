"""Trained models: predicted with, evaluated and exported."""

import dataclasses
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from thaw import environment
from thaw.console import say
from trainer.config import Experiment, set_names
from trainer.errors import NoColumn, UserError, shown
from trainer.storage.paths import local

if TYPE_CHECKING:
    from trainer.data.columns import Row
    from trainer.models.writing import Writing
    from trainer.prediction.job import Answering
    from trainer.storage.workdir import Workdir
    from trainer.tasks.task import Task
    from trainer.trained import TrainedModel

FORMATS = ("savedmodel", "keras", "huggingface")
_OTHER = "labelled"  # name of a set that is no part of the run


def load(
    workdir: str | os.PathLike[str], *, trust: Collection[str] = (), cpu_devices: int = 0
) -> "Trained":
    """The model that validation chose in a run.

    Args:
      workdir: folder of a run that has ended, or of which at least a phase has.
      trust: packages of your own whose code the run's settings may name.
      cpu_devices: logical CPU devices to predict on instead of GPUs; 0: none.

    Raises:
      UserError: there is no such run, a file of it is damaged, or its settings name other code.
    """
    return Trained(local(os.fspath(workdir), "the workdir"), trust, cpu_devices)


class Trained:
    """A trained model.

    Attributes:
      workdir: of its run.
      config: the run's settings.
      step: of the weights.
      labels: the names of the classes, in order; of a task without classes none.
      note: what a user of its predictions should know; empty: nothing.
      inside, predictor: the trainer's own, for code that works with its rows and tensors.
    """

    def __init__(self, workdir: Path, trust: Collection[str] = (), cpu_devices: int = 0):
        environment.import_tensorflow()
        from trainer.prediction.predictor import Predictor

        self.workdir, self._trust, self._cpu_devices = workdir, trust, cpu_devices
        self.inside: TrainedModel = trained_model(workdir, trust, cpu_devices or None)
        self.config: Experiment = self.inside.config
        self.step: int = self.inside.step
        self.labels: list[str] = list(self.inside.task.output_names)
        self.note: str = self.inside.note
        self.predictor: Predictor = Predictor(self.inside)

    def predict(
        self, rows: Iterable[str | Mapping[str, Any]], *, threshold: float | str = ""
    ) -> list[dict[str, Any]]:
        """The predictions for some rows, in their order.

        Args:
          rows: texts, or rows as mappings from the names of the columns of the training data to
            their cells, as for pairs of texts. Rows of a text each may be mixed with them.
          threshold: for two classes: from which probability on it is the second one: a number, or
            the name of one that validation gave, "f1" or "precision"; "": the more probable class.

        Returns:
          For each row what the task predicts: for a classification "label", and "probabilities" in
          the order of `labels`; for a regression "score"; for a tagging "entities".

        Raises:
          UserError: a row cannot be used, the threshold does not fit, or the model writes texts.
        """
        if self.inside.task.writes:
            scores = ", model.score([text])" * self.inside.task.scores_texts
            raise UserError(f"the model writes texts: call model.write([text]){scores}")
        task = self.inside.task
        rule = task.rule(self.inside.fitted, str(threshold) if threshold != "" else "")
        return self._lines(self.predictor, rows, rule)

    def write(
        self, texts: Iterable[str | Mapping[str, Any]], *, seed: int = 0, **settings: Any
    ) -> list[dict[str, Any]]:
        """Continuations of texts by a language model, or texts that are written for them.

        Args:
          texts: what is continued, as rows of `predict`.
          seed: of the draws; they also go by the places of the texts in the list.
          settings: fields of `trainer.models.writing.Writing`: max_new_tokens, temperature, ...

        Returns:
          For each, in their order, "continuation" (or "text"), "log_probability", "tokens" and
          "ended", as launch.predict writes them.

        Raises:
          UserError: a setting or text does not fit, or the model writes no texts.
        """
        from trainer.prediction.continuing import ContinuingPredictor

        task = self._use(self.inside.task.continuing(), "write")
        writing = _settings("write", self.config, settings)
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise UserError(f"seed={shown(seed)} must be a whole number from 0 on")
        return self._lines(ContinuingPredictor(self.inside, task, writing, seed), texts, None)

    def score(self, texts: Iterable[str | Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The probabilities of texts to a language model, in their order.

        Returns:
          For each "nll", "perplexity" and "tokens", as launch.predict --score writes them.

        Raises:
          UserError: a text cannot be used, or the model is no language model.
        """
        from trainer.prediction.predictor import Predictor

        task = self._use(self.inside.task.scoring(), "score")
        return self._lines(Predictor(self.inside, task=task), texts, None)

    def _use(self, task: "Task | None", name: str) -> "Task":
        if task is None:
            writes = "models that write texts" if name == "write" else "language models"
            other = "write" if self.inside.task.writes else "predict"
            raise UserError(f"model.{name} is of {writes}, this is none: call model.{other}")
        return task

    def _lines(
        self, predictor: "Answering", rows: Iterable[str | Mapping[str, Any]], rule: Any
    ) -> list[dict[str, Any]]:
        """Answers of a predictor to rows, as its task says them."""
        from trainer.prediction.inputs import Given
        from trainer.prediction.predictor import chunks

        if isinstance(rows, str | Mapping):
            raise UserError("give a list of rows, as model.predict([row])")
        made = [Given(i, self.row(row, i)) for i, row in enumerate(rows)]
        found: list[dict[str, Any]] = []
        for chunk in chunks(iter(made), predictor.at_once):
            some = [given.row for given in chunk]
            found += [
                predictor.task.line(row, *answers, rule)
                for row, answers in zip(some, predictor.run(some), strict=True)
            ]
        return found

    def row(self, row: str | Mapping[str, Any], number: int) -> "Row":
        """A row to predict as the trainer has it. Raises UserError: it lacks a column, say."""
        from trainer.data.columns import Row, value_of
        from trainer.data.rows import listed

        task, where = self.inside.task, f"row {number}"
        if isinstance(row, str):
            return Row(task.cells_of(row), number, "the rows")
        if not isinstance(row, Mapping):
            raise UserError(
                f"{where} must be a text, or a mapping from columns to cells: {shown(row)}"
            )
        cells: dict[str, Any] = {}
        for column in task.text_columns:
            if column.name not in row:
                raise NoColumn(where, column.name, listed([*map(str, row)]))
            cells[column.key] = value_of(column, row[column.name], where, typed=True)
        return Row(cells, number, "the rows")

    def evaluate(
        self,
        name: str = "",
        *,
        data: str | os.PathLike[str] = "",
        data_dir: str | os.PathLike[str] | None = None,
        batch_size: int = 0,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> dict[str, Any]:
        """The metrics of a set of rows of the run, and of each label or type of entity in it.

        As result.json has them; under "groups" are those of all labels or types, by their names.

        Args:
          name: "train", "validation", "test" or another set of the run; "": test, validation or
            train, the first that there is.
          data: a file of other labelled rows, with the columns of the run's, to be scored instead;
            of a run on TFDS, another split.
          data_dir: where the TFDS dataset, or the files, are now, if they moved.
          batch_size: rows at once, instead of the run's.
          cache_dir: folder of token caches; None: ~/.cache/thaw.

        Raises:
          UserError: there is no such set, or its data are not those of the run.
        """
        cache = local(os.fspath(cache_dir), "cache_dir") if cache_dir else environment.cache_dir()
        return evaluate(
            self.workdir,
            name,
            cache_dir=cache,
            say=say,
            trust=self._trust,
            data=os.fspath(data),
            data_dir=os.fspath(data_dir) if data_dir else "",
            batch_size=batch_size,
            cpu_devices=self._cpu_devices,
        )

    def export(
        self,
        output: str | os.PathLike[str],
        format: Literal["savedmodel", "keras", "huggingface"] = "savedmodel",
        **settings: Any,
    ) -> Path:
        """Writes the model in a form that other programs open; docs/use/export.md has them.

        Args:
          output: a new folder.
          format: a TensorFlow SavedModel, which takes raw texts; a Keras file; or a folder for
            transformers, of a run that began with a pretrained model.
          settings: how the SavedModel of a model that writes does so, as for `write`, without
            `stop` and `n_best`.

        Returns:
          The folder.

        Raises:
          UserError: the model has no such form, or the folder cannot be written.
        """
        folder = local(os.fspath(output), "the output")
        export(self.workdir, folder, format, say=say, trust=self._trust, writing=settings)
        return folder


def trained_model(
    folder: Path, trust: Collection[str] = (), cpu_devices: int | None = None
) -> "TrainedModel":
    """A run's best weights, on the devices that there are, in float32 or wider.

    TensorFlow has been imported. Raises UserError: see `load`.
    """
    from trainer.runtime import devices
    from trainer.storage.workdir import Workdir
    from trainer.trained import TrainedModel, for_prediction

    workdir = Workdir(folder)
    config, _ = workdir.read_to_run(trust)
    workdir.finished_weights()  # before devices are set up: there may be none
    settings = for_prediction(config.runtime, cpu_devices)
    return TrainedModel(workdir, devices.start(settings, config.seed), trust)


def evaluate(
    folder: Path,
    name: str,
    *,
    cache_dir: Path,
    say: Callable[[str], None],
    trust: Collection[str] = (),
    data: str = "",
    data_dir: str = "",
    batch_size: int = 0,
    cpu_devices: int = 0,
) -> dict[str, Any]:
    """See `Trained.evaluate`; `cpu_devices` are logical ones to use instead of GPUs.

    Returns:
      "split", its name or that of the file, "step" of the weights, its metrics, and "groups": those
      of each label, or whatever else the task judges by itself, by its name and theirs.
    """
    from trainer.data.progress import bar
    from trainer.evaluation.report import make_report
    from trainer.run import Run
    from trainer.runtime import devices
    from trainer.storage.workdir import Workdir

    workdir = Workdir(folder)
    config, _ = workdir.read_to_run(trust)
    config.data.data_dir = data_dir or config.data.data_dir
    config.evaluation.batch_size = batch_size or config.evaluation.batch_size
    config.runtime.cpu_devices = cpu_devices
    if cpu_devices:
        config.runtime.gpus = ()
    if data and name:
        raise UserError(f"--split={shown(name)} and --data are two things to score: give one")
    if data:
        name, where = _OTHER, data
        if config.data.source == "files":
            where = str(local(data, "--data").absolute())
            # Of parallel files it is the beginning of their names.
            if config.data.format != "parallel" and not Path(where).exists():
                said = f"--data={shown(data, 200)}"
                raise UserError(f"{said}: there is no such file: correct the name")
        config.data.more_tests = (*config.data.more_tests, f"{_OTHER}={where}")
    names = set_names(config.data)
    split = name or next(each for each in ("test", "validation", "train") if each in names)
    if split not in names:
        raise UserError(f"--split={shown(split)} is not one of: {', '.join(names)}")
    weights = workdir.best_weights()
    strategy = devices.start(config.runtime, config.seed)
    run = Run(config, workdir, cache_dir, strategy, progress=bar, say=say, weights=weights)
    derived = run.derived()
    derived["data_fingerprint"].pop(_OTHER, None)
    workdir.check_derived(derived)
    run.restore(*weights)
    report = make_report(run, split, run.score(split, lambda: False))
    groups = {"groups": report.groups} if report.groups else {}
    return {"split": data or split, "step": weights[1], **report.metrics, **groups}


def export(
    folder: Path,
    output: Path,
    format_: str,
    *,
    say: Callable[[str], None],
    trust: Collection[str] = (),
    writing: Mapping[str, Any] | None = None,
) -> None:
    """See `Trained.export`; `say` is told what was written, `writing` are its settings."""
    from trainer.storage.workdir import Workdir

    if format_ not in FORMATS:
        raise UserError(f"--format={shown(format_)} is not one of: {', '.join(FORMATS)}")
    check_output(output)
    workdir = Workdir(folder)
    config, _ = workdir.read_to_run(trust)
    how = _writing(config, format_, writing or {})
    if format_ == "huggingface":
        step, note = _hugging_face(workdir, output, trust)
    else:
        step, note = _own(workdir, output, format_, trust, how)
    say(f"Wrote the weights of step {step} to {output}")
    if note:
        say(f"Note: {note}")


def check_output(output: Path) -> None:
    """Refuses a folder that holds something. Raises UserError."""
    if output.is_dir() and any(output.iterdir()):
        raise UserError(f"--output={output} is there already: remove it, or choose another")


def _writing(config: Experiment, format_: str, given: Mapping[str, Any]) -> "Writing | None":
    """The settings of a SavedModel that writes texts; None of another export.

    Raises:
      UserError: one has no effect, or is out of its bounds.
    """
    if config.task.writes and format_ == "savedmodel":
        if "stop" in given:
            raise UserError("a SavedModel gives tokens, and looks for no texts in them: no stop")
        if "n_best" in given:
            raise UserError("a SavedModel gives the best text alone: leave n_best out")
        return _settings("export", config, given)
    if given:
        raise UserError(
            f"{shown(next(iter(given)))[1:-1]} is of models that write texts, as a SavedModel:"
            " leave it out"
        )
    return None


def _settings(what: str, config: Experiment, given: Mapping[str, Any]) -> "Writing":
    """Settings of `what`, which continues texts. Raises UserError: there is no such one, say."""
    from trainer.models.writing import Writing

    names = [field.name for field in dataclasses.fields(Writing)]
    for name in given:
        if name not in names:
            raise UserError(f"{what} has no setting {shown(name)}: {', '.join(names)}")
    return config.task.writing(config.data.max_length, **given)


def _hugging_face(workdir: "Workdir", output: Path, trust: Collection[str]) -> tuple[int, str]:
    from trainer.export.huggingface import to_hugging_face

    step = to_hugging_face(workdir, output, trust)
    config = workdir.read()[0]
    data = config.data
    if data.cut == "head" or config.task.cuts_in_windows:
        return step, ""
    return step, (
        f"texts over {data.max_length} tokens were cut {data.cut!r} here; the tokenizers of"
        " transformers keep the head"
    )


def _own(
    workdir: "Workdir",
    output: Path,
    format_: str,
    trust: Collection[str],
    writing: "Writing | None",
) -> tuple[int, str]:
    import tensorflow as tf

    from trainer.export.keras_file import to_keras
    from trainer.export.savedmodel import to_saved_model
    from trainer.runtime import devices
    from trainer.storage.paths import glob_character
    from trainer.trained import TrainedModel, for_prediction

    config, _ = workdir.read()
    workdir.finished_weights()  # before devices are set up: there may be none
    devices.start(for_prediction(config.runtime, 1), config.seed)
    trained = TrainedModel(workdir, tf.distribute.get_strategy(), trust)
    if format_ == "keras":
        to_keras(trained, output)
        return trained.step, trained.note
    why = to_saved_model(trained, output, writing)
    ids = why and f"the SavedModel takes token ids, not texts, as {why}"
    glob = glob_character(output.absolute())
    moved = glob and f"TensorFlow loads it from a path without {glob!r} only: move it first"
    return trained.step, "; ".join(note for note in (trained.note, ids, moved) if note)
