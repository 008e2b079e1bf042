"""Writes a trained model in a form that other programs open.

  python -m launch.export --workdir=runs/bert --format=savedmodel --output=exported

savedmodel: a TensorFlow SavedModel that takes raw texts; it needs only tensorflow and
tensorflow-text. keras: a Keras file, for programs that have this library. huggingface: a folder for
transformers' AutoModelForSequenceClassification and AutoTokenizer, of a run that began with a
pretrained model. Each has a model card, README.md: docs/use/export.md.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from launch import main as program
from trainer.errors import UserError

if TYPE_CHECKING:
    from trainer.storage.workdir import Workdir

FORMATS = ["savedmodel", "keras", "huggingface"]
_WORKDIR = program.define_path("workdir", "Folder of a run.", required=True)
_FORMAT = flags.DEFINE_enum("format", None, FORMATS, "What to write.", required=True)
_OUTPUT = program.define_path("output", "A new folder.", required=True)
_TRUST = program.define_trust()


def main() -> None:
    """Exports the weights that validation chose."""
    output: Path = _OUTPUT.value
    if output.is_dir() and any(output.iterdir()):  # before anything is loaded
        raise UserError(f"--output={output} is there already: choose another folder")
    program.import_tensorflow()
    from trainer.storage.workdir import Workdir

    workdir = Workdir(_WORKDIR.value)
    workdir.read_to_run(_TRUST.value)
    write = _hugging_face if _FORMAT.value == "huggingface" else _own
    step, note = write(workdir, output)
    program.say(f"Wrote the weights of step {step} to {output}")
    if note:
        program.say(f"Note: {note}")


def _hugging_face(workdir: "Workdir", output: Path) -> tuple[int, str]:
    from trainer.export.huggingface import to_hugging_face

    step = to_hugging_face(workdir, output, _TRUST.value)
    data = workdir.read()[0].data
    if data.cut == "head":
        return step, ""
    return step, (
        f"texts over {data.max_length} tokens were cut {data.cut!r} here; the tokenizers of"
        " transformers keep the head"
    )


def _own(workdir: "Workdir", output: Path) -> tuple[int, str]:
    import tensorflow as tf

    from trainer.export.keras_file import to_keras
    from trainer.export.savedmodel import to_saved_model
    from trainer.runtime import devices
    from trainer.storage.paths import glob_character
    from trainer.trained import TrainedModel, for_prediction

    config, _ = workdir.read()
    workdir.finished_weights()  # before devices are set up: there may be none
    devices.start(for_prediction(config.runtime, 1), config.seed)
    trained = TrainedModel(workdir, tf.distribute.get_strategy(), _TRUST.value)
    if _FORMAT.value == "keras":
        to_keras(trained, output)
        return trained.step, trained.note
    why = to_saved_model(trained, output)
    ids = why and f"the SavedModel takes token ids, not texts, as {why}"
    glob = glob_character(output.absolute())
    moved = glob and f"TensorFlow loads it from a path without {glob!r} only: move it first"
    return trained.step, "; ".join(note for note in (trained.note, ids, moved) if note)


if __name__ == "__main__":
    program.run(main, __doc__)
