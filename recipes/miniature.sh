#!/usr/bin/env bash
# From nothing to a working planner on two cores in nine minutes: collect, train, evaluate, report.
set -euo pipefail
thalweg collect cube-single --kind play --episodes 150 --out data/miniature
thalweg train data/miniature/cube-single-play-v0.npz --out runs/miniature --steps 3000 --half
thalweg evaluate runs/miniature/checkpoint --episodes 20 --out results/miniature.json --report runs/miniature/report.html
