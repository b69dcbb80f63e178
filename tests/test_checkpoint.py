import json
import math
import os

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from seqgan_music import checkpoint
from seqgan_music.errors import Failure

STATE = {
    "network": {"weight": torch.arange(6.0).view(2, 3).t(), "empty": {}, "scalar": torch.tensor(7)},
    "optimizer": {
        "state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.randn(2, generator=torch.Generator())}, 1: {}},
        "param_groups": [{"lr": 1e-3, "params": [0, 1], "flag": True, "name": "größe", "none": None}],
    },
    "best": math.inf,
    "rng": torch.Generator().get_state(),
    "half": torch.ones(2, dtype=torch.bfloat16),
    "list": [torch.zeros(1), [1, "a"]],
}


def equal(a, b):
    """The same nested values, tensors bit for bit with their type."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and a == b


def test_a_nested_state_comes_back_as_it_was(tmp_path):
    checkpoint.save(tmp_path / "state", STATE)
    assert equal(checkpoint.load(tmp_path / "state"), STATE)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["state"]


def test_an_optimiser_goes_on_from_its_saved_state(tmp_path):
    def trained(steps, optimizer, weight):
        for step in range(steps):
            optimizer.zero_grad()
            ((weight - step) ** 2).sum().backward()
            optimizer.step()

    straight, halted = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    adam = torch.optim.Adam([straight], 0.1)
    trained(2, adam, straight)
    checkpoint.save(tmp_path / "state", {"adam": adam.state_dict(), "weight": straight})
    trained(2, adam, straight)
    state = checkpoint.load(tmp_path / "state")
    halted.data = state["weight"]
    again = torch.optim.Adam([halted], 0.5)
    again.load_state_dict(state["adam"])
    trained(2, again, halted)
    assert torch.equal(straight, halted)


def test_tensors_whose_paths_read_alike_stay_apart(tmp_path):
    state = {"a/b": torch.tensor(1), "a": {"b": torch.tensor(2)}, "a/b'": torch.tensor(3)}
    checkpoint.save(tmp_path / "state", state)
    assert equal(checkpoint.load(tmp_path / "state"), state)


def test_what_is_saved_is_a_copy_in_main_memory(tmp_path):
    shared = torch.ones(4)
    checkpoint.save(tmp_path / "state", {"whole": shared, "part": shared[:2], "again": shared})
    assert equal(checkpoint.load(tmp_path / "state"), {"whole": shared, "part": shared[:2], "again": shared})


def test_a_second_save_replaces_the_first(tmp_path):
    checkpoint.save(tmp_path / "state", {"n": 1, "only": torch.ones(1)})
    checkpoint.save(tmp_path / "state", {"n": 2})
    assert checkpoint.load(tmp_path / "state") == {"n": 2}
    assert [file.name for file in tmp_path.iterdir()] == ["state"]


@pytest.mark.parametrize("moment", ["save_file", "rename", "second rename"])
def test_an_interrupted_save_keeps_the_older(tmp_path, monkeypatch, moment):
    where = tmp_path / "state"
    checkpoint.save(where, {"n": 1})
    renames = []

    def interrupted(*args):
        raise KeyboardInterrupt

    if moment == "save_file":
        monkeypatch.setattr(checkpoint, "save_file", interrupted)
    else:
        path = type(where)
        rename = path.rename

        def rename_or_die(self, target):
            renames.append(target)
            if len(renames) == (1 if moment == "rename" else 2):
                raise KeyboardInterrupt
            return rename(self, target)

        monkeypatch.setattr(path, "rename", rename_or_die)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(where, {"n": 2})
    assert checkpoint.exists(where)
    assert checkpoint.load(where) == {"n": 1}
    # Killed a second time, in the middle of writing: the older is still the only whole one.
    monkeypatch.undo()
    monkeypatch.setattr(checkpoint, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(where, {"n": 3})
    assert checkpoint.load(where) == {"n": 1}
    monkeypatch.undo()
    checkpoint.save(where, {"n": 4})
    assert checkpoint.load(where) == {"n": 4}
    assert [file.name for file in tmp_path.iterdir()] == ["state"]


def test_a_missing_checkpoint_is_a_failure(tmp_path):
    assert not checkpoint.exists(tmp_path / "state")
    with pytest.raises(Failure, match=r"state holds no checkpoint"):
        checkpoint.load(tmp_path / "state")


@pytest.mark.parametrize("name", [checkpoint.TENSORS, checkpoint.VALUES])
@pytest.mark.parametrize("damage", ["gone", "cut", "empty", "other"])
def test_a_damaged_checkpoint_is_a_failure_that_names_it(tmp_path, name, damage):
    where = tmp_path / "state"
    checkpoint.save(where, STATE)
    file = where / name
    if damage == "gone":
        file.unlink()
    elif damage == "other":  # sound in itself, but of another checkpoint
        checkpoint.save(tmp_path / "other", {"weight": torch.ones(1)})
        os.replace(tmp_path / "other" / checkpoint.TENSORS, where / checkpoint.TENSORS)
    else:
        file.write_bytes(file.read_bytes()[: 0 if damage == "empty" else len(file.read_bytes()) // 2])
    with pytest.raises(Failure, match="state"):
        checkpoint.load(where)


def test_what_cannot_be_written_is_a_failure_that_names_it(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Failure, match="cannot write the checkpoint"):
        checkpoint.save(tmp_path / "file" / "state", {"n": 1})
    with pytest.raises(Failure, match="cannot write"):
        checkpoint.write_text(tmp_path / "file" / "text", "")


def test_a_text_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    checkpoint.write_text(tmp_path / "text", "old")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(Failure, match="No space left"):
        checkpoint.write_text(tmp_path / "text", "new")
    assert (tmp_path / "text").read_text() == "old"


def test_windows_come_back_as_they_were(tiny_run, tmp_path):
    checkpoint.save_dataset(tmp_path / "windows", tiny_run.dataset)
    again = checkpoint.load_dataset(tmp_path / "windows")
    assert again.digest() == tiny_run.dataset.digest()
    assert (again.vocab_size, again.end_id, again.pad_id, again.never) == (
        tiny_run.dataset.vocab_size,
        tiny_run.dataset.end_id,
        tiny_run.dataset.pad_id,
        tiny_run.dataset.never,
    )
    assert torch.equal(again.test.piece, tiny_run.dataset.test.piece)


@pytest.mark.parametrize("content", [None, b"", b"nonsense"])
def test_damaged_windows_are_a_failure(tmp_path, content):
    if content is not None:
        (tmp_path / "windows").write_bytes(content)
    with pytest.raises(Failure, match="windows"):
        checkpoint.load_dataset(tmp_path / "windows")


def test_nothing_in_a_run_directory_is_a_pickle(tiny_run):
    files = [file for file in tiny_run.directory.rglob("*") if file.is_file() and "tfevents" not in file.name]
    assert {file.suffix for file in files} <= {".safetensors", ".json", ".jsonl", ".toml", ".mid", ".npz", ".html"}
    for file in files:
        if file.suffix == ".npz":
            with np.load(file, allow_pickle=False) as arrays:
                assert all(arrays[name].dtype != object for name in arrays)
            continue
        assert file.read_bytes()[:2] not in (b"PK", b"\x80\x02", b"\x80\x04", b"\x80\x05"), file
        if file.suffix == ".safetensors":
            load_file(file)
        elif file.suffix == ".json":
            json.loads(file.read_text("utf-8"))
