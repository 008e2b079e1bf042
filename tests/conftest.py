"""Four logical CPU devices for the whole session, and what tests of whole programs share."""

import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from programs import ROOT, Prewarmed, environment, run

DEVICES = 4


def pytest_addoption(parser: pytest.Parser) -> None:
    """Defines --no-skips, for a machine that has all that tests need."""
    parser.addoption("--no-skips", action="store_true", help="a skipped test is a failure")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport]:
    """Makes a failure of what was skipped, where --no-skips asks for it."""
    report = yield
    if report.skipped and item.config.getoption("--no-skips"):
        report.outcome, report.longrepr = "failed", f"skipped: {report.longrepr}"
    return report


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


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The flag for a folder of token caches that all runs of the tests share."""
    return f"--cache_dir={tmp_path_factory.mktemp('cache')}"


@pytest.fixture(scope="session")
def smoke(cache: str) -> tuple[str, str]:
    """The flags of a run of configs/smoke.py, but for its workdir."""
    assert (ROOT / "data" / "imdb_sample").is_dir(), "the sample is missing: make data"
    return "--config=configs/smoke.py", cache


@pytest.fixture(scope="session")
def launch() -> Iterator[Prewarmed]:
    """Runs a program of launch/ as a process that starts fast."""
    prewarmed = Prewarmed()
    yield prewarmed
    prewarmed.close()


@pytest.fixture(scope="session")
def finished(smoke: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workdir of a short run that has ended; nobody may change it."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    steps = ("--config.phases[0].steps=12", "--config.phases[1].steps=60")
    done = run(*smoke, *steps, f"--workdir={folder}")
    assert done.status == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def killed(smoke: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workdir of a run that was killed in its first phase, after its first checkpoints."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    flags = (*smoke, "--config.phases[0].steps=100000", "--config.save_every_steps=2")
    command = [sys.executable, "-m", "launch.train", *flags, f"--workdir={folder}"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(folder.glob("checkpoints/step-*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    return folder


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """A folder for a run, not made yet."""
    return tmp_path / "run"
