"""Measures the two promises about speed; exit status 0: it holds, 1: it does not, 2: your mistake.

  python scripts/benchmark.py overhead
  python scripts/benchmark.py time-to-accuracy --data_dir=FOLDER

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

Flags of launch.train such as --config.log_every_steps=20 are passed on to it.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from launch import main as program
from trainer.errors import UserError


def parser() -> argparse.ArgumentParser:
    """The two commands and their flags."""
    whole = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = whole.add_subparsers(dest="command", required=True)

    one = commands.add_parser("overhead", help="launch.train against the bare compiled step")
    one.add_argument("--config", type=Path, default=Path("configs/quickstart.py"))
    one.add_argument("--rounds", type=_positive, default=5, help="ratios to take (5)")
    one.add_argument("--steps", type=_positive, default=200, help="of a round (200)")
    one.add_argument("--warmup", type=_positive, default=40, help="steps before them (40)")

    two = commands.add_parser("time-to-accuracy", help="launch.train against Keras fit")
    two.add_argument("--config", type=Path, default=Path("configs/transformer_imdb.py"))
    two.add_argument("--data_dir", type=Path, help="TFDS folder with imdb_reviews (the sample)")
    two.add_argument("--limit", type=int, default=0, help="reviews of a split, for a quick look")
    two.add_argument("--peer_epochs", type=_positive, default=10, help="at most (10)")
    two.add_argument("--output", type=Path, default=Path("runs/benchmark"), help="a new folder")
    return whole


def main(arguments: list[str]) -> int:
    """Runs a command; returns the exit status."""
    flags, changes = parser().parse_known_args(arguments)
    try:
        if not flags.config.is_file():
            raise UserError(f"--config={flags.config} is not there")
        if flags.command == "overhead":
            program.import_tensorflow()
            import overhead

            with tempfile.TemporaryDirectory() as folder:
                workdir = Path(folder) / "run"
                return overhead.measure(
                    flags.config, changes, flags.rounds, flags.steps, flags.warmup, workdir
                )
        import time_to_accuracy

        return time_to_accuracy.compare(
            flags.config, changes, flags.data_dir, flags.limit, flags.peer_epochs, flags.output
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return program.USER_ERROR


def _positive(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
