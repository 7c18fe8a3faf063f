#!/usr/bin/env bash
# What each choice is worth: a short training, the same for all, judged on 100 held-out random starts and goals.
# On data recorded by cube-single-play.sh and cube-single-noisy.sh; about two minutes a line on two CPU cores.
set -euo pipefail

train() { # name, then the changed settings
  local name=$1 settings=()
  for setting in "${@:2}"; do settings+=(--set "$setting"); done
  thalweg train "data/cube-single-$kind-v0.npz" --out "runs/ablations/$name" --steps 1000 "${settings[@]}"
  judge "$name" "$name"
}

judge() { # name of the result, name of the training, then flags
  thalweg evaluate "runs/ablations/$2/checkpoint" --held-out --episodes 100 --no-floor \
    --out "results/ablations/$1.json" "${@:3}"
}

kind=play
train base
for interval in 1 8 64; do judge "replanning-$interval" base --set "replan=$interval"; done
for rule in lowest_energy paper; do
  judge "untrained-level-$rule" base --set level=false --set "selection=$rule" --set hypotheses=32
done
for steps in 1 4 8; do judge "planning-steps-$steps" base --set "steps=$steps"; done
for count in 1 32; do judge "candidates-$count" base --set "hypotheses=$count"; done
judge no-discount base --set discount=1
for steps in 1 2 4; do judge "warm-start-steps-$steps" base --set warm=true --set "steps=$steps"; done
judge open-loop base --set tracking=false

train residual-encoder encoder.kind=residual
train no-projector model.projector=0
train one-step-in-training training.refinement=1
train no-angles 'angles=[]'
train labels-1-percent training.labelled=0.01
train labels-10-percent training.labelled=0.1
train recorded-goals windows.settled=0
train starts-anywhere windows.opening=0
train undisturbed-present training.state_noise=0 training.drift=0 training.outliers=0 training.elsewhere=0
train sharp-goals training.goal_noise=0
train no-pure-noise training.from_noise=0
train fast-coordinates training.fastest=1e9
train goals-not-held windows.hold_goal=false
train plans-of-latents model.displacement=false
train no-context-network model.context_depth=0
every=[$(seq -s , 4 4 96)]
train a-token-every-4-steps "model.offsets=$every" "windows.offsets=$every"

# At full length, what is done to the windows left out, all of it at once (the first seed of cube-single-play.sh beside it).
plain=(--set windows.hold_goal=false --set training.fastest=1e9)
for name in from_noise state_noise drift outliers elsewhere goal_noise; do plain+=(--set "training.$name=0"); done
thalweg train data/cube-single-play-v0.npz --out runs/ablations/full-plain --half "${plain[@]}"
full() { thalweg evaluate "$1" --held-out --episodes 1000 --no-floor --out "results/ablations/$2.json"; }
full runs/ablations/full-plain/checkpoint full-plain
full runs/play-0/checkpoint full-base

kind=noisy
train noisy-base
train noisy-no-angles 'angles=[]'
judge noisy-no-discount noisy-base --set discount=1
for rule in lowest_energy paper; do
  judge "noisy-untrained-level-$rule" noisy-base --set level=false --set "selection=$rule" --set hypotheses=32
done
