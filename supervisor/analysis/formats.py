"""Reads a profile of any known format, recognised by what is in the file and not by its name.

What isn't one is explained: what was seen, which formats are known. The figures of guard's own profiles (rate, time,
kind) come from the `.meta.json` beside the file or from the block in the Markdown.
"""

from __future__ import annotations

import os

from supervisor.analysis import bunheap, bunmarkdown, cpuprofile, foldedfile, heapprofile, pprof, speedscope
from supervisor.analysis.folded import FunctionTotal, is_library, is_marker
from supervisor.analysis.reading import FormatError, Reading
from supervisor.analysis.text import shorten, visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from io import BufferedReader
    from typing import Any, TypeGuard

    from supervisor.analysis.folded import Key
    from supervisor.analysis.known import Shared

KNOWN = (
    "folded stacks (guard's .folded, py-spy record -f raw, collapsed stacks of Python's profiling.sampling)",
    "guard's .md, from its last block",
    "speedscope JSON (guard's, py-spy's)",
    "pprof (.pb.gz)",
    ".cpuprofile (Node, Chrome, Bun)",
    ".heapprofile (Node, Chrome)",
    "the Markdown of Bun's --cpu-prof-md and --heap-prof-md",
)
SUFFIXES = (
    ".folded",
    ".md",
    ".speedscope.json",
    ".pb.gz",
    ".cpuprofile",
    ".heapprofile",
    ".collapsed",
    ".pprof",
    ".raw",
    ".txt",
)
_HEAD = 1 << 16
_MOST_WHOLE = 256 << 20  # of a format that can't be read piece by piece
_NEARLY_ALL = 0.98  # of the samples that were due
_ODD = bytes(byte for byte in range(27) if byte < 9 or byte > 13)
_MEMRAY = b"memray\0"
_BLOCK = "```json guard-profile"
_SEEN = (
    (b"\x89PNG", "a PNG picture, which has no counts; the .folded beside it has them"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a zip archive; unpack it"),
    (b"\x7fELF", "a program"),
    (b"PERFILE2", "perf's own data; `perf script | stackcollapse-perf.pl` makes folded stacks of it"),
    (b"\xff\xfe", "text in UTF-16; it has to be UTF-8"),
    (b"\xfe\xff", "text in UTF-16; it has to be UTF-8"),
    (b"\x28\xb5\x2f\xfd", "data packed by zstd; unpack it (only gzip is unpacked here)"),
    (b"\xfd7zXZ", "data packed by xz; unpack it (only gzip is unpacked here)"),
    (b"BZh", "data packed by bzip2; unpack it (only gzip is unpacked here)"),
)


def read(path: str, *, keep: bool = False, shared: Shared | None = None) -> Reading:
    """The profile in a file, with its stacks where `keep` asks for them and the format has them.

    `shared` is what profiles that are compared with it have in common with it.

    Raises FormatError, OSError.
    """
    import io

    with io.BufferedReader(io.FileIO(path), _HEAD) as file:
        try:
            found = _read(file, keep, shared)
        except RecursionError:
            raise FormatError("its JSON is nested too deep for a profile") from None
        except _Beside as error:
            stacks = stem(path) + ".folded"
            if stacks == path or not os.path.isfile(stacks):
                raise FormatError(str(error)) from None
            return read(stacks, keep=keep, shared=shared)
        except _NothingError as error:
            # No thread was busy: guard's and py-spy's folded stacks of that are an empty file.
            if path.endswith((".folded", ".raw")) or str(facts_beside(path).get("kind", "")).startswith("cpu"):
                raise FormatError(f"the profile is empty: {error}") from None
            raise
    found.origin = path
    facts = facts_beside(path)
    if facts or found.told:
        # Both tell the same of guard's Markdown; where they differ, its own block is surely this profile's.
        apply(found, facts | found.told)
        found.told = {}
        _check_whole(found, facts)
    # However much a sample is said to weigh, there was one.
    found.weight_per_sample = min(found.weight_per_sample, max(1.0, float(found.total)))
    found.seconds_per_weight = found.seconds_per_weight if _positive(found.seconds_per_weight) else None
    found.seconds = found.seconds if _positive(found.seconds) else None
    if found.total <= 0:
        idle = f"; all {found.idle * 1e-6:.1f} s in it are idle" if found.idle else ""
        raise FormatError(
            f"the profile is empty{idle}: no thread was busy while it was recorded, or it ended before its first sample"
        )
    if not any(each.total_weight for each in found.functions.values()):
        raise FormatError("the profile names no function: its stacks hold only threads and processes")
    return found


class _Beside(FormatError):
    """It is evidence of guard's that belongs to a profile, whose stacks stand in the `.folded` beside it."""


class _NothingError(FormatError):
    """There is nothing in the file, which may be all that there was to tell."""


def is_empty(error: FormatError) -> bool:
    """Whether the file was a profile, of nothing."""
    return str(error).startswith("the profile is empty")


def apply(found: Reading, facts: Mapping[str, Any]) -> None:
    """Take over what guard wrote down about a profile: rate, time, whether it is a command's whole life, kind."""
    rate = facts.get("used_rate_hz")
    if found.unit == "samples" and found.seconds_per_weight is None and _positive(rate):
        found.seconds_per_weight = 1 / float(rate)
    for name in ("seconds", "elapsed_s"):
        seconds = facts.get(name)
        if found.seconds is None and _positive(seconds):
            found.seconds = float(seconds)
    if isinstance(facts.get("whole"), bool):
        found.whole = facts["whole"]
    if isinstance(facts.get("library_frames"), bool):
        found.library_frames = facts["library_frames"]
    if isinstance(facts.get("run"), str):
        found.run = facts["run"]
    _make_up_for_missed(found, facts)
    kind = str(facts.get("kind", ""))
    if kind.startswith(("growth", "heap")):
        found.kind = "growth" if kind.startswith("growth") else "memory"
        found.unit = "bytes"
        found.seconds_per_weight = None
    taken = facts.get("samples_taken")
    if found.unit == "samples" and _positive(taken):  # scaled up or thinned since
        found.weight_per_sample = max(1.0, found.total / float(taken))
    samples = facts.get("samples")
    if found.unit == "bytes" and _positive(samples):
        found.weight_per_sample = max(1.0, found.total / float(samples))


def _make_up_for_missed(found: Reading, facts: Mapping[str, Any]) -> None:
    """A sampler that fell behind saw only a part of the time: each sample stands for the more."""
    rate, achieved = facts.get("used_rate_hz"), facts.get("achieved_rate_hz")
    # Only of samples that are told to be missing: V8's rates count idle time, too, and its weights are times.
    if not (_positive(rate) and _positive(achieved) and _positive(facts.get("samples_missed")) and achieved < rate):
        return
    if found.unit == "bytes" or found.seconds_per_weight is None:
        return
    share = achieved / rate
    found.seconds_per_weight /= share
    if share < _NEARLY_ALL:
        found.notes.append(
            f"The sampler fell behind and took {share:.0%} of its samples: times are scaled up by that. Code that was "
            "busy just then may weigh too little."
        )


def _check_whole(found: Reading, facts: Mapping[str, Any]) -> None:
    """Raises FormatError for folded stacks that have lost some of the samples that guard wrote."""
    samples = facts.get("samples")
    if found.format != foldedfile.STACKS or not str(facts.get("kind", "")).startswith("cpu") or not _positive(samples):
        return
    if found.total < samples:
        raise FormatError(
            f"it is cut off: it has {found.total:,} samples, and by the .meta.json beside it {samples:,} were written"
        )
    if found.total > samples:
        found.notes.append(f"The .meta.json beside it tells of {samples:,} samples only: is it another profile's?")


def _positive(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 1e-12 < value < 1e15


def stem(path: str) -> str:
    """A path without the suffix of a profile: what the files of one profile have in common."""
    for suffix in (*SUFFIXES, ".census.json", ".memray", ".meta.json", ".svg", ".json"):
        if path.endswith(suffix):
            return path[: -len(suffix)]
    return path


def facts_beside(path: str) -> dict[str, Any]:
    """What guard wrote down about a profile in the `.meta.json` beside it; empty where there is none."""
    beside = stem(path) + ".meta.json"
    try:
        if beside == path or os.path.getsize(beside) > 1 << 20:
            return {}
        import json

        with open(beside, encoding="utf-8", errors="replace") as file:
            facts = json.load(file)
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _read(file: BufferedReader[Any], keep: bool, shared: Shared | None) -> Reading:
    head = file.peek(_HEAD)[:_HEAD]
    if not head:
        raise _NothingError("the file is empty")
    if head.startswith(b"\x1f\x8b"):
        return _unpacked(file, keep, shared)
    if not head.strip():
        raise _NothingError("the file holds nothing but white space")
    if head.startswith(_MEMRAY):
        raise _Beside(
            "it is a memray capture; `memray flamegraph` reads it, and guard the .folded that it puts beside its own"
        )
    for magic, words in _SEEN:
        if head.startswith(magic):
            raise FormatError(f"it is {words}")
    if b"\0" in head or _is_binary(head):
        return _from_binary(_rest(file), keep)
    return _from_text(file, head, keep, shared)


def _from_text(file: BufferedReader[Any], head: bytes, keep: bool, shared: Shared | None) -> Reading:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _begins_as_json(start) and not _is_stack(start):
        return _from_json(_rest(file), keep)
    text = start.decode("utf-8", "replace")
    if text[:14].lower().startswith(("<?xml", "<svg", "<!doctype", "<html", "<!--")):
        picture = "<svg" in text[:2000]
        raise FormatError(
            "it is an SVG picture, which has no counts; the .folded beside it has them"
            if picture
            else "it is an HTML page; the .folded of the same profile has its counts"
        )
    lines = text.split("\n", 2)
    if text.startswith("#") and not (_ends_in_count(start) and (len(lines) < 3 or lines[1].strip())):
        return _from_markdown(_rest(file), text)
    return _folded(file, head, keep, shared)


def _rest(file: BufferedReader[Any]) -> bytes:
    data = file.read(_MOST_WHOLE + 1)
    if len(data) > _MOST_WHOLE:
        raise FormatError(
            "it is larger than 256 MiB, and only folded stacks are read piece by piece; "
            "convert it to folded stacks, or profile for a shorter time"
        )
    return data


def _begins_as_json(start: bytes) -> bool:
    """Whether an object or a list begins here: behind the bracket there is what JSON lets stand there."""
    behind = {b"{": b'"}', b"[": b'"[{]-0123456789tfn'}.get(start[:1], b"")
    return bool(behind) and start[1:].lstrip()[:1] in [b"", *(bytes((each,)) for each in behind)]


def _is_stack(start: bytes) -> bool:
    """Whether the first line ends as a folded stack does: perf's begin with `[unknown]`."""
    return _ends_in_count(start) and b'"' not in start.partition(b"\n")[0]


def _ends_in_count(start: bytes) -> bool:
    return start.partition(b"\n")[0].rstrip().rpartition(b" ")[2].isdigit()


def _is_binary(head: bytes) -> bool:
    start = head[:4096]
    return len(start) - len(start.translate(None, _ODD)) > len(start) // 50


def _unpacked(file: BufferedReader[Any], keep: bool, shared: Shared | None) -> Reading:
    import gzip
    import io
    import zlib

    try:
        with io.BufferedReader(gzip.GzipFile(fileobj=file, mode="rb"), _HEAD) as inner:
            start = inner.peek(_HEAD)
            if not start:
                raise _NothingError("the packed file is empty")
            if b"\0" in start or _is_binary(start):
                return _from_binary(_rest(inner), keep)
            return _from_text(inner, start, keep, shared)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FormatError(f"the packed data is cut off or damaged ({error})") from None


def _folded(file: BufferedReader[Any], head: bytes, keep: bool, shared: Shared | None) -> Reading:
    try:
        return foldedfile.read(file, head, keep=keep, shared=shared)
    except FormatError as error:
        raise FormatError(f"as folded stacks {error}") from None


def _from_binary(data: bytes, keep: bool) -> Reading:
    try:
        return pprof.read(data, keep=keep)
    except FormatError as error:
        marshalled = data[:1] in (b"{", b"\xfb")
        other = "; it looks like cProfile's statistics, which have no samples" if marshalled else ""
        raise FormatError(f"it is binary, and as pprof {error}{other}") from None


def _from_json(data: bytes, keep: bool) -> Reading:
    import json

    try:
        document = json.loads(data.decode("utf-8-sig", "replace"))
    except ValueError as error:
        ended = getattr(error, "pos", 0) >= len(data) - 8 or str(error).startswith("Unterminated")
        said = f"it is JSON that is cut off after {len(data):,} bytes" if ended else "it begins as JSON and is none"
        raise FormatError(f"{said} ({error})") from None
    try:
        if isinstance(document, dict):
            if "speedscope" in str(document.get("$schema")) or {"profiles", "shared"} <= set(document):
                return speedscope.read(document, keep=keep)
            if isinstance(document.get("nodes"), list) and not isinstance(document.get("snapshot"), dict):
                return cpuprofile.read(document, keep=keep)
            if heapprofile.is_one(document):
                return heapprofile.read(document, keep=keep)
    except (TypeError, KeyError, AttributeError, OverflowError) as error:
        # Each list and object in it may be anything; what isn't checked by itself ends here.
        raise FormatError(f"its JSON is damaged: a part is not what the format has there ({error})") from None
    kind = _Beside if isinstance(document, dict) and "schema_version" in document else FormatError
    raise kind(f"it is JSON, but {_json_seen(document)}")


def _json_seen(document: object) -> str:
    if isinstance(document, list) or (isinstance(document, dict) and "traceEvents" in document):
        return "a trace of events (Chrome's format), not a profile of stacks; py-spy record -f speedscope writes one"
    if not isinstance(document, dict):
        return f"a {type(document).__name__}"
    if "snapshot" in document:
        return "a heap snapshot, which has objects and no time"
    if "head" in document:
        return "a heap profile of V8 that has lost its tree of calls"
    if "schema_version" in document:
        return "a record of guard's own and no profile; the .folded beside it is one"
    keys = ", ".join(shorten(visible(str(key)), 40) for key in list(document)[:6])
    return f"an object with the keys {keys or '(none)'}, which is no profile known here"


def _from_markdown(data: bytes, start: str) -> Reading:
    from supervisor.analysis.block import read_block

    text = data.decode("utf-8", "replace")
    if _BLOCK not in text:
        if bunmarkdown.is_one(start):
            return bunmarkdown.read(text)
        if bunheap.is_one(start):
            return bunheap.read(text)
        title = shorten(visible(text.partition("\n")[0]), 80)
        raise FormatError(f"it is Markdown (`{title}`) without guard's block at its end: cut off, or no profile")
    try:
        block = read_block(text)
    except ValueError as error:
        raise FormatError(f"it is Markdown, but {error}") from None
    functions = {
        (row["function"], row["file"]): FunctionTotal(
            row["function"], row["file"], row["line"], row["self"], row["total"]
        )
        for row in block["functions"]
        if not is_marker(row["function"])
    }
    found = Reading("guard's Markdown", functions, block["total"])
    found.own = _own(block["functions"])
    found.kind = "growth" if block["unit"] == "bytes" else "cpu"
    found.unit = "bytes" if block["unit"] == "bytes" else "samples"
    seconds = block["seconds_per_sample"]
    found.seconds_per_weight = float(seconds) if _positive(seconds) else None
    found.told = {**block["data"], "kind": block["kind"]}
    left_out = block.get("functions_left_out")
    if isinstance(left_out, int) and left_out > 0:
        found.notes.append(f"{left_out:,} light functions are not in the Markdown")
    return found


def _own(rows: list[dict[str, Any]]) -> dict[Key, FunctionTotal] | None:
    """What functions weigh without library frames; None where the block is older than that.

    What is left of a library are leaves of stacks without own code, which are all of their stack.
    """
    found: dict[Key, FunctionTotal] = {}
    for row in rows:
        weight = row.get("folded_self")
        if weight is None:
            return None
        total = weight if is_library(row["file"]) else row["total"]
        if total and not is_marker(row["function"]):
            key = row["function"], row["file"]
            found[key] = FunctionTotal(*key, row["line"], weight, total)
    return found
