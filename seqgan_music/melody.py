"""The melody of a score: which part it is, where its bars lie, and what was left out to have it.

A melody stands in one metre. Of a score whose metre changes the longest stretch in one metre is used; a bar that is
short (a pickup, a bar that a repeat divides) does not end a stretch.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seqgan_music.errors import PieceRefused, UsageError
from seqgan_music.notes import Notes, Part, Piece

if TYPE_CHECKING:
    from seqgan_music.midi_events import Score

Table = NDArray[np.int64]

MONOPHONIC_SHARE = 0.95
MELODY_NOTES = 16
"""A part with fewer notes is not taken for the melody because it is high."""
NO_SUCH_PART = "no such part"
"""Reason for which a score without the part that was asked for is refused."""

_NAMED = re.compile(r"melod|vocal|voice|lead(?!er|ing)|solo", re.IGNORECASE)
_ONSET, _DURATION, _PITCH, _VELOCITY, _PART = range(5)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which notes of a score are its melody.

    Without any of these it is a part that is named melody, vocal, voice, lead or solo; else the part with the highest
    mean pitch of those that are at least 95 % monophonic and have 16 notes or more; else the skyline (the highest note
    of each onset) of the part with the most notes. Drums never are.

    Parameters
    ----------
    track : str
        A part by its number, counted from 1 as `seqgan-music inspect --verbose` shows them, or by a piece of its name.
    program : int
        Only parts with this General MIDI instrument, 0 to 127; -1 is any.
    skyline : bool
        The highest note of each onset over all parts together.
    monophonic_only : bool
        Refuse a score that has no part which is at least 95 % monophonic.
    """

    track: str = ""
    program: int = -1
    skyline: bool = False
    monophonic_only: bool = False

    def __post_init__(self) -> None:
        if not -1 <= self.program <= 127:
            raise UsageError(f"reading.program must be a General MIDI instrument, 0 to 127, not {self.program!r}")
        if self.skyline and (self.track or self.program >= 0 or self.monophonic_only):
            raise UsageError("reading.skyline takes all parts together; leave out track, program and monophonic_only")


@dataclass(frozen=True, slots=True)
class Account:
    """How a piece was had from its file.

    Parameters
    ----------
    chosen : str
        The part.
    why : str
        Why this one.
    left_out : tuple of str
        What of the file is not in the piece.
    """

    chosen: str
    why: str
    left_out: tuple[str, ...] = ()


def extract(score: Score, selection: Selection | None = None) -> tuple[Piece, Account]:
    """The melody of a score, without a title.

    Raises
    ------
    PieceRefused
        Only drums, no part as `selection` wants it, or an impossible metre.
    """
    selection = selection or Selection()
    sounding = [number for number, part in enumerate(score.parts) if not part.drums]
    if not sounding:
        raise PieceRefused("only drums", "every note is on channel 10")
    per_part = {number: score.table[score.table[:, _PART] == number] for number in sounding}
    left_out: list[str] = []
    if selection.skyline:
        chosen, why = sounding, "--skyline of all parts"
        table = score.table[np.isin(score.table[:, _PART], sounding)]
    else:
        best, why = _chosen(score, per_part, selection)
        chosen, table = [best], per_part[best]
        left_out += [_described(score, number, len(per_part[number])) for number in sounding if number != best]
    drums = sum(part.drums for part in score.parts)
    if drums:
        left_out.append(f"drums ({_counted(len(score.table) - sum(map(len, per_part.values())), 'note')})")
    line = _skyline(table)
    if len(line) < len(table):
        left_out.append(f"{_counted(len(table) - len(line), 'note')} below others that begin with them")
    stretch = _in_one_metre(score, line, score.tracks[chosen[0]], left_out)
    if len(score.parts) > 1:
        _without_waiting(stretch, score.resolution, left_out)
    _count_events(score, left_out)
    stretch.table[:, _PART] = 0
    part = score.parts[chosen[0]]
    piece = _piece(score, stretch, chosen[0], (Part(part.program, name=part.name),))
    together = f"{_counted(len(chosen), 'part')} together ({_counted(len(table), 'note')})"
    described = together if selection.skyline else _described(score, chosen[0], len(table))
    return piece, Account(described, why, tuple(left_out))


def every_part(score: Score) -> tuple[Piece, Account]:
    """All parts of a score, drums too, in the longest stretch in one metre, without a title.

    Raises
    ------
    PieceRefused
        An impossible metre, or a file whose tracks stand alone (format 2).
    """
    if score.format == 2 and len(set(score.tracks)) > 1:
        raise PieceRefused("tracks that stand alone", "its tracks (format 2) do not sound together")
    left_out: list[str] = []
    stretch = _in_one_metre(score, score.table.copy(), score.tracks[0], left_out)
    _count_events(score, left_out)
    sounding, stretch.table[:, _PART] = np.unique(stretch.table[:, _PART], return_inverse=True)
    parts = tuple(score.parts[number] for number in sounding)
    piece = _piece(score, stretch, 0, parts)
    return piece, Account(_counted(len(parts), "part"), "the tokenizer takes all of them", tuple(left_out))


