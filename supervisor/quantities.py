"""Sizes, durations, percentages, signals: text to value, and back for people.

Imported before the target starts, so it uses no `re`. Every parser takes the text as the user wrote it and raises
`BadValue`, whose message says what is accepted.
"""

from __future__ import annotations

import _signal
import time

# SI prefixes are powers of 1000 and IEC ones powers of 1024, as in IEC 80000-13; Kubernetes writes `Mi` for `MiB`.
_SIZE_UNITS = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "ki": 1 << 10,
    "mi": 1 << 20,
    "gi": 1 << 30,
    "ti": 1 << 40,
}
_DURATION_UNITS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
MEGABYTE = 10**6
MEBIBYTE = 1 << 20
_LARGEST = float(1 << 62)


class BadValue(ValueError):
    """A value that isn't accepted; the message says what is."""


class Threshold:
    """A memory threshold: a number of bytes, or a share of the limit (0 to 1)."""

    __slots__ = ("share", "size_bytes")

    def __init__(self, size_bytes: int | None, share: float | None) -> None:
        self.size_bytes = size_bytes
        self.share = share

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Threshold) and (self.size_bytes, self.share) == (other.size_bytes, other.share)

    def __hash__(self) -> int:
        return hash((self.size_bytes, self.share))

    def __repr__(self) -> str:
        return f"Threshold({self.size_bytes}, {self.share})"

    def __str__(self) -> str:
        return human_percent(self.share) if self.share is not None else human_bytes(self.size_bytes or 0)

    def resolve(self, limit_bytes: int) -> int:
        """The threshold in bytes under this limit."""
        return self.size_bytes if self.size_bytes is not None else int((self.share or 0.0) * limit_bytes)


def number_and_unit(text: str) -> tuple[float, str] | None:
    """A plain decimal number and what follows it, or None. No sign, exponent, underscore, `nan` or `inf`."""
    text = text.strip()
    end = 0
    while end < len(text) and (text[end] in "0123456789." and text[end].isascii()):
        end += 1
    digits, unit = text[:end], text[end:].strip()
    if not digits or digits.count(".") > 1 or digits == "." or len(digits) > 30:
        return None
    return float(digits), unit


def parse_size(text: str, bare: int = 1) -> int:
    """Bytes from `512MB`, `1.5GiB`, `64Mi`; a bare number counts in units of `bare` bytes. Always above 0."""
    accepted = "a size above 0 such as 512 (MB), 512MB or 1.5GiB" if bare == MEGABYTE else "a size such as 64MB or 1GiB"
    found = number_and_unit(text)
    if found is None:
        raise BadValue(accepted)
    number, unit = found
    if unit:
        key = unit.lower()
        key = key[:-1] if key.endswith("b") else key
        if key not in _SIZE_UNITS:
            raise BadValue(accepted)
        number *= _SIZE_UNITS[key]
    else:
        number *= bare
    if not 1 <= number < _LARGEST:
        raise BadValue(accepted)
    return int(number)


def parse_threshold(text: str) -> Threshold:
    """A threshold from `512` (MB), `512MB`, `1.5GiB` or `80%` (of the limit)."""
    accepted = "a size such as 512 (MB), 512MB or 1.5GiB, or a share of the limit such as 80%"
    if text.strip().endswith("%"):
        return Threshold(None, _share(text, accepted, 100.0))
    try:
        return Threshold(parse_size(text, MEGABYTE), None)
    except BadValue:
        raise BadValue(accepted) from None


def parse_share(text: str) -> float:
    """A share (0 to 1) from `5%`; `none` is no bound at all and gives 1."""
    accepted = "a percentage such as 5%, or none"
    if text.strip().lower() == "none":
        return 1.0
    if not text.strip().endswith("%"):
        raise BadValue(accepted)
    return _share(text, accepted, 100.0)


def _share(text: str, accepted: str, most: float) -> float:
    found = number_and_unit(text)
    if found is None or found[1] != "%" or not 0 < found[0] <= most:
        raise BadValue(accepted)
    return found[0] / 100.0


