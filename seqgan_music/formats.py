"""Pieces and sequences of tokens as files: the formats, and a folder of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from seqgan_music import midi, report, sound, token_file
from seqgan_music.errors import Failure, UsageError
from seqgan_music.files import make_folder, write_whole
from seqgan_music.notes import Piece
from seqgan_music.token_file import Sequences

Writer = Callable[[Piece, Path], None]
FORMATS = ("mid", "wav", "png", "musicxml")
"""MIDI, sound, piano roll and score: each is the ending of its files."""
OF_TOKENS = ("txt", "npz")
"""Of sequences that are no music: lines of text, and the array ``tokens``; `token_file` says how, and reads both."""
SAMPLES = "samples"
"""The name, without its ending, of a file of sequences."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a folder holds after something was written into it.

    Parameters
    ----------
    files : tuple of Path
        Those that were written.
    others : int
        Files that were in the folder before and still are.
    """

    files: tuple[Path, ...]
    others: int


def check(formats: Sequence[str], *, musical: bool = True) -> tuple[str, ...]:
    """Formats in their order, each once.

    Parameters
    ----------
    formats : sequence of str
    musical : bool
        Whether they are for pieces, or else for sequences that are no music.

    Raises
    ------
    UsageError
        None, or one that there is not.
    """
    known, others, what = (FORMATS, OF_TOKENS, "music") if musical else (OF_TOKENS, FORMATS, "sequences of tokens")
    unknown = [name for name in formats if name not in known]
    if unknown and unknown[0] in others:
        raise UsageError(f"format {unknown[0]!r} is not for {what}; there are: {', '.join(known)}")
    if unknown or not formats:
        said = f"unknown format {unknown[0]!r}" if unknown else "no format"
        raise UsageError(f"{said}; there are: {', '.join(known)}")
    return tuple(name for name in known if name in formats)


def write_all(
    pieces: Iterable[Piece],
    folder: str | Path,
    formats: Sequence[str] = ("mid",),
    *,
    synthesizer: sound.Synthesizer | None = None,
) -> Written:
    """Write pieces into a folder, which is made if it is missing.

    The files of a piece are named by its title, and each is written whole or not at all. Files of other names that are
    in the folder stay.

    Parameters
    ----------
    pieces : iterable of Piece
    folder : str or Path
    formats : sequence of str
        Of `FORMATS`.
    synthesizer : Synthesizer, optional
        Plays them for ``"wav"``.

    Raises
    ------
    UsageError
        An unknown format, or a piece with a value that a format cannot express.
    Failure
        A file or the folder cannot be written.
    """
    formats = check(formats)
    folder = Path(folder)
    if "wav" in formats:
        synthesizer = synthesizer or sound.Synthesizer()
    make_folder(folder)
    written = []
    for piece in pieces:
        for name in formats:
            path = folder / f"{piece.title.replace(' ', '-')}.{name}"
            _writer(name, synthesizer)(piece, path)
            written.append(path)
    return Written(tuple(written), _others(folder, written))


def write_sequences(sequences: Sequences, folder: str | Path, formats: Sequence[str] = ("txt",)) -> Written:
    """Write sequences that are no music into a folder, all into one file of each format, ``samples.txt`` and so on.

    Parameters
    ----------
    sequences : sequence of sequences of int or of str
    folder : str or Path
        Made if it is missing.
    formats : sequence of str
        Of `OF_TOKENS`.

    Raises
    ------
    UsageError
        An unknown format.
    Failure
        A file or the folder cannot be written.
    """
    formats = check(formats, musical=False)
    folder = Path(folder)
    make_folder(folder)
    content = {"txt": lambda: token_file.text_of(sequences).encode(), "npz": lambda: token_file.npz_of(sequences)}
    written = [folder / f"{SAMPLES}.{name}" for name in formats]
    for path, name in zip(written, formats, strict=True):
        write_whole(path, content[name]())
    return Written(tuple(written), _others(folder, written))


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be made or written to, without making it.

    Raises
    ------
    Failure
    """
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise Failure(f"cannot make the folder {folder}: {there} is no folder that can be written to")


def _writer(name: str, synthesizer: sound.Synthesizer | None) -> Writer:
    if name == "wav":
        assert synthesizer is not None
        return synthesizer.write
    if name == "png":
        return _write_piano_roll
    if name == "musicxml":
        from seqgan_music import scores  # loads music21 only when it writes

        return scores.write_musicxml
    return midi.write


def _write_piano_roll(piece: Piece, path: Path) -> None:
    report.piano_rolls([piece], path, columns=1)


def _others(folder: Path, written: Sequence[Path]) -> int:
    ours = {path.name for path in written}
    try:
        return sum(file.is_file() and file.name not in ours and file.name[0] != "." for file in folder.iterdir())
    except OSError:
        return 0
