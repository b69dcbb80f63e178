"""What music21 brings along, as pieces: bar lines, ties, grace notes, repeats."""

from fractions import Fraction
from pathlib import Path

import pytest

from seqgan_music import midi, scores
from seqgan_music.errors import PieceRefused, UsageError
from seqgan_music.scores import Bar, corpus_files, corpus_pieces, file_pieces, place_bars

TUNES = Path(__file__).parent.parent / "midi_data"
QUARTER = 480


def abc(tmp_path, body, head="M:2/4\nL:1/8\nK:Ador"):
    path = tmp_path / "tune.abc"
    path.write_text(f"X:1\nT:A tune\n{head}\n{body}\n")
    ((identifier, outcome),) = file_pieces(path)
    assert identifier == "tune.abc"
    return outcome


def onsets(piece):
    return [note.onset / QUARTER for note in piece.notes]


def bar(*durations, pitch=60):
    """A bar of notes; a negative duration is a rest."""
    tick, notes = Fraction(0), []
    for duration in map(Fraction, durations):
        if duration > 0:
            notes.append((tick, duration, pitch, False))
        tick += abs(duration)
    return Bar(tick, tuple(notes))


def starts(bars, full=2):
    return [note.onset / QUARTER for note in place_bars(bars, Fraction(full))]


def test_title_key_metre_and_default_tempo(tmp_path):
    piece = abc(tmp_path, "A2 B2 | c2 d2 |")
    assert (piece.title, piece.key, piece.metre, piece.tempo, piece.resolution) == (
        "A tune",
        "A dorian",
        (2, 4),
        120,
        480,
    )
    assert abc(tmp_path, "A6 | B6 |", "M:6/8\nL:1/8\nK:F#m").key == "F# minor"
    assert abc(tmp_path, "A6 | B6 |", "M:6/8\nL:1/8\nK:Bb").key == "B- major"


def test_grace_notes_and_chord_symbols_have_no_time(tmp_path):
    piece = abc(tmp_path, '"Am"{g}A2 {ab}B2 | c2 d2 |')
    assert [note.pitch for note in piece.notes] == [69, 71, 72, 74]
    assert onsets(piece) == [0, 1, 2, 3]


def test_ties_are_joined_across_the_bar_line(tmp_path):
    piece = abc(tmp_path, "A2 B2- | B2 d2 |")
    assert [(note.onset, note.duration) for note in piece.notes] == [(0, 480), (480, 960), (1440, 480)]


def test_repeats_are_written_out_and_triplets_are_exact(tmp_path):
    piece = abc(tmp_path, "|: A2 (3BcB | c4 :: d4 | e4 :|")
    assert [note.onset for note in piece.notes] == [
        *(0, 480, 640, 800, 960),
        *(1920, 2400, 2560, 2720, 2880),
        *(3840, 4800, 5760, 6720),
    ]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("A4 | c4 :: d4 | e4 :|", "AcAcdede"),
        ("A4 | c4 :| d4 | e4 :| f4 | g4 :|", "AcAcdedefgfg"),  # the later ones have no beginning
        ("A4 |: c4 :| d4 | e4 |: f4 | g4 :|", "Accdefgfg"),
        ("A4 | B4 |1 c4 :|2 d4 :| e4 | f4 :|", "ABcABdefef"),
    ],
)
def test_a_repeat_goes_back_to_its_beginning_or_to_the_last_repeat(tmp_path, body, expected):
    letters = dict(zip((69, 71, 72, 74, 76, 77, 79), "ABcdefg", strict=True))
    assert "".join(letters[note.pitch] for note in abc(tmp_path, body, "M:2/4\nL:1/8\nK:C").notes) == expected


def test_a_pickup_is_padded_so_that_bar_lines_fall_on_bars(tmp_path):
    piece = abc(tmp_path, "A | B2 c2 | d3 :: e | f2 g2 | a3 :|")
    assert onsets(piece)[:3] == [1.5, 2, 3]
    assert [onset for onset in onsets(piece) if onset % 2 == 0] == [2, 4, 6, 8, 10, 12, 14, 16]


