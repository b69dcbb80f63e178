"""Melodies as a page holds them: chosen, packed as MIDI and MP3, and measured for a piano roll."""

from __future__ import annotations

import base64
import dataclasses
import io
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seqgan_music import midi, sound
from seqgan_music.errors import Failure
from seqgan_music.notes import Notes, Piece

if TYPE_CHECKING:
    from seqgan_music.run import Run

REAL = "real"
PITCH_CLASSES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")
LONGEST = 30.0  # seconds of a melody; a page holds many
COMPRESSION = 0.8  # 40 kilobits a second: what a telephone's loudspeaker can tell of a piano
_TAPS = np.sinc(np.arange(-15, 16) / 2) * np.hamming(31)
HALF_BAND = _TAPS / _TAPS.sum()
"""A filter that leaves the lower half of the frequencies, to be used before every other sample is dropped."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A melody on a page.

    Parameters
    ----------
    source : str
        ``"real"``, or a stage of the run.
    piece : Piece
        At most `LONGEST` seconds of it.
    cut : bool
        Whether it goes on.
    remark : str
        What a title does not say.
    sound : bytes
        MP3, or WAV where `soundfile` cannot write that.
    """

    source: str
    piece: Piece
    cut: bool
    remark: str
    sound: bytes

    @property
    def file_name(self) -> str:
        """For the MIDI file to download."""
        return f"{self.source}-{self.piece.title.replace(' ', '-').replace('/', '-')}.mid"

    @property
    def sound_address(self) -> str:
        """The sound itself, as an address."""
        kind = "wav" if self.sound.startswith(b"RIFF") else "mpeg"
        return f"data:audio/{kind};base64,{base64.b64encode(self.sound).decode()}"

    @property
    def midi_address(self) -> str:
        """The MIDI file itself, as an address."""
        return f"data:audio/midi;base64,{base64.b64encode(midi.encode(self.piece)).decode()}"


@dataclass(frozen=True, slots=True)
class Melody:
    """A piece that was chosen, before it is played."""

    source: str
    piece: Piece
    remark: str = ""


def real(run: Run, n: int, rng: np.random.Generator) -> list[Melody]:
    """Windows of the test tunes as the tokenizer reads them back, in random order, no tune twice before all were there.

    Parameters
    ----------
    run : Run
    n : int
        How many; fewer if the test part has fewer different ones.
    rng : numpy Generator
    """
    windows = run.dataset.test
    tune = windows.piece.tolist()
    numbers = list(dict.fromkeys(tune))  # in the order of the names, for windows are cut tune by tune
    names = run.facts["corpus"]["split"]["test"]
    known = dict(zip(numbers, names, strict=True)) if len(numbers) == len(names) else {}
    drawn: Counter[int] = Counter()
    ranked = []  # by how many windows of the same tune were drawn before
    for place, row in enumerate(rng.permutation(len(windows)).tolist()):
        ranked.append((drawn[tune[row]], place, row))
        drawn[tune[row]] += 1
    melodies: list[Melody] = []
    seen = set()
    for _, _, row in sorted(ranked):
        ids = (int(windows.start[row]), *windows.ids[row].tolist())
        if len(melodies) == n or ids in seen:  # what a repeat brings twice counts once
            continue
        seen.add(ids)
        piece = run.tokenizer.decode(ids)
        title = str(PurePosixPath(known.get(tune[row], f"tune {tune[row] + 1}")).with_suffix(""))
        of = [other for other, number in enumerate(tune) if number == tune[row]]
        remark = f"window {of.index(row) + 1} of {len(of)}"
        melodies.append(Melody(REAL, dataclasses.replace(piece, title=title), remark))
    return melodies


def generated(run: Run, stage: str, n: int, seed: int, device: str) -> list[Melody]:
    """New melodies of a stage."""
    return [Melody(stage, piece) for piece in run.generate(n, stage=stage, seed=seed, device=device)]


def play(melodies: Iterable[Melody], synthesizer: sound.Synthesizer) -> list[Excerpt]:
    """Melodies with their sound.

    Raises
    ------
    Failure
        There is nothing that packs sound.
    """

    def played(melody: Melody) -> Excerpt:
        piece, cut = _shortened(melody.piece)
        return Excerpt(melody.source, piece, cut, melody.remark, packed(synthesizer.play(piece)))

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # FluidSynth is a process of its own and uses one core
        return list(pool.map(played, melodies))


