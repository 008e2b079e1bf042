"""Writes a trained model in a form that other programs open.

  python -m launch.export --workdir=runs/bert --format=huggingface --output=exported

huggingface: a folder for transformers' AutoModelForSequenceClassification and AutoTokenizer.
"""

from pathlib import Path

from absl import flags

from launch import main as program

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a run.", required=True)
_FORMAT = flags.DEFINE_enum("format", None, ["huggingface"], "What to write.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "A new folder.", required=True)


def main() -> None:
    """Exports the weights that validation chose."""
    program.import_tensorflow()
    from trainer.export import to_hugging_face
    from trainer.workdir import Workdir

    output = Path(_OUTPUT.value)
    workdir = Workdir(Path(_WORKDIR.value))
    step = to_hugging_face(workdir, output)
    program.say(f"Wrote the weights of step {step} to {output}")
    data = workdir.read()[0].data
    if data.cut != "head":
        program.say(
            f"Note: texts over {data.max_length} tokens were cut {data.cut!r} here; the tokenizers"
            " of transformers keep the head"
        )


if __name__ == "__main__":
    program.run(main, __doc__)
