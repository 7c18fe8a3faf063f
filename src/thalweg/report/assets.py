"""The page's style and its one script."""

from __future__ import annotations

__all__ = ["SCRIPT", "STYLE"]

STYLE = """
:root {
  color-scheme: light dark;
  --page: #ffffff; --card: #f6f7f9; --ink: #191b1f; --muted: #5f6570; --line: #d3d6dc;
  --accent: #2b62d3; --object: #c46400; --goal: #0d8742; --bad: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #121417; --card: #1b1e23; --ink: #e9ebef; --muted: #a0a7b4; --line: #3b4049;
    --accent: #7ca6ff; --object: #f2a24a; --goal: #4cc27e; --bad: #ff8d84;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2rem clamp(1rem, 4vw, 2.5rem) 4rem; max-width: 75rem;
  background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif;
}
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0; letter-spacing: -.01em; }
h2 { font-size: 1.25rem; margin: 3rem 0 .75rem; }
p { margin: .4rem 0; max-width: 46rem; }
.muted, figcaption, dt, th { color: var(--muted); }
.hero { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr));
  gap: 1.5rem 3rem; align-items: center; margin: 1.75rem 0; }
.headline { font-size: 4rem; line-height: 1; font-weight: 650; letter-spacing: -.03em; }
.headline small { font-size: .5em; font-weight: 500; margin-left: .05em; }
table.causes { max-width: 36rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { font-weight: 500; font-size: .85rem; text-align: left; }
th, td { padding: .4rem .75rem .4rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
tr > :last-child { padding-right: 0; }
.plain th, .plain td { border: 0; padding-block: .25rem; }
.number { text-align: right; }
td.bar { width: 55%; min-width: 5rem; }
svg.interval { display: block; width: 100%; height: 1.1rem; overflow: visible; }
.interval .track { fill: var(--card); } .interval .fill { fill: var(--accent); opacity: .75; }
.interval .floor { fill: var(--muted); opacity: .55; }
.interval path { stroke: var(--ink); stroke-width: 1.5; fill: none; vector-effect: non-scaling-stroke; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 11rem), 1fr));
  gap: .9rem 1.5rem;  margin: 0; }
dt { font-size: .85rem; } dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
code { font: .85em ui-monospace, monospace; }
details > summary { cursor: pointer; }
details.more { margin-top: 1.25rem; } details.more > dl { margin-top: .9rem; }
.episode { border-top: 1px solid var(--line); padding: .9rem 0; }
.episode > summary { font-weight: 600; }
.episode > summary span { font-weight: 400; }
.good { color: var(--goal); } .bad { color: var(--bad); }
.cause { border-left: 3px solid var(--bad);
  padding: .15rem 0 .15rem .9rem; margin: 1rem 0; max-width: 60rem; }
.scrub { position: sticky; top: 0; z-index: 1; background: var(--page); padding: .5rem 0; margin-top: .5rem;
  display: flex; flex-wrap: wrap; gap: .25rem 1rem; align-items: center; font-variant-numeric: tabular-nums; }
.scrub input { flex: 1 1 14rem; accent-color: var(--accent); margin: 0; min-height: 1.75rem; }
.key { display: flex; flex-wrap: wrap; gap: .15rem 1.25rem;
  font-size: .85rem; color: var(--muted); margin: 0 0 .75rem; }
.key i { display: inline-block; width: 1.6em; margin-right: .4em; vertical-align: .25em;
  border-top: 2px solid; }
.key i.dashed { border-top: 2px dashed; }
.figures { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 1.5rem 1.75rem; }
.wide { grid-column: span 2; }
@media (max-width: 62rem) { .figures { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
@media (max-width: 40rem) {
  .figures { grid-template-columns: minmax(0, 1fr); } .wide { grid-column: auto; }
  body { padding-top: 1.25rem; }
  table { font-size: .85rem; } th { white-space: normal; font-size: .8rem; } th, td { padding-right: .4rem; }
  td.bar { width: 30%; min-width: 2.5rem; }
}
figure { margin: 0; min-width: 0; }
figcaption { font-size: .85rem; line-height: 1.4; margin-bottom: .5rem; }
figcaption b { display: block; color: var(--ink); font-size: .95rem; font-weight: 600; }
figure svg, video, figure img { display: block; width: 100%; height: auto; border-radius: 4px; }
figure svg { overflow: visible; }
figure svg text { font-family: system-ui, sans-serif !important; }
.scroll { overflow-x: auto; }
.wide svg { min-width: 38rem; }
.none { background: var(--card); border-radius: 4px; padding: 1rem; }
[data-decision] { display: none; }
[data-decision].on { display: inline; }
.ghost [data-decision] { display: inline; opacity: .11; }
.ghost [data-decision].on { opacity: 1; }
@media print { .episode { break-inside: avoid; } .scrub { position: static; } }
"""

SCRIPT = """
for (const episode of document.querySelectorAll('.episode')) {
  const slider = episode.querySelector('.scrub input');
  if (!slider) continue;
  const steps = slider.dataset.steps.split(',').map(Number);
  const marks = [...episode.querySelectorAll('[data-decision]')];
  const label = episode.querySelector('.scrub output');
  const video = episode.querySelector('video');
  const perSecond = Number(slider.dataset.rate);
  const show = at => {
    for (const mark of marks) mark.classList.toggle('on', mark.dataset.decision == at);
    label.textContent = `decision ${at + 1} of ${steps.length}, step ${steps[at]}`;
  };
  slider.addEventListener('input', () => {
    show(Number(slider.value));
    if (video) { video.pause(); video.currentTime = steps[slider.value] / perSecond; }
  });
  if (video) video.addEventListener('timeupdate', () => {
    if (video.paused) return;
    const step = video.currentTime * perSecond;
    slider.value = Math.max(0, steps.findLastIndex(begin => begin <= step));
    show(Number(slider.value));
  });
  show(Number(slider.value));
}
"""
