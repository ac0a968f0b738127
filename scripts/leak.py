"""A small web worker that leaks, to see guard find out who did it.

It serves price tables on 127.0.0.1 and asks itself for them. `remember_every_response` keeps all that it ever
answered; `render_price_table`, beside it, is what the processor is busy with, and keeps nothing. A CPU profile
names the second; who looks at memory finds the first.

    guard run --env development -- python scripts/leak.py
"""

import argparse
import hashlib
import http.client
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MB = 1_000_000  # guard's thresholds are held against the resident size, which this counts as well
RESPONSES_PER_SECOND = 20
LINE_BYTES = 100
KEPT_BYTES = LINE_BYTES + 64  # a line as a str, with its place in a list

_remembered: dict[str, list[str]] = {}


def remember_every_response(path: str, page: bytes) -> None:
    """A cache without a bound: each path is asked for once, and nothing is ever thrown out."""
    _remembered[path] = page.decode().splitlines()


def render_price_table(path: str, lines: int) -> bytes:
    """The page for a path: a price found with some effort, on many lines. Keeps nothing."""
    price = path.encode()
    for _ in range(20_000):
        price = hashlib.blake2b(price, digest_size=16).digest()
    line = f"{path} {price.hex()}".ljust(LINE_BYTES - 1, ".") + "\n"
    return line.encode() * lines


class Worker(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    lines = 0

    def do_GET(self) -> None:
        page = render_price_table(self.path, self.lines)
        remember_every_response(self.path, page)
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, format: str, *args: object) -> None:
        pass


def resident_mb() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") / MB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate-mb", type=float, default=20, help="MB leaked a second (%(default)g)")
    parser.add_argument("--until-mb", type=float, default=700, help="stop when it holds this (%(default)g)")
    parser.add_argument("--seconds", type=float, default=60, help="stop after this time (%(default)g)")
    options = parser.parse_args()

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Worker.lines = max(1, int(options.rate_mb * MB / RESPONSES_PER_SECOND / KEPT_BYTES))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Worker)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(
        f"leak: a web worker on port {server.server_port} that leaks {options.rate_mb:g} MB/s until it holds "
        f"{options.until_mb:g} MB, {options.seconds:g} s at most; stop it with Ctrl-C or kill {os.getpid()}",
        flush=True,
    )

    client = http.client.HTTPConnection("127.0.0.1", server.server_port)
    began, base = time.monotonic(), resident_mb()
    asked = 0
    while not stop.is_set():
        elapsed, held = time.monotonic() - began, resident_mb()
        if held >= options.until_mb or elapsed >= options.seconds:
            break
        if held > base + options.rate_mb * elapsed:
            stop.wait(0.01)
            continue
        client.request("GET", f"/prices/{asked}")
        client.getresponse().read()
        asked += 1
    held, elapsed = resident_mb(), time.monotonic() - began
    print(f"leak: held {held:.0f} MB after {elapsed:.0f} s and {asked} responses", flush=True)
    os._exit(0)  # giving back millions of lines one by one takes a second


if __name__ == "__main__":
    main()
