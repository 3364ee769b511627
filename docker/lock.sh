#!/bin/sh
# Pins what the images install, as of today: writes the requirements files beside the Dockerfiles. Needs uv.
#
#     docker/lock.sh [PLACE]     PLACE: a folder or a page with CPU builds of torch
set -eu
cd "$(dirname "$0")/.."

torch=2.13.0
cpu_builds=${1:-https://download.pytorch.org/whl/cpu/torch/}

# For the oldest Python that an image is built on, so that the newer ones are served too.
lock() {
    uv pip compile --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-annotate \
        --custom-compile-command docker/lock.sh --extra ncnn --extra opencv --extra openvino --extra paper \
        --extra web pyproject.toml "$@"
}

lock --output-file docker/caffe/requirements.txt
echo "torch==$torch+cpu" |
    lock - --output-file docker/gpu/requirements-cpu.txt --find-links "$cpu_builds"
printf 'torch==%s\nonnxruntime-gpu\n' "$torch" |
    lock - --output-file docker/gpu/requirements.txt --no-emit-package onnxruntime
