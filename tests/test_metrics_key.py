import shutil
from pathlib import Path

import numpy as np
import pytest

import seqgan_music
from seqgan_music.metrics.key import (
    MAJOR,
    MINOR,
    UNDEFINED,
    find_key,
    key_correlations,
    pitch_class_durations,
)

MIDI_DATA = Path(__file__).parent.parent / "midi_data"
NAMES = ("C", "C#", "D", "E-", "E", "F", "F#", "G", "A-", "A", "B-", "B")


def found(pitches, durations=None):
    durations = np.ones(len(pitches)) if durations is None else durations
    key, clarity = find_key(pitch_class_durations(pitches, durations))
    minor, tonic = divmod(int(key), 12)
    return f"{NAMES[tonic]} {'minor' if minor else 'major'}", float(clarity)


@pytest.mark.parametrize(
    ("scale", "key"),
    [
        ([60, 62, 64, 65, 67, 69, 71, 72], "C major"),
        ([57, 59, 60, 62, 64, 65, 67, 69], "A minor"),
        ([57, 59, 60, 62, 64, 65, 68, 69], "A minor"),
        ([54, 56, 57, 59, 61, 62, 64, 66], "F# minor"),
        ([70, 72, 74, 75, 77, 79, 81, 82], "B- major"),
        ([65, 69, 72], "F major"),
        ([62, 65, 69], "D minor"),
    ],
)
def test_scales_and_triads_are_in_their_keys(scale, key):
    assert found(scale)[0] == key


def test_long_notes_weigh_more():
    scale = [60, 62, 64, 65, 67, 69, 71]
    assert found(scale, [4, 1, 2, 1, 2, 1, 1])[0] == "C major"
    assert found(scale, [2, 1, 2, 1, 1, 4, 1])[0] == "A minor"
    assert found(scale, [1, 2, 1, 1, 4, 1, 2])[0] == "G major"


@pytest.mark.parametrize(("profile", "first"), [(MAJOR, 0), (MINOR, 12)])
def test_a_profile_is_perfectly_in_its_key(profile, first):
    for tonic in range(12):
        key, clarity = find_key(np.roll(profile, tonic))
        assert key == first + tonic
        assert clarity == pytest.approx(1.0, abs=1e-12)


def test_correlations_are_those_of_a_plain_loop():
    durations = np.random.default_rng(0).exponential(size=(50, 12)) * np.random.default_rng(1).integers(0, 2, (50, 12))
    expected = [
        [np.corrcoef(row, np.roll(profile, tonic))[0, 1] for profile in (MAJOR, MINOR) for tonic in range(12)]
        for row in durations
    ]
    np.testing.assert_allclose(key_correlations(durations), expected, rtol=0, atol=1e-12)
    key, clarity = find_key(durations)
    np.testing.assert_array_equal(key, np.argmax(expected, 1))
    np.testing.assert_allclose(clarity, np.max(expected, 1), rtol=0, atol=1e-12)


def test_a_melody_that_moves_takes_its_key_along():
    pitch = np.random.default_rng(2).integers(48, 85, 40)
    duration = np.random.default_rng(3).integers(1, 9, 40)
    low, clarity = find_key(pitch_class_durations(pitch, duration))
    for shift in range(1, 12):
        high, same = find_key(pitch_class_durations(pitch + shift, duration))
        assert high // 12 == low // 12
        assert high % 12 == (low + shift) % 12
        assert same == pytest.approx(float(clarity))


def test_the_unit_of_a_duration_does_not_matter():
    durations = np.random.default_rng(4).exponential(size=12)
    for unit in (1e-300, 1e-3, 480.0, 1e307):
        np.testing.assert_allclose(key_correlations(unit * durations), key_correlations(durations))


def test_durations_are_summed_by_pitch_class_and_what_is_masked_is_not_heard():
    pitch = np.array([[60, 72, 61, 0], [0, 127, 12, 65]])
    duration = np.array([[1.0, 0.5, 2.0, 9.0], [1.0, 2.0, 4.0, np.nan]])
    mask = np.array([[True, True, True, False], [True, True, True, False]])
    expected = np.zeros((2, 12))
    expected[0, [0, 1]] = 1.5, 2.0
    expected[1, [0, 7]] = 5.0, 2.0
    np.testing.assert_array_equal(pitch_class_durations(pitch, duration, mask), expected)
    np.testing.assert_array_equal(pitch_class_durations(pitch[0], duration[0], mask[0]), expected[0])
    assert pitch_class_durations(pitch[None], duration[None], mask[None]).shape == (1, 2, 12)
    assert pitch_class_durations(np.zeros((3, 0), int), np.zeros((3, 0))).tolist() == [[0.0] * 12] * 3
    assert pitch_class_durations(np.zeros((0, 5), int), np.zeros((0, 5))).shape == (0, 12)


def test_where_there_is_nothing_to_find_the_key_is_undefined():
    chromatic = pitch_class_durations(range(60, 72), [0.1 + 0.2] * 12)
    rounded = chromatic + np.array([1e-16, 0.0] * 6)
    scale = pitch_class_durations([60, 62, 64, 65, 67, 69, 71], [1] * 7)
    key, clarity = find_key([np.zeros(12), chromatic, rounded, scale])
    assert key.tolist() == [UNDEFINED] * 3 + [0]
    assert np.isnan(clarity).tolist() == [True] * 3 + [False]
    assert np.isnan(key_correlations(np.zeros(12))).all()
    assert find_key(np.zeros((0, 12)))[0].shape == (0,)


@pytest.mark.parametrize(
    "call",
    [
        lambda: pitch_class_durations([60, 61], [1.0]),
        lambda: pitch_class_durations([60.5], [1.0]),
        lambda: pitch_class_durations([60], [-1.0]),
        lambda: pitch_class_durations([60], [np.inf]),
        lambda: pitch_class_durations([60], [1.0], [[True]]),
        lambda: pitch_class_durations(60, 1.0),
        lambda: key_correlations(np.ones(11)),
        lambda: key_correlations([-1.0] + [1.0] * 11),
        lambda: key_correlations([np.nan] + [1.0] * 11),
        lambda: find_key(1.0),
    ],
)
def test_malformed_input_is_an_error(call):
    with pytest.raises(ValueError, match=r"expected|integers|finite"):
        call()


def test_music21_finds_the_same_keys(tmp_path):
    """All of 32 tunes with the same profiles; nearly all of them with Aarden and Essen's, which weigh other tones."""
    music21 = pytest.importorskip("music21")
    from music21.analysis import discrete

    for file in sorted(MIDI_DATA.glob("*.mid"))[::30]:
        shutil.copy(file, tmp_path)
    same = others = 0
    pieces = seqgan_music.read_corpus(tmp_path).pieces
    for piece in pieces:
        stream = music21.stream.Stream()
        for note in piece.notes:
            sounding = music21.note.Note(note.pitch, quarterLength=note.duration / piece.resolution)
            stream.insert(note.onset / piece.resolution, sounding)
        key, clarity = found(piece.notes.pitch, piece.notes.duration)
        theirs = discrete.KrumhanslKessler().getSolution(stream)
        same += _name(theirs) == key
        assert theirs.correlationCoefficient == pytest.approx(clarity, abs=1e-9)
        others += _name(discrete.AardenEssen().getSolution(stream)) == key
    assert len(pieces) == 32
    assert same == 32
    assert others >= 28


def _name(key):
    return f"{NAMES[key.tonic.pitchClass]} {key.mode}"
