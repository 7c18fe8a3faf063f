#!/usr/bin/env bash
# The cube-double rows (PaD's default, LBP), and how choosing the plan matters there: on two CPU cores with bfloat16 about
# 25 minutes of recording, 7 and 6 of training and 15 for each evaluation.
set -euo pipefail
data=data/cube-double-play-v0.npz
thalweg collect cube-double --kind play
thalweg train "$data" --out runs/double-0 --steps 6000 --half
thalweg evaluate runs/double-0/checkpoint --out results/cube-double-play.json
thalweg train "$data" --preset lbp --no-compile --out runs/double-lbp-0 --half
thalweg evaluate runs/double-lbp-0/checkpoint --no-floor --together 10 --out results/cube-double-play-lbp.json

judge() { # name of the result, then flags
  thalweg evaluate runs/double-0/checkpoint --held-out --episodes 100 --no-floor \
    --out "results/ablations/double-$1.json" "${@:2}"
}
judge base
judge one-goal --set milestones=false
for rule in lowest_energy paper; do
  judge "untrained-level-$rule" --set level=false --set "selection=$rule" --set hypotheses=32
done
