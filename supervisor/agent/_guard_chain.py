"""Who holds an object, from the object up to a variable, an attribute, a cache or a generator; tracemalloc's sites.

Only names leave the process: of variables, attributes, functions, classes and modules. Keys of dicts that are data and
items of lists do not.
"""

from __future__ import annotations

import gc
import sys
from _functools import partial
from _random import Random
from itertools import chain as chained
from itertools import compress, repeat
from operator import is_, is_not, lt
from time import monotonic, sleep

import _guard_census as counting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_EXAMPLES = 5
_MOST_CLIMB = 12
_SHARED = 16  # references; what has more is no example of a leak
_STALL_S = 0.15
_MOST_SITES = 3000
_LOTS = Random()
_STEP = 2.0**-20
_MOST_TUPLES = 2
_OWN_LISTS = 2
_FUNCTION = type(lambda: None)
_FRAME = type(sys._getframe())
_dictoffset = type.__dict__["__dictoffset__"].__get__
_RUNNING = ("generator", "coroutine", "async_generator")


def chain(name: str, seconds: float, stopping: Callable[[], bool]) -> dict[str, Any]:
    """For some objects of a type: labels from the object up, and the first that names a place in the program."""
    deadline = monotonic() + seconds
    total = counting.count()
    chains: list[list[str]] = []
    holders: list[str] = []
    held: dict[str, float] = {}  # bytes by holder: a dict is one example, however much is in it
    stall = 0.0
    paths, weights = _examples(name, total, deadline, stopping)
    own = {id(paths), *map(id, paths)}
    for path, weight in zip(paths, weights):  # noqa: B905 - its `strict` came with Python 3.10
        if stopping() or (chains and (monotonic() >= deadline or stall > _STALL_S)):
            break
        climb = _Climb(path, own, deadline + 2 * seconds)
        climb.go()
        stall = max(stall, climb.stall_s)
        chains.append(climb.labels)
        holders.append(climb.holder)
        if climb.holder:
            held[climb.holder] = held.get(climb.holder, 0.0) + weight
        del climb
        sleep(0.005)
    holder = max(held, key=held.__getitem__) if held else ""
    best = chains[holders.index(holder)] if chains else []
    return {"type": name, "holder": holder, "chain": best, "examples": len(chains), "longest_hold_s": round(stall, 4)}


def _examples(
    name: str, total: int, deadline: float, stopping: Callable[[], bool]
) -> tuple[list[list[Any]], list[float]]:
    """Objects of a type, each with who it was found through if the collector doesn't list it, and the bytes each
    stands for.

    Chosen by lot, as likely as the bytes that each stands for are many: most are where most of the memory is.
    """
    known: dict[int, bool] = {}
    sizes = counting.Tally()
    found: list[tuple[float, float, list[Any]]] = []
    big = counting.Big(total, deadline, stopping)
    picked, scale = counting.pick(total, counting.SAMPLE)
    for stands_for, batch in ((0.0, big.found), (scale, picked)):
        few = counting.FEW_ITEMS if stands_for else 0
        while batch:
            one = batch.pop()
            if not stands_for or id(one) not in big.ids:
                _met(one, stands_for or 1.0, name, known, (), found, sizes, few)
            if len(found) > 10 * _EXAMPLES:
                found.sort(key=lambda pair: -pair[0])
                del found[_EXAMPLES:]
    found.sort(key=lambda pair: -pair[0])
    return [each[2] for each in found[:_EXAMPLES]], [each[1] for each in found[:_EXAMPLES]]


def _lot(weight: float) -> float:
    """The highest of these win: weighted sampling without replacement (Efraimidis and Spirakis, 2006)."""
    chance = _LOTS.random() or 1e-300
    return float((chance**_STEP - 1.0) / _STEP / max(weight, 1e-9))  # `math` brings in others


def _is(kind: type, name: str, known: dict[int, bool]) -> bool:
    wanted = known.get(id(kind))
    if wanted is None:
        wanted = known[id(kind)] = counting.type_name(kind) == name
    return wanted


