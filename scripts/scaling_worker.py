"""A worker of scaling.py: takes orders on standard input, answers on standard output, in JSON."""

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from launch import main as program
from trainer import config as config_lib
from trainer.workers import Workers

MEETING_SECONDS = 120.0


class Worker:
    """The real training step, on synthetic token ids, and its all-reduce alone.

    Args:
      config: the settings; the longest phase trains.
      workers: all workers of the run.
      rows: of this worker's batch.
      length: of each row, in tokens.
    """

    def __init__(self, config: config_lib.Experiment, workers: Workers, rows: int, length: int):
        import tensorflow as tf

        from trainer import runtime
        from trainer.models.parameters import named_parameters
        from trainer.objectives.losses import make_loss
        from trainer.phases import plan_phases
        from trainer.state import TrainState
        from trainer.step import TrainStep

        self.tf, self.workers = tf, workers
        workers.meet(MEETING_SECONDS)
        self.strategy = runtime.start(config.runtime, config.seed, workers)
        with self.strategy.scope():
            model, vocabulary = _model(config)
            parameters = named_parameters(model)
            state = TrainState(config.optimizer, config.runtime.precision, parameters)
        # So long that the rate is not 0 at the end.
        longest = max(config.phases, key=lambda phase: phase.epochs or phase.steps)
        phase = dataclasses.replace(longest, steps=10**6, epochs=0.0, patience=0)
        self.step = TrainStep(
            self.strategy,
            model,
            make_loss(config.objective, 2),
            state,
            plan_phases([phase], list(parameters), 1)[0],
            phase_start=0,
            seed=config.seed,
            clip_norm=config.optimizer.clip_norm,
            xla=config.runtime.xla,
        )
        self.batches = iter(_batches(workers.index, rows, length, vocabulary))
        self._reducers: dict[int, Callable[[Any], Any]] = {}

    def steps(self, count: int) -> dict[str, Any]:
        """So many steps in one call, as launch.train makes them; seconds a step, and the loss."""
        times = self.tf.constant(count)
        seconds, metrics = self._timed(lambda: self.step.run(self.batches, times).numpy())
        return {"seconds": seconds / count, "loss": float(metrics[0])}

    def reduce(self, size: int, count: int) -> dict[str, Any]:
        """So many all-reduces in one call of float32 `size` bytes; of the gradients for size 0."""
        times, reducer = self.tf.constant(count), self._reducer(size)
        seconds, _ = self._timed(lambda: reducer(times).numpy())
        return {"seconds": seconds / count}

    def gradients(self) -> dict[str, Any]:
        """What the all-reduce of a step carries."""
        shapes = [variable.shape.num_elements() for variable in self.step.variables]
        width = self.step.variables[0].dtype.size
        return {"tensors": len(shapes) + 2, "bytes": (sum(shapes) + 2) * width}

    def _reducer(self, size: int) -> Callable[[Any], Any]:
        tf = self.tf
        if size not in self._reducers:
            message = None if size == 0 else tf.Variable(tf.zeros([size // 4]))

            def replica():
                context = tf.distribute.get_replica_context()
                if message is None:
                    tensors = [variable.read_value() for variable in self.step.variables]
                    tensors += [tf.zeros([], tensors[0].dtype)] * 2
                else:
                    tensors = [message.read_value()]
                reduced = context.all_reduce(tf.distribute.ReduceOp.SUM, tensors)
                # A number of each, so that nothing is left out.
                return tf.add_n([tf.reshape(tensor, [-1])[0] for tensor in reduced])

            def run(times):
                last = tf.zeros([], self.step.variables[0].dtype)
                for _ in tf.range(times):
                    last = self.strategy.experimental_local_results(self.strategy.run(replica))[0]
                return last

            self._reducers[size] = tf.function(run)
            self._reducers[size](tf.constant(1))
        return self._reducers[size]

    def _timed(self, do: Callable[[], Any]) -> tuple[float, Any]:
        """Seconds that it took, from when all workers were ready, and what it returned."""
        self.workers.exchange()
        began = time.perf_counter()
        result = do()
        return time.perf_counter() - began, result


def _model(config: config_lib.Experiment) -> tuple[Any, int]:
    """The model of a config with new weights, and how many tokens it knows."""
    from trainer.models.parameters import build_model
    from trainer.models.pretrained import open_pretrained

    if not config.model.pretrained:
        tokens = config.model.vocab_size or config.tokenizer.vocab_size
        return build_model(config, tokens, 2), tokens
    architecture = open_pretrained(config.model.pretrained).architecture(config.model)
    return build_model(config, 0, 2, architecture), architecture.vocab_size


def _batches(index: int, rows: int, length: int, vocabulary: int) -> Any:
    """The same rows of random tokens again and again: no real data, no padding."""
    import numpy as np
    import tensorflow as tf

    draw = np.random.default_rng(index)
    batch = {
        "input_ids": draw.integers(0, vocabulary, (rows, length), np.int32),
        "attention_mask": np.ones((rows, length), np.int32),
        "token_type_ids": np.zeros((rows, length), np.int32),
        "label": draw.integers(0, 2, rows, np.int32),
        "weight": np.ones(rows, np.float32),
        "id": np.arange(rows, dtype=np.int64),
        "row_start": np.int64(index * rows),
        "step": np.int64(0),
    }
    return tf.data.Dataset.from_tensors(batch).repeat()


def main() -> int:
    """Obeys until there are no more orders."""
    setup = json.loads(sys.stdin.readline())
    os.sched_setaffinity(0, {setup["core"]})  # before any thread is started
    program.import_tensorflow()
    config = config_lib.from_dict(setup["config"])
    workers = Workers(setup["addresses"], setup["index"], program.end)
    worker = Worker(config, workers, setup["rows"], setup["length"])
    _answer(worker.gradients())
    for line in sys.stdin:
        order = json.loads(line)
        _answer(getattr(worker, order.pop("do"))(**order))
    workers.part()
    return 0


def _answer(values: dict[str, Any]) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # TensorFlow's own ending waits for workers that may be gone
