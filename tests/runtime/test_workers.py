"""Workers that meet over real connections, each in a thread of its own; no TensorFlow."""

import concurrent.futures
import contextlib
import socket
import threading
import time

import pytest
from groups import free_ports

from trainer.errors import UserError
from trainer.runtime import meeting
from trainer.runtime import workers as module
from trainer.runtime.meeting import split_address
from trainer.runtime.workers import LOST, Lost, Workers


def secret() -> bytes:
    return b"that all workers of these tests know"


class Ends:
    """Takes note of how a worker would have ended its process."""

    def __init__(self):
        self.said: list[tuple[int, str]] = []
        self._happened = threading.Event()

    def __call__(self, status: int, text: str) -> None:
        self.said.append((status, text))
        self._happened.set()

    def wait(self, seconds: float = 10) -> tuple[int, str]:
        assert self._happened.wait(seconds), "it did not end"
        return self.said[0]


@pytest.fixture
def addresses():
    return [f"127.0.0.1:{port}" for port in free_ports(3)]


@pytest.fixture
def three(addresses):
    """Three workers that have met, and how they end."""
    ends = [Ends() for _ in addresses]
    all_ = [Workers(addresses, index, ends[index]) for index in range(3)]
    together(all_, lambda worker: worker.meet(10, secret))
    yield all_, ends
    for worker in all_:
        worker._parting = True
        for peer in list(worker._peers.values()):
            close(peer)


def close(peer) -> None:
    with contextlib.suppress(OSError):  # it is closed
        peer.socket.shutdown(socket.SHUT_RDWR)


def together(all_, call) -> list:
    """`call` on every worker at once; what each returns or raises."""

    def caught(worker):
        try:
            return call(worker)
        except Exception as error:
            return error

    with concurrent.futures.ThreadPoolExecutor(len(all_)) as pool:
        return list(pool.map(caught, all_))


def test_alone_nothing_is_waited_for():
    worker = Workers()
    worker.meet(0.1, secret)
    assert worker.exchange([1]) == [[1]]
    assert worker.any(True)
    assert worker.from_chief("x") == "x"
    worker.compare({"a": 1}, "")
    worker.part()
    assert worker.is_chief
    assert worker.count == 1


def test_each_knows_the_values_of_all_in_order(three):
    for number in range(20):
        values = together(three[0], lambda w, number=number: w.exchange([w.index, number, 0.1]))
        assert values == [[[i, number, 0.1] for i in range(3)]] * 3


def test_any_and_from_chief(three):
    assert together(three[0], lambda w: w.any(w.index == 2)) == [True] * 3
    assert together(three[0], lambda w: w.any(False)) == [False] * 3
    assert together(three[0], lambda w: w.from_chief(w.index + 5)) == [5] * 3


def test_who_differs_is_named_to_all(three, addresses):
    what = lambda w: {"seed": 7 if w.index == 2 else 0, "same": (1, 2)}  # noqa: E731
    raised = together(three[0], lambda w: w.compare(what(w), "give all the same"))
    for error in raised:
        assert isinstance(error, UserError)
        expected = f"worker 2 ({addresses[2]}) has other seed: 7, 0 on worker 0: give all the same"
        assert str(error) == expected
    for worker in three[0]:  # that one goes before the others have read it is no loss
        for peer in list(worker._peers.values()):
            close(peer)
    time.sleep(0.3)
    assert not any(end.said for end in three[1])


def test_after_parting_nobody_is_missed(three):
    together(three[0], lambda w: w.part())
    for peer in list(three[0][1]._peers.values()):
        close(peer)
    time.sleep(0.3)
    assert not any(end.said for end in three[1])


@pytest.mark.long
def test_a_lost_follower_is_named_to_all(three, addresses):
    three[0][1].doing = "step 12"
    time.sleep(2.5 * module.BEAT_SECONDS)
    close(three[0][1]._peers[0])
    for index in (0, 2):
        status, text = three[1][index].wait()
        assert status == LOST
        assert text.startswith(f"worker 1 ({addresses[1]}) is lost: its connection closed")
        assert "at step 12" in text


def test_a_lost_chief_is_named(three, addresses):
    three[0][0]._parting = True  # a chief that is dead tells nobody of the connections it lost
    for peer in list(three[0][0]._peers.values()):
        close(peer)
    for index in (1, 2):
        status, text = three[1][index].wait()
        assert (status, text.split(":")[0]) == (LOST, f"worker 0 ({addresses[0].split(':')[0]}")


