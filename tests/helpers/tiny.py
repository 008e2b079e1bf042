"""Tiny models and batches for tests, and all that one training step needs."""

import contextlib
from collections.abc import Sequence
from types import SimpleNamespace

import keras
import numpy as np
import tensorflow as tf

from trainer.config import Experiment, Model, Optimizer, Phase
from trainer.models.architecture import from_scratch
from trainer.models.network import Network
from trainer.models.parameters import named_parameters
from trainer.phases import plan_phases
from trainer.state import TrainState
from trainer.step import STEP_METRICS, StepResults, TrainStep
from trainer.tasks.classification import Classification
from trainer.tasks.task import Task

VOCAB, LENGTH, CLASSES = 40, 8, 3
NAMES = ("bad", "fair", "good")
MASK_ID, SPECIAL_IDS = 4, (0, 1, 2, 3, 4)


@contextlib.contextmanager
def precision(policy: str):
    """Keras's dtype policy, and its default type, as trainer.runtime.devices.start sets them."""
    before = keras.config.dtype_policy(), keras.config.floatx()
    keras.config.set_dtype_policy(policy)
    keras.config.set_floatx("float64" if policy == "float64" else "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before[0])
        keras.config.set_floatx(before[1])


def model_settings(**changes) -> Model:
    """A Transformer of 8 numbers a token; dropout everywhere."""
    defaults = {"width": 8, "depth": 1, "heads": 2, "ffn_width": 16, "embedding_dropout": 0.2}
    return Model(**{**defaults, **changes})


def no_dropout(**changes) -> Model:
    """The model without dropout."""
    rates = ("dropout", "attention_dropout", "embedding_dropout", "head_dropout")
    return model_settings(**dict.fromkeys(rates, 0.0), **changes)


def classifier(settings: Model | None = None, classes: int = CLASSES) -> Network:
    """A classifier that is built; its weights depend on the settings only."""
    keras.utils.set_random_seed(0)
    shape = from_scratch(settings or model_settings(), VOCAB, LENGTH, pairs=False)
    model = Network(shape, classes)
    model(inputs(batch(2)))
    return model


def classification(names: Sequence[str] = NAMES, **settings) -> Classification:
    """The task of one run, with a tokenizer of which only the special tokens are known."""
    tokenizer = SimpleNamespace(mask_token_id=MASK_ID, all_special_ids=list(SPECIAL_IDS))
    return Classification(**settings).bound({"labels": list(names)}, tokenizer)


def inputs(batch_: dict) -> dict:
    """Entries of a batch that a model takes."""
    return {key: batch_[key] for key in ("input_ids", "attention_mask", "token_type_ids")}


def batch(rows: int, seed: int = 0, first_id: int = 0) -> dict[str, np.ndarray]:
    """A global batch of examples of different lengths, all of weight 1."""
    random = np.random.default_rng(seed)
    lengths = random.integers(2, LENGTH + 1, rows)
    mask = (np.arange(LENGTH) < lengths[:, None]).astype(np.int32)
    return {
        "input_ids": (random.integers(5, VOCAB - 1, (rows, LENGTH)) * mask).astype(np.int32),
        "attention_mask": mask,
        "token_type_ids": np.zeros((rows, LENGTH), np.int32),
        "label": random.integers(0, CLASSES, rows).astype(np.int32),
        "weight": np.ones(rows, np.float32),
        "id": np.arange(first_id, first_id + rows, dtype=np.int64),
    }


def batches(count: int, rows: int) -> list[dict[str, np.ndarray]]:
    """Global batches of examples that are all different."""
    return [batch(rows, seed, 100 * seed) for seed in range(count)]


def filled(batch_: dict, rows: int) -> dict[str, np.ndarray]:
    """The batch with padding rows after its own: one real token, weight 0, id -1."""
    missing = rows - len(batch_["id"])
    padding = {key: np.zeros((missing, *v.shape[1:]), v.dtype) for key, v in batch_.items()}
    padding["attention_mask"][:, 0] = 1
    padding["id"][:] = -1
    return {key: np.concatenate([value, padding[key]]) for key, value in batch_.items()}


def distributed(strategy, global_batches: list[dict], first_step: int = 0) -> tf.data.Dataset:
    """The batches, which the replicas of `strategy` divide, one after the other."""
    assert len(global_batches[0]["id"]) % strategy.num_replicas_in_sync == 0
    columns = {key: np.stack([b[key] for b in global_batches]) for key in global_batches[0]}
    count = len(global_batches)
    columns["row_start"] = np.zeros(count, np.int64)
    columns["step"] = np.arange(first_step, first_step + count)
    return tf.data.Dataset.from_tensor_slices(columns)


class Trainer:
    """A model, its optimizer and the step of one phase over given global batches.

    Args:
      make_model: called under the strategy's scope.
      phases: of which `phase` is the one that trains, from step 0 on.
    """

    def __init__(
        self,
        strategy,
        global_batches,
        *,
        make_model=classifier,
        task: Task | None = None,
        optimizer: Optimizer | None = None,
        phases: list[Phase] | None = None,
        phase: int = 0,
        policy: str = "float32",
        accumulate: int = 1,
        xla: str = "off",
        recompute: bool = False,
        seed: int = 7,
    ):
        self.strategy, self.batches = strategy, global_batches
        optimizer = optimizer or Optimizer()
        phases = phases or [Phase(steps=20, learning_rate=1e-2, warmup_steps=3)]
        with precision(policy), strategy.scope():
            self.model = make_model()
            self.parameters = named_parameters(self.model)
            self.all = TrainState(optimizer, policy, self.parameters)
        self.optimizer, self.counters = self.all.optimizer, self.all.counters
        self.loss_scale = self.all.loss_scale
        self.phases = plan_phases(phases, list(self.parameters), 10)
        self._arguments = {
            "task": task or classification(),
            "seed": seed,
            "accumulate": accumulate,
            "clip_norm": optimizer.clip_norm,
            "xla": xla,
            "recompute": recompute,
        }
        self.iterator = iter(distributed(strategy, global_batches))
        self.start_phase(phase, 0)

    def start_phase(self, phase: int, phase_start: int) -> None:
        """The next steps are those of that phase."""
        self.step = TrainStep(
            self.strategy,
            self.model,
            state=self.all,
            phase=self.phases[phase],
            phase_start=phase_start,
            **self._arguments,
        )

    def run(self, steps: int = 1) -> dict[str, float]:
        """Runs `steps` steps in one call; returns the metrics of the last."""
        values = self.call(steps).metrics.numpy()
        return dict(zip(STEP_METRICS, values.tolist(), strict=True))

    def call(self, steps: int = 1, sampled: bool = False) -> StepResults:
        """Runs `steps` steps in one call; returns all that it gives."""
        return self.step.run(self.iterator, tf.constant(steps), tf.constant(sampled))

    def losses(self, steps: int) -> np.ndarray:
        """The loss of each of so many steps."""
        return np.array([self.run()["loss"] for _ in range(steps)])

    def weights(self) -> dict[str, np.ndarray]:
        """The parameters by name."""
        return {name: v.numpy() for name, v in self.parameters.items()}

    def state(self) -> dict[str, np.ndarray]:
        """Parameters, moments, averages and counts of updates."""
        state = self.parameters | self.optimizer.variables()
        return {name: v.numpy() for name, v in state.items()}

    def on_each_replica(self) -> list[dict[str, np.ndarray]]:
        """The parameters as each replica holds them."""
        copies = {
            name: self.strategy.experimental_local_results(v) for name, v in self.parameters.items()
        }
        count = self.strategy.num_replicas_in_sync
        return [{name: c[i].numpy() for name, c in copies.items()} for i in range(count)]


def experiment(**changes) -> Experiment:
    """A valid experiment, changed."""
    return Experiment(**{"phases": [Phase(steps=4)], **changes})
