"""A target that does what it is told, line by line on stdin, and says so on stdout. At the end of stdin it ends with 0.

`grow MIB` takes memory; `fork MIB` starts a worker that takes memory and stays, `more` lets it take all there is;
`wait` waits for a worker's end; `exit CODE` ends.
"""

import os
import signal
import sys

kept = []


def take_memory(megabytes: int) -> None:
    for _ in range(megabytes):
        kept.append(b"\1" * (1 << 20))


def work(megabytes: int) -> None:
    take_memory(megabytes)
    print("grown", os.getpid(), flush=True)
    signal.sigwait({signal.SIGUSR1})
    while True:
        take_memory(1)


print("ready", flush=True)
for line in sys.stdin:
    word, _, argument = line.strip().partition(" ")
    if word == "grow":
        take_memory(int(argument))
        print("grow", flush=True)
    elif word == "fork":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        worker = os.fork()
        if worker == 0:
            work(int(argument))
        print("worker", worker, flush=True)
    elif word == "more":
        os.kill(worker, signal.SIGUSR1)
    elif word == "wait":
        pid, status = os.wait()
        print("ended", pid, os.waitstatus_to_exitcode(status), flush=True)
    elif word == "exit":
        os._exit(int(argument))
