"""Who of a command's processes a profile is of."""

from __future__ import annotations

import pytest

from supervisor.profilers import engine, matters
from supervisor.profilers.matters import Candidate

NODE = "/usr/bin/node"


@pytest.mark.parametrize(
    ("program", "command", "expected"),
    [
        (NODE, ("node", "/usr/bin/npm", "start"), True),
        (NODE, ("npm start", "", ""), True),
        (NODE, ("npm", "", ""), True),  # its title before it knows what to do
        (NODE, ("node", "/usr/lib/node_modules/npm/bin/npm-cli.js", "--silent", "run", "serve"), True),
        (NODE, ("node", "/usr/bin/npx", "vite"), True),
        (NODE, ("npm exec vite",), True),
        (NODE, ("/usr/bin/node", "--no-warnings", "/app/node_modules/.bin/tsx", "app.ts"), True),
        (NODE, ("npm ci", ""), False),
        (NODE, ("node", "/usr/bin/npm", "install"), False),
        (NODE, ("node", "app.js", "npm"), False),
        (NODE, ("node", "-e", "1"), False),
        (NODE, ("node",), False),
        (NODE, (), False),
        ("/usr/bin/dash", ("sh", "-c", "node app.js"), True),
        ("/usr/bin/env", ("env", "./program"), True),
        ("/srv/program", ("sh",), False),
    ],
)
def test_who_only_starts_another(program: str, command: tuple[str, ...], expected: bool) -> None:
    assert matters.launches(engine.Facts(program, command)) is expected


def test_the_first_python_or_node_that_is_meant() -> None:
    npm = Candidate(1, engine.NODE, launches=True, cpu_s=2.0)
    shell = Candidate(2, engine.OTHER, launches=True)
    app, child = Candidate(3, engine.NODE), Candidate(4, engine.PYTHON)
    assert matters.choose([npm]) is None
    assert matters.choose([npm, shell], machine_code=True) is None
    assert matters.choose([npm, shell, app, child], machine_code=True) is app
    assert matters.choose([shell, child, app]) is child


def test_without_one_the_program_that_works() -> None:
    shell = Candidate(1, engine.OTHER, launches=True, cpu_s=0.1)
    waits, works = Candidate(2, engine.OTHER), Candidate(3, engine.OTHER, cpu_s=0.2)
    found = [shell, waits, works]
    assert matters.choose(found) is None
    assert matters.choose(found, machine_code=True) is works
    assert matters.choose([shell, waits], machine_code=True) is waits
    assert matters.choose([Candidate(1, engine.OTHER, launches=True, cpu_s=0.9)], machine_code=True) is not None
    assert matters.choose([Candidate(1, engine.BUN), Candidate(2, engine.JAVA)], machine_code=True) is None
