"""The command `pycam`, with one module per command.

Commands parse options, call the library and present results. Computing and drawing do not belong here. The module of a
command is imported when the command is called; the list of commands imports none of them.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Collection, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import pycam
from pycam.cli.process import close_streams, importing, interruptible, presented_warnings
from pycam.console import print_error, print_line
from pycam.errors import PycamError, system_error

SIGPIPE = 13  # not defined on Windows
OPENCV_NO_MEMORY = -4  # `code` of OpenCV's error
OUT_OF_MEMORY = "out of memory: try a smaller batch (--batch; for a net to train, its batch_size), or smaller images"

COMMANDS = {
    "heatmap": "Write the top-5 class activation maps of images: overlays, a strip, and one JSON file per image.",
    "figure": "Write maps as a figure for print: one row per image, one column per model, method or layer.",
    "explain": "Show which units of a net give how much of a class's score, and where.",
    "activations": "Write the channels of a net's layers for images, as one grid per layer.",
    "features": "Compute the features of images: a blob, averaged over its rows and columns.",
    "evaluate": "Compute ILSVRC's errors. The same command resumes an interrupted run.",
    "score": "Score predictions (ILSVRC's errors) or maps (MaxBoxAcc, PxAP, localization) against ground truth.",
    "report": "Make reports of finished runs and of images.",
    "paper": "Make the paper's tables and figures.",
    "serve": "Serve the viewer as a web page at 127.0.0.1; images are dropped, pasted or chosen.",
    "page": "Make a page on which anyone sees the class activation maps of their own images, without a server.",
    "compare": "Compare every blob of two engines or files, with one row per layer. B is the reference.",
    "verify": "Check a model's files, its net, and every engine against real Caffe if it is available.",
    "bench": "Measure how fast each engine runs a net on this machine, and say which one to use.",
    "train": "Train a net from Caffe's own files, without Caffe.",
    "demo": "Run the bundled model on four photographs: heat maps, boxes, and a small evaluation.",
    "doctor": "Check versions, engines (each runs a small net), files, models and extras, and suggest fixes.",
    "net": "Show, write, convert and modify nets.",
    "models": "List and show models, and download their weights.",
}
"""The first line of each command's help. A command is a function, or the group `app`, in the module of its name."""

PANELS = {
    "Make maps": ("heatmap", "figure", "explain", "activations", "features", "serve", "page"),
    "Measure": ("evaluate", "score", "report", "paper"),
    "Compare": ("compare", "verify", "bench"),
    "Train and convert": ("train", "net"),
    "Set up": ("models", "demo", "doctor"),
}
"""The commands by what they are for, as the help lists them."""


def load_command(name: str) -> Any:
    """Import the module of a command, and return the command for Click."""
    with importing():
        module = importlib.import_module(f"pycam.cli.{name}")
    alone = typer.Typer(rich_markup_mode=None)
    if hasattr(module, "app"):
        alone.add_typer(module.app, name=name, cls=CommandGroup)
    else:
        alone.command(name)(getattr(module, name))
    command = typer.main.get_group(alone).commands[name]
    _add_examples(name, command)
    return command


def _add_examples(name: str, command: Any) -> None:
    from pycam.cli.examples import epilog

    command.epilog = epilog(name)
    for each, part in getattr(command, "commands", {}).items():
        _add_examples(f"{name} {each}", part)


class CommandGroup(TyperGroup):
    """A group that prints its help if no command is given; it lists each command with its whole first sentence."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words of the command line. Newer versions of Typer make an error of no words, others print help."""
        return super().parse_args(ctx, args or ([] if self.invoke_without_command else ["--help"]))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands."""
        self.format_panel(ctx, formatter, "Commands", self.list_commands(ctx))

    def format_panel(self, ctx: Any, formatter: Any, title: str, names: Sequence[str]) -> None:
        """Write a list of some commands. Click would cut the lines off."""
        commands = ((name, self.get_command(ctx, name)) for name in names)
        with formatter.section(title):
            formatter.write_dl([(name, each.get_short_help_str(sys.maxsize)) for name, each in commands if each])


class LazyGroup(CommandGroup):
    """A group that imports a command when it is called, and lists commands without their modules."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands, in panels."""
        for title, names in PANELS.items():
            self.format_panel(ctx, formatter, title, names)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the whole command, or only its help line for the help and the completion of the group."""
        listed = super().get_command(ctx, cmd_name)
        return listed if listed is None or ctx.command is self else load_command(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Import the command that is called or completed."""
        name, listed, rest = super().resolve_command(ctx, args)
        return name, listed and load_command(listed.name or ""), rest


