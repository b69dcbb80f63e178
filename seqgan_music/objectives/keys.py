"""The pitch classes of a batch of melodies, and how well each key fits them; see `seqgan_music.metrics.key`."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from seqgan_music.metrics.key import MAJOR, MINOR, PITCH_CLASSES
from seqgan_music.notes import Melodies

EVEN = 1e-6
"""Of the longest: pitch classes that differ by less from their mean are equally long but for float32's rounding."""


def pitch_class_totals(melodies: Melodies, weight: Tensor) -> Tensor:
    """Sum of a weight over the notes of each pitch class.

    Parameters
    ----------
    melodies : Melodies
    weight : Tensor (B, K), float
        Of every note; 0 where there is none.

    Returns
    -------
    Tensor (B, 12)
        From C to B.
    """
    totals = weight.new_zeros(len(melodies), PITCH_CLASSES)
    return totals.scatter_add_(1, melodies.pitch % PITCH_CLASSES, weight)


def key_correlations(totals: Tensor) -> Tensor:
    """Correlation of pitch classes with Krumhansl and Kessler's profile of every key.

    Parameters
    ----------
    totals : Tensor (B, 12)
        How long each pitch class sounds, 0 or more.

    Returns
    -------
    Tensor (B, 24)
        From -1 to 1, the major keys from C, then the minor ones; NaN where all pitch classes are equally long or none
        sounds. The numbers of `seqgan_music.metrics.key.key_correlations` but for rounding.
    """
    shares = totals / totals.amax(1, keepdim=True)
    deviation = shares - shares.mean(1, keepdim=True)
    norm = deviation.norm(dim=1, keepdim=True)
    norm = torch.where(deviation.abs().amax(1, keepdim=True) > EVEN, norm, torch.nan)
    return (deviation @ _profiles(totals.device, totals.dtype).T / norm).clamp(-1, 1)


@functools.cache
def _profiles(device: torch.device, dtype: torch.dtype) -> Tensor:
    """The profiles of the 24 keys (24, 12), each with mean 0 and length 1."""
    modes = [torch.tensor(profile, dtype=torch.float64) for profile in (MAJOR, MINOR)]
    rows = torch.stack([mode.roll(tonic) for mode in modes for tonic in range(PITCH_CLASSES)])
    rows -= rows.mean(1, keepdim=True)
    unit: Tensor = rows / rows.norm(dim=1, keepdim=True)
    return unit.to(device, dtype)
