"""A network of one's own: real namespaces, where the kernel allows them."""

import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from groups import Worker, free_ports, local
from programs import ROOT, assert_same_run, environment, run
from test_local import Launcher, launcher  # noqa: F401  a fixture

from launch import isolation
from trainer.errors import UserError

# As a user without privileges where the tests run with some: the arguments are a port, a file that
# it writes, and a user, or 0.
PROGRAM = """
import ctypes, encodings.idna, os, socket, sys
from launch.isolation import isolate

port, file, user = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
if user:
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # /proc/self is this user's, as after an exec
before = (os.getuid(), os.getgid())
isolate()
assert (os.getuid(), os.getgid()) == before == (os.geteuid(), os.getegid())
assert socket.if_nameindex() == [(1, "lo")]
server = socket.create_server(("", port))
socket.create_connection(("127.0.0.1", port)).close()
open(file, "w").close()
print("ready", flush=True)
sys.stdin.read()
"""


def _allowed(user: int) -> bool:
    """True if the kernel lets this user, or the one with that id, have a network of its own."""
    command = [sys.executable, "-c", PROGRAM, "40000", os.devnull, str(user)]
    done = subprocess.run(
        *(command,),
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


needs_namespaces = pytest.mark.skipif(not _allowed(0), reason="this kernel allows no namespaces")


def refused(port: int) -> bool:
    """True where nothing of this network listens at a port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can write to."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@needs_namespaces
@pytest.mark.parametrize("user", [0, 1234])
def test_nobody_outside_reaches_it_and_files_keep_their_owner(open_folder, user):
    if user and os.geteuid():
        pytest.skip("only root can become another user")
    if not _allowed(user):
        pytest.skip("this kernel allows users without privileges no namespaces")
    (port,) = free_ports(1)
    file = open_folder / "written"
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(port), str(file), str(user)],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    assert refused(port)
    with socket.create_server(("127.0.0.1", port)):  # the port is free here
        assert not refused(port)
    process.communicate()
    assert process.returncode == 0
    stat = file.stat()
    assert (stat.st_uid, stat.st_gid) == ((user, user) if user else (os.getuid(), os.getgid()))


@needs_namespaces
def test_workers_reach_each_other_and_nobody_else_does(launcher):  # noqa: F811
    code = """
import socket
host, port = place["cluster"]["worker"][0].split(":")
if rank == 0:
    listener = socket.create_server(("", int(port)))  # as TensorFlow's server does
    note("listens")
    until("asked")
else:
    until("listens")
    socket.create_connection((host, int(port))).close()
    print(port)
    until("asked")
"""
    started: Launcher = launcher(code, isolate=True)
    started.wait_for("listens")
    line = started.process.stdout.readline().decode()
    port = int(re.fullmatch(r"\[1\] (\d+)\n", line)[1])
    assert refused(port)
    (started.folder / "asked").touch()
    ended = started.end()
    assert (ended.status, ended.stderr) == (0, "")


@pytest.mark.parametrize("error", [PermissionError(1, "Operation not permitted"), OSError(22, "x")])
def test_a_kernel_that_does_not_allow_it(monkeypatch, error):
    def fails(flags: int) -> None:
        raise error

    monkeypatch.setattr(isolation, "_unshare", fails)
    with pytest.raises(UserError) as refusal:
        isolation.isolate()
    assert re.fullmatch(
        rf"--isolate: this system gives no network of its own \({error.strerror}\): leave it out,"
        " or have unprivileged user namespaces allowed",
        str(refusal.value),
    )


def test_elsewhere_than_on_linux(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(UserError, match="--isolate needs the network namespaces of Linux"):
        isolation.isolate()


@pytest.mark.end_to_end
@pytest.mark.cluster
@needs_namespaces
def test_a_run_in_a_network_of_its_own(few, tmp_path):
    """It ends as one that is not, and TensorFlow's ports are not to be reached meanwhile."""
    flags = [flag for flag in few.flags if not flag.startswith("--workdir=")]
    long = ("--config.phases[0].steps=80", "--config.save_every_steps=80")
    one, other = tmp_path / "one", tmp_path / "other"
    command = [str(part) for part in local(2, *flags, *long, "--cpu_devices=1", f"--workdir={one}")]
    command.insert(command.index("--"), "--isolate")
    isolated = Worker(command, tmp_path / "said")
    try:
        isolated.wait_for("step 10")
        _check_ports(isolated)
        ended = isolated.end()
    finally:
        isolated.kill()  # its workers end with it
    assert ended.status == 0, ended.stderr
    assert "listens on all interfaces" not in ended.stderr
    open_ = local(2, *flags, *long, "--cpu_devices=1", f"--workdir={other}")
    ended = run(*open_[3:], program="launch.local")
    assert ended.status == 0, ended.stderr
    assert ended.stderr.splitlines()[0].startswith("Note: TensorFlow's own server in each worker")
    assert_same_run(one, other)
    owner = Path(few.train).stat()
    for path in one.rglob("*"):
        assert (path.stat().st_uid, path.stat().st_gid) == (owner.st_uid, owner.st_gid)


def _check_ports(isolated: Worker) -> None:
    """The ports of its workers are listened at, and nobody out here reaches them."""
    ports = [int(each) for each in re.findall(r"127\.0\.0\.1:(\d+)", isolated.said)]
    assert len(ports) >= 2
    pid = isolated.process.pid
    worker = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
    net = Path(f"/proc/{worker}/net")
    inside = (net / "tcp").read_text() + (net / "tcp6").read_text()
    assert any(re.search(rf":{port:04X} 0+:0000 0A", inside) for port in ports)
    assert all(refused(port) for port in ports)
    assert isolated.process.poll() is None
