#!/usr/bin/env bash
# Installs what is missing, builds, and trains: scripts/train.sh [flags of `resnet train`]
set -euo pipefail
# Paths among the flags are meant from where the user stands; the run's folder goes there too.
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/setup.sh"
setup
cargo build --release --manifest-path "$root/Cargo.toml"
target=$(cargo metadata --manifest-path "$root/Cargo.toml" --format-version 1 --no-deps |
    sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
exec "$target/release/resnet" train "$@"
