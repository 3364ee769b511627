"""Options that several commands share.

An option that stands alone is an annotation. Options that belong together are a group: a dataclass, each field of which
is an option. A command that is decorated with `grouped` takes the group as one parameter.
"""

from __future__ import annotations

import functools
import inspect
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, is_dataclass
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from pycam.console import print_error
from pycam.engines import DEFAULT_ENGINE, ENGINES, Options
from pycam.errors import UsageError
from pycam.model import Model, load_model
from pycam.net.state import PHASES
from pycam.onnx import PREPROCESSINGS
from pycam.protocols import CHOICES, PROTOCOLS, Protocol, protocol as get_protocol

if TYPE_CHECKING:
    from pycam.ilsvrc.ground_truth import GroundTruth

NOT_CONFIRMED = 11
"""Exit code of `compare` and `verify` when they do not find that results agree."""


def models(incomplete: str) -> list[str]:
    """Complete the name of a model, for shells."""
    from pycam import zoo

    return [card.name for card in zoo.all_cards() if card.name.startswith(incomplete)]


def one_of(names: Iterable[str], about: str, *flags: str) -> Any:
    """Make a Typer option that accepts one of some names; its help lists them, and shells complete them."""
    return typer.Option(
        *flags,
        help=f"{about}: {', '.join(names)}.",
        autocompletion=lambda incomplete: [name for name in names if name.startswith(incomplete)],
    )


AllowNonfinite = Annotated[
    bool, typer.Option("--allow-nonfinite", help="Accept weights that are infinite or not a number.")
]
Batch = Annotated[int, typer.Option(min=1, help="Number of images in one run of the net.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Tolerance = Annotated[float, typer.Option(help="Allowed difference, as a fraction of the largest value of a blob.")]
Workers = Annotated[int, typer.Option(min=1, help="Number of processes.")]


def names_in(option: str, text: str) -> list[str]:
    """Return the names of a list with commas."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or len(set(names)) < len(names):
        raise UsageError(f"{option} {text}: expected names that differ, with commas between them")
    return names


def print_notes(notes: Iterable[str], quiet: bool = False) -> None:
    """Print what was changed to read a net of a fork of Caffe, to standard error."""
    if not quiet:
        for note in notes:
            print_error(f"pycam: {note}")


Labels = Annotated[
    Path | None,
    typer.Option(help="Labels of the net's classes: one per line, index and label (CSV), JSON, or synset_words.txt."),
]
GroundTruthClasses = Annotated[
    Path | None, typer.Option(help="Class of each image: a devkit list, or a val.txt with indices or labels.")
]
Blacklist = Annotated[Path | None, typer.Option(help="Numbers, from 1, of images that localization excludes.")]
Meta = Annotated[Path | None, typer.Option(help="meta_clsloc.mat, which the class IDs are checked with.")]
Phase = Annotated[str, one_of(PHASES, "Phase, for the net's include and exclude rules")]
Stages = Annotated[
    list[str] | None, typer.Option("--stage", help="Stage, for the net's include and exclude rules: one or more.")
]
Head = Annotated[
    str | None, typer.Option(help="Scores of a net that has several: their blob, or the class-weight layer.")
]
Level = Annotated[int, typer.Option(help="Level, for the net's include and exclude rules.")]


@dataclass(frozen=True)
class NetOptions:
    """A net with its weights: from a model, or from files that replace the model's."""

    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Name of a model (`pycam models list`), your own model card (my-card.yaml), or an ONNX file.",
            autocompletion=models,
        ),
    ] = None
    prototxt: Annotated[Path | None, typer.Option(help="Net that replaces the model's.")] = None
    weights: Annotated[Path | None, typer.Option(help="Caffemodel that replaces the model's.")] = None
    preprocess: Annotated[
        str | None, one_of(PREPROCESSINGS, "What an ONNX file expects of images, imagenet by default")
    ] = None
    input_size: Annotated[
        str | None, typer.Option(help="Height and width for an ONNX file that leaves them open: 224, or 224x320.")
    ] = None
    phase: Phase = "TEST"
    stages: Stages = None
    level: Level = 0

    @property
    def from_files(self) -> bool:
        """Whether both files are given, so that nothing of the model's net is used."""
        return self.prototxt is not None and self.weights is not None

    def load(self, quiet: bool = False, **more: Any) -> Model:
        """Load the model, and print its net's notes; `more` are further arguments of `pycam.model.load_model`."""
        loaded = load_model(**{**vars(self), "stages": self.stages or ()}, **more)
        print_notes(loaded.net.notes, quiet)
        return loaded


