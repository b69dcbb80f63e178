"""A folder of MIDI files as pieces, with a reason for every file that cannot be used, split by piece."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from seqgan_music import melody, midi, midi_events, notes
from seqgan_music.cache import Cache, digest, source_digest
from seqgan_music.errors import PieceRefused, UsageError
from seqgan_music.melody import Account
from seqgan_music.midi import Reading
from seqgan_music.notes import Notes, Part, Piece
from seqgan_music.processes import Lost, in_processes

SUFFIXES = frozenset({".mid", ".midi", ".kar"})
PARTS = ("train", "validation", "test")

_GRACE = 5.0  # seconds beyond the limit that a process may take before it is ended
_SAVED_TOGETHER = 512  # in the cache

Progress = Callable[[int, int], None]
"""Told how many of how many files are done."""


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
    accounts : tuple of Account
        How each piece was had from its file.
    root : str
        The folder, or the folder of the one file.
    digest : str
        SHA-256 over the names and contents of the files used: equal digests are equal corpora.
    reading : Reading
        How the files were read.
    every_part : bool
        Whether pieces have all their parts, or a melody each.
    """

    pieces: tuple[Piece, ...]
    names: tuple[str, ...]
    refusals: tuple[Refusal, ...]
    accounts: tuple[Account, ...]
    root: str
    digest: str
    reading: Reading
    every_part: bool = False

    def __len__(self) -> int:
        return len(self.pieces)


def read_corpus(
    path: str | os.PathLike[str],
    *,
    processes: int = 1,
    duplicates: bool = False,
    reading: Reading | None = None,
    every_part: bool = False,
    cache: Cache | None = None,
    progress: Progress | None = None,
) -> Corpus:
    """Read a folder of MIDI files, and the folders within it, or a single file.

    A file that cannot be used never stops the others. Of files with the same notes and metre only the first is used:
    the second would let a tune be trained on and tested with.

    Parameters
    ----------
    path : path-like
        A folder or a ``.mid``, ``.midi`` or ``.kar`` file. Hidden files are passed over.
    processes : int
        How many processes share the reading of many files; 0 takes one per core. A script that asks for more than one
        needs the usual ``if __name__ == "__main__":``.
    duplicates : bool
        Keep files with the same notes: for what is measured, not trained on.
    reading : Reading, optional
        Which notes of a file are its melody, and limits.
    every_part : bool
        Keep all parts, drums too, in place of the melody alone.
    cache : Cache, optional
        Where files that were read before are found again by their content.
    progress : callable, optional
        Told how many of how many files are done.

    Raises
    ------
    UsageError
        `path` is missing or no MIDI file, or nothing in it can be used.
    """
    path, reading = Path(path), reading or Reading()
    try:
        if not path.exists():
            raise UsageError(f"no such file or folder: {path}")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    refusals: list[Refusal] = []
    if path.is_dir():
        root, names = path, sorted(_midi_files(path, refusals))
        if not names:
            why = f": {summary(refusals)}" if refusals else ""
            raise UsageError(f"no {', '.join(sorted(SUFFIXES))} files in {path}{why}")
    elif path.suffix.lower() in SUFFIXES:
        root, names = path.parent, [path.name]
    else:
        raise UsageError(f"{path} is neither a folder nor a file whose name ends in {', '.join(sorted(SUFFIXES))}")

    pieces: dict[str, tuple[Piece, Account]] = {}
    contents: dict[str, str] = {}
    first_of: dict[bytes, str] = {}
    reader = _Reader(reading, every_part)
    for done, (name, packed, content) in enumerate(_read(root, names, reader, processes, cache), start=1):
        printed = _printable(name)
        outcome = _unpacked(packed)
        if isinstance(outcome, PieceRefused):
            refusals.append(Refusal(printed, outcome.reason, outcome.detail))
        elif (first := first_of.setdefault(tune(outcome[0]), printed)) != printed and not duplicates:
            refusals.append(Refusal(printed, "duplicate", f"same notes as {first}"))
        else:
            pieces[printed] = midi.titled(outcome[0], midi_events.one_line(Path(name).stem)), outcome[1]
            contents[printed] = content
        if progress:
            progress(done, len(names))
    corpus = Corpus(
        pieces=tuple(piece for piece, _ in pieces.values()),
        names=tuple(pieces),
        refusals=tuple(refusals),
        accounts=tuple(account for _, account in pieces.values()),
        root=str(root),
        digest=_digest(contents),
        reading=reading,
        every_part=every_part,
    )
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
            f"only {count} usable piece{'s' if count != 1 else ''}, but {', '.join(PARTS)} need at least one each: "
            "add more files; to go on from a single melody, see seqgan-music generate --prime"
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


