"""Lists of images: a path per line, with or without a label."""

from __future__ import annotations

import pytest

from pycam.errors import FormatError
from pycam.images.lists import read_image_list


@pytest.fixture
def folder(tmp_path):
    for name in ("ant hill/00.png", "bee/01.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize("beside", [True, False])
def test_a_list_has_labels_or_none(folder, tmp_path_factory, beside):
    path = (folder if beside else tmp_path_factory.mktemp("list")) / "list.txt"
    names = ("ant hill/00.png", "bee/01.png")
    for text, labels in (("ant hill/00.png\n\nbee/01.png\n", None), ("ant hill/00.png 7\nbee/01.png  0", (7, 0))):
        path.write_text(text)
        found = read_image_list(path, None if beside else folder)
        assert found == (names, tuple(str(folder / name) for name in names), labels)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a list without images"),
        ("ant hill/00.png 0\nbee/01.png\n", r"list.txt:2: 'bee/01.png'; expected a path, a blank and a label"),
        ("ant hill/00.png\nbee/01.png 1\n", r"list.txt:2: .* has a label, but the lines before it have none"),
        ("ant hill/00.png 0\nbee/99.png 1\n", r"list.txt:2: no image .*99.png: correct the line$"),
        ("ant hill/00.png,0\n", r"list.txt:1: no image"),
        ("ant hill/00.png -1\n", r"list.txt:1: no image"),
    ],
)
def test_bad_lists(folder, text, message):
    (folder / "list.txt").write_text(text)
    with pytest.raises(FormatError, match=message):
        read_image_list(folder / "list.txt")
