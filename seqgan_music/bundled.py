"""music21's bundled corpora as folders of MIDI files."""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path

from seqgan_music import midi, scores
from seqgan_music.corpus import Refusal, in_processes, tune
from seqgan_music.errors import Failure, PieceRefused


@dataclass(frozen=True, slots=True)
class Written:
    """What `write_corpus` did.

    Parameters
    ----------
    names : tuple of str
        The files written, in order.
    refusals : tuple of Refusal
        The tunes left out, by their identifiers in the collection.
    """

    names: tuple[str, ...]
    refusals: tuple[Refusal, ...]


def write_corpus(name: str, directory: str | os.PathLike[str], *, processes: int = 1) -> Written:
    """Write one of music21's bundled corpora as MIDI files, one for each tune.

    Parameters
    ----------
    name : str
        One of `seqgan_music.scores.CORPORA`.
    directory : path-like
        Made if it is missing. Files are named by the tune's place in the collection and its title.
    processes : int
        As for `read_corpus`.

    Raises
    ------
    UsageError
        Unknown corpus.
    Failure
        The directory cannot be written to.
    """
    files = scores.corpus_files(name)
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(f"cannot make the folder {directory}: {error.strerror}") from error
    names: list[str] = []
    refusals: list[Refusal] = []
    first_of: dict[object, str] = {}
    tunes = (tune for per_file in in_processes(scores.file_pieces, files, processes) for tune in per_file)
    for number, (identifier, outcome) in enumerate(tunes, start=1):
        if isinstance(outcome, PieceRefused):
            refusals.append(Refusal(identifier, outcome.reason, outcome.detail))
        elif (first := first_of.setdefault(tune(outcome), identifier)) != identifier:
            refusals.append(Refusal(identifier, "duplicate", f"same notes as {first}"))
        else:
            file = f"{number:04d}-{_slug(outcome.title or identifier)}.mid"
            midi.write(outcome if outcome.title else replace(outcome, title=identifier), directory / file)
            names.append(file)
    return Written(tuple(names), tuple(refusals))


def _slug(title: str) -> str:
    ascii_only = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode("ascii")
    words = re.sub(r"[^a-z0-9]+", "-", ascii_only.lower().replace("'", "")).strip("-")
    return words[:48].rstrip("-") or "untitled"
