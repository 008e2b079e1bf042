"""The speed of two one-core workers beside one; see speed.py.

As a program it is one of the workers: `python -P -m scripts.benchmarks.scaling '{"core": 0, ...}'`,
told by lines of JSON on standard input what to time.
"""

import contextlib
import dataclasses
import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from scripts.benchmarks.synthetic import Shape, training
from trainer.errors import UserError

LIMIT, GOAL = 0.85, 0.95  # of twice the speed of one worker
MIB = 2**20
FIT_MIB, TEST_MIB = (1, 16), 4  # messages: two give the constants, the third tests them
REPEATS = 9  # of each timed message; the median counts
GPUS = (8, 16, 32, 64, 128, 256)


@dataclasses.dataclass(frozen=True)
class Network:
    """Costs of a ring all-reduce: seconds a message, bytes a second over a link."""

    latency: float
    bandwidth: float

    def seconds(self, size: float, workers: int) -> float:
        """Patarasuk & Yuan (2009): 2 (n - 1) messages of size / n each."""
        hops = 2 * (workers - 1)
        return hops * (self.latency + size / workers / self.bandwidth)


def fit(sizes: Sequence[float], seconds: Sequence[float]) -> Network:
    """The constants that give these two times between two workers.

    Where the smaller message was quicker than its share of the larger, no latency can be told: 0.
    """
    slope = (seconds[1] - seconds[0]) / (sizes[1] - sizes[0])
    latency = max(seconds[0] - slope * sizes[0], 0.0) / 2
    return Network(latency, 1 / slope)


# The workers


class Worker:
    """A process of this file, on one core."""

    def __init__(self, settings: dict[str, Any], secret: str):
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "scripts.benchmarks.scaling", json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": str(Path(__file__).parents[2]),
                "THAW_SECRET": secret,
            },
        )

    def ask(self, what: str, number: int) -> None:
        """Has it time something; `answer` waits for the result."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps([what, number]) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        assert self._process.stdout
        if not (line := self._process.stdout.readline()):
            raise RuntimeError("a worker ended; what it said is above")
        return json.loads(line)

    def hang_up(self) -> None:
        """Nothing more will be asked."""
        assert self._process.stdin
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def close(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._process.kill()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()


def ask_all(workers: Sequence[Worker], what: str, number: int) -> list[float]:
    """The answers of all, asked at once."""
    for worker in workers:
        worker.ask(what, number)
    return [worker.answer() for worker in workers]


def serve(settings: dict[str, Any]) -> None:
    """A worker: answers until standard input ends."""
    os.sched_setaffinity(0, {settings["core"]})
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from launch import main as program

    program.import_tensorflow()
    import tensorflow as tf

    from trainer import config as config_lib
    from trainer.runtime import devices
    from trainer.runtime.workers import Workers

    config = config_lib.Experiment(phases=[config_lib.Phase(steps=10**6, learning_rate=1e-5)])
    config.runtime.cpu_devices, config.runtime.precision = 1, settings["precision"]
    config.runtime.intra_op_threads, config.runtime.inter_op_threads = 1, 2
    config.runtime.pack_mebibytes = settings["pack_mebibytes"]
    workers = Workers(settings["addresses"], settings["index"], program.end)
    workers.meet(120, os.environ["THAW_SECRET"].encode)
    strategy = devices.start(config.runtime, 0, workers)
    shape = Shape(**settings["shape"])
    step, batches = training(config, shape, strategy, workers.index)
    shapes = [tuple(v.shape) for v in step.variables]

    def timed(call: Callable[[], Any]) -> float:
        workers.exchange()  # all begin together
        began = time.perf_counter()
        call()
        return time.perf_counter() - began

    def reduce(tensors: list[Any]) -> Callable[[], Any]:
        def on_replica() -> Any:
            replica = tf.distribute.get_replica_context()
            return replica.all_reduce(tf.distribute.ReduceOp.SUM, tensors)[0]

        function = tf.function(lambda: strategy.run(on_replica))
        function()
        return lambda: strategy.experimental_local_results(function())[0].numpy()

    for line in sys.stdin:
        what, number = json.loads(line)
        if what == "steps":
            arguments = (batches, tf.constant(number), tf.constant(False))
            value: Any = timed(lambda its=arguments: step.run(*its).metrics.numpy())
        elif what == "bytes":
            value = 4 * sum(int(tf.reduce_prod(each)) for each in shapes)
        else:  # an all-reduce: of a tensor of so many MiB, or (0) of tensors like the gradients
            sizes = [(number * MIB // 4,)] if number else shapes
            call = reduce([tf.random.uniform(size) for size in sizes])
            value = statistics.median(timed(call) for _ in range(REPEATS))
        answers.write(json.dumps(value) + "\n")
        answers.flush()
    workers.part()
    os._exit(0)  # TensorFlow's own ending would wait for the other


# The measurement


@contextlib.contextmanager
def _started(
    shape: Shape, precision: str, pack_mebibytes: int
) -> Iterator[tuple[list[Worker], list[Worker]]]:
    """Two workers of a run each, and two of one run, on the same two cores."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) < 2:
        raise UserError("scaling pins two workers to a core each: it needs Linux and two cores")
    ports = []
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            free = stack.enter_context(socket.socket())
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    addresses = [f"127.0.0.1:{port}" for port in ports]
    common = {"precision": precision, "pack_mebibytes": pack_mebibytes}
    common["shape"] = dataclasses.asdict(shape)
    workers: list[Worker] = []
    secret = secrets.token_hex(32)
    try:
        for of_run in ([], addresses):
            for i in range(2):
                place = {"core": cores[i], "addresses": of_run, "index": i if of_run else 0}
                workers.append(Worker(common | place, secret))
        yield workers[:2], workers[2:]
    finally:
        for worker in workers:
            worker.hang_up()
        for worker in workers:
            worker.close()