def _met(
    one: Any,
    scale: float,
    name: str,
    known: dict[int, bool],
    above: tuple[Any, ...],
    found: list[tuple[float, float, list[Any]]],
    sizes: counting.Tally,
    few: int,
) -> None:
    """Note an object of the type among this one and what it refers to, with the bytes that it stands for."""
    if not above and _is(type(one), name, known):
        weight = scale * sizes.size(one, type(one))
        found.append((_lot(weight), weight, [one]))
    items, share = counting.items(one, few) if few else counting.items(one)
    size = 0
    example: Any = None
    while items:
        each = items.pop()
        kind = type(each)
        if kind is not tuple and gc.is_tracked(each):
            continue
        if _is(kind, name, known) and sys.getrefcount(each) < _SHARED:
            size += sizes.size(each, kind)
            example = each
        if len(above) < 3 and counting.holds(kind):
            _met(each, scale * share, name, known, (one, *above), found, sizes, few)
    if example is not None:
        weight = scale * share * size
        found.append((_lot(weight), weight, [example, one, *above]))


class _Climb:
    """The way up from an object."""

    def __init__(self, path: list[Any], own: set[int], deadline: float) -> None:
        self.labels: list[str] = [counting.type_name(type(path[0]))]
        self.holder = ""
        self.stall_s = 0.0
        self._path = path
        self._own = own
        self._deadline = deadline

    def go(self) -> None:
        """Up to a root, a cycle, or as far as time allows."""
        path = self._path
        for at in range(_MOST_CLIMB):
            if at + 1 >= len(path):
                if at and monotonic() >= self._deadline:
                    self.labels.append("and so on")
                    return
                above = self._referrer(path[at])
                if above is None:
                    self.labels.append("a variable of a running function, or C code")
                    return
                if id(above) in set(map(id, path)):  # no closure here: its cell would refer to what is looked at
                    self.labels.append("which it holds itself: a reference cycle")
                    return
                path.append(above)
            if self._label(at + 1):
                return

    def _referrer(self, one: Any) -> Any:
        """Of those who refer to it, the one that collects: a module's names, else the one with most items."""
        began = monotonic()
        found = _referrers(one)
        self.stall_s = max(self.stall_s, monotonic() - began)
        best, most = None, -1.0
        while found:
            each = found.pop()
            kind = type(each)
            if id(each) in self._own or each is found or each is self.__dict__ or each is self:
                continue
            if kind is _FRAME and each.f_code.co_filename in (__file__, counting.__file__):
                continue
            length = counting.length(each)
            rank = float(length) if length >= 0 else 1.5
            if kind is dict and _module_of(each):
                rank += 1e6
            if kind is _FRAME:
                rank = 0.5
            if rank > most:
                best, most = each, rank
        return best

    def _label(self, at: int) -> bool:
        """Add what the object at this place is called; whether that is a root."""
        one, below = self._path[at], self._path[at - 1]
        kind = type(one)
        if kind is dict:
            module = _module_of(one)
            if module:
                return self._name("{}.{}".format(module, _key_of(one, below) or "?"), root=True)
            self.labels.append("dict of {} items".format(format(len(one), ",")))
        elif counting.base_of(kind) is not None:
            self.labels.append("{} of {} items".format(counting.type_name(kind), format(counting.length(one), ",")))
        elif kind is _FUNCTION:
            self._name(f"function {one.__qualname__}")
        elif kind.__name__ in _RUNNING and kind.__module__ == "builtins":
            return self._name(f"{kind.__name__} {one.__qualname__}", root=True)
        elif kind is _FRAME:
            code = one.f_code
            self._name("variables of {}".format(getattr(code, "co_qualname", code.co_name)))
        elif counting.type_name(kind) == "functools._lru_cache_wrapper":
            wrapped = getattr(one, "__wrapped__", None)
            self._dict_of_it(at)
            return self._name("functools.lru_cache of {}".format(getattr(wrapped, "__qualname__", "?")), root=True)
        elif isinstance(kind, type) and issubclass(kind, type):
            attribute = self._dict_of_it(at) or "?"
            return self._name(f"class {counting.type_name(one)}.{attribute}", root=True)
        elif kind is not tuple and kind.__name__ != "cell":
            attribute = self._dict_of_it(at) or _attribute(one, below)
            name = counting.type_name(kind)
            if attribute:
                self._name(f"{name}.{attribute}")
            else:
                self.labels.append(name)
        return False

    def _name(self, word: str, *, root: bool = False) -> bool:
        self.labels.append(word)
        # A variable says more than the function that has it; of several the lowest is nearest to what piles up.
        if not self.holder or self.holder.startswith("function "):
            self.holder = word
        return root

    def _dict_of_it(self, at: int) -> str:
        """When what lies below is the object's own dict: the attribute, and the dict isn't told."""
        below = self._path[at - 1]
        if type(below) is not dict or at < 2 or not self.labels[-1].startswith("dict of "):
            return ""
        key = _key_of(below, self._path[at - 2])
        if key.isidentifier() and (isinstance(self._path[at], type) or _own_dict(self._path[at]) is below):
            self.labels.pop()
            return key
        return ""


