"""Real Caffe as an engine, in its own process: the reference for the other engines.

pycam does not depend on the versions of Caffe's Python, NumPy or protobuf: the command in `PYCAM_CAFFE` starts
`caffe_worker.py` beside pycaffe, and arrays and the bytes of files go through a pipe. If Caffe aborts, the error is one
line with the current task and Caffe's last message.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from pycam.engines import caffe_worker
from pycam.engines.base import Engine
from pycam.errors import EngineError
from pycam.formats import prototxt
from pycam.net import Net, layers as L
from pycam.net.state import PHASES

Array = NDArray[np.float32]
Top = tuple[str | None, int, str]
"""A layer, None for the last, the number of layers of that name before it, and a blob."""

START_TIMEOUT = 60.0  # seconds; a container may have to start
TIMEOUT = 600.0

# Lines that an aborting Caffe writes around the line with the reason.
_STACK_TRACE = re.compile(r"\s*(@ |\*\*\*|Aborted|\(unknown\)|PC: )")
_FATAL = re.compile(r"F\d{4,8} [\d:.]+\s+\d+ \S+:\d+\] (?P<said>.*)")
_TEMPORARY_FILE = re.compile(r":? /dev/fd/\d+")
_PROTOBUF_ERROR = re.compile(r"\[libprotobuf ERROR [^\]]*\] (?P<said>.*)")


def find_caffe() -> list[str]:
    """Find the command that starts a Python with pycaffe.

    Returns
    -------
    list of str
        `PYCAM_CAFFE`, split like a shell command. If it is not set, the Python of the folder that `make caffe-root`
        creates (`PYCAM_CAFFE_ROOT`, by default `~/.cache/pycam/caffe-root`).

    Raises
    ------
    EngineError
        Neither exists, or `PYCAM_CAFFE` cannot be split.
    """
    try:
        command = shlex.split(os.environ.get("PYCAM_CAFFE", ""))
    except ValueError as error:
        raise EngineError(f"PYCAM_CAFFE={os.environ['PYCAM_CAFFE']!r} is not a command: {error}") from None
    if command:
        return command
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    start = Path(os.environ.get("PYCAM_CAFFE_ROOT") or cache / "pycam" / "caffe-root") / "start"
    if not start.is_file():
        raise EngineError(
            f"no Caffe: PYCAM_CAFFE is not set and there is no {start}; run `make caffe-root` in pycam's "
            "repository, or set PYCAM_CAFFE to a command that starts a Python with pycaffe"
        )
    return [str(start), "python3.9"]


class CaffeProcess:
    """A process with pycaffe that answers requests.

    After a Python error in the process it is still usable. After Caffe has ended, or has not answered in time, every
    later call raises the same error. Only the process that made it can use it: a fork needs its own.

    Parameters
    ----------
    command : sequence of str, optional
        Command of a Python that has pycaffe; its arguments are `-c`, a script, and a number. Default: `find_caffe()`.
    threads : int, optional
        Threads of the BLAS; None for the BLAS's default.
    start_timeout, timeout : float
        Seconds to wait for the start, and for any other answer. After that the process is killed.

    Attributes
    ----------
    versions : dict of str to str
        Versions of `caffe`, its `python` and its `numpy`.

    Raises
    ------
    EngineError
        In every method: Caffe did not start, has ended, did not answer, or refused the request. The message is one
        line.
    """

    def __init__(
        self,
        command: Sequence[str] | None = None,
        *,
        threads: int | None = None,
        start_timeout: float = START_TIMEOUT,
        timeout: float = TIMEOUT,
    ) -> None:
        command = find_caffe() if command is None else command
        self._timeout = timeout
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._said: deque[str] = deque(maxlen=200)
        self._end_reason: str | None = None
        name = shlex.join(command)
        try:
            self._process = subprocess.Popen(
                [*command, "-c", self._worker(), str(threads or 0)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # so that the processes that the command starts can be killed with it
            )
        except OSError as error:
            raise EngineError(f"Caffe could not be started with {name!r}: {error.strerror}") from None
        # Caffe writes many messages: a full pipe would block it.
        listener = threading.Thread(target=_listen, args=(self._process.stderr, self._said), daemon=True)
        listener.start()
        self._end = weakref.finalize(self, _end, self._process, listener, self._owner)
        self.versions: dict[str, str]
        try:
            self.versions, _ = self._ask(f"starting with {name!r}", "hello", timeout=start_timeout)
        except EngineError as error:
            self.close()
            raise EngineError(f"{error}; PYCAM_CAFFE must start a Python that has pycaffe") from None

    @staticmethod
    def _worker() -> str:
        """Return the source of the program that runs beside pycaffe."""
        return Path(caffe_worker.__file__).read_text(encoding="utf-8")

    def load(self, text: bytes, name: str, phase: str = "TEST", stages: Sequence[str] = (), level: int = 0) -> None:
        """Build a net from a prototxt's bytes.

        Parameters
        ----------
        text : bytes
            The unchanged content of the file.
        name : str
            Name of the file in errors.
        phase, stages, level
            The state, as for `pycam.net.read_net`.
        """
        doing, prototxt = f"building the net {name}", np.frombuffer(text, np.uint8)
        self._ask(doing, "load", [prototxt], phase=phase, stages=list(stages), level=level)

    def load_weights(self, caffemodel: bytes, name: str) -> None:
        """Load a caffemodel's bytes into the net; `name` is the name of the file in errors."""
        self._ask(f"reading the weights {name}", "load_weights", [np.frombuffer(caffemodel, np.uint8)])

    def set_params(self, params: Mapping[str, Sequence[Array]]) -> None:
        """Set parameters: layer name -> arrays in Caffe's own shapes."""
        keys = [(layer, i) for layer, arrays in params.items() for i in range(len(arrays))]
        self._ask("setting parameters", "set_params", [params[layer][i] for layer, i in keys], params=keys)

    def forward(self, inputs: Mapping[str, Array], blobs: Sequence[str]) -> dict[str, Array]:
        """Run the net; its input blobs get the shapes of `inputs`.

        Parameters
        ----------
        inputs : mapping of str to array
            Blob -> values.
        blobs : sequence of str
            Names of blobs.

        Returns
        -------
        dict of str to float32 array
            Blob -> its values at the end of the run.
        """
        return dict(zip(blobs, self._run("forward", inputs, [(None, 0, blob) for blob in blobs]), strict=True))

    def forward_tops(self, inputs: Mapping[str, Array], tops: Sequence[Top]) -> list[Array]:
        """Run the net, and copy values before a later layer changes them in place.

        Parameters
        ----------
        inputs : mapping of str to array
            Blob -> values.
        tops : sequence of (str or None, int, str)
            Layer, the number of layers of that name before it, and one of its top blobs; without a layer, any blob.

        Returns
        -------
        list of float32 array
            For each of `tops` the values of the blob directly after the layer, or at the end of the run.
        """
        return self._run("forward", inputs, tops)

    def close(self) -> None:
        """End the process. It cannot be used afterwards."""
        self._end_reason = self._end_reason or "Caffe was closed"
        self._end()

    def __enter__(self) -> CaffeProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, command: str, inputs: Mapping[str, Array], wanted: Sequence[Top]) -> list[Array]:
        arrays = [np.asarray(array, np.float32) for array in inputs.values()]
        doing = f"computing {wanted[-1][2]!r}" if wanted else "computing"
        _, values = self._ask(doing, command, arrays, inputs=list(inputs), wanted=wanted)
        return values

    def _ask(
        self,
        doing: str,
        command: str,
        arrays: Sequence[NDArray[Any]] = (),
        *,
        timeout: float | None = None,
        **arguments: Any,
    ) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        """Send a request and wait for its answer; errors name the task `doing`."""
        if os.getpid() != self._owner:
            raise EngineError(f"this Caffe belongs to process {self._owner}: start one in each process")
        timeout = self._timeout if timeout is None else timeout
        with self._lock:
            if self._end_reason:
                raise EngineError(self._end_reason)
            # Killing the process also ends the reading and writing below.
            expired = threading.Event()
            timer = threading.Timer(timeout, _expire, (self._process, expired))
            timer.daemon = True
            timer.start()
            try:
                reply, results = _exchange(self._process, dict(arguments, command=command), arrays)
            except (OSError, EOFError, ValueError) as error:
                self._end_reason = self._failure(doing, error, timeout if expired.is_set() else None)
                raise EngineError(self._end_reason) from None
            except BaseException:
                # After an interrupt, the next request would receive the answer to this one.
                self.close()
                raise
            finally:
                timer.cancel()
        if "error" in reply:
            raise EngineError(f"Caffe failed while {doing}: {_one_line(reply['error'])}")
        return reply, results

    def _failure(self, doing: str, error: Exception, waited: float | None) -> str:
        """End a process that did not answer, and return the reason in one line."""
        if isinstance(error, ValueError):
            self._end()
            return f"Caffe failed while {doing}: {error}"
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)  # for its own exit status, and its last message
        status = self._process.poll()
        self._end()
        if waited is not None:
            how = f"gave no answer in {waited:g} s"
        elif status is None:
            how = "closed its pipe"
        elif status < 0:
            how = f"was ended by a signal ({signal.strsignal(-status)})"
        else:
            how = f"ended with exit code {status}"
        last = _reason(list(self._said))
        return f"Caffe {how} while {doing}" + (f": {last}" if last else "")


