import csv
import io
import json
import math
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner
from seqgan_music_cli.main import main

from seqgan_music import checkpoint, config, run_directory
from seqgan_music.errors import Failure, UsageError
from seqgan_music.evaluation import MelodySet
from seqgan_music.experiment import Experiment
from seqgan_music.metrics.bleu import References
from seqgan_music.metrics.diversity import edit_distance_diversity
from seqgan_music.reproduction import organ
from seqgan_music.reproduction.organ import measuring, output, verdict
from seqgan_music.reproduction.organ.training import Runs
from seqgan_music.reproduction.organ.verdict import ABOVE, BETTER, EARLY, NEARER, OVER, Point
from seqgan_music.run import Run
from seqgan_music.token_file import TokenFile

TINY_PROGRAM = """\
import json, sys
from seqgan_music.reproduction import organ
from seqgan_music_cli.main import main
tiny = json.loads(sys.argv.pop(1))
organ.settings = lambda quick=False, tokens=None: tiny
main()
"""
PART = ("--only", "tonality", "--lambdas", "0.4,0.8", "--temperatures", "0.7,1", "--samples", "40", "--device", "cpu")
MODELS = ["mle", "discriminator", "seqgan", "tonality-0", "tonality-0.4", "tonality-0.8"]


@pytest.fixture
def tiny(tiny_settings, monkeypatch):
    """The experiment at a size of seconds."""
    settings = config.merge(tiny_settings, {"reward": {"uniqueness": True}})
    of_rows = organ.ROWS_OF_TOKENS

    def chosen(quick=False, tokens=None):
        return settings if tokens is None else config.merge(settings, of_rows, {"data": {"length": tokens.length}})

    monkeypatch.setattr(organ, "settings", chosen)
    return settings


def call(*words):
    done = CliRunner().invoke(main, ["reproduce", "organ", *map(str, words)], prog_name="seqgan-music")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return done.exit_code, done.stdout, done.stderr


def log(directory):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in run_directory.read_log(directory)]


