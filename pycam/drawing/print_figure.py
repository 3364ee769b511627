"""Figures for print: a grid of images with headings, captions and boxes, as PDF, SVG or PNG, drawn by matplotlib.

The lines and the letters of a PDF or an SVG are lines and letters, and the fonts are in the file. The same panels give
the same bytes, whatever settings of matplotlib the user has.
"""

from __future__ import annotations

import atexit
import base64
import io
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam import zoo
from pycam.errors import ModelError, UsageError, escaped, suggest
from pycam.formats.files import is_folder
from pycam.images.resize import resize

Pixels = NDArray[np.uint8]
Frame = tuple[float, float, float, float, str]
"""A box as shares of the width and the height of its image, x0, y0, x1, y1, and its colour."""

FORMS = {".pdf": "pdf", ".svg": "svg", ".png": "png"}
"""The forms of a figure, by the suffix of its file."""

FOUND, TRUTH = "#ff2020", "#00c832"
"""The colours of found boxes and of ground-truth boxes, as in the paper."""

PAPER = {"columns": 17.5, "column": 8.25}
"""The widths of a page and of one of its two columns in the paper's layout, in cm."""

NARROWEST = 1.0
"""The least width of a panel, in cm: captions of narrower ones cannot be read."""

MOST_PIXELS = 100_000_000
LONGEST_SIDE = 1 << 16
"""The limits of matplotlib's renderer, and of what a reader of the file can bear."""

_FONT = "DejaVu Sans"  # comes with matplotlib
_HEADING, _CAPTION = 7.5, 6.5  # points
_LINE = 1.2  # the height of a line, in font sizes
_POINT = 2.54 / 72  # in cm
_GAP = 0.12  # between panels, in cm
_TALLEST = 2.0  # the height of a panel, in widths
_MOST_LINES = 3
_SETTINGS: dict[str, Any] = {
    "pdf.fonttype": 42,  # letters as TrueType, which publishers ask for
    "svg.fonttype": "none",  # letters as text
    "svg.hashsalt": "pycam",
    "font.family": [_FONT],
    "path.simplify": False,
}
_DATELESS: dict[str, dict[str, None]] = {
    "pdf": dict.fromkeys(("CreationDate", "Creator", "Producer")),
    "svg": dict.fromkeys(("Date", "Creator")),
    "png": {"Software": None},
}


@dataclass(frozen=True, eq=False)
class Panel:
    """An image of a figure. Made by `Grid.panel`.

    Attributes
    ----------
    pixels : (H, W, 3) uint8 BGR
        At the size of the print.
    captions : tuple of str
        Lines below the image; a line that is too long continues on the next one.
    frames : tuple of (x0, y0, x1, y1, colour)
        Boxes, as shares of width and height.
    """

    pixels: Pixels
    captions: tuple[str, ...] = ()
    frames: tuple[Frame, ...] = ()


