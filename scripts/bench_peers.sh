#!/usr/bin/env bash
# Times `resnet bench` on the CPU beside PyTorch, in turns, and prints the ratio of the medians:
#   scripts/bench_peers.sh [ROUNDS [CASE]]      CASE is a part of the names of the cases, such as bf16 or resnet50
# PyTorch comes from PyPI into target/peers (about 5 GB), or from the environment that RESNET_PEERS_VENV names.
# RESNET_PEERS_THREADS=1 and RESNET_PEERS_STEPS=2 hold for both; RESNET_PEERS_BINARY names a `resnet` that is built already.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-3}
venv=${RESNET_PEERS_VENV:-target/peers}
if ! [ -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet torch numpy safetensors
fi
[ -n "${RESNET_PEERS_BINARY:-}" ] || cargo build --release --locked
exec "$venv/bin/python" scripts/bench_peers.py "$rounds" "${2:-}"