@pytest.mark.long
def test_a_silent_worker_is_lost(addresses, monkeypatch):
    monkeypatch.setattr(module, "SILENCE_SECONDS", 2.0)
    ends = Ends()
    chief = Workers(addresses[:2], 0, ends)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        met = pool.submit(chief.meet, 10, secret)
        silent = Workers(addresses[:2], 1)
        peer = silent._reach_chief(time.monotonic() + 10, 10, secret)  # and nothing more
        met.result()
    began = time.monotonic()
    status, text = ends.wait()
    assert status == LOST
    assert f"worker 1 ({addresses[1]}) is lost: not heard of for 2 s" in text
    assert 1.5 < time.monotonic() - began < 6
    peer.close()


def test_the_reason_and_the_status_reach_all(three, addresses):
    three[0][2].leave(2, "cannot read a file")
    for index in (0, 1):
        expected = f"worker 2 ({addresses[2]}) ended: cannot read a file"
        assert three[1][index].wait() == (2, expected)
    assert not three[1][2].said


def test_who_is_missing_is_named_to_those_who_came(addresses):
    all_ = [Workers(addresses, index) for index in (0, 2)]
    began = time.monotonic()
    raised = together(all_, lambda worker: worker.meet(1.0, secret))
    assert time.monotonic() - began < 5
    for error in raised:
        assert isinstance(error, Lost)
        assert str(error) == f"not there within 1 s: worker 1 ({addresses[1]})"


def test_a_chief_that_never_comes(addresses):
    with pytest.raises(Lost, match=r"not there within 0\.5 s: worker 0 .*[Rr]efused"):
        Workers(addresses, 1).meet(0.5, secret)


def test_other_addresses_are_refused(addresses):
    all_ = [Workers(addresses[:2], 0), Workers([addresses[0], "elsewhere:1"], 1)]
    raised = together(all_, lambda worker: worker.meet(5, secret))
    for error in raised:
        assert isinstance(error, UserError)
        assert "start all with the same list" in str(error)


@pytest.mark.long
def test_who_waits_longer_than_the_chief_names_who_is_missing(addresses):
    follower, chief = Workers(addresses, 1), Workers(addresses, 0)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(follower.meet, 2.0, secret)
        time.sleep(1.5)
        for each in (lambda: chief.meet(2.0, secret), waiting.result):
            with pytest.raises(Lost, match=rf"not there within 2 s: worker 2 \({addresses[2]}\)"):
                each()


def test_a_port_that_is_free_soon_is_waited_for(addresses):
    other = socket.create_server(split_address(addresses[0]))
    threading.Timer(0.5, other.close).start()
    all_ = [Workers(addresses[:2], index) for index in range(2)]
    assert together(all_, lambda worker: worker.meet(10, secret)) == [None, None]
    together(all_, lambda worker: worker.part())


def test_a_chief_whose_name_is_not_known_yet_listens(addresses):
    port = split_address(addresses[0])[1]
    with meeting.listen(f"not-yet.invalid:{port}", 0.0, "worker 0"), socket.socket() as other:
        other.connect(("127.0.0.1", port))


def test_a_port_in_use_is_said(addresses):
    with socket.socket() as other:
        other.bind(split_address(addresses[0]))
        other.listen()
        with pytest.raises(UserError, match="worker 0 cannot listen at its address"):
            Workers(addresses, 0).meet(1, secret)


def test_a_followers_port_in_use_is_said(addresses, monkeypatch):
    monkeypatch.setattr(module, "PORT_SECONDS", 0.5)
    all_ = [Workers(addresses[:2], index) for index in range(2)]
    with socket.create_server(split_address(addresses[1])):
        errors = together(all_, lambda worker: worker.meet(10, secret))
    assert errors[0] is None
    assert isinstance(errors[1], UserError)
    assert f"worker 1 cannot listen at its address {addresses[1]} (Address" in str(errors[1])


def test_addresses():
    assert split_address("a.b:12") == ("a.b", 12)
    assert split_address("[fd00::1]:12") == ("fd00::1", 12)


@pytest.mark.long
def test_where_each_stands(three, addresses):
    """Message about a hang: two wait, one does not."""
    chief, one, two = three[0]
    chief.doing = one.doing = "step 13"
    two.doing = "step 12"
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(worker.exchange, 0) for worker in (chief, one)]
        time.sleep(2.5 * module.BEAT_SECONDS)
        reports = chief.report(), two.report()
        two.exchange(0)
        assert [each.result(10) for each in waiting] == [[0, 0, 0]] * 2
    assert reports[0] == (
        f"at step 13, waiting for the others; worker 1 ({addresses[1]}) at step 13, waiting for"
        f" the others; worker 2 ({addresses[2]}) at step 12"
    )
    assert reports[1] == (
        f"at step 12; worker 0 ({addresses[0]}) at step 13, waiting for the others"
    )
    assert chief.report().startswith("at step 13; ")
