"""Sequences of tokens from a file, music or not: integers or words, trained on as they are.

Text has one sequence a line, its tokens separated by white space. An ``.npz`` has the array ``tokens`` (N, T) of
integers; rows that are shorter are filled up with −1 at their end, and where the array ``words`` is there too, a token
is the number of a word in it.
"""

from __future__ import annotations

import hashlib
import io
import operator
import os
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seqgan_music.errors import UsageError

KEY, WORDS = "tokens", "words"
NONE = -1  # fills a row up behind its last token
FEWEST, SHORTEST = 3, 2  # sequences; tokens of the longest of them
LONGEST = 10_000  # tokens of a sequence: beyond that a file has no lines, or is none of sequences
MOST = 2**28  # tokens of all sequences, each as long as the longest: two gigabytes
Sequences = Sequence[Sequence[int]] | Sequence[Sequence[str]]
_INTEGER = re.compile(r"-?[0-9]+")


@dataclass(frozen=True, slots=True, eq=False)
class TokenFile:
    """Sequences of tokens.

    Parameters
    ----------
    tokens : ndarray (N, T), int64
        A sequence in each row, filled up with −1 behind its last token.
    path : str
        The file they come from.
    digest : str
        SHA-256 of the rows and their shape, and of the words: equal digests are equal sequences.
    words : tuple of str
        What the tokens are numbers of; empty where they are integers themselves.
    numbers : tuple of int
        Where in the file each sequence stands, counted from 1; empty where none was skipped.
    unit : str
        What of the file a sequence is.
    """

    tokens: np.ndarray
    path: str
    digest: str
    words: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()
    unit: str = "row"

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def length(self) -> int:
        """T, the tokens of the longest sequence."""
        return int(self.tokens.shape[1])

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of every sequence (N,)."""
        found: np.ndarray = (self.tokens != NONE).sum(1)
        return found

    @property
    def names(self) -> list[str]:
        """What the sequences are called: ``row 1``, or ``line 1`` of a text."""
        return [f"{self.unit} {number}" for number in self.numbers or range(1, len(self) + 1)]


def from_sequences(sequences: Sequences, path: str = "the list of sequences") -> TokenFile:
    """Sequences of integers, or of words, as if read from a file.

    Parameters
    ----------
    sequences : sequence of sequences of int or of str
    path : str
        Where they come from, for messages.

    Raises
    ------
    UsageError
        Integers below 0, or beside words; what is neither; words that are empty or have white space.
    """
    rows: Sequence[Sequence[Any]] = sequences
    vocabulary = sorted({token for sequence in rows for token in sequence if isinstance(token, str)})
    number: dict[Any, int] = {word: place for place, word in enumerate(vocabulary)}
    tokens = np.full((len(rows), max(map(len, rows), default=0)), NONE, dtype=np.int64)
    for place, (row, sequence) in enumerate(zip(tokens, rows, strict=True), 1):
        try:
            row[: len(sequence)] = [number[token] if vocabulary else operator.index(token) for token in sequence]
            wrong = bool((row[: len(sequence)] < 0).any())
        except (LookupError, TypeError, OverflowError):
            wrong = True
        if wrong:
            raise UsageError(f"{path}: row {place} must have integers from 0 upwards, or words, but not both")
    return _made(tokens, path, tuple(vocabulary))


def text_of(sequences: Sequences) -> str:
    """Sequences as lines of text."""
    return "".join(" ".join(map(str, sequence)) + "\n" for sequence in sequences)


def npz_of(sequences: Sequences) -> bytes:
    """Sequences as the content of an ``.npz``."""
    made = from_sequences(sequences)
    stream = io.BytesIO()
    if made.words:
        np.savez_compressed(stream, tokens=made.tokens, words=np.array(made.words))
    else:
        np.savez_compressed(stream, tokens=made.tokens)
    return stream.getvalue()


def read_tokens(path: str | os.PathLike[str]) -> TokenFile:
    """Read an ``.npz``, or a text in UTF-8, as the module's description says what they hold.

    A text is one of integers if every token of it is a number, else one of words. Empty lines and rows are skipped.

    Parameters
    ----------
    path : path-like

    Raises
    ------
    UsageError
        No such file, or not what is described there.
    """
    path = Path(path)
    try:
        with open(path, "rb") as stream:
            found = _from_npz(path) if zipfile.is_zipfile(stream) else _from_text(path)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    if len(found) < FEWEST or found.length < SHORTEST:
        raise UsageError(
            f"{path} has {len(found)} {found.unit}s of {found.length} tokens; {FEWEST} {found.unit}s of {SHORTEST} "
            f"are the least{', with white space between tokens' if found.unit == 'line' else ''}"
        )
    return found


def _from_npz(path: Path) -> TokenFile:
    words: tuple[str, ...] = ()
    with _Archive(path) as archive:
        tokens = archive.array(KEY)
        if tokens.dtype.kind not in "iu" or tokens.ndim != 2:
            raise UsageError(
                f"the array {KEY!r} of {path} must be a table of integers, a sequence in each row; it has shape "
                f"{tokens.shape} and type {tokens.dtype}"
            )
        if WORDS in archive.names:
            of_words = archive.array(WORDS)
            if of_words.dtype.kind != "U" or of_words.ndim != 1:
                raise UsageError(f"the array {WORDS!r} of {path} must be a list of words")
            words = tuple(map(str, of_words))
            if twice := [word for word, times in Counter(words).items() if times > 1]:
                raise UsageError(f"the array {WORDS!r} of {path} has {twice[0]!r} twice; a word has one number")
    if tokens.size and (int(tokens.min()) < NONE or int(tokens.max()) >= 2**31):
        raise UsageError(
            f"{path} has tokens from {tokens.min()} to {tokens.max()}; they are numbers from 0 upwards"
            f" ({NONE} fills a row up)"
        )
    tokens = np.ascontiguousarray(tokens, dtype=np.int64)
    lengths = (tokens != NONE).sum(1)
    holes = np.flatnonzero((tokens == NONE) != (np.arange(tokens.shape[1]) >= lengths[:, None])).tolist()
    if holes:
        row = holes[0] // tokens.shape[1] + 1
        raise UsageError(
            f"{path} has {NONE} within row {row}; it only fills a row up, and tokens are numbers from 0 on"
        )
    if words and tokens.size and int(tokens.max()) >= len(words):
        raise UsageError(f"{path} has token {tokens.max()}, but its array {WORDS!r} has {len(words)}, from 0 upwards")
    kept = np.flatnonzero(lengths)
    _check_size(path, "row", kept + 1, lengths[kept])
    if len(kept) == len(tokens):
        return _made(tokens[:, : lengths.max(initial=0)] if len(tokens) else tokens, str(path), words)
    return _made(tokens[kept, : lengths.max(initial=0)], str(path), words, tuple((kept + 1).tolist()))


class _Archive:
    """An ``.npz`` that may be damaged anywhere."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> _Archive:
        try:
            self.found = np.load(self.path, allow_pickle=False)
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            raise UsageError(f"{self.path} cannot be read: {error}") from error
        self.names = self.found.files
        return self

    def __exit__(self, *_: object) -> None:
        self.found.close()

    def array(self, name: str) -> np.ndarray:
        if name not in self.names:
            raise UsageError(f"{self.path} has no array {name!r}; it has: {', '.join(self.names) or 'none'}")
        try:
            array = self.found[name]
        except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, MemoryError) as error:
            raise UsageError(f"the array {name!r} of {self.path} cannot be read: {error}") from error
        if not isinstance(array, np.ndarray):  # a file of that name which is no array
            raise UsageError(f"the array {name!r} of {self.path} cannot be read: it is none")
        return array


