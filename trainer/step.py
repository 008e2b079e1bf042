"""One training step: forward and backward, all-reduce, check, clip, update.

The order is what makes a step exact under any number of replicas. Each replica differentiates the
*sum* of its weighted losses; one all-reduce adds up gradients, losses and weights; only then is
anything divided, checked for being finite, or clipped. So every replica sees the same numbers and
takes the same decision.

A task with several losses is worth the sum of their means, each over its own weights: those are
added up over the global batch before the backward pass, whose target then is what one device would
have differentiated.
"""

import inspect
import itertools
import time
from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from trainer.batch import FEATURES, ID, ROW_START, STEP
from trainer.data.plan import Length
from trainer.errors import UserError
from trainer.models.fusion import compiling, fusing
from trainer.models.random import random_scope
from trainer.optim.schedules import learning_rate
from trainer.parameter_samples import ParameterSamples
from trainer.phases import PhasePlan, frozen_levels
from trainer.runtime.devices import local_replicas
from trainer.state import TrainState
from trainer.tasks.task import Batch, Task, weighted_sums

OF_STEP = ("loss", "learning_rate", "gradient_norm", "update_norm", "loss_scale")
STEP_METRICS = (*OF_STEP, "parameter_norm", "skipped_steps")


class StepResults(NamedTuple):
    """Results of one device call of several steps.

    Attributes:
      metrics: float64 [len(STEP_METRICS)], of the last step and after it.
      gradients: float32, `TrainStep.samples` of the last step's gradient, before it is clipped;
        zeros where it was not asked for.
      input_seconds: float64 scalar, how long the steps waited for their batches.
    """

    metrics: tf.Tensor
    gradients: tf.Tensor
    input_seconds: tf.Tensor


def can_recompute(model: keras.Model) -> bool:
    """True if `model.call` accepts `recompute`, as `models.encoder.Encoder.call` does."""
    return "recompute" in inspect.signature(model.call).parameters


def own_rows(batch: Batch, strategy: tf.distribute.Strategy) -> Batch:
    """This replica's rows of its worker's batch, by position. Call it in the replica context."""
    here = local_replicas(strategy)
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    rows = tf.shape(batch[ID])[0] // here
    start = tf.cast(replica % here, tf.int32) * rows
    of_rows = [key for key in batch if key not in (STEP, ROW_START)]
    own = {key: batch[key][start : start + rows] for key in of_rows}
    return {**own, ROW_START: batch[ROW_START] + tf.cast(start, tf.int64)}


def _now() -> tf.Tensor:
    """The clock of Python: tf.timestamp refuses to run where kernels must be deterministic."""
    return tf.ensure_shape(tf.numpy_function(time.perf_counter, [], tf.float64), [])


