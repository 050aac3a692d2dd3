# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What script/setup, script/demo, script/test and .ci/run share. Sourced, never run.

tree="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/rapt"

say() {
    printf '%s\n' "$*"
}

# Steps that take a while announce themselves, so that silence never looks like a hang.
step() {
    printf '== %s\n' "$*"
}

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

# Sets os_id (debian, ubuntu, fedora, or what /etc/os-release says), os_version (whole number; Debian
# testing has none and counts as 99) and os_codename.
read_os() {
    os_id=unknown os_version=0 os_codename=
    if [ -r /etc/os-release ]; then
        os_id=$(. /etc/os-release && printf '%s' "${ID:-unknown}")
        os_version=$(. /etc/os-release && printf '%s' "${VERSION_ID:-99}")
        os_codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
        os_version=${os_version%%.*}
    fi
}

# A GPU that a Vulkan driver may drive: a render node, NVIDIA's own device file, or WSL's.
has_gpu() {
    local node
    for node in /dev/dri/renderD* /dev/nvidia[0-9]* /dev/dxg; do
        [ -e "$node" ] && return 0
    done
    return 1
}

has_vulkan_driver() {
    local file
    for file in /usr/share/vulkan/icd.d/*.json /etc/vulkan/icd.d/*.json /usr/local/share/vulkan/icd.d/*.json; do
        [ -e "$file" ] && return 0
    done
    return 1
}

# Mesa's version as the distribution installed it, "" if it did not.
mesa_version() {
    if have dpkg-query; then
        dpkg-query -W -f '${Version}' mesa-vulkan-drivers 2>/dev/null | sed 's/^[0-9]*://' || true
    elif have rpm; then
        rpm -q --qf '%{VERSION}' mesa-vulkan-drivers 2>/dev/null | grep -v 'not installed' || true
    fi
}

# True where the private CPU driver is worth having: the distribution's lavapipe is old and slow,
# there is no GPU, the user has not chosen a driver, and a newer one is published for this system.
wants_private_mesa() {
    local major
    [ -z "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ] || return 1
    has_gpu && return 1
    [ -n "$(mesa_suite)" ] || return 1
    major=$(mesa_version)
    major=${major%%.*}
    [ "${major:-0}" -lt 25 ]
}

# The suite that has a newer Mesa built for this system, "" if none does or none is needed.
mesa_suite() {
    case "$os_id-$os_codename" in
    debian-bookworm) say bookworm-backports ;;
    ubuntu-noble) say noble-updates ;;
    esac
}

# apt_private FOLDER TOOL ARGUMENTS...: apt-get or apt-cache with lists, sources and archives of its
# own, so that the system's package state is neither read nor written. Works without root.
apt_private() {
    local folder=$1 tool=$2
    shift 2
    "$tool" -q \
        -o "Dir::Etc::SourceList=$folder/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o "Dir::State::Lists=$folder/lists" -o "Dir::Cache::Archives=$folder/archives" \
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
        -o "APT::Sandbox::User=$(id -un)" -o Acquire::Retries=3 "$@"
}

# apt_private_fetch FOLDER SUITE PACKAGE...: downloads packages of a suite into FOLDER/archives. The
# word LLVM stands for the LLVM library that the suite's Mesa needs, where that suite brings one.
# Signatures are always checked. A mirror that stopped following the archive has an expired index;
# the date, and only the date, is then ignored.
apt_private_fetch() {
    local folder=$1 suite=$2 keyring=debian-archive-keyring.gpg mirror valid name names
    local mirrors=("${RAPT_DEBIAN_MIRROR:-http://deb.debian.org/debian}" http://archive.debian.org/debian)
    shift 2
    if [ "$os_id" = ubuntu ]; then
        keyring=ubuntu-archive-keyring.gpg
        mirrors=(http://archive.ubuntu.com/ubuntu http://ports.ubuntu.com/ubuntu-ports)
    fi
    mkdir -p "$folder/lists/partial" "$folder/archives/partial" || return 1
    for mirror in "${mirrors[@]}"; do
        printf 'deb [signed-by=/usr/share/keyrings/%s] %s %s main\n' "$keyring" "$mirror" "$suite" \
            >"$folder/sources.list"
        for valid in true false; do
            apt_private "$folder" apt-get -o Acquire::Check-Valid-Until=$valid \
                -o APT::Update::Error-Mode=any update >"$folder/log" 2>&1 || continue
            names=()
            for name in "$@"; do
                [ "$name" != LLVM ] || name=$(suite_llvm "$folder")
                [ -z "$name" ] || names+=("$name")
            done
            (cd "$folder/archives" && apt_private "$folder" apt-get download "${names[@]}") \
                >>"$folder/log" 2>&1 && return 0
        done
    done
    cat "$folder/log" >&2
    return 1
}

# Name of the LLVM library of the suite's newest Mesa, "" if the suite leaves that to its base.
suite_llvm() {
    local name
    # The newest version comes first; the installed one may follow.
    name=$(apt_private "$1" apt-cache show mesa-vulkan-drivers 2>/dev/null |
        sed -n 's/^Depends:.*\(libllvm[0-9a-z.]*\).*/\1/p' | sed -n 1p)
    if [ -n "$name" ] && (cd "$1" && apt_private "$1" apt-get download --print-uris "$name") \
        >/dev/null 2>&1; then
        say "$name"
    fi
}

