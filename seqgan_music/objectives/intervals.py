"""Objectives that count the intervals between successive notes.

They are ORGAN's (Guimaraes et al. 2017, arXiv 1705.10843), read *by note*: over successive onsets, in either direction,
unisons in the denominator, intervals across rests counted. All are NaN for fewer than two notes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqgan_music.notes import Melodies


class Tonality:
    """Share of perfect fifths among the intervals between successive notes."""

    title = "tonality"
    description = "share of perfect fifths among successive intervals"

    def __call__(self, melodies: Melodies) -> Tensor:
        """Values (B,) in [0, 1]; NaN for fewer than two notes."""
        return share_of_intervals(melodies, (7,))


class Melodicity:
    """Share of perfect fourths, perfect fifths and major sixths among the intervals between successive notes."""

    title = "melodicity"
    description = "share of perfect fourths, perfect fifths and major sixths among successive intervals"

    def __call__(self, melodies: Melodies) -> Tensor:
        """Values (B,) in [0, 1]; NaN for fewer than two notes."""
        return share_of_intervals(melodies, (5, 7, 9))


class RatioOfSteps:
    """Share of steps, of one or two semitones, among the intervals between successive notes."""

    title = "ratio of steps"
    description = "share of moves by one or two semitones among successive intervals"

    def __call__(self, melodies: Melodies) -> Tensor:
        """Values (B,) in [0, 1]; NaN for fewer than two notes."""
        return share_of_intervals(melodies, (1, 2))


def share_of_intervals(melodies: Melodies, semitones: tuple[int, ...]) -> Tensor:
    """Share (B,) of the intervals between successive notes that have one of these absolute sizes."""
    size = (melodies.pitch[:, 1:] - melodies.pitch[:, :-1]).abs()  # (B, K-1)
    pairs = melodies.mask[:, 1:]  # notes come first, so a note's predecessor is one
    wanted = sum((size == s for s in semitones), torch.zeros_like(pairs))
    return (wanted & pairs).sum(1) / pairs.sum(1)
