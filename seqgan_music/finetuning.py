"""A run that starts from another's weights and goes on with other music.

What the weights mean comes with them: the tokenizer, the networks' options, the length of a window and whatever
transposes it. All else, the schedule above all, is the new run's own; nothing of an optimiser is inherited.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqgan_music import building, checkpoint, config, pretrained, run_directory
from seqgan_music.algorithms.pretraining import negative_log_likelihood
from seqgan_music.errors import UsageError
from seqgan_music.run import Run

if TYPE_CHECKING:
    from torch import Tensor

    from seqgan_music.algorithms import Parts
    from seqgan_music.dataset import Dataset

PRETRAINED = "pretrained"
SECTIONS = ("tokenizer", "generator", "discriminator")
DATA = ("length", "transpose")  # of [data]: what a window is

Weights = dict[str, dict[str, "Tensor"]]


def open_run(run: Run | str | Path, *, own_code: bool = False) -> Run:
    """The run to start from, which must have a trained generator.

    Parameters
    ----------
    run : Run, str or Path
        ``"pretrained"`` is the one that ships with the package.
    own_code : bool
        Whether it may load code outside the package that it names.

    Raises
    ------
    UsageError
        Not a run, or one that has not been trained.
    """
    if not isinstance(run, Run):
        run = Run(pretrained.directory() if str(run) == PRETRAINED else run, own_code=own_code)
    if not run.stages:
        raise UsageError(f"{run.directory} has no trained generator to start from; name another run for --init")
    return run


def lay_under(settings: Mapping[str, Mapping[str, Any]], init: Run | None) -> config.Config:
    """Settings with a run's own in place of theirs where these say what its weights mean."""
    if init is None:
        return config.merge(settings)
    data = {option: init.settings["data"][option] for option in DATA if option in init.settings["data"]}
    rest = {section: options for section, options in settings.items() if section not in SECTIONS}
    return config.merge(rest, {section: init.settings[section] for section in SECTIONS}, {"data": data})


def check_tokenizer(settings: config.Config, init: Run) -> None:
    """Refuse settings that ask for another tokenizer than the run's.

    Raises
    ------
    UsageError
        With the setting that does.
    """
    known = {**init.tokenizer.to_dict(), **init.settings["tokenizer"]}
    for option, value in settings["tokenizer"].items():
        if option not in known or json.dumps(value) != json.dumps(known[option]):
            has = f"has {known[option]!r}" if option in known else "has no such option"
            raise UsageError(
                f"tokenizer.{option}={value!r} contradicts --init {init.directory}, which {has} "
                f"and keeps its tokenizer; leave one of them out"
            )


def weights(settings: config.Config, data: Dataset, init: Run) -> Weights:
    """Weights to start from, by network: the generator's, and the discriminator's where it has the sizes of the new
    one and was trained by the same loss.

    Raises
    ------
    UsageError
        Settings change the size of the generator.
    """
    saved = run_directory.stage_weights(init.directory, init.stages[-1])
    if not _fit(building.build_generator(settings, data, own_code=True), saved["generator"]):
        old = init.settings["generator"]
        new = settings["generator"].items()
        other = ", ".join(f"generator.{name}={value!r}" for name, value in new if old.get(name) != value)
        raise UsageError(
            f"the weights of --init {init.directory} do not fit {other or 'their own settings'}; leave it out"
        )
    if "discriminator" in saved and not (
        building.has_discriminator(settings, own_code=True)
        and settings["loss"] == init.settings["loss"]
        and _fit(building.build_discriminator(settings, data, own_code=True), saved["discriminator"])
    ):
        del saved["discriminator"]
    return saved


def facts(init: Run, start: Weights, parts: Parts, moved: Mapping[str, int]) -> dict[str, Any]:
    """What a new run keeps of where it comes from.

    Returns
    -------
    dict
        ``run`` (the folder's name), ``stage``, ``weights`` (SHA-256 of the generator's, see `checkpoint.digest`),
        ``discriminator`` (whether its weights came along), ``nll_validation`` (of the weights on the new validation
        windows, nats per token), ``octaves`` (by which pieces were moved).
    """
    data = parts.dataset
    return {
        "run": init.directory.resolve().name,
        "stage": init.stages[-1],
        "weights": checkpoint.digest(start["generator"]),
        "discriminator": "discriminator" in start,
        "nll_validation": negative_log_likelihood(parts.generator, data.validation, data.pad_id),
        "octaves": dict(moved),
    }


def _fit(network: Any, state: Mapping[str, Tensor]) -> bool:
    own = network.state_dict()
    return {name: tensor.shape for name, tensor in own.items()} == {name: t.shape for name, t in state.items()}