def state(directory):
    """All that the training would go on from, as plain values."""

    def plain(value):
        if isinstance(value, dict):
            return {name: plain(one) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [plain(one) for one in value]
        return value.tolist() if hasattr(value, "tolist") else value

    return plain(checkpoint.load(directory / "checkpoints" / "last"))


def weights(directory):
    return [checkpoint.digest(Run(directory).generator(stage).state_dict()) for stage in Run(directory).stages]


# What is trained


def test_every_model_comes_after_the_one_it_goes_on_from():
    models = organ.models()
    names = [model.name for model in models]
    assert len(names) == len(set(names)) == 3 + 4 * (1 + 4)
    for number, model in enumerate(models):
        assert model.parent is None or model.parent in names[:number]
    by_name = {model.name: model for model in models}
    assert by_name["mixture-0.6"].settings == {
        "objectives": {"tonality": 1.0, "melodicity": 1.0, "ratio_of_steps": 1.0},
        "reward": {"lambda": 0.6},
    }
    assert by_name["melodicity-0"].parent == "mle", "naive RL has no discriminator"
    assert by_name["melodicity-0"].settings["objectives"] == {"tonality": 0.0, "melodicity": 1.0, "ratio_of_steps": 0.0}
    near = [model.name for model in organ.models(["tonality"], (0.1234567, 0.12345678))]
    assert near[-2:] == ["tonality-0.1234567", "tonality-0.12345678"], "runs of their own"
    assert [model.name for model in organ.named([*reversed(near), "melodicity-0.5"])] == [*near, "melodicity-0.5"]
    part = [model.name for model in organ.models(["tonality", "tonality"], (0.8, 0.4, 0.8))]
    assert part == MODELS
    with pytest.raises(UsageError, match="unknown objective 'cadence'; the experiment has: tonality, melodicity"):
        organ.models(["cadence"])
    for wrong in (0.0, 1.0, -0.5, math.nan):
        with pytest.raises(UsageError, match="a lambda of ORGAN lies between 0 and 1"):
            organ.models(lambdas=[wrong])


def test_the_quick_settings_say_what_is_small():
    assert organ.size(organ.settings()) == "the authors' sizes and schedule"
    assert organ.settings()["generator"] == organ.settings(quick=True)["generator"]
    told = organ.size(organ.settings(quick=True))
    assert told.startswith("made small, which proves nothing: another discriminator, ")
    assert "rounds 30, not 200" in told
    assert "rollouts 0, not 16" in told


def test_the_settings_for_a_file_of_tokens():
    few, many = (TokenFile(np.zeros((n, 24), int), "rows.npz", "") for n in (1000, 100_000))
    of_few = organ.settings(tokens=few)
    assert of_few["data"]["length"] == 24
    assert of_few["tokenizer"] == {"name": "grid", "steps_per_quarter": 4, "low": 48, "high": 93}
    assert of_few["algorithm"] == organ.settings()["algorithm"]
    epochs = [organ.settings(quick=True, tokens=one)["algorithm"]["generator_epochs"] for one in (few, many)]
    assert epochs == [100, 4]


@pytest.mark.parametrize("lambda_", [0.0, 0.4, 1.0])
def test_a_run_that_goes_on_from_another_equals_one_trained_from_the_start(lambda_, tiny, tiny_corpus, tmp_path):
    """Record by record, and in all that would be gone on from: networks, optimisers, random numbers."""
    runs = Runs(tiny_corpus, tiny, tmp_path / "organ")
    wanted = "seqgan" if lambda_ == 1 else f"tonality-{lambda_:g}"
    model = next(model for model in organ.models(["tonality"], [0.4]) if model.name == wanted)
    for one in organ.models(["tonality"], [0.4]):
        if one.name in ("mle", "discriminator", wanted):
            runs.train(3, one)
    settings = config.merge(tiny, model.settings, {"run": {"seed": 3}})
    for _ in Experiment.create(tiny_corpus, settings, tmp_path / "straight"):
        pass
    branched = runs.place(3, wanted)
    assert log(branched) == log(tmp_path / "straight")
    phases = [record["phase"] for record in log(branched)]
    assert phases == ["mle"] * 2 + ["discriminator"] * (2 if lambda_ else 0) + ["adversarial"] * 2
    assert state(branched) == state(tmp_path / "straight")
    assert ("discriminator" in state(branched)["parts"]) == (lambda_ > 0)
    assert weights(branched) == weights(tmp_path / "straight")
    assert sorted(path.name for path in (branched / "checkpoints").iterdir()) == sorted(
        path.name for path in (tmp_path / "straight" / "checkpoints").iterdir()
    )


def test_a_run_does_not_go_on_from_other_networks(tiny, tiny_corpus, tmp_path):
    runs = Runs(tiny_corpus, tiny, tmp_path / "organ")
    runs.train(1, organ.models()[0])
    wider = config.merge(tiny, {"generator": {"hidden": 24}})
    other = Experiment.create(tiny_corpus, wider, tmp_path / "wider")
    with pytest.raises(Failure, match=r"the checkpoint .*mle.*last does not fit .*wider"):
        other.go_on_from(runs.place(1, "mle"))
    assert not (tmp_path / "wider" / "checkpoints").exists()


# From folder to tables


def test_the_experiment_from_folder_to_tables(few_tunes, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [few_tunes, "--quick", "--seeds", 2, *PART]
    code, out, err = call(*words)
    assert code == 0, err
    place = tmp_path / "runs" / "reproduce-organ-quick"
    for seed in (1, 2):
        assert sorted(path.name for path in (place / f"seed-{seed}").iterdir() if path.is_dir()) == sorted(MODELS)
    assert [line.split(": ")[0] for line in err.splitlines() if line.startswith("run ")] == [
        f"run {number} of 12" for number in range(1, 13)
    ]
    assert err.count("measuring") == 10, "the pre-training of the discriminator is no row"
    assert out.strip() == (place / "table.md").read_text("utf-8").strip()
    assert f"Settings: {organ.size(tiny)}." in out

    document = json.loads((place / "table.json").read_text("utf-8"))
    rows = {row["model"]: row for row in document["rows"]}
    assert list(rows) == [name for name in MODELS if name != "discriminator"]
    assert [row["temperature"] for row in document["mle_at_temperatures"]] == [0.7, 1.0]
    assert document["mle_at_temperatures"][1]["seeds"] == rows["mle"]["seeds"]
    assert document["published"]["comparable"] is False
    assert document["published"]["rows"]["melodicity"]["ORGAN λ = 0.6"] == [0.594, 0.679, 0.033, 0.386]

    # The songs that were kept have the figures of the table.
    run = Run(place / "seed-2" / "tonality-0.4")
    with np.load(run.directory / "songs.npz", allow_pickle=False) as kept:
        ids, start = (kept[f"{name} 1"].astype(np.int64) for name in ("ids", "start"))
    torch = pytest.importorskip("torch")
    songs = MelodySet.of_tokens(run.tokenizer, torch.from_numpy(ids), torch.from_numpy(start))
    again = run.sample(40, stage="adversarial", seed=2, start=torch.from_numpy(start), device="cpu")[0]
    np.testing.assert_array_equal(ids, again)
    mine = rows["tonality-0.4"]["seeds"]["2"]
    assert mine["diversity"] == pytest.approx(edit_distance_diversity(songs.events).mean)
    assert mine["unique"] == len(np.unique(ids, axis=0)) / 40
    pitch, mask = songs.melodies.pitch.numpy(), songs.melodies.mask.numpy()
    shares = []
    for notes, there in zip(pitch, mask, strict=True):
        moves = np.abs(np.diff(notes[there]))
        if len(moves):
            shares.append((moves == 7).mean())
    assert mine["tonality"] == pytest.approx(np.mean(shares), abs=1e-6)
    assert mine["mixture"] == pytest.approx(
        np.mean([mine[name] for name in ("tonality", "melodicity", "ratio_of_steps")])
    )
    test = run.dataset.test
    each = np.unique(np.column_stack([test.start.numpy(), test.ids.numpy()]), axis=0)
    known = MelodySet.of_tokens(run.tokenizer, torch.from_numpy(each[:, 1:]), torch.from_numpy(each[:, 0]))
    assert mine["bleu_4"] == pytest.approx(References(known.events, 4).bleu(songs.events)[:, 3].mean())
    assert document["facts"]["references"] == len(each)

    points = list(csv.DictReader(io.StringIO((place / "table.csv").read_text("utf-8"))))
    found = [one for one in points if (one["model"], one["figure"]) == ("tonality-0.4", "tonality")]
    assert [float(one["value"]) for one in found] == [row["tonality"] for row in rows["tonality-0.4"]["seeds"].values()]
    assert {one["figure"] for one in points} >= {"organ_tonality", "organ_melodicity", "organ_ratio_of_steps"}
    assert {one["temperature"] for one in points if one["model"] == "mle"} == {"0.7", "1"}
    assert {one["model"] for one in points} >= {"real", "noise"}
    rounds = list(csv.DictReader(io.StringIO((place / "rounds.csv").read_text("utf-8"))))
    assert len(rounds) == 2 * 4 * 2, "seeds, models with an adversarial phase, rounds"
    assert all(0 <= float(one["objective_tonality"]) <= 1 and float(one["edit_distance"]) >= 0 for one in rounds)
    assert (place / "tonality.png").read_bytes().startswith(b"\x89PNG")

    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file() and path.suffix != ".png"}
    code, again, err = call(*words)
    assert (code, again) == (0, out), err
    assert "12 of them finished before" in err
    assert "measuring" not in err
    assert "trained in" not in err
    assert {path: path.read_bytes() for path in before} == before

    code, out, err = call(few_tunes, "--quick", "--seeds", "2-2", *PART[2:], "--only", "ratio_of_steps")
    assert code == 0, err
    trained = [line.split()[4].rpartition("/")[2] for line in err.splitlines() if line.startswith("run ")]
    assert trained == ["ratio_of_steps-0", "ratio_of_steps-0.4", "ratio_of_steps-0.8"], "the rest is there"
    assert err.count("measuring") == 3, "what is there is read"
    later = json.loads((place / "table.json").read_text("utf-8"))
    of_later = {row["model"]: row["seeds"] for row in later["rows"]}
    assert of_later == {row: of["seeds"] for row, of in rows.items()} | {
        name: {"2": of_later[name]["2"]} for name in trained
    }
    assert later["mle_at_temperatures"] == document["mle_at_temperatures"]
    assert {target: later["verdicts"][target] for target in document["verdicts"]} == document["verdicts"]
    for title in ("tonality", "ratio of steps"):
        assert f"## Trained for {title}" in out
    assert len((place / "rounds.csv").read_text("utf-8").splitlines()) == 1 + len(rounds) + 3 * 2
    assert {path.name for path in place.glob("*.png")} == {"tonality.png", "ratio_of_steps.png"}

    code, out, err = call(few_tunes, "--quick", "--seeds", 1, *PART[:4], "--temperatures", "0.5", *PART[6:])
    assert code == 0, err
    assert err.count("measuring") == 1, "MLE at another temperature"
    latest = json.loads((place / "table.json").read_text("utf-8"))
    assert [(one["temperature"], list(one["seeds"])) for one in latest["mle_at_temperatures"]] == [
        (0.5, ["1"]),
        (0.7, ["1", "2"]),
        (1.0, ["1", "2"]),
    ]
    assert latest["verdicts"]["tonality"]["lambdas"][0]["asked"] == [1, 2]
    other = ["--samples", 30, "--temperatures", "1", "--device", "cpu"]
    code, out, err = call(few_tunes, "--quick", "--seeds", 1, "--only", "tonality", "--lambdas", "0.4", *other)
    assert code == 0, err
    assert "Not in these tables, for they were not measured like this: seed-1/tonality-0.8, seed-2/mle, " in out


def test_stopped_or_killed_and_resumed_it_ends_as_if_undisturbed(few_tunes, tiny_corpus, tiny, tmp_path):
    slow = config.merge(tiny, {"algorithm": {"rounds": 6, "generator_epochs": 3}})
    words = ["reproduce", "organ", str(few_tunes), "--seeds", "1", *PART[:-2], "-o", "stopped här", *PART[-2:]]
    program = [sys.executable, "-c", TINY_PROGRAM, json.dumps(slow), *words]
    place = tmp_path / "stopped här" / "seed-1"
    how = {"text": True, "cwd": tmp_path, "stderr": subprocess.PIPE, "stdout": subprocess.PIPE}

    def stop_at(model, records, sign):
        process = subprocess.Popen(program, **how)
        wanted = place / model / run_directory.LOG
        deadline = time.monotonic() + 120
        while not (wanted.is_file() and wanted.read_text("utf-8").count("\n") >= records):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(sign)
        return process.communicate(timeout=60), process.returncode

    _, code = stop_at("discriminator", 4, signal.SIGKILL)
    assert code == -signal.SIGKILL
    (out, err), code = stop_at("tonality-0.4", 7, signal.SIGINT)
    assert (code, out) == (130, ""), err
    assert "Traceback" not in err
    assert shlex.split(err.strip().splitlines()[-1]) == ["seqgan-music", *words]
    resumed = subprocess.run(program, check=False, timeout=120, **how)
    assert resumed.returncode == 0, resumed.stderr
    assert "run 5 of 6: stopped här/seed-1/tonality-0.4 trained in" in resumed.stderr
    assert "run 4 of 6" not in resumed.stderr, "what was finished is not trained again"

    runs = Runs(tiny_corpus, slow, tmp_path / "straight")
    for model in organ.models(["tonality"], [0.4, 0.8]):
        runs.train(1, model, device="cpu")
        assert log(place / model.name) == log(runs.place(1, model.name)), model.name
        assert weights(place / model.name) == weights(runs.place(1, model.name)), model.name


def test_a_run_that_was_killed_while_it_was_made_is_made_again(tiny, tiny_corpus, tmp_path):
    runs = Runs(tiny_corpus, tiny, tmp_path / "organ")
    runs.place(1, "mle").mkdir(parents=True)
    (runs.place(1, "mle") / "config.toml").write_text("[run]")
    runs.train(1, organ.models()[0])
    assert runs.finished(1) == ["mle"]


def test_a_run_that_fails_takes_those_that_need_it_along_and_no_others(few_tunes, tiny, tmp_path, monkeypatch):
    train, failing = Runs.train, {"discriminator"}

    def some(self, seed, model, **options):
        if model.name in failing:
            raise Failure("d_loss is nan")
        return train(self, seed, model, **options)

    monkeypatch.setattr(Runs, "train", some)
    words = [few_tunes, "--seeds", 1, *PART, "-o", tmp_path / "out"]
    code, out, err = call(*words)
    assert code == 1
    assert err.splitlines()[-1].startswith("seqgan-music: 4 of 6 runs failed: seed 1, discriminator: d_loss is nan; ")
    assert "seed 1, seqgan: discriminator, which it goes on from, is not finished" in err
    assert "| naive RL" in out
    assert "tonality: no verdict, for naive RL, MLE or every λ is missing." in out
    failing.clear()
    code, out, err = call(*words)
    assert code == 0, err
    assert "| ORGAN λ = 0.4" in out
    failing.add("mle")
    code, out, err = call(few_tunes, "--seeds", 1, *PART, "-o", tmp_path / "other")
    assert (code, out) == (1, "")
    assert "no run could be finished: seed 1, mle: d_loss is nan" in err.splitlines()[-1]


def test_the_experiment_on_a_file_of_tokens(tiny, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "rows.npz", tokens=rng.integers(0, 48, (60, 12)))
    words = ["--tokens", tmp_path / "rows.npz", "--seeds", 1, *PART, "-o", tmp_path / "out"]
    code, out, err = call(*words)
    assert code == 0, err
    assert "60 pieces of rows.npz; windows: 48 training, 6 validation, 6 test." in out
    assert Run(tmp_path / "out" / "seed-1" / "mle").dataset.length == 12
    assert "- **sequences.** 12 sixteenths." in out
    np.savez(tmp_path / "rows.npz", tokens=rng.integers(0, 48, (60, 12)))
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert "holds an experiment of other settings (what is trained on: " in err
    np.savez(tmp_path / "rows.npz", tokens=rng.integers(0, 49, (60, 12)))
    code, _, err = call("--tokens", tmp_path / "rows.npz", "-o", tmp_path / "new")
    assert code == 2
    assert "has token 48 in row " in err
    assert not (tmp_path / "new").exists()


def test_a_directory_of_something_else_is_refused_and_left_as_it_is(tiny, tiny_corpus, tmp_path):
    Runs(tiny_corpus, tiny, tmp_path / "begun")
    Runs(tiny_corpus, config.merge(tiny, {"run": {"device": "auto"}}), tmp_path / "begun")
    other = config.merge(tiny, {"algorithm": {"rounds": 3}})
    with pytest.raises(UsageError, match=r"\(algorithm.rounds=2, not 3\); name another directory"):
        Runs(tiny_corpus, other, tmp_path / "begun")
    (tmp_path / "begun" / "organ.json").write_text("{}")
    with pytest.raises(Failure, match=r"organ\.json is damaged: KeyError: 'settings'"):
        Runs(tiny_corpus, tiny, tmp_path / "begun")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("")
    with pytest.raises(UsageError, match="is not empty, and no experiment is in it"):
        Runs(tiny_corpus, tiny, tmp_path / "mine")
    with pytest.raises(UsageError, match="is a file; name a directory"):
        Runs(tiny_corpus, tiny, tmp_path / "mine" / "file")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["file"]


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive", None])
def test_figures_that_do_not_hold_any_more_are_taken_again(damage, tiny, tiny_corpus, tmp_path):
    runs = Runs(tiny_corpus, tiny, tmp_path / "organ")
    runs.train(1, organ.models()[0], device="cpu")
    run = runs.run(1, "mle")
    known = References([[1, 2, 3, 4]], 4)
    measured = []
    how = {"device": "cpu", "on_measuring": measured.append}
    first = measuring.of_run(run, known, [1.0], samples=20, **how)
    assert measuring.of_run(run, known, [1.0], samples=20, **how) == first
    more = measuring.of_run(run, known, [0.5, 1.0], samples=20, **how)
    assert len(measured) == 2, "another temperature is measured, the first is not again"
    assert more[1.0] == first[1.0]
    if damage is None:
        measuring.of_run(run, known, [1.0], samples=21, **how)
    else:
        (run.directory / "songs.npz").write_bytes(damage)
        assert measuring.of_run(run, known, [1.0], samples=20, **how) == first
    assert len(measured) == 3


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "name a folder of MIDI, such as: seqgan-music reproduce organ midi_data/"),
        (["{tmp}/nowhere"], "no such file or folder: {tmp}/nowhere"),
        (["{midi}", "--tokens", "rows.npz"], "name a folder of MIDI or --tokens, not both"),
        (["--tokens", "{tmp}/rows.npz"], "cannot read {tmp}/rows.npz: No such file or directory"),
        (["{midi}", "--seeds", "0"], "'0' is no number of seeds; write it as 5, or 3-5 for those from 3 to 5"),
        (["{midi}", "--seeds", "3-1"], "'3-1' is no number of seeds"),
        (["{midi}", "--lambdas", "0.4;0.6"], "'0.4;0.6' is not a list of numbers; write it as 0.4,0.6"),
        (["{midi}", "--lambdas", "1"], "a lambda of ORGAN lies between 0 and 1, not 1.0"),
        (["{midi}", "--only", "tonalty"], "unknown objective 'tonalty'; the experiment has: tonality"),
        (["{midi}", "--temperatures", "0"], "temperature must lie in [1e-6, 1e6], not 0.0"),
        (["{midi}", "--samples", "1"], "Invalid value for '--samples'"),
        (["{midi}", "-o", "{tmp}/full"], "{tmp}/full is not empty, and no experiment is in it"),
    ],
)
def test_misuse_is_one_line(words, says, few_tunes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("")
    places = {"tmp": tmp_path, "midi": few_tunes}
    code, out, err = call(*(word.format(**places) for word in words))
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert says.format(**places) in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]


