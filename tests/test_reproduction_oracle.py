import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner
from seqgan_music_cli.main import main

from seqgan_music import checkpoint, config, run_directory, run_settings
from seqgan_music.errors import Failure, UsageError
from seqgan_music.experiment import Experiment
from seqgan_music.reproduction import oracle
from seqgan_music.reproduction.oracle.distribution import Oracle
from seqgan_music.reproduction.oracle.training import Runs

ROWS = ["random", "mle", "early-mle", "scheduled-sampling", "pg-bleu", "seqgan", "improved-mle", "improved"]
FIGURES = ["strategy-100-1-10", "strategy-30-1-30", "strategy-1-1-10", "strategy-1-5-3", "short-seqgan"]


def call(*words):
    done = CliRunner().invoke(main, ["reproduce", "oracle", *map(str, words)], prog_name="seqgan-music")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return done.exit_code, done.stdout, done.stderr


def tiny(directory, better=None, **options):
    return Runs(oracle.options("tiny", options), "tiny", directory, better=better)


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


# What is trained


def test_every_model_comes_after_the_one_it_goes_on_from():
    settings = oracle.settings("small", oracle.options("small"))
    models = oracle.models(settings)
    names = [model.name for model in models]
    assert len(names) == len(set(names))
    for number, model in enumerate(models):
        assert model.parent is None or model.parent in names[:number]
    assert [model.name for model in models if model.shown] == ROWS + FIGURES
    assert [model.name for model in models if model.tempered] == ["mle", "early-mle", "improved-mle", "improved"]
    by_name = {model.name: model for model in models}
    assert by_name["strategy-30-1-30"].settings == {
        "algorithm": {"g_steps": 30, "d_steps": 1, "d_epochs": 30, "rounds": settings["algorithm"]["rounds"]}
    }
    assert "4 epochs" in by_name["short-seqgan"].title
    assert by_name["pg-bleu"].parent == "mle", "it has no discriminator"
    only = [model.name for model in oracle.models(settings, ["short"])]
    assert only == ["mle", "short-mle", "short-discriminator", "short-seqgan"]
    better = oracle.models(settings, ["improved"], better={"algorithm": {"rollouts": 3}, "generator": {"dropout": 0.1}})
    assert [model.name for model in better] == ["mle", "improved-mle", "improved-discriminator", "improved"]
    assert better[-1].settings["algorithm"] == {**oracle.BETTER["algorithm"], "rollouts": 3}
    assert better[1].settings["generator"] == {**oracle.BETTER["generator"], "dropout": 0.1}
    assert better[1].settings["algorithm"]["rounds"] == 0
    with pytest.raises(UsageError, match="unknown part 'figures'; the experiment has: table, improved"):
        oracle.models(settings, ["figures"])


def test_all_likelihood_rows_have_as_many_epochs_at_one_learning_rate():
    base = oracle.settings("small", oracle.options("small"))
    models = {model.name: model for model in oracle.models(base)}
    of = {name: run_settings.resolve(run_settings.lay(base, models[name].settings))["algorithm"] for name in ROWS}
    assert of["scheduled-sampling"]["name"] == "scheduled_sampling"
    assert of["scheduled-sampling"]["epochs"] == of["mle"]["generator_epochs"] == of["pg-bleu"]["generator_epochs"]
    assert of["scheduled-sampling"]["learning_rate"] == of["mle"]["generator_learning_rate"]
    assert of["scheduled-sampling"]["batch_size"] == of["mle"]["batch_size"]
    assert of["pg-bleu"]["rounds"] == of["seqgan"]["rounds"] > 0
    assert of["pg-bleu"]["rollouts"] == of["seqgan"]["rollouts"]
    assert of["mle"]["rounds"] == of["early-mle"]["rounds"] == 0
    assert of["mle"]["patience"] == 0 < of["early-mle"]["patience"]


def test_sizes_are_the_papers_or_say_how_not():
    paper = oracle.options("paper")
    assert oracle.size_of(paper, oracle.settings("paper", paper)) == "the paper's sizes, its authors' schedule"
    assert (paper["vocab_size"], paper["length"], paper["hidden"], paper["sequences"]) == (5000, 20, 32, 10_000)
    small = oracle.options("small")
    told = oracle.size_of(small, oracle.settings("small", small))
    assert told.startswith(f"not the paper's: vocab_size {small['vocab_size']}, not 5000")
    assert small["vocab_size"] >= 200
    assert oracle.options("tiny", {"length": 9})["length"] == 9
    for own, message in [
        ({"tokens": 3}, "has no option 'tokens'; it has: vocab_size"),
        ({"length": 1}, "oracle.length must be a whole number, 2 or more"),
        ({"sequences": 2.5}, "oracle.sequences must be a whole number"),
        ({"seed": -1}, "oracle.seed must be a whole number, 0 or more"),
    ]:
        with pytest.raises(UsageError, match=message):
            oracle.options("tiny", own)
    with pytest.raises(UsageError, match="unknown size 'huge'"):
        oracle.options("huge")


