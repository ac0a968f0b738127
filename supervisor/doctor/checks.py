"""What `guard doctor` tries: a function a capability, on a real process, and how to get what is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from supervisor import cgroup, facts, files, installing, launch, libc, sample, store
from supervisor.actions import cpu, growth, mappings, stacks, ways
from supervisor.actions.task import Task
from supervisor.analysis.text import counted
from supervisor.doctor import runtimes, tools
from supervisor.doctor.tryout import LEAKING_FUNCTION, Check, Scene, Verdict, absent, only_of, refused, works
from supervisor.profilers import (
    agent,
    engine,
    faults,
    java,
    lent,
    memray,
    native,
    permission,
    pyspy,
    remote,
    runner,
)
from supervisor.profilers.syscalls import SyscallTrap
from supervisor.quantities import human_bytes

_PTRACE_HINT = "docker run --cap-add SYS_PTRACE"


def _readable(path: str, detail: str, hint: str) -> Verdict:
    text = cgroup.read_text(path)
    return works(detail) if text is not None else refused(f"{path} can't be read", hint)


def proc(scene: Scene) -> Verdict:
    """/proc shows the process."""
    return _readable(f"/proc/{scene.pid}/stat", "RSS, threads and CPU time of each process", "mount -t proc proc /proc")


def children(scene: Scene) -> Verdict:
    """The kernel lists a process's children (CONFIG_PROC_CHILDREN)."""
    path = f"/proc/{scene.pid}/task/{scene.pid}/children"
    return _readable(path, "the tree is walked without reading all of /proc", "a kernel with CONFIG_PROC_CHILDREN")


def pss(scene: Scene) -> Verdict:
    """smaps_rollup gives PSS and USS."""
    figures = sample.memory_detail(scene.pid)
    if figures:
        return works(f"PSS {human_bytes(figures.get('pss', 0))}, USS {human_bytes(figures.get('uss', 0))}")
    return refused("smaps_rollup can't be read", f"{_PTRACE_HINT}, or run guard as the target's user")


def subreaper(scene: Scene) -> Verdict:
    """Orphans of the target come to guard."""
    if libc.prctl(libc.PR_SET_CHILD_SUBREAPER, 1):
        return works("orphans come to guard")
    return refused("prctl(PR_SET_CHILD_SUBREAPER) failed", "run guard as PID 1 (ENTRYPOINT)")


def pidfd(scene: Scene) -> Verdict:
    """pidfd_open(2)."""
    if not hasattr(os, "pidfd_open"):
        return absent("this Python has no pidfd_open")
    os.close(os.pidfd_open(scene.pid))
    return works("a process's end can be polled")


def limit(scene: Scene) -> Verdict:
    """The limit that the tree lives under."""
    found = facts.gather(dict(os.environ), scene.place_of)
    size = human_bytes(found.limit_bytes)
    if found.in_cgroup:
        return works(f"{size} ({found.limit_source})")
    return absent(f"no cgroup sets a limit: the machine's {size} count")


def usage(scene: Scene) -> Verdict:
    """The cgroup's own figure of memory in use."""
    place = cgroup.find(scene.place_of)
    memory = cgroup.read_memory(place)
    if memory.use_bytes is None and len(place.memory) == 1:
        return absent("the root group counts none of its own: the processes' RSS counts")
    if memory.use_bytes is None:
        return refused("no memory controller can be read", "mount the cgroup file system into the container")
    return works(f"{human_bytes(memory.use_bytes)} in {memory.directory}")


def oom_count(scene: Scene) -> Verdict:
    """The counter of OOM kills."""
    memory = cgroup.read_memory(cgroup.find(scene.place_of))
    if memory.oom_kills is None:
        return absent("this kernel or cgroup has no such counter")
    return works(f"{memory.oom_kills} so far")


def pressure(scene: Scene) -> Verdict:
    """Pressure stall information."""
    directory = next(iter(cgroup.find(scene.place_of).memory), None)
    for where, path in (("cgroup", f"{directory}/memory.pressure"), ("machine", "/proc/pressure/memory")):
        if cgroup.read_text(path):
            return works(f"of the {where}")
    return absent("this kernel counts no pressure (psi=1 on its command line)")


