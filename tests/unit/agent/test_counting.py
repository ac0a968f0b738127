"""The agent's counting, in a Python of its own as in a target: what it finds, and that it leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from supervisor.analysis import census

AGENT = Path(__file__).resolve().parents[3] / "supervisor" / "agent"


def counted(program: str) -> Any:
    """What a program prints as JSON that has the agent's modules as `counting` and `chains`."""
    head = f"import sys; sys.path.insert(0, {str(AGENT)!r})\nimport _guard_census as counting, _guard_chain as chains\n"
    head += "never = lambda: False\n"
    done = subprocess.run([sys.executable, "-S", "-c", head + program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_counts_and_bytes_of_what_is_there() -> None:
    found = counted("""
class Order:
    pass
kept = [Order() for _ in range(3000)]
texts = {number: str(number) * 50 for number in range(3000)}
buffers = [bytearray(10_000) for _ in range(300)]
shared = "x" * 100_000
many = [[shared] for _ in range(500)]
print(counting.encoded(counting.census(5.0, never)))
""")
    types = {each["type"]: each for each in found["types"]}
    assert 2500 < types["__main__.Order"]["count"] < 3500
    assert 3000 <= types["str"]["count"] < 12_000
    assert 2.5e6 < types["bytearray"]["bytes"] < 3.5e6 and types["bytearray"]["in"][0]["type"] == "list"
    assert types["str"]["bytes"] < 3_000_000  # what many refer to counts once


def test_nothing_of_the_target_is_asked_and_nothing_is_left_behind() -> None:
    """Hostile classes, a tuple that is being built, the collector off: no code runs, no reference stays."""
    found = counted("""
import gc, sys, threading
asked = []
class Meta(type):
    def __hash__(cls): asked.append("hash"); return 1
    def __eq__(cls, other): asked.append("eq"); return True
    def __getattribute__(cls, name):
        asked.append(name)
        return type.__getattribute__(cls, name)
class Hostile(metaclass=Meta):
    def __sizeof__(self): asked.append("sizeof"); return 10**9
    def __len__(self): asked.append("len"); return 10**9
    def __bool__(self): asked.append("bool"); return False
    def __getattribute__(self, name): asked.append(name); raise SystemExit
    __dict__ = property(lambda self: asked.append("dict"))
class List(list):
    def __len__(self): asked.append("len"); return 10**9
    def __iter__(self): asked.append("iter"); return iter(())
kept = [Hostile() for _ in range(1000)] + [List([1, 2]) for _ in range(1000)]
gc.collect(); gc.disable()
del asked[:]
done = threading.Event()
def build():
    while not done.is_set():
        try:
            tuple(number for number in range(3000))
        except SystemError:  # somebody else held it while it was built
            asked.append("tuple")
builder = threading.Thread(target=build)
builder.start()
before = counting.count()
for _ in range(3):
    found = counting.census(1.0, never)
    chain = chains.chain("__main__.Hostile", 1.0, never)
done.set()
builder.join()  # the next line holds all there is
left = [len(each) for each in gc.get_objects() if type(each) is list and len(each) > 2500]
print(counting.encoded({"asked": asked, "left": left, "more": counting.count() - before, "chain": chain,
    "types": [each["type"] for each in found["types"]]}))
""")
    assert found["asked"] == []
    assert found["left"] == []
    assert found["more"] < 2000
    assert "__main__.Hostile" in found["types"] and "__main__.List" in found["types"]
    assert found["chain"]["holder"] == "__main__.kept"


@pytest.mark.parametrize(
    ("source", "kind", "holder"),
    [
        ("cache = {number: b'x' * (1000 + number) for number in range(500)}", "bytes", "__main__.cache"),
        ("class A: pass\na = A()\na.rows = [bytearray(99) for _ in range(500)]", "bytearray", "__main__.A.rows"),
        (
            "class A: rows = [bytearray(99) for _ in range(500)]", "bytearray", "class __main__.A.rows",
        ),
        (
            "class A:\n  __slots__ = ('rows',)\na = A()\na.rows = [bytearray(99) for _ in range(500)]",
            "bytearray", "__main__.A.rows",
        ),
        (
            "import functools\n@functools.lru_cache(None)\ndef page(n): return bytearray(n)\n"
            "for n in range(500): page(n)",
            "bytearray", "functools.lru_cache of page",
        ),
        (
            "def rows():\n  kept = [bytearray(99) for _ in range(500)]\n  yield 1\ng = rows(); next(g)",
            "bytearray", "generator rows",
        ),
        (
            "cache = {number: (bytearray(99), [number]) for number in range(500)}",
            "bytearray", "__main__.cache",
        ),
        (
            "cache = {number: (bytearray(99), [number]) for number in range(500)}\n"
            "def busy(all):\n  own = [(each[0], []) for each in all]\n  global found\n"
            "  found = chains.chain('bytearray', 5.0, never)\n  return own\nown = busy(list(cache.values()))\n"
            "chains.chain = lambda *rest: found",
            "bytearray", "__main__.cache",
        ),
        (
            "from collections import deque\nqueue = deque(bytearray(99) for _ in range(500))",
            "bytearray", "__main__.queue",
        ),
    ],
)  # fmt: skip
def test_who_holds_it(source: str, kind: str, holder: str) -> None:
    found = counted(f"{source}\nprint(counting.encoded(chains.chain({kind!r}, 5.0, never)))\n")
    assert found["holder"] == holder, found
    assert found["chain"][0] == kind


def test_no_tuple_that_is_being_built_is_held_by_the_search_for_holders() -> None:
    """It refers to what is looked for already, and would be the holder with most items."""
    found = counted("""
import threading
class Session: pass
sessions = [Session() for _ in range(3000)]
broken, rounds, done = [], [], threading.Event()
def build():
    while not done.is_set():
        try:
            tuple(session for session in sessions)
            rounds.append(1)
        except SystemError:
            broken.append("tuple")
sys.setswitchinterval(1e-5)
builder = threading.Thread(target=build)
builder.start()
holders = set()
for _ in range(40):
    holders.add(chains.chain("__main__.Session", 1.0, never)["holder"])
done.set()
builder.join()
print(counting.encoded({"broken": broken, "rounds": len(rounds), "holders": sorted(holders)}))
""")
    assert found["rounds"] > 5 and found["broken"] == []
    assert found["holders"] == ["__main__.sessions"]


def test_json_without_the_module() -> None:
    value = {"a": [1, 2.5, None, True, False, 'é"\\\n\ud800'], "b": {"c": []}}
    program = f"print(counting.encoded({value!r}))"
    assert counted(program) == value


def test_keys_that_are_data_are_not_told() -> None:
    program = """
class Holder: pass
holder = Holder()
holder.by_address = {"alice@example.org": [bytearray(5000) for _ in range(400)]}
print(counting.encoded(chains.chain("bytearray", 5.0, never)))
"""
    found = counted(program)
    assert "alice" not in json.dumps(found)
    assert found["holder"] == "__main__.Holder.by_address"


def test_a_large_heap_is_sampled_without_bias() -> None:
    """Objects that a loop makes lie at a period in the heap: lists and tuples by turns, one for the other."""
    found = counted("""
kept = []
for number in range(60_000):
    kept.append(([number], [number, [number]]))
print(counting.encoded(counting.census(5.0, never)))
""")
    types = {each["type"]: each["count"] for each in found["types"]}
    assert found["looked_at"] < 40_000
    assert 160_000 < types["list"] < 200_000
    assert {each["type"]: each["spread"] for each in found["types"]}["list"] > 100


@pytest.mark.parametrize(
    ("rows", "caches"),
    [(55_000, ("{}", "OrderedDict()", "defaultdict(bytes)", "Cache()")),
     (10_000, ("{}", "OrderedDict()", "defaultdict(bytes)", "Cache()")),
     (55_000, ("Rows()", "Queue()", "lru_cache", "Slot()"))],
)  # fmt: skip
def test_caches_among_the_objects_of_an_ordinary_program(rows: int, caches: tuple[str, ...]) -> None:
    """Each is one of 166,000 objects: a sample meets it by chance, and all in it counts for nothing, or eightfold."""
    made = ", ".join(f"cache_of({number})" if "lru" in each else each for number, each in enumerate(caches))
    found = counted(f"""
from collections import OrderedDict, defaultdict, deque
from functools import lru_cache
class Row:
    __slots__ = ("number", "parts", "texts")
    def __init__(self, number):
        self.number, self.parts, self.texts = number, [number], {{"key": number}}
class Unasked:
    def __len__(self): raise SystemExit
    def __iter__(self): raise SystemExit
    def keys(self): raise SystemExit
    def values(self): raise SystemExit
class Cache(Unasked, dict): pass
class Rows(Unasked, list): pass
class Queue(Unasked, deque): pass
class Slot:
    __slots__ = ("kept",)
    def __init__(self):
        self.kept = {{}}
values = [bytes, lambda size: "x" * size, bytearray, lambda size: 1 << 8 * size]
def cache_of(number): return lru_cache(None)(lambda key: values[number](8_000))
rows = [[Row(number)] for number in range({rows})]
first, second, third, fourth = {made}
def add(numbers):
    for number in numbers:
        for cache, value in zip((first, second, third, fourth), values):
            if isinstance(cache, Slot): cache = cache.kept
            if callable(cache): cache(number)
            elif isinstance(cache, dict): cache[f"key{{number}}"] = value(8_000)
            else: cache.append(value(8_000))
add(range(3000))
one = counting.census(20.0, never)
add(range(3000, 4500))
two = counting.census(20.0, never)
holders = [chains.chain(kind, 20.0, never)["holder"] for kind in ("bytes", "str", "bytearray", "int")]
print(counting.encoded({{"one": one, "two": two, "holders": holders}}))
""")
    one, two = found["one"], found["two"]
    assert one["objects"] > 3 * rows
    grown = {row.type: row for row in census.grew(one, two) if row.more_bytes > 5_000_000}
    assert sorted(grown) == ["bytearray", "bytes", "int", "str"]
    for row in grown.values():
        assert 11_000_000 < row.more_bytes < 13_500_000, row.type
        assert 33_000_000 < row.size_bytes < 42_000_000, row.type
    names = ["__main__.first", "__main__.second", "__main__.third", "__main__.fourth"]
    if "Slot()" in caches:
        names[2:] = ["functools.lru_cache of cache_of.<locals>.<lambda>", "__main__.Slot.kept"]
    assert found["holders"] == names


def test_what_was_all_looked_at_has_no_chance_in_it() -> None:
    """Else nineteen numpy arrays of 1.5 MB more than fifty are taken for luck."""
    found = counted("""
kept = [bytearray(100_000) for _ in range(50)]
print(counting.encoded(counting.census(5.0, never)))
""")
    (buffers,) = [each for each in found["types"] if each["type"] == "bytearray"]
    assert (buffers["count"], buffers["spread"]) == (50, 0.0)
