import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from seqgan_music_cli.main import main
from seqgan_music_cli.train import command

import seqgan_music
from seqgan_music import corpus, dataset, evaluation, midi, run_directory, run_settings
from seqgan_music.errors import PieceRefused, UsageError
from seqgan_music.evaluation import MelodySet
from seqgan_music.experiment import Experiment
from seqgan_music.metrics.key import find_key, pitch_class_durations
from seqgan_music.notes import Note, Part, Piece
from seqgan_music.run import Run
from seqgan_music.tokenizers.grid import GridTokenizer
from seqgan_music.transposition import MODES, SHIFTS, apply, key_of, shifts, to_common_key, transposed

MIDI_DATA = Path(__file__).parent.parent / "midi_data"
MAJOR = (0, 4, 7, 2, 11, 0, 5, 4, 2, 0, 9, 7, 7, 0)  # a tune in semitones above its tonic
MINOR = (0, 3, 7, 2, 11, 0, 5, 3, 2, 0, 8, 7, 7, 0)
DORIAN = (0, 3, 7, 9, 10, 9, 7, 5, 3, 2, 0, 10, 0, 0)


def tune(degrees, tonic=60, key=None):
    return Piece([Note(240 * i, 240, tonic + degree) for i, degree in enumerate(degrees)], key=key)


def pitches(piece):
    return piece.notes.pitch.tolist()


# Pieces


@pytest.mark.parametrize(
    ("key", "shift", "expected"),
    [
        ("C major", 2, "D major"),
        ("C major", 6, "F# major"),
        ("C major", -4, "A- major"),
        ("A minor", 6, "E- minor"),
        ("A minor", -1, "G# minor"),
        ("F# minor", 3, "A minor"),
        ("C# major", 1, "D major"),
        ("C# major", 12, "C# major"),
        ("C# major", -11, "D major"),
        ("A dorian", 2, "B dorian"),
        ("D mixolydian", -4, "B- mixolydian"),
        ("B phrygian", -1, "B- phrygian"),
        ("F lydian", 1, "G- lydian"),
        ("A hijaz", 1, None),
        ("a minor", 1, None),
        ("", 1, None),
        (None, 1, None),
    ],
)
def test_keys_move_with_the_notes_and_are_spelled_simply(key, shift, expected):
    moved = transposed(tune(MAJOR, key=key), shift)
    assert moved.key == expected
    assert pitches(moved) == [pitch + shift for pitch in pitches(tune(MAJOR))]


def test_every_spelled_key_can_be_written_to_midi_and_read_again(tmp_path):
    for mode in ("major", "minor", "dorian", "mixolydian", "lydian", "phrygian", "locrian"):
        for shift in range(-12, 13):
            moved = transposed(tune(MAJOR, key=f"C {mode}"), shift)
            midi.write(moved, tmp_path / "a.mid")
            assert midi.read(tmp_path / "a.mid").key == moved.key


def test_all_else_stays_as_it_is_and_there_and_back_is_the_same():
    piece = Piece(
        [Note(0, 480, 60, 99), Note(480, 120, 62, 50)], 240, 97.5, (6, 8), "a title", "G major", (Part(40, name="v"),)
    )
    moved = transposed(piece, 5)
    assert moved == Piece(
        [Note(0, 480, 65, 99), Note(480, 120, 67, 50)], 240, 97.5, (6, 8), "a title", "C major", (Part(40, name="v"),)
    )
    assert transposed(moved, -5) == piece
    assert transposed(piece, 0) is piece


def test_drums_stay_and_the_notes_stay_in_order():
    piece = Piece(
        [Note(0, 10, 38, part=1), Note(0, 10, 60), Note(10, 10, 42, part=1)], parts=(Part(), Part(drums=True))
    )
    assert list(transposed(piece, -40).notes) == [Note(0, 10, 20), Note(0, 10, 38, part=1), Note(10, 10, 42, part=1)]


@pytest.mark.parametrize("shift", [-61, 58])
def test_midi_s_range_is_not_left(shift):
    piece = tune(MAJOR, 60)
    lowest, highest = min(pitches(piece)), max(pitches(piece))
    with pytest.raises(PieceRefused, match=r"MIDI's range: (-1|129), [+-]\d+ semitones"):
        transposed(piece, shift)
    assert min(pitches(transposed(piece, -lowest))) == 0
    assert max(pitches(transposed(piece, 127 - highest))) == 127


