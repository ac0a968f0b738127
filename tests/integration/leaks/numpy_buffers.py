"""Leaks numpy arrays: `keep_frame`. Needs numpy. Argument: MB until it ends."""

import hashlib
import sys

import numpy

UNTIL_BYTES = int(sys.argv[1] if len(sys.argv) > 1 else 400) * 1_000_000
BLOCK = b"x" * 1_000_000

frames: list[numpy.ndarray] = []


def keep_frame(number: int) -> int:
    """One to 1.9 MB in float64, filled by numpy's own code."""
    frame = numpy.full((125 + number % 8 * 16, 1000), float(number))
    frames.append(frame)
    return frame.nbytes


def digest_video() -> str:
    """Hashing the same block over and over: most of the time, none of the memory."""
    digest = hashlib.sha256()
    for _ in range(30):
        digest.update(BLOCK)
    return digest.hexdigest()


def main() -> None:
    kept = number = 0
    while kept < UNTIL_BYTES:
        digest_video()
        kept += keep_frame(number)
        number += 1


if __name__ == "__main__":
    main()
