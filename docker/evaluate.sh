#!/bin/sh
# ILSVRC's errors of a model: one run per protocol. The same command resumes an interrupted run.
#
#     evaluate.sh MODEL DATA RUNS [OPTION...]
#
# DATA holds ILSVRC2012_img_val/, ILSVRC2012_bbox_val/val/ and devkit/data/; the runs are RUNS/MODEL-paper,
# RUNS/MODEL-released and RUNS/MODEL-sweep, or those of the protocols that PROTOCOLS names. The OPTIONs are those of
# `pycam evaluate`, such as --workers 4 or --limit 1000.
set -eu

[ $# -ge 3 ] || { echo "usage: evaluate.sh MODEL DATA RUNS [OPTION...], OPTIONs of pycam evaluate" >&2; exit 2; }
model=$1 data=$2 runs=$3
shift 3

devkit=$data/devkit/data
for needed in "$data/ILSVRC2012_img_val" "$data/ILSVRC2012_bbox_val/val" "$devkit"; do
    [ -d "$needed" ] || { echo "evaluate.sh: there is no folder $needed" >&2; exit 1; }
done

pycam models download "$model" --mean
for protocol in ${PROTOCOLS:-paper released sweep}; do
    echo "$model, protocol $protocol"
    pycam evaluate --model "$model" --protocol "$protocol" --out "$runs/$model-$protocol" \
        --images "$data/ILSVRC2012_img_val" \
        --ground-truth "$data/ILSVRC2012_bbox_val/val" \
        --ground-truth-classes "$devkit/ILSVRC2014_clsloc_validation_ground_truth.txt" \
        --blacklist "$devkit/ILSVRC2014_clsloc_validation_blacklist.txt" \
        --meta "$devkit/meta_clsloc.mat" \
        "$@"
done
