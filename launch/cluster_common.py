"""Common part of what reads a cluster from an environment: the cluster, variables and checks."""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from launch.texts import shortened
from trainer.errors import UserError, shown

HERE = "this machine"  # the source where nothing is said of other workers
MAX_WORKERS = 4096  # more than any run has: a wrong number is refused before it fills the memory
DIGITS = 10  # of the largest number that Slurm gives

Environment = Mapping[str, str]


@dataclass(frozen=True)
class Cluster:
    """The workers of a run.

    Attributes:
      addresses: "host:port" of each worker by its rank, the chief first; empty: this machine alone.
      index: the rank of this process.
      source: what says so, such as "TF_CONFIG" or "Slurm step 12.0".
    """

    addresses: tuple[str, ...]
    index: int
    source: str

    @property
    def count(self) -> int:
        """The number of workers."""
        return max(len(self.addresses), 1)

    def describe(self) -> list[str]:
        """A heading with the count and the source, then a line for each worker."""
        addresses = self.addresses or (HERE,)
        width = max(map(len, addresses))
        lines = [f"{self.count} worker{'s' * (self.count > 1)} ({self.source}):"]
        for rank, address in enumerate(addresses):
            notes = ["chief"] * (rank == 0) + ["(this process)"] * (rank == self.index)
            line = f"  {rank:>{len(str(self.count - 1))}}  {address:<{width}}  {' '.join(notes)}"
            lines.append(line.rstrip())
        return lines


@dataclass(frozen=True)
class Place:
    """The place of this process according to a scheduler that names no addresses."""

    source: str
    index: int
    count: int


# Checks


def check_address(address: str, source: str) -> None:
    """Raises a UserError for what is not host:port."""
    if not address:
        raise UserError(f"{source} has an empty entry: give each worker as host:port")
    host, _, port = address.rpartition(":")
    try:
        if re.fullmatch(r"\[[\w:.%-]{2,80}\]", host):
            ipaddress.IPv6Address(host[1:-1])
        elif not re.fullmatch(r"[\w.-]{1,253}", host) or not host.encode("idna"):
            raise ValueError  # of which a UnicodeError is one: an empty or long part of a name
    except ValueError:
        raise UserError(
            f"{source}: {shown(address)} is not host:port (an IPv6 address goes in brackets)"
        ) from None
    if not is_port(port):
        raise UserError(f"{source}: {shown(address)} needs a port from 1 to 65535 after the colon")


def check_count(count: int, source: str) -> None:
    """Raises a UserError for more workers than any run has."""
    if count > MAX_WORKERS:
        shown = f"{count:,}" if count < 10**12 else "countless"
        raise UserError(f"{source} names {shown} workers, more than {MAX_WORKERS:,}: correct it")


def check_distinct(addresses: Sequence[str], source: str) -> None:
    """Raises a UserError for an address that stands twice."""
    seen: set[str] = set()
    for address in addresses:
        if address.lower() in seen:
            raise UserError(f"{source}: {address} stands twice, each worker needs its own port")
        seen.add(address.lower())


def is_port(text: str) -> bool:
    """True for a number from 1 to 65535."""
    return re.fullmatch("[0-9]{1,5}", text) is not None and 1 <= int(text) <= 65535


# Variables


def text_of(environment: Environment, name: str) -> str:
    """A variable's text without blanks around it, empty where it is not set."""
    return environment.get(name, "").strip()


def shown_of(environment: Environment, name: str) -> str:
    """A variable's value for a message."""
    return shortened(text_of(environment, name))


def number_of(environment: Environment, name: str) -> int:
    """A variable's whole number, 0 where it is not set."""
    text = text_of(environment, name) or "0"
    if not re.fullmatch(f"[0-9]{{1,{DIGITS}}}", text):
        raise UserError(f"{name} is {shown(text)}, not a whole number: correct or unset it")
    return int(text)
