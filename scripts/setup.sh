# Sourced by train.sh and test.sh: installs what Debian and Ubuntu have and this machine lacks.
# It adds no package source unless RESNET_BACKPORTS=1 asks for Debian's backports (Mesa 25 on bookworm).

# The packages that are missing, one per line.
missing_packages() {
    [ -e /usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz ] || echo dataset-fashion-mnist
    PATH=$PATH:/sbin ldconfig -p 2>/dev/null | grep -q 'libvulkan\.so\.1' || echo libvulkan1
    ls /usr/share/vulkan/icd.d /etc/vulkan/icd.d 2>/dev/null | grep -q '\.json$' || echo mesa-vulkan-drivers
    command -v spirv-val >/dev/null 2>&1 || echo spirv-tools
    command -v cc >/dev/null 2>&1 || echo gcc libc6-dev
}

# Runs a command as root: directly, or through sudo where that can ask or needs not.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif [ -t 0 ]; then
        sudo "$@"
    else
        sudo -n "$@"
    fi
}

# True where apt-get can install.
can_install() {
    command -v apt-get >/dev/null 2>&1 || return 1
    [ "$(id -u)" = 0 ] || command -v sudo >/dev/null 2>&1
}

# Mesa 25 from Debian's backports, where the machine runs bookworm and asks for it.
install_backports() {
    [ "${RESNET_BACKPORTS:-0}" = 1 ] || return 0
    [ "$(. /etc/os-release && echo "$VERSION_CODENAME")" = bookworm ] || return 0
    dpkg-query -W -f '${Version}' mesa-vulkan-drivers 2>/dev/null | grep -q '^2[5-9]\.' && return 0
    echo 'deb http://deb.debian.org/debian bookworm-backports main' |
        as_root tee /etc/apt/sources.list.d/resnet-backports.list >/dev/null
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -t bookworm-backports mesa-vulkan-drivers
}

setup() {
    command -v cargo >/dev/null 2>&1 || {
        echo 'Rust is missing: install it from https://rustup.rs and run this again.' >&2
        exit 1
    }
    packages=$(missing_packages | tr '\n' ' ')
    if [ -n "$packages" ]; then
        # shellcheck disable=SC2086 # the list is words
        if ! { can_install && as_root apt-get update -qq &&
            as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $packages; }; then
            echo "Could not install: $packages" >&2
            echo 'By hand, on Debian or Ubuntu:  sudo apt-get install '"$packages" >&2
            echo 'The data set comes by `resnet fetch` too; the Vulkan packages are for GPUs only, and spirv-tools for a test. Going on.' >&2
        fi
    fi
    install_backports || echo 'Could not install Mesa from the backports. Going on.' >&2
}
