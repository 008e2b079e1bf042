"""The meeting of the workers of a run: each shows the chief first that it knows the secret.

  chief:     thaw-meeting-1 and a random number; before it nothing is read
  follower:  a random number of its own; then sealed, as all that follows, {"worker": its index}
  chief:     {"welcome": true}, so that the follower knows its chief as well
  follower:  {"addresses": what it knows of all workers}
  chief:     {"met": true} when all are there

The secret itself never crosses the network. The chief serves all connections at once; one that is
no worker's is closed, told of in a line now and then, and changes nothing.
"""

import contextlib
import dataclasses
import errno
import os
import re
import secrets
import selectors
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from trainer.errors import UserError
from trainer.runtime.peer import NONCE, NotAWorker, Peer

SECRET_FILE = ".secret"  # in the workdir, while workers meet that were given none
GREETING = b"thaw-meeting-1 "
GREETING_SECONDS = 5.0  # for all that comes before {"met": true}
MAX_GUESTS = 256  # connections at once that have not shown who they are
FOREIGN_SECONDS = 30.0  # between two lines about connections that are no worker's
RETRY_SECONDS = 0.3  # between two attempts to listen
_MAX_FIRST = 200  # bytes of the first sealed line
_MAX_ADDRESSES = 2**21  # bytes of the second
Secret = Callable[[], bytes]  # empty: it cannot be known yet


# The secret


@contextlib.contextmanager
def secret(given: str, workdir: Path, is_chief: bool) -> Iterator[Secret]:
    """The secret of a group, while it meets.

    Args:
      given: what the launcher has given to all; empty: the chief writes a new one to a file in the
        workdir that only its user can read, and the others read it there.
      workdir: of the run. What the chief makes there is gone when it has met the others.
      is_chief: true for worker 0.

    Raises:
      UserError: the chief cannot write it.
    """
    path = workdir / SECRET_FILE
    if given:
        yield given.encode
    elif not is_chief:
        yield lambda: _read(path)
    else:
        folder = workdir.absolute()
        made = [each for each in (folder, *folder.parents) if not os.path.lexists(each)]
        try:
            value = _write(path)
        except OSError as error:
            raise UserError(
                f"cannot write to --workdir={workdir}: {error.strerror or error}"
            ) from error
        try:
            yield lambda: value
        finally:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
                for each in made:
                    each.rmdir()


def _write(path: Path) -> bytes:
    value = secrets.token_hex(32).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(file, value)
    finally:
        os.close(file)
    return value


def _read(path: Path) -> bytes:
    """The secret that the chief wrote; empty where it is not there, or not whole, yet."""
    for folder in (path.parent.parent, path.parent):
        with contextlib.suppress(OSError):
            next(folder.iterdir(), None)  # an old listing may be kept until it is asked for
    try:
        # Never a link's target, and never a pipe's end that does not come.
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            value = os.read(file, 65)
        finally:
            os.close(file)
    except OSError:
        return b""
    return value if re.fullmatch(rb"[0-9a-f]{64}", value) else b""


# The chief's side


@dataclasses.dataclass(frozen=True)
class Newcomer:
    """A worker that knows the secret, and what it says of itself."""

    peer: Peer
    index: int
    addresses: list[str]


