"""Arms the heap agent in a Python that guard started with --heap-agent; then the user's own sitecustomize has its turn.

Python imports this at its start, because its directory stands first in PYTHONPATH. Whatever goes wrong here is kept
from the target. Old Pythons read it as well, so it is written in what all of them understand.
"""

import sys

_here = __file__.rpartition("/")[0]
sys.path[:] = [entry for entry in sys.path if entry != _here]
if sys.version_info >= (3, 8) and sys.implementation.name == "cpython":
    sys.path.insert(0, _here)
    try:
        import _guard_agent

        _guard_agent.arm()
    except Exception:  # no fault of the agent's is the target's
        pass
    finally:
        sys.path.remove(_here)
sys.path_importer_cache.pop(_here, None)

# The one that would have been imported without this. Without one the import ends as it would have: not found.
_ours = sys.modules.pop("sitecustomize", None)
try:
    import sitecustomize  # noqa: F401
except ImportError as _error:
    if getattr(_error, "name", None) != "sitecustomize" and _ours is not None:
        sys.modules.setdefault("sitecustomize", _ours)
    raise