@pytest.mark.parametrize(
    ("degrees", "mode", "tonic"), [(MAJOR, "major", 0), (MINOR, "minor", 9), (DORIAN, "dorian", 9)]
)
@pytest.mark.parametrize("stated", [True, False])
def test_every_key_gets_to_the_common_one_by_the_shortest_way(degrees, mode, tonic, stated):
    home = tune(degrees, 60 + tonic, f"{'C' if mode == 'major' else 'A'} {mode}")
    ways = set()
    for shift in range(12):
        away = transposed(home, shift)
        if not stated:
            away = tune(degrees, 60 + tonic + shift)
        back = to_common_key(away)
        (way,) = {after - before for before, after in zip(pitches(away), pitches(back), strict=True)}
        ways.add(way)
        assert pitches(back)[0] % 12 == tonic
        assert back.key == (home.key if stated else home.key.replace("dorian", "minor"))
        assert to_common_key(back) == back
    assert ways == set(SHIFTS) == set(range(-5, 7))


def test_what_the_file_states_holds_where_the_notes_agree():
    dominant = tune((7, 9, 11, 7, 0, 2, 4, 5, 7, 7, 2, 0), 60)
    assert key_of(dominant) == "G major", "by the notes alone"
    assert key_of(Piece(dominant.notes, key="C major")) == "C major"
    assert to_common_key(Piece(dominant.notes, key="C major")).notes == dominant.notes


def test_a_dorian_tune_that_sounds_like_the_major_key_of_its_signature_stays_dorian():
    piece = tune((0, 10, 2, 10, 3, 10, 5, 7, 10, 5, 2, 9), 69)
    assert key_of(piece) == "G major", "by the notes alone"
    assert key_of(Piece(piece.notes, key="A dorian")) == "A dorian"
    assert key_of(Piece(piece.notes, key="A locrian")) == "G major"


@pytest.mark.parametrize("wrong", ["C major", "B- minor", "G dorian", "no key at all"])
def test_what_the_file_states_gives_way_where_the_notes_contradict(wrong):
    piece = tune(MAJOR, 64, wrong)
    assert key_of(piece) == "E major"
    assert to_common_key(piece) == tune(MAJOR, 60, "C major")


def test_without_a_key_a_piece_stays():
    chromatic = tune(range(12))
    for piece in (chromatic, Piece([]), Piece([Note(0, 1, 40)], parts=(Part(drums=True),))):
        assert key_of(piece) is None
        assert to_common_key(piece) is piece
    stated = Piece(chromatic.notes, key="E- major")
    assert to_common_key(stated).key == "C major"
    assert pitches(to_common_key(stated)) == list(range(57, 69))


def test_drums_are_not_listened_to():
    drums = [Note(i, 960, 61 + 2 * (i % 3), part=1) for i in range(30)]
    piece = Piece([*tune(MAJOR).notes, *drums], parts=(Part(), Part(drums=True)))
    assert key_of(piece) == "C major"


def test_at_the_edge_of_midi_s_range_the_octave_gives_way():
    high = tune(MAJOR, 127 - 11 - 5, "E- major")  # a D sharp
    assert max(pitches(high)) == 122
    assert pitches(to_common_key(high))[0] == 108
    top = tune(MAJOR, 116 - 1, "G major")
    assert max(pitches(top)) == 126
    assert pitches(to_common_key(top)) == [pitch - 7 for pitch in pitches(top)]
    both = Piece([*top.notes, Note(9000, 10, 2)], key="G major")
    assert to_common_key(both) is both


def test_estimates_and_signatures_of_the_tunes_agree():
    """In the whole corpus 91 % of the tunes move by the notes alone as they do with their stated key."""
    found = [midi.read(file) for file in sorted(MIDI_DATA.glob("*.mid"))[::10]]
    same = [to_common_key(piece).notes == to_common_key(Piece(piece.notes)).notes for piece in found]
    assert len(found) == 96
    assert np.mean(same) > 0.85
    assert all(to_common_key(piece).key in COMMON for piece in found)


COMMON = {"C major", "C mixolydian", "C lydian", "A minor", "A dorian", "A phrygian"}


# Modes


def test_a_mode_is_one_of_the_list():
    piece = tune(MAJOR, 62, "D major")
    assert [apply(piece, mode).key for mode in MODES] == ["D major", "C major", "D major"]
    assert [list(shifts(mode)) for mode in MODES] == [[0], [0], list(range(-5, 7))]
    for refuse in (lambda: apply(piece, "keys"), lambda: shifts("keys")):
        with pytest.raises(UsageError, match=r"data\.transpose must be one of none, key, augment, not 'keys'"):
            refuse()
    with pytest.raises(UsageError, match="none, key, augment"):
        run_settings.resolve({"data": {"transpose": "all"}})


def test_settings_without_the_option_mean_none():
    assert run_settings.resolve({})["data"]["transpose"] == "none"
    assert run_settings.shortcuts(transpose="key") == {"data": {"transpose": "key"}}


