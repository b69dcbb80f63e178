import dataclasses
import math

import pytest
import torch

from seqgan_music import checkpoint, config, corpus, experiment, finetuning, run_directory
from seqgan_music.algorithms.pretraining import negative_log_likelihood
from seqgan_music.errors import UsageError
from seqgan_music.experiment import Experiment
from seqgan_music.notes import Notes
from seqgan_music.run import Run
from seqgan_music.run_directory import read_log


def create(source, settings, directory, init, **sections):
    """As `train` does, with `settings` in the preset's place and `sections` in the user's."""
    merged = config.merge(finetuning.lay_under(settings, init), sections)
    return Experiment.create(source, merged, directory, init=init)


def shifted(piece, semitones):
    table = piece.notes.table
    table[:, 2] += semitones
    return dataclasses.replace(piece, notes=Notes.from_table(table))


def with_pieces(source, pieces):
    return dataclasses.replace(source, pieces=tuple(pieces))


def test_it_begins_where_the_other_run_ended(tiny_experiment, tiny_corpus, tiny_settings, tmp_path):
    long = {"name": "mle", "epochs": 30, "patience": 3, "batch_size": 64, "learning_rate": 1e-2}
    list(tiny_experiment(tmp_path / "trained", algorithm=long))
    trained = Run(tmp_path / "trained")
    made = create(tiny_corpus, tiny_settings, tmp_path / "run", trained)
    data = trained.dataset
    assert torch.equal(made.parts.dataset.train.ids, data.train.ids)
    expected = negative_log_likelihood(trained.generator(), data.validation, data.pad_id)
    facts = run_directory.read_facts(tmp_path / "run")["init"]
    assert facts["nll_validation"] == pytest.approx(expected, abs=1e-6)
    assert expected < math.log(data.vocab_size) - 1, "or this would show nothing"
    assert facts["discriminator"] is False, "likelihood trains none"
    list(made)
    first = read_log(tmp_path / "run")[0]["nll_validation"]
    assert first < expected + 0.1
    assert first < read_log(tmp_path / "trained")[0]["nll_validation"] - 0.5


def test_a_discriminator_of_another_loss_does_not_come_along(tiny_run, tiny_corpus, tiny_settings, tmp_path):
    made = create(tiny_corpus, tiny_settings, tmp_path / "run", tiny_run, loss={"name": "wgan-gp"})
    assert run_directory.read_facts(tmp_path / "run")["init"]["discriminator"] is False
    old, new = tiny_run.discriminator().state_dict(), made.parts.discriminator.state_dict()
    assert not any(torch.equal(old[name], new[name]) for name in old if name.endswith("weight"))


def test_the_run_says_what_it_started_from(tiny_run, tiny_corpus, tiny_settings, tmp_path):
    create(tiny_corpus, tiny_settings, tmp_path / "run", tiny_run)
    facts = run_directory.read_facts(tmp_path / "run")["init"]
    assert facts["run"] == tiny_run.directory.name
    assert str(tiny_run.directory) not in (tmp_path / "run" / "run.json").read_text("utf-8")
    assert facts["stage"] == "best"
    assert facts["weights"] == checkpoint.digest(tiny_run.generator().state_dict())
    assert facts["discriminator"] is True
    assert facts["octaves"] == {}


def test_both_networks_come_along_but_no_optimiser(tiny_run, tiny_corpus, tiny_settings, tmp_path):
    made = create(tiny_corpus, tiny_settings, tmp_path / "run", tiny_run)
    saved = checkpoint.load(tiny_run.directory / "checkpoints" / "best")
    for name in ("generator", "discriminator"):
        own = getattr(made.parts, name).state_dict()
        assert all(torch.equal(own[key], saved[name][key]) for key in own)
    assert all(
        torch.equal(made.algorithm.policy.rollout_policy.state_dict()[key], tensor)
        for key, tensor in saved["generator"].items()
    )
    start = checkpoint.load(tmp_path / "run" / "checkpoints" / "last")
    assert start["records"] == 0
    assert start["algorithm"]["optimizer"]["state"] == {}
    assert start["algorithm"]["pretraining"]["optimizer"]["state"] == {}
    assert Run(tmp_path / "run").stages == [], "nothing is trained yet"


def test_killed_before_its_first_record_it_still_starts_from_the_weights(
    tiny_run, tiny_corpus, tiny_settings, tmp_path
):
    create(tiny_corpus, tiny_settings, tmp_path / "killed", tiny_run)
    list(Experiment.resume(tmp_path / "killed"))
    list(create(tiny_corpus, tiny_settings, tmp_path / "straight", tiny_run))
    killed, straight = (
        [{**line, "seconds": 0} for line in read_log(tmp_path / name)] for name in ("killed", "straight")
    )
    assert killed == straight


def test_training_that_makes_it_worse_keeps_the_weights_it_began_with(tiny_run, tiny_corpus, tiny_settings, tmp_path):
    wild = {"name": "mle", "learning_rate": 5.0, "epochs": 3}
    made = create(tiny_corpus, tiny_settings, tmp_path / "run", tiny_run, algorithm=wild)
    records = [record for record, _ in made]
    started = run_directory.read_facts(tmp_path / "run")["init"]["nll_validation"]
    assert all(record.values["nll_validation"] > started for record in records)
    kept, own = Run(tmp_path / "run").generator("mle").state_dict(), tiny_run.generator().state_dict()
    assert all(torch.equal(kept[name], own[name]) for name in own)


