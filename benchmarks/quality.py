"""Does training in bfloat16 hold against float32, on real music?

A discriminator is trained from the same weights on the same batches in both, and again in float32 in another order,
which says what chance alone does. The negatives and the roll-outs are those of the generator that ships with the
package.
"""

from __future__ import annotations

import copy
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
from competitors import CONFIGURATIONS
from scipy import stats
from torch import Tensor

from seqgan_music import config, corpus, finetuning, precision
from seqgan_music.algorithms import Parts
from seqgan_music.algorithms.pretraining import DiscriminatorTraining, generate
from seqgan_music.dataset import Dataset
from seqgan_music.discriminators.cnn import CNNDiscriminator
from seqgan_music.losses import BinaryCrossEntropy
from seqgan_music.material import prepare
from seqgan_music.modes import evaluating
from seqgan_music.rewards import Reward
from seqgan_music.rollout import action_values

PLAIN, REORDERED, SHORT = "float32", "float32, other order", "bfloat16"
NETWORKS: dict[str, tuple[dict[str, Any], int]] = {
    "the default preset's D": (
        {option: value for option, value in config.preset("default")["discriminator"].items() if option != "name"},
        20,
    ),
    "the paper's D": (CONFIGURATIONS["M"].discriminator, 3),
}
"""Options, and epochs: with fewer the first is no better than chance; more of the second would take too long."""
BATCH, LEARNING_RATE = 64, 1e-3


def quality(
    folder: Path,
    seeds: int,
    *,
    samples: int = 2048,
    policy_batch: int = 32,
    rollouts: int = 8,
    networks: dict[str, tuple[dict[str, Any], int]] | None = None,
) -> dict[str, Any]:
    """Areas under the ROC curve on held-out music, and rewards of the same roll-outs.

    Parameters
    ----------
    folder : Path
        Of MIDI.
    seeds : int
        Trainings, each from other weights.
    samples : int
        Real sequences of a training, and as many generated ones.
    policy_batch, rollouts : int
        B and N of the searches that are compared.
    networks : dict of str to (dict, int), optional
        Options of discriminators, and epochs for which each is trained; `NETWORKS` if left out.
    """
    run = finetuning.open_run("pretrained")
    data = prepare(corpus.read_corpus(folder), finetuning.lay_under({}, run), init=run).data
    generator = run.generator(device="cpu")
    held_out = torch.cat([part[:][0] for part in (data.validation, data.test)])
    result: dict[str, Any] = {"samples": samples, "held_out": len(held_out), "networks": {}}
    for name, (options, epochs) in (networks or NETWORKS).items():
        found: dict[str, list[dict[str, float]]] = {"auc": [], "trained_so": [], "scored_so": [], "action_values": []}
        for seed in range(1, seeds + 1):
            print(f"{name}, seed {seed} of {seeds} ...", file=sys.stderr, flush=True)
            sizes = {"samples": samples, "epochs": epochs, "policy_batch": policy_batch, "rollouts": rollouts}
            _compare(found, generator, data, held_out, options, seed, **sizes)
        result["networks"][name] = {
            "epochs": epochs,
            "figures": {what: {**_summary(values), "seeds": values} for what, values in found.items()},
        }
    return result


def _compare(
    found: dict[str, list[dict[str, float]]],
    generator: Any,
    data: Dataset,
    held_out: Tensor,
    options: dict[str, Any],
    seed: int,
    *,
    samples: int,
    epochs: int,
    policy_batch: int,
    rollouts: int,
) -> None:
    """Everything of one seed, laid to what was `found`."""
    rng = torch.Generator().manual_seed(seed)
    before = CNNDiscriminator(data.vocab_size, data.length, **options)
    before.reset_parameters(rng)
    rewards = {how: _reward(copy.deepcopy(before), how) for how in (PLAIN, REORDERED, SHORT)}
    parts = Parts(generator, before, BinaryCrossEntropy(), rewards[PLAIN], data, rng)
    real, start = data.train.random(samples, rng)
    fake = generate(parts, start)
    fresh = generate(parts, data.train.random(len(held_out), rng)[1])
    area = {}
    for how, reward in rewards.items():
        order = torch.Generator().manual_seed(seed + (1000 if how == REORDERED else 0))
        own = Parts(generator, reward.discriminator, BinaryCrossEntropy(), reward, data, order)
        training = DiscriminatorTraining(
            own, sets=1, epochs=epochs, samples=samples, batch_size=BATCH, learning_rate=LEARNING_RATE
        )
        for _ in range(epochs):
            training.train_epoch(real, fake)
        area[how] = _area(_scored(reward, held_out), _scored(reward, fresh))
    found["auc"].append({PLAIN: area[PLAIN], **_differences(area)})
    ids, start = data.train.random(policy_batch, rng)
    ids = generate(parts, start)
    lanes = _finished(generator, data, ids, start, rollouts, seed)
    values = {how: _scored(reward, lanes) for how, reward in rewards.items()}
    found["trained_so"].append(_agreement(values, REORDERED) | _agreement(values, SHORT))
    same_weights = _reward(copy.deepcopy(rewards[PLAIN].discriminator), SHORT)
    found["scored_so"].append(_agreement({PLAIN: values[PLAIN], SHORT: _scored(same_weights, lanes)}, SHORT))
    searched = {
        how: _search(generator, rewards[PLAIN], data, ids, start, rollouts, number, how)
        for how, number in ((PLAIN, seed), (REORDERED, seed + 1000), (SHORT, seed))
    }
    found["action_values"].append(_differences({how: values.mean().item() for how, values in searched.items()}))


