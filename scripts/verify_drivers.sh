#!/usr/bin/env bash
# Replays the golden cases on the software drivers there are for Linux, with and without run-time checks:
#   scripts/verify_drivers.sh [flags of `resnet verify`]
# lavapipe and SwiftShader speak Vulkan and have little in common; llvmpipe speaks OpenGL. SwiftShader comes out of
# Debian's package chromium-common (32 MB), which is downloaded and not installed. DRIVERS names some of the three;
# RESNET names a program that is built already, with `--features gl`; LIMIT is the most seconds of a line, 3600 by default.
# On OpenGL both runs have the same kernels, as the program says: wgpu writes no checks of bounds and loops into GLSL,
# and the third that it has, zeroed workgroup memory, is left out there. It is a literal of all elements, over which
# llvmpipe with LLVM 15 takes half a minute and more per kernel (batch_norm.grad_block_sums 16 s instead of 0.1, norm.finish 27 s
# instead of 1.2, of one core).
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/resnet/chromium

if [ -z "${RESNET:-}" ]; then
    cargo build --release --features gl --manifest-path "$root/Cargo.toml"
    RESNET=$(cargo metadata --manifest-path "$root/Cargo.toml" --format-version 1 --no-deps |
        sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release/resnet
fi

swiftshader() {
    local icd=$cache/usr/lib/chromium/vk_swiftshader_icd.json
    if [ ! -e "$icd" ]; then
        mkdir -p "$cache"
        (cd "$cache" && apt-get download chromium-common &&
            dpkg-deb --fsys-tarfile chromium-common_*.deb |
            tar -x ./usr/lib/chromium/libvk_swiftshader.so ./usr/lib/chromium/vk_swiftshader_icd.json &&
            rm chromium-common_*.deb) >&2
    fi
    echo "$icd"
}

# The environment that leaves one driver.
setting() {
    case $1 in
    lavapipe) echo WGPU_BACKEND=vulkan "VK_DRIVER_FILES=$(ls /usr/share/vulkan/icd.d/lvp_icd*.json)" ;;
    swiftshader) echo WGPU_BACKEND=vulkan "VK_DRIVER_FILES=$(swiftshader)" ;;
    gl) echo WGPU_BACKEND=gl LIBGL_ALWAYS_SOFTWARE=1 ;;
    *) echo "DRIVERS: $1 is none of lavapipe, swiftshader, gl" >&2 && return 1 ;;
    esac
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
limit=${LIMIT:-3600}
failed=0
for driver in ${DRIVERS:-lavapipe swiftshader gl}; do
    environment=$(setting "$driver")
    for checked in '' --checked; do
        # shellcheck disable=SC2086 # both are words; a driver that takes all memory must not take the machine
        if (ulimit -v 12000000; env $environment timeout "$limit" "$RESNET" verify --device gpu $checked "$@") >"$log" 2>&1; then
            verdict=pass why=$(grep -E ' passed, ' "$log")
        else
            [ $? = 124 ] && why="not done after $limit s" || why=$(grep -E ' passed, ' "$log" || tail -n 1 "$log")
            verdict=FAIL failed=1
        fi
        echo "$verdict  $driver $checked: $(head -n 1 "$log"): $why"
        grep '^FAIL' "$log" || true
    done
done
exit $failed