class TrainStep:
    """The training step of one phase, compiled once.

    Args:
      strategy: where the variables live, and whose replicas share the batches.
      model: takes a dict of the task's inputs and `training`, returns what the task's losses take;
        where it takes `frozen_levels` too, so many of its lowest levels (phases.layer_depths) run
        as in evaluation.
      task: what is learned from a batch.
      state: parameters, optimizer, loss scale and counters.
      phase: which parameters train, and at what rate.
      phase_start: the step at which the phase began.
      seed: of dropout and of what the task draws.
      accumulate: micro-batches that each replica's rows are cut into.
      clip_norm: bound on the global norm of the gradient; 0: none.
      xla: what it compiles, see `config.runtime.xla`; the all-reduce stays outside.
      recompute: see `models.encoder.Encoder.call`.

    Raises:
      UserError: a model that cannot recompute.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        model: keras.Model,
        task: Task,
        state: TrainState,
        phase: PhasePlan,
        phase_start: int,
        seed: int,
        accumulate: int = 1,
        clip_norm: float = 0.0,
        xla: str = "off",
        recompute: bool = False,
    ):
        self.strategy, self.model, self.task, self.state = strategy, model, task, state
        self.loss_scale, self.counters = state.loss_scale, state.counters
        self.phase, self.phase_start = phase, phase_start
        self.names = list(phase.factors)
        self.variables = [state.parameters[name] for name in self.names]
        self.samples = ParameterSamples(
            {n: int(np.prod(state.parameters[n].shape)) for n in self.names}
        )
        self._options = {}
        if "frozen_levels" in inspect.signature(model.call).parameters:
            # Layers below the lowest trained one run without dropout.
            self._options["frozen_levels"] = frozen_levels(list(state.parameters), self.names)
        if recompute:
            if not can_recompute(model):
                raise UserError(
                    "config.runtime.recompute: the model's call does not take it: set it to false"
                )
            self._options["recompute"] = True
        self.seed, self.accumulate = seed, accumulate
        self.clip_norm = clip_norm
        self._fuses, self._compiles = xla == "chains", xla == "step"
        self._micro = self._micro_batch
        if self._compiles:
            self._micro = tf.function(self._micro_batch, jit_compile=True, autograph=False)
        self._by_length = xla != "off" and not phase.settings.cache_features
        self._ready: set[Length] = set()  # lengths that it is compiled for
        self.run = tf.function(self._run)
        self._diagnose = tf.function(self._diagnose_rows, autograph=False)

    def first_call(self, lengths: Sequence[Length]) -> tuple[int, bool]:
        """Returns how many batches the next call of `run` should take, and if it compiles.

        A batch that triggers a compilation runs alone: its time is not taken for that of a step.
        XLA compiles for each length of a batch, TensorFlow alone once.

        Args:
          lengths: those of the next batches, at least one.
        """
        needed = [length if self._by_length else 0 for length in lengths]
        ready = sum(1 for _ in itertools.takewhile(self._ready.__contains__, needed))
        self._ready.add(needed[0])
        return max(ready, 1), not ready

    def describe(self, length: Length) -> str:
        """Words for what is compiled for batches of a length."""
        numbers = " and ".join(map(str, length)) if isinstance(length, tuple) else length
        at = f" for {numbers} tokens" if self._by_length else ""
        return f"the step of phase {self.phase.settings.name!r}{at}"

    def _run(self, iterator, steps, sampled):
        """Up to `steps` steps without the host; stops at the first that is not finite.

        Args:
          iterator: of this worker's batches, one a step.
          steps: int32 scalar.
          sampled: bool scalar, whether to sample the gradient of the last one.

        Returns:
          `StepResults`.
        """
        metrics = tf.zeros([len(OF_STEP)], tf.float64)
        gradients = tf.zeros([self.samples.count], tf.float32)
        waited = tf.zeros([], tf.float64)
        for i in tf.range(steps):
            if not self.counters.failed:
                with tf.control_dependencies([metrics]):
                    asked = _now()
                with tf.control_dependencies([asked]):
                    batch = next(iterator)
                with tf.control_dependencies(tf.nest.flatten(batch)):
                    waited += _now() - asked
                arguments = (batch, sampled & (i + 1 == steps))
                per_replica = self.strategy.run(self._replica_step, args=arguments)
                metrics, gradients = (
                    self.strategy.experimental_local_results(each)[0] for each in per_replica
                )
                if not self.counters.failed:
                    self.counters.step.assign_add(1)
        norm = tf.linalg.global_norm([v.read_value() for v in self.state.parameters.values()])
        after = [norm, self.counters.skipped.read_value()]
        metrics = tf.concat([metrics, [tf.cast(value, tf.float64) for value in after]], 0)
        return StepResults(metrics, gradients, waited)

    def diagnose(self, batch) -> tuple[np.ndarray, np.ndarray]:
        """The training loss of each row of a batch, at the present step.

        Returns:
          ids int64 [rows], -1 for padding, and float [rows], the sum of all losses of a row.
        """
        parts = []
        for part in range(self.accumulate):
            of_part = self.strategy.run(self._diagnose, args=(batch, tf.constant(part)))
            parts.append([self.strategy.gather(value, axis=0).numpy() for value in of_part])
        ids, losses = (np.concatenate(column) for column in zip(*parts, strict=True))
        return ids, losses

    def _diagnose_rows(self, batch: Batch, part):
        batch = own_rows(batch, self.strategy)
        rows = tf.shape(batch[ID])[0] // self.accumulate
        row_start = batch.pop(ROW_START) + tf.cast(part * rows, tf.int64)
        batch = {key: value[part * rows : (part + 1) * rows] for key, value in batch.items()}
        with random_scope(self.seed, tf.identity(self.counters.step), row_start):
            batch = self.task.prepare(batch, training=True)
            outputs = self._outputs(batch)
        weights, losses = self.task.weights(batch), self.task.losses(batch, outputs)
        counted = [tf.where(weights[name] > 0, losses[name], 0) for name in losses]
        return batch[ID], tf.add_n([tf.reduce_sum(_by_row(each), 1) for each in counted])

    def _outputs(self, batch: Batch):
        if FEATURES in batch:
            return self.model.head(batch[FEATURES], training=True)
        inputs = {key: batch[key] for key in self.task.inputs}
        return self.model(inputs, training=True, **self._options)

    @tf.autograph.experimental.do_not_convert  # as in Keras's fit: the model is traced much sooner
    def _replica_step(self, batch: Batch, sampled) -> tuple[tf.Tensor, tf.Tensor]:
        """The step on one replica's rows of the global batch: OF_STEP, and the samples."""
        batch = own_rows(batch, self.strategy)
        replica = tf.distribute.get_replica_context()
        total = tf.distribute.ReduceOp.SUM
        weight_sums, shares = self._weight_sums(batch), None
        if len(weight_sums) > 1:  # else they are not computed, and nothing is reduced beforehand
            sums = replica.all_reduce(total, list(weight_sums.values()))
            shares = [tf.math.divide_no_nan(tf.ones_like(each), each) for each in sums]
        gradients, loss_sum, weight_sum = self._forward_backward(batch, shares)
        reduced = replica.all_reduce(total, [*gradients, loss_sum, weight_sum])
        *gradients, loss_sum, weight_sum = reduced
        if shares:
            weight_sum = tf.ones_like(weight_sum)  # divided already
        divisor = tf.cast(weight_sum, tf.float64) * self.loss_scale.scale
        factor = tf.math.divide_no_nan(tf.ones([], tf.float64), divisor)
        norm = tf.cast(tf.linalg.global_norm(gradients), tf.float64) * factor
        loss = tf.math.divide_no_nan(loss_sum, weight_sum)
        finite = tf.math.is_finite(norm) & tf.math.is_finite(loss)
        samples = tf.cond(
            sampled,
            lambda: (
                self.samples.take(dict(zip(self.names, gradients, strict=True)))
                * tf.cast(factor, tf.float32)
            ),
            lambda: tf.zeros([self.samples.count], tf.float32),
        )
        if self.clip_norm:
            factor *= tf.minimum(tf.ones([], tf.float64), self.clip_norm / norm)
        rate = learning_rate(
            self.counters.step - self.phase_start,
            self.phase.settings.schedule,
            self.phase.settings.learning_rate,
            self.phase.warmup_steps,
            self.phase.total_steps,
        )
        scale = tf.identity(self.loss_scale.scale)  # as it was during this step
        update_norm = replica.merge_call(self._update, args=(gradients, factor, finite, rate))
        values = (loss, rate, norm, update_norm, scale)
        return tf.stack([tf.cast(value, tf.float64) for value in values]), samples

    def _update(self, strategy, gradients, factor, finite, rate):
        """Updates every variable, or none: the same on all replicas. Cross-replica context."""
        finite, factor, rate = (
            strategy.experimental_local_results(each)[0] for each in (finite, factor, rate)
        )

        def apply():
            rates = [rate * factor for factor in self.phase.factors.values()]
            with fusing(self._fuses):
                squares = self.state.optimizer.apply(strategy, self.names, gradients, factor, rates)
            return tf.sqrt(squares)

        def skip():
            hopeless = tf.logical_not(self.loss_scale.can_shrink())
            self.counters.failed.assign(hopeless)
            self.counters.skipped.assign_add(tf.cast(tf.logical_not(hopeless), tf.int64))
            return tf.zeros([], tf.float64)

        update_norm = tf.cond(finite, apply, skip)
        self.loss_scale.update(finite)
        return update_norm

    def _weight_sums(self, batch: Batch) -> dict[str, tf.Tensor]:
        """The sum of the weights of each loss over this replica's rows, by its name."""
        with random_scope(self.seed, tf.identity(self.counters.step), batch[ROW_START]):
            weights = self.task.weights(self.task.prepare(batch, training=True))
        dtype = self.variables[0].dtype
        return {name: tf.reduce_sum(tf.cast(each, dtype)) for name, each in weights.items()}

    def _forward_backward(self, batch: Batch, shares: list[tf.Tensor] | None):
        """Gradients of the scaled sum of losses over this replica's rows, and that sum.

        Args:
          batch: this replica's rows.
          shares: factors of the losses, in their order, where there are several.

        Returns:
          Dense gradients in the order of `self.names`, the sum of weighted losses (without the
          loss scale), and the sum of weights.
        """
        scale = tf.identity(self.loss_scale.scale)
        step, row_start = tf.identity(self.counters.step), batch[ROW_START]
        tensors = {key: value for key, value in batch.items() if key not in (ID, ROW_START)}
        if self.accumulate == 1:
            return self._micro(tensors, step, row_start, scale, shares)
        rows = tf.shape(batch[ID])[0] // self.accumulate

        def body(i, sums):
            part = {key: value[i * rows : (i + 1) * rows] for key, value in tensors.items()}
            first = row_start + tf.cast(i * rows, tf.int64)
            of_part = self._micro(part, step, first, scale, shares)
            return i + 1, tf.nest.map_structure(tf.add, sums, of_part)

        dtype = self.variables[0].dtype
        zeros = (
            [tf.zeros_like(v) for v in self.variables],
            tf.zeros([], dtype),
            tf.zeros([], dtype),
        )
        _, sums = tf.while_loop(lambda i, _: i < self.accumulate, body, (0, zeros))
        return sums

    def _micro_batch(self, batch: Batch, step, row_start, scale, shares):
        """Forward and backward on some rows; `row_start` is their place in the global batch."""
        tape = tf.GradientTape(watch_accessed_variables=False)  # nothing for frozen parameters
        place = random_scope(self.seed, step, row_start)
        with place, fusing(self._fuses), compiling(self._compiles):
            with tape:
                tape.watch(self.variables)
                prepared = self.task.prepare(batch, training=True)
                sums = weighted_sums(self.task, prepared, self._outputs(prepared))
                loss_sum, weight_sum = sums[0]
                if shares:
                    shared = zip(sums, shares, strict=True)
                    loss_sum = tf.add_n([s * tf.cast(share, s.dtype) for (s, _), share in shared])
                target = loss_sum * tf.cast(scale, loss_sum.dtype)
            gradients = tape.gradient(
                target, self.variables, unconnected_gradients=tf.UnconnectedGradients.ZERO
            )
        # With shapes that are known, as the all-reduce packs only such gradients.
        dense = [
            tf.ensure_shape(tf.convert_to_tensor(g), v.shape)
            for g, v in zip(gradients, self.variables, strict=True)
        ]
        dtype = self.variables[0].dtype
        return dense, tf.cast(loss_sum, dtype), tf.cast(weight_sum, dtype)


def _by_row(values):
    """[B] or [B, T] as [B, N]."""
    return tf.reshape(values, [tf.shape(values)[0], -1])
