"""A trained model out of a run's folder, without the data it was trained on."""

import dataclasses
from collections.abc import Collection

import tensorflow as tf

from trainer import config as config_lib
from trainer.data.encode import TextEncoder
from trainer.data.tokenizers import vocabulary_size
from trainer.errors import UserError
from trainer.models import families, size
from trainer.models.parameters import build_model, named_constants, named_parameters
from trainer.storage.workdir import Workdir


def for_prediction(runtime: config_lib.Runtime, cpu_devices: int | None) -> config_lib.Runtime:
    """The settings of a run's devices, to predict with in float32 or wider.

    In half precision a text's probabilities would hang on what stands beside it in a batch: by
    some 0.001, against some 0.000001.

    Args:
      runtime: those it was trained with.
      cpu_devices: so many logical CPU devices instead; None: what there is.
    """
    precision = runtime.precision if runtime.precision == "float64" else "float32"
    gpus = () if cpu_devices else runtime.gpus
    return dataclasses.replace(
        runtime, precision=precision, cpu_devices=cpu_devices or 0, gpus=gpus
    )


class TrainedModel:
    """The weights that validation chose, with all that is needed to use them.

    Attributes:
      config: the run's settings. derived: what followed from them and the data.
      step: of the weights.
      tokenizer, encoder: texts to token ids, as in training.
      model: takes a dict of int32 [B, T] tensors (input_ids, attention_mask, token_type_ids).
      task: bound to what it learned. fitted: what it fitted on validation, or None.
    """

    def __init__(
        self,
        workdir: Workdir,
        strategy: tf.distribute.Strategy,
        trusted: Collection[str] = (),
    ):
        """Loads the best weights of `workdir` onto the devices of `strategy`.

        Args:
          workdir: of a run that ended, or of which a phase has.
          strategy: from `trainer.runtime.devices.start`.
          trusted: packages of your own that the run's settings may name.

        Raises:
          UserError: there is no run, no phase of it has ended, its settings name code that is not
            trusted, or a file of it is not what was written.
        """
        self.workdir, self.strategy = workdir, strategy
        self.config, self.derived = workdir.read_to_run(trusted)
        store, self.step = workdir.finished_weights()
        self.tokenizer = workdir.load_tokenizer()
        self.task = self.config.task.bound(self.derived["facts"], self.tokenizer)
        data = self.config.data
        self.encoder = TextEncoder(self.tokenizer, data.max_length, data.cut)
        pretrained = self.derived["pretrained"]
        where = f"pretrained model {self.config.model.pretrained!r}"
        kind, model = self.task.kind, self.config.model
        longest = self.task.longest_target
        shape = (
            families.architecture(pretrained, model, where, kind, longest) if pretrained else None
        )
        sizes = self.config, vocabulary_size(self.tokenizer), self.task.outputs, shape, kind
        # Before a table of that size is made.
        size.check_stored(size.shapes(*sizes), store, self.step, str(workdir.config_file))
        size.check(*sizes, trains=False)
        with strategy.scope():
            self.model = build_model(*sizes, make_head=self.task.head)
        weights = {f"model/{name}": v for name, v in named_parameters(self.model).items()}
        weights |= {f"constant/{name}": v for name, v in named_constants(self.model).items()}
        store.restore_weights(self.step, weights)
        self.fitted = self.task.load_fitted(workdir.calibration_file)
        if self.fitted and self.fitted.step != self.step:
            raise UserError(
                f"{workdir.calibration_file} belongs to the weights of step"
                f" {self.fitted.step}, the best ones are of step {self.step}: let the run end,"
                " or delete that file"
            )

    @property
    def note(self) -> str:
        """A note for the user of its predictions; empty if there is none."""
        return self.task.note(self.fitted, self.workdir.result())
