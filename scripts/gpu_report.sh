#!/usr/bin/env bash
# What a GPU makes of the kernels.
#
#   scripts/gpu_report.sh [CARD...]      without a GPU: AMD's real compiler for cards that are not there
#                                        (navi21, navi31 and vega10 by default; also navi10, gfx1150, vangogh,
#                                        polaris10, renoir), and the executor's own time, since nothing is computed
#   scripts/gpu_report.sh --device 0 [--out FILE] [--card NAME]
#                                        on a real GPU: devices, verify, and a profile, in one file to send back;
#                                        NAME is a card whose peaks `resnet bench` knows, such as "RTX 4090"
#
# RESNET names a program that is built already.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

fail() {
    echo "$*" >&2
    exit 1
}

build() {
    [ -n "${RESNET:-}" ] && return
    cargo build --release --manifest-path "$root/Cargo.toml"
    RESNET=$(cargo metadata --manifest-path "$root/Cargo.toml" --format-version 1 --no-deps |
        sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release/resnet
}

# Runs a command and says which it was; a command that fails does not end the report.
say() {
    printf '\n$ resnet %s\n' "$*"
    "$RESNET" "$@" 2>&1 || echo "exit code $?"
}

# The report of a real GPU: its device, and perhaps the flag that names its peaks.
real() {
    local device=$1
    shift
    uname -srm
    say --version
    say devices
    say verify --device "$device"
    say verify --device "$device" --checked
    say verify --device "$device" --precision f16
    say bench --device "$device" --batch-size 256 --steps 20 --profile "$@"
    say bench --device "$device" --batch-size 256 --steps 20 --deterministic
    say bench --device "$device" --batch-size 64 --steps 20
    say bench --device "$device" --batch-size 256 --steps 20 --checked
    say bench --device "$device" --batch-size 256 --steps 20 --precision f16
    say bench --device "$device" --batch-size 256 --steps 20 --precision f16 --matmul-precision medium
}

# Mesa's library that pretends to be an AMD card, of the same version as the installed driver.
shim() {
    local folder=${XDG_CACHE_HOME:-$HOME/.cache}/resnet/mesa-drm-shim version
    mkdir -p "$folder"
    library=$(find /usr/lib "$folder" -name libamdgpu_noop_drm_shim.so | head -n 1)
    [ -n "$library" ] && return
    version=$(dpkg-query -W -f '${Version}' mesa-vulkan-drivers) ||
        fail 'Needs Debian or Ubuntu with mesa-vulkan-drivers: scripts/test.sh installs it.'
    (cd "$folder" && apt-get download "mesa-drm-shim=$version" && dpkg -x mesa-drm-shim_*.deb .) >&2 ||
        fail "Could not download mesa-drm-shim $version: by hand, apt-get install mesa-drm-shim"
    library=$(find "$folder" -name libamdgpu_noop_drm_shim.so)
}

# The card that is not there never writes how far it has come. This says: everything is done.
finished() {
    cc -shared -fPIC -x c -o "$work/finished.so" - <<'C'
#include <stdint.h>
int drmSyncobjQuery(int fd, uint32_t *handles, uint64_t *points, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) points[i] = INT64_MAX;
    return 0;
}
int drmSyncobjQuery2(int fd, uint32_t *handles, uint64_t *points, uint32_t count, uint32_t flags) {
    return drmSyncobjQuery(fd, handles, points, count);
}
C
}

# Runs the bench on a card that is not there, with no compiled kernels kept from before.
bench() {
    local card=$1
    shift
    env AMDGPU_GPU_ID="$card" NODEVICE_SELECT=1 WGPU_BACKEND=vulkan MESA_SHADER_CACHE_DISABLE=true \
        XDG_CACHE_HOME="$work" VK_DRIVER_FILES=/usr/share/vulkan/icd.d/radeon_icd.json LD_PRELOAD="$library:$work/finished.so" \
        "$RESNET" bench --device gpu "$@"
}

# The report of a card that is not there; what follows its name are flags of `resnet bench`.
fake() {
    local card=$1
    shift
    rm -rf "$work/resnet"
    bench "$card" --steps 50 --json "$@" >"$work/bench.json" 2>"$work/errors" || fail "$(cat "$work/errors")"
    rm -rf "$work/resnet"
    # One thread compiles, so that the dumps do not mix.
    RAYON_NUM_THREADS=1 RADV_DEBUG=shaders,shaderstats bench "$card" --steps 1 --trace "$work/trace.json" \
        "$@" >/dev/null 2>"$work/dump"
    python3 - "$work/bench.json" <<'PYTHON'
import json
import sys

report = json.load(open(sys.argv[1]))
dispatches = report["plan"]["dispatches"]
step = 256e3 / report["train"]["examples_per_second"]
print(f"\n{report['device']}, 96×96, batch 256")
print(f"first step after {report['first_step_seconds']:.2f} s with no compiled kernels")
print(f"executor: {step:.3f} ms per step of {dispatches} dispatches, {100 * step / dispatches:.3f} ms per 100")
PYTHON
    python3 "$root/scripts/isa_report.py" "$work/dump" "$work/trace.json"
}

device=
out=gpu_report.txt
peaks=()
cards=()
while [ $# -gt 0 ]; do
    case $1 in
    --device) device=${2:?--device needs a number or a name} && shift 2 ;;
    --out) out=${2:?--out needs a file} && shift 2 ;;
    --card) peaks=(--card "${2:?--card needs a name}") && shift 2 ;;
    -*) fail "unknown flag $1; the head of $0 says what there is" ;;
    *) cards+=("$1") && shift ;;
    esac
done
build
if [ -n "$device" ]; then
    real "$device" ${peaks[@]+"${peaks[@]}"} | tee "$out"
    echo "written to $out" >&2
    exit
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
shim
finished
[ ${#cards[@]} -gt 0 ] || cards=(navi21 navi31 vega10)
for card in "${cards[@]}"; do
    fake "$card"
    # Cards with matrices. Nothing is computed here, so that they are taken without their test.
    case $card in
    navi31 | gfx1150) RESNET_GPU_MATRICES=coop16w64 fake "$card" --precision f16 --matmul-precision medium ;;
    esac
done
