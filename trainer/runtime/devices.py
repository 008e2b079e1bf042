"""Devices, strategy, precision policy, determinism: set once, at the start."""

import contextlib
from collections.abc import Sequence
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

from trainer import config as config_lib
from trainer.errors import UserError
from trainer.runtime import processor
from trainer.runtime.workers import Workers

CPU_PACK_MEBIBYTES = 4  # docs/results/benchmarks.md: half the time of one large message over gRPC


def start(
    runtime: config_lib.Runtime, seed: int, workers: Workers | None = None
) -> tf.distribute.Strategy:
    """Sets up this process and returns the strategy to train under.

    Must be called before TensorFlow touches a device.

    Args:
      runtime: `config.runtime`.
      seed: of the initial weights.
      workers: all workers of the run, who have met; None: this process is alone.

    Raises:
      UserError: a GPU that is not there, both GPUs and logical CPU devices asked for, or a worker
        with more or fewer devices than the chief.
      RuntimeError: there are not as many replicas as workers times devices.
    """
    if runtime.gpus and runtime.cpu_devices:
        raise UserError("config.runtime.gpus and cpu_devices exclude each other: give one of them")
    try:
        devices = _prepared(runtime, seed)
    except RuntimeError as error:  # TensorFlow sets up its devices once
        raise UserError(
            "TensorFlow has begun with other devices or threads in this process: start another, in"
            " a notebook restart the kernel"
        ) from error
    count = workers.count if workers else 1
    if workers and count > 1:
        advice = "give every worker as many"
        workers.compare({"devices": [d.split(":")[0] for d in devices]}, advice)
        strategy = _multi_worker(runtime, devices, workers.addresses, workers.index)
    elif len(devices) == 1:
        strategy = tf.distribute.OneDeviceStrategy(devices[0])
    else:
        strategy = tf.distribute.MirroredStrategy(devices)
    replicas = strategy.num_replicas_in_sync
    if replicas != count * len(devices) or local_replicas(strategy) != len(devices):
        raise RuntimeError(f"{replicas} replicas, not {count} workers x {len(devices)} devices")
    return strategy


def _prepared(runtime: config_lib.Runtime, seed: int) -> list[str]:
    """Sets up everything but the strategy; returns the names of the devices to train on."""
    if runtime.intra_op_threads:
        tf.config.threading.set_intra_op_parallelism_threads(runtime.intra_op_threads)
    if runtime.inter_op_threads:
        tf.config.threading.set_inter_op_parallelism_threads(runtime.inter_op_threads)
    keras.config.set_dtype_policy(runtime.precision)
    keras.config.set_floatx("float64" if runtime.precision == "float64" else "float32")
    keras.utils.set_random_seed(seed)
    if runtime.deterministic:
        tf.config.experimental.enable_op_determinism()
    tf.config.experimental.enable_tensor_float_32_execution(runtime.tf32)
    return _devices(runtime)


def local_replicas(strategy: tf.distribute.Strategy) -> int:
    """The number of replicas in this process."""
    return len(strategy.extended.worker_devices)


def _multi_worker(
    runtime: config_lib.Runtime, devices: list[str], addresses: Sequence[str], index: int
) -> tf.distribute.Strategy:
    """One replica a device, in every worker; starts TensorFlow's server at this one's address."""
    gpus = len(devices) if devices[0].startswith("/gpu") else 0
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(addresses)}),
        task_type="worker",
        task_id=index,
        rpc_layer="grpc",
        num_accelerators={"GPU": gpus},
    )
    if runtime.communication == "nccl" and not gpus:
        raise UserError("config.runtime.communication='nccl' needs GPUs: leave it at 'auto'")
    implementation = tf.distribute.experimental.CommunicationImplementation
    options = tf.distribute.experimental.CommunicationOptions(
        bytes_per_pack=(runtime.pack_mebibytes or (0 if gpus else CPU_PACK_MEBIBYTES)) * 2**20,
        implementation=implementation(runtime.communication.upper()),
    )
    if gpus or len(devices) == 1:
        return tf.distribute.MultiWorkerMirroredStrategy(resolver, options)
    # TensorFlow takes one CPU a worker and ignores logical ones: smoke tests need them.
    names = tuple(f"/job:worker/task:{index}/device:CPU:{i}" for i in range(len(devices)))
    extended = "tensorflow.python.distribute.collective_all_reduce_strategy"
    method = f"{extended}.CollectiveAllReduceExtended._initialize_local_devices"
    with mock.patch(method, return_value=(names, "CPU")):
        return tf.distribute.MultiWorkerMirroredStrategy(resolver, options)


