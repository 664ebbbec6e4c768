#!/usr/bin/env bash
# Compiles every shader of a training and an evaluation step, fused and not, in f32 and in f16, with convolutions in
# every tile, with Tint, Chrome's WGSL compiler, which is stricter than wgpu's: scripts/tint_check.sh [FILE.wgsl...]
# Needs node and npm, and downloads the package `webgpu` (130 MB). RESNET names a program that is built already.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

npm install --silent --no-audit --no-fund --prefix "$work" webgpu@0.6
cp "$root/scripts/tint_check.mjs" "$work"
if [ $# -eq 0 ]; then
    # Shapes choose the tiles alone, of which all are written. The kernels of updates are the same in both precisions.
    for setup in "f32 sgd" "f16 adamw"; do for variant in --micro-batch=4 --micro-batch=2 --no-fuse; do
        read -r precision optimizer <<< "$setup"
        flags=(bench --batch-size 4 --image-size 96 --precision "$precision" --optimizer "$optimizer" --clip-grad 1 --ema 0.9
            "$variant" --dump-wgsl "$work/wgsl")
        if [ -n "${RESNET:-}" ]; then
            "$RESNET" "${flags[@]}"
        else
            cargo run --release --quiet --manifest-path "$root/Cargo.toml" -- "${flags[@]}"
        fi
    done; done
    set -- "$work"/wgsl/*.wgsl
fi
# Each in a process of its own, one per core at a time.
printf '%s\0' "$@" | xargs -0 -P "$(nproc)" -n 1 sh -c 'timeout 60 node "$0" "$1" || echo "FAIL  $1"' "$work/tint_check.mjs" |
    tee "$work/log"
failed=$(sort -u "$work/log" | grep -c '^FAIL' || true)
echo "$(($# - failed)) passed, $failed failed"
[ "$failed" = 0 ]
