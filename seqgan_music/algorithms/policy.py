"""Training a generator by rewards: lines 8 to 12 of Algorithm 1, which SeqGAN, naive RL and PG-BLEU share.

What is known to help and is not in the paper is off unless asked for: a baseline, normalised advantages, more sequences
a policy step, no search at all, likelihood steps in between (Li et al. 2017, arXiv 1701.06547), KL control, an entropy
bonus.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from seqgan_music import distributed
from seqgan_music.algorithms import Parts
from seqgan_music.algorithms.pretraining import (
    ROWS_AT_ONCE,
    MaximumLikelihood,
    check_not_negative,
    check_positive,
    generate,
    likelihood_step,
    negative_log_likelihood,
    step,
)
from seqgan_music.errors import UsageError
from seqgan_music.losses import BASELINES, advantages, policy_loss_of
from seqgan_music.modes import without_dropout
from seqgan_music.optimizers import Adam
from seqgan_music.rollout import action_values
from seqgan_music.sampling import padding_after_end


class PolicyTraining:
    """Train a generator as a policy, by the rewards of what it completes.

    Parameters
    ----------
    parts : Parts
    batch_size : int
        B of a policy step.
    likelihood_batch_size : int
        Of the batches of `likelihood_steps`.
    rollouts, rollout_rate, learning_rate, baseline, normalize_advantage, likelihood_steps, kl, entropy_bonus, clip, \