def test_chords_and_voices_are_refused(tmp_path):
    outcome = abc(tmp_path, "[Ac]2 B2 | c2 d2 |")
    assert isinstance(outcome, PieceRefused)
    assert outcome.reason == "not monophonic"


def test_rests_alone_are_no_tune(tmp_path):
    outcome = abc(tmp_path, "z4 | z4 |")
    assert isinstance(outcome, PieceRefused)
    assert outcome.reason == "no notes"


@pytest.mark.parametrize(
    ("bars", "expected"),
    [
        ([bar(2), bar(2)], [0, 2]),
        ([bar("1/2"), bar(2), bar("3/2"), bar("1/2"), bar(2)], [1.5, 2, 4, 5.5, 6]),  # a repeat divides a bar
        ([bar(2), bar("3/2"), bar(2)], [0, 2, 4]),  # the section ends short
        ([bar(2), bar(1, 1), bar("1/2"), bar(2)], [0, 2, 3, 3.5, 4]),  # the pickup takes time from the note before
        ([bar(2), bar(1, -1), bar("1/2"), bar(2)], [0, 2, 3.5, 4]),  # or from the rest before
        ([bar(1, "3/4", "1/4"), bar("1/2"), bar(2)], [0, 1, 1.75, 3.5, 4]),  # or gets a bar of its own
        ([bar(2), bar("3/2"), bar("1/4"), bar(2)], [0, 2, 3.75, 4]),  # the two parts leave a gap
        ([bar(2), bar(1, "1/2"), bar("3/4"), bar(2)], [0, 2, 3, 3.25, 4]),  # the two parts are too long
        ([bar(2), bar("7/4"), bar("7/4"), bar(2)], [0, 2, 4, 6]),  # bars with something missing
        ([bar(2), bar("1/2"), bar("3/2"), bar(2)], [0, 2, 2.5, 4]),  # a bar line within a bar
        ([bar(2), bar("1/2")], [0, 2]),
        ([bar(), bar(2), bar(), bar(2)], [0, 2]),
        ([bar("5/2"), bar(2)], [0, 4]),  # a bar that is too long
    ],
)
def test_full_bars_start_on_bar_lines(bars, expected):
    assert starts(bars) == expected


def test_taking_time_shortens_the_note_before():
    first, second, *_ = place_bars([bar(2), bar("1/2"), bar(2)], Fraction(2))
    assert (first.onset, first.duration, second.onset) == (0, 720, 720)


def test_the_bundled_corpus_is_there_and_matches_what_is_shipped():
    files = corpus_files("ryansMammoth")
    assert len(files) > 1000
    assert files == sorted(files, key=lambda path: path.name)
    shipped = {int(path.name[:4]): path for path in TUNES.glob("*.mid")}
    for number in (1, 2, 5, 13, 39):
        ((identifier, piece),) = file_pieces(files[number - 1])
        assert identifier == files[number - 1].name
        assert midi.read(shipped[number]) == piece
    ((_, refused),) = file_pieces(next(path for path in files if path.name == "AbithaMugginsFavoriteReel.abc"))
    assert isinstance(refused, PieceRefused)
    assert refused.reason == "ExpanderException"


def test_a_corpus_is_given_one_tune_at_a_time():
    identifier, _ = next(corpus_pieces("ryansMammoth"))
    assert identifier == corpus_files("ryansMammoth")[0].name


def test_several_tunes_in_one_file_are_told_apart(tmp_path):
    path = tmp_path / "book.abc"
    path.write_text("X:1\nT:One\nM:2/4\nL:1/8\nK:C\nC2D2|E4|\n\nX:7\nT:Two\nM:2/4\nL:1/8\nK:G\nG2A2|B4|\n")
    assert [(identifier, piece.title) for identifier, piece in file_pieces(path)] == [
        ("book.abc#1", "One"),
        ("book.abc#7", "Two"),
    ]


def test_an_unknown_corpus_is_named_with_those_there_are():
    with pytest.raises(UsageError, match="ryansMammoth"):
        corpus_files("ryan")
    assert scores.CORPORA["ryansMammoth"].title
