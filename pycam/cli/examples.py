"""The examples at the end of each command's help. They name files as a reader's own folder has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

EXAMPLES: Mapping[str, Sequence[str]] = {
    "heatmap": (
        "heatmap fox.jpg --model squeezenet-cam-caltech101 --view full",
        'heatmap *.jpg --model googlenet-cam --class "red fox" --boxes',
        "heatmap fox.jpg --prototxt deploy.prototxt --weights my.caffemodel --labels names.txt",
    ),
    "figure": ("figure *.jpg --models googlenet-cam,vgg16-cam --out figure.pdf",),
    "explain": ("explain fox.jpg --model squeezenet-cam-caltech101 --view full",),
    "activations": ("activations fox.jpg --model squeezenet-cam-caltech101 --layers conv1,fire2/concat",),
    "features": ("features photos/ --model googlenet-cam --view full --out photos.npz",),
    "serve": ("serve --model squeezenet-cam-caltech101",),
    "page": (
        "page --model squeezenet-cam-caltech101 --out page",
        "page --prototxt deploy.prototxt --weights my.caffemodel --labels names.txt --single-file --out demo.html",
    ),
    "evaluate": (
        "evaluate --images val/ --ground-truth val_xml/ --model googlenet-cam --out runs/googlenet",
        "evaluate --images photos/ --ground-truth boxes.csv --model my-card.yaml --labels names.txt --out runs/mine",
    ),
    "score": (
        "score --predictions predictions.txt --ground-truth val_xml/ --ground-truth-classes val.txt",
        "score --maps maps/ --ground-truth boxes.csv --json",
    ),
    "report tables": ("report tables runs/googlenet runs/vgg16 --out tables.md",),
    "report compare": ("report compare runs/googlenet runs/vgg16",),
    "report ablation": ("report ablation runs/googlenet-released",),
    "report rules": ("report rules runs/googlenet --box-rule released",),
    "report html": (
        "report html runs/googlenet --out report.html",
        "report html *.jpg --model squeezenet-cam-caltech101 --out report.html",
    ),
    "paper": ("paper --run runs --out paper.html",),
    "paper table4": ("paper table4 --data CUB_200_2011 --out table4",),
    "paper table5": ("paper table5 --data sets --out table5",),
    "paper figure5": ("paper figure5 *.jpg --models googlenet-cam,vgg16-cam --backprop bvlc-googlenet",),
    "paper figure7": ("paper figure7 --data Caltech256 --model googlenet-cam --class dog --class bear",),
    "paper figure8": ("paper figure8 --data CUB_200_2011 --model googlenet-cam",),
    "paper figure9": ("paper figure9 --images SUN/Images --annotations SUN/Annotations --model googlenet-cam",),
    "paper figure10": ("paper figure10 --list captions.txt --phrase 'mirror in lake' --model googlenet-cam",),
    "paper figure11": ("paper figure11 --data text --rectangles svt/train.xml --model googlenet-cam",),
    "paper figure13": ("paper figure13 photos/ --model squeezenet-cam-caltech101 --class cup",),
    "compare": (
        "compare onnxruntime opencv --model squeezenet-cam-caltech101",
        "compare torch caffe --prototxt deploy.prototxt --weights my.caffemodel",
    ),
    "verify": ("verify squeezenet-cam-caltech101",),
    "bench": ("bench squeezenet-cam-caltech101 --engines onnxruntime,openvino",),
    "train": (
        "train --solver solver.prototxt",
        "train --solver solver.prototxt --weights bvlc_googlenet.caffemodel",
    ),
    "net show": (
        "net show squeezenet-cam-caltech101",
        "net show deploy.prototxt my.caffemodel",
    ),
    "net export": ("net export squeezenet-cam-caltech101 --onnx squeezenet.onnx --maps",),
    "net write": ("net write deploy_googlenetCAM --out nets",),
    "net cam": ("net cam deploy.prototxt net.caffemodel --after conv5_3 --classes 20 --out cam.prototxt",),
    "net fit": ("net fit photos.npz --out mine.caffemodel",),
    "net import": ("net import vgg16CAM.npy --out vgg16CAM.caffemodel",),
    "models list": ("models list",),
    "models show": ("models show googlenet-cam",),
    "models protocols": ("models protocols",),
    "models path": ("models path googlenet-cam --of mean",),
    "models download": ("models download googlenet-cam --mean",),
    "demo": ("demo --out demo-output",),
    "doctor": ("doctor",),
}
"""Name of a command -> command lines, without the program's name."""


def epilog(name: str) -> str:
    """Return the end of a command's help; Click leaves the lines of a paragraph alone that begins with a backspace."""
    lines = "\n".join(f"  pycam {line}" for line in EXAMPLES.get(name, ()))
    return f"\b\nExamples:\n{lines}" if lines else ""
