import dataclasses
import itertools
import math

import pytest
import torch

import seqgan_music
from seqgan_music import checkpoint, midi, sampling
from seqgan_music import run as run_module
from seqgan_music.errors import Failure, UsageError
from seqgan_music.export import export
from seqgan_music.notes import Note, Part, Piece
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
    [
        {"temperature": 0.3},
        {"top_k": 2},
        {"top_p": 0.3},
        {"metre": (9, 8)},
        {"bars": 3},
        {"stage": "mle"},
        {"seed": 1},
        {"best_of": 3},
        {"tempo": 90},
        {"program": 73},
    ],
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
        ({"bars": 0}, "number of bars must lie in 1..10000"),
        ({"n": 0}, "number of pieces must be at least 1"),
        ({"temperature": 0.0}, "temperature"),
        ({"top_k": -1}, "top-k"),
        ({"top_p": 1.5}, "top-p"),
        ({"device": "abacus"}, "unknown device"),
        ({"tempo": 0}, r"tempo must lie in 4\.\.1000"),
        ({"tempo": float("nan")}, r"tempo must lie in 4\.\.1000"),
        ({"program": 128}, r"program 128 is not within 0\.\.127"),
        ({"program": "-1"}, r"program -1 is not within 0\.\.127"),
        ({"program": "vilin"}, "'vilin' is no number and no instrument .* did you mean 'violin'"),
        ({"program": "§"}, "no instrument of General MIDI, such as"),
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


def first_notes(piece, n):
    return [(note.onset, note.pitch) for note in piece.notes[:n]]


@pytest.fixture
def tune(few_tunes, tiny_run):
    """A melody that the run can say: the first bars of a tune it knows, more tokens than a window has."""
    file = next(file for file in sorted(few_tunes.iterdir()) if midi.read(file).metre == (6, 8))
    piece = midi.read(file)
    notes = [note for note in piece.notes if note.end <= 4 * piece.ticks_per_bar]
    assert len(tiny_run.tokenizer.encode(Piece(notes, piece.resolution, metre=(6, 8)))) > 2 * tiny_run.dataset.length
    return Piece(notes, piece.resolution, tempo=91.0, metre=(6, 8), key="G major", parts=(Part(73),))


def test_a_prime_is_gone_on_from(tiny_run, tune, tmp_path):
    midi.write(tune, tmp_path / "tune.mid")
    ids = tiny_run.tokenizer.encode(tune)[:-1]
    drawn, start = tiny_run.sample(6, prefix=ids, seed=2)
    assert (start == ids[0]).all()
    assert drawn.shape == (6, len(ids) - 1 + tiny_run.dataset.length)
    assert torch.equal(drawn[:, : len(ids) - 1], torch.tensor(ids[1:]).expand(6, -1))
    assert len(torch.unique(drawn, dim=0)) == 6
    pieces = tiny_run.generate(6, prime=tmp_path / "tune.mid", seed=2)
    assert pieces == tiny_run.generate(6, prime=tune, seed=2), "a file or a piece"
    as_written = tiny_run.tokenizer.decode(ids)
    for piece in pieces:
        assert first_notes(piece, len(tune.notes)) == first_notes(as_written, len(tune.notes))
        assert (piece.metre, piece.key, piece.parts) == ((6, 8), "G major", (Part(73),))
        assert piece.tempo == pytest.approx(91, abs=1e-3)
    assert max(piece.end for piece in pieces) > as_written.end, "some of them go on"


def test_what_follows_a_prime_depends_on_more_than_its_last_token(tiny_run, tune):
    ids = tiny_run.tokenizer.encode(tune)[:-1]
    other = [*ids[:-4], ids[-4] + 1, *ids[-3:]]
    a, b = (tiny_run.sample(64, prefix=prefix)[0][:, len(ids) - 1 :] for prefix in (ids, other))
    assert not torch.equal(a, b)


