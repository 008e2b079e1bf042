"""Runs launch.train, and kills it with SIGKILL in the midst of something, or has it hang there.

  python tests/end_to_end/kill_at.py saving:2 --config=configs/smoke.py --workdir=...

Before it dies it says where it is. The places, each with the number of the time, from 1:

  accumulation:S  in the first step from S on, after some of its micro-batches
  evaluation:N    after some batches of the Nth evaluation
  writing:N       when the Nth checkpoint is half written
  saving:N        when the files of the Nth checkpoint are there but not yet under its name
  hanging:S       in the first step from S on: its main thread waits for ever, the others go on
  phase:N         in the Nth change of phase, after it restored the best weights where it does
"""

import os
import runpy
import signal
import sys
import threading
from pathlib import Path

import launch.main  # noqa: F401  first, as it asks TensorFlow to be quiet


def die(where: str) -> None:
    """As a node that loses power: nothing more is done."""
    print(f"killed {where}", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def in_accumulation(first_step: int) -> None:
    import tensorflow as tf

    from trainer.step import TrainStep

    plain = TrainStep._micro_batch

    def look(step, row_start):
        if step >= first_step and row_start > 0:
            die(f"in step {step + 1}, before its micro-batch from row {row_start} on")

    def watched(self, batch, step, row_start, *args):
        tf.numpy_function(look, [step, row_start], [], stateful=True)
        return plain(self, batch, step, row_start, *args)

    TrainStep._micro_batch = watched


def hanging(first_step: int) -> None:
    from trainer.loop import Loop

    plain = Loop._steps

    def watched(self, *args):
        if self.step >= first_step:
            print(f"hanging at step {self.step}", file=sys.stderr, flush=True)
            threading.Event().wait()
        plain(self, *args)

    Loop._steps = watched


def in_evaluation(number: int) -> None:
    from trainer.evaluation.evaluator import Evaluator

    plain, begun = Evaluator.run, []

    def watched(self, dataset, batches, examples, stop, advance):
        begun.append(examples)
        scored = []

        def counted(count):
            scored.append(count)
            if len(begun) == number and len(scored) == 2:
                die(f"in evaluation, with {sum(scored)} of {examples} examples scored")
            advance(count)

        return plain(self, dataset, batches, examples, stop, counted)

    Evaluator.run = watched


def in_writing(number: int) -> None:
    import tensorflow as tf

    plain, written = tf.train.Checkpoint.write, []

    def watched(self, prefix, *args, **kwargs):
        plain(self, prefix, *args, **kwargs)
        written.append(prefix)
        if len(written) == number:
            data = Path(f"{prefix}.data-00000-of-00001")
            os.truncate(data, data.stat().st_size // 2)
            Path(f"{prefix}.index").unlink()
            die(f"in writing {data.parent.parent.name}/{data.parent.name}: half of {data.name}")

    tf.train.Checkpoint.write = watched


def in_saving(number: int) -> None:
    from trainer.storage.checkpoint import Store

    plain, fsync, saved = Store.save, os.fsync, []

    def watched(self, step, *args, **kwargs):
        first = []

        def flush(handle):
            if not first:
                first.append(handle)
                saved.append(step)
                if len(saved) == number:
                    files = sorted(p.name for p in self.folder.glob(f".*{step}*/*"))
                    die(f"in saving {self.folder.name}/ of step {step}: {files} not renamed yet")
            fsync(handle)

        os.fsync = flush
        try:
            plain(self, step, *args, **kwargs)
        finally:
            os.fsync = fsync

    Store.save = watched


def in_phase(number: int) -> None:
    from trainer.loop import Loop
    from trainer.run import Run

    plain, restore, changed, restored = Loop._next_phase, Run.restore, [], []

    def noted(self, store, step):
        restore(self, store, step)
        restored.append(step)

    def watched(self):
        restored.clear()
        plain(self)
        changed.append(self.step)
        if len(changed) == number:
            best = f", the weights of step {restored[0]} restored" if restored else ""
            die(f"in the change of phase at step {self.step}{best}")

    Loop._next_phase, Run.restore = watched, noted


PLACES = {
    "accumulation": in_accumulation,
    "evaluation": in_evaluation,
    "hanging": hanging,
    "writing": in_writing,
    "saving": in_saving,
    "phase": in_phase,
}

if __name__ == "__main__":
    place, _, count = sys.argv.pop(1).partition(":")
    PLACES[place](int(count))
    runpy.run_module("launch.train", run_name="__main__", alter_sys=True)
