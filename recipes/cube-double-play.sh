#!/usr/bin/env bash
# The cube-double row, and how choosing the plan matters there: on two CPU cores with bfloat16 about 25 minutes of
# recording, 7 of training and 15 of evaluation.
set -euo pipefail
data=data/cube-double-play-v0.npz
thalweg collect cube-double --kind play
thalweg train "$data" --out runs/double-0 --steps 6000 --half
thalweg evaluate runs/double-0/checkpoint --out results/cube-double-play.json

judge() { # name of the result, then flags
  thalweg evaluate runs/double-0/checkpoint --held-out --episodes 100 --no-floor \
    --out "results/ablations/double-$1.json" "${@:2}"
}
judge base
judge one-goal --set milestones=false
for rule in lowest_energy paper; do
  judge "untrained-level-$rule" --set level=false --set "selection=$rule" --set hypotheses=32
done
