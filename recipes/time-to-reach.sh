#!/usr/bin/env bash
# How often the shipped checkpoint's first 80% interval holds the time that it then took: 300 held-out episodes, a minute.
set -euo pipefail
python "$(dirname "$0")/time_to_reach.py" checkpoints/cube-single-play --out results/time-to-reach.json
