import json
import shutil

import pytest
import torch

from seqgan_music import checkpoint, experiment, run_directory
from seqgan_music.errors import Failure, UsageError
from seqgan_music.experiment import Experiment
from seqgan_music.export import ROWS, export
from seqgan_music.run import Run


@pytest.fixture
def exported(tiny_run, tmp_path):
    export(tiny_run, tmp_path / "small")
    return Run(tmp_path / "small")


def test_an_exported_run_generates_what_the_run_does(exported, tiny_run):
    assert exported.stages == ["best"]
    metre = tiny_run.tokenizer.metres[0]
    one, other = (run.generate(5, seed=3, metre=metre, stage="best") for run in (exported, tiny_run))
    assert one == other
    assert {piece.metre for piece in exported.generate(40)} >= {(2, 4), (6, 8)}
    assert exported.generate(1, bars=9)[0].notes


def test_it_holds_nothing_but_what_that_takes(exported):
    found = [file for file in exported.directory.rglob("*") if file.is_file()]
    files = {file.relative_to(exported.directory).as_posix() for file in found}
    assert files == {
        "config.toml",
        "tokenizer.json",
        "run.json",
        "windows.safetensors",
        "checkpoints/best/tensors.safetensors",
        "checkpoints/best/values.json",
    }
    assert set(checkpoint.load(exported.directory / "checkpoints" / "best")) == {"generator"}
    modes = {file.stat().st_mode for file in found}
    assert len(modes) == 1, "whoever may read one file may read all"


def test_neither_the_corpus_nor_its_place_is_in_it(exported, tiny_run):
    data = exported.dataset
    assert (data.train.ids == data.pad_id).all(), "no music"
    assert (len(data.validation), len(data.test)) == (0, 0)
    root = tiny_run.facts["corpus"]["root"]
    assert root.startswith("/")
    for file in exported.directory.rglob("*"):
        assert not file.is_file() or root.encode() not in file.read_bytes()
    assert exported.facts["corpus"]["root"] == root.rpartition("/")[2]
    assert "platform" not in exported.facts["versions"]
    assert exported.facts["corpus"]["digest"] == tiny_run.facts["corpus"]["digest"]


def test_metres_keep_their_shares(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr("seqgan_music.export.ROWS", 100)
    export(tiny_run, tmp_path / "small")
    kept, all_of_them = Run(tmp_path / "small").dataset.train.start, tiny_run.dataset.train.start
    assert len(kept) == 100 < len(all_of_them) < ROWS
    for token in tiny_run.tokenizer.start_ids.values():
        shares = [(start == token).float().mean().item() for start in (kept, all_of_them)]
        assert shares[0] == pytest.approx(shares[1], abs=0.01)


@pytest.mark.parametrize("stage", ["mle", "adversarial", "best"])
def test_each_stage_with_and_without_its_discriminator(stage, tiny_run, tmp_path):
    facts = export(tiny_run, tmp_path / "both", stage=stage, with_discriminator=True)
    both = Run(tmp_path / "both")
    assert both.stages == [stage]
    expected = run_directory.stage_weights(tiny_run.directory, stage)
    found = run_directory.stage_weights(tmp_path / "both", stage)
    assert set(found) == set(expected) == {"generator", "discriminator"}
    for network in found:
        assert all(torch.equal(found[network][name], tensor) for name, tensor in expected[network].items())
    assert facts == both.facts["exported"]
    assert facts == {"stage": stage, "weights": checkpoint.digest(expected["generator"])}
    if stage == "mle":
        pretrained = checkpoint.load(tiny_run.directory / "checkpoints" / "discriminator")["discriminator"]
        assert all(torch.equal(found["discriminator"][name], tensor) for name, tensor in pretrained.items())


def test_an_unfinished_run_s_newest_weights(tiny_experiment, tmp_path):
    made = tiny_experiment(tmp_path / "run", algorithm={"rounds": 3})
    for record, _ in made:
        if record.phase == "adversarial":
            break
    export(Run(tmp_path / "run"), tmp_path / "small", stage="adversarial")
    assert len(Run(tmp_path / "small").generate(2)) == 2
    weights = made.parts.generator.state_dict()
    assert Run(tmp_path / "small").facts["exported"]["weights"] == checkpoint.digest(weights)


def test_what_it_cannot_do_it_says(exported):
    with pytest.raises(UsageError, match="exported run, which lacks the corpus's windows"):
        exported.evaluate()
    with pytest.raises(UsageError, match=r"exported run, without the state.*--init"):
        Experiment.resume(exported.directory)


def test_a_directory_in_use_a_missing_stage_a_missing_discriminator(tiny_run, tiny_experiment, tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("mine")
    for place in (tmp_path / "used", tmp_path / "used" / "file"):
        with pytest.raises(UsageError, match="is in use"):
            export(tiny_run, place)
    made = tiny_experiment(tmp_path / "mle", algorithm={"name": "mle", "epochs": 1})
    with pytest.raises(UsageError, match="no trained generator yet"):
        export(Run(tmp_path / "mle"), tmp_path / "new")
    list(made)
    with pytest.raises(UsageError, match="no stage 'best'"):
        export(Run(tmp_path / "mle"), tmp_path / "new", stage="best")
    with pytest.raises(UsageError, match="has no trained discriminator"):
        export(Run(tmp_path / "mle"), tmp_path / "new", with_discriminator=True)
    assert not (tmp_path / "new").exists()


def test_an_empty_folder_is_filled_and_a_broken_export_leaves_nothing(tiny_run, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    export(tiny_run, tmp_path / "empty")
    assert Run(tmp_path / "empty").stages == ["best"]
    monkeypatch.setattr(shutil, "copyfile", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(Failure, match=r"cannot write .*/new: No space left on device"):
        export(tiny_run, tmp_path / "new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["empty"]


def test_an_exported_run_can_be_started_from_and_exported_again(exported, few_tunes, tiny_settings, tmp_path):
    tuned = experiment.train(
        few_tunes, settings={"algorithm": tiny_settings["algorithm"]}, init=exported, evaluate=False,
        directory=tmp_path / "tuned",
    )  # fmt: skip
    assert tuned.facts["init"]["weights"] == exported.facts["exported"]["weights"]
    assert tuned.facts["init"]["discriminator"] is False
    export(tuned, tmp_path / "again")
    facts = json.loads((tmp_path / "again" / "run.json").read_text("utf-8"))
    assert facts["init"]["run"] == "small"
    assert str(tmp_path) not in json.dumps(facts)
