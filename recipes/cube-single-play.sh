#!/usr/bin/env bash
# The shipped checkpoint and its row in the table: about 15 minutes of recording, 30 of training and 3 of evaluation
# on two CPU cores with bfloat16.
set -euo pipefail
thalweg collect cube-single --kind play
thalweg train data/cube-single-play-v0.npz --out runs/play --steps 23000 --seed 0 --half
thalweg evaluate runs/play/checkpoint --out results/cube-single-play.json --report runs/play/report.html