@pytest.mark.parametrize("octaves", [-3, 2])
def test_a_piece_beyond_the_range_is_moved_by_the_fewest_octaves(
    octaves, tiny_run, tiny_corpus, tiny_settings, tmp_path
):
    names = tiny_corpus.names[:2]
    pieces = [shifted(piece, 12 * octaves) for piece in tiny_corpus.pieces[:2]] + list(tiny_corpus.pieces[2:])
    create(with_pieces(tiny_corpus, pieces), tiny_settings, tmp_path / "run", tiny_run)
    facts = run_directory.read_facts(tmp_path / "run")
    moved = facts["init"]["octaves"]
    assert set(moved) == set(names)
    assert facts["corpus"]["refused"] == []
    for name, piece in zip(tiny_corpus.names[:2], pieces, strict=False):
        fewer = abs(moved[name]) - 1
        for by in {fewer, -fewer}:
            pitch = shifted(piece, 12 * by).notes.pitch
            assert pitch.min() < tiny_run.tokenizer.low or pitch.max() > tiny_run.tokenizer.high
        assert moved[name] * octaves < 0, "back towards where it was"


def test_what_no_octave_helps_is_refused_with_the_reason(tiny_run, tiny_corpus, tiny_settings, tmp_path):
    wide = dataclasses.replace(tiny_corpus.pieces[0].notes[0], onset=10**5, pitch=127)
    low = dataclasses.replace(wide, onset=10**5 + 480, pitch=3)
    pieces = list(tiny_corpus.pieces)
    pieces[0] = dataclasses.replace(pieces[0], notes=Notes([*pieces[0].notes, wide, low]))
    pieces[1] = dataclasses.replace(pieces[1], metre=(5, 4))
    create(with_pieces(tiny_corpus, pieces), tiny_settings, tmp_path / "run", tiny_run)
    facts = run_directory.read_facts(tmp_path / "run")
    reasons = {one["path"]: (one["reason"], one["detail"]) for one in facts["corpus"]["refused"]}
    assert set(reasons) == set(tiny_corpus.names[:2])
    assert reasons[tiny_corpus.names[0]][0] == "pitch outside the vocabulary"
    assert reasons[tiny_corpus.names[1]][0] == "metre outside the vocabulary"
    assert reasons[tiny_corpus.names[1]][1].startswith("5/4, where there are ")


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"tokenizer": {"high": 90}}, r"tokenizer\.high=90 contradicts --init .*, which has \d+"),
        ({"tokenizer": {"steps_per_quarter": 12}}, r"tokenizer\.steps_per_quarter=12 contradicts .*, which has 4"),
        ({"generator": {"hidden": 24}}, r"do not fit generator\.hidden=24; leave it out"),
    ],
)
def test_a_setting_that_contradicts_the_run_is_named(sections, says, tiny_run, tiny_corpus, tiny_settings, tmp_path):
    with pytest.raises(UsageError, match=says):
        create(tiny_corpus, tiny_settings, tmp_path / "run", tiny_run, **sections)
    assert not (tmp_path / "run").exists()


def test_settings_that_do_not_are_free(tiny_run, tiny_corpus, tiny_settings, tmp_path):
    tokenizer = tiny_run.tokenizer
    same = {"low": tokenizer.low, "metres": [list(metre) for metre in tokenizer.metres]}
    made = create(
        tiny_corpus,
        tiny_settings,
        tmp_path / "run",
        tiny_run,
        tokenizer=same,
        generator={"dropout": 0.4},
        data={"length": 20},
        discriminator={"filters": [[1, 4]]},
    )
    facts = run_directory.read_facts(tmp_path / "run")["init"]
    assert facts["discriminator"] is False, "of another size, so it is a new one"
    assert made.parts.dataset.length == 20
    assert made.settings["generator"]["dropout"] == 0.4
    list(made)


def test_the_run_s_sections_replace_those_of_the_preset(tiny_run):
    preset = {"generator": {"name": "lstm", "hidden": 999}, "data": {"length": 9, "split_seed": 3}, "run": {"seed": 4}}
    merged = finetuning.lay_under(preset, tiny_run)
    assert merged["generator"] == tiny_run.settings["generator"]
    assert merged["data"] == {"length": 16, "split_seed": 3, "transpose": "none"}
    assert merged["run"] == {"seed": 4}
    assert finetuning.lay_under(preset, None) == preset


def test_ten_tunes_are_enough(tiny_run, few_tunes, tiny_settings, tmp_path):
    ten = corpus.read_corpus(few_tunes)
    ten = dataclasses.replace(ten, pieces=ten.pieces[:10], names=ten.names[:10])
    tiny_settings["algorithm"] |= {"batch_size": 4096, "discriminator_samples": 4096}
    made = create(ten, tiny_settings, tmp_path / "run", tiny_run)
    split = run_directory.read_facts(tmp_path / "run")["corpus"]["split"]
    assert {part: len(names) for part, names in split.items()} == {"train": 8, "validation": 1, "test": 1}
    assert len(made.parts.dataset.train) < 4096
    list(made)
    assert len(Run(tmp_path / "run").generate(3)) == 3


def test_what_is_no_trained_run_cannot_be_started_from(tiny_experiment, tmp_path):
    with pytest.raises(UsageError, match="is not a run"):
        finetuning.open_run(tmp_path)
    tiny_experiment(tmp_path / "run")
    with pytest.raises(UsageError, match="no trained generator to start from"):
        finetuning.open_run(tmp_path / "run")


def test_the_pretrained_run_can_be_tuned_to_a_few_tunes_in_seconds(few_tunes, tmp_path):
    run = experiment.train(few_tunes, algorithm="mle", init="pretrained", evaluate=False, directory=tmp_path / "run",
                           settings={"algorithm": {"epochs": 1}})  # fmt: skip
    assert run.settings["generator"]["hidden"] == 192
    log = read_log(run.directory)
    assert log[0]["nll_validation"] < 2.0
    assert run.facts["init"]["run"] == "ryans_mammoth"
