"""torch's Adam, ready at once and in one pass over the weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

FUSED = ("cpu", "cuda")
"""Devices for which all supported versions of torch update a weight in one pass."""


class Adam(torch.optim.Adam):
    """`torch.optim.Adam` without its import of torch's compiler, fused where it can be.

    torch wraps these methods for the compiler's sake, and the wrapper's first call imports it: a second at every start
    of a program that compiles nothing.

    On CUDA its step can be part of a CUDA graph.

    Parameters
    ----------
    params : iterable of Tensor
        All on one device.
    lr : float
        Learning rate.
    betas : (float, float)
        Decay of the means of the gradient and of its square.
    """

    def __init__(self, params: Iterable[Tensor], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999)) -> None:
        params = list(params)
        device = params[0].device.type
        super().__init__(params, lr, betas, fused=device in FUSED or None, capturable=device == "cuda")
        self._warned_capturable_if_run_uncaptured = True  # a step outside a graph is meant to be one

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from `state_dict`'s values, whatever device they were saved on."""
        own = {name: self.defaults[name] for name in ("fused", "capturable", "foreach")}
        groups = [{**group, **own} for group in state_dict["param_groups"]]
        inspect.unwrap(torch.optim.Optimizer.load_state_dict)(self, {**state_dict, "param_groups": groups})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update."""
        return inspect.unwrap(torch.optim.Adam.step)(self, closure)
