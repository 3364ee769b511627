"""The connections of `pycam serve`: how long they may last, how they end, and how problems are reported."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

from starlette.types import ASGIApp
from uvicorn import Config, Server

from pycam.console import print_error
from pycam.errors import PycamError, stop_signals

GRACE_SECONDS = 1
"""Time for the answers that are under way when the server is told to stop."""
END_SECONDS = 1.3
"""Time after which the process ends, whatever still runs."""
REQUEST_SECONDS = 1
"""Time that a connection has for a request, however many other connections there are."""


@dataclass(frozen=True)
class Limits:
    """Limits on requests.

    Attributes
    ----------
    upload : int
        Size of an image file, in bytes.
    pixels : int
        Size of an image, in pixels.
    upload_seconds, answer_seconds : float
        Time for the upload of an image, and for its prediction.
    idle_seconds : float
        Time that a connection without a request stays open, and that an upload may pause.
    waiting : int
        Number of images that may wait while one is predicted.
    connections : int
        Number of connections; of more, the longest idle ones are closed, after `REQUEST_SECONDS`.
    """

    upload: int = 20_000_000
    pixels: int = 40_000_000
    upload_seconds: float = 30
    answer_seconds: float = 60
    idle_seconds: float = 10
    waiting: int = 16
    connections: int = 64


class ImageServer(Server):
    """uvicorn's server, which waits for nobody without a limit, and reports a problem as one line.

    Parameters
    ----------
    app : ASGI application
        What `pycam.report.server.application` returns.
    limits : Limits, optional
        The same limits.

    Attributes
    ----------
    ended_by : int
        The signal that stopped the server, 0 if none did.
    """

    def __init__(self, app: ASGIApp, limits: Limits = Limits()) -> None:
        # The idle connections are found by attributes of this implementation of HTTP, the one that uvicorn requires.
        config = Config(app, http="h11", ws="none", log_config=None, access_log=False)
        config.timeout_graceful_shutdown = GRACE_SECONDS
        super().__init__(config)
        self.ended_by = 0
        self._limits = limits
        self._states: dict[Any, tuple[Any, float]] = {}

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal, or until `should_exit` is set."""
        with self._one_line_per_problem():
            super().run(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Close connections, ten times a second, and return whether the server stops."""
        self._close_connections(time.monotonic())
        return await super().on_tick(counter)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let one signal stop the server, and a second one end the process at once."""
        with stop_signals(self.handle_exit):
            yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop the server. What still runs then, such as a prediction, ends with the process."""
        if self.should_exit:
            os._exit(128 + sig)
        self.ended_by = sig
        self.should_exit = True
        end = threading.Timer(END_SECONDS, os._exit, [self.exit_code])
        end.daemon = True
        end.start()

    @property
    def exit_code(self) -> int:
        """0 after Ctrl-C, which is the intended way to stop the server, else by the signal."""
        return 0 if self.ended_by in (0, signal.SIGINT) else 128 + self.ended_by

    def _close_connections(self, now: float) -> None:
        """Close connections that wait too long for a request or for an answer, and the longest idle of too many."""
        states, idle = {}, []
        connections: list[Any] = list(self.server_state.connections)
        for connection in connections:
            cycle = connection.cycle
            waits = cycle is None or (cycle.response_complete and not connection.transport.get_write_buffer_size())
            state, since = self._states.get(connection, (None, now))
            states[connection] = (cycle, waits), now if state != (cycle, waits) else since
            if waits:
                idle.append((states[connection][1], connection.transport))
            elif now - since > self._limits.upload_seconds + self._limits.answer_seconds + self._limits.idle_seconds:
                connection.transport.abort()
        self._states = states
        idle.sort(key=lambda each: each[0])
        for place, (since, transport) in enumerate(idle):
            too_many = place < len(states) - self._limits.connections and now - since > REQUEST_SECONDS
            if too_many or now - since > self._limits.idle_seconds:
                transport.close()

    @contextmanager
    def _one_line_per_problem(self) -> Iterator[None]:
        server = self

        class Lines(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                # What is cut off by the end of the server is no problem.
                if not server.should_exit:
                    print_problem(record.getMessage(), record.exc_info[1] if record.exc_info else None)

        handler, loggers = Lines(), [logging.getLogger(name) for name in ("uvicorn.error", "asyncio")]
        before = [(logger.propagate, logger.level) for logger in loggers]
        for logger in loggers:
            logger.propagate = False
            logger.setLevel(logging.WARNING)
            logger.addHandler(handler)
        try:
            yield
        finally:
            for logger, (propagate, level) in zip(loggers, before, strict=True):
                logger.propagate = propagate
                logger.setLevel(level)
                logger.removeHandler(handler)


def print_problem(problem: str, error: BaseException | None) -> None:
    """Print a problem as one line, with its traceback below it if the traceback is asked for."""
    reason = f": {error if isinstance(error, PycamError) else repr(error)}" if error else ""
    with suppress(OSError):
        print_error(f"pycam: {problem.strip()}{reason}")
        if error and os.environ.get("PYCAM_DEBUG"):
            traceback.print_exception(error)
