"""A program to profile: `guard profile --demo`. It imports nothing but `time` and runs some four seconds."""

import time

SECONDS = 4.0


def find_primes(most: int) -> list[int]:
    """The hot spot: two thirds of the time, in a loop that looks harmless."""
    found: list[int] = []
    for number in range(2, most):
        if all(number % prime for prime in found if prime * prime <= number):
            found.append(number)
    return found


def sort_words(words: list[str]) -> list[str]:
    """A slow sort."""
    result = list(words)
    for end in range(len(result) - 1, 0, -1):
        for index in range(end):
            if result[index] > result[index + 1]:
                result[index], result[index + 1] = result[index + 1], result[index]
    return result


def checksum(text: str) -> int:
    """A little of the time."""
    total = 0
    for letter in text:
        total = (total * 31 + ord(letter)) % 1_000_003
    return total


def handle_request(number: int) -> int:
    """What a server would do over and over."""
    primes = find_primes(900)
    words = sort_words([f"{prime * number % 9973:04d}" for prime in primes])
    return checksum(" ".join(words))


def main() -> None:
    """Serve requests until the time is up."""
    end = time.monotonic() + SECONDS
    number = 0
    while time.monotonic() < end:
        number += 1
        handle_request(number)


if __name__ == "__main__":
    main()
