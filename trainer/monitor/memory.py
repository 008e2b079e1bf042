"""Memory in use: of this process, and of each GPU."""

import resource
import sys

import tensorflow as tf

MIB = 2**20


class Memory:
    """Reads the peaks of memory since the process began, in mebibytes."""

    def __init__(self):
        gpus = tf.config.list_logical_devices("GPU")
        self._gpus = [device.name.split("device:")[-1] for device in gpus]

    def read(self) -> dict[str, float]:
        """ "memory/host_mib", and "memory/gpu_0_mib" for each GPU that is used."""
        unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, getrusage(2)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        found = {"memory/host_mib": peak / MIB}
        for name in self._gpus:
            used = tf.config.experimental.get_memory_info(name)["peak"]
            found[f"memory/{name.lower().replace(':', '_')}_mib"] = used / MIB
        return found
