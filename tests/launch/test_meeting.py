"""Workers that never come, or do not belong together: refused before step 0, by name."""

import concurrent.futures
import itertools
import shutil
import socket
import time

import pytest
from groups import Group, errors
from programs import ROOT, assert_same_run, contents
from strangers import kinds, visit

from trainer.runtime.workers import LOST

pytestmark = [pytest.mark.end_to_end, pytest.mark.cluster]
SOON = "--start_seconds=30"
SECRET = "that-only-these-tests-know"


def flags(few) -> list[str]:
    return [flag for flag in few.flags if not flag.startswith("--workdir=")]


def ends(group: Group) -> list:
    return [group.workers[index].end() for index in sorted(group.workers)]


def refused(few, tmp_path, one=(), other=(), secret="", **environment) -> str:
    """Starts two workers with these further flags; what both say, in one line each."""
    given = {"THAW_SECRET": secret} if secret else {}
    with Group(tmp_path / "said", 2) as group:
        group.start(0, *flags(few), f"--workdir={few.workdir}", *one, **given)
        # Of a flag that is there twice the second counts.
        group.start(1, *flags(few), f"--workdir={few.workdir}", *other, **environment, **given)
        ended = ends(group)
    assert [each.status for each in ended] == [2, 2], ended
    assert not any("Traceback" in each.stderr for each in ended), ended
    said = [errors(each.stderr) for each in ended]
    assert all(said), ended
    assert not few.workdir.exists()  # nothing half-written
    name = f"worker 1 ({group.addresses[1]})"
    assert all(any(name in line for line in lines) for lines in said), said
    return said[0][-1]


@pytest.mark.parametrize("there", [0, 1])
def test_who_does_not_come_is_named_at_the_deadline(few, tmp_path, there):
    with Group(tmp_path / "said", 2) as group:
        began = time.monotonic()
        worker = group.start(there, *flags(few), f"--workdir={few.workdir}", "--start_seconds=2.5")
        ended = worker.end(60)
        assert time.monotonic() - began < 30
    assert ended.status == LOST
    missing = f"worker {1 - there} ({group.addresses[1 - there]})"
    assert errors(ended.stderr)[-1].startswith(f"not there within 2.5 s: {missing}")
    assert "Traceback" not in ended.stderr
    assert not few.workdir.exists()


def test_another_config(few, tmp_path):
    line = refused(few, tmp_path, other=("--config.seed=7",))
    assert "has other config.seed: 7, 0 on worker 0" in line


def test_what_may_differ_from_host_to_host(few, tmp_path):
    """Places of files and threads: the run goes through."""
    moved = tmp_path / "moved.csv"
    shutil.copy(few.train, moved)
    with Group(tmp_path / "said", 2) as group:
        group.start(0, *flags(few), f"--workdir={few.workdir}")
        group.start(
            1,
            *flags(few),
            f"--workdir={few.workdir}",
            f"--config.data.train={moved}",
            "--config.runtime.intra_op_threads=1",
        )
        ended = ends(group)
    assert [each.status for each in ended] == [0, 0], ended


