import dataclasses
import itertools
import json
import math
import random
import shutil

import numpy as np
import pytest
import torch

from seqgan_music import checkpoint, config, corpus, dataset, evaluation, experiment, midi, run_directory, run_settings
from seqgan_music.algorithms.record import Record
from seqgan_music.errors import Failure, UsageError
from seqgan_music.experiment import Experiment, warnings_about
from seqgan_music.notes import Notes
from seqgan_music.run import Run
from seqgan_music.run_directory import read_log

RECORDS = 6  # of a tiny run: two of each phase
# Everything that a run can forget: means of two objectives, which of them is paid and how much, a roll-out policy that
# lags behind; dropout is on already.
FULL = {
    "algorithm": {"rollout_rate": 0.5},
    "objectives": {"tonality": 1.0, "ratio_of_steps": 2.0},
    "reward": {
        "lambda_schedule": [[0, 0.7], [1, 0.4]],
        "programme": [[1, ["tonality"]], [1, ["ratio_of_steps"]]],
        "uniqueness": True,
        "rescale": "batch",
    },
}


@pytest.fixture(scope="module")
def create(tiny_experiment):
    return lambda directory, *source, **sections: tiny_experiment(directory, *source, **config.merge(FULL, sections))


def outcome(directory):
    """What two equal runs share: every tensor and value of every checkpoint, metrics without times, and samples."""
    flat = {}

    def collect(value, path):
        if isinstance(value, dict):
            for key, item in value.items():
                collect(item, (*path, key))
        elif isinstance(value, list):
            for i, item in enumerate(value):
                collect(item, (*path, i))
        else:
            flat[path] = value.numpy().tobytes() if isinstance(value, torch.Tensor) else value

    saved = directory / run_directory.CHECKPOINTS
    for stage in sorted(saved.iterdir()):
        collect(checkpoint.load(stage), (stage.name,))
    for number, line in enumerate(read_log(directory)):
        flat |= {("log", number, name): value for name, value in line.items() if name != "seconds"}
    run = Run(directory)
    flat |= {("samples", stage): str(run.generate(4, stage=stage)) for stage in run.stages}
    return flat


def assert_equal(one, other):
    assert list(one) == list(other)
    different = [path for path in one if one[path] != other[path]]
    assert not different, different


@pytest.fixture(scope="module")
def uninterrupted(create, tmp_path_factory):
    made = create(tmp_path_factory.mktemp("straight") / "run")
    torch.manual_seed(1)
    records = list(made)
    assert len(records) == RECORDS
    return made.directory


@pytest.mark.parametrize("k", range(RECORDS + 1))
def test_a_resumed_run_equals_one_that_never_stopped(k, uninterrupted, create, tmp_path):
    stopped = create(tmp_path / "run")
    list(itertools.islice(stopped, k))
    resumed = Experiment.resume(tmp_path / "run")
    assert resumed.records == k
    assert len(list(resumed)) == RECORDS - k
    assert_equal(outcome(tmp_path / "run"), outcome(uninterrupted))


