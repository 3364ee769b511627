"""`demo.m`: `python -m matlab_ports.demo --data FOLDER`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray

from matlab_ports.map2jpg import map2jpg
from matlab_ports.matlab import im2double, im2uint8, imresize
from matlab_ports.mergeTenCrop import mergeTenCrop
from matlab_ports.prepare_image import prepare_image
from matlab_ports.returnCAMmap import returnCAMmap
from pycam.cli import options
from pycam.drawing import encode_jpeg
from pycam.errors import FormatError, UsageError
from pycam.formats.files import atomic_write
from pycam.formats.mat import read_mat
from pycam.images.read import read_image
from pycam.images.views import CANVAS
from pycam.net import head_weights
from pycam.predict import Cam, load

topNum = 5
CROPS = 10
PUBLISHED_CROPPED_DIM = 224
MATLAB_QUALITY = 75


@dataclass(frozen=True, eq=False)
class Workspace:
    """The variables of the script after its run.

    Attributes
    ----------
    IDX_category : (5,) int
        The classes with the highest mean scores, best first, 1-based.
    value_category : (5,) single
        Their mean scores.
    categories : tuple of str
        Their labels.
    curCAMmapAll : (W, H, 5, 10) single
        Their maps, one per crop.
    curCAMLarge : (256, 256, 5) single
        Their merged maps, H×W. The script keeps only the last one.
    curResult : (256, 256 + 5·264, 3) double, RGB
        The image, and for each class 8 white columns and its overlay.
    """

    IDX_category: NDArray[np.intp]
    value_category: NDArray[np.float32]
    categories: tuple[str, ...]
    curCAMmapAll: NDArray[np.float32]
    curCAMLarge: NDArray[np.float32]
    curResult: NDArray[np.float64]

    @property
    def curPrediction(self) -> str:
        """The line that the script prints."""
        return "".join(f" --top{rank}:{label}" for rank, label in enumerate(self.categories, start=1))


def demo(imgID: int | str | Path = 1, online: int = 0, *, data: str | Path = ".", cam: Cam | None = None) -> Workspace:
    """Compute the maps of the top five classes from ten crops of an image.

    Parameters
    ----------
    imgID : int or path
        1 or 2, the images of the release, `img1.jpg` and `img2.jpg` in `data`; or, online, any image.
    online : {0, 1}
        0 uses the published features of the image, `data_img1.mat` (or 2), and the published class weights,
        `data_net.mat`; 1 runs a net.
    data : path
        The folder of the release's files.
    cam : Cam, optional
        For `online` = 1, the result of `pycam.load(…, protocol="matlab_demo")`.

    Returns
    -------
    Workspace
        docs/release.md, section 3.
    """
    file = Path(data) / f"img{imgID}.jpg" if isinstance(imgID, int) else Path(imgID)
    img = imresize(read_image(file).pixels[:, :, ::-1], (CANVAS, CANVAS))
    if online:
        net = _run_net(img, cam or load("googlenet-cam", protocol="matlab_demo"))
    else:
        net = _read_published(Path(data), imgID)

    scoresMean = net.scores.mean(axis=1)
    IDX_category = 1 + np.argsort(-scoresMean, kind="stable")[:topNum]
    curCAMmapAll = returnCAMmap(net.activation_lastconv, net.weights_LR[:, IDX_category - 1])
    curCAMLarge, curResult = [], [im2double(img)]
    for curCAMmap_crops in np.moveaxis(curCAMmapAll, 2, 0):
        curCAMLarge.append(mergeTenCrop(imresize(curCAMmap_crops, (net.CROPPED_DIM, net.CROPPED_DIM))))
        curHeatMap = im2double(img) * 0.2 + map2jpg(curCAMLarge[-1]) * 0.7
        curResult += [np.ones((CANVAS, 8, 3)), curHeatMap]
    return Workspace(
        IDX_category,
        scoresMean[IDX_category - 1],
        tuple(net.categories[index] for index in IDX_category - 1),
        curCAMmapAll,
        np.dstack(curCAMLarge),
        np.hstack(curResult),
    )


class _Extracted(NamedTuple):
    """The outputs and weights of a net, in MATLAB's layout."""

    scores: NDArray[np.float32]  # (C, 10)
    activation_lastconv: NDArray[np.float32]  # (W, H, K, 10)
    weights_LR: NDArray[np.float32]  # (K, C)
    categories: Sequence[str]
    CROPPED_DIM: int


