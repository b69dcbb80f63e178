"""torch's Adam, ready at once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch


class Adam(torch.optim.Adam):
    """`torch.optim.Adam` without its import of torch's compiler.

    torch wraps these methods for the compiler's sake, and the wrapper's first call imports it: a second at every start
    of a program that compiles nothing.
    """

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update."""
        return inspect.unwrap(torch.optim.Adam.step)(self, closure)
