"""Two network namespaces as two hosts: a run over both, their link cut in its midst."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from groups import Worker, errors
from programs import assert_same_run
from test_kills import last_step

pytestmark = [pytest.mark.end_to_end, pytest.mark.cluster]
ADDRESSES = ("10.77.0.1", "10.77.0.2")
PORT = 2222  # the same on both, as on real hosts
BOUND = 30.0  # seconds within which both sides of a cut link must end
FLAGS = (
    f"--hosts={','.join(f'{address}:{PORT}' for address in ADDRESSES)}",
    "--config.phases[0].steps=40",
    "--config.phases[1].steps=80",
    "--config.evaluation.every_steps=60",
    "--config.save_every_steps=10",
    "--config.log_every_steps=1",
)


def ip(*arguments: str) -> None:
    """Runs `ip`; what it says where it fails is in the exception."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


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
        """Removes what there is."""
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def link(self, state: str) -> None:
        """Takes the switch's port to the second host "down" or "up": packets vanish in silence."""
        ip("-n", self.switch, "link", "set", "port1", state)

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
    try:
        made.make()
    except OSError as error:
        made.remove()
        pytest.skip(f"no network namespaces here: {error}")
    yield made
    made.remove()


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
        workers[0].wait_until(lambda: last_step(cut) >= 47)
        began = time.monotonic()
        hosts.link("down")
        step = last_step(cut)
        seconds = {}
        while len(seconds) < 2 and time.monotonic() - began < 2 * BOUND:
            for index, worker in enumerate(workers):
                if worker.process.poll() is not None:
                    seconds.setdefault(index, time.monotonic() - began)
            time.sleep(0.05)
        with capsys.disabled():
            print(f"\nlink cut at step {step}; seconds until the workers ended: {seconds}")
        assert len(seconds) == 2
        assert max(seconds.values()) < BOUND
        for index, worker in enumerate(workers):
            ended = worker.end()
            assert ended.status == 1, ended
            other = f"worker {1 - index} ({ADDRESSES[1 - index]}:{PORT})"
            assert errors(ended.stderr)[-1].startswith(f"{other} is lost: "), ended
            assert "Traceback" not in ended.stderr

        hosts.link("up")
        ended = [worker.end(300) for worker in run("again", cut)]
        assert [each.status for each in ended] == [0, 0], ended
        assert "Resuming at step 40" in ended[0].stderr
    finally:
        for worker in started:
            worker.kill()
    assert_same_run(calm, cut)
