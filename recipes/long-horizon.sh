#!/usr/bin/env bash
# LBP against the planners that it is argued against, on the ten long-horizon tasks told in words, from state. The same
# demonstrations, networks, policy and steps for all; 3 training seeds, 20 episodes a task, paraphrases held out.
# About five minutes a training and two an evaluation of one seed, on two CPU cores. Measured so far: backward and none, one
# seed each (docs/results.md); the shipped checkpoint is backward-0, with its weights halved (--half).
set -euo pipefail
data=data/long-horizon-demos-v0.npz
thalweg collect long-horizon

train() { # name, seed, then the changed settings
  local settings=()
  for setting in "${@:3}"; do settings+=(--set "$setting"); done
  thalweg train "$data" --preset lbp --steps 5000 --no-compile --seed "$2" --out "runs/long-horizon/$1-$2" "${settings[@]}"
}

judge() { # name, seeds, then flags
  local checkpoints=()
  for seed in $2; do checkpoints+=("runs/long-horizon/$1-$seed/checkpoint"); done
  thalweg evaluate "${checkpoints[@]}" --episodes 20 --no-floor --out "results/long-horizon/${4:-$1}.json" ${3:+--set "$3"}
}

for seed in 0 1 2; do
  train backward $seed
  for scheme in none final forward parallel; do train $scheme $seed "subgoals.scheme=$scheme"; done
done
for scheme in backward none final forward parallel; do judge $scheme "0 1 2"; done
thalweg evaluate random --env long-horizon --episodes 20 --out results/long-horizon/random.json

train one-planner 0 subgoals.folds=1 # as in the paper: the policy learns from plans that the planner knows by heart
train depth-1 0 subgoals.depth=1
train depth-3 0 subgoals.depth=3
train ratio-75 0 subgoals.ratio=0.75
train average 0 policy.fusion=average
train no-grips 0 'grips=[]' 'turns=[]' policy.observation=58
for name in one-planner depth-1 depth-3 ratio-75 average no-grips; do judge $name 0; done
for name in backward none; do # on starts that nobody looked at while tasks and planners were made
  thalweg evaluate "runs/long-horizon/$name-0/checkpoint" --episodes 20 --seed 1 --no-floor \
    --out "results/long-horizon/$name-fresh-starts.json"
done
judge backward 0 sampling=25 sampling-25
judge backward 0 sampling=2 sampling-2

for scheme in backward forward parallel; do train deep-$scheme 0 subgoals.scheme=$scheme subgoals.depth=4; done
python recipes/subgoal_errors.py runs/long-horizon/deep-{backward,forward,parallel}-0/checkpoint \
  --data data/long-horizon-demos-v0-val.npz --out results/subgoal-errors.json
