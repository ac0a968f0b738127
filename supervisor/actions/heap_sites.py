"""tracemalloc's sites as stacks of functions: it knows files and lines, the functions are told by the sources."""

from __future__ import annotations

import ast
import os
from typing import Any

from supervisor.analysis import folded
from supervisor.profilers import agent

_MOST_SOURCE_BYTES = 2 << 20
_MOST_FILES = 200


def innermost(traces: dict[str, Any]) -> dict[str, int]:
    """Bytes by `file:line` of the innermost frame; of what makes no sense, nothing."""
    found: dict[str, int] = {}
    for size, stack in _sites(traces):
        site = f"{stack[0][0]}:{stack[0][1]}"
        found[site] = found.get(site, 0) + size
    return dict(sorted(found.items(), key=lambda pair: -pair[1])[:500])


def counts(traces: dict[str, Any]) -> folded.Counts:
    """Bytes by stack, root first."""
    known: dict[str, list[tuple[int, int, str]]] = {}
    totals: folded.Counts = {}
    for size, stack in _sites(traces):
        frames = []
        for file, line in reversed(stack):
            if file not in known:
                known[file] = functions(_source(file)) if len(known) < _MOST_FILES else []
            frames.append(folded.frame(function_at(known[file], line), file, line))
        text = ";".join(frames)
        totals[text] = totals.get(text, 0) + size
    return totals


def functions(source: str) -> list[tuple[int, int, str]]:
    """(first line, last line, qualified name) of each function and class; empty for what doesn't parse."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return []
    found: list[tuple[int, int, str]] = []
    waiting: list[tuple[ast.AST, str]] = [(tree, "")]
    while waiting:
        node, above = waiting.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                name = f"{above}{child.name}"
                found.append((child.lineno, child.end_lineno or child.lineno, name))
                waiting.append((child, f"{name}."))
            else:
                waiting.append((child, above))
    return found


def function_at(found: list[tuple[int, int, str]], line: int) -> str:
    """The innermost of these that a line is in; `<module>` outside of all."""
    around = [each for each in found if each[0] <= line <= each[1]]
    return max(around, key=lambda each: (each[0], -each[1]))[2] if around else "<module>"


def _source(file: str) -> str:
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        return ""
    try:
        with os.fdopen(fd, "rb") as opened:
            data = opened.read(_MOST_SOURCE_BYTES + 1)
    except OSError:
        return ""
    return data.decode("utf-8", "replace") if len(data) <= _MOST_SOURCE_BYTES else ""


def _sites(traces: dict[str, Any]) -> list[tuple[int, list[tuple[str, int]]]]:
    found = []
    for each in traces.get("sites") or ():
        try:
            size, _, stack = each
            frames = [(str(file), int(line)) for file, line in stack]
        except (TypeError, ValueError):
            continue
        if isinstance(size, int) and size > 0 and frames and not any(agent.is_own(file) for file, _ in frames):
            found.append((size, frames))
    return found