@dataclass(frozen=True)
class NetArguments(NetOptions):
    """The same, with the model as an argument of the command."""

    model: Annotated[
        str | None, typer.Argument(help="Name of a model, your own card, or an ONNX file.", autocompletion=models)
    ] = None


@dataclass(frozen=True)
class OnnxOptions(NetOptions):
    """A net with its weights: from a model, from files that replace the model's, or from an ONNX file."""

    onnx: Annotated[Path | None, typer.Option(help="Net and weights as one ONNX file, in place of a model.")] = None


@dataclass(frozen=True)
class MeanOptions(OnnxOptions):
    """A net, its weights, and the mean and the deviation of its input."""

    mean: Annotated[
        Path | None,
        typer.Option(help="Mean that replaces the model's: .binaryproto, .npy, .mat, or BGR values (104,117,123)."),
    ] = None
    std: Annotated[str | None, typer.Option(help="Divisor of pixels minus the mean, per channel, as in 57,57,58.")] = (
        None
    )


@dataclass(frozen=True)
class HeadOptions(MeanOptions):
    """A net, its weights, the mean of its input and its head."""

    head: Head = None


@dataclass(frozen=True)
class ModelOptions(HeadOptions):
    """A net, its weights, the mean of its input, its head and the labels of its classes."""

    labels: Labels = None
    allow_nonfinite: AllowNonfinite = False


SeveralModels = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        "-m",
        help="Name of a model (`pycam models list`), or your own card (my-card.yaml); several: maps side by side.",
        autocompletion=models,
    ),
]


@dataclass(frozen=True)
class RunOptions:
    """How an engine runs a net."""

    device: Annotated[
        str | None, typer.Option(envvar="PYCAM_DEVICE", help="cpu, cuda, or another of the engine's.")
    ] = None
    threads: Annotated[int | None, typer.Option(min=1, help="Threads. Default: all cores, shared by the workers.")] = (
        None
    )
    precision: Annotated[str | None, typer.Option(help="fp32, or bf16 if the engine has it.")] = None

    @property
    def options(self) -> Options:
        """The same for `pycam.engines`."""
        return Options(self.device, self.threads, precision=self.precision)


@dataclass(frozen=True)
class EngineOptions(RunOptions):
    """An engine, and how it runs a net."""

    engine: Annotated[str, one_of(ENGINES, "Engine that runs the net")] = DEFAULT_ENGINE


@dataclass(frozen=True)
class ProtocolOptions:
    """A row of the protocol table, its view, the orientation of images, and the scale of the input."""

    protocol: Annotated[str, one_of(PROTOCOLS, "Row of the protocol table")] = "default"
    view: Annotated[str | None, one_of(CHOICES["view"], "View that replaces the protocol's")] = None
    exif: Annotated[
        str | None, one_of(CHOICES["exif"], "EXIF orientation, in place of what the protocol does about it")
    ] = None
    input_scale: Annotated[
        str | None, typer.Option(help="Factor for pixels minus the mean that replaces the model's: 0.017, 1/255.")
    ] = None

    @property
    def row(self) -> Protocol:
        """The row with the view, the orientation and the scale."""
        choices = {"view": self.view, "exif": self.exif, "input_scale": self.input_scale}
        return get_protocol(self.protocol).with_choices(**choices)


@dataclass(frozen=True)
class BoxOptions(ProtocolOptions):
    """A row of the protocol table, and how boxes are found."""

    box_rule: Annotated[str | None, one_of(CHOICES["box_rule"], "Box rule that replaces the protocol's")] = None
    threshold: Annotated[
        float | None, typer.Option(help="Threshold of the box rule, from 0 to 1. Default: the rule's, 0.2 in most.")
    ] = None


@dataclass(frozen=True)
class MethodOptions(ProtocolOptions):
    """A row of the protocol table, and how maps are made."""

    method: Annotated[
        list[str] | None,
        one_of(CHOICES["method"], "Method that replaces the protocol's, one or more: maps side by side"),
    ] = None
    layer: Annotated[
        list[str] | None,
        typer.Option(help="Blob that maps are made at, one or more. Default: the deepest with rows and columns."),
    ] = None
    target: Annotated[str | None, one_of(CHOICES["target"], "Score that maps explain")] = None

    @property
    def rows(self) -> list[Protocol]:
        """The row with the view, and the box rule if there is one, once per method and layer."""
        choices = {name: value for name, value in vars(self).items() if name in ("target", "box_rule", "threshold")}
        return self.row.with_methods(self.method or (), self.layer or (), **choices)

    @property
    def needs_maps(self) -> bool:
        """Whether one of the methods needs a net that has class activation maps."""
        return any(row.method == "cam" for row in self.rows)