def _run_net(img: NDArray[np.uint8], cam: Cam) -> _Extracted:
    height, width = cam.model.input_size
    if height != width or cam.model.channels != 3:
        found = f"{cam.model.channels}×{height}×{width}"
        raise UsageError(f"{cam.model.name}: its input is {found}; the demo needs 3 channels and a square")
    mean = cam.mean if cam.mean.ndim == 3 else np.broadcast_to(cam.mean[:, None, None], (3, CANVAS, CANVAS))
    crops = prepare_image(img, mean.transpose(2, 1, 0), width)
    batch = np.ascontiguousarray(crops.transpose(3, 2, 1, 0)) * cam.scale.reshape(-1, 1, 1)
    values = cam.engine.forward({cam.model.net.inputs[0]: batch})
    scores = values[cam.head.score_blob].reshape(CROPS, -1).T
    matrix = head_weights(cam.model.net, cam.head).matrix
    # Without weights, the features are the class maps.
    weights_LR = np.eye(len(scores), dtype=np.float32) if matrix is None else matrix.T
    activation_lastconv = values[cam.head.feature_blob].transpose(3, 2, 1, 0)
    return _Extracted(scores, activation_lastconv, weights_LR, cam.model.labels.names, width)


def _read_published(data: Path, imgID: int | str | Path) -> _Extracted:
    net, image = data / "data_net.mat", data / f"data_img{imgID}.mat"
    weights_LR, categories = _read(net, "weights_LR", "categories")
    activation_lastconv, scores = _read(image, "activation_lastconv", "scores")
    _expect(weights_LR.ndim == 2, net, "weights_LR", weights_LR, "(K, classes)")
    K, classes = weights_LR.shape
    _expect(categories.size == classes, net, "categories", categories, f"({classes}, 1)")
    fits = activation_lastconv.ndim == 4 and activation_lastconv.shape[2:] == (K, CROPS)
    _expect(fits, image, "activation_lastconv", activation_lastconv, f"(W, H, {K}, {CROPS})")
    # In the release, the shape is (1, 1, classes, 10) for img1 and (classes, 10) for img2.
    _expect(scores.size == classes * CROPS, image, "scores", scores, f"({classes}, {CROPS})")
    return _Extracted(
        scores.reshape(classes, CROPS),
        activation_lastconv,
        weights_LR,
        [str(np.squeeze(label)) for label in categories.flat],
        PUBLISHED_CROPPED_DIM,
    )


def _read(path: Path, *variables: str) -> list[NDArray[Any]]:
    found = read_mat(path, variables)
    for name in variables:
        if name not in found:
            raise FormatError(f"{path}: no variable {name!r}")
    return [found[name] for name in variables]


def _expect(fits: bool, path: Path, name: str, array: NDArray[Any], shape: str) -> None:
    if not fits or (array.dtype.kind not in "fiu" and name != "categories"):
        raise FormatError(f"{path}: {name} has shape {array.shape} and dtype {array.dtype}; expected {shape}")


@options.grouped
def _script(
    image: Annotated[Path | None, typer.Argument(help="Any image; needs --online 1.")] = None,
    imgID: Annotated[int, typer.Option("--imgID", min=1, max=2, help="Image of the release.")] = 1,
    online: Annotated[int, typer.Option(min=0, max=1, help="0: the published features; 1: run a net.")] = 0,
    data: Annotated[Path, typer.Option(help="Folder of the release's .mat and .jpg files.")] = Path(),
    out: Annotated[Path, typer.Option(help="File for the strip.")] = Path("result.jpg"),
    source: options.MeanOptions = options.MeanOptions(model="googlenet-cam"),
    engine: options.EngineOptions = options.EngineOptions(),
) -> None:
    """Print the top five classes of an image and write their maps, as the MATLAB demo does."""
    if image is not None and not online:
        raise UsageError(f"{image}: published features exist only for img1 and img2: add --online 1")
    if online:
        with load(**vars(source), engine=engine.engine, protocol="matlab_demo", options=engine.options) as cam:
            workspace = demo(image or imgID, 1, data=data, cam=cam)
    else:
        workspace = demo(imgID, 0, data=data)
    print(workspace.curPrediction.strip())
    atomic_write(out, encode_jpeg(im2uint8(workspace.curResult)[:, :, ::-1], MATLAB_QUALITY))


if __name__ == "__main__":
    from matlab_ports.command import run

    run(_script)
