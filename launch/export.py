"""Writes a trained model in a form that other programs open.

  python -m launch.export --workdir=runs/bert --format=savedmodel --output=exported

savedmodel: a TensorFlow SavedModel that takes raw texts; it needs only tensorflow and
tensorflow-text. keras: a Keras file, for programs that have this library. huggingface: a folder for
transformers' AutoModelForSequenceClassification and AutoTokenizer, of a run that began with a
pretrained model, or of a language model. Each has a model card, README.md: docs/use/export.md.

The SavedModel of a language model continues texts, that of a text-to-text model takes raw texts and
gives raw texts; as launch.predict writes them, unless its flags (--max_new_tokens, --temperature,
--top_k, --top_p, --repetition_penalty, --beams, --length_penalty, --length_norm) ask for another
way, which then is a part of it.
"""

from absl import flags

from launch import generation
from launch import main as program
from thaw import trained

_WORKDIR = program.define_path("workdir", "Folder of a run.", required=True)
_FORMAT = flags.DEFINE_enum("format", None, trained.FORMATS, "What to write.", required=True)
_OUTPUT = program.define_path("output", "A new folder.", required=True)
_TRUST = program.define_trust()
flags.adopt_module_key_flags(generation)  # --help shows them too


def main() -> None:
    """Exports the weights that validation chose."""
    trained.check_output(_OUTPUT.value)
    program.import_tensorflow()
    trained.export(
        _WORKDIR.value,
        _OUTPUT.value,
        _FORMAT.value,
        say=program.say,
        trust=_TRUST.value,
        writing=generation.given(),
    )


if __name__ == "__main__":
    program.run(main, __doc__)
