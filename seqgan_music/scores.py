"""Everything music21: the corpora it brings along, as pieces; pieces as MusicXML; the key of a piece.

music21 is slow to import and slow to run, so it is imported where it is used.
"""

from __future__ import annotations

import copy
import itertools
import math
import os
import re
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from seqgan_music.errors import Failure, PieceRefused, UsageError
from seqgan_music.files import write_whole
from seqgan_music.notes import Note, Notes, Piece

if TYPE_CHECKING:
    import music21

RESOLUTION = 480
"""Ticks in a quarter note of every piece that comes from a score."""
SHORTEST_STRETCH = 8
"""Bars of a tune in one metre; of fewer nothing is kept."""
SHORTEST_CUT = Fraction(1, 4)
"""In quarter notes: a pickup leaves at least this much of the note that it takes its time from."""
FINEST = 96
"""In a quarter note: what divides this is written down exactly, 128th notes and their triplets included."""
SHORTEST_NOTE = Fraction(1, 24)
"""In quarter notes: what a note gets that rounding leaves nothing of."""

_SUFFIXES = frozenset({".abc", ".mxl", ".xml", ".krn"})  # music21 also keeps analyses there, which are no music
_TUNE = re.compile(r"(?m)^(?=[ \t]*X:)")
_METRE = re.compile(r"(?m)^[ \t]*M:[ \t]*([^\s%]+)")
_REFERENCE = re.compile(r"[ \t]*X:[ \t]*(\d+)")
_ACCENTS = {"'": "\u0301", "`": "\u0300", '"': "\u0308", "^": "\u0302", "~": "\u0303", ",": "\u0327"}
_ABC_ACCENT = re.compile(r"\\(['`\"^~,])([A-Za-z])")
_MODES = {"major", "minor", "dorian", "phrygian", "lydian", "mixolydian", "locrian"}
_NOT_OURS = re.compile(rb"\s*<(encoding-date|creator)[^>]*>[^<]*</\1>")  # the day, and music21 as the composer
_DOS = re.compile("[\x80-\x9f]")  # no letters, but what is left of DOS's umlauts
_REMARK = re.compile(r" ?\[[^]]*\]$")


@dataclass(frozen=True, slots=True, kw_only=True)
class BundledCorpus:
    """One of music21's own collections, which differ in what their files can be trusted with.

    Parameters
    ----------
    title : str
        What it is.
    rights : str
        Who made it, and on what terms it can be had.
    condition : str
        What a user has to agree to before it is written; empty where there is nothing.
    withheld : tuple of str
        Names of files that are left out because their rights are reserved.
    voices : bool
        Every voice of a work is a tune of its own; otherwise what has several parts is refused.
    key : {"stated", "tonic", "signature"}
        How much of the key that a file states is meant. The rest of it is analysed.
    """

    title: str
    rights: str
    condition: str = ""
    withheld: tuple[str, ...] = ()
    voices: bool = False
    key: Literal["stated", "tonic", "signature"] = "stated"


_WITH_PERMISSION = "music21 says that it distributes its corpus with the permission of the encoders."

CORPORA = {
    "ryansMammoth": BundledCorpus(
        title="Ryan's Mammoth Collection, 1883",
        rights="The tunes are in the public domain; volunteers typed them, and no file states a licence.",
    ),
    "oneills1850": BundledCorpus(
        title="O'Neill's Music of Ireland, 1903: 1850 melodies",
        rights="The tunes are in the public domain; volunteers named in the files typed them, and no file states a "
        f"licence. {_WITH_PERMISSION}",
    ),
    "airdsAirs": BundledCorpus(
        title="James Aird's Selection of Scotch, English, Irish and Foreign Airs, six volumes, from 1778 on",
        rights="The tunes are in the public domain; Jack Campin typed them, and no file states a licence. "
        f"{_WITH_PERMISSION}",
    ),
    "bach": BundledCorpus(
        title="Johann Sebastian Bach's chorales, each voice a tune",
        rights="The music is in the public domain; most files say 'PDF © 2004 Margaret Greentree, used by permission', "
        f"and none states a licence. {_WITH_PERMISSION}",
        withheld=("bwv277.krn", "bwv281.krn", "bwv366.krn"),
        voices=True,
        key="signature",  # "major" is what most of the files say of minor too
    ),
    "essenFolksong": BundledCorpus(
        title="Essen Folksong Collection: German songs for the most part, and Chinese ones",
        rights="Collected under Helmut Schaffrath, then Ewa Dahlig-Turek; converted by Seymour Shlien. For "
        "non-commercial use alone.",
        condition="The Essen Folksong Collection is for non-commercial use alone. In the words of music21's "
        'corpus/essenFolksong/license.txt: "The legal status of the Essen folksong database is unclear, as the data '
        'has been input by many people", and Ewa Dahlig-Turek "has given permission for non-commercial distribution '
        'and use of these files in music21".',
        key="tonic",  # the files say nothing of modes
    ),
}


