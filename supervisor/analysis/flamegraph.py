"""Folded stacks as a flame graph: one SVG file that needs nothing but itself.

After Brendan Gregg's flame graphs (https://www.brendangregg.com/flamegraphs.html): the root at the bottom,
width is weight, left to right is alphabetical. The drawing stands without the script, which adds zoom and
search.
"""

from __future__ import annotations

from supervisor.analysis.calltree import heaviest_first, nodes
from supervisor.analysis.flamescript import SCRIPT, STYLE
from supervisor.analysis.folded import split_frame
from supervisor.analysis.text import binary_bytes, counted, percent, shorten, visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.analysis.calltree import Node
    from supervisor.analysis.folded import Counts

WIDTH = 1200
_PAD = 10
_ROW = 18
_TOP = 64
_BOTTOM = 46
_DRAWN = WIDTH - 2 * _PAD
_NARROWEST = 1000  # a frame below a thousandth of the whole, about one pixel, is not drawn
_MOST_FRAME_BYTES = 850_000  # the file stays under 1 MB; the heaviest frames are kept
_CHARACTER = 7.0  # width of a column of the 11.5 px monospace font, with some air
_MOST_TITLE = 300


def render(
    counts: Counts,
    *,
    title: str,
    unit: str,
    subtitle: str = "",
    format_weight: Callable[[int], str] | None = None,
    growth: bool = False,
    paint: Callable[[Node], tuple[str, str]] | None = None,
) -> str:
    """The SVG document, well-formed XML 1.0 whatever the names hold, under 1 MB, and the same for the same
    input.

    `unit` names what a weight counts (`samples`; `bytes` are printed in KiB and MiB) unless `format_weight`
    writes a weight itself. `growth` picks green and blue instead of yellow and red; `paint` gives a frame's colour and
    a remark itself. Frames under 0.1 % of the
    whole are not drawn; the last line says how many. A profile that weighs nothing gives a drawing that says
    so.
    """
    written = format_weight or (binary_bytes if unit == "bytes" else lambda weight: f"{weight:,} {unit}")
    total = sum(counts.values())
    if total <= 0:
        return _document(title, subtitle, _TOP + 2 * _ROW + _BOTTOM, [_note(_TOP + _ROW, "Nothing was recorded.")])
    found, light = nodes(counts, -(-total // _NARROWEST))
    drawn, cut = _drawn(found, total, written, paint or (lambda node: (_colour(split_frame(node.text)[0], growth), "")))
    rows = max(row for row, _, _ in drawn) + 1
    height = _TOP + rows * _ROW + _BOTTOM
    body = [_frame_at(height - _BOTTOM - (row + 1) * _ROW, markup) for row, _, markup in drawn]
    hidden = light + cut
    left_out = f"{counted(hidden, 'narrow frame is', 'narrow frames are')} not drawn." if hidden else ""
    body.append(_note(height - _BOTTOM + 20, "", "guard-detail"))
    body.append(_note(height - _BOTTOM + 36, left_out))
    return _document(title, subtitle, height, body, controls=True)


def _drawn(
    found: list[Node], total: int, written: Callable[[int], str], paint: Callable[[Node], tuple[str, str]]
) -> tuple[list[tuple[int, int, str]], int]:
    """(row, start, markup with `@` for y) of the frames that fit, in drawing order, and how many don't."""
    scale = _DRAWN / total
    drawn = [(0, 0, _markup("all", _PAD, _DRAWN, f"{written(total)}, {percent(total, total)}", "#c9c9c9"))]
    budget = _MOST_FRAME_BYTES
    heaviest = heaviest_first(found)
    for index, node in enumerate(heaviest):
        colour, remark = paint(node)
        share = f"{written(node.total_weight)}, {percent(node.total_weight, total)}" + (f"; {remark}" if remark else "")
        markup = _markup(node.text, _PAD + node.start * scale, node.total_weight * scale, share, colour)
        budget -= len(markup.encode())
        if budget < 0:
            return sorted(drawn), len(heaviest) - index
        drawn.append((node.depth + 1, node.start, markup))
    return sorted(drawn), 0


def _markup(text: str, x: float, width: float, share: str, colour: str) -> str:
    name = shorten(visible(text), _MOST_TITLE)
    label = _label(name, width)
    shown = f'<text x="{x + 3:.2f}" y="@@">{escape(label)}</text>' if label else ""
    return (
        f'<g class="guard-frame"><title>{escape(name)}\n{escape(share)}</title>'
        f'<rect x="{x:.2f}" y="@" width="{width:.2f}" height="{_ROW - 1}" fill="{colour}"/>{shown}</g>'
    )


def _frame_at(y: int, markup: str) -> str:
    return markup.replace('y="@"', f'y="{y}"', 1).replace('y="@@"', f'y="{y + 13}"', 1)


def _label(name: str, width: float) -> str:
    """As much of a name as fits in `width` pixels, empty under three columns. A wide (CJK) character takes
    two.
    """
    columns = int((width - 6) / _CHARACTER)
    if columns < 3:
        return ""
    used = 0
    for end, character in enumerate(name):
        used += 2 if character >= "\u2e80" else 1
        if used > columns:
            return name[: max(end - 2, 0)] + ".."
    return name


def _colour(function: str, growth: bool) -> str:
    """A light colour that black text reads on, the same for a function in every graph: FNV-1a of its name."""
    seed = 0x811C9DC5
    for byte in function.encode(errors="replace"):
        seed = (seed ^ byte) * 0x01000193 & 0xFFFFFFFF
    hue, saturation, lightness = seed % 1000 / 1000, (seed >> 10) % 100 / 100, (seed >> 20) % 100 / 100
    if growth:
        return f"hsl({135 + 80 * hue:.0f},{38 + 22 * saturation:.0f}%,{62 + 12 * lightness:.0f}%)"
    return f"hsl({8 + 46 * hue:.0f},{72 + 20 * saturation:.0f}%,{62 + 10 * lightness:.0f}%)"


def escape(text: str) -> str:
    """`text` for XML content and attributes; what XML 1.0 forbids and what doesn't print is shown as an
    escape.
    """
    text = visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace('"', "&quot;").replace("'", "&#39;")


def _note(y: int, text: str, name: str = "guard-note") -> str:
    return f'<text class="{name}" x="{_PAD}" y="{y}">{escape(text)}</text>'


def _at_right(x: int, y: int, name: str, text: str) -> str:
    return f'<text class="{name}" x="{x}" y="{y}" text-anchor="end">{text}</text>'


def _document(title: str, subtitle: str, height: int, body: list[str], controls: bool = False) -> str:
    title, subtitle = shorten(title, 150), shorten(subtitle, 170)
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="guard-flame" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="group" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        '<rect class="guard-paper" width="100%" height="100%"/>',
        f'<text class="guard-title" x="{_PAD}" y="26">{escape(title)}</text>',
        f'<text class="guard-note" x="{_PAD}" y="46">{escape(subtitle)}</text>',
    ]
    if controls:
        head += [
            _at_right(WIDTH - 90, 46, "guard-button guard-reset", "Reset zoom"),
            _at_right(WIDTH - _PAD, 46, "guard-button guard-search", "Search"),
            _at_right(WIDTH - _PAD, 26, "guard-note guard-matched", ""),
        ]
        body = [*body, f"<script><![CDATA[{SCRIPT}]]></script>"]
    return "\n".join([*head, *body, "</svg>\n"])
