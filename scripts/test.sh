#!/usr/bin/env bash
# Installs what is missing and runs the tests: scripts/test.sh [--all] [flags of `cargo test`]
# Without --all those tests are left out that compile hundreds of kernels on a software adapter, minutes each.
# With RESNET_REQUIRE_GPU=1 a missing adapter is a failure; otherwise its tests say that they are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh
setup
if [ "${1:-}" = --all ]; then
    shift
    exec cargo test --locked "$@" -- --include-ignored
fi
exec cargo test --locked "$@"
