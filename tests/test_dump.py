import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from seqgan_music_cli.main import main

from seqgan_music import midi
from seqgan_music.evaluation import Evaluation, MelodySet, draw, evaluate_run
from seqgan_music.evaluation.dump import dump

ROWS = ["mle", "adversarial", "best", "real", "Markov-1", "Markov-2", "uniform"]
PAGE = Path(__file__).parent.parent / "docs" / "commands.md"
N = 24


def call(*words):
    done = CliRunner().invoke(main, ["evaluate", *map(str, words)], prog_name="seqgan-music")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture(scope="module")
def folder(tiny_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dumps") / "a" / "dump"
    dump(evaluate_run(tiny_run, samples=N, device="cpu"), tiny_run, folder)
    return folder


@pytest.fixture(scope="module")
def about(folder):
    return json.loads((folder / "README.json").read_text("utf-8"))


def arrays(folder, name):
    with np.load(folder / f"{name}.npz", allow_pickle=False) as archive:
        return dict(archive)


def test_every_file_is_there_and_every_array_is_as_the_readme_says(folder, about):
    names = {f"{name}.npz" for name in (*ROWS, "references", "windows")}
    assert set(about["files"]) == names
    assert {file.name for file in folder.iterdir()} == names | {"README.json"}
    for file, told in about["files"].items():
        found = arrays(folder, file.removesuffix(".npz"))
        assert {key: (list(array.shape), str(array.dtype)) for key, array in found.items()} == {
            key: (entry["shape"], entry["dtype"]) for key, entry in told.items()
        }
        assert all(len(entry["meaning"]) > 10 for entry in told.values())


def test_samples_are_those_of_the_run_and_read_alike(folder, about, tiny_run):
    for stage in ("mle", "adversarial", "best"):
        drawn = draw(tiny_run, N, seed=0, stage=stage, device="cpu")
        found = arrays(folder, stage)
        assert found["ids"].tolist() == drawn.ids.tolist()
        assert found["start"].tolist() == drawn.start.tolist()
    for name in ("mle", "real", "references", "uniform"):
        found = arrays(folder, name)
        read = MelodySet.of_tokens(tiny_run.tokenizer, torch.from_numpy(found["ids"]), torch.from_numpy(found["start"]))
        assert [row[:n].tolist() for row, n in zip(found["events"], found["lengths"], strict=True)] == (
            read.events.to_lists()
        )
        assert found["steps"].tolist() == read.steps.tolist()
        assert found["bar"].tolist() == read.bar.tolist()
    assert about["tokenizer"] == tiny_run.tokenizer.to_dict()
    chain = arrays(folder, "Markov-1")
    assert "ids" not in chain, "a chain of note events has no tokens"
    assert chain["events"].shape[0] == N


def test_events_can_be_read_as_the_readme_says(folder):
    found = arrays(folder, "mle")
    duration, pitch = np.divmod(found["events"], 129)
    for row in range(N):
        count = found["lengths"][row]
        assert not found["events"][row, count:].any()
        grid = np.repeat(np.where(pitch == 128, -1, pitch)[row, :count], duration[row, :count])
        known = found["steps"][row][: len(grid)]
        assert np.where(known == -2, -1, known).tolist() == grid.tolist()


def test_scores_have_the_means_of_the_table(folder, about):
    for row in ROWS:
        found = arrays(folder, row)
        scores = {name: values for name, values in found.items() if name in about["means"][row]}
        assert {"bleu_4", "self_bleu_4", "mse_nearest"} <= set(scores)
        for name, values in scores.items():
            assert values.shape == found["lengths"].shape
            assert np.nanmean(values) == pytest.approx(about["means"][row][name]), (row, name)


def test_windows_and_the_tunes_they_were_cut_from(folder, about, tiny_run, few_tunes):
    found = arrays(folder, "windows")
    for part in ("train", "validation", "test"):
        windows = getattr(tiny_run.dataset, part)
        for key in ("ids", "start", "piece"):
            assert found[f"{part}_{key}"].tolist() == getattr(windows, key).tolist()
        first, number = found[f"{part}_ids"][0], found[f"{part}_piece"][0]
        tune = midi.read(few_tunes / about["tunes"][str(number)])
        assert tiny_run.tokenizer.encode(tune)[1 : 1 + len(first)] == first.tolist()
    assert len(about["tunes"]) == 12


def test_the_same_evaluation_gives_the_same_files_and_others_stay(folder, tiny_run, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "mle.npz").write_text("old")
    written = dump(evaluate_run(tiny_run, samples=N, device="cpu"), tiny_run, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {file.name for file in written} | {"notes.txt"}
    for file in written:
        if file.suffix == ".npz":
            assert file.read_bytes() == (folder / file.name).read_bytes()


def test_an_evaluation_without_its_sets_is_refused(tiny_run, tmp_path):
    with pytest.raises(ValueError, match="does not hold the sets"):
        dump(Evaluation({"mle": {}}), tiny_run, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_command_writes_them_and_prints_the_table_as_ever(own_run, tmp_path):
    code, out, err = call(own_run, "-n", N, "--dump", tmp_path / "dump", "--json")
    assert code == 0
    assert json.loads(out) == json.loads((own_run / "report.json").read_text("utf-8"))
    assert err == f"10 files in {tmp_path / 'dump'}; README.json says what they hold\n"
    (tmp_path / "file").write_text("in the way")
    code, out, err = call(own_run, "-n", N, "--dump", tmp_path / "file")
    assert (code, out) == (1, "")
    assert err.startswith(f"seqgan-music: cannot make the folder {tmp_path / 'file'}")


def test_the_example_of_the_documentation_works(folder, capsys, monkeypatch):
    (example,) = (
        block
        for block in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
        if "np.load" in block
    )
    monkeypatch.chdir(folder.parent)
    exec(example, {})
    mle, real = arrays(folder, "mle"), arrays(folder, "real")
    assert float(capsys.readouterr().out) == pytest.approx(np.nanmean(mle["bleu_4"]) - np.nanmean(real["bleu_4"]))
