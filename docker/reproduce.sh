#!/bin/sh
# The paper's tables, from the images: certificates against real Caffe, runs, Tables 1 and 2 and what each deviation
# of the released evaluation is worth. The same command resumes what was interrupted.
#
#     reproduce.sh DATA RUNS [OPTION...]           the paper's models on ILSVRC's 50,000 images
#     reproduce.sh --mini DATA RUNS [OPTION...]    SqueezeNet on a small folder that is laid out alike
#
# DATA and the OPTIONs are those of evaluate.sh. Weights are downloaded, or found in the folders that PYCAM_MODELS
# names; a model whose weights are not available is left out, and the tables say so.
set -eu
PATH=$(dirname "$0"):$PATH

models="googlenet-cam vgg16-cam alexnetplus-cam bvlc-googlenet nin-imagenet"
backprop="bvlc-googlenet vgg16 bvlc-caffenet bvlc-alexnet"
if [ "${1:-}" = --mini ]; then
    models=squeezenet-v1.0
    backprop=
    shift
fi
[ $# -ge 2 ] || { echo "usage: reproduce.sh [--mini] DATA RUNS [OPTION...], OPTIONs of pycam evaluate" >&2; exit 2; }
data=$1 runs=$2
shift 2

has_weights() {
    pycam models download "$1" --mean >/dev/null || { echo "$1 is left out: its weights are not available here" >&2; false; }
}

mkdir -p "$runs"
for model in $models; do
    if has_weights "$model"; then
        compare.sh "$model" "$runs/certificates" || echo "$model is no match for real Caffe: see its certificate" >&2
        evaluate.sh "$model" "$data" "$runs" "$@"
        pycam report ablation "$runs/$model-released" --out "$runs/$model-ablation.md"
    fi
done
for model in $backprop; do
    if has_weights "$model"; then
        # Gradients need torch, which not every image has.
        PROTOCOLS=paper evaluate.sh "$model" "$data" "$runs/backprop" --set method=saliency "$@" ||
            echo "$model by backpropagation is left out" >&2
    fi
done

set --
for run in "$runs"/*-paper "$runs"/*-released "$runs"/backprop/*-paper; do
    [ ! -f "$run/report.json" ] || set -- "$@" "$run"
done
[ $# -gt 0 ] || { echo "reproduce.sh: no model has its weights: nothing is reproduced" >&2; exit 1; }
pycam report tables "$@" --out "$runs/tables.md"
for run; do
    shift
    set -- "$@" --run "$run"
done
pycam paper "$@" --out "$runs/paper.html"
cat "$runs/tables.md"
