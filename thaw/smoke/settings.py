"""Settings and data of a smoke test: those of a config, for a few steps on a few rows."""

import contextlib
import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from thaw.smoke import slices
from trainer import config as config_lib
from trainer.config import Experiment
from trainer.tasks.stored import StoredTask, check_class

SAVED_EVERY = 2  # steps
BATCH = 10  # rows of a step: four devices have unequal shares
SCORED = 16  # rows of an evaluation's batch
TRAIN_ROWS = 34  # an epoch of four batches, the last of them with four rows; more make more
STEPS, MOST_STEPS = 4, 8  # of each phase: those of an epoch, and an evaluation at the end
OTHER_ROWS, OTHER_LABELS = 24, 100  # of the other sets; labels of which each has a row at least
_CONFIG = '''"""Settings of a smoke test, written by launch.smoke."""

from pathlib import Path

from thaw.smoke.settings import read


def get_config():
    """The experiment."""
    return read(Path(__file__).with_name("settings.json"))
'''


class Prepared(NamedTuple):
    """A smoke test that can begin.

    Attributes:
      config: its settings.
      file: a config file that makes the same settings, for other processes.
      rows: by set, how many rows were taken, and of how many.
      steps: of each phase.
    """

    config: Experiment
    file: Path
    rows: dict[str, tuple[int, int]]
    steps: int

    def describe(self) -> str:
        """A line on the rows that were taken."""
        taken = (f"{some:,} of {of:,} {name}" for name, (some, of) in self.rows.items())
        return f"{', '.join(taken)}; {self.steps} steps of each phase"


def prepare(config: Experiment, folder: Path) -> Prepared:
    """Takes some of the rows that a config trains and scores on, and settings for so few.

    Args:
      config: as it would be trained; it is not changed.
      folder: where the rows and the settings are written; it exists.

    Raises:
      UserError: a setting is wrong, or the data cannot be used.
    """
    from trainer.data.sources import open_source, readable

    config = copy.deepcopy(config)
    config_lib.validate(config)
    config_lib.expand_paths(config)
    check_class(config.task)
    config_lib.metric(config)
    files, rows = {}, {}
    with contextlib.ExitStack() as links:
        source = open_source(readable(config.data, links), config.task)
        columns = source.task.columns()
        for name in source.names:
            # Of train every label, or a row of another set could have one that nothing learned.
            sizes = (TRAIN_ROWS, None, BATCH) if name == "train" else (OTHER_ROWS, OTHER_LABELS)
            some, total = slices.some_of(source.rows(name), columns, *sizes)
            if name == "train":
                config.task = source.task.for_some(source.facts, some)
            files[name] = folder.absolute() / f"{name}.jsonl"
            slices.write(some, columns, files[name])
            rows[name] = len(some), total
    steps = min(max(-(-rows["train"][0] // BATCH), STEPS), MOST_STEPS)
    short = shortened(config, files, steps)
    config_lib.validate(short)
    written = json.dumps(config_lib.to_dict(short), indent=2) + "\n"
    (folder / "settings.json").write_text(written, encoding="utf-8")
    file = folder / "config.py"
    file.write_text(_CONFIG, encoding="utf-8")
    return Prepared(read(folder / "settings.json"), file, rows, steps)


def shortened(config: Experiment, files: Mapping[str, Path], steps: int) -> Experiment:
    """The settings for some steps of each phase, with evaluations and checkpoints between them.

    Args:
      config: valid settings; they are not changed.
      files: the rows of each set.
      steps: of each phase.
    """
    config = copy.deepcopy(config)
    data = config.data
    data.source, data.data_dir = "files", ""
    data.format, data.quoting, data.header = "suffix", "suffix", True
    data.train, data.validation = str(files["train"]), str(files["validation"])
    data.test = str(files.get("test", ""))
    more = (name for name in files if name not in config_lib.FILES)
    data.more_tests = tuple(f"{name}={files[name]}" for name in more)
    data.validation_share, data.test_share, data.stratify = 0.0, 0.0, False
    # Train's rows are in one file, and so are those of each other set.
    data.corpora, data.mixture, data.weights, data.exclude = [], (), (), ()
    data.mixing_limit, data.mixing_temperature = 0, 1.0
    data.buckets = min(data.buckets, 2)
    for phase in config.phases:
        warms_up = bool(phase.warmup_steps or phase.warmup_share)
        phase.steps, phase.epochs = steps, 0.0
        phase.warmup_steps, phase.warmup_share = int(warms_up), 0.0
    config.evaluation.every_steps, config.evaluation.every_epochs = steps, 0.0
    config.evaluation.batch_size = min(config.evaluation.batch_size, SCORED)
    runtime = config.runtime
    runtime.deterministic, runtime.profile_steps = True, ()
    runtime.gpus, runtime.cpu_devices = (), 0
    runtime.max_rows_per_device = min(runtime.max_rows_per_device, 3)
    config.global_batch_size = BATCH
    config.max_steps, config.log_every_steps, config.histograms_every_steps = 0, 1, 0
    config.save_every_steps = SAVED_EVERY
    return config


def read(path: Path) -> Experiment:
    """The settings that `prepare` wrote. Raises UserError: their task cannot be imported."""
    config = config_lib.from_dict(json.loads(path.read_text(encoding="utf-8")))
    if isinstance(config.task, StoredTask):
        config.task = config.task.imported()
    return config
