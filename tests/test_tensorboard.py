import importlib.util
import subprocess
import sys

import pytest

from seqgan_music import tensorboard
from seqgan_music.errors import Failure
from seqgan_music.experiment import Experiment
from seqgan_music.run_directory import read_log

event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def points(directory):
    """Tag → (step, value) of every point."""
    events = event_accumulator.EventAccumulator(str(directory / "tensorboard"), {"scalars": 0}).Reload()
    return {tag: [(point.step, point.value) for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def logged(directory):
    found = {}
    for line in read_log(directory):
        for name, value in line.items():
            if name not in {"phase", "step", "of"} and value is not None:
                found.setdefault(f"{line['phase']}/{name}", []).append((line["step"], pytest.approx(value, rel=1e-5)))
    return found


def test_every_figure_of_the_log_is_a_point_of_its_phase(tiny_run):
    assert points(tiny_run.directory) == logged(tiny_run.directory)
    assert {"mle/nll_validation", "discriminator/d_loss", "adversarial/reward_mean"} <= set(points(tiny_run.directory))


@pytest.mark.parametrize("stopped_after", [1, 3, 5])
def test_a_resumed_run_has_every_point_once(tiny_experiment, tmp_path, stopped_after):
    directory = tmp_path / "run"
    for number, _ in enumerate(tiny_experiment(directory), 1):
        assert points(directory) == logged(directory), "a record is there when it is seen"
        if number == stopped_after:
            break
    with (directory / "metrics.jsonl").open("a") as log:  # killed between the log and the checkpoint
        log.write('{"phase": "mle", "step": 99, "of": 2, "g_loss": 1.0, "seconds": 1.0}\n')
    for _ in Experiment.resume(directory):
        pass
    assert points(directory) == logged(directory)
    assert len(list((directory / "tensorboard").iterdir())) == 1


def test_files_of_others_in_the_folder_stay(tmp_path):
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "notes.txt").write_text("mine")
    with tensorboard.EventFiles(tmp_path, list) as events:
        events.add({"phase": "mle", "step": 1, "of": 1, "g_loss": 2.0, "undefined": None, "seconds": 0.5})
    assert points(tmp_path) == {"mle/g_loss": [(1, 2.0)], "mle/seconds": [(1, 0.5)]}
    assert (tmp_path / "tensorboard" / "notes.txt").read_text() == "mine"


def test_a_figure_of_any_name_is_a_point_of_its_own(tmp_path):
    names = ["objective_tonality>=0.4", "objective_tonality<=0.4", "objective_tonality~0.4", "reward_./mine.py:warmth"]
    with tensorboard.EventFiles(tmp_path, list) as events:
        line = {"phase": "adversarial", "step": 2, "of": 3}
        events.add(line | {name: float(value) for value, name in enumerate(names)})
    assert points(tmp_path) == {f"adversarial/{name}": [(2, value)] for value, name in enumerate(names)}


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "tensorboard").write_text("a file in the way")
    with pytest.raises(Failure, match=r"cannot write .*tensorboard: "):
        tensorboard.EventFiles(tmp_path, list)


def test_without_tensorboard_nothing_happens(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with tensorboard.EventFiles(tmp_path, lambda: 1 / 0) as events:
        events.add({"phase": "mle", "step": 1, "of": 1, "g_loss": 2.0})
    assert not list(tmp_path.iterdir())


def test_nothing_of_it_is_loaded_before_a_training_begins():
    code = "import seqgan_music.experiment, sys; assert not {'tensorboard', 'jinja2', 'soundfile'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
