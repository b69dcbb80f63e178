"""Sequences of token ids from a file, which are trained on as they are: no piece, no bar lines, no END."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seqgan_music.errors import UsageError

KEY = "tokens"


@dataclass(frozen=True, slots=True, eq=False)
class TokenFile:
    """Rows of token ids, each of which is a whole window.

    Parameters
    ----------
    tokens : ndarray (N, T), int64
    path : str
        The file they come from.
    digest : str
        SHA-256 of the rows and their shape: equal digests are equal sequences.
    """

    tokens: np.ndarray
    path: str
    digest: str

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def length(self) -> int:
        """T."""
        return int(self.tokens.shape[1])

    @property
    def names(self) -> list[str]:
        """What the rows are called, counted from 1."""
        return [f"row {number}" for number in range(1, len(self) + 1)]


def read_tokens(path: str | os.PathLike[str]) -> TokenFile:
    """Read an ``.npz`` whose array ``tokens`` (N, T) holds integers.

    Parameters
    ----------
    path : path-like

    Raises
    ------
    UsageError
        No such file, or not what is described here.
    """
    path = Path(path)
    try:
        with open(path, "rb") as stream:
            if not zipfile.is_zipfile(stream):
                raise UsageError(f"{path} is not a .npz file; numpy.savez(path, {KEY}=array) writes one")
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as found:
                if KEY not in found.files:
                    raise UsageError(f"{path} has no array {KEY!r}; it has: {', '.join(found.files) or 'none'}")
                tokens = found[KEY]
    except UsageError:
        raise
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except (
        ValueError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        RuntimeError,
        MemoryError,
    ) as error:
        raise UsageError(f"the array {KEY!r} of {path} cannot be read: {error}") from error
    if not isinstance(tokens, np.ndarray):  # a file of that name which is no array
        raise UsageError(f"the array {KEY!r} of {path} cannot be read: it is none")
    if tokens.dtype.kind not in "iu" or tokens.ndim != 2:
        raise UsageError(
            f"the array {KEY!r} of {path} must be a table of integers, a sequence in each row; it has shape "
            f"{tokens.shape} and type {tokens.dtype}"
        )
    if len(tokens) < 3 or tokens.shape[1] < 2:
        raise UsageError(f"{path} has {len(tokens)} rows of {tokens.shape[1]} tokens; 3 rows of 2 are the least")
    if int(tokens.min()) < 0 or int(tokens.max()) >= 2**31:
        raise UsageError(f"{path} has tokens from {tokens.min()} to {tokens.max()}; they are numbers from 0 upwards")
    tokens = np.ascontiguousarray(tokens, dtype=np.int64)
    digest = hashlib.sha256(f"{tokens.shape}\n".encode() + tokens.astype("<i8").tobytes()).hexdigest()
    return TokenFile(tokens, str(path), digest)
