from __future__ import annotations

import numpy as np
import pytest

from pycam.drawing.colormaps import gray2ind, ind2rgb, mat2gray, matlab_jet, opencv_jet
from pycam.errors import UsageError


@pytest.mark.shared
def test_jet_is_matlabs(shared):
    np.testing.assert_array_equal(matlab_jet(), np.loadtxt(shared / "data/golden/matlab/jet256.txt"))


def test_small_jets_are_matlabs():
    """What MATLAB's documentation and its users print for jet(1), jet(4) and jet(8)."""
    assert matlab_jet(1).tolist() == [[0, 1, 1]]
    assert matlab_jet(4).tolist() == [[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]]
    assert matlab_jet(8).tolist() == [
        [0, 0, 1],
        [0, 0.5, 1],
        [0, 1, 1],
        [0.5, 1, 0.5],
        [1, 1, 0],
        [1, 0.5, 0],
        [1, 0, 0],
        [0.5, 0, 0],
    ]
    with pytest.raises(UsageError, match="0 levels"):
        matlab_jet(0)


def test_opencv_jet_runs_from_blue_to_red():
    coloured = opencv_jet(np.array([[0, 128, 255]], np.uint8))
    assert coloured.tolist() == [[[128, 0, 0], [126, 255, 130], [0, 0, 128]]]


@pytest.mark.shared
@pytest.mark.parametrize(("limits", "name"), [(None, "rgb"), ((0, 1000), "rgb_range_0_1000")])
def test_maps_are_coloured_as_by_map2jpg(shared, limits, name):
    golden = np.load(shared / "data/golden/matlab/map2jpg.npz")
    coloured = ind2rgb(gray2ind(mat2gray(golden["map"], limits)), matlab_jet())
    np.testing.assert_allclose(coloured, golden[name], rtol=0, atol=1e-12)


def test_mat2gray_scales_and_clamps():
    assert mat2gray([[2, 4, 6]]).tolist() == [[0, 0.5, 1]]
    assert mat2gray([[2, 4, 6]], (4, 5)).tolist() == [[0, 0, 1]]
    assert mat2gray([[0.25, 0.25]]).tolist() == [[0.25, 0.25]]
    assert mat2gray([[7, 7]]).tolist() == [[1, 1]]


def test_gray2ind_rounds_halves_up():
    assert gray2ind([[0, 0.5, 1]]).tolist() == [[0, 128, 255]]
    assert gray2ind([[0, 0.5, 1]], 4).tolist() == [[0, 2, 3]]


def test_ind2rgb_gives_too_large_indices_the_last_colour():
    colours = np.array([[1.0, 0, 0], [0, 0.5, 0]])
    assert ind2rgb(np.array([[0, 1, 9]]), colours).tolist() == [[[1, 0, 0], [0, 0.5, 0], [0, 0.5, 0]]]
