"""Does a melody close?"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from seqgan_music.metrics.key import PITCH_CLASSES
from seqgan_music.notes import Melodies
from seqgan_music.objectives.keys import key_correlations, pitch_class_totals

EQUALLY_WELL = 1e-4
"""Correlations that differ by less are equal but for rounding, as those of symmetrical sets of pitch classes are."""


class Cadence:
    """Whether the last note is the tonic of what was heard before (1), or the fifth (0.5).

    The tonic ends a melody; the fifth, in the tonic's triad and in the dominant's, ends the phrase that is answered by
    another, the half close; on any other tone it breaks off. The key is `KeyClarity`'s, found without the last note, so
    that it does not become the tonic by being long. Of keys that fit equally well it is the one that is best closed.

    NaN for fewer than two notes, and where the notes but the last have no key.

    Mean 0.335 on ``midi_data/``, 0.128 on noise.

    How it is gamed: by ending on the note that came most often, and by repeating one note. Windows cut from the middle
    of a tune end anywhere, so the value on real music is far from 1.

    Source: the key, Krumhansl and Kessler (1982), whose listeners rated tonic and fifth highest of all tones after a
    major context; the two grades are ours.
    """

    title = "cadence"
    description = "1 if the last note is the tonic of the notes before it, 0.5 if it is the fifth"
    REAL = 0.335
    NOISE = 0.128

    def __call__(self, melodies: Melodies) -> Tensor:
        """Values (B,): 0, 0.5 or 1; NaN for fewer than two notes or without a key."""
        mask = melodies.mask
        followed = torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], 1)
        last = (melodies.pitch * (mask & ~followed)).sum(1) % PITCH_CLASSES
        fit = key_correlations(pitch_class_totals(melodies, melodies.duration * followed))
        best = fit.amax(1)
        close = _closes(fit.device, fit.dtype)[last]  # (B, 24)
        value = torch.where(fit >= best[:, None] - EQUALLY_WELL, close, 0).amax(1)
        return torch.where(best.isnan(), torch.nan, value)


@functools.cache
def _closes(device: torch.device, dtype: torch.dtype) -> Tensor:
    """What each last pitch class is worth in each key, (12, 24)."""
    tonic = torch.arange(2 * PITCH_CLASSES) % PITCH_CLASSES
    degree = (torch.arange(PITCH_CLASSES)[:, None] - tonic) % PITCH_CLASSES
    return ((degree == 0) + 0.5 * (degree == 7)).to(device, dtype)