def cpu_quota(scene: Scene) -> Verdict:
    """The cores that the tree may use."""
    found = facts.gather(dict(os.environ), scene.place_of)
    return works(f"{found.cores:g} cores")


def yama(scene: Scene) -> Verdict:
    """Yama's ptrace_scope."""
    text = cgroup.read_text("/proc/sys/kernel/yama/ptrace_scope")
    if text is None:
        return absent("no Yama: any process of the same user may be read")
    scope = int(text)
    if scope == 0:
        return works("ptrace_scope 0: any process of the same user may be read")
    if scope == 1:
        return works("ptrace_scope 1: guard lets its profilers into what it starts (--allow-ptrace)")
    return refused(f"ptrace_scope {scope}", permission.ptrace_hint())


def same_user(scene: Scene) -> Verdict:
    """Whether the process belongs to guard's user."""
    owner = os.stat(f"/proc/{scene.pid}").st_uid
    if owner == os.geteuid():
        return works(f"user {owner}")
    if os.geteuid() == 0:
        return works(f"user {owner}, and guard is root")
    return refused(
        f"it is user {owner}'s, guard is user {os.geteuid()}", f"run guard as user {owner}, or {_PTRACE_HINT}"
    )


def py_spy(scene: Scene) -> Verdict:
    """py-spy is there and starts."""
    done = runner.run([pyspy.find(), "--version"], 2.0)
    if done.code == 0:
        return works(done.stdout.decode("utf-8", "replace").strip())
    return refused(done.stderr[:200] or f"exit code {done.code}", installing.package("--force-reinstall", "py-spy"))


def dump(scene: Scene) -> Verdict:
    """Stacks of a process that is stopped for it."""
    return _read(scene, nonblocking=False)


def dump_running(scene: Scene) -> Verdict:
    """Stacks of a process that runs on."""
    return _read(scene, nonblocking=True)


def _read(scene: Scene, *, nonblocking: bool) -> Verdict:
    found = stacks.dump(scene.pid, nonblocking=nonblocking)
    by = stacks.reader(scene.pid)
    return works(counted(len(found), "thread", "threads") + ("" if by == "py-spy" else f", by {by}"))


def dump_lent(scene: Scene) -> Verdict:
    """Stacks of what the target forks, under Yama 1: read by a descriptor that the watcher lends (seccomp notices)."""
    if launch.yama_scope() != 1:
        return absent("only needed under Yama's ptrace_scope 1")
    fd = sample.open_memory(scene.pid)
    if fd is None:
        return refused("its memory can't be opened", permission.ptrace_hint())
    loan = lent.Lent(scene.pid, fd)
    done = runner.run(pyspy.dump_argv(pyspy.find(), scene.pid, nonblocking=True), 5.0, loan=loan)
    if done.code != 0 or done.hung:
        raise pyspy.explain(done.stderr, done.code, hung=done.hung, pid=scene.pid)
    return works(f"{loan.reads} reads answered")


def profile(scene: Scene) -> Verdict:
    """A CPU profile of one second."""
    which = ways.row(engine.look(scene.pid))
    if which not in ways.SAMPLERS:
        if which == engine.NODE:
            return absent(f"not tried on a Node: guard profile --pid {scene.pid}")
        return absent(f"of a {which.capitalize()} that runs guard takes none")
    piece = cpu.once(scene.pid, rate_hz=100, seconds=1)
    idle = "; it was not busy meanwhile" if not piece.samples else ""
    taken = f"{counted(piece.samples, 'sample', 'samples')} in 1 s"
    return works(f"{taken}, {counted(piece.errors, 'error', 'errors')}, by {piece.engine}{idle}")


