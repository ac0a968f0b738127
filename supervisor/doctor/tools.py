"""What `guard doctor` finds of tools for other languages: perf, a Go's pprof, rbspy, .NET's own."""

from __future__ import annotations

import os
import shutil
import subprocess

from supervisor.doctor.tryout import Scene, Verdict, absent, only_of, refused, works
from supervisor.profilers import dotnet, engine, gopprof, perf, rbspy, sockets
from supervisor.profilers.failure import Failure
from supervisor.profilers.tool import Tool

_HZ = 99
_SECONDS = 0.2
_PERF_S = 8.0
_VERSION_S = 5.0


def perf_samples(scene: Scene) -> Verdict:
    """perf may sample the process: tried, for it stops nobody."""
    if engine.of(scene.pid) not in engine.MACHINE_CODE and shutil.which("perf") is None:
        return absent(f"not on PATH, and only of use to machine code; {perf.INSTALL}")
    program = perf.TOOL.find()
    data = os.path.join(scene.scratch or "/tmp", "perf.data")
    try:
        argv = perf.record_argv(program, scene.pid, data, rate_hz=_HZ, seconds=_SECONDS)
        done = perf.TOOL.run(argv, _PERF_S)
        if done.code or done.hung:
            raise perf.TOOL.explain(perf.last_words(done.stderr), done.code, hung=done.hung, pid=scene.pid)
    finally:
        if os.path.exists(data):
            os.unlink(data)
    return works(f"{program} sampled process {scene.pid} for {_SECONDS:g} s, without stopping it")


def go_pprof(scene: Scene) -> Verdict:
    """A Go has ports of its own; whether it serves its profiles there isn't asked unasked."""
    if engine.of(scene.pid) != engine.GO:
        return only_of(scene, "a Go")
    ports = [str(each.port) for each in sockets.own_listeners(scene.pid)]
    if not ports:
        return refused("it listens on no port: growth, stacks and CPU are told from outside", gopprof.HINT)
    return works(f"it listens on {', '.join(ports[:8])}; --go-pprof auto asks there for its profiles (not tried)")


def ruby_spy(scene: Scene) -> Verdict:
    """rbspy is there."""
    return _tool(scene, engine.RUBY, "a Ruby", rbspy.TOOL)


def dotnet_trace(scene: Scene) -> Verdict:
    """dotnet-trace is there."""
    return _tool(scene, engine.DOTNET, "a .NET", dotnet.TRACE)


def dotnet_gcdump(scene: Scene) -> Verdict:
    """dotnet-gcdump is there."""
    return _tool(scene, engine.DOTNET, "a .NET", dotnet.GCDUMP)


def _tool(scene: Scene, wanted: str, whose: str, tool: Tool) -> Verdict:
    """A tool that is looked for, and asked for its version; what it can do isn't tried."""
    is_its = engine.of(scene.pid) == wanted
    try:
        program = tool.find()
    except Failure as missing:
        if is_its:
            return refused(missing.said, missing.hint)
        return absent(f"not on PATH, and only of use to {whose}; {missing.hint}")
    if is_its and wanted == engine.DOTNET:
        dotnet.check(scene.pid)
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=_VERSION_S)
    if done.returncode:
        return refused(f"{program} --version: exit code {done.returncode}", f"{program} --help")
    version = " ".join((done.stdout or done.stderr).split())[:60]
    return works(f"{program} ({version}); only of use to {whose}")
