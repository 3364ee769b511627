#!/bin/sh
# Builds both images with buildah, which needs no daemon, and tries them on SqueezeNet and 300 images. Needs root,
# buildah, debootstrap, curl, iproute2, pycam itself, and 20 GB in build/docker. CAFFE_BASE, PYTHON_BASE and CUDA_BASE name other
# bases than the Debians that it makes and keeps there. PYCAM_SHARED names the folder with weights and images;
# PIP_FIND_LINKS, if it is set, a folder with the CPU build of torch that docker/gpu/requirements-cpu.txt asks for.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin

work=$PWD/build/docker
data=$(realpath "${PYCAM_SHARED:-../shared}")/data
certificates=/etc/ssl/certs/ca-certificates.crt
user=1234

for needed in buildah debootstrap unshare curl ip; do
    command -v "$needed" >/dev/null || { echo "check.sh: $needed is missing: apt-get install buildah debootstrap util-linux curl iproute2" >&2; exit 1; }
done
mkdir -p "$work"
export CONTAINERS_STORAGE_CONF="$work/storage.conf"
printf '[storage]\ndriver = "vfs"\ngraphroot = "%s"\nrunroot = "%s"\n' "$work/storage" "$work/run" >"$work/storage.conf"

# Makes the image base-SUITE, a bare Debian, if it is not there, and prints its name.
debian() {
    suite=$1
    shift
    echo "localhost/base-$suite"
    ! buildah inspect --type image "base-$suite" >/dev/null 2>&1 || return 0
    echo "Making a Debian $suite" >&2
    rm -rf --one-file-system "${work:?}/$suite"
    debootstrap --variant=minbase "$@" "$suite" "$work/$suite" >"$work/$suite.log"
    tar --create --file "$work/$suite.tar" --directory "$work/$suite" --exclude './dev/*' .
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$work/$suite.tar" / >/dev/null
    buildah commit --quiet --rm "$container" "base-$suite" >/dev/null
    rm -rf --one-file-system "${work:?}/$suite" "$work/$suite.tar"
}

# Builds docker/NAME/Dockerfile as the image pycam-NAME.
build() {
    name=$1
    shift
    echo "Building pycam-$name; the log is $work/$name.log"
    # How pip is set up on this machine means nothing inside.
    env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL buildah bud --isolation chroot \
        --volume "$certificates:$certificates:ro" --file "docker/$name/Dockerfile" --tag "pycam-$name" "$@" . \
        >"$work/$name.log" 2>&1 || { tail -n 20 "$work/$name.log" >&2; exit 1; }
}

# Runs a command in a new container of pycam-NAME: without network, as a user of no name who may write to /runs alone.
try() {
    name=$1
    shift
    container=$(buildah from "localhost/pycam-$name")
    trap 'buildah rm "$container" >/dev/null' EXIT
    unshare --net buildah run --isolation chroot --user "$user:$user" --volume "$data:/models:ro" \
        --volume "$data/ilsvrc-mini:/images:ro" --volume "$work/runs-$name:/runs" "$container" -- entrypoint "$@"
    trap - EXIT
    buildah rm "$container" >/dev/null
}

# Serves in a new container of pycam-NAME, and asks it as a published port does: at an address of the container, in the
# name of the loopback one.
try_serve() {
    container=$(buildah from "localhost/pycam-$1")
    trap 'buildah rm "$container" >/dev/null' EXIT
    # shellcheck disable=SC2016  # the inner shell expands them
    unshare --net --pid --fork --kill-child sh -eu -c '
        container=$1 user=$2 image=$3 answer=$4
        ip link set lo up
        ip address add 192.0.2.1 dev lo
        buildah run --isolation chroot --user "$user:$user" "$container" -- \
            entrypoint serve --host 0.0.0.0 --model squeezenet-cam &
        ask() { curl --silent --show-error --fail --header "Host: 127.0.0.1:8000" "$@"; }
        ask --retry 60 --retry-delay 1 --retry-connrefused "http://192.0.2.1:8000/healthz"
        ask "http://192.0.2.1:8000/" >"$answer"
        ask --header "Content-Type: image/jpeg" --data-binary "@$image" \
            "http://192.0.2.1:8000/predict?model=squeezenet-cam-caltech101" >"$answer"
    ' sh "$container" "$user" "$PWD/docs/images/coffee.jpg" "$work/answer-$1.json"
    trap - EXIT
    buildah rm "$container" >/dev/null
    grep -q '"runs"' "$work/answer-$1.json"
}

caffe_base=${CAFFE_BASE:-$(debian bullseye)}
python_base=${PYTHON_BASE:-$(debian bookworm --include=python3-venv)}
cuda_base=${CUDA_BASE:-$(debian bookworm --include=python3-venv)}

build caffe --build-arg CAFFE_BASE="$caffe_base" --build-arg PYTHON_BASE="$python_base"
if [ -n "${PIP_FIND_LINKS:-}" ]; then
    set -- --volume "$(realpath "$PIP_FIND_LINKS"):/wheels:ro" --build-arg PIP_FIND_LINKS=/wheels
else
    set -- --build-arg PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
fi
build gpu --build-arg CAFFE_IMAGE=localhost/pycam-caffe --build-arg CUDA_BASE="$cuda_base" \
    --build-arg REQUIREMENTS=requirements-cpu.txt "$@"

echo "Making the tables outside, to compare with"
rm -rf "$work"/runs-*
PYCAM_MODELS=$data docker/reproduce.sh --mini "$data/ilsvrc-mini" "$work/runs-outside" --quiet >"$work/outside.log"
for name in caffe gpu; do
    echo "Trying pycam-$name"
    mkdir "$work/runs-$name"
    chown "$user:$user" "$work/runs-$name"
    try "$name" verify squeezenet-v1.0 --engine caffe --engine onnxruntime
    try "$name" reproduce.sh --mini /images /runs --quiet
    cmp "$work/runs-outside/tables.md" "$work/runs-$name/tables.md"
    [ -s "$work/runs-$name/paper.html" ]
    try_serve "$name"
    foreign=$(find "$work/runs-$name" ! -uid "$user")
    [ -z "$foreign" ] || { echo "not the user's own: $foreign" >&2; exit 1; }
done
echo "Both images give the tables that pycam gives outside them"
