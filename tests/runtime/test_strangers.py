"""Meetings that strangers disturb: they start as if nobody had; no TensorFlow."""

import concurrent.futures
import contextlib
import os
import re
import socket
import threading
import time

import pytest
from groups import free_ports
from strangers import connect, kinds, visit
from test_workers import Ends, together

from trainer.errors import UserError
from trainer.runtime import meeting, workers
from trainer.runtime.meeting import GREETING, split_address
from trainer.runtime.workers import LOST, Lost, Workers

SECRET = b"that only the workers of these tests know"
KINDS = tuple(kinds(["a:1", "b:1"], SECRET))


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(workers, "RETRY_SECONDS", 0.02)


@pytest.fixture
def addresses():
    return [f"127.0.0.1:{port}" for port in free_ports(2)]


class Pair:
    """Two workers, and what they say."""

    def __init__(self, addresses):
        self.said: list[str] = []
        self.ends = [Ends(), Ends()]
        self.all = [Workers(addresses, i, self.ends[i], self.said.append) for i in range(2)]

    def meets_after(self, disturb) -> float:
        """Seconds that the follower takes, who comes when `disturb` has returned."""
        chief, follower = self.all
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            met = pool.submit(chief.meet, 20, lambda: SECRET)
            disturb()
            assert not met.done()
            began = time.monotonic()
            follower.meet(20, lambda: SECRET)
            met.result(5)
            return time.monotonic() - began

    def ends_well(self) -> None:
        """Both exchange a value, part, and nobody is missed."""
        assert together(self.all, lambda w: w.exchange(w.index)) == [[0, 1]] * 2
        together(self.all, lambda w: w.part())
        assert [end.said for end in self.ends] == [[], []]


@pytest.mark.parametrize("kind", KINDS)
def test_a_stranger_changes_nothing(addresses, kind):
    act, pair, visits = kinds(addresses, SECRET)[kind], Pair(addresses), []
    seconds = pair.meets_after(lambda: visits.extend(visit(addresses[0], act) for _ in range(3)))
    assert seconds < 2
    pair.ends_well()
    for each in visits:
        each.close()
    silent = kind in ("silent", "half a number")
    assert len(pair.said) == (0 if silent else 2)  # at once for the first, and at last for all
    if not silent:
        assert re.match(r"Note: 3 connections were no worker's \(the last from \S+: ", pair.said[1])


def test_many_silent_ones_do_not_keep_a_worker_waiting(addresses):
    pair, visits = Pair(addresses), []
    first = meeting.MAX_GUESTS + 40

    def disturb() -> None:
        visits.extend(connect(addresses[0]) for _ in range(first))

    assert pair.meets_after(disturb) < 2
    pair.ends_well()
    for each in visits:
        each.close()
    assert 1 <= len(pair.said) <= 2  # the oldest made room


def test_a_stranger_who_stays_silent_is_let_go(addresses, monkeypatch):
    monkeypatch.setattr(meeting, "GREETING_SECONDS", 0.3)
    pair = Pair(addresses)

    def disturb() -> None:
        with connect(addresses[0]) as stranger:
            assert re.fullmatch(GREETING + rb"[0-9a-f]{64}\n", stranger.recv(200))
            assert stranger.recv(200) == b""

    pair.meets_after(disturb)
    pair.ends_well()
    assert "no worker's greeting within 0.3 s" in pair.said[0]


def test_a_stranger_who_drips_is_let_go_too(addresses, monkeypatch):
    monkeypatch.setattr(meeting, "GREETING_SECONDS", 0.5)
    pair = Pair(addresses)

    def disturb() -> None:
        with connect(addresses[0]) as stranger, contextlib.suppress(OSError):
            for _ in range(60):
                stranger.sendall(b"0")
                time.sleep(0.05)

    began = time.monotonic()
    pair.meets_after(disturb)
    assert time.monotonic() - began < 3.5
    pair.ends_well()


def test_thousands_of_strangers_are_few_lines(addresses):
    """Each is closed at once, and the log is bounded."""
    pair = Pair(addresses)

    def disturb() -> None:
        for _ in range(2000):
            visit(addresses[0], lambda connection: connection.sendall(b"x")).close()

    pair.meets_after(disturb)
    pair.ends_well()
    assert len(pair.said) == 2
    assert "2,000 connections were no worker's" in pair.said[1]