def _midi_files(root: Path, refusals: list[Refusal]) -> Iterator[str]:
    """Files by suffix, as paths relative to `root`; links to folders are followed once each."""
    visited: set[tuple[int, int]] = set()

    def refuse(error: OSError) -> None:
        folder = Path(error.filename).relative_to(root).as_posix()
        refusals.append(Refusal(_printable(folder), "unreadable", f"a folder: {error.strerror}"))

    for folder, subfolders, files in os.walk(root, onerror=refuse, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in visited:
            subfolders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield (Path(folder) / name).relative_to(root).as_posix()


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads a file; what is read goes from process to process and into the cache as bytes."""

    reading: Reading
    every_part: bool

    def digest(self) -> bytes:
        """Of all that the reading of a file depends on but its content."""
        options = json.dumps([asdict(self.reading), self.every_part])
        return digest(source_digest((midi_events, melody, midi, notes)), options)

    def __call__(self, file: str) -> tuple[bytes, str]:
        """The file's piece or refusal, packed, and the SHA-256 of its content, empty if that does not decide it."""
        sha = ""
        try:
            content = midi.content_of(file, self.reading)
            sha = hashlib.sha256(content).hexdigest()
            piece, account = midi.interpret(content, self.reading, every_part=self.every_part)
        except PieceRefused as refusal:
            return _packed_refusal(refusal), "" if refusal.reason == midi_events.TOO_SLOW else sha
        about = {
            "resolution": piece.resolution,
            "tempo": piece.tempo,
            "metre": piece.metre,
            "title": piece.title,
            "key": piece.key,
            "parts": [(part.program, part.drums, part.name) for part in piece.parts],
            "account": (account.chosen, account.why, account.left_out),
        }
        return json.dumps(about).encode() + b"\n" + piece.notes.tobytes(), sha


def _packed_refusal(refusal: PieceRefused) -> bytes:
    return json.dumps({"refused": (refusal.reason, refusal.detail)}).encode() + b"\n"


def _unpacked(packed: bytes) -> tuple[Piece, Account] | PieceRefused:
    head, _, table = packed.partition(b"\n")
    about = json.loads(head)
    if "refused" in about:
        return PieceRefused(*about["refused"])
    chosen, why, left_out = about.pop("account")
    about["metre"] = tuple(about["metre"])
    about["parts"] = tuple(Part(*part) for part in about["parts"])
    piece = Piece(Notes.from_table(np.frombuffer(table, dtype=np.int32)), **about)
    return piece, Account(chosen, why, tuple(left_out))


def _read(
    root: Path, names: Sequence[str], reader: _Reader, processes: int, cache: Cache | None
) -> Iterator[tuple[str, bytes, str]]:
    """Every file's name, packed outcome and SHA-256, in their order; from the cache where it has them."""
    keys = _keys(root, names, reader) if cache else {}
    missing = [name for name in names if cache is None or name not in keys or cache.get(keys[name][0]) is None]
    results = in_processes(reader, [str(root / name) for name in missing], processes, seconds=_limit(reader))
    fresh = dict.fromkeys(missing)
    unsaved: dict[bytes, bytes] = {}
    try:
        for name in names:
            if name not in fresh:
                assert cache is not None
                key, sha = keys[name]
                if packed := cache.get(key):
                    yield name, packed, sha
                    continue
                result: tuple[bytes, str] | Lost = reader(str(root / name))  # someone emptied the cache meanwhile
            else:
                result = next(results)
            if isinstance(result, Lost):
                result = _packed_refusal(PieceRefused("cannot be read", f"reading it {result.why}")), ""
            packed, sha = result
            if cache and name in keys and sha == keys[name][1]:
                unsaved[keys[name][0]] = packed
                if len(unsaved) >= _SAVED_TOGETHER:
                    cache.put(unsaved)
                    unsaved.clear()
            yield name, packed, sha
    finally:
        results.close()
        if cache:
            cache.put(unsaved)


def _limit(reader: _Reader) -> float:
    """Seconds after which a process is ended that should have given the file up itself."""
    return reader.reading.max_seconds + _GRACE


def _keys(root: Path, names: Sequence[str], reader: _Reader) -> dict[str, tuple[bytes, str]]:
    """Key in the cache and SHA-256 of every file that can be read."""
    prefix = reader.digest()
    keys = {}
    for name in names:
        try:
            sha = hashlib.sha256(midi.content_of(root / name, reader.reading)).hexdigest()
        except PieceRefused:
            continue
        keys[name] = digest(prefix, sha), sha
    return keys


def _digest(contents: dict[str, str]) -> str:
    total = hashlib.sha256()
    for name, content in sorted(contents.items()):
        total.update(f"{name}\0{content}\n".encode())
    return total.hexdigest()


def tune(piece: Piece) -> bytes:
    """Equal for pieces with the same notes and metre."""
    return digest(piece.notes.tobytes(), f"{piece.resolution} {piece.metre}")


def _printable(name: str) -> str:
    """A path whose bytes are not UTF-8 could be neither printed nor saved."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
