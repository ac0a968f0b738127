"""What a running Node lets in: its options, its handler of SIGUSR1. Nothing is sent or attached here.

SIGUSR1 opens the inspector of a Node (https://nodejs.org/api/process.html#signal-events). It ends every other program,
and a Node that doesn't handle it.
"""

from __future__ import annotations

import os
import signal

from supervisor import sample

PORT = 9229
# Options whose value is a word of its own, so that the word behind isn't the script.
_TAKE_A_WORD = (
    *("-r", "--require", "--import", "--loader", "--experimental-loader", "-C", "--conditions", "-e", "--eval"),
    *("-p", "--print", "--env-file", "--inspect-port", "--debug-port", "--title", "--disable-warning", "--input-type"),
)


class Flags:
    """What Node's options say: whether it was started with the inspector, on which port, and what SIGUSR1 is taken for.

    `taken` is the option that gives SIGUSR1 another meaning, "" without one. Port 0: any.
    """

    __slots__ = ("inspects", "port", "taken")

    def __init__(self, inspects: bool, port: int, taken: str) -> None:
        self.inspects = inspects
        self.port = port
        self.taken = taken


def flags(command: list[str], node_options: str = "") -> Flags:
    """From a command line and NODE_OPTIONS. Pure; words behind the script are the program's own."""
    found = Flags(False, PORT, "")
    for word, value in [*_options(node_options.split()), *_options(command[1:])]:
        if word in ("--inspect", "--inspect-brk", "--inspect-wait"):
            found.inspects = True
        if word in ("--inspect", "--inspect-brk", "--inspect-wait", "--inspect-port", "--debug-port"):
            digits = value.rpartition(":")[2]
            if digits.isascii() and digits.isdigit() and int(digits) < 65536:
                found.port = int(digits)
        elif word == "--disable-sigusr1" or (word in ("--report-signal", "--heapsnapshot-signal") and "USR1" in value):
            found.taken = f"{word}={value}" if value else word
    return found


def _options(words: list[str]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    index = 0
    while index < len(words) and words[index].startswith("-") and words[index] not in ("-", "--"):
        name, equals, value = words[index].partition("=")
        if not equals and name in _TAKE_A_WORD and index + 1 < len(words):
            index += 1
            value = words[index]
        found.append((name.replace("_", "-"), value))
        index += 1
    return found


def read_flags(pid: int) -> Flags:
    """The flags of a process, as far as it can be read: a Node that set its title has overwritten its command line."""
    return flags(_words(f"/proc/{pid}/cmdline"), _variable(pid, b"NODE_OPTIONS"))


def catches(pid: int, number: int = signal.SIGUSR1) -> bool:
    """Whether the process has a handler for a signal: SigCgt in /proc/PID/status, proc(5)."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("SigCgt:"):
                    return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    except (OSError, ValueError, IndexError):
        pass
    return False


def age_s(pid: int) -> float:
    """Seconds since the process started; infinite where that can't be told."""
    process = sample.read_process(pid)
    try:
        with open("/proc/uptime", encoding="ascii") as file:
            up_s = float(file.read().split()[0])
    except (OSError, ValueError, IndexError):
        return float("inf")
    return up_s - process.start_ticks / os.sysconf("SC_CLK_TCK") if process is not None else float("inf")


def _words(path: str) -> list[str]:
    try:
        with open(path, "rb") as file:
            return [word.decode("utf-8", "replace") for word in file.read(65536).split(b"\0")[:-1]]
    except OSError:
        return []


def _variable(pid: int, name: bytes) -> str:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            for entry in file.read(1 << 20).split(b"\0"):
                if entry.startswith(name + b"="):
                    return entry[len(name) + 1 :].decode("utf-8", "replace")
    except OSError:
        pass
    return ""
