"""Work for a GPU that is recorded once and then started as a whole: CUDA graphs.

A step of a roll-out, or an update of a network, is dozens of small kernels, and a processor needs longer to start one
than a GPU to run it. A graph starts them all at once. What it is and what it forbids: "CUDA Graphs" in the notes of
PyTorch's documentation, https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs.

On every other device, and where the environment says ``SEQGAN_MUSIC_GRAPHS=0``, functions are simply called.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Protocol

import torch
from torch import Tensor

from seqgan_music.errors import SeqganMusicWarning

REHEARSALS = 3
"""Calls before a function is recorded: libraries choose their kernels and take their memory in the first ones."""

Function = Callable[..., Tensor]


class Recorder(Protocol):
    """What records functions on a device."""

    def rehearse(self, function: Function, inputs: Sequence[Tensor]) -> tuple[Tensor, str]:
        """Call a function; why it cannot be recorded, or "" if nothing is known against it."""

    def record(self, function: Function, inputs: Sequence[Tensor]) -> Callable[[], Tensor]:
        """What computes the function of these very tensors again, whatever they then hold, into the same result.

        Raises
        ------
        RuntimeError
            It cannot be recorded, and nothing has been computed.
        """


class Graphs:
    """Functions of tensors, each recorded once for every shape of what it is given.

    Parameters
    ----------
    recorder : Recorder, optional
        Without one, functions are called.
    """

    def __init__(self, recorder: Recorder | None = None) -> None:
        self.recorder = recorder
        self._recordings: dict[Hashable, _Recording] = {}

    def run(
        self,
        key: Hashable,
        function: Function,
        *inputs: Tensor,
        state: Callable[[], Iterable[Hashable]] = tuple,
    ) -> Tensor:
        """A function of tensors, from its recording if there is one.

        Parameters
        ----------
        key : hashable
            Names the function, with everything it depends on that is neither in `inputs` nor in `state`: a recording is
            of the first function of that name, and keeps the numbers and objects which that one saw.
        function : callable
            Of `inputs`, to a new tensor. It must not wait for the device, nor may the shape of anything depend on
            values. Random numbers come from the generator of the recorder; each call draws its own.
        *inputs : Tensor
            Copied to where the recording expects them.
        state : callable
            Gives the tensors that the function reads or changes where they stand: weights, moments of an optimiser; and
            numbers that may change, such as a learning rate. If a tensor has moved or a number is another, the function
            is recorded anew.

        Returns
        -------
        Tensor
            The caller's own: the next call does not change it.
        """
        if self.recorder is None:
            return function(*inputs)
        name = (key, *((each.shape, each.dtype) for each in inputs))
        found = tuple(each.data_ptr() if isinstance(each, Tensor) else each for each in state())
        recording = self._recordings.get(name)
        if recording is None or recording.state != found:
            recording = self._recordings[name] = _Recording(found)
        return recording.run(self.recorder, function, inputs)


def tensors_of(network: Any) -> Iterator[Tensor]:
    """What a function that uses a network finds where it stands."""
    yield from network.parameters()
    yield from network.buffers()


def state_of_training(network: Any, optimizer: torch.optim.Optimizer) -> Iterator[Hashable]:
    """What a function that trains a network finds: weights, moments, and the optimiser's options."""
    yield from tensors_of(network)
    for moments in optimizer.state.values():
        yield from moments.values()
    for group in optimizer.param_groups:
        yield from (value for option, value in group.items() if option != "params")


class _Recording:
    """A function of tensors of some shapes, before and after it has been recorded."""

    def __init__(self, state: tuple[Hashable, ...]) -> None:
        self.state = state
        self.rehearsals = 0
        self.plain = False
        self.inputs: list[Tensor] = []
        self.replay: Callable[[], Tensor] | None = None

    def run(self, recorder: Recorder, function: Function, inputs: Sequence[Tensor]) -> Tensor:
        if self.plain:
            return function(*inputs)
        if self.rehearsals < REHEARSALS:  # a call like any other: an update that is rehearsed is one of the training's
            self.rehearsals += 1
            result, why_not = recorder.rehearse(function, inputs)
            if why_not:
                self._give_up(why_not)
            return result
        if self.replay is None:
            self.inputs = [each.clone() for each in inputs]
            try:
                self.replay = recorder.record(function, self.inputs)
            except RuntimeError as error:
                self._give_up(str(error).partition("\n")[0])
                self.inputs = []
                return function(*inputs)
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        return self.replay().clone()

    def _give_up(self, why: str) -> None:
        self.plain = True
        warnings.warn(
            f"part of the training is not recorded as a CUDA graph, which is only slower: {why}",
            SeqganMusicWarning,
            stacklevel=4,
        )


class CudaRecorder:
    """Records CUDA graphs.

    Parameters
    ----------
    rng : torch.Generator
        The one that functions draw from, on the GPU.
    """

    def __init__(self, rng: torch.Generator) -> None:
        self.rng = rng
        self.stream = torch.cuda.Stream(rng.device)
        # Graphs can share memory, for none leaves anything in it that another call needs.
        self.pool = torch.cuda.graph_pool_handle()

    def rehearse(self, function: Function, inputs: Sequence[Tensor]) -> tuple[Tensor, str]:
        """Call a function on the stream it will be recorded on, and listen for what waits for the GPU."""
        current, mode = torch.cuda.current_stream(), torch.cuda.get_sync_debug_mode()
        self.stream.wait_stream(current)
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                with torch.cuda.stream(self.stream):
                    result = function(*inputs)
            finally:
                torch.cuda.set_sync_debug_mode(mode)
        current.wait_stream(self.stream)
        why = ""
        for each in heard:
            if "called a synchronizing" in str(each.message):
                why = why or f"{each.filename}:{each.lineno} waits for the GPU"
            elif "debug mode" not in str(each.message):  # the mode's own, that it is a prototype
                warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
        return result, why

    def record(self, function: Function, inputs: Sequence[Tensor]) -> Callable[[], Tensor]:
        """See `Recorder`."""
        graph = torch.cuda.CUDAGraph()
        current, random = torch.cuda.current_stream(), self.rng.clone_state()
        with warnings.catch_warnings(), suppress(AttributeError):
            warnings.simplefilter("ignore")  # later versions of PyTorch find the generator themselves
            graph.register_generator_state(self.rng)
        try:
            with torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
                result = function(*inputs)
        except RuntimeError:
            # A recording that broke off leaves its stream the current one, and the generator in its hands.
            torch.cuda.set_stream(current)
            self.rng.graphsafe_set_state(random)
            raise

        def replay() -> Tensor:
            graph.replay()
            return result

        return replay


def for_generator(rng: torch.Generator) -> Graphs:
    """What records functions on a generator's device: nothing, but on CUDA GPUs."""
    wanted = rng.device.type == "cuda" and os.environ.get("SEQGAN_MUSIC_GRAPHS") != "0"
    return Graphs(CudaRecorder(rng) if wanted else None)
