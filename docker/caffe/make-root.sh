#!/bin/sh
# Makes the folder with a real Caffe 1.0 that pycam compares itself with: a Debian 11 (the last distribution that
# packages Caffe) of some 0.8 GB. Making it needs root once; running what is in it needs none (see `start`
# beside this file). A finished folder is left as it is; one whose making was cut short is made again.
#
#     docker/caffe/make-root.sh [FOLDER]
#
# FOLDER is by default $PYCAM_CAFFE_ROOT, else ~/.cache/pycam/caffe-root, where pycam finds it by itself.
# PYCAM_DEBIAN_MIRROR names the mirror to load from: by default the one that this machine's apt is set to.
set -eu
PATH=$PATH:/usr/sbin:/sbin

here=$(cd "$(dirname "$0")" && pwd)
root=${1:-${PYCAM_CAFFE_ROOT:-${XDG_CACHE_HOME:-$HOME/.cache}/pycam/caffe-root}}
making=$root.making # renamed when all is well, so that $root is never half made
log=$root.log
stamp=.made-by-pycam

fail() { echo "make-root.sh: $*" >&2; exit 1; }

# The smallest run that touches all that a worker needs: pycaffe, its protobuf, NumPy and the BLAS.
self_test() {
    "$1/start" python3.9 - <<'PYTHON'
import tempfile
import caffe
with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as text:
    text.write("""
        layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 } } }
        layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param {
          num_output: 1 bias_term: false weight_filler { type: "constant" value: 2 } } }""")
    text.flush()
    net = caffe.Net(text.name, caffe.TEST)
net.blobs["data"].data[...] = [1, 2, 3]
assert net.forward()["fc"].tolist() == [[12.0]]
PYTHON
}

# Unmounts what debootstrap may have mounted: removing a folder must never reach into the running system.
discard() {
    for mounted in proc sys dev/pts dev; do
        umount "$1/$mounted" 2>/dev/null || true
    done
    rm -rf --one-file-system "$1"
}

# An empty answer, where this machine is no Debian, leaves the choice to debootstrap.
mirror() {
    if [ -n "${PYCAM_DEBIAN_MIRROR:-}" ]; then
        echo "$PYCAM_DEBIAN_MIRROR"
    else
        # shellcheck disable=SC2016 # apt's own variables
        apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Identifier: Packages' 2>/dev/null |
            sed -n 's,^Debian \(.*/debian/*\)$,\1,p' | head -n 1
    fi
}

install_debootstrap() { apt-get install --yes --no-install-recommends debootstrap; }

# The proxies that this machine's apt goes through, if any.
proxies() { apt-config dump 2>/dev/null | grep -iE '^Acquire::(https?::)?proxy' || true; }

inside() { chroot "$making" env DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }

make_root() {
    # shellcheck disable=SC2046 # no mirror must be no argument
    debootstrap --variant=minbase bullseye "$making" $(mirror) &&
        proxies >"$making/etc/apt/apt.conf.d/90proxy" &&
        inside apt-get update &&
        inside apt-get install --yes --no-install-recommends python3-caffe caffe libopenblas0-pthread &&
        inside apt-get clean &&
        rm -rf "$making"/var/lib/apt/lists/* &&
        cp "$here/start" "$making/start" &&
        chmod 755 "$making" "$making/start" &&
        self_test "$making" &&
        touch "$making/$stamp"
}

if [ -f "$root/$stamp" ] && [ -w "$root" ] && ! cmp -s "$here/start" "$root/start"; then
    cp "$here/start" "$root/start" # a folder made by an earlier version
fi
if [ -f "$root/$stamp" ] && self_test "$root" >/dev/null 2>&1; then
    echo "Caffe is ready in $root"
    exit
fi
if [ ! -f "$root/$stamp" ] && [ -n "$(ls -A "$root" 2>/dev/null)" ]; then
    fail "$root is not empty and was not made by this script: remove it, or name another folder"
fi
[ "$(id -u)" = 0 ] || fail "making $root needs root rights, this once: sudo $0 '$root'"
mkdir -p "$(dirname "$root")"
if ! command -v debootstrap >/dev/null; then
    echo "Installing debootstrap"
    { install_debootstrap || { apt-get update && install_debootstrap; }; } >"$log" 2>&1 ||
        fail "debootstrap is missing and apt-get could not install it: $(tail -n 1 "$log") (more in $log)"
fi

echo "Making $root: a few minutes, some 0.8 GB; the log is $log"
trap 'discard "$making"' EXIT
trap 'exit 130' INT TERM
discard "$making"
make_root >"$log" 2>&1 ||
    fail "could not make $root: $(tail -n 1 "$log") (more in $log)"
discard "$root"
mv "$making" "$root"
rm "$log"
echo "Caffe is ready in $root"
