"""The command `pycam`: a module a command. Commands parse, call the library, and present."""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated

import typer

import pycam
from pycam.cli import compare, demo, doctor, evaluate, heatmap, models, net, report, score, serve, train
from pycam.errors import PycamError

SIGPIPE = 13  # Windows has no such name
OPENCV_NO_MEMORY = -4  # the `code` of OpenCV's own error for it
OUT_OF_MEMORY = "out of memory: try a smaller batch (--batch; for a net to train, its batch_size), or smaller pictures"

app = typer.Typer(
    name="pycam",
    help="The Caffe models of the CAM paper, on any machine, without Caffe.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("heatmap")(heatmap.heatmap)
app.command("evaluate")(evaluate.evaluate)
app.command("score")(score.score)
app.command("report")(report.report)
app.command("serve")(serve.serve)
app.command("compare")(compare.compare_command)
app.command("verify")(compare.verify)
app.command("train")(train.train)
app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)
app.add_typer(net.app, name="net")
app.add_typer(models.app, name="models")


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
