#!/usr/bin/env bash
# Installs what is missing and runs all tests: scripts/test.sh [flags of `cargo test`]
# With RESNET_REQUIRE_GPU=1 a missing adapter is a failure; otherwise its tests say that they are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh
setup
exec cargo test --locked "$@"
