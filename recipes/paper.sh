#!/usr/bin/env bash
# The preset that follows the paper, on play and noisy data recorded before by the other recipes. It is trained briefly,
# for it is slow: a token at every step and a projector over each make 1.5 steps a second on two CPU cores, 17 minutes
# on play and 7 on noisy; evaluation takes five more for each.
set -euo pipefail
for run in play:1500 noisy:600; do
  kind=${run%:*}
  thalweg train "data/cube-single-$kind-v0.npz" --out "runs/paper-$kind" --preset paper --steps "${run#*:}" --half
  thalweg evaluate "runs/paper-$kind/checkpoint" --episodes 20 --out "results/paper-$kind.json"
done