# Verdict


LINE = [Point(0.4, 0.2, 0), Point(0.2, 0.4, 0), Point(0.1, 0.6, 0)]


@pytest.mark.parametrize(
    ("objective", "diversity", "yes"),
    [
        (0.5, 0.1, True),  # higher than the curve is anywhere
        (0.1, 0.7, True),  # more diverse than it is anywhere
        (0.3, 0.3, False),  # on the line between two temperatures
        (0.31, 0.31, True),
        (0.29, 0.3, False),
        (0.2, 0.4, False),  # equal to a temperature
        (0.0, 0.0, False),
        (0.15, 0.49, False),
        (0.15, 0.51, True),
        (math.nan, 0.9, False),
    ],
)
def test_above_a_curve(objective, diversity, yes):
    assert verdict.above(Point(objective, diversity, 0), LINE) is yes
    assert verdict.above(Point(objective, diversity, 0), LINE[::-1]) is yes


def test_above_a_curve_that_rises_with_diversity():
    """As noise has the objective too: at a high temperature both figures are higher."""
    rising = [Point(0.1, 0.5, 0), Point(0.3, 0.9, 0)]
    assert not verdict.above(Point(0.3, 0.5, 0), rising)
    assert not verdict.above(Point(0.2, 0.9, 0), rising)
    assert verdict.above(Point(0.31, 0.5, 0), rising)
    assert verdict.above(Point(0.05, 0.95, 0), [*rising, Point(math.nan, 1.0, 0)]), "what is not defined is left out"


