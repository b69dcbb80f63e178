"""Pieces in other keys: all in a common one, or each in twelve.

`MODES` says what a run does with the keys of its pieces. *key*: every piece is moved to C major or A minor, so that a
pitch means the same degree of the scale in all of them. *augment*: every piece is taken in twelve keys, so that no key
is commoner than another. Whatever a run reads later goes through `apply` and `shifts` too, or its numbers would compare
keys, not melodies.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from seqgan_music import midi_events
from seqgan_music.errors import PieceRefused, UsageError
from seqgan_music.metrics.key import PITCH_CLASSES, UNDEFINED, find_key, key_correlations, pitch_class_durations
from seqgan_music.notes import Notes, Piece

if TYPE_CHECKING:
    from seqgan_music.tokenizers import Tokenizer

MODES = ("none", "key", "augment")
OCTAVE = 12
MOST_OCTAVES = 10  # MIDI has no more
SHIFTS = range(-5, 7)
"""Semitones: every key once, none further than half an octave away."""
MARGIN = 0.2
"""A stated key holds while its correlation lies at most so far below the best key's (docs/log.md)."""

_FIFTHS = "FCGDAEB"
_KEY = re.compile(rf"([A-G])(#+|-+)? ({'|'.join(midi_events.MODES)})")


def apply(piece: Piece, mode: str) -> Piece:
    """A piece as a run takes it: in the common key, with the mode *key*, else as it is.

    Parameters
    ----------
    piece : Piece
    mode : str
        One of `MODES`.

    Raises
    ------
    UsageError
        Unknown mode.
    """
    check_mode(mode)
    return to_common_key(piece) if mode == "key" else piece


def shifts(mode: str) -> range:
    """Semitones by which each piece is taken: every one of `SHIFTS` with the mode *augment*, else 0 alone.

    Raises
    ------
    UsageError
        Unknown mode.
    """
    check_mode(mode)
    return SHIFTS if mode == "augment" else range(1)


def check_mode(mode: str) -> None:
    """Refuse what is not one of `MODES`.

    Raises
    ------
    UsageError
        With the list.
    """
    if mode not in MODES:
        raise UsageError(f"data.transpose must be one of {', '.join(MODES)}, not {mode!r}")


def transposed(piece: Piece, shift: int) -> Piece:
    """A piece some semitones higher, drums as they are.

    Parameters
    ----------
    piece : Piece
    shift : int
        Semitones upwards.

    Returns
    -------
    Piece
        Its key is spelled with as few accidentals as can be, F# major rather than G-, E- minor rather than D#. A key
        that is not a tonic and a mode is left out.

    Raises
    ------
    PieceRefused
        A pitch would leave 0 to 127.
    """
    if not shift:
        return piece
    table = piece.notes.table
    pitch = table[:, 2] + shift * _pitched(piece)
    if outside := pitch[(pitch < 0) | (pitch > 127)].tolist():
        raise PieceRefused("pitch outside MIDI's range", f"{outside[0]}, {shift:+d} semitones from where it was")
    table[:, 2] = pitch
    # Among drums, which stay, the order of what sounds together may change.
    table = table[np.lexsort((table[:, 4], table[:, 2], table[:, 0]))]
    return dataclasses.replace(piece, notes=Notes.from_table(table), key=_key_above(piece.key, shift))


def into_range(
    pieces: Sequence[Piece], names: Sequence[str], tokenizer: Tokenizer
) -> tuple[list[Piece], dict[str, int]]:
    """Move every piece that a tokenizer refuses by the fewest octaves with which it does not.

    Parameters
    ----------
    pieces : sequence of Piece
    names : sequence of str
    tokenizer : Tokenizer

    Returns
    -------
    pieces : list of Piece
        Those that no octave helps are as they were.
    moved : dict of str to int
        Octaves upwards by name, of the pieces that were moved.
    """
    found, moved = [], {}
    for piece, name in zip(pieces, names, strict=True):
        fitting, octaves = _into_range(piece, tokenizer)
        found.append(fitting)
        if octaves:
            moved[name] = octaves
    return found, moved


