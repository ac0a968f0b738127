"""The way into a helper (see `helper`): `python -IS helped.py MODULE [SPEC]`, MODULE being one of guard's own.

The spec is JSON; where it isn't among the arguments it is the first line of stdin, and what follows there is the
module's. Then `MODULE.main(spec)` runs, in a process that is named after the first part of MODULE (`guard-reload`) and
ends with whoever started it, but for a module that has a last word, and says so: `OUTLIVES = True`.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module


def main(name: str, text: str = "") -> int:
    """Run the module until it ends, or its stdout is closed."""
    if not (text := text or _first_line()):
        return 0
    spec = json.loads(text)
    parent = spec.pop("parent")
    for path in spec.pop("path"):
        if path not in sys.path:
            sys.path.append(path)
    from supervisor import libc

    module = import_module(f"supervisor.{name}")
    if not getattr(module, "OUTLIVES", False):
        libc.prctl(libc.PR_SET_PDEATHSIG, 9)
        if os.getppid() != parent:
            return 0
    libc.name_process(f"guard-{name.partition('.')[0]}".encode())
    try:
        module.main(spec)
    except BrokenPipeError:
        pass
    return 0


def _first_line() -> str:
    """Byte by byte: what follows isn't ours."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return line.decode()


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    sys.exit(main(*sys.argv[1:]))
