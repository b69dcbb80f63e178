import itertools
import json
import shlex
import shutil
import signal
import subprocess
import sys

import pytest
import tomli_w
from click.testing import CliRunner
from seqgan_music_cli.main import main

import seqgan_music
from seqgan_music import checkpoint, config, run_directory, timing
from seqgan_music.errors import Failure, UsageError
from seqgan_music.experiment import Experiment
from seqgan_music.finetuning import lay_under, open_run
from seqgan_music.group import Group
from seqgan_music.run import Run

WITHOUT_PAGES = """\
from seqgan_music import html_report
from seqgan_music_cli.main import main
html_report.write = lambda run: None
main()
"""


@pytest.fixture(scope="module")
def undisturbed(tiny_experiment, tmp_path_factory):
    """What runs of seeds 1, 2 and 3 leave."""
    folder = tmp_path_factory.mktemp("undisturbed")
    for seed in (1, 2, 3):
        list(tiny_experiment(folder / str(seed), run={"seed": seed}))
    return {seed: result(folder / str(seed)) for seed in (1, 2, 3)}


@pytest.fixture
def create(tiny_corpus, tiny_settings):
    def create(directory, seeds=(1, 2, 3), **options):
        return Group.create(tiny_corpus, tiny_settings, directory, seeds, **options)

    return create


@pytest.fixture
def tiny_toml(tiny_settings, tmp_path):
    file = tmp_path / "tiny.toml"
    file.write_text(tomli_w.dumps(tiny_settings), "utf-8")
    return file


def call(*words):
    done = CliRunner().invoke(main, [str(word) for word in words], prog_name="seqgan-music")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return done.exit_code, done.stdout, done.stderr


def result(directory):
    """What a training leaves that depends on nothing but its settings."""
    log = [{**line, "seconds": 0} for line in run_directory.read_log(directory)]
    stages = Run(directory).stages
    return log, {stage: checkpoint.digest(Run(directory).generator(stage).state_dict()) for stage in stages}


def test_every_run_of_a_group_is_the_run_of_its_seed(create, tiny_experiment, tmp_path):
    group = create(tmp_path / "group", (4, 5))
    assert group.finished == []
    seen = []
    runs = group.train(evaluate=False, pages=False, on_record=lambda seed, record, _: seen.append((seed, record.phase)))
    assert [run.settings["run"]["seed"] for run in runs] == group.seeds == group.finished == [4, 5]
    assert [seed for seed, _ in itertools.groupby(seed for seed, _ in seen)] == [4, 5]
    for seed, run in group.runs.items():
        alone = tmp_path / f"alone {seed}"
        list(tiny_experiment(alone, run={"seed": seed}))
        assert result(run) == result(alone)
        assert (run / "run.json").read_bytes() == (alone / "run.json").read_bytes(), "split, windows and all"
    assert result(group.runs[4]) != result(group.runs[5])


@pytest.mark.parametrize(("seed", "records"), [(1, 0), (1, 3), (2, 0), (2, 5), (3, 6)])
def test_a_group_that_was_killed_anywhere_ends_as_one_that_was_not(create, seed, records, undisturbed, tmp_path):
    group = create(tmp_path / "killed")
    for before in range(1, seed):
        list(group.experiment(before))
        group.finish(before, evaluate=False, pages=False)
    list(itertools.islice(group.experiment(seed), records))
    touched = {before: (group.runs[before] / "config.toml").stat().st_mtime_ns for before in range(1, seed)}
    weights = [group.runs[before] / "checkpoints" / "last" / "tensors.safetensors" for before in range(1, seed)]
    written = [file.stat().st_mtime_ns for file in weights]

    again = Group(tmp_path / "killed")
    assert again.finished == list(range(1, seed))
    trained = []
    again.train(evaluate=False, pages=False, on_record=lambda seed, *_: trained.append(seed))
    assert min(trained, default=4) >= seed
    assert trained.count(seed) == 6 - records
    assert [file.stat().st_mtime_ns for file in weights] == written, "finished runs are left alone"
    assert touched == {before: (group.runs[before] / "config.toml").stat().st_mtime_ns for before in touched}
    assert {number: result(run) for number, run in again.runs.items()} == undisturbed
    assert Group(tmp_path / "killed").finished == [1, 2, 3]