def test_every_question_is_asked_of_every_seed_and_of_the_means():
    naive = {1: Point(0.6, 0.2, 0.1), 2: Point(0.8, 0.2, 0.1)}
    curve = {1.0: {1: Point(0.1, 0.9, 0.5), 2: Point(0.1, 0.9, 0.5)}}
    models = {
        0.2: {1: Point(0.7, 0.3, 0.2), 2: Point(0.7, 0.3, 0.2)},
        0.8: {1: Point(0.9, 0.3, 0.95), 2: Point(0.9, 0.19, 0.95)},
        0.9: {1: Point(0.1, 0.9, 0.4), 3: Point(0.9, 0.9, 0.5)},
        1.0: {3: Point(0.9, 0.9, 0.5)},
    }
    paths = {1: [Point(0.3, 0.6, 0), Point(0.6, 0.2, 0)], 2: [Point(0.8, 0.5, 0), Point(0.8, 0.2, 0)]}
    two, eight, nine = verdict.judge(models, naive, curve, 0.5, paths)
    assert [one.lambda_ for one in (two, eight, nine)] == [0.2, 0.8, 0.9], "no seed of the last has naive RL"
    assert two.asked == [1, 2]
    assert two.seeds == {BETTER: [1], ABOVE: [1, 2], NEARER: [1, 2], EARLY: [1], OVER: []}
    assert two.everywhere == [1]
    assert two.mean == {BETTER: False, ABOVE: True, NEARER: True, EARLY: True, OVER: False}
    assert not two.holds
    assert eight.seeds[BETTER] == [1]
    assert eight.mean[BETTER], "0.9 at 0.245 against 0.7 at 0.2"
    assert eight.seeds[NEARER] == []
    assert nine.asked == [1]
    assert nine.mean == {BETTER: False, ABOVE: False, NEARER: True, EARLY: True, OVER: False}
    assert not nine.holds


