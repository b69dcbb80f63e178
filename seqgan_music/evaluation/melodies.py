"""Windows as melodies, and what is measured of them beside their phrases: pitch curves, features, rhythm and form."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from seqgan_music.evaluation.phrases import mean
from seqgan_music.metrics import musicality
from seqgan_music.metrics.events import event_notes, events_to_steps, note_events, struck_steps
from seqgan_music.metrics.frechet import frechet_distance
from seqgan_music.metrics.mse import fill_rests, nearest_mse, pairs_mse
from seqgan_music.metrics.sequences import Sequences
from seqgan_music.metrics.yang_lerch import FEATURES, compare, vectors
from seqgan_music.notes import OUTSIDE, Melodies

if TYPE_CHECKING:
    from seqgan_music.tokenizers import Tokenizer


@dataclass(frozen=True, slots=True, eq=False)
class MelodySet:
    """A set of windows as the metrics take it.

    Parameters
    ----------
    events : Sequences
        Note events, M rows.
    melodies : Melodies
        The same as objectives read them, in main memory.
    polyphony : ndarray (M,)
        How many notes sound at once; NaN where none does.
    ids, start : ndarray (M, T) and (M,), int64, optional
        Tokens and start tokens, where the melodies were made of them.
    """

    events: Sequences
    melodies: Melodies
    polyphony: np.ndarray
    ids: np.ndarray | None = None
    start: np.ndarray | None = None
    UNIT: ClassVar[str] = "note event"

    @classmethod
    def of_tokens(cls, tokenizer: Tokenizer, ids: Tensor, start: Tensor) -> MelodySet:
        """From tokens (M, T) and start tokens (M,)."""
        read = cls.of(tokenizer.melodies(ids, start))
        return replace(read, ids=ids.cpu().numpy(), start=start.cpu().numpy())

    @classmethod
    def of(cls, melodies: Melodies) -> MelodySet:
        """From a batch of melodies."""
        melodies = melodies.to("cpu")
        names = ("pitch", "onset", "duration", "mask", "length")
        fields = {name: getattr(melodies, name).numpy() for name in names}
        events = note_events(**fields, steps_per_quarter=melodies.steps_per_quarter)
        voices = musicality.polyphony(fields["onset"], fields["duration"], fields["mask"])
        return cls(events, melodies, voices)

    @classmethod
    def of_events(cls, events: Sequences, steps: int, metre: np.ndarray, steps_per_quarter: float) -> MelodySet:
        """From note events of M melodies on a grid of S steps, with metres (M, 2)."""
        pitch, onset, duration, mask = event_notes(events)
        grid = events_to_steps(events, steps)
        melodies = Melodies(
            pitch=torch.from_numpy(pitch),
            onset=torch.from_numpy(onset) / steps_per_quarter,
            duration=torch.from_numpy(duration) / steps_per_quarter,
            mask=torch.from_numpy(mask),
            length=torch.from_numpy((grid != OUTSIDE).sum(1)) / steps_per_quarter,
            metre=torch.from_numpy(np.asarray(metre, dtype=np.int64)),
            steps=torch.from_numpy(grid),
            steps_per_quarter=steps_per_quarter,
        )
        return cls(events, melodies, musicality.polyphony(onset, duration, mask))

    def of_chain(self, events: Sequences) -> MelodySet:
        """Note events of as many melodies, on the same grid and in the same metres."""
        return MelodySet.of_events(events, self.steps.shape[1], self.metre, self.steps_per_quarter)

    @property
    def steps(self) -> np.ndarray:
        """What sounds in each grid step, (M, S)."""
        return self.melodies.steps.numpy()

    @property
    def steps_per_quarter(self) -> float:
        """Grid steps in a quarter note."""
        return self.melodies.steps_per_quarter

    @property
    def metre(self) -> np.ndarray:
        """Numerator and denominator of each, (M, 2)."""
        return self.melodies.metre.numpy()

    @property
    def bar(self) -> np.ndarray:
        """Grid steps in a bar of each, (M,)."""
        numerator, denominator = self.metre.astype(np.float64).T
        steps: np.ndarray = self.steps_per_quarter * 4 * numerator / denominator
        return steps

    def __len__(self) -> int:
        return len(self.events)

    def digest(self) -> str:
        """SHA-256 of the melodies: equal references have equal digests, on any machine."""
        sha = hashlib.sha256()
        for values in (self.events.lengths, self.events.tokens[self.events.valid], self.bar, self.steps_per_quarter):
            sha.update(np.asarray(values).astype("<f8").tobytes())
        return sha.hexdigest()

    def arrays(self) -> dict[str, np.ndarray]:
        """What it holds, for an archive."""
        arrays = {
            "ids": self.ids,
            "start": self.start,
            "events": self.events.tokens * self.events.valid,
            "lengths": self.events.lengths,
            "bar": self.bar,
            "steps": self.steps,
        }
        return {name: array for name, array in arrays.items() if array is not None}


def scores(one: MelodySet, curves: np.ndarray) -> dict[str, np.ndarray]:
    """What is measured of each melody by itself, beside its phrases.

    Parameters
    ----------
    one : MelodySet
    curves : ndarray (R, S)
        Pitch curves of the references, see `seqgan_music.metrics.mse.fill_rests`.
    """
    own_curves = fill_rests(one.steps)
    pitch, _, _, mask = event_notes(one.events)
    steps, struck = on_grid(one)
    return {
        "mse_nearest": nearest_mse(own_curves, curves),
        "mse_pairs": pairs_mse(own_curves, curves),
        "pitch_class_entropy": musicality.pitch_class_entropy(pitch, mask),
        "scale_consistency": musicality.scale_consistency(pitch, mask),
        "groove_consistency": musicality.groove_consistency(steps, struck, one.bar),
        "empty_beat_rate": musicality.empty_beat_rate(steps, np.full(len(one), one.steps_per_quarter)),
        "polyphony": one.polyphony,
        "bars_back": musicality.bars_back(steps, struck, one.bar),
    }


def on_grid(one: MelodySet) -> tuple[np.ndarray, np.ndarray]:
    """What sounds in each grid step (M, S), and where a note begins."""
    width = one.steps.shape[1]
    return events_to_steps(one.events, width), struck_steps(one.events, width)


def distributions(made: dict[str, np.ndarray], real: dict[str, np.ndarray]) -> dict[str, float]:
    """Overlap area and divergence of every feature and their means, and the Fréchet distance."""
    found = {name: compare(made[name], real[name]) for name in FEATURES}
    areas = {f"overlap_area_{name}": one.overlap_area for name, one in found.items()}
    divergences = {f"kl_divergence_{name}": one.kl_divergence for name, one in found.items()}
    return {
        "overlap_area": mean(np.array([*areas.values()])),
        "kl_divergence": mean(np.array([*divergences.values()])),
        "frechet": frechet_distance(vectors(made, real), vectors(real, real)),
        **areas,
        **divergences,
    }