def test_the_corpus_is_not_needed_again(few_tunes, tiny_settings, tmp_path):
    shutil.copytree(few_tunes, tmp_path / "midi")
    source = seqgan_music.read_corpus(tmp_path / "midi")
    Group.create(source, tiny_settings, tmp_path / "group", [1, 2])
    shutil.rmtree(tmp_path / "midi")
    assert len(Group(tmp_path / "group").train(pages=False)) == 2
    assert (tmp_path / "group" / "seed-2" / "report.json").exists()
    assert (tmp_path / "group" / "seed-2" / "scores.npz").exists()


def test_all_runs_of_a_group_have_the_schedule_that_was_fitted_for_the_first(create, tmp_path, monkeypatch):
    cheap, dear = (timing.Costs({"mle": cost, "discriminator": cost, "adversarial": cost}) for cost in (0.1, 1000.0))
    costs = iter([dear, cheap, cheap])
    monkeypatch.setattr(timing, "measure", lambda *_, **__: next(costs))
    group = create(tmp_path / "group", adjust=timing.Timer(0.1))
    settings = [Run(run).settings for run in group.runs.values()]
    assert [one["algorithm"]["rounds"] for one in settings] == [1, 1, 1]
    assert len({json.dumps(config.merge(one, {"run": {"seed": 0}})) for one in settings}) == 1


def test_a_group_starts_from_another_run(tiny_corpus, tiny_settings, tiny_run, tmp_path):
    init = open_run(tiny_run)
    group = Group.create(tiny_corpus, lay_under(tiny_settings, init), tmp_path / "group", (1, 2), init=init)
    group.train(evaluate=False, pages=False)
    facts = [run_directory.read_facts(run)["init"] for run in group.runs.values()]
    assert facts[0] == facts[1]
    assert facts[0]["stage"] == "best"
    assert result(group.runs[1]) != result(group.runs[2])


def test_a_group_that_cannot_be_made_leaves_nothing(create, tiny_corpus, tiny_settings, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"run\.seed must lie within"):
        create(tmp_path / "group", [1, 2**63])
    with pytest.raises(UsageError, match=r"one seed or more, each once, not \[1, 1\]"):
        create(tmp_path / "group", [1, 1])
    with pytest.raises(UsageError, match="one seed or more"):
        create(tmp_path / "group", [])
    made = Experiment.create

    def full(source, settings, directory, **options):
        if settings["run"]["seed"] == 2:
            raise Failure("no space left")
        return made(source, settings, directory, **options)

    monkeypatch.setattr(Experiment, "create", full)
    with pytest.raises(Failure, match="no space left"):
        create(tmp_path / "group", [1, 2])
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty").mkdir()
    with pytest.raises(Failure, match="no space left"):
        create(tmp_path / "empty", [1, 2])
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_place_in_use_is_refused_and_left_as_it_is(create, tmp_path):
    (tmp_path / "group").mkdir()
    (tmp_path / "group" / "mine").write_text("")
    with pytest.raises(UsageError, match="is not empty; name another directory, or go on with --resume"):
        create(tmp_path / "group")
    assert [file.name for file in (tmp_path / "group").iterdir()] == ["mine"]
    with pytest.raises(UsageError, match="is a file"):
        create(tmp_path / "group" / "mine")


def test_what_is_no_group_is_refused(tiny_run, tmp_path):
    with pytest.raises(UsageError, match="is not a group of runs"):
        Group(tiny_run.directory)
    for content in ("", "[]", '{"seeds": [1]}', '{"seeds": 1, "finished": []}'):
        (tmp_path / "group.json").write_text(content)
        with pytest.raises(Failure, match=r"group\.json is damaged"):
            Group(tmp_path)


