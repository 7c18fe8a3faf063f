"""One look for all figures: matplotlib drawings as inline SVG whose colours follow the page's scheme."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["ACCENT", "COLOURS", "GOAL", "INK", "LINE", "MUTED", "OBJECT", "decision_gid", "figure", "to_svg"]

# Stand-ins that matplotlib can draw with; `to_svg` turns each into the page's CSS variable of that name.
INK, MUTED, LINE = "#101112", "#707172", "#c0c1c2"
ACCENT, OBJECT, GOAL = "#2060d1", "#d07101", "#109141"
COLOURS = {INK: "ink", MUTED: "muted", LINE: "line", ACCENT: "accent", OBJECT: "object", GOAL: "goal"}

_SIZE, _WIDE = (3.5, 3.0), (7.3, 3.0)  # inches; two columns of the page and their gap are as wide as _WIDE

_RC = {
    "svg.fonttype": "none",  # text stays text: legible, selectable, in the page's own font
    "svg.hashsalt": "thalweg",
    "font.size": 9.0,
    "font.family": "DejaVu Sans",
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.5,
    "grid.alpha": 0.6,
    "text.color": INK,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "legend.labelcolor": MUTED,
    "lines.solid_capstyle": "round",
    "path.simplify_threshold": 0.3,
}


def figure(
    draw: Callable[[Axes], None],
    *,
    alt: str,
    wide: bool = False,
    ghost: bool = False,
    projection: str | None = None,
) -> str:
    """Draw on fresh axes and return ``<svg>`` markup with ``alt`` as its description.

    ``ghost`` leaves the other decisions faintly visible; ``projection="3d"`` gives three dimensions.
    """
    with matplotlib.rc_context(_RC):
        made = Figure(figsize=_WIDE if wide else _SIZE, layout="none" if projection else "constrained")
        axes = made.add_subplot(projection=projection) if projection else made.add_subplot()
        draw(axes)
        return to_svg(made, alt, kind="figure ghost" if ghost else "figure")


def decision_gid(decision: int) -> str:
    """Mark an artist as belonging to one decision: the page shows it when its slider is there."""
    return f"decision-{decision}"


def to_svg(made: Figure, alt: str, *, kind: str = "figure") -> str:
    """Inline, scheme-aware, compact ``<svg>`` of a figure."""
    text = io.StringIO()
    made.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.S)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'<g id="decision-(\d+)[^"]*">', r'<g data-decision="\1">', svg)
    svg = _unused_ids_removed(svg)
    svg = re.sub(r'(?<= d=")[^"]*', lambda match: re.sub(r"(\d\.\d)\d+", r"\1", match[0]), svg)
    svg = re.sub(r"(\d\.\d\d)\d+", r"\1", svg)
    svg = re.sub(r"\n\s*", "\n", svg)
    for stand_in, name in COLOURS.items():
        svg = svg.replace(stand_in, f"var(--{name})")
    svg = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', rf'<svg class="{kind}" role="img" viewBox="\1">', svg, count=1)
    return svg.replace(">", f"><title>{html.escape(alt)}</title>", 1).strip()


def _unused_ids_removed(svg: str) -> str:
    used = set(re.findall(r"#([\w.-]+)", svg))
    return re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", svg)
