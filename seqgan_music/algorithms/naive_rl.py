"""Naive reinforcement learning: ORGAN (Guimaraes et al. 2017, arXiv 1705.10843) with λ = 0.

The reward is made of objectives alone. No discriminator is built or trained, and nothing holds the samples to real
music but what the pre-training left in the weights, and KL control where it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from seqgan_music.algorithms import Parts
from seqgan_music.algorithms.policy import PolicyTraining
from seqgan_music.algorithms.pretraining import (
    HELD_OUT,
    MaximumLikelihood,
    check_not_negative,
    check_positive,
    generate,
)
from seqgan_music.algorithms.record import Phase, Record


class NaiveRL:
    """Likelihood, then policy gradient towards objectives, without a discriminator.

    Parameters
    ----------
    parts : Parts
        Without a discriminator.
    batch_size : int
        B of likelihood training.
    generator_epochs, patience, generator_learning_rate : int, int, float
        Likelihood pre-training, see `MaximumLikelihood`.
    rounds, g_steps : int
        Rounds, and policy steps in each.
    policy_batch_size, rollouts, rollout_rate, policy_learning_rate, baseline, normalize_advantage, likelihood_steps, \
kl, entropy_bonus, clip, memory_budget
        See `seqgan_music.algorithms.seqgan.SeqGAN`.
    """

    SCHEDULE: ClassVar = {
        "mle": Phase("generator_epochs", size=""),
        "adversarial": Phase("rounds", steps={"g_steps": "policy_batch_size"}),
    }

    def __init__(
        self,
        parts: Parts,
        *,
        batch_size: int = 64,
        generator_epochs: int = 60,
        patience: int = 3,
        generator_learning_rate: float = 2e-3,
        rounds: int = 50,
        g_steps: int = 1,
        policy_batch_size: int = 64,
        rollouts: int = 16,
        rollout_rate: float = 1.0,
        policy_learning_rate: float = 1e-4,
        baseline: str = "none",
        normalize_advantage: bool = False,
        likelihood_steps: int = 0,
        kl: float = 0.0,
        entropy_bonus: float = 0.0,
        clip: float = 5.0,
        memory_budget: int = 0,
    ) -> None:
        check_positive("algorithm", batch_size=batch_size)
        check_not_negative("algorithm", rounds=rounds, g_steps=g_steps)
        self.parts = parts
        self.rounds, self.g_steps = rounds, g_steps
        self.pretraining = MaximumLikelihood(
            parts,
            epochs=generator_epochs,
            patience=patience,
            batch_size=batch_size,
            learning_rate=generator_learning_rate,
            clip=clip,
        )
        self.policy = PolicyTraining(
            parts,
            batch_size=policy_batch_size,
            likelihood_batch_size=batch_size,
            rollouts=rollouts,
            rollout_rate=rollout_rate,
            learning_rate=policy_learning_rate,
            baseline=baseline,
            normalize_advantage=normalize_advantage,
            likelihood_steps=likelihood_steps,
            kl=kl,
            entropy_bonus=entropy_bonus,
            clip=clip,
            memory_budget=memory_budget,
        )
        self.round = 0

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

    def state_dict(self) -> dict[str, Any]:
        """State of the pre-training and of the policy, and the counter."""
        return {"pretraining": self.pretraining.state_dict(), **self.policy.state_dict(), "round": self.round}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s values."""
        self.pretraining.load_state_dict(state["pretraining"])
        self.policy.load_state_dict(state)
        self.round = state["round"]
