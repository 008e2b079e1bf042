"""Two workers that meet while strangers talk to the chief's port; no TensorFlow.

`python -m fuzz.attacked PLAN`: a file with a JSON list of [seconds, times, hex of the bytes], each
a kind of connection. Ends with 0 where the workers met and exchanged the right values.
"""

import contextlib
import json
import socket
import sys
import threading
import time
from pathlib import Path

from groups import free_ports

from trainer.runtime.workers import Workers

START_SECONDS = 15.0
AFTER_SECONDS = 0.2  # the follower comes after the first strangers


def main(plan: list[tuple[float, int, str]]) -> int:
    """Returns the exit status."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    ended: list[str] = []
    values: dict[int, object] = {}

    def work(index: int) -> None:
        worker = Workers(addresses, index, lambda status, why: ended.append(f"{status}: {why}"))
        try:
            worker.meet(START_SECONDS, lambda: b"known to the two")
            values[index] = [worker.exchange([index, number]) for number in range(5)]
            worker.part()
        except Exception as error:
            ended.append(f"worker {index}: {type(error).__name__}: {error}")

    def attack(seconds: float, content: bytes) -> None:
        with contextlib.suppress(OSError):
            stranger = socket.create_connection(("127.0.0.1", int(addresses[0].split(":")[1])))
            strangers.append(stranger)
            stranger.settimeout(1.0)
            stranger.sendall(content.replace(b"ADDRESSES", json.dumps(addresses).encode()))
            if seconds:
                time.sleep(seconds)
            stranger.close()

    strangers: list[socket.socket] = []
    threads = [threading.Thread(target=work, args=(0,), daemon=True)]
    threads[0].start()
    time.sleep(0.1)
    for seconds, times, text in plan:
        for _ in range(times):
            thread = threading.Thread(
                target=attack, args=(seconds, bytes.fromhex(text)), daemon=True
            )
            thread.start()
    time.sleep(AFTER_SECONDS)
    threads.append(threading.Thread(target=work, args=(1,), daemon=True))
    threads[1].start()
    for thread in threads:
        thread.join(START_SECONDS + 2)
    expected = [[[0, number], [1, number]] for number in range(5)]
    if ended or any(values.get(index) != expected for index in range(2)):
        print(f"the strangers were heard: {ended or 'other values'}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(Path(sys.argv[1]).read_text())))
