"""What makes a flame graph answer: the style sheet and the script that `flamegraph` puts into its SVG.

Both also work where several graphs are put into one HTML page: every rule and every look-up stays below its
own graph. Neither may hold what ends a style element or a CDATA section.
"""

from __future__ import annotations

STYLE = """
.guard-flame{font:11.5px ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;max-width:100%;height:auto}
.guard-flame .guard-paper{fill:#fdfdfb}
.guard-flame text{fill:#222}
.guard-flame .guard-title{font-size:17px;font-weight:bold}
.guard-flame .guard-note,.guard-flame .guard-detail{fill:#555}
.guard-flame .guard-button{fill:#0b5cad;cursor:pointer}
.guard-flame .guard-frame{cursor:pointer}
.guard-flame .guard-frame rect{stroke:#fdfdfb;stroke-width:.5}
.guard-flame .guard-frame text{fill:#111;pointer-events:none}
.guard-flame .guard-frame:hover rect,.guard-flame .guard-frame:focus rect{stroke:#000;stroke-width:1.5}
.guard-flame .guard-frame:focus,.guard-flame .guard-button:focus{outline:none}
.guard-flame .guard-button:focus,.guard-flame .guard-button:hover{text-decoration:underline}
.guard-flame .guard-under{opacity:.55}
.guard-flame .guard-match rect{fill:#d75bf0}
.guard-flame .guard-gone{display:none}
@media (prefers-color-scheme:dark){
.guard-flame .guard-paper{fill:#1b1c1e}
.guard-flame text{fill:#e6e6e6}
.guard-flame .guard-frame rect{stroke:#1b1c1e}
.guard-flame .guard-note,.guard-flame .guard-detail{fill:#a9adb3}
.guard-flame .guard-button{fill:#7db8f5}
.guard-flame .guard-frame:hover rect,.guard-flame .guard-frame:focus rect{stroke:#fff}
}
"""

SCRIPT = r"""
(function () {
  "use strict";
  var script = document.currentScript;
  var root = (script && script.closest && script.closest("svg")) || document.documentElement;
  var alone = root === document.documentElement;
  var COLUMN = 7, SLACK = 0.05;
  var detail = root.querySelector(".guard-detail"), matched = root.querySelector(".guard-matched");

  var frames = Array.prototype.map.call(root.querySelectorAll(".guard-frame"), function (group) {
    var rect = group.querySelector("rect"), lines = group.querySelector("title").textContent.split("\n");
    group.setAttribute("tabindex", "0");
    group.setAttribute("role", "button");
    return {
      group: group, rect: rect, text: group.querySelector("text"), name: lines[0], share: lines[1],
      x: +rect.getAttribute("x"), y: +rect.getAttribute("y"), width: +rect.getAttribute("width")
    };
  });
  var all = frames[0];

  function label(name, width) {
    var columns = Math.floor((width - 6) / COLUMN), used = 0, points = Array.from(name);
    if (columns < 3) { return ""; }
    for (var i = 0; i < points.length; i++) {
      used += points[i] >= "\u2e80" ? 2 : 1;
      if (used > columns) { return points.slice(0, Math.max(i - 2, 0)).join("") + ".."; }
    }
    return name;
  }

  function place(frame, x, width) {
    frame.rect.setAttribute("x", x.toFixed(2));
    frame.rect.setAttribute("width", width.toFixed(2));
    var words = label(frame.name, width);
    if (words && !frame.text) {
      frame.text = document.createElementNS("http://www.w3.org/2000/svg", "text");
      frame.text.setAttribute("y", frame.y + 13);
      frame.group.appendChild(frame.text);
    }
    if (frame.text) {
      frame.text.textContent = words;
      frame.text.setAttribute("x", (x + 3).toFixed(2));
    }
  }

  function zoom(focus) {
    var scale = all.width / focus.width, end = focus.x + focus.width;
    frames.forEach(function (frame) {
      var right = frame.x + frame.width;
      var under = frame.y > focus.y && frame.x <= focus.x + SLACK && right >= end - SLACK;
      var above = frame.y <= focus.y && frame.x >= focus.x - SLACK && right <= end + SLACK;
      frame.group.classList.toggle("guard-under", under);
      frame.group.classList.toggle("guard-gone", !under && !above);
      if (under) { place(frame, all.x, all.width); }
      if (above) { place(frame, all.x + (frame.x - focus.x) * scale, frame.width * scale); }
    });
  }

  function search(words) {
    var wanted = (words || "").toLowerCase(), reached = -1, width = 0, hits = 0;
    var found = frames.filter(function (frame) {
      var hit = wanted !== "" && frame !== all && frame.name.toLowerCase().indexOf(wanted) >= 0;
      frame.group.classList.toggle("guard-match", hit);
      return hit;
    });
    found.sort(function (a, b) { return a.x - b.x || b.width - a.width; });
    found.forEach(function (frame) {
      hits += 1;
      if (frame.x >= reached - SLACK) {
        width += frame.width;
        reached = frame.x + frame.width;
      }
    });
    var share = (100 * width / all.width).toFixed(1) + "% in " + hits;
    matched.textContent = wanted === "" ? "" : "Matched: " + share + (hits === 1 ? " frame" : " frames");
  }

  function ask() {
    var words = window.prompt("Part of a name to look for (nothing clears it):", "");
    if (words !== null) { search(words); }
  }

  function reset() { zoom(all); }

  function press(element, act) {
    element.addEventListener("click", act);
    element.addEventListener("keydown", function (event) {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); act(); }
    });
  }

  frames.forEach(function (frame) {
    function tell() { detail.textContent = label(frame.name + "  " + frame.share, all.width); }
    function hush() { detail.textContent = ""; }
    press(frame.group, function () { zoom(frame); });
    frame.group.addEventListener("mouseenter", tell);
    frame.group.addEventListener("focus", tell);
    frame.group.addEventListener("mouseleave", hush);
    frame.group.addEventListener("blur", hush);
  });
  [[".guard-reset", reset], [".guard-search", ask]].forEach(function (pair) {
    var button = root.querySelector(pair[0]);
    button.setAttribute("tabindex", "0");
    button.setAttribute("role", "button");
    press(button, pair[1]);
  });
  root.addEventListener("guard-search", function (event) { search(event.detail); });
  root.addEventListener("keydown", function (event) {
    if (event.key === "Escape") { reset(); search(""); }
  });
  if (alone) {
    window.addEventListener("keydown", function (event) {
      if ((event.ctrlKey || event.metaKey) && (event.key === "f" || event.key === "F")) {
        event.preventDefault();
        ask();
      }
    });
  }
})();
"""
