"""What `race.py` races: the program and its textbook twin on the same data, each with its own copy of the networks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import textbook
import torch
from measuring import Clock
from torch import Tensor

from seqgan_music import config, precision
from seqgan_music.algorithms import Parts
from seqgan_music.algorithms.pretraining import generate, likelihood_epoch
from seqgan_music.algorithms.seqgan import SeqGAN
from seqgan_music.dataset import Dataset, Windows
from seqgan_music.discriminators.cnn import PAPER_FILTERS, CNNDiscriminator
from seqgan_music.generators.lstm import LSTMGenerator
from seqgan_music.losses import BinaryCrossEntropy, advantages
from seqgan_music.modes import evaluating, set_rng
from seqgan_music.rewards import Reward
from seqgan_music.rollout import action_values, rollout_uniforms

TEXTBOOK, PROGRAM = COMPETITORS = ("textbook", "program")

Laps = dict[str, dict[str, float]]
"""Seconds of each competitor by part."""


@dataclass(frozen=True)
class Sizes:
    """What is raced.

    Parameters
    ----------
    vocabulary, length : int
        V and T.
    generator, discriminator, algorithm : dict
        Options of `LSTMGenerator`, `CNNDiscriminator` and `SeqGAN`.
    sequences : int
        Sequences of the timed likelihood epoch and sampling; as many real and as many generated ones are those of the
        timed epoch of D. The round computed from it is scaled to the algorithm's `discriminator_samples`.
    """

    vocabulary: int
    length: int
    generator: dict[str, Any] = field(default_factory=dict)
    discriminator: dict[str, Any] = field(default_factory=dict)
    algorithm: dict[str, Any] = field(default_factory=dict)
    sequences: int = 640


def _preset(section: str) -> dict[str, Any]:
    return {option: value for option, value in config.preset("default")[section].items() if option != "name"}


_ROUND = {
    option: _preset("algorithm")[option] for option in ("g_steps", "d_steps", "d_epochs", "discriminator_samples")
}
_PUBLISHED = {"g_steps": 1, "d_steps": 5, "d_epochs": 3, "discriminator_samples": 10_000}
_PAPER = {"embedding": 64, "filters": [list(pair) for pair in PAPER_FILTERS[20]]}
_SMALL_LSTM = {"embedding": 32, "hidden": 32}
_TINY_D = {"embedding": 4, "filters": [[1, 4], [3, 4], [8, 2]]}
_TINY_ROUND = {"policy_batch_size": 4, "batch_size": 4, "rollouts": 4, "discriminator_samples": 16, "d_steps": 1}
CONFIGURATIONS = {
    "P": Sizes(5000, 20, _SMALL_LSTM, _PAPER, _PUBLISHED),
    "M": Sizes(48, 36, _SMALL_LSTM, _PAPER, _PUBLISHED),
    "L": Sizes(
        130,
        100,
        {"embedding": 64, "hidden": 256},
        _PAPER,
        _PUBLISHED | {"batch_size": 32, "policy_batch_size": 32},
        320,
    ),
    "default": Sizes(44, 64, algorithm=_ROUND, sequences=1024),
    "preset": Sizes(44, 64, _preset("generator"), _preset("discriminator"), _preset("algorithm"), 1024),
    "tiny": Sizes(12, 8, {"embedding": 4, "hidden": 8}, _TINY_D, _TINY_ROUND, 16),
}


class Race:
    """Both competitors, ready to run.

    Parameters
    ----------
    sizes : Sizes
    textbook_rollouts : int
        The textbook runs at most so many of the N roll-outs, and the time of its search is scaled.
    arithmetic : str
        Of the program's products, see `seqgan_music.precision`; the textbook's are float32.
    processor : bool
        Take seconds of the processor.
    """

    def __init__(
        self, sizes: Sizes, textbook_rollouts: int, *, arithmetic: str = "float32", processor: bool = False
    ) -> None:
        self.sizes, self.processor = sizes, processor
        self.rng = torch.Generator().manual_seed(1)
        self.generator = LSTMGenerator(sizes.vocabulary, **sizes.generator)
        self.discriminator = CNNDiscriminator(sizes.vocabulary, sizes.length, **sizes.discriminator)
        networks = []
        for network in (self.generator, self.discriminator):
            network.reset_parameters(self.rng)
            set_rng(network, self.rng)
            networks.append(copy.deepcopy(network))
            set_rng(networks[-1], self.rng)
            precision.apply(arithmetic, networks[-1])
        generator, discriminator = networks
        shape = (sizes.sequences, sizes.length)
        self.real, self.fake = (torch.randint(sizes.vocabulary, shape, generator=self.rng) for _ in range(2))
        self.start = torch.zeros(sizes.sequences, dtype=torch.int64)
        windows = Windows(self.real, self.start, torch.arange(len(self.real)))
        dataset = Dataset(windows, windows, windows, sizes.vocabulary)
        loss = BinaryCrossEntropy()
        self.reward = ClockedReward(Reward(discriminator, loss), processor)
        self.parts = Parts(generator, discriminator, loss, self.reward, dataset, self.rng)
        self.algorithm = SeqGAN(self.parts, **sizes.algorithm)
        self.batch = self.algorithm.pretraining.batch_size
        self.policy = self.algorithm.policy
        self.textbook_rollouts = min(textbook_rollouts, self.policy.rollouts)
        self.scale = self.policy.rollouts / self.textbook_rollouts if self.policy.rollouts else 1.0
        self.plain_reward = ClockedReward(self._textbook_reward, processor)
        self.optimizers = {
            name: torch.optim.Adam(network.parameters(), rate)
            for name, network, rate in (
                ("likelihood", self.generator, 1e-4),
                ("policy", self.generator, 1e-4),
                ("discriminator", self.discriminator, 1e-4),
            )
        }
        self.likelihood_optimizer = self.algorithm.pretraining.optimizer

    def generator_step(self) -> Laps:
        """A batch, its action values and one update; of that the scoring of roll-outs, and the update."""
        clock = Clock(self.processor)
        with evaluating(self.generator, self.discriminator):
            ids = textbook.sample(self.generator, self._policy_start, self._uniforms(self.policy.batch_size))
            generating = clock.lap()
            values = self._textbook_search(ids, self.textbook_rollouts)
        searching = clock.lap() * self.scale
        self._textbook_update(ids, values)
        plain = {"update": clock.lap(), "scoring": self.plain_reward.take() * self.scale}
        clock.lap()
        ids, start = self.policy.generate()
        values = self.policy.search(ids, start)
        before_update = clock.lap()
        self.policy.update(ids, start, values)
        updating = clock.lap()
        return {
            "generator step": {
                TEXTBOOK: generating + searching + plain["update"],
                PROGRAM: before_update + updating,
            },
            "scoring of roll-outs": {TEXTBOOK: plain["scoring"], PROGRAM: self.reward.take()},
            "policy update": {TEXTBOOK: plain["update"], PROGRAM: updating},
        }

    def epoch(self) -> Laps:
        """One epoch of D's training."""
        return self._both(
            "epoch of D",
            lambda: self._textbook_epoch(self.real, self.fake),
            lambda: self.algorithm.discriminator_training.train_epoch(self.real, self.fake),
        )

    def sampling(self) -> Laps:
        """The generated half of D's training set: a batch at a time, and as the program draws it."""
        return self._both(
            "sampling",
            lambda: self._textbook_generate(len(self.real)),
            lambda: generate(self.parts, self.start),
        )

    def likelihood(self) -> Laps:
        """One epoch of the generator's pre-training."""
        return self._both(
            "likelihood epoch",
            lambda: textbook.train_likelihood_epoch(
                self.generator, self.optimizers["likelihood"], self.real, self.start, self.batch, self.rng
            ),
            lambda: likelihood_epoch(self.parts, self.likelihood_optimizer, self.batch, self.policy.clip),
        )

    def round(self) -> Laps:
        """Lines 7 to 18 of Algorithm 1, with the algorithm's own g, d, k and sizes; measures of the round left out."""
        return self._both("whole round, measured", self._textbook_round, self._round)

    def mean_difference(self) -> float:
        """Mean distance of the two searches' action values from the same uniform numbers and the same weights.

        In float32 a draw that falls on a boundary may go either way, so single values may differ.
        """
        policy = self.policy
        ids, start = policy.generate()
        state = self.rng.get_state()
        with evaluating(self.generator, self.discriminator):
            plain = self._textbook_search(ids, self.textbook_rollouts)
        self.rng.set_state(state)
        policy.rollout_policy.load_state_dict(self.generator.state_dict())
        self.parts.discriminator.load_state_dict(self.discriminator.state_dict())
        found = action_values(policy.rollout_policy, self.reward, ids, start, self.textbook_rollouts, self.rng)
        self.reward.take()
        self.plain_reward.take()
        return (found - plain).abs().mean().item()

    def run_alone(self, who: str) -> None:
        """A generator step (of the textbook with `textbook_rollouts`) and an epoch of D."""
        if who == PROGRAM:
            ids, start = self.policy.generate()
            self.policy.update(ids, start, self.policy.search(ids, start))
            self.algorithm.discriminator_training.train_epoch(self.real, self.fake)
        else:
            with evaluating(self.generator, self.discriminator):
                ids = textbook.sample(self.generator, self._policy_start, self._uniforms(self.policy.batch_size))
                values = self._textbook_search(ids, self.textbook_rollouts)
            self._textbook_update(ids, values)
            self._textbook_epoch(self.real, self.fake)

    def _both(self, part: str, plain: Callable[[], Any], fast: Callable[[], Any]) -> Laps:
        clock = Clock(self.processor)
        plain()
        seconds = {TEXTBOOK: clock.lap()}
        fast()
        return {part: seconds | {PROGRAM: clock.lap()}}

    def _round(self) -> None:
        algorithm, policy = self.algorithm, self.policy
        for _ in range(algorithm.g_steps):
            ids, start = policy.generate()
            policy.update(ids, start, policy.search(ids, start))
        for _ in range(algorithm.d_steps):
            algorithm.discriminator_training.train_on_fresh_set(algorithm.d_epochs)
        policy.update_rollout_policy()

    def _textbook_round(self) -> None:
        algorithm = self.algorithm
        for _ in range(algorithm.g_steps):
            with evaluating(self.generator, self.discriminator):
                ids = textbook.sample(self.generator, self._policy_start, self._uniforms(self.policy.batch_size))
                values = self._textbook_search(ids, self.policy.rollouts)  # all of them: a round is not scaled
            self._textbook_update(ids, values)
        for _ in range(algorithm.d_steps):
            real, _ = self.parts.dataset.train.random(algorithm.discriminator_training.samples, self.rng)
            fake = self._textbook_generate(len(real))
            for _ in range(algorithm.d_epochs):
                self._textbook_epoch(real, fake)

    def _textbook_search(self, ids: Tensor, rollouts: int) -> Tensor:
        if not rollouts:  # every step is worth what the sequence is worth
            return self.plain_reward(ids, ids[:, 0], ids[:, 0])[:, None].expand(ids.shape)
        uniforms = rollout_uniforms(len(ids), ids.shape[1], rollouts, self.rng, torch.float32)
        return textbook.action_values(self.generator, self.plain_reward, ids, self._policy_start, uniforms)

    def _textbook_update(self, ids: Tensor, values: Tensor) -> None:
        how = {"baseline": self.policy.baseline, "normalize": self.policy.normalize_advantage}
        values = advantages(values, torch.ones_like(ids, dtype=torch.bool), **how)
        textbook.update_policy(self.generator, self.optimizers["policy"], ids, self._policy_start, values)

    def _textbook_epoch(self, real: Tensor, fake: Tensor) -> None:
        textbook.train_discriminator_epoch(
            self.discriminator, self.optimizers["discriminator"], real, fake, self.batch, self.rng
        )

    def _textbook_generate(self, count: int) -> Tensor:
        with evaluating(self.generator):
            batches = torch.zeros(count, dtype=torch.int64).split(self.batch)
            return torch.cat([textbook.sample(self.generator, start, self._uniforms(len(start))) for start in batches])

    def _textbook_reward(self, ids: Tensor, group: Tensor, start: Tensor) -> Tensor:
        return textbook.discriminator_scores(self.discriminator, ids).sigmoid()

    @property
    def _policy_start(self) -> Tensor:
        return torch.zeros(self.policy.batch_size, dtype=torch.int64)

    def _uniforms(self, batch: int) -> Tensor:
        return torch.rand(self.sizes.length, batch, generator=self.rng)


class ClockedReward:
    """A reward that counts the seconds it takes; otherwise it is what it was."""

    def __init__(self, reward: Any, processor: bool) -> None:
        self._reward, self._processor, self._seconds = reward, processor, 0.0

    def take(self) -> float:
        """Seconds since the last time this was asked."""
        taken, self._seconds = self._seconds, 0.0
        return taken

    def __call__(self, *arguments: Any) -> Tensor:
        values: Tensor = self._clocked(self._reward)(*arguments)
        return values

    def for_search(self, ids: Tensor, start: Tensor) -> Callable[..., Tensor]:
        """The program's: a search looks for it in the class, and calls what it gives in the reward's place."""
        return self._clocked(self._clocked(self._reward.for_search)(ids, start))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reward, name)

    def _clocked(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            clock = Clock(self._processor)
            value = function(*arguments)
            self._seconds += clock.lap()
            return value

        return run
