"""What a command shares with its process: the standard streams, and the signals that ask it to end."""

from __future__ import annotations

import _thread
import codecs
import gc
import json
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from pycam.console import print_error
from pycam.errors import Interrupted, PycamWarning, stop_signals

_PAUSE = 0.001
"""Seconds until a signal whose exception was lost is sent again."""

STREAMS = {"stdout": "standard output", "stderr": "standard error"}


def open_streams() -> None:
    """Make the standard streams of this process ready for any text, also those that are closed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # It takes the lowest free number, which no file of ours may get: others print there.
            os.open(os.devnull, os.O_RDWR)
    codecs.register_error("pycam", _json_escapes)
    for number, name in enumerate(STREAMS, start=1):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))
        # Whoever has chosen another way for characters that the encoding lacks gets it.
        if getattr(sys, name).errors in ("strict", "surrogateescape"):
            getattr(sys, name).reconfigure(errors="pycam")


def _json_escapes(error: UnicodeError) -> tuple[str, int]:
    """Write characters that an encoding lacks as JSON does, so that JSON stays JSON."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


def close_streams() -> str:
    """Flush the standard streams; return the name of one that cannot be written, and let no more be written to it."""
    broken = ""
    for name, called in STREAMS.items():
        stream = getattr(sys, name)
        try:
            stream.flush()
        except (OSError, ValueError):
            broken = broken or called
            # Without this, Python's own flush at exit fails too.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return broken


@contextmanager
def importing() -> Iterator[None]:
    """Collect no garbage in this block, and leave what it made out of later collections: modules stay until the end."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()


@contextmanager
def interruptible(received: list[int]) -> Iterator[None]:
    """Let a signal that asks for an end raise `Interrupted` in this block; a second one ends the process at once.

    Parameters
    ----------
    received : list of int
        Gets the number of the signal, since a library may turn the exception into one of its own.
    """
    handled: list[int] = []
    is_waiting = False  # a thread that sends again

    def end(number: int, frame: FrameType | None) -> None:
        received.append(number)
        for each in handled:
            signal.signal(each, signal.SIG_DFL)
        raise Interrupted

    def send_again() -> None:
        nonlocal is_waiting
        time.sleep(_PAUSE)
        is_waiting = False
        if not handled or signal.getsignal(received[0]) == signal.SIG_DFL:
            return  # the block has ended, or another signal is about to end it: one more would kill the process
        if sys.platform == "win32":
            _thread.interrupt_main(received[0])
        else:
            signal.pthread_kill(main_thread, received[0])

    def lost(found: Any) -> None:
        nonlocal is_waiting
        if not isinstance(found.exc_value, Interrupted):
            unraisable(found)
            return
        # Raised in a destructor or a callback, where Python would only print it and go on: once more, a little later.
        for each in handled:
            signal.signal(each, end)
        # No Thread: it takes locks that the interrupted code may hold.
        if not is_waiting:
            is_waiting = True
            _thread.start_new_thread(send_again, ())

    unraisable = sys.unraisablehook
    main_thread = threading.main_thread().ident or 0
    try:
        sys.unraisablehook = lost
        with stop_signals(end) as numbers:
            handled += numbers
            yield
    finally:
        handled.clear()
        sys.unraisablehook = unraisable


@contextmanager
def presented_warnings() -> Iterator[None]:
    """Print pycam's own warnings in this block as one line each; those of libraries stay as they are."""
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, PycamWarning):
                print_error(f"pycam: {message}")
            else:
                shown(message, category, *place, **more)

        warnings.showwarning = show
        yield
