"""From settings to what they describe: networks, reward and algorithm, on a device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from seqgan_music import config, graphs, precision, registry
from seqgan_music.algorithms import ALGORITHMS, Algorithm, Parts
from seqgan_music.discriminators import DISCRIMINATORS
from seqgan_music.errors import UsageError
from seqgan_music.generators import GENERATORS
from seqgan_music.losses import DISCRIMINATOR_LOSSES, DiscriminatorLoss
from seqgan_music.objectives import terms
from seqgan_music.rewards import MeasuredObjectives, Reward, lambdas

if TYPE_CHECKING:
    from seqgan_music.dataset import Dataset
    from seqgan_music.tokenizers import Tokenizer


def choose_device(name: str) -> torch.device:
    """The device a name stands for; ``auto`` is a CUDA GPU where there is one, else the CPU.

    Raises
    ------
    UsageError
        Unknown, or not to be had on this machine.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device("cuda" if available["cuda"] else "cpu")
    if name not in available:
        raise UsageError(f"unknown device {name!r}; there are: auto, {', '.join(available)}")
    if not available[name]:
        raise UsageError(f"device {name!r} is not to be had on this machine; use auto or cpu")
    return torch.device(name)


def build(
    settings: config.Config,
    tokenizer: Tokenizer,
    data: Dataset,
    *,
    weights: Mapping[str, Mapping[str, torch.Tensor]] | None = None,
    own_code: bool = False,
) -> tuple[Parts, Algorithm]:
    """What settings describe, ready to train: networks, reward and algorithm.

    Parameters
    ----------
    settings : Config
        Resolved.
    tokenizer : Tokenizer
    data : Dataset
    weights : mapping of str to state, optional
        By network, to begin with; a network that is not named draws its own by the seed.
    own_code : bool
        Whether components outside the package may be loaded.

    Raises
    ------
    UsageError
        An option out of its range, or a device that is not to be had.
    """
    device = choose_device(settings["run"]["device"])
    seed = settings["run"]["seed"]
    # On the CPU, so that every device starts from the same weights.
    weights_rng = torch.Generator().manual_seed(seed)
    networks = {"generator": build_generator(settings, data, own_code=own_code)}
    if has_discriminator(settings, own_code=own_code):
        networks["discriminator"] = build_discriminator(settings, data, own_code=own_code)
    for name, network in networks.items():
        network.reset_parameters(weights_rng)
        if weights and name in weights:
            network.load_state_dict(weights[name])
        network.to(device)
        precision.apply(settings["run"]["precision"], network)
    loss = _loss(settings["loss"], own_code=own_code)
    objectives = {
        name: (terms.read(name, own_code=own_code), weight) for name, weight in settings["objectives"].items()
    }
    discriminator = networks.get("discriminator")
    options = dict(settings["algorithm"])
    factory = registry.resolve(ALGORITHMS, "algorithm", options.pop("name"), own_code=own_code)
    reward = MeasuredObjectives(tokenizer, objectives)
    if getattr(factory, "steerable", True):
        how = dict(settings["reward"])
        reward = Reward(discriminator, loss, tokenizer, objectives, how.pop("lambda"), **how)
    rng = torch.Generator(device).manual_seed(seed)
    parts = Parts(
        networks["generator"],
        discriminator,
        loss=loss,
        reward=reward,
        dataset=data.to(device),
        rng=rng,
        graphs=graphs.for_generator(rng),
    )
    return parts, factory(parts, **options)


def has_discriminator(settings: config.Config, *, own_code: bool = False) -> bool:
    """Whether a discriminator is built and trained: the algorithm trains one, and it is ever worth something."""
    algorithm = registry.resolve(ALGORITHMS, "algorithm", settings["algorithm"]["name"], own_code=own_code)
    return bool(getattr(algorithm, "discriminated", True)) and max(lambdas(settings["reward"])) > 0


def build_generator(settings: config.Config, data: Dataset, *, own_code: bool = False) -> Any:
    """The generator that settings describe, its weights not yet drawn."""
    options = dict(settings["generator"])
    factory = registry.resolve(GENERATORS, "generator", options.pop("name"), own_code=own_code)
    with _keeping_the_global_random_numbers():
        return factory(data.vocab_size, data.never, **options)


def build_discriminator(settings: config.Config, data: Dataset, *, own_code: bool = False) -> Any:
    """The discriminator that settings describe, its weights not yet drawn."""
    options = dict(settings["discriminator"])
    factory = registry.resolve(DISCRIMINATORS, "discriminator", options.pop("name"), own_code=own_code)
    with _keeping_the_global_random_numbers():
        return factory(data.vocab_size, data.length, **options)


def _loss(settings: Mapping[str, Any], *, own_code: bool) -> DiscriminatorLoss:
    options = dict(settings)
    name = options.pop("name")
    factory = registry.resolve(DISCRIMINATOR_LOSSES, "loss", name, own_code=own_code)
    if not (isinstance(factory, type) and issubclass(factory, DiscriminatorLoss)):
        raise UsageError(
            f"loss {name!r} is no class derived from seqgan_music.losses.DiscriminatorLoss, which says what a loss has"
        )
    return factory(**options)


def _keeping_the_global_random_numbers() -> Any:
    """Layers of torch draw weights when they are built, which `reset_parameters` or saved weights then replace."""
    return torch.random.fork_rng(devices=[])