@dataclass(frozen=True, slots=True)
class Source:
    """What music21 keeps of one tune, or of one work of several voices.

    Parameters
    ----------
    identifier : str
        The file's name, followed by ``#`` and the tune's number where the file holds several tunes.
    path : Path
        The file.
    abc : str
        The tune, where it is in ABC notation.
    """

    identifier: str
    path: Path
    abc: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """What stands between two bar lines.

    Parameters
    ----------
    length : Fraction
        In quarter notes, as found; less than a full bar for a pickup or where a repeat divides the bar.
    notes : tuple of (Fraction, Fraction, int, bool)
        Onset in the bar and duration in quarter notes, MIDI number, and whether the note is tied to the one before.
    """

    length: Fraction
    notes: tuple[tuple[Fraction, Fraction, int, bool], ...]


def corpus_sources(name: str) -> list[Source]:
    """Everything in one of music21's corpora, in the order of the files' names.

    Raises
    ------
    UsageError
        Unknown name.
    Failure
        music21 was installed without its corpus, or a file of it cannot be read.
    """
    if name not in CORPORA:
        raise UsageError(f"unknown corpus {name!r}; there are: {', '.join(CORPORA)}")
    from music21 import corpus

    files = sorted(map(Path, corpus.getComposer(name)), key=lambda path: path.name)
    found = [source for path in files if path.suffix in _SUFFIXES for source in file_sources(path)]
    if not found:
        raise Failure(f"this music21 has no corpus {name!r}; a complete one is installed by: pip install music21")
    return found


def file_sources(path: Path) -> list[Source]:
    """The tunes of a file, each by itself, so that a mistake in one loses none of the others.

    Raises
    ------
    Failure
        The file cannot be read.
    """
    if path.suffix != ".abc":
        return [Source(path.name, path)]
    try:
        text = path.read_text("utf-8", "replace")
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror}") from error
    found = [(match[1], tune) for tune in _TUNE.split(text) if (match := _REFERENCE.match(tune))]
    if len(found) < 2:
        return [Source(path.name, path, text)]
    return [Source(f"{path.name}#{int(number)}", path, tune) for number, tune in found]


def corpus_pieces(name: str) -> Iterator[tuple[str, Piece | PieceRefused]]:
    """Every tune of one of music21's corpora, or why it cannot be used.

    Yields
    ------
    tuple of str and (Piece or PieceRefused)
        The identifier is that of the `Source`, followed by ``#`` and a number where every voice is a tune.

    Raises
    ------
    UsageError, Failure
        As `corpus_sources`.
    """
    for source in corpus_sources(name):
        yield from source_pieces(source, CORPORA[name])


