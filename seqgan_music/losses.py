"""Loss functions of the generator and of the discriminator: pure functions of tensors.

Equations are those of Yu et al. 2017 (arXiv 1609.05473).
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


def likelihood_loss(logits: Tensor, ids: Tensor, pad_id: int) -> Tensor:
    """Mean negative log-likelihood per token, without PAD.

    Parameters
    ----------
    logits : Tensor (B, T, V)
    ids : Tensor (B, T), int64
    pad_id : int
        Steps with this id do not count; a value outside the vocabulary counts all.

    Returns
    -------
    Tensor, scalar
        In nats per token.
    """
    return F.cross_entropy(logits.flatten(0, 1), ids.flatten(), ignore_index=pad_id)


def sequence_log_prob(logits: Tensor, ids: Tensor, pad_id: int) -> Tensor:
    """Log-probability (B, T) of every token, 0 for PAD."""
    losses = F.cross_entropy(logits.flatten(0, 1), ids.flatten(), ignore_index=pad_id, reduction="none")
    return -losses.view_as(ids)


def policy_gradient_loss(log_prob: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """The loss whose gradient is −∇J of Eq. 7.

    Parameters
    ----------
    log_prob : Tensor (B, T)
        log G_θ(y_t | Y_{1:t-1}).
    values : Tensor (B, T)
        Action values Q, taken as constants.
    mask : Tensor (B, T), bool
        False for the PAD after END.

    Returns
    -------
    Tensor, scalar
        −Σ log G · Q over the unmasked steps, ÷ B.
    """
    return -torch.where(mask, log_prob * values.detach(), 0.0).sum() / len(log_prob)


def policy_entropy(logits: Tensor, mask: Tensor) -> Tensor:
    """Mean entropy in nats of the policy over the unmasked steps; logits (B, T, V), mask (B, T)."""
    log_prob = logits.log_softmax(-1)
    entropy = -torch.where(log_prob.isinf(), 0.0, log_prob.exp() * log_prob).sum(-1)
    return torch.where(mask, entropy, 0.0).sum() / mask.sum()


class DiscriminatorLoss(Protocol):
    """A loss to train a discriminator by, and how its score becomes a reward."""

    def loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Scalar loss of the scores of real and of generated sequences."""

    def reward(self, score: Tensor) -> Tensor:
        """Scores as rewards in [0, 1]."""


class BinaryCrossEntropy:
    """Eq. 5: −E log D(real) − E log(1 − D(fake)), halved to a mean over both; a score is the logit of D."""

    def loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Scalar loss of the logits of real and of generated sequences."""
        return 0.5 * (F.softplus(-real).mean() + F.softplus(fake).mean())

    def reward(self, score: Tensor) -> Tensor:
        """D itself: the probability of being real."""
        return score.sigmoid()


DISCRIMINATOR_LOSSES = {
    "bce": "seqgan_music.losses:BinaryCrossEntropy",
}
