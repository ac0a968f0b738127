"""Leaks through a cache without a bound on a method: `describe`, whose every argument is new. Argument: MB."""

import functools
import sys

UNTIL_BYTES = int(sys.argv[1] if len(sys.argv) > 1 else 400) * 1_000_000
WORDS = 120
DESCRIPTION_BYTES = 10_000


class Catalogue:
    @functools.lru_cache(maxsize=None)  # noqa: B019, UP033 - the leak
    def describe(self, article: int) -> list[str]:
        """About 10 kB in small texts."""
        return [f"article {article}, feature {number}: {'=' * 20}" for number in range(WORDS)]


def rank(article: int) -> int:
    """Pure arithmetic: most of the time, none of the memory."""
    value = article + 1
    for _ in range(1_800):
        value = (value * 48271) % 2147483647
    return value


def main() -> None:
    catalogue = Catalogue()
    for article in range(UNTIL_BYTES // DESCRIPTION_BYTES):
        rank(article)
        catalogue.describe(article)


if __name__ == "__main__":
    main()
