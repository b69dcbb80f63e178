"""The cells of an LSTM, for Numba: everything between two matrix products in one pass.

`single` and `half` are None or True, and with None Numba leaves their branch out: `single` says that it is computed in
float32, `half` that products and hidden states are the bits of bfloat16.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from seqgan_music import jit

Array = np.ndarray[Any, Any]


@jit.kernel
def update_cells(
    products: Array,
    table: Array,
    rows: Array,
    cell: Array,
    hidden: Array,
    first: int,
    last: int,
    single: bool | None,
    half: bool | None,
) -> None:
    """Update the rows first ... last − 1 of cell and hidden states (B, H).

    The gates (in, forget, candidate, out) are `products` (B, 4H) and the sum of the rows (B, R) of a table (·, 4H).
    """
    width = cell.shape[1]
    gates = np.empty(4 * width, table.dtype)
    for r in range(first, last):
        for k in range(rows.shape[1]):
            if not 0 <= rows[r, k] < len(table):
                raise IndexError("a token beyond the vocabulary")
        product, of_token = products[r], table[rows[r, 0]]
        for j in range(4 * width):
            gates[j] = _widened(product[j], half) + of_token[j]
        for k in range(1, rows.shape[1]):
            of_token = table[rows[r, k]]
            for j in range(4 * width):
                gates[j] += of_token[j]
        into, forget = gates[:width], gates[width : 2 * width]
        candidate, out = gates[2 * width : 3 * width], gates[3 * width :]
        cells, hiddens = cell[r], hidden[r]
        for j in range(width):
            kept = _sigmoid(forget[j], single) * cells[j]
            cells[j] = kept + _sigmoid(into[j], single) * _tanh(candidate[j], single)
            hiddens[j] = _narrowed(_sigmoid(out[j], single) * _tanh(cells[j], single), half)


@jit.kernel
def _widened(value: Any, half: bool | None) -> Any:
    if half is None:
        return value
    return np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)


@jit.kernel
def _narrowed(value: Any, half: bool | None) -> Any:
    if half is None:
        return value
    bits = np.float32(value).view(np.uint32)
    # To the nearest, and of two as near to the even one.
    return np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))


HALF = np.float32(0.5)
LARGEST = np.float32(7.90531110763549805)  # beyond it tanh is 1 in float32
# Minimax coefficients of Eigen's tanh for float32 (Eigen/src/Core/MathFunctionsImpl.h): odd ones over even ones.
A1, A3, A5, A7 = (
    np.float32(4.89352455891786e-03),
    np.float32(6.37261928875436e-04),
    np.float32(1.48572235717979e-05),
    np.float32(5.12229709037114e-08),
)
A9, A11, A13 = np.float32(-8.60467152213735e-11), np.float32(2.00018790482477e-13), np.float32(-2.76076847742355e-16)
B0, B2, B4, B6 = (
    np.float32(4.89352518554385e-03),
    np.float32(2.26843463243900e-03),
    np.float32(1.18534705686654e-04),
    np.float32(1.19825839466702e-06),
)


@jit.kernel
def _tanh(x: Any, single: bool | None) -> Any:
    """Within 3e-7 in float32."""
    if single is None:
        return math.tanh(x)
    x = min(max(x, -LARGEST), LARGEST)
    y = x * x
    return (
        x * (A1 + y * (A3 + y * (A5 + y * (A7 + y * (A9 + y * (A11 + y * A13)))))) / (B0 + y * (B2 + y * (B4 + y * B6)))
    )


@jit.kernel
def _sigmoid(x: Any, single: bool | None) -> Any:
    return HALF + HALF * _tanh(HALF * x, single)