def test_a_new_point_of_the_frontier_is_not_yet_better_than_the_whole_curve():
    curve = [Point(0.1, 0.6, 0), Point(0.2, 0.5, 0), Point(math.nan, 0.9, 0)]
    for objective, diversity, yes in ((0.9, 0.1, False), (0.9, 0.59, False), (0.2, 0.6, False), (0.21, 0.6, True)):
        found = verdict.answers(Point(objective, diversity, 0), Point(0, 0, 0), curve, 0.5, [])
        assert found[OVER] is yes
        assert found[ABOVE] is True, "also of what has hardly any diversity"


def test_the_means_are_judged_by_the_temperatures_that_all_seeds_have():
    point, better, naive = Point(0.5, 0.5, 0), Point(0.6, 0.6, 0), Point(0.1, 0.1, 0)
    curve = {0.5: {1: better}, 1.0: {1: Point(0.1, 0.9, 0), 2: Point(0.1, 0.9, 0)}}
    (one,) = verdict.judge({0.4: {1: point, 2: point}}, {1: naive, 2: naive}, curve, 0.5, {1: [], 2: []})
    assert one.asked == [1, 2]
    assert one.seeds[ABOVE] == [2]
    assert one.mean[ABOVE]


@pytest.fixture
def made_up():
    """Two seeds of one objective; λ = 0.4 has all that is asked for, but in one seed alone."""

    def figures(objective, diversity, bleu):
        values = dict.fromkeys(output.HEADS, 0.25) | {"mixture": 0.25}
        return values | {"tonality": objective, "diversity": diversity, "bleu_4": bleu}

    rows = {
        "mle": {1: figures(0.05, 0.9, 0.5), 2: figures(0.05, 0.9, 0.5)},
        "seqgan": {1: figures(0.05, 0.85, 0.5), 2: figures(0.05, 0.85, 0.5)},
        "tonality-0": {1: figures(0.8, 0.1, 0.1), 2: figures(0.6, 0.3, 0.1)},
        "tonality-0.4": {1: figures(0.9, 0.4, 0.3), 2: figures(0.7, 0.2, math.nan)},
        "tonality-0.8": {1: figures(0.3, 0.6, 0.4), 2: figures(0.3, 0.6, 0.4)},
    }
    rows["tonality-0.4"][2]["bleu_4"] = 0.3
    models = [model for model in organ.models(["tonality"], (0.4, 0.8)) if model.name in rows]
    curve = {0.5: {1: figures(0.02, 0.8, 0.7), 2: figures(0.02, 0.8, 0.7)}, 1.0: rows["mle"]}
    anchors = {"real": figures(0.04, 0.93, 0.52), "noise": figures(0.045, 0.94, 0.05)}
    rounds = [
        {"model": "tonality-0", "seed": seed, "round": number, "objective_tonality": o, "edit_distance": d}
        for seed in (1, 2)
        for number, (o, d) in enumerate([(0.2, 0.8), (0.6, 0.5)], 1)
    ]
    facts = {"samples": 40, "real": 9, "references": 8, "corpus": "/tunes", "pieces": 12, "seeds": [1, 2]}
    facts |= {"windows": {"train": 5, "validation": 1, "test": 1}, "settings": organ.settings()}
    facts["finished, not measured like this"] = []
    return measuring.Table(models, rows, curve, anchors, rounds, facts)