def parse_duration(text: str, bare: float, *, zero: bool = False) -> float:
    """Seconds from `500ms`, `5s`, `2m`, `1h`; a bare number counts in units of `bare` seconds. At most 366 days."""
    unit_name = {1e-3: "ms", 1e-6: "µs"}.get(bare, "s")
    least = "of 0 or more" if zero else "above 0"
    accepted = f"a time {least} such as 5s, 500ms or a bare number of {unit_name}"
    found = number_and_unit(text)
    if found is None:
        raise BadValue(accepted)
    number, unit = found
    if unit and unit.lower() not in _DURATION_UNITS:
        raise BadValue(accepted)
    seconds = number * (_DURATION_UNITS[unit.lower()] if unit else bare)
    if seconds > 366 * 86400 or seconds < 0 or (seconds == 0 and not zero):
        raise BadValue(accepted)
    return seconds


AUTO = "auto"  # the environment's preset tells


def parse_cpu_share(text: str) -> float | str:
    """A share (0 to 1) of the processor time from `90%`, or `auto`."""
    return AUTO if text.strip().lower() == AUTO else _share(text, "a percentage such as 90%, or auto", 100.0)


def parse_response_time(text: str) -> float | str:
    """Seconds from `200ms`; a bare number counts in ms; or `auto`."""
    if text.strip().lower() == AUTO:
        return AUTO
    try:
        return parse_duration(text, 1e-3)
    except BadValue:
        raise BadValue("a time above 0 such as 200ms, 1s or a bare number of ms, or auto") from None


def parse_count_or_share(text: str) -> int | float:
    """A count (int) from `800`, or a share (float, 0 to 1) from `80%`."""
    accepted = "a whole number above 0 such as 800, or a percentage of the process's own limit such as 80%"
    if text.strip().endswith("%"):
        return _share(text, accepted, 100.0)
    try:
        return parse_count(text)
    except BadValue:
        raise BadValue(accepted) from None


class Pressure:
    """A threshold of pressure: `what` (memory, cpu, io), `whom` (some, full), `share` of the time (0 to 1)."""

    __slots__ = ("share", "what", "whom")

    def __init__(self, what: str, whom: str, share: float) -> None:
        self.what = what
        self.whom = whom
        self.share = share

    def __str__(self) -> str:
        return f"{self.what}:{self.whom}:{self.share * 100:.6g}%"


def parse_pressure(text: str) -> Pressure:
    """`memory:some:10%`: whose waiting counts and what share of the time it may take."""
    accepted = "WHAT:WHOM:PERCENT such as memory:some:10%, with memory, cpu or io and some or full"
    what, _, rest = text.strip().partition(":")
    whom, _, share = rest.partition(":")
    if what not in ("memory", "cpu", "io") or whom not in ("some", "full"):
        raise BadValue(accepted)
    return Pressure(what, whom, _share(share, accepted, 100.0))


def parse_count(text: str) -> int:
    """A whole number above 0."""
    text = text.strip()
    if not (text.isascii() and text.isdigit()) or len(text) > 12 or int(text) == 0:
        raise BadValue("a whole number above 0")
    return int(text)


def parse_switch(text: str) -> bool:
    """A switch's value in a variable: 1/0/true/false (also yes/no/on/off)."""
    value = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    found = value.get(text.strip().lower())
    if found is None:
        raise BadValue("1, 0, true or false")
    return found


def parse_command(text: str) -> tuple[str, ...]:
    """The words of a command line, quoted as for a shell; none runs it, so what only a shell understands is refused."""
    import shlex

    try:
        words = tuple(shlex.split(text))
    except ValueError:  # a quote that isn't closed
        words = ()
    if not words or not words[0] or "\0" in text:
        raise BadValue("a command line such as './drop-caches --all', quoted as for a shell")
    if set(words) & {"|", "||", "&&", "&", ";", ">", ">>", "<"}:
        raise BadValue("a command that runs without a shell; sh -c '...' is one that has a shell")
    return words