def source_pieces(source: Source, corpus: BundledCorpus) -> list[tuple[str, Piece | PieceRefused]]:
    """The tunes of one source, with identifiers as in `corpus_pieces`."""
    if source.path.name in corpus.withheld:
        return [(source.identifier, PieceRefused("rights reserved", "the file reserves all rights in it"))]
    if len(set(_METRE.findall(source.abc))) > 1:
        return [(source.identifier, PieceRefused("metre changes", "music21 misplaces a new metre in ABC notation"))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            score = _parsed(source, corpus)
            parts = list(score.parts)
            key = _key(score, corpus.key)
        except PieceRefused as refusal:
            return [(source.identifier, refusal)]
        except _mistakes() as error:
            return [(source.identifier, _refusal(error))]
        if corpus.voices:
            work = source.path.stem.replace("bwv", "BWV ")
            return [
                (
                    f"{source.identifier}#{number}",
                    _piece_or_refusal(part, _one_line(f"{work}, {part.partName or number}"), key, corpus),
                )
                for number, part in enumerate(parts, start=1)
            ]
        title = abc_text(score.metadata.title or "") if score.metadata else ""
        return [(source.identifier, _piece_or_refusal(parts[0], title, key, corpus))]


def _parsed(source: Source, corpus: BundledCorpus) -> music21.stream.Score:
    from music21 import converter, stream

    if source.abc:
        # Accidentals hold to the end of a bar; without a version music21 takes each for its own note alone.
        score = converter.parse(f"%abc-2.1\n{source.abc}", format="abc")
    else:
        score = converter.parse(source.path, forceSource=True)
    if isinstance(score, stream.Opus):
        if len(score.scores) != 1:  # music21 leaves out what it stumbles over
            raise PieceRefused("unreadable", f"music21 finds {len(score.scores)} tunes where there is one")
        score = score.scores[0]
    if not score.parts or (len(score.parts) > 1 and not corpus.voices):
        raise PieceRefused("several parts", f"{len(score.parts)} parts where a tune has one")
    return score


def abc_text(text: str) -> str:
    """A title as ABC notation writes it, in plain letters and without the typist's remarks."""
    text = _DOS.sub(lambda match: match[0].encode("latin1").decode("cp437"), text)
    text = _ABC_ACCENT.sub(lambda match: unicodedata.normalize("NFC", match[2] + _ACCENTS[match[1]]), text)
    return _one_line(_REMARK.sub("", _one_line(text)))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _mistakes() -> tuple[type[Exception], ...]:
    """What music21 has been seen to raise on music that it cannot make sense of."""
    from xml.etree.ElementTree import ParseError
    from zipfile import BadZipFile

    from music21.exceptions21 import Music21Exception

    return Music21Exception, ParseError, BadZipFile, ValueError, LookupError, TypeError, AttributeError, ArithmeticError


def _refusal(error: Exception) -> PieceRefused:
    return PieceRefused(type(error).__name__, _one_line(str(error)))


def _piece_or_refusal(
    part: music21.stream.Part, title: str, key: str | None, corpus: BundledCorpus
) -> Piece | PieceRefused:
    try:
        return _piece(part, title, key, corpus)
    except PieceRefused as refusal:
        return refusal
    except _mistakes() as error:
        return _refusal(error)


def _piece(part: music21.stream.Part, title: str, key: str | None, corpus: BundledCorpus) -> Piece:
    from music21 import meter, tempo

    first = part.recurse().getElementsByClass(meter.TimeSignature).first()
    if first is None:
        raise PieceRefused("no metre", "the score has no time signature")
    metres: list[meter.TimeSignature] = []
    _open_repeats(part)
    for number, measure in enumerate(part.getElementsByClass("Measure")):
        measure.number = number  # by which its metre is found again where repeats are written out
        metres.append(measure.timeSignature or (metres[-1] if metres else first))
    written_out = part.expandRepeats()
    mark = written_out.recurse().getElementsByClass(tempo.MetronomeMark).first()
    bars = [_bar(measure) for measure in written_out.getElementsByClass("Measure")]
    order = [measure.number for measure in written_out.getElementsByClass("Measure")]
    start, stop = longest_stretch([Fraction(metres[number].barDuration.quarterLength) for number in order], bars)
    if len(bars) > stop - start:
        if stop - start < SHORTEST_STRETCH:
            raise PieceRefused("metre changes", f"no {SHORTEST_STRETCH} bars in a row have one metre")
        kept = order[start:stop]
        title = f"{title} (bars {min(kept) + 1} to {max(kept) + 1})".lstrip()
    first, bars = metres[order[start]], bars[start:stop]
    notes = place_bars(bars, Fraction(first.barDuration.quarterLength))
    if not notes:
        raise PieceRefused("no notes", "nothing but rests")
    return Piece(
        notes=Notes(notes),
        resolution=RESOLUTION,
        tempo=float((mark.getQuarterBPM() if mark else None) or 120.0),
        metre=(first.numerator, first.denominator),
        title=title,
        key=key,
    )


def longest_stretch(lengths: Sequence[Fraction], bars: Sequence[Bar]) -> tuple[int, int]:
    """The longest run of bars in one metre, as its start and its end; the first of several.

    Parameters
    ----------
    lengths : sequence of Fraction
        Length in quarter notes that the time signature of each bar asks for. 4/4 and 2/2 are one metre here.
    bars : sequence of Bar
        One that is longer than it should be is in no metre, unless it holds several bars whole; a shorter one breaks
        nothing, for it may be a pickup or lie beside a repeat.
    """
    best, start = (0, 0), 0
    for index, (length, bar) in enumerate(zip(lengths, bars, strict=True)):
        if bar.length > length and bar.length % length:
            start = index + 1
        elif length != lengths[start]:
            start = index
        if index + 1 - start > best[1] - best[0]:
            best = start, index + 1
    return best


def _key(score: music21.stream.Score, meant: str) -> str | None:
    """The key of a score, of which the file's own statement says all, or the tonic or the signature alone."""
    from music21 import key

    signature = score.parts[0].recurse().getElementsByClass(key.KeySignature).first()
    stated = isinstance(signature, key.Key)
    if signature is None or (not stated and meant != "signature"):
        return None
    if stated and (meant == "stated" or signature.mode != "major"):
        return _key_name(signature)
    found = score.analyze("key")
    if meant == "signature":  # the old signatures of minor and major keys are those of other modes today
        for mode, old_mode, sharps in (("minor", "dorian", 1), ("major", "mixolydian", -1)):
            if found.mode == mode and signature.sharps == found.sharps + sharps:
                return f"{found.tonic.name} {old_mode}"
    for likely in (found, *found.alternateInterpretations):
        same_tonic = stated and likely.tonic.pitchClass == signature.tonic.pitchClass
        same_signature = (likely.sharps - signature.sharps) % 12 == 0
        if same_tonic if meant == "tonic" else same_signature:
            return f"{(signature if meant == 'tonic' else likely).tonic.name} {likely.mode}"
    return None


def _key_name(key: music21.key.Key) -> str:
    return f"{key.tonic.name} {key.mode}"


def _open_repeats(part: music21.stream.Part) -> None:
    """Let a repeat without a beginning begin where the one before it ended, as tune books mean it.

    music21 would go back to the very beginning.
    """
    from music21 import bar

    begins = None  # the bar after the last repeat, while no other beginning is seen
    ended = False
    for measure in part.getElementsByClass("Measure"):
        if ended:
            begins = None if measure.getSpannerSites("RepeatBracket") else measure
        left, right = measure.leftBarline, measure.rightBarline
        if isinstance(left, bar.Repeat) and left.direction == "start":
            begins = None
        ended = isinstance(right, bar.Repeat) and right.direction == "end"
        if ended and begins is not None:
            begins.leftBarline = bar.Repeat(direction="start")
            begins = None


def _bar(measure: music21.stream.Measure) -> Bar:
    from music21 import harmony

    notes: list[tuple[Fraction, Fraction, int, bool]] = []
    end = Fraction(0)
    for element in measure.recurse().notesAndRests:
        # A grace note has no time of its own, but music21 would play it as a quarter note.
        if element.duration.isGrace or isinstance(element, harmony.Harmony):
            continue
        onset = Fraction(element.getOffsetInHierarchy(measure))
        duration = Fraction(element.duration.quarterLength)
        if not element.isRest:
            notes.append((onset, duration, *_pitch(element, end > onset)))
        end = max(end, onset + duration)
    return Bar(end, tuple(notes))


def _pitch(element: Any, overlaps: bool) -> tuple[int, bool]:
    if len(element.pitches) != 1 or overlaps:
        raise PieceRefused("not monophonic", "has chords or a second voice")
    return element.pitches[0].midi, element.tie is not None and element.tie.type in {"stop", "continue"}


def place_bars(bars: list[Bar], full: Fraction) -> tuple[Note, ...]:
    """Put bars one after the other so that every full one starts on a bar line.

    A pickup, at the front or within, ends on a bar line. What is missing in a bar is silence, except that a pickup
    after a full bar takes its time from the rest or the long note that ends it, as a player would do.

    Parameters
    ----------
    bars : list of Bar
        With repeats written out.
    full : Fraction
        Length of a full bar in quarter notes.
    """
    bars = [bar for bar in bars if bar.length > 0]
    placed: list[list[Any]] = []  # [onset, end, pitch], in quarter notes
    end = Fraction(0)
    for index, bar in enumerate(bars):
        following = bars[index + 1].length if index + 1 < len(bars) else None
        start = _start(bar.length, end, full, following, first=index == 0)
        if start < end and not (placed and start - placed[-1][0] >= SHORTEST_CUT):
            start += full  # too little to take from: the pickup gets a bar of its own
        for onset, duration, pitch, tied in bar.notes:
            if tied and placed and placed[-1][2] == pitch and placed[-1][1] == start + onset:
                placed[-1][1] += duration
            elif duration > 0:
                if placed:
                    placed[-1][1] = min(placed[-1][1], start + onset)
                placed.append([start + onset, start + onset + duration, pitch])
        end = start + bar.length
    ticks = ((round(onset * RESOLUTION), round(end * RESOLUTION), pitch) for onset, end, pitch in placed)
    return tuple(Note(onset, end - onset, pitch) for onset, end, pitch in ticks)


def _start(length: Fraction, end: Fraction, full: Fraction, following: Fraction | None, *, first: bool) -> Fraction:
    """Where a bar starts if the ones before it stop at `end`; earlier than that for a pickup that has to take time."""
    line = -(-end // full) * full  # the first bar line from `end` on
    if length >= full:
        return line
    if first:
        return full - length
    if end < line:  # the bar before is short
        if end + length <= line:
            return line - length  # together they make up one bar
        return line - length if length <= full / 2 else line
    if following is None or length + following <= full or length > full / 2:
        return line  # the end of a section, or the first part of a divided bar
    return line - length  # a pickup after a full bar


# Writing


def analyzed_key(piece: Piece) -> str | None:
    """The key that a piece is most likely in, by music21's key analysis (pitch classes weighted by duration).

    Parameters
    ----------
    piece : Piece
        Drums are left out.

    Returns
    -------
    str or None
        In the form of `Piece.key`, such as ``"F# minor"``; None for a piece without notes.
    """
    from music21 import note, stream

    line = stream.Stream()
    for pitched in piece.notes:
        if pitched.duration > 0 and not piece.parts[pitched.part].drums:
            heard = note.Note(pitched.pitch, quarterLength=Fraction(pitched.duration, piece.resolution))
            line.insert(Fraction(pitched.onset, piece.resolution), heard)
    return _key_name(line.analyze("key")) if len(line) else None


def write_musicxml(piece: Piece, path: str | os.PathLike[str]) -> None:
    """Write a piece as MusicXML, one staff for each part but drums; the same piece always gives the same bytes.

    Notes that lie on no thirty-second note and no sixteenth triplet, nor on anything else that can be written down
    exactly, are moved to the nearest. The first bar is written as a pickup if at least half of it is silence.

    Parameters
    ----------
    piece : Piece
        Without a key, that of `analyzed_key` is taken, or C major; accidentals are spelled by it as in `spellings`.
        Notes without duration are left out.
    path : path-like
        Replaced if it exists; left as it was if writing fails.

    Raises
    ------
    UsageError
        The piece holds a value that cannot be written down: its key, metre, tempo or a program.
    Failure
        The file cannot be written.
    """
    from music21.exceptions21 import Music21Exception
    from music21.musicxml.m21ToXml import GeneralObjectExporter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            content = GeneralObjectExporter(_score(piece)).parse()
        except (Music21Exception, ValueError) as error:
            what = _one_line(piece.title) or "the piece"
            raise UsageError(f"{what} cannot be written as MusicXML: {_one_line(str(error))}") from error
    write_whole(path, _NOT_OURS.sub(b"", content))


def spellings(signature: int, mode: str) -> dict[int, str]:
    """How each pitch class is spelled in a key.

    Notes of the scale come first, then the raised sixth and seventh degree of a minor key and the raised fourth of any
    other, then the white keys as naturals, and the rest with sharps in sharp keys and flats in flat keys.

    Parameters
    ----------
    signature : int
        Number of sharps; negative for flats.
    mode : str
        Such as ``"minor"``.

    Returns
    -------
    dict of int to str
        Names such as ``"F#"`` and ``"B-"`` of the pitch classes 0 to 11.
    """
    scale = [signature + place for place in range(-1, 6)]  # places on the line of fifths, where C is 0
    raised = [signature + place for place in ((6, 8) if mode == "minor" else (6,))]
    black = range(6, 11) if signature > 0 else range(-2, -7, -1) if signature < 0 else (-3, -2, 6, 7, 8)
    names: dict[int, str] = {}
    for place in [*scale, *raised, *range(-1, 6), *black]:
        sharps, step = divmod(place + 1, 7)
        names.setdefault(place * 7 % 12, "FCGDAEB"[step] + ("#" * sharps or "-" * -sharps))
    return names


def _score(piece: Piece) -> music21.stream.Score:
    from music21 import metadata, stream, tempo

    if not piece.tempo > 0:
        raise ValueError(f"tempo {piece.tempo} is not above 0")
    key = _written_key(piece)
    names = spellings(key.sharps, key.mode)
    staves = [number for number, part in enumerate(piece.parts) if not part.drums]
    if not staves:
        raise ValueError("it has drums alone")
    voices = {number: _voices(piece, number) for number in staves}
    bars = _bar_lines(piece.metre, [chord for found in voices.values() for voice in found for chord in voice])
    score = stream.Score()
    score.metadata = metadata.Metadata()
    score.metadata.title = _printable(piece.title) or "Untitled"
    for place, number in enumerate(staves, start=1):
        staff = _staff(piece, number, place, voices[number], bars, key, names)
        if place == 1:
            staff.getElementsByClass("Measure").first().insert(0, tempo.MetronomeMark(number=piece.tempo))
        score.insert(0, staff)
    return score


@dataclass(frozen=True, slots=True)
class _Chord:
    """Notes struck and released together, in quarter notes."""

    start: Fraction
    end: Fraction
    pitches: list[int]


def _voices(piece: Piece, part: int) -> list[list[_Chord]]:
    """The notes of a part as lines in which nothing overlaps; a melody is one line."""
    chords: dict[tuple[Fraction, Fraction], list[int]] = {}
    for note in piece.notes:
        if note.part == part and note.duration > 0:
            start, end = (_notated(Fraction(tick, piece.resolution)) for tick in (note.onset, note.end))
            pitches = chords.setdefault((start, max(end, start + SHORTEST_NOTE)), [])
            if note.pitch not in pitches:
                pitches.append(note.pitch)
    voices: list[list[_Chord]] = []
    for (start, end), pitches in sorted(chords.items()):
        free = next((voice for voice in voices if voice[-1].end <= start), None)
        if free is None:
            voices.append(free := [])
        free.append(_Chord(start, end, sorted(pitches)))
    return voices


def _notated(quarters: Fraction) -> Fraction:
    """The nearest time that notation has a sign for."""
    if FINEST % quarters.denominator == 0:
        return quarters
    return min((Fraction(round(quarters * grid), grid) for grid in (8, 6)), key=lambda near: abs(near - quarters))


def _bar_lines(metre: tuple[int, int], chords: list[_Chord]) -> list[Fraction]:
    """Where bars start and the last one ends, in quarter notes; the first is short if it is a pickup."""
    if metre[0] < 1 or metre[1] not in {1, 2, 4, 8, 16, 32, 64}:
        raise ValueError(f"metre {metre[0]}/{metre[1]} is no time signature")
    full = Fraction(4 * metre[0], metre[1])
    count = max(1, *(math.ceil(chord.end / full) for chord in chords)) if chords else 1
    lines = [full * number for number in range(count + 1)]
    first = min((chord.start for chord in chords), default=Fraction(0))
    if full / 2 <= first < full:
        lines[0] = first
    return lines


def _staff(
    piece: Piece,
    number: int,
    place: int,
    voices: list[list[_Chord]],
    bars: list[Fraction],
    key: music21.key.Key,
    names: dict[int, str],
) -> music21.stream.Part:
    from music21 import clef, instrument, meter, stream

    part = piece.parts[number]
    player = instrument.instrumentFromMidiProgram(part.program)
    player.partId, player.instrumentId = f"P{place}", f"I{place}"  # music21's own are random
    player.partName = _printable(part.name) or player.instrumentName
    staff = stream.Part(id=player.partId)
    staff.partName = player.partName
    staff.insert(0, player)
    pickup = bars[0] > 0
    for index, (start, end) in enumerate(itertools.pairwise(bars)):
        measure = stream.Measure(number=index + (not pickup))
        if index == 0:
            measure.keySignature = copy.deepcopy(key)
            measure.timeSignature = meter.TimeSignature(f"{piece.metre[0]}/{piece.metre[1]}")
            measure.paddingLeft = start
        lines = [line for voice in voices if (line := _line(voice, start, end, names))]
        for line in lines[:1] if len(lines) < 2 else ():
            for offset, element in line:
                measure.insert(offset, element)
        for name, line in enumerate(lines if len(lines) > 1 else (), start=1):
            voice = stream.Voice(id=str(name))
            for offset, element in line:
                voice.insert(offset, element)
            measure.insert(0, voice)
        if not lines:
            measure.insert(0, _rest(end - start))
        staff.append(measure)
    staff.getElementsByClass("Measure").last().rightBarline = "final"
    staff.getElementsByClass("Measure").first().clef = clef.bestClef(staff, recurse=True)
    return staff


def _line(
    voice: list[_Chord], start: Fraction, end: Fraction, names: dict[int, str]
) -> list[tuple[Fraction, music21.note.GeneralNote]]:
    """One voice of one bar with its rests; empty if it is silent."""
    from music21 import chord, note, tie

    line: list[tuple[Fraction, Any]] = []
    reached = start
    for sounding in voice:
        if sounding.end <= start or sounding.start >= end:
            continue
        begins, stops = max(sounding.start, start), min(sounding.end, end)
        if begins > reached:
            line.append((reached - start, _rest(begins - reached)))
        pitches = [_pitch_named(number, names) for number in sounding.pitches]
        element = chord.Chord(pitches) if len(pitches) > 1 else note.Note(pitches[0])
        element.duration.quarterLength = stops - begins
        if sounding.start < begins or sounding.end > stops:
            both = sounding.start < begins and sounding.end > stops
            element.tie = tie.Tie("continue" if both else "start" if sounding.end > stops else "stop")
        line.append((begins - start, element))
        reached = stops
    if line and reached < end:
        line.append((reached - start, _rest(end - reached)))
    return line


def _rest(quarters: Fraction) -> music21.note.Rest:
    from music21 import note

    return note.Rest(quarterLength=quarters)


def _pitch_named(number: int, names: dict[int, str]) -> music21.pitch.Pitch:
    from music21 import pitch

    named = pitch.Pitch(names[number % 12])
    named.octave = (number - round(named.alter)) // 12 - 1
    return named


def _written_key(piece: Piece) -> music21.key.Key:
    """The key of a piece with at most seven sharps or flats."""
    from music21 import key, pitch

    tonic, _, mode = (piece.key or analyzed_key(piece) or "C major").partition(" ")
    if mode not in _MODES or not re.fullmatch("[A-G](#*|-*)", tonic):
        raise ValueError(f"key {piece.key!r} is not a tonic and a mode, such as 'F# minor' or 'B- major'")
    found = key.Key(tonic, mode)
    return found if abs(found.sharps) <= 7 else key.Key(pitch.Pitch(tonic).getEnharmonic().name, mode)


def _printable(text: str) -> str:
    """What XML may hold of a text."""
    whole = text.encode("utf-8", "replace").decode("utf-8")  # a file's name may hold lone surrogates
    return _one_line("".join(letter if letter.isprintable() else " " for letter in whole))
