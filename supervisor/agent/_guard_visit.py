"""What guard has a running Python 3.14+ do: a thread that answers the agent's questions, and leaves nothing behind.

`profilers/remote.py` writes this, `_guard_census` and `_guard_chain` into one script, which the process runs by the
protocol of `sys.remote_exec` (PEP 768). The script's main part, which the process's main thread executes wherever it
is, only starts this thread: a signal's handler that raises belongs to the program, and may not end in here.

No module of ours comes into `sys.modules`, nor one that the program hasn't imported itself: what is missing is loaded
beside it. What gevent and the like have replaced is taken from where it was.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PATIENCE_S = 60.0  # guard asks again and again; what it has forgotten ends
_MOST_REQUEST = 1024
_BUILT_IN = type(len)
_OTHER_NAMES = {"operator": "_operator", "os": "posix"}  # in C, so that no file of the program's is in the way


class _Library:
    """What the agent's files import: from `sys.modules` where it is there, else loaded beside it."""

    def __init__(self, sources: dict[str, str]) -> None:
        self._sources = sources
        self._found: dict[str, Any] = {}
        names = vars(sys.modules["builtins"]).copy()
        names["__import__"] = self.fetch
        self._builtins = names

    def fetch(self, name: str, *_: Any) -> Any:
        """As `__import__`."""
        if name not in self._found:
            if name in self._sources:
                self._found[name] = self._own(name)
            else:
                known = _OTHER_NAMES.get(name, name)
                module = sys.modules.get(known)
                patched = known == "time" and type(getattr(module, "sleep", None)) is not _BUILT_IN
                self._found[name] = _loaded(known) if module is None or patched else module
        return self._found[name]

    def _own(self, name: str) -> Any:
        module = type(sys)(name)
        names = module.__dict__
        names["__file__"] = f"<guard>/{name}.py"
        names["__builtins__"] = self._builtins
        exec(compile(self._sources[name], names["__file__"], "exec", dont_inherit=True), names)
        return module

    def clear(self) -> None:
        """Let go of all of it."""
        for name in self._sources:
            if name in self._found:
                self._found[name].__dict__.clear()
        self._found.clear()
        self._builtins.clear()


def _loaded(name: str) -> Any:
    """A module of the standard library's in C, that nobody else gets to see. Raises ImportError."""
    machinery = sys.modules["_frozen_importlib"]
    spec = machinery.BuiltinImporter.find_spec(name)
    if spec is None:
        places = [entry for entry in sys.path if type(entry) is str and entry.endswith("lib-dynload")]
        spec = sys.modules["_frozen_importlib_external"].PathFinder.find_spec(name, places)
    if spec is None:
        raise ImportError(name)
    module = machinery.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def visit(place: str, sources: dict[str, str]) -> None:
    """Answer what guard asks at its socket in the folder `place`, until it hangs up. Raises nothing."""
    library = _Library(sources)
    try:
        try:
            signals = library.fetch("_signal")
            signals.pthread_sigmask(signals.SIG_BLOCK, signals.valid_signals())
            net = library.fetch("_socket")
            link = net.socket(net.AF_UNIX, net.SOCK_STREAM)
            try:
                link.settimeout(_PATIENCE_S)
                link.connect(f"{place}/guard")
                _answer(link, net, library)
            finally:
                link.close()
        finally:
            _tidy(place, library.fetch("os"))
    except BaseException:  # whatever it is, it is not the program's
        pass
    library.clear()


def _tidy(place: str, system: Any) -> None:
    """Remove the folder, which is this process's own: guard may be gone, before this came or since."""
    for name in ("visit.py", "guard"):
        try:
            system.unlink(f"{place}/{name}")
        except OSError:
            pass
    system.rmdir(place)


def _answer(link: Any, net: Any, library: _Library) -> None:
    counting: Any = None
    while True:
        line = link.recv(_MOST_REQUEST).decode("utf-8", "replace").strip()
        if not line:
            return
        try:
            counting = library.fetch("_guard_census")
            answer = _do(line, counting, library)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        if counting is None:
            return
        told = counting.encoded(answer).encode("ascii", "backslashreplace") + b"\n"
        link.sendall(told, net.MSG_NOSIGNAL)  # the program may die of SIGPIPE


def _do(line: str, counting: Any, library: _Library) -> dict[str, Any]:
    word, _, rest = line.partition(" ")
    if word == "hello":
        return {"mode": "census", "python": ".".join(map(str, sys.version_info[:3])), "trouble": ""}
    if word == "census":
        return dict(counting.census(float(rest), _never))
    if word == "chain":
        seconds, _, name = rest.partition(" ")
        return dict(library.fetch("_guard_chain").chain(name, float(seconds), _never))
    return {"error": "unknown request"}


def _never() -> bool:
    return False