@pytest.mark.parametrize("k", [1, 2, 4, 6])
def test_a_run_killed_between_log_and_checkpoint_resumes(k, uninterrupted, create, tmp_path, monkeypatch):
    save = checkpoint.save

    def killed(directory, state):
        if state.get("records") == k:
            raise KeyboardInterrupt
        save(directory, state)

    monkeypatch.setattr(checkpoint, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        list(create(tmp_path / "run"))
    monkeypatch.undo()
    assert len(read_log(tmp_path / "run")) == k
    with open(tmp_path / "run" / run_directory.LOG, "a", encoding="utf-8") as log:
        log.write('{"phase": "ml')  # and in the middle of a line
    resumed = Experiment.resume(tmp_path / "run")
    assert resumed.records == k - 1
    list(resumed)
    assert_equal(outcome(tmp_path / "run"), outcome(uninterrupted))


def test_a_run_that_is_finished_has_nothing_to_resume(own_run):
    log = (own_run / run_directory.LOG).read_text("utf-8")
    assert list(Experiment.resume(own_run)) == []
    assert (own_run / run_directory.LOG).read_text("utf-8") == log


def test_the_global_random_numbers_are_not_heard(uninterrupted, create, tmp_path):
    torch.manual_seed(99)
    random.seed(99)
    list(create(tmp_path / "run"))
    assert_equal(outcome(tmp_path / "run"), outcome(uninterrupted))


def test_the_global_random_numbers_are_not_used(create, tmp_path):
    before = torch.get_rng_state(), random.getstate(), str(np.random.get_state())  # noqa: NPY002
    list(create(tmp_path / "run"))
    Run(tmp_path / "run").generate(2)
    after = torch.get_rng_state(), random.getstate(), str(np.random.get_state())  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_another_seed_gives_other_weights_and_other_draws(create, tmp_path):
    one, same, other = (
        create(tmp_path / name, run={"seed": seed}).parts for name, seed in [("a", 1), ("b", 1), ("c", 2)]
    )
    for network in ("generator", "discriminator"):
        weights = [next(getattr(parts, network).parameters()) for parts in (one, same, other)]
        assert torch.equal(weights[0], weights[1])
        assert not torch.equal(weights[0], weights[2])
    draws = [torch.rand(4, generator=parts.rng) for parts in (one, same, other)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_every_record_is_on_disk_before_it_is_seen(create, tmp_path):
    made = create(tmp_path / "run")
    for number, (record, _) in enumerate(made, 1):
        lines = read_log(tmp_path / "run")
        assert len(lines) == number
        assert lines[-1] == {"phase": record.phase, "step": record.step, "of": record.of, **record.values}
        assert checkpoint.load(tmp_path / "run" / "checkpoints" / "last")["records"] == number


def test_records_measure_what_is_promised(uninterrupted):
    by_phase = {line["phase"]: line for line in read_log(uninterrupted)}
    assert set(by_phase["mle"]) >= {"g_loss", "nll_validation", "seconds"}
    assert set(by_phase["discriminator"]) >= {"d_loss", "d_accuracy", "seconds"}
    adversarial = {"g_loss", "d_loss", "d_accuracy", "reward_mean", "reward_std", "entropy", "unique", "nll_validation"}
    assert set(by_phase["adversarial"]) >= adversarial | {"seconds", "reward_discriminator", "reward_ratio_of_steps"}
    for line in by_phase.values():
        assert line["seconds"] > 0


def test_a_loss_that_is_not_finite_stops_and_keeps_what_was_before(create, tmp_path):
    made = create(tmp_path / "run", algorithm={"policy_learning_rate": 1e36})
    with pytest.raises(Failure, match=r"is (nan|inf) in adversarial 1; .*smaller learning rates"):
        list(made)
    lines = read_log(tmp_path / "run")
    assert [line["phase"] for line in lines] == ["mle", "mle", "discriminator", "discriminator"]
    last = checkpoint.load(tmp_path / "run" / "checkpoints" / "last")
    assert last["records"] == 4
    assert all(tensor.isfinite().all() for tensor in last["parts"]["generator"].values())
    assert Run(tmp_path / "run").stages == ["mle"]


def adversarial(**values):
    return Record("adversarial", 1, 2, values)


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (adversarial(d_accuracy=1.0), "tells 100% apart"),
        (adversarial(unique=0.4), "only 40% of the samples are unique"),
        (adversarial(d_loss=0.02, d_accuracy=0.5), "by heart"),
        (adversarial(d_loss=0.1, d_accuracy=0.5), None),
        (adversarial(d_loss=0.02, d_accuracy=0.9), None),  # it may be right
        (adversarial(d_loss=0.5, d_accuracy=0.5), None),  # and that is a perfect generator
        (adversarial(d_accuracy=0.98, unique=0.51), None),
        (Record("discriminator", 1, 2, {"d_accuracy": 1.0}), None),  # at the beginning that is what it should do
        (Record("mle", 1, 2, {}), None),
    ],
)
def test_words_of_warning(record, says):
    warnings = warnings_about(record, memorised=0.1)
    assert len(warnings) == (says is not None)
    if says:
        assert says in warnings[0]
        assert "algorithm." in warnings[0], "which option to turn"


