"""The training loop: phases, steps, evaluations, checkpoints and signals, in order.

At each boundary between steps the loop does, in this order: save, evaluate, change the phase. A
checkpoint of step s is always the state right after update s, before anything else was done about
it. So a resumed run repeats what followed, and ends as if nothing had happened.
"""

import contextlib
import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.errors import Interrupted, UserError
from trainer.evaluation import groups
from trainer.evaluation.report import Report, keep, make_report
from trainer.evaluation.scores import better, too_large
from trainer.features import check as check_features
from trainer.inspection import Inspection
from trainer.monitor.monitor import Monitor
from trainer.parameter_samples import ParameterSamples
from trainer.phases import PhasePlan, plan_phases
from trainer.run import SHORTER, Run
from trainer.state import Best, Position, TrainState
from trainer.step import STEP_METRICS, TrainStep, can_recompute
from trainer.storage.checkpoint import DamagedCheckpoint, newest_whole
from trainer.storage.contents import SCORES
from trainer.tasks import probe
from trainer.tasks.task import Scores


class NotFinite(Exception):
    """A loss or gradient became infinite or NaN; the message names step and examples.

    Attributes:
      again: it ended the run the last time as well.
    """

    again = False


class Loop:
    """Trains a run from where it stands to its end.

    Args:
      run: data and model.
      say: told what a person should know before the logs are open.

    Raises:
      UserError: the phases do not fit the model, or no checkpoint can be used.
    """

    def __init__(self, run: Run, say: Callable[[str], None]):
        self.run, self.config = run, run.config
        config = run.config
        self.plan = run.plan()
        rows, self.parts = run.rows_and_parts()
        run.check_metrics()
        probe.check(run.task, run.model, run.split("train"), run.metric, rows // self.parts)
        self.phases = plan_phases(config.phases, list(run.parameters), self.plan.steps_per_epoch)
        for phase in self.phases:
            if phase.settings.cache_features:
                check_features(phase, run.model, run.task)
        with run.strategy.scope():
            self.state = TrainState(config.optimizer, config.runtime.precision, run.parameters)
        self.variables = run.model_variables() | self.state.variables()
        self.weight_samples = ParameterSamples(
            {k: int(np.prod(v)) for k, v in self._shapes().items()}
        )
        self.inspection = Inspection(run)
        self.position = Position()
        self.step = 0
        self._saved_at = 0  # the step of the checkpoint that the run goes on from
        if not run.workdir.started:
            self._note(say)
        self._resume(say)
        if run.workers.count > 1:
            beginning = {"step to go on from": self.step, "weights to begin with": self._sha256()}
            run.workers.compare(beginning, "give every worker the same files")

    def _note(self, say: Callable[[str], None]) -> None:
        """Notes on settings that waste time or hurt, before they are fixed."""
        for split in [name for name in SCORES if name in self.run.scored]:
            table = self.run.split(split)
            tokens = int(table.lengths.max()) if self.run.task.kind == "tokens" else 1
            numbers = tokens * self.run.task.answer_size + 2  # and a loss with its weight
            size = len(table) * (numbers * self.run.evaluator.itemsize + 16)
            if why := too_large(size):
                say(
                    f"Note: scores of {split} will not be kept: {why}; metrics are worked out as"
                    " ever" + ("" if split == "validation" else ", but launch.report needs them")
                )
        pretrained = bool(self.config.model.pretrained)
        for phase in self.phases:
            for note in phase.notes(self.plan.steps_per_epoch, pretrained):
                say(f"Note: {note}")
        ema, steps = self.config.optimizer.ema, sum(phase.total_steps for phase in self.phases)
        if ema and 1 / (1 - ema) > steps / 2:
            say(
                f"Note: config.optimizer.ema={ema:g} averages the weights of some"
                f" {1 / (1 - ema):,.0f} steps, and there are {steps:,}: what is scored lags behind;"
                " set it to 0, or train longer"
            )

    def _resume(self, say: Callable[[str], None]) -> None:
        store = self.run.workdir.checkpoints
        found = newest_whole(store, say)
        if found:
            self.step, meta = found
            if store.steps()[-1] == self.step:  # or a damaged one is still to be removed
                self._saved_at = self.step
            store.restore(self.step, self.variables)
            self.position = Position.read(meta, self.step, len(self.phases))
            self._check_best()
            say(f"Resuming at step {self.step}")
        most = self.config.max_steps
        if 0 < most < self.step:
            say(
                f"Note: config.max_steps={most} is below the {self.step} steps that are done:"
                " nothing more is trained, and nothing is taken back"
            )

    def _sha256(self) -> str:
        """The digest of all values, in hex."""
        digest = hashlib.sha256()
        for name, variable in sorted(self.variables.items()):
            digest.update(name.encode() + b"\0" + variable.numpy().tobytes())
        return digest.hexdigest()

    def _check_best(self) -> None:
        """The best weights so far are needed at the end of the phase and of the run."""
        store = self.run.workdir.best
        for best in (self.position.best, self.position.phase_best):
            try:
                if best:
                    store.verify(best.step)
            except DamagedCheckpoint as error:
                raise UserError(
                    f"the best weights so far are damaged ({error}): restore {store.folder} from a"
                    " backup, or start afresh in another --workdir"
                ) from error

    @property
    def total_steps(self) -> int:
        """The step at which the run ends: after all phases, or at max_steps where that is less."""
        return self._total_after(self.phase_end)

    @property
    def planned_steps(self) -> int:
        """The step at which the run would end without max_steps."""
        return self._planned_after(self.phase_end)

    def _planned_after(self, phase_end: int) -> int:
        later = self.phases[self.position.phase + 1 :]
        return phase_end + sum(phase.total_steps for phase in later)

    def _total_after(self, phase_end: int) -> int:
        """`total_steps`, where the present phase ends at that step."""
        total = self._planned_after(phase_end)
        return max(self.step, min(total, self.config.max_steps or total))

    @property
    def phase(self) -> PhasePlan:
        """The phase that the run is in."""
        return self.phases[self.position.phase]

    @property
    def phase_end(self) -> int:
        """The step at which the phase ends if nothing ends it earlier."""
        return self.position.phase_start + self.phase.total_steps

    @property
    def cut(self) -> bool:
        """True if max_steps ends the run here."""
        return bool(self.config.max_steps) and self.step >= self.config.max_steps

    def train(self, monitor: Monitor, stop: Callable[[], bool]) -> dict[str, Any]:
        """Trains to the end and scores the test split with the best weights.

        Args:
          monitor: where metrics go.
          stop: asked after every call to the device; True ends the run after saving. It must say
            the same on all workers.

        Returns:
          What result.json holds.

        Raises:
          Interrupted: `stop` said so; the state is saved.
          NotFinite: the run cannot go on.
        """
        self.monitor, self.stop = monitor, stop
        every = self.config.log_every_steps
        for step in range(self.step // every * every, self.step):  # before a resume
            monitor.throughput.add_earlier(*self.size(step)[:2])
        step_function: TrainStep | None = None
        features: tf.experimental.Optional | None = None
        try:
            while True:
                phase_over = self.step >= self.phase_end
                evaluates = self._evaluates(phase_over)
                if (evaluates or self._saves()) and self.step != self._saved_at:
                    self._save()
                if evaluates:
                    phase_over |= self._evaluate()
                if phase_over and not self.cut:
                    if self.position.phase + 1 == len(self.phases):
                        break
                    self._next_phase()
                    step_function = None
                if self.cut:
                    break
                if step_function is None:
                    monitor.message(self.phase.describe(self._shapes()))
                    step_function, read_to = self.step_function(), self.step
                    features = self._features()
                if self.step == read_to:
                    read_to = self._read_to()
                    steps = (self.plan, self.step, read_to)
                    batches = iter(self.run.train_batches(*steps, features))
                self._steps(step_function, batches, read_to)
                if self.stop():
                    raise Interrupted
        except Interrupted:
            self._save()
            raise
        return self._finish()

    # Steps

    def _read_to(self) -> int:
        """Batches are planned up to here: the end of the epoch, of the phase or of the run."""
        epoch = self.plan.steps_per_epoch
        ends = [self.phase_end, (self.step // epoch + 1) * epoch]
        return min([*ends, self.config.max_steps] if self.config.max_steps else ends)

    def _features(self) -> tf.experimental.Optional | None:
        """The encoder's outputs for the training examples, where the phase computes them once."""
        if not self.phase.settings.cache_features:
            return None
        self.run.workers.doing = f"the features that phase {self.phase.settings.name!r} trains on"
        with self.monitor.throughput.part("evaluation"):  # of no step
            return self.run.features(self.stop)

    def step_function(self) -> TrainStep:
        """The step of the phase that the run is in; nothing is compiled yet."""
        return TrainStep(
            self.run.strategy,
            self.run.model,
            self.run.task,
            self.state,
            self.phase,
            phase_start=self.position.phase_start,
            seed=self.config.seed,
            accumulate=self.parts,
            clip_norm=self.config.optimizer.clip_norm,
            xla=self.config.runtime.xla,
            recompute=self.config.runtime.recompute,
        )

    def _steps(self, step_function: TrainStep, batches: Any, read_to: int) -> None:
        """Runs steps up to the next thing to do, at most steps_per_call of them."""
        config = self.config
        stops = [read_to, self.step + config.runtime.steps_per_call]
        everies = [config.log_every_steps, config.save_every_steps, config.histograms_every_steps]
        stops += [(self.step // every + 1) * every for every in everies if every]
        stops += [self._next_evaluation(self.step)]
        if profiled := self.monitor.profile.next_stop(self.step):
            stops += [profiled]
        lengths = [self.plan.batch(step)[1] for step in range(self.step, min(stops))]
        count, compiles = step_function.first_call(lengths)
        histograms = config.histograms_every_steps
        sampled = bool(histograms) and (self.step + count) % histograms == 0
        self.run.workers.doing = f"step {self.step + 1}"
        arguments = (batches, tf.constant(count), tf.constant(sampled))
        name, index = self.phase.settings.name, self.position.phase
        charged = self.monitor.throughput.part("compute")
        if compiles:
            charged = self.monitor.compiling(name, step_function.describe(lengths[0]))
        with charged, self.monitor.profile.steps(self.step):
            try:
                called = step_function.run(*arguments)
                metrics = called.metrics.numpy()
            except tf.errors.ResourceExhaustedError as error:
                raise UserError(self._what_fits(count)) from error
        if not compiles:
            self.monitor.throughput.waited(float(called.input_seconds))
        if self.state.counters.failed.numpy():
            raise NotFinite(self._why_not_finite(step_function))
        for step in range(self.step, self.step + count):
            self.monitor.throughput.add(*self.size(step), 1, compiles)
        self.step += count
        self.monitor.reached(self.step, name)
        if self.step % config.log_every_steps == 0:
            values = {f"train/{k}": v for k, v in zip(STEP_METRICS, metrics.tolist(), strict=True)}
            self.monitor.training(self.step, name, index, values)
        if sampled:
            with self.monitor.throughput.part("logging"):
                self._histograms(step_function, called.gradients.numpy())

    def _histograms(self, step_function: TrainStep, gradients: np.ndarray) -> None:
        parameters = self.weight_samples.take(self.run.parameters).numpy()
        sampled = {
            "gradients": step_function.samples.by_group(gradients),
            "parameters": self.weight_samples.by_group(parameters),
        }
        arrays = {f"{what}/{k}": v for what, groups in sampled.items() for k, v in groups.items()}
        self.monitor.histograms(self.step, arrays)

    def _what_fits(self, count: int) -> str:
        """Advice on a batch that is too large, one of the next `count`."""
        runtime = self.config.runtime
        steps = range(self.step, self.step + count)
        longest = max(int(np.sum(self.plan.batch(step)[1])) for step in steps)
        rows = self.run.rows_and_parts()[0] // self.parts
        ways: list[str] = []
        if rows > 1:
            fewer = f"config.runtime.max_rows_per_device={rows // 2}"
            ways.append(f"{fewer}, which changes no number")
        if not runtime.recompute and can_recompute(self.run.model):
            ways.append("config.runtime.recompute=True")
        return (
            f"{rows} rows of up to {longest} tokens do not fit in the memory of a device (steps"
            f" {self.step} to {self.step + count - 1}):"
            f" {'go on with ' + ', or '.join(ways) if ways else SHORTER}"
        )

    def size(self, step: int) -> tuple[int, int, int]:
        """Real tokens that a step reads, places for them in its batch, and real examples.

        The step is one of this phase, or of the one before.
        """
        rows, length = self.plan.batch(step)
        real = rows[rows >= 0]
        before = step < self.position.phase_start
        if self.phases[self.position.phase - before].settings.cache_features:
            return 0, 0, len(real)
        tokens = int(self.run.split("train").sizes[real].sum())
        return tokens, len(rows) * int(np.sum(length)), len(real)

    def _why_not_finite(self, step_function: TrainStep) -> str:
        step = int(self.state.counters.step.numpy())
        batch = next(iter(self.run.train_batches(self.plan, step, step + 1)))
        ids, losses = step_function.diagnose(batch)
        rows = self.run.split("train").rows
        guilty = ids[(ids >= 0) & ~np.isfinite(losses)]
        what = (
            f"the losses of examples {', '.join(map(str, rows[guilty[:10]]))}"
            if len(guilty)
            else "the gradient, but no example's loss,"
        )
        return f"step {step}: {what} became infinite or NaN"

    # Checkpoints

    def _saves(self) -> bool:
        due = self.step % self.config.save_every_steps == 0 or self.step >= self.phase_end
        return self.step > 0 and (due or self.cut)

    def _save(self) -> None:
        if not self.run.workers.is_chief:
            return
        self.run.workers.doing = f"the checkpoint of step {self.step}"
        store = self.run.workdir.checkpoints
        with self.monitor.throughput.part("checkpoint"):
            self.monitor.flush()
            store.save(self.step, self.variables, dataclasses.asdict(self.position))
            # Newer ones than this are damaged: the run resumed from before them.
            whole = [step for step in store.steps() if step <= self.step]
            store.keep_only(whole[-self.config.keep_checkpoints :])
            # A best one is needed as long as any checkpoint may be resumed that names it.
            named = [Position.read(m, self.step, len(self.phases)) for m in store.metas()]
            bests = [best for p in named for best in (p.best, p.phase_best) if best]
            self.run.workdir.best.keep_only({best.step for best in bests})

    # Evaluation

    def _next_evaluation(self, step: int) -> int:
        """The first step after `step` at which validation is scored on schedule."""
        settings = self.config.evaluation
        if settings.every_steps:
            return (step // settings.every_steps + 1) * settings.every_steps
        if not settings.every_epochs:
            return self.phase_end
        every = max(1.0, settings.every_epochs * self.plan.steps_per_epoch)
        number = int(step / every)
        while round(number * every) <= step:
            number += 1
        return round(number * every)

    def _evaluates(self, phase_over: bool) -> bool:
        if self.step == self.position.phase_start:
            return False
        if "validation" not in self.run.scored:  # only to keep the weights
            return phase_over or self.cut
        return phase_over or self.cut or self._next_evaluation(self.step - 1) == self.step

    def _evaluate(self) -> bool:
        """Scores validation, keeps the best weights; True if the phase should end early.

        Without validation the latest weights are the best.
        """
        position, metric = self.position, self.run.metric
        lower = metric in self.run.task.lower
        report: Report | None = None
        with self.monitor.throughput.part("evaluation"), self._averaged():
            if "validation" in self.run.scored:
                report = make_report(self.run, "validation", self._score("validation"))
                if metric not in report.metrics:
                    raise UserError(
                        f"config.evaluation.metric={metric!r} could not be computed at step"
                        f" {self.step}: the model's outputs are not finite, or the task did not"
                        " give it"
                    )
                # Workers may differ in the last bit: the chief's value decides.
                value = self.run.workers.from_chief(report.metrics[metric])
                value = value if math.isfinite(value) else math.nan  # as a checkpoint keeps it
            else:
                metric, lower, value = "step", False, float(self.step)
            new = Best(self.step, value)
            position.waited += 1
            is_best = position.best is None or better(lower, value, position.best.value)
            if position.phase_best is None or better(lower, value, position.phase_best.value):
                position.phase_best, position.waited = new, 0
                meta = {"metric": metric, "lower_is_better": lower, "value": value}
                meta["phase"] = position.phase
                if self.run.workers.is_chief:
                    with self.monitor.throughput.part("checkpoint"):
                        self.run.workdir.best.save(self.step, self.run.model_variables(), meta)
            if is_best:
                position.best = new
            if report:
                self._log(report)
        patience = self.phase.settings.patience
        if patience and position.waited >= patience:
            self.monitor.message(
                f"Phase {self.phase.settings.name!r} ends at step {self.step}: no better {metric}"
                f" in {patience} evaluations"
            )
            self.monitor.shortened(self._total_after(self.step))
            return True
        return False

    def _score(self, split: str) -> Scores:
        self.run.workers.doing = f"the evaluation after step {self.step}"
        return self.run.score(split, self.stop)

    def _log(self, report: Report) -> None:
        """Tells the monitor what there is to say of an evaluation."""
        best = self.position.best.step if self.position.best else None
        with self.monitor.throughput.part("logging"):
            looks = report.split == "validation" and self.run.workers.is_chief
            seen = self.inspection.attention(report.split) if looks else []
            made = self.inspection.samples(report.split) if looks else []
            report = dataclasses.replace(report, shown=[*report.shown, *made])
            self.monitor.evaluation(self.step, report, best, seen)

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """The averaged weights in place of the present ones, where the optimizer keeps them."""
        present = {}
        for name, average in self.state.optimizer.averages.items():
            present[name] = self.run.parameters[name].numpy()
            self.run.parameters[name].assign(average.read_value())
        try:
            yield
        finally:
            for name, value in present.items():
                self.run.parameters[name].assign(value)

    # Phases

    def _next_phase(self) -> None:
        """The next phase starts here, from this one's best weights if it may end early."""
        position = self.position
        if self.phase.settings.patience and position.phase_best:
            self._restore_best(position.phase_best.step)
            for name, average in self.state.optimizer.averages.items():
                average.assign(self.run.parameters[name].read_value())
        position.phase += 1
        position.phase_start = self.step
        position.phase_best, position.waited = None, 0

    def _restore_best(self, step: int) -> None:
        self.run.workers.exchange()  # until the chief has saved it
        self.run.restore(self.run.workdir.best, step)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(v.shape) for name, v in self.run.parameters.items()}

    # The end

    def _finish(self) -> dict[str, Any]:
        best = self.position.best
        if best:
            self._restore_best(best.step)
        step = best.step if best else self.step
        with self.monitor.throughput.part("evaluation"):
            scores = {split: self._score(split) for split in self.run.scored}
        reports = {split: make_report(self.run, split, each) for split, each in scores.items()}
        for split, report in reports.items():
            if split != "validation":
                name = split if split == "test" else f"test_{split}"
                self._log(dataclasses.replace(report, split=name))
        if self.run.workers.is_chief and "validation" in scores:
            with self.monitor.throughput.part("logging"):
                self.monitor.vectors("validation", self.inspection.vectors("validation"))
        task, gold = self.run.task, {split: self.run.split(split).gold for split in scores}
        fitted = None
        if "validation" in scores:
            fitted = task.fit(step, gold["validation"], scores["validation"])
        digests = {}
        if self.run.workers.is_chief:
            if fitted:
                fitted.save(self.run.workdir.calibration_file)
            for split in [name for name in SCORES if name in scores]:
                kept = keep(self.run, split, scores[split], reports[split])
                if kept.why_not:
                    self.monitor.message(f"Note: scores of {split} are not kept: {kept.why_not}")
                    continue
                digests[SCORES[split]] = kept.save(self.run.workdir.path / SCORES[split])
        more = {n: r.metrics for n, r in reports.items() if n not in ("validation", "test")}
        last = next((name for name in ("test", "validation") if name in scores), None)
        entries = groups.entries({name: report.groups for name, report in reports.items()})
        if "groups_left_out" in entries:
            self.monitor.message(
                f"Note: result.json has the metrics of each {task.group} for the {groups.KEPT} most"
                " frequent ones; launch.evaluate prints those of all"
            )
        return {
            **{name: reports[name].metrics for name in ("test", "validation") if name in reports},
            **({"more_tests": more} if more else {}),
            **(task.results(fitted, gold[last], scores[last]) if last else {}),
            **entries,
            "best_step": step,
            "steps": self.step,
            "finished": not self.cut,
            "skipped_steps": int(self.state.counters.skipped.numpy()),
            "parameters": int(sum(np.prod(shape) for shape in self._shapes().values())),
            "replicas": self.run.strategy.num_replicas_in_sync,
            "sha256": digests,
        }
