"""SeqGAN: Algorithm 1 of Yu, Zhang, Wang and Yu (AAAI 2017, arXiv 1609.05473).

The numbers in the right margin are the lines of Algorithm 1. Departures from the paper:

1. Pre-training stops when the validation likelihood stops improving (`patience`; 0 never stops it), and keeps the best
   weights (0: the last).
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
from seqgan_music.algorithms.policy import PolicyAlgorithm
from seqgan_music.algorithms.pretraining import DiscriminatorTraining, check_not_negative, check_positive
from seqgan_music.algorithms.record import Phase, Record


class SeqGAN(PolicyAlgorithm):
    """SeqGAN by Algorithm 1; with objectives in its reward it is ORGAN.

    Parameters
    ----------
    parts : Parts
    discriminator_sets, discriminator_set_epochs : int
        Discriminator pre-training: sets of fresh negatives, and passes over each.
    discriminator_samples : int
        Real sequences in a training set of D, and as many generated ones; 0 takes the whole training part.
    discriminator_learning_rate : float
        Of Adam.
    d_steps, d_epochs : int
        The paper's d and k. The first may be 0 to hold D still, as its g, `g_steps`, may to watch D alone.
    **options
        Those of `PolicyAlgorithm`.
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
        discriminator_sets: int = 20,
        discriminator_set_epochs: int = 3,
        discriminator_samples: int = 1024,
        discriminator_learning_rate: float = 1e-4,
        d_steps: int = 5,
        d_epochs: int = 3,
        **options: Any,
    ) -> None:
        check_positive(
            "algorithm",
            discriminator_set_epochs=discriminator_set_epochs,
            discriminator_learning_rate=discriminator_learning_rate,
            d_epochs=d_epochs,
        )
        check_not_negative(
            "algorithm",
            discriminator_sets=discriminator_sets,
            discriminator_samples=discriminator_samples,
            d_steps=d_steps,
        )
        super().__init__(parts, **options)
        self.d_steps, self.d_epochs = d_steps, d_epochs
        self.discriminator_training = DiscriminatorTraining(
            parts,
            sets=discriminator_sets,
            epochs=discriminator_set_epochs,
            samples=discriminator_samples,
            batch_size=self.pretraining.batch_size,
            learning_rate=discriminator_learning_rate,
        )

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
        return {**super().state_dict(), "discriminator_training": self.discriminator_training.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s values."""
        super().load_state_dict(state)
        self.discriminator_training.load_state_dict(state["discriminator_training"])
