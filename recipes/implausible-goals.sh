#!/usr/bin/env bash
# Which goals the shipped checkpoint calls implausible: goals in the simulator, half a minute.
set -euo pipefail
python "$(dirname "$0")/implausible_goals.py" checkpoints/cube-single-play --out results/implausible-goals.json
