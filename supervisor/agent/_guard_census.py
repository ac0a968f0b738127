"""The agent's counting: objects by type, and who holds them. In the target, so bounded and careful.

What a census looks at is a sample, but for large containers, which are all looked at: a cache is one object among many,
and would be met by chance with all that is in it. Objects are picked by expressions that run in C from end to end, and
exact tuples never are: one that is still being built must have no second holder (PyTuple_Resize). They and all that
the collector doesn't track (str, bytes, numpy arrays) are found through who refers to them, where each reference counts
as one part of its object. References to what is gone through are held for a moment, so that an object may be finalised
in this thread, as any thread's garbage collection may do it.

No code of the target's runs: no `__sizeof__`, `__len__`, `__hash__`, `__eq__` or property of its classes. No value
leaves the process: names of types, modules, functions, variables and attributes do, sizes and counts.
"""

from __future__ import annotations

import gc
import sys
from _collections import deque
from _functools import _lru_cache_wrapper, partial
from itertools import chain as chained
from itertools import compress, filterfalse, islice, repeat, starmap
from operator import is_, is_not, lt, methodcaller, not_
from os import urandom
from time import monotonic, sleep

try:
    from _json import encode_basestring_ascii as _quoted
except ImportError:  # a Python without that accelerator
    from json.encoder import py_encode_basestring_ascii as _quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SAMPLE = 20_000
_SPARSE = 64
_REST_EVERY = 500
_BIG = 64  # items; containers with more are looked at one by one, if they aren't too many
_MOST_ITEMS = 1000  # looked at in one of these
_MOST_IN_ALL = 40_000  # and of a kind of container
FEW_ITEMS = 32  # looked at in a smaller one
SCAN_OBJECTS = 1_000_000
_SLICE = 25_000  # objects gone through at once
_SCAN_PART = 1 / 3  # of a census's time
_MOST_TYPES = 300
_MOST_HOLDERS = 3
_MOST_DEPTH = 6
_MOST_NAME = 200
_IMMORTAL = 1 << 28
_GC = 1 << 14  # Py_TPFLAGS_HAVE_GC
_KINDS = (dict, list, set, deque)
_BEFORE_3_14 = sys.version_info < (3, 14)
_EVERYTHING = (None,)
_call = methodcaller("__call__")

_objects = gc.get_objects
_referents = gc.get_referents
_tracked = gc.is_tracked
_refcount = sys.getrefcount
_sizeof = sys.getsizeof
mro_of = type.__dict__["__mro__"].__get__
names_of = type.__dict__["__dict__"].__get__
_qualname = type.__dict__["__qualname__"].__get__
_module = type.__dict__["__module__"].__get__
_flags = type.__dict__["__flags__"].__get__


def encoded(value: Any) -> str:
    """JSON, without the module."""
    if isinstance(value, str):
        return str(_quoted(value))
    if value is None or isinstance(value, bool):
        return "null" if value is None else "true" if value else "false"
    if isinstance(value, dict):
        return "{{{}}}".format(",".join(f"{_quoted(str(key))}:{encoded(each)}" for key, each in value.items()))
    if isinstance(value, (list, tuple)):
        return "[{}]".format(",".join([encoded(each) for each in value]))
    return repr(value)


def type_name(kind: type) -> str:
    """`module.Qualname`; of builtins the name alone."""
    try:
        module = _module(kind)
    except AttributeError:
        module = None
    name = str(_qualname(kind))[:_MOST_NAME]
    return f"{module[:_MOST_NAME]}.{name}" if isinstance(module, str) and module != "builtins" else name


def _base_references() -> int:
    """What `_refcount` says in a loop over a list of an object that nobody else holds."""
    for each in [object()]:
        return _refcount(each)
    return 0


def count() -> int:
    """How many objects the collector tracks."""
    return sum(map(len, map(_objects, _EVERYTHING)))


def prime(number: int) -> int:
    """The next prime: a stride that hardly meets the period at which a loop's objects lie."""
    while any(number % by == 0 for by in range(2, int(number**0.5) + 1)):
        number += 1
    return number


