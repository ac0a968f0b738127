"""What `guard profile` prints of a profile: its outcome as a document and as text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from supervisor import output
from supervisor.analysis.text import counted, visible
from supervisor.log import Stream
from supervisor.quantities import human_bytes, human_duration

if TYPE_CHECKING:
    from supervisor.profiling import Outcome


def show(outcome: Outcome, stdout: int, as_json: bool) -> None:
    """The demo's Markdown, or its document, on what stdout was."""
    found = next((path for path in outcome.files if path.endswith(".md")), None)
    if as_json:
        _write(stdout, json.dumps(document(outcome), indent=1) + "\n")
    elif found is not None:
        with open(found, encoding="utf-8") as file:
            _write(stdout, file.read())


def tell(outcome: Outcome, fd: int, as_json: bool, quiet: bool) -> None:
    """What came out, on `fd`; `quiet` only spares stderr the text."""
    if as_json:
        _write(fd, json.dumps(document(outcome)) + "\n")
    elif not quiet or fd == 1:
        _write(fd, text(outcome))


def tell_failures(outcome: Outcome) -> None:
    """What failed, explained on stderr."""
    for error in outcome.failures:
        _write(2, "\n".join(error.lines()) + "\n")


def document(outcome: Outcome) -> dict[str, Any]:
    """As --json prints it. `profiles` is by kind, without paths: `files` has them."""
    return {
        "schema_version": 1,
        "run": outcome.run,
        "pid": outcome.pid,
        "command": outcome.command,
        "directory": outcome.directory,
        "files": outcome.files,
        "moved": outcome.moved or None,
        "output": outcome.output,
        "profiles": {
            kind: {key: value for key, value in result.items() if key != "paths"}
            for kind, result in outcome.results.items()
        },
        "absent": outcome.absent,
    }


def text(outcome: Outcome) -> str:
    """What came out, for people: a few lines."""
    lines = []
    for kind, result in outcome.results.items():
        if result.get("outcome") != "ok":
            continue
        samples = result.get("samples", 0)
        if kind == "heap-profile":
            lines.append(_heap(outcome.pid, result))
        else:
            lines.append(
                f"guard: {kind} of {outcome.pid}: {counted(samples, 'sample', 'samples')} at "
                f"{result.get('used_rate_hz', 0):.4g} Hz over {human_duration(result.get('seconds', 0.0))}"
            )
        lines += [
            f"  {each['share'] * 100:5.1f} %  {visible(each['function'])}"
            + (f"  {visible(each['file'])}:{each['line'] or ''}".rstrip(":") if each["file"] else "")
            for each in result.get("top", ())
        ]
        asked, used = result.get("asked_rate_hz", 0), result.get("used_rate_hz", 0)
        if kind == "cpu-profile" and not samples:
            lines.append("  it waited: nothing was busy when it was looked at")
        elif used < asked:
            lines.append(f"  {asked} Hz were asked; {result['rate_reason'].rpartition('; then ')[2]}")
    lines += [f"guard: {kind}: {why}" for kind, why in outcome.absent.items()]
    summaries = [path for path in outcome.files if path.endswith(".md")]
    if outcome.moved:
        lines.append(f"guard: evidence is not where it was wanted: {visible(outcome.moved)}")
    if outcome.output:
        lines.append(f"guard: written to {visible(outcome.output)}")
    lines += [f"guard: read {visible(summary)}" for summary in summaries]
    return "".join(line + "\n" for line in lines)


def _heap(pid: int, result: dict[str, Any]) -> str:
    line = f"guard: heap-profile of {pid} ({result.get('engine', '')}): "
    grew = result.get("grew")
    if "peak_bytes" in result:
        return line + f"{human_bytes(result['peak_bytes'])} held at the peak"
    if result.get("engine") in ("inspector", "node", "bun"):
        skipped = result.get("snapshot_skipped")
        return line + f"{human_bytes(result['bytes'])} held" + (f"; no heap snapshot: {skipped}" if skipped else "")
    if not grew:
        return line + f"{result.get('samples', 0):,} objects looked at; no type grew beyond chance"
    holder = f", held by {visible(grew['holder'])}" if grew["holder"] else ""
    return line + f"{visible(grew['type'])} grew most, by {human_bytes(grew['bytes'])}{holder}"


def _write(fd: int, text: str) -> None:
    """As far as anybody reads it: it changes no exit code and waits for nobody that doesn't read stderr."""
    data = text.encode("utf-8", "backslashreplace")
    if fd == 2:
        Stream(2).write(data)
        return
    try:
        output.write_all(fd, data)
    except OSError:
        pass