def test_the_split_is_exact(tmp_path):
    runs = tiny(tmp_path, vocab_size=500, sequences=301, held_out=57)
    data = runs.material.data
    assert [len(part) for part in (data.train, data.validation, data.test)] == [301, 57, 57]
    assert data.vocab_size == 500
    assert data.end_id == -1
    assert data.never == ()
    assert (data.train.start == 0).all(), "the authors' program begins with token 0, an ordinary one"


# Runs


@pytest.mark.parametrize("wanted", ["pg-bleu", "seqgan", "scheduled-sampling", "short-seqgan", "improved"])
def test_a_run_that_goes_on_from_another_equals_one_trained_from_the_start(wanted, tmp_path):
    runs = tiny(tmp_path / "oracle", better={"generator": {"hidden": 8}, "algorithm": {"policy_batch_size": 16}})
    chain = [model for model in runs.models() if model.name == wanted]
    while chain[0].parent is not None:
        chain.insert(0, next(model for model in runs.models() if model.name == chain[0].parent))
    for model in chain:
        runs.train(3, model)
    settings = run_settings.lay(runs.settings, chain[-1].settings, {"run": {"seed": 3}})
    Experiment.create(runs.material, settings, tmp_path / "straight")
    for _ in Experiment.resume(tmp_path / "straight", measure=runs.measure):
        pass
    assert log(runs.place(3, wanted)) == log(tmp_path / "straight")
    assert state(runs.place(3, wanted)) == state(tmp_path / "straight")


def test_every_record_has_nll_oracle_but_those_of_the_discriminator(tmp_path):
    runs = tiny(tmp_path)
    for model in runs.models(["table"]):
        runs.train(1, model)
    for model in ROWS[:-2]:
        for record in log(runs.place(1, model)):
            assert ("nll_oracle" in record) == (record["phase"] != "discriminator")
    last = log(runs.place(1, "seqgan"))[-1]
    generator = runs.run(1, "seqgan").generator("adversarial", "cpu")
    assert runs.measure(generator, runs.material.data)["nll_oracle"] == last["nll_oracle"]
    random = log(runs.place(1, "random"))
    assert len(random) == 1
    assert random[0]["nll_validation"] == pytest.approx(np.log(20))


class Killed(Exception):
    pass


@pytest.mark.parametrize("after", [1, 3, 5])
def test_a_run_that_was_killed_loses_no_epoch_and_ends_the_same(after, tmp_path):
    whole, parted = tiny(tmp_path / "whole"), tiny(tmp_path / "parted")
    model = oracle.Model("seqgan", "SeqGAN", {})
    whole.train(1, model)
    seen = []

    def kill(record, _):
        seen.append(record)
        if len(seen) == after:
            raise Killed

    with pytest.raises(Killed):
        parted.train(1, model, on_record=kill)
    place = parted.place(1, "seqgan")
    assert len(log(place)) == after
    with open(place / run_directory.LOG, "a") as file:
        file.write('{"phase": "adversarial", "step')  # half a line, as a kill leaves it
    again = tiny(tmp_path / "parted")
    assert again.finished(1) == []
    again.train(1, model)
    assert log(place) == log(whole.place(1, "seqgan"))
    assert state(place) == state(whole.place(1, "seqgan"))
    assert again.finished(1) == ["seqgan"]


