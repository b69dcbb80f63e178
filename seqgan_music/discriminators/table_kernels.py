"""The loops of `table_convolution`, for Numba: sums of table rows that are compared as they come and never written.

The arrays `widths` and `numbers` (K,) describe the layers: W taps and F filters each. A layer has W·F columns of the
table (V, ΣW·F), tap by tap, and F of an output (·, ΣF). What is NaN stays the largest, as in PyTorch.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from seqgan_music import jit

Array = np.ndarray[Any, Any]


@jit.kernel
def add_rows(total: Array, table: Array, ids: Array, first: int, last: int, column: int, filters: int) -> None:
    """Add to `total` what the tokens of steps ``first ... last − 1`` give to the taps from `column` on."""
    step = first
    while step + 4 <= last:  # so `total` is read and written once for four rows
        a = table[ids[step], column : column + filters]
        b = table[ids[step + 1], column + filters : column + 2 * filters]
        c = table[ids[step + 2], column + 2 * filters : column + 3 * filters]
        d = table[ids[step + 3], column + 3 * filters : column + 4 * filters]
        for j in range(filters):
            total[j] += (a[j] + b[j]) + (c[j] + d[j])
        column += 4 * filters
        step += 4
    while step < last:
        a = table[ids[step], column : column + filters]
        for j in range(filters):
            total[j] += a[j]
        column += filters
        step += 1


@jit.kernel
def keep_larger(largest: Array, total: Array, filters: int) -> None:
    """Take over what is larger in `total`."""
    for j in range(filters):
        if not total[j] <= largest[j] and largest[j] == largest[j]:
            largest[j] = total[j]


@jit.kernel
def largest_sums(
    table: Array, widths: Array, numbers: Array, ids: Array, first: int, last: int, largest: Array, where: Array
) -> None:
    """Of rows ``first ... last − 1`` of ids (B, T) the largest sum over all windows into `largest` (B, ΣF), and the
    first step of the first window that has it into `where`, int32 of the same shape or (0, 0) where it is not asked
    for."""
    length = ids.shape[1]
    total = np.empty(numbers.max(), table.dtype)
    begin = 0
    column = 0
    for layer in range(len(widths)):  # outermost, for one layer's columns of the table stay in the cache
        width, filters = widths[layer], numbers[layer]
        for row in range(first, last):
            best = largest[row, begin : begin + filters]
            best[:] = -np.inf
            if len(where) > 0:
                window = where[row, begin : begin + filters]
                window[:] = 0
                for p in range(length - width + 1):
                    total[:filters] = 0
                    add_rows(total, table, ids[row], p, p + width, column, filters)
                    for j in range(filters):
                        if not total[j] <= best[j] and best[j] == best[j]:
                            window[j] = p
                            best[j] = total[j]
            else:
                for p in range(length - width + 1):
                    total[:filters] = 0
                    add_rows(total, table, ids[row], p, p + width, column, filters)
                    keep_larger(best, total, filters)
        begin += filters
        column += width * filters


@jit.kernel
def scatter_gradient(
    grad: Array, widths: Array, numbers: Array, ids: Array, where: Array, first: int, last: int, table_grad: Array
) -> None:
    """Add the gradient (B, ΣF) of the largest sums to the table rows of their windows, for the taps ``first ...
    last − 1`` of all layers, counted through; in the order of the rows, whoever does it."""
    begin = 0
    column = 0
    tap = 0
    for layer in range(len(widths)):
        filters = numbers[layer]
        for k in range(widths[layer]):
            if first <= tap < last:
                for row in range(len(ids)):
                    for j in range(filters):
                        table_grad[ids[row, where[row, begin + j] + k], column + j] += grad[row, begin + j]
            column += filters
            tap += 1
        begin += filters


@jit.kernel
def largest_sums_of_completions(
    table: Array, widths: Array, numbers: Array, lanes: Array, shortest: int, first: int, last: int, largest: Array
) -> None:
    """`largest_sums` of lanes (t, n, B, T) into `largest` (t, n, B, ΣF), for sequences ``first ... last − 1`` of B.

    All lanes [i, :, b] begin with the same `shortest` + i tokens, and all [:, :, b] are alike as far as they both go.
    What lies within a prefix is summed once: whole windows for all that come after, parts of windows for the n lanes.
    """
    prefixes, copies, _, length = lanes.shape
    most = numbers.max()
    total = np.empty(most, table.dtype)
    inside = np.empty(most, table.dtype)
    parts = np.empty((widths.max(), most), table.dtype)
    begin = 0
    column = 0
    for layer in range(len(widths)):
        width, filters = widths[layer], numbers[layer]
        for b in range(first, last):
            inside[:filters] = -np.inf
            left = 0  # the first window that is not within the prefix
            for i in range(prefixes):
                given = shortest + i
                prefix = lanes[i, 0, b]
                while left + width <= given:
                    total[:filters] = 0
                    add_rows(total, table, prefix, left, left + width, column, filters)
                    keep_larger(inside, total, filters)
                    left += 1
                across = max(0, min(given, length - width + 1) - left)  # windows that begin within it
                for p in range(left, left + across):
                    parts[p - left, :filters] = 0
                    add_rows(parts[p - left], table, prefix, p, given, column, filters)
                for n in range(copies):
                    best = largest[i, n, b, begin : begin + filters]
                    best[:] = inside[:filters]
                    for p in range(left, left + across):
                        total[:filters] = parts[p - left, :filters]
                        add_rows(
                            total, table, lanes[i, n, b], given, p + width, column + (given - p) * filters, filters
                        )
                        keep_larger(best, total, filters)
                    for p in range(left + across, length - width + 1):
                        total[:filters] = 0
                        add_rows(total, table, lanes[i, n, b], p, p + width, column, filters)
                        keep_larger(best, total, filters)
        begin += filters
        column += width * filters
