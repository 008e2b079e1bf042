"""Trains a model: one config file, one workdir; the same command resumes it.

  python -m launch.train --config=configs/quickstart.py --workdir=runs/quickstart

Single settings can be changed: --config.phases[0].epochs=2 --config.optimizer.weight_decay=0.1
"""

from pathlib import Path

from absl import flags

from launch import main as program

_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; resumed if it has begun.", required=True
)
_CPU_DEVICES = flags.DEFINE_integer(
    "cpu_devices", None, "Train on this many logical CPU devices (for smoke tests).", lower_bound=1
)


def main() -> int:
    """Trains, or says why not; returns the exit status."""
    signals = program.Signals()
    signals.install()
    # Imported here: --help and wrong flags need not wait for TensorFlow.
    program.import_tensorflow()
    from trainer import config as config_lib
    from trainer import runtime
    from trainer.data.progress import bar
    from trainer.evaluation import Interrupted
    from trainer.loop import Loop, NotFinite
    from trainer.monitor.monitor import Monitor
    from trainer.run import Run
    from trainer.workdir import Workdir

    config = program.config()
    if _CPU_DEVICES.value:
        config.runtime.cpu_devices = _CPU_DEVICES.value
    config_lib.validate(config)
    for line in config_lib.without_effect(config):
        program.say(f"Note: {line}")
    workdir = Workdir(Path(_WORKDIR.value))
    workdir.check(config)
    strategy = runtime.start(config.runtime, config.seed)
    program.say(runtime.describe(strategy, config.runtime))
    run = Run(config, workdir, program.cache_dir(), strategy, bar, program.say)
    if workdir.started:
        workdir.check_derived(run.derived())
    loop = Loop(run, signals.stop, program.say)
    program.say(run.describe(loop.plan))
    result = workdir.result()
    if result and result["steps"] == loop.step and (result["finished"] or loop.cut):
        program.say(f"This run has ended: {workdir.result_file} holds its result")
        return 0
    workdir.begin(config, run.derived(), run.tokenizer)
    monitor = Monitor(
        workdir.path, config_lib.to_dict(config), loop.step, loop.total_steps, program.BEGAN
    )
    signals.saves = True
    try:
        result = loop.train(monitor)
    except Interrupted:
        monitor.message(f"Saved at step {loop.step}: the same command goes on from there")
        return program.INTERRUPTED
    except NotFinite as error:
        monitor.message(f"error: {error}")
        return 1
    else:
        monitor.finish(result)
        monitor.message(
            f"Test accuracy {result['test']['accuracy']:.4f} on {result['test']['examples']:,}"
            f" examples, in {workdir.result_file}\n"
            f"Curves: tensorboard --logdir={workdir.path / 'tensorboard'}\n"
            f"Again: python -m launch.evaluate --workdir={workdir.path} --split=test"
        )
        return 0
    finally:
        monitor.close()


if __name__ == "__main__":
    program.define_config()
    program.define_cache_dir()
    flags.mark_flag_as_required("config")
    program.run(main, __doc__)
