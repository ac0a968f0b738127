"""Words and figures for people: escapes that show, sizes, shares.

Names in a profile come from the target, so they may hold anything. What is not printable is shown as an
escape, which keeps a name from breaking a format, hiding behind another or turning text around.
"""

from __future__ import annotations

_BINARY_STEPS = (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))


def visible(text: str, also: str = "") -> str:
    r"""`text` with each character that doesn't print, and each of `also`, as `\x3b`, `\u202e` or
    `\U000e0001`.

    Not printable, by `str.isprintable`: controls, line separators, bidirectional and zero-width marks, lone
    surrogates, private and unassigned code points, and every space but U+0020.
    """
    if text.isprintable() and not any(character in text for character in also):
        return text
    return "".join(c if c.isprintable() and c not in also else _escape(ord(c)) for c in text)


def _escape(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def shorten(text: str, length: int) -> str:
    """`text`, its end replaced by `…` where it is longer than `length` characters (at least 1)."""
    return text if len(text) <= length else text[: length - 1] + "…"


def binary_bytes(size_bytes: int) -> str:
    """Bytes in IEC units with three significant digits: `512 B`, `1.50 KiB`, `12.3 MiB`, `-2.00 GiB`."""
    sign, size = ("-", -size_bytes) if size_bytes < 0 else ("", size_bytes)
    for unit, step in _BINARY_STEPS:
        value = size / step
        # 1023.6 KiB would print as "1024 KiB": it moves up and prints as "1.00 MiB".
        if value >= 1 or round(value * 1024) >= 1024:
            digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
            return f"{sign}{value:.{digits}f} {unit}"
    return f"{sign}{size} B"


def percent(part: int, whole: int) -> str:
    """`part` of `whole` as `12.3%`; `0.0%` where `whole` is 0."""
    return f"{100 * part / whole if whole else 0.0:.1f}%"


def counted(number: int, one: str, many: str) -> str:
    """`1 frame`, `1,200 frames`."""
    return f"{number:,} {one if number == 1 else many}"
