"""`pycam paper figure10`: concepts in captions, by detectors that are trained with hard negatives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from pycam.cli import options
from pycam.cli.figure import Dpi, Width, side_by_side
from pycam.cli.paper.heads import FULL, FitOptions, Heads, Out, Seed, save_figure
from pycam.console import Notes
from pycam.drawing.print_figure import PAPER, Grid, Panel
from pycam.paper.concepts import DROPPED, FIRST, MARGIN, ROUNDS, UNSEEN, CaptionedImage, choose, mine, read_captions


@options.grouped
def figure10(
    context: typer.Context,
    captions: Annotated[
        Path,
        typer.Option(
            "--list", help="List: the path of an image, a tab, its caption, one per line.", show_default=False
        ),
    ],
    phrases: Annotated[
        list[str], typer.Option("--phrase", help="Concept, one or more, as in 'mirror in lake'.", show_default=False)
    ],
    source: options.ModelOptions,
    maps: options.BoxOptions = FULL,
    fit: FitOptions = FitOptions(),
    engine: options.EngineOptions = options.EngineOptions(),
    root: Annotated[
        Path | None, typer.Option(help="Folder that the list's paths start from. Default: the list's own.")
    ] = None,
    least: Annotated[int, typer.Option(min=2, help="The least number of captions that have the phrase.")] = 50,
    between: Annotated[
        int, typer.Option(min=0, max=1000, help="Other words that may stand between two words of the phrase.")
    ] = 0,
    rounds: Annotated[int, typer.Option(min=0, help="Rounds of mining.")] = ROUNDS,
    unseen: Annotated[int, typer.Option(min=1, help="New negatives that a round looks at.")] = UNSEEN,
    shown: Annotated[int, typer.Option("--show", min=1, help="Images to show per phrase.")] = 12,
    side: Annotated[int, typer.Option("--columns", min=1, help="Images side by side.")] = 4,
    seed: Seed = 0,
    out: Out = Path("figure10"),
    width: Width = PAPER["columns"],
    dpi: Dpi = 300,
    batch: options.Batch = 8,
    quiet: options.Quiet = False,
) -> None:
    """Make Figure 10: the images that score highest for a concept, with maps, from images and their captions.

    Positives have the phrase in their captions; negatives share no word with it but a, an, the, of, in, on, at, with,
    and. Each round adds hard negatives and drops the positives with the lowest margins.
    """
    listed = read_captions(captions, root)
    texts = [each.caption for each in listed]
    chosen = [choose(texts, phrase, least=least, between=between, seed=seed) for phrase in phrases]
    notes = Notes(quiet)
    heads = Heads(source, maps, engine, fit, notes)
    known = _Known(heads, listed, batch)
    grid = Grid(side, width, dpi)
    rows: list[list[Panel | None]] = []
    titles: list[list[str]] = []
    mined = {}
    settings = {}
    for phrase, (positives, negatives) in zip(phrases, chosen, strict=True):
        found = mine(known.values, heads.fit, positives, negatives, rounds=rounds, unseen=unseen)
        margins = found.classifier.decisions(known.values(found.seen))[:, 0]
        best = found.seen[np.argsort(-margins, kind="stable")[:shown]].tolist()
        with heads.cam(found.classifier, [phrase]) as cam:
            items = list(heads.maps(cam, [listed[row].path for row in best], 0, batch))
        panels: list[list[Panel | None]] = [
            [item.prediction.panel(grid, 0, captions=[listed[row].caption, f"margin {item.score:.2f}"])]
            for row, item in zip(best, items, strict=True)
        ]
        lines = side_by_side(panels, side)
        rows += lines
        titles += [[f"{phrase}: {len(positives)} captions"], *[[]] * (len(lines) - 1)]
        mined[phrase] = [dict(zip(("positives", "negatives", "hard"), each, strict=True)) for each in found.rounds]
        settings = heads.settings(found.classifier)
        notes.say(f"{phrase}: {len(found.positives)} positives and {len(found.negatives)} negatives at last")
    about = {"phrases": list(phrases), "between": between, "mining": mined, "unseen": unseen, "seed": seed}
    about |= {"first negatives per positive": FIRST, "hard above margin": MARGIN, "dropped share": DROPPED}
    caption = (
        f"The images with the highest margins for {', '.join(phrases)}, with maps and captions, by linear support "
        f"vector machines on {heads.blob} of {heads.model.name}, after {rounds} rounds of hard negatives."
    )
    save_figure(context, 10, out, grid, rows, [], caption, settings | about, notes, titles=titles)


class _Known:
    """Features of listed images, each computed once."""

    def __init__(self, heads: Heads, listed: list[CaptionedImage], batch: int) -> None:
        self._heads, self._listed, self._batch = heads, listed, batch
        self._of: dict[Path, NDArray[np.float32]] = {}

    def values(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the features of images, (n, K)."""
        paths = [self._listed[row].path for row in rows]
        new = [path for path in dict.fromkeys(paths) if path not in self._of]
        self._of |= dict(zip(new, self._heads.features(new, self._batch), strict=True)) if new else {}
        return np.stack([self._of[path] for path in paths])
