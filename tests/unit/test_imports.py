"""Imports point one way, also those inside a function: in no circle, and never to a layer above.

What only names a type (`if TYPE_CHECKING`) may point anywhere. UPWARD, the exceptions, only ever shrinks.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = {
    ".".join(path.relative_to(ROOT / "supervisor").with_suffix("").parts).removesuffix(".__init__"): path
    for path in (ROOT / "supervisor").rglob("*.py")
}

# From the top; a package's name stands for all that is in it. What is named nowhere is ground, which anyone may use.
LAYERS = {
    "entry": "entry boot",
    "commands": "cli commands quickcompare",
    "what a command calls": "run lives life observe oomd profiling profiled ownprofile comparing overhead doctor "
    "postmortem report reporting limits listing live pruning ctl api embedding scaffold inspect_config settling",
    "loop": "loop",
    "parts": "acting announcing asked budget decide finish foreseen freeze journal metrics place plan policy probing "
    "reacting record reload resources retaining shipper stay suspicion triggers workers ctl.answering ctl.documents "
    "ctl.door ctl.server",
    "a worker": "work actions shipping",
    "profilers": "profilers agent",
    "ground": "",
}
UPWARD = {("addresses", "shipping.target")}


def imported(tree: ast.AST) -> Iterator[str]:
    """Names of the modules of guard's that are imported anywhere in it, but for types."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{name.name}" for name in node.names]
            yield from (name if name.removeprefix("supervisor.") in MODULES else f"{node.module}" for name in names)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        yield from imported(node)


IMPORTS = {
    module: {name.removeprefix("supervisor.") for name in imported(ast.parse(path.read_bytes()))} & MODULES.keys()
    for module, path in MODULES.items()
}


def layer(module: str) -> int:
    """0 is the top."""
    places = {name: number for number, names in enumerate(LAYERS.values()) for name in names.split()}
    return places.get(module, places.get(module.partition(".")[0], len(LAYERS) - 1))


def test_no_import_leads_back_to_its_own_module() -> None:
    try:
        TopologicalSorter(IMPORTS).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_no_import_points_upward() -> None:
    names = {(module, name) for module, names in IMPORTS.items() for name in names if layer(name) < layer(module)}
    assert names == UPWARD, "turn it round, or name what is new in LAYERS; what isn't any more has left UPWARD"


def test_the_layers_name_what_there_is() -> None:
    named = [name for names in LAYERS.values() for name in names.split()]
    assert set(named) <= MODULES.keys() | {name.partition(".")[0] for name in MODULES} and len(named) == len(set(named))
