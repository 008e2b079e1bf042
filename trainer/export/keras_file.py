"""A trained model as a Keras file, for programs that have this library."""

from pathlib import Path

import keras

from trainer.errors import UserError
from trainer.export.card import Card, write_card
from trainer.export.folder import new_folder
from trainer.tasks.task import class_path
from trainer.trained import TrainedModel

NAME = "model.keras"


def to_keras(trained: TrainedModel, output: Path) -> None:
    """Writes model.keras, the tokenizer and a model card.

    `keras.models.load_model` opens the file where the module of the model's class was imported:
    trainer.models.network for this library's own.

    Args:
      trained: in float32, see `trainer.trained.for_prediction`.
      output: a folder that does not exist yet, or is empty.

    Raises:
      UserError: a model of a factory that Keras cannot save, or the folder cannot be written.
    """
    if trained.task.own_head:
        raise UserError(
            f"config.task={class_path(trained.task)!r} has a head of its own, which a Keras file"
            " cannot hold: export it with --format=savedmodel"
        )
    with new_folder(output) as folder:
        try:
            trained.model.save(folder / NAME)
            keras.models.load_model(folder / NAME)
        except (NotImplementedError, TypeError, ValueError) as error:
            said = " ".join(str(error).split())[:200]
            raise UserError(
                f"config.model.factory={trained.config.model.factory!r} makes a model that Keras"
                f" cannot save and load ({said}): give its class a get_config()"
            ) from error
        trained.tokenizer.save_pretrained(folder / "tokenizer")
        write_card(Card.of(trained), folder, "keras")
