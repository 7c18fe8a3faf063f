#!/usr/bin/env bash
# The noisy row: on two CPU cores with bfloat16 about 20 minutes of recording, 6 of training, 2 for the cloned floor and
# 2 of evaluation.
set -euo pipefail
data=data/cube-single-noisy-v0.npz
thalweg collect cube-single --kind noisy
thalweg train "$data" --out runs/noisy-0 --steps 6000 --half
thalweg train "$data" --out runs/noisy-clone --preset clone --steps 20000
thalweg evaluate runs/noisy-0/checkpoint --cloning runs/noisy-clone/checkpoint --out results/cube-single-noisy.json