@dataclass(frozen=True)
class MapOptions(BoxOptions, MethodOptions):
    """A row of the protocol table, how maps are made, and how boxes are found."""


@dataclass(frozen=True)
class TruthOptions:
    """Ground truth."""

    ground_truth: Annotated[
        Path,
        typer.Option(
            help="XML folder, devkit cache (.mat), WSOL or CUB folder, CSV, COCO's JSON, or list.", show_default=False
        ),
    ]
    ground_truth_classes: GroundTruthClasses = None
    labels: Labels = None
    blacklist: Blacklist = None
    meta: Meta = None

    def read(self) -> GroundTruth:
        """Read the ground truth."""
        from pycam.ilsvrc.ground_truth import read_ground_truth

        files = dict(vars(self))
        return read_ground_truth(files.pop("ground_truth"), **files)


NO_TRUTH = TruthOptions(None)  # type: ignore[arg-type]
"""The default of a command that needs ground truth for some of its work only."""


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take groups of options.

    Parameters
    ----------
    command : callable
        A command for Typer. A parameter that is annotated with a group becomes the options of that group; a default of
        the parameter gives the defaults of the options. A parameter with the name of one of these options replaces it.

    Returns
    -------
    callable
        The command with one parameter per option, for Typer. It passes each group on as one value.
    """
    # Not get_type_hints: on Python 3.10 it wraps an annotation with the default None, and hides what Typer looks for.
    hints = inspect.get_annotations(command, eval_str=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    own = hints.keys() - groups.keys()
    options: list[Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name not in groups:
            options.append(parameter.replace(kind=Parameter.KEYWORD_ONLY, annotation=hints[name]))
            continue
        group = groups[name]
        default = group if parameter.default is Parameter.empty else parameter.default
        for option, hint in get_type_hints(group, include_extras=True).items():
            if option not in own:
                value = getattr(default, option, Parameter.empty)
                options.append(Parameter(option, Parameter.KEYWORD_ONLY, default=value, annotation=hint))

    @functools.wraps(command)
    def call(**given: Any) -> None:
        for name, group in groups.items():
            of_group = {field.name for field in fields(group)} - own
            given[name] = group(**{option: given.pop(option) for option in of_group})
        command(**given)

    call.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    call.__annotations__ = {option.name: option.annotation for option in options}
    return call


def refuse(context: typer.Context, reason: str, *refused: str | type[Any], fix: str = "leave it out") -> None:
    """Refuse options that stand on the command line but have no effect there.

    Parameters
    ----------
    context : typer.Context
        Context of the command. Values from environment variables are not refused: they are meant for every command.
    reason : str
        Why the options have no effect.
    *refused : str or group
        Parameters of the command, or groups of them.
    fix : str
        What to do.

    Raises
    ------
    UsageError
        Names the first of them that is given.
    """
    names = {name for each in refused for name in ([each] if isinstance(each, str) else [f.name for f in fields(each)])}
    for parameter in context.command.params:
        if parameter.name in names and is_given(context, parameter.name or ""):
            raise UsageError(f"{parameter.opts[0]} has no effect here: {reason}; {fix}")


def is_given(context: typer.Context, name: str) -> bool:
    """Return whether a parameter stands on the command line; a value from an environment variable does not."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def command_line(context: typer.Context) -> str:
    """Return the command that makes the same again: its options that are given, by the command line or the environment.

    Parameters
    ----------
    context : typer.Context
        Context of the command.
    """
    words = context.command_path.split()
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is None or source.name not in ("COMMANDLINE", "ENVIRONMENT"):
            continue
        value = context.params[parameter.name or ""]
        for each in value if isinstance(value, list | tuple) else [value]:
            if parameter.param_type_name == "argument":
                words.append(str(each))
            elif isinstance(each, bool):
                words.append((parameter.opts if each else parameter.secondary_opts)[0])
            else:
                words += [parameter.opts[0], str(each)]
    return shlex.join(words)