def test_a_loss_without_a_zero_says_nothing_of_what_is_known_by_heart():
    assert not warnings_about(adversarial(d_loss=-3.0, d_accuracy=0.5), memorised=None)


def test_a_run_directory_holds_all_that_is_needed_to_repeat_it(uninterrupted, tiny_corpus):
    settings = config.read_config(uninterrupted / "config.toml")
    assert run_settings.resolve(settings) == {"objectives": {}, **settings}
    assert settings["run"]["seed"] == 1
    assert settings["algorithm"]["clip"] == 5.0, "defaults are written out"
    tokenizer = json.loads((uninterrupted / "tokenizer.json").read_text("utf-8"))
    assert tokenizer["name"] == "grid"
    assert Run(uninterrupted).tokenizer.to_dict().items() <= tokenizer.items()
    facts = json.loads((uninterrupted / "run.json").read_text("utf-8"))
    assert {"python", "torch", "numpy", "seqgan-music"} <= set(facts["versions"])
    assert facts["threads"] == torch.get_num_threads()
    assert facts["corpus"]["digest"] == tiny_corpus.digest
    assert facts["corpus"]["windows_digest"] == Run(uninterrupted).dataset.digest()
    assert {file.name for file in (uninterrupted / "checkpoints").iterdir()} >= {
        "mle",
        "discriminator",
        "adversarial",
        "last",
    }
    last = checkpoint.load(uninterrupted / "checkpoints" / "last")
    assert last["algorithm"]["optimizer"]["state"][0]["exp_avg"].shape


def test_the_split_is_recorded_by_tune_and_no_tune_is_in_two_parts(uninterrupted, tiny_corpus):
    facts = Run(uninterrupted).facts["corpus"]
    named = [name for part in dataset.PARTS for name in facts["split"][part]]
    assert sorted(named) == sorted(tiny_corpus.names)
    data = Run(uninterrupted).dataset
    for part in dataset.PARTS:
        numbers = {tiny_corpus.names.index(name) for name in facts["split"][part]}
        assert set(getattr(data, part).piece.tolist()) == numbers
        assert facts["windows"][part] == len(getattr(data, part))


def test_refused_files_are_recorded_with_their_reasons(few_tunes, tmp_path, create):
    (tmp_path / "midi").mkdir()
    for file in few_tunes.iterdir():
        (tmp_path / "midi" / file.name).symlink_to(file)
    (tmp_path / "midi" / "bad.mid").write_bytes(b"")
    made = create(tmp_path / "run", corpus.read_corpus(tmp_path / "midi"), tokenizer={"high": 84})
    refused = Run(made.directory).facts["corpus"]["refused"]
    assert {"path": "bad.mid", "reason": "empty file", "detail": ""} in refused
    assert any(one["reason"] == "pitch outside the vocabulary" for one in refused)


def test_a_directory_that_is_in_use_is_not_written_to(own_run, create):
    before = (own_run / "run.json").read_bytes()
    with pytest.raises(UsageError, match=r"is not empty.*--resume"):
        create(own_run)
    assert (own_run / "run.json").read_bytes() == before


def test_what_cannot_be_used_writes_nothing(create, tmp_path):
    for sections, says in [
        ({"data": {"length": 1}}, "data.length"),
        ({"reward": {"lambda": 2}}, "lambda"),
        ({"objectives": {"tonality": -1.0}}, "negative"),
        ({"run": {"device": "abacus"}}, "unknown device 'abacus'"),
        ({"data": {"fractions": [1, 0, 0]}}, "positive share"),
    ]:
        with pytest.raises(UsageError, match=says):
            create(tmp_path / "run", **sections)
    assert not (tmp_path / "run").exists()


