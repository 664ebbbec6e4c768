#!/usr/bin/env bash
# Reads the event files of a short run with TensorBoard's own reader and compares them with the run's metrics. Makes a
# Python environment in target/tensorboard. Usage: scripts/tensorboard_check.sh [RESNET]
set -euo pipefail
cd "$(dirname "$0")/.."
resnet=${1:-target/release/resnet}
venv=target/tensorboard
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet tensorboard
fi
run=$(mktemp -d)
trap 'rm -rf "$run"' EXIT
train=(train --data sample --device cpu --image-size 28 --batch-size 64 --limit-batches 8)
"$resnet" "${train[@]}" --epochs 1 --save-every 3 --tensorboard --out "$run/run"
sleep 1
"$resnet" train --resume "$run/run" --epochs 2
"$venv/bin/python" scripts/tensorboard_check.py "$run/run" target/tensorboard/confusion.png
