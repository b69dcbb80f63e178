"""A convolution over embedded tokens, and its maximum over time, as sums of table rows.

The vocabulary of music is small. What one tap of a filter gives for a token depends on the token alone, so it is
computed once per token of the vocabulary, W·V·E·F multiplications, instead of once per token of the batch, W·B·T·E·F;
the rest is looking up and adding. Of the sums only the largest over time counts, so its gradient touches W rows per
sequence and filter.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def table_of(embedding: Tensor, weight: Tensor) -> Tensor:
    """What each tap gives for each token.

    Parameters
    ----------
    embedding : Tensor (V, E)
    weight : Tensor (F, E, W)
        As in `torch.nn.Conv1d`.

    Returns
    -------
    Tensor (W, V, F)
    """
    filters, width, taps = weight.shape
    return (embedding @ weight.permute(1, 2, 0).reshape(width, taps * filters)).view(-1, taps, filters).transpose(0, 1)


def max_over_time(ids: Tensor, table: Tensor) -> Tensor:
    """Largest value over time of a convolution without bias.

    Parameters
    ----------
    ids : Tensor (B, T), int64
    table : Tensor (W, V, F)
        From `table_of`, W at most T.

    Returns
    -------
    Tensor (B, F)
        Equal to ``conv1d(embedding(ids)).amax(2)``; differentiable in `table`.
    """
    strongest: Tensor = _MaxOverTime.apply(ids, table)  # type: ignore[no-untyped-call]
    return strongest


class _MaxOverTime(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ids: Tensor, table: Tensor) -> Tensor:
        width, vocabulary, filters = table.shape
        taps = torch.arange(width, device=ids.device) * vocabulary
        rows = ids.unfold(1, width, 1) + taps  # (B, P, W): P windows
        sums = F.embedding_bag(rows.flatten(0, 1), table.reshape(-1, filters), mode="sum").view(len(ids), -1, filters)
        if not ctx.needs_input_grad[1]:
            return sums.amax(1)
        strongest, where = sums.max(1)  # (B, F)
        ctx.save_for_backward(rows, where)
        ctx.shape = table.shape
        return strongest

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        rows, where = ctx.saved_tensors
        width, _, filters = ctx.shape
        column = torch.arange(filters, device=grad.device)
        table_grad = grad.new_zeros(ctx.shape).view(-1)
        for tap in range(width):
            chosen = rows[:, :, tap].gather(1, where)  # (B, F): table row of the winning window
            table_grad.scatter_add_(0, (chosen * filters + column).view(-1), grad.reshape(-1))
        return None, table_grad.view(ctx.shape)