def _in_one_go(*steps: Callable[[], Any]) -> None:
    """Call one after the other from C: no other thread gets its turn between two of them."""
    deque(map(_call, steps), 0)


def pick(total: int, most: int) -> tuple[list[Any], float]:
    """About so many of all tracked objects, without the tuples, and how many objects one of them stands for."""
    every: list[Any] = []
    kept: list[Any] = []
    listed = chained.from_iterable(map(_objects, _EVERYTHING))
    objects: Any = listed
    no_tuples = compress(iter(every), map(is_not, map(type, iter(every)), repeat(tuple)))
    scale = 1.0
    if total > _SPARSE * most:
        stride = prime(total // most)
        scale = total / len(range(0, total, stride))
        objects = islice(objects, 0, None, stride)
    elif total > most:
        # By lot: what a program makes in a loop lies in the heap at a period, which a small stride would meet.
        noise, level = urandom(total), max(1, 256 * most // total)
        scale = total / max(1, sum(map(lt, noise, repeat(level))))
        objects = compress(objects, map(lt, noise, repeat(level)))
    # To its end at last: a list of all objects lists its own iterator as well, and would keep itself alive.
    _in_one_go(partial(every.extend, objects), partial(deque, listed, 0), partial(kept.extend, no_tuples), every.clear)
    return kept, scale


def _longest(lengths: list[int]) -> int:
    """How long containers must be so that no more items are looked at than there is time for."""
    lengths.sort(reverse=True)
    looked_at = 0
    for length in lengths:
        looked_at += min(length, _MOST_ITEMS)
        if looked_at > _MOST_IN_ALL:
            return length
    return 0


class Big:
    """The large containers, those of subclasses among them, and functions' caches: `found`, and their `ids`.

    Before Python 3.14 the collector doesn't list a dict of texts and numbers; it is found through who refers to it.
    """

    def __init__(self, total: int, deadline: float, stopping: Callable[[], bool]) -> None:
        self.found: list[Any] = []
        self.ids: set[int] = set()
        self.hold_s = 0.0
        if total > SCAN_OBJECTS:
            return
        every: list[Any] = []
        kept: list[Any] = []
        listed = chained.from_iterable(map(_objects, _EVERYTHING))
        no_tuples = compress(iter(every), map(is_not, map(type, iter(every)), repeat(tuple)))
        at = monotonic()
        _in_one_go(partial(every.extend, listed), partial(kept.extend, no_tuples), every.clear, kept.reverse)
        long: list[list[Any]] = [[] for _ in _KINDS]
        caches: list[Any] = []
        while kept:  # the youngest first: they are likeliest to end meanwhile
            some = kept[-_SLICE:]
            del kept[-_SLICE:]
            _look_through(some, long, caches)
            some.clear()
            now = monotonic()
            self.hold_s = max(self.hold_s, now - at)
            if stopping() or now >= deadline:
                break
            sleep(min(0.05, max(0.001, now - at)))
            at = monotonic()
        kept.clear()
        for kind, mine in zip(_KINDS, long):  # noqa: B905 - its `strict` came with Python 3.10
            longer = max(_BIG, _longest(list(map(kind.__len__, mine))))
            while mine:
                one = mine.pop()
                if kind.__len__(one) > longer and one is not self.found:
                    self._keep(one)
        while caches:
            self._keep(caches.pop())

    def _keep(self, one: Any) -> None:
        if id(one) not in self.ids:
            self.ids.add(id(one))
            self.found.append(one)


def _look_through(some: list[Any], long: list[list[Any]], caches: list[Any]) -> None:
    """Add the containers among some objects that aren't short, by kind, and the caches of functions."""
    are_kinds = list(map(issubclass, map(type, some), repeat(_KINDS)))  # of types that are `type`'s, so asks nobody
    containers = list(compress(some, are_kinds))
    holders = list(compress(some, map(not_, are_kinds)))
    caches.extend(compress(holders, map(is_, map(type, holders), repeat(_lru_cache_wrapper))))
    for kind, found in zip(_KINDS, long):  # noqa: B905
        mine = list(compress(containers, map(issubclass, map(type, containers), repeat(kind))))
        lengths = list(map(kind.__len__, mine))
        found.extend(compress(mine, map(lt, repeat(_BIG), lengths)))
        if kind is dict:  # what longer ones hold is met when these are looked at
            holders.extend(compress(mine, map(lt, lengths, repeat(_MOST_ITEMS))))
    if sys.version_info < (3, 14):
        unlisted = list(filterfalse(_tracked, chained.from_iterable(starmap(_referents, (holders,)))))
        dicts = list(compress(unlisted, map(is_, map(type, unlisted), repeat(dict))))
        long[0].extend(compress(dicts, map(lt, repeat(_BIG), map(len, dicts))))


class Tally:
    """Counts and bytes by type, and by who holds them. `without`: ids of dicts that are looked at by themselves."""

    def __init__(self, without: set[int] | None = None) -> None:
        self._without = without or set()
        self.kinds: dict[int, list[Any]] = {}
        self.held: dict[tuple[int, int], float] = {}
        self._plain: dict[int, bool] = {}
        self._base = _base_references()

    def size(self, each: Any, kind: type) -> int:
        """Its own bytes, by the type's own C code; where the target would answer, what the object itself takes."""
        plain = self._plain.get(id(kind))
        if plain is None:
            found = next((names["__sizeof__"] for names in map(names_of, mro_of(kind)) if "__sizeof__" in names), None)
            plain = self._plain[id(kind)] = type(found) is type(object.__sizeof__)
        try:
            return int(_sizeof(each, 0) if plain else object.__sizeof__(each) + 16)
        except Exception:
            return 0

    def note(self, each: Any, weight: float, owner: type | None, share: float = 1.0) -> None:
        """Take in an object, or a part of one. `share`: how many it stands for that weren't looked at, and itself."""
        kind = type(each)
        size = self.size(each, kind) * weight
        entry = self.kinds.get(id(kind))
        if entry is None:
            entry = self.kinds[id(kind)] = [kind, 0.0, 0.0, 0.0, 0.0]
        entry[1] += weight
        entry[2] += size
        entry[3] += weight * weight
        entry[4] += weight * weight / share
        if owner is not None:
            key = (id(kind), id(owner))
            self.held[key] = self.held.get(key, 0.0) + size

    def walk(self, each: Any, weight: float, most: int, depth: int = 0, share: float = 1.0) -> None:
        """Take in what it refers to and the collector doesn't list."""
        found, more = items(each, most)
        share *= more
        owner, base = type(each), self._base
        for one in found:
            kind = type(one)
            if kind is not tuple and _tracked(one):
                continue
            if kind is dict and id(one) in self._without:
                continue
            references = _refcount(one) - base
            if references > _IMMORTAL:
                continue
            part = weight * more / max(1, references)
            self.note(one, part, owner, share)
            if depth < _MOST_DEPTH and holds(kind):
                self.walk(one, part, most, depth + 1, share)

    def add(self, other: Tally, scale: float) -> None:
        """Take in another's figures, each standing for `scale` objects."""
        for key, (kind, number, size, squares, known) in other.kinds.items():
            entry = self.kinds.setdefault(key, [kind, 0.0, 0.0, 0.0, 0.0])
            entry[1] += number * scale
            entry[2] += size * scale
            entry[3] += squares * scale * scale
            entry[4] += known * scale
        for pair, size in other.held.items():
            self.held[pair] = self.held.get(pair, 0.0) + size * scale

    def told(self) -> list[dict[str, Any]]:
        """The types, most bytes first: count, bytes, the spread of the count's estimate, main holders.

        What is counted with probability p and then stands for 1/p has a variance of (1 - p)/p**2: none where all was
        looked at (Horvitz and Thompson 1952).
        """
        names = {id(entry[0]): type_name(entry[0]) for entry in self.kinds.values()}
        holders: dict[int, list[tuple[float, str]]] = {}
        for (kind, owner), size in self.held.items():
            holders.setdefault(kind, []).append((size, names.get(owner, "?")))
        largest = sorted(self.kinds.values(), key=lambda entry: -entry[2])[:_MOST_TYPES]
        return [
            {
                "type": names[id(kind)],
                "count": round(number),
                "bytes": round(size),
                "spread": round(max(0.0, squares - known) ** 0.5, 1),
                "in": [
                    {"type": name, "bytes": round(part)}
                    for part, name in sorted(holders.get(id(kind), ()), reverse=True)[:_MOST_HOLDERS]
                ],
            }
            for kind, number, size, squares, known in largest
        ]


def base_of(kind: type) -> Any:
    """The kind of container that a type is or comes from; None for another."""
    for base in _KINDS:
        if issubclass(kind, base):
            return base
    return None


def length(each: Any) -> int:
    """How many items a container has, whatever its class says of it; -1 of another object."""
    base = base_of(type(each))
    return int(base.__len__(each)) if base is not None else -1


def items(each: Any, most: int = _MOST_ITEMS) -> tuple[list[Any], float]:
    """What an object refers to, or a part of it and how many items one of that part stands for."""
    base = base_of(type(each))
    number = base.__len__(each) if base is not None else 0
    if number <= 2 * most:
        found = _referents(each)
        step = prime(-(-len(found) // most)) if base is None and len(found) > 2 * most else 1
        return (found, 1.0) if step == 1 else (found[::step], len(found) / len(found[::step]))
    step = prime(-(-number // most))
    if base is dict:
        found = list(islice(chained(dict.values(each), dict.keys(each)), 0, None, step))
        return found, 2 * number / max(1, len(found))
    found = list(islice(base.__iter__(each), 0, None, step))
    return found, number / max(1, len(found))


def holds(kind: type) -> bool:
    """Whether objects of a type may refer to others."""
    return bool(_flags(kind) & _GC)


def census(seconds: float, stopping: Callable[[], bool]) -> dict[str, Any]:
    """Objects by type, estimated from a sample, within about so many seconds."""
    began = monotonic()
    deadline = began + seconds
    total = count()
    hold = monotonic() - began
    big = Big(total, began + seconds * _SCAN_PART, stopping)
    hold = max(hold, big.hold_s)
    whole, large, sampled = Tally(), Tally(big.ids), Tally(big.ids)
    found = len(big.found)
    looked_at = _take_in(large, big.found, None, began + seconds * 2 / 3, stopping)
    whole.add(large, found / max(1, looked_at))
    at = monotonic()
    batch, scale = pick(total, SAMPLE)
    hold = max(hold, monotonic() - at)
    picked = len(batch)
    # From the newest on, every seventh first: what time doesn't allow is missing everywhere alike.
    visited = _take_in(sampled, batch, big.ids, deadline, stopping)
    whole.add(sampled, scale * picked / max(1, visited))
    return {"objects": total, "looked_at": looked_at + visited, "seconds": round(monotonic() - began, 4),
            "longest_hold_s": round(hold, 4), "types": whole.told()}  # fmt: skip


def _take_in(
    tally: Tally, batch: list[Any], without: set[int] | None, deadline: float, stopping: Callable[[], bool]
) -> int:
    """Take in as much of a batch as there is time for; how much that is. The batch is empty then."""
    taken = 0
    at = monotonic()
    spread = [each for start in range(7) for each in range(start, len(batch), 7)]
    for number in spread:
        one, batch[number] = batch[number], None
        if without is None or id(one) not in without:
            tally.note(one, 1.0, None)
            tally.walk(one, 1.0, _MOST_ITEMS if without is None else FEW_ITEMS)
        one = None
        taken += 1
        if taken % (_REST_EVERY if without is not None else 8) == 0:
            now = monotonic()
            if stopping() or now >= deadline:
                break
            sleep(min(0.05, max(0.001, now - at)))  # as long as it took, others run
            at = monotonic()
    batch.clear()
    return taken
