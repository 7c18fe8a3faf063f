#!/usr/bin/env bash
# The noisy row: on two CPU cores with bfloat16 about 20 minutes of recording, 6 of training and 2 of evaluation.
set -euo pipefail
thalweg collect cube-single --kind noisy
thalweg train data/cube-single-noisy-v0.npz --out runs/noisy-0 --steps 6000 --half
thalweg evaluate runs/noisy-0/checkpoint --out results/cube-single-noisy.json
