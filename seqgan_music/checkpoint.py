"""One directory for everything a run is made of: tensors as safetensors, all else as JSON or TOML, no pickle anywhere.

A directory is written beside its final place and then moved there, so that a run killed at any moment keeps the one
before.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from safetensors.torch import save as serialized

from seqgan_music.dataset import PARTS, Dataset, Windows
from seqgan_music.errors import Failure
from seqgan_music.files import write_whole

if TYPE_CHECKING:
    from seqgan_music.evaluation import Evaluation

TENSORS, VALUES = "tensors.safetensors", "values.json"
_TENSOR, _PAIRS = "$tensor", "$pairs"


def save(directory: Path, state: Mapping[str, Any]) -> None:
    """Write a nested state of tensors and plain values, in place of what was there.

    Raises
    ------
    Failure
        It cannot be written; what was there is still there.
    """
    tensors: dict[str, torch.Tensor] = {}
    values = _plain(state, "", tensors)
    fresh, old = directory.with_name(directory.name + ".new"), directory.with_name(directory.name + ".old")
    try:
        if old.exists() and not directory.exists():
            old.rename(directory)  # killed between the two moves: the old state is all there is
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)
        fresh.mkdir(parents=True)
        save_file(tensors, fresh / TENSORS)
        (fresh / VALUES).write_text(json.dumps(values), encoding="utf-8")
        for name in (TENSORS, VALUES):
            _reach_the_disk(fresh / name)
        if directory.exists():
            directory.rename(old)
        fresh.rename(directory)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        raise Failure(f"cannot write the checkpoint {directory}: {error}") from error


def load(directory: Path) -> dict[str, Any]:
    """Read what `save` wrote, its tensors in main memory; a state that was being replaced when the run died counts too.

    Raises
    ------
    Failure
        It is missing or damaged.
    """
    if not directory.exists() and exists(directory):
        directory = directory.with_name(directory.name + ".old")
    try:
        tensors = load_file(directory / TENSORS)
        state: dict[str, Any] = _restored(json.loads((directory / VALUES).read_text(encoding="utf-8")), tensors)
    except FileNotFoundError as error:
        raise Failure(f"{directory} holds no checkpoint: {Path(error.filename or TENSORS).name} is missing") from error
    except Exception as error:  # safetensors has an exception class of its own for every kind of damage
        raise Failure(f"the checkpoint {directory} is damaged: {error}") from error
    return state


def exists(directory: Path) -> bool:
    """Whether `load` would find a checkpoint."""
    return directory.exists() or directory.with_name(directory.name + ".old").exists()


def digest(weights: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of weights: their names, kinds, shapes and values, in the order of the names."""
    sha = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        sha.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a file in one move.

    Raises
    ------
    Failure
        It cannot be written; what was there is still there.
    """
    write_whole(path, text.encode())


def write_report(directory: Path, evaluation: Evaluation) -> None:
    """Keep an evaluation with its run."""
    write_text(directory / "report.json", json.dumps(evaluation.to_dict(), indent=1, ensure_ascii=False))


def save_dataset(path: Path, dataset: Dataset) -> None:
    """Write the windows of all parts."""
    tensors = {
        f"{part}.{name}": getattr(getattr(dataset, part), name).cpu().contiguous()
        for part in PARTS
        for name in ("ids", "start", "piece")
    }
    vocabulary = {
        "vocab_size": dataset.vocab_size,
        "end_id": dataset.end_id,
        "pad_id": dataset.pad_id,
        "never": list(dataset.never),
    }
    metadata = {"vocabulary": json.dumps(vocabulary)}
    write_whole(path, serialized(tensors, metadata))


def load_dataset(path: Path) -> Dataset:
    """Read what `save_dataset` wrote.

    Raises
    ------
    Failure
        It is missing or damaged.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, "pt") as file:
            vocabulary = json.loads(file.metadata()["vocabulary"])
            parts: dict[str, Any] = {
                part: Windows(*(file.get_tensor(f"{part}.{name}") for name in ("ids", "start", "piece")))
                for part in PARTS
            }
    except Exception as error:  # safetensors has an exception class of its own for every kind of damage
        raise Failure(f"the run's windows {path} cannot be read: {error}") from error
    vocabulary["never"] = tuple(vocabulary["never"])
    return Dataset(**parts, **vocabulary)


def _reach_the_disk(path: Path) -> None:
    """Or a power cut after the move could leave an empty file in place of the one before."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _plain(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    """Put tensors aside under their path, and leave a value that JSON can hold."""
    if isinstance(value, torch.Tensor):
        while path in tensors:  # a key may hold the separator
            path += "'"
        tensors[path] = value.detach().cpu().clone().contiguous()
        return {_TENSOR: path}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value):
            return {key: _plain(item, f"{path}/{key}", tensors) for key, item in value.items()}
        return {_PAIRS: [[key, _plain(item, f"{path}/{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{path}/{i}", tensors) for i, item in enumerate(value)]
    return value


def _restored(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if isinstance(value, list):
        return [_restored(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        return tensors[value[_TENSOR]]
    if _PAIRS in value:
        return {key: _restored(item, tensors) for key, item in value[_PAIRS]}
    return {key: _restored(item, tensors) for key, item in value.items()}
