"""Scores a split with the weights that validation chose.

python -m launch.evaluate --workdir=runs/quickstart --split=test
"""

from absl import flags

from launch import main as program
from launch.arguments import CPU_DEVICES
from trainer.errors import UserError, shown

_WORKDIR = program.define_path("workdir", "Folder of a run.", required=True)
_SPLIT = flags.DEFINE_string(
    "split", "", "train, validation, test, or another set of the run (default: test)."
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
    from trainer import config as config_lib
    from trainer.data.progress import bar
    from trainer.evaluation.report import make_report
    from trainer.run import Run
    from trainer.runtime import devices
    from trainer.storage.plain import to_json
    from trainer.storage.workdir import Workdir

    workdir = Workdir(_WORKDIR.value)
    config, _ = workdir.read_to_run(_TRUST.value)
    if _DATA_DIR.value:
        config.data.data_dir = str(_DATA_DIR.value)
    config.evaluation.batch_size = _BATCH_SIZE.value or config.evaluation.batch_size
    config.runtime.cpu_devices = _CPU_DEVICES.value or 0
    if _CPU_DEVICES.value:
        config.runtime.gpus = ()
    names = ["train", "validation", *config_lib.sets(config.data)]
    split = _SPLIT.value or ("test" if "test" in names else "validation")
    if split not in names:
        raise UserError(f"--split={shown(split)} is not one of: {', '.join(dict.fromkeys(names))}")
    weights = workdir.best_weights()
    strategy = devices.start(config.runtime, config.seed)
    run = Run(
        config,
        workdir,
        program.cache_dir(),
        strategy,
        progress=bar,
        say=program.say,
        weights=weights,
    )
    workdir.check_derived(run.derived())
    run.restore(*weights)
    report = make_report(run, split, run.score(split, lambda: False))
    with program.standard_output():
        print(to_json({"split": split, "step": weights[1], **report.metrics}))


if __name__ == "__main__":
    program.define_cache_dir()
    program.run(main, __doc__)
