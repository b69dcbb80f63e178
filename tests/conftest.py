"""A few real tunes, the smallest sensible settings, and one run trained with them for all tests."""

import copy
import os
import shutil
from pathlib import Path

# The networks of these tests are smaller than the cost of sharing them out; for the commands they start, too.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["SEQGAN_MUSIC_CACHE"] = "off"  # the user's own is not for tests

import pytest
import torch

import seqgan_music
from seqgan_music import jit, run_settings
from seqgan_music.experiment import Experiment

torch.set_num_threads(1)

MIDI_DATA = Path(__file__).parent.parent / "midi_data"
TINY = {
    "run": {"device": "cpu"},
    "data": {"length": 16},
    "generator": {"name": "lstm", "embedding": 8, "hidden": 16, "dropout": 0.2},
    "discriminator": {"name": "cnn", "embedding": 8, "filters": [[1, 8], [2, 8], [4, 8]]},
    "algorithm": {
        "name": "seqgan",
        "batch_size": 32,
        "generator_epochs": 2,
        "patience": 3,
        "generator_learning_rate": 1e-2,
        "discriminator_sets": 2,
        "discriminator_set_epochs": 1,
        "discriminator_samples": 64,
        "discriminator_learning_rate": 1e-3,
        "rounds": 2,
        "g_steps": 1,
        "d_steps": 1,
        "d_epochs": 1,
        "rollouts": 2,
        "policy_learning_rate": 1e-2,
    },
}


@pytest.fixture(params=["kernel", "torch"])
def back_end(request, monkeypatch):
    """Compiled kernels, and plain PyTorch in their place."""
    if request.param == "torch":
        monkeypatch.setenv("SEQGAN_MUSIC_JIT", "0")
    elif not jit.available():
        pytest.skip("numba is not installed")
    return request.param


@pytest.fixture
def threads():
    """Three of PyTorch's threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)


@pytest.fixture
def tiny_settings():
    """Settings with which a run takes less than a second; a copy for every test to change."""
    return copy.deepcopy(TINY)


@pytest.fixture(scope="session")
def tiny_experiment(tiny_corpus):
    """Start a run with the tiny settings and, on top of them, others: ``tiny_experiment(directory, section={...})``."""

    def create(directory, source=tiny_corpus, **sections):
        return Experiment.create(source, run_settings.lay(TINY, sections), directory)

    return create


@pytest.fixture(scope="session")
def few_tunes(tmp_path_factory):
    """A folder with a dozen real tunes in several metres."""
    folder = tmp_path_factory.mktemp("a few tunes")
    for file in sorted(MIDI_DATA.glob("*.mid"))[::80]:
        shutil.copy(file, folder)
    assert len(list(folder.iterdir())) == 12
    return folder


@pytest.fixture(scope="session")
def tiny_corpus(few_tunes):
    return seqgan_music.read_corpus(few_tunes)


@pytest.fixture(scope="session")
def tiny_run(tiny_corpus, tmp_path_factory):
    """A finished run; to be read, not changed."""
    directory = tmp_path_factory.mktemp("runs") / "a tiny run"
    return seqgan_music.train(tiny_corpus, preset="quick", settings=TINY, directory=directory)


@pytest.fixture(autouse=True)
def no_pages(request, monkeypatch):
    """Trainings leave no pages, whose sound takes longer than a tiny training; the tests of the pages make them."""
    if request.path.name not in ("test_html_report.py", "test_pages_in_a_browser.py"):
        monkeypatch.setattr("seqgan_music.html_report.write", lambda run, **options: None)


@pytest.fixture
def own_run(tiny_run, tmp_path):
    """A copy of the finished run's directory, to be changed or damaged."""
    return Path(shutil.copytree(tiny_run.directory, tmp_path / "own run"))
