"""Learning curves as a PNG: losses on the left, other test outputs such as accuracy on the right."""

from __future__ import annotations

import io
from collections.abc import Sequence

from pycam.drawing.print_figure import prepare_matplotlib
from pycam.training.log import Row


def draw_curves(rows: Sequence[Row], title: str) -> bytes:
    """Draw the curves of a log.

    Parameters
    ----------
    rows : sequence of Row
        The rows of the log.
    title : str
        The title of each panel.

    Returns
    -------
    bytes
        A PNG with one panel, or two when there are test outputs besides losses.
    """
    prepare_matplotlib()
    # Without pyplot, which would choose a backend for the whole process.
    from matplotlib.figure import Figure

    curves: dict[str, list[tuple[float, float]]] = {
        "training": [(row.iteration, row.loss) for row in rows if row.loss is not None]
    }
    for row in rows:
        for name, value in row.tests.items():
            curves.setdefault(f"test {name}", []).append((row.iteration, value))
    losses = {name: points for name, points in curves.items() if name == "training" or "loss" in name}
    others = {name: points for name, points in curves.items() if name not in losses}
    panels = [(losses, "loss")]
    if others:
        panels.append((others, ", ".join(name.removeprefix("test ") for name in others)))
    figure = Figure(figsize=(5.6 * len(panels), 4), layout="constrained")
    for axes, (lines, name) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for label, points in lines.items():
            axes.plot([x for x, _ in points], [y for _, y in points], label=label)
        axes.set(title=f"{title}: {name}", xlabel="iteration")
        axes.grid(alpha=0.3)
        axes.legend()
    png = io.BytesIO()
    figure.savefig(png, format="png", metadata={"Software": None})
    return png.getvalue()
