"""How near samples come to what is real on the validation part: what is tuned by, and the best round is chosen by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from seqgan_music import sampling
from seqgan_music.evaluation.melodies import MelodySet, on_grid
from seqgan_music.evaluation.phrases import few, mean
from seqgan_music.evaluation.tokens import TokenSet
from seqgan_music.evaluation.windows import torch_rng, without_repeats
from seqgan_music.metrics import musicality
from seqgan_music.metrics.bleu import References, self_bleu
from seqgan_music.metrics.diversity import edit_distance_diversity
from seqgan_music.metrics.yang_lerch import FEATURES, compare, features
from seqgan_music.tokenizers import is_musical

if TYPE_CHECKING:
    from seqgan_music.dataset import Dataset
    from seqgan_music.generators import Generator
    from seqgan_music.tokenizers import Tokenizer


class Closeness:
    """How near samples come to real music on the validation part: what is tuned by, and the best round is chosen by.

    Real music is one window of every training tune, so that its windows are as independent of one another as samples
    are; the samples have the same start tokens, so the same metres. For both are taken BLEU-4 against the validation
    windows, Self-BLEU-4, the mean overlap area with the validation windows, and the share of bars that come back; real
    music's own values are the target. The test part is not looked at. How far two of the samples lie apart,
    `EDIT_DISTANCE`, is measured beside them and has no part in the distance.

    Parameters
    ----------
    data : Dataset
        In main memory.
    tokenizer : Tokenizer
    seed : int
        Of the training windows that stand for real music.

    Attributes
    ----------
    start : Tensor (M,), int64
        Start tokens that samples are to have.
    target : dict of str to float
        Real music's figures, `EDIT_DISTANCE` among them.
    """

    ORDER = 4
    MOST = 500
    PAIRS = 2000
    FIGURES: ClassVar[tuple[str, ...]] = (
        "bleu_4_validation",
        "self_bleu_4_validation",
        "overlap_area_validation",
        "bars_back_validation",
    )
    EDIT_DISTANCE = "edit_distance"
    SAID: ClassVar[str] = (
        "the sum of how far BLEU-4 against the validation windows, Self-BLEU-4, the overlap area with the validation "
        "windows and the share of bars that come back are from real music's"
    )

    def __init__(self, data: Dataset, tokenizer: Tokenizer, seed: int) -> None:
        self.tokenizer = tokenizer
        order = torch.randperm(len(data.train), generator=torch_rng(seed))
        _, first = np.unique(data.train.piece[order].numpy(), return_index=True)
        rows = order[np.sort(first)][: self.MOST]  # in random order of tunes
        ids, self.start = data.train[rows]
        ids_held_out, start_held_out = without_repeats(data.validation)
        held_out = self._read(ids_held_out[: 2 * self.MOST], start_held_out[: 2 * self.MOST])
        self.references = References(held_out.events, self.ORDER)
        self.features = self._features(held_out)
        self.target = self._figures(self._read(ids, self.start))

    @property
    def size(self) -> int:
        """Samples that are to be measured at once."""
        return len(self.start)

    def measure(self, ids: Tensor, start: Tensor) -> dict[str, float]:
        """Figures of samples (`size`, T) with the start tokens `start`, and the sum of the distances of `FIGURES` from
        real music's."""
        found = self._figures(self._read(ids, start))
        return {**found, "distance_validation": sum(abs(found[name] - self.target[name]) for name in self.FIGURES)}

    def of_generator(self, generator: Generator, data: Dataset, seed: int) -> dict[str, float]:
        """`measure` fresh samples of a generator, drawn by random numbers of their own: no training notices."""
        where = data.train.ids.device
        rng = torch.Generator(where).manual_seed(seed)
        start = self.start.to(where)
        ids = sampling.sample(generator, start, data.length, rng, end_id=data.end_id, pad_id=data.pad_id)
        return self.measure(ids, start)

    def _figures(self, one: Any) -> dict[str, float]:
        bleu, own = self.references.bleu(one.events), self_bleu(one.events, self.ORDER)
        found = (bleu[:, self.ORDER - 1], own[:, self.ORDER - 1], *self._of_music(one))
        apart = edit_distance_diversity(one.events, self.PAIRS).mean
        return {**dict(zip(self.FIGURES, map(mean, found), strict=True)), self.EDIT_DISTANCE: apart}

    def _read(self, ids: Tensor, start: Tensor) -> Any:
        return MelodySet.of(self.tokenizer.melodies(ids, start))

    def _features(self, held_out: Any) -> dict[str, np.ndarray]:
        return few(features(held_out.events, held_out.steps_per_quarter), self.MOST)

    def _of_music(self, one: Any) -> tuple[np.ndarray, ...]:
        """What phrases do not say: overlap areas, and the share of bars that come back of each melody."""
        made = features(one.events, one.steps_per_quarter)
        areas = [compare(made[name], self.features[name]).overlap_area for name in FEATURES]
        return np.array(areas), musicality.bars_back(*on_grid(one), one.bar)


class TokenCloseness(Closeness):
    """The same of sequences that are no music: by BLEU-4 and Self-BLEU-4 alone, each row standing for itself."""

    FIGURES = Closeness.FIGURES[:2]
    SAID = "the sum of how far BLEU-4 against the validation sequences and Self-BLEU-4 are from training sequences'"

    def _read(self, ids: Tensor, start: Tensor) -> TokenSet:
        return TokenSet.of_tokens(self.tokenizer, ids, start)

    def _features(self, held_out: Any) -> dict[str, np.ndarray]:
        return {}

    def _of_music(self, one: Any) -> tuple[np.ndarray, ...]:
        return ()


def closeness(data: Dataset, tokenizer: Tokenizer, seed: int) -> Closeness:
    """What a run on such data is measured by on its validation part; see `Closeness` for the parameters."""
    return (Closeness if is_musical(tokenizer) else TokenCloseness)(data, tokenizer, seed)
