"""Leaks in an extension's C code that no Python object holds: what `decode_image` calls. Argument: MB.

Needs `imagecodec`, which `gcc -shared -fPIC -I… imagecodec.c -o imagecodec.so` makes.
"""

import sys

import imagecodec

UNTIL_BYTES = int(sys.argv[1] if len(sys.argv) > 1 else 400) * 1_000_000
IMAGE_BYTES = 400_000


def decode_image() -> int:
    return imagecodec.decode(IMAGE_BYTES)


def price(number: int) -> int:
    """Pure arithmetic: most of the time, none of the memory."""
    value = number + 1
    for _ in range(40_000):
        value = (value * 48271) % 2147483647
    return value


def main() -> None:
    for number in range(UNTIL_BYTES // IMAGE_BYTES):
        price(number)
        decode_image()


if __name__ == "__main__":
    main()
