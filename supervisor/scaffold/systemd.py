"""guard-NAME.service: a unit for this machine, as systemd.service(5) and systemd.exec(5) have it."""

from __future__ import annotations

import os
import shutil

from supervisor.scaffold.wish import GRACE_S, STOP_TIMEOUT_S, Wish, sized


def unit(wish: Wish) -> str:
    """The unit. Its programs and its directory are named absolutely, as they are found here."""
    program, *arguments = wish.command
    found = program if "/" in program else shutil.which(program)
    command = (os.path.join(wish.directory, found) if found else program, *arguments)
    line = (wish.guard, "run", "--stop-timeout", f"{STOP_TIMEOUT_S}s", "--", *command)
    return f"""\
# sudo cp guard-{wish.name}.service /etc/systemd/system/ && sudo systemctl enable --now guard-{wish.name}
[Unit]
Description={wish.name}, run by guard
After=network-online.target
Wants=network-online.target

[Service]
Type=exec
WorkingDirectory={_specifiers(wish.directory)}
ExecStart={" ".join(quoted(word) for word in line)}
Restart=on-failure

# A user of its own that may write only to its state directory. Or name one with User= and take this and /private away:
# of a dynamic user's, %S/guard-{wish.name} is a link, and guard follows none.
DynamicUser=yes
StateDirectory=guard-{wish.name}
StateDirectoryMode=0700
Environment=GUARD_ENV=production GUARD_PROFILES_DIR=%S/private/guard-{wish.name}

# guard takes this limit for its thresholds; what it should be: guard runs --limits
MemoryAccounting=yes
MemoryMax={sized(wish.memory_bytes, "M")}
# With stop, an OOM kill of one process would end guard before it has told of it.
OOMPolicy=continue

# TERM to guard, which forwards it; KILL to all that is left.
KillMode=mixed
TimeoutStopSec={GRACE_S}

[Install]
WantedBy=multi-user.target
"""


def _specifiers(text: str) -> str:
    return text.replace("%", "%%")


def quoted(word: str) -> str:
    """A word of a command line: quoted where need be, with no variable and no specifier in it."""
    word = _specifiers(word).replace("$", "$$")
    plain = word and all(letter.isalnum() or letter in "/._-+=:,@%$" for letter in word) and word.isascii()
    if plain:
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
