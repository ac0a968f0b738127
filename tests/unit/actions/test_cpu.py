"""What of a CPU profile is guard's own work in the target."""

from __future__ import annotations

import pytest

from supervisor.actions.cpu import is_guards

START = "<module> (/opt/guard/supervisor/agent/sitecustomize.py:29)"
SITE = "main (<frozen site>:600);execsitecustomize (<frozen site>:577)"
IMPORT = "_find_and_load (<frozen importlib._bootstrap>:1176)"


@pytest.mark.parametrize(
    ("stack", "own"),
    [
        ("<module> (app.py:1);work (app.py:2)", False),
        (f"{SITE};{IMPORT};{START}", True),
        (f"{SITE};{IMPORT};{START};{IMPORT}", True),
        (f"{SITE};{IMPORT};{START};{IMPORT};arm (/opt/guard/supervisor/agent/_guard_agent.py:40)", True),
        ("run (threading.py:1);serve (/opt/guard/supervisor/agent/_guard_agent.py:99);count (x.py:1)", True),
        (f"{SITE};{IMPORT};{START};{IMPORT};<module> (/srv/app/sitecustomize.py:3)", False),
        ("<module> (/srv/app/sitecustomize.py:3)", False),
    ],
)
def test_guards_own_is_told_from_the_target_s(stack: str, own: bool) -> None:
    assert is_guards(stack) is own
