import dataclasses
import itertools

import pytest
import torch

from seqgan_music import midi, sampling
from seqgan_music.errors import Failure, UsageError
from seqgan_music.run import Run


def files(pieces, folder):
    folder.mkdir()
    for piece in pieces:
        midi.write(piece, folder / f"{piece.title}.mid")
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_the_same_seed_gives_the_same_files_and_another_seed_others(tiny_run, tmp_path):
    first = files(tiny_run.generate(4, seed=3), tmp_path / "a")
    assert files(Run(tiny_run.directory).generate(4, seed=3), tmp_path / "b") == first
    assert files(tiny_run.generate(4, seed=4), tmp_path / "c") != first
    assert sorted(first) == ["sample 01.mid", "sample 02.mid", "sample 03.mid", "sample 04.mid"]


def test_what_is_written_reads_as_what_was_generated(tiny_run, tmp_path):
    (piece,) = tiny_run.generate(1, metre=(6, 8), bars=4, temperature=0.5)
    midi.write(piece, tmp_path / "piece.mid")
    again = midi.read(tmp_path / "piece.mid")
    assert (again.notes, again.metre, again.tempo, again.title) == (
        piece.notes,
        (6, 8),
        pytest.approx(120),
        "sample 01",
    )


@pytest.mark.parametrize(
    "option",
    [{"temperature": 0.3}, {"top_k": 2}, {"top_p": 0.3}, {"metre": (9, 8)}, {"bars": 3}, {"stage": "mle"}, {"seed": 1}],
)
def test_every_option_of_generation_changes_something(tiny_run, option):
    assert tiny_run.generate(16, **option) != tiny_run.generate(16)


def test_the_last_stage_is_the_one_used(tiny_run):
    assert tiny_run.stages == ["mle", "adversarial", "best"]
    assert tiny_run.generate(16) == tiny_run.generate(16, stage="best")


def test_top_k_of_one_is_the_likeliest_melody_whatever_the_seed(tiny_run):
    one, other = (tiny_run.sample(4, top_k=1, metre=(6, 8), seed=seed)[0] for seed in (1, 2))
    assert torch.equal(one, other)
    assert torch.equal(one, one[:1].expand(4, -1))


@pytest.mark.parametrize("bars", [1, 5, 40])
def test_bars_is_the_exact_length_with_the_end_held_back(tiny_run, bars, monkeypatch):
    data, tokenizer = tiny_run.dataset, tiny_run.tokenizer
    eager = tiny_run.generator()
    with torch.no_grad():
        eager.output.bias[data.end_id] = 50.0  # would end every melody at once
    monkeypatch.setattr(Run, "generator", lambda *_: eager)
    assert (tiny_run.sample(8)[0][:, 0] == data.end_id).all()
    ids, start = tiny_run.sample(8, bars=bars)
    assert len(set(start.tolist())) > 1, "several metres, so several lengths"
    for row, token in zip(ids, start.tolist(), strict=True):
        length = tokenizer.bar_tokens(token, bars)
        assert not (row[:length] == data.end_id).any()
        assert not (row[:length] == data.pad_id).any()
        assert (row[length:] == data.pad_id).all()
    for piece in tiny_run.generate(8, bars=bars):
        assert piece.end <= bars * piece.ticks_per_bar


def test_the_metre_is_that_of_the_pieces_or_drawn_from_the_corpus(tiny_run):
    assert {piece.metre for piece in tiny_run.generate(8, metre=(9, 8))} == {(9, 8)}
    drawn = {piece.metre for piece in tiny_run.generate(64)}
    assert len(drawn) > 1
    assert drawn <= set(tiny_run.tokenizer.start_ids)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"metre": (7, 8)}, r"no metre 7/8; it knows: .*6/8"),
        ({"stage": "worst"}, "no stage 'worst'; it has: mle, adversarial, best"),
        ({"bars": 0}, "number of bars must be at least 1"),
        ({"n": 0}, "number of pieces must be at least 1"),
        ({"temperature": 0.0}, "temperature"),
        ({"top_k": -1}, "top-k"),
        ({"top_p": 1.5}, "top-p"),
        ({"device": "abacus"}, "unknown device"),
    ],
)
def test_what_cannot_be_meant_is_refused(tiny_run, option, says):
    with pytest.raises(UsageError, match=says):
        tiny_run.generate(**option)


