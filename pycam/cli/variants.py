"""The variants that a command line names: each model with each method and layer."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from pycam.cli import options
from pycam.errors import UsageError
from pycam.predict import best_streams, make_cam
from pycam.variants import Variants


def load_variants(
    source: options.ModelOptions,
    models: Sequence[str] | None,
    maps: options.MapOptions,
    engine: options.EngineOptions,
    *,
    images: int | None = 1,
    quiet: bool = False,
) -> Variants:
    """Prepare each model with each method and layer.

    Parameters
    ----------
    source, maps, engine
        The options of a command; those of `source` apply to each model.
    models : sequence of str, optional
        The models of the command.
    images : int
        The number of images, for the streams of the engine; None if it is not known.
    quiet : bool
        Whether to leave out the notes about nets.
    """
    names: Sequence[str | None] = models or [None]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"--model {twice} is given twice: give each model once")
    if len(names) > 1:
        files = {f"--{name}": getattr(source, name) for name in ("prototxt", "weights", "onnx", "head")}
        if given := next((option for option, value in files.items() if value is not None), None):
            raise UsageError(
                f"{given} is for one model, and --model is given {len(names)} times: use a card of your own"
            )
    rows = maps.rows
    streams = [best_streams(engine.engine, row, engine.options, images) for row in rows]
    settings = [replace(engine.options, streams=most) for most in streams]
    with ExitStack() as stack:
        loaded = [replace(source, model=name).load(quiet, needs_maps=maps.needs_maps) for name in names]
        cams = [
            stack.enter_context(make_cam(model, engine=engine.engine, protocol=row, options=own))
            for model in loaded
            for row, own in zip(rows, settings, strict=True)
        ]
        variants = Variants.of(cams)
        stack.pop_all()
    return variants
