"""Objectives: what one may want of a melody, as a number in [0, 1] for each melody of a batch.

An objective is a class with a ``title``, a ``description`` and ``__call__(melodies) -> Tensor (B,)`` in [0, 1], or NaN
where it is undefined. It looks at one melody at a time, never at its neighbours in the batch, and draws no random
numbers. One line here makes it known everywhere.

A built-in objective takes no constructor arguments, computes on the melodies' device without waiting for it, and has
``REAL`` and ``NOISE``: its mean over windows of 64 sixteenths of the tunes in ``midi_data/``, and over such windows of
uniformly drawn notes, holds and rests. ``docs/objectives.md`` says what each is for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from seqgan_music.notes import Melodies

OBJECTIVES = {
    "tonality": "seqgan_music.objectives.intervals:Tonality",
    "melodicity": "seqgan_music.objectives.intervals:Melodicity",
    "ratio_of_steps": "seqgan_music.objectives.intervals:RatioOfSteps",
    "organ_tonality": "seqgan_music.objectives.organ:OrganTonality",
    "organ_melodicity": "seqgan_music.objectives.organ:OrganMelodicity",
    "organ_ratio_of_steps": "seqgan_music.objectives.organ:OrganRatioOfSteps",
    "key_clarity": "seqgan_music.objectives.key_clarity:KeyClarity",
    "scale_consistency": "seqgan_music.objectives.scale_consistency:ScaleConsistency",
    "cadence": "seqgan_music.objectives.cadence:Cadence",
    "pitch_range": "seqgan_music.objectives.pitch_range:PitchRange",
    "contour_smoothness": "seqgan_music.objectives.contour_smoothness:ContourSmoothness",
    "repetition": "seqgan_music.objectives.repetition:Repetition",
    "rhythmic_variety": "seqgan_music.objectives.rhythmic_variety:RhythmicVariety",
    "syncopation": "seqgan_music.objectives.syncopation:Syncopation",
    "note_density": "seqgan_music.objectives.note_density:NoteDensity",
}


class Objective(Protocol):
    """What the rest of the program may ask of an objective; see the module's description."""

    title: str
    description: str

    def __call__(self, melodies: Melodies) -> Tensor:
        """Values (B,) in [0, 1], NaN where undefined."""
