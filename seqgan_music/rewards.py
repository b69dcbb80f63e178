"""What a finished sequence is worth: λ·D + (1 − λ)·ΣwᵢOᵢ/Σwᵢ, the second bridge between music and tensors.

With λ = 1 this is SeqGAN's reward (Yu et al. 2017, Eq. 2), with λ = 0 naive reinforcement learning, between them
ORGAN's (Guimaraes et al. 2017, arXiv 1705.10843).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from seqgan_music import distributed
from seqgan_music.errors import Failure, UsageError
from seqgan_music.losses import scores_in_search, scores_of
from seqgan_music.metrics.bleu import References
from seqgan_music.metrics.sequences import Sequences

if TYPE_CHECKING:
    from seqgan_music.dataset import Dataset
    from seqgan_music.discriminators import Discriminator
    from seqgan_music.losses import DiscriminatorLoss
    from seqgan_music.objectives.terms import Term
    from seqgan_music.rollout import PrefixReward
    from seqgan_music.tokenizers import Tokenizer

REAL_WINDOWS, REAL_PIECES = 2048, 128  # on which objectives are tried; the latter by functions of one piece
MELODIES_AT_ONCE = 2**13
"""Sequences whose notes are held together: they are far more numbers than their tokens."""
RESCALINGS = ("none", "batch")


class MeasuredObjectives:
    """Objectives that are measured and pay nothing: all that an algorithm has whose reward is none or its own.

    Parameters
    ----------
    tokenizer : Tokenizer, optional
        Reads ids as melodies.
    objectives : mapping of str to (Term, float), optional
        Objectives and their weights by name.

    Raises
    ------
    UsageError
        Objectives without a tokenizer of music.
    """

    discriminator: Discriminator | None = None
    steers = False

    def __init__(
        self, tokenizer: Tokenizer | None = None, objectives: Mapping[str, tuple[Term, float]] | None = None
    ) -> None:
        self.tokenizer = tokenizer
        self.objectives = dict(objectives or {})
        if self.objectives and not getattr(tokenizer, "musical", tokenizer is not None):
            raise UsageError("objectives score notes, and these sequences are not music")

    def measure(self, ids: Tensor, start: Tensor) -> dict[str, float]:
        """Of every objective, paid or not, the mean over sequences (M, T) for which it is defined, NaN if there are
        none, and the share for which it is not."""
        if not self.objectives:
            return {}
        assert self.tokenizer is not None
        melodies = self.tokenizer.melodies(ids, start)
        found = {}
        for name, (term, _) in self.objectives.items():
            values = term.value(melodies)
            found[f"objective_{name}"] = values.nanmean().item()
            found[f"undefined_{name}"] = values.isnan().float().mean().item()
        return found

    def on_real_music(self, data: Dataset, seed: int = 0) -> dict[str, dict[str, Any]]:
        """What objectives say of real music and of noise, which tells what their values on samples mean.

        Parameters
        ----------
        data : Dataset
            Some windows of its training part are looked at.
        seed : int
            Of the choice of windows and of the noise, uniform tokens.

        Returns
        -------
        dict
            Of each objective ``title``, ``description``, and the means ``real`` and ``noise`` of its values, None where
            there are none, and the share of windows for which it is ``undefined``.

        Raises
        ------
        UsageError
            An objective is undefined for all windows, so that nothing can be steered by it; or code outside the package
            fails on one.
        """
        found: dict[str, dict[str, Any]] = {}
        if not self.objectives:
            return found
        assert self.tokenizer is not None
        rng = torch.Generator().manual_seed(seed)
        rows = torch.randperm(len(data.train), generator=rng)[:REAL_WINDOWS].to(data.train.ids.device)
        ids, start = data.train[rows]
        drawable = torch.tensor([token for token in range(data.vocab_size) if token not in {*data.never, data.end_id}])
        noise = drawable[torch.randint(len(drawable), ids.shape, generator=rng)].to(ids.device)
        for name, (term, _) in self.objectives.items():
            most = REAL_PIECES if term.per_piece else len(ids)
            try:
                real, of_noise = (
                    term.value(self.tokenizer.melodies(rows[:most], start[:most])) for rows in (ids, noise)
                )
            except Failure as failure:
                raise UsageError(str(failure)) from failure
            if real.isnan().all():
                raise UsageError(
                    f"objective {name!r} is undefined for all of {len(real)} training windows, so nothing can be "
                    "steered by it; leave it out"
                )
            found[name] = {
                "title": term.title,
                "description": term.description,
                "real": real.nanmean().item(),
                "noise": None if of_noise.isnan().all() else of_noise.nanmean().item(),
                "undefined": real.isnan().float().mean().item(),
            }
        return found


class Reward(MeasuredObjectives):
    """The reward of finished sequences, and the running mean of each of its parts.

    Where an objective is not defined, its part is worth 0.

    Parameters
    ----------
    discriminator : Discriminator or None
        Not needed where λ is 0.
    loss : DiscriminatorLoss
        The loss the discriminator is trained with, which says how its score becomes a reward.
    tokenizer : Tokenizer, optional
        Reads ids as melodies, for the objectives.
    objectives : mapping of str to (Term, float), optional
        Objectives and their weights by name. With λ = 1 they are measured and pay nothing.
    lambda_ : float
        Share of the discriminator.
    uniqueness : bool
        Multiply a sequence's reward by the share of different sequences in its batch over its copies there, itself
        included, as ORGAN's authors do.
    rescale : "none" or "batch"
        "batch": stretch what each objective pays to [0, 1] within each batch, as ORGAN's authors do; a melody's worth
        then depends on its neighbours. Where all are worth the same nothing is stretched.
    lambda_schedule : sequence of (int, float)
        Rounds, counted from 0, and the λ at them; between them it goes in a straight line. In place of `lambda_`.
    programme : sequence of (int, sequence of str)
        For so many rounds these objectives alone pay, then those of the next entry; the last entry stays. Empty: all
        do, all the time.

    Raises
    ------
    UsageError
        λ outside [0, 1], negative weights or none above 0 where they are needed, or a schedule that makes no sense.

    Notes
    -----
    A batch is the B sequences of one roll-out and prefix, however many lanes are scored at once.
    """

    def __init__(
        self,
        discriminator: Discriminator | None,
        loss: DiscriminatorLoss,
        tokenizer: Tokenizer | None = None,
        objectives: Mapping[str, tuple[Term, float]] | None = None,
        lambda_: float = 1.0,
        *,
        uniqueness: bool = False,
        rescale: str = "none",
        lambda_schedule: Sequence[Sequence[Any]] = (),
        programme: Sequence[Sequence[Any]] = (),
    ) -> None:
        super().__init__(tokenizer, objectives)
        self.discriminator = discriminator
        self.loss = loss
        self.uniqueness, self.rescale = uniqueness, rescale
        weights = {name: weight for name, (_, weight) in self.objectives.items()}
        check(weights, lambda_, rescale, lambda_schedule, programme)
        self.schedule = [(int(at), float(value)) for at, value in lambda_schedule] or [(0, lambda_)]
        self.programme = [(int(rounds), list(names)) for rounds, names in programme]
        self._parts = _Means()
        ever = [value for _, value in self.schedule]
        if discriminator is None and max(ever) > 0:
            raise ValueError("lambda above 0 needs a discriminator")
        self.steers = min(ever) < 1  # whether objectives ever have a share
        self.begin_round(0)

    def begin_round(self, number: int) -> None:
        """Take λ and the paid objectives of a round, counted from 0."""
        self.lambda_ = _interpolated(self.schedule, number)
        names = self._paid_in(number)
        self.shares = {name: weight for name, (_, weight) in self.objectives.items() if name in names and weight > 0}

    def __call__(self, ids: Tensor, group: Tensor, start: Tensor) -> Tensor:
        """Rewards of finished sequences.

        Parameters
        ----------
        ids : Tensor (M, T), int64
        group : Tensor (M,), int64
            One number below M for the B sequences of one roll-out and prefix, for parts that look at a batch.
        start : Tensor (M,), int64

        Returns
        -------
        Tensor (M,)
            In [0, 1].
        """
        return self._worth(ids, group, start, self.realness)

    def for_search(self, ids: Tensor, start: Tensor) -> PrefixReward:
        """The same for completions of the prefixes of sequences ids (B, T), for as long as no weights change."""
        scores = scores_in_search(self.discriminator) if self.lambda_ > 0 else None

        def worth(lanes: Tensor, lengths: range, group: Tensor, start: Tensor) -> Tensor:
            def realness(ids: Tensor) -> Tensor:
                assert scores is not None
                return self.loss.reward(scores(lanes, lengths)).flatten()

            return self._worth(lanes.flatten(0, 2), group, start, realness).view(lanes.shape[:3])

        return worth

    def _worth(self, ids: Tensor, group: Tensor, start: Tensor, realness: Callable[[Tensor], Tensor]) -> Tensor:
        reward = torch.zeros((), device=ids.device)
        if self.lambda_ > 0:
            reward = reward + self.lambda_ * self._parts.note("discriminator", realness(ids))
        if self.lambda_ < 1:
            total = sum(self.shares.values())
            for (name, weight), paid in zip(self.shares.items(), self._paid(ids, start), strict=True):
                if self.rescale == "batch":
                    paid = stretched(paid, group)
                self._parts.note(name, paid)
                reward = reward + (1 - self.lambda_) * weight / total * paid
        return reward * uniqueness(ids, group) if self.uniqueness else reward

    def _paid(self, ids: Tensor, start: Tensor) -> list[Tensor]:
        """What each of the paid objectives pays for sequences (M, T), (M,)."""
        assert self.tokenizer is not None
        parts = []
        for first in range(0, len(ids), MELODIES_AT_ONCE):
            some = slice(first, first + MELODIES_AT_ONCE)
            melodies = self.tokenizer.melodies(ids[some], start[some])
            parts.append([self.objectives[name][0](melodies).nan_to_num(0.0) for name in self.shares])
        return [torch.cat(each) for each in zip(*parts, strict=True)]

    def realness(self, ids: Tensor) -> Tensor:
        """The discriminator's part alone, (M,)."""
        discriminator = self.discriminator
        assert discriminator is not None
        return self.loss.reward(scores_of(discriminator, ids))

    def means(self) -> dict[str, float]:
        """Mean of what every part was worth since the last call as ``reward_NAME``, if there are objectives; before
        shares and copies are counted."""
        means = self._parts.take()
        return means if self.objectives else {}

    def _paid_in(self, number: int) -> list[str]:
        names = list(self.objectives)
        for rounds, paid in self.programme:
            names = paid
            if number < rounds:
                break
            number -= rounds
        return names


