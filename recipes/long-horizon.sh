#!/usr/bin/env bash
# LBP against the planners that it is argued against, on the ten long-horizon tasks told in words, from state. The same
# demonstrations, networks, policy and steps for all; 3 training seeds, 20 episodes a task on starts that nobody looked at
# while tasks and planners were made (--seed 2), paraphrases held out. About thirteen minutes a training and four an
# evaluation of one seed on one CPU core: three hours in all on two.
set -euo pipefail
data=data/long-horizon-demos-v0.npz
export OMP_NUM_THREADS=1 # two of these fit on two cores; uncompiled is as fast and begins at once
thalweg collect long-horizon

train() { # name, seed, then the changed settings
  local settings=()
  for setting in "${@:3}"; do settings+=(--set "$setting"); done
  thalweg train "$data" --preset lbp --steps 10000 --batch 128 --no-compile --half --seed "$2" \
    --out "runs/long-horizon/$1-$2" "${settings[@]}"
}

judge() { # name, seeds, name of the record, then flags
  local checkpoints=()
  for seed in $2; do checkpoints+=("runs/long-horizon/$1-$seed/checkpoint"); done
  thalweg evaluate "${checkpoints[@]}" --episodes 20 --seed 2 --together 10 --no-floor --out "results/long-horizon/$3.json" "${@:4}"
}

for seed in 0 1 2; do
  for scheme in backward none final forward parallel; do train $scheme $seed "subgoals.scheme=$scheme"; done
done
for scheme in backward none final forward parallel; do judge $scheme "0 1 2" $scheme; done
thalweg evaluate random --env long-horizon --episodes 20 --seed 2 --out results/long-horizon/random.json

for depth in 0 1 3; do judge backward 0 depth-$depth --set depth=$depth; done # one checkpoint, other plans
judge backward 0 ratio-75 --set ratio=0.75
for steps in 1 25; do judge backward 0 sampling-$steps --set sampling=$steps; done

train average 0 policy.fusion=average
train one-planner 0 subgoals.folds=1 # as in the paper: the policy learns from plans that the planner knows by heart
train not-told 0 subgoals.chooses=false # the policy is not told what the plan moves next
for name in average one-planner not-told; do judge $name 0 $name; done

for scheme in backward forward parallel; do # of these only the planners are looked at
  train deep-$scheme 0 subgoals.scheme=$scheme subgoals.depth=4 policy.width=32 policy.depth=1 policy.blocks=1 policy.fused=32
done
python recipes/subgoal_errors.py runs/long-horizon/deep-{backward,forward,parallel}-0/checkpoint \
  --data data/long-horizon-demos-v0-val.npz --out results/subgoal-errors.json
