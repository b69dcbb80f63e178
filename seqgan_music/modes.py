"""Train and eval mode: dropout that draws from an explicit generator, a network held in eval mode, and what is computed
within such a context."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from seqgan_music import distributed
from seqgan_music.errors import UsageError

Item = TypeVar("Item")


class Dropout(nn.Module):
    """Zero each value with probability `p` in train mode, and scale the others by 1 / (1 − p).

    Where several processes share a batch, its rows are the first dimension, see `seqgan_music.distributed.batch`.

    Parameters
    ----------
    p : float
        Probability of *dropping*, not of keeping.
    name : str
        The option it is set by, for messages.
    """

    def __init__(self, p: float, name: str = "dropout") -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise UsageError(f"{name} must lie in [0, 1), not {p!r}")
        self.p = p
        self.rng: torch.Generator | None = None

    def forward(self, values: Tensor) -> Tensor:
        """Values of the same shape."""
        if not self.training or not self.p:
            return values
        if self.rng is None:
            raise RuntimeError("dropout in train mode needs seqgan_music.modes.set_rng(network, rng) first")
        kept = distributed.rand(values.shape, self.rng, values.device) >= self.p
        return values * kept / (1 - self.p)


def set_rng(network: nn.Module, rng: torch.Generator) -> None:
    """Let every `Dropout` of a network draw from `rng`."""
    for module in network.modules():
        if isinstance(module, Dropout):
            module.rng = rng


@contextmanager
def without_dropout(network: nn.Module) -> Iterator[None]:
    """Hold a network in train mode, as the backward pass of some devices' LSTM needs it, but let it drop nothing."""
    dropouts = [module for module in network.modules() if isinstance(module, Dropout)]
    mode = network.training
    try:
        network.train()
        for module in dropouts:
            module.eval()
        yield
    finally:
        network.train(mode)


@contextmanager
def evaluating(*networks: object) -> Iterator[None]:
    """Hold networks in eval mode and without gradients, and give each its mode back afterwards."""
    modules = [network for network in networks if isinstance(network, nn.Module)]
    modes = [module.training for module in modules]
    try:
        for module in modules:
            module.eval()
        with torch.no_grad():
            yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.train(mode)


def each_within(context: Callable[[], AbstractContextManager[None]], items: Iterable[Item]) -> Iterator[Item]:
    """Items each of which is computed within a context, but not what their reader does between them."""
    iterator = iter(items)
    while True:
        with context():
            try:
                item = next(iterator)
            except StopIteration:
                return
        yield item
