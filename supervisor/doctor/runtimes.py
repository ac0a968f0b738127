"""What `guard doctor` tries of runtimes that aren't Python: Node's inspector, Bun's options at launch."""

from __future__ import annotations

import shutil
import subprocess

from supervisor import installing
from supervisor.doctor.tryout import Scene, Verdict, absent, only_of, refused, works
from supervisor.profilers import engine, inspector, node, sockets

_PROGRAM = "console.log('up'); setInterval(() => {}, 1000)"


def node_inspector(scene: Scene) -> Verdict:
    """A running Node lets guard in: tried on one of guard's own; of a foreign one it is only looked at."""
    if not scene.throwaway and engine.of(scene.pid) != engine.NODE:
        return only_of(scene, "a Node")
    if not inspector.installed():
        return refused("the extra `node` isn't installed", installing.extra("node"))
    if not scene.throwaway:
        return _foreign(scene.pid)
    program = shutil.which("node")
    if program is None:
        return absent("there is no node on PATH")
    command = [program, "--inspect-port=0", "-e", _PROGRAM]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL) as made:
        try:
            assert made.stdout is not None
            made.stdout.readline()
            session = inspector.attach(made.pid)
            try:
                version = session.evaluate("process.version")
            finally:
                session.close()
        except inspector.Gone:
            return refused("node ended by itself", f"{program} -e 1")
        finally:
            made.kill()
    return works(f"{program} {version}: opened by SIGUSR1, spoken to, closed")


def _foreign(pid: int) -> Verdict:
    flags = node.read_flags(pid)
    if flags.inspects:
        return works("started with --inspect: it is open, and stays open")
    if flags.taken:
        return refused(f"{flags.taken}: SIGUSR1 has another meaning there", "node --inspect=0 SCRIPT")
    if not node.catches(pid):
        return refused("it has no handler for SIGUSR1, which would end it", "node --inspect=0 SCRIPT")
    own = {each.inode for each in sockets.own_listeners(pid)}
    others = [
        each for each in sockets.listening(pid) if each.port == flags.port and each.inode not in own and each.local
    ]
    if flags.port and others:
        return refused(f"port {flags.port} is taken by another process", "node --inspect-port=0 SCRIPT")
    return works(f"SIGUSR1 would open it on port {flags.port or 'of its choice'} (not tried on a foreign process)")


def bun_at_launch(scene: Scene) -> Verdict:
    """Bun profiles itself when it is asked at launch; one that runs can't be profiled."""
    if not scene.throwaway and engine.of(scene.pid) != engine.BUN:
        return only_of(scene, "a Bun")
    if not scene.throwaway:
        return refused("a running Bun can't be profiled", "guard profile -- bun SCRIPT")
    program = shutil.which("bun")
    if program is None:
        return absent("there is no bun on PATH")
    done = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=5)
    if "--cpu-prof-md" in done.stdout + done.stderr:
        return works(f"{program} has --cpu-prof and --cpu-prof-md")
    return refused(f"{program} has no --cpu-prof-md", f"{program} upgrade")