def test_train_makes_a_group_compares_its_stages_and_names_it_latest(few_tunes, tiny_toml, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = call("train", few_tunes, "-c", tiny_toml, "--seeds", 2, "--seed", 7)
    assert code == 0, err
    (place,) = (path for path in (tmp_path / "runs").iterdir() if path.name != "latest")
    assert place.name.endswith("-seqgan-2-seeds")
    group = Group("runs/latest")
    assert group.seeds == group.finished == [7, 8]
    for run in group.runs.values():
        assert (run / "report.json").exists()
        assert len(list((run / "samples" / "best").iterdir())) == 8
    assert err.count("12 tunes; 0 refused") == 1, "the corpus is read once"
    assert "run 1 of 2: " in err
    assert "run 2 of 2: " in err
    assert "## adversarial against mle" in out
    assert (place / "compare.md").read_text("utf-8") in out
    code, again, err = call("train", "--resume", "runs/latest")
    assert code == 0, err
    assert "2 of 2 runs are finished" in err
    assert "left in this phase" not in err
    assert again.count("| best ") == out.count("| best ")
    code, _, err = call("generate", "runs/latest", "-n", 1, "-o", "out")
    assert code == 2
    assert "'runs/latest' is a group of 2 runs (seed-7, seed-8); name one of them, such as runs/latest/seed-7" in err
    for words in (["evaluate", "runs/latest"], ["evaluate", "runs/latest", "--against", few_tunes]):
        assert call(*words) == (2, "", err)
    assert call("generate", "runs/latest/seed-7", "-n", 1, "-o", "out")[0] == 0


def test_a_group_with_code_of_ones_own_does_not_load_it_by_itself(few_tunes, tiny_toml, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def warmth(piece):\n    return 0.5\n")
    words = ["train", few_tunes, "-p", "quick", "-c", tiny_toml, "--seeds", 1, "-O", "./mine.py:warmth"]
    code, _, err = call(*words, "--run", "group")
    assert code == 0, err
    before = {path: path.read_bytes() for path in (tmp_path / "group").rglob("*") if path.is_file()}
    code, out, err = call("train", "--resume", "group")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "--own-code" in err
    assert {path: path.read_bytes() for path in before} == before
    code, out, err = call("train", "--resume", "group", "--own-code")
    assert code == 0, err
    assert "warmth †" in out


def test_the_minutes_are_for_all_runs_together(few_tunes, tiny_toml, tmp_path, monkeypatch):
    costs = timing.Costs({"mle": 3.0, "discriminator": 3.0, "adversarial": 3.0})
    monkeypatch.setattr(timing, "measure", lambda *_, **__: costs)
    words = ["train", few_tunes, "-c", tiny_toml, "--no-evaluate"]
    code, out, err = call(*words, "--seeds", 2, "--minutes", 0.4, "-o", tmp_path / "group")
    assert code == 0, err
    assert "each of 2 runs: about " in err
    assert "# Comparison" not in out
    assert not (tmp_path / "group" / "seed-1" / "report.json").exists()
    code, _, err = call(*words, "--minutes", 0.2, "-o", tmp_path / "alone")
    assert code == 0, err
    logs = [run_directory.read_log(tmp_path / run) for run in ("group/seed-1", "group/seed-2", "alone")]
    assert len({tuple(line["phase"] for line in log) for log in logs}) == 1


def test_a_run_that_fails_does_not_stop_the_others(few_tunes, tiny_toml, tmp_path, monkeypatch):
    finish = Group.finish

    def broken(self, seed, **options):
        if seed == 1:
            raise Failure("g_loss is nan")
        return finish(self, seed, **options)

    monkeypatch.setattr(Group, "finish", broken)
    words = ["train", few_tunes, "-c", tiny_toml, "--seeds", 2, "--no-evaluate", "-o", tmp_path / "group"]
    code, _, err = call(*words)
    assert code == 1
    assert err.splitlines()[-1] == "seqgan-music: 1 of 2 runs failed: seed 1: g_loss is nan"
    assert Group(tmp_path / "group").finished == [2]


def test_ctrl_c_stops_the_group_and_prints_the_command_that_goes_on(few_tunes, tiny_toml, tmp_path):
    words = ["train", str(few_tunes), "-c", str(tiny_toml), "--seeds", "3", "-o", "my gröup", "--no-evaluate"]
    words += ["-s", "algorithm.rounds=8"]
    program, how = [sys.executable, "-c", WITHOUT_PAGES], {"text": True, "cwd": tmp_path}
    process = subprocess.Popen([*program, *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE, **how)
    second = False
    for line in process.stderr:
        second = second or line.startswith("run 2 of 3")
        if second and line.startswith("adversarial   2/"):
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    command = shlex.split(err.strip().splitlines()[-1])
    assert command == ["seqgan-music", "train", "--resume", "my gröup"]
    resumed = subprocess.run([*program, *command[1:], "--no-evaluate"], capture_output=True, check=False, **how)
    assert resumed.returncode == 0, resumed.stderr
    assert "1 of 3 runs are finished" in resumed.stderr
    group = Group(tmp_path / "my gröup")
    assert group.finished == [1, 2, 3]
    for run in group.runs.values():
        phases = [(line["phase"], line["step"]) for line in run_directory.read_log(run)]
        assert phases[-8:] == [("adversarial", step) for step in range(1, 9)]
        assert len(phases) == len(set(phases))