# The command


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The tiny experiment, whole."""
    directory = tmp_path_factory.mktemp("oracle") / "out"
    code, out, err = call("--size", "tiny", "--seeds", 2, "--temperatures", "0.7,1", "-o", directory, "--device", "cpu")
    assert code == 0, err
    return directory, out, err


def test_every_row_has_its_columns(done):
    directory, out, err = done
    assert "27 runs in " in err
    for title in ("random", "MLE", "MLE, best epoch", "scheduled sampling", "PG-BLEU", "SeqGAN", "oracle"):
        assert f"| {title} " in out
    with open(directory / "table.csv") as file:
        points = list(csv.DictReader(file))
    for row in [*ROWS, *FIGURES]:
        seeds = {point["seed"] for point in points if point["model"] == row}
        assert seeds == ({"1", "2"} if row in ROWS else {"1"}), row
        figures = {point["figure"] for point in points if point["model"] == row}
        assert figures >= {"nll_oracle", "nll_oracle_std", "nll_test", "unique", "self_bleu_2", "seconds"}
        assert all(np.isfinite(float(point["value"])) for point in points if point["model"] == row)
    made = {path.name for path in directory.iterdir() if path.is_file()}
    assert made >= {"table.md", "table.json", "curves.csv", "figure-2.png", "figure-3.png", "figure-4.png"}
    assert json.loads((directory / "table.json").read_text())["facts"]["samples"] == 40


def test_the_same_command_trains_nothing_twice(done):
    directory, out, _ = done
    before = {path: path.stat().st_mtime_ns for path in directory.glob("seed-*/*/metrics.jsonl")}
    assert len(before) == 27
    code, again, err = call("--size", "tiny", "--seeds", 2, "--temperatures", "0.7,1", "-o", directory)
    assert code == 0
    assert "27 of them finished before" in err
    assert "trained in" not in err
    assert "measuring" not in err
    assert again == out
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_other_settings_are_refused_and_touch_nothing(done, tmp_path):
    directory, _, _ = done
    there = sorted(directory.iterdir())
    for words, message in [
        (("-s", "oracle.seed=1"), "(oracle.seed=0, not 1)"),
        (("-s", "oracle.length=7"), "(oracle.length=6, not 7)"),
        (("-s", "algorithm.rounds=3"), "algorithm.rounds=2, not 3"),
    ]:
        code, _, err = call("--size", "tiny", "-o", directory, *words)
        assert code == 2
        assert message in err
        assert "name another directory" in err
    assert sorted(directory.iterdir()) == there
    (tmp_path / "thesis.txt").write_text("mine")
    code, _, err = call("--size", "tiny", "-o", tmp_path)
    assert code == 2
    assert "is not empty, and no experiment is in it" in err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_settings_of_the_improved_rows_alone(tmp_path):
    words = ("--size", "tiny", "--seeds", 1, "--only", "improved", "-o", tmp_path / "out", "--device", "cpu")
    small = ("--better", "generator.hidden=6", "--better", "algorithm.policy_batch_size=8")
    code, _, err = call(*words, *small)
    assert code == 0, err
    hidden = {
        name: config.read_config(tmp_path / "out" / "seed-1" / name / run_directory.CONFIG)["generator"]["hidden"]
        for name in ("mle", "improved-mle", "improved")
    }
    assert hidden == {"mle": 8, "improved-mle": 6, "improved": 6}
    code, _, err = call(*words)
    assert code == 2
    assert "(better={'generator.hidden': 6, 'algorithm.policy_batch_size': 8}, not {'generator.hidden': 128" in err
    code, _, err = call(*words, "--better", "generator.colour=1")
    assert code == 2
    assert "has no option 'colour'" in err


def test_what_helps_more_by_another_release_is_another_experiment(tmp_path, monkeypatch):
    tiny(tmp_path)
    monkeypatch.setitem(oracle.BETTER["generator"], "dropout", 0.25)
    with pytest.raises(UsageError, match=r"\(better=\{'generator.dropout': 0.5\}, not \{'generator.dropout': 0.25\}\)"):
        tiny(tmp_path)


@pytest.mark.parametrize("there", [[], ["oracle.npz"], ["oracle.npz", "sequences.npz"]])
def test_a_start_that_was_killed_is_begun_again(there, tmp_path):
    tiny(tmp_path / "whole")
    place = tmp_path / "parted"
    place.mkdir()
    for name in there:
        (place / name).write_bytes((tmp_path / "whole" / name).read_bytes())
    (place / ".0123456789abcdef.part").write_bytes(b"PK")  # as a kill in `write_whole` leaves it
    assert tiny(place, seed=3).oracle.digest == Oracle.random(3, vocab_size=20, embedding=4, hidden=4).digest
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / ".thesis").write_text("mine")
    with pytest.raises(UsageError, match="is not empty, and no experiment is in it"):
        tiny(tmp_path / "hidden")


def test_the_figures_are_of_seed_1_whichever_process_has_it(tmp_path):
    words = (
        "--size",
        "tiny",
        "--stop-after",
        0.0001,
        "--only",
        "table",
        "--only",
        "short",
        "--device",
        "cpu",
        "--seeds",
    )
    for seeds, models in (("1", 10), ("2-3", 14), ("2", 17)):
        code, _, err = call(*words, seeds, "-o", tmp_path / seeds)
        assert code == 75
        assert f"{models} runs in " in err
    code, _, err = call("--size", "tiny", "--only", "short", "--seeds", "2-3", "-o", tmp_path / "none")
    assert code == 2
    assert "--only short is of seed 1 alone, which --seeds 2-3 leaves out" in err
    assert not (tmp_path / "none").exists()


def test_what_failed_with_one_seed_is_told_when_another_has_not(tmp_path, monkeypatch):
    train = Runs.train

    def fails(runs, seed, model, **how):
        if (seed, model.name) == (1, "improved-mle"):
            raise Failure("g_loss is nan")
        train(runs, seed, model, **how)

    monkeypatch.setattr(Runs, "train", fails)
    small = ("--better", "generator.hidden=6", "--better", "algorithm.policy_batch_size=8")
    words = ("--size", "tiny", "--seeds", 2, "--only", "improved", "--temperatures", 1, "--device", "cpu", *small)
    code, out, err = call(*words, "-o", tmp_path / "out")
    assert code == 1
    assert "3 of 8 runs failed: seed 1, improved-mle: g_loss is nan" in err
    assert "they are not trained to the end: seed-1/improved, seed-1/improved-mle." in out
    assert "| SeqGAN, improved " in out


def test_slices_of_time_come_to_the_same_end(done, tmp_path):
    directory, _, _ = done
    words = ("--size", "tiny", "--seeds", 1, "--only", "table", "--temperatures", "0.7,1", "-o", tmp_path / "out")
    codes = []
    while not codes or codes[-1] == 75:
        code, out, err = call(*words, "--device", "cpu", "--stop-after", 0.0001)
        codes.append(code)
        assert len(codes) < 60
        if code == 75:
            assert "the time is up" in err
            assert "--stop-after 0.0001" in err
    assert code == 0, err
    assert len(codes) > 5
    for row in ROWS[:-2]:
        place = tmp_path / "out" / "seed-1" / row
        assert log(place) == log(directory / "seed-1" / row)
        assert state(place) == state(directory / "seed-1" / row)
    assert "| SeqGAN " in out


def test_an_oracle_of_ones_own(tmp_path):
    Oracle.random(5, vocab_size=30, embedding=3, hidden=2).write(tmp_path / "mine.npz")
    words = ("--size", "tiny", "--seeds", 1, "--only", "short", "-o", tmp_path / "out", "--oracle")
    code, out, err = call(*words, tmp_path / "mine.npz")
    assert code == 0, err
    assert "V = 30, T = 6, embedding 3, hidden 2" in out
    Oracle.random(6, vocab_size=30, embedding=3, hidden=2).write(tmp_path / "other.npz")
    code, _, err = call(*words, tmp_path / "other.npz")
    assert code == 2
    assert "holds an experiment of other settings (oracle file=" in err
    code, _, err = call(*words, tmp_path / "mine.npz", "-s", "oracle.vocab_size=30")
    assert code == 2
    assert "--oracle has a vocab_size of its own; leave out -s oracle.vocab_size" in err
    code, _, err = call(*words, tmp_path / "none.npz")
    assert code == 2
    assert "cannot read" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--stop-after", "0"), "--stop-after must be above 0, not 0"),
        (("-s", "oracle.colour=1"), "[oracle] has no option 'colour'"),
        (("-s", "algorithm.colour=1"), "has no option 'colour'"),
        (
            ("-s", "algorithm.name=mle"),
            "algorithm.name is settled by the oracle experiment itself: every row has its own",
        ),
        (("-s", "data.length=4"), "data.length is settled by the oracle experiment itself: set oracle.length"),
        (("-s", "run.seed=4"), "run.seed is settled by the oracle experiment itself: --seeds says which"),
        (("-s", "tokenizer.size=4"), "tokenizer.size is settled"),
        (("--better", "data.length=4"), "data.length is settled"),
        (("--better", "algorithm.colour=1"), "has no option 'colour'"),
        (("--temperatures", "0"), "temperature must lie in"),
        (("--only", "everything"), "Invalid value for '--only'"),
        (("-s", "rounds=3"), "write it as section.option=value"),
    ],
)
def test_a_mistake_is_one_line_and_makes_nothing(words, message, tmp_path):
    code, _, err = call("--size", "tiny", "-o", tmp_path / "out", *words)
    assert code == 2
    assert message in err
    assert not (tmp_path / "out").exists()