class BleuReward:
    """BLEU of finished sequences against all windows of the training part: the reward of PG-BLEU.

    Of the tokens before END, whatever they mean: in music a token is what the tokenizer makes of a note or a time step,
    not a note event, which is what an evaluation counts. Smoothed as there, see `seqgan_music.metrics.bleu`. A sequence
    without a token is worth 0.

    Parameters
    ----------
    data : Dataset
    n : int
        Longest n-gram.
    measured : MeasuredObjectives
        What is measured beside it.

    Raises
    ------
    UsageError
        `n` is below 1.
    """

    discriminator = None
    steers = False

    def __init__(self, data: Dataset, n: int, measured: MeasuredObjectives) -> None:
        if n < 1:
            raise UsageError(f"algorithm.bleu_n must be at least 1, not {n!r}")
        self.data, self.n = data, n
        self.measure = measured.measure
        self._parts = _Means()

    def begin_round(self, number: int) -> None:
        """Every round is like the others."""

    def __call__(self, ids: Tensor, group: Tensor, start: Tensor) -> Tensor:
        """Rewards (M,), in [0, 1], of finished sequences (M, T); they are `Reward`'s arguments."""
        bleu = torch.from_numpy(np.nan_to_num(self._references.bleu(self._words(ids))[:, -1]))
        return self._parts.note("bleu", bleu.to(torch.get_default_dtype()).to(ids.device))

    def means(self) -> dict[str, float]:
        """``reward_bleu``: mean of every sequence since the last call."""
        return self._parts.take()

    @functools.cached_property
    def _references(self) -> References:
        """Counted at the first use, for a run is built more often than it is trained."""
        return References(self._words(self.data.train.ids), self.n)

    def _words(self, ids: Tensor) -> Sequences:
        rows = ids.cpu().numpy()
        return Sequences(rows, (~((rows == self.data.end_id) | (rows == self.data.pad_id))).cumprod(1).sum(1))


