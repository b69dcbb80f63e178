"""A piece as sound: by the program FluidSynth and a soundfont where they are to be had, else by sine waves."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tempfile
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqgan_music import files, midi
from seqgan_music.errors import UsageError
from seqgan_music.notes import Piece

RATE = 44_100
LOUDNESS = 10 ** (-20 / 20)  # root mean square over the whole piece, full scale being 1
CEILING = 10 ** (-1 / 20)  # no sample is larger
TAIL = 1e-3  # of the largest sample: what comes after the last louder one, and after the piece, is cut off
INAUDIBLE = 1e-7  # FluidSynth's silence is not quite 0
LONGEST = 20 * 60.0  # seconds of sound, which take three gigabytes to make
PATIENCE = 60.0  # seconds, beside those of the piece
VARIABLE = "SOUNDFONT"
_FILTERS = threading.Lock()  # filters of warnings belong to the process, and melodies are rendered by several threads
FOLDERS = (
    "~/.local/share/soundfonts",
    "/usr/share/sounds/sf2",
    "/usr/share/soundfonts",
    "/usr/local/share/soundfonts",
    "/opt/homebrew/share/soundfonts",
    "/usr/share/sounds/sf3",
)


class Synthesizer:
    """Makes sound of pieces, all by the same means unless FluidSynth fails on the way.

    Parameters
    ----------
    soundfont : str or Path, optional
        For FluidSynth; see `find_soundfont`, if left out.

    Attributes
    ----------
    soundfont : Path
    complaint : str
        Why it is not, or no longer, FluidSynth that plays; empty while it is.

    Raises
    ------
    UsageError
        The file is no soundfont.
    """

    def __init__(self, soundfont: str | Path | None = None) -> None:
        self.soundfont = find_soundfont() if soundfont is None else _checked(Path(soundfont), "soundfont")
        self._program = shutil.which("fluidsynth")
        self.complaint = "" if self._program else "the program fluidsynth is not installed"

    def __str__(self) -> str:
        if self.complaint:
            return f"sine waves by pretty_midi, as {self.complaint}"
        return f"FluidSynth with {self.soundfont}"

    def play(self, piece: Piece) -> NDArray[np.int16]:
        """The sound of a piece, at an even loudness and never clipped.

        Returns
        -------
        ndarray (samples,) or (samples, 2)
            At `RATE`, at least as long as the piece and as a bar; silent for a piece in which nothing sounds.
        """
        if _seconds(piece) > LONGEST:
            raise UsageError(
                f"{piece.title or 'the piece'} would sound for {_seconds(piece) / 60:.0f} minutes, longer than the "
                f"{LONGEST / 60:.0f} that are written: ask for fewer bars or a faster tempo, or leave wav out"
            )
        samples: NDArray[Any] = np.zeros(0)
        if (piece.notes.duration > 0).any():
            if self._program and not self.complaint:
                try:
                    samples = _fluidsynth(self._program, piece, self.soundfont)
                except _FluidSynthFailed as failed:
                    self.complaint = f"FluidSynth failed at {piece.title or 'a piece'} ({failed})"
            if self.complaint:
                samples = midi.synthesize(piece, RATE)
        length = round(RATE * _seconds(piece))
        if not samples.any():
            return np.zeros(length, np.int16)
        sounding = np.flatnonzero(np.abs(samples) > TAIL * np.abs(samples).max()) // samples[0].size
        return _levelled(samples[: max(length, sounding[-1] + 1)])

    def write(self, piece: Piece, path: str | Path) -> None:
        """Write the sound of a piece as a WAV file of 16 bits.

        Raises
        ------
        UsageError
            The piece holds a value that MIDI cannot express.
        Failure
            The file cannot be written.
        """
        from scipy.io import wavfile

        stream = io.BytesIO()
        wavfile.write(stream, RATE, self.play(piece))
        files.write_whole(path, stream.getvalue())


def find_soundfont() -> Path:
    """The soundfont that the variable SOUNDFONT names; else one of the system's; else the small one of pretty_midi.

    Raises
    ------
    UsageError
        The variable names no soundfont.
    """
    if named := os.environ.get(VARIABLE):
        return _checked(Path(named), f"{VARIABLE} =")
    for folder in FOLDERS:
        found = [file for file in Path(folder).expanduser().glob("*.sf[23]") if _is_soundfont(file)]
        if found:
            return min(found, key=lambda file: (not file.name.startswith("default"), file.name))
    return midi.soundfont()


class _FluidSynthFailed(Exception):
    pass


def _fluidsynth(program: str, piece: Piece, soundfont: Path) -> NDArray[np.float32]:
    """What FluidSynth plays (samples, 2), with some seconds in which the last note dies away."""
    with tempfile.TemporaryDirectory() as folder:
        tune, wave = Path(folder, "piece.mid"), Path(folder, "piece.wav")
        midi.write(piece, tune)
        form = ["-T", "wav", "-O", "float", "-r", str(RATE)]
        try:
            done = subprocess.run(
                [program, "-niq", *form, "-F", str(wave), str(soundfont.absolute()), str(tune)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                errors="replace",
                timeout=PATIENCE + _seconds(piece),
            )
        except subprocess.TimeoutExpired as late:
            raise _FluidSynthFailed(f"no end after {late.timeout:.0f} seconds") from late
        except OSError as error:
            raise _FluidSynthFailed(error.strerror or str(error)) from error
        complaint = next((line for line in done.stderr.splitlines() if "error" in line), "")
        if done.returncode:
            raise _FluidSynthFailed(complaint or f"exit code {done.returncode}")
        samples = _samples(wave)
    if not np.abs(samples).max(initial=0.0) > INAUDIBLE:  # it ends well without a soundfont, too
        raise _FluidSynthFailed(complaint or "it gave silence")
    return samples


def _samples(wave: Path) -> NDArray[np.float32]:
    """Samples (samples, 2) of the file that FluidSynth wrote."""
    from scipy.io import wavfile

    try:
        with _FILTERS, warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # the file says its largest sample, too
            rate, samples = wavfile.read(wave)
    except (OSError, ValueError) as error:
        raise _FluidSynthFailed(f"no sound: {getattr(error, 'strerror', None) or error}") from error
    if rate != RATE or samples.dtype != np.float32 or samples.ndim != 2 or not np.isfinite(samples).all():
        raise _FluidSynthFailed("its sound cannot be read")
    found: NDArray[np.float32] = samples
    return found


def _levelled(samples: NDArray[Any]) -> NDArray[np.int16]:
    """Samples, not all 0, scaled to `LOUDNESS`, or as near to it as `CEILING` allows."""
    loudness = np.sqrt(np.square(samples, dtype=np.float64).mean())
    scale = min(LOUDNESS / loudness, CEILING / np.abs(samples).max())
    level: NDArray[np.int16] = np.round(samples * (scale * np.iinfo(np.int16).max)).astype(np.int16)
    return level


def _seconds(piece: Piece) -> float:
    """To the end of the last note, at least one bar."""
    return max(piece.ticks_per_bar, piece.end) / piece.resolution * 60 / piece.tempo


def _checked(file: Path, named_by: str) -> Path:
    """A soundfont.

    Raises
    ------
    UsageError
        It is none.
    """
    if not file.is_file():
        raise UsageError(f"{named_by} {file} is no file; name a .sf2 file")
    if not _is_soundfont(file):
        raise UsageError(f"{named_by} {file} is not a soundfont that can be read; name a .sf2 file")
    return file


def _is_soundfont(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            head = stream.read(12)
    except OSError:
        return False
    return head[:4] == b"RIFF" and head[8:] == b"sfbk"
