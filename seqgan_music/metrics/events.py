"""In which alphabet are melodies compared, whatever tokenizer made them?

Conventions
-----------
A melody is read as a row of *events*, each one note or one rest with its duration in grid steps. An event is one
integer, ``duration * 129 + pitch`` with pitch 128 for a rest, from which both can be read back. Silence is a single
rest however long it is: before the first note, between notes, and after the last up to the melody's length. Times are
rounded to the nearest step, halves up. One note sounds at a time: a note ends at the latest where the next begins, and
of notes that begin in the same step the last listed (the highest) is kept. Notes that round to no step at all are
left out, as is what lies beyond the melody's length.

- `event_codes`, `event_parts`: pitch and duration to an integer and back.
- `note_events`: the notes of `Melodies` to events.
- `event_notes`: events to the notes among them.
- `events_to_steps`: events to a grid, as in `Melodies.steps`; `struck_steps`: where on it notes begin.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqgan_music.metrics.sequences import IntArray, Sequences, SequencesLike, as_sequences
from seqgan_music.notes import OUTSIDE, REST

REST_EVENT = 128
"""What a rest has in the place of a pitch."""
_PITCHES = 129


def event_codes(pitch: ArrayLike, duration: ArrayLike) -> IntArray:
    """Events as integers.

    Parameters
    ----------
    pitch : array of int
        MIDI numbers, or `REST_EVENT`.
    duration : array of int
        Grid steps, at least 1; of a shape that goes with that of `pitch`.

    Returns
    -------
    ndarray, int64
        At least 129.

    Raises
    ------
    ValueError
        If a pitch is not within 0 and 128, or a duration is less than 1.

    Examples
    --------
    >>> event_codes([60, REST_EVENT], [4, 2]).tolist()
    [576, 386]
    """
    pitches, durations = np.asarray(pitch, dtype=np.int64), np.asarray(duration, dtype=np.int64)
    if ((pitches < 0) | (pitches > REST_EVENT)).any():
        raise ValueError(f"an event's pitch is within 0 and 127, or {REST_EVENT} for a rest")
    if (durations < 1).any():
        raise ValueError("an event lasts at least one grid step")
    codes: IntArray = durations * _PITCHES + pitches
    return codes


def event_parts(codes: ArrayLike) -> tuple[IntArray, IntArray]:
    """Pitch and duration of events.

    Parameters
    ----------
    codes : array of int
        As `event_codes` gives them.

    Returns
    -------
    pitch : ndarray, int64
        MIDI numbers, or `REST_EVENT`.
    duration : ndarray, int64
        Grid steps.

    Raises
    ------
    ValueError
        If a code is less than 129: no event is.

    Examples
    --------
    >>> pitch, duration = event_parts([576, 386])
    >>> pitch.tolist(), duration.tolist()
    ([60, 128], [4, 2])
    """
    events = np.asarray(codes, dtype=np.int64)
    if (events < _PITCHES).any():
        raise ValueError(f"no event is less than {_PITCHES}")
    durations, pitches = np.divmod(events, _PITCHES)
    return pitches, durations


def note_events(
    pitch: NDArray[Any],
    onset: NDArray[Any],
    duration: NDArray[Any],
    mask: NDArray[Any],
    length: NDArray[Any],
    steps_per_quarter: float,
) -> Sequences:
    """The notes and rests of melodies, one integer each.

    The arrays are the fields of `Melodies` of the same names. What is held from before a window is no note there, and
    counts as a rest.

    Parameters
    ----------
    pitch : ndarray (B, K), int
        MIDI numbers.
    onset, duration : ndarray (B, K), float
        In quarter notes.
    mask : ndarray (B, K), bool
        True for a note; nothing is read where it is False.
    length : ndarray (B,), float
        Length of each melody in quarter notes.
    steps_per_quarter : float
        Grid steps in a quarter note, more than 0.

    Returns
    -------
    Sequences
        Events as `event_codes` makes them. A melody of length 0 has none.

    Raises
    ------
    ValueError
        If the shapes do not fit, a number is negative or not finite, a pitch is above 127, or onsets are out of order.

    Examples
    --------
    >>> pitch, onset, duration = np.array([[60, 62]]), np.array([[0.0, 1.5]]), np.array([[1.0, 0.5]])
    >>> events = note_events(pitch, onset, duration, pitch > 0, np.array([3.0]), steps_per_quarter=4)
    >>> [part.tolist() for part in event_parts(events.tokens)]  # C for a quarter, a rest, D, a rest
    [[[60, 128, 62, 128]], [[4, 2, 2, 4]]]
    """
    mask, length = np.asarray(mask, dtype=bool), np.asarray(length, dtype=np.float64)
    onset, duration = np.asarray(onset, dtype=np.float64), np.asarray(duration, dtype=np.float64)
    pitch = np.asarray(pitch)
    if (
        mask.ndim != 2
        or length.shape != mask.shape[:1]
        or not pitch.shape == onset.shape == duration.shape == mask.shape
    ):
        raise ValueError(
            "expected pitch, onset, duration and mask (B, K) and length (B,), not "
            f"{pitch.shape}, {onset.shape}, {duration.shape}, {mask.shape} and {length.shape}"
        )
    if not steps_per_quarter > 0:
        raise ValueError(f"steps_per_quarter must be more than 0, not {steps_per_quarter}")
    if not all(np.isfinite(times).all() and (times >= 0).all() for times in (onset[mask], duration[mask], length)):
        raise ValueError("onsets, durations and lengths must be finite and not negative")
    if ((pitch[mask] < 0) | (pitch[mask] > 127)).any():
        raise ValueError("a note's pitch is within 0 and 127")

    never = np.iinfo(np.int64).max
    end_of_melody = _steps(length, steps_per_quarter)[:, None]
    start = _steps(np.where(mask, onset, 0), steps_per_quarter)
    end = np.minimum(_steps(np.where(mask, onset + duration, 0), steps_per_quarter), end_of_melody)
    kept = mask & (end > start)
    following = _next(np.where(kept, start, never), never)
    if (kept & (start > following)).any():
        raise ValueError("the notes of a melody must be in the order of their onsets")
    end = np.minimum(end, following)  # of notes that begin together, all but the last end at once
    done = np.maximum.accumulate(np.where(kept, end, 0), axis=1)
    done = np.concatenate([np.zeros_like(end_of_melody), done], axis=1)  # [:, k]: where note k finds the melody

    # A rest and a note in turn, K times, and the closing rest; those that last no time are not there.
    batch, notes = mask.shape
    durations = np.zeros((batch, 2 * notes + 1), dtype=np.int64)
    durations[:, 0:-1:2] = np.where(kept, start - done[:, :-1], 0)
    durations[:, 1::2] = np.where(kept, end - start, 0)
    durations[:, -1] = end_of_melody[:, 0] - done[:, -1]
    pitches = np.full(durations.shape, REST_EVENT, dtype=np.int64)
    pitches[:, 1::2] = np.where(kept, pitch, 0)

    there = durations > 0
    lengths = there.sum(axis=1, dtype=np.int64)
    tokens = np.zeros((batch, int(lengths.max(initial=0))), dtype=np.int64)
    events = Sequences(tokens, lengths)
    tokens[events.valid] = event_codes(pitches[there], durations[there])
    return events


def event_notes(events: SequencesLike) -> tuple[IntArray, IntArray, IntArray, NDArray[np.bool_]]:
    """The notes among events, without the rests.

    Parameters
    ----------
    events : Sequences, ndarray (B, K) or sequence of sequences of int
        Events as `event_codes` makes them.

    Returns
    -------
    pitch : ndarray (B, N), int64
        MIDI numbers; N is the largest number of notes of a row, and 0 stands where there is none.
    onset, duration : ndarray (B, N), int64
        In grid steps.
    mask : ndarray (B, N), bool
        True for a note; those of a row come first.

    Raises
    ------
    ValueError
        If an integer is no event.

    Examples
    --------
    >>> pitch, onset, duration, mask = event_notes([[576, 386, 576], [386]])
    >>> pitch.tolist(), onset.tolist(), mask.tolist()
    ([[60, 60], [0, 0]], [[0, 6], [0, 0]], [[True, True], [False, False]])
    """
    rows = as_sequences(events)
    pitches, durations = np.full(rows.tokens.shape, REST_EVENT), np.zeros(rows.tokens.shape, dtype=np.int64)
    pitches[rows.valid], durations[rows.valid] = event_parts(rows.tokens[rows.valid])
    onsets = np.cumsum(durations, axis=1) - durations
    sounding = pitches != REST_EVENT
    count = sounding.sum(axis=1)
    mask = np.arange(int(count.max(initial=0))) < count[:, None]
    found = []
    for values in (pitches, onsets, durations):
        packed = np.zeros(mask.shape, dtype=np.int64)
        packed[mask] = values[sounding]
        found.append(packed)
    return found[0], found[1], found[2], mask


def struck_steps(events: SequencesLike, steps: int) -> NDArray[np.bool_]:
    """In which grid steps a note begins.

    Parameters
    ----------
    events : Sequences, ndarray (B, K) or sequence of sequences of int
        Events as `event_codes` makes them.
    steps : int
        Width S of the grid; what lies beyond is cut off.

    Returns
    -------
    ndarray (B, S), bool

    Raises
    ------
    ValueError
        If an integer is no event, or `steps` is negative.

    Examples
    --------
    >>> struck_steps([[386, 576]], 5).tolist()
    [[False, False, True, False, False]]
    """
    if steps < 0:
        raise ValueError(f"a grid cannot have {steps} steps")
    _, onset, _, mask = event_notes(events)
    struck = np.zeros((len(mask), steps + 1), dtype=bool)
    rows = np.broadcast_to(np.arange(len(mask))[:, None], mask.shape)
    struck[rows[mask], np.minimum(onset[mask], steps)] = True  # what lies beyond goes to a column that is dropped
    return struck[:, :steps]


def events_to_steps(events: SequencesLike, steps: int) -> IntArray:
    """What sounds in each grid step.

    Parameters
    ----------
    events : Sequences, ndarray (B, K) or sequence of sequences of int
        Events as `event_codes` makes them.
    steps : int
        Width S of the grid; what lies beyond is cut off.

    Returns
    -------
    ndarray (B, S), int64
        MIDI numbers; `REST` for a rest, `OUTSIDE` after the last event.

    Raises
    ------
    ValueError
        If an integer is no event, or `steps` is negative.

    Examples
    --------
    >>> events_to_steps([[576, 386], [386]], 5).tolist()
    [[60, 60, 60, 60, -1], [-1, -1, -3, -3, -3]]
    """
    if steps < 0:
        raise ValueError(f"a grid cannot have {steps} steps")
    rows = as_sequences(events)
    pitches, durations = np.full(rows.tokens.shape, REST), np.zeros(rows.tokens.shape, dtype=np.int64)
    pitches[rows.valid], durations[rows.valid] = event_parts(rows.tokens[rows.valid])
    pitches[pitches == REST_EVENT] = REST
    # An event longer than the grid is cut before adding up: the sum of absurd durations would overflow.
    ends = np.minimum(np.cumsum(np.minimum(durations, steps), axis=1), steps)
    durations = np.diff(ends, axis=1, prepend=0)
    grid = np.full((len(rows), steps), OUTSIDE, dtype=np.int64)
    grid[np.arange(steps) < durations.sum(axis=1, keepdims=True)] = np.repeat(pitches.ravel(), durations.ravel())
    return grid


def _steps(quarters: NDArray[np.float64], steps_per_quarter: float) -> IntArray:
    return np.floor(quarters * steps_per_quarter + 0.5).astype(np.int64)


def _next(values: IntArray, none: int) -> IntArray:
    """The smallest of the values that follow each one in its row; `none` after the last."""
    smallest = np.minimum.accumulate(values[:, ::-1], axis=1)[:, ::-1]
    return np.concatenate([smallest[:, 1:], np.full((len(values), 1), none)], axis=1)[:, : values.shape[1]]