class _Means:
    """Running means by name."""

    def __init__(self) -> None:
        self.sums: dict[str, tuple[Tensor, int]] = {}

    def note(self, name: str, scores: Tensor) -> Tensor:
        """Count scores (M,) in, and give them."""
        # Sums of so many bits are the same in whatever parts they are taken; MPS has none.
        wide = torch.float32 if scores.device.type == "mps" else torch.float64
        total, count = scores.to(wide).sum(), len(scores)
        if name in self.sums:
            total, count = total + self.sums[name][0], count + self.sums[name][1]
        self.sums[name] = total, count
        return scores

    def take(self) -> dict[str, float]:
        """The mean of everything since the last call as ``reward_NAME``."""
        totals = distributed.summed_numbers({name: total.item() for name, (total, _) in self.sums.items()})
        counts = distributed.summed_numbers({name: count for name, (_, count) in self.sums.items()})
        means = {f"reward_{name}": total / counts[name] for name, total in totals.items()}
        self.sums = {}
        return means


def lambdas(section: Mapping[str, Any]) -> list[float]:
    """Every λ that the settings ``[reward]`` name.

    Examples
    --------
    >>> lambdas({"lambda": 0.5, "lambda_schedule": []}), lambdas({"lambda_schedule": [[0, 1.0], [10, 0.5]]})
    ([0.5], [1.0, 0.5])

    Raises
    ------
    UsageError
        A schedule that makes no sense.
    """
    return [value for _, value in _checked_schedule(section.get("lambda_schedule", ()))] or [section["lambda"]]


