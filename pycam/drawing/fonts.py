"""Fonts: which font has the letters of a label, and text that is drawn, measured and cut with it.

Pillow's own font has Latin letters. A label with others is drawn with a font of this machine, if one has them all, and
else with several. No font comes with pycam: those with Hangul and Chinese are larger than all the rest of it.
"""

from __future__ import annotations

import functools
import os
import re
import sys
import unicodedata
import warnings
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import ImageDraw, ImageFont, features

from pycam.errors import PycamWarning, escaped

SIZE = 14
"""The size of all text, in pixels."""

REGIONS = {"KR": ("HANGUL",), "JP": ("HIRAGANA", "KATAKANA"), "SC": ("CJK",)}
"""The region in the name of a font for Chinese characters, by the scripts of a text; the first that fits."""

RIGHT_TO_LEFT = ("R", "AL")
STYLES = ("bold", "italic", "oblique", "light", "thin", "black", "mono", "serif", "condensed", "medium", "math", "last")
"""Parts of the names of fonts that are used only if no plain one has a letter. LastResort has signs for scripts."""

_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Control characters and ends of lines, which the name of a file may have: a blank is drawn in their place."""

_NO_CHARACTER = "\uffff"  # which no font has, so that its glyph is the one for missing characters
_FACES = 32  # at most, in a collection of fonts

Font = ImageFont.FreeTypeFont


def draw_text(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, fill: str | tuple[int, ...], anchor: str
) -> None:
    """Draw one line of text.

    Parameters
    ----------
    draw : PIL.ImageDraw.ImageDraw
        The image, RGB.
    place : (x, y)
        A point of the text in pixels.
    text : str
        Arabic is shaped, and text from right to left is drawn so, if Pillow has Raqm.
    fill : color
        As for Pillow.
    anchor : str
        Which point of the text `place` is, as for Pillow: `l` or `r`, then `m` (the middle) or `b` (the bottom) of
        Pillow's own font, whose baseline all fonts share.
    """
    pieces = _pieces(text)
    own = default_font()
    if [font for _, font in pieces] == [own]:
        draw.text(place, pieces[0][0], font=own, fill=fill, anchor=anchor)
        return
    x, y = float(place[0]), place[1]
    ascent, descent = own.getmetrics()
    baseline = y - descent if anchor[1] == "b" else y + (ascent - descent) // 2
    if anchor[0] == "r":
        x -= text_width(text)
    for piece, font in pieces:
        draw.text((x, baseline), piece, font=font, fill=fill, anchor="ls")
        x += font.getlength(piece)


def text_width(text: str) -> float:
    """Return the width of a text in pixels."""
    return sum(font.getlength(piece) for piece, font in _pieces(text))


def fitted(text: str, room: float) -> str:
    """Return a text that is at most `room` pixels wide: the whole, or its beginning with an ellipsis."""
    if text_width(text) <= room:
        return text
    count = max(0, bisect_left(range(len(text)), True, key=lambda end: text_width(text[: end + 1] + "…") > room))
    while count and unicodedata.combining(text[count : count + 1] or " "):
        count -= 1  # an accent stays with its letter
    return text[:count].rstrip(" ,") + "…"


def check_glyphs(text: str) -> None:
    """Warn if no font has a character of a text: once per script, with the first text that has such a character.

    Warns
    -----
    PycamWarning
        One line, with the text, the characters and what to do.
    """
    if text.isascii():
        return
    missing = [
        c
        for c in _letters(unicodedata.normalize("NFC", text))
        if all(not _has(font, c) for font in (default_font(), *_faces()))
    ]
    reported = {_script(c) for c in missing} - _reported
    if reported:
        _reported.update(reported)
        warnings.warn(
            f"no font on this machine has {escaped(''.join(missing))} of the label {text!r}: install one that has, "
            f"such as Noto Sans (Debian: fonts-noto-cjk, fonts-noto-core), or put its file into {_folders()[-1]}",
            PycamWarning,
            stacklevel=2,
        )
    elif not features.check("raqm") and _right_to_left(text) and "raqm" not in _reported:
        _reported.add("raqm")
        warnings.warn(
            f"the letters of the label {text!r} are not joined and stand from left to right: Pillow has no Raqm here; "
            "install the library FriBiDi",
            PycamWarning,
            stacklevel=2,
        )


_reported: set[str] = set()
"""The scripts that this process has warned of."""


@functools.lru_cache(maxsize=1)
def default_font() -> Font:
    """Return Pillow's own font."""
    font = ImageFont.load_default(size=SIZE)
    if not isinstance(font, ImageFont.FreeTypeFont):  # Pillow without FreeType has only a bitmap font
        raise RuntimeError("Pillow was built without FreeType: install Pillow's wheel")
    return font