def _trap(make: type[faults.FaultTrap] | type[SyscallTrap], scene: Scene, hint: str) -> Verdict:
    try:
        trap = make(scene.pid)
    except OSError as error:
        return refused(error.strerror or str(error), hint)
    try:
        for _ in range(5):
            trap.arm(1)
            caught = trap.wait(0.3 if scene.throwaway else 0.05)
            trap.release()
            if caught:
                return works(f"thread {caught} was caught taking memory")
    finally:
        trap.close()
    if scene.throwaway:
        return refused("no thread was caught", "guard doctor, once more on a quieter machine")
    return works("armed; the process took no memory meanwhile")


def page_fault_trap(scene: Scene) -> Verdict:
    """Growth by perf events and ptrace: exact."""
    return _trap(faults.FaultTrap, scene, permission.perf_hint())


def syscall_trap(scene: Scene) -> Verdict:
    """Growth by fault counts and ptrace: some 60 µs late."""
    return _trap(SyscallTrap, scene, _PTRACE_HINT)


def by_mapping(scene: Scene) -> Verdict:
    """Where a process's memory lies: the evidence for any language."""
    sizes = mappings.resident(scene.pid)
    name, size = mappings.holder(sizes) or ("nothing", 0)
    if ("anonymous", "anonymous memory") in sizes:
        return refused("only the three kinds that the kernel counts for everybody", permission.ptrace_hint())
    return works(f"{len(sizes)} mappings; {human_bytes(size)} in {name}")


def native_stack(scene: Scene) -> Verdict:
    """Stacks of machine code: threads stand still for a moment each."""
    if not native.possible():
        return absent("written for x86-64 only")
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))
    found = native.threads(scene.pid)
    most = max(len(thread["frames"]) for thread in found)
    return works(f"{counted(len(found), 'thread', 'threads')}, up to {most} frames")


def java_objects(scene: Scene) -> Verdict:
    """The objects of a Java, counted by itself."""
    if engine.of(scene.pid) != engine.JAVA:
        return only_of(scene, "a Java")
    lines = java.ask(scene.pid, "jcmd", "VM.version", 5.0).splitlines()
    return works(f"its JVM answers: {lines[0] if lines else '?'}")


def attribution(scene: Scene) -> Verdict:
    """Growth attribution as a whole: it names the function that takes the memory."""
    spec = {"action": "growth", "state": "doctor", "pid": scene.pid, "name": "000-doctor-growth", "run": "doctor",
            "directory": scene.scratch, "overhead_budget": 0.5, "seconds": 2.0}  # fmt: skip
    result = growth.take(Task(spec))
    suspect = result.get("suspect") or {}
    basis = f"{result['samples']} stacks, {result['engine']}"
    if suspect.get("function") == LEAKING_FUNCTION:
        return works(f"named {LEAKING_FUNCTION} by {basis}")
    named = suspect.get("function", "nobody")
    return refused(f"named {named}, not {LEAKING_FUNCTION}, by {basis}", f"{permission.perf_hint()}; {_PTRACE_HINT}")


def heap_agent(scene: Scene) -> Verdict:
    """A Python that is started with an agent answers it (--heap-agent); a running one may have been."""
    if not scene.throwaway:
        return works(f"its agent: {agent.ask(scene.pid, 'hello', 2.0).get('mode', '?')}")
    environment = launch.with_heap_agent(dict(os.environb), "census")
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=environment)
    try:
        found = agent.ask(child.pid, "census 1.0", 5.0)
        return works(f"{found['looked_at']} objects counted in {found['seconds']:.1f} s")
    finally:
        child.kill()
        child.communicate()


def heap_remote(scene: Scene) -> Verdict:
    """A running Python could be had to count its objects (sys.remote_exec); nothing is written to find out."""
    facts = remote.look(scene.pid)
    found = remote.refusal(facts)
    if found is None:
        return works(f"{facts.python}: remote debugging is on in it")
    if found[0] == "python-too-old":
        return absent(found[1])
    return refused(f"{found[0]}: {found[1]}", found[2])