def test_the_command_line_knows_the_same_modes(tmp_path):
    (option,) = [parameter for parameter in command.params if parameter.name == "transpose"]
    assert tuple(option.type.choices) == MODES
    done = CliRunner().invoke(main, ["train", str(tmp_path), "--transpose", "all"])
    assert done.exit_code == 2
    assert "'none', 'key', 'augment'" in done.stderr


# Windows


@pytest.fixture(scope="module")
def some_tunes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tunes")
    for file in sorted(MIDI_DATA.glob("*.mid"))[::16]:
        shutil.copy(file, folder)
    return seqgan_music.read_corpus(folder)


@pytest.fixture(scope="module")
def in_mode(some_tunes):
    """Tokenizer, encoded pieces, split and windows of some tunes in a mode."""

    def build(mode, length=32):
        pieces = [apply(piece, mode) for piece in some_tunes.pieces]
        tokenizer = GridTokenizer.fit(pieces)
        encoded, refused = dataset.encode(pieces, some_tunes.names, tokenizer, shifts(mode))
        assert not refused
        split = corpus.split(list(encoded), (1 / 3, 1 / 3, 1 / 3))
        return tokenizer, encoded, split, dataset.build(encoded, split, tokenizer, length=length)

    made = {mode: build(mode) for mode in MODES}
    return made.__getitem__


def test_augmented_tokens_are_those_of_the_transposed_tunes_that_stay_in_range(some_tunes, in_mode):
    tokenizer, encoded, _, _ = in_mode("augment")
    assert (tokenizer.low, tokenizer.high) == (in_mode("none")[0].low, in_mode("none")[0].high)
    some_left_out = False
    for number, piece in enumerate(some_tunes.pieces):
        low, high = min(pitches(piece)), max(pitches(piece))
        fitting = [s for s in range(-5, 7) if tokenizer.low <= low + s and high + s <= tokenizer.high]
        some_left_out |= len(fitting) < 12
        assert encoded[number] == [tokenizer.encode(transposed(piece, shift)) for shift in fitting]
        assert in_mode("none")[1][number][0] in encoded[number]
    assert some_left_out


def test_augmented_parts_hold_every_window_in_every_shift_and_no_tune_twice(in_mode):
    tokenizer, encoded, split, data = in_mode("augment")
    assert split == in_mode("none")[2]
    for part in dataset.PARTS:
        windows = getattr(data, part)
        assert set(windows.piece.tolist()) == set(split[part])
        for number in split[part]:
            rows = windows.piece == number
            expected = [tokenizer.windows(ids, 32, every_bar=part == "train") for ids in encoded[number]]
            assert sorted(windows.ids[rows].tolist()) == sorted(np.concatenate(expected).tolist())
            assert set(windows.start[rows].tolist()) == {encoded[number][0][0]}


def test_the_first_augmented_rows_hold_every_tune_once_and_many_shifts(in_mode):
    tokenizer, _, split, data = in_mode("augment")
    plain = in_mode("none")[3]
    for part in dataset.PARTS:
        before, after = getattr(plain, part), getattr(data, part)
        n = len(before)
        torch.testing.assert_close(after.piece[:n], before.piece, msg="as many tunes as without shifts")
        moved = set()
        for number in split[part]:
            same = after.piece[:n] == number
            was, now = before.ids[same], after.ids[:n][same]
            struck = (was >= 2) & (was < tokenizer.end_id)
            (shift,) = set((now[struck] - was[struck]).tolist())
            moved.add(shift)
        assert len(moved) > 6, part


def test_without_shifts_the_order_is_that_of_the_tunes(in_mode):
    for mode in ("none", "key"):
        for part in dataset.PARTS:
            piece = getattr(in_mode(mode)[3], part).piece
            assert piece.tolist() == sorted(piece.tolist())


def test_real_music_is_measured_in_the_keys_of_its_references(in_mode):
    """Shifted with its references, real music comes no further from them; left alone, they would know little of it."""

    def bleu(real, references):
        (tokenizer, _, _, measured), (_, _, _, known) = in_mode(real), in_mode(references)
        sets = {"real": MelodySet.of(tokenizer.melodies(*measured.validation[slice(None)]))}
        return evaluation.evaluate(sets, MelodySet.of(tokenizer.melodies(*known.test[slice(None)]))).rows["real"]

    alone, together, apart = bleu("none", "none"), bleu("augment", "augment"), bleu("augment", "none")
    assert together["bleu_4"] >= alone["bleu_4"] - 0.02
    assert apart["bleu_4"] < alone["bleu_4"] - 0.1
    assert alone["self_bleu_4"] > 0.5