def check_rounds(rounds: int, lambda_schedule: Sequence[Sequence[Any]], programme: Sequence[Sequence[Any]]) -> None:
    """Refuse a schedule or programme of which something never comes, for there are too few rounds.

    Raises
    ------
    UsageError
    """
    only = f"there {'is' if rounds == 1 else 'are'} {rounds} round{'' if rounds == 1 else 's'}"
    if lambda_schedule and lambda_schedule[-1][0] >= max(rounds, 1):
        raise UsageError(
            f"reward.lambda_schedule ends in round {lambda_schedule[-1][0]}, counted from 0, but {only}; "
            "take more rounds (or --minutes), or a shorter schedule"
        )
    begins = sum(of for of, _ in programme[:-1])
    if programme and begins >= max(rounds, 1):
        raise UsageError(
            f"reward.programme: {', '.join(programme[-1][1])} would begin after {begins} rounds, but {only}; "
            "take more rounds (or --minutes), or a shorter programme"
        )


def uniqueness(ids: Tensor, group: Tensor) -> Tensor:
    """Share of different sequences in a sequence's batch over its copies there, itself included.

    Parameters
    ----------
    ids : Tensor (M, T), int64
    group : Tensor (M,), int64
        Numbers of the batches, below M.

    Returns
    -------
    Tensor (M,)
        In (0, 1]; 1 where all are different.

    Notes
    -----
    Guimaraes et al. 2017 (arXiv 1705.10843).
    """
    rows = torch.cat([group[:, None], ids], 1)
    # Equal rows have equal hashes, and of 2^64 hashes others practically never; comparing whole rows takes far longer.
    steps = torch.arange(1, rows.shape[1] + 1, device=ids.device)
    hashes = _scrambled(rows + _scrambled(steps)).sum(1)
    _, which, counts = hashes.unique(return_inverse=True, return_counts=True)
    copies = counts[which].to(torch.get_default_dtype())
    zeros = torch.zeros_like(copies)
    share = zeros.scatter_add(0, group, 1 / copies) / zeros.scatter_add(0, group, torch.ones_like(copies))
    penalty: Tensor = share[group] / copies
    return penalty