def test_bars_count_those_of_the_prime(tiny_run, tune):
    for piece in tiny_run.generate(4, prime=tune, bars=9):
        assert piece.end <= 9 * piece.ticks_per_bar
    bar = tiny_run.tokenizer.bar_tokens(tiny_run.tokenizer.start_ids[6, 8], 1)
    drawn, _ = tiny_run.sample(4, prefix=tiny_run.tokenizer.encode(tune)[:-1], bars=9)
    assert drawn.shape[1] == 9 * bar
    assert not (drawn >= tiny_run.dataset.end_id).any()
    for bars in (3, 4):
        with pytest.raises(UsageError, match="fills so many bars already; ask for more"):
            tiny_run.generate(1, prime=tune, bars=bars)


def test_a_prime_may_end_within_a_bar(tiny_run):
    prime = Piece([Note(0, 480, 72), Note(480, 240, 74)], metre=(2, 4))
    (piece,) = tiny_run.generate(1, prime=prime, bars=2, top_k=1)
    assert first_notes(piece, 2) == [(0, 72), (480, 74)]
    assert len(piece.notes) > 2 or piece.notes[1].duration > 240


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"metre": (7, 8)}, r"metre outside the vocabulary: 7/8, where there are .*6/8.*; train a run on tunes in"),
        (
            {"notes": [Note(0, 480, 40), Note(480, 480, 90)]},
            r"pitch outside the vocabulary: .*the range is .*no octave helps",
        ),
        ({"notes": ()}, "no notes"),
        ({"notes": [Note(480 * i + 60, 200, 60) for i in range(9)]}, "rhythm off the grid"),
    ],
)
def test_a_prime_that_the_run_cannot_say_is_refused_with_the_reason(tiny_run, tune, changes, says):
    with pytest.raises(UsageError, match=f"^cannot continue my tune: {says}"):
        tiny_run.generate(1, prime=dataclasses.replace(tune, resolution=480, title="my tune", **changes))


def test_a_prime_that_is_no_music_is_refused_with_its_name(tiny_run, tmp_path):
    (tmp_path / "letter.mid").write_text("Dear Sir")
    for name, says in (("letter.mid", "not MIDI"), ("none.mid", "no such file")):
        with pytest.raises(UsageError, match=rf"cannot continue .*{name}: .*{says}"):
            tiny_run.generate(1, prime=tmp_path / name)


def test_the_metre_is_the_prime_s(tiny_run, tune):
    assert tiny_run.generate(2, prime=tune, metre=(6, 8)) == tiny_run.generate(2, prime=tune)
    with pytest.raises(UsageError, match="has another metre than 2/4; leave metre out"):
        tiny_run.generate(1, prime=tune, metre=(2, 4))


def test_a_run_in_one_key_goes_on_in_the_key_of_the_prime(tiny_experiment, tmp_path):
    list(tiny_experiment(tmp_path / "run", data={"transpose": "key"}, algorithm={"name": "mle", "epochs": 1}))
    run = Run(tmp_path / "run")
    low = run.tokenizer.low
    scale = [next(p for p in range(low, low + 12) if p % 12 == 0) + step for step in (0, 2, 4, 5, 7, 9, 11, 12)]
    in_c = Piece([Note(480 * i, 480, pitch) for i, pitch in enumerate(scale)], metre=(2, 4), key="C major")
    in_e = dataclasses.replace(in_c, notes=[Note(480 * i, 480, p + 4) for i, p in enumerate(scale)], key="E major")
    for of_c, of_e in zip(run.generate(8, prime=in_c, bars=9), run.generate(8, prime=in_e, bars=9), strict=True):
        assert of_c.notes[:8].pitch.tolist() == scale
        assert of_e.notes.pitch.tolist() == [pitch + 4 for pitch in of_c.notes.pitch]
        assert (of_c.key, of_e.key) == ("C major", "E major")
        assert len(of_c.notes) > 8


def test_tempo_and_instrument_are_those_asked_for(tiny_run, tune):
    plain = tiny_run.generate(2)
    assert {(piece.tempo, piece.parts) for piece in plain} == {(120.0, (Part(),))}
    for program in (40, "40", "Violin", " violin "):
        changed = tiny_run.generate(2, tempo=63.5, program=program)
        assert {(piece.tempo, piece.parts) for piece in changed} == {(63.5, (Part(40),))}
        assert [piece.notes for piece in changed] == [piece.notes for piece in plain]
    (continued,) = tiny_run.generate(1, prime=tune, tempo=100, program=0)
    assert (continued.tempo, continued.parts) == (100, (Part(0),))


