"""A target that does what it is told, line by line on stdin, and says so on stdout. At the end of stdin it ends with 0.

`grow MB` takes memory, `stop` stops itself with SIGSTOP, `spin` starts a busy thread, `exit CODE` ends.
"""

import os
import signal
import sys
import threading

kept = []


def take_memory(megabytes: int) -> None:
    for _ in range(megabytes * 5):
        kept.append(bytearray(b"m" * 200_000))


def spin() -> None:
    while True:
        sum(range(1000))


print("ready", flush=True)
for line in sys.stdin:
    word, _, argument = line.strip().partition(" ")
    if word == "grow":
        take_memory(int(argument))
    elif word == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif word == "spin":
        threading.Thread(target=spin, daemon=True).start()
    elif word == "exit":
        os._exit(int(argument))
    print(word, flush=True)
