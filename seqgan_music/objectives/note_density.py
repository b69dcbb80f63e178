"""How busy is a melody?"""

from __future__ import annotations

from torch import Tensor

from seqgan_music.notes import Melodies


class NoteDensity:
    """Notes for each grid step, at most 1.

    A note in every step has 1, eighths on a grid of sixteenths 0.5, silence 0. The number depends on the grid: twice as
    many steps in a quarter note halve it.

    NaN for a melody of no length.

    Mean 0.658 on ``midi_data/``, 0.945 on noise.

    How it is gamed: by repeating one note in every step; from above by silence. More is not better: give a target or a
    range.

    Source: ``notedensity`` of T. Eerola and P. Toiviainen, "MIDI Toolbox" (2004), here for each step of the grid.
    """

    title = "note density"
    description = "notes for each grid step"
    REAL = 0.658
    NOISE = 0.945

    def __call__(self, melodies: Melodies) -> Tensor:
        """Values (B,) in [0, 1]; NaN for a melody of no length."""
        return (melodies.mask.sum(1) / (melodies.length * melodies.steps_per_quarter)).clamp(max=1)
