"""Learning curves as an image: losses on the left, what else the test net gives, such as accuracy, on the right."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from pycam.training.log import Row

Points = list[tuple[float, float]]

WIDTH, HEIGHT = 560, 400
LEFT, TOP, RIGHT, BOTTOM = 56, 44, 24, 56
FINER = 2
"""Drawn at twice the size, then halved: smooth lines."""

COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf")
GREY, BLACK = "#d0d0d0", "#202020"


def draw_curves(rows: Sequence[Row], title: str) -> bytes:
    """Draw the curves of a log.

    Parameters
    ----------
    rows
        The log's rows.
    title
        What stands above.

    Returns
    -------
    bytes
        A PNG of one panel, or of two when there are test outputs besides losses.
    """
    names = dict.fromkeys(name for row in rows for name in row.tests)
    curves: dict[str, Points] = {"training": [(row.iteration, row.loss) for row in rows if row.loss is not None]}
    for name in names:
        curves[f"test {name}"] = [(row.iteration, row.tests[name]) for row in rows if name in row.tests]
    losses = {name: points for name, points in curves.items() if name == "training" or "loss" in name}
    others = {name: points for name, points in curves.items() if name not in losses}
    panels = [_panel(losses, f"{title}: loss")]
    if others:
        panels.append(_panel(others, f"{title}: {', '.join(name.removeprefix('test ') for name in others)}"))
    sheet = Image.new("RGB", (WIDTH * len(panels), HEIGHT))
    for number, panel in enumerate(panels):
        sheet.paste(panel, (WIDTH * number, 0))
    png = io.BytesIO()
    sheet.save(png, "PNG")
    return png.getvalue()


def _panel(curves: dict[str, Points], title: str) -> Image.Image:
    image = Image.new("RGB", (WIDTH * FINER, HEIGHT * FINER), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(13 * FINER)
    points = [point for line in curves.values() for point in line if math.isfinite(point[1])]
    x_ticks = _ticks(0, max((x for x, _ in points), default=1))
    y_ticks = _ticks(min((0.0, *(y for _, y in points))), max((y for _, y in points), default=1))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])
        up = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return (
            (LEFT + across * (WIDTH - LEFT - RIGHT)) * FINER,
            (HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)) * FINER,
        )

    for x in x_ticks:
        draw.line([place(x, y_ticks[0]), place(x, y_ticks[-1])], GREY, FINER)
        draw.text(place(x, y_ticks[0]), f"\n{x:g}", BLACK, font, anchor="ma")
    for y in y_ticks:
        draw.line([place(x_ticks[0], y), place(x_ticks[-1], y)], GREY, FINER)
        draw.text(place(x_ticks[0], y), f"{y:g} ", BLACK, font, anchor="rm")
    draw.text((WIDTH * FINER / 2, TOP * FINER / 2), title, BLACK, font, anchor="mm")
    draw.text((WIDTH * FINER / 2, (HEIGHT - 6) * FINER), "iteration", BLACK, font, anchor="mb")
    for number, (name, line) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        if finite := [place(x, y) for x, y in line if math.isfinite(y)]:
            draw.line(finite, colour, 2 * FINER, joint="curve")
        corner = ((WIDTH - RIGHT - 8) * FINER, (TOP + 8 + 16 * number) * FINER)
        draw.text(corner, name, colour, font, anchor="ra")
    return image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def _ticks(low: float, high: float) -> list[float]:
    """Give about five round numbers from `low` or below to `high` or above."""
    span = max(high - low, 1e-9)
    unit = 10 ** math.floor(math.log10(span))
    step = next(factor * unit for factor in (0.2, 0.5, 1.0, 2.0) if span <= 6 * factor * unit)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * number, 12) for number in range(first, max(last, first + 1) + 1)]