def heap_attach(scene: Scene) -> Verdict:
    """memray could be attached to a running Python; nothing is injected to find out."""
    facts = memray.look(scene.pid)
    found = memray.refusal(facts)
    if found is not None:
        return refused(f"{found[0]}: {found[1]}", found[2])
    return works(f"{facts.python}, memray and {os.path.basename(facts.debugger)} are there")


def profiles_directory(scene: Scene) -> Verdict:
    """The place for evidence can be written and is private."""
    path = scene.profiles_dir
    hint = "guard run --profiles-dir DIR, with a directory that is yours and no link"
    try:
        there = os.path.isdir(path)
        fd = files.open_directory(path if there else os.path.dirname(path))
    except OSError as error:
        why = "it is a link" if os.path.islink(path) else os.strerror(error.errno or 0)
        return refused(f"{path}: {why}", hint)
    try:
        name = f".doctor.{os.getpid()}"
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600, dir_fd=fd))
        os.unlink(name, dir_fd=fd)
        memory = ", in memory: it counts against the limit" if store.is_memory(fd) else ""
    except OSError as error:
        return refused(f"{path}: {os.strerror(error.errno or 0)}", hint)
    finally:
        os.close(fd)
    return works(path + memory)


def termination_log(scene: Scene) -> Verdict:
    """Kubernetes' termination log."""
    if not os.path.isfile("/dev/termination-log"):
        return absent("no /dev/termination-log: this is no Kubernetes pod")
    writable = os.access("/dev/termination-log", os.W_OK)
    return (
        works("a summary goes there") if writable else refused("it can't be written", "chmod a+w /dev/termination-log")
    )


def isolated(scene: Scene) -> Verdict:
    """guard's own Python is shut off from the user's."""
    if sys.flags.isolated and sys.flags.no_site:
        return works("python -IS: no PYTHON* variable, sitecustomize or directory reaches guard")
    return refused("a sitecustomize or PYTHONHOME runs before guard does", f"sed -i '1s/$/ -IS/' {sys.argv[0]}")


GROUPS: dict[str, tuple[Check, ...]] = {
    "process": (
        Check("processes in /proc", proc),
        Check("children of a process", children),
        Check("PSS and USS", pss),
        Check("subreaper", subreaper),
        Check("pidfd", pidfd),
    ),
    "limits": (
        Check("memory limit", limit),
        Check("memory in use", usage),
        Check("OOM kill counter", oom_count),
        Check("memory pressure", pressure),
        Check("cores", cpu_quota),
    ),
    "profilers": (
        Check("same user", same_user),
        Check("Yama", yama),
        Check("py-spy", py_spy, 4.0),
        Check("stacks", dump, 8.0, python=True),
        Check("stacks without stopping", dump_running, 8.0, python=True),
        Check("stacks of forked workers", dump_lent, 8.0, python=True),
        Check("CPU profile", profile, 12.0),
        Check("growth: page-fault trap", page_fault_trap, 5.0),
        Check("growth: system-call trap", syscall_trap, 5.0),
        Check("growth names the function", attribution, 15.0, python=True),
        Check("growth by mapping", by_mapping, 5.0),
        Check("native stacks", native_stack, 5.0),
        Check("Java objects", java_objects, 10.0),
        Check("heap: agent", heap_agent, 8.0, python=True),
        Check("heap: sys.remote_exec", heap_remote, 4.0, python=True),
        Check("heap: memray attach", heap_attach, 4.0, python=True),
        Check("Node's inspector", runtimes.node_inspector, 15.0),
        Check("Bun at launch", runtimes.bun_at_launch, 8.0),
        Check("perf", tools.perf_samples, 10.0),
        Check("Go's pprof", tools.go_pprof),
        Check("rbspy", tools.ruby_spy, 6.0),
        Check("dotnet-trace", tools.dotnet_trace, 6.0),
        Check("dotnet-gcdump", tools.dotnet_gcdump, 6.0),
    ),
    "evidence": (Check("profiles directory", profiles_directory), Check("termination log", termination_log)),
    "start": (Check("isolated", isolated),),
}
