#!/usr/bin/env bash
# The preset that follows the paper, on play and noisy data recorded before by the other recipes. It is trained briefly,
# for it is slow: a token at every step and a projector over each make 1.5 steps a second on two CPU cores, 17 minutes
# on play and 5 on noisy; evaluation takes ten more on play and five on noisy.
set -euo pipefail
run() { # kind, training steps, episodes a task
  thalweg train "data/cube-single-$1-v0.npz" --out "runs/paper-$1" --preset paper --steps "$2" --half
  thalweg evaluate "runs/paper-$1/checkpoint" --episodes "$3" --out "results/paper-$1.json"
}
run play 1500 20
run noisy 400 10
