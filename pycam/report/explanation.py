"""The page of an explanation: a class activation map as the sum of its units, in images and in numbers."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from pycam.drawing import draw_box, encode_jpeg, overlay, scaled_box
from pycam.images.resize import resize
from pycam.report.page import static_page
from pycam.report.viewer_data import shown
from pycam.units.activations import Activations
from pycam.units.explanation import MEASURES, ClassExplanation, how_it_adds_up

TILE = 240
"""The longer side of a drawn map, in pixels."""

TERMS = 6
"""The number of units in the drawing of the sum."""


def explanation_page(activations: Activations, classes: Sequence[ClassExplanation]) -> str:
    """Return a page that shows how units add up to the logits of classes of an image.

    Parameters
    ----------
    activations : Activations
        The units of the image.
    classes : sequence of ClassExplanation
        The classes, one section each.
    """
    image, cam = activations.image, activations.source.cam
    name = PurePath(image.path).name or "image"
    seen = "×".join(f"{float(side):g}" for side in activations.source.field.size)
    facts = (
        f"{cam.model.name}, {cam.engine.description}, protocol {cam.protocol.name}, view {cam.placement.view.name}; "
        f"a position of a unit sees {seen} pixels of the input"
    )
    sentence = how_it_adds_up(activations)
    tiles = _Tiles(activations)
    original = f"data:image/jpeg;base64,{base64.b64encode(shown(image.pixels)).decode()}"
    sections = "".join(_section(each, tiles, f"class-{number}") for number, each in enumerate(classes))
    body = (
        f'<header class="title"><h1>{escape(name)}</h1><p>{escape(facts)}</p>'
        f"<p>{escape(sentence[0].upper() + sentence[1:])}.</p></header>\n"
        f'<main><img class="original" src="{original}" width="{image.width}" height="{image.height}" '
        f'alt="The image {escape(name)}">{sections}</main>\n'
    )
    return static_page(f"{name}: units", "units.css", body)


class _Tiles:
    """Drawings of maps on an image."""

    def __init__(self, activations: Activations) -> None:
        self._activations = activations
        image = activations.image
        scale = min(1.0, TILE / max(image.height, image.width))
        self._size = max(1, round(image.height * scale)), max(1, round(image.width * scale))
        self._pixels = resize(image.pixels, *self._size, "opencv_area")

    def unit(self, unit: int, text: str) -> str:
        """Return the drawing of a unit's map, with the receptive field of its largest position."""
        rows, columns = self._activations.source.head.pad
        maps = np.pad(self._activations.features[:, unit], ((0, 0), (rows, rows), (columns, columns)))
        image = self._activations.image
        field = self._activations.largest(unit).image_field
        box = scaled_box(field, (image.width, image.height), self._size[::-1])
        return self._img(draw_box(self._drawn(maps), box), text)

    def map(self, maps: NDArray[np.float64], text: str) -> str:
        """Return the drawing of the class activation map, (n, h, w)."""
        return self._img(self._drawn(maps), text)

    def _drawn(self, maps: NDArray[np.floating]) -> NDArray[np.uint8]:
        placement = self._activations.source.cam.placement
        placed = placement.on_image(maps.astype(np.float32), *self._size)
        return overlay(self._pixels, placed, "half", placement.region(*self._size))

    def _img(self, pixels: NDArray[np.uint8], text: str) -> str:
        data = base64.b64encode(encode_jpeg(pixels, quality=88)).decode()
        height, width = pixels.shape[:2]
        return f'<img src="data:image/jpeg;base64,{data}" width="{width}" height="{height}" alt="{escape(text)}">'


def _section(explained: ClassExplanation, tiles: _Tiles, key: str) -> str:
    label = escape(explained.label)
    return (
        f'<section aria-labelledby="{key}"><h2 id="{key}">{label}</h2>'
        f'<p class="note">class {explained.account.index}; score {explained.score:.4f}, '
        f"logit {_number(explained.logit)}</p>\n{_sum(explained, tiles)}{_table(explained)}</section>\n"
    )


def _sum(explained: ClassExplanation, tiles: _Tiles) -> str:
    """Draw the class activation map as the sum of its weighted units."""
    account = explained.account
    items = []
    for number, unit in enumerate(explained.listed[:TERMS]):
        weight = float(account.weights[unit])
        sign = ("+" if number else "") if weight >= 0 else "−"
        tile = tiles.unit(unit, f"The map of unit {unit} on the image, with the field of its largest position")
        items.append(
            f'<li><span class="sign">{sign} {abs(weight):.4f} ×</span><figure>{tile}'
            f"<figcaption>unit {unit}<b>{_number(float(account.contributions[unit]))}</b></figcaption></figure></li>"
        )
    shown = account.contributions[account.order[:TERMS]]
    others = len(account.contributions) - len(shown)
    if others:
        rest = float(account.contributions.sum() - shown.sum())
        items.append(
            f'<li><span class="sign">+</span><p class="rest">{others} other unit{"" if others == 1 else "s"}'
            f"<b>{_number(rest)}</b></p></li>"
        )
    items.append(f'<li><span class="sign">+</span><p class="rest">bias<b>{_number(account.bias)}</b></p></li>')
    whole = tiles.map(account.map, f"The class activation map of {explained.label} on the image")
    items.append(
        f'<li><span class="sign">=</span><figure>{whole}<figcaption>map and logit'
        f"<b>{_number(account.total)}</b></figcaption></figure></li>"
    )
    return f'<ol class="terms">{"".join(items)}</ol>\n'


def _table(explained: ClassExplanation) -> str:
    table = explained.table()
    section = table.section()
    contributions = [float(each) for each in table.frame["contribution"]]
    # The rows of the sum and of the logit are totals: they have no bar.
    largest = max(map(abs, contributions[:-2])) or 1.0
    numbers = ("weight", *MEASURES.values(), "contribution", "share", "largest")
    head = "".join(
        f'<th scope="col"{" class=number" if name in numbers else ""}>{escape(name)}</th>'
        + ("<td></td>" if name == "contribution" else "")
        for name in (section["columns"][0] or "unit", *section["columns"][1:])
    )
    rows = []
    for number, (row, value) in enumerate(zip(section["rows"], contributions, strict=True)):
        total = number >= len(contributions) - 2
        cells = [f'<th scope="row">{escape(row[0])}</th>']
        for name, cell in zip(section["columns"][1:], row[1:], strict=True):
            cells.append(f"<td{' class=number' if name in numbers else ''}>{escape(cell)}</td>")
            if name == "contribution":
                cells.append(f'<td class="bars">{"" if total else _bar(value / largest)}</td>')
        rows.append(f"<tr{' class=total' if total else ''}>{''.join(cells)}</tr>")
    name = f"Units of {explained.label}"
    return (
        f'<div class="table" role="region" aria-label="{escape(name)}" tabindex="0"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>\n"
    )


def _bar(share: float) -> str:
    """Draw a contribution, from -1 to 1, as a bar from the middle."""
    kind, start, width = ("subtracts", 50 + 50 * share, -50 * share) if share < 0 else ("adds", 50.0, 50 * share)
    return (
        '<svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="{kind}" x="{start:.2f}" y="0" width="{width:.2f}" height="8"/>'
        '<path d="M50 0V8"/></svg>'
    )


def _number(value: float) -> str:
    return f"{value:.4f}".replace("-", "−")
