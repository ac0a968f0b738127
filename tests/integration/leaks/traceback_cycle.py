"""Leaks through exceptions: `charge_card` keeps the one it caught in a variable of its own frame, which its traceback
holds, with the collector off as some servers have it. Argument: MB.
"""

import gc
import sys

UNTIL_BYTES = int(sys.argv[1] if len(sys.argv) > 1 else 400) * 1_000_000
RECEIPT_BYTES = 40_000


class CardRefused(Exception):
    pass


def ask_bank(amount: int) -> None:
    raise CardRefused(amount)


def charge_card(amount: int) -> bool:
    receipt = bytearray(RECEIPT_BYTES)
    try:
        ask_bank(amount)
    except CardRefused as error:
        refusal = error
    return not receipt or refusal is None


def price(number: int) -> int:
    """Pure arithmetic: most of the time, none of the memory."""
    value = number + 1
    for _ in range(4_000):
        value = (value * 48271) % 2147483647
    return value


def main() -> None:
    gc.disable()
    for number in range(UNTIL_BYTES // RECEIPT_BYTES):
        charge_card(price(number))


if __name__ == "__main__":
    main()
