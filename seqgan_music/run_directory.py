"""The directory of a run: what its files are called, and how they are read."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqgan_music import checkpoint, config, registry, run_settings
from seqgan_music.errors import Failure, UsageError

if TYPE_CHECKING:
    import torch

    from seqgan_music.dataset import Dataset
    from seqgan_music.tokenizers import Tokenizer

CONFIG, TOKENIZER, WINDOWS, RUN, LOG, CHECKPOINTS = (
    "config.toml",
    "tokenizer.json",
    "windows.safetensors",
    "run.json",
    "metrics.jsonl",
    "checkpoints",
)  # files of a run directory
GROUP = "group.json"  # file of a directory of runs that differ in their seed alone


def new_directory(algorithm: str, parent: Path = Path("runs")) -> Path:
    """A directory that does not exist yet, named by date, time and algorithm."""
    base = f"{time.strftime('%Y-%m-%d-%H%M%S')}-{algorithm.rpartition(':')[2]}"
    directory, number = parent / base, 1
    while directory.exists():
        number += 1
        directory = parent / f"{base}-{number}"
    return directory


def point_latest_at(directory: Path) -> None:
    """Let ``latest`` beside the run be the run, where the file system has links."""
    latest = directory.parent / "latest"
    if latest.is_symlink() or not latest.exists():
        try:
            latest.unlink(missing_ok=True)
            latest.symlink_to(directory.name)
        except OSError:
            return


def open_directory(directory: Path, *, own_code: bool = False) -> tuple[config.Config, Tokenizer, Dataset]:
    """Settings, tokenizer and windows of a run; `own_code` lets it load the code outside the package that it names.

    Raises
    ------
    UsageError
        Not a run directory.
    """
    if (directory / GROUP).is_file():
        runs = members(directory)
        names = ", ".join(run.name for run in runs)
        raise UsageError(
            f"{str(directory)!r} is a group of {len(runs)} runs ({names}); name one of them, such as {runs[0]}"
        )
    if not (directory / RUN).is_file():
        raise UsageError(f"{str(directory)!r} is not a run: it has no {RUN}; seqgan-music train makes one")
    settings = run_settings.resolve(config.read_config(directory / CONFIG), own_code=own_code)
    return settings, read_tokenizer(directory, own_code=own_code), checkpoint.load_dataset(directory / WINDOWS)


def read_group(directory: Path) -> dict[str, list[int]]:
    """``seeds`` of a group, and those that are ``finished``; see `seqgan_music.group`.

    Raises
    ------
    UsageError
        Not a group.
    Failure
        It is damaged.
    """
    if not (directory / GROUP).is_file():
        raise UsageError(f"{str(directory)!r} is not a group of runs: it has no {GROUP}; train --seeds makes one")
    try:
        values = json.loads((directory / GROUP).read_text(encoding="utf-8"))
        return {name: [int(seed) for seed in values[name]] for name in ("seeds", "finished")}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise Failure(f"{directory / GROUP} is damaged: {type(error).__name__}: {error}") from error


def member(directory: Path, seed: int) -> Path:
    """Where in a group the run of a seed is."""
    return directory / f"seed-{seed}"


def members(directory: Path) -> list[Path]:
    """Runs of a group, in the order of their seeds; see `read_group`."""
    return [member(directory, seed) for seed in read_group(directory)["seeds"]]


def read_tokenizer(directory: Path, *, own_code: bool = False) -> Tokenizer:
    """The tokenizer saved with a run.

    Raises
    ------
    Failure
        It is missing or damaged.
    """
    try:
        values = json.loads((directory / TOKENIZER).read_text(encoding="utf-8"))
        if "name" not in values:
            raise ValueError("it has no name")
    except (OSError, ValueError, LookupError) as error:
        raise Failure(f"the run's {directory / TOKENIZER} is damaged: {type(error).__name__}: {error}") from error
    return tokenizer_of(values, own_code=own_code)


def tokenizer_of(values: Mapping[str, Any], *, own_code: bool = False) -> Tokenizer:
    """The tokenizer of its ``name`` and what its `to_dict` gave."""
    of_class = {key: value for key, value in values.items() if key != "name"}
    factory = registry.resolve(run_settings.TABLES["tokenizer"], "tokenizer", values["name"], own_code=own_code)
    tokenizer: Tokenizer = factory.from_dict(of_class)
    return tokenizer


def read_facts(directory: Path) -> dict[str, Any]:
    """Versions, corpus, refusals and split of a run.

    Raises
    ------
    Failure
        They cannot be read.
    """
    try:
        facts: dict[str, Any] = json.loads((directory / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Failure(f"{directory / RUN} is damaged: {error}") from error
    return facts


def read_log(directory: Path) -> list[dict[str, Any]]:
    """Records of a run, one dictionary each.

    Raises
    ------
    Failure
        They cannot be read.
    """
    try:
        lines = (directory / LOG).read_text(encoding="utf-8").splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]  # a killed run may leave half a line
        records: list[dict[str, Any]] = [json.loads(line) for line in whole]
        if any(not {"phase", "step"} <= record.keys() for record in records):
            raise ValueError("a line is no record")
    except (OSError, ValueError, AttributeError) as error:
        raise Failure(f"{directory / LOG} is damaged: {error}") from error
    return records


def stage_weights(directory: Path, stage: str) -> dict[str, dict[str, torch.Tensor]]:
    """Weights of a stage by network: ``generator``, and ``discriminator`` where one was trained.

    The discriminator beside the stage ``mle`` is the one that was pre-trained on that generator's samples.

    Raises
    ------
    Failure
        They are missing or damaged.
    """
    saved = directory / CHECKPOINTS
    if not checkpoint.exists(saved / stage):
        state = checkpoint.load(saved / "last")["parts"]
    elif stage == "mle" and checkpoint.exists(saved / "discriminator"):
        state = checkpoint.load(saved / "discriminator") | checkpoint.load(saved / stage)
    else:
        state = checkpoint.load(saved / stage)
    return {name: state[name] for name in ("generator", "discriminator") if name in state}
