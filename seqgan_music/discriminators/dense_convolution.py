"""A convolution over embedded tokens, and its maximum over time, as matrix products: for vocabularies too wide for
tables.

Of a filter's values in a sequence only the largest counts, so its gradient touches one window per sequence and filter.
Where kernels can be compiled, the backward pass visits those windows alone: of the paper's widths at T = 20 a twelfth.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from seqgan_music import jit

SHARES = 64
"""Parts of the filters of every width that threads take turns at: a wide filter is more work than a narrow one."""
LEAST_ROWS = 16
"""Sequences that are worth a thread."""


def max_over_time(embedded: Tensor, weights: Sequence[Tensor], product_dtype: torch.dtype | None = None) -> Tensor:
    """Largest values over time of convolutions without bias.

    Parameters
    ----------
    embedded : Tensor (B, T, E)
    weights : sequence of Tensor (F, E, W)
        As in `torch.nn.Conv1d`, W at most T, of all widths; F and W may differ.
    product_dtype : torch.dtype, optional
        Of the products, whose sums are float32; left out, that of the weights.

    Returns
    -------
    Tensor (B, ΣF)
        Equal to ``conv1d(embedded).amax(2)`` of one width after another; of several equally large values one has the
        gradient. With kernels there is no second derivative.
    """
    differentiated = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (embedded, *weights))
    dtype = product_dtype or embedded.dtype
    if embedded.device.type == "cpu" and not differentiated:
        matrices = [_matrix(weight, dtype) for weight in weights]
        strongest = [values.amax(1) for values in _values(embedded.to(dtype), matrices)]
    elif embedded.device.type == "cpu" and jit.available():
        result: Tensor = _MaxOverTime.apply(embedded, dtype, *weights)  # type: ignore[no-untyped-call]
        return result
    else:
        across = embedded.to(dtype).transpose(1, 2)
        strongest = [F.conv1d(across, weight.to(dtype)).max(2).values for weight in weights]
    return torch.cat(strongest, 1).to(embedded.dtype)


def _matrix(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Filters (F, E, W) as rows (F, W · E), in the order in which a window lies in memory."""
    return weight.to(dtype).transpose(1, 2).reshape(len(weight), -1)


