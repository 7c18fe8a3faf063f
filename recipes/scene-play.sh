#!/usr/bin/env bash
# The scene-play rows: PaD's default and LBP, one training seed each, on the five official tasks. On two CPU cores with
# bfloat16 about 25 minutes of recording, 7 and 6 of training, and four for each evaluation.
set -euo pipefail
data=data/scene-play-v0.npz
thalweg collect scene --kind play
thalweg train "$data" --out runs/scene-0 --half
thalweg train "$data" --preset lbp --no-compile --out runs/scene-lbp-0 --half
thalweg evaluate runs/scene-0/checkpoint --no-floor --together 10 --out results/scene-play.json
thalweg evaluate runs/scene-lbp-0/checkpoint --no-floor --together 10 --out results/scene-play-lbp.json
thalweg evaluate random --env scene --episodes 20 --out results/scene-random.json
