"""A target that takes orders on a socket, a line each, and answers each with a line; its number is the argument.

The socket is none of its three streams, so that a row may close, fill or break those.
"""

import contextlib
import ctypes
import os
import platform
import signal
import socket
import sys
import threading
import time

kept = []
children = []


def take_memory(megabytes: int) -> None:
    for _ in range(megabytes * 5):
        kept.append(bytearray(b"m" * 200_000))


def spin() -> None:
    while True:
        sum(range(1000))


def leave() -> None:
    """End this thread alone, without a word to Python."""
    ctypes.CDLL(None).syscall({"x86_64": 60}.get(platform.machine(), 93), 0)


def fork_idle(megabytes: int) -> int:
    pid = os.fork()
    if pid == 0:
        take_memory(megabytes)
        while True:
            time.sleep(1000)
    return pid


def obey(word: str, argument: str) -> str:
    number = int(argument) if argument.isdigit() else 0
    if word == "grow":
        take_memory(number)
    elif word == "spin":
        threading.Thread(target=spin, daemon=True).start()
    elif word == "exit":
        os._exit(number)
    elif word == "die":
        os.kill(os.getpid(), number)
    elif word == "exec":
        os.execv(sys.executable, [sys.executable, "-IS", __file__, sys.argv[1]])
    elif word == "uid":
        os.setgroups([])
        os.setresgid(number, number, number)
        os.setresuid(number, number, number)
    elif word == "daemonise":
        ready, left = os.pipe()
        if os.fork():
            os.close(left)
            os.read(ready, 1)  # until the child has left the group, which guard ends with this process
            os._exit(number)
        os.setsid()
        os.close(left)
        if os.fork():
            os._exit(0)
    elif word == "close":
        for fd in map(int, os.listdir("/proc/self/fd")):
            if fd != channel.fileno():
                with contextlib.suppress(OSError):
                    os.close(fd)
    elif word == "deafen":
        for fd in map(int, os.listdir("/proc/self/fd")):
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as copy:
                if copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    copy.shutdown(socket.SHUT_RDWR)  # whoever waits for a connection wakes
                    os.close(fd)
    elif word == "stall":
        sys.modules["_guard_census"].census = lambda *_: time.sleep(1000)
    elif word == "rename":
        ctypes.CDLL(None).prctl(15, b") Z\n\x1b[31m")
    elif word == "ignore":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif word == "vfork":  # this process waits in D state until its child execs, and that waits for a writer
        os.waitpid(os.posix_spawn("/bin/true", ["true"], {}, file_actions=[(0, 9, argument, os.O_RDONLY, 0)]), 0)
    elif word == "burst":
        for _ in range(number):
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)
    elif word == "zombie":
        threading.Thread(target=serve).start()
        leave()
    elif word == "child":
        children.append(fork_idle(number))
        return str(children[-1])
    elif word == "reuse":  # the last child's pid becomes another's
        old = children.pop()
        os.kill(old, signal.SIGKILL)
        os.waitpid(old, 0)
        with open("/proc/sys/kernel/ns_last_pid", "w") as file:
            file.write(str(old - 1))
        children.append(fork_idle(number))
        return str(children[-1])
    return "done"


def serve() -> None:
    for line in channel.makefile("r"):
        word, _, argument = line.strip().partition(" ")
        channel.sendall(f"{obey(word, argument)}\n".encode())


channel = socket.socket(fileno=int(sys.argv[1]))
channel.set_inheritable(True)
channel.sendall(f"ready {os.getpid()}\n".encode())
serve()
