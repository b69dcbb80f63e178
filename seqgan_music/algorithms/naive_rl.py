"""Naive reinforcement learning: ORGAN (Guimaraes et al. 2017, arXiv 1705.10843) with λ = 0.

The reward is made of objectives alone. No discriminator is built or trained, and nothing holds the samples to real
music but what the pre-training left in the weights, and KL control where it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from seqgan_music.algorithms.policy import PolicyAlgorithm
from seqgan_music.algorithms.pretraining import HELD_OUT, generate
from seqgan_music.algorithms.record import Phase, Record


class NaiveRL(PolicyAlgorithm):
    """Likelihood, then policy gradient towards objectives, without a discriminator.

    Its options are those of `PolicyAlgorithm`.
    """

    SCHEDULE: ClassVar = {
        "mle": Phase("generator_epochs", size=""),
        "adversarial": Phase("rounds", steps={"g_steps": "policy_batch_size"}),
    }
    discriminated: ClassVar = False

    def __iter__(self) -> Iterator[Record]:
        """Train."""
        yield from self.pretraining
        if self.round == 0:
            self.policy.begin()
        while self.round < self.rounds:
            self.parts.reward.begin_round(self.round)
            values: dict[str, float] = {}
            for _ in range(self.g_steps):
                ids, start = self.policy.generate()
                values |= self.policy.update(ids, start, self.policy.search(ids, start))
            self.policy.update_rollout_policy()
            self.round += 1
            dataset = self.parts.dataset
            _, start = dataset.validation.random(min(HELD_OUT, len(dataset.validation)), self.parts.rng)
            values |= self.policy.measure(generate(self.parts, start), start)
            yield Record("adversarial", self.round, self.rounds, values, self.round == self.rounds)