def _from_text(path: Path) -> TokenFile:
    content = path.read_bytes()
    if b"\0" in content:
        raise UsageError(
            f"{path} is not a .npz file; numpy.savez(path, {KEY}=array) writes one. Nor is it text in UTF-8"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UsageError(f"{path} is not text in UTF-8: see line {line}; save it in UTF-8") from error
    lines = [line.split() for line in io.StringIO(text, newline=None)]
    numbers = [number for number, line in enumerate(lines, 1) if line]
    rows = [line for line in lines if line]
    _check_size(path, "line", np.array(numbers), np.array([len(row) for row in rows]))
    if all(_INTEGER.fullmatch(token) for row in rows for token in row):
        for number, row in zip(numbers, rows, strict=True):
            for token in row:
                if token.startswith("-") or len(token) > 10 or int(token) >= 2**31:
                    raise UsageError(
                        f"{path} has {token[:20]} in line {number}; tokens are numbers from 0 to {2**31 - 1}, or words"
                    )
        made = from_sequences([list(map(int, row)) for row in rows], str(path))
    else:
        made = from_sequences(rows, str(path))
    return TokenFile(made.tokens, made.path, made.digest, made.words, tuple(numbers), "line")


def _check_size(path: Path, unit: str, numbers: np.ndarray, lengths: np.ndarray) -> None:
    """Refuse what is no sequence, or what nothing could be trained on in the memory of a computer."""
    if not len(lengths):
        return
    longest = int(lengths.argmax())
    said = f"{path} has {lengths[longest]} tokens in {unit} {numbers[longest]}"
    if lengths[longest] > LONGEST:
        raise UsageError(f"{said}; {LONGEST} are the most in one sequence: write one sequence in each {unit}")
    if len(lengths) * int(lengths[longest]) > MOST:
        raise UsageError(f"{said}, and {len(lengths)} {unit}s: too much for memory; shorten the longest, or take fewer")


def _made(tokens: np.ndarray, path: str, words: tuple[str, ...], numbers: tuple[int, ...] = ()) -> TokenFile:
    if odd := [word for word in words if word.split() != [word]]:
        raise UsageError(f"{path} has the word {odd[0]!r}; words must not be empty, nor have white space")
    tokens = np.ascontiguousarray(tokens)
    sha = hashlib.sha256(f"{tokens.shape}\n".encode() + tokens.astype("<i8").tobytes())
    if words:
        sha.update("\n".join(words).encode())
    return TokenFile(tokens, path, sha.hexdigest(), words, numbers)
