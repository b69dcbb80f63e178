"""Everything music21: the corpora it brings along, as pieces.

music21 is slow to import and slow to run, so it is imported where it is used.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqgan_music.errors import Failure, PieceRefused, UsageError
from seqgan_music.notes import Note, Notes, Piece

if TYPE_CHECKING:
    import music21

RESOLUTION = 480
"""Ticks in a quarter note of every piece that comes from a score."""
SHORTEST_CUT = Fraction(1, 4)
"""In quarter notes: a pickup leaves at least this much of the note that it takes its time from."""


@dataclass(frozen=True, slots=True)
class BundledCorpus:
    """One of music21's own collections.

    Parameters
    ----------
    title : str
        What it is.
    folder : str
        What music21 calls it.
    """

    title: str
    folder: str


CORPORA = {
    "ryansMammoth": BundledCorpus("Ryan's Mammoth Collection, 1883", "ryansMammoth"),
}


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


def corpus_files(name: str) -> list[Path]:
    """The files of one of music21's corpora, in the order of their names.

    Raises
    ------
    UsageError
        Unknown name.
    Failure
        music21 was installed without its corpus.
    """
    if name not in CORPORA:
        raise UsageError(f"unknown corpus {name!r}; there are: {', '.join(CORPORA)}")
    from music21 import corpus

    files = sorted(map(Path, corpus.getComposer(CORPORA[name].folder)), key=lambda path: path.name)
    if not files:
        raise Failure(f"this music21 has no corpus {name!r}; a complete one is installed by: pip install music21")
    return files


def corpus_pieces(name: str) -> Iterator[tuple[str, Piece | PieceRefused]]:
    """Every tune of one of music21's corpora, or why it cannot be used.

    Yields
    ------
    tuple of str and (Piece or PieceRefused)
        The identifier is the file's name, followed by ``#`` and the tune's number where a file holds several.
    """
    for path in corpus_files(name):
        yield from file_pieces(path)


def file_pieces(path: Path) -> list[tuple[str, Piece | PieceRefused]]:
    """Every tune of one file, with identifiers as in `corpus_pieces`."""
    from music21 import converter, exceptions21, stream

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            parsed = converter.parse(path, forceSource=True)
        except exceptions21.Music21Exception as error:
            return [(path.name, PieceRefused(type(error).__name__, str(error)))]
        if isinstance(parsed, stream.Opus):
            scores = [(f"{path.name}#{score.metadata.number}", score) for score in parsed.scores]
        else:
            scores = [(path.name, parsed)]
        return [(identifier, _piece_or_refusal(score)) for identifier, score in scores]


def _piece_or_refusal(score: music21.stream.Stream) -> Piece | PieceRefused:
    from music21 import exceptions21

    try:
        return _piece(score)
    except PieceRefused as refusal:
        return refusal
    except exceptions21.Music21Exception as error:
        return PieceRefused(type(error).__name__, str(error))


def _piece(score: music21.stream.Stream) -> Piece:
    from music21 import key, meter, tempo

    parts = list(score.parts)
    if len(parts) != 1:
        raise PieceRefused("several parts", f"{len(parts)} parts where a tune has one")
    _open_repeats(parts[0])
    part = parts[0].expandRepeats()
    metre = part.recurse().getElementsByClass(meter.TimeSignature).first()
    if metre is None:
        raise PieceRefused("no metre", "the score has no time signature")
    signature = part.recurse().getElementsByClass(key.KeySignature).first()
    mark = part.recurse().getElementsByClass(tempo.MetronomeMark).first()
    bars = [_bar(measure) for measure in part.getElementsByClass("Measure")]
    notes = place_bars(bars, Fraction(metre.barDuration.quarterLength))
    if not notes:
        raise PieceRefused("no notes", "nothing but rests")
    return Piece(
        notes=Notes(notes),
        resolution=RESOLUTION,
        tempo=float((mark.getQuarterBPM() if mark else None) or 120.0),
        metre=(metre.numerator, metre.denominator),
        title=" ".join((score.metadata.title or "").split()) if score.metadata else "",
        key=f"{signature.tonic.name} {signature.mode}" if isinstance(signature, key.Key) else None,
    )


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
