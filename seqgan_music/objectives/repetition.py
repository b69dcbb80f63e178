"""Do motifs come back?"""

from __future__ import annotations

import torch
from torch import Tensor

from seqgan_music.notes import Melodies

MOTIF = 4
"""Notes in a motif."""
_LONGEST = 2**12 - 1  # grid steps from onset to onset that are told apart


class Repetition:
    """Share of the notes that lie in a motif heard before.

    A motif is four successive notes: the three intervals between them, in semitones, so that it may return on another
    pitch, and the three times from onset to onset, in grid steps. A note is counted if it lies in any motif that equals
    one which ended before that began. The first four notes cannot be; the share is of the others. Four notes on one
    pitch are no motif.

    NaN for fewer than eight notes.

    Mean 0.329 on ``midi_data/``, 0.001 on noise.

    How it is gamed: by one figure over and over, a trill at its simplest. Real music is between that and nothing: give
    a target.

    Source: patterns of onset and pitch that occur again translated, D. Meredith, K. Lemström and G. A. Wiggins,
    "Algorithms for discovering repeated patterns in multidimensional representations of polyphonic music", Journal of
    New Music Research 31 (2002), 321-345; successive notes, the length of four and the share are ours.
    """

    title = "repetition"
    description = "share of the notes after the first four in a motif of four, transposed or not, heard before"
    REAL = 0.329
    NOISE = 0.001

    def __call__(self, melodies: Melodies) -> Tensor:
        """Values (B,) in [0, 1]; NaN for fewer than eight notes."""
        motif, there = motifs(melodies)
        again = heard_before(motif, there)
        # A note is in the motif that begins at it, or at one of the three before.
        covered = torch.zeros_like(melodies.mask)
        width = again.shape[1]
        for i in range(MOTIF):
            covered[:, i : i + width] |= again
        notes = melodies.mask.sum(1)
        return torch.where(notes >= 2 * MOTIF, covered.sum(1) / (notes - MOTIF), torch.nan)


def motifs(melodies: Melodies) -> tuple[Tensor, Tensor]:
    """The motif that begins at each note, as a number, and whether there is one.

    Returns
    -------
    motif : Tensor (B, K - 3), int64
        Equal for equal motifs and for no others: three intervals of 8 bits and three times of 12.
    there : Tensor (B, K - 3), bool
        Whether four notes are left, of more than one pitch.
    """
    step = (melodies.onset * melodies.steps_per_quarter).round().long()
    time = (step[:, 1:] - step[:, :-1]).clamp(0, _LONGEST)
    interval = melodies.pitch[:, 1:] - melodies.pitch[:, :-1]
    move = ((interval + 128) << 12) + time  # 20 bits
    width = max(melodies.pitch.shape[1] - MOTIF + 1, 0)
    motif = (move[:, :width] << 40) + (move[:, 1 : width + 1] << 20) + move[:, 2:]
    turns = interval != 0
    there = melodies.mask[:, MOTIF - 1 :] & (turns[:, :width] | turns[:, 1 : width + 1] | turns[:, 2:])
    return motif, there


def heard_before(motif: Tensor, there: Tensor) -> Tensor:
    """Whether an equal motif ended before each one began, (B, K - 3)."""
    width = motif.shape[1]
    # No motif equals another one's place. Rows of places, so that what is compared lies side by side in memory.
    places = torch.where(there, motif, torch.arange(-width, 0, device=motif.device)).T.contiguous()
    again = torch.zeros_like(places, dtype=torch.bool)
    for back in range(MOTIF, width):
        again[back:] |= places[back:] == places[:-back]
    return again.T
