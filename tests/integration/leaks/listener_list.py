"""Leaks listeners: `subscribe` appends to a list that nothing is taken from. Argument: MB until it ends."""

import sys
from collections.abc import Callable

UNTIL_BYTES = int(sys.argv[1] if len(sys.argv) > 1 else 400) * 1_000_000
BUFFER_BYTES = 16_384


class Bus:
    def __init__(self) -> None:
        self.listeners: list[Callable[[int], int]] = []

    def subscribe(self, client: int) -> None:
        """Each listener closes over a buffer of its client's."""
        inbox = bytearray(BUFFER_BYTES)
        names = [f"topic {client}.{number}" for number in range(20)]

        def listener(event: int) -> int:
            inbox[event % BUFFER_BYTES] = 1
            return len(names)

        self.listeners.append(listener)

    def publish(self, event: int) -> int:
        """Pure arithmetic for the newest listeners: most of the time, none of the memory."""
        value = event + 1
        for _ in range(2_400):
            value = (value * 48271) % 2147483647
        for listener in self.listeners[-3:]:
            listener(event)
        return value


def main() -> None:
    bus = Bus()
    while len(bus.listeners) * (BUFFER_BYTES + 2_000) < UNTIL_BYTES:
        bus.publish(len(bus.listeners))
        bus.subscribe(len(bus.listeners))


if __name__ == "__main__":
    main()
