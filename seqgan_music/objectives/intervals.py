"""Objectives that count the intervals between successive notes.

They are ORGAN's (Guimaraes et al. 2017, arXiv 1705.10843), read *by note*: over successive onsets, in either direction,
unisons in the denominator, intervals across rests counted. `seqgan_music.objectives.organ` has them as the authors'
program does. All are NaN for fewer than two notes. The first two are styles to steer to, not quality: noise has as much
of them as music.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqgan_music.notes import Melodies


class Tonality:
    """Share of perfect fifths among the intervals between successive notes.

    NaN for fewer than two notes.

    Mean 0.033 on ``midi_data/``, 0.047 on noise.

    How it is gamed: by two notes a fifth apart, to and fro. For *tonal* in a musician's sense take `KeyClarity`.
    """

    title = "tonality"
    description = "share of perfect fifths among successive intervals"
    REAL = 0.033
    NOISE = 0.047

    def __call__(self, melodies: Melodies) -> Tensor:
        """Values (B,) in [0, 1]; NaN for fewer than two notes."""
        return share_of_intervals(melodies, (7,))


class Melodicity:
    """Share of perfect fourths, perfect fifths and major sixths among the intervals between successive notes.

    NaN for fewer than two notes.

    Mean 0.128 on ``midi_data/``, 0.140 on noise.

    How it is gamed: as `Tonality`, with any of the three intervals.
    """

    title = "melodicity"
    description = "share of perfect fourths, perfect fifths and major sixths among successive intervals"
    REAL = 0.128
    NOISE = 0.140

    def __call__(self, melodies: Melodies) -> Tensor:
        """Values (B,) in [0, 1]; NaN for fewer than two notes."""
        return share_of_intervals(melodies, (5, 7, 9))


class RatioOfSteps:
    """Share of steps, of one or two semitones, among the intervals between successive notes.

    The only one of the three that tells music from noise. NaN for fewer than two notes.

    Mean 0.461 on ``midi_data/``, 0.112 on noise.

    How it is gamed: by a scale or a trill without end.
    """

    title = "ratio of steps"
    description = "share of moves by one or two semitones among successive intervals"
    REAL = 0.461
    NOISE = 0.112

    def __call__(self, melodies: Melodies) -> Tensor:
        """Values (B,) in [0, 1]; NaN for fewer than two notes."""
        return share_of_intervals(melodies, (1, 2))


def share_of_intervals(melodies: Melodies, semitones: tuple[int, ...]) -> Tensor:
    """Share (B,) of the intervals between successive notes that have one of these absolute sizes."""
    size = (melodies.pitch[:, 1:] - melodies.pitch[:, :-1]).abs()  # (B, K-1)
    pairs = melodies.mask[:, 1:]  # notes come first, so a note's predecessor is one
    wanted = sum((size == s for s in semitones), torch.zeros_like(pairs))
    return (wanted & pairs).sum(1) / pairs.sum(1)
