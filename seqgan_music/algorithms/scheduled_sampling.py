"""Scheduled sampling (Bengio, Vinyals, Jaitly and Shazeer 2015, arXiv 1506.03099): likelihood training in which the
generator reads, ever more often, what it would itself have written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor

from seqgan_music import distributed
from seqgan_music.algorithms import Parts
from seqgan_music.algorithms.pretraining import (
    check_not_negative,
    check_positive,
    likelihood_epoch,
    negative_log_likelihood,
)
from seqgan_music.algorithms.record import Phase, Record
from seqgan_music.errors import UsageError
from seqgan_music.modes import evaluating, set_rng
from seqgan_music.optimizers import Adam
from seqgan_music.sampling import draw


class ScheduledSampling:
    """Likelihood training on inputs of which some are the generator's own.

    Each input token is the true one with probability ω, else one drawn from the generator given the inputs before it;
    what it is to predict are the true tokens all the same. Inputs are made first, without dropout and gradient, then
    read in one pass.

    All epochs are trained and the last weights kept. Held-out likelihood is that of true inputs, which is not what this
    aims at: the weights that are best by it are those of an ω near 1.

    Parameters
    ----------
    parts : Parts
    epochs : int
        Passes over the training part.
    batch_size : int
        B.
    learning_rate : float
        Of Adam.
    clip : float
        Largest norm of the gradient; 0 does not clip.
    omega_start, omega_decay, omega_least : float
        ω of the first epoch, what it falls by in each, and where it stays. With ω = 1 this is `MaximumLikelihood`, draw
        for draw.
    """

    SCHEDULE: ClassVar = {"mle": Phase("epochs", size="", clocked_with={"omega_start": 0.5, "omega_least": 0.0})}
    discriminated: ClassVar = False
    steerable: ClassVar = False

    def __init__(
        self,
        parts: Parts,
        *,
        epochs: int = 60,
        batch_size: int = 64,
        learning_rate: float = 2e-3,
        clip: float = 5.0,
        omega_start: float = 1.0,
        omega_decay: float = 0.002,
        omega_least: float = 0.0,
    ) -> None:
        check_positive("algorithm", epochs=epochs, batch_size=batch_size, learning_rate=learning_rate)
        check_not_negative("algorithm", clip=clip, omega_decay=omega_decay)
        if not 0 <= omega_least <= omega_start <= 1:
            raise UsageError(
                "algorithm.omega_least and omega_start are probabilities, the first not above the second; "
                f"not {omega_least!r} and {omega_start!r}"
            )
        self.parts = parts
        self.epochs, self.batch_size, self.clip = epochs, batch_size, clip
        self.omega_start, self.omega_decay, self.omega_least = omega_start, omega_decay, omega_least
        self.optimizer = Adam(parts.generator.parameters(), learning_rate)
        self.epoch = 0

    @property
    def omega(self) -> float:
        """ω of the next epoch."""
        return max(self.omega_least, self.omega_start - self.omega_decay * self.epoch)

    def __iter__(self) -> Iterator[Record]:
        """Train."""
        generator, dataset = self.parts.generator, self.parts.dataset
        set_rng(generator, self.parts.rng)
        while self.epoch < self.epochs:
            omega = self.omega
            loss = likelihood_epoch(
                self.parts, self.optimizer, self.batch_size, self.clip, None if omega == 1 else self.mixed
            )
            self.epoch += 1
            nll = negative_log_likelihood(generator, dataset.validation, dataset.pad_id)
            values = {"g_loss": loss, "nll_validation": nll, "omega": omega}
            yield Record("mle", self.epoch, self.epochs, values, self.epoch == self.epochs)

    def mixed(self, ids: Tensor, start: Tensor) -> Tensor:
        """Ids (B, T) to read in place of the true ones, with this epoch's ω.

        END is never drawn: a sequence that has ended is not read on, so there it would teach what never comes.
        """
        generator, end_id = self.parts.generator, self.parts.dataset.end_id
        read = ids.clone()  # the last token is no input
        shape = ids.shape[1] - 1, len(ids)
        true, uniform = torch.rand(2, *shape, generator=self.parts.rng, device=ids.device)
        mine = distributed.share(len(ids))
        replaced, uniform = (true >= self.omega)[:, mine], uniform[:, mine]
        read = read[mine]
        with evaluating(generator):
            token, state = start[mine], generator.start(len(read))
            for t in range(shape[0]):
                logits, state = generator.step(token, state)
                rows = replaced[t].nonzero()[:, 0]
                logits = logits[rows]
                if end_id >= 0:
                    logits[:, end_id] = -torch.inf
                read[rows, t] = draw(logits, uniform[t, rows])
                token = read[:, t]
        return distributed.gathered(read, len(ids))

    def state_dict(self) -> dict[str, Any]:
        """Optimiser and counter."""
        return {"optimizer": self.optimizer.state_dict(), "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s values."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch = state["epoch"]
