"""Do notes begin off the beat and last over it?"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from seqgan_music.notes import Melodies

ROUNDING = 1e-3
"""Of a metrical unit: times that differ by less are equal; float32 keeps them apart in melodies of 10,000 units."""


class Syncopation:
    """Share of the metrical points that a note begun in a weaker place leaves without an onset.

    The levels of a metre are the bar, the half bar where the beats are even in number and more than two, the beat, and
    its division: halves, or thirds where the metre is compound (6/8, 9/8, 12/8). As in Longuet-Higgins and Lee, a note
    that is followed by a tie or a rest on a stronger point than its onset is a syncopation, and its strength is the
    difference of their levels: the number of levels of which a point lies between this onset and the next, or the
    melody's end, while the onset is on no point of that level. The strengths of all notes are divided by the points of
    all levels after the melody's start and before its end, which is as much as they can be.

    NaN without a note, and for a melody no longer than the division of a beat.

    Mean 0.007 on ``midi_data/``, 0.054 on noise.

    How it is gamed: by shifting every note by half the shortest length, so that none begins on a beat. Real
    melodies have little: give a target.

    Source: H. C. Longuet-Higgins and C. S. Lee, "The rhythmic interpretation of monophonic music", Music Perception 1
    (1984), 424-441. The division by the number of points is ours; a mean over notes would be largest for a single note.
    """

    title = "syncopation"
    description = "share of the metrical points that a note begun in a weaker place leaves without an onset"
    REAL = 0.007
    NOISE = 0.054

    def __call__(self, melodies: Melodies) -> Tensor:
        """Values (B,) in [0, 1]; NaN without a note or a metrical point."""
        onset, mask, length = melodies.onset, melodies.mask, melodies.length
        followed = torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], 1)
        until = torch.where(followed, onset.roll(-1, 1), length[:, None])
        strength, points = torch.zeros_like(length), torch.zeros_like(length)
        for unit, there in metrical_units(melodies.metre):
            begin, end = onset / unit[:, None], until / unit[:, None]
            point = (begin - ROUNDING).ceil_()  # the first one at or after the onset; where there is no note, 0
            held_over = (point > begin.add_(ROUNDING)).logical_and_(point < end.sub_(ROUNDING))
            strength += held_over.sum(1) * there
            points += ((length / unit - ROUNDING).ceil() - 1).clamp(min=0) * there
        return torch.where(mask.any(1), strength / points, torch.nan)


def metrical_units(metre: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The levels of metres, longest first.

    Parameters
    ----------
    metre : Tensor (B, 2), int
        Numerators and denominators.

    Yields
    ------
    unit : Tensor (B,), float
        Quarter notes from one point of the level to the next.
    there : Tensor (B,), bool
        Whether the metre has this level.
    """
    numerator, denominator = metre[:, 0], metre[:, 1]
    compound = (numerator % 3 == 0) & (numerator > 3)
    beats = torch.where(compound, numerator // 3, numerator)
    bar = 4 * numerator / denominator
    beat = bar / beats
    always = torch.ones_like(compound)
    yield bar, always
    yield bar / 2, (beats % 2 == 0) & (beats > 2)
    yield beat, beats > 1
    yield beat / torch.where(compound, 3, 2), always