# unpack_private NAME SUITE PACKAGE...: download and unpack packages below $cache/NAME/root once. The
# folder appears under its name only when complete.
unpack_private() {
    local name=$1 suite=$2 folder deb
    shift 2
    [ -e "$cache/$name/complete" ] && return 0
    if ! have apt-get || ! have dpkg-deb; then
        die "$name needs apt-get and dpkg-deb"
    fi
    # Callers test the result, which turns `set -e` off in here: an empty folder name must not go on.
    mkdir -p "$cache" || return 1
    folder=$(mktemp -d "$cache/$name.XXXXXX") || return 1
    step "downloading from $suite into $cache/$name (nothing is installed)"
    if ! apt_private_fetch "$folder" "$suite" "$@"; then
        rm -rf "$folder"
        return 1
    fi
    for deb in "$folder"/archives/*.deb; do
        dpkg-deb -x "$deb" "$folder/root" || return 1
    done
    rm -rf "$folder/lists" "$folder/archives"
    chmod 755 "$folder"
    touch "$folder/complete"
    # A folder of an interrupted or older attempt is only ever ours: it lies in our cache.
    rm -rf "${cache:?}/$name"
    mv "$folder" "$cache/$name"
}

# write_icd FILE LIBRARY API-VERSION: a driver manifest with a full path.
write_icd() {
    printf '{"file_format_version": "1.0.0", "ICD": {"library_path": "%s", "api_version": "%s"}}\n' \
        "$2" "$3" >"$1.new"
    mv "$1.new" "$1"
}

# use_icd MANIFEST [LIBRARY-FOLDER]: programs started from here on see this Vulkan driver alone.
use_icd() {
    export VK_DRIVER_FILES=$1 VK_ICD_FILENAMES=$1
    if [ -n "${2:-}" ]; then
        export LD_LIBRARY_PATH="$2${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
    fi
}

# A newer CPU driver than the installed one, unpacked privately; what it needs beside itself is the
# system's.
make_private_mesa() {
    local library api missing
    unpack_private mesa-25 "$(mesa_suite)" \
        mesa-vulkan-drivers libdrm2 libdrm-amdgpu1 libdrm-common LLVM || return 1
    library=$(find "$cache/mesa-25/root/usr/lib" -name libvulkan_lvp.so | head -n 1)
    [ -n "$library" ] || die "$cache/mesa-25 has no libvulkan_lvp.so"
    missing=$(LD_LIBRARY_PATH=$(dirname "$library") ldd "$library" | grep 'not found' || true)
    [ -z "$missing" ] || die "the private Mesa lacks libraries: $missing"
    api=$(grep -ho '"api_version": *"[0-9.]*"' "$cache"/mesa-25/root/usr/share/vulkan/icd.d/lvp_icd*.json |
        head -n 1 | grep -o '[0-9][0-9.]*')
    write_icd "$cache/mesa-25/lvp_icd.json" "$library" "$api"
}

use_private_mesa() {
    local library
    library=$(find "$cache/mesa-25/root/usr/lib" -name libvulkan_lvp.so | head -n 1)
    use_icd "$cache/mesa-25/lvp_icd.json" "$(dirname "$library")"
}

# What script/demo and script/test begin with: packages, then the driver programs will see.
prepare_machine() {
    "$tree/script/setup"
    read_os
    if wants_private_mesa; then
        use_private_mesa
    fi
}

# build_tree FOLDER MESON-OPTIONS...: configure once, then build.
build_tree() {
    local folder=$1
    shift
    if [ ! -e "$folder/build.ninja" ]; then
        step "configuring $folder"
        # A folder of a failed first attempt has no build.ninja; meson starts over in it.
        meson setup "$folder" "$tree" "$@" >"$folder.log" 2>&1 ||
            { cat "$folder.log" >&2; return 1; }
    fi
    step "building $folder"
    ninja -C "$folder" --quiet
}

# run_tests FOLDER TALLY MESON-TEST-ARGUMENTS...: runs tests and ends with the line of numbers, which
# is also added to the file TALLY unless that is empty.
run_tests() {
    local folder=$1 tally=$2 status=0
    shift 2
    rm -f "$folder/meson-logs/testlog.json"
    step "testing $folder${VK_DRIVER_FILES:+ on $VK_DRIVER_FILES}"
    # Kernels use every core themselves; two tests at a time keep both busy while one compiles.
    meson test -C "$folder" --no-rebuild --print-errorlogs --num-processes "${RAPT_TEST_JOBS:-2}" "$@" ||
        status=$?
    if [ ! -s "$folder/meson-logs/testlog.json" ]; then
        say "FAILED: meson test did not run (status $status)"
        [ -z "$tally" ] || say '0 1 0' >>"$tally"
        say '0 passed, 1 failed, 0 skipped'
        return 1
    fi
    python3 "$tree/script/count-results" ${tally:+--add "$tally"} "$folder/meson-logs/testlog.json"
}
