"""Several processes that train one run, started by ``torchrun``: what each computes, and how it becomes whole again.

All processes hold the same weights and the same random numbers and go through the same program. Every draw is made for
the whole batch by all of them; then each computes its `share` of the rows, and what was computed is `summed` or
`gathered`. So the number of processes changes no draw, and results only by rounding. With one process each of these
functions gives back what it is given.

The engine is `torch.distributed`, but not its wrapper `DistributedDataParallel`. That averages gradients with equal
weights, while shares of a batch are unequal and may be empty; it hooks onto `forward`, while a generator is also read
step by step and a critic scored from embeddings; and each process would draw for itself. Here gradients are summed in
the one place where an optimiser steps, and are bit for bit equal everywhere afterwards.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from seqgan_music.errors import Failure, UsageError

PATIENCE = timedelta(days=1)
"""How long one process waits for another: the leading one measures a run while the others wait."""
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")

_sharing = False
_batch: tuple[int, slice, int] | None = None  # rows of the whole batch, ours among them, kinds


class ProcessLost(Failure):
    """Another process of the training has ended, or cannot be reached."""


def launched() -> int:
    """How many processes the environment says there are: `torchrun` sets it.

    Raises
    ------
    UsageError
        Some of the variables are missing, or are no numbers.
    """
    if not {"RANK", "WORLD_SIZE"} <= os.environ.keys() or os.environ["WORLD_SIZE"] == "1":
        return 1  # one of the two alone, as other programs have it, says nothing
    missing = [name for name in VARIABLES if name not in os.environ]
    if missing:
        raise UsageError(
            f"the environment has some variables of a distributed training but not {', '.join(missing)}; start with "
            "torchrun, which sets all of them, or unset RANK and WORLD_SIZE"
        )
    try:
        numbers = {name: int(os.environ[name]) for name in VARIABLES if name != "MASTER_ADDR"}
    except ValueError as error:
        raise UsageError(f"the environment's RANK, WORLD_SIZE and so on must be whole numbers: {error}") from error
    if not 0 <= numbers["RANK"] < numbers["WORLD_SIZE"]:
        raise UsageError(f"the environment's RANK {numbers['RANK']} must lie below WORLD_SIZE {numbers['WORLD_SIZE']}")
    if not 0 < numbers["MASTER_PORT"] < 2**16:
        raise UsageError(f"the environment's MASTER_PORT must lie within 1 and 65535, not be {numbers['MASTER_PORT']}")
    return numbers["WORLD_SIZE"]


def leads() -> bool:
    """Whether this process is the one that reads, writes and prints; true where there is one."""
    return launched() == 1 or int(os.environ["RANK"]) == 0


@contextmanager
def processes() -> Iterator[None]:
    """Join the other processes that `torchrun` started, if it did, and leave them at the end.

    Tensors on CPUs go by gloo, those on GPUs by nccl; the process takes the GPU of its local rank.

    Raises
    ------
    UsageError
        The environment is half there, or this build of PyTorch has no distributed engine.
    ProcessLost
    """
    count = launched()
    if count == 1:
        yield
        return
    if not dist.is_available():
        raise UsageError("this build of PyTorch has no torch.distributed; start one process, without torchrun")
    backend = "gloo"
    if torch.cuda.is_available() and dist.is_nccl_available():
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    _collective(dist.init_process_group, backend, timeout=PATIENCE)
    # Where one process ends, torchrun asks the others to, who then say what they say after Ctrl-C.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        dist.destroy_process_group()


def check_device(device: torch.device) -> None:
    """Refuse a device on which several processes cannot compute.

    Raises
    ------
    UsageError
    """
    if not joined():
        return
    local = int(os.environ["LOCAL_RANK"])
    if device.type == "mps":
        raise UsageError("several processes compute on CPUs or on CUDA GPUs, not on mps; add --device cpu")
    if device.type == "cuda" and local >= torch.cuda.device_count():
        raise UsageError(
            f"this machine has {torch.cuda.device_count()} GPU(s), and each process needs its own; start fewer "
            "(torchrun --nproc-per-node), or add --device cpu"
        )


def joined() -> bool:
    """Whether there are other processes, inside `processes`."""
    return dist.is_available() and dist.is_initialized()


@contextmanager
def sharing() -> Iterator[None]:
    """Share out what is computed inside; elsewhere a process is alone, whatever the others do."""
    global _sharing
    before, _sharing = _sharing, True
    try:
        yield
    finally:
        _sharing = before


def rank() -> int:
    """Number of this process among those that share the work."""
    return int(dist.get_rank()) if _sharing and joined() else 0


def size() -> int:
    """How many processes share the work."""
    return int(dist.get_world_size()) if _sharing and joined() else 1


def share(count: int) -> slice:
    """Which of so many rows this process computes; none where there are fewer rows than processes."""
    return slice(_end(rank(), count), _end(rank() + 1, count))


def part(count: int) -> float:
    """How much of so many rows this process computes, in [0, 1]."""
    return (_end(rank() + 1, count) - _end(rank(), count)) / count


@contextmanager
def batch(count: int, kinds: int = 1) -> Iterator[slice]:
    """Compute this process's share of a batch: `rand` draws for all of it, and gives what belongs to the share.

    Parameters
    ----------
    count : int
        Rows of the batch.
    kinds : int
        How many such batches, one after the other, make up the tensors that are computed: real and generated.

    Yields
    ------
    slice
        Rows to compute: the `share`, or the first row where that is empty. Networks need not know of empty batches,
        and what they draw is drawn in every process; that row must then count for nothing.
    """
    global _batch
    mine = share(count)
    rows = mine if mine.start < mine.stop else slice(0, 1)
    before, _batch = _batch, (count, rows, kinds)
    try:
        yield rows
    finally:
        _batch = before


def rand(shape: Sequence[int], rng: torch.Generator, device: torch.device) -> Tensor:
    """Uniform numbers for rows of a `batch`: those that one process would have drawn for them."""
    if size() == 1 or _batch is None:
        return torch.rand(tuple(shape), generator=rng, device=device)
    count, rows, kinds = _batch
    if shape[0] != kinds * (rows.stop - rows.start):
        raise RuntimeError(f"random numbers of shape {tuple(shape)}, whose first dimension is not that of the batch")
    whole = torch.rand((kinds, count, *shape[1:]), generator=rng, device=device)
    return whole[:, rows].flatten(0, 1)


def summed(values: Tensor) -> Tensor:
    """The sum over the processes of tensors of one shape, the same in all of them; without gradient."""
    if size() == 1:
        return values
    total = values.detach().clone(memory_format=torch.contiguous_format)
    _collective(dist.all_reduce, total)
    return total


def summed_numbers(values: Mapping[str, float]) -> dict[str, float]:
    """Numbers by name, summed over the processes that have them."""
    total: dict[str, float] = {}
    for of_one in gathered_values(dict(values)):
        for name, value in of_one.items():
            total[name] = total.get(name, 0.0) + value
    return total


def gathered(rows: Tensor, count: int, kinds: int = 1) -> Tensor:
    """The rows of all processes.

    Parameters
    ----------
    rows : Tensor (kinds · rows, ...)
        This process's share of `count` rows, or what `batch` had it compute.
    count, kinds : int
        See `batch`.

    Returns
    -------
    Tensor (kinds · count, ...)
        Its own rows keep their gradient; those of others are constants.
    """
    if size() == 1:
        return rows
    lengths = [_end(number + 1, count) - _end(number, count) for number in range(size())]
    own = rows.unflatten(0, (kinds, len(rows) // kinds))[:, : lengths[rank()]]
    padded = rows.new_zeros(kinds, max(lengths), *rows.shape[1:])  # what is gathered must be of one shape
    padded[:, : own.shape[1]] = own.detach()
    found = [torch.empty_like(padded) for _ in lengths]
    _collective(dist.all_gather, found, padded)
    parts = [part[:, :length] for part, length in zip(found, lengths, strict=True)]
    parts[rank()] = own
    return torch.cat(parts, 1).flatten(0, 1)


def gathered_values(value: Any) -> list[Any]:
    """A small plain value of every process, in the order of their numbers."""
    if size() == 1:
        return [value]
    found: list[Any] = [None] * size()
    _collective(dist.all_gather_object, found, value)
    return found


def sum_gradients(parameters: Iterable[Tensor]) -> None:
    """Put the sum of all processes' gradients in place of each one's own."""
    if size() == 1:
        return
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    flat = torch.cat(
        [(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad).flatten() for parameter in trained]
    )
    _collective(dist.all_reduce, flat)
    parts = flat.split([parameter.numel() for parameter in trained])
    for parameter, part in zip(trained, parts, strict=True):
        parameter.grad = part.view_as(parameter).to(parameter.dtype)


def from_leader(value: Any = None) -> Any:
    """What the leading process gives, in all of them; whether or not work is shared."""
    if not joined():
        return value
    found = [value]
    _collective(dist.broadcast_object_list, found, 0)
    return found[0]


def _end(number: int, count: int) -> int:
    """Where the shares of the first processes end."""
    return number * count // size()


def _collective(work: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    """What all processes do together.

    Raises
    ------
    ProcessLost
    """
    try:
        work(*arguments, **options)
    except RuntimeError as error:  # each engine has its own kinds
        why = re.sub(r"^\[[^]]*\] *", "", str(error).strip()).partition("\n")[0].partition(". ")[0]
        raise ProcessLost(f"another process of this training has ended or cannot be reached: {why}") from error
