"""How clearly is a melody in a key?"""

from __future__ import annotations

from torch import Tensor

from seqgan_music.notes import Melodies
from seqgan_music.objectives.keys import key_correlations, pitch_class_totals


class KeyClarity:
    """How well the best of the 24 keys fits a melody: the objective that means *tonal*.

    The largest Pearson correlation of the time that each pitch class sounds with the profiles of the major and minor
    keys, those below 0 as 0: `seqgan_music.metrics.key.find_key` for a batch.

    NaN without a note, and where all twelve pitch classes are equally long.

    Mean 0.844 on ``midi_data/``, 0.554 on noise.

    How it is gamed: by giving each tone the time that the profile wants, the tonic and its triad most, in any order at
    all. One note repeated has 0.68.

    Source: C. L. Krumhansl and E. J. Kessler, Psychological Review 89 (1982); the algorithm in C. L. Krumhansl,
    "Cognitive Foundations of Musical Pitch", Oxford 1990, pages 77-110.
    """

    title = "key clarity"
    description = "how well the best of 24 keys fits the time that each pitch class sounds"
    REAL = 0.844
    NOISE = 0.554

    def __call__(self, melodies: Melodies) -> Tensor:
        """Values (B,) in [0, 1]; NaN without a key."""
        return key_correlations(pitch_class_totals(melodies, melodies.duration)).amax(1).clamp(min=0)
