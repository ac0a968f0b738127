"""master.py MEGABYTES: a worker takes that much; the master says how it ended, and ends at TERM with 7."""

import os
import signal
import sys
import time

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
worker = os.fork()
if worker == 0:
    held = []
    for _ in range(int(sys.argv[1])):
        held.append(bytearray(1_000_000))
        time.sleep(0.02)
    os._exit(0)
_, status = os.waitpid(worker, 0)
print("worker", worker, os.waitstatus_to_exitcode(status), flush=True)
signal.sigwait({signal.SIGTERM})
os._exit(7)
