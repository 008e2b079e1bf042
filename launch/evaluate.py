"""Scores a split with the weights that validation chose.

python -m launch.evaluate --workdir=runs/quickstart --split=test
"""

from absl import flags

from launch import main as program
from launch.arguments import CPU_DEVICES
from thaw import trained

_WORKDIR = program.define_path("workdir", "Folder of a run.", required=True)
_SPLIT = flags.DEFINE_string(
    "split", "", "train, validation, test, or another set of the run (default: test)."
)
_DATA = flags.DEFINE_string(
    "data", "", "A file of other labelled rows to score, instead of a set of the run."
)
_DATA_DIR = program.define_path("data_dir", "Where the TFDS dataset is now, if it moved.")
_BATCH_SIZE = program.define_count("batch_size", "Rows at once, instead of the run's.", 2**20)
_CPU_DEVICES = program.define_count(
    "cpu_devices", "Use this many logical CPU devices.", CPU_DEVICES
)
_TRUST = program.define_trust()


def main() -> None:
    """Prints the metrics as one JSON object."""
    program.import_tensorflow()
    found = trained.evaluate(
        _WORKDIR.value,
        _SPLIT.value,
        cache_dir=program.cache_dir(),
        say=program.say,
        trust=_TRUST.value,
        data=_DATA.value,
        data_dir=str(_DATA_DIR.value or ""),
        batch_size=_BATCH_SIZE.value or 0,
        cpu_devices=_CPU_DEVICES.value or 0,
    )
    from trainer.storage.plain import to_json

    with program.standard_output():
        print(to_json(found))


if __name__ == "__main__":
    program.define_cache_dir()
    program.run(main, __doc__)
