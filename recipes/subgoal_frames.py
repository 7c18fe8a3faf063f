"""What a planner from pixels foresees: at some decisions of an episode the nearest real frame to each subgoal.

thalweg evaluate runs/visual-long-horizon/backward-0/checkpoint --episodes 2 --seed 1 --no-floor \
    --out runs/visual-long-horizon/shown.json --report runs/visual-long-horizon/shown.html
python recipes/subgoal_frames.py runs/visual-long-horizon/shown.traces task2-000 0 20 45
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt

from thalweg.report.subgoals import foresee
from thalweg.trace import load_trace

PICTURE = Path(__file__).parent.parent / "docs" / "subgoals.png"


def main() -> None:
    """A row a decision: now; then for each subgoal and the goal the frame that is meant, and what came of it."""
    folder, name, *numbers = sys.argv[1:]
    decisions = [int(number) for number in numbers]
    traces = {path.stem: load_trace(path) for path in sorted(Path(folder).glob("*.npz"))}
    trace = traces.pop(name)
    shown = []
    for decision, plan in zip(decisions, foresee(trace, list(traces.values()), decisions), strict=True):
        step = int(trace.plan_step[decision])
        shown.append([(trace.cameras["front"][step], f"step {step}")])
        for subgoal, called in zip(plan, ("w2", "w1", "z_g"), strict=True):
            shown[-1].append((subgoal.planned, f"{called}, planned"))
            if subgoal.came is not None:
                shown[-1].append((subgoal.came, f"step {subgoal.due}"))
    count = max(map(len, shown))
    size = 1.37 * count, 1.55 * len(shown)
    figure, axes = plt.subplots(len(shown), count, figsize=size, squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.axis("off")
    for row, frames in zip(axes, shown, strict=True):
        for axis, (frame, told) in zip(row, frames, strict=False):
            axis.imshow(frame, interpolation="nearest")
            axis.set_title(told, fontsize=8, pad=2)
    figure.savefig(PICTURE, dpi=110)
    print(f"{PICTURE}: {trace.instruction!r}, {'success' if trace.head.success else 'failure'}")


if __name__ == "__main__":
    main()
