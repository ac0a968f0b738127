"""A target that says which signals reach it: witness.py OUT IN, two fifos.

On OUT: `ready PID`, then `got N` for each signal, also of a burst (each puts its byte into the wake-up pipe). On IN it
takes orders: `exit CODE`, `child` (forks another witness that says `child N`), and answers other words with
themselves. At the end of IN it ends with 0.
"""

import os
import select
import signal
import sys

out = os.open(sys.argv[1], os.O_WRONLY)
word = b"got"


def wake_up_pipe() -> int:
    read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(write_end)
    return read_end


def tell(fd: int) -> None:
    try:
        for number in os.read(fd, 65536):
            os.write(out, b"%s %d\n" % (word, number))
    except BlockingIOError:
        pass


signals = wake_up_pipe()
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
    signal.signal(number, lambda number, frame: None)
os.write(out, b"ready %d\n" % os.getpid())
orders = os.open(sys.argv[2], os.O_RDONLY)
lifelines: list[int] = []
rest = b""
while True:
    for fd in select.select([signals, orders], [], [])[0]:
        if fd == signals:
            tell(signals)
            continue
        data = os.read(orders, 4096)
        if not data:
            os._exit(0)
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            order, _, argument = line.partition(b" ")
            if order == b"exit":
                os._exit(int(argument))
            elif order == b"child":
                orders_end, write_end = os.pipe()
                if os.fork() == 0:
                    os.close(write_end)
                    word, orders, signals = b"child", orders_end, wake_up_pipe()
                    os.write(out, b"forked\n")
                    break
                lifelines.append(write_end)
            else:
                os.write(out, order + b"\n")
