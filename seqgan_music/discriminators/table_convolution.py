"""Convolutions over embedded tokens, and their maxima over time, as sums of table rows.

The vocabulary of music is small. What one tap of a filter gives for a token depends on the token alone, so it is
computed once per token of the vocabulary, W·V·E·F multiplications, instead of once per token of the batch, W·B·T·E·F;
the rest is looking up and adding. Of the sums only the largest over time counts, so its gradient touches W rows per
sequence and filter.

Several layers of W taps and F filters share a table (V, ΣW·F). With Numba the sums are compared as they come
(`table_kernels`), else they are written and then compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from seqgan_music import jit
from seqgan_music.discriminators import table_kernels as kernels

ADDITIONS_FOR_A_THREAD = 2**20  # fewer take less time than waking one


def table_of(embedding: Tensor, weights: Sequence[Tensor], *, kept: bool = False) -> Tensor:
    """What each tap gives for each token.

    Parameters
    ----------
    embedding : Tensor (V, E)
    weights : sequence of Tensor (F, E, W)
        As in `torch.nn.Conv1d`, one for each layer.
    kept : bool
        On a processor, without gradients: in memory that suits a large table which is kept for a while.

    Returns
    -------
    Tensor (V, ΣW·F)
        Layer by layer, tap by tap, filter by filter.
    """
    taps = torch.cat([weight.permute(1, 2, 0).flatten(1) for weight in weights], 1)
    if not kept:
        return embedding @ taps
    # NumPy asks for large pages, which are handed over far sooner.
    table = torch.from_numpy(np.empty((len(embedding), taps.shape[1]), embedding.detach()[:0].numpy().dtype))
    return torch.mm(embedding, taps, out=table)


def additions(length: int, layers: Sequence[tuple[int, int]]) -> int:
    """Table rows times their width that are added for one sequence of T tokens, by layers of (W, F)."""
    return sum((length - width + 1) * width * filters for width, filters in layers)


def max_over_time(ids: Tensor, table: Tensor, layers: Sequence[tuple[int, int]]) -> Tensor:
    """Largest values over time of convolutions without bias.

    Parameters
    ----------
    ids : Tensor (B, T), int64
    table : Tensor (V, ΣW·F)
        From `table_of`.
    layers : sequence of (int, int)
        W, at most T, and F of each layer.

    Returns
    -------
    Tensor (B, ΣF)
        Equal to ``conv1d(embedding(ids)).amax(2)`` of all layers side by side; differentiable in `table`. Where several
        windows of a sequence give the largest value, one of them has the gradient.
    """
    strongest: Tensor = _MaxOverTime.apply(ids, table, tuple(layers))  # type: ignore[no-untyped-call]
    return strongest


def max_over_time_of_completions(
    lanes: Tensor, lengths: range, table: Tensor, layers: Sequence[tuple[int, int]]
) -> Tensor:
    """`max_over_time` of completions of prefixes, in which what lies within a prefix is summed once; without gradients.

    Parameters
    ----------
    lanes : Tensor (t, n, B, T), int64
        All of ``lanes[i, :, b]`` begin with the same ``lengths[i]`` tokens, and these go on from those of
        ``lanes[i − 1, :, b]``.
    lengths : range
        Rises by 1.
    table, layers
        See `max_over_time`.

    Returns
    -------
    Tensor (t, n, B, ΣF)
    """
    strongest = table.new_empty(*lanes.shape[:3], sum(filters for _, filters in layers))
    if not jit.available() or table.device.type != "cpu":
        return max_over_time(lanes.flatten(0, 2), table, layers).view_as(strongest)
    tokens, rows, out = jit.rows(lanes, len(table)), table.detach().numpy(), strongest.numpy()

    def work(first: int, last: int) -> None:
        kernels.largest_sums_of_completions(rows, *_arrays(layers), tokens, lengths.start, first, last, out)

    each = additions(lanes.shape[3], layers) * lanes.shape[0] * lanes.shape[1]
    jit.in_threads(work, lanes.shape[2], least=-(-ADDITIONS_FOR_A_THREAD // each))
    return strongest


class _MaxOverTime(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ids: Tensor, table: Tensor, layers: tuple[tuple[int, int], ...]) -> Tensor:
        compiled = jit.available() and table.device.type == "cpu"
        strongest, where = (_by_kernel if compiled else _by_rows)(ids, table, layers, ctx.needs_input_grad[1])
        if ctx.needs_input_grad[1]:
            ctx.save_for_backward(ids, where)
            ctx.compiled, ctx.layers, ctx.shape = compiled, layers, table.shape
        return strongest

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None]:
        ids, where = ctx.saved_tensors
        table_grad = grad.new_zeros(ctx.shape)
        if ctx.compiled:
            arrays = [each.contiguous().numpy() for each in (ids, where, grad, table_grad)]
            tokens, windows, given, found = arrays

            def work(first: int, last: int) -> None:
                kernels.scatter_gradient(given, *_arrays(ctx.layers), tokens, windows, first, last, found)

            jit.in_threads(work, sum(width for width, _ in ctx.layers))
            return None, table_grad, None
        begin = column = 0
        for width, filters in ctx.layers:
            first, part = where[:, begin : begin + filters], grad[:, begin : begin + filters]
            for tap in range(width):
                chosen = ids.gather(1, first + tap)  # (B, F): tokens at this tap of the winning windows
                table_grad[:, column : column + filters].scatter_add_(0, chosen, part)
                column += filters
            begin += filters
        return None, table_grad, None


def _by_kernel(
    ids: Tensor, table: Tensor, layers: tuple[tuple[int, int], ...], differentiable: bool
) -> tuple[Tensor, Tensor]:
    """The largest sums (B, ΣF), and, if asked for, where their windows begin."""
    strongest = table.new_empty(len(ids), sum(filters for _, filters in layers))
    where = torch.empty(strongest.shape if differentiable else (0, 0), dtype=torch.int32)
    tokens, rows, out, windows = jit.rows(ids, len(table)), table.detach().numpy(), strongest.numpy(), where.numpy()

    def work(first: int, last: int) -> None:
        kernels.largest_sums(rows, *_arrays(layers), tokens, first, last, out, windows)

    jit.in_threads(work, len(ids), least=-(-ADDITIONS_FOR_A_THREAD // additions(ids.shape[1], layers)))
    return strongest, where


def _by_rows(
    ids: Tensor, table: Tensor, layers: tuple[tuple[int, int], ...], differentiable: bool
) -> tuple[Tensor, Tensor]:
    """The same in PyTorch."""
    strongest, where, column = [], [], 0
    for width, filters in layers:
        columns = table[:, column : column + width * filters].reshape(-1, filters)  # (V·W, F)
        rows = ids.unfold(1, width, 1) * width + torch.arange(width, device=ids.device)  # (B, P, W): P windows
        sums = F.embedding_bag(rows.flatten(0, 1), columns, mode="sum").view(len(ids), -1, filters)
        if differentiable:
            largest, window = sums.max(1)
            where.append(window)
        else:
            largest = sums.amax(1)
        strongest.append(largest)
        column += width * filters
    return torch.cat(strongest, 1), torch.cat(where, 1) if where else ids.new_empty(0)


def _arrays(layers: Sequence[tuple[int, int]]) -> tuple[kernels.Array, kernels.Array]:
    widths, numbers = np.array(layers, np.int64).T
    return np.ascontiguousarray(widths), np.ascontiguousarray(numbers)