def test_the_verdict_is_told_as_it_is(made_up):
    text = output.markdown(made_up)
    assert (
        "**Verdict.** tonality: reached in the mean over seeds. Seeds of which all three hold: λ = 0.4: 1 of 2." in text
    )
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    assert [cell.strip() for cell in lines["0.4"].split("|")[2:-1]] == [
        "yes, 1 of 2",
        "yes, 2 of 2",
        "yes, 2 of 2",
        "1 of 2",
        "yes, 2 of 2",
        "no, 0 of 2",
    ]
    assert [cell.strip() for cell in lines["0.8"].split("|")[2:-1]] == [
        *("no, 0 of 2", "yes, 2 of 2", "yes, 2 of 2", "0 of 2", "no, 0 of 2", "no, 0 of 2"),
    ]
    assert "0.800 ± 0.141" in lines["ORGAN λ = 0.4"]
    made_up.models.remove(next(model for model in made_up.models if model.name == "tonality-0.4"))
    assert "tonality: not reached. The nearest is λ = 0.8: not better than naive RL." in output.markdown(made_up)
    made_up.rows["tonality-0.8"][1]["bleu_4"] = made_up.rows["tonality-0.8"][2]["bleu_4"] = 1.0
    assert "λ = 0.8: not better than naive RL, not BLEU-4 nearer to real than naive RL's." in output.markdown(made_up)


