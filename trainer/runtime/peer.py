"""A connection between two workers who share a secret: a sealed JSON object a line.

Each line is an HMAC of the message, and the message. The key follows from the secret and a random
number of either side, and the HMAC covers the direction and the number of the message as well: what
is recorded, sent back, left out or changed on the way is not taken. A line is read as JSON only
once its HMAC is right.
"""

import hmac
import json
import re
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from trainer.storage import strict_json

Message = dict[str, Any]

NONCE = 64  # hex digits of a random number
MAX_LINE = 2**26  # bytes: settings and fingerprints of thousands of workers have fewer
MAX_TEXT = 4000  # characters of what a worker says for people
_SEAL = 64  # hex digits
_SEND_SECONDS = 5.0


class NotAWorker(Exception):
    """A connection that is not, or no more, a worker's of this run; the message says why."""


class Peer:
    """A connection to another worker.

    Args:
      connection: the socket.
      secret: of all workers of the run.
      nonces: the random numbers of chief and follower, one after the other.
      is_chief: true at the chief's end of the connection.
    """

    def __init__(self, connection: socket.socket, secret: bytes, nonces: bytes, is_chief: bool):
        self.socket = connection
        self.heard = time.monotonic()
        self.doing = "the start"
        self.ended = "its connection closed"  # why nothing more comes, once nothing does
        self.limit = MAX_LINE  # of a line that comes
        self._key = hmac.digest(secret, b"thaw meeting 1 " + nonces, "sha256")
        self._directions = (b"chief", b"follower") if is_chief else (b"follower", b"chief")
        self._sent = self._taken = 0
        self._rest = bytearray()
        self._unread: list[Message] = []  # came together with the first message
        self._sending = threading.Lock()
        connection.settimeout(_SEND_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def sealed(self, message: Message) -> bytes:
        """The next line to send; each must be sent."""
        text = json.dumps(message).encode()
        line = self._seal(self._directions[0], self._sent, text) + text + b"\n"
        self._sent += 1
        return line

    def send(self, message: Message) -> None:
        """Sends a message; a connection that is closed is noticed by who reads."""
        try:
            with self._sending:
                self.socket.sendall(self.sealed(message))
        except OSError:
            pass

    def take(self, data: bytes) -> list[Message]:
        """The messages that are whole with these bytes.

        Raises:
          NotAWorker: they are not the next of the other end, or no messages of workers'.
        """
        searched = len(self._rest)
        self._rest += data
        messages = []
        while (end := self._rest.find(b"\n", searched)) >= 0:
            line = bytes(self._rest[: min(end, self.limit + 1)])
            del self._rest[: end + 1]
            searched = 0
            messages.append(self._open(line))
        if len(self._rest) > self.limit:
            raise NotAWorker(f"a line of over {self.limit:,} bytes")
        return messages

    def _open(self, line: bytes) -> Message:
        if len(line) > self.limit:
            raise NotAWorker(f"a line of over {self.limit:,} bytes")
        seal, text = line[:_SEAL], line[_SEAL:]
        if not hmac.compare_digest(seal, self._seal(self._directions[1], self._taken, text)):
            raise NotAWorker("another secret")
        self._taken += 1
        try:
            message = strict_json.loads(text, finite=False)  # a loss may be none
        except strict_json.InvalidJson as error:
            raise NotAWorker(f"a message that is not JSON ({error})") from error
        if not _known(message):
            raise NotAWorker(f"an unknown message ({text[:80]!r})")
        return message

    def _seal(self, direction: bytes, number: int, text: bytes) -> bytes:
        whole = b"%s %d %s" % (direction, number, text)
        return hmac.digest(self._key, whole, "sha256").hex().encode()

    def lines(self) -> list[Message] | None:
        """The messages that have come, None when the connection is closed or of no use."""
        try:
            data = self.socket.recv(65536)
        except OSError:
            data = b""
        if not data:
            return None
        unread, self._unread = self._unread, []
        try:
            return unread + self.take(data)
        except NotAWorker as error:
            self.ended = f"it sent {error}"
            return None

    def receive(self, seconds: float) -> Message:
        """The first message, before anything else is read; empty for none, or no worker's."""
        deadline = time.monotonic() + seconds
        try:
            while not self._unread and (left := deadline - time.monotonic()) > 0:
                self.socket.settimeout(left)
                lines = self.lines()
                if lines is None:
                    break
                self._unread = lines
            self.socket.settimeout(_SEND_SECONDS)
        except OSError:
            self._unread = []
        if self._unread:
            return self._unread.pop(0)
        self.close()
        return {}

    def settle(self) -> None:
        """Takes over from who served this connection beside others; its lines may be long now."""
        self.limit = MAX_LINE
        self.socket.settimeout(_SEND_SECONDS)

    def closed(self) -> bool:
        """True for an end that has closed, or that speaks before the meeting is over."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Closes the connection."""
        self.socket.close()


# Messages


def _whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


_round = _whole(0, 2**62)
_SHAPES: tuple[dict[str, Callable[[Any], bool]], ...] = (
    {"worker": _whole(0, 2**31)},
    {"welcome": lambda value: value is True},
    {"addresses": _texts},
    {"met": lambda value: value is True},
    {"doing": _text},
    {"end": _whole(1, 255), "why": _text},
    {"round": _round, "value": lambda value: True},
    {"round": _round, "values": lambda value: isinstance(value, list)},
)


def _known(message: Any) -> bool:
    """True for one of the messages that workers send each other."""
    return isinstance(message, dict) and any(
        message.keys() == shape.keys() and all(shape[name](message[name]) for name in shape)
        for shape in _SHAPES
    )


def wire_text(text: str) -> str:
    """A text for people, in one line of at most MAX_TEXT printable characters."""
    text = re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]+", " ", text)
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}..."
