import csv
import io
import itertools
import json
import shlex
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from seqgan_music_cli.main import main

import seqgan_music
from seqgan_music import checkpoint, config, reproduction
from seqgan_music.errors import Failure, UsageError
from seqgan_music.evaluation import ANCHORS
from seqgan_music.group import Group
from seqgan_music.reproduction import music
from seqgan_music.run import Run

TINY_PROGRAM = """\
import json, sys
from seqgan_music.reproduction import music
from seqgan_music_cli.main import main
tiny = json.loads(sys.argv.pop(1))
music.settings = lambda quick=False: tiny
main()
"""


@pytest.fixture
def tiny_music(tiny_settings):
    return config.merge(tiny_settings, {"tokenizer": {"name": "pitch"}, "algorithm": {"generator_epochs": 1}})


@pytest.fixture
def tiny(tiny_music, monkeypatch):
    """The experiment at a size of seconds; ``--quick`` has one round less."""
    quick = config.merge(tiny_music, {"algorithm": {"rounds": 1}})
    monkeypatch.setattr(music, "settings", lambda quick_=False: quick if quick_ else tiny_music)


def call(*words):
    done = CliRunner().invoke(main, [str(word) for word in words], prog_name="seqgan-music")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return done.exit_code, done.stdout, done.stderr


def weights(directory):
    return [checkpoint.digest(Run(directory).generator(stage).state_dict()) for stage in Run(directory).stages]


def rows(markdown):
    """Cells of every table row by its first cell, of the first table that has it."""
    found = {}
    for line in markdown.splitlines():
        if line.startswith("|"):
            first, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            found.setdefault(first, cells)
    return found


def test_the_settings_are_those_of_the_paper_preset_on_pitches():
    assert music.settings() == config.preset("paper") | {"tokenizer": {"name": "pitch"}}
    quick = music.settings(quick=True)
    assert {**quick, "algorithm": 0} == {**music.settings(), "algorithm": 0}, "only the schedule is shorter"
    assert all(quick["algorithm"][name] <= value for name, value in music.settings()["algorithm"].items() if value)
    assert "rounds 8, not 200" in music.size(quick)
    assert music.size(music.settings()) == "the paper's sizes and schedule"