def _piece(score: Score, stretch: _Stretch, part: int, parts: tuple[Part, ...]) -> Piece:
    track = score.tracks[part]
    keys = [(tick, key) for at, tick, key in score.keys if score.format != 2 or at == track]
    return Piece(
        notes=Notes.from_table(stretch.table),
        resolution=score.resolution,
        tempo=_tempo(score, track, stretch.begin, stretch.end),
        metre=stretch.metre,
        key=min(keys, key=lambda stated: stated[0])[1] if keys else None,
        parts=parts,
    )


# Which part


def _chosen(score: Score, per_part: dict[int, Table], selection: Selection) -> tuple[int, str]:
    """Number of the melody's part, and why it is."""
    candidates = list(per_part)
    asked = ""
    if selection.track:
        candidates = [number for number in candidates if _matches(score.parts[number], number, selection.track)]
        asked = f"--track {selection.track}"
    if selection.program >= 0:
        candidates = [number for number in candidates if score.parts[number].program == selection.program]
        asked = f"{asked} --program {selection.program}".strip()
    if not candidates:
        there = "; ".join(_described(score, number, len(table)) for number, table in per_part.items())
        raise PieceRefused(NO_SUCH_PART, f"none for {asked}; it has: {there}")
    monophonic = [n for n in candidates if _monophonic_share(per_part[n], score.resolution) >= MONOPHONIC_SHARE]
    if selection.monophonic_only:
        if not monophonic:
            raise PieceRefused("not monophonic", f"no part is at least {MONOPHONIC_SHARE:.0%} monophonic")
        candidates = monophonic
    reasons = [asked] if asked else []
    if len(candidates) > 1 and (named := [n for n in candidates if _NAMED.search(score.parts[n].name)]):
        reasons.append("named as melody")
        candidates, monophonic = named, [number for number in monophonic if number in named]
    if len(candidates) == 1:
        if not reasons:
            reasons.append("the only part" if len(per_part) == 1 else "the only monophonic part")
        if not monophonic:
            reasons.append("its skyline")
        return candidates[0], ", ".join(reasons)
    if long := [number for number in monophonic if len(per_part[number]) >= MELODY_NOTES]:
        reasons.append(f"the highest of {len(long)} monophonic" if len(long) > 1 else "monophonic")
        return max(long, key=lambda number: per_part[number][:, _PITCH].mean()), ", ".join(reasons)
    reasons.append(f"the skyline of the fullest, as none is monophonic with {MELODY_NOTES} notes or more")
    return max(candidates, key=lambda number: len(per_part[number])), ", ".join(reasons)


def _matches(part: Part, number: int, asked: str) -> bool:
    if asked.isdecimal():
        return number + 1 == int(asked)
    return asked.casefold() in part.name.casefold()


def _described(score: Score, number: int, notes: int) -> str:
    part = score.parts[number]
    name = f" {part.name!r}" if part.name else ""
    return f"part {number + 1}{name} (program {part.program}, {_counted(notes, 'note')})"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"


