"""Who held the memory: processes by growth, functions by growth and heap profile; and what they were doing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from supervisor import evidence
from supervisor.actions.cpu import HEAP_AGENT
from supervisor.analysis import block, folded
from supervisor.evidence import Event, Grown, Item, Record, Suspect
from supervisor.evidence.fields import decoded, mapping, sequence, text, whole

_MOST_FUNCTIONS = 10
_MOST_PROFILE_BYTES = 8 << 20
_MOST_FRAMES = 30
_MOST_READ = 100
_KERNEL, _SYSCALL = "[kernel]", "[syscall]"  # the file of frames that `profilers.kernel` wrote
_ENDING = ("do_exit", "do_group_exit", "mmput", "exit_mmap")  # a process that ends, and gives its memory back
_MOST_MAPPINGS = 10_000


def suspect(record: Record, events: Sequence[Event]) -> tuple[Suspect | None, bool]:
    """Who held the memory, and whether that rests on enough.

    The end record's suspect where it has a function, a mapping or a type; else what growth attributed, as the events
    tell, on enough, or a process whose heap profile names a type; else what growth attributed on little; else the
    process that was guilty when a state was entered.
    """
    grew: dict[int, Grown] = {}
    names: dict[int, str] = {}
    guilty = record.suspect
    attributed: dict[bool, Suspect] = {}
    if record.suspect is not None and record.suspect.named:
        return record.suspect, record.suspect.enough
    for event in events:
        fields = event.fields
        if event.name == "state.changed" and (pid := whole(fields.get("guilty_pid"))) is not None:
            names[pid] = text(fields.get("guilty_name")) or "?"
            guilty = Suspect(pid, names[pid], size_bytes=whole(fields.get("guilty_rss_bytes")))
        pid = whole(fields.get("pid"))
        if event.name == "action.finished" and pid is not None and (found_type := evidence.grown(fields.get("grew"))):
            grew[pid] = found_type
        if event.name == "action.finished" and fields.get("action") == "growth":
            found = evidence.suspect({"pid": fields.get("pid"), **mapping(fields.get("suspect"))})
            enough = fields.get("enough") is True
            known = attributed.get(enough)
            if found is None or not found.named or (known and (known.size_bytes or 0) > (found.size_bytes or 0)):
                continue
            attributed[enough] = replace(found, name=names.get(found.pid, "?"))
    if True in attributed:
        return replace(attributed[True], grew=grew.get(attributed[True].pid)), True
    if grew:
        pid = guilty.pid if guilty is not None and guilty.pid in grew else next(reversed(grew))
        return Suspect(pid, names.get(pid, guilty.name if guilty and guilty.pid == pid else "?"), grew=grew[pid]), True
    return attributed.get(False, guilty), False


def functions(item: Item) -> list[dict[str, Any]]:
    """The heaviest functions of a profile by self, with their shares of the whole; empty when none can be read.

    From the Markdown's block for programs, else from the folded stacks: guard may have been killed between the two.
    """
    total, rows = _from_block(item)
    if not rows:
        total, rows = _from_folded(item)
    heaviest = sorted((row for row in rows if row[3] > 0), key=lambda row: -row[3])[:_MOST_FUNCTIONS]
    return [
        {"function": function, "file": file, "line": line, "self": weight, "share": round(weight / total, 4)}
        for function, file, line, weight in heaviest
        if total > 0
    ]


Rows = list[tuple[str, str | None, int | None, int]]


def _from_block(item: Item) -> tuple[int, Rows]:
    data = evidence.read_file(item.files[".md"], _MOST_PROFILE_BYTES) if ".md" in item.files else None
    try:
        found = block.read_block((data or b"").decode("utf-8", "replace"))
    except ValueError:
        return 0, []
    rows = [
        (text(each["function"]) or "?", text(each["file"]), whole(each["line"]), whole(each["self"]) or 0)
        for each in found["functions"]
    ]
    return whole(found["total"]) or 0, rows


def _from_folded(item: Item) -> tuple[int, Rows]:
    data = evidence.read_file(item.files[".folded"], _MOST_PROFILE_BYTES) if ".folded" in item.files else None
    try:
        counts = folded.parse((data or b"").decode("utf-8", "replace").splitlines())
    except folded.FoldedError:
        return 0, []
    rows = [(each.function, each.file, each.line, each.self_weight) for each in folded.by_function(counts)]
    return sum(row[3] for row in rows), rows


def newest(items: Sequence[Item], kind: str) -> Item | None:
    """The last piece of evidence of a kind (`growth`, `heap-profile`, `cpu-profile`, `stacks`).

    A profile in which waiting counts says nothing of who was busy.
    """
    return next((item for item in reversed(items) if item.kind == kind and not item.meta.get("idle")), None)


def stack(items: Sequence[Item], pid: int | None) -> dict[str, Any] | None:
    """What ran when stacks were last taken (of this process, where given): the thread that held the GIL, else one that
    was active. Frames innermost first.

    A stack with frames of the program comes before one that the kernel alone knows of (of a thread that waits, of a
    process that ends); among such those of a process frozen just below its limit come first. `frames` has the kernel's
    only where there are no others; `waits_in` is the system call the thread was in, else the kernel's innermost
    function; `engine` is who read it, `refused` why nobody better did.
    """
    found = []
    for item in items:
        if ".stacks.json" in item.files:
            taken = mapping(decoded(evidence.read_file(item.files[".stacks.json"], _MOST_PROFILE_BYTES) or b""))
            if pid is None or whole(taken.get("pid")) in (pid, None):
                found.append((taken.get("frozen") is True, item, taken))
    found.reverse()
    found.sort(key=lambda each: not each[0])
    best: dict[str, Any] | None = None
    for frozen, item, taken in found:
        thread = next((thread for thread in threads_of(taken) if _frames(thread)), None)
        if thread is None or (best is not None and not _of_program(thread)):
            continue
        frames, own = _frames(thread), _of_program(thread)
        kernel = [each for each in frames if each not in own]
        calls = [each for each in kernel if each["file"] == _SYSCALL]
        known = {
            "pid": whole(taken.get("pid")),
            "thread": text(thread.get("thread_name")),
            "active": thread.get("active") is True,
            "frozen": frozen,
            "state": text(taken.get("state")),
            "engine": text(taken.get("engine")),
            "refused": text(item.meta.get("last_error")) or None,
            "ending": any(each["function"] in _ENDING for each in kernel),
            "waits_in": next((each["function"] for each in [*calls, *kernel]), None),
            "path": item.files[".stacks.json"],
            "frames": (own or frames)[:_MOST_FRAMES],
            "mappings": _mappings(taken),
        }
        if best is not None and not known["mappings"]:
            known["mappings"] = best["mappings"]
        best = known
        if own:
            break
    return best


def _frames(thread: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A thread's frames; none of guard's own thread in the target."""
    frames = [frame(mapping(each)) for each in sequence(thread.get("frames"))[:_MOST_READ]]
    return [] if any((each["file"] or "").endswith(HEAP_AGENT) for each in frames) else frames


