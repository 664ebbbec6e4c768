#!/usr/bin/env bash
# Compiles every shader of a training and an evaluation step with Tint, Chrome's WGSL compiler, which is stricter
# than wgpu's: scripts/tint_check.sh [FILE.wgsl...]
# Needs node and npm, and downloads the package `webgpu` (130 MB). RESNET names a program that is built already.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

npm install --silent --no-audit --no-fund --prefix "$work" webgpu@0.6
cp "$root/scripts/tint_check.mjs" "$work"
if [ $# -eq 0 ]; then
    for shape in '256 96' '4 28'; do
        read -r batch size <<<"$shape"
        flags=(bench --batch-size "$batch" --image-size "$size" --dump-wgsl "$work/wgsl")
        if [ -n "${RESNET:-}" ]; then
            "$RESNET" "${flags[@]}"
        else
            cargo run --release --quiet --manifest-path "$root/Cargo.toml" -- "${flags[@]}"
        fi
    done
    set -- "$work"/wgsl/*.wgsl
fi
failed=0
for file in "$@"; do
    timeout 60 node "$work/tint_check.mjs" "$file" || failed=$((failed + 1))
done
echo "$(($# - failed)) passed, $failed failed"
[ "$failed" = 0 ]
