"""A run as one HTML page that needs nothing but itself: no network, no file beside it, nothing that runs but its own.

`gather.material` reads a run; everything below is pure. `series` picks the samples that are drawn, `charts` draws
them, `told` tells events and evidence, `page` puts it together under a Content-Security-Policy that lets in only the
styles and scripts whose hashes it names.

The drawing is SVG made here, and the script only moves it: zooming sets a view box. A chart library would draw on a
canvas, which leaves nothing to read without JavaScript, to print, or to a screen reader.
"""

from supervisor.report.gather import Material, material
from supervisor.report.page import render

__all__ = ["Material", "material", "render"]
