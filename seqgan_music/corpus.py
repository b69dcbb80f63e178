"""A folder of MIDI files as pieces, with a reason for every file that cannot be used, split by piece."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from seqgan_music import midi
from seqgan_music.errors import PieceRefused, UsageError
from seqgan_music.notes import Piece

SUFFIXES = frozenset({".mid", ".midi"})
PARTS = ("train", "validation", "test")

_WORTH_A_PROCESS = 200  # files; fewer are read before a second process has started

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file or tune that cannot be used.

    Parameters
    ----------
    path : str
        Relative to the root of the corpus.
    reason : str
        A short reason that many files can share.
    detail : str
        What was found in this one.
    """

    path: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Corpus:
    """Pieces, where they come from, and what was left out.

    Parameters
    ----------
    pieces : tuple of Piece
        In the order of `names`.
    names : tuple of str
        Paths of the files used, relative to `root`, with ``/`` between folders.
    refusals : tuple of Refusal
        Everything else that was found.
    root : str
        The folder, or the folder of the one file.
    digest : str
        SHA-256 over the names and contents of the files used: equal digests are equal corpora.
    """

    pieces: tuple[Piece, ...]
    names: tuple[str, ...]
    refusals: tuple[Refusal, ...]
    root: str
    digest: str

    def __len__(self) -> int:
        return len(self.pieces)