def _exchange(
    process: subprocess.Popen[bytes], header: dict[str, Any], arrays: Sequence[NDArray[Any]]
) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    stdin, stdout = cast(BinaryIO, process.stdin), cast(BufferedReader, process.stdout)
    with contextlib.suppress(BrokenPipeError):  # the output of the ended process says more
        caffe_worker.send(stdin, header, arrays)
    first = stdout.peek(1)
    if not caffe_worker.MAGIC.startswith(first[: len(caffe_worker.MAGIC)]):
        raise ValueError(f"it prints {_one_line(first.decode('utf-8', 'replace'), 60)!r} instead of an answer")
    reply, results = caffe_worker.receive(stdout)
    if reply.pop("reply", None) != header["command"]:
        raise ValueError("it prints its own input")
    return reply, results


def _expire(process: subprocess.Popen[bytes], expired: threading.Event) -> None:
    expired.set()
    _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and the processes that it started."""
    if sys.platform == "win32":
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def _end(process: subprocess.Popen[bytes], listener: threading.Thread, owner: int) -> None:
    """Leave no process, no zombie, and no open pipe."""
    if os.getpid() == owner:
        _kill(process)
        process.wait()
        listener.join(5)
    else:
        process.poll()  # in a fork: finds no such child process, and so forgets it
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            cast(BinaryIO, pipe).close()


def _listen(stderr: BinaryIO, said: deque[str]) -> None:
    with stderr:
        for line in iter(lambda: stderr.readline(10_000), b""):
            said.append(line.decode("utf-8", "replace").rstrip())


def _reason(said: Sequence[str]) -> str:
    """Return the line with the reason why Caffe ended."""
    # Protobuf gives line and field of what it cannot parse; the check that fails afterwards does not.
    for pattern in (_PROTOBUF_ERROR, _FATAL):
        for line in reversed(said):
            if match := pattern.match(line):
                return _one_line(_TEMPORARY_FILE.sub("", match["said"]))
    return next((_one_line(line) for line in reversed(said) if line and not _STACK_TRACE.match(line)), "")


def _one_line(text: str, length: int = 300) -> str:
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= length else text[: length - 2] + " …"


class CaffeEngine(Engine):
    """Caffe itself, with the user's own files.

    If a net has no files, or only a prototxt, pycam writes the missing ones; `description` says so.
    """

    name = "caffe"

    def _load(self, net: Net) -> None:
        if self.options.device not in (None, "cpu"):
            raise EngineError(f"engine 'caffe' runs on the CPU, not on {self.options.device!r}")
        sources = net.sources
        # What Caffe 1.0 cannot read, it gets from pycam.
        own_weights = None if sources is None or sources.caffemodel in sources.foreign else sources.caffemodel
        if sources is None:
            text, name = prototxt.dumps(net.message).encode(), net.name or "(made in memory)"
            self.note = ", net and weights written by pycam"
        else:
            if sources.prototxt in sources.foreign:
                raise EngineError(
                    "engine 'caffe' runs the net's own file, which has what only forks of Caffe know: "
                    f"{_foreign(net, sources.prototxt)}"
                )
            text, name = _read(sources.prototxt), sources.prototxt
            self.note = ", weights written by pycam" if own_weights is None and net.params else ""
        if PHASES[net.state.phase] == "TRAIN" and (layer := next(filter(_trains, net.layers), None)):
            raise EngineError(
                f"engine 'caffe' cannot run layer {layer.name!r} in phase TRAIN: Caffe's {layer.type} computes "
                "something else there than in TEST, which the other engines compute"
            )
        self._tops = [top_in_caffe(net, output) for output in self.outputs]
        self._shapes = {blob: net.shapes[blob] for blob in net.inputs}
        self._fixed_batch = net.fixed_batch
        self._process = CaffeProcess(threads=self.options.threads)
        self.library = f"Caffe {self._process.versions['caffe']}"
        try:
            state = net.state
            self._process.load(text, name, PHASES[state.phase], tuple(state.stage), state.level)
            if own_weights is None:
                self._process.set_params(net.params)
            else:
                self._process.load_weights(_read(own_weights), own_weights)
        except BaseException:
            self._process.close()
            raise

    def _run(self, inputs: Mapping[str, Array]) -> list[Array]:
        batch = len(next(iter(inputs.values())))
        if self._fixed_batch not in (None, batch):
            raise EngineError(
                f"engine 'caffe' runs this net with a batch of {self._fixed_batch} only, not of {batch}: the net has a "
                "Reshape that fixes it"
            )
        # Caffe also shapes the layers that no output depends on.
        others = {blob: shape for blob, shape in self._shapes.items() if blob not in inputs}
        zeros = {blob: np.zeros((batch, *shape[1:]), np.float32) for blob, shape in others.items()}
        return self._process.forward_tops({**inputs, **zeros}, self._tops)

    def _release(self) -> None:
        self._process.close()


def _foreign(net: Net, path: str) -> str:
    """Return what of a net in a file only forks of Caffe have."""
    notes = (note for note in net.notes if note.startswith(f"{path}:"))
    return next(notes, None) or f"layer {net.forks[0].name!r} of type {net.forks[0].type!r}"


def _trains(layer: L.Layer) -> bool:
    """Return True for a layer that Caffe computes differently in phase TRAIN."""
    stored = isinstance(layer, L.BatchNorm) and layer.message.batch_norm_param.use_global_stats
    return isinstance(layer, L.Dropout | L.BatchNorm) and not stored


def top_in_caffe(net: Net, value: str) -> Top:
    """Return the layer and the blob in which Caffe has a value when the layer has run."""
    maker = net.producer[value]
    namesakes = [layer for layer in net.layers if layer.name == maker.name]
    nth = next(i for i, layer in enumerate(namesakes) if layer is maker)
    return maker.name, nth, maker.tops[maker.outputs.index(value)]


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise EngineError(f"{path} cannot be read for Caffe: {error.strerror}") from None
