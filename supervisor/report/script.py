"""The page's script: it zooms the charts, reads out the sample at the cursor, and searches the flame graphs.

It makes elements and sets texts, never markup. May not hold what ends a script element.
"""

SCRIPT = r"""
(function () {
  "use strict";
  var SVG = "http://www.w3.org/2000/svg", AIR = 1.08, LOW_AIR = 1.3, SHORTEST_MS = 20;
  var byId = document.getElementById.bind(document);

  function make(tag, text, attributes) {
    var element = document.createElement(tag);
    element.textContent = text;
    give(element, attributes || {});
    return element;
  }
  function give(element, attributes) {
    Object.keys(attributes).forEach(function (name) { element.setAttribute(name, attributes[name]); });
  }
  function each(root, selector, act) { Array.prototype.forEach.call(root.querySelectorAll(selector), act); }

  searching();
  var chart = byId("chart"), source = byId("samples");
  if (chart && source) { charting(chart, byId("panes"), JSON.parse(source.textContent)); }

  function searching() {
    var graphs = document.querySelectorAll(".flame .guard-flame");
    if (!graphs.length) { return; }
    var field = make("input", "", { type: "search", id: "search", placeholder: "part of a name" });
    var label = make("label", "Search the flame graphs ", { "for": "search" });
    var bar = make("div", "", { "class": "bar", role: "search" });
    var told = make("output", "", { "for": "search" });
    [label, field, told].forEach(function (part) { bar.appendChild(part); });
    byId("evidence-title").insertAdjacentElement("afterend", bar);
    field.addEventListener("input", function () {
      var most = [];
      Array.prototype.forEach.call(graphs, function (graph) {
        graph.dispatchEvent(new CustomEvent("guard-search", { detail: field.value }));
        most.push(graph.querySelector(".guard-matched").textContent.replace("Matched: ", ""));
      });
      told.textContent = field.value ? most.join("; ") : "";
    });
  }

  function charting(chart, panes, data) {
    var first = +chart.dataset.start, last = +chart.dataset.end, from = first, to = last, cursor = -1, whole = false;
    var times = data.t, drag = null;

    function bytes(kilobytes) {
      var size = kilobytes * 1000, units = [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]];
      for (var i = 0; i < units.length; i++) {
        if (size >= units[i][1] * 0.9995) {
          var value = size / units[i][1];
          return (value < 999.5 ? +value.toPrecision(3) : Math.round(value)) + " " + units[i][0];
        }
      }
      return size + " B";
    }
    function duration(ms) {
      var seconds = ms / 1000, minutes = Math.floor(Math.round(seconds) / 60), rest = Math.round(seconds) % 60;
      if (ms === 0) { return "0"; }
      if (seconds < 1) { return +ms.toPrecision(3) + " ms"; }
      if (seconds < 60) { return +seconds.toPrecision(3) + " s"; }
      if (minutes < 60) { return minutes + " min" + (rest ? " " + rest + " s" : ""); }
      return Math.floor(minutes / 60) + " h" + (minutes % 60 ? " " + minutes % 60 + " min" : "");
    }
    function timeTicks() {
      var steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200];
      var span = (to - from) / 1000, most = chart.clientWidth < 500 ? 4 : 6, found = [], step = 0.01;
      while (span / step > most && step < 0.1) { step *= step < 0.04 && step > 0.015 ? 2.5 : 2; }
      for (var i = 0; i < steps.length && span / step > most; i++) { step = steps[i]; }
      if (span / step > most) { step = 86400 * Math.ceil(span / 86400 / most); }
      for (var n = Math.ceil(from / 1000 / step); n * step * 1000 <= to; n++) {
        found.push(Math.round(n * step * 1000));
      }
      return found;
    }
    function valueTicks(top, most) {
      var power = Math.pow(10, Math.floor(Math.log10(top / most))), found = [];
      var steps = [1, 2, 5, 10].map(function (factor) { return factor * power; });
      var step = steps.filter(function (size) { return top / size <= most; })[0];
      for (var value = step; value <= top; value += step) { found.push(value); }
      return found;
    }
    function percent(part) { return (100 * Math.min(Math.max(part, -1), 2)).toFixed(3) + "%"; }
    function across(ms) { return percent((ms - from) / (to - from)); }

    /* The samples in view, with the one before and the one after. */
    function view() {
      var low = 0, high = times.length - 1;
      while (low < high && times[low + 1] <= from) { low += 1; }
      while (high > low && times[high - 1] >= to) { high -= 1; }
      return [low, high];
    }
    function highest(columns, range) {
      var top = 0;
      columns.forEach(function (column) {
        for (var i = range[0]; i <= range[1]; i++) { top = Math.max(top, column[i] || 0); }
      });
      return top;
    }
    function topOf(pane) {
      var name = pane.classList[1], range = view();
      if (name === "memory" && whole) {
        return Math.max(highest([data.rss, data.use, data.limit], [0, times.length - 1]) * AIR, 1);
      }
      if (from === first && to === last) { return +pane.dataset.top; }
      if (name !== "memory") { return Math.max(10, highest([data[name]], range)) * LOW_AIR; }
      return Math.max(highest([data.rss, data.use], range) * AIR, 1);
    }
    function unit(pane, value) {
      if (pane.classList.contains("memory")) { return bytes(value); }
      return +(value / 1000).toPrecision(6) + (pane.classList.contains("cpu") ? " cores" : " %");
    }

    function draw() {
      each(panes, ".pane", function (pane) {
        var top = topOf(pane), ticks = pane.querySelector(".ticks");
        pane.querySelector(".area").setAttribute("viewBox", [from, -top, to - from, top].join(" "));
        ticks.textContent = "";
        var low = !pane.classList.contains("memory");
        valueTicks(low ? top / LOW_AIR : top, low ? 2 : 5).forEach(function (value) {
          var y = percent(1 - value / top), line = document.createElementNS(SVG, "line");
          var text = document.createElementNS(SVG, "text");
          give(line, { "class": "grid", x2: "100%", y1: y, y2: y });
          give(text, { "class": "grid", x: "4", dy: "-3", y: y });
          text.textContent = unit(pane, value);
          ticks.appendChild(line);
          ticks.appendChild(text);
        });
        each(pane, "[data-y]", function (element) {
          var y = percent(1 - element.dataset.y / top);
          give(element, element.tagName === "line" ? { y1: y, y2: y } : { y: y });
        });
      });
      each(chart, "[data-from]", function (element) {
        var start = +element.dataset.from, end = +element.dataset.to;
        var left = Math.max(start, from), right = Math.min(end, to);
        if (element.tagName === "line") {
          give(element, { x1: across(start), x2: across(end) });
        } else {
          give(element, { x: across(left), width: percent(Math.max(0, right - left) / (to - from)) });
        }
      });
      var axis = chart.querySelector(".axis");
      axis.textContent = "";
      timeTicks().forEach(function (ms) {
        var text = document.createElementNS(SVG, "text");
        give(text, { x: across(ms), y: "14" });
        text.textContent = duration(ms);
        axis.appendChild(text);
      });
      each(chart, ".cursor", function (line) {
        var x = cursor < 0 ? "-1" : across(times[cursor]);
        give(line, { x1: x, x2: x });
      });
      all.disabled = from === first && to === last;
    }

    function words(i) {
      var parts = ["after " + duration(times[i]), bytes(data.rss[i]), "state " + data.states[data.state[i]]];
      if (data.use[i] !== data.rss[i]) { parts.push("in use " + bytes(data.use[i])); }
      if (data.limit[i] !== null) { parts.push("limit " + bytes(data.limit[i])); }
      if (data.cpu[i] !== null) { parts.push((data.cpu[i] / 1000).toFixed(2) + " cores"); }
      if (data.pressure[i] !== null) { parts.push("pressure " + data.pressure[i] / 1000 + " %"); }
      data.bands.filter(function (band) { return band.sizes[i] > 0; })
        .sort(function (a, b) { return b.sizes[i] - a.sizes[i]; })
        .forEach(function (band) { parts.push(band.name + " (" + band.pid + ") " + bytes(band.sizes[i])); });
      return parts.join(" · ");
    }
    function point(i) {
      cursor = Math.min(Math.max(i, 0), times.length - 1);
      var at = times[cursor], span = to - from;
      if (at < from || at > to) { show(at - span / 2, at + span / 2); } else { draw(); }
      var told = words(cursor);
      reading.textContent = told;
      panes.setAttribute("aria-valuenow", Math.round(at) / 1000);
      panes.setAttribute("aria-valuetext", told);
    }
    function nearest(ms) {
      var low = 0, high = times.length - 1;
      while (low < high) {
        var middle = (low + high) >> 1;
        if (times[middle] < ms) { low = middle + 1; } else { high = middle; }
      }
      return low > 0 && ms - times[low - 1] < times[low] - ms ? low - 1 : low;
    }
    function show(start, end) {
      var span = Math.min(Math.max(end - start, SHORTEST_MS), last - first);
      var middle = (start + end) / 2;
      from = Math.min(Math.max(middle - span / 2, first), last - span);
      to = from + span;
      draw();
    }
    function zoom(factor) {
      var middle = cursor >= 0 && times[cursor] >= from && times[cursor] <= to ? times[cursor] : (from + to) / 2;
      var left = (middle - from) * factor, right = (to - middle) * factor;
      show(middle - left, middle + right);
    }
    function move(share) { show(from + share * (to - from), to + share * (to - from)); }
    function reset() { show(first, last); }

    var bar = make("div", "", { "class": "bar", role: "toolbar", "aria-label": "Zoom" });
    var reading = make("output", "Point at the chart, or press the arrow keys on it, to read it.", { id: "reading" });
    var all, limit;
    function button(text, label, act) {
      var made = make("button", text, { type: "button", "aria-label": label, title: label });
      made.addEventListener("click", act);
      bar.appendChild(made);
      return made;
    }
    button("+", "Zoom in", function () { zoom(0.5); });
    button("−", "Zoom out", function () { zoom(2); });
    button("←", "Earlier", function () { move(-0.5); });
    button("→", "Later", function () { move(0.5); });
    all = button("All", "Show the whole run", reset);
    if (data.limit.some(function (size) { return size !== null; })) {
      limit = button("Up to the limit", "Scale memory up to the limit", function () {
        whole = !whole;
        limit.setAttribute("aria-pressed", String(whole));
        draw();
      });
      limit.setAttribute("aria-pressed", "false");
    }
    chart.insertAdjacentElement("beforebegin", bar);
    chart.insertAdjacentElement("afterend", reading);
    each(panes, ".over", function (over) {
      var line = document.createElementNS(SVG, "line");
      give(line, { "class": "cursor", x1: "-1", x2: "-1", y2: "100%" });
      over.appendChild(line);
    });
    var chosen = document.createElementNS(SVG, "rect");
    give(chosen, { "class": "chosen", height: "100%", width: "0" });
    panes.querySelector(".over").appendChild(chosen);
    give(panes, {
      role: "slider", tabindex: "0", "aria-label": "Moment of the run in seconds", "aria-valuemin": first / 1000,
      "aria-valuemax": last / 1000, "aria-valuenow": first / 1000,
      "aria-valuetext": "arrow keys read sample by sample, plus and minus zoom, zero shows all"
    });

    var keys = {
      ArrowLeft: function (far) { point(cursor < 0 ? times.length - 1 : cursor - far); },
      ArrowRight: function (far) { point(cursor + far); },
      ArrowDown: function (far) { point(cursor < 0 ? times.length - 1 : cursor - far); },
      ArrowUp: function (far) { point(cursor + far); },
      PageUp: function () { point(cursor + 20); },
      PageDown: function () { point(cursor - 20); },
      Home: function () { point(0); },
      End: function () { point(times.length - 1); },
      "+": function () { zoom(0.5); },
      "=": function () { zoom(0.5); },
      "-": function () { zoom(2); },
      "0": reset,
      Escape: reset
    };
    panes.addEventListener("keydown", function (event) {
      if (event.ctrlKey || event.metaKey || event.altKey || !Object.keys(keys).includes(event.key)) { return; }
      event.preventDefault();
      keys[event.key](event.shiftKey ? 10 : 1);
    });

    function under(event) {
      var box = panes.getBoundingClientRect();
      return from + (to - from) * Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
    }
    panes.addEventListener("pointerdown", function (event) {
      if (event.button !== 0) { return; }
      drag = under(event);
      panes.setPointerCapture(event.pointerId);
    });
    panes.addEventListener("pointermove", function (event) {
      var at = under(event);
      if (drag !== null) {
        chosen.setAttribute("x", across(Math.min(drag, at)));
        chosen.setAttribute("width", percent(Math.abs(at - drag) / (to - from)));
      }
      point(nearest(at));
    });
    panes.addEventListener("pointerup", function (event) {
      var start = drag, end = under(event);
      drag = null;
      chosen.setAttribute("width", "0");
      if (start !== null && Math.abs(end - start) > (to - from) * 0.02) {
        show(Math.min(start, end), Math.max(start, end));
      } else { point(nearest(end)); }
    });
    panes.addEventListener("pointercancel", function () { drag = null; chosen.setAttribute("width", "0"); });
    panes.addEventListener("dblclick", reset);
    each(document, "[data-show]", function (link) {
      link.addEventListener("click", function () { point(nearest(+link.dataset.show)); });
    });
    window.addEventListener("resize", draw);
    draw();
  }
})();
"""
