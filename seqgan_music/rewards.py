"""What a finished sequence is worth: λ·D + (1 − λ)·ΣwᵢOᵢ/Σwᵢ, the second bridge between music and tensors.

With λ = 1 this is SeqGAN's reward (Yu et al. 2017, Eq. 2), with λ = 0 naive reinforcement learning, between them
ORGAN's (Guimaraes et al. 2017, arXiv 1705.10843).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from seqgan_music.errors import UsageError
from seqgan_music.modes import evaluating

if TYPE_CHECKING:
    from seqgan_music.discriminators import Discriminator
    from seqgan_music.losses import DiscriminatorLoss
    from seqgan_music.objectives import Objective
    from seqgan_music.tokenizers import Tokenizer

ROWS_AT_ONCE = 1024  # small enough for the discriminator's activations to stay in a processor's cache


class Reward:
    """The reward of finished sequences, and the running mean of each of its parts.

    Parameters
    ----------
    discriminator : Discriminator
    loss : DiscriminatorLoss
        The loss the discriminator is trained with, which says how its score becomes a reward.
    tokenizer : Tokenizer, optional
        Reads ids as melodies, for the objectives.
    objectives : mapping of str to (Objective, float), optional
        Objectives and their weights by name.
    lambda_ : float
        Share of the discriminator.

    Raises
    ------
    UsageError
        λ outside [0, 1], negative weights or none above 0 where they are needed.
    """

    def __init__(
        self,
        discriminator: Discriminator,
        loss: DiscriminatorLoss,
        tokenizer: Tokenizer | None = None,
        objectives: Mapping[str, tuple[Objective, float]] | None = None,
        lambda_: float = 1.0,
    ) -> None:
        self.discriminator = discriminator
        self.loss = loss
        self.tokenizer = tokenizer
        self.objectives = dict(objectives or {})
        self.lambda_ = lambda_
        self._parts: dict[str, tuple[Tensor, Tensor]] = {}
        if not 0 <= lambda_ <= 1:
            raise UsageError(f"lambda must lie in [0, 1], not {lambda_!r}")
        weights = {name: weight for name, (_, weight) in self.objectives.items()}
        for name, weight in weights.items():
            if not 0 <= weight < math.inf:
                raise UsageError(
                    f"the weight of objective {name!r} must not be negative or infinite, but is {weight!r}"
                )
        if lambda_ < 1 and not sum(weights.values()) > 0:
            raise UsageError("lambda below 1 needs an objective with a weight above 0; give one, or leave lambda at 1")
        if self.objectives and tokenizer is None:
            raise UsageError("objectives score notes, and these sequences are not music")

    def __call__(self, ids: Tensor, group: Tensor, start: Tensor) -> Tensor:
        """Rewards of finished sequences.

        Parameters
        ----------
        ids : Tensor (M, T), int64
        group : Tensor (M,), int64
            One number for the B sequences of one roll-out and prefix, for parts that look at a batch.
        start : Tensor (M,), int64

        Returns
        -------
        Tensor (M,)
            In [0, 1].
        """
        reward = torch.zeros((), device=ids.device)
        if self.lambda_ > 0:
            reward = reward + self.lambda_ * self._note("discriminator", self.realness(ids))
        if self.lambda_ < 1:
            assert self.tokenizer is not None
            total = sum(weight for _, weight in self.objectives.values())
            melodies = self.tokenizer.melodies(ids, start)
            for name, (objective, weight) in self.objectives.items():
                if weight:
                    scores = self._note(name, objective(melodies))
                    share = (1 - self.lambda_) * weight / total
                    reward = reward + share * scores.nan_to_num(0.0)
        return reward.expand(len(ids))

    def realness(self, ids: Tensor) -> Tensor:
        """The discriminator's part alone, (M,)."""
        with evaluating(self.discriminator):
            return torch.cat([self.loss.reward(self.discriminator(rows)) for rows in ids.split(ROWS_AT_ONCE)])

    def means(self) -> dict[str, float]:
        """Mean of every part by name since the last call; undefined values are left out, and all undefined is NaN."""
        means = {name: (total / count).item() for name, (total, count) in self._parts.items()}
        self._parts = {}
        return means

    def _note(self, name: str, scores: Tensor) -> Tensor:
        total, count = scores.nansum(), scores.isfinite().sum()
        if name in self._parts:
            total, count = total + self._parts[name][0], count + self._parts[name][1]
        self._parts[name] = total, count
        return scores