def key_of(piece: Piece) -> str | None:
    """The key of a piece: the stated one where the notes agree with it, else the one that fits them best.

    Agreeing is to correlate at most `MARGIN` less than with the best key: estimates err by a fifth more often than
    files do, and files that say C major of everything err by more. What is correlated is the major or minor key of the
    stated tonic, whichever has its third, or the major key of the same signature, whichever fits better: A dorian
    stands between A minor and G major.

    Returns
    -------
    str or None
        None where no key is stated and the notes tell none: there are none, or all pitch classes are equally long.

    Notes
    -----
    The algorithm is Krumhansl and Schmuckler's; see `seqgan_music.metrics.key`.
    """
    pitched = _pitched(piece)
    durations = pitch_class_durations(piece.notes.pitch[pitched], piece.notes.duration[pitched])
    best, clarity = find_key(durations)
    stated = _parsed(piece.key)
    if stated is not None:
        tonic, minor = _tonic(*stated)
        signature, _ = _tonic(_sharps(*stated), "major")
        fit = key_correlations(durations)[[tonic + PITCH_CLASSES * minor, signature]].max()
        if best == UNDEFINED or clarity - fit <= MARGIN:
            return piece.key
    if best == UNDEFINED:
        return None
    mode, above = divmod(int(best), PITCH_CLASSES)
    return _key_above("C minor" if mode else "C major", above)


def to_common_key(piece: Piece) -> Piece:
    """Move a piece to C major or A minor.

    Major, lydian and mixolydian get the tonic C, minor, dorian, phrygian and locrian the tonic A: a mode is moved with
    the major or minor key of its own tonic, so that A is the tonic of a dorian tune as it is of a minor one.

    Returns
    -------
    Piece
        At most 5 semitones lower or 6 higher, its key as `key_of` finds it. A piece that would leave MIDI's range goes
        to the octave on the other side; if that does not hold it either (it spans more than nine octaves), or if it has
        no key, it stays where it is.
    """
    key = key_of(piece)
    parsed = _parsed(key)
    if parsed is None:
        return piece
    tonic, minor = _tonic(*parsed)
    up = ((9 if minor else 0) - tonic) % PITCH_CLASSES
    near = sorted((up, up - PITCH_CLASSES), key=lambda shift: shift not in SHIFTS)
    for shift in near:
        try:
            return transposed(dataclasses.replace(piece, key=key), shift)
        except PieceRefused:
            continue
    return piece


def _pitched(piece: Piece) -> np.ndarray:
    """Which notes (K,) are no drums."""
    return np.array([not part.drums for part in piece.parts], dtype=bool)[piece.notes.part]


def _parsed(key: str | None) -> tuple[int, str] | None:
    """How many fifths the tonic lies above C, and the mode; None for what is no key."""
    found = _KEY.fullmatch(key or "")
    if not found:
        return None
    letter, accidentals, mode = found.groups(default="")
    return _FIFTHS.index(letter) - 1 + 7 * (accidentals.count("#") - accidentals.count("-")), mode


def _tonic(fifths: int, mode: str) -> tuple[int, bool]:
    """Pitch class of a tonic, and whether its third is minor."""
    return 7 * fifths % PITCH_CLASSES, midi_events.MODES[mode] <= midi_events.MODES["dorian"]


def _sharps(fifths: int, mode: str) -> int:
    """Sharps in the signature of a key; flats are negative."""
    return fifths + midi_events.MODES[mode]


def _key_above(key: str | None, shift: int) -> str | None:
    """The name of a key some semitones higher."""
    parsed = _parsed(key)
    if parsed is None or not shift % PITCH_CLASSES:
        return key if parsed else None
    fifths, mode = parsed
    most_flats = 6 if _tonic(fifths, mode)[1] else 5
    sharps = (_sharps(fifths, mode) + 7 * shift + most_flats) % PITCH_CLASSES - most_flats
    accidentals, letter = divmod(sharps - midi_events.MODES[mode] + 1, len(_FIFTHS))
    return f"{_FIFTHS[letter]}{'#' * accidentals}{'-' * -accidentals} {mode}"


def _into_range(piece: Piece, tokenizer: Tokenizer) -> tuple[Piece, int]:
    for octaves in sorted(range(-MOST_OCTAVES, MOST_OCTAVES + 1), key=abs):
        try:
            moved = transposed(piece, OCTAVE * octaves)
            tokenizer.encode(moved)
        except PieceRefused:
            continue
        return moved, octaves
    return piece, 0