def _monophonic_share(table: Table, resolution: int) -> float:
    """Share of the notes that are struck alone, after what came before has ended.

    Players bind notes by letting go late, so an overlap of up to a thirty-second note is none.
    """
    onset = table[:, _ONSET]
    sounding_until = np.maximum.accumulate(onset + table[:, _DURATION])
    alone = (np.diff(onset) > 0) & (sounding_until[:-1] - onset[1:] <= resolution // 8)
    return float(1 + alone.sum()) / len(table)


def _skyline(table: Table) -> Table:
    """The highest note of each onset, cut where the next one begins."""
    onset = table[:, _ONSET]
    last = np.append(onset[1:] != onset[:-1], True)  # ordered by pitch, so the highest of an onset comes last
    line: Table = table[last]
    following = np.append(line[1:, _ONSET], line[-1, _ONSET] + line[-1, _DURATION])
    line[:, _DURATION] = np.minimum(line[:, _DURATION], following - line[:, _ONSET])
    return line


# Bars and tempo


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Notes in one metre, in ticks from its first bar line, and where in the file they begin and end."""

    table: Table
    metre: tuple[int, int]
    begin: int
    end: int


def _in_one_metre(score: Score, table: Table, track: int, left_out: list[str]) -> _Stretch:
    """The longest stretch in one metre."""
    end = int((table[:, _ONSET] + table[:, _DURATION]).max())
    sections = _sections(score, track, end)
    for _, _, metre in sections:
        if metre[0] < 1 or metre[1] > 64:
            raise PieceRefused("impossible metre", f"time signature {metre[0]}/{metre[1]:.3g}")
    if len(sections) == 1:
        return _Stretch(table, sections[0][2], int(table[0, _ONSET]), end)
    onset = table[:, _ONSET]
    counts: Counter[tuple[int, int]] = Counter()
    for begin, stop, metre in sections:
        counts[metre] += len(onset[_between(onset, begin, stop)])
    metre = counts.most_common(1)[0][0]
    bar = Fraction(4 * score.resolution * metre[0], metre[1])
    stretches = _stretches(sections, metre, bar, onset)
    begin, stop, line = max(stretches, key=lambda stretch: len(onset[_between(onset, *stretch[:2])]))
    kept = table[_between(onset, begin, stop)].copy()
    if len(kept) < len(table):
        others = ", ".join(f"{a}/{b}" for a, b in counts if (a, b) != metre)
        left_out.append(
            f"{_counted(len(table) - len(kept), 'note')} outside the longest stretch in {metre[0]}/{metre[1]}"
            + (f" (there is {others} too)" if others else "")
        )
    kept[:, _DURATION] = np.minimum(kept[:, _DURATION], stop - kept[:, _ONSET])
    begin, end = int(kept[0, _ONSET]), int((kept[:, _ONSET] + kept[:, _DURATION]).max())
    kept[:, _ONSET] -= line
    return _Stretch(kept, metre, begin, end)


def _sections(score: Score, track: int, end: int) -> list[tuple[int, int, tuple[int, int]]]:
    """Beginning, end and metre of what stands between two changes of metre."""
    stated = {0: (4, 4)}
    for at, tick, metre in score.metres:
        if score.format != 2 or at == track:
            stated[tick] = metre  # of several in one tick the last is in force
    starts = [tick for tick in sorted(stated) if tick < end or not tick]
    sections: list[tuple[int, int, tuple[int, int]]] = []
    for start, stop in zip(starts, [*starts[1:], end], strict=True):
        if sections and sections[-1][2] == stated[start]:
            sections[-1] = (sections[-1][0], stop, stated[start])
        else:
            sections.append((start, stop, stated[start]))
    return sections


def _stretches(
    sections: Sequence[tuple[int, int, tuple[int, int]]], metre: tuple[int, int], bar: Fraction, onset: Table
) -> list[tuple[int, int, int]]:
    """Beginning, end and first bar line (which a pickup follows) of every stretch in one metre."""
    stretches: list[tuple[int, int, int]] = []
    between = 0  # ticks in another metre since the last section in this one
    for start, stop, other in sections:
        if other != metre:
            between += stop - start
            continue
        if stretches and between == bar and not (start - stretches[-1][2]) % bar:  # a bar that a repeat divides
            begin, _, line = stretches.pop()
            stretches.append((begin, stop, line))
        elif between < bar and bar.denominator == 1 and len(onset[_between(onset, start - between, start)]):
            stretches.append((start - between, stop, start - int(bar)))  # a pickup
        else:
            stretches.append((start, stop, start))
        between = 0
    if 0 < between <= bar:  # the last bar, short of what its pickup took
        begin, _, line = stretches.pop()
        stretches.append((begin, sections[-1][1], line))
    return stretches


def _between(onset: Table, begin: int, stop: int) -> slice:
    """Where in ascending `onset` those are that lie in [begin, stop)."""
    first, end = np.searchsorted(onset, (begin, stop))
    return slice(int(first), int(end))


def _without_waiting(stretch: _Stretch, resolution: int, left_out: list[str]) -> None:
    """Take out the bars in which the melody is silent: before it all, within it all but one."""
    bar, rest = divmod(4 * resolution * stretch.metre[0], stretch.metre[1])
    if rest:
        return
    onset = stretch.table[:, _ONSET]
    ended = np.maximum.accumulate(np.append(0, onset + stretch.table[:, _DURATION]))[:-1]
    empty = onset // bar - -(-ended // bar)  # whole bars between the end of what came before and each onset
    empty[1:] -= 1
    taken = np.cumsum(np.maximum(empty, 0))
    if taken[-1]:
        left_out.append(f"{_counted(int(taken[-1]), 'bar')} in which the melody is silent")
        onset -= taken * bar


def _tempo(score: Score, track: int, begin: int, end: int) -> float:
    """Quarter notes in a minute: the tempo that is in force for most of the time, or else the mean."""
    stated = {0: 500_000}
    for at, tick, microseconds in sorted(score.tempi, key=lambda event: event[1]):
        if score.format != 2 or at == track:
            stated[tick] = microseconds
    lengths: Counter[int] = Counter()
    for start, stop in zip(stated, [*list(stated)[1:], end], strict=True):
        lengths[stated[start]] += max(0, min(stop, end) - max(start, begin))
    microseconds, longest = lengths.most_common(1)[0]
    if 2 * longest <= end - begin:
        microseconds = round(sum(tempo * length for tempo, length in lengths.items()) / (end - begin))
    return _quarters_per_minute(max(1, microseconds))


def _quarters_per_minute(microseconds: int) -> float:
    """The shortest number that is written back as the same tempo: 616650 is 97.3, not 97.2999..."""
    exact = 6e7 / microseconds
    return next((q for digits in range(9) if (q := round(exact, digits)) and round(6e7 / q) == microseconds), exact)


def _count_events(score: Score, left_out: list[str]) -> None:
    for count, what in (
        (score.without_length, "without length"),
        (score.never_ended, "that are never released"),
    ):
        if count:
            left_out.append(f"{_counted(count, 'note')} {what}")
    if score.nonsense:
        left_out.append(f"{_counted(score.nonsense, 'tempo, metre or key event')} whose values mean nothing")
