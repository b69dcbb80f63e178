"""A small copy of a run to share: one stage's weights and what generating takes, none of the corpus's music."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w
import torch

from seqgan_music import checkpoint, dataset, run_directory
from seqgan_music.errors import Failure, UsageError

if TYPE_CHECKING:
    from seqgan_music.run import Run

ROWS = 512  # start tokens that keep the shares of the metres


def export(
    run: Run, directory: str | Path, *, stage: str | None = None, with_discriminator: bool = False
) -> dict[str, Any]:
    """Write a copy of a run that generates and can be started from, but neither goes on nor is measured.

    It holds settings, tokenizer, facts and one stage's weights. In place of the corpus's windows stand empty ones with
    the start tokens of some, so that metres are drawn like those of the corpus. No optimiser state, no log, no samples,
    nothing about the machine, and of the corpus's place only the folder's name.

    Parameters
    ----------
    run : Run
    directory : str or Path
        New or empty.
    stage : str, optional
        The last of `Run.stages`, if left out.
    with_discriminator : bool
        Its weights too.

    Returns
    -------
    dict
        ``stage``, and ``weights``: SHA-256 of the generator's, see `checkpoint.digest`.

    Raises
    ------
    UsageError
        No such stage, no discriminator, or a directory in use.
    Failure
        It cannot be written; nothing is left behind then.
    """
    directory = Path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(f"{directory} is in use; name a new directory for the exported run")
    run.generator(stage, "cpu")  # refuses a stage that there is not, and weights that do not fit
    stage = stage or run.stages[-1]
    weights = run_directory.stage_weights(run.directory, stage)
    if not with_discriminator:
        weights.pop("discriminator", None)
    elif "discriminator" not in weights:
        raise UsageError(f"{run.directory} has no trained discriminator; leave out --with-discriminator")
    weights = {network: {name: _single(tensor) for name, tensor in state.items()} for network, state in weights.items()}
    exported = {"stage": stage, "weights": checkpoint.digest(weights["generator"])}
    facts = copy.deepcopy(run.facts) | {"exported": exported}
    facts["corpus"]["root"] = Path(facts["corpus"]["root"]).name
    facts["versions"].pop("platform", None)  # nobody's business
    directory = directory.absolute()
    fresh = directory.with_name(directory.name + ".new")
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        shutil.copyfile(run.directory / run_directory.TOKENIZER, fresh / run_directory.TOKENIZER)
        checkpoint.write_text(fresh / run_directory.CONFIG, tomli_w.dumps(run.settings))
        checkpoint.write_text(fresh / run_directory.RUN, json.dumps(facts, indent=1, ensure_ascii=False))
        checkpoint.save_dataset(fresh / run_directory.WINDOWS, _starts_alone(run.dataset))
        _save_weights(fresh / run_directory.CHECKPOINTS, stage, weights)
        for file in fresh.rglob("*.safetensors"):
            file.chmod((fresh / run_directory.CONFIG).stat().st_mode)  # safetensors lets nobody but the owner read
        if directory.exists():
            directory.rmdir()
        fresh.rename(directory)
    except OSError as error:
        raise Failure(f"cannot write {directory}: {error.strerror}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return exported


def _single(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _save_weights(directory: Path, stage: str, weights: dict[str, dict[str, torch.Tensor]]) -> None:
    """As a training leaves them: the discriminator of the stage ``mle`` has a checkpoint of its own."""
    if stage == "mle" and "discriminator" in weights:
        checkpoint.save(directory / "discriminator", {"discriminator": weights.pop("discriminator")})
    checkpoint.save(directory / stage, weights)


def _starts_alone(data: dataset.Dataset) -> dataset.Dataset:
    """No music, and up to `ROWS` start tokens of the training part, evenly spread over it."""
    count = min(ROWS, len(data.train))
    rows = torch.arange(count) * len(data.train) // count
    ids = torch.full((count, data.length), data.pad_id, dtype=data.train.ids.dtype)
    starts = dataset.Windows(ids, data.train.start[rows], rows)
    none = dataset.Windows(ids[:0], starts.start[:0], rows[:0])
    return dataclasses.replace(data, train=starts, validation=none, test=none)