def test_what_is_no_run_cannot_be_resumed(tmp_path):
    with pytest.raises(UsageError, match=r"is not a run: it has no run\.json"):
        Experiment.resume(tmp_path)


def test_a_run_without_its_checkpoint_s_tensors_is_a_failure(own_run):
    (own_run / "checkpoints" / "last" / checkpoint.TENSORS).unlink()
    with pytest.raises(Failure, match="holds no checkpoint"):
        Experiment.resume(own_run)


def test_the_train_function_takes_a_folder_and_says_what_happens(few_tunes, tiny_settings, tmp_path):
    heard = []
    tiny_settings["algorithm"] = {"name": "mle", "epochs": 1}
    run = experiment.train(
        few_tunes,
        settings=tiny_settings,
        directory=tmp_path / "run",
        seed=5,
        on_record=lambda *seen: heard.append(seen),
    )
    assert [(record.phase, warnings) for record, warnings in heard] == [("mle", [])]
    assert run.settings["run"]["seed"] == 5
    assert run.stages == ["mle"]


def test_shortcuts_are_settings():
    assert run_settings.shortcuts("mle", seed=3, device="cpu") == {
        "algorithm": {"name": "mle"},
        "run": {"seed": 3, "device": "cpu"},
    }
    assert run_settings.shortcuts(objectives={"tonality": 1}) == {"objectives": {"tonality": 1}}
    assert run_settings.shortcuts(objectives={"tonality": 1}, lambda_=0.2)["reward"] == {"lambda": 0.2}
    assert run_settings.shortcuts(lambda_=0.0)["reward"] == {"lambda": 0.0}
    assert run_settings.shortcuts() == {}


def test_a_new_directory_is_never_an_old_one(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment.time, "strftime", lambda _: "2020-01-01-000000")
    first = run_directory.new_directory("./my file.py:Mine", tmp_path)
    assert first == tmp_path / "2020-01-01-000000-Mine"
    first.mkdir()
    assert run_directory.new_directory("./my file.py:Mine", tmp_path) == tmp_path / "2020-01-01-000000-Mine-2"


def test_the_first_weights_and_metrics_are_finite(uninterrupted):
    for line in read_log(uninterrupted):
        assert all(math.isfinite(value) for value in line.values() if isinstance(value, float))


def test_the_best_weights_are_those_of_the_round_closest_to_real_music(create, tmp_path, monkeypatch):
    distances = iter([9.0, 0.5, 0.2, 0.3])  # after pre-training, then of three rounds
    weights = {}
    made = create(tmp_path / "run", algorithm={"rounds": 3}, reward={"lambda_schedule": [[0, 1.0]]})
    monkeypatch.setattr(made.closeness, "measure", lambda ids, start: {"distance_validation": next(distances)})
    for record, _ in made:
        weights[record.phase, record.step] = made.parts.generator.output.bias.detach().clone()
    saved = checkpoint.load(tmp_path / "run" / "checkpoints" / "best")["generator"]["output.bias"]
    assert torch.equal(saved, weights["adversarial", 2])
    assert not torch.equal(saved, weights["adversarial", 3])


def test_a_run_that_is_steered_away_from_real_music_keeps_no_round_for_being_near_to_it(uninterrupted):
    assert Run(uninterrupted).stages == ["mle", "adversarial"]


def test_closeness_is_the_distance_of_all_figures_from_real_musics(uninterrupted):
    run = Run(uninterrupted)
    closeness = evaluation.Closeness(run.dataset, run.tokenizer, seed=0)
    figures = closeness.measure(*run.sample(closeness.size, start=closeness.start))
    expected = sum(abs(figures[name] - closeness.target[name]) for name in closeness.FIGURES)
    assert set(figures) == {*closeness.target, "distance_validation"}
    assert set(closeness.target) == {*closeness.FIGURES, "edit_distance"}
    assert figures["distance_validation"] == pytest.approx(expected)
    held_out = closeness.measure(*run.dataset.validation[:])
    assert held_out["bleu_4_validation"] > 0.99, "validation against itself"
    assert held_out["overlap_area_validation"] > figures["overlap_area_validation"]


