"""Rows of token ids in memory, wherever it puts them."""

import numpy as np
import pytest
import tensorflow as tf

from trainer.data.table import mapped_tensors

KINDS = ("int8", "int32", "int64", "float32")


def at(address: int, values: np.ndarray) -> np.ndarray:
    """A copy that begins so many bytes after what TensorFlow asks of an address."""
    memory = np.zeros(values.nbytes + 128, np.uint8)
    start = -memory.ctypes.data % 64 + address
    found = np.ndarray(values.shape, values.dtype, memory, start)
    found[:] = values
    assert found.ctypes.data % 64 == address
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("address", [0, 4, 8, 32])
def test_a_column_may_lie_anywhere(address, kind):
    values = np.arange(1000).astype(kind)
    (tensor,) = mapped_tensors({"x": at(address, values)}).get_value().values()
    assert tensor.dtype.name == kind
    np.testing.assert_array_equal(tf.gather(tensor, [3, 999]), values[[3, 999]])  # or it aborts


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("address", [0, 4])
def test_a_column_may_be_empty(address, kind):
    (tensor,) = mapped_tensors({"x": at(address, np.zeros(0, kind))}).get_value().values()
    assert tensor.dtype.name == kind
    assert tf.gather(tensor, np.zeros(0, np.int64)).shape == (0,)