memory_budget
        See `PolicyAlgorithm`.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        batch_size: int,
        likelihood_batch_size: int,
        rollouts: int,
        rollout_rate: float,
        learning_rate: float,
        baseline: str,
        normalize_advantage: bool,
        likelihood_steps: int,
        kl: float,
        entropy_bonus: float,
        clip: float,
        memory_budget: int,
    ) -> None:
        check_positive("algorithm", policy_batch_size=batch_size, policy_learning_rate=learning_rate)
        check_not_negative(
            "algorithm",
            rollouts=rollouts,
            likelihood_steps=likelihood_steps,
            kl=kl,
            entropy_bonus=entropy_bonus,
            clip=clip,
            memory_budget=memory_budget,
        )
        if not 0 < rollout_rate <= 1:
            raise UsageError(f"algorithm.rollout_rate must lie in (0, 1], not {rollout_rate!r}")
        if baseline not in BASELINES:
            raise UsageError(f"algorithm.baseline must be one of {', '.join(BASELINES)}, not {baseline!r}")
        if baseline == "prefix" and not rollouts:
            raise UsageError(
                "algorithm.baseline='prefix' is the value of a prefix by its roll-outs, so algorithm.rollouts must be "
                "above 0; without roll-outs use baseline='mean'"
            )
        self.parts = parts
        self.batch_size, self.likelihood_batch_size = batch_size, likelihood_batch_size
        self.rollouts, self.rollout_rate, self.memory_budget = rollouts, rollout_rate, memory_budget
        self.baseline, self.normalize_advantage, self.clip = baseline, normalize_advantage, clip
        self.likelihood_steps, self.kl, self.entropy_bonus = likelihood_steps, kl, entropy_bonus
        self.optimizer = Adam(parts.generator.parameters(), learning_rate)
        self.rollout_policy = copy.deepcopy(parts.generator)  # G_β
        self.pretrained = copy.deepcopy(parts.generator) if kl else None

    def begin(self) -> None:
        """After the pre-training: β ← θ, and what KL control holds to."""
        self.update_rollout_policy(rate=1.0)
        if self.pretrained is not None:
            self.pretrained.load_state_dict(self.parts.generator.state_dict())

    def generate(self) -> tuple[Tensor, Tensor]:
        """Y_{1:T} ~ G_θ (B, T) with start tokens (B,) drawn like those of the data."""
        _, start = self.parts.dataset.train.random(self.batch_size, self.parts.rng)
        return generate(self.parts, start), start

    def search(self, ids: Tensor, start: Tensor) -> Tensor:
        """Action values (B, T) under G_β by Eq. 4."""
        dataset = self.parts.dataset
        return action_values(
            self.rollout_policy,
            self.parts.reward,
            ids,
            start,
            self.rollouts,
            self.parts.rng,
            end_id=dataset.end_id,
            pad_id=dataset.pad_id,
            memory_budget=self.memory_budget,
            graphs=self.parts.graphs,
        )

    def update(self, ids: Tensor, start: Tensor, action_value: Tensor) -> dict[str, float]:
        """One step of Eq. 8, and the steps of likelihood after it; what it measured."""
        generator, dataset = self.parts.generator, self.parts.dataset
        mask = ~padding_after_end(ids, dataset.end_id)
        values = advantages(action_value, mask, baseline=self.baseline, normalize=self.normalize_advantage)
        sums = action_value.new_zeros(3)
        self.optimizer.zero_grad(set_to_none=True)
        with without_dropout(generator):
            mine = distributed.share(len(ids))
            for first in range(mine.start, mine.stop, ROWS_AT_ONCE):
                rows = slice(first, min(first + ROWS_AT_ONCE, mine.stop))
                loss, measured = policy_loss_of(
                    generator,
                    ids[rows],
                    start[rows],
                    values[rows],
                    mask[rows],
                    entropy_bonus=self.entropy_bonus,
                    kl=self.kl,
                    reference=self.pretrained,
                )
                (loss / len(ids)).backward()  # type: ignore[no-untyped-call]
                sums += measured
        step(self.optimizer, generator, self.clip)
        for _ in range(self.likelihood_steps):
            real, real_start = dataset.train.random(self.likelihood_batch_size, self.parts.rng)
            likelihood_step(generator, self.optimizer, self.clip, real, real_start, real, dataset.pad_id)
        surprise, entropy, divergence = distributed.summed(sums).tolist()
        reward = action_value[:, -1]
        return {
            "g_loss": surprise / len(ids),
            "entropy": entropy / int(mask.sum()),
            **({"kl": divergence / len(ids)} if self.kl else {}),
            "reward_mean": reward.mean().item(),
            "reward_std": reward.std(correction=0).item(),
            **self.parts.reward.means(),
        }

    @torch.no_grad()
    def update_rollout_policy(self, rate: float | None = None) -> None:
        """β ← (1 − rate) β + rate θ, with the rate of the options if left out."""
        rate = self.rollout_rate if rate is None else rate
        for beta, theta in zip(self.rollout_policy.parameters(), self.parts.generator.parameters(), strict=True):
            beta.lerp_(theta, rate)

    def measure(self, ids: Tensor, start: Tensor) -> dict[str, float]:
        """What a round is judged by: unique share and objectives of fresh samples, validation likelihood."""
        generator, dataset = self.parts.generator, self.parts.dataset
        return {
            "unique": len(ids.unique(dim=0)) / len(ids),
            **self.parts.reward.measure(ids, start),
            "nll_validation": negative_log_likelihood(generator, dataset.validation, dataset.pad_id),
        }

    def state_dict(self) -> dict[str, Any]:
        """The policy's optimiser, G_β, and what KL control holds to."""
        return {
            **({} if self.pretrained is None else {"pretrained": self.pretrained.state_dict()}),
            "optimizer": self.optimizer.state_dict(),
            "rollout_policy": self.rollout_policy.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s values."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.rollout_policy.load_state_dict(state["rollout_policy"])
        if self.pretrained is not None:
            self.pretrained.load_state_dict(state["pretrained"])


class PolicyAlgorithm:
    """What is built of an algorithm that trains by likelihood, then by rounds of policy gradient.

    A class derived from it trains (`__iter__`), and hands the options that are not its own on.

    Parameters
    ----------
    parts : Parts
    batch_size : int
        B of likelihood training, and of the discriminator where there is one.
    generator_epochs, patience, generator_learning_rate : int, int, float
        Likelihood pre-training, see `MaximumLikelihood`.
    rounds : int
        Passes through lines 6 to 19.
    g_steps : int
        The paper's g: policy steps in a round.
    policy_batch_size : int
        B of a policy step.
    rollouts : int
        N, completions of every prefix; 0 gives every step the reward of the finished sequence, which is REINFORCE
        (Williams 1992).
    rollout_rate : float
        β ← (1 − rate) β + rate θ at the end of a round; 1 copies, as the paper prints it.
    policy_learning_rate : float
        Of Adam in the adversarial phase.
    baseline, normalize_advantage : "none", "mean" or "prefix"; bool
        See `seqgan_music.losses.advantages`.
    likelihood_steps : int
        Batches of likelihood training after every policy step.
    kl : float
        Weight of `seqgan_music.losses.policy_divergence` from the pre-trained generator in the policy's loss.
    entropy_bonus : float
        Weight of the policy's entropy, its sum over steps ÷ B, taken off the policy's loss.
    clip : float
        Largest norm of the generator's gradient; 0 does not clip.
    memory_budget : int
        Bytes for the roll-outs computed at once; 0 for what suits the device. Changes no draw.
    """

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

    def state_dict(self) -> dict[str, Any]:
        """State of the pre-training and of the policy, and the counter."""
        return {"pretraining": self.pretraining.state_dict(), **self.policy.state_dict(), "round": self.round}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s values."""
        self.pretraining.load_state_dict(state["pretraining"])
        self.policy.load_state_dict(state)
        self.round = state["round"]
