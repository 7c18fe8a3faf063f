#!/usr/bin/env bash
# The noisy row, on two fifths of the official size: about 8 minutes of recording, 6 of training and 3 of evaluation on
# two CPU cores with bfloat16.
set -euo pipefail
thalweg collect cube-single --kind noisy --episodes 400
thalweg train data/cube-single-noisy-v0.npz --out runs/noisy-0 --steps 6000 --half
thalweg evaluate runs/noisy-0/checkpoint --out results/cube-single-noisy.json
