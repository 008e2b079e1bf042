"""The processes of one run: they meet, compare notes, watch over each other, and part.

Worker 0, the chief, listens at its own address before TensorFlow does. Every other worker connects
there, and the connections stay open for the life of the run: when the chief has stopped listening,
TensorFlow's server takes over the port. So no port is needed besides TensorFlow's. Over these
connections go values that all must know (`exchange`) and a beat a second. A worker whose connection
closes, or that is not heard of for SILENCE_SECONDS, is lost: the others name it and end.
"""

import errno
import json
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from trainer.errors import UserError

BEAT_SECONDS = 1.0
SILENCE_SECONDS = 20.0
RETRY_SECONDS = 0.3  # between two attempts to reach the chief, or to listen as the chief
PORT_SECONDS = 20.0  # how long a worker tries its own: an earlier run may be about to end
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
    """

    def __init__(
        self,
        addresses: Sequence[str] = (),
        index: int = 0,
        end: Callable[[int, str], None] | None = None,
    ):
        self.addresses, self.index, self._end = tuple(addresses), index, end
        self.count = max(len(self.addresses), 1)
        self.is_chief = index == 0
        self.doing = "the start"  # where it stands: told to the others with each beat
        self._waits = False  # for the others
        self._peers: dict[int, _Peer] = {}
        self._lock = threading.Condition()
        self._round = 0
        self._ends: Callable[[list[Any]], bool] = lambda values: False
        self._values: dict[int, dict[int, Any]] = {}  # round -> worker -> value; chief only
        self._answers: dict[int, list[Any]] = {}  # round -> values of all workers
        self._parting = False

    def name(self, index: int) -> str:
        """How messages call a worker."""
        return f"worker {index} ({self.addresses[index]})" if self.addresses else "this process"

    # Meeting

    def meet(self, seconds: float) -> None:
        """Waits until every worker is there.

        Args:
          seconds: how long to wait at most.

        Raises:
          Lost: not all came in time; those that are missing are named.
          UserError: this worker's own address cannot be used, or a worker knows other addresses.
        """
        if self.count == 1:
            return
        deadline = time.monotonic() + seconds
        if self.is_chief:
            self._gather(deadline, seconds)
        else:
            self._peers[0] = self._reach_chief(deadline, seconds)
        threading.Thread(target=self._watch, name="workers", daemon=True).start()
        if not self.is_chief:  # said before TensorFlow fails on it, and to the others
            self._listen(deadline).close()

    def _listen(self, deadline: float) -> socket.socket:
        """A listener at this worker's own address."""
        soon = min(deadline, time.monotonic() + PORT_SECONDS)
        return _listen(self.addresses[self.index], soon, f"worker {self.index}")

    def _gather(self, deadline: float, seconds: float) -> None:
        with self._listen(deadline) as listener:
            while missing := [i for i in range(1, self.count) if i not in self._peers]:
                listener.settimeout(max(deadline - time.monotonic(), 0.001))
                try:
                    peer = _Peer(listener.accept()[0])
                except TimeoutError:
                    names = ", ".join(map(self.name, missing))
                    self._refuse(LOST, f"not there within {seconds:g} s: {names}")
                    self.close()
                    raise Lost(f"not there within {seconds:g} s: {names}") from None
                self._welcome(peer)
        for peer in self._peers.values():
            peer.send({"met": True})

    def _welcome(self, peer: "_Peer") -> None:
        hello = peer.receive(5.0)
        index = hello.get("worker", 0)
        if hello.get("addresses") != list(self.addresses) or index not in range(1, self.count):
            if isinstance(hello.get("addresses"), list):  # anything else is no worker at all
                text = (
                    f"worker {index} knows the workers {hello.get('addresses')}, {self.name(0)}"
                    f" knows {list(self.addresses)}: start all with the same list"
                )
                peer.send({"end": 2, "why": text})
                self._refuse(2, text)
                peer.close()
                self.close()
                raise UserError(text)
            peer.close()
            return
        if index in self._peers:  # the one before was restarted, unless both are there
            text = f"another process is {self.name(index)} too: give each its own index"
            self._peers[index].send({"end": 2, "why": text})
            self._peers[index].close()
        self._peers[index] = peer

    def _refuse(self, status: int, text: str) -> None:
        for peer in list(self._peers.values()):
            peer.send({"end": status, "why": text})

    def _reach_chief(self, deadline: float, seconds: float) -> "_Peer":
        host, port = split_address(self.addresses[0])
        last = "no answer"
        while (left := deadline - time.monotonic()) > 0:
            try:
                peer = _Peer(socket.create_connection((host, port), timeout=min(left, 5.0)))
                peer.send({"worker": self.index, "addresses": list(self.addresses)})
                # Longer than the chief waits, which may have begun now: it names who is missing.
                answer = peer.receive(seconds + 5.0)
                if answer.get("met"):
                    return peer
                if "end" in answer:
                    peer.close()
                    raise (UserError if answer["end"] == 2 else Lost)(answer["why"])
                peer.close()
                last = "no answer"
            except OSError as error:
                last = error.strerror or str(error)
            time.sleep(RETRY_SECONDS)
        raise Lost(f"not there within {seconds:g} s: {self.name(0)} ({last})")

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
                self._take(0, number, json.loads(json.dumps(value)))  # as others' come
            elif chief := self._peers.get(0):  # otherwise this process is about to end
                chief.send({"round": number, "value": value})
            self._waits = True
            while number not in self._answers:
                self._lock.wait()
            self._waits = False
            return self._answers.pop(number)

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true on some worker."""
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
        """Where this worker stands, and the others, as far as it knows: who is behind, hangs."""
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
                        self._gone(key.data, "its connection closed")
                now = time.monotonic()
                if now >= due:
                    # After a pause of this process itself nobody is blamed for it.
                    late, due = now - due > SILENCE_SECONDS / 2, now + BEAT_SECONDS
                    for index, peer in list(self._peers.items()):
                        peer.heard = now if late else peer.heard
                        peer.send({"doing": self._stands()})
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
        """Takes what a worker sent; False when its connection is closed."""
        peer = self._peers[index]
        lines = peer.lines()
        if lines is None:
            return False
        peer.heard = time.monotonic()
        for line in lines:
            if "doing" in line:
                peer.doing = line["doing"]
            elif "end" in line:
                if not self._parting:
                    if self.is_chief:
                        self._refuse(line["end"], line["why"])
                    self._finish(line["end"], line["why"])
            elif "value" in line:
                with self._lock:
                    self._take(index, line["round"], line["value"])
            elif "values" in line:
                with self._lock:
                    self._answer(line["round"], line["values"])
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
        self._lock.notify_all()


class _Peer:
    """The connection to another worker: a JSON object a line, either way."""

    def __init__(self, connection: socket.socket):
        self.socket = connection
        self.heard = time.monotonic()
        self.doing = "the start"
        self._rest = b""
        self._unread: list[dict[str, Any]] = []  # came together with the first message
        self._sending = threading.Lock()
        connection.settimeout(5.0)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, message: dict[str, Any]) -> None:
        """Sends a message; a connection that is closed is noticed by who reads."""
        try:
            with self._sending:
                self.socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            pass

    def lines(self) -> list[dict[str, Any]] | None:
        """The messages that have come, None when the connection is closed or of no use."""
        try:
            data = self.socket.recv(65536)
        except OSError:
            data = b""
        if not data:
            return None
        *whole, self._rest = (self._rest + data).split(b"\n")
        try:
            unread, self._unread = self._unread, []
            return unread + [json.loads(line) for line in whole]
        except ValueError:  # no worker, or one whose message was cut
            return None

    def receive(self, seconds: float) -> dict[str, Any]:
        """The first message, before anything else is read; empty for none, or no worker's."""
        deadline = time.monotonic() + seconds
        try:
            while (left := deadline - time.monotonic()) > 0:
                self.socket.settimeout(left)
                lines = self.lines()
                if lines is None:
                    break
                if lines:
                    self.socket.settimeout(5.0)
                    self._unread = lines[1:]
                    return lines[0] if isinstance(lines[0], dict) else {}
        except OSError:
            pass
        self.close()
        return {}

    def close(self) -> None:
        """Closes the connection."""
        self.socket.close()