def parse_state_signal(text: str) -> tuple[str, int]:
    """`critical:USR1`: the state, and the signal's number."""
    state, colon, name = text.partition(":")
    if colon and state.strip() in ("warning", "critical", "profiling"):
        try:
            return state.strip(), parse_signal(name)
        except BadValue:
            pass
    raise BadValue("STATE:SIGNAL such as critical:USR1, with warning, critical or profiling")


def parse_mode(text: str) -> int:
    """File permission bits from `0640`; only read and write bits, and the owner must keep both."""
    text = text.strip()
    if text and text.isascii() and text.isdigit() and set(text) <= set("01234567") and len(text) <= 4:
        mode = int(text, 8)
        if mode & 0o600 == 0o600 and mode & ~0o666 == 0:
            return mode
    raise BadValue("an octal file mode such as 0600 or 0640, without execute bits")


def signal_names() -> dict[str, int]:
    """Signal numbers by name without `SIG`, as this system has them."""
    names = {
        name[3:]: int(getattr(_signal, name)) for name in dir(_signal) if name.startswith("SIG") and name[3] != "_"
    }
    return {name: number for name, number in names.items() if 0 < number < _signal.NSIG}


def signal_name(number: int) -> str:
    """`SIGTERM` for 15; `SIGRTMIN+3` style for real-time signals."""
    names = signal_names()
    rtmin, rtmax = names.get("RTMIN", 34), names.get("RTMAX", 64)
    if rtmin < number < rtmax:
        return f"SIGRTMIN+{number - rtmin}"
    best = [name for name, value in names.items() if value == number and name not in ("CLD", "IOT", "POLL")]
    return f"SIG{best[0]}" if best else f"signal {number}"


def parse_signal(text: str) -> int:
    """A signal number from `15`, `TERM`, `SIGTERM` or `RTMIN+3`."""
    word = text.strip().upper()
    word = word[3:] if word.startswith("SIG") else word
    if word.isascii() and word.isdigit():
        number = int(word) if len(word) < 4 else 0
    else:
        base, plus, offset = word.partition("+")
        number = signal_names().get(base, 0)
        if plus:
            number = number + int(offset) if base == "RTMIN" and offset.isascii() and offset.isdigit() else 0
    if number not in _signal.valid_signals():
        raise BadValue("a signal such as TERM, SIGTERM, 15 or RTMIN+3")
    return number


def parse_signal_map(text: str) -> tuple[int, int]:
    """`15:3` (send 3 when 15 comes) or `15:0` (drop 15)."""
    left, colon, right = text.partition(":")
    try:
        if colon:
            return parse_signal(left), 0 if right.strip() == "0" else parse_signal(right)
    except BadValue:
        pass
    raise BadValue("FROM:TO in signals such as 15:3 or TERM:QUIT; TO 0 drops it")


def parse_exit_map(text: str) -> tuple[int, int]:
    """`143:0`: end with 0 when the target's code is 143."""
    left, colon, right = (part.strip() for part in text.partition(":"))
    if colon and all(p.isascii() and p.isdigit() and len(p) <= 3 and int(p) <= 255 for p in (left, right)):
        return int(left), int(right)
    raise BadValue("FROM:TO in exit codes from 0 to 255 such as 143:0")


def human_bytes(size_bytes: float) -> str:
    """Bytes for people in SI units, as thresholds are written: `512 MB`, `1.07 GB`."""
    sign, size = ("-", -size_bytes) if size_bytes < 0 else ("", size_bytes)
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= step * 0.9995:
            value = size / step
            return f"{sign}{value:.3g} {unit}" if value < 999.5 else f"{sign}{value:.0f} {unit}"
    return f"{sign}{size:.0f} B"


def human_duration(seconds: float) -> str:
    """Seconds for people: `100 µs`, `5 s`, `2 min 5 s`, `3 h 4 min`."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def human_percent(share: float) -> str:
    """A share for people: `87.5 %`."""
    return f"{share * 100:.3g} %"


def iso(seconds: float) -> str:
    """Wall-clock time: 2026-11-24T11:16:44.123Z."""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03d}Z"
