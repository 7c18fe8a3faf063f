#!/usr/bin/env bash
# LBP on LIBERO-LONG, the paper's benchmark: ten tasks in words, from two cameras. Needs thalweg[libero,libero-data,language]
# (or lerobot in place of libero-data), LIBERO's assets (it downloads them itself) and a GPU. MuJoCo below 3.3.3 renders
# floors as bright as they are in the demonstrations. It is evaluated on frames as large as those of the demonstrations.
# DATA is a folder of libero_10's ten HDF5 files, LIBERO's own or as OpenVLA regenerates them, which the paper trains on;
# or a LeRobotDataset v3 of these ten tasks alone. ENCODER is DecisionNCE's file of weights, as in the paper, or a folder or
# hub id of CLIP or SigLIP (thalweg[vision]); without one an encoder is trained on the demonstrations' own frames:
# recipes/libero-long.sh [DATA] [ENCODER]
set -euo pipefail
data=${1:-data/libero_10}
encoder=("${@:2:1}")
thalweg train "$data" --preset lbp --out runs/libero-long --env libero-long --device cuda --no-compile \
  "${encoder[@]/#/--encoder=}"
thalweg evaluate runs/libero-long/checkpoint --env libero-long --episodes 20 --out results/libero-long.json
