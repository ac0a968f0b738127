"""Leaks in C code that no Python object holds: `decode_image` forgets what malloc gave. Argument: MB."""

import ctypes
import sys

UNTIL_BYTES = int(sys.argv[1] if len(sys.argv) > 1 else 400) * 1_000_000
IMAGE_BYTES = 400_000

C = ctypes.CDLL(None)
C.malloc.restype = ctypes.c_void_p
C.malloc.argtypes = [ctypes.c_size_t]
C.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]


def decode_image() -> None:
    C.memset(C.malloc(IMAGE_BYTES), 1, IMAGE_BYTES)


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
