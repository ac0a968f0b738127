"""Leaks in a generator that a callback drives: `parse_records` remembers all it has yielded. Argument: MB."""

import sys
from collections.abc import Callable, Iterator

UNTIL_BYTES = int(sys.argv[1] if len(sys.argv) > 1 else 400) * 1_000_000
RECORD_BYTES = 60_000


def parse_records() -> Iterator[bytes]:
    """Keeps every record, of 2 to 118 kB: the frame of a generator that never ends holds them."""
    seen = []
    number = kept = 0
    while kept < UNTIL_BYTES:
        record = bytes([number % 251]) * (2_000 + (number * 7919) % (2 * RECORD_BYTES - 4_000))
        seen.append((number, record))
        kept += len(record)
        number += 1
        yield record


def score(record: bytes) -> int:
    """Pure arithmetic over a record's first byte: most of the time, none of the memory."""
    value = record[0] + 1
    for _ in range(8_000):
        value = (value * 48271) % 2147483647
    return value


def for_each(records: Iterator[bytes], callback: Callable[[bytes], int]) -> None:
    for record in records:
        callback(record)


if __name__ == "__main__":
    for_each(parse_records(), score)
