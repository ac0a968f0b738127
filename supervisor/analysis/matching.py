"""Which function of one profile is which of the other, though it was renamed, moved or written in another form.

Formats write paths differently (`work.py`, `/app/work.py`, `file:///app/work.py`), checkouts lie in different
directories, code moves. In turn: the same name and place; the same name in a file of the same name; the same name
elsewhere, if there is only one; and for what is then left on both sides, another name with the same callers, callees
and weight.
"""

from __future__ import annotations

from itertools import pairwise

from supervisor.analysis.folded import ANONYMOUS, split_frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from supervisor.analysis.folded import Counts, FunctionTotal, Key

_COMMON_NAMES = (ANONYMOUS, "<module>", "<lambda>", "<genexpr>", "<listcomp>", "__init__", "__call__", "(module)")
_UNKNOWN: Key = ("something that isn't matched either", None)
_LEAST_SHARE = 0.002  # of the whole: below it nobody looks for a new name
_MOST_CANDIDATES = 200


class Match:
    """`before` and `after` are one function; `how` is `same`, `moved` or `renamed`."""

    __slots__ = ("after", "before", "how")

    def __init__(self, before: Key, after: Key, how: str) -> None:
        self.before = before
        self.after = after
        self.how = how


def by_name(before: Iterable[Key], after: Iterable[Key]) -> list[Match]:
    """Matches by name and file. What has none is new, gone, or renamed."""
    left, right = dict.fromkeys(before), dict.fromkeys(after)
    found = [Match(key, key, "same") for key in left if key in right]
    for match in found:
        del left[match.before], right[match.after]
    for with_file in (True, False):
        groups: dict[tuple[str, str], tuple[list[Key], list[Key]]] = {}
        for side, keys in enumerate((left, right)):
            for key in keys:
                if not with_file and key[0] in _COMMON_NAMES:
                    continue
                name = (key[0], _base(key[1]) if with_file else "")
                groups.setdefault(name, ([], []))[side].append(key)
        for ours, theirs in groups.values():
            for match in _nearest(ours, theirs, with_file):
                found.append(match)
                del left[match.before], right[match.after]
    return found


def _nearest(ours: list[Key], theirs: list[Key], with_file: bool) -> list[Match]:
    """Pairs of one name: the paths that have the longest end in common first; elsewhere only if there is one pair."""
    if not with_file:
        if len(ours) != 1 or len(theirs) != 1:
            return []
        one_has_none = ours[0][1] is None or theirs[0][1] is None
        return [Match(ours[0], theirs[0], "same" if one_has_none else "moved")]
    pairs = sorted((-_common_end(a[1], b[1]), a[1] or "", b[1] or "", a, b) for a in ours[:50] for b in theirs[:50])
    found = []
    used: set[Key] = set()
    for _, _, _, a, b in pairs:
        if a not in used and b not in used:
            used |= {a, b}
            found.append(Match(a, b, "same" if _same_place(a[1], b[1]) else "moved"))
    return found


def _base(file: str | None) -> str:
    return (file or "").rstrip("/").rpartition("/")[2]


def _parts(file: str | None) -> list[str]:
    return [part for part in (file or "").split("/") if part]


def _common_end(one: str | None, other: str | None) -> int:
    ends = 0
    for a, b in zip(reversed(_parts(one)), reversed(_parts(other)), strict=False):
        if a != b:
            break
        ends += 1
    return ends


def _same_place(one: str | None, other: str | None) -> bool:
    """Whether two paths differ only in where the whole checkout lies: one is the other's end, or directories agree."""
    ends = _common_end(one, other)
    return ends >= min(len(_parts(one)), len(_parts(other))) or ends >= 2 or (one or "").startswith("<")