class _Guest:
    """A connection that has not shown yet that it is a worker's."""

    def __init__(self, connection: socket.socket, host: str):
        self.socket, self.host = connection, host
        self.deadline = time.monotonic() + GREETING_SECONDS
        self.nonce = secrets.token_hex(NONCE // 2).encode()
        self.said = b""  # until its random number is whole
        self.peer: Peer | None = None
        self.index: int | None = None


class Gate:
    """Lets workers in at the chief's listener, all who connect at once.

    Args:
      listener: where they connect.
      secret: that they know.
      say: told of connections that are no worker's, in a line now and then.
    """

    def __init__(self, listener: socket.socket, secret: bytes, say: Callable[[str], None]):
        self._listener, self._secret, self._say = listener, secret, say
        self._guests: dict[_Guest, None] = {}  # the oldest first
        self._foreign = 0
        self._last = ""
        self._untold, self._tells_at = 0, 0.0
        self._selector = selectors.DefaultSelector()
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)

    def wait(self, seconds: float) -> list[Newcomer]:
        """The workers that have come; waits for one, but no longer than so many seconds."""
        until = time.monotonic() + seconds
        came: list[Newcomer] = []
        while not came and (left := until - time.monotonic()) > 0:
            oldest = next(iter(self._guests), None)
            if oldest:
                left = min(left, max(oldest.deadline - time.monotonic(), 0))
            for key, _ in self._selector.select(left):
                if key.data is None:
                    self._accept()
                elif key.data in self._guests and (newcomer := self._serve(key.data)):
                    came.append(newcomer)
            now = time.monotonic()
            for guest in [each for each in self._guests if each.deadline <= now]:
                self._dismiss(guest, f"no worker's greeting within {GREETING_SECONDS:g} s")
        return came

    def foreign(self) -> str:
        """A remark on the connections that were no worker's; empty if there were none."""
        some = "1 connection was" if self._foreign == 1 else f"{self._foreign:,} connections were"
        return f"{some} no worker's (the last from {self._last})" if self._foreign else ""

    def close(self) -> None:
        """Closes whatever is no worker's yet."""
        for guest in list(self._guests):
            self._leave(guest).close()
        self._selector.close()
        if self._untold:
            self._tell()

    def __enter__(self) -> "Gate":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        try:
            connection, address = self._listener.accept()
        except BlockingIOError:
            return
        except OSError:  # it has gone, or there are too many open files: those end in seconds
            time.sleep(0.01)
            return
        if len(self._guests) >= MAX_GUESTS:  # a worker's greeting takes no time: the oldest is none
            self._dismiss(next(iter(self._guests)), "silent, and others wait")
        connection.setblocking(False)
        guest = _Guest(connection, str(address[0]))
        self._guests[guest] = None
        self._selector.register(connection, selectors.EVENT_READ, guest)
        try:
            _send(connection, GREETING + guest.nonce + b"\n")
        except NotAWorker as error:
            self._dismiss(guest, str(error))

    def _serve(self, guest: _Guest) -> Newcomer | None:
        try:
            data = guest.socket.recv(65536)
            if not data:
                raise NotAWorker("closed before a worker's greeting")
            return self._hear(guest, data)
        except BlockingIOError:
            return None
        except OSError as error:
            self._dismiss(guest, error.strerror or "closed")
        except NotAWorker as error:
            self._dismiss(guest, str(error))
        return None

    def _hear(self, guest: _Guest, data: bytes) -> Newcomer | None:
        if guest.peer is None:
            data = guest.said + data
            guest.said, data = data[: NONCE + 1], data[NONCE + 1 :]
            if not re.fullmatch(rb"[0-9a-f]{0,%d}|[0-9a-f]{%d}\n" % (NONCE, NONCE), guest.said):
                raise NotAWorker("no worker's greeting")
            if len(guest.said) <= NONCE:
                return None
            nonces = guest.nonce + guest.said[:NONCE]
            guest.peer = Peer(guest.socket, self._secret, nonces, is_chief=True)
            guest.peer.limit = _MAX_FIRST
            guest.socket.setblocking(False)
        for message in guest.peer.take(data):
            if guest.index is None and "worker" in message:
                guest.index = message["worker"]
                guest.peer.limit = _MAX_ADDRESSES
                _send(guest.socket, guest.peer.sealed({"welcome": True}))
            elif guest.index is not None and "addresses" in message:
                peer = guest.peer
                self._leave(guest)
                peer.settle()
                return Newcomer(peer, guest.index, message["addresses"])
            else:
                raise NotAWorker("an unexpected message")
        return None

    def _leave(self, guest: _Guest) -> socket.socket:
        del self._guests[guest]
        self._selector.unregister(guest.socket)
        return guest.socket

    def _dismiss(self, guest: _Guest, why: str) -> None:
        self._leave(guest).close()
        self._foreign += 1
        self._untold += 1
        self._last = f"{guest.host}: {why}"
        if time.monotonic() >= self._tells_at:
            self._tells_at = time.monotonic() + FOREIGN_SECONDS
            self._tell()

    def _tell(self) -> None:
        self._untold = 0
        self._say(f"Note: {self.foreign()}: closed, and nothing else")


def _send(connection: socket.socket, line: bytes) -> None:
    """Sends a short line, for which a new connection has room."""
    try:
        sent = connection.send(line)
    except OSError:
        sent = 0
    if sent < len(line):
        raise NotAWorker("closed before a worker's greeting")


# A follower's side


def greet(
    connection: socket.socket, secret: bytes, index: int, addresses: Sequence[str], seconds: float
) -> Peer:
    """Shows the chief that this is a worker of its run, and learns that it is its chief.

    Args:
      connection: to the chief.
      secret: of the run.
      index: of this worker.
      addresses: of all workers, as this one knows them.
      seconds: how long it may take.

    Raises:
      OSError: the connection broke.
      NotAWorker: the chief is none, or has another secret; the reason.
    """
    deadline = time.monotonic() + seconds
    length = len(GREETING) + NONCE + 1
    said = b""
    while len(said) < length:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            data = connection.recv(length - len(said))
        except TimeoutError:
            raise NotAWorker("it says nothing") from None
        said += data
        if not data or not (GREETING.startswith(said) or said.startswith(GREETING)):
            raise NotAWorker("no worker of a run listens there" if said else "it closed")
    nonce = secrets.token_hex(NONCE // 2).encode()
    peer = Peer(connection, secret, said[len(GREETING) : -1] + nonce, is_chief=False)
    connection.sendall(nonce + b"\n" + peer.sealed({"worker": index}))
    if peer.receive(deadline - time.monotonic()) != {"welcome": True}:
        raise NotAWorker("it does not know the secret of this worker")
    peer.send({"addresses": list(addresses)})
    return peer


# Addresses


def split_address(address: str) -> tuple[str, int]:
    """Host and port of "host:port"; an IPv6 address stands in brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def listen(address: str, deadline: float, name: str) -> socket.socket:
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
