"""Four logical CPU devices for the whole session, and strategies over some of them."""

import sys

import pytest

DEVICES = 4


@pytest.fixture(scope="session", autouse=True)
def _logical_devices():
    """Cuts the CPU in four before any test runs: TensorFlow allows it only before it starts.

    Tests that need no TensorFlow do not wait for it: whatever imports it did so by now.
    """
    if "tensorflow" in sys.modules:
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        parts = [tf.config.LogicalDeviceConfiguration()] * DEVICES
        tf.config.set_logical_device_configuration(cpu, parts)


@pytest.fixture(scope="session")
def strategy_over(_logical_devices):
    """Call it with 1, 2 or 4: a strategy over so many logical CPU devices."""
    import tensorflow as tf

    made = {}

    def over(devices: int) -> tf.distribute.Strategy:
        if devices not in made:
            names = [f"/cpu:{i}" for i in range(devices)]
            # Groups of different size need different keys, as in TensorFlow's own tests.
            tf.distribute.MirroredStrategy._collective_key_base += 100000
            made[devices] = (
                tf.distribute.OneDeviceStrategy(names[0])
                if devices == 1
                else tf.distribute.MirroredStrategy(names)
            )
        return made[devices]

    return over