def test_another_secret_is_told_on_both_sides(addresses):
    all_ = [Workers(addresses, i) for i in range(2)]
    secrets = [b"the secret of the chief", b"that of the other one"]
    chief, follower = together(all_, lambda w: w.meet(1.0, lambda: secrets[w.index]))
    assert isinstance(chief, Lost)
    assert isinstance(follower, Lost)
    assert f"not there within 1 s: worker 1 ({addresses[1]}); " in str(chief)
    assert str(chief).endswith(": another secret)")
    expected = f"worker 0 ({addresses[0]}) (it does not know the secret of this worker)"
    assert str(follower) == f"not there within 1 s: {expected}"


def test_a_worker_with_the_secret_and_other_addresses_ends_all(addresses):
    all_ = [Workers(addresses, 0), Workers([addresses[0], "elsewhere:1"], 1)]
    raised = together(all_, lambda w: w.meet(5, lambda: SECRET))
    expected = (
        f'worker 1 knows the workers ["{addresses[0]}", "elsewhere:1"], worker 0 ({addresses[0]})'
        f' knows ["{addresses[0]}", "{addresses[1]}"]: start all with the same list'
    )
    for error in raised:
        assert isinstance(error, UserError)
        assert str(error) == expected


# Something else at the address of the chief

REPLIES = {
    "silent": b"",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n" * 20,
    "deep": b"[" * 200_000 + b"\n",
    "a greeting, then silence": GREETING + b"0" * 64 + b"\n",
    "a greeting, then a deep text": GREETING + b"0" * 64 + b"\n" + b"[" * 200_000 + b"\n",
    "a greeting, then a guess": GREETING + b"0" * 64 + b"\n" + b"0" * 64 + b'{"welcome": true}\n',
    "a greeting, then an end": GREETING + b"0" * 64 + b"\n" + b'{"end": 2, "why": "x"}\n',
    "a greeting, then a megabyte": GREETING + b"0" * 64 + b"\n" + b"0" * 2**20,
    "a greeting of no number": GREETING + b"\xff" * 64 + b"\n",
    "random": bytes(range(256)) * 100,
}


