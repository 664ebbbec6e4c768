#!/usr/bin/env bash
# Shows the report of a run to headless Chromium, which is installed where apt-get can: scripts/report_check.sh [RUN]
# Without a run it trains one of seconds. It runs the tests of the report, and leaves pictures in three widths, light and
# dark, and as printed, in target/report.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh
if ! command -v chromium >/dev/null 2>&1; then
    can_install || {
        echo 'Chromium is missing, and apt-get cannot install it here.' >&2
        exit 1
    }
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium
fi
cargo build --locked
out=$PWD/target/report
mkdir -p "$out"
run=${1:-}
if [ -z "$run" ]; then
    run=$(mktemp -d)/run
    target/debug/resnet train --data sample --device cpu --image-size 28 --limit-batches 4 --batch-size 64 --epochs 3 --out "$run"
fi
page=$(realpath "$run")/report.html
browser() {
    chromium --headless=new --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$(mktemp -d)" "$@" "file://$page" 2>/dev/null
}
for width in 400 800 1600; do
    browser --window-size=$width,3600 --virtual-time-budget=3000 --screenshot="$out/light-$width.png"
    browser --window-size=$width,3600 --virtual-time-budget=3000 --force-dark-mode --blink-settings=preferredColorScheme=0 \
        --screenshot="$out/dark-$width.png"
done
browser --virtual-time-budget=3000 --no-pdf-header-footer --print-to-pdf="$out/printed.pdf"
echo "pictures in $out"
cargo test --locked --test integration report::