def test_more_pieces_than_the_corpus_has_windows(tiny_run):
    n = len(tiny_run.dataset.train) + 1
    ids, _ = tiny_run.sample(n)
    assert len(ids) == n


def test_a_run_stopped_after_any_record_opens_with_the_stages_it_has(tiny_experiment, tmp_path):
    made = iter(tiny_experiment(tmp_path / "run"))
    with pytest.raises(UsageError, match="no trained generator yet; go on with --resume"):
        Run(tmp_path / "run").generate(1)
    expected = [[], *[["mle"]] * 3, *[["mle", "adversarial", "best"]] * 2]
    for stages, (record, _) in zip(expected, itertools.islice(made, 6), strict=True):
        run = Run(tmp_path / "run")
        assert run.stages == stages, record
        if stages:
            assert len(run.generate(2)) == 2
            assert run.generate(2) == run.generate(2, stage=stages[-1])


def test_a_run_with_pre_training_alone(tiny_experiment, tmp_path):
    list(tiny_experiment(tmp_path / "run", algorithm={"name": "mle", "epochs": 1}))
    run = Run(tmp_path / "run")
    assert run.stages == ["mle"]
    assert len(run.generate(3)) == 3
    with pytest.raises(UsageError, match="no stage 'adversarial'; it has: mle"):
        run.generate(1, stage="adversarial")


def test_a_run_of_a_gpu_opens_on_a_cpu(own_run, tiny_run):
    """All that remembers the device is the config: weights are saved from main memory."""
    text = (own_run / "config.toml").read_text("utf-8")
    (own_run / "config.toml").write_text(text.replace('device = "cpu"', 'device = "cuda"'), "utf-8")
    generator = Run(own_run).generator(device="cpu")
    assert {parameter.device.type for parameter in generator.parameters()} == {"cpu"}
    assert not generator.training
    assert Run(own_run).generate(2, device="cpu") == tiny_run.generate(2, device="cpu")


def test_generation_draws_as_the_sampler_does(tiny_run):
    """The window's length, START of the corpus, nothing cut off."""
    ids, start = tiny_run.sample(5, seed=8)
    rng = torch.Generator().manual_seed(8)
    _, expected_start = tiny_run.dataset.train.random(5, rng)
    data = tiny_run.dataset
    expected = sampling.sample(
        tiny_run.generator(), expected_start, data.length, rng, end_id=data.end_id, pad_id=data.pad_id
    )
    assert torch.equal(start, expected_start)
    assert torch.equal(ids, expected)
    pieces = [tiny_run.tokenizer.decode([s, *row]) for s, row in zip(start.tolist(), ids.tolist(), strict=True)]
    assert [dataclasses.replace(piece, title="") for piece in tiny_run.generate(5, seed=8)] == pieces


def test_a_checkpoint_that_was_being_replaced_still_counts(own_run, tiny_run):
    for stage in ("mle", "adversarial", "best", "last"):
        (own_run / "checkpoints" / stage).rename(own_run / "checkpoints" / f"{stage}.old")
    assert Run(own_run).stages == ["mle", "adversarial", "best"]
    assert Run(own_run).generate(2) == tiny_run.generate(2)


@pytest.mark.parametrize(
    "name", ["run.json", "tokenizer.json", "windows.safetensors", "checkpoints/best/tensors.safetensors"]
)
def test_a_damaged_run_is_a_failure_that_names_the_file(own_run, name):
    (own_run / name).write_bytes(b"{")
    with pytest.raises(Failure, match=name.partition("/")[0].partition(".")[0]):
        Run(own_run).generate(1)


def test_what_is_no_run_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError, match="is not a run"):
            Run(path)
