"""Why a file could not be written, whichever library says so."""

import tensorflow as tf


def why_not_written(error: Exception) -> str:
    """The system's reason, as Python, TensorFlow or tokenizers say it; empty: it is another one."""
    said = " ".join(str(error).split())
    if isinstance(error, OSError):
        return error.strerror or said[:200]
    if isinstance(error, tf.errors.OpError):
        return said.rpartition("; ")[2].partition(" [Op:")[0][:200]
    return said[:200] if "os error" in said else ""
