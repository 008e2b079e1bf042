"""Connections that are no worker's, of every kind that could disturb a meeting."""

import contextlib
import json
import random
import socket
import struct
import time
from collections.abc import Callable, Sequence

from groups import PATIENCE

from trainer.runtime import meeting
from trainer.runtime.peer import NotAWorker, Peer

TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + random.Random(1).randbytes(193)


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def _sends(data: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(data)


def _says(message: object) -> Callable[[socket.socket], None]:
    return _sends(json.dumps(message).encode() + b"\n")


def _guesses(index: int, addresses: Sequence[str]) -> Callable[[socket.socket], None]:
    """Greets as a worker does, with another secret."""

    def greet(connection: socket.socket) -> None:
        with contextlib.suppress(NotAWorker):
            meeting.greet(connection, b"a guess of the secret", index, addresses, 3.0)

    return greet


def recorded(secret: bytes, index: int) -> bytes:
    """The greeting of this worker to another chief of the same run, which somebody overheard."""
    with socket.socket() as unused:
        own = b"5" * 64
        peer = Peer(unused, secret, b"6" * 64 + own, is_chief=False)
        return own + b"\n" + peer.sealed({"worker": index})


def kinds(addresses: Sequence[str], secret: bytes) -> dict[str, Callable[[socket.socket], None]]:
    """Acts of each kind on its connection, by name.

    Args:
      addresses: of the workers.
      secret: of the run; only the recording of a greeting knows it.
    """
    whole, others = list(addresses), ["elsewhere:1", "elsewhere:2"]
    chance = random.Random(3)
    return {
        "deep": _sends(b"[" * 200_000 + b"\n"),
        "deep, sealed at random": _sends(b"0" * 64 + b"\n" + b"1" * 64 + b"[" * 200_000 + b"\n"),
        "a megabyte without a line's end": _sends(b"a" * 2**20),
        "digits without end": _sends(b"0" * 2**20),
        "silent": lambda connection: None,
        "half a line": _sends(b'{"worker": 1, "addr'),
        "half a number": _sends(b"0" * 40),
        "HTTP": _sends(b"GET / HTTP/1.1\r\nHost: worker\r\n\r\n"),
        "TLS": _sends(TLS_HELLO),
        "random": _sends(chance.randbytes(4096)),
        "zeros": _sends(bytes(4096)),
        "1.0": _says({"worker": 1.0, "addresses": whole}),
        "without a secret": _says({"worker": 1, "addresses": whole}),
        "another secret": _guesses(1, whole),
        "other addresses": _says({"worker": 1, "addresses": others}),
        "other addresses, another secret": _guesses(1, others),
        "a recorded greeting": _sends(recorded(secret, 1)),
        "a key twice": _sends(b'{"worker": 1, "worker": 2, "addresses": NaN}\n'),
        "the end": _says({"end": 2, "why": "x"}),
        "reset": _reset,
        "closed": lambda connection: connection.close(),
    }


def connect(address: str, seconds: float = PATIENCE) -> socket.socket:
    """A connection, as soon as something listens."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return socket.create_connection(meeting.split_address(address), timeout=5)
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def visit(address: str, act: Callable[[socket.socket], None]) -> socket.socket:
    """Connects and does it; the connection, which stays open unless it closes it itself."""
    connection = connect(address)
    with contextlib.suppress(OSError):  # it was closed meanwhile
        act(connection)
    return connection
