"""leak.py MEGABYTES PACE_S: remembers that much in one function, 1 MB every PACE_S; then waits for USR1."""

import signal
import sys
import time

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
remembered = []


def remember_everything() -> None:
    remembered.append(bytearray(1_000_000))


while len(remembered) < int(sys.argv[1]):
    remember_everything()
    time.sleep(float(sys.argv[2]))
print("full", flush=True)
signal.sigwait({signal.SIGUSR1})
