"""Files that are whole or not there, folders for them, and records as CSV."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seqgan_music.errors import Failure

PARTIAL = ".part"


def make_folder(folder: str | os.PathLike[str]) -> None:
    """Make a folder and those it lies in, unless it is there.

    Raises
    ------
    Failure
        It cannot be made.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(f"cannot make the folder {folder}: {error.strerror}") from error


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file beside its place and move it there.

    Parameters
    ----------
    path : path-like
        Replaced if it exists; left as it was if writing fails or is stopped.
    content : bytes
        All of it.

    Raises
    ------
    Failure
        The file cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f".{uuid.uuid4().hex}{PARTIAL}")  # hidden, so that nothing takes it for the file
    try:
        with partial.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):  # nothing was made where nothing can be
            partial.unlink()


def is_partial(name: str) -> bool:
    """Whether a file of this name is what a process that was killed has left of `write_whole`, or one is writing."""
    return name.startswith(".") and name.endswith(PARTIAL)


def csv_of(records: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> str:
    """Records as CSV: a column for every name that any of them has, in the order they come; `columns` where there is no
    record."""
    text = io.StringIO(newline="")
    names = list(dict.fromkeys(name for record in records for name in record)) or columns
    lines = csv.DictWriter(text, names, lineterminator="\n")
    lines.writeheader()
    lines.writerows(records)
    return text.getvalue()
