"""Passages that return: how alike tokens are that stand 1, 2, 3, ... steps apart, on the whole and where they are most
alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from seqgan_music import jit

PASSAGE = 8
"""Tokens that make a passage worth noticing when it returns: half a bar of sixteenths."""
ROWS_FOR_A_THREAD = 16
Array = np.ndarray[Any, Any]


def passages_that_return(likeness: Tensor) -> tuple[Tensor, Tensor]:
    """How much of a sequence comes again after each number of steps.

    Parameters
    ----------
    likeness : Tensor (B, T, K)
        Of the token at each step to the one 1 ... K steps before it; what stands where there is none does not count.

    Returns
    -------
    mean : Tensor (B, K)
        Over the sequence.
    strongest : Tensor (B, K)
        The largest mean over `PASSAGE` steps.
    """
    _, length, count = likeness.shape
    distance = torch.arange(1, count + 1, device=likeness.device)
    there = torch.arange(length, device=likeness.device)[:, None] >= distance  # (T, K)
    likeness = torch.where(there, likeness, 0.0)
    mean = likeness.sum(1) / (length - distance)
    passages = F.avg_pool1d(likeness.transpose(1, 2), min(PASSAGE, length), stride=1)
    return mean, passages.amax(2)


def earlier(length: int, count: int, device: torch.device) -> Tensor:
    """Positions (T, K) that stand 1 ... K steps before each; 0 where there is none."""
    steps = torch.arange(length, device=device)
    return (steps[:, None] - 1 - torch.arange(count, device=device)).clamp(min=0)


def passages_of_tokens(ids: Tensor, alike: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """`passages_that_return` of ids (B, T) for 1 ... `count` steps by the likeness (V, V) of tokens; differentiable in
    it. Where several passages are most alike, one of them has the gradient."""
    if jit.available() and alike.device.type == "cpu":
        found: tuple[Tensor, Tensor] = _Passages.apply(ids, alike, count)  # type: ignore[no-untyped-call]
        return found
    return passages_that_return(alike[ids[:, :, None], ids[:, earlier(ids.shape[1], count, ids.device)]])


class _Passages(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ids: Tensor, alike: Tensor, count: int) -> tuple[Tensor, Tensor]:
        ids = ids.contiguous()
        mean, strongest = (alike.new_empty(len(ids), count) for _ in range(2))
        where = torch.empty(mean.shape, dtype=torch.int32)
        tokens = jit.rows(ids, len(alike))
        table, *found = (each.detach().contiguous().numpy() for each in (alike, mean, strongest, where))

        def work(first: int, last: int) -> None:
            _returning(first, last, tokens, table, *found)

        jit.in_threads(work, len(ids), ROWS_FOR_A_THREAD)
        ctx.save_for_backward(ids, where)
        ctx.vocabulary = len(alike)
        return mean, strongest

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, of_mean: Tensor, of_strongest: Tensor) -> tuple[None, Tensor, None]:
        ids, where = ctx.saved_tensors
        grad = of_mean.new_zeros(ctx.vocabulary, ctx.vocabulary)
        # In one thread, so that the order is always the same.
        _scatter(*(each.contiguous().numpy() for each in (ids, where, of_mean, of_strongest, grad)))
        return None, grad, None


@jit.kernel
def _returning(first: int, last: int, ids: Array, alike: Array, mean: Array, strongest: Array, where: Array) -> None:
    """Both measures (B, K) for rows ``first ... last − 1``, and the last step of the passage that is most alike."""
    length = ids.shape[1]
    count = mean.shape[1]
    passage = min(PASSAGE, length)
    latest = np.empty((passage, count), alike.dtype)  # likeness at the last steps
    total = np.empty(count, alike.dtype)
    for row in range(first, last):
        best = strongest[row]
        best[:] = -np.inf
        last_step = where[row]
        last_step[:] = passage - 1
        whole = mean[row]
        whole[:] = 0
        for step in range(length):
            likeness = alike[ids[row, step]]
            now = latest[step % passage]
            there = min(step, count)
            for k in range(there):
                now[k] = likeness[ids[row, step - 1 - k]]
            for k in range(there, count):
                now[k] = 0
            for k in range(count):
                whole[k] += now[k]
            if step >= passage - 1:
                total[:] = 0
                for each in range(passage):
                    part = latest[each]
                    for k in range(count):
                        total[k] += part[k]
                for k in range(count):
                    if not total[k] <= best[k] and best[k] == best[k]:
                        last_step[k] = step
                        best[k] = total[k]
        for k in range(count):
            whole[k] /= length - 1 - k
            best[k] /= passage


@jit.kernel
def _scatter(ids: Array, where: Array, of_mean: Array, of_strongest: Array, grad: Array) -> None:
    """Add the gradients (B, K) of both measures to that of the likeness (V, V)."""
    rows, length = ids.shape
    count = of_mean.shape[1]
    passage = min(PASSAGE, length)
    for row in range(rows):
        for step in range(length):
            of_token = grad[ids[row, step]]
            for k in range(min(step, count)):
                of_token[ids[row, step - 1 - k]] += of_mean[row, k] / (length - 1 - k)
        for k in range(count):
            end = where[row, k] + 1
            for step in range(max(end - passage, k + 1), end):
                grad[ids[row, step], ids[row, step - 1 - k]] += of_strongest[row, k] / passage
