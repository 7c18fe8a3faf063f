#!/usr/bin/env bash
# How short a training reaches 90% on cube-single-noisy: on data recorded by cube-single-noisy.sh, half a minute to two
# minutes of training each on two CPU cores, and one of evaluation.
set -euo pipefail
for steps in 250 500 1000; do
  thalweg train data/cube-single-noisy-v0.npz --out "runs/noisy-$steps" --steps "$steps"
  thalweg evaluate "runs/noisy-$steps/checkpoint" --no-floor --out "results/minutes-to-90/$steps-steps.json"
done
