"""A task that finds its cluster, and checks that each address leads to the worker it stands for.

Prints one line of JSON. Listens and connects as workers do: a port that is taken, or a name that
leads elsewhere, is an error.
"""

import json
import os
import socket
import sys
import threading
import time

from launch import cluster

ENOUGH_SECONDS = 20


def answer(listener: socket.socket, index: int, peers: int) -> None:
    for _ in range(peers):
        with listener.accept()[0] as connection:
            connection.sendall(f"{os.environ['SLURM_STEP_ID']} {index}".encode())


def ask(address: str) -> str:
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + ENOUGH_SECONDS
    while True:
        try:
            with socket.create_connection((host, int(port)), ENOUGH_SECONDS) as connection:
                return connection.makefile().read()
        except ConnectionRefusedError:  # not there yet
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def main() -> None:
    found = cluster.resolve(os.environ)
    with socket.create_server(("", int(found.addresses[found.index].rpartition(":")[2]))) as server:
        peers = len(found.addresses) - 1
        thread = threading.Thread(target=answer, args=(server, found.index, peers))
        thread.start()
        answers = [ask(a) for i, a in enumerate(found.addresses) if i != found.index]
        thread.join(ENOUGH_SECONDS)
    expected = [f"{os.environ['SLURM_STEP_ID']} {i}" for i in range(peers + 1) if i != found.index]
    said = {
        "step": os.environ["SLURM_STEP_ID"],
        "rank": int(os.environ["SLURM_PROCID"]),
        "node": os.environ["SLURMD_NODENAME"],
        "index": found.index,
        "addresses": found.addresses,
        "source": found.source,
    }
    print(json.dumps(said), flush=True)
    if answers != expected:
        sys.exit(f"asked {found.addresses}, heard {answers}")


if __name__ == "__main__":
    main()