@dataclass(frozen=True)
class Grid:
    """The measures of a figure.

    Attributes
    ----------
    columns : int
        The number of panels side by side.
    width : float
        The width of the figure, in cm.
    dpi : float
        Pixels per inch of the images, and of a PNG.

    Raises
    ------
    UsageError
        The panels would be narrower than `NARROWEST`, or a measure is not possible.
    """

    columns: int
    width: float = PAPER["columns"]
    dpi: float = 300.0

    def __post_init__(self) -> None:
        if not 2 <= self.width <= 100:
            raise UsageError(f"a figure's width of {self.width:g} cm: expected 2 to 100")
        if not 36 <= self.dpi <= 2400:
            raise UsageError(f"{self.dpi:g} dpi: expected 36 to 2400")
        if self.room < NARROWEST:
            raise UsageError(
                f"{self.columns} columns in {self.width:g} cm are {max(self.room, 0):.2f} cm wide each, but captions "
                f"need {NARROWEST:g} cm: choose fewer columns or a larger width"
            )

    @property
    def room(self) -> float:
        """The width of a panel, in cm."""
        return (self.width - (self.columns - 1) * _GAP) / self.columns

    def panel(
        self, pixels: Pixels, captions: Iterable[str] = (), boxes: Iterable[tuple[Sequence[float], str]] = ()
    ) -> Panel:
        """Make a panel of an image, which is resized to the size of the print.

        Parameters
        ----------
        pixels : (H, W, 3) uint8 BGR
            The image.
        captions : iterable of str
            Lines below it.
        boxes : iterable of ((x0, y0, x1, y1), colour)
            Boxes in image pixels, 0-based, half-open; colours as matplotlib's, such as `FOUND` and `TRUTH`.

        Raises
        ------
        UsageError
            The figure would be too high with this panel alone.
        """
        height, width = pixels.shape[:2]
        share = min(1.0, _TALLEST * width / height) * self.room * self.dpi / 2.54 / width
        tall, wide = max(1, round(height * share)), max(1, round(width * share))
        self._check(tall * 2.54 / self.dpi)
        resizer = "opencv_area" if share < 1 else "opencv_cubic"
        frames = tuple((x0 / width, y0 / height, x1 / width, y1 / height, c) for (x0, y0, x1, y1), c in boxes)
        return Panel(np.asarray(resize(pixels, tall, wide, resizer), np.uint8), tuple(captions), frames)

    def draw(
        self,
        rows: Sequence[Sequence[Panel | None]],
        headings: Sequence[str] = (),
        form: str = "pdf",
        titles: Sequence[Sequence[str]] = (),
    ) -> bytes:
        """Draw the figure.

        Parameters
        ----------
        rows : sequence of sequences of Panel or None
            The panels of each row, at most `columns`; None leaves a place empty.
        headings : sequence of str
            The headings of the columns; none for no headings.
        form : str
            One of the values of `FORMS`.
        titles : sequence of sequences of str
            Lines above each row, over the whole width; none for no titles.

        Returns
        -------
        bytes
            The file; the same for the same panels.

        Raises
        ------
        UsageError
            matplotlib is not installed, or the figure would be too high.
        """
        above = [tuple(lines) for lines in titles] or [()] * len(rows)
        texts = [*headings, *(text for lines in above for text in lines)]
        texts += [text for row in rows for panel in row if panel for text in panel.captions]
        with _matplotlib(texts):
            measure = _Measure()
            top = [measure.wrapped([text], self.room, _HEADING, bold=True) for text in headings]
            over = [measure.wrapped(lines, self.width, _CAPTION) for lines in above]
            under = [
                [measure.wrapped(panel.captions if panel else (), self.room, _CAPTION) for panel in row] for row in rows
            ]
            page = _Page(self)
            for left, lines in zip(page.lefts, top, strict=False):
                skipped = _text_height(max(map(len, top)), _HEADING) - _text_height(len(lines), _HEADING)
                page.write(lines, left + self.room / 2, skipped, _HEADING, fontweight="bold")
            page.skip(_text_height(max(map(len, top), default=0), _HEADING))
            for row, lines, captions in zip(rows, over, under, strict=True):
                page.write(lines, 0, 0, _CAPTION, ha="left")
                page.skip(_text_height(len(lines), _CAPTION))
                height = max((panel.pixels.shape[0] * 2.54 / self.dpi for panel in row if panel), default=0.0)
                for left, panel, caption in zip(page.lefts, row, captions, strict=False):
                    if panel is not None:
                        page.show(panel, left, height)
                        page.write(caption, left + self.room / 2, height, _CAPTION)
                page.skip(height + _text_height(max(map(len, captions), default=0), _CAPTION) + _GAP)
            self._check(page.top)
            return _saved(page.figure(), form)

    def _check(self, total: float) -> None:
        height, width = (side / 2.54 * self.dpi for side in (total, self.width))
        if max(height, width) >= LONGEST_SIDE or height * width > MOST_PIXELS:
            raise UsageError(
                f"a figure of {self.width:g}×{total:.0f} cm at {self.dpi:g} dpi would have {width * height / 1e6:.0f} "
                f"million pixels; at most {MOST_PIXELS / 1e6:g} million, and {LONGEST_SIDE:,} on a side, are drawn: "
                "give fewer images, or a smaller width or dpi"
            )


def form_of(path: str | os.PathLike[str]) -> str:
    """Return the form that a file's name asks for.

    Raises
    ------
    UsageError
        The suffix is not in `FORMS`.
    """
    suffix = Path(path).suffix
    if suffix.lower() not in FORMS:
        hint = suggest(suffix, FORMS, "")
        raise UsageError(
            f"{os.fspath(path)}: expected a file name that ends in {', '.join(FORMS)}" + (f"; {hint}" if hint else "")
        )
    return FORMS[suffix.lower()]


def check_matplotlib() -> None:
    """Raise a UsageError if matplotlib is not installed: before the maps of a figure are computed."""
    with _matplotlib(()):
        pass