def _values(embedded: Tensor, matrices: Sequence[Tensor]) -> Any:
    """For each width in turn the values (B, P, F) of its filters in P windows."""
    batch, length, width = embedded.shape
    flat = embedded.flatten(1)
    for matrix in matrices:
        size = matrix.shape[1]
        windows = flat.unfold(1, size, width).reshape(-1, size)
        yield (windows @ matrix.t()).view(batch, length - size // width + 1, len(matrix))


class _MaxOverTime(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, embedded: Tensor, dtype: torch.dtype, *weights: Tensor) -> Tensor:
        """Embedded (B, T, E) and weights (F, E, W): maxima (B, ΣF)."""
        embedded = embedded.detach().contiguous()
        # The backward pass takes the rounded weights too, but adds in full precision.
        products = [_matrix(weight.detach(), dtype) for weight in weights]
        columns = np.cumsum([0, *map(len, weights)])
        strongest = embedded.new_empty(len(embedded), columns[-1])
        where = torch.empty(strongest.shape, dtype=torch.int32)
        each = _values(embedded.to(dtype), products)
        best, at = strongest.numpy(), where.numpy()
        for values, column in zip(each, columns[:-1].tolist(), strict=True):
            whole = values.to(embedded.dtype).numpy()
            jit.in_threads(functools.partial(_largest, whole, best, at, column), len(embedded), LEAST_ROWS)
        ctx.save_for_backward(embedded, where, *(matrix.to(embedded.dtype) for matrix in products))
        return strongest

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of all that `forward` was given."""
        embedded, where, *matrices = ctx.saved_tensors
        width = embedded.shape[2]
        columns = np.cumsum([0, *map(len, matrices)])
        of_weights = [matrix.new_empty(len(matrix), width, matrix.shape[1] // width) for matrix in matrices]
        of_embedded = torch.zeros_like(embedded)
        flat, of_flat = embedded.flatten(1).numpy(), of_embedded.flatten(1).numpy()
        worth, windows = grad.contiguous().numpy(), where.numpy()
        rows, results = ([tensor.numpy() for tensor in each] for each in (matrices, of_weights))

        def weights_of(first: int, last: int) -> None:
            for column, result in zip(columns[:-1], results, strict=True):
                of, to = (len(result) * share // SHARES for share in (first, last))
                here = slice(column + of, column + to)
                _of_weights(flat, windows[:, here], worth[:, here], result[of:to])

        def embedded_of(first: int, last: int) -> None:
            for row, (of, to) in zip(rows, pairwise(columns), strict=True):
                here = slice(first, last), slice(of, to)
                _of_embedded(row, width, windows[here], worth[here], of_flat[first:last])

        jit.in_threads(weights_of, SHARES)
        jit.in_threads(embedded_of, len(embedded), LEAST_ROWS)
        return of_embedded, None, *of_weights


@jit.kernel
def _largest(values: Any, best: Any, where: Any, column: int, first: int, last: int) -> None:
    """Of rows first ... last − 1 of values (B, P, F) the largest in P, and its place, into columns of best and where;
    the first of several. What is NaN stays the largest, as in PyTorch."""
    _, places, filters = values.shape
    for b in range(first, last):
        strongest, at = best[b, column : column + filters], where[b, column : column + filters]
        for f in range(filters):
            strongest[f] = values[b, 0, f]
            at[f] = 0
        for p in range(1, places):
            for f in range(filters):
                if not values[b, p, f] <= strongest[f] and strongest[f] == strongest[f]:
                    strongest[f] = values[b, p, f]
                    at[f] = p


@jit.kernel
def _of_weights(embedded: Any, where: Any, grad: Any, result: Any) -> None:
    """Σ over B of grad (B, F) · the window `where` (B, F) of embedded (B, T · E), into result (F, E, W)."""
    filters, width, taps = result.shape
    size = width * taps
    row = np.empty(size, result.dtype)
    chosen = np.empty(len(embedded), np.int64)
    for f in range(filters):
        row[:] = 0.0
        count = 0
        for b in range(len(embedded)):
            if grad[b, f] != 0:
                chosen[count] = b
                count += 1
        i = 0
        while i + 4 <= count:  # four at a time: the row is read and written once for all
            a, b, c, d = chosen[i], chosen[i + 1], chosen[i + 2], chosen[i + 3]
            at_a, at_b, at_c, at_d = where[a, f] * width, where[b, f] * width, where[c, f] * width, where[d, f] * width
            of_a, of_b = embedded[a, at_a : at_a + size], embedded[b, at_b : at_b + size]
            of_c, of_d = embedded[c, at_c : at_c + size], embedded[d, at_d : at_d + size]
            by_a, by_b, by_c, by_d = grad[a, f], grad[b, f], grad[c, f], grad[d, f]
            for j in range(size):
                row[j] += (by_a * of_a[j] + by_b * of_b[j]) + (by_c * of_c[j] + by_d * of_d[j])
            i += 4
        while i < count:
            b = chosen[i]
            at_b = where[b, f] * width
            of_b = embedded[b, at_b : at_b + size]
            by_b = grad[b, f]
            for j in range(size):
                row[j] += by_b * of_b[j]
            i += 1
        for e in range(width):
            for tap in range(taps):
                result[f, e, tap] = row[tap * width + e]


@jit.kernel
def _of_embedded(matrix: Any, width: int, where: Any, grad: Any, result: Any) -> None:
    """Adds grad (B, F) · matrix (F, W · E) to the windows `where` (B, F) of result (B, T · E)."""
    filters, size = matrix.shape
    places = (result.shape[1] - size) // width + 1
    begin = np.empty(places + 1, np.int64)
    order = np.empty(filters, np.int64)
    for b in range(len(result)):
        begin[:] = 0  # filters in the order of their windows
        for f in range(filters):
            begin[where[b, f] + 1] += 1
        for p in range(places):
            begin[p + 1] += begin[p]
        for f in range(filters):
            order[begin[where[b, f]]] = f
            begin[where[b, f]] += 1
        i = 0
        for p in range(places):
            window = result[b, p * width : p * width + size]
            end = begin[p]
            while i + 4 <= end:  # four at a time: the window is read and written once for all
                k, m, n, o = order[i], order[i + 1], order[i + 2], order[i + 3]
                of_k, of_m, of_n, of_o = matrix[k], matrix[m], matrix[n], matrix[o]
                by_k, by_m, by_n, by_o = grad[b, k], grad[b, m], grad[b, n], grad[b, o]
                for j in range(size):
                    window[j] += (by_k * of_k[j] + by_m * of_m[j]) + (by_n * of_n[j] + by_o * of_o[j])
                i += 4
            while i < end:
                k = order[i]
                of_k = matrix[k]
                by_k = grad[b, k]
                for j in range(size):
                    window[j] += by_k * of_k[j]
                i += 1
