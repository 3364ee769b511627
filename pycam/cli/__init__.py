"""The command `pycam`: a module per command. Commands parse, call the library, and present.

A command's module is imported when the command is called; the list of commands needs none of them. What computes or
draws does not belong here.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import pycam
from pycam.errors import PycamError

SIGPIPE = 13  # Windows has no such name
OPENCV_NO_MEMORY = -4  # the `code` of OpenCV's own error for it
OUT_OF_MEMORY = "out of memory: try a smaller batch (--batch; for a net to train, its batch_size), or smaller images"

COMMANDS = {
    "heatmap": "Write the top-5 class activation maps of images: overlays, a strip, and a JSON each.",
    "activations": "Write what every channel of a net's layers makes of images, one grid per layer.",
    "evaluate": "Compute ILSVRC's errors. A run that is stopped, in whatever way, goes on by the same command.",
    "score": "Score a submission file (ILSVRC's errors) or maps (MaxBoxAcc) against ground truth.",
    "report": "Report on finished runs and on images.",
    "serve": "Open the viewer on a page at 127.0.0.1, where images are dropped, pasted or chosen.",
    "compare": "Compare every blob of two engines, or of files; a row a layer. B is the reference.",
    "verify": "Check a model's files, its net, and every engine against real Caffe where it is there; one verdict.",
    "train": "Train a net from Caffe's own files, without Caffe.",
    "demo": "Show four photographs to the bundled model: heat maps, boxes, and a small evaluation.",
    "doctor": "Check versions, engines (each runs a small net), files, models and extras; tell cures.",
    "net": "Look at nets, write the released ones, make new ones.",
    "models": "Show the models, and get their weights.",
}
"""Each command with the first line of its help. It is the function, or the group `app`, in the module of its name."""


def load_command(name: str) -> Any:
    """Import the module of a command, and return the command as Click knows it."""
    module = importlib.import_module(f"pycam.cli.{name}")
    alone = typer.Typer()
    if hasattr(module, "app"):
        alone.add_typer(module.app, name=name)
    else:
        alone.command(name)(getattr(module, name))
    return typer.main.get_group(alone).commands[name]


class LazyGroup(TyperGroup):
    """Commands of which only name and help line are there until one is called."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command: for the group's own help and completion its line alone, for all else the whole."""
        listed = super().get_command(ctx, cmd_name)
        return listed if listed is None or ctx.command is self else load_command(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Import the command that is called, or whose options a shell completes."""
        name, listed, rest = super().resolve_command(ctx, args)
        return name, listed and load_command(listed.name or ""), rest


app = typer.Typer(
    cls=LazyGroup,
    name="pycam",
    help="The Caffe models of the CAM paper, on any machine, without Caffe.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, _line in COMMANDS.items():
    app.command(_name, help=_line)(lambda: None)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"pycam {pycam.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main(arguments: list[str] | None = None, application: typer.Typer = app) -> int:
    """Run a command line; give its exit code. Every failure is one line on stderr.

    Parameters
    ----------
    arguments
        Without the program's name; None for the process's own.
    application
        `pycam`, or another program that ends in the same ways.
    """
    try:
        code = application(arguments, standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except PycamError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:
        # Whoever read our output has seen enough; keep Python from complaining when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + SIGPIPE
    except KeyboardInterrupt:
        return _fail("interrupted", 128 + signal.SIGINT)
    except MemoryError:
        return _fail(OUT_OF_MEMORY, 1)
    except OSError as error:
        return _fail(str(error), 1)
    except Exception as error:
        # Errors of the command line itself: typer has moved their classes between packages.
        if hasattr(error, "format_message"):
            context = getattr(error, "ctx", None)
            program = context.command_path if context else "pycam"
            message = f"{error.format_message()} (`{program} --help` tells more)"
            return _fail(message, getattr(error, "exit_code", 2))
        if getattr(error, "code", None) == OPENCV_NO_MEMORY:
            return _fail(OUT_OF_MEMORY, 1)
        if os.environ.get("PYCAM_DEBUG"):
            raise
        return _fail(f"a fault in pycam, not in your files: {error!r}; PYCAM_DEBUG=1 shows where, please report it", 70)


def _fail(message: str, code: int) -> int:
    print(f"pycam: {' '.join(message.split())}", file=sys.stderr)
    return code
