"""Which files a wish makes, and what a call of `guard init` does with them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from supervisor import envfile
from supervisor.scaffold import containers, oomd, pipelines, placing, settings_file, systemd
from supervisor.scaffold.placing import Planned
from supervisor.scaffold.wish import DOCKERFILE, SETTINGS_FILE, Wish, directory_of

# option -> (path, text)
KINDS: Mapping[str, tuple[Callable[[Wish], str], Callable[[Wish], str]]] = {
    "dockerfile": (lambda wish: DOCKERFILE, containers.dockerfile),
    "compose": (lambda wish: "compose.guard.yaml", containers.compose),
    "kubernetes": (lambda wish: "guard-deployment.yaml", containers.kubernetes),
    "github-actions": (lambda wish: ".github/workflows/guard.yml", pipelines.github),
    "gitlab": (lambda wish: ".gitlab-ci.guard.yml", pipelines.gitlab),
    "systemd": (lambda wish: f"guard-{wish.name}.service", systemd.unit),
    "oomd-socket": (lambda wish: "guard-oomd.socket", oomd.socket),
    "oomd-service": (lambda wish: "guard-oomd.service", oomd.service),
    "oomd-conf": (lambda wish: "guard-oomd.conf", oomd.configuration),
}
OOMD = ("oomd-socket", "oomd-service", "oomd-conf")  # one without the others is of no use


@dataclass(frozen=True)
class Outcome:
    """What became of each file (`written`, `replaced`, `same`, `kept`, `would-write`, `differs`), and which differ."""

    directory: str
    done: tuple[tuple[Planned, str], ...]
    refused: bool  # something differs, so nothing was written

    def document(self) -> dict[str, Any]:
        """For programs."""
        found = [{"path": each.path, "status": status} for each, status in self.done]
        return {"directory": self.directory, "refused": self.refused, "files": found}


def plan(directory_fd: int, wish: Wish, kinds: Sequence[str]) -> list[Planned]:
    """The files: the settings, then those that are asked for. Raises UsageError."""
    if "systemd" in kinds or "oomd-service" in kinds:
        directory_of(wish.directory)
    found, _ = placing.present(directory_fd, SETTINGS_FILE)
    chosen = envfile.parse(found, SETTINGS_FILE) if found is not None else {}
    planned = [placing.plan(directory_fd, SETTINGS_FILE, settings_file.render(chosen))]
    for kind in kinds:
        path, text = KINDS[kind]
        planned.append(placing.plan(directory_fd, path(wish), text(wish)))
    return planned


def carry_out(directory_fd: int, wish: Wish, kinds: Sequence[str], *, force: bool, dry_run: bool) -> Outcome:
    """Write what is new, and with `force` what differs; nothing at all when something differs without it.

    A settings file that is there is only touched when nothing else is asked for. Raises UsageError.
    """
    planned = plan(directory_fd, wish, kinds)
    kept = [each for each in planned[:1] if kinds and each.status == "differs"]
    differs = [each for each in planned if each.status == "differs" and each not in kept]
    refused = bool(differs) and not force
    done = []
    for each in planned:
        if each in kept or each.status == "same":
            status = "kept" if each in kept else "same"
        elif dry_run or refused:
            status = "differs" if each.status == "differs" else "would-write"
        else:
            status = "replaced" if each.status == "differs" else "written"
        done.append((each, status))
    placing.put(directory_fd, [each for each, status in done if status in ("written", "replaced")])
    return Outcome(wish.directory, tuple(done), refused)


def printed(directory_fd: int, wish: Wish, kinds: Sequence[str]) -> str:
    """The texts of the files that are asked for; the settings when no other is."""
    planned = plan(directory_fd, wish, kinds)
    wanted = planned[1:] if kinds else planned
    if len(wanted) == 1:
        return wanted[0].text
    return "\n".join(f"# ===== {each.path} =====\n{each.text}" for each in wanted)


def text(outcome: Outcome, *, diffs: bool, colour: bool, terminal: bool) -> str:
    """The outcome for people; `diffs` of what differs, and of what would be new."""
    lines = []
    words = {
        "written": "written",
        "replaced": "replaced",
        "same": "is up to date",
        "kept": "kept as it is (guard init without other options shows what is new in it)",
        "would-write": "new",
        "differs": "differs",
    }
    for each, status in outcome.done:
        if status == "differs" or (diffs and status == "would-write"):
            lines.append(placing.diff(each, colour=colour, terminal=terminal))
    for each, status in outcome.done:
        lines.append(f"{each.path}: {words[status]}")
    if outcome.refused:
        lines.append("nothing was written; --force writes, and replaces what differs as shown above")
    return "\n".join(lines)


def guard_command(argument: str) -> str:
    """The absolute path of the guard that runs, as a unit starts it: of a checkout its scripts/guard."""
    found = os.path.abspath(argument)
    beside = os.path.join(os.path.dirname(os.path.dirname(found)), "scripts", "guard")
    return beside if os.path.basename(os.path.dirname(found)) == "bin" and os.path.isfile(beside) else found


def has(directory_fd: int, name: str) -> bool:
    """Whether the directory has a file of this name."""
    try:
        os.stat(name, dir_fd=directory_fd)
    except OSError:
        return False
    return True