def test_other_data(few, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text(few.train.read_text().replace("good film number 3", "fine film number 3"))
    line = refused(few, tmp_path, other=(f"--config.data.train={other}",))
    assert "has other train data: " in line
    assert "validation data: " in line  # a part of train


def test_other_weights_to_begin_with(few, tmp_path, launch):
    """Of an earlier run whose copies are not the same."""
    runs = [tmp_path / "earlier" / name for name in "ab"]
    for seed, run in enumerate(runs):
        first = (f"--workdir={run}", f"--config.seed={seed}", "--config.max_steps=2")
        assert launch(*flags(few), *first).status == 0
    named = [(f"--config.model.initial_run={run}",) for run in runs]
    line = refused(few, tmp_path, one=named[0], other=named[1])
    assert "has other weights to begin with: " in line


def test_another_version(few, tmp_path):
    """importlib.metadata reads the first one on the path; the package itself is the same."""
    found = tmp_path / "site" / "keras-9.9.9.dist-info"
    found.mkdir(parents=True)
    (found / "METADATA").write_text("Metadata-Version: 2.1\nName: keras\nVersion: 9.9.9\n")

    line = refused(few, tmp_path, PYTHONPATH=f"{ROOT}:{found.parent}")
    assert "has other keras: 9.9.9, " in line


def test_another_workdir(few, tmp_path):
    other = tmp_path / "elsewhere" / "run"
    differs = (f"--workdir={other}", SOON)
    line = refused(few, tmp_path, one=(SOON,), other=differs, secret=SECRET)
    assert f"does not share the --workdir={few.workdir}" in line
    assert not other.exists()


def test_another_workdir_where_the_secret_should_be(few, tmp_path):
    """Where no launcher gave one: the chief does not know who it is that does not come."""
    other = tmp_path / "elsewhere" / "run"
    soon = "--start_seconds=15"
    with Group(tmp_path / "said", 2) as group:
        group.start(0, *flags(few), f"--workdir={few.workdir}", soon)
        group.start(1, *flags(few), f"--workdir={other}", soon)
        ended = ends(group)
    assert [each.status for each in ended] == [LOST, LOST], ended
    said = [errors(each.stderr) for each in ended]
    assert said[0][-1] == f"not there within 15 s: worker 1 ({group.addresses[1]})"
    assert "its secret is not in the --workdir: do both share it?" in said[1][-1]
    assert "Note: no meeting with worker 0" in ended[1].stderr
    assert not few.workdir.exists()
    assert not other.parent.exists()


def test_another_workdir_beside_a_run_that_goes_on(few, tmp_path, launch):
    """The follower would start afresh beside the restored chief."""
    assert launch(*few.flags, "--config.max_steps=2").status == 0
    before = contents(few.workdir)
    with Group(tmp_path / "said", 2) as group:
        group.start(0, *few.flags, SOON, THAW_SECRET=SECRET)
        fresh = f"--workdir={tmp_path / 'fresh'}"
        group.start(1, *flags(few), fresh, SOON, THAW_SECRET=SECRET)
        ended = ends(group)
    assert [each.status for each in ended] == [2, 2], ended
    assert "does not share the --workdir" in ended[1].stderr
    assert contents(few.workdir) == before
    assert not (tmp_path / "fresh").exists()


def test_other_devices(few, tmp_path):
    line = refused(few, tmp_path, one=("--cpu_devices=2",), other=("--cpu_devices=1",))
    assert "runtime.cpu_devices" in line


def test_an_index_taken_twice(few, tmp_path):
    with Group(tmp_path / "said", 3) as group:
        first = group.start(1, *flags(few), f"--workdir={few.workdir}")
        group.start(0, *flags(few), f"--workdir={few.workdir}", "--start_seconds=40")
        group.workers[0].wait_for("3 workers")
        time.sleep(4)
        group.start(1, *flags(few), f"--workdir={few.workdir}")
        ended = first.end()
    assert ended.status == 2
    assert "another process is worker 1" in ended.stderr


@pytest.mark.parametrize("index", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_port_in_use(few, tmp_path, index):
    with Group(tmp_path / "said", 2) as group:
        host, port = group.addresses[index].split(":")
        with socket.create_server((host, int(port))):
            group.start(0, *flags(few), f"--workdir={few.workdir}")
            group.start(1, *flags(few), f"--workdir={few.workdir}", SOON)
            ended = group.workers[index].end()
        other = group.workers[1 - index].end()
    assert ended.status == 2
    line = f"error: worker {index} cannot listen at its address {group.addresses[index]} ("
    assert [each for each in ended.stderr.splitlines() if line in each], ended
    assert "Traceback" not in ended.stderr + other.stderr
    assert other.status == (2 if index else LOST)  # a chief that cannot listen cannot be asked
    assert not few.workdir.exists()


def test_one_mistaken_worker_ends_all(few, tmp_path):
    """A file that only one host lacks."""
    with Group(tmp_path / "said", 2) as group:
        group.start(0, *flags(few), f"--workdir={few.workdir}")
        lacking = f"--config.data.test={tmp_path / 'missing.csv'}"
        group.start(1, *flags(few), f"--workdir={few.workdir}", lacking)
        ended = ends(group)
    assert [each.status for each in ended] == [2, 2], ended
    assert f"worker 1 ({group.addresses[1]}) ended: config.data.test=" in ended[0].stderr


def started(few, folder, secret: str, strangers: int) -> tuple[float, str]:
    """Trains two workers; the seconds until the meeting is over, and what the chief says.

    The follower comes two seconds later than the strangers, who come as soon as the chief listens.
    """
    given = {"THAW_SECRET": secret} if secret else {}
    with Group(folder / "said", 2) as group, concurrent.futures.ThreadPoolExecutor(64) as pool:
        # A recorded greeting is of this secret, or, where it is new each time, of an old one.
        acts = kinds(group.addresses, (secret or "old").encode()).values()
        began = time.monotonic()
        chief = group.start(0, *flags(few), f"--workdir={folder / 'run'}", **given)
        visits = [
            pool.submit(visit, group.addresses[0], act)
            for act in itertools.islice(itertools.cycle(acts), strangers)
        ]
        time.sleep(2)
        follower = group.start(1, *flags(few), f"--workdir={folder / 'run'}", **given)
        chief.wait_for("with 2 replicas")
        seconds = time.monotonic() - began
        for each in visits:
            each.result(60).close()
        ended = chief.end(), follower.end()
    assert [each.status for each in ended] == [0, 0], ended
    assert not any("Traceback" in each.stderr for each in ended), ended
    return seconds, ended[0].stderr


@pytest.mark.parametrize("secret", [SECRET, pytest.param("", marks=pytest.mark.slow)])
def test_under_attack(few, tmp_path, secret):
    """100 foreign connections of 21 kinds: the run starts as soon, and ends bit for bit as one."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:  # at once: as slow, on a busy machine
        both = [
            pool.submit(started, few, tmp_path / name, secret, strangers)
            for name, strangers in (("undisturbed", 0), ("attacked", 100))
        ]
        (undisturbed, quiet), (attacked, said) = (each.result() for each in both)
    assert attacked < undisturbed + 5
    told = [line for line in said.splitlines() if line.startswith("Note: ") and "worker's" in line]
    assert 1 <= len(told) <= 2 + attacked / 30  # one at first, one at last, one each 30 s
    assert "no worker's" not in quiet
    assert_same_run(tmp_path / "undisturbed" / "run", tmp_path / "attacked" / "run")
    assert not list(tmp_path.rglob(".secret"))
