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

A policy step is in `seqgan_music.algorithms.policy`, with what else is known to help.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from seqgan_music.algorithms import Parts
from seqgan_music.algorithms.policy import PolicyTraining
from seqgan_music.algorithms.pretraining import (
    DiscriminatorTraining,
    MaximumLikelihood,
    check_not_negative,
    check_positive,
)
from seqgan_music.algorithms.record import Phase, Record


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
        )
        check_not_negative(
            "algorithm",
            discriminator_sets=discriminator_sets,
            discriminator_samples=discriminator_samples,
            rounds=rounds,
            g_steps=g_steps,
            d_steps=d_steps,
        )
        self.parts = parts
        self.rounds, self.g_steps, self.d_steps, self.d_epochs = rounds, g_steps, d_steps, d_epochs
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
        """Train as Algorithm 1 does; line 1 is done when the networks are built."""
        yield from self.pretraining  # ------------------------------------------------------------------ 2
        if self.round == 0:
            self.policy.begin()  # ---------------------------------------------------------------------- 3
        yield from self.discriminator_training  # ------------------------------------------------------- 4, 5
        while self.round < self.rounds:  # -------------------------------------------------------------- 6
            self.parts.reward.begin_round(self.round)
            values: dict[str, float] = {}
            for _ in range(self.g_steps):  # ------------------------------------------------------------ 7
                ids, start = self.policy.generate()  # -------------------------------------------------- 8
                action_value = self.policy.search(ids, start)  # ---------------------------------------- 9-11
                values |= self.policy.update(ids, start, action_value)  # ------------------------------- 12
            # --------------------------------------------------------------------------------------------- 13
            for _ in range(self.d_steps):  # ------------------------------------------------------------ 14
                # Draws fresh negatives, then trains for k epochs: ------------------------------------------ 15, 16
                values["d_loss"] = self.discriminator_training.train_on_fresh_set(self.d_epochs)
            # --------------------------------------------------------------------------------------------- 17
            self.policy.update_rollout_policy()  # ------------------------------------------------------ 18
            self.round += 1
            values["d_accuracy"], fake, fake_start = self.discriminator_training.accuracy()
            values |= self.policy.measure(fake, fake_start)
            yield Record("adversarial", self.round, self.rounds, values, self.round == self.rounds)  # -- 19

    def state_dict(self) -> dict[str, Any]:
        """State of both pre-trainings and of the policy, and the counter."""
        return {
            "pretraining": self.pretraining.state_dict(),
            "discriminator_training": self.discriminator_training.state_dict(),
            **self.policy.state_dict(),
            "round": self.round,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s values."""
        self.pretraining.load_state_dict(state["pretraining"])
        self.discriminator_training.load_state_dict(state["discriminator_training"])
        self.policy.load_state_dict(state)
        self.round = state["round"]