def test_of_several_candidates_the_discriminator_s_choice_is_kept(tiny_run, monkeypatch):
    n, k, data = 2000, 6, tiny_run.dataset

    def table(ids):
        """Odds of 3 to 1 for what begins with one of the lower notes."""
        return torch.where(ids[:, 0] < 18, math.log(3), 0.0)

    monkeypatch.setattr(Run, "discriminator", lambda *_: table)
    plain, plain_start = tiny_run.sample(n, seed=4)
    kept, start = tiny_run.sample(n, seed=4, best_of=k)
    assert torch.equal(start, plain_start), "candidates share the metre"
    rng = torch.Generator().manual_seed(4)
    data.train.random(n, rng)
    candidates = sampling.sample(
        tiny_run.generator(), start.repeat_interleave(k), data.length, rng, end_id=data.end_id, pad_id=data.pad_id
    ).view(n, k, -1)
    assert (candidates == kept[:, None]).all(-1).any(1).all(), "each is one of its own candidates"
    low = candidates[..., 0] < 18
    odds = torch.where(low, 3.0, 1.0)
    expected = (odds * low).sum(1) / odds.sum(1)
    assert (kept[:, 0] < 18).float().mean() == pytest.approx(expected.mean().item(), abs=0.05)
    assert (plain[:, 0] < 18).float().mean() < expected.mean() - 0.1


def test_candidates_come_from_the_seed_alone(tiny_run, monkeypatch):
    kept, _ = tiny_run.sample(20, best_of=5, seed=3)
    monkeypatch.setitem(sampling.MEMORY_BUDGET, "cpu", 1)
    monkeypatch.setattr(run_module, "CANDIDATES_AT_ONCE", 3)
    assert torch.equal(tiny_run.sample(20, best_of=5, seed=3)[0], kept)
    assert not torch.equal(tiny_run.sample(20, best_of=5, seed=4)[0], kept)
    assert torch.equal(tiny_run.sample(20, best_of=1, seed=3)[0], tiny_run.sample(20, seed=3)[0])


def test_each_stage_has_its_own_discriminator(tiny_run):
    ids, _ = tiny_run.dataset.validation[slice(None)]
    saved = tiny_run.directory / "checkpoints"
    for stage, checkpoint_name in (("mle", "discriminator"), ("adversarial", "adversarial"), ("best", "best")):
        weights = checkpoint.load(saved / checkpoint_name)["discriminator"]
        found = tiny_run.discriminator(stage, "cpu")
        assert not found.training
        assert all(torch.equal(found.state_dict()[name], tensor) for name, tensor in weights.items())
    with torch.no_grad():
        scores = [tiny_run.discriminator(stage, "cpu")(ids) for stage in ("mle", "adversarial")]
    assert not torch.allclose(*scores)


def test_best_of_is_refused_where_there_are_no_odds(tiny_run, own_run, tiny_experiment, tmp_path, tune):
    for option in ({"bars": 3}, {"prime": tune}):
        with pytest.raises(UsageError, match="best-of needs melodies of the training length, 16 tokens"):
            tiny_run.generate(1, best_of=2, **option)
    with pytest.raises(UsageError, match="best-of must be at least 1, not 0"):
        tiny_run.generate(1, best_of=0)
    list(tiny_experiment(tmp_path / "mle", algorithm={"name": "mle", "epochs": 1}))
    with pytest.raises(UsageError, match="no trained discriminator at stage 'mle'"):
        Run(tmp_path / "mle").generate(1, best_of=2)
    export(tiny_run, tmp_path / "small")
    with pytest.raises(UsageError, match="at stage 'best'; nor has any run that was exported without"):
        Run(tmp_path / "small").generate(1, best_of=2)
    export(tiny_run, tmp_path / "whole", with_discriminator=True)
    assert len(Run(tmp_path / "whole").generate(2, best_of=2)) == 2
    (tmp_path / "hinge.py").write_text(
        "class Hinge:\n    def loss(self, real, fake): ...\n    def reward(self, score): return score.sigmoid()\n"
    )
    text = (own_run / "config.toml").read_text("utf-8")
    (own_run / "config.toml").write_text(text.replace('"bce"', f'"{tmp_path / "hinge.py"}:Hinge"'), "utf-8")
    run = Run(own_run, own_code=True)
    assert run.generate(1)
    with pytest.raises(UsageError, match=r"trained by loss .*hinge\.py:Hinge', whose score is no logit"):
        run.generate(1, best_of=2)