def packed(wave: NDArray[np.int16]) -> bytes:
    """Sound at the rate `sound.RATE` as MP3 of one channel and half that rate; as WAV, where there is no MP3.

    Parameters
    ----------
    wave : ndarray (samples,) or (samples, channels)

    Raises
    ------
    Failure
        The library for it is missing.
    """
    try:
        import soundfile
    except OSError as error:
        raise Failure(f"sound cannot be packed, for the library libsndfile is missing: {error}") from error
    mono = wave.reshape(len(wave), -1).mean(1) / (np.iinfo(np.int16).max + 1)
    halved = np.convolve(mono, HALF_BAND, "same")[::2]
    how: dict[str, Any] = {"format": "WAV"}
    if "MP3" in soundfile.available_formats():  # libsndfile writes it from 1.1 on
        how = {"format": "MP3", "bitrate_mode": "CONSTANT", "compression_level": COMPRESSION}
    stream = io.BytesIO()
    soundfile.write(stream, halved.astype(np.float32), sound.RATE // 2, **how)
    return stream.getvalue()


@dataclass(frozen=True, slots=True)
class Roll:
    """A piano roll, in quarter notes and semitones.

    Parameters
    ----------
    notes : list of (float, float, int, int)
        Onset, length, distance from the top, and number of the part.
    beats : float
        Width of the picture.
    height : int
        Of the picture, in semitones.
    seconds : float
        That the width takes.
    bars : list of float
        Where bar lines stand.
    octaves : list of int
        Lower edges of every C, from the top.
    words : str
        What it shows, for who does not see it.
    """

    notes: list[tuple[float, float, int, int]]
    beats: float
    height: int
    seconds: float
    bars: list[float]
    octaves: list[int]
    words: str


def roll(piece: Piece, low: int, high: int) -> Roll:
    """A piano roll from `low` to `high`, the same for all that stand beside each other."""
    bar = piece.ticks_per_bar / piece.resolution
    beats = max(bar, piece.end / piece.resolution)
    notes = [
        # A gap, so that repeated notes are seen apart.
        (
            note.onset / piece.resolution,
            max(note.duration / piece.resolution - 0.06, 0.06),
            high - note.pitch,
            note.part,
        )
        for note in piece.notes
        if note.duration
    ]
    if notes:
        pitch = piece.notes.pitch
        words = f"{len(notes)} notes from {pitch_name(int(pitch.min()))} to {pitch_name(int(pitch.max()))}"
    else:
        words = "no notes"
    bars = [bar * number for number in range(1, round(beats / bar + 0.5)) if bar * number < beats]
    octaves = [high - pitch + 1 for pitch in range(low, high + 1) if pitch % 12 == 0]
    return Roll(notes, beats, high - low + 1, beats * 60 / piece.tempo, bars, octaves, words)


def compass(pieces: Sequence[Piece]) -> tuple[int, int]:
    """The lowest and the highest pitch of several pieces; middle C where nothing sounds."""
    pitches = np.concatenate([piece.notes.pitch for piece in pieces] or [np.zeros(0, int)])
    return (int(pitches.min()), int(pitches.max())) if len(pitches) else (60, 60)


def pitch_name(pitch: int) -> str:
    """Such as C4 for 60.

    Examples
    --------
    >>> pitch_name(60), pitch_name(70)
    ('C4', 'B♭4')
    """
    return f"{PITCH_CLASSES[pitch % 12]}{pitch // 12 - 1}"


def _shortened(piece: Piece) -> tuple[Piece, bool]:
    """What sounds in the first `LONGEST` seconds, and whether there is more."""
    last = round(LONGEST * piece.tempo / 60 * piece.resolution)
    if piece.end <= last:
        return piece, False
    table = piece.notes.table[piece.notes.onset < last]
    table[:, 1] = np.minimum(table[:, 1], last - table[:, 0])
    return dataclasses.replace(piece, notes=Notes.from_table(table)), True