def test_closeness_takes_one_window_of_every_training_tune_for_real_music(uninterrupted):
    data = Run(uninterrupted).dataset
    made = [evaluation.Closeness(data, Run(uninterrupted).tokenizer, seed=seed) for seed in (0, 0, 1)]
    assert made[0].size == len(data.train.piece.unique())
    assert made[0].target == made[1].target != made[2].target


def test_measuring_closeness_does_not_change_the_training(create, tmp_path, monkeypatch):
    names = ("with", "without")
    for name in names:
        made = create(tmp_path / name)
        if name == "without":
            monkeypatch.setattr(made.closeness, "of_generator", lambda *_: {"distance_validation": 1.0})
        list(made)
    one, other = (checkpoint.load(tmp_path / name / "checkpoints" / "last")["parts"]["generator"] for name in names)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_state_of_another_kind_of_device_starts_other_random_numbers(create, tmp_path):
    made = create(tmp_path / "run")
    state = made.parts.state_dict() | {"device": "cuda", "rng": torch.zeros(16, dtype=torch.uint8)}
    made.parts.load_state_dict(state)
    assert made.parts.rng.initial_seed() != 1
    assert len(list(made)) == RECORDS


def test_objectives_in_a_config_are_steered_by_too():
    assert run_settings.resolve({"objectives": {"tonality": 1.0}})["reward"]["lambda"] == 0.5
    assert run_settings.resolve({"objectives": {"tonality": 1.0}, "reward": {"lambda": 0.9}})["reward"]["lambda"] == 0.9
    assert run_settings.resolve({})["reward"]["lambda"] == 1.0


def test_weights_that_do_not_fit_the_config_are_a_failure(create, tmp_path):
    list(create(tmp_path / "run"))
    text = (tmp_path / "run" / "config.toml").read_text("utf-8")
    (tmp_path / "run" / "config.toml").write_text(text.replace("hidden = 16", "hidden = 17"), "utf-8")
    with pytest.raises(Failure, match=r"does not fit .*config\.toml"):
        Experiment.resume(tmp_path / "run")
    with pytest.raises(Failure, match=r"do not fit its config\.toml"):
        Run(tmp_path / "run").generate(1)


def test_a_tune_that_differs_in_loudness_or_ticks_alone_is_used_once(create, few_tunes, tmp_path):
    folder = tmp_path / "midi"
    shutil.copytree(few_tunes, folder)
    for file in sorted(few_tunes.iterdir()):
        piece = midi.read(file)
        table = piece.notes.table
        table[:, 3] = 33
        midi.write(dataclasses.replace(piece, notes=Notes.from_table(table)), folder / f"quiet {file.name}")
        table[:, :2] *= 2
        finer = dataclasses.replace(piece, notes=Notes.from_table(table), resolution=2 * piece.resolution)
        midi.write(finer, folder / f"finer {file.name}")
    made = create(tmp_path / "run", corpus.read_corpus(folder))
    facts = run_directory.read_facts(made.directory)["corpus"]
    assert facts["pieces"] == len(list(few_tunes.iterdir()))
    assert {refusal["reason"] for refusal in facts["refused"]} == {"duplicate"}
    data = made.parts.dataset
    train = {tuple(row) for row in data.train.ids.tolist()}
    assert not all(tuple(row) in train for row in data.test.ids.tolist())


def test_a_corpus_of_whole_scores_is_not_taken_for_one_of_melodies(create, few_tunes, tmp_path):
    with pytest.raises(UsageError, match="read with every part, but tokenizer 'grid' takes a melody"):
        create(tmp_path / "run", corpus.read_corpus(few_tunes, every_part=True))
