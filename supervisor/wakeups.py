"""What wakes the loop before its timer: the kernel's own notices, and the processor time that processes use.

A timer alone is blind between two samples, and a burst can fill a small container in less. Three kinds of notice:

- The cgroup's: on v1 thresholds of its usage and its OOM notice (eventfds, where cgroup.event_control may be written),
  on v2 a change of memory.events, and a pressure trigger where memory.pressure may be written.
- Processor time: nobody can touch memory without it. A timer on the clock of *another* process (timer_create(2) allows
  any, without a permission) wakes guard when that process has used so much, and never while it sleeps.
- The end of a watched process that is nobody's child here (pidfd).

Every notice only asks for a sample; it is armed again by the next one, so that a flood of them can't flood the loop.
Sources: timer_create(2), clock_getcpuclockid(3), pidfd_open(2), kernel documentation admin-guide/cgroup-v1/memory.rst,
admin-guide/cgroup-v2.rst and accounting/psi.rst.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

from supervisor import libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from supervisor.cgroup import Place
    from supervisor.model import Sample

_SHARES = (0.5, 0.65, 0.8, 0.9, 0.95)
_MOST_CLOCKS = 64
_CPUCLOCK_SCHED = 2
# Without CAP_SYS_RESOURCE the window of a pressure trigger must be a multiple of two seconds.
_PRESSURE = b"some 200000 2000000\0"


class Wakeups:
    """A part. `take` tells, after a wait, why a sample is due at once."""

    def __init__(self, poller: select.poll, place: Place) -> None:
        self._poller = poller
        self._notices: dict[int, tuple[str, int]] = {}  # fd -> what it means, poll's events
        self._silent: set[int] = set()
        self._ends: set[int] = set()  # pidfds
        self._clocks: dict[tuple[int, int], _Clock] = {}
        self._thresholds_of = 0
        self._why = ""
        self.missing: dict[str, str] = {}
        self._listen(place)

    def _listen(self, place: Place) -> None:
        self._place = place
        if place.memory:
            if place.memory_version == 1:
                self._eventfd("oom", "memory.oom_control", "")
            else:
                self._file("memory.events", os.O_RDONLY, b"")
            self._file("memory.pressure", os.O_RDWR, _PRESSURE)

    def move(self, place: Place) -> None:
        """The tree is in another group from now on."""
        for fd in self._notices:
            self._drop(fd)
        self._notices.clear()
        self._thresholds_of = 0
        self._listen(place)

    def end(self) -> None:
        """Give everything back."""
        for clock in self._clocks.values():
            clock.close()
        self._clocks.clear()
        for fd in (*self._notices, *self._ends):
            self._drop(fd)
        self._notices.clear()
        self._ends.clear()

    def look(self, now_s: float, ready: Collection[int]) -> float:
        """Note what came, 0 if something did, and hear no more of it until the next sample."""
        before, self._why = self._why, ""
        for fd in ready:
            if fd in self._notices and fd not in self._silent:
                self._why = self._notices[fd][0]
                self._quiet(fd)
            elif fd in self._ends:
                self._ends.discard(fd)
                self._drop(fd)
                self._why = "end"
        came, self._why = bool(self._why), self._why or before
        return 0.0 if came else float("inf")

    def take(self) -> str:
        """What came since the last call, in a word (`memory.events`, `usage`, `cpu`, `end`); empty when nothing."""
        found, self._why = self._why, ""
        if not found and any(clock.due() for clock in self._clocks.values()):
            found = "cpu"
        return found

    def arm(self, sample: Sample, cpu_wait_s: float | None) -> None:
        """After a sample: listen again, and wake when one process has used `cpu_wait_s` of processor time."""
        for fd in self._silent:
            self._poller.register(fd, self._notices[fd][1])
        self._silent.clear()
        if self._place.memory_version == 1 and sample.in_cgroup and sample.limit_bytes != self._thresholds_of:
            self._thresholds_of = sample.limit_bytes
            for fd in [fd for fd, (means, _) in self._notices.items() if means == "usage"]:
                self._drop(fd)  # those of the limit before
                del self._notices[fd]
            for share in _SHARES:
                self._eventfd("usage", "memory.usage_in_bytes", str(int(share * sample.limit_bytes)))
        self._arm_clocks(sample, cpu_wait_s)

    def follow_ends(self, pids: Iterable[int]) -> None:
        """Be told of the end of these, which aren't children."""
        for pid in pids:
            try:
                fd = os.pidfd_open(pid)
            except (OSError, AttributeError) as error:
                self.missing["pidfd"] = str(error)
                continue
            self._ends.add(fd)
            self._poller.register(fd, select.POLLIN)

    # -- the cgroup's notices -------------------------------------------------------------------------------------

    def _eventfd(self, means: str, name: str, argument: str) -> None:
        """Ask a v1 group's cgroup.event_control to tell an eventfd."""
        directory = self._place.memory[0]
        opened: list[int] = []
        try:
            opened.append(os.open(f"{directory}/{name}", os.O_RDONLY | os.O_CLOEXEC))
            opened.append(os.open(f"{directory}/cgroup.event_control", os.O_WRONLY | os.O_CLOEXEC))
            fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            try:
                os.write(opened[1], f"{fd} {opened[0]} {argument}".rstrip().encode())
            except OSError:
                os.close(fd)
                raise
            self._add(fd, means, select.POLLIN)
        except (OSError, AttributeError) as error:
            self.missing[name] = getattr(error, "strerror", None) or str(error)
        finally:
            for descriptor in opened:
                os.close(descriptor)

    def _file(self, name: str, flags: int, ask: bytes) -> None:
        """A kernel file that poll tells of when it changes, or, after writing `ask`, when it comes to that."""
        try:
            fd = os.open(f"{self._place.memory[0]}/{name}", flags | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            self.missing[name] = error.strerror or ""
            return
        try:
            if ask:
                os.write(fd, ask)
            else:
                os.pread(fd, 4096, 0)
        except OSError as error:
            self.missing[name] = error.strerror or ""
            os.close(fd)
            return
        self._add(fd, name, select.POLLPRI)

    def _add(self, fd: int, means: str, events: int) -> None:
        self._notices[fd] = (means, events)
        self._poller.register(fd, events)

    def _quiet(self, fd: int) -> None:
        """Not another word from this one until the next sample."""
        self._poller.unregister(fd)
        self._silent.add(fd)
        try:
            if self._notices[fd][1] == select.POLLIN:
                os.read(fd, 8)
            else:
                os.pread(fd, 4096, 0)
        except OSError:
            pass

    def _drop(self, fd: int) -> None:
        if fd not in self._silent:
            self._poller.unregister(fd)
        self._silent.discard(fd)
        os.close(fd)

    # -- processor time -------------------------------------------------------------------------------------------

    def _arm_clocks(self, sample: Sample, wait_s: float | None) -> None:
        living = {process.identity: process for process in sample.processes} if wait_s is not None else {}
        for identity in [identity for identity in self._clocks if identity not in living]:
            self._clocks.pop(identity).close()
        if wait_s is None:
            return
        for identity in living:
            clock = self._clocks.get(identity)
            if clock is None:
                if len(self._clocks) >= _MOST_CLOCKS:
                    continue
                try:
                    clock = self._clocks[identity] = _Clock(identity[0])
                except OSError as error:
                    self.missing["processor clock"] = error.strerror or ""
                    continue
            clock.arm(wait_s)


class _Clock:
    """A timer on the processor time of another process. Raises OSError where there is no such thing.

    It sends SIGCHLD, which guard never forwards and which at worst makes it look for ended children in vain.
    """

    def __init__(self, pid: int) -> None:
        self._clock = (~pid << 3) | _CPUCLOCK_SCHED  # clock_getcpuclockid(3)
        self._due_s = float("inf")
        if sys.platform != "linux":
            raise OSError(38, os.strerror(38))
        self._timer = libc.create_timer(self._clock, int(signal.SIGCHLD))

    def arm(self, seconds: float) -> None:
        """Fire when the process has used this much more."""
        try:
            self._due_s = time.clock_gettime(self._clock) + seconds
            libc.set_timer(self._timer, seconds)
        except OSError:
            self._due_s = float("inf")  # it is gone

    def due(self) -> bool:
        """Whether it has."""
        try:
            return self._due_s != float("inf") and time.clock_gettime(self._clock) >= self._due_s
        except OSError:
            return False

    def close(self) -> None:
        """Give the timer back."""
        libc.delete_timer(self._timer)
