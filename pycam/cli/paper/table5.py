"""`pycam paper table5`: linear classifiers of three features on eight data sets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from pycam.cli import options
from pycam.cli.paper.classifier import ClassifierOptions
from pycam.console import Notes
from pycam.engines import best_streams
from pycam.engines.threads import beside_an_engine
from pycam.errors import GroundTruthError, ModelError, UsageError, suggest
from pycam.model import Model, load_model
from pycam.paper.datasets import DATA_SETS, AttributeImages, DataSet, LabelledImages
from pycam.paper.datasets.published import SPLITS
from pycam.paper.feature_run import Images
from pycam.paper.features import default_blob, default_pooling, feature_cam
from pycam.paper.kept_features import kept_features
from pycam.paper.outputs import CellsFile, write_output
from pycam.paper.table5 import FeatureRow, SetScore, paper_rows, score, table
from pycam.tables import write


@options.grouped
def table5(
    context: typer.Context,
    data: Annotated[Path, typer.Option(help="Folder with a folder for each data set.", show_default=False)],
    source: options.MeanOptions,
    classifier: ClassifierOptions,
    engine: options.EngineOptions,
    protocol: options.ProtocolOptions = options.ProtocolOptions(exif="ignore"),
    blob: Annotated[
        str | None, typer.Option(help="Features of --model. Default: the blob that its maps are computed from.")
    ] = None,
    models: Annotated[
        str | None, typer.Option(help="Models of the paper's rows, separated by commas. Default: all.")
    ] = None,
    sets: Annotated[
        str | None, typer.Option(help=f"Data sets, separated by commas: {', '.join(DATA_SETS)}. Default: all.")
    ] = None,
    splits: Annotated[int, typer.Option(min=1, help="Greatest number of splits of a data set.")] = SPLITS,
    training: Annotated[
        int | None, typer.Option(min=1, help="Training images per class of random splits. Default: the paper's.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Output folder. Features in it are used again.")] = Path("table5"),
    batch: options.Batch = 8,
    quiet: options.Quiet = False,
) -> None:
    """Make Table 5: linear classifiers of the paper's three features, on the data sets that are there.

    --model adds a row for another net. What is missing is said below the table. The same command resumes an
    interrupted run.
    """
    fit = classifier.arguments
    is_extra = source.model is not None or source.from_files
    if not is_extra:
        reason = "it is for the net of --model"
        options.refuse(context, reason, options.MeanOptions, "blob", fix="give --model too, or leave it out")
    chosen = [DATA_SETS[name] for name in _chosen("--sets", sets, DATA_SETS)]
    rows = {row.model: row for row in paper_rows()}
    wanted = [rows[name] for name in _chosen("--models", models, rows)]
    notes = Notes(quiet)
    opened, missing = _open(chosen, data, splits, training)
    scores: list[SetScore] = []
    settings: dict[str, object] = {"splits": splits, "training": training}
    run = replace(engine.options, streams=best_streams(engine.engine, engine.options))
    with beside_an_engine(), notes.progress() as shown:
        bar = shown.add_task("features")

        def show(data_set: DataSet, count: int, done: int) -> None:
            shown.update(bar, description=f"{data_set.column}: features", completed=done, total=count)

        for row, model in _models(wanted, source if is_extra else None, blob, quiet, missing):
            pooling = default_pooling(model, row.blob)
            with feature_cam(model, row.blob, engine=engine.engine, protocol=protocol.row, options=run) as cam:
                for data_set, folder, images in opened:
                    path = out / "features" / _file_name(data_set, row)
                    given = _images(images, folder)
                    found = kept_features(
                        cam,
                        given,
                        path,
                        row.blob,
                        pooling=pooling,
                        batch=batch,
                        progress=partial(show, data_set, len(images)),
                    )
                    shown.update(bar, completed=0, total=len(images.splits), description=f"{data_set.column}: SVMs")
                    of_set = score(row, data_set, images, found.values, lambda: shown.advance(bar), **fit)
                    notes.say(f"{data_set.column}, {row.name}: {of_set.value.value:.2%}")
                    scores.append(of_set)
                    settings[f"{row.name} on {data_set.column}"] = {
                        "split": of_set.how,
                        "splits": of_set.splits,
                        "measure": of_set.measure,
                        "mean over classes": of_set.of_classes,
                        "deviation over splits": of_set.deviation,
                        "classifier": dict(of_set.classifier),
                        "features": dict(sorted(found.about.items())),
                    }
    if not scores:
        raise ModelError("; ".join(missing))
    shown_table = table(scores, missing)
    shown_table.show()
    out.mkdir(parents=True, exist_ok=True)
    for suffix in (".md", ".csv"):
        write([shown_table], out / f"table{suffix}")
    cells = tuple(each.cell for each in scores)
    written = write_output(out, CellsFile(5, options.command_line(context), cells, settings))
    notes.say(f"wrote {written}, table.md and table.csv to {out}")


def _chosen(option: str, given: str | None, known: Iterable[str]) -> list[str]:
    """Return the names of a comma list, in the order of those that are known; all without a list."""
    names = list(known) if given is None else options.names_in(option, given)
    for name in names:
        if name not in known:
            raise UsageError(f"{option} {name}: {suggest(name, known, 'expected some of ' + ', '.join(known))}")
    return [name for name in known if name in names]


def _open(
    chosen: Sequence[DataSet], root: Path, splits: int, training: int | None
) -> tuple[list[tuple[DataSet, Path, LabelledImages | AttributeImages]], list[str]]:
    """Read the data sets that are there, and say where the others come from."""
    found: list[tuple[DataSet, Path, LabelledImages | AttributeImages]] = []
    missing: list[str] = []
    for data_set in chosen:
        folder = data_set.find(root)
        if folder is None:
            missing.append(data_set.absent)
        else:
            found.append((data_set, folder, data_set.open(folder, splits=splits, training=training)))
    if not found:
        raise GroundTruthError(f"{root}: none of the data sets is in it: {'; '.join(missing)}")
    return found, missing


def _models(
    rows: Sequence[FeatureRow], source: options.MeanOptions | None, blob: str | None, quiet: bool, missing: list[str]
) -> Iterator[tuple[FeatureRow, Model]]:
    """Load the models of rows one after another, and that of an extra row; add a sentence for each missing one."""
    for row in rows:
        try:
            model = load_model(row.model)
        except ModelError as error:
            missing.append(f"{row.name}: {error}")
        else:
            yield row, model
    if source is not None:
        model = source.load(quiet)
        features = blob or default_blob(model)
        yield FeatureRow(f"{features} from {model.name}", model.name, features), model


def _images(images: LabelledImages | AttributeImages, folder: Path) -> Images:
    paths = tuple(map(str, images.paths))
    names = tuple(path.relative_to(folder).as_posix() for path in images.paths)
    if isinstance(images, AttributeImages):
        return Images(names, paths)
    return Images(names, paths, tuple(images.labels.tolist()), images.class_names)


def _file_name(data_set: DataSet, row: FeatureRow) -> str:
    return re.sub(r"[^\w.-]+", "-", f"{data_set.name}_{row.model}_{row.blob}.npz")
