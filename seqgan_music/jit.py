"""Kernels that Numba compiles where it is installed, and the threads they run in.

Whoever has a kernel has the same in plain PyTorch too, for where `available` says no. Kernels are for processors alone.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import itertools
import os
import threading
import types
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, Generic, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor

FLOATS = (torch.float32, torch.float64, torch.bfloat16)
"""What kernels read; PyTorch does the rest."""

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


def available() -> bool:
    """Whether kernels can be compiled: Numba is found, and the environment does not say ``SEQGAN_MUSIC_JIT=0``.

    Numba is imported at the first call.
    """
    return os.environ.get("SEQGAN_MUSIC_JIT") != "0" and _numba() is not None


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """A function of NumPy arrays and numbers, compiled by Numba at its first call for each kind of arguments.

    It runs without the interpreter's lock, keeps infinities and NaN, and may add in another order than it is written
    in. It may call other kernels, but of its module alone: compiled code is kept on disk until that file changes.
    """
    return _Kernel(function)


def array(tensor: Tensor) -> np.ndarray[Any, Any]:
    """A tensor's own memory for a kernel; the bits of bfloat16 as uint16."""
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(np.uint16)
    return tensor.numpy()


def rows(ids: Tensor, count: int) -> np.ndarray[Any, Any]:
    """Numbers of the rows of a table, for a kernel, which reads and writes whatever lies in memory there.

    Raises
    ------
    IndexError
        One of them is below 0, or not below `count`.
    """
    numbers = ids.contiguous().numpy()
    if numbers.size and not (numbers.min() >= 0 and numbers.max() < count):
        raise IndexError(f"a token beyond the vocabulary: {numbers.min()} to {numbers.max()}, of {count}")
    return numbers


def in_threads(work: Callable[[int, int], object], count: int, least: int = 1) -> None:
    """Call ``work(first, last)`` for contiguous parts of ``range(count)``, in as many threads as PyTorch has.

    Parameters
    ----------
    work : callable
        Runs a kernel on its part; what the parts write must not overlap. It does not come here again.
    count : int
    least : int
        A part smaller than this is not worth a thread.
    """
    parts = max(1, min(torch.get_num_threads(), count // least))
    edges = [count * part // parts for part in range(parts + 1)]
    # As many as there may ever be, for another number would end these threads and begin new ones.
    pool = _pool(os.getpid(), torch.get_num_threads() - 1) if parts > 1 else None
    others = [pool.submit(work, first, last) for first, last in itertools.pairwise(edges[1:])] if pool else []
    try:
        work(0, edges[1])
    finally:
        errors = [other.exception() for other in others]  # nobody writes on when an error comes out
    for error in errors:
        if error is not None:
            raise error


def each_in_a_thread(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Results of ``work(item)`` in the order of the items, as many at once as PyTorch has threads.

    In these threads PyTorch itself has one, without gradients. What is many small steps after each other runs far
    better so than with each step shared out: no step waits for another thread, and on a busy core PyTorch's own threads
    take the processor while they wait.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        yield from map(work, items)
        return

    def alone(item: T) -> R:
        with torch.no_grad():
            return work(item)

    pool, left = _threads_of_one(os.getpid(), threads), iter(items)
    # Many in a row, for what the results are wanted for wakes PyTorch's own threads.
    while row := list(itertools.islice(left, 16 * threads)):
        running = [pool.submit(alone, item) for item in row]
        try:
            results = [one.result() for one in running]
        finally:
            for one in running:
                one.cancel()
            wait(running)
        yield from results


class _Kernel(Generic[P, R]):
    def __init__(self, function: Callable[P, R]) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.lock = threading.Lock()
        self.dispatcher: Any = None

    def __call__(self, *arguments: P.args, **named: P.kwargs) -> R:
        result: R = (self.dispatcher or self.compiled())(*arguments, **named)
        return result

    def compiled(self) -> Any:
        """What Numba makes of the function, in which kernels it calls are what Numba makes of them."""
        with self.lock:
            if self.dispatcher is None:
                plain = self.function
                assert isinstance(plain, types.FunctionType)
                names = {
                    name: value.compiled() if isinstance(value, _Kernel) and name in plain.__code__.co_names else value
                    for name, value in plain.__globals__.items()
                }
                body = types.FunctionType(plain.__code__, names, plain.__name__, plain.__defaults__)
                body.__module__, body.__qualname__ = plain.__module__, plain.__qualname__
                numba = _numba()
                if numba is None:
                    raise ModuleNotFoundError(f"{plain.__qualname__} needs numba; ask jit.available() first")
                # Infinities and NaN are real here, so not all of fastmath.
                options = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz"}}
                try:
                    self.dispatcher = numba.njit(cache=True, **options)(body)
                except RuntimeError:  # no folder that can be written to
                    self.dispatcher = numba.njit(**options)(body)
        return self.dispatcher


@functools.cache
def _numba() -> Any:
    if importlib.util.find_spec("numba") is None:
        return None
    try:
        return importlib.import_module("numba")
    except (ImportError, OSError) as error:  # such as a NumPy it does not know, or a compiler that cannot be loaded
        warnings.warn(f"numba cannot be used, which is only slower: {error}", RuntimeWarning, stacklevel=2)
        return None


@functools.lru_cache(maxsize=1)
def _threads_of_one(process: int, workers: int) -> ThreadPoolExecutor:
    """Threads in each of which PyTorch has one thread."""
    ready = threading.Barrier(workers + 1)

    def begin() -> None:
        torch.get_num_threads()  # the first question gives a thread everybody's number
        torch.set_num_threads(1)
        ready.wait()

    pool = ThreadPoolExecutor(workers, thread_name_prefix="alone", initializer=begin)
    for _ in range(workers):
        pool.submit(int)  # which begins a thread
    ready.wait()
    torch.set_num_threads(workers)  # that of this thread and of those to come
    return pool


@functools.lru_cache(maxsize=1)
def _pool(process: int, workers: int) -> ThreadPoolExecutor:
    """Kept, for starting threads takes longer than a small kernel; threads do not survive a fork."""
    return ThreadPoolExecutor(workers, thread_name_prefix="kernel")
