#!/bin/sh
# Holds a model against real Caffe, blob by blob.
#
#     compare.sh MODEL OUT [OPTION...]
#
# Writes OUT/MODEL.md, the certificate of every engine that is installed, on the CPU. On a GPU (PYCAM_DEVICE=cuda)
# also compares the engines that compute there; the OPTIONs are then those of `pycam compare`, such as --image.
set -eu

[ $# -ge 2 ] || { echo "usage: compare.sh MODEL OUT [OPTION...], OPTIONs of pycam compare" >&2; exit 2; }
model=$1 out=$2
shift 2

mkdir -p "$out"
pycam models download "$model"
pycam verify "$model" --out "$out/$model.md"
[ "${PYCAM_DEVICE:-cpu}" != cpu ] || exit 0

for engine in onnxruntime torch; do
    blobs=$out/$model-$engine-$PYCAM_DEVICE.npz
    pycam compare "$engine" --model "$model" --save "$blobs" "$@"
    PYCAM_DEVICE=cpu pycam compare "$blobs" caffe --model "$model"
done
