"""The processes of one run: they meet, compare notes, watch over each other, and part.

Worker 0, the chief, listens at its own address before TensorFlow does. Every other worker connects
there, and the connections stay open for the life of the run: when the chief has stopped listening,
TensorFlow's server takes over the port. So no port is needed besides TensorFlow's. Over these
connections go values that all must know (`exchange`) and a beat a second. A worker whose connection
closes, or that is not heard of for SILENCE_SECONDS, is lost: the others name it and end.
"""

import json
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from trainer.errors import UserError
from trainer.runtime import meeting
from trainer.runtime.meeting import RETRY_SECONDS, Newcomer, Secret, split_address
from trainer.runtime.peer import NotAWorker, Peer, wire_text
from trainer.storage import strict_json

BEAT_SECONDS = 1.0
SILENCE_SECONDS = 20.0
PORT_SECONDS = 20.0  # how long a worker tries its own: an earlier run may be about to end
TELL_SECONDS = 10.0  # after which a worker that does not get in says why
MOST_NAMED = 20  # workers in a message
LOST = 69  # exit status where a worker, or the workdir, is not there (EX_UNAVAILABLE, sysexits.h)


class Lost(Exception):
    """A worker never came, or is gone; the message names it."""


class Workers:
    """All workers of a run, as one of them sees them.

    Args:
      addresses: "host:port" of each, the chief first; one or none: this process is alone, and
        everything here returns at once.
      index: this worker's place among them.
      end: ends this process with an exit status and a line, from any thread.
      say: told of what comes from elsewhere than the workers, in a line now and then.
    """

    def __init__(
        self,
        addresses: Sequence[str] = (),
        index: int = 0,
        end: Callable[[int, str], None] | None = None,
        say: Callable[[str], None] = lambda line: None,
    ):
        self.addresses, self.index, self._end = tuple(addresses), index, end
        self._say = say
        self.count = max(len(self.addresses), 1)
        self.is_chief = index == 0
        self.doing = "the start"  # where it stands: told to the others with each beat
        self._waits = False  # for the others
        self._peers: dict[int, Peer] = {}
        self._lock = threading.Condition()
        self._round = 0  # of this worker's next value
        self._done = 0  # the first round that is not answered
        self._ends: Callable[[list[Any]], bool] = lambda values: False
        self._values: dict[int, dict[int, Any]] = {}  # round -> worker -> value; chief only
        self._answers: dict[int, list[Any]] = {}  # round -> values of all workers
        self._parting = False

    def name(self, index: int) -> str:
        """The name of a worker in messages."""
        return f"worker {index} ({self.addresses[index]})" if self.addresses else "this process"

    # Meeting

    def meet(self, seconds: float, secret: Secret) -> None:
        """Waits until every worker is there.

        Args:
          seconds: how long to wait at most.
          secret: what all workers know, and nobody else; see `meeting.secret`.

        Raises:
          Lost: not all came in time; those that are missing are named.
          UserError: this worker's own address cannot be used, or a worker knows other addresses.
        """
        if self.count == 1:
            return
        deadline = time.monotonic() + seconds
        if self.is_chief:
            self._gather(deadline, seconds, secret())
        else:
            self._peers[0] = self._reach_chief(deadline, seconds, secret)
        threading.Thread(target=self._watch, name="workers", daemon=True).start()
        if not self.is_chief:  # said before TensorFlow fails on it, and to the others
            self._listen(deadline).close()

    def _listen(self, deadline: float) -> socket.socket:
        """A listener at this worker's own address."""
        soon = min(deadline, time.monotonic() + PORT_SECONDS)
        return meeting.listen(self.addresses[self.index], soon, f"worker {self.index}")

    def _gather(self, deadline: float, seconds: float, secret: bytes) -> None:
        if not secret:
            raise ValueError("workers of one run need a secret to meet")
        with self._listen(deadline) as listener, meeting.Gate(listener, secret, self._say) as gate:
            while missing := self._missing():
                left = deadline - time.monotonic()
                if left <= 0:
                    foreign = f"; {gate.foreign()}" if gate.foreign() else ""
                    text = f"not there within {seconds:g} s: {self._names(missing)}{foreign}"
                    self._refuse(LOST, text)
                    self.close()
                    raise Lost(text)
                for newcomer in gate.wait(min(left, 1.0)):
                    self._welcome(newcomer)
        for peer in self._peers.values():
            peer.send({"met": True})

    def _missing(self) -> list[int]:
        """The workers that have not come, or have gone again."""
        for index, peer in list(self._peers.items()):
            if peer.closed():
                self._peers.pop(index).close()
        return [i for i in range(1, self.count) if i not in self._peers]

    def _names(self, missing: Sequence[int]) -> str:
        more = f" and {len(missing) - MOST_NAMED:,} more" if len(missing) > MOST_NAMED else ""
        return ", ".join(map(self.name, missing[:MOST_NAMED])) + more

    def _welcome(self, newcomer: Newcomer) -> None:
        peer, index, addresses = newcomer.peer, newcomer.index, newcomer.addresses
        if addresses != list(self.addresses):
            text = (
                f"worker {index} knows the workers {_short(addresses, 1000)}, {self.name(0)}"
                f" knows {_short(list(self.addresses), 1000)}: start all with the same list"
            )
            peer.send({"end": 2, "why": text})
            self._refuse(2, text)
            peer.close()
            self.close()
            raise UserError(text)
        if index not in range(1, self.count):
            peer.close()
            return
        if index in self._peers:  # the one before was restarted, unless both are there
            text = f"another process is {self.name(index)} too: give each its own index"
            self._peers[index].send({"end": 2, "why": text})
            self._peers[index].close()
        self._peers[index] = peer

    def _refuse(self, status: int, text: str) -> None:
        for peer in list(self._peers.values()):
            peer.send({"end": status, "why": wire_text(text)})

    def _reach_chief(self, deadline: float, seconds: float, secret: Secret) -> Peer:
        host, port = split_address(self.addresses[0])
        last = "no answer"
        tells_at = time.monotonic() + TELL_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            try:
                if not (known := secret()):
                    raise NotAWorker("its secret is not in the --workdir: do both share it?")
                connection = socket.create_connection((host, port), timeout=min(left, 5.0))
                peer = self._greet(connection, known, min(left, meeting.GREETING_SECONDS))
                # Longer than the chief waits, which may have begun now: it names who is missing.
                answer = peer.receive(seconds + 5.0)
                if "met" in answer:
                    return peer
                peer.close()
                if "end" in answer:
                    raise (UserError if answer["end"] == 2 else Lost)(wire_text(answer["why"]))
                last = "no answer"
            except NotAWorker as error:
                last = str(error)
                if time.monotonic() >= tells_at:
                    tells_at = float("inf")
                    self._say(f"Note: no meeting with {self.name(0)} yet: {last}")
            except OSError as error:
                last = error.strerror or str(error)
            time.sleep(RETRY_SECONDS)
        raise Lost(f"not there within {seconds:g} s: {self.name(0)} ({last})")

    def _greet(self, connection: socket.socket, secret: bytes, seconds: float) -> Peer:
        try:
            return meeting.greet(connection, secret, self.index, self.addresses, seconds)
        except (OSError, NotAWorker):
            connection.close()
            raise

    # What all know

    def exchange(
        self, value: Any = None, ends: Callable[[list[Any]], bool] = lambda values: False
    ) -> list[Any]:
        """Each worker's value, in the order of the workers; waits for all. JSON values only.

        Every worker must call it as often, in the same order. It is a barrier too.

        Args:
          value: this worker's.
          ends: whether all workers end when they know the values, and need not hear of each other
            any more.
        """
        if self.count == 1:
            return [value]
        with self._lock:
            number, self._round, self._ends = self._round, self._round + 1, ends
            if self.is_chief:
                self._take(0, number, _as_sent(value))
            elif chief := self._peers.get(0):  # otherwise this process is about to end
                chief.send({"round": number, "value": value})
            self._waits = True
            while number not in self._answers:
                self._lock.wait()
            self._waits = False
            return self._answers.pop(number)

    def any(self, flag: bool) -> bool:
        """True if `flag` is true on some worker."""
        return any(self.exchange(flag))

    def from_chief(self, value: Any = None) -> Any:
        """The chief's value."""
        return self.exchange(value if self.is_chief else None)[0]

    def compare(self, what: dict[str, Any], advice: str) -> None:
        """Refuses to go on where something is not as on the chief.

        Args:
          what: what must be equal, by how to call it.
          advice: what to do about it.

        Raises:
          UserError: on every worker: which worker has another what.
        """
        values = self.exchange(what, lambda values: any(each != values[0] for each in values))
        for index, other in enumerate(values):
            different = [
                f"{name}: {_short(other.get(name))}, {_short(values[0].get(name))} on worker 0"
                for name in values[0] | other
                if other.get(name) != values[0].get(name)
            ]
            if different:
                raise UserError(f"{self.name(index)} has other {'; '.join(different)}: {advice}")

    # Watching and parting

    def part(self) -> None:
        """Waits for all; whoever is gone after that has done its work."""
        self.exchange(None, lambda values: True)

    def leave(self, status: int, why: str) -> None:
        """Tells the others that this worker ends with a status that is not 0, and why."""
        self._parting = True
        self._refuse(status, f"{self.name(self.index)} ended: {why}")

    def close(self) -> None:
        """Closes the connections of a meeting that failed."""
        for peer in list(self._peers.values()):
            peer.close()
        self._peers.clear()

    def report(self) -> str:
        """The step of this worker and of the others, as far as it knows: who is behind, hangs."""
        others = [f"{self.name(i)} at {peer.doing}" for i, peer in sorted(self._peers.items())]
        return "; ".join([f"at {self._stands()}", *others])

    def _stands(self) -> str:
        return f"{self.doing}{', waiting for the others' if self._waits else ''}"

    def _watch(self) -> None:
        with selectors.DefaultSelector() as selector:
            for index, peer in self._peers.items():
                peer.heard = time.monotonic()
                selector.register(peer.socket, selectors.EVENT_READ, index)
            due = time.monotonic()
            while self._peers:
                for key, _ in selector.select(max(due - time.monotonic(), 0)):
                    if not self._read(key.data) and key.data in self._peers:
                        selector.unregister(key.fileobj)
                        self._gone(key.data, self._peers[key.data].ended)
                now = time.monotonic()
                if now >= due:
                    # After a pause of this process itself nobody is blamed for it.
                    late, due = now - due > SILENCE_SECONDS / 2, now + BEAT_SECONDS
                    for index, peer in list(self._peers.items()):
                        peer.heard = now if late else peer.heard
                        peer.send({"doing": wire_text(self._stands())})
                        if now - peer.heard > SILENCE_SECONDS:
                            self._gone(index, f"not heard of for {SILENCE_SECONDS:g} s")

    def _gone(self, index: int, how: str) -> None:
        peer = self._peers.pop(index)
        peer.close()
        if self._parting:
            return
        text = (
            f"{self.name(index)} is lost: {how}; it was last known to be at {peer.doing};"
            " started again, the run goes on from its last checkpoint"
        )
        self._refuse(LOST, text)
        self._finish(LOST, text)

    def _finish(self, status: int, text: str) -> None:
        if not self._parting and self._end:
            self._end(status, text)

    def _read(self, index: int) -> bool:
        """Takes what a worker sent; False when its connection is closed, or of no use."""
        peer = self._peers[index]
        lines = peer.lines()
        if lines is None:
            return False
        peer.heard = time.monotonic()
        for line in lines:
            if "doing" in line:
                peer.doing = wire_text(line["doing"])
            elif "end" in line:
                if not self._parting:
                    if self.is_chief:
                        self._refuse(line["end"], line["why"])
                    self._finish(line["end"], wire_text(line["why"]))
            elif not self._answered(index, line):
                peer.ended = "it sent what nobody asked for"
                return False
        return True

    def _answered(self, index: int, line: dict[str, Any]) -> bool:
        """Takes a value, or the values of all; False for one that is not the next."""
        with self._lock:
            if line.get("round") != self._done:
                return False
            if self.is_chief and "value" in line:
                self._take(index, self._done, line["value"])
            elif not self.is_chief and len(line.get("values", ())) == self.count:
                self._answer(self._done, line["values"])
            else:
                return False
        return True

    def _take(self, index: int, number: int, value: Any) -> None:
        """The chief takes note of a value, and answers when it has all. Under the lock."""
        values = self._values.setdefault(number, {})
        values[index] = value
        if len(values) == self.count:
            answer = [values[i] for i in range(self.count)]
            del self._values[number]
            self._answer(number, answer)
            for peer in list(self._peers.values()):
                peer.send({"round": number, "values": answer})

    def _answer(self, number: int, values: list[Any]) -> None:
        self._parting |= self._ends(values)
        self._answers[number] = values
        self._done = number + 1
        self._lock.notify_all()


def _as_sent(value: Any) -> Any:
    """A value as it comes from another worker."""
    return strict_json.loads(json.dumps(value), finite=False)


def _short(value: Any, length: int = 80) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= length else f"{text[: length - 3]}..."