app = typer.Typer(
    cls=LazyGroup,
    name="pycam",
    help="The Caffe models of the CAM paper, on any machine, without Caffe.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Rich takes longer to import than all the rest of a help page
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, _line in COMMANDS.items():
    app.command(_name, short_help=_line)(lambda: None)


def _print_version(wanted: bool) -> None:
    if wanted:
        print_line(f"pycam {pycam.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main(arguments: list[str] | None = None, application: typer.Typer = app) -> int:
    """Run a command line and return its exit code; print every failure as one line on stderr.

    Parameters
    ----------
    arguments : list of str, optional
        Arguments without the program's name. Default: those of the process.
    application : typer.Typer
        The program.
    """
    received: list[int] = []
    try:
        with interruptible(received), presented_warnings():
            code = application(arguments, prog_name="pycam" if application is app else None, standalone_mode=False)
            sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except BaseException as error:
        if received:
            (number, *_) = received
            name = signal.Signals(number).name
            code = _fail("interrupted" if number == signal.SIGINT else f"ended by {name}", 128 + number)
        else:
            words = sys.argv[1:] if arguments is None else arguments
            code = _failed(error, words if application is app else ())
        close_streams()
        return code


def _failed(error: BaseException, words: Sequence[str]) -> int:
    """Print the error of a command line as one line, and return the exit code."""
    # Typer and Rich answer a broken pipe with a SystemExit.
    if isinstance(error.__context__ if isinstance(error, SystemExit) else error, BrokenPipeError):
        return 128 + SIGPIPE  # nobody reads the output any more
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 0
    if isinstance(error, KeyboardInterrupt):
        return _fail("interrupted", 128 + signal.SIGINT)
    if isinstance(error, PycamError):
        return _fail(_advised(str(error), words), error.exit_code)
    if isinstance(error, OSError):
        stream = "" if error.filename else close_streams()
        return _fail(f"{stream}: {error.strerror}" if stream else system_error(error), PycamError.exit_code)
    # Typer's errors are recognised by a method: their classes have moved between packages.
    if hasattr(error, "format_message"):
        context = getattr(error, "ctx", None)
        program = context.command_path if context else "pycam"
        options = {name for parameter in context.command.params for name in parameter.opts} if context else ()
        message = _advised(_message_of(error), words, options, f"see `{program} --help`")
        return _fail(message, getattr(error, "exit_code", 2))
    if isinstance(error, MemoryError) or getattr(error, "code", None) == OPENCV_NO_MEMORY:
        return _fail(OUT_OF_MEMORY, 1)
    if isinstance(error, ImportError | AttributeError):
        from pycam.verification.opencv import has_opencv, opencv_fix

        if not has_opencv():
            return _fail(f"OpenCV is missing or damaged ({error}): {opencv_fix()}", PycamError.exit_code)
    if os.environ.get("PYCAM_DEBUG"):
        raise error
    return _fail(f"a bug in pycam, not in your files: {error!r}; please report it with the output of PYCAM_DEBUG=1", 70)


def _message_of(error: Any) -> str:
    """Return the message of Typer's error; for an unknown option, which versions word differently, always the same."""
    if type(error).__name__ != "NoSuchOption":
        return str(error.format_message())
    near = f" (Possible options: {', '.join(sorted(error.possibilities))})" if error.possibilities else ""
    return f"No such option: {error.option_name}{near}"


def _advised(message: str, words: Sequence[str], options: Collection[str] = (), otherwise: str = "") -> str:
    """Return a message with what the command line probably meant, or with something else."""
    from pycam.cli.mistakes import advice

    if told := advice(words, message, options):
        message = message.partition(" (Possible options:")[0].rstrip(".")
        return f"{message}{' ' if message.endswith('?') else '; '}{told}"
    return f"{message} ({otherwise})" if otherwise else message


def _fail(message: str, code: int) -> int:
    print_error(f"pycam: {' '.join(message.split())}")
    return code
