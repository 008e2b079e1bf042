"""The step of trainer.step on random token ids, for benchmarks."""

import dataclasses
from pathlib import Path
from typing import Any

from trainer.errors import UserError
from trainer.storage import strict_json


@dataclasses.dataclass(frozen=True)
class Shape:
    """The shape of a model and its batches; the defaults are MiniLM-L6's (Wang et al., 2020)."""

    depth: int = 6
    width: int = 384
    heads: int = 12
    ffn_width: int = 1536
    vocab_size: int = 30522
    rows: int = 32  # of each worker
    length: int = 128

    @classmethod
    def of(cls, weights: Path) -> "Shape":
        """The shape of a BERT in a Hugging Face folder.

        Raises:
          UserError: it holds no config.json of a BERT.
        """
        names = "num_hidden_layers hidden_size num_attention_heads intermediate_size vocab_size"
        try:
            held = strict_json.read(weights / "config.json")
            return cls(*(int(held[name]) for name in names.split()))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"{weights / 'config.json'} is no BERT's: {error!r}") from error

    def floating_point_operations(self) -> float:
        """Operations of forward and backward on one worker's rows."""
        return self.of_a_token(self.length) * self.rows * self.length

    def of_a_token(self, length: float, masked: float = 0.0) -> float:
        """Operations of a token in a text of that length: 6 a weight, and attention.

        Args:
          length: tokens of the text.
          masked: the share of tokens that are found among the vocabulary.
        """
        weights = self.depth * (4 * self.width**2 + 2 * self.width * self.ffn_width)
        weights += masked * self.width * (self.width + self.vocab_size)
        return float(6 * weights + 12 * self.depth * self.width * length)


def training(config: Any, shape: Shape, strategy: Any, index: int = 0) -> tuple[Any, Any]:
    """The step of trainer.step on random token ids, with the dropout of the defaults."""
    import numpy as np
    import tensorflow as tf

    from trainer.models.parameters import build_model, named_parameters
    from trainer.phases import plan_phases
    from trainer.state import TrainState
    from trainer.step import TrainStep

    for name in ("depth", "width", "heads", "ffn_width"):
        setattr(config.model, name, getattr(shape, name))
    config.model.positions, config.model.head = "learned", "cls"
    config.data.max_length = shape.length
    with strategy.scope():
        model = build_model(config, shape.vocab_size, 2)
        parameters = named_parameters(model)
        state = TrainState(config.optimizer, config.runtime.precision, parameters)
    phase = plan_phases(config.phases, list(parameters), 1)[0]
    task = config.task.bound({"labels": ["neg", "pos"]})
    step = TrainStep(
        strategy,
        model,
        task,
        state,
        phase,
        phase_start=0,
        seed=0,
        clip_norm=1.0,
        xla=config.runtime.xla,
    )
    random = np.random.default_rng(index)
    size = (shape.rows, shape.length)
    batch = {
        "input_ids": random.integers(5, shape.vocab_size, size).astype(np.int32),
        "attention_mask": np.ones(size, np.int32),
        "token_type_ids": np.zeros(size, np.int32),
        "label": random.integers(0, 2, shape.rows).astype(np.int32),
        "weight": np.ones(shape.rows, np.float32),
        "id": np.arange(shape.rows, dtype=np.int64),
        "row_start": np.int64(index * shape.rows),
    }
    return step, iter(tf.data.Dataset.from_tensors(batch).repeat())