def test_the_experiment_from_folder_to_tables(few_tunes, tmp_path, tiny, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = call("reproduce", "music", few_tunes, "--seeds", 2, "--quick")
    assert code == 0, err
    place = tmp_path / "runs" / "reproduce-music-quick"
    group = Group(place)
    assert group.seeds == group.finished == [1, 2]
    assert out.strip() == (place / "table.md").read_text("utf-8").strip()
    assert "2 runs in runs/reproduce-music-quick" in err
    assert "a short schedule, which proves nothing: rounds 1, not 2" in err
    assert "a short schedule, which proves nothing: rounds 1, not 2" in out, "the table says it too"
    assert not (place / "seed-1" / "report.html").exists()

    table = rows(out)
    assert list(table)[2:9] == [*music.LABELS.values(), *ANCHORS]
    measured = [json.loads((run / "report.json").read_text("utf-8"))["rows"] for run in group.runs.values()]
    for stage, label in music.LABELS.items():
        for column, name in enumerate(music.METRICS, 1):
            values = [one[stage][name] for one in measured]
            mean, spread = (float(text) for text in table[label][column].split(" ± "))
            np.testing.assert_allclose([mean, spread], [np.mean(values), np.std(values, ddof=1)], atol=0.006)
    for anchor in ANCHORS:
        assert float(table[anchor][1]) == pytest.approx(np.mean([one[anchor]["bleu_4"] for one in measured]), abs=1e-4)
    assert "## SeqGAN against MLE" in out
    assert "## SeqGAN, best round against MLE" in out
    for kind in ("p distance, seeds", "p distance, paired", "p value, samples"):
        assert kind in out
    ours, published = out.split("## What was published: other data, another split, not comparable")
    for figure in ("0.9210", "22.38", "0.9406", "20.62", "< 1e-6", "0.00034"):
        assert figure in published
        assert figure not in ours
    for choice in music.CHOICES:
        assert f"- **{choice}.** " in published

    document = json.loads((place / "table.json").read_text("utf-8"))
    assert document["published"]["comparable"] is False
    assert document["published"]["rows"]["SeqGAN"] == {"BLEU-4": 0.9406, "MSE": 20.62}
    assert document["choices"] == music.CHOICES
    bleu = [one["adversarial"]["bleu_4"] for one in measured]
    assert document["rows"]["SeqGAN"]["metrics"]["bleu_4"]["values"] == pytest.approx(bleu)
    tests = {(one["row"], one["metric"], one["test"], one["of"]) for one in document["tests"]}
    for row, metric in itertools.product(["SeqGAN", "SeqGAN, best round"], ["bleu_4", "mse_nearest", "mse_pairs"]):
        assert {(row, metric, kind, "value") for kind in ("seeds", "paired", "samples")} <= tests
    points = list(csv.DictReader(io.StringIO((place / "table.csv").read_text("utf-8"))))
    assert [float(one["value"]) for one in points if (one["stage"], one["metric"]) == ("adversarial", "bleu_4")] == (
        pytest.approx(bleu)
    )

    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    code, again, err = call("reproduce", "music", few_tunes, "--seeds", 2, "--quick")
    assert (code, again) == (0, out), err
    assert "2 of them finished before" in err
    assert "measuring" not in err
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


def test_an_experiment_that_was_stopped_ends_as_one_that_was_not(
    few_tunes, tiny_corpus, tiny_music, tmp_path, monkeypatch
):
    words = ["reproduce", "music", str(few_tunes), "--quick", "--seeds", "1", "-o"]
    program = [sys.executable, "-c", TINY_PROGRAM, json.dumps(tiny_music)]
    how = {"text": True, "cwd": tmp_path}
    process = subprocess.Popen([*program, *words, "stopped här"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, **how)
    for line in process.stderr:
        if line.startswith("adversarial   1/"):
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, ""), err
    assert "Traceback" not in err
    command = shlex.split(err.strip().splitlines()[-1])
    assert command == ["seqgan-music", *words, "stopped här"]
    assert Group(tmp_path / "stopped här").finished == []
    resumed = subprocess.run([*program, *command[1:]], capture_output=True, check=False, **how)
    assert resumed.returncode == 0, resumed.stderr
    assert "seed-1 after 4 records" in resumed.stderr
    assert "mle " not in resumed.stderr, "what was trained is not trained again"
    monkeypatch.setattr(music, "settings", lambda quick=False: tiny_music)
    straight = music.begin(tiny_corpus, tmp_path / "straight", seeds=1)
    straight.train(evaluate=False, pages=False)
    assert weights(tmp_path / "stopped här" / "seed-1") == weights(straight.runs[1])
    assert resumed.stdout.strip() == (tmp_path / "stopped här" / "table.md").read_text("utf-8").strip()


@pytest.fixture
def begun(tiny_corpus, tiny, tmp_path):
    """An experiment of two runs, neither of them trained."""
    music.begin(tiny_corpus, tmp_path / "begun", seeds=2)
    return tmp_path / "begun"


def test_a_directory_of_other_settings_is_refused_and_left_as_it_is(
    begun, tiny_corpus, few_tunes, tmp_path, monkeypatch
):
    before = sorted(path.name for path in begun.rglob("*"))

    def refused(why, source=tiny_corpus, **options):
        with pytest.raises(UsageError, match=why) as refusal:
            music.begin(source, begun, **{"seeds": 2, **options})
        assert str(refusal.value).startswith(f"{begun} holds an experiment of other settings (")
        assert str(refusal.value).endswith("; name another directory")

    refused(r"the seeds 1, 2, not 1, 2, 3, 4, 5\)", seeds=5)
    refused(r"the seeds 1, 2, not 1 to 6\)", seeds=6)
    refused(r"algorithm\.rounds=2, not 1\)", quick=True)
    shutil.copytree(few_tunes, tmp_path / "fewer")
    next((tmp_path / "fewer").iterdir()).unlink()
    refused("the tunes of .* as they were", seqgan_music.read_corpus(tmp_path / "fewer"))
    longer = config.merge(music.settings(), {"data": {"length": 24}})
    monkeypatch.setattr(music, "settings", lambda quick=False: longer)
    refused(r"data\.length=16, not 24\)")
    assert sorted(path.name for path in begun.rglob("*")) == before


def test_the_device_and_the_place_of_the_tunes_may_change(begun, few_tunes, tmp_path, monkeypatch):
    elsewhere = shutil.copytree(few_tunes, tmp_path / "elsewhere")
    other = config.merge(music.settings(), {"run": {"device": "auto"}})
    monkeypatch.setattr(music, "settings", lambda quick=False: other)
    assert music.begin(seqgan_music.read_corpus(elsewhere), begun, seeds=2).seeds == [1, 2]


def test_a_directory_of_something_else_is_refused(tiny_corpus, tiny, tmp_path):
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(UsageError, match="is not empty, and no experiment is in it; name another directory"):
        music.begin(tiny_corpus, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_a_run_that_fails_is_left_out_of_the_tables(few_tunes, tiny, tmp_path, monkeypatch):
    experiment, failing = Group.experiment, {1, 2}

    def some(self, seed, device=None):
        if seed in failing:
            raise Failure("g_loss is nan")
        return experiment(self, seed, device)

    monkeypatch.setattr(Group, "experiment", some)
    words = ["reproduce", "music", few_tunes, "--seeds", 2, "-o", tmp_path / "out"]
    code, out, err = call(*words)
    assert (code, out) == (1, "")
    assert err.splitlines()[-1] == (
        "seqgan-music: no run could be finished: seed 1: g_loss is nan; seed 2: g_loss is nan"
    )
    assert not (tmp_path / "out" / "table.md").exists()
    failing.remove(2)
    code, out, err = call(*words)
    assert code == 1
    assert err.splitlines()[-1] == "seqgan-music: 1 of 2 runs failed: seed 1: g_loss is nan"
    assert "Note: Left out, for not being trained to the end: seed-1" in out
    assert rows(out)["MLE"][0] == "1", "seed"
    assert rows(out)["MLE"][1].count("±") == 0
    failing.clear()
    code, out, err = call(*words)
    assert code == 0, err
    assert rows(out)["MLE"][0] == "2"


def test_departures_are_found_in_any_section():
    whole = {"data": {"length": 32}, "algorithm": {"rounds": 200}}
    assert reproduction.departures(whole, whole) == ""
    assert reproduction.departures({"data": {"length": 8}, "algorithm": {"rounds": 1}}, whole) == (
        "length 8, not 32, rounds 1, not 200"
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "name an experiment: music, organ, oracle; see seqgan-music reproduce --help"),
        (["opera"], "No such command 'opera'"),
        (["music"], "name a folder of MIDI, such as: seqgan-music reproduce music midi_data/"),
        (["music", "{tmp}/nowhere"], "no such file or folder: {tmp}/nowhere"),
        (["music", "{midi}", "--seeds", "0"], "Invalid value for '--seeds'"),
        (["music", "{midi}", "-o", "{tmp}/full"], "{tmp}/full is not empty, and no experiment is in it"),
    ],
)
def test_misuse_is_one_line(words, says, few_tunes, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("")
    places = {"tmp": tmp_path, "midi": few_tunes}
    code, out, err = call("reproduce", *(word.format(**places) for word in words))
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert says.format(**places) in err


def test_the_help_names_the_experiment_in_full():
    code, out, _ = call("reproduce", "--help")
    assert code == 0
    assert "music   SeqGAN's music experiment: likelihood against SeqGAN on pitches." in out
