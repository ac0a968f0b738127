"""Leaks through an OrderedDict in a program that has some 166,000 tracked objects besides. Argument: MB."""

import sys
import time
from collections import OrderedDict

UNTIL_BYTES = int(sys.argv[1] if len(sys.argv) > 1 else 400) * 1_000_000
PAGE_BYTES = 20_000


class Row:
    __slots__ = ("number", "parts", "texts")

    def __init__(self, number: int) -> None:
        self.number = number
        self.parts = [number]
        self.texts = {"key": number}


ROWS = [[Row(number)] for number in range(55_000)]
PAGES: "OrderedDict[str, bytes]" = OrderedDict()


def remember(number: int) -> None:
    PAGES[f"/article/{number}"] = b"x" * PAGE_BYTES + str(number).encode()


def main() -> None:
    for number in range(UNTIL_BYTES // PAGE_BYTES):
        remember(number)
        time.sleep(0.0015)


if __name__ == "__main__":
    main()
