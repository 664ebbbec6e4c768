#!/usr/bin/env bash
# Checks resnet_torch.py, the printed PyTorch modules, against `resnet`: weights, answers and the way back.
#   scripts/torch_check.sh [BINARY]      builds target/release/resnet where no binary is named
# PyTorch comes from PyPI into target/peers (about 5 GB), or from the environment that RESNET_PEERS_VENV names.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${RESNET_PEERS_VENV:-target/peers}
if ! [ -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
fi
if ! "$venv/bin/python" -c 'import torch, numpy, safetensors, PIL, onnxscript, onnxruntime' 2>/dev/null; then
    "$venv/bin/pip" install --quiet torch numpy safetensors pillow onnx onnxscript onnxruntime
fi
if [ $# -eq 0 ]; then
    cargo build --release --locked
fi
exec "$venv/bin/python" scripts/torch_check.py "${1:-target/release/resnet}"