def read_corpus(path: str | os.PathLike[str], *, processes: int = 1, duplicates: bool = False) -> Corpus:
    """Read a folder of MIDI files, and the folders within it, or a single file.

    A file that cannot be used never stops the others. Of files with the same notes and metre only the first is used:
    the second would let a tune be trained on and tested with.

    Parameters
    ----------
    path : path-like
        A folder or a ``.mid`` or ``.midi`` file. Hidden files are passed over.
    processes : int
        How many processes share the reading of many files; 0 takes one per core. A script that asks for more than one
        needs the usual ``if __name__ == "__main__":``.
    duplicates : bool
        Keep files with the same notes: for what is measured, not trained on.

    Raises
    ------
    UsageError
        `path` is missing or no MIDI file, or nothing in it can be used.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError(f"no such file or folder: {path}")
    if path.is_dir():
        root, names = path, sorted(_midi_files(path))
        if not names:
            raise UsageError(f"no .mid or .midi files in {path}")
    elif path.suffix.lower() in SUFFIXES:
        root, names = path.parent, [path.name]
    else:
        raise UsageError(f"{path} is neither a folder nor a .mid or .midi file")

    pieces: dict[str, Piece] = {}
    contents: dict[str, str] = {}
    refusals: list[Refusal] = []
    first_of: dict[object, str] = {}
    files = [str(root / name) for name in names]
    for name, (outcome, content) in zip(names, in_processes(_read_one, files, processes), strict=True):
        if isinstance(outcome, PieceRefused):
            refusals.append(Refusal(_printable(name), outcome.reason, outcome.detail))
        elif (first := first_of.setdefault(tune(outcome), name)) != name and not duplicates:
            refusals.append(Refusal(_printable(name), "duplicate", f"same notes as {_printable(first)}"))
        else:
            pieces[_printable(name)] = outcome
            contents[_printable(name)] = content
    corpus = Corpus(tuple(pieces.values()), tuple(pieces), tuple(refusals), str(root), _digest(contents))
    if not pieces:
        raise UsageError(f"nothing in {path} can be used:\n  {summary(corpus.refusals, separator=chr(10) + '  ')}")
    return corpus


def split(
    pieces: Corpus | Sequence[int], fractions: Sequence[float] = (0.8, 0.1, 0.1), seed: int = 0
) -> dict[str, tuple[int, ...]]:
    """Deal pieces out to training, validation and test.

    Parameters
    ----------
    pieces : Corpus or sequence of int
        A corpus, or the numbers of those of its pieces that are to be dealt out; three or more.
    fractions : sequence of float
        Share of the pieces for each part; every part gets at least one.
    seed : int
        The same seed deals the same pieces out in the same way.

    Returns
    -------
    dict of str to tuple of int
        ``train``, ``validation`` and ``test``: ascending indices into the corpus's `pieces`.

    Raises
    ------
    UsageError
        Too few pieces, or fractions that are not three positive numbers with the sum 1.
    """
    if len(fractions) != len(PARTS) or not all(share > 0 for share in fractions) or abs(sum(fractions) - 1) > 1e-6:
        raise UsageError(
            f"fractions {tuple(fractions)} cannot be meant: "
            f"{', '.join(PARTS)} each need a positive share, and together they make 1"
        )
    order = list(range(len(pieces))) if isinstance(pieces, Corpus) else list(pieces)
    count = len(order)
    if count < len(PARTS):
        raise UsageError(
            f"only {count} usable piece{'s' if count != 1 else ''}, but {', '.join(PARTS)} need at least one each; "
            f"add more files"
        )
    random.Random(seed).shuffle(order)
    validation = max(1, round(count * fractions[1]))
    test = max(1, round(count * fractions[2]))
    while validation + test > count - 1:  # only in the smallest corpora: leave one to train on
        if validation >= test:
            validation -= 1
        else:
            test -= 1
    ends = (count - validation - test, count - test, count)
    starts = (0, *ends[:-1])
    return {part: tuple(sorted(order[start:end])) for part, start, end in zip(PARTS, starts, ends, strict=True)}


def refusals_by_reason(source: Corpus) -> dict[str, int]:
    """How many files or tunes were refused for each reason, the most frequent first."""
    counts = Counter(refusal.reason for refusal in source.refusals)
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))


def summary(refusals: Iterable[Refusal], separator: str = "; ") -> str:
    """Every reason with how often it was given and one example, the most frequent first."""
    examples: dict[str, list[Refusal]] = {}
    for refusal in refusals:
        examples.setdefault(refusal.reason, []).append(refusal)
    ordered = sorted(examples.values(), key=lambda same: (-len(same), same[0].reason))
    return separator.join(
        f"{len(same)} × {same[0].reason}, such as {same[0].path}" + (f" ({same[0].detail})" if same[0].detail else "")
        for same in ordered
    )


def _midi_files(root: Path) -> Iterator[str]:
    """Files by suffix, as paths relative to `root`; links to folders are followed once each."""
    visited: set[tuple[int, int]] = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in visited:
            subfolders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield (Path(folder) / name).relative_to(root).as_posix()


def _read_one(file: str) -> tuple[Piece | PieceRefused, str]:
    """A file's piece and the SHA-256 of its content."""
    try:
        piece = midi.read(file)
        return piece, hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except PieceRefused as refusal:
        return refusal, ""
    except OSError as error:
        return PieceRefused("unreadable", error.strerror or str(error)), ""


def _digest(contents: dict[str, str]) -> str:
    total = hashlib.sha256()
    for name, content in sorted(contents.items()):
        total.update(f"{name}\0{content}\n".encode())
    return total.hexdigest()


def tune(piece: Piece) -> object:
    """Equal for pieces with the same notes and metre."""
    return piece.notes.tobytes(), piece.resolution, piece.metre


def _printable(name: str) -> str:
    """A path whose bytes are not UTF-8 could be neither printed nor saved."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def in_processes(function: Callable[[_Item], _Result], items: Sequence[_Item], processes: int) -> Iterator[_Result]:
    """Results in the order of the items, from several processes where it pays."""
    if processes < 0:
        raise UsageError(f"processes is {processes}; it is 0 for one per core, or a number of processes")
    count = min(processes or os.cpu_count() or 1, len(items) // _WORTH_A_PROCESS + 1)
    if count == 1:
        yield from map(function, items)
        return
    # A fork of a process in which torch has started threads may lock up, so workers start anew.
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(function, items, chunksize=16)
