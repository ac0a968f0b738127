"""Leaks in a background thread: `collect_metrics`, small and large. The main thread computes. Argument: MB."""

import hashlib
import sys
import threading
import time

UNTIL_BYTES = int(sys.argv[1] if len(sys.argv) > 1 else 400) * 1_000_000
BLOCK = b"x" * 65536
PAUSE_S = 0.02

history: list[object] = []
done = threading.Event()


def collect_metrics(round_number: int) -> int:
    """About 0.9 MB: one buffer and many small texts."""
    history.append(bytearray(400_000))
    history.extend(f"metric {round_number} {number} {'.' * 60}" for number in range(4_000))
    return 400_000 + 4_000 * 125


def metrics_loop() -> None:
    kept = number = 0
    while kept < UNTIL_BYTES:
        kept += collect_metrics(number)
        number += 1
        time.sleep(PAUSE_S)
    done.set()


def checksum_pages() -> str:
    """Hashing the same block over and over: a whole core, no memory."""
    digest = hashlib.sha256()
    for _ in range(200):
        digest.update(BLOCK)
    return digest.hexdigest()


def main() -> None:
    threading.Thread(target=metrics_loop, name="metrics", daemon=True).start()
    while not done.is_set():
        checksum_pages()


if __name__ == "__main__":
    main()