def split_address(address: str) -> tuple[str, int]:
    """Host and port of "host:port"; an IPv6 address stands in brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _listen(address: str, deadline: float, name: str) -> socket.socket:
    """A listener whose port TensorFlow can take over when it is closed.

    Raises:
      UserError: the worker of this name cannot have it.
    """
    host, port = split_address(address)
    try:
        addresses = {str(found[4][0]) for found in socket.getaddrinfo(host, port)}
    except OSError:  # its own name may be the last that a cluster makes known
        addresses = set()
    local = all(name.startswith("127.") or name == "::1" for name in addresses)
    if not addresses or (local and host not in ("127.0.0.1", "::1", "localhost")):
        local = False  # Debian leads a host's own name to 127.0.1.1, where no other comes
    dual = not local and socket.has_dualstack_ipv6()
    six = dual or (local and addresses == {"::1"})
    while True:
        try:
            # With SO_REUSEADDR, also of what it accepts: else the port is kept from TensorFlow,
            # which listens on all addresses too.
            return socket.create_server(
                (host if local else "", port),
                family=socket.AF_INET6 if six else socket.AF_INET,
                backlog=1024,
                dualstack_ipv6=dual,
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE and time.monotonic() < deadline:
                time.sleep(RETRY_SECONDS)
                continue
            raise UserError(
                f"{name} cannot listen at its address {address} ({error.strerror or error}):"
                " give it another port"
            ) from error


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= 80 else f"{text[:77]}..."
