"""Lines 2, 4 and 5 of Algorithm 1: pre-training of the generator by likelihood, of the discriminator by cross
entropy."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor

from seqgan_music import distributed
from seqgan_music.algorithms import Parts
from seqgan_music.algorithms.record import Phase, Record
from seqgan_music.dataset import Windows
from seqgan_music.errors import UsageError
from seqgan_music.graphs import Graphs, state_of_training
from seqgan_music.losses import likelihood_loss_of, log_prob_of
from seqgan_music.modes import evaluating, set_rng
from seqgan_music.optimizers import Adam
from seqgan_music.sampling import sample

ROWS_AT_ONCE = 256
HELD_OUT = 512
"""Validation sequences, and as many fresh samples, by which a round is judged."""


class MaximumLikelihood:
    """Train a generator by maximum likelihood, and keep the weights that fit the validation part best.

    The weights it begins with count too: a generator that was trained before is never left worse. Without `patience`
    nothing is looked at: all epochs are trained, and the last weights kept, as in the program of SeqGAN's authors.

    Parameters
    ----------
    parts : Parts
    epochs : int
        The most passes over the training part.
    patience : int
        Stop after so many epochs without a better validation likelihood; 0 never stops and keeps the last weights.
    batch_size : int
        B.
    learning_rate : float
        Of Adam.
    clip : float
        Largest norm of the gradient; 0 does not clip.
    """

    SCHEDULE: ClassVar = {"mle": Phase("epochs", size="")}
    discriminated: ClassVar = False
    steerable: ClassVar = False

    def __init__(
        self,
        parts: Parts,
        *,
        epochs: int = 60,
        patience: int = 3,
        batch_size: int = 64,
        learning_rate: float = 2e-3,
        clip: float = 5.0,
    ) -> None:
        check_positive("algorithm", epochs=epochs, batch_size=batch_size, learning_rate=learning_rate)
        check_not_negative("algorithm", patience=patience, clip=clip)
        self.parts = parts
        self.epochs, self.patience, self.batch_size, self.clip = epochs, patience, batch_size, clip
        self.optimizer = Adam(parts.generator.parameters(), learning_rate)
        self.epoch = 0
        self.best_epoch = 0
        self.best_nll = float("inf")
        self.best_weights: dict[str, Tensor] = {}
        self.completed = False

    def __iter__(self) -> Iterator[Record]:
        """Train; the last record is of the epoch after which it stopped, with the best weights in place."""
        generator, dataset = self.parts.generator, self.parts.dataset
        set_rng(generator, self.parts.rng)
        if self.epoch == 0 and self.patience:
            self._keep_if_best(negative_log_likelihood(generator, dataset.validation, dataset.pad_id))
        while not self.completed:
            loss = likelihood_epoch(self.parts, self.optimizer, self.batch_size, self.clip)
            self.epoch += 1
            nll = negative_log_likelihood(generator, dataset.validation, dataset.pad_id)
            if self.patience:
                self._keep_if_best(nll)
            waited = self.patience and self.epoch - self.best_epoch >= self.patience
            self.completed = self.epoch >= self.epochs or bool(waited)
            if self.completed and self.best_weights:
                generator.load_state_dict(self.best_weights)
            values = {"g_loss": loss, "nll_validation": nll}
            yield Record("mle", self.epoch, self.epochs, values, self.completed)

    def _keep_if_best(self, nll: float) -> None:
        if nll < self.best_nll:
            self.best_epoch, self.best_nll = self.epoch, nll
            self.best_weights = copy.deepcopy(self.parts.generator.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Optimiser, counters and the best weights so far."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best_nll": self.best_nll,
            "best_weights": self.best_weights,
            "completed": self.completed,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s values."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.best_epoch = state["epoch"], state["best_epoch"]
        self.best_nll, self.best_weights = state["best_nll"], state["best_weights"]
        self.completed = state["completed"]


class DiscriminatorTraining:
    """Train a discriminator on sets of real and of freshly generated sequences.

    Parameters
    ----------
    parts : Parts
    sets : int
        Sets of fresh negatives in the pre-training.
    epochs : int
        Passes over each set.
    samples : int
        Real sequences in a set, and as many generated ones; 0 takes the whole training part.
    batch_size : int
        Real sequences in a batch, and as many generated ones.
    learning_rate : float
        Of Adam, which has the betas of the loss.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        sets: int,
        epochs: int,
        samples: int,
        batch_size: int,
        learning_rate: float,
    ) -> None:
        self.parts = parts
        self.sets, self.epochs, self.samples, self.batch_size = sets, epochs, samples, batch_size
        self.optimizer = Adam(parts.discriminator.parameters(), learning_rate, parts.loss.betas)
        self.set = 0

    def __iter__(self) -> Iterator[Record]:
        """Pre-train: one record for each set of fresh negatives."""
        while self.set < self.sets:
            loss = self.train_on_fresh_set(self.epochs)
            self.set += 1
            accuracy, _, _ = self.accuracy()
            values = {"d_loss": loss, "d_accuracy": accuracy}
            yield Record("discriminator", self.set, self.sets, values, self.set == self.sets)

    def train_on_fresh_set(self, epochs: int) -> float:
        """Use the current G_θ to make negatives, combine them with positives, train D_φ on them; mean loss."""
        dataset, rng = self.parts.dataset, self.parts.rng
        real, start = dataset.train.random(self.samples or len(dataset.train), rng)
        fake = generate(self.parts, start)
        loss = sum(self.train_epoch(real, fake) for _ in range(epochs)) / epochs
        self.parts.loss.calibrate(self.parts.discriminator, real, fake)
        return loss

    def train_epoch(self, real: Tensor, fake: Tensor) -> float:
        """Train D_φ for one pass over as many real as generated sequences (M, T); mean loss."""
        discriminator, rng = self.parts.discriminator, self.parts.rng
        set_rng(discriminator, rng)
        discriminator.train()
        total, count = torch.zeros((), device=real.device), 0
        graphs, state = _graphs(self.parts), functools.partial(state_of_training, discriminator, self.optimizer)
        orders = [
            torch.randperm(len(ids), generator=rng, device=ids.device).split(self.batch_size) for ids in (real, fake)
        ]
        for of_real, of_fake in zip(*orders, strict=True):
            loss = graphs.run("update of D", self._update, real[of_real], fake[of_fake], state=state)
            total, count = total + loss, count + 1
        return total.item() / count

    def _update(self, real: Tensor, fake: Tensor) -> Tensor:
        """One step on as many real as generated sequences (B, T); the loss."""
        discriminator, criterion = self.parts.discriminator, self.parts.loss
        size = len(real)
        with distributed.batch(size, kinds=2) as rows:
            some_real, some_fake = real[rows], fake[rows]
            scores = discriminator(torch.cat([some_real, some_fake]))
        # The loss may be any function of all scores, so it is that of the whole batch; others' are constants here.
        scores = distributed.gathered(scores, size, kinds=2)
        loss = criterion.loss(scores[:size], scores[size:])
        with distributed.batch(size):
            penalty = criterion.penalty(discriminator, some_real, some_fake, self.parts.rng)
        descend(self.optimizer, loss + distributed.part(size) * penalty, discriminator, clip=0.0)
        criterion.after_step(discriminator)
        return loss.detach()

    def accuracy(self) -> tuple[float, Tensor, Tensor]:
        """Share of held-out real and of fresh generated sequences that D_φ tells right; the latter sequences and their
        start tokens."""
        dataset = self.parts.dataset
        real, start = dataset.validation.random(min(HELD_OUT, len(dataset.validation)), self.parts.rng)
        fake = generate(self.parts, start)

        def rewards(ids: Tensor) -> Tensor:
            with distributed.batch(len(ids)) as rows:
                return distributed.gathered(self.parts.reward.realness(ids[rows]), len(ids))

        right = torch.cat([rewards(real) > 0.5, rewards(fake) < 0.5])
        return right.float().mean().item(), fake, start

    def state_dict(self) -> dict[str, Any]:
        """Optimiser and counter."""
        return {"optimizer": self.optimizer.state_dict(), "set": self.set}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s values."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.set = state["set"]


