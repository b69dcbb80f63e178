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


BASELINES = ("none", "mean", "prefix")


def advantages(values: Tensor, mask: Tensor, *, baseline: str = "none", normalize: bool = False) -> Tensor:
    """Action values less what was to be expected, which leaves the policy gradient's mean and lessens its variance.

    Parameters
    ----------
    values : Tensor (B, T)
        Action values Q(Y_{1:t-1}, y_t).
    mask : Tensor (B, T), bool
        False for the PAD after END; there the result means nothing.
    baseline : "none", "mean" or "prefix"
        What is taken off (Williams 1992). "none": nothing, as in Eq. 7. "mean": the mean over the batch at the same
        step. "prefix": the value of the state, for which stands the action value of the step before, since it completes
        that very prefix and does not know y_t; at the first step the mean.
    normalize : bool
        Divide by the standard deviation over all unmasked steps.

    Returns
    -------
    Tensor (B, T)
    """
    if baseline not in BASELINES:
        raise ValueError(f"baseline must be one of {', '.join(BASELINES)}, not {baseline!r}")
    if baseline != "none":
        mean = torch.where(mask, values, 0.0).sum(0) / mask.sum(0).clamp(min=1)  # (T,)
        expected = mean.expand_as(values)
        if baseline == "prefix":
            expected = torch.cat([expected[:, :1], values[:, :-1]], 1)
        values = values - expected
    if normalize:
        count = mask.sum()
        centre = torch.where(mask, values, 0.0).sum() / count
        variance = torch.where(mask, (values - centre).square(), 0.0).sum() / count
        values = values / variance.sqrt().clamp(min=1e-8)  # all alike: nothing to learn, whatever divides it
    return values


def policy_divergence(logits: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """KL(π ‖ π_ref) in nats at each unmasked step, their sum ÷ B; 0 elsewhere.

    KL control (Jaques et al. 2017, arXiv 1611.02796) takes log(π / π_ref) of the drawn token off its reward. Its mean
    over the tokens is this number, which is exact where that is a sample.

    Parameters
    ----------
    logits, reference : Tensor (B, T, V)
        Of the policy and of the one it is held to; −∞ in both or in neither.
    mask : Tensor (B, T), bool

    Returns
    -------
    Tensor, scalar
    """
    log_prob = logits.log_softmax(-1)
    ratio = torch.where(log_prob.isinf(), 0.0, log_prob - reference.log_softmax(-1))
    each = (log_prob.exp() * ratio).sum(-1)
    return torch.where(mask, each, 0.0).sum() / len(mask)


def policy_entropy(logits: Tensor, mask: Tensor) -> Tensor:
    """Mean entropy in nats of the policy over the unmasked steps; logits (B, T, V), mask (B, T)."""
    log_prob = logits.log_softmax(-1)
    finite = torch.where(log_prob.isinf(), 0.0, log_prob)  # or −∞ would reach the gradient
    entropy = -(log_prob.exp() * finite).sum(-1)
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
