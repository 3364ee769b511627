"""`caffe.Net`: a net of mutable blobs and parameters."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

import pycam.net
from pycam import engines
from pycam.errors import EngineError, NetError, UnsupportedLayerError, UsageError, suggest
from pycam.formats import caffemodel, hdf5, prototxt, schema
from pycam.formats.fork_layers import distribute
from pycam.net import net_state, takes_part
from pycam.net.layers import Layer as NetLayer, Shape, Source, dims, loss_weights
from pycam.net.linking import AUTOMATIC
from pycam.net.state import PHASES
from pycam.pycaffe import modes
from pycam.pycaffe.blob import Blob, Floats, Parameter
from pycam.pycaffe.errors import UnknownBlob, UnknownLayer, WrongArguments, WrongCall
from pycam.pycaffe.ranges import Range, is_source, link_range, read_blobs
from pycam.pycaffe.runners import EngineRunner, Step, shares_memory
from pycam.pycaffe.sources import Arrays, Files, Filling, Script
from pycam.pycaffe.structure import insert_splits, plan_backward
from pycam.training.data import DATA_TYPES
from pycam.training.fillers import fill
from pycam.training.nets import FedNet, feed

Value = TypeVar("Value")
Path_ = str | os.PathLike[str]


@dataclass(frozen=True)
class Layer:
    """A layer of a `Net`.

    Attributes
    ----------
    type : str
        Caffe's name of its type.
    blobs : list of Blob
        Its parameters.
    """

    type: str
    blobs: list[Parameter]


class Net:
    """A net and its weights.

    `Net(prototxt, caffemodel, TEST)`, `Net(prototxt, TEST, weights=caffemodel)` or `Net(prototxt, TEST)`. Layers that
    no weights fill start from the fillers in the prototxt.

    Parameters
    ----------
    network_file : path
        The net, in any of Caffe's formats.
    *arguments : path or int
        The caffemodel and the phase; or the phase, `level`, `stages` and `weights`.
    phase : int
        `TRAIN` or `TEST`.
    level, stages
        Select layers with `include` and `exclude` rules, together with the phase.
    weights : path, optional
        The caffemodel.
    engine : str
        Runs the net in phase TEST until `backward` is called; after that and in phase TRAIN, PyTorch runs it, also if
        the engine lacks a layer. Caffe has no such argument.

    Attributes
    ----------
    blobs : OrderedDict
        Name -> `Blob`, in the order in which they are computed. As in Caffe, a blob with several readers has a copy for
        each, `NAME_LAYER_0_split_0`, in the same memory.
    params : OrderedDict
        Layer -> its parameters as Blobs, weights first. The next run takes what was written.
    layers : list of Layer
        With `type` and `blobs`.
    layer_dict : OrderedDict
        Name -> Layer.
    inputs, outputs : list of str
        The tops of Input layers; the blobs that no layer reads.
    top_names, bottom_names : OrderedDict
        Layer -> names of blobs.
    blob_loss_weights : OrderedDict
        Blob -> its weight in the loss.

    Raises
    ------
    FormatError, NetError, TrainingError, UsageError
        A file is missing or damaged, the files do not fit, the data of a data layer are missing.
    """

    def __init__(
        self,
        network_file: Path_,
        *arguments: Path_ | int | Sequence[str] | None,
        phase: int | None = None,
        level: int = 0,
        stages: Sequence[str] | None = None,
        weights: Path_ | None = None,
        engine: str = engines.DEFAULT_ENGINE,
    ) -> None:
        given: dict[str, Any] = {"phase": phase, "level": level, "stages": stages, "weights": weights}
        legacy = arguments and isinstance(arguments[0], str | os.PathLike)
        names = ("weights", "phase") if legacy else tuple(given)
        if len(arguments) > len(names):
            raise WrongArguments(f"Net: {len(arguments) + 1} arguments: expected network_file, {', '.join(names)}")
        given.update(zip(names, arguments, strict=False))
        if given["phase"] is None or isinstance(given["phase"], str):
            raise WrongArguments("Net: no phase: give caffe.TEST or caffe.TRAIN: Net(prototxt, caffemodel, caffe.TEST)")
        if given["phase"] not in (modes.TRAIN, modes.TEST):
            raise UsageError(f"Net: phase {given['phase']}: give caffe.TEST or caffe.TRAIN")
        text = prototxt.read(network_file, alone=given["weights"] is None)
        self._set_up(text, PHASES[given["phase"]], given["stages"] or (), given["level"], given["weights"], engine)

    @classmethod
    def of_solver(cls, text: prototxt.NetText, phase: str, stages: Sequence[str], level: int, seed: int) -> Net:
        """Make a net of a solver: as `Net`, with a prototxt that was read."""
        net = cls.__new__(cls)
        net._set_up(text, phase, stages, level, None, engines.DEFAULT_ENGINE, seed)
        return net

    def _set_up(
        self,
        text: prototxt.NetText,
        phase: str,
        stages: Sequence[str],
        level: int,
        weights: Path_ | None,
        engine: str,
        seed: int | None = None,
    ) -> None:
        self._seed = modes.next_seed() if seed is None else seed
        self._text, self._phase, self._device = text, phase, modes.current_device()
        state = net_state(text.message, phase, stages, level)
        present = [each for each in zip(text.message.layer, text.lines, strict=True) if takes_part(each[0], state)]
        fed = feed(text, phase, seed=self._seed, stages=stages, level=level)
        self._messages = insert_splits(present)
        self._parts: dict[tuple[int, int], Range] = {}
        self._hooks: dict[str, list[Callable[[int], object]]] = {when: [] for when in _HOOKS}
        self._add_blobs(fed)
        given = _read_weights(weights, text) if weights is not None else {}
        self._add_params(given)
        self._load(given, os.fspath(weights or ""))
        self._runner = EngineRunner(engine, self._device)
        self._torch: Any = None
        if phase == "TRAIN":
            self._use_torch()

    # How the net is built.

    def _add_blobs(self, fed: FedNet) -> None:
        """Make the steps and their blobs."""
        shapes = {
            top: shape
            for layer in fed.net.layers
            if isinstance(layer, Source)
            for top, shape in zip(layer.tops, layer.shapes_in_file, strict=True)
        }
        messages = [message for message, _ in self._messages]
        computing = {i: each for i, each in enumerate(self._messages) if not is_source(each[0])}
        read = read_blobs([message for message, _ in computing.values()])
        # Which layer lacks a bottom, linking has told before.
        self._whole = link_range(computing, {name: shapes[name] for name in read}, self._text.path, self._phase)
        shapes |= self._whole.writes
        tops = [self._whole.layers[i].tops if i in computing else tuple(each.top) for i, each in enumerate(messages)]
        counts = [len(self._whole.layers[i].param_shapes) if i in computing else 0 for i in range(len(messages))]
        plans = plan_backward(messages, tops, counts, self._text.message.force_backward)
        self._blob_names: list[str] = []
        self._blobs: list[Blob] = []
        self._blob_loss_weights: list[float] = []
        self._ids: list[tuple[list[int], list[int]]] = []
        self._steps: list[Step] = []
        self._fillings: dict[int, Filling] = {}
        current: dict[str, int] = {}
        batches = iter(fed.batches)
        for index, message in enumerate(messages):
            bottom_ids = [current[bottom] for bottom in message.bottom]
            for place, top in enumerate(tops[index]):
                if place >= len(bottom_ids) or message.bottom[place] != top:
                    current[top] = len(self._blobs)
                    self._blob_names.append(top)
                    self._blobs.append(self._new_blob(message, shapes[top], bottom_ids))
                    self._blob_loss_weights.append(0.0)
            top_ids = [current[top] for top in tops[index]]
            self._ids.append((bottom_ids, top_ids))
            bottoms, made = ([self._blobs[i] for i in ids] for ids in (bottom_ids, top_ids))
            for i, weight in zip(top_ids, loss_weights(message, len(top_ids)), strict=True):
                self._blob_loss_weights[i] = weight
                if weight:
                    self._blobs[i].diff[...] = weight
            if index not in computing:
                self._fillings[index] = (
                    Files(next(batches), made)
                    if message.type in DATA_TYPES
                    else Arrays(message, made[0].shape)
                    if message.type == "MemoryData"
                    else Script()
                )
            names = list(message.bottom), list(tops[index])
            self._steps.append(Step(message.name, message.type, bottoms, made, *names, [], plans[index]))
        self.blobs: OrderedDict[str, Blob] = OrderedDict(zip(self._blob_names, self._blobs, strict=True))

    def _new_blob(self, message: Any, shape: Shape, bottom_ids: Sequence[int]) -> Blob:
        if not shares_memory(message.type, len(bottom_ids), len(message.top)):
            return Blob(shape)
        bottom = self._blobs[bottom_ids[0]]
        # The readers of a Split have gradients of their own, which it adds.
        return Blob(shape, bottom.data_memory, None if message.type == "Split" else bottom.diff_memory)

    def _add_params(self, given: Mapping[str, Any]) -> None:
        """Make the parameters, and fill those of layers that have no weights."""
        initial = fill(self._whole.net, self._seed, but=given.keys())
        owners: dict[str, Parameter] = {}
        for index, layer in self._whole.layers.items():
            step = self._steps[index]
            for i, (shape, name) in enumerate(zip(layer.param_shapes, layer.param_names, strict=True)):
                owner = owners.get(name) if name else None
                param = Parameter(shape) if owner is None else Parameter(shape, owner.data_memory, owner.diff_memory)
                step.params.append(param)
                if name:
                    owners.setdefault(name, param)
                if owner is None and layer.name in initial:
                    param.assign(initial[layer.name][i])
        self.layers = [Layer(step.type, step.params) for step in self._steps]
        self.params: OrderedDict[str, list[Parameter]] = OrderedDict(
            (step.name, step.params) for step in self._steps if step.params
        )

    def _load(self, given: Mapping[str, Sequence[NDArray[np.float32]]], path: str) -> None:
        """Write the weights of the layers that the net has."""
        found = {name: arrays for name, arrays in given.items() if name in self.params}
        kept = {name: [param.values for param in params] for name, params in self.params.items() if name not in found}
        fitting = self._whole.net.with_params(kept | found, path).params
        for name in found:
            for param, values in zip(self.params[name], fitting[name], strict=True):
                param.assign(values)

    # Names.

    @property
    def _layer_names(self) -> list[str]:
        return [step.name for step in self._steps]

    @property
    def layer_dict(self) -> OrderedDict[str, Layer]:
        """Name -> layer."""
        return OrderedDict(zip(self._layer_names, self.layers, strict=True))

    @property
    def top_names(self) -> OrderedDict[str, list[str]]:
        """Layer -> the names of its tops."""
        return OrderedDict((step.name, step.top_names) for step in self._steps)

    @property
    def bottom_names(self) -> OrderedDict[str, list[str]]:
        """Layer -> the names of its bottoms."""
        return OrderedDict((step.name, step.bottom_names) for step in self._steps)

    @property
    def blob_loss_weights(self) -> OrderedDict[str, float]:
        """Blob -> its weight in the loss."""
        return OrderedDict(zip(self._blob_names, self._blob_loss_weights, strict=True))

    @property
    def inputs(self) -> list[str]:
        """The blobs that the script fills."""
        return [self._blob_names[i] for i in self._inputs]

    @property
    def outputs(self) -> list[str]:
        """The blobs that no layer reads, by name."""
        return [self._blob_names[i] for i in self._outputs]

    @property
    def _inputs(self) -> list[int]:
        return [i for step, (_, tops) in zip(self._steps, self._ids, strict=True) if step.type == "Input" for i in tops]

    @property
    def _outputs(self) -> list[int]:
        unread: set[int] = set()
        for bottoms, tops in self._ids:
            unread = (unread - set(bottoms)) | set(tops)
        return sorted((i for i in unread if self._blob_names[i] != AUTOMATIC), key=lambda i: self._blob_names[i])

    def _bottom_ids(self, layer: int) -> list[int]:
        return self._ids[layer][0]

    def _top_ids(self, layer: int) -> list[int]:
        return self._ids[layer][1]

    def _index(self, layer: str) -> int:
        names = self._layer_names
        if layer not in names:
            hint = suggest(layer, names, f"there are {', '.join(names)}")
            raise UnknownLayer(f"the net has no layer {layer!r}: {hint}")
        return names.index(layer)

    def _blob(self, name: str) -> Blob:
        if name not in self.blobs:
            hint = suggest(name, self.blobs, f"there are {', '.join(self.blobs)}")
            raise UnknownBlob(f"the net has no blob {name!r}: {hint}")
        return self.blobs[name]

    # Runs.

    def forward(
        self,
        blobs: Sequence[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        **inputs: ArrayLike,
    ) -> dict[str, Floats]:
        """Run the net, or its layers from `start` to `end`, and fill the blobs that they compute.

        Data layers among them read their next batch.

        Parameters
        ----------
        blobs : sequence of str, optional
            Blobs to return besides the outputs.
        start, end : str, optional
            The first and the last layer. The tops of `end` are returned in place of the outputs.
        **inputs : array
            Values of all inputs, written into their blobs first.

        Returns
        -------
        dict
            Name -> the blob's `data`, which the next run overwrites.

        Raises
        ------
        UsageError
            There is no such input, blob or layer. As Caffe's, the error is a ValueError or KeyError as well.
        EngineError
            The run failed.
        """
        first = 0 if start is None else self._index(start)
        last = len(self._steps) - 1 if end is None else self._index(end)
        names = [*(self.outputs if end is None else self._steps[last].top_names), *(blobs or ())]
        asked = {name: self._blob(name) for name in names}
        if inputs:
            self._write(inputs, self.inputs, "inputs", lambda blob: blob.values)
        self._forward(first, last)
        return {name: blob.data for name, blob in asked.items()}

    def _write(
        self, given: Mapping[str, ArrayLike], names: Sequence[str], what: str, target: Callable[[Blob], Floats]
    ) -> None:
        if given.keys() != set(names):
            raise UsageError(f"values for {', '.join(given)}: give all {what} of the net and nothing else: {names}")
        for name, values in given.items():
            blob, array = self.blobs[name], np.asarray(values)
            if array.shape[:1] != blob.shape[:1]:
                raise UsageError(
                    f"{name!r}: values of {dims(array.shape)} for a blob of {dims(blob.shape)}: give one batch, or "
                    f"reshape the blob first: net.blobs[{name!r}].reshape(...)"
                )
            try:
                target(blob)[...] = array
            except ValueError as error:
                raise UsageError(
                    f"{name!r}: values of {dims(array.shape)} for a blob of {dims(blob.shape)}: {error}"
                ) from None

    def _forward(self, first: int, last: int) -> float:
        """Run layers by index, and return their loss."""
        if self._hooks["before_forward"] or self._hooks["after_forward"]:
            for index in range(first, last + 1):
                self._call("before_forward", index)
                self._run(index, index)
                self._call("after_forward", index)
        else:
            self._run(first, last)
        losses = zip(self._ids[first : last + 1], self._steps[first : last + 1], strict=True)
        return sum(
            self._blob_loss_weights[i] * float(blob.values.sum())
            for (_, tops), step in losses
            for i, blob in zip(tops, step.tops, strict=True)
            if self._blob_loss_weights[i]
        )

    def _run(self, first: int, last: int) -> None:
        for index in range(first, last + 1):
            if index in self._fillings:
                self._fillings[index].fill(self._steps[index].tops)
        part = self._part(first, last)
        if not part.layers:
            return
        if self._torch is None:
            try:
                self._runner.forward(part, self._steps, self.blobs)
                return
            except UnsupportedLayerError as error:
                self._use_torch(error)
        self._torch.forward(part, self._steps, self.blobs)

    def _part(self, first: int, last: int) -> Range:
        """Return a range of layers for the present shapes of the blobs that it reads, and reshape those it writes."""
        layers = {i: self._messages[i] for i in range(first, last + 1) if i not in self._fillings}
        shapes = {name: self.blobs[name].shape for name in read_blobs([message for message, _ in layers.values()])}
        part = self._parts.get((first, last))
        if part is None or part.reads != shapes:
            part = self._parts[first, last] = link_range(layers, shapes, self._text.path, self._phase)
            for index, layer in part.layers.items():
                self._check_params(layer, self._steps[index])
        for name, shape in part.writes.items():
            if self.blobs[name].shape != shape:
                self.blobs[name].reshape(*shape)
                if self._torch is not None:
                    self._torch.forget()
        return part

    def _check_params(self, layer: NetLayer, step: Step) -> None:
        expected, found = layer.param_shapes, tuple(param.shape for param in step.params)
        if expected != found:
            raise NetError(
                f"layer {layer.name!r}: its bottom is now {dims(step.bottoms[0].shape)}, which needs parameters of "
                f"{' and '.join(map(dims, expected))}; it has {' and '.join(map(dims, found))}: reshape the input back"
            )

    def _use_torch(self, reason: Exception | None = None) -> None:
        """From now on, let PyTorch run the net."""
        if self._torch is None:
            try:
                engines.engine_class("torch")
            except EngineError as error:
                why = f"{reason}; " if reason else "nets in phase TRAIN and runs backward need PyTorch: "
                raise EngineError(f"{why}{error}") from None
            from pycam.pycaffe.torch_runner import TorchRunner

            self._runner.close()
            self._torch = TorchRunner(self._device, self._phase == "TRAIN", self._seed)

    def backward(
        self,
        diffs: Sequence[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        **outputs: ArrayLike,
    ) -> dict[str, Floats]:
        """Run the net backward, or its layers from `start` down to `end`, from the `diff` of their tops.

        The diffs of losses are their weights. Gradients are computed for what a loss depends on, or with the net's
        `force_backward: true` for all blobs. Those of parameters are added to what is there.

        Parameters
        ----------
        diffs : sequence of str, optional
            Blobs whose diffs are returned besides those of the inputs.
        start, end : str, optional
            The first (highest) and the last layer. The diffs of the bottoms of `end` are returned instead.
        **outputs : array
            Gradients of all outputs, written into their diffs first.

        Returns
        -------
        dict
            Name -> the blob's `diff`.

        Raises
        ------
        UsageError
            There is no such output, blob or layer.
        EngineError
            PyTorch is not installed, or the run failed.
        """
        first = len(self._steps) - 1 if start is None else self._index(start)
        last = 0 if end is None else self._index(end)
        names = [*(self.inputs if end is None else self._steps[last].bottom_names), *(diffs or ())]
        asked = {name: self._blob(name) for name in names}
        if outputs:
            self._write(outputs, self.outputs, "outputs", lambda blob: blob.diff)
        self._backward(first, last)
        return {name: blob.diff for name, blob in asked.items()}

    def _backward(self, first: int, last: int) -> None:
        self._use_torch()
        indices = [i for i in range(first, last - 1, -1) if i not in self._fillings]
        if not self._torch.knows(indices):
            self._torch.recall(self._part(0, first), self._steps, self.blobs)
        for index in indices:
            self._call("before_backward", index)
            self._torch.backward([index], self._steps)
            self._call("after_backward", index)

    def clear_param_diffs(self) -> None:
        """Set the gradients of all parameters to 0."""
        for params in self.params.values():
            for param in params:
                param.diff[...] = 0

    def forward_all(self, blobs: Sequence[str] | None = None, **inputs: ArrayLike) -> dict[str, Floats]:
        """Run the net on any number of inputs, batch by batch; the last batch is filled with zeros.

        Parameters
        ----------
        blobs : sequence of str, optional
            Blobs to return besides the outputs.
        **inputs : array
            Values of all inputs, N of each.

        Returns
        -------
        dict
            Name -> the values of all N.
        """
        return self._all(inputs, {}, blobs, None)[0]

    def forward_backward_all(
        self, blobs: Sequence[str] | None = None, diffs: Sequence[str] | None = None, **values: ArrayLike
    ) -> tuple[dict[str, Floats], dict[str, Floats]]:
        """Run the net forward and backward, batch by batch, on values of its inputs and gradients of its outputs.

        Returns
        -------
        tuple
            As `forward_all` and, for the diffs of the inputs and of `diffs`, likewise.
        """
        inputs = {name: given for name, given in values.items() if name not in self.outputs}
        gradients = {name: given for name, given in values.items() if name in self.outputs}
        return self._all(inputs, gradients, blobs, diffs or ())

    def _all(
        self,
        inputs: Mapping[str, ArrayLike],
        gradients: Mapping[str, ArrayLike],
        blobs: Sequence[str] | None,
        diffs: Sequence[str] | None,
    ) -> tuple[dict[str, Floats], dict[str, Floats]]:
        given = {name: np.asarray(values) for name, values in (*inputs.items(), *gradients.items())}
        counts = {values.shape[:1] for values in given.values()}
        if len(counts) != 1 or counts <= {(), (0,)}:
            raise WrongCall(f"values for {', '.join(given) or 'nothing'}: give all of one length, at least one input")
        ((count,),) = counts
        forward: list[dict[str, Floats]] = []
        backward: list[dict[str, Floats]] = []
        for batch in self._batch(given):
            outs = self.forward(blobs, None, None, **{name: batch[name] for name in inputs})
            forward.append({name: values.copy() for name, values in outs.items()})
            if diffs is not None:
                outs = self.backward(diffs, None, None, **{name: batch[name] for name in gradients})
                backward.append({name: values.copy() for name, values in outs.items()})

        def joined(parts: list[dict[str, Floats]]) -> dict[str, Floats]:
            return {name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]}

        return joined(forward), joined(backward) if backward else {}

    def _batch(self, values: Mapping[str, NDArray[Any]]) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the values in batches of the net's size, the last one with zeros at its end."""
        size = self._blobs[0].shape[0]
        for begin in range(0, len(next(iter(values.values()))), size):
            parts = {name: array[begin : begin + size] for name, array in values.items()}
            yield {
                name: np.pad(part, [(0, size - len(part))] + [(0, 0)] * (part.ndim - 1)) for name, part in parts.items()
            }

    def reshape(self) -> None:
        """Adapt the blobs to the shapes of the inputs; `forward` does this by itself."""
        self._part(0, len(self._steps) - 1)

    def set_input_arrays(self, data: Floats, labels: Floats) -> None:
        """Give the images, (N, C, H, W) float32, and labels, N float32, of the net's MemoryData layer.

        Raises
        ------
        UsageError
            The net does not begin with such a layer, or the arrays have another dtype or shape. As Caffe's, the error
            is a RuntimeError as well.
        """
        filling = self._fillings.get(0)
        if not isinstance(filling, Arrays):
            raise WrongCall(f"set_input_arrays: the first layer is of type {self._steps[0].type}, not MemoryData")
        filling.give(data, labels)

    # Weights.

    def copy_from(self, trained_filename: Path_) -> None:
        """Read weights, also those of an HDF5 file; layers that only one of the two has are ignored, as in Caffe."""
        self._load(_read_weights(trained_filename, self._text), os.fspath(trained_filename))

    load_hdf5 = copy_from

    def share_with(self, other: Net) -> None:
        """Use the parameters of another net in the layers that have their names: what one writes, both have."""
        if not isinstance(other, Net):
            raise WrongArguments(f"share_with: expected a Net, found an object of type {type(other).__name__}")
        for name, params in self.params.items():
            theirs = other.params.get(name, [])
            if theirs and [each.shape for each in theirs] != [each.shape for each in params]:
                raise NetError(f"share_with: the parameters of layer {name!r} have other shapes in the other net")
            for mine, its in zip(params, theirs, strict=False):
                mine.share(its)

    def save(self, filename: Path_) -> None:
        """Write the net and its weights as a caffemodel."""
        net = self.as_net
        caffemodel.write(filename, net.message, net.params)

    def save_hdf5(self, filename: Path_) -> None:
        """Write the weights as HDF5, as Caffe does; needs `pip install 'caffe-cam[hdf5]'`."""
        hdf5.check_writable(f"save_hdf5({os.fspath(filename)!r})")
        hdf5.write_weights(filename, {step.name: [param.values for param in step.params] for step in self._steps})

    @property
    def as_net(self) -> pycam.net.Net:
        """The layers and their present parameters as a net of pycam; its message is that of the whole net."""
        message = schema.NetParameter()
        message.CopyFrom(self._text.message)
        message.ClearField("layer")
        message.layer.extend(layer for layer, _ in self._messages)
        params = {name: tuple(param.values for param in params) for name, params in self.params.items()}
        layers = tuple(layer for layer in self._whole.net.layers if not isinstance(layer, Source))
        return replace(self._whole.net, name=message.name, layers=layers, message=message, params=params)

    # Functions of the script that are called between layers.

    def before_forward(self, function: Callable[[int], object]) -> None:
        """Call a function with a layer's index before the layer runs; it then runs by itself."""
        self._hooks["before_forward"].append(function)

    def after_forward(self, function: Callable[[int], object]) -> None:
        """Call a function with a layer's index after the layer ran."""
        self._hooks["after_forward"].append(function)

    def before_backward(self, function: Callable[[int], object]) -> None:
        """Call a function with a layer's index before the layer goes backward."""
        self._hooks["before_backward"].append(function)

    def after_backward(self, function: Callable[[int], object]) -> None:
        """Call a function with a layer's index after the layer went backward."""
        self._hooks["after_backward"].append(function)

    def _call(self, when: str, index: int) -> None:
        for function in self._hooks[when]:
            function(index)


_HOOKS = ("before_forward", "after_forward", "before_backward", "after_backward")


def _read_weights(path: Path_, text: prototxt.NetText) -> Mapping[str, Sequence[NDArray[np.float32]]]:
    weights = caffemodel.read(path)
    return distribute(weights.layers, text.forks, weights.path)