def stretched(values: Tensor, group: Tensor) -> Tensor:
    """Values (M,) stretched to [0, 1] within each batch of `group` (M,); a batch of equal values stays as it is."""
    room = values.new_zeros(len(values))
    lowest = room.scatter_reduce(0, group, values, "amin", include_self=False)[group]
    highest = room.scatter_reduce(0, group, values, "amax", include_self=False)[group]
    width = highest - lowest
    return torch.where(width > 0, (values - lowest) / torch.where(width > 0, width, 1.0), values)


def check(
    weights: Mapping[str, float],
    lambda_: float,
    rescale: str = "none",
    lambda_schedule: Sequence[Sequence[Any]] = (),
    programme: Sequence[Sequence[Any]] = (),
) -> None:
    """Refuse a reward that cannot be meant.

    Parameters
    ----------
    weights : mapping of str to float
        Of the objectives.
    lambda_, rescale, lambda_schedule, programme
        See `Reward`.

    Raises
    ------
    UsageError
    """
    if not 0 <= lambda_ <= 1:
        raise UsageError(f"lambda must lie in [0, 1], not {lambda_!r}")
    for name, weight in weights.items():
        if not 0 <= weight < math.inf:
            raise UsageError(f"the weight of objective {name!r} must not be negative or infinite, but is {weight!r}")
    if weights and not any(weights.values()):
        raise UsageError("all weights of the objectives are 0; give one a weight above 0, or leave them out")
    points = _checked_schedule(lambda_schedule)
    if min([value for _, value in points] or [lambda_]) < 1 and not any(weights.values()):
        raise UsageError("lambda below 1 needs an objective with a weight above 0; give one, or leave lambda at 1")
    if rescale not in RESCALINGS:
        raise UsageError(f"reward.rescale must be one of {', '.join(RESCALINGS)}, not {rescale!r}")
    for entry in programme:
        if not (
            isinstance(entry, Sequence)
            and len(entry) == 2
            and _whole(entry[0])
            and entry[0] > 0
            and isinstance(entry[1], Sequence)
            and not isinstance(entry[1], str)
            and all(isinstance(name, str) for name in entry[1])
            and len(set(entry[1])) == len(entry[1])
        ):
            raise UsageError(
                f"reward.programme must be pairs of a number of rounds and a list of objectives, such as "
                f'[[10, ["tonality"]], [10, ["melodicity"]]], not {list(programme)!r}'
            )
        for name in entry[1]:
            if name not in weights:
                raise UsageError(
                    f"reward.programme names {name!r}, which is no objective of this run; it has: {', '.join(weights)}"
                )
        if not sum(weights[name] for name in entry[1]) > 0:
            raise UsageError(f"reward.programme: {entry[1]!r} have no weight above 0 for {entry[0]} rounds")


def _checked_schedule(points: Sequence[Sequence[Any]]) -> list[tuple[int, float]]:
    for point in points if isinstance(points, Sequence) else [points]:
        if not (
            isinstance(point, Sequence)
            and len(point) == 2
            and _whole(point[0])
            and point[0] >= 0
            and isinstance(point[1], int | float)
            and 0 <= point[1] <= 1
        ):
            raise UsageError(
                "reward.lambda_schedule must be pairs of a round, counted from 0, and a lambda in [0, 1], such as "
                f"[[0, 1.0], [10, 0.5]], not {points!r}"
            )
    rounds = [point[0] for point in points]
    if rounds != sorted(set(rounds)):
        raise UsageError(f"reward.lambda_schedule must have its rounds in ascending order, not {rounds}")
    return [(at, value) for at, value in points]


def _interpolated(points: Sequence[tuple[int, float]], at: int) -> float:
    """The value at a place between points, on a straight line; outside of them that of the nearest."""
    before = [point for point in points if point[0] <= at]
    after = [point for point in points if point[0] > at]
    if not before or not after:
        return (before[-1] if before else after[0])[1]
    (first, low), (last, high) = before[-1], after[0]
    return low + (high - low) * (at - first) / (last - first)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _scrambled(numbers: Tensor) -> Tensor:
    """Whole numbers as far apart as random ones (the finaliser of splitmix64; products wrap)."""
    mixed = (numbers ^ (numbers >> 30)) * -4658895280553007687
    mixed = (mixed ^ (mixed >> 27)) * -7723592293110705685
    return mixed ^ (mixed >> 31)
