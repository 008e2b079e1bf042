"""Two network namespaces as two hosts: a run over both, their link cut in its midst."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from groups import Worker, errors
from programs import assert_same_run, newest
from test_kills import last_step

from trainer.runtime.workers import LOST

pytestmark = [pytest.mark.end_to_end, pytest.mark.cluster]
ADDRESSES = ("10.77.0.1", "10.77.0.2")
PORT = 2222  # the same on both, as on real hosts
BOUND = 30.0  # seconds within which both sides of a cut link must end
FLAGS = (
    f"--hosts={','.join(f'{address}:{PORT}' for address in ADDRESSES)}",
    "--config.phases[0].steps=20",
    "--config.phases[1].steps=60",
    "--config.evaluation.every_steps=40",
    "--config.save_every_steps=10",
    "--config.log_every_steps=1",
)


def ip(*arguments: str) -> str:
    """Output of `ip`; an OSError where it fails."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


class Hosts:
    """Two hosts and a switch between them, each a network namespace."""

    def __init__(self) -> None:
        self.names = [f"thaw-{os.getpid()}-{what}" for what in ("a", "b", "switch")]
        self.switch = self.names[2]

    def make(self) -> None:
        """Raises OSError where it may not be done."""
        for name in self.names:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", self.switch, "link", "add", "bridge", "type", "bridge")
        ip("-n", self.switch, "link", "set", "bridge", "up")
        for index, address in enumerate(ADDRESSES):
            host, port = self.names[index], f"port{index}"
            peer = ("peer", "name", "eth0", "netns", host)
            ip("-n", self.switch, "link", "add", port, "type", "veth", *peer)
            ip("-n", self.switch, "link", "set", port, "master", "bridge", "up")
            ip("-n", host, "addr", "add", f"{address}/24", "dev", "eth0")
            ip("-n", host, "link", "set", "eth0", "up")

    def remove(self) -> None:
        """Removes what there is, and kills what still runs in it."""
        for name in self.names:
            with suppress(OSError):  # it was not made
                for pid in ip("netns", "pids", name).split():
                    with suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
                ip("netns", "del", name)

    def link(self, state: str) -> None:
        """Takes the switch "down" or "up": the hosts' own ends stay up, and packets just vanish."""
        ip("-n", self.switch, "link", "set", "bridge", state)

    def start(self, folder, *flags: object) -> list[Worker]:
        """launch.train on both."""
        folder.mkdir()
        workers = []
        for index, host in enumerate(self.names[:2]):
            command = ("ip", "netns", "exec", host, sys.executable, "-m", "launch.train")
            said = folder / f"worker{index}.txt"
            workers.append(Worker((*command, *flags, *FLAGS, f"--index={index}"), said))
        return workers


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """Made anew, and removed whatever happens."""
    if os.geteuid() or not shutil.which("ip"):
        pytest.skip("network namespaces need root and the ip command")
    made = Hosts()
    # A session that is ended leaves nothing behind either.
    before = signal.signal(signal.SIGTERM, lambda *_: pytest.exit("SIGTERM", 143))
    try:
        try:
            made.make()
        except OSError as error:
            pytest.skip(f"no network namespaces here: {error}")
        yield made
    finally:
        made.remove()
        signal.signal(signal.SIGTERM, before)


@pytest.mark.timeout(900)
def test_the_link_is_cut_and_mended(tmp_path, smoke, hosts, capsys):
    started: list[Worker] = []

    def run(name: str, workdir) -> list[Worker]:
        workers = hosts.start(tmp_path / name, *smoke, f"--workdir={workdir}")
        started.extend(workers)
        return workers

    calm, cut = tmp_path / "calm", tmp_path / "cut"
    try:
        ended = [worker.end(300) for worker in run("undisturbed", calm)]
        assert [each.status for each in ended] == [0, 0], ended

        workers = run("disturbed", cut)
        workers[0].wait_until(lambda: last_step(cut) >= 34)
        began = time.monotonic()
        hosts.link("down")
        seconds = {}
        while len(seconds) < 2 and time.monotonic() - began < 2 * BOUND:
            for index, worker in enumerate(workers):
                if worker.process.poll() is not None:
                    seconds.setdefault(index, time.monotonic() - began)
            time.sleep(0.05)
        made, saved = last_step(cut), int(newest(cut / "checkpoints").name.removeprefix("step-"))
        with capsys.disabled():
            print(f"\nlink cut at step {made}, saved at {saved}; seconds to the ends: {seconds}")
        assert len(seconds) == 2
        assert max(seconds.values()) < BOUND
        for index, worker in enumerate(workers):
            ended = worker.end()
            assert ended.status == LOST, ended
            other = f"worker {1 - index} ({ADDRESSES[1 - index]}:{PORT})"
            assert errors(ended.stderr)[-1].startswith(f"{other} is lost: "), ended
            assert "Traceback" not in ended.stderr

        hosts.link("up")
        ended = [worker.end(300) for worker in run("again", cut)]
        assert [each.status for each in ended] == [0, 0], ended
        assert f"Resuming at step {saved}" in ended[0].stderr
    finally:
        for worker in started:
            worker.kill()
    assert_same_run(calm, cut)
