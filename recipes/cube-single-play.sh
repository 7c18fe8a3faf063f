#!/usr/bin/env bash
# The table's first row, and the shipped checkpoint (its first seed): on two CPU cores with bfloat16 about 15 minutes
# of recording, 5 of training for each of three seeds, 2 for the cloned floor and 4 of evaluation.
set -euo pipefail
data=data/cube-single-play-v0.npz
thalweg collect cube-single --kind play
for seed in 0 1 2; do
  thalweg train "$data" --out "runs/play-$seed" --steps 6000 --seed "$seed" --half
done
thalweg train "$data" --out runs/play-clone --preset clone --steps 20000
thalweg evaluate runs/play-{0,1,2}/checkpoint --cloning runs/play-clone/checkpoint \
  --out results/cube-single-play.json
