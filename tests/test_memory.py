"""The memory of commands over a table of image shapes: 12 bytes per pixel and 300 MB, as docs/reliability.md says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

PER_PIXEL, BASE = 12, 300e6

SHAPES = [(4000, 3000), (60_000, 2), (2, 60_000), (1, 1), (500, 1), (728, 15)]
"""Width and height."""

# A process of its own for each command: what one leaves in the allocator would count for the next.
CHILD = """
import re, sys
from pathlib import Path
from pycam.cli import main
code = main(sys.argv[1:])
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(code, 1024 * int(peak[1]))
"""


def peak_of(command: list[str]) -> tuple[int, int]:
    """Return the exit code of a command and the peak of its resident memory, in bytes."""
    done = subprocess.run([sys.executable, "-c", CHILD, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    code, peak = map(int, done.stdout.splitlines()[-1].split())
    return code, peak


@pytest.mark.linux
def test_memory_is_bounded_by_the_pixels(tmp_path):
    images = {}
    for width, height in SHAPES:
        images[width, height] = tmp_path / f"{width}x{height}.png"
        PIL.Image.fromarray(np.full((height, width, 3), (160, 90, 40), np.uint8)).save(images[width, height])
    model = ["--model", "squeezenet-cam-caltech101"]
    commands, pixels = [], []
    for (width, height), path in images.items():
        out = str(tmp_path / f"out-{width}")
        kinds = [["heatmap", str(path), *model, "--boxes", "--quiet", "--out", out]]
        if width >= 4000:
            kinds.append(["activations", str(path), *model, "--layers", "conv1", "--out", out])
            kinds.append(["report", "html", str(path), *model, "--quiet", "--out", f"{out}.html"])
        commands += kinds
        pixels += [width * height] * len(kinds)
    for command, count in zip(commands, pixels, strict=True):
        code, peak = peak_of(command)
        assert code == 0, command
        assert peak < PER_PIXEL * count + BASE, f"{command}: {peak / 1e6:.0f} MB for {count} pixels"
    for (width, height), path in images.items():
        with PIL.Image.open(tmp_path / f"out-{width}" / path.stem / f"{path.stem}_1.jpg") as overlay:
            assert overlay.size == (width, height + 24)
        with PIL.Image.open(tmp_path / f"out-{width}" / path.stem / f"{path.stem}_strip.jpg") as strip:
            assert strip.height == 280 and strip.width <= 6 * (2048 + 6)


def test_what_cannot_be_drawn_is_one_line_and_the_rest_is_done(tmp_path, capfd):
    from pycam.cli import main

    images = []
    for name, size in (("good", (20, 10)), ("long", (66_000, 2))):
        images.append(str(tmp_path / f"{name}.png"))
        PIL.Image.new("RGB", size, (160, 90, 40)).save(images[-1])
    command = ["--model", "squeezenet-cam-caltech101", "--quiet", "--out", str(tmp_path / "out")]
    assert main(["heatmap", *images, *command]) == 6
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2 and "long.png: a drawing of 66000×26 pixels cannot be a JPEG" in lines[0]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["good", "image-names.csv"]
    assert Path(tmp_path / "out/good/good_strip.jpg").stat().st_size
    assert main(["heatmap", images[0], *command, "--top", "101"]) == 0


def test_a_strip_of_many_classes_has_narrow_tiles_or_is_refused():
    from pycam.drawing import strip
    from pycam.errors import UsageError

    image = np.full((333, 500, 3), 90, np.uint8)
    drawn = strip(image, [image] * 300, [("a", "")] * 300, "title")
    assert drawn.shape[0] == 280 and 300 * 200 < drawn.shape[1] <= 65_500
    with pytest.raises(UsageError, match=r"5000 classes: a strip has room for the maps of 1722, .*--top"):
        strip(image, [image] * 5000, [("a", "")] * 5000, "title")
    with pytest.raises(UsageError, match=r"300 classes: a strip has room for the maps of 127"):
        strip(image, [image] * 300, [], "title", "matlab_demo")
