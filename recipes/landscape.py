"""The energy over times to reach: as PaD's loss leaves it, and with its level trained.

python recipes/landscape.py checkpoints/cube-single-play data/cube-single-play-v0-val.npz
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from thalweg import EpisodeStore, load_checkpoint
from thalweg.data.windows import WindowSampler
from thalweg.pad.planner import discounted, plan

PICTURE = Path(__file__).parent.parent / "docs" / "landscape.png"
TIMES = (12, 30, 50, 70)  # steps that the recording took
STEPS = torch.arange(2.0, 96.0)


@torch.no_grad()
def energies(model, past: np.ndarray, goal: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """``(N, K)`` final energies of N windows under K times to reach, before and after."""
    past, goal = torch.from_numpy(past), torch.from_numpy(goal)
    reach = STEPS.expand(len(past), -1)
    context = model.context(past, torch.full((len(past),), model.past), goal, reach[:, 0])
    noise = torch.randn(*reach.shape, *model.model.scale.shape, generator=torch.Generator().manual_seed(0))
    belief = model.reach(model.normaliser(past[:, -1], fast=True), model.normaliser(goal), context.relations)
    common = {"config": model.config.planner, "pick": torch.zeros(len(past)), "elapsed": torch.zeros(len(past))}
    level = model.level(discounted(belief, model.config.planner.discount), reach, model.plausibility(goal))
    before, after = (plan(model.model, context, reach, noise, level=each, **common) for each in (None, level))
    return before.candidate_energy, after.candidate_energy


def main() -> None:
    """Draw both for recorded windows whose time to reach is known."""
    checkpoint, data = sys.argv[1:]
    model, _ = load_checkpoint(checkpoint)
    sampler = WindowSampler(EpisodeStore.open(data), model.config.windows)
    index = sampler.draw(20_000, np.random.default_rng(0))
    past, _, goal = sampler.gather(index)
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for color, time in zip(("#2161d1", "#c2410c", "#15803d", "#7e22ce"), TIMES, strict=True):
        rows = np.flatnonzero(index.settled & (index.reach == time))[:100]
        for axis, values in zip(axes, energies(model, past[rows], goal[rows]), strict=True):
            middle, low, high = values.quantile(torch.tensor([0.5, 0.25, 0.75]), dim=0)
            axis.plot(STEPS, middle, color=color, label=f"reached after {time} steps")
            axis.fill_between(STEPS, low, high, color=color, alpha=0.15, linewidth=0)
            axis.axvline(time, color=color, linewidth=0.8, linestyle=":")
    for axis, title in zip(axes, ("as PaD's loss leaves it", "with its level trained"), strict=True):
        axis.set(title=title, xlabel="time to reach asked for, in steps", ylabel="final energy")
    axes[1].legend(frameon=False, fontsize=8)
    figure.savefig(PICTURE, dpi=120)
    print(PICTURE)


if __name__ == "__main__":
    main()