def ends_at(address: str, reply: bytes) -> tuple[str, float]:
    """The end of a follower whose chief sends this to all who come, and after how long."""
    taken = []
    with socket.create_server(split_address(address)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(server.accept()[0])
                    with contextlib.suppress(OSError):
                        taken[-1].sendall(reply)

        threading.Thread(target=serve, daemon=True).start()
        began = time.monotonic()
        with pytest.raises(Lost) as error:
            Workers([address, "127.0.0.1:1"], 1).meet(1.5, lambda: SECRET)
        seconds = time.monotonic() - began
        server.shutdown(socket.SHUT_RDWR)
    for each in taken:
        each.close()
    assert len(taken) > 1  # it tries again
    return str(error.value), seconds


def test_foreign_servers_at_the_chiefs_address(monkeypatch):
    monkeypatch.setattr(meeting, "GREETING_SECONDS", 0.5)
    addresses = [f"127.0.0.1:{port}" for port in free_ports(len(REPLIES))]
    with concurrent.futures.ThreadPoolExecutor(len(REPLIES)) as pool:
        ended = list(pool.map(ends_at, addresses, REPLIES.values()))
    for address, (message, seconds) in zip(addresses, ended, strict=True):
        assert re.fullmatch(
            rf"not there within 1\.5 s: worker 0 \({re.escape(address)}\) \([^()]{{5,60}}\)",
            message,
        )
        assert seconds < 5


# Workers who know the secret, and say what no worker says


@pytest.mark.parametrize(
    "message",
    [
        {"doing": 5},
        {"doing": "x" * 5000},
        {"doing": "step 1", "more": 1},
        {"round": "x", "value": 1},
        {"round": 0.0, "value": 1},
        {"round": 7, "value": 1},
        {"round": -1, "value": 1},
        {"round": 0},
        {"round": 0, "values": [1, 2]},
        {"end": None, "why": "x"},
        {"end": True, "why": "x"},
        {"end": 2, "why": 3},
        {"end": 300, "why": "x"},
        {"worker": 1.0},
        {"met": False},
        {"value": []},
        {},
        [],
        None,
        "doing",
    ],
)
def test_a_worker_that_says_what_none_says_is_lost(addresses, message):
    pair = Pair(addresses)
    pair.meets_after(lambda: None)
    chief, follower = pair.all
    follower._peers[0].send(message)
    status, text = pair.ends[0].wait(5)
    assert status == LOST
    assert text.startswith(f"worker 1 ({addresses[1]}) is lost: it sent ")
    assert len(text) < 400
    follower._parting = chief._parting = True


@pytest.mark.parametrize(
    "message",
    [{"round": 0, "values": [1]}, {"round": 1, "values": [1, 2]}, {"round": 0, "value": 1}],
)
def test_a_chief_that_answers_what_was_not_asked_is_lost(addresses, message):
    pair = Pair(addresses)
    pair.meets_after(lambda: None)
    pair.all[0]._peers[1].send(message)
    status, text = pair.ends[1].wait(5)
    assert status == LOST
    assert f"worker 0 ({addresses[0]}) is lost: it sent what nobody asked for" in text


def test_what_is_put_into_a_connection_ends_it(addresses):
    """A stranger who writes into the connection of two workers cannot speak for one of them."""
    pair = Pair(addresses)
    pair.meets_after(lambda: None)
    pair.all[1]._peers[0].socket.sendall(b"0" * 64 + b'{"end": 2, "why": "x"}\n')
    status, text = pair.ends[0].wait(5)
    assert status == LOST
    assert "is lost: it sent another secret" in text


def test_values_that_json_has_no_word_for_are_exchanged(addresses):
    pair = Pair(addresses)
    pair.meets_after(lambda: None)
    values = together(pair.all, lambda w: w.exchange([float("inf"), -float("inf"), 1e-320]))
    assert values == [[[float("inf"), -float("inf"), 1e-320]] * 2] * 2
    nan = together(pair.all, lambda w: w.from_chief(float("nan")))
    assert [value != value for value in nan] == [True, True]
    pair.ends_well()


@pytest.mark.long
def test_a_follower_that_goes_before_all_are_there_is_waited_for_again(addresses):
    pair = Pair(addresses)
    pair.all[0].addresses = (*addresses, "127.0.0.1:1")
    pair.all[0].count = 3
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        met = pool.submit(pair.all[0].meet, 2.0, lambda: SECRET)
        peer = meeting.greet(connect(addresses[0]), SECRET, 1, pair.all[0].addresses, 5)
        time.sleep(0.5)
        peer.close()
        with pytest.raises(Lost, match=r"worker 1 .*, worker 2 "):
            met.result()


# The secret


def test_a_secret_that_was_given_is_used_as_it_is(tmp_path):
    with meeting.secret("given-to-all-of-them", tmp_path / "run", True) as known:
        assert known() == b"given-to-all-of-them"
        assert not (tmp_path / "run").exists()


def test_a_chief_without_one_writes_it_for_the_others(tmp_path):
    workdir = tmp_path / "runs" / "one"
    with meeting.secret("", workdir, False) as others:
        assert others() == b""
        with meeting.secret("", workdir, True) as known:
            assert re.fullmatch(b"[0-9a-f]{64}", known())
            assert others() == known()
            file = workdir / meeting.SECRET_FILE
            assert file.stat().st_mode & 0o777 == 0o600
        assert others() == b""
    assert not (tmp_path / "runs").exists()  # nothing is left of it


def test_a_new_one_each_time_and_a_stale_file_is_replaced(tmp_path):
    seen = set()
    for _ in range(2):
        (tmp_path / meeting.SECRET_FILE).write_text("stale")
        with meeting.secret("", tmp_path, True) as known:
            seen.add(known())
    assert len(seen) == 2
    assert tmp_path.exists()


@pytest.mark.parametrize("content", [b"", b"0" * 63, b"0" * 65, b"x" * 64, b"\xff" * 64])
def test_a_file_that_is_not_whole_is_no_secret(tmp_path, content):
    (tmp_path / meeting.SECRET_FILE).write_bytes(content)
    with meeting.secret("", tmp_path, False) as known:
        assert known() == b""


def test_a_link_or_a_pipe_in_its_place_is_no_secret(tmp_path):
    (tmp_path / "there").write_bytes(b"0" * 64)
    path = tmp_path / meeting.SECRET_FILE
    path.symlink_to(tmp_path / "there")
    with meeting.secret("", tmp_path, False) as known:
        assert known() == b""
        path.unlink()
        os.mkfifo(path)
        assert known() == b""


def test_a_workdir_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match=r"cannot write to --workdir=.*file/run: Not a directory"),
        meeting.secret("", tmp_path / "file" / "run", True),
    ):
        pass


def test_without_a_secret_to_read_a_follower_says_so(addresses, monkeypatch):
    monkeypatch.setattr("trainer.runtime.workers.TELL_SECONDS", 0.2)
    said: list[str] = []
    follower = Workers(addresses, 1, say=said.append)
    with pytest.raises(Lost, match=r"its secret is not in the --workdir: do both share it\?"):
        follower.meet(1.0, lambda: b"")
    assert len(said) == 1
    assert said[0].startswith(f"Note: no meeting with worker 0 ({addresses[0]}) yet: its secret is")
