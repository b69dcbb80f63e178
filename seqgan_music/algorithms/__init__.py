"""Algorithms: procedures that train, each readable from top to bottom like its paper.

An algorithm is a class with these members; one line here makes it known everywhere.

``Algorithm(parts: Parts, *, options)``
    Its keyword-only options are the settings of ``[algorithm]``.
``__iter__() -> Iterator[Record]``
    Trains, and yields after each epoch or round. It never logs, saves, prints or reads a clock. A new iteration goes on
    where the last one stopped.
``state_dict()``, ``load_state_dict(state)``
    Everything, between two records, that the rest of the training depends on beside `Parts`: nested dictionaries and
    lists of tensors and plain values.
``SCHEDULE``
    What the time of each phase depends on (`record.Phase`), in their order. An algorithm without it trains as well; how
    long it takes is then not said before it starts.
``discriminated``, ``steerable``
    Whether it trains a discriminator; whether its reward is `seqgan_music.rewards.Reward`, so that objectives can be
    paid. True where they are missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

    from seqgan_music.algorithms.record import Record
    from seqgan_music.dataset import Dataset
    from seqgan_music.graphs import Graphs
    from seqgan_music.losses import DiscriminatorLoss

ALGORITHMS = {
    "seqgan": "seqgan_music.algorithms.seqgan:SeqGAN",
    "mle": "seqgan_music.algorithms.pretraining:MaximumLikelihood",
    "naive_rl": "seqgan_music.algorithms.naive_rl:NaiveRL",
    "pg_bleu": "seqgan_music.algorithms.pg_bleu:PgBleu",
    "scheduled_sampling": "seqgan_music.algorithms.scheduled_sampling:ScheduledSampling",
    "random": "seqgan_music.algorithms.random:Random",
}


def _nothing_recorded() -> Graphs:
    from seqgan_music.graphs import Graphs  # which imports torch, and this module is read by every command

    return Graphs()


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What an algorithm works on.

    Parameters
    ----------
    generator : Module
        G_θ, on the device of the data set.
    discriminator : Module or None
        D_φ, likewise; None where none is trained.
    loss : DiscriminatorLoss
        What D_φ is trained by.
    reward : Reward, or MeasuredObjectives where the algorithm is not steerable
        Scores finished sequences; it holds the same discriminator. The other has no more than objectives to measure.
    dataset : Dataset
    rng : torch.Generator
        Draws everything, on the same device.
    graphs : Graphs, optional
        Records on that device what is done again and again; of its own accord nothing.
    """

    generator: Any
    discriminator: Any
    loss: DiscriminatorLoss
    reward: Any
    dataset: Dataset
    rng: torch.Generator
    graphs: Graphs = field(default_factory=_nothing_recorded)

    def state_dict(self) -> dict[str, Any]:
        """Weights of the networks, what the loss knows of their scores, and the state of the random numbers."""
        return {
            "generator": self.generator.state_dict(),
            **({} if self.discriminator is None else {"discriminator": self.discriminator.state_dict()}),
            "loss": self.loss.state_dict(),
            "rng": self.rng.get_state(),
            "device": self.rng.device.type,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s values."""
        self.generator.load_state_dict(state["generator"])
        if self.discriminator is not None:
            self.discriminator.load_state_dict(state["discriminator"])
        self.loss.load_state_dict(state.get("loss", {}))  # which older runs have not
        if state["device"] == self.rng.device.type:
            self.rng.set_state(state["rng"])
        else:  # another kind of device has another kind of state, and draws other numbers anyway
            digest = hashlib.sha256(state["rng"].numpy().tobytes()).digest()
            self.rng.manual_seed(int.from_bytes(digest[:7], "little"))


class Algorithm(Protocol):
    """What the rest of the program may ask of an algorithm; see the module's description."""

    def __iter__(self) -> Iterator[Record]:
        """Train, and yield after each epoch or round."""

    def state_dict(self) -> dict[str, Any]:
        """Everything the rest of the training depends on beside `Parts`."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
