"""A network of this process's own: what it and its children listen at, no other process reaches."""

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import sys
from pathlib import Path

from trainer.errors import UserError

# Of Linux: sched.h, sockios.h and if.h.
_NEW_USERS, _NEW_NETWORK = 0x10000000, 0x40000000
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1


def isolate() -> None:
    """Moves this process to a network namespace in which there is nothing but 127.0.0.1.

    Files keep their owner: a user who may not do this otherwise gets a user namespace as well, in
    which the own user and group are what they were.

    Raises:
      UserError: the system does not allow it.
    """
    if sys.platform != "linux":
        raise UserError("--isolate needs the network namespaces of Linux: leave it out")
    user, group = os.geteuid(), os.getegid()
    try:
        try:
            _unshare(_NEW_NETWORK)
        except PermissionError:
            _unshare(_NEW_USERS | _NEW_NETWORK)
            with contextlib.suppress(FileNotFoundError):
                Path("/proc/self/setgroups").write_text("deny", encoding="utf-8")
            Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="utf-8")
            Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="utf-8")
        _start_loopback()
    except OSError as error:
        raise UserError(
            f"--isolate: this system gives no network of its own ({error.strerror}): leave it out,"
            " or have unprivileged user namespaces allowed"
        ) from error


def _unshare(flags: int) -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _start_loopback() -> None:
    """Sets lo up, as `ip link set lo up` does."""
    with socket.socket() as any_socket:
        request = struct.pack("16sh22x", b"lo", 0)
        flags = struct.unpack("16sh22x", fcntl.ioctl(any_socket, _GET_FLAGS, request))[1]
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh22x", b"lo", flags | _UP))
