"""How exactly products of matrices are computed while a run trains: ``[run] precision``.

``float32``
    All of it in float32; on a CUDA GPU without the TF32 that PyTorch lets convolutions use by default.
``tf32``
    On a CUDA GPU factors are rounded to TF32 (10 bits of mantissa); elsewhere it is ``float32``.
``bfloat16``
    Large products and tables in bfloat16 (7 bits of mantissa) where a network has them so; on a CUDA GPU the rest as
    with ``tf32``. Weights, sums of many terms, softmax, losses and the optimiser stay in float32.

It is a setting of a training. A finished run generates, and is evaluated, in PyTorch's own float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from seqgan_music.errors import UsageError

PRECISIONS: dict[str, torch.dtype | None] = {"float32": None, "tf32": None, "bfloat16": torch.bfloat16}
"""What networks have as their `product_dtype`; None is the dtype of their weights."""


def check(name: str) -> None:
    """Refuse what is none of `PRECISIONS`.

    Raises
    ------
    UsageError
    """
    if name not in PRECISIONS:
        raise UsageError(f"run.precision must be one of {', '.join(PRECISIONS)}, not {name!r}")


def apply(name: str, network: torch.nn.Module) -> None:
    """Let a network compute its large products so."""
    network.product_dtype = PRECISIONS[name]  # type: ignore[assignment]


@contextmanager
def in_force(name: str, device: torch.device) -> Iterator[None]:
    """Let PyTorch use TF32 or not, which it knows for the whole process, and put back what it was.

    On other devices than CUDA nothing is touched: PyTorch's "high" would change what some processors compute too.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    _let_pytorch("highest" if name == "float32" else "high", name != "float32")
    try:
        yield
    finally:
        _let_pytorch(*before)


def _let_pytorch(products: str, convolutions: bool) -> None:
    torch.set_float32_matmul_precision(products)
    torch.backends.cudnn.allow_tf32 = convolutions
