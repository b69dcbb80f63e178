"""SeqGAN: Algorithm 1 of Yu, Zhang, Wang and Yu (AAAI 2017, arXiv 1609.05473).

The numbers in the right margin are the lines of Algorithm 1. Departures from the paper:

1. Pre-training stops when the validation likelihood stops improving (`patience`), and keeps the best weights.
2. The loss is Eq. 7's sum over steps divided by B, where the authors' program sums over the batch as well: with Adam
   this only moves where gradients are clipped (`clip`).
3. Sequences may end: steps after END are masked, and END's own step is rewarded by the finished sequence.
4. A training set of D holds `discriminator_samples` real sequences and as many generated ones (0: the whole training
   part).
5. D's batches hold as many real as generated sequences, in place of a shuffled mixture.
6. The policy's gradient is taken without dropout, for its sequences were drawn without.

What else is known to help is off unless asked for: a baseline, normalised advantages, more sequences a policy step,
no search at all, likelihood steps in between (Li et al. 2017, arXiv 1701.06547), KL control, an entropy bonus.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor

from seqgan_music.algorithms import Parts
from seqgan_music.algorithms.pretraining import (
    ROWS_AT_ONCE,
    DiscriminatorTraining,
    MaximumLikelihood,
    check_not_negative,
    check_positive,
    descend,
    negative_log_likelihood,
    step,
)
from seqgan_music.algorithms.record import Phase, Record
from seqgan_music.errors import UsageError
from seqgan_music.losses import (
    BASELINES,
    advantages,
    likelihood_loss,
    policy_divergence,
    policy_entropy,
    policy_gradient_loss,
    sequence_log_prob,
)
from seqgan_music.modes import evaluating, without_dropout
from seqgan_music.optimizers import Adam
from seqgan_music.rollout import action_values
from seqgan_music.sampling import padding_after_end


class SeqGAN:
    """SeqGAN by Algorithm 1; with objectives in its reward it is ORGAN.

    Parameters
    ----------
    parts : Parts
    batch_size : int
        B, of likelihood training and of the discriminator.
    generator_epochs, patience, generator_learning_rate : int, int, float
        Likelihood pre-training, see `MaximumLikelihood`.
    discriminator_sets, discriminator_set_epochs : int
        Discriminator pre-training: sets of fresh negatives, and passes over each.
    discriminator_samples : int
        Real sequences in a training set of D, and as many generated ones; 0 takes the whole training part.
    discriminator_learning_rate : float
        Of Adam.
    rounds : int
        Passes through lines 6 to 19.
    g_steps, d_steps, d_epochs : int
        The paper's g, d and k. The first may be 0 to watch D alone, the second to hold D still.
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

    SCHEDULE: ClassVar = {
        "mle": Phase("generator_epochs", size=""),
        "discriminator": Phase("discriminator_sets", size="discriminator_samples"),
        "adversarial": Phase("rounds", steps={"g_steps": "policy_batch_size", "d_steps": "discriminator_samples"}),
    }

    def __init__(
        self,
        parts: Parts,
        *,
        batch_size: int = 64,
        generator_epochs: int = 60,
        patience: int = 3,
        generator_learning_rate: float = 2e-3,
        discriminator_sets: int = 20,
        discriminator_set_epochs: int = 3,
        discriminator_samples: int = 1024,
        discriminator_learning_rate: float = 1e-4,
        rounds: int = 50,
        g_steps: int = 1,
        d_steps: int = 5,
        d_epochs: int = 3,
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
        check_positive(
            "algorithm",
            batch_size=batch_size,
            discriminator_set_epochs=discriminator_set_epochs,
            discriminator_learning_rate=discriminator_learning_rate,
            d_epochs=d_epochs,
            policy_batch_size=policy_batch_size,
            policy_learning_rate=policy_learning_rate,
        )
        check_not_negative(
            "algorithm",
            discriminator_sets=discriminator_sets,
            discriminator_samples=discriminator_samples,
            rounds=rounds,
            g_steps=g_steps,
            d_steps=d_steps,
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
        self.rounds, self.g_steps, self.d_steps, self.d_epochs = rounds, g_steps, d_steps, d_epochs
        self.rollouts, self.rollout_rate, self.memory_budget = rollouts, rollout_rate, memory_budget
        self.batch_size, self.policy_batch_size, self.clip = batch_size, policy_batch_size, clip
        self.baseline, self.normalize_advantage = baseline, normalize_advantage
        self.likelihood_steps, self.kl, self.entropy_bonus = likelihood_steps, kl, entropy_bonus
        self.pretraining = MaximumLikelihood(
            parts,
            epochs=generator_epochs,
            patience=patience,
            batch_size=batch_size,
            learning_rate=generator_learning_rate,
            clip=clip,
        )
        self.discriminator_training = DiscriminatorTraining(
            parts,
            sets=discriminator_sets,
            epochs=discriminator_set_epochs,
            samples=discriminator_samples,
            batch_size=batch_size,
            learning_rate=discriminator_learning_rate,
        )
        self.optimizer = Adam(parts.generator.parameters(), policy_learning_rate)
        self.rollout_policy = copy.deepcopy(parts.generator)  # G_β
        self.pretrained = copy.deepcopy(parts.generator) if kl else None
        self.round = 0

    def __iter__(self) -> Iterator[Record]:
        """Train as Algorithm 1 does; line 1 is done when the networks are built."""
        yield from self.pretraining  # ------------------------------------------------------------------ 2
        if self.round == 0:
            self.update_rollout_policy(rate=1.0)  # ----------------------------------------------------- 3
            if self.pretrained is not None:
                self.pretrained.load_state_dict(self.parts.generator.state_dict())
        yield from self.discriminator_training  # ------------------------------------------------------- 4, 5
        while self.round < self.rounds:  # -------------------------------------------------------------- 6
            values: dict[str, float] = {}
            for _ in range(self.g_steps):  # ------------------------------------------------------------ 7
                ids, start = self.generate()  # --------------------------------------------------------- 8
                action_value = self.search(ids, start)  # ----------------------------------------------- 9-11
                values |= self.update_policy(ids, start, action_value)  # ------------------------------- 12
            # --------------------------------------------------------------------------------------------- 13
            for _ in range(self.d_steps):  # ------------------------------------------------------------ 14
                # Draws fresh negatives, then trains for k epochs: ------------------------------------------ 15, 16
                values["d_loss"] = self.discriminator_training.train_on_fresh_set(self.d_epochs)
            # --------------------------------------------------------------------------------------------- 17
            self.update_rollout_policy(self.rollout_rate)  # -------------------------------------------- 18
            self.round += 1
            values |= self.measure()
            yield Record("adversarial", self.round, self.rounds, values, self.round == self.rounds)  # -- 19

    def generate(self) -> tuple[Tensor, Tensor]:
        """Y_{1:T} ~ G_θ (B, T) with start tokens (B,) drawn like those of the data."""
        _, start = self.parts.dataset.train.random(self.policy_batch_size, self.parts.rng)
        return self.discriminator_training.generate(start), start

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
        )

    def update_policy(self, ids: Tensor, start: Tensor, action_value: Tensor) -> dict[str, float]:
        """One step of Eq. 8, and the steps of likelihood after it; what it measured."""
        generator, dataset = self.parts.generator, self.parts.dataset
        mask = ~padding_after_end(ids, dataset.end_id)
        values = advantages(action_value, mask, baseline=self.baseline, normalize=self.normalize_advantage)
        total = {"g_loss": 0.0, "entropy": 0.0, **({"kl": 0.0} if self.kl else {})}
        self.optimizer.zero_grad(set_to_none=True)
        with without_dropout(generator):
            for rows in torch.arange(len(ids), device=ids.device).split(ROWS_AT_ONCE):
                share = len(rows) / len(ids)
                logits = generator(ids[rows], start[rows])
                log_prob = sequence_log_prob(logits, ids[rows], dataset.pad_id)
                loss = policy_gradient_loss(log_prob, values[rows], mask[rows])
                total["g_loss"] += share * loss.item()
                entropy = policy_entropy(logits if self.entropy_bonus else logits.detach(), mask[rows])
                total["entropy"] += share * entropy.item()
                if self.entropy_bonus:
                    loss = loss - self.entropy_bonus * entropy * mask[rows].sum() / len(rows)
                if self.pretrained is not None:
                    with evaluating(self.pretrained):
                        reference = self.pretrained(ids[rows], start[rows])
                    divergence = policy_divergence(logits, reference, mask[rows])
                    total["kl"] += share * divergence.item()
                    loss = loss + self.kl * divergence
                (share * loss).backward()  # type: ignore[no-untyped-call]
        step(self.optimizer, generator, self.clip)
        for _ in range(self.likelihood_steps):
            real, real_start = dataset.train.random(self.batch_size, self.parts.rng)
            generator.train()
            descend(
                self.optimizer, likelihood_loss(generator(real, real_start), real, dataset.pad_id), generator, self.clip
            )
        reward = action_value[:, -1]
        parts = {f"reward_{name}": value for name, value in self.parts.reward.means().items()}
        return {
            **total,
            "reward_mean": reward.mean().item(),
            "reward_std": reward.std(correction=0).item(),
            **(parts if len(parts) > 1 else {}),
        }

    @torch.no_grad()
    def update_rollout_policy(self, rate: float) -> None:
        """β ← (1 − rate) β + rate θ."""
        for beta, theta in zip(self.rollout_policy.parameters(), self.parts.generator.parameters(), strict=True):
            beta.lerp_(theta, rate)

    def measure(self) -> dict[str, float]:
        """What a round is judged by: held-out accuracy of D, unique share of fresh samples, validation likelihood."""
        generator, dataset = self.parts.generator, self.parts.dataset
        accuracy, fake = self.discriminator_training.accuracy()
        return {
            "d_accuracy": accuracy,
            "unique": len(fake.unique(dim=0)) / len(fake),
            "nll_validation": negative_log_likelihood(generator, dataset.validation, dataset.pad_id),
        }

    def state_dict(self) -> dict[str, Any]:
        """State of both pre-trainings, the policy's optimiser, G_β, what KL control holds to, and the counter."""
        return {
            **({} if self.pretrained is None else {"pretrained": self.pretrained.state_dict()}),
            "pretraining": self.pretraining.state_dict(),
            "discriminator_training": self.discriminator_training.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rollout_policy": self.rollout_policy.state_dict(),
            "round": self.round,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s values."""
        self.pretraining.load_state_dict(state["pretraining"])
        self.discriminator_training.load_state_dict(state["discriminator_training"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rollout_policy.load_state_dict(state["rollout_policy"])
        if self.pretrained is not None:
            self.pretrained.load_state_dict(state["pretrained"])
        self.round = state["round"]
