#!/usr/bin/env bash
# The picture of energies over times to reach, on data recorded by cube-single-play.sh: half a minute.
set -euo pipefail
python "$(dirname "$0")/landscape.py" checkpoints/cube-single-play data/cube-single-play-v0-val.npz