def test_published_rows_stand_in_no_table_of_ours(made_up):
    ours, published = output.markdown(made_up).split(
        "## What was published: other data, another encoding, not comparable"
    )
    for figure in ("0.629", "0.594", "0.901", "0.771", "0.648", "0.560"):
        assert figure in published
        assert figure not in ours
    assert "- **sequences.** 36 sixteenths." in published
    for choice in output.CHOICES:
        assert f"- **{choice}.** " in published


def test_a_picture_has_every_row(made_up, tmp_path, monkeypatch):
    axes_class = pytest.importorskip("matplotlib.axes").Axes
    labels, plot, errorbar = [], axes_class.plot, axes_class.errorbar

    def watched(method):
        def call(self, *args, label="", **options):
            labels.append((label, options))
            return method(self, *args, label=label, **options)

        return call

    monkeypatch.setattr(axes_class, "plot", watched(plot))
    monkeypatch.setattr(axes_class, "errorbar", watched(errorbar))
    output.draw(made_up, "tonality", tmp_path / "tonality.png")
    named = dict(labels)
    assert {"MLE by temperature", "real", "noise", "SeqGAN", "naive RL", "naive RL, every round"} <= set(named)
    assert named["ORGAN λ = 0.4"]["xerr"] == pytest.approx(np.std([0.4, 0.2], ddof=1))
    assert named["ORGAN λ = 0.4"]["yerr"] == pytest.approx(np.std([0.9, 0.7], ddof=1))
    assert (tmp_path / "tonality.png").stat().st_size > 10_000