def without_glyph(texts: Iterable[str]) -> str:
    """Return the characters of texts that no font on this machine has, in the order of their numbers."""
    with _matplotlib(()):
        return "".join(sorted(_fallbacks("".join(texts))[1]))


def prepare_matplotlib() -> None:
    """Give matplotlib a place for its list of fonts: pycam's cache, unless the user has a place for matplotlib."""
    if "MPLCONFIGDIR" not in os.environ and not any(map(is_folder, _own_places())):
        os.environ["MPLCONFIGDIR"] = _fonts_folder()


def _own_places() -> Iterator[Path]:
    """Yield the places that a user's own folder of matplotlib may have; none where no home directory is known."""
    from platformdirs import user_config_path

    with suppress(RuntimeError):
        yield user_config_path("matplotlib").expanduser()
    with suppress(RuntimeError):
        yield Path("~/.matplotlib").expanduser()


def _fonts_folder() -> str:
    """Return a folder in the cache if files can be written there, or else one that the end of the process removes."""
    try:
        folder = zoo.cache_folder() / "matplotlib"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return str(folder)
    except (OSError, ModelError):
        pass
    temporary = tempfile.mkdtemp(prefix="pycam-matplotlib-")
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return temporary


@contextmanager
def _matplotlib(texts: Iterable[str]) -> Iterator[None]:
    """Use matplotlib with settings of our own and with fonts for some texts; restore the user's settings."""
    prepare_matplotlib()
    try:
        # Without pyplot, which would choose a backend for the whole process.
        import matplotlib
    except ImportError as error:
        raise UsageError(f"figures for print need matplotlib: pip install 'caffe-cam[paper]' ({error})") from None
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        matplotlib.rcdefaults()
        families, _ = _fallbacks("".join(texts))
        settings: Any = matplotlib.rcParams  # the stubs of some versions list every key
        settings.update(_SETTINGS | {"font.family": [_FONT, *families]})
        yield


def _fallbacks(text: str) -> tuple[list[str], set[str]]:
    """Return the families of fonts that have what `_FONT` lacks of a text, and the characters that none has."""
    missing = {c for c in text if c.isprintable() and not c.isspace()} - _characters(_font_path())
    families: list[str] = []
    if missing:
        from matplotlib.font_manager import fontManager

        fonts = {each.name: each.fname for each in fontManager.ttflist if each.style == "normal" and each.weight == 400}
        for name, path in sorted(fonts.items()):
            if missing and "Last" not in name and (had := missing & _characters(path)):
                families.append(name)
                missing -= had
    return families, missing


def _font_path(family: str = _FONT, weight: str = "normal") -> str:
    from matplotlib.font_manager import FontProperties, fontManager

    return str(fontManager.findfont(FontProperties(family=family, weight=weight)))


@lru_cache(maxsize=1024)
def _characters(path: str) -> frozenset[str]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError):  # a font that FreeType cannot read
        return frozenset()


class _Measure:
    """Breaks texts into lines by the widths of their letters."""

    def __init__(self) -> None:
        from matplotlib.backends.backend_agg import RendererAgg

        renderer: Any = RendererAgg
        self._renderer = renderer(1, 1, 72)

    def wrapped(self, texts: Sequence[str], room: float, size: float, bold: bool = False) -> list[str]:
        """Break texts into lines of at most `room` cm; a text has at most three lines and ends in an ellipsis."""
        from matplotlib.font_manager import FontProperties

        font = FontProperties(size=size, weight="bold" if bold else "normal")

        def fits(line: str) -> bool:
            width, _, _ = self._renderer.get_text_width_height_descent(line, font, ismath=False)
            return float(width) * _POINT <= room

        return [line for text in texts for line in _lines(escaped(text), fits)]


def _lines(text: str, fits: Any) -> list[str]:
    """Break a text at blanks; a word that is longer than a line after one of -_/, or anywhere."""
    lines: list[str] = []
    words = text.split()
    while words:
        line = words.pop(0)
        if not fits(line):
            fitting = [n for n in range(1, len(line)) if fits(line[:n])] or [1]
            cut = max((n for n in fitting if line[n - 1] in "-_/"), default=max(fitting))
            words.insert(0, line[cut:])
            line = line[:cut]
        while words and fits(f"{line} {words[0]}"):
            line = f"{line} {words.pop(0)}"
        lines.append(line)
        if len(lines) == _MOST_LINES and words:
            while line and not fits(line + "…"):
                line = line[:-1]
            lines[-1] = line + "…"
            break
    return lines


