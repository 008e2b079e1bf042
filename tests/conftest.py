"""Four logical CPU devices for the whole session, and what tests of whole programs share."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from programs import ROOT, Prewarmed, environment

DEVICES = 4
LONGEST = (
    "fuzz/test_fuzz.py",
    "test_step.py",
    "storage/test_flips.py",
    "end_to_end/test_tasks.py",
    "end_to_end/test_task_rows.py",
)


def pytest_configure() -> None:
    """Lets programs get signals that `nohup make test &` would have them ignore."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Defines --no-skips, for a machine that has all that tests need."""
    parser.addoption("--no-skips", action="store_true", help="a skipped test is a failure")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the files that take longest first, so that several processes end at the same time."""
    items.sort(key=lambda item: not item.path.as_posix().endswith(LONGEST))


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
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this session of tests have in common."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@contextlib.contextmanager
def made_once(folder: Path) -> Iterator[bool]:
    """Gives True to the first process that asks; others wait until it has made the folder."""
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not folder.with_suffix(".made").exists()
        folder.with_suffix(".made").touch()


@pytest.fixture(scope="session")
def cache(shared: Path) -> str:
    """The flag for a folder of token caches that all runs of the tests share."""
    return f"--cache_dir={shared / 'cache'}"


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
def finished(smoke: tuple[str, str], shared: Path, launch: Prewarmed) -> Path:
    """The workdir of a short run that has ended; nobody may change it."""
    folder = shared / "finished"
    steps = ("--config.phases[0].steps=12", "--config.phases[1].steps=60")
    with made_once(folder) as first:
        if first:
            modules = str(folder.with_suffix(".modules"))
            done = launch(*smoke, *steps, f"--workdir={folder}", modules=modules)
            assert done.status == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def killed(smoke: tuple[str, str], shared: Path) -> Path:
    """The workdir of a run that was killed in its first phase, after its first checkpoints."""
    folder = shared / "killed"
    with made_once(folder) as first:
        if first:
            _kill(folder, *smoke, "--config.phases[0].steps=100000", "--config.save_every_steps=2")
    return folder


def _kill(folder: Path, *flags: str) -> None:
    command = [sys.executable, "-m", "launch.train", *flags, f"--workdir={folder}"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    try:
        while not list(folder.glob("checkpoints/step-*")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """A folder for a run, not made yet."""
    return tmp_path / "run"
