"""How fast a GPU is, and how close to the CPU: `python benchmarks/gpu.py [--device cuda] [--batches …]`.

For AlexNet+-CAM, GoogLeNet-CAM and VGG16-CAM with seeded random weights: images a second of torch (fp32, tf32, bf16)
and ONNX Runtime (fp32, tf32) by batch and precision, copies to and from the GPU included, and the largest difference of
any score from ONNX Runtime's on the CPU in fp32, as a part of the largest score before softmax. Last, ten crops of many
images: what a run over ILSVRC's 50,000 would take. `--device cpu` runs the same pipeline without a GPU.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
from pipeline import NETS

from pycam import engines, zoo
from pycam.engines.processor import gpus, instruction_set
from pycam.errors import PycamError
from pycam.net import find_head, random_weights, read_net

ROUNDS = 7


def rate(engine: engines.base.Engine, inputs: dict[str, np.ndarray], images: int) -> float:
    engine.forward(inputs)
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        engine.forward(inputs)
        times.append(time.perf_counter() - start)
    return images / statistics.median(times)


def measure(model: str, device: str, batches: list[int]) -> None:
    card = zoo.card(model)
    bare = read_net(zoo.prototxt_path(card))
    net = bare.with_params(random_weights(bare))
    head = find_head(net)
    outputs = [head.feature_blob, head.logits]
    rng = np.random.default_rng(0)
    shape = net.shapes[net.inputs[0]][1:]

    def inputs(images: int) -> dict[str, np.ndarray]:
        return {net.inputs[0]: rng.uniform(-120, 140, (images, *shape)).astype(np.float32)}

    few = inputs(8)
    with engines.make("onnxruntime", net, outputs) as reference:
        expected = reference.forward(few)[head.logits]
    for name in ("torch", "onnxruntime"):
        try:
            precisions = engines.engine_class(name).precisions
        except PycamError as error:
            print(f"| {NETS[model]} | {name} | {error} |")
            continue
        for precision in precisions:
            try:
                with engines.make(name, net, outputs, engines.Options(device, precision=precision)) as engine:
                    away = np.abs(engine.forward(few)[head.logits] - expected).max() / np.abs(expected).max()
                    rates = [rate(engine, inputs(batch), batch) for batch in batches]
                    crops = rate(engine, inputs(10 * max(1, batches[-1] // 10)), max(1, batches[-1] // 10))
            except PycamError as error:
                print(f"| {NETS[model]} | {name} | {precision} | {error} |")
                continue
            print(
                f"| {NETS[model]} | {name} | {precision} | {away:.1e} | "
                + " | ".join(f"{value:.0f}" for value in rates)
                + f" | {crops:.1f} | {50_000 / crops / 60:.0f} min |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--nets", nargs="+", default=list(NETS), choices=NETS)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32, 128])
    options = parser.parse_args()
    print(f"{gpus() or 'no GPU'}; {instruction_set()}\n")
    columns = [f"batch {batch}" for batch in options.batches]
    print("| net | engine | precision | apart | " + " | ".join(columns) + " | ten crops | 50,000 images |")
    print("|---" * (6 + len(columns)) + "|")
    for model in options.nets:
        measure(model, options.device, options.batches)


if __name__ == "__main__":
    main()