def _text_height(lines: int, size: float) -> float:
    """Return the height of some lines, in cm, with a little room."""
    return (lines * _LINE * size + (0.4 * size if lines else 0)) * _POINT


class _Page:
    """A figure that grows downwards; what is on it is drawn when its height is known. Measures are in cm."""

    def __init__(self, grid: Grid) -> None:
        self.top = 0.0
        self._grid = grid
        self.lefts = [self._whole(column * (grid.room + _GAP)) for column in range(grid.columns)]
        self._texts: list[tuple[float, float, str, dict[str, Any]]] = []
        self._panels: list[tuple[float, float, float, float, Panel]] = []

    def skip(self, height: float) -> None:
        """Continue below."""
        self.top = self._whole(self.top + height)

    def write(self, lines: Sequence[str], x: float, y: float, size: float, **style: Any) -> None:
        """Write lines, in the middle of x by default, from y below the top on."""
        for number, line in enumerate(lines):
            baseline = self.top + y + (number * _LINE + 1) * size * _POINT
            self._texts.append((x, baseline, line, {"fontsize": size, "ha": "center", **style}))

    def show(self, panel: Panel, left: float, height: float) -> None:
        """Put a panel into the middle of its place below the top."""
        wide, tall = (side * 2.54 / self._grid.dpi for side in panel.pixels.shape[1::-1])
        place = self._whole(left + (self._grid.room - wide) / 2), self.top + self._whole((height - tall) / 2)
        self._panels.append((*place, wide, tall, panel))

    def _whole(self, measure: float) -> float:
        """Round a measure to whole pixels, so that the pixels of panels are the pixels of a PNG."""
        return round(measure * self._grid.dpi / 2.54) * 2.54 / self._grid.dpi

    def figure(self) -> Any:
        """Return matplotlib's figure."""
        from matplotlib.figure import Figure

        width, height = self._whole(self._grid.width), self.top
        figure = Figure(figsize=(width / 2.54, height / 2.54), dpi=self._grid.dpi)
        for x, y, line, style in self._texts:
            figure.text(x / width, 1 - y / height, line, va="baseline", parse_math=False, **style)
        for left, top, wide, tall, panel in self._panels:
            _draw_panel(figure, (left / width, 1 - (top + tall) / height, wide / width, tall / height), panel)
        return figure


def _draw_panel(figure: Any, place: tuple[float, float, float, float], panel: Panel) -> None:
    from matplotlib.patches import Rectangle

    axes = figure.add_axes(place)
    axes.set_axis_off()
    # The pixels are those of the print: "none" puts them into a PDF or an SVG as they are.
    axes.imshow(panel.pixels[..., ::-1], extent=(0, 1, 1, 0), aspect="auto", interpolation="none")
    for x0, y0, x1, y1, colour in panel.frames:
        for line, width in (("white", 1.8), (colour, 1.0)):
            axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=line, linewidth=width))
    axes.set(xlim=(0, 1), ylim=(1, 0))


def _saved(figure: Any, form: str) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format=form, metadata=_DATELESS[form])
    if form != "svg":
        return file.getvalue()
    style = f"<style>{''.join(_font_faces(figure))}</style>"
    return file.getvalue().replace(b"<defs>", f"<defs>{style}".encode(), 1)


def _font_faces(figure: Any) -> Iterator[str]:
    """Yield the fonts of a figure's texts as CSS: of each font, the glyphs that are used."""
    from matplotlib import rcParams

    used: dict[str, str] = {}
    for text in figure.texts:
        used[str(text.get_fontweight())] = used.get(str(text.get_fontweight()), "") + text.get_text()
    for weight, letters in sorted(used.items()):
        left = set(letters)
        for family in rcParams["font.family"]:
            path = _font_path(family, weight)
            has = left & _characters(path)
            left -= has
            if has:
                data = base64.b64encode(_subset(path, "".join(sorted(has)))).decode()
                yield (
                    f"@font-face{{font-family:'{family}';font-weight:{weight};"
                    f"src:url(data:font/ttf;base64,{data}) format('truetype')}}"
                )


def _subset(path: str, letters: str) -> bytes:
    """Return a font with the glyphs of some letters."""
    from fontTools.subset import Options, Subsetter
    from fontTools.ttLib import TTFont

    font = TTFont(path, fontNumber=0, recalcTimestamp=False)
    subsetter = Subsetter(Options(notdef_outline=True, drop_tables=["FFTM"]))
    subsetter.populate(text=letters)
    subsetter.subset(font)
    file = io.BytesIO()
    font.save(file)
    return file.getvalue()
