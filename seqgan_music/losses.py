"""Loss functions of the generator, pure functions of tensors; losses of the discriminator, and the rewards they give.

Equations are those of Yu et al. 2017 (arXiv 1609.05473) unless another paper is named.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from seqgan_music import distributed, jit, registry
from seqgan_music.errors import UsageError
from seqgan_music.modes import evaluating

if TYPE_CHECKING:
    from seqgan_music.generators import Generator

ROWS_AT_ONCE = 1024  # small enough for the discriminator's activations to stay in a processor's cache
ROWS_ON_A_GPU = 8192  # enough to keep it busy, and few enough for its memory
LOGITS_AT_ONCE = {"cpu": 2**20, "cuda": 2**28, "mps": 2**26}
"""Logits computed at once where not all are needed together; on a processor what its cache holds."""
NEVER = -1e30
"""In the place of a logit of −∞ where it is multiplied by a probability of 0."""


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


def likelihood_loss_of(generator: Generator, read: Tensor, start: Tensor, ids: Tensor, pad_id: int) -> Tensor:
    """`likelihood_loss` of a generator, where the vocabulary is wide without ever holding all its logits.

    Parameters
    ----------
    generator : Generator
    read : Tensor (B, T), int64
        The ids it reads: `ids` themselves, unless it is to be taught by others.
    start : Tensor (B,), int64
    ids : Tensor (B, T), int64
        The ids it is to predict.
    pad_id : int
        Steps with this id do not count; a value outside the vocabulary counts all.

    Returns
    -------
    Tensor, scalar
        In nats per token.
    """
    factors = _factors(generator, read, start)
    if factors is None:
        return likelihood_loss(generator(read, start), ids, pad_id)
    counted = (ids != pad_id).flatten()
    share = counted.to(factors[0].dtype) / counted.sum()
    loss: Tensor
    loss, _ = _LossInChunks.apply(*factors, ids.flatten() * counted, share)  # type: ignore[no-untyped-call]
    return loss


def log_prob_of(generator: Generator, ids: Tensor, start: Tensor, pad_id: int) -> Tensor:
    """`sequence_log_prob` (B, T) of a generator, without gradients, where the vocabulary is wide in chunks."""
    with torch.no_grad():
        factors = _factors(generator, ids, start)
        if factors is None:
            return sequence_log_prob(generator(ids, start), ids, pad_id)
        hidden, weight, bias = factors
        each = ids.flatten()
        chunks = [
            sequence_log_prob(F.linear(hidden[rows], weight, bias)[None], each[None, rows], pad_id)
            for rows in _chunks(hidden, weight)
        ]
        return torch.cat(chunks, 1).view_as(ids)


def _factors(generator: Any, ids: Tensor, start: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """A generator's `factors`, hidden as (B · T, H), if it has them and its logits are too many to be computed at
    once."""
    factors_of = registry.shortcut(generator, "factors", of="forward")
    if factors_of is None or ids.numel() * generator.vocab_size <= LOGITS_AT_ONCE[ids.device.type]:
        return None
    factors = factors_of(ids, start)
    if factors is None:
        return None
    hidden, weight, bias = factors
    return hidden.flatten(0, 1), weight, bias


def _chunks(hidden: Tensor, weight: Tensor) -> list[slice]:
    """Rows (M, H) to be taken at once."""
    rows = max(1, LOGITS_AT_ONCE[hidden.device.type] // len(weight))
    return [slice(first, first + rows) for first in range(0, len(hidden), rows)]


class _LossInChunks(torch.autograd.Function):
    """Σ worthᵢ · cross entropy of idsᵢ and the logits hiddenᵢ · weightᵀ + bias, and what a policy's loss adds to it.

    Its gradient is taken with it, while a chunk's logits are in the cache, and is a constant to autograd: there is no
    second derivative. PyTorch's own `linear_cross_entropy` does the same of the first term, but came with version 2.13,
    and its first call imports PyTorch's compiler.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        ids: Tensor,
        worth: Tensor,
        counted: Tensor | None = None,
        entropy_bonus: float = 0.0,
        kl: float = 0.0,
        reference: tuple[Tensor, Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The loss, a scalar, and the sums that `policy_loss_of` tells of.

        Hidden (M, H), weight (V, H), bias (V,), ids (M,), worth (M,). For a policy, counted (M,) is 1 where its entropy
        and divergence count and 0 elsewhere, and `reference` is hidden, weight and bias of what it is held to.
        """
        sums = hidden.new_zeros(3)
        of_hidden, of_weight, of_bias = torch.empty_like(hidden), torch.zeros_like(weight), torch.zeros_like(bias)
        finite = bias.clamp(min=NEVER)
        chunks = _chunks(hidden, weight)
        size = len(hidden[chunks[0]]), len(weight)
        place = hidden.new_empty(2 if reference is None else 3, *size)  # for all chunks: fresh memory is slow
        for rows in chunks:
            part, chosen, share = hidden[rows], ids[rows], worth[rows]
            logits, probability = place[0, : len(part)], place[1, : len(part)]
            torch.addmm(bias, part, weight.t(), out=logits)
            torch.softmax(logits, 1, out=probability)
            log_total = logits.amax(1) - probability.amax(1).log()
            surprise = log_total - logits.gather(1, chosen[:, None])[:, 0]
            sums[0] += torch.where(share == 0, 0.0, share * surprise).sum()
            mean_weight = torch.mm(probability, weight, out=of_hidden[rows])
            if counted is not None:
                mean_logit = (part * mean_weight).sum(1) + probability @ finite
                entropy = log_total - mean_logit
                sums[1] += (counted[rows] * entropy).sum()
            if counted is None or not (entropy_bonus or kl):
                # Of the logits: (probability − one-hot) · share.
                mean_weight.mul_(share[:, None])
                of_weight.addmm_(probability.t(), part * share[:, None])
                of_bias.addmv_(probability.t(), share)
            else:
                # And probability · (bonus · (log-probability + entropy) + kl · (log-ratio − divergence)).
                each = counted[rows]
                rest = share + entropy_bonus * each * (entropy - log_total)
                logits.clamp_(min=NEVER)
                change = logits.mul_(((entropy_bonus + kl) * each)[:, None])
                if reference is not None:
                    other = place[2, : len(part)]
                    torch.addmm(reference[2], reference[0][rows], reference[1].t(), out=other)
                    other.clamp_(min=NEVER)
                    other_total = other.logsumexp(1)
                    divergence = mean_logit - log_total - (probability * other).sum(1) + other_total
                    sums[2] += (each * divergence).sum()
                    rest += kl * each * (other_total - log_total - divergence)
                    change -= other.mul_(kl * each[:, None])
                gradient = probability.mul_(change.add_(rest[:, None]))
                torch.mm(gradient, weight, out=of_hidden[rows])
                of_weight.addmm_(gradient.t(), part)
                of_bias += gradient.sum(0)
            of_hidden[rows] -= weight[chosen] * share[:, None]
            of_weight.index_add_(0, chosen, part * -share[:, None])
            of_bias.index_add_(0, chosen, -share)
        ctx.save_for_backward(of_hidden, of_weight, of_bias)
        ctx.mark_non_differentiable(sums)
        return sums[0] - entropy_bonus * sums[1] + kl * sums[2], sums

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients that `forward` took, times that of its result."""
        return (*(outer[0] * gradient for gradient in ctx.saved_tensors), *[None] * 6)


def policy_loss_of(
    generator: Generator,
    ids: Tensor,
    start: Tensor,
    values: Tensor,
    mask: Tensor,
    *,
    entropy_bonus: float = 0.0,
    kl: float = 0.0,
    reference: Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """What a policy step descends on, where the vocabulary is wide without ever holding all its logits.

    Parameters
    ----------
    generator : Generator
        The policy.
    ids : Tensor (B, T), int64
        Sequences it drew.
    start : Tensor (B,), int64
    values : Tensor (B, T)
        Action values Q, or what is made of them, taken as constants.
    mask : Tensor (B, T), bool
        False for the PAD after END.
    entropy_bonus : float
        Weight of the policy's entropy.
    kl : float
        Weight of the divergence from `reference`.
    reference : Generator, optional
        What the policy is held to; left out, there is no divergence, whatever its weight.

    Returns
    -------
    loss : Tensor, scalar
        −Σ log G · Q − entropy_bonus · Σ entropy + kl · Σ KL(π ‖ π_ref), over the unmasked steps of all B sequences.
    sums : Tensor (3,)
        Σ −log G · Q, Σ entropy and Σ KL, in nats and without gradients.
    """
    kl = 0.0 if reference is None else kl
    factors, held = _factors(generator, ids, start), None
    if factors is not None and reference is not None and kl:
        with evaluating(reference):
            held = _factors(reference, ids, start)
    if factors is not None and (held is not None or not kl):
        worth = torch.where(mask, values.detach(), 0.0).flatten().to(factors[0].dtype)
        terms = (ids.flatten(), worth, mask.flatten().to(worth.dtype), entropy_bonus, kl, held)
        loss, sums = _LossInChunks.apply(*factors, *terms)  # type: ignore[no-untyped-call]
        return loss, sums
    logits = generator(ids, start)
    log_prob = logits.log_softmax(-1).gather(2, ids[:, :, None])[:, :, 0]
    surprise = len(ids) * policy_gradient_loss(log_prob, values, mask)
    entropy = mask.sum() * policy_entropy(logits if entropy_bonus else logits.detach(), mask)
    divergence = torch.zeros_like(entropy)
    if reference is not None and kl:
        with evaluating(reference):
            other = reference(ids, start)
        divergence = len(ids) * policy_divergence(logits, other, mask)
    loss = surprise - entropy_bonus * entropy + kl * divergence
    return loss, torch.stack([surprise, entropy, divergence]).detach()


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


def scores_of(discriminator: Any, ids: Tensor) -> Tensor:
    """Scores (M,) of finished sequences (M, T), in eval mode and without gradients."""
    with evaluating(discriminator):
        return torch.cat([discriminator(rows) for rows in ids.split(_rows_at_once(ids))])


def _rows_at_once(ids: Tensor) -> int:
    return ROWS_AT_ONCE if ids.device.type == "cpu" else ROWS_ON_A_GPU


def scores_in_search(discriminator: Any) -> Callable[[Tensor, range], Tensor]:
    """`scores_of` for as long as no weights change: of completions (t, n, B, T) of prefixes of some lengths, see
    ``for_search`` of `seqgan_music.discriminators`."""
    prepare = registry.shortcut(discriminator, "for_search", of="forward")
    shorter = prepare() if prepare else None

    def scores(lanes: Tensor, lengths: range) -> Tensor:
        if shorter is None:
            return scores_of(discriminator, lanes.flatten(0, 2)).view(lanes.shape[:3])
        rows = max(1, _rows_at_once(lanes) // lanes.shape[2])
        prefixes = max(1, rows // lanes.shape[1])
        begin = range(0, len(lanes), prefixes)
        parts = [
            (lengths[at : at + prefixes], part) for at in begin for part in lanes[at : at + prefixes].split(rows, 1)
        ]
        in_order = jit.each_in_a_thread if lanes.device.type == "cpu" else map
        with evaluating(discriminator):
            found = list(in_order(lambda part: shorter(part[1], part[0]), parts))
        of_one = len(parts) // len(begin)  # parts of a prefix
        return torch.cat([torch.cat(found[at : at + of_one], 1) for at in range(0, len(found), of_one)])

    return scores


class DiscriminatorLoss:
    """A loss to train a discriminator by, and how its score becomes a reward; one's own derive from it.

    Its keyword-only constructor arguments are the settings of ``[loss]``. On a CUDA GPU `loss`, `penalty` and
    `after_step` are recorded with the update they belong to (`seqgan_music.graphs`): they may depend on tensors, but on
    no other number that changes.

    Attributes
    ----------
    betas : (float, float)
        Of the discriminator's Adam.
    guessing : float, optional
        The loss of a discriminator that knows nothing.
    memorised : float, optional
        A loss below it, where other music is not told right, says that the training set is known by heart.
    """

    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)
    guessing: ClassVar[float | None] = None
    memorised: ClassVar[float | None] = None

    def loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Scalar loss of the scores of real and of generated sequences."""
        raise NotImplementedError

    def reward(self, score: Tensor) -> Tensor:
        """Scores as rewards in [0, 1]; above 0.5 a sequence is taken for real."""
        raise NotImplementedError

    def penalty(self, discriminator: Any, real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor:
        """What is added to the loss of a batch, ids (B, T) of each kind: what regularises the discriminator.

        Of a mean over the batch, several processes each compute a part, see `seqgan_music.distributed`: what it draws
        for the rows of a batch is to be drawn by `seqgan_music.distributed.rand`.
        """
        penalty: Tensor = discriminator.penalty()
        return penalty

    def after_step(self, discriminator: Any) -> None:
        """What follows each step of the optimiser."""

    def calibrate(self, discriminator: Any, real: Tensor, fake: Tensor) -> None:
        """Learn from the sequences (M, T) the discriminator was just trained on what its scores are worth."""

    def state_dict(self) -> dict[str, Any]:
        """What `calibrate` learnt, in plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s values."""


class BinaryCrossEntropy(DiscriminatorLoss):
    """Cross entropy, Eq. 5: −E log D(real) − E log(1 − D(fake)), halved to a mean over both; a score is D's logit."""

    guessing = math.log(2)
    memorised = 0.1

    def loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Scalar loss of the logits of real and of generated sequences."""
        return 0.5 * (F.softplus(-real).mean() + F.softplus(fake).mean())

    def reward(self, score: Tensor) -> Tensor:
        """D itself: the probability of being real."""
        return score.sigmoid()


class LeastSquares(DiscriminatorLoss):
    """Least squares: ½ E (D(real) − 1)² + ½ E D(fake)².

    Mao et al. 2017 (arXiv 1611.04076), Eq. 2 with a = 0 and b = 1. The score of the best discriminator is
    p_data / (p_data + p_G), as D is of cross entropy, so that a reward means the same.
    """

    guessing = 0.25
    memorised = 0.01  # each score 0.1 from what it should be, as with cross entropy

    def loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Scalar loss of the scores of real and of generated sequences."""
        return 0.5 * ((real - 1).square().mean() + fake.square().mean())

    def reward(self, score: Tensor) -> Tensor:
        """The score, cut off at 0 and 1."""
        return score.clamp(0.0, 1.0)


class Wasserstein(DiscriminatorLoss):
    """E D(fake) − E D(real), least where it is minus the Wasserstein distance, for a critic D whose slope is bounded.

    Arjovsky et al. 2017 (arXiv 1701.07875), Eq. 2. How the slope is bounded is said by the classes derived from this
    one; it takes the place of the discriminator's own penalty.

    A critic's score has no zero and no unit. Its reward is σ((score − middle) / spread): `middle` lies halfway between
    the mean scores of real and of generated sequences, `spread` is the standard deviation of both, pooled; measured on
    the sequences the critic was last trained on. Until then they are 0 and 1.
    """

    guessing = 0.0

    def __init__(self) -> None:
        self.middle, self.spread = 0.0, 1.0

    def loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Scalar loss of the scores of real and of generated sequences."""
        return fake.mean() - real.mean()

    def reward(self, score: Tensor) -> Tensor:
        """0.5 for a score halfway between those of real and of generated sequences."""
        return ((score - self.middle) / self.spread).sigmoid()

    def penalty(self, discriminator: Any, real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor:
        """None: it would draw the scores together, which have no scale to be drawn to."""
        return torch.zeros((), device=real.device)

    def calibrate(self, discriminator: Any, real: Tensor, fake: Tensor) -> None:
        """Measure `middle` and `spread`."""
        scores = []
        for ids in (real, fake):
            with distributed.batch(len(ids)) as rows:
                scores.append(distributed.gathered(scores_of(discriminator, ids[rows]), len(ids)))
        self.middle = sum(each.mean().item() for each in scores) / 2
        spread = math.sqrt(sum(each.var(correction=0).item() for each in scores) / 2)
        # Scores that are all alike differ by rounding alone, which is to be worth nothing.
        self.spread = spread if spread > 1e-6 * abs(self.middle) else 1.0

    def state_dict(self) -> dict[str, Any]:
        """Both measures."""
        return {"middle": self.middle, "spread": self.spread}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s values."""
        self.middle, self.spread = state["middle"], state["spread"]


class WassersteinGradientPenalty(Wasserstein):
    """Wasserstein critic whose slope is held near 1 by a penalty: weight · E (‖∇D(x)‖ − 1)².

    Gulrajani et al. 2017 (arXiv 1704.00028), Eq. 3, with their β₁ = 0 and β₂ = 0.9. x lies between a real and a
    generated sequence at a random place: both as rows of the vocabulary, one-hot, as in their experiment with text. The
    gradient is that with respect to these rows. That with respect to their embedding would bound nothing: the critic
    could stretch it.

    Parameters
    ----------
    weight : float
        Of the penalty.
    """

    betas = (0.0, 0.9)

    def __init__(self, *, weight: float = 10.0) -> None:
        super().__init__()
        if not 0 < weight < math.inf:
            raise UsageError(f"loss.weight must be above 0, not {weight!r}")
        self.weight = weight

    def penalty(self, discriminator: Any, real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor:
        """The gradient's distance from norm 1, squared, mean over the batch, weighted."""
        place = distributed.rand((len(real), 1, 1), rng, real.device)
        ends = [F.one_hot(ids, discriminator.vocab_size).to(place.dtype) for ids in (real, fake)]
        between = (place * ends[0] + (1 - place) * ends[1]).requires_grad_()
        scores = discriminator.score(discriminator.embed(between))
        (gradient,) = torch.autograd.grad(scores.sum(), between, create_graph=True)
        norm = (gradient.square().sum((1, 2)) + 1e-12).sqrt()  # or a gradient of 0 would have none of its own
        return self.weight * (norm - 1).square().mean()


class WassersteinClipping(Wasserstein):
    """Wasserstein critic whose slope is bounded by its weights: each is cut off at ±clip after every step.

    Arjovsky et al. 2017 (arXiv 1701.07875), Algorithm 1, which clips all weights. It has RMSProp, since momentum made
    critics unstable; Adam with β₁ = 0 is RMSProp with its bias corrected.

    Parameters
    ----------
    clip : float
        The largest weight.
    """

    betas = (0.0, 0.99)

    def __init__(self, *, clip: float = 0.01) -> None:
        super().__init__()
        if not 0 < clip < math.inf:
            raise UsageError(f"loss.clip must be above 0, not {clip!r}")
        self.clip = clip

    @torch.no_grad()
    def after_step(self, discriminator: Any) -> None:
        """Clip all weights."""
        for parameter in discriminator.parameters():
            parameter.clamp_(-self.clip, self.clip)


DISCRIMINATOR_LOSSES = {
    "bce": "seqgan_music.losses:BinaryCrossEntropy",
    "lsgan": "seqgan_music.losses:LeastSquares",
    "wgan-gp": "seqgan_music.losses:WassersteinGradientPenalty",
    "wgan-clip": "seqgan_music.losses:WassersteinClipping",
}