def _reward(discriminator: Any, how: str) -> Any:
    precision.apply(SHORT if how == SHORT else PLAIN, discriminator)
    return Reward(discriminator, BinaryCrossEntropy())


def _scored(reward: Any, ids: Tensor) -> Tensor:
    with evaluating(reward.discriminator):
        return torch.cat([reward.realness(rows) for rows in ids.split(1024)])


def _area(real: Tensor, fake: Tensor) -> float:
    """Of the ROC curve: how often a real sequence scores above a generated one."""
    return float(stats.mannwhitneyu(real.numpy(), fake.numpy()).statistic) / (len(real) * len(fake))


def _search(
    generator: Any,
    reward: Any,
    data: Dataset,
    ids: Tensor,
    start: Tensor,
    rollouts: int,
    seed: int,
    how: str = PLAIN,
) -> Tensor:
    """Action values by roll-outs of the generator in some arithmetic."""
    policy = copy.deepcopy(generator)
    precision.apply(SHORT if how == SHORT else PLAIN, policy)
    ends = {"end_id": data.end_id, "pad_id": data.pad_id}
    return action_values(policy, reward, ids, start, rollouts, torch.Generator().manual_seed(seed), **ends)


def _finished(generator: Any, data: Dataset, ids: Tensor, start: Tensor, rollouts: int, seed: int) -> Tensor:
    """The finished sequences of one search."""
    lanes = []

    def listen(finished: Tensor, group: Tensor, start: Tensor) -> Tensor:
        lanes.append(finished.clone())
        return torch.zeros(len(finished))

    _search(generator, listen, data, ids, start, rollouts, seed)
    return torch.cat(lanes)


def _differences(values: dict[str, float]) -> dict[str, float]:
    return {how: values[how] - values[PLAIN] for how in (REORDERED, SHORT)}


def _agreement(values: dict[str, Tensor], how: str) -> dict[str, float]:
    """Mean |difference| and correlation with what float32 says of the same sequences."""
    plain, other = values[PLAIN], values[how]
    return {
        f"{how}: mean |difference|": (other - plain).abs().mean().item(),
        f"{how}: correlation": torch.corrcoef(torch.stack([plain, other]).double())[0, 1].item(),
    }


def _summary(values: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation over seeds."""
    return {
        statistic: {
            name: function([value[name] for value in values])
            if len(values) > 1
            else values[0][name] * (statistic == "mean")
            for name in values[0]
        }
        for statistic, function in {"mean": statistics.mean, "deviation": statistics.stdev}.items()
    }


def describe(result: dict[str, Any]) -> str:
    """Means and standard deviations over the seeds."""
    titles = {
        "auc": "AUC on held-out music: of float32, and the others' less it",
        "trained_so": "rewards of the same roll-outs by discriminators trained so",
        "scored_so": "rewards of the same roll-outs by the same weights",
        "action_values": "mean action value of roll-outs drawn so, less that of float32",
    }
    lines = [f"{result['samples']} + {result['samples']} sequences, {result['held_out']} held out"]
    for name, network in result["networks"].items():
        for what, found in network["figures"].items():
            over = f"mean ± standard deviation over {len(found['seeds'])} seeds"
            lines.append(f"{name}, {network['epochs']} epochs: {titles[what]} ({over})")
            for figure, mean in found["mean"].items():
                lines.append(f"  {figure:44} {mean:9.5f} ± {found['deviation'][figure]:.5f}")
    return "\n".join(lines)