def test_steps_in_seconds_keep_them_at_the_tempo_of_a_prime(tiny_experiment, tmp_path):
    made = tiny_experiment(tmp_path / "run", tokenizer={"name": "pitch"})
    list(made)
    run = Run(tmp_path / "run")
    # 0.4 s at 90 quarter notes a minute are 0.6 of a quarter note.
    prime = Piece([Note(288 * n, 288, 64 + n % 2) for n in range(10)], tempo=90.0, metre=(2, 4))
    for piece in run.generate(4, prime=prime):
        assert piece.tempo == 90.0
        assert piece.resolution == 640
        seconds = [note.onset / piece.resolution * 60 / piece.tempo for note in piece.notes]
        assert seconds[:10] == pytest.approx([0.4 * n for n in range(10)], abs=0.002)


@pytest.mark.parametrize("tempo", [60.0, 90.0, 240.0])
def test_bars_are_those_of_the_prime_when_steps_are_in_seconds(tiny_experiment, tmp_path, tempo):
    made = tiny_experiment(tmp_path / "run", tokenizer={"name": "pitch"}, algorithm={"name": "mle", "epochs": 1})
    list(made)
    prime = Piece([Note(240 * n, 240, 64 + n % 5) for n in range(16)], tempo=tempo, metre=(2, 4))  # four bars
    for piece in Run(tmp_path / "run").generate(4, prime=prime, bars=12):
        assert piece.end / piece.ticks_per_bar == pytest.approx(12, abs=0.7), "to the nearest step"


def test_a_prime_is_read_as_the_corpus_was(tiny_experiment, few_tunes, tmp_path):
    low = [Note(240 * n, 240, 62 + n % 3) for n in range(16)]
    high = [Note(240 * n, 240, 74 + n % 3, part=1) for n in range(16)]
    two = Piece(
        sorted([*low, *high], key=lambda note: note.onset), metre=(2, 4), parts=(Part(name="a"), Part(name="b"))
    )
    midi.write(two, tmp_path / "two.mid")
    midi.write(dataclasses.replace(two, notes=low, parts=(Part(),)), tmp_path / "one.mid")
    source = seqgan_music.read_corpus(few_tunes, reading=midi.Reading(track="1"))
    list(tiny_experiment(tmp_path / "run", source, algorithm={"name": "mle", "epochs": 1}))
    run = Run(tmp_path / "run")
    first_part = run.generate(1, prime=tmp_path / "two.mid")[0].notes[:16].pitch.tolist()
    assert first_part == [note.pitch for note in low], "the lower one, as asked for then"
    run.settings["reading"]["track"] = "vocals"
    assert run.generate(1, prime=tmp_path / "one.mid")[0].notes[:16].pitch.tolist() == first_part


def test_a_prime_out_of_range_is_moved_by_octaves_and_back(tiny_run, tune):
    low = dataclasses.replace(tune, notes=[dataclasses.replace(note, pitch=note.pitch - 24) for note in tune.notes])
    usual, moved = (tiny_run.generate(2, prime=prime, seed=4) for prime in (tune, low))
    for one, other in zip(usual, moved, strict=True):
        begin = len(tune.notes)
        assert other.notes.pitch[:begin].tolist() == (one.notes.pitch[:begin] - 24).tolist()
        assert len(other.notes) > begin


def test_no_tempo_of_a_prime_is_beyond_what_is_written(tiny_run, tune):
    for tempo, kept in ((6e7, 1000.0), (3.6, 4.0)):
        assert tiny_run.generate(1, prime=dataclasses.replace(tune, tempo=tempo))[0].tempo == kept
