#!/bin/sh
# The paper's tables, from the pictures: certificates against real Caffe, runs, Tables 1 and 2 and what each quirk of
# the released evaluation is worth. What was stopped goes on by the same command.
#
#     reproduce.sh DATA RUNS [OPTION...]           the released models on ILSVRC's 50,000 pictures
#     reproduce.sh --mini DATA RUNS [OPTION...]    SqueezeNet on a small folder that is laid out alike
#
# DATA and the OPTIONs are those of evaluate.sh. Weights are downloaded, or found in the folders that PYCAM_MODELS
# names; a model whose weights cannot be had is left out, and the tables say so.
set -eu
PATH=$(dirname "$0"):$PATH

models="googlenet-cam vgg16-cam alexnetplus-cam"
if [ "${1:-}" = --mini ]; then
    models=squeezenet-v1.0
    shift
fi
[ $# -ge 2 ] || { echo "usage: reproduce.sh [--mini] DATA RUNS [OPTION...], OPTIONs of pycam evaluate" >&2; exit 2; }
data=$1 runs=$2
shift 2

mkdir -p "$runs"
for model in $models; do
    if pycam models download "$model" --mean >/dev/null; then
        compare.sh "$model" "$runs/certificates"
        evaluate.sh "$model" "$data" "$runs" "$@"
        pycam report --ledger "$runs/$model-released" --out "$runs/$model-ledger.md"
    else
        echo "$model is left out: its weights cannot be had here" >&2
    fi
done
pycam report "$runs"/*-paper "$runs"/*-released --out "$runs/tables.md"
cat "$runs/tables.md"
