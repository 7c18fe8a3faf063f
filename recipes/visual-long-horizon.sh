#!/usr/bin/env bash
# LBP and no planner on the ten long-horizon tasks from 64 by 64 pixels and proprioception: one training seed, 20 episodes a
# task on starts that nobody looked at while tasks and planners were made (--seed 2), paraphrases held out. The image encoder
# is trained on the demonstrations' own frames, and both share it. On two CPU cores ten minutes of recording, ten for the
# encoder, half an hour for each policy, and twenty for each evaluation.
set -euo pipefail
data=data/visual-long-horizon-demos-v0.npz
runs=runs/visual-long-horizon
export OMP_NUM_THREADS=1 # two of these fit on two cores; uncompiled is as fast and begins at once
thalweg collect visual-long-horizon

train() { # scheme
  thalweg train "$data" --preset lbp --steps 8000 --batch 64 --no-compile --seed 0 --out "$runs/$1-0" \
    --set "subgoals.scheme=$1"
}

train backward
mkdir -p "$runs/none-0"
cp -r "$runs/backward-0/images" "$runs/none-0/" # the encoder's training, finished: it is taken as it is
train none
for scheme in backward none; do
  thalweg evaluate "$runs/$scheme-0/checkpoint" --episodes 20 --seed 2 --together 10 --no-floor \
    --out "results/visual-long-horizon/$scheme.json"
done
