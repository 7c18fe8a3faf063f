#!/usr/bin/env bash
# The scene-play rows: PaD's default, one training seed, and LBP, two, on the five official tasks. On two CPU cores with
# bfloat16 about 25 minutes of recording, 7 and 6 of training, and four for each evaluation. The first training of LBP,
# results/scene-play-lbp.json and the checkpoint that ships, is of commit fa1d483, whose recipe makes it.
set -euo pipefail
data=data/scene-play-v0.npz
thalweg collect scene --kind play
thalweg train "$data" --out runs/scene-0 --half
thalweg evaluate runs/scene-0/checkpoint --no-floor --together 10 --out results/scene-play.json
for seed in 0 1; do
  thalweg train "$data" --preset lbp --no-compile --seed $seed --out runs/scene-lbp-$seed --half
  thalweg evaluate runs/scene-lbp-$seed/checkpoint --no-floor --together 10 --out results/scene-play-lbp-seed-$seed.json
done
thalweg evaluate random --env scene --episodes 20 --out results/scene-random.json
