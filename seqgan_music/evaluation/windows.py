"""Which windows stand for real music, and in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from seqgan_music.dataset import Dataset, Windows


def without_repeats(windows: Windows) -> tuple[Tensor, Tensor]:
    """Windows (M, T) and start tokens (M,) in their order, each once."""
    ids, start = windows[slice(None)]
    rows = torch.from_numpy(_each_once(ids, start))
    return ids[rows], start[rows]


def _each_once(ids: Tensor, start: Tensor) -> np.ndarray:
    """Numbers of the rows whose window and start token have not come before, in their order."""
    both = torch.cat([start[:, None], ids], 1).numpy()
    return np.sort(np.unique(both, axis=0, return_index=True)[1])


def tunes_by_turns(windows: Windows) -> tuple[Tensor, Tensor]:
    """Windows and start tokens, each once: one of every tune, then another of every tune that has one left, and so on,
    so that neighbours are of different tunes; which comes first is random, but always the same."""
    ids, start = windows[slice(None)]
    rows = np.random.default_rng(0).permutation(_each_once(ids, start))
    piece = windows.piece.numpy()[rows]
    by_tune = np.argsort(piece, kind="stable")
    sizes = np.unique(piece, return_counts=True)[1]
    turn = np.empty(len(rows), dtype=np.int64)
    turn[by_tune] = np.concatenate([np.arange(size) for size in sizes])
    chosen = torch.from_numpy(rows[np.argsort(turn, kind="stable")])
    return ids[chosen], start[chosen]


def metres_of_real(data: Dataset, samples: int, seed: int) -> Tensor:
    """Start tokens (n,) in the shares they have in the row *real*, in random order."""
    start = without_repeats(data.validation)[1]
    repeated = start[torch.arange(samples) * len(start) // samples]
    return repeated[torch.randperm(samples, generator=torch_rng(seed))]


def torch_rng(seed: int) -> torch.Generator:
    """A generator of its own in main memory."""
    return torch.Generator().manual_seed(seed)
