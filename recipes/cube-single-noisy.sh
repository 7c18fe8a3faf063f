#!/usr/bin/env bash
# The noisy row: about 15 minutes of recording, 10 of training and 3 of evaluation on two CPU cores with bfloat16.
set -euo pipefail
thalweg collect cube-single --kind noisy
thalweg train data/cube-single-noisy-v0.npz --out runs/noisy-0 --steps 6000 --half
thalweg evaluate runs/noisy-0/checkpoint --out results/cube-single-noisy.json --report runs/noisy.html
