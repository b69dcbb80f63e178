"""How wide is a melody?"""

from __future__ import annotations

from torch import Tensor

from seqgan_music.notes import Melodies

TWO_OCTAVES = 24


class PitchRange:
    """The highest less the lowest pitch, over two octaves, at most 1.

    Two octaves are about what a voice or a fiddle in first position has; a melody of more counts as one of two.

    NaN without a note.

    Mean 0.676 on ``midi_data/``, 1.000 on noise.

    How it is gamed: by two notes far apart. Wider is not better: give a target or a bound.

    Source: the range of Yang and Lerch, "On the evaluation of generative models in music" (2018); the unit is ours.
    """

    title = "pitch range"
    description = "highest less lowest pitch, in two octaves, at most 1"
    REAL = 0.676
    NOISE = 1.000

    def __call__(self, melodies: Melodies) -> Tensor:
        """Values (B,) in [0, 1]; NaN without a note."""
        pitch, mask = melodies.pitch, melodies.mask
        if not pitch.shape[1]:
            return melodies.length.new_full((len(melodies),), float("nan"))
        width = (pitch * mask).amax(1) - pitch.masked_fill(~mask, 127).amin(1)
        return (width / TWO_OCTAVES).clamp(max=1).masked_fill(~mask[:, 0], float("nan"))
