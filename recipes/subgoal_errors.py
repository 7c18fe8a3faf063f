"""How far off are subgoals, the farther ahead they lie? Backward, forward and parallel planning on held-out episodes.

python recipes/subgoal_errors.py BACKWARD FORWARD PARALLEL --data DATA-val.npz --out results/subgoal-errors.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from thalweg import EpisodeStore, load_checkpoint
from thalweg.lbp.goals import embed
from thalweg.lbp.subgoals import subgoal_steps
from thalweg.lbp.system import LBP
from thalweg.results import versions

PICTURE = Path(__file__).parent.parent / "docs" / "subgoal-errors.png"
MOMENTS = 8  #: of each episode from which it is planned, evenly over its first half
COLOURS = {"backward": "#2161d1", "forward": "#d1662a", "parallel": "#2a9d5c"}


@torch.no_grad()
def errors(model: LBP, store: EpisodeStore) -> dict[str, list[float]]:
    """Squared error per latent coordinate, in units of its variance, of every token of plans that are told the goal.

    Returns:
        ``ahead``: the share of the way to the end at which a token lies, near to far, the goal at 1; ``error`` and its
        95% interval ``low`` and ``high``, by bootstrap over episodes.
    """
    config = model.config.subgoals
    language = embed(model.config.text, store.instructions)
    found = []
    for episode in range(len(store)):
        first, last = int(store.starts[episode]), int(store.ends[episode]) - 1
        now = np.linspace(first, (first + last) // 2, MOMENTS).astype(int)
        reach = last - now
        rows = now[:, None] + np.c_[subgoal_steps(reach, config.ratio, config.depth)[:, ::-1], reach]
        said = language[episode].expand(len(now), -1)
        present, truth = (model.senses.recorded(store, model.senses.encode(store), part) for part in (now, rows))
        plan = model.subgoals(present, model.subgoals.goal(present, said), said)
        found.append((plan - truth).square().mean(dim=(0, 2)).numpy())
    by_episode = np.array(found)
    rng = np.random.default_rng(0)
    drawn = by_episode[rng.integers(0, len(by_episode), (2000, len(by_episode)))].mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    ahead = [config.ratio**level for level in range(config.depth, -1, -1)]
    values = {"error": by_episode.mean(axis=0), "low": low, "high": high}
    return {"ahead": ahead} | {name: value.astype(float).round(5).tolist() for name, value in values.items()}


def main() -> None:
    """Measure every checkpoint, write the record, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", nargs="+")
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    store = EpisodeStore.open(options.data)
    found = {}
    for source in options.checkpoints:
        model, _ = load_checkpoint(source)
        found[model.config.subgoals.scheme] = errors(model, store)
    record = {"episodes": len(store), "data_fingerprint": store.fingerprint, "errors": found, "versions": versions()}
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    figure, axis = plt.subplots(figsize=(5, 3.5), layout="constrained")
    for scheme, values in found.items():
        axis.plot(values["ahead"], values["error"], "o-", color=COLOURS[scheme], label=scheme, markersize=4)
        axis.fill_between(
            values["ahead"], values["low"], values["high"], color=COLOURS[scheme], alpha=0.15, linewidth=0
        )
    axis.set(xlabel="share of the way to the end", ylabel="squared error (of a latent's variance)", xscale="log")
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False)
    figure.savefig(PICTURE, dpi=150)


if __name__ == "__main__":
    main()
