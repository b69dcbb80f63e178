"""What music21 brings along, as pieces: bar lines, ties, grace notes, repeats, keys; and pieces as MusicXML."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from seqgan_music import midi, scores
from seqgan_music.errors import Failure, PieceRefused, UsageError
from seqgan_music.notes import Note, Part, Piece
from seqgan_music.scores import (
    CORPORA,
    Bar,
    BundledCorpus,
    abc_text,
    analyzed_key,
    corpus_pieces,
    corpus_sources,
    file_sources,
    longest_stretch,
    place_bars,
    source_pieces,
    spellings,
    write_musicxml,
)

TUNES = Path(__file__).parent.parent / "midi_data"
QUARTER = 480
PLAIN = BundledCorpus(title="tunes", rights="none")


def abc(tmp_path, body, head="M:2/4\nL:1/8\nK:Ador", corpus=PLAIN):
    path = tmp_path / "tune.abc"
    path.write_text(f"X:1\nT:A tune\n{head}\n{body}\n")
    (source,) = file_sources(path)
    ((identifier, outcome),) = source_pieces(source, corpus)
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


# Metre


def score_of(tmp_path, *sections, repeat=False, corpus=PLAIN):
    """A tune of sections, each a metre, a pitch and a number of full bars, as music21 writes and reads it."""
    from music21 import bar, meter, note, stream

    part = stream.Part()
    for metre, pitch, count in sections:
        for number in range(count):
            measure = stream.Measure(number=len(part.getElementsByClass("Measure")) + 1)
            if number == 0:
                measure.timeSignature = meter.TimeSignature(metre)
            measure.append(note.Note(pitch, quarterLength=meter.TimeSignature(metre).barDuration.quarterLength))
            part.append(measure)
    if repeat:
        part.getElementsByClass("Measure").first().leftBarline = bar.Repeat(direction="start")
        part.getElementsByClass("Measure").last().rightBarline = bar.Repeat(direction="end")
    path = stream.Score([part]).write("musicxml", tmp_path / "score.musicxml")
    (source,) = file_sources(path)
    ((_, outcome),) = source_pieces(source, corpus)
    return outcome


def test_the_longest_stretch_in_one_metre_is_kept_and_the_title_says_which(tmp_path):
    sections = [("2/4", 69, 9), ("3/4", 72, 12), ("2/4", 76, 10)]
    piece = score_of(tmp_path, *sections)
    assert piece.metre == (3, 4)
    assert piece.title.endswith("(bars 10 to 21)")
    assert [(note.onset, note.duration, note.pitch) for note in piece.notes] == [
        (1440 * n, 1440, 72) for n in range(12)
    ]


def test_metres_of_one_length_are_one_metre(tmp_path):
    piece = score_of(tmp_path, ("4/4", 69, 5), ("2/2", 72, 5))
    assert (piece.metre, len(piece.notes)) == ((4, 4), 10)
    assert "bars" not in piece.title


def test_bars_keep_their_metre_when_they_are_played_again(tmp_path):
    # The second time, bars without a time signature of their own come after bars in the other metre.
    piece = score_of(tmp_path, ("2/4", 69, 5), ("3/4", 72, 6), repeat=True)
    assert isinstance(piece, PieceRefused), "no eight bars in a row"
    piece = score_of(tmp_path, ("2/4", 69, 5), ("3/4", 72, 9), repeat=True)
    assert {note.pitch for note in piece.notes} == {72}
    assert len(piece.notes) == 9


def test_a_bar_that_is_too_long_ends_a_stretch(tmp_path):
    piece = abc(tmp_path, "A4|" * 9 + "c4d2|" + "e4|" * 9)
    assert (piece.title, {note.pitch for note in piece.notes}) == ("A tune (bars 1 to 10)", {69, 72})
    assert {note.duration for note in piece.notes} == {960}


def test_a_tune_without_eight_bars_in_one_metre_is_refused(tmp_path):
    outcome = score_of(tmp_path, *[("2/4", 69, 7), ("3/4", 72, 7)] * 3)
    assert isinstance(outcome, PieceRefused)
    assert outcome.reason == "metre changes"
    assert len(score_of(tmp_path, ("3/4", 72, 3)).notes) == 3, "few bars, but all in one metre"


def test_a_new_metre_in_abc_is_refused_for_music21_misplaces_it(tmp_path):
    body = "A4|" * 9 + "\nM:3/4\n" + "c6|" * 12
    outcome = abc(tmp_path, body)
    assert isinstance(outcome, PieceRefused)
    assert outcome.reason == "metre changes"
    assert isinstance(abc(tmp_path, body.replace("3/4", "2/4")), Piece), "the same metre again"


def test_an_accidental_holds_to_the_end_of_its_bar(tmp_path):
    body = "^F2 F2 | F2 =B2 | B2 B2 |"
    assert [note.pitch for note in abc(tmp_path, body, "M:2/4\nL:1/8\nK:F").notes] == [66, 66, 65, 71, 70, 70]


def test_a_tune_without_a_metre_is_refused(tmp_path):
    outcome = abc(tmp_path, "A4 | A6 |", "M:none\nL:1/8\nK:C")
    assert isinstance(outcome, PieceRefused)
    assert outcome.reason == "no metre"


@pytest.mark.parametrize(
    ("lengths", "bars", "expected"),
    [
        ([2, 2, 2], [2, 2, 2], (0, 3)),
        ([2, 2, 2], ["1/2", 2, "3/2"], (0, 3)),  # short bars break nothing
        ([2, 2, 2], [2, 4, 2], (0, 3)),  # a bar line that was left out
        ([2, 2, 2, 2], [2, "5/2", 2, 2], (2, 4)),  # a bar that is too long
        ([2, 2, 3, 3], [2, 2, 3, 3], (0, 2)),  # the first of several
        ([2, 3, 3, 2], [2, 3, 3, 2], (1, 3)),
        ([2], [3], (0, 0)),
        ([], [], (0, 0)),
    ],
)
def test_stretches(lengths, bars, expected):
    assert longest_stretch([Fraction(length) for length in lengths], [bar(length) for length in bars]) == expected


# Titles and keys


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("La Nov\\'ell\\'e Hol\\'endoise.", "La Novéllé Holéndoise."),
        ('F\\"ur  Elise', "Für Elise"),
        ("Jack Murray's 4 Herrings. [title from index]", "Jack Murray's 4 Herrings."),
        ("[The] Lass", "[The] Lass"),
        ("Schatz, bist du b\x94s", "Schatz, bist du bös"),
        ('"POP GOES THE WEASEL."', '"POP GOES THE WEASEL."'),
    ],
)
def test_titles_are_plain_text(text, expected):
    assert abc_text(text) == expected


def test_a_mode_that_is_not_meant_is_analysed(tmp_path):
    minor = "G2AB c2B2|AG^FA G4|" * 4
    body = minor.replace("B", "_B")
    head = "M:4/4\nL:1/8\nK:G"
    tonic, signature = (BundledCorpus(title="", rights="", key=meant) for meant in ("tonic", "signature"))
    assert abc(tmp_path, body, head).key == "G major"
    assert abc(tmp_path, body, head, tonic).key == "G minor"
    assert abc(tmp_path, "E2FG A2G2|FE^DF E4|" * 4, head, tonic).key.startswith("G "), "the tonic is kept"
    assert abc(tmp_path, "E2FG A2G2|FE^DF E4|" * 4, head, signature).key == "E minor"
    assert abc(tmp_path, "G2AB c2B2|AGFA G4|" * 4, head, signature).key == "G major"
    assert abc(tmp_path, body, "M:4/4\nL:1/8\nK:Gm", tonic).key == "G minor"
    assert abc(tmp_path, "_D2_E2F2_G2|_A2_BcG2_D2|" * 4, "M:4/4\nL:1/8\nK:Db", tonic).key == "D- major"
    flat = "M:4/4\nL:1/8\nK:F"
    assert abc(tmp_path, "G2AB c2d2|cBA^F G4|g2fd c_edc|B2AG G4|" * 4, flat, signature).key == "G dorian"


# The corpora


def test_the_bundled_corpus_is_there_and_matches_what_is_shipped():
    sources = corpus_sources("ryansMammoth")
    assert len(sources) > 1000
    assert sources == sorted(sources, key=lambda source: source.identifier)
    shipped = {int(path.name[:4]): path for path in TUNES.glob("*.mid")}
    for number in (1, 2, 5, 13, 39):
        ((identifier, piece),) = source_pieces(sources[number - 1], CORPORA["ryansMammoth"])
        assert identifier == sources[number - 1].path.name
        assert midi.read(shipped[number]) == piece
    broken = next(source for source in sources if source.identifier == "AbithaMugginsFavoriteReel.abc")
    ((_, refused),) = source_pieces(broken, CORPORA["ryansMammoth"])
    assert isinstance(refused, PieceRefused)
    assert refused.reason == "ExpanderException"


@pytest.mark.parametrize(
    ("name", "at_least", "identifier", "title", "metre", "key"),
    [
        ("oneills1850", 1990, "0001-0050.abc#1", "The Enchanted Valley (bars 1 to 17)", (2, 4), "G minor"),
        ("airdsAirs", 1180, "book1.abc#1", "The Ranting Highlandman.", (2, 2), "G major"),
        ("bach", 410, "bwv1.6.mxl#2", "BWV 1.6, Soprano", (4, 4), "F major"),
        ("bach", 410, "bwv277.mxl#1", "BWV 277, Soprano", (4, 4), "A minor"),
        ("essenFolksong", 8500, "altdeu10.abc#1", "Das Hildebrandslied", (4, 2), "G minor"),
    ],
)
def test_the_other_corpora_are_there(name, at_least, identifier, title, metre, key):
    sources = corpus_sources(name)
    assert len(sources) >= at_least
    assert len({source.identifier for source in sources}) == len(sources)
    source = next(
        source for source in sources if identifier in (source.identifier, f"{source.identifier}#{identifier[-1]}")
    )
    piece = dict(source_pieces(source, CORPORA[name]))[identifier]
    assert (piece.title, piece.metre, piece.key) == (title, metre, key)


def test_every_voice_of_a_chorale_is_a_tune():
    source = next(source for source in corpus_sources("bach") if source.identifier == "bwv269.mxl")
    voices = dict(source_pieces(source, CORPORA["bach"]))
    assert [piece.title for piece in voices.values()] == [
        f"BWV 269, {voice}" for voice in ("Soprano", "Alto", "Tenor", "Bass")
    ]
    assert list(voices) == [f"bwv269.mxl#{number}" for number in (1, 2, 3, 4)]
    assert {(piece.metre, piece.key) for piece in voices.values()} == {((3, 4), "G major")}
    soprano = voices["bwv269.mxl#1"].notes
    assert [(note.onset / QUARTER, note.pitch) for note in soprano[:4]] == [(2, 67), (3, 67), (5, 74), (6, 71)]
    assert len({piece.end for piece in voices.values()}) == 1


def test_what_reserves_its_rights_is_left_out():
    withheld = [source for source in corpus_sources("bach") if source.path.suffix == ".krn"]
    assert [source.identifier for source in withheld] == ["bwv277.krn", "bwv281.krn", "bwv366.krn"]
    for source in withheld:
        assert "Rights to all derivative electronic formats reserved" in source.path.read_text("utf-8")
        ((_, outcome),) = source_pieces(source, CORPORA["bach"])
        assert isinstance(outcome, PieceRefused)
        assert outcome.reason == "rights reserved"


def test_the_condition_is_quoted_as_music21_has_it():
    folder = corpus_sources("essenFolksong")[0].path.parent
    says = " ".join((folder / "license.txt").read_text("utf-8").split())
    quotes = CORPORA["essenFolksong"].condition.split('"')[1::2]
    assert len(quotes) == 2
    assert all(quote in says for quote in quotes)


def test_a_corpus_is_given_one_tune_at_a_time():
    identifier, _ = next(corpus_pieces("ryansMammoth"))
    assert identifier == corpus_sources("ryansMammoth")[0].path.name


def test_several_tunes_in_one_file_are_told_apart_and_one_mistake_stops_no_other(tmp_path):
    path = tmp_path / "book.abc"
    head = "M:2/4\nL:1/8\nK:"
    path.write_text(
        f"% A book\nX:1\nT:One\n{head}C\nC2D2|E4|\n\nX: 3\nT:Bad\n{head}Q\nG2\n\nX:007\nT:Two\n{head}G\nG2A2|B4|\n"
    )
    outcomes = [found for source in file_sources(path) for found in source_pieces(source, PLAIN)]
    assert [identifier for identifier, _ in outcomes] == ["book.abc#1", "book.abc#3", "book.abc#7"]
    assert [getattr(outcome, "title", None) for _, outcome in outcomes] == ["One", None, "Two"]
    assert outcomes[2][1].key == "G major"


def test_what_music21_stumbles_over_is_refused(tmp_path):
    (tmp_path / "torn.mxl").write_bytes(b"PK no zip")
    (tmp_path / "torn.xml").write_text("<score-partwise><part>")
    (tmp_path / "empty.abc").write_text("")
    for name in ("torn.mxl", "torn.xml", "empty.abc"):
        (source,) = file_sources(tmp_path / name)
        ((identifier, outcome),) = source_pieces(source, PLAIN)
        assert identifier == name
        assert isinstance(outcome, PieceRefused)


def test_an_unknown_corpus_is_named_with_those_there_are():
    with pytest.raises(UsageError, match="ryansMammoth"):
        corpus_sources("ryan")
    assert scores.CORPORA["ryansMammoth"].title


# Keys of pieces, and MusicXML


def tune(pitches, duration=240, **rest):
    return Piece([Note(duration * n, duration, pitch) for n, pitch in enumerate(pitches)], **rest)


def reread(piece, path):
    """The score that music21 reads; onset, duration and pitch of its notes, in quarters from the first bar line."""
    from music21 import converter

    write_musicxml(piece, path)
    score = converter.parse(path, forceSource=True)
    notes = []
    for part in score.parts:
        start = Fraction(part.getElementsByClass("Measure").first().paddingLeft)
        for note in part.recurse().notes:
            onset = Fraction(note.getOffsetInHierarchy(part)) + start
            for pitch in note.pitches:
                if note.tie and note.tie.type != "start":
                    before = next(
                        n for n, (at, long, same) in enumerate(notes) if (at + long, same) == (onset, pitch.midi)
                    )
                    at, long, _ = notes[before]
                    notes[before] = (at, long + Fraction(note.quarterLength), pitch.midi)
                else:
                    notes.append((onset, Fraction(note.quarterLength), pitch.midi))
    return score, notes


def written(piece):
    return [(Fraction(n.onset, piece.resolution), Fraction(n.duration, piece.resolution), n.pitch) for n in piece.notes]


def element(score, kind):
    return score.recurse().getElementsByClass(kind).first()


SCALES = {"C major": 60, "F# minor": 66, "B- major": 58, "A minor": 57}


@pytest.mark.parametrize("key", SCALES)
def test_the_key_of_a_piece_is_analysed(key):
    steps = (0, 2, 3, 5, 7, 8, 11, 12, 7, 3, 0) if key.endswith("minor") else (0, 2, 4, 5, 7, 9, 11, 12, 7, 4, 0)
    piece = tune([SCALES[key] + step for step in steps])
    assert analyzed_key(piece) == key
    assert write_key(piece) == key


def write_key(piece):
    key = scores._written_key(piece)
    return f"{key.tonic.name} {key.mode}"


def test_silence_and_drums_have_no_key():
    assert analyzed_key(Piece([])) is None
    assert analyzed_key(Piece([Note(0, 0, 60)])) is None
    assert analyzed_key(tune([36, 38], parts=(Part(drums=True),))) is None
    assert write_key(Piece([])) == "C major"


def test_keys_with_too_many_accidentals_are_written_as_their_neighbours():
    assert write_key(tune([60], key="G# major")) == "A- major"
    assert write_key(tune([60], key="A- minor")) == "A- minor"


@pytest.mark.parametrize("number", [1, 2, 13, 300, 500])
def test_a_tune_is_read_again_as_it_was(number, tmp_path):
    piece = midi.read(next(TUNES.glob(f"{number:04d}-*.mid")))
    score, notes = reread(piece, tmp_path / "tune.musicxml")
    assert notes == written(piece)
    signature = element(score, "TimeSignature")
    assert (signature.numerator, signature.denominator) == piece.metre
    key = element(score, "Key")
    assert f"{key.tonic.name} {key.mode}" == piece.key
    assert score.metadata.bestTitle == piece.title
    assert element(score, "MetronomeMark").getQuarterBPM() == piece.tempo


def test_triplets_of_sixteenths_odd_lengths_and_rests_are_exact(tmp_path):
    lengths = [80, 80, 80, -240, 60, -60, 120, 300, -160, 160, 160, 160, 420, 700, -20, 20, 2400, 1100]
    at, notes = 0, []
    for number, length in enumerate(lengths):
        if length > 0:
            notes.append(Note(at, length, 60 + number))
        at += abs(length)
    for metre in [(4, 4), (6, 8), (3, 4), (7, 8)]:
        piece = Piece(notes, metre=metre, key="C major")
        score, found = reread(piece, tmp_path / "tune.musicxml")
        assert found == written(piece)
        full = Fraction(4 * metre[0], metre[1])
        for measure in score.recurse().getElementsByClass("Measure"):
            assert sum(Fraction(element.quarterLength) for element in measure.notesAndRests) == full


def test_times_that_notation_lacks_are_moved_to_the_nearest(tmp_path):
    piece = Piece([Note(1, 238, 60), Note(243, 73, 62), Note(319, 4, 64), Note(325, 700, 65)], resolution=479)
    _, notes = reread(piece, tmp_path / "tune.musicxml")
    assert [note[0] for note in notes] == [0, Fraction(1, 2), Fraction(2, 3), Fraction(2, 3)]
    assert all(duration > 0 for _, duration, _ in notes)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("F major", "C D- D E- E F G- G A- A B- B"),
        ("E major", "C C# D D# E F F# G G# A A# B"),
        ("C minor", "C D- D E- E F G- G A- A B- B"),
        ("G minor", "C D- D E- E F F# G A- A B- B"),
        ("C# minor", "B# C# D D# E F F# G G# A A# B"),
        ("A minor", "C C# D E- E F F# G G# A B- B"),
        ("D dorian", "C C# D E- E F F# G G# A B- B"),
        ("C- major", "C D- D E- F- F G- G A- A B- C-"),
    ],
)
def test_accidentals_are_spelled_by_the_key(key, expected, tmp_path):
    piece = tune(range(60, 72), key=key)
    score, notes = reread(piece, tmp_path / "tune.musicxml")
    assert [note.pitch.name for note in score.recurse().notes] == expected.split()
    assert [pitch for _, _, pitch in notes] == list(range(60, 72)), "octaves too: B# and C- lie across the octave"


def test_every_pitch_class_has_one_spelling_in_every_key():
    from music21 import pitch

    for signature in range(-7, 8):
        for mode in ("major", "minor", "dorian"):
            names = spellings(signature, mode)
            assert sorted(names) == list(range(12))
            assert all(pitch.Pitch(name).pitchClass == number for number, name in names.items())
            assert len(set(names.values())) == 12


def test_a_pickup_is_a_short_first_bar(tmp_path):
    piece = Piece([Note(1440, 480, 67), Note(1920, 960, 72), Note(2880, 960, 71)], key="C major")
    score, notes = reread(piece, tmp_path / "tune.musicxml")
    assert notes == written(piece)
    measures = list(score.parts[0].getElementsByClass("Measure"))
    assert [(measure.number, measure.duration.quarterLength) for measure in measures] == [(0, 1), (1, 4)]
    assert not list(score.recurse().getElementsByClass("Rest"))
    rest = Piece([Note(480, 1440, 67)], key="C major")
    score, notes = reread(rest, tmp_path / "tune.musicxml")
    assert notes == written(rest)
    assert element(score, "Rest").quarterLength == 1, "a rest of less than half a bar is no pickup's"


def test_a_note_over_bar_lines_is_tied(tmp_path):
    from music21 import converter

    piece = Piece([Note(960, 480 * 7, 67)], key="C major")
    _, notes = reread(piece, tmp_path / "tune.musicxml")
    assert notes == written(piece)
    tied = list(converter.parse(tmp_path / "tune.musicxml", forceSource=True).recurse().notes)
    assert [(note.measureNumber, note.tie.type) for note in tied] == [(0, "start"), (1, "continue"), (2, "stop")]


def test_a_piece_without_notes_is_a_bar_of_rest(tmp_path):
    score, notes = reread(Piece([], metre=(6, 8), tempo=90), tmp_path / "tune.musicxml")
    assert notes == []
    assert [rest.quarterLength for rest in score.recurse().getElementsByClass("Rest")] == [3]
    assert element(score, "TimeSignature").ratioString == "6/8"


def test_every_part_but_drums_has_a_staff(tmp_path):
    parts = (Part(0, name="Left & <right>"), Part(40), Part(drums=True))
    notes = [
        *(Note(0, 1920, 48), Note(0, 960, 60), Note(0, 960, 64), Note(480, 960, 67)),
        *(Note(0, 240, 36, part=2), Note(1920, 1920, 76, part=1)),
    ]
    piece = Piece(notes, key="C major", parts=parts, title="Two \x00 staves & <more>")
    score, found = reread(piece, tmp_path / "tune.musicxml")
    assert sorted(found) == sorted(note for note in written(piece) if note[2] != 36)
    assert [part.partName for part in score.parts] == ["Left & <right>", "Violin"]
    assert [part.getInstrument().midiProgram for part in score.parts] == [0, 40]
    assert len({len(part.getElementsByClass("Measure")) for part in score.parts}) == 1
    assert score.metadata.bestTitle == "Two staves & <more>"


def test_the_same_piece_gives_the_same_bytes(tmp_path):
    piece = Piece([Note(0, 960, 60), Note(0, 480, 64), Note(480, 480, 67)], title="Twice")
    code = (
        "from seqgan_music import scores\nfrom seqgan_music.notes import Note, Piece\nimport sys\n"
        "notes = [Note(0, 960, 60), Note(0, 480, 64), Note(480, 480, 67)]\n"
        "scores.write_musicxml(Piece(notes, title='Twice'), sys.argv[1])"
    )
    write_musicxml(piece, tmp_path / "a.musicxml")
    subprocess.run([sys.executable, "-c", code, tmp_path / "b.musicxml"], check=True)
    content = (tmp_path / "a.musicxml").read_bytes()
    assert content == (tmp_path / "b.musicxml").read_bytes()
    assert b"date" not in content
    assert b"creator" not in content


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"key": "H major"}, "'H major' is not a tonic and a mode"),
        ({"key": "C"}, "'C' is not a tonic and a mode"),
        ({"metre": (0, 4)}, "0/4"),
        ({"metre": (4, 5)}, "4/5|denominator"),
        ({"tempo": 0.0}, "tempo"),
        ({"parts": (Part(500),)}, "500"),
        ({"parts": (Part(drums=True),)}, "drums"),
    ],
)
def test_what_cannot_be_written_down_is_said_and_nothing_is_written(change, says, tmp_path):
    with pytest.raises(UsageError, match=says) as raised:
        write_musicxml(tune([60, 62], **{"title": "My tune", "key": "C major", **change}), tmp_path / "tune.musicxml")
    assert str(raised.value).startswith("My tune cannot be written as MusicXML: ")
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_to(tmp_path):
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "nowhere" / "tune.musicxml", tmp_path / "folder"):
        with pytest.raises(Failure, match=f"cannot write {path}"):
            write_musicxml(tune([60]), path)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
