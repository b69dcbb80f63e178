"""ORGAN's three objectives of melody as its authors' program has them: over grid steps, rising intervals alone.

The sequence is read as one pitch in each grid step: a held note has its pitch in every step, and a rest counts as MIDI
46, one below the lowest pitch of the authors' vocabulary. Counted are all pairs of neighbouring steps. Those within a
held note differ by 0, so that long notes lower all three: uniform noise, which holds little, has more of the first two
than real melodies. They are here to be compared with that program's numbers; by note, they are in
`seqgan_music.objectives.intervals`.

A sequence that begins with a hold scores 0. Ours, where the description is silent: a hold after a rest is a rest; pairs
end where the melody does; NaN for fewer than two steps. Each of the program's bands of frequency ratios holds one
interval of equal temperament, so whole semitones are compared.

Source: G. L. Guimaraes et al., "Objective-Reinforced Generative Adversarial Networks (ORGAN) for Sequence Generation
Models", arXiv 1705.10843 (2017), and the program published with it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqgan_music.notes import HELD, OUTSIDE, REST, Melodies

RESTING = 46  # MIDI


class OrganTonality:
    """Share of rising perfect fifths among all pairs of neighbouring grid steps; see the module.

    The program's 1.45 < f(next) / f(current) < 1.55 is +7 semitones. NaN for fewer than two steps.

    Mean 0.010 on ``midi_data/``, 0.021 on noise.

    How it is gamed: by short notes in fifths upwards, with any larger fall between.
    """

    title = "tonality (ORGAN)"
    description = "share of rising perfect fifths among all pairs of neighbouring grid steps"
    REAL = 0.010
    NOISE = 0.021

    def __call__(self, melodies: Melodies) -> Tensor:
        """Values (B,) in [0, 1]; NaN for fewer than two steps."""
        return share_of_pairs(melodies, (7,))


class OrganMelodicity:
    """Share of rising fourths, fifths and major sixths among all pairs of neighbouring grid steps; see the module.

    The program's ratios of 1.28 to 1.38, 1.45 to 1.55 and 1.62 to 1.72 are +5, +7 and +9 semitones. NaN for fewer than
    two steps.

    Mean 0.048 on ``midi_data/``, 0.063 on noise.

    How it is gamed: as `OrganTonality`.
    """

    title = "melodicity (ORGAN)"
    description = "share of rising fourths, fifths and major sixths among all pairs of neighbouring grid steps"
    REAL = 0.048
    NOISE = 0.063

    def __call__(self, melodies: Melodies) -> Tensor:
        """Values (B,) in [0, 1]; NaN for fewer than two steps."""
        return share_of_pairs(melodies, (5, 7, 9))


class OrganRatioOfSteps:
    """Share of semitones, up or down, among all pairs of neighbouring grid steps; see the module.

    NaN for fewer than two steps.

    Mean 0.104 on ``midi_data/``, 0.051 on noise.

    How it is gamed: by a trill, or chromatic runs, in the shortest notes.
    """

    title = "ratio of steps (ORGAN)"
    description = "share of moves by one semitone among all pairs of neighbouring grid steps"
    REAL = 0.104
    NOISE = 0.051

    def __call__(self, melodies: Melodies) -> Tensor:
        """Values (B,) in [0, 1]; NaN for fewer than two steps."""
        return share_of_pairs(melodies, (-1, 1))


def share_of_pairs(melodies: Melodies, semitones: tuple[int, ...]) -> Tensor:
    """Share (B,) of the pairs of neighbouring grid steps whose pitches differ by one of these numbers of semitones."""
    steps = melodies.steps.to(torch.int16)  # a quarter of the memory to read
    inside = steps[:, 1:] != OUTSIDE
    sounding = steps.masked_fill(steps == REST, RESTING)
    rise = sounding[:, 1:] - sounding[:, :-1]
    wanted = sum((rise == s for s in semitones), torch.zeros_like(inside))
    share = (wanted & inside).sum(1) / inside.sum(1)
    held = (steps[:, :1] == HELD).any(1)  # of no column, too
    return torch.where(held & ~share.isnan(), 0, share)