def renamed(
    left: Mapping[Key, FunctionTotal],
    right: Mapping[Key, FunctionTotal],
    totals: tuple[float, float],
    same: Mapping[Key, Key],
    stacks: tuple[Counts, Counts] | None,
) -> list[Match]:
    """Matches among functions that have none by name: `left` of the baseline, `right` of the current side.

    `totals` are the weights of both profiles, `same` maps functions of the current side to those of the baseline that
    they are already known to be. Callers and callees, where there are stacks, must be mostly the same; without stacks
    only the one function lost from a file and the one new in it are taken for one.
    """
    ours = _heavy(left, totals[0])
    theirs = _heavy(right, totals[1])
    if not ours or not theirs:
        return []
    around: tuple[dict[Key, set[tuple[str, Key]]], ...] = ({}, {})
    if stacks is not None:
        around = (
            _around(stacks[0], set(ours), dict.fromkeys(left, _UNKNOWN)),
            _around(stacks[1], set(theirs), {**same, **dict.fromkeys(right, _UNKNOWN)}),
        )
    scored = []
    for a in ours:
        for b in theirs:
            alike = _weight_likeness(left[a], right[b], totals)
            if stacks is not None:
                likeness = _overlap(around[0].get(a, set()), around[1].get(b, set()))
                if likeness < 0.5:
                    continue
                if a[1] != b[1] and (likeness < 0.7 or all(key == _UNKNOWN for _, key in around[0][a])):
                    continue
            else:
                lost = [key for key in left if key[1] == a[1]]
                new = [key for key in right if key[1] == b[1]]
                if a[1] != b[1] or a[1] is None or len(lost) != 1 or len(new) != 1:
                    continue
                likeness = 0.5
            if alike >= 0.5:
                scored.append((-(likeness + alike), a[0], b[0], a, b))
    found = []
    used: set[tuple[int, Key]] = set()
    for _, _, _, a, b in sorted(scored, key=lambda each: each[:3]):
        if (0, a) not in used and (1, b) not in used:
            used |= {(0, a), (1, b)}
            found.append(Match(a, b, "renamed"))
    return found


def worth_a_look(functions: Mapping[Key, FunctionTotal], total: float) -> bool:
    """Whether any of these is heavy enough that it matters what it was called."""
    return any(each.total_weight >= _LEAST_SHARE * total for each in functions.values())


def _heavy(functions: Mapping[Key, FunctionTotal], total: float) -> list[Key]:
    heavy = [key for key, each in functions.items() if each.total_weight >= _LEAST_SHARE * total]
    return sorted(heavy, key=lambda key: -functions[key].total_weight)[:_MOST_CANDIDATES]


def _weight_likeness(one: FunctionTotal, other: FunctionTotal, totals: tuple[float, float]) -> float:
    """1 for the same shares of self and total, falling with their ratio."""
    shares = []
    for a, b in ((one.self_weight, other.self_weight), (one.total_weight, other.total_weight)):
        share_a, share_b = a / totals[0] + 0.002, b / totals[1] + 0.002
        shares.append(min(share_a, share_b) / max(share_a, share_b))
    return min(shares)


def _overlap(one: set[tuple[str, Key]], other: set[tuple[str, Key]]) -> float:
    union = len(one | other)
    return len(one & other) / union if union else 0.0


def _around(counts: Counts, wanted: set[Key], names: Mapping[Key, Key]) -> dict[Key, set[tuple[str, Key]]]:
    """For each wanted function its callers and callees, by the names that the baseline has for them."""
    known: dict[str, Key] = {}
    found: dict[Key, set[tuple[str, Key]]] = {key: set() for key in wanted}
    for stack in counts:
        keys = []
        for text in stack.split(";"):
            if text not in known:
                known[text] = split_frame(text)[:2]
            keys.append(known[text])
        for caller, callee in pairwise(keys):
            # Itself is a neighbour by any name: recursion is a likeness, too.
            if caller in wanted:
                found[caller].add(("calls", ("itself", None) if callee == caller else names.get(callee, callee)))
            if callee in wanted:
                found[callee].add(("called by", ("itself", None) if callee == caller else names.get(caller, caller)))
    return found
