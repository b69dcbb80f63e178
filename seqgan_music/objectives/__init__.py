"""Objectives: what one may want of a melody, as a number in [0, 1] for each melody of a batch.

An objective is a class with a ``title``, a ``description`` and ``__call__(melodies) -> Tensor (B,)`` in [0, 1], or NaN
where it is undefined. It looks at one melody at a time, never at its neighbours in the batch, and draws no random
numbers. One line here makes it known everywhere.
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
}


class Objective(Protocol):
    """What the rest of the program may ask of an objective; see the module's description."""

    title: str
    description: str

    def __call__(self, melodies: Melodies) -> Tensor:
        """Values (B,) in [0, 1], NaN where undefined."""
