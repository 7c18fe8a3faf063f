#!/usr/bin/env bash
# Whether the shipped checkpoint's plans work as often as it says: eight minutes of attempts to learn from on two CPU
# cores, then four on other starts and goals.
set -euo pipefail
thalweg calibrate checkpoints/cube-single-play
python "$(dirname "$0")/reach_probability.py" checkpoints/cube-single-play --out results/reach-probability.json
