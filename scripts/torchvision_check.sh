#!/usr/bin/env bash
# Compares the logits of `resnet predict` with those of torchvision's own ResNets, and loads a run's weights into them.
#   scripts/torchvision_check.sh [BINARY [NETWORK…]]      builds target/release/resnet where no binary is named
# Without networks: resnet18 34 50 101 152, two pre-activation ones, timm's resnet18 where timm is there, and the way back.
# PyTorch comes from PyPI into target/peers (about 5 GB), or from the environment that RESNET_PEERS_VENV names.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${RESNET_PEERS_VENV:-target/peers}
if ! [ -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
fi
if ! "$venv/bin/python" -c 'import torch, torchvision, numpy, safetensors, PIL' 2>/dev/null; then
    "$venv/bin/pip" install --quiet torch torchvision numpy safetensors pillow
fi
if [ $# -eq 0 ]; then
    cargo build --release --locked
fi
exec "$venv/bin/python" scripts/torchvision_check.py "${1:-target/release/resnet}" "${@:2}"