def measure(
    shape: Shape,
    rounds: int,
    steps: int,
    precision: str,
    pack_mebibytes: int,
    network: Network,
    teraflops: float,
    output: Path,
) -> int:
    """Prints what it measures, and keeps it in `output`; 0 if the limit holds, else 1.

    Args:
      shape: of the model and of a worker's batch.
      rounds: ratios to take.
      steps: of each measurement.
      precision: config.runtime.precision.
      pack_mebibytes: config.runtime.pack_mebibytes.
      network, teraflops: what is assumed of GPUs, for the extrapolation.
      output: a JSON file.
    """
    found: dict[str, Any] = {"shape": dataclasses.asdict(shape), "precision": precision}
    found["pack_mebibytes"] = pack_mebibytes

    def keep(**values: Any) -> None:
        found.update(values)
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")

    with _started(shape, precision, pack_mebibytes) as (alone, pair):
        for group in (alone[:1], alone[1:], pair):  # compiled, and warm
            ask_all(group, "steps", 2)
        rows = []
        print("examples/s:  one worker   one of two apart   two as one run   efficiency")
        for number in range(rounds):
            one = max(ask_all(alone[:1], "steps", steps)) / steps
            apart = max(ask_all(alone, "steps", steps)) / steps
            two = max(ask_all(pair, "steps", steps)) / steps
            rows.append((one, apart, two))
            print(
                f"round {number + 1:3} {shape.rows / one:13.2f} {shape.rows / apart:18.2f}"
                f" {2 * shape.rows / two:16.2f} {one / two:12.3f}"
            )
        gradients = max(ask_all(pair, "all-reduce", 0))
        size = ask_all(pair, "bytes", 0)[0]
        fitted = [max(ask_all(pair, "all-reduce", mib)) for mib in FIT_MIB]
        here = fit([mib * MIB for mib in FIT_MIB], fitted)
        predicted = here.seconds(TEST_MIB * MIB, 2)
        keep(rounds=rows, gradient_bytes=size, gradients_seconds=gradients)
        keep(fit_mib=FIT_MIB, fit_seconds=fitted, network=dataclasses.asdict(here))
        keep(predicted_seconds=predicted)  # before it is measured
        times = (
            f"{mib} MiB: {time * 1e3:.1f} ms" for mib, time in zip(FIT_MIB, fitted, strict=True)
        )
        print("between two workers", *times, sep=", ")
        print(f"{TEST_MIB} MiB between two workers: predicted {predicted * 1e3:.1f} ms", end="")
        tested = max(ask_all(pair, "all-reduce", TEST_MIB))
        print(f", measured {tested * 1e3:.1f} ms ({tested / predicted - 1:+.0%})")
        keep(tested_seconds=tested)
    return report(shape, rows, gradients, size, here=here, gpus=network, teraflops=teraflops)


def report(
    shape: Shape,
    rows: Sequence[tuple[float, float, float]],
    gradients: float,
    size: int,
    here: Network,
    gpus: Network,
    teraflops: float,
) -> int:
    """Prints what follows from the measurements; returns the exit status."""
    one, apart, two = (statistics.median(column) for column in zip(*rows, strict=True))
    ratios = [row[0] / row[2] for row in rows]
    efficiency = statistics.median(ratios)
    beside = statistics.median(row[1] / row[2] for row in rows)
    spread = f"lowest {min(ratios):.3f}, highest {max(ratios):.3f}"
    print(
        f"efficiency: median {efficiency:.3f}, {spread}\n"
        f"beside another worker that shares nothing with it, one is {one / apart:.3f} as fast:"
        f" against that, {beside:.3f}\n"
        f"all-reduce of the gradients, {size / 1e6:.1f} MB: {gradients * 1e3:.1f} ms,"
        f" {gradients / two:.1%} of a step of {two:.3f} s\n"
        f"a link here: {here.latency * 1e3:.2f} ms a message, {here.bandwidth / 1e9:.2f} GB/s\n"
        f"the model for a step of two workers: {apart + here.seconds(size, 2):.3f} s (compute"
        f" {apart:.3f} s + all-reduce {here.seconds(size, 2):.3f} s), measured {two:.3f} s"
    )
    compute = shape.floating_point_operations() / (teraflops * 1e12)
    print(
        f"EXTRAPOLATION, not measured: GPUs of {teraflops:g} TFLOP/s sustained, a link of"
        f" {gpus.bandwidth / 1e9:g} GB/s and {gpus.latency * 1e6:g} us a message; a ring, nothing"
        f" overlapped, {shape.rows} rows a GPU\n"
        "  GPUs   compute ms   all-reduce ms   efficiency"
    )
    for count in GPUS:
        reduction = gpus.seconds(size, count)
        share = compute / (compute + reduction)
        print(f"{count:6} {compute * 1e3:12.2f} {reduction * 1e3:15.2f} {share:12.3f}")
    holds = efficiency >= LIMIT
    print(f"{'holds' if holds else 'does not hold'}: efficiency at least {LIMIT} (goal {GOAL})")
    return 0 if holds else 1


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))