def _of_program(thread: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The frames that are not the kernel's."""
    return [each for each in _frames(thread) if each["file"] not in (_KERNEL, _SYSCALL)]


def _mappings(taken: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What kinds of memory the process held, largest first."""
    sizes: dict[str, int] = {}
    for each in sequence(taken.get("mappings"))[:_MOST_MAPPINGS]:
        found = mapping(each)
        kind = text(found.get("kind")) or "?"
        sizes[kind] = sizes.get(kind, 0) + max(0, whole(found.get("rss_bytes")) or 0)
    return [{"kind": kind, "rss_bytes": size} for kind, size in sorted(sizes.items(), key=lambda pair: -pair[1])]


def threads_of(taken: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The threads of stacks: the one that held the GIL first, then those with frames of the program, then those that
    were active."""

    def rank(thread: Mapping[str, Any]) -> tuple[bool, bool, bool]:
        return thread.get("owns_gil") is not True, not _of_program(thread), thread.get("active") is not True

    return sorted((mapping(thread) for thread in sequence(taken.get("threads"))), key=rank)


def frame(found: Mapping[str, Any]) -> dict[str, Any]:
    """A frame of stacks; `file` and `line` None where they are not known."""
    return {
        "function": text(found.get("name")) or "?",
        "file": text(found.get("short_filename")) or text(found.get("filename")),
        "line": whole(found.get("line")),
    }


def command_of(items: Sequence[Item], pid: int) -> list[str] | None:
    """A process's command line, from the last snapshot that has it."""
    for item in reversed(items):
        if ".snapshot.json" not in item.files:
            continue
        found = mapping(decoded(evidence.read_file(item.files[".snapshot.json"], _MOST_PROFILE_BYTES) or b""))
        for each in sequence(found.get("processes")):
            process = mapping(each)
            if whole(process.get("pid")) == pid:
                return [word for part in sequence(process.get("command")) if (word := text(part)) is not None]
    return None