def likelihood_epoch(
    parts: Parts,
    optimizer: torch.optim.Optimizer,
    batch_size: int,
    clip: float,
    inputs: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> float:
    """One pass over the training part, towards its tokens; mean loss of its batches.

    `inputs` makes, of ids (B, T) and start tokens (B,), the ids that the generator reads in place of the true ones.
    """
    generator, dataset = parts.generator, parts.dataset
    total, count = torch.zeros((), device=dataset.train.ids.device), 0
    learn = functools.partial(likelihood_step, generator, optimizer, clip, pad_id=dataset.pad_id)
    graphs, state = _graphs(parts), functools.partial(state_of_training, generator, optimizer)
    for ids, start in dataset.train.batches(batch_size, parts.rng):
        read = ids if inputs is None else inputs(ids, start)
        loss = graphs.run(("likelihood", id(optimizer), clip), learn, read, start, ids, state=state)
        total, count = total + loss, count + 1
    return distributed.summed(total).item() / count


def likelihood_step(
    generator: Any,
    optimizer: torch.optim.Optimizer,
    clip: float,
    read: Tensor,
    start: Tensor,
    ids: Tensor,
    pad_id: int,
) -> Tensor:
    """One step of likelihood training on a batch, see `seqgan_music.losses.likelihood_loss_of`.

    Returns
    -------
    Tensor, scalar
        The loss; where several processes share the batch, this one's part of it.
    """
    generator.train()
    with distributed.batch(len(ids)) as rows:
        loss = likelihood_loss_of(generator, read[rows], start[rows], ids[rows], pad_id)
    if distributed.size() > 1:  # the mean is over tokens, of which each share has another number
        counted = ids != pad_id
        loss = loss * counted[distributed.share(len(ids))].sum() / counted.sum()
    descend(optimizer, loss, generator, clip)
    return loss.detach()


def generate(parts: Parts, start: Tensor) -> Tensor:
    """Sequences (B, T) of the current G_θ with start tokens (B,)."""
    dataset = parts.dataset
    return sample(
        parts.generator,
        start,
        dataset.length,
        parts.rng,
        end_id=dataset.end_id,
        pad_id=dataset.pad_id,
        graphs=parts.graphs,
    )


def _graphs(parts: Parts) -> Graphs:
    """What may record an update: nothing where gradients go from process to process, which not every engine can do in a
    graph."""
    return parts.graphs if distributed.size() == 1 else Graphs()


def descend(optimizer: torch.optim.Optimizer, loss: Tensor, network: torch.nn.Module, clip: float) -> None:
    """One step of gradient descent on a loss, the gradient's norm clipped to `clip` unless that is 0."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    step(optimizer, network, clip)


def step(optimizer: torch.optim.Optimizer, network: torch.nn.Module, clip: float) -> None:
    """One step along the gradients there are, their norm clipped to `clip` unless that is 0.

    Where several processes share a batch, the gradients are those of their shares and are summed here.
    """
    distributed.sum_gradients(network.parameters())
    if clip:
        torch.nn.utils.clip_grad_norm_(network.parameters(), clip)
    optimizer.step()


def negative_log_likelihood(generator: Any, windows: Windows, pad_id: int, limit: int = 2048) -> float:
    """−log G per token, in nats, of the first `limit` windows: the weight of a window is its number of tokens."""
    total, count = 0.0, 0
    mine = distributed.share(min(len(windows), limit))
    with evaluating(generator):
        for first in range(mine.start, mine.stop, ROWS_AT_ONCE):
            ids, start = windows[slice(first, min(first + ROWS_AT_ONCE, mine.stop))]
            total -= log_prob_of(generator, ids, start, pad_id).sum().item()
            count += int((ids != pad_id).sum())
    sums = distributed.summed_numbers({"total": total, "count": count})
    return sums["total"] / sums["count"]


def check_not_negative(section: str, **values: float) -> None:
    """Refuse options that must be 0 or more.

    Raises
    ------
    UsageError
    """
    for name, value in values.items():
        if not value >= 0:
            raise UsageError(f"{section}.{name} must be 0 or more, not {value!r}")


def check_positive(section: str, **values: float) -> None:
    """Refuse options that must be above 0.

    Raises
    ------
    UsageError
    """
    for name, value in values.items():
        if not value > 0:
            raise UsageError(f"{section}.{name} must be above 0, not {value!r}")