def _own_dict(one: Any) -> Any:
    """An instance's dict where it has a real one; no property of the target's is asked."""
    if not _dictoffset(type(one)):
        return None
    for names in map(counting.names_of, counting.mro_of(type(one))):
        slot = names.get("__dict__")
        if slot is not None:
            return slot.__get__(one) if type(slot).__name__ == "getset_descriptor" else None
    return None


def _attribute(one: Any, below: Any) -> str:
    """The attribute that refers to it: in the instance's dict (3.11+ keeps small ones inline), or a slot."""
    own = _own_dict(one)
    if type(own) is dict:
        return _key_of(own, below)
    for names in map(counting.names_of, counting.mro_of(type(one))):
        for key, slot in list(names.items()):
            if type(slot).__name__ == "member_descriptor":
                try:
                    if slot.__get__(one) is below:
                        return str(key)
                except AttributeError:
                    continue
    return ""


def _key_of(names: dict[Any, Any], value: Any) -> str:
    for key, each in list(names.items()):
        if each is value and type(key) is str:
            return key
    return ""


def _module_of(names: dict[Any, Any]) -> str:
    """The module whose names these are; empty for another dict."""
    name = dict.get(names, "__name__") if len(names) < 100_000 else None
    if type(name) is not str or ("__builtins__" not in names and "__spec__" not in names):
        return ""
    return name[:200]


def traces(most_bytes: int, stopping: Callable[[], bool]) -> dict[str, Any]:
    """What tracemalloc holds, by stack, most bytes first: [bytes, count, [[file, line], ...]], innermost frame first.

    `most_bytes`: what it may take; about what tracemalloc itself does, and half again.
    """
    import _tracemalloc

    if not _tracemalloc.is_tracing():
        return {"error": "tracemalloc is not on"}
    own = _tracemalloc.get_tracemalloc_memory()
    if own * 1.5 > most_bytes:
        return {"error": "no room", "needs_bytes": int(own * 1.5)}
    began = monotonic()
    found: list[Any] = list(_tracemalloc._get_traces())
    stall = monotonic() - began
    sites: dict[Any, list[int]] = {}
    number = total = 0
    while found and not stopping():
        entry = found.pop()
        site = sites.get(entry[2])
        if site is None:
            site = sites[entry[2]] = [0, 0]
        site[0] += entry[1]
        site[1] += 1
        total += entry[1]
        number += 1
        if number % 5000 == 0:
            sleep(0.002)
    largest = sorted(sites.items(), key=lambda pair: -pair[1][0])[:_MOST_SITES]
    return {
        "bytes": total,
        "blocks": number,
        "own_bytes": own,
        "left_out_bytes": total - sum(pair[1][0] for pair in largest),
        "longest_hold_s": round(stall, 4),
        "sites": [[size, times, [list(frame[:2]) for frame in stack]] for stack, (size, times) in largest],
    }


def _referrers(one: Any) -> list[Any]:
    """Who refers to it; but no tuple that is still being built, which must have no second holder (see `counting`).

    That one is known by this: nobody refers to it, but for the lists here. No other thread runs until it is let go. Of
    many the oldest are looked at, each by a walk over the whole heap: what a function that runs made is younger.
    """
    every: list[Any] = []
    kept: list[Any] = []
    tuples: list[Any] = []
    found = chained.from_iterable(map(gc.get_referrers, (one,)))
    others = compress(iter(every), map(is_not, map(type, iter(every)), repeat(tuple)))
    exact = compress(iter(every), map(is_, map(type, iter(every)), repeat(tuple)))
    held = compress(iter(tuples), map(lt, repeat(_OWN_LISTS), map(len, map(gc.get_referrers, iter(tuples)))))
    counting._in_one_go(
        partial(every.extend, found), partial(kept.extend, others), partial(tuples.extend, exact),
        partial(tuples.__delitem__, slice(None, -_MOST_TUPLES)), partial(kept.extend, held), tuples.clear, every.clear,
    )  # fmt: skip
    return kept
