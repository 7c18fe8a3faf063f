#!/usr/bin/env bash
# LBP on LIBERO-LONG, the paper's benchmark: ten tasks in words, from two cameras. Needs thalweg[libero], LIBERO's assets
# (it downloads them itself) and a GPU. MuJoCo below 3.3.3 renders floors as bright as they are in the demonstrations.
# DATA is a folder of libero_10's ten HDF5 files, LIBERO's own or as OpenVLA regenerates them, which the paper trains on;
# or a LeRobotDataset v3 of these ten tasks alone: recipes/libero-long.sh [DATA]
set -euo pipefail
data=${1:-data/libero_10}
thalweg train "$data" --preset lbp --out runs/libero-long --env libero-long --device cuda
thalweg evaluate runs/libero-long/checkpoint --env libero-long --episodes 20 --out results/libero-long.json