def test_tunes_in_the_common_key_have_its_tonic(in_mode):
    def tonics(mode):
        tokenizer, _, _, data = in_mode(mode)
        heard = tokenizer.melodies(*data.train[slice(None)])
        durations = pitch_class_durations(heard.pitch.numpy(), heard.duration.numpy(), heard.mask.numpy())
        key, _ = find_key(durations)
        return np.isin(key, [0, 12 + 9]).mean()

    assert tonics("none") < 0.1
    assert tonics("key") > 0.55  # a phrase may well stand in another key than its tune: G and F come next


def test_a_tune_in_two_keys_is_one_tune(tmp_path, tiny_experiment, few_tunes):
    folder = tmp_path / "tunes"
    shutil.copytree(few_tunes, folder)
    name = min(file.name for file in few_tunes.iterdir())
    midi.write(transposed(midi.read(folder / name), 2), folder / "zz copy.mid")
    source = seqgan_music.read_corpus(folder)
    for mode, count in (("none", 13), ("key", 12), ("augment", 12)):
        made = tiny_experiment(tmp_path / mode, source, data={"transpose": mode})
        facts = run_directory.read_facts(made.directory)["corpus"]
        assert facts["pieces"] == count
        if mode != "none":
            detail = f"same tokens as {name}"
            assert facts["refused"] == [{"path": "zz copy.mid", "reason": "duplicate", "detail": detail}]


def test_a_piece_that_only_fits_transposed_is_used_and_what_never_fits_is_refused_as_it_is():
    tokenizer = GridTokenizer(low=60, high=72)
    high, far = tune(MAJOR, 62), tune(MAJOR, 90)
    encoded, refused = dataset.encode([high, far], ["high", "far"], tokenizer, SHIFTS)
    assert encoded == {0: [tokenizer.encode(transposed(high, shift)) for shift in (-2, -1)]}
    assert [(refusal.path, refusal.reason) for refusal in refused] == [("far", "pitch outside the vocabulary")]
    assert "MIDI 90" in refused[0].detail


# Runs


@pytest.fixture(scope="module")
def runs(tiny_experiment, tmp_path_factory):
    """A finished run in every mode."""
    made = {}
    for mode in MODES:
        directory = tmp_path_factory.mktemp("modes") / mode
        list(tiny_experiment(directory, data={"transpose": mode}))
        made[mode] = Run(directory)
    return made


def test_the_modes_train_on_different_windows_of_the_same_split(runs, tiny_run):
    assert runs["none"].facts["corpus"]["windows_digest"] == tiny_run.facts["corpus"]["windows_digest"]
    assert len({run.facts["corpus"]["windows_digest"] for run in runs.values()}) == 3
    splits = [run.facts["corpus"]["split"] for run in runs.values()]
    assert splits[0] == splits[1] == splits[2]
    assert not set(splits[0]["train"]) & set(splits[0]["test"])
    assert 6 * len(runs["none"].dataset.test) < len(runs["augment"].dataset.test)
    assert 6 * len(runs["none"].dataset.validation) < len(runs["augment"].dataset.validation)


@pytest.mark.parametrize("mode", MODES)
def test_a_run_in_a_mode_generates_evaluates_and_resumes(mode, runs, tiny_experiment, tmp_path):
    run = runs[mode]
    assert len(run.generate(3)) == 3
    assert run.evaluate(samples=8).facts["transpose"] == mode
    stopped = tiny_experiment(tmp_path / "run", data={"transpose": mode})
    next(iter(stopped))
    list(Experiment.resume(tmp_path / "run"))
    for one, other in zip(run_directory.read_log(run.directory), run_directory.read_log(tmp_path / "run"), strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


def test_a_folder_of_references_is_transposed_as_the_run_was(runs, few_tunes):
    source = seqgan_music.read_corpus(few_tunes)
    for mode, run in runs.items():
        pieces = [apply(piece, mode) for piece in source.pieces]
        moved = [transposed(piece, shift) for piece in pieces for shift in shifts(mode)]
        cut = []
        for piece in moved:
            try:
                ids = run.tokenizer.encode(piece)
            except PieceRefused:
                continue
            cut += [(ids[0], *window) for window in run.tokenizer.windows(ids, 16, every_bar=False).tolist()]
        facts = run.evaluate(samples=8, against=few_tunes).facts
        assert facts["references"] == len(set(cut)), mode


def test_a_run_from_before_the_option_is_one_without_transposition(runs, tmp_path):
    directory = Path(shutil.copytree(runs["none"].directory, tmp_path / "old"))
    config = directory / "config.toml"
    text = config.read_text("utf-8")
    assert 'transpose = "none"\n' in text
    config.write_text(text.replace('transpose = "none"\n', ""), "utf-8")
    assert Run(directory).settings["data"]["transpose"] == "none"
    assert str(Run(directory).evaluate(samples=8).rows) == str(runs["none"].evaluate(samples=8).rows)
