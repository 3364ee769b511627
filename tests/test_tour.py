"""The notebook in examples/, executed; and what predictions show in it."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np
import pytest
import samples

TOUR = Path(__file__).parents[1] / "examples" / "tour.ipynb"


def test_prediction_shows_itself():
    with samples.cam() as cam:
        prediction = cam(samples.image(1), classes=[0, 1])
    shown = prediction._repr_html_()
    assert samples.MARKUP not in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown
    for item in prediction.top:
        assert f"<td>{item.score:.4f}</td><td>{', '.join(map(str, item.box))}</td>" in shown
    data = shown.split("base64,")[1].split("'")[0]
    assert base64.b64decode(data) == prediction._repr_jpeg_()
    strip = cv2.imdecode(np.frombuffer(prediction._repr_jpeg_(), np.uint8), cv2.IMREAD_COLOR)
    assert strip.shape == prediction.strip(box=True).shape
    assert np.abs(strip.astype(int) - prediction.strip(box=True)).mean() < 4
    assert len(repr(prediction)) < 1500


@pytest.mark.demo
@pytest.mark.notebook
@pytest.mark.filterwarnings("ignore")  # of Jupyter's packages
def test_tour_runs(tmp_path):
    import nbclient
    import nbformat

    tour = nbformat.read(TOUR, as_version=4)
    assert all(not cell.get("outputs") for cell in tour.cells)
    nbclient.NotebookClient(tour, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in tour.cells if cell.cell_type == "code" for output in cell.outputs]
    images = [output for output in outputs if "text/html" in output.get("data", {})]
    for image, words in zip(images, ("cup", "buddha"), strict=True):
        assert f"<td style='text-align: left'>{words}</td>" in image["data"]["text/html"]
    printed = "".join(output["text"] for output in outputs if output.get("name") == "stdout")
    assert printed.count("True") == 2  # the map by hand, and the released driver's, are the prediction's
    assert "False" not in printed
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert (tmp_path / "tour.html").stat().st_size > 100_000