@functools.lru_cache(maxsize=4096)
def _pieces(text: str) -> Sequence[tuple[str, Font]]:
    """Return the parts of a text with their fonts, from left to right."""
    own, text = default_font(), unicodedata.normalize("NFC", _BREAKS.sub(" ", text))
    if text.isascii() or not (letters := _letters(text)) or all(_has(own, c) for c in letters):
        return [(text, own)]
    fonts = [own, *sorted(_faces(), key=lambda font: not _is_of(font, _region(letters)))]
    for font in fonts:
        if all(_has(font, c) for c in letters):
            return [(text, font)]
    pieces: list[tuple[str, Font]] = []
    for character in text:
        last = pieces[-1][1] if pieces else own
        font = last if not _letters(character) else next((f for f in (last, *fonts) if _has(f, character)), own)
        if pieces and font is last:
            pieces[-1] = (pieces[-1][0] + character, font)
        else:
            pieces.append((character, font))
    return pieces[::-1] if _right_to_left(text) else pieces


def _letters(text: str) -> list[str]:
    """Return the distinct characters of a text that need a glyph, in their order."""
    return [c for c in dict.fromkeys(text) if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zs", "Zl", "Zp")]


def _right_to_left(text: str) -> bool:
    """Return whether the first letter that has a direction goes from right to left."""
    directions = (unicodedata.bidirectional(c) for c in text)
    return next((each for each in directions if each in ("L", *RIGHT_TO_LEFT)), "L") in RIGHT_TO_LEFT


def _script(character: str) -> str:
    return unicodedata.name(character, "?").split(" ")[0].split("-")[0]


def _region(letters: Sequence[str]) -> str:
    scripts = {_script(c) for c in letters}
    return next((region for region, its in REGIONS.items() if scripts & {*its}), "")


def _is_of(font: Font, region: str) -> bool:
    return bool(region) and region in (font.getname()[0] or "").split(" ")


@functools.lru_cache(maxsize=100_000)
def _has(font: Font, character: str) -> bool:
    """Return whether a font has a glyph for a character: one that is not its glyph for missing characters."""
    return _glyph(font, character) != _glyph(font, _NO_CHARACTER)


def _glyph(font: Font, character: str) -> tuple[tuple[int, int], bytes, float]:
    plain = _unshaped(font)
    mask = plain.getmask(character)
    return mask.size, bytes(mask), plain.getlength(character)


@functools.cache
def _unshaped(font: Font) -> Font:
    # Raqm would build a letter that a font lacks from others: č from c and an accent that does not fit.
    return font.font_variant(layout_engine=ImageFont.Layout.BASIC)


@functools.lru_cache(maxsize=1)
def _faces() -> Sequence[Font]:
    """Return the fonts of this machine, those that are used first at the front."""

    def rank(path: Path) -> tuple[bool, bool, bool, str]:
        name = path.name.casefold()
        plain = not any(style in name.replace("sansserif", "") for style in STYLES)
        return not plain, "noto" not in name, "sans" not in name, str(path)

    files = {
        file
        for folder in _folders()
        for file in folder.rglob("*")
        if file.suffix.casefold() in (".ttf", ".otf", ".ttc", ".otc")
    }
    return [font for file in sorted(files, key=rank) for font in _open(file)]


def _folders() -> list[Path]:
    """Return the folders in which this system has fonts; the last one is the user's."""
    home = Path(os.path.expanduser("~"))  # noqa: PTH111  without a home directory, Path raises an error
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA", str(home / "AppData/Local"))
        return [Path(os.environ.get("WINDIR", "C:/Windows"), "Fonts"), Path(local, "Microsoft/Windows/Fonts")]
    if sys.platform == "darwin":
        return [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"]
    shared = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    own = os.environ.get("XDG_DATA_HOME") or str(home / ".local/share")
    return [*(Path(folder, "fonts") for folder in shared.split(":") if folder), home / ".fonts", Path(own, "fonts")]


def _open(file: Path) -> Iterator[Font]:
    """Yield the fonts in a file; none if FreeType cannot read it, or not at this size."""
    for index in range(_FACES if file.suffix.casefold() in (".ttc", ".otc") else 1):
        try:
            yield ImageFont.truetype(str(file), SIZE, index)
        except (OSError, ValueError):
            return
