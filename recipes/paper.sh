#!/usr/bin/env bash
# The preset that follows the paper, trained briefly, on play and noisy data recorded before by the other recipes.
set -euo pipefail
for kind in play noisy; do
  thalweg train "data/cube-single-$kind-v0.npz" --out "runs/paper-$kind" --preset paper --steps 1500 --half
  thalweg evaluate "runs/paper-$kind/checkpoint" --out "results/paper-$kind.json"
done
