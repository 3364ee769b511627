"""Labels in other scripts than Latin: which font draws them, how they are cut, and what is said if none can."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image, ImageDraw, ImageFont

from pycam import zoo
from pycam.cli import main
from pycam.drawing import fonts, layout
from pycam.errors import PycamWarning

LABELS = {
    "Hangul": "붉은여우, 여우",
    "Chinese": "赤狐，狐狸",
    "Arabic": "ثعلب أحمر",
    "Cyrillic": "Лисица обыкновенная",
    "accents": "Renard à l'œil, Füchse, čeština",
}


def forget() -> None:
    for cached in (fonts._pieces, fonts._has, fonts._faces, layout._kept_caption_bar):
        cached.cache_clear()
    fonts._reported.clear()


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A machine whose fonts are those in a folder: none at first."""
    for name in ("XDG_DATA_DIRS", "XDG_DATA_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    forget()
    folder = tmp_path / "fonts"
    folder.mkdir()
    yield folder
    monkeypatch.undo()
    forget()


def dejavu(folder: Path) -> Path:
    """Install the font that comes with matplotlib: it has Arabic and Cyrillic, but nothing of East Asia."""
    import matplotlib

    path = folder / "DejaVuSans.ttf"
    path.write_bytes(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf").read_bytes())
    forget()
    return path


def made(path: Path, letters: str) -> Path:
    """Write a font that has only these letters, each as a square."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    def square(size: int):
        pen = TTGlyphPen(None)
        pen.moveTo((0, 0))
        for point in ((0, size), (size, size), (size, 0)):
            pen.lineTo(point)
        pen.closePath()
        return pen.glyph()

    names = [f"uni{ord(letter):04X}" for letter in letters]
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder([".notdef", *names])
    font.setupCharacterMap({ord(letter): name for letter, name in zip(letters, names, strict=True)})
    font.setupGlyf({".notdef": square(200), **{name: square(700) for name in names}})
    font.setupHorizontalMetrics(dict.fromkeys([".notdef", *names], (1000, 0)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(path)
    forget()
    return path


def bar(text: str) -> np.ndarray:
    """Return the caption of a text, RGB."""
    return layout.caption(np.zeros((1, 400, 3), np.uint8), text)[1:, :, ::-1]


def rendered(*pieces: tuple[str, ImageFont.FreeTypeFont]) -> np.ndarray:
    """Draw text by Pillow alone, on the baseline of its own font."""
    image = Image.new("RGB", (400, layout.CAPTION_HEIGHT), (layout.DARK,) * 3)
    ascent, descent = ImageFont.load_default(size=14).getmetrics()
    x = 4.0
    for text, font in pieces:
        where = (x, layout.CAPTION_HEIGHT // 2 + (ascent - descent) // 2)
        ImageDraw.Draw(image).text(where, text, font=font, fill="white", anchor="ls")
        x += font.getlength(text)
    return np.asarray(image)


@pytest.mark.fonts
@pytest.mark.paper
@pytest.mark.parametrize("label", LABELS.values(), ids=list(LABELS))
def test_a_label_of_each_script_is_drawn_as_pillow_draws_it(label):
    from fontTools.ttLib import TTFont

    forget()
    ((_, chosen),) = fonts._pieces(label)
    letters = set(TTFont(chosen.path, fontNumber=chosen.index).getBestCmap())
    assert {*map(ord, label)} <= letters, "the font lacks a letter"
    assert (bar(label) == rendered((label, ImageFont.truetype(chosen.path, 14, chosen.index)))).all()


@pytest.mark.fonts
def test_chinese_characters_are_those_of_the_text_s_language():
    for label, region in {"赤狐": "SC", "赤いキツネ": "JP", "붉은여우 赤狐": "KR"}.items():
        families = {font.getname()[0] for font in fonts._faces()}
        if any(f" {region}" in family for family in families):  # a machine may have one region's font only
            assert region in fonts._pieces(label)[0][1].getname()[0].split()


@pytest.mark.linux
@pytest.mark.paper
@pytest.mark.parametrize("script", ["Arabic", "Cyrillic", "accents"])
def test_a_font_of_the_machine_draws_what_pillow_s_own_lacks(installed, script):
    path = dejavu(installed)
    (installed / "broken.ttf").write_bytes(b"no font")
    assert (bar(LABELS[script]) == rendered((LABELS[script], ImageFont.truetype(str(path), 14)))).all()


@pytest.mark.linux
@pytest.mark.paper
@pytest.mark.raqm
def test_arabic_is_shaped_and_goes_from_right_to_left(installed):
    path = dejavu(installed)
    plain = ImageFont.truetype(str(path), 14, layout_engine=ImageFont.Layout.BASIC)
    label = "ثعلب"

    def likeness(text: str) -> float:
        return np.corrcoef(bar(label).ravel(), rendered((text, plain)).ravel())[0, 1]

    # Its letters in the forms that join them, in the order of the page; places differ by less than a pixel.
    assert likeness("\ufe90\ufee0\ufecc\ufe9b") > 0.8
    assert likeness(label) < 0.6 and likeness(label[::-1]) < 0.6


@pytest.mark.linux
@pytest.mark.paper
def test_a_label_of_several_fonts_keeps_one_baseline(installed):
    latin = ImageFont.truetype(str(dejavu(installed)), 14)
    squares = ImageFont.truetype(str(made(installed / "squares.ttf", "여우")), 14)
    own = ImageFont.load_default(size=14)
    assert (bar("fox 여우") == rendered(("fox ", own), ("여우", squares))).all()
    # The first letter goes from right to left: so do the parts.
    assert (bar("ثعلب 여우") == rendered(("여우", squares), ("ثعلب ", latin))).all()


@pytest.mark.linux
@pytest.mark.paper
def test_a_composed_letter_needs_a_glyph_of_its_own(installed):
    made(installed / "Noto Sans parts.ttf", "c\u030c")
    path = dejavu(installed)
    expected = rendered(("č", ImageFont.truetype(str(path), 14)))
    assert (bar("č") == expected).all()
    assert (bar("c\u030c") == expected).all(), "as macOS writes the names of files"


@pytest.mark.linux
def test_a_missing_glyph_is_said_once_per_script(installed):
    with pytest.warns(PycamWarning) as caught:
        for label in ("여우", "늑대", "กา", "여우 fox"):
            bar(label)
            layout.write_on(np.zeros((30, 300, 3), np.uint8), label)
    first, second = (str(warning.message) for warning in caught)
    assert first.startswith("no font on this machine has 여우 of the label '여우': install one that has, such as Noto")
    assert f"or put its file into {installed}" in first
    assert "กา of the label 'กา'" in second


@pytest.mark.linux
@pytest.mark.paper
def test_the_advice_for_a_missing_glyph_works(installed, recwarn):
    made(installed / "squares.ttf", "여우")
    bar("여우")
    assert not recwarn


@pytest.mark.linux
@pytest.mark.filterwarnings("default::pycam.errors.PycamWarning")
def test_the_command_says_it_in_one_line(installed, tmp_path, monkeypatch, capsys):
    names = json.dumps([f"여우 {index}호" for index in range(101)])
    (tmp_path / "labels.json").write_text(names, "utf-8")
    Image.new("RGB", (60, 50), "red").save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    arguments = ["heatmap", "a.png", "--model", zoo.BUNDLED, "--labels", "labels.json", "--quiet"]
    assert main(arguments) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("pycam: no font on this machine has 여우") and "호'" in line


def test_ascii_is_drawn_by_pillow_s_own_font_as_ever(installed):
    own = ImageFont.load_default(size=14)
    image = Image.new("RGB", (400, layout.CAPTION_HEIGHT), (layout.DARK,) * 3)
    ImageDraw.Draw(image).text((4, 12), "red fox, Vulpes vulpes", font=own, fill="white", anchor="lm")
    assert (bar("red fox, Vulpes vulpes") == np.asarray(image)).all()
    image = Image.new("RGB", (300, 40), "black")
    ImageDraw.Draw(image).text((4, 36), "Class activities is [fox]", font=own, fill="white", anchor="lb")
    assert (layout.write_on(np.zeros((40, 300, 3), np.uint8), "Class activities is [fox]") == np.asarray(image)).all()


@pytest.mark.linux
@pytest.mark.paper
@pytest.mark.parametrize("script", ["one font", "two fonts"])
def test_a_name_with_line_breaks_is_drawn_on_one_line(installed, script):
    made(installed / "Square.ttf", "狐" if script == "two fonts" else "狐b")
    for name in ("狐{}b", "b{}狐", "狐{}", "a{}b"):
        for each in "\n\r\t\0\x1b\x1d\x85\u2028\u2029":
            assert (bar(name.format(each)) == bar(name.format(" "))).all()


@given(st.text(st.sampled_from("abcW .,e\u0301éЛ한ث"), max_size=40), st.integers(0, 300))
def test_a_long_label_is_cut_by_its_width(text, room):
    cut = fonts.fitted(text, room)
    if fonts.text_width(text) <= room:
        assert cut == text
        return
    assert cut.endswith("…") and text.startswith(cut[:-1].rstrip())
    assert fonts.text_width(cut) <= room or cut == "…"
    kept = len(cut) - 1
    longer = text[: kept + 1].rstrip(" ,")
    while len(longer) <= kept or text[len(longer) : len(longer) + 1] == "\u0301":  # blanks are dropped, accents stay
        longer = text[: len(longer) + 1] if len(longer) < len(text) else longer + "W"
    assert fonts.text_width(longer + "…") > room - 1 or longer[-1:] in " ,"
