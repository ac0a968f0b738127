"""Leaks through a dict that nothing is taken from: `render_page` keeps every page by its address. Argument: MB."""

import sys

UNTIL_BYTES = int(sys.argv[1] if len(sys.argv) > 1 else 400) * 1_000_000
PAGE_BYTES = 6_000


class Renderer:
    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}

    def render_page(self, address: str) -> bytes:
        page = self.pages.get(address)
        if page is None:
            page = self.pages[address] = address.encode() * (PAGE_BYTES // len(address))
        return page


RENDERER = Renderer()


def route(number: int) -> int:
    """Pure arithmetic: most of the time, none of the memory."""
    value = number + 1
    for _ in range(1_200):
        value = (value * 48271) % 2147483647
    return value


def main() -> None:
    for number in range(UNTIL_BYTES // PAGE_BYTES):
        route(number)
        RENDERER.render_page(f"/article/{number}?page=1")


if __name__ == "__main__":
    main()
