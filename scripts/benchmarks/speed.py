"""Measures the promises about speed; exit status 0: it holds, 1: it does not, 2: your mistake.

  python -m scripts.benchmarks.speed overhead
  python -m scripts.benchmarks.speed time-to-accuracy --data_dir=FOLDER
  python -m scripts.benchmarks.speed scaling
  python -m scripts.benchmarks.speed step
  python -m scripts.benchmarks.speed input
  python -m scripts.benchmarks.speed tokenising --data_dir=FOLDER
  python -m scripts.benchmarks.speed head
  python -m scripts.benchmarks.speed start
  python -m scripts.benchmarks.speed scale --data_dir=FOLDER

overhead: what a step of launch.train costs beside the bare compiled step, which is TrainStep.run
on batches that are in memory already, with as many steps a call. launch.train runs as it is: input,
read-back of the metrics, progress, metrics.jsonl, TensorBoard, histograms. Only evaluations and
saves, which are not steps, are turned off. After every call of (by default) 10 steps, the same
steps run bare on a twin of the model, so both meet the same load of the machine; both must end with
the same weights bit for bit. Both clocks stop when the metrics are on the host. A round is 200
steps, so that each holds its share of logging and one write of histograms. A round's ratio is that
of the two sums of wall time; the median of the rounds must be at most 1.05. The ratio of processor
time, which other programs disturb less, is shown beside it.

time-to-accuracy: Keras fit of the textbook Transformer (textbook.py), then launch.train, each in
a process of its own, each clock from the start of its process: imports, vocabulary and tokens are
in it, ours from an empty cache. The peer's mark is its best test accuracy after any epoch, and the
time when it had it: it chooses on the test set, as textbooks do. Ours chooses on validation: the
time is when a checkpoint stood in best/ whose test accuracy, scored here after the run, is at least
the peer's. It must be at most half of the peer's time. Without --data_dir both train on the sample
of `make data` (20,000 and 5,000 reviews), with it on imdb_reviews there (25,000 and 25,000).

scaling: the training step of a MiniLM-shaped encoder on random token ids, in one worker on one
core, in two workers of two runs on two cores, and in two workers of one run; in turn, in one go.
Twice the examples a second of one worker is efficiency 1; at least 0.85 must be reached. Then the
all-reduce of the gradients alone, and a model of what it costs: latency and bandwidth come from two
sizes of message, and the time of a third is predicted before it is measured. What it says of many
GPUs rests on assumptions, which are flags, and is called an extrapolation.

step: our training step against one that is written by hand of Keras's layers (bare.py), in turn, on
the same random token ids, on a GPU where there is one: MiniLM's shape, or --model=bert-base,
dropout 0.1, in bfloat16, or in float32 where the processor has no instructions for bfloat16. The
median of the ratios must be at least 1.2. MFU is that of peers.py. --breakdown shows instead where
the time goes, by TensorFlow's profiler: in the bare step, and in ours without and with compiled
chains.

input: an epoch of batches as they are made, and steps that train on them, in turn, in real tokens a
second; the first must be at least 20 times the second.

tokenising: the token cache of imdb_reviews' 50,000 labelled reviews, against datasets.map with the
same tokenizer; ours must take at most the time of its best of threads and processes. It needs the
environment that `make bench` makes.

head: examples a second of a phase that trains the head alone, and of one with cached features,
against the phase that trains everything: at least 2.2 and 20 times.

start: from the start of launch.train to the end of its first step, fresh and resumed, from warm
caches; at most 1.3 times the import of tensorflow and keras, the compilation of the step, which is
its first call less its second, and the step itself, which is the second.

scale: starts on the training split of imdb_reviews and on 100 times as much, fresh and resumed.
Reading and tokenising may grow with the data, memory to 1.2 times, a resumed start by 10 seconds.

Flags of launch.train such as --config.log_every_steps=20 are passed on to it by overhead,
time-to-accuracy, input, head, start and scale.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from launch import main as program
from launch.arguments import as_path
from scripts import plots
from scripts.benchmarks import machine
from trainer import config as config_lib
from trainer.errors import UserError

Run = Callable[[argparse.Namespace, list[str]], int]
MODELS = {  # shapes
    "minilm": {},  # the default
    "bert-base": {"depth": 12, "width": 768, "heads": 12, "ffn_width": 3072},  # Devlin et al., 2019
}


def parser() -> argparse.ArgumentParser:
    """The commands and their flags; `run` is what a command does with them."""
    whole = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = whole.add_subparsers(required=True)
    precisions = config_lib.PRECISIONS

    def command(run: Run, text: str, config: str = "") -> argparse.ArgumentParser:
        name = run.__name__.strip("_").replace("_", "-")
        made = commands.add_parser(name, help=text)
        made.set_defaults(run=run)
        if config:
            made.add_argument("--config", type=as_path, default=Path(f"configs/{config}.py"))
        return made

    one = command(_overhead, "launch.train against the bare compiled step", "quickstart")
    one.add_argument("--rounds", type=_positive, default=5, help="ratios to take (5)")
    one.add_argument("--steps", type=_positive, default=200, help="of a round (200)")
    one.add_argument("--warmup", type=_positive, default=40, help="steps before them (40)")

    one = command(_time_to_accuracy, "launch.train against Keras fit", "transformer_imdb")
    one.add_argument("--data_dir", type=as_path, help="TFDS folder with imdb_reviews (the sample)")
    one.add_argument("--limit", type=int, default=0, help="reviews of a split, for a quick look")
    one.add_argument("--peer_epochs", type=_positive, default=10, help="at most (10)")
    one.add_argument("--output", type=as_path, default=Path("runs/benchmark"), help="a new folder")

    one = command(_scaling, "one worker against two")
    one.add_argument("--rows", type=_positive, default=32, help="of each worker (32)")
    one.add_argument("--length", type=_positive, default=128, help="tokens of a row (128)")
    one.add_argument("--rounds", type=_positive, default=5, help="ratios to take (5)")
    one.add_argument("--steps", type=_positive, default=4, help="of each measurement (4)")
    one.add_argument("--precision", default="float32", choices=precisions)
    one.add_argument("--pack_mebibytes", type=_positive, default=4, help="config.runtime's (4)")
    one.add_argument("--gpu_teraflops", type=_above_0, default=100.0, help="assumed, sustained")
    one.add_argument("--gpu_gigabytes", type=_above_0, default=25.0, help="assumed, of a link, a s")
    one.add_argument("--gpu_microseconds", type=_above_0, default=10.0, help="assumed, a message")
    one.add_argument("--output", type=as_path, default=Path("runs/benchmark/scaling.json"))

    one = command(_step, "our step against one written by hand")
    one.add_argument("--model", default="minilm", choices=MODELS, help="its shape (minilm)")
    one.add_argument("--rows", type=_positive, default=16, help="of a batch (16)")
    one.add_argument("--length", type=_positive, default=256, help="tokens of a row (256)")
    one.add_argument("--rounds", type=_positive, default=9, help="ratios to take (9)")
    one.add_argument("--precision", default=machine.best_precision(), choices=precisions)
    one.add_argument("--xla", choices=config_lib.XLA, help="of our step (chains)")
    one.add_argument("--breakdown", action="store_true", help="where the time goes, by profiler")
    one.add_argument("--record", type=as_path, help="a .csv file to add a line to")

    one = command(_input, "the input alone against the training rate", "minilm_sample")
    one.add_argument("--rounds", type=_positive, default=5, help="ratios to take (5)")

    one = command(_tokenising, "the token cache against datasets.map")
    one.add_argument("--data_dir", type=as_path, required=True, help="TFDS folder of imdb_reviews")
    one.add_argument("--weights", type=as_path, default=Path("data/minilm"))
    one.add_argument("--python", type=as_path, default=Path("build/peers/torch/bin/python"))
    one.add_argument("--rounds", type=_positive, default=3, help="ratios to take (3)")

    one = command(_head, "a phase of the head against the whole model's", "minilm_sample")
    one.add_argument("--rounds", type=_positive, default=5, help="ratios to take (5)")

    one = command(_start, "from the start to the first step", "smoke")
    one.add_argument("--rounds", type=_positive, default=3, help="ratios to take (3)")

    one = command(_scale, "starts on many times as much data", "minilm_imdb")
    one.add_argument("--data_dir", type=as_path, required=True, help="TFDS folder of imdb_reviews")
    one.add_argument("--times", type=_positive, default=100, help="as much data (100)")
    room = "where 9 GB are written, and removed in the end (%(default)s)"
    one.add_argument("--folder", type=as_path, default=tempfile.gettempdir(), help=room)
    return whole


def main(arguments: list[str]) -> int:
    """Runs a command; returns the exit status."""
    flags, changes = parser().parse_known_args(arguments)
    try:
        if "config" not in flags and changes:
            raise UserError(f"{arguments[0]} has no flag {changes[0]}: --help lists them")
        if "config" in flags and not flags.config.is_file():
            raise UserError(f"--config={flags.config} is not there")
        return flags.run(flags, changes)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return program.USER_ERROR


def _overhead(flags: argparse.Namespace, changes: list[str]) -> int:
    program.import_tensorflow()
    from scripts.benchmarks import overhead

    with tempfile.TemporaryDirectory() as folder:
        sizes = (flags.rounds, flags.steps, flags.warmup)
        return overhead.measure(flags.config, changes, *sizes, Path(folder) / "run")


def _time_to_accuracy(flags: argparse.Namespace, changes: list[str]) -> int:
    from scripts.benchmarks import time_to_accuracy

    how = (flags.data_dir, flags.limit, flags.peer_epochs, flags.output)
    return time_to_accuracy.compare(flags.config, changes, *how)


def _scaling(flags: argparse.Namespace, _: list[str]) -> int:
    from scripts.benchmarks import scaling

    gpus = scaling.Network(flags.gpu_microseconds * 1e-6, flags.gpu_gigabytes * 1e9)
    shape = scaling.Shape(rows=flags.rows, length=flags.length)
    options = (flags.rounds, flags.steps, flags.precision, flags.pack_mebibytes)
    return scaling.measure(shape, *options, gpus, flags.gpu_teraflops, flags.output)


def _step(flags: argparse.Namespace, _: list[str]) -> int:
    program.import_tensorflow()
    from scripts.benchmarks import step_speed
    from scripts.benchmarks.synthetic import Shape
    from scripts.benchmarks.systems import bare

    if flags.length > bare.LENGTH:
        raise UserError(f"--length={flags.length}: there are {bare.LENGTH} positions")
    if flags.breakdown and (flags.xla or flags.record):
        raise UserError(
            "--breakdown shows xla=off and chains, and records nothing: leave out"
            " --xla and --record"
        )
    if flags.record and (flags.xla or flags.model != "minilm"):
        raise UserError("--record is for MiniLM with xla=chains: leave out --xla and --model")
    if flags.record:
        plots.check_table("--record", flags.record)
    shape = Shape(rows=flags.rows, length=flags.length, **MODELS[flags.model])
    if not flags.breakdown:
        xla = flags.xla or "chains"
        return step_speed.measure(shape, flags.rounds, flags.precision, xla, flags.record)
    step_speed.break_down(shape, flags.rounds, flags.precision)
    return 0


def _input(flags: argparse.Namespace, changes: list[str]) -> int:
    program.import_tensorflow()
    from scripts.benchmarks import input_speed

    return _in_process(input_speed.batches, flags, changes)


def _tokenising(flags: argparse.Namespace, _: list[str]) -> int:
    program.import_tensorflow()
    from scripts.benchmarks import input_speed

    data = config_lib.Data(data_dir=str(flags.data_dir), max_length=512, validation_share=0.0)
    return input_speed.tokenising(data, flags.weights, flags.python, flags.rounds)


def _head(flags: argparse.Namespace, changes: list[str]) -> int:
    program.import_tensorflow()
    from scripts.benchmarks import head_speed

    return _in_process(head_speed.measure, flags, changes)


def _start(flags: argparse.Namespace, changes: list[str]) -> int:
    program.import_tensorflow()
    from scripts.benchmarks import start_speed

    with tempfile.TemporaryDirectory() as folder:
        return start_speed.measure(_first_steps(flags, changes), flags.rounds, Path(folder))


def _scale(flags: argparse.Namespace, changes: list[str]) -> int:
    program.import_tensorflow()
    from scripts.benchmarks import data_scale
    from trainer.data.sources import open_source
    from trainer.tasks.classification import Classification

    if flags.times < 2:
        raise UserError(f"--times={flags.times}: compare with 2 times the data, or more")
    if not flags.folder.is_dir():
        raise UserError(f"--folder={flags.folder} is not there: name a folder")
    needed, free = data_scale.gigabytes(flags.times), shutil.disk_usage(flags.folder).free / 1e9
    if free < needed:
        raise UserError(
            f"--folder={flags.folder} has {free:.1f} GB to spare, {needed:.1f} are needed: name"
            " another"
        )
    data = config_lib.Data(data_dir=str(flags.data_dir), validation_share=0.0)
    source = open_source(data, Classification())
    with tempfile.TemporaryDirectory(dir=flags.folder) as folder:
        starts = _first_steps(flags, changes)
        return data_scale.measure(source, flags.times, starts, Path(folder))


def _first_steps(flags: argparse.Namespace, changes: list[str]) -> list[str]:
    """Flags of a launch.train that saves soon."""
    calls = ("--config.runtime.steps_per_call=1", "--config.save_every_steps=2")
    return [f"--config={flags.config}", *calls, *changes]


def _in_process(measure: Callable[..., int], flags: argparse.Namespace, changes: list[str]) -> int:
    from scripts.benchmarks import overhead

    with tempfile.TemporaryDirectory() as folder:
        config = overhead.read_config(flags.config, changes, Path(folder) / "run")
        return measure(config, program.cache_dir(), flags.rounds)


def _above_0(text: str) -> float:
    if not 0 < float(text) < float("inf"):
        raise ValueError
    return float(text)


def _positive(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
