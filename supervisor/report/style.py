"""The page's style sheet: light and dark by the reader's setting, down to the width of a phone, printable."""

STYLE = """
:root{color-scheme:light dark;--paper:#fdfdfb;--card:#fff;--ink:#1d1f21;--soft:#5c6066;--line:#dcdcd6;--link:#0b5cad;
--ok:#1f7a3f;--warning:#946200;--critical:#b04a00;--profiling:#b3261e;
--okf:#bfe3c8;--warningf:#f5d76e;--criticalf:#f2a35e;--profilingf:#e5736b;
--p0:#7fa8d9;--p1:#e6b36a;--p2:#86c29a;--p3:#d693b8;--p4:#a99bd8;--p5:#c9c06b;--p6:#7cc4c9;--p7:#d99a86;--others:#c4c6c9}
@media (prefers-color-scheme:dark){:root{--paper:#1b1c1e;--card:#232528;--ink:#e8e8e6;--soft:#a9adb3;--line:#3a3c40;
--link:#7db8f5;--ok:#7fd39a;--warning:#f0c94a;--critical:#ffa45c;--profiling:#ff8a80;
--okf:#2f6b42;--warningf:#8a6d12;--criticalf:#a5571b;--profilingf:#a83a33;
--p0:#4f78ab;--p1:#a87a35;--p2:#4b8a61;--p3:#9a5a7d;--p4:#7566a8;--p5:#8a8238;--p6:#40878c;--p7:#a3634f;--others:#5a5d62}}
*{box-sizing:border-box}
body{background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif;max-width:1240px;margin:0 auto;
padding:1em;overflow-wrap:anywhere}
h1{font-size:1.35em;line-height:1.3;margin:.2em 0 .6em}h2{font-size:1.2em;margin:1.6em 0 .5em}h3{font-size:1em;margin:0}
p{margin:.4em 0}a{color:var(--link)}nav a{margin-right:1em}
code{font:.92em ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace}
.soft,footer{color:var(--soft)}footer{margin:2em 0;font-size:.9em}
:focus-visible{outline:2px solid var(--link);outline-offset:2px}
dl{margin:0}dd{margin:0}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:.6em;margin:1em 0}
.tiles div,article{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:.6em .8em}
.tiles dt{color:var(--soft);font-size:.85em}.tiles dd{font-weight:600}
.words{display:grid;grid-template-columns:6em 1fr;gap:.35em .8em}
.words dt{color:var(--soft)}.words dd{white-space:pre-wrap}
article{margin:.8em 0}article:target{border-color:var(--link);box-shadow:0 0 0 1px var(--link)}
tr:target td{background:var(--card);box-shadow:inset 0 0 0 99px color-mix(in srgb,var(--link) 15%,transparent)}
.wide{overflow-x:auto;overflow-wrap:normal}
table{border-collapse:collapse;width:100%;margin:.5em 0;font-size:.93em}
th,td{border-bottom:1px solid var(--line);padding:.25em .6em;text-align:left;vertical-align:top}
td{overflow-wrap:anywhere;min-width:4em}td:last-child{min-width:14em}
th{color:var(--soft);font-weight:600;white-space:nowrap}
td.n,th.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
tr.error td:last-child{color:var(--profiling)}
ol{margin:.3em 0;padding-left:2.2em}summary{cursor:pointer}
.flame{margin:.8em 0 .4em;overflow-x:auto}.flame .guard-flame{min-width:900px;display:block}
span.st-ok{color:var(--ok)}span.st-warning{color:var(--warning)}
span.st-critical{color:var(--critical)}span.st-profiling{color:var(--profiling)}
.legend{list-style:none;margin:.4em 0;padding:0;display:flex;flex-wrap:wrap;gap:.1em 1.2em;font-size:.93em}
.key{vertical-align:-2px}
.bar{display:flex;flex-wrap:wrap;gap:.4em;align-items:center;margin:.4em 0}
button,input{font:inherit;color:inherit;background:var(--card);border:1px solid var(--line);border-radius:5px;
padding:.25em .7em;min-height:2.2em}
button:hover{border-color:var(--link)}button[aria-pressed=true]{border-color:var(--link);color:var(--link)}
#reading{display:block;min-height:3em;font-variant-numeric:tabular-nums}
#panes{touch-action:pan-y;cursor:crosshair}
.pane{position:relative;border-bottom:1px solid var(--line);background:var(--card)}
.area{display:block;width:100%;height:320px}.cpu .area{height:90px}.pressure .area{height:70px}
.over{position:absolute;left:0;top:0;width:100%;height:100%;pointer-events:none;overflow:hidden}
.states{display:block;width:100%;height:12px}.lane{display:block;width:100%}.axis{display:block;width:100%;overflow:visible}
.p0{fill:var(--p0)}.p1{fill:var(--p1)}.p2{fill:var(--p2)}.p3{fill:var(--p3)}.p4{fill:var(--p4)}.p5{fill:var(--p5)}
.p6{fill:var(--p6)}.p7{fill:var(--p7)}.others{fill:var(--others)}
.area path{vector-effect:non-scaling-stroke;stroke:var(--card);stroke-width:.6}
.area .total,.area .use,.area .limit,.area .line{fill:none}
.area .total{stroke:var(--ink);stroke-width:1.2}.area .use{stroke:var(--link);stroke-width:1.5;stroke-dasharray:5 3}
.area .limit{stroke:var(--profiling);stroke-width:2}
.area .cpu{fill:var(--p0);stroke:none}.area .pressure{fill:var(--p1);stroke:none}
.area .cpu.line,.area .pressure.line{fill:none;stroke:var(--ink);stroke-width:1}
.key .use{fill:none;stroke:var(--link);stroke-width:2;stroke-dasharray:3 2}.key .limit{fill:var(--profiling)}
.over text,.axis text{font-size:11.5px;fill:var(--ink);paint-order:stroke;stroke:var(--card);stroke-width:3px}
.axis text{text-anchor:middle;stroke:none;fill:var(--soft)}
.over .grid{stroke:var(--ink);stroke-opacity:.13}.over text.grid{stroke:var(--card);stroke-opacity:1}
.over text.level,.over text.name{text-anchor:end}.over line.level{stroke-dasharray:4 3;stroke-width:1.3}
.over line.st-warning{stroke:var(--warning)}.over line.st-critical{stroke:var(--critical)}
.over line.st-profiling{stroke:var(--profiling)}
.over text.st-warning{fill:var(--warning)}.over text.st-critical{fill:var(--critical)}
.over text.st-profiling{fill:var(--profiling)}
.cursor{stroke:var(--ink);stroke-width:1}.chosen{fill:var(--link);fill-opacity:.18}
.states .st-ok{fill:var(--okf)}.states .st-warning{fill:var(--warningf)}.states .st-critical{fill:var(--criticalf)}
.states .st-profiling{fill:var(--profilingf)}
.states .st-warning{stroke:var(--warningf)}.states .st-critical{stroke:var(--criticalf)}
.states .st-profiling{stroke:var(--profilingf)}
.mark{stroke-width:9;stroke-linecap:round;stroke:var(--soft)}
.k-growth,.k-heap-profile{stroke:var(--ok)}.k-cpu-profile{stroke:var(--p1)}.k-stacks{stroke:var(--p0)}
.k-snapshot{stroke:var(--p4)}.k-failed,.k-oom{stroke:var(--profiling)}
.lane a:hover .mark,.lane a:focus .mark{stroke:var(--ink)}
[hidden]{display:none}
@media (max-width:600px){.words{grid-template-columns:1fr;gap:0}.words dd{margin-bottom:.6em}.area{height:240px}
body{padding:.7em}}
@media (prefers-reduced-motion:no-preference){html{scroll-behavior:smooth}}
@media print{.bar,#reading,nav{display:none}article{break-inside:avoid}}
"""
