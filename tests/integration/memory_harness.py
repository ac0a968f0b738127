"""A real Watch with its Init, Journal, Sampler and store, stepped as fast as it goes; prints its RSS after each part.

Its target makes orphans on request: a line with a number on its stdin, answered when they are all made.
"""

import gc
import os
import signal
import subprocess
import sys
import time

from supervisor import config as configs
from supervisor import facts, libc, loop, pid1, sample
from supervisor.launch import Target

TARGET = """
import os, sys
print("ready", flush=True)
for line in sys.stdin:
    for _ in range(int(line)):
        pid = os.fork()
        if pid == 0:
            if os.fork():
                os._exit(0)
            os._exit(0)
        os.waitpid(pid, 0)
    print("made", flush=True)
"""


def rss() -> int:
    # To the page: the figure in /proc/PID/stat is a counter per processor and off by up to 128 KiB each.
    return sample.memory_detail(os.getpid())["rss"]


def blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()


def main(profiles: str, samples: int, orphans: int, events: int) -> None:
    libc.prctl(libc.PR_SET_CHILD_SUBREAPER, 1)
    given = {"profiles-dir": [profiles], "env": ["development"], "interval": ["100ms"]}
    config = configs.resolve(given, {}, None, facts.gather({}))
    child = subprocess.Popen([sys.executable, "-ISc", TARGET], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None and child.stdout is not None
    child.stdout.readline()
    init = pid1.Init(Target(child.pid, ["target"], time.monotonic(), None), config)
    init.install()
    watch = loop.Watch(init, config, ["target"], None)

    def take_samples(count: int) -> None:
        for number in range(count):
            watch.step()
            if number % 50 == 0:
                init.pump(0)
                watch.handle(init.take_backlog())

    reaped = 0

    def make_orphans(count: int) -> None:
        nonlocal reaped
        child.stdin.write(f"{count}\n".encode())
        child.stdin.flush()
        wanted = reaped + count
        while reaped < wanted:
            init.pump(0.1)
            backlog = init.take_backlog()
            reaped += sum(isinstance(entry, pid1.Ended) for entry in backlog)
            watch.handle(backlog)
        child.stdout.readline()

    def log_events(count: int) -> None:
        for number in range(count):
            os.kill(os.getpid(), signal.SIGCONT)
            init.pump(0)
            watch.floods.tell(float("inf"))  # else it is one line a second
            watch.handle(init.take_backlog())
            watch.journal.emit("warning", "state.changed", number=number, reason="x" * (number % 500))

    # Once through everything before the first figure: imports, buffers and free lists are there from then on.
    take_samples(samples // 20)
    make_orphans(orphans // 20)
    log_events(events // 20)
    print("start", rss(), blocks(), flush=True)
    take_samples(samples // 2)
    print("half", rss(), blocks(), flush=True)
    take_samples(samples // 2)
    print("samples", rss(), blocks(), flush=True)
    make_orphans(orphans)
    print("orphans", rss(), blocks(), flush=True)
    log_events(events)
    print("events", rss(), blocks(), flush=True)
    child.stdin.close()
    while init.status is None:
        init.pump(1.0)
        watch.handle(init.take_backlog())
    watch.finish()
    print("end", rss(), blocks(), watch.journal.tally.samples, reaped, flush=True)


main(sys.argv[1], *map(int, sys.argv[2:]))