def _devices(runtime: config_lib.Runtime) -> list[str]:
    """Names of the devices to train on: the GPUs asked for, else the CPU or parts of it."""
    gpus = tf.config.list_physical_devices("GPU")
    missing = [index for index in runtime.gpus if index not in range(len(gpus))]
    if missing:
        raise UserError(f"config.runtime.gpus names GPU {missing[0]}, this machine has {len(gpus)}")
    if runtime.cpu_devices == 1:  # as TensorFlow has it, in a process that has begun too
        with contextlib.suppress(RuntimeError):
            tf.config.set_visible_devices([], "GPU")
        return ["/cpu:0"]
    if runtime.cpu_devices:
        tf.config.set_visible_devices([], "GPU")
        cpu = tf.config.list_physical_devices("CPU")[0]
        parts = [tf.config.LogicalDeviceConfiguration()] * runtime.cpu_devices
        tf.config.set_logical_device_configuration(cpu, parts)
        return [f"/cpu:{i}" for i in range(runtime.cpu_devices)]
    chosen = [gpus[i] for i in runtime.gpus] or gpus
    tf.config.set_visible_devices(chosen, "GPU")
    for gpu in chosen:
        tf.config.experimental.set_memory_growth(gpu, runtime.memory_growth)
    return [f"/gpu:{i}" for i in range(len(chosen))] or ["/cpu:0"]


def describe(strategy: tf.distribute.Strategy, runtime: config_lib.Runtime) -> str:
    """The settings in effect, in a line for the log."""
    here = local_replicas(strategy)
    workers = strategy.num_replicas_in_sync // here
    places = f"({workers} workers x {here} devices), here" if workers > 1 else "on"
    names = [d.split("device:")[-1].replace(":", " ") for d in strategy.extended.worker_devices]
    switches = {
        "deterministic": runtime.deterministic,
        "TF32": runtime.tf32,
        "memory growth": runtime.memory_growth,
    }
    on = ", ".join(f"{name} {'on' if value else 'off'}" for name, value in switches.items())
    threads = [
        str(count or "auto") for count in (runtime.intra_op_threads, runtime.inter_op_threads)
    ]
    return (
        f"{type(strategy).__name__} with {strategy.num_replicas_in_sync} replicas {places}"
        f" {', '.join(names)}; {runtime.precision}; XLA {runtime.xla}, {on};"
        f" threads {'/'.join(threads)} (intra/inter)"
    )


def slower(strategy: tf.distribute.Strategy, runtime: config_lib.Runtime) -> str | None:
    """A line on settings that cost time on this machine and gain nothing; or None."""
    if "CPU" not in strategy.extended.worker_devices[0].upper():
        return None
    if runtime.precision == "mixed_bfloat16" and processor.has_bfloat16() is False:
        return (
            "this processor has no instructions for bfloat16: a new run is faster with"
            " --config.runtime.precision=float32"
        )
    if runtime.xla == "step":
        return "on a CPU a run is usually faster with --config.runtime.xla=chains"
    return None


def rows_and_parts(
    global_batch_size: int, replicas: int, max_rows_per_device: int
) -> tuple[int, int]:
    """The layout of a global batch: (rows on each replica, micro-batches they are cut into).

    The rows are the smallest number, a multiple of the micro-batches, that holds the batch; the
    places left over are filled with rows of weight 0.

    Raises:
      UserError: fewer rows than replicas.
    """
    if global_batch_size < replicas:
        raise UserError(
            f"config.global_batch_size={global_batch_size} is smaller than the {replicas} replicas:"
            " make it larger or train on fewer devices"
        )
    rows = int(np.ceil(global_batch_size / replicas))
    parts = int(np.ceil(rows / max_rows_per_device)) if max_rows_per_device else 1
    return int(np.ceil(rows / parts)) * parts, parts
