"""A plain `guard run` line, parsed without typer.

It knows exact long options of the table and hands back None for all it isn't sure of (help, an unknown option, a
missing or bad value): typer then parses the same line and explains what is wrong. A property test holds both equal.
"""

from __future__ import annotations

from supervisor.quantities import BadValue
from supervisor.settings import BY_NAME, SETTINGS, Setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Line:
    """What a `guard run` line says: option texts by setting name, and the command."""

    __slots__ = ("command", "given")

    def __init__(self, given: dict[str, list[str]], command: list[str]) -> None:
        self.given = given
        self.command = command


def switches(setting: Setting) -> dict[str, str]:
    """A switch's long options and what each sets. One that is on by default, or by preset, can be taken back."""
    options = {f"--{setting.name}": "1"}
    if setting.default is not False:
        options[f"--no-{setting.name}"] = "0"
    return options


SWITCHES: dict[str, tuple[str, str]] = {
    option: (setting.name, value)
    for setting in SETTINGS
    if setting.kind == "switch"
    for option, value in switches(setting).items()
}


def parse(arguments: Sequence[str]) -> Line | None:
    """The line behind `guard run`, or None when typer should look at it."""
    given: dict[str, list[str]] = {}
    position = 0
    while position < len(arguments):
        word = arguments[position]
        if word == "--":
            position += 1
            break
        if not word.startswith("-"):
            break
        if word in SWITCHES:
            name, value = SWITCHES[word]
            given[name] = [value]
            position += 1
            continue
        option, equals, value = word.partition("=")
        setting = BY_NAME.get(option[2:]) if option.startswith("--") else None
        if setting is None or setting.kind == "switch":
            return None
        position += 1
        if not equals:
            if position >= len(arguments) or arguments[position].startswith("-"):
                return None
            value = arguments[position]
            position += 1
        try:
            setting.parse(value)
        except BadValue:
            return None
        given.setdefault(setting.name, []).append(value)
    command = list(arguments[position:])
    if not command or "|" in command:
        return None
    return Line({name: texts if BY_NAME[name].repeat else texts[-1:] for name, texts in given.items()}, command)
