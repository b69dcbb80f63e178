"""music21's bundled corpora as folders of MIDI files."""

from __future__ import annotations

import os
import re
import textwrap
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from seqgan_music import midi, scores
from seqgan_music.corpus import Refusal, tune
from seqgan_music.errors import PieceRefused, UsageError
from seqgan_music.files import make_folder, write_whole
from seqgan_music.notes import Piece
from seqgan_music.processes import Lost, in_processes


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


def write_corpus(
    name: str,
    directory: str | os.PathLike[str],
    *,
    processes: int = 1,
    accept_licence: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Written:
    """Write one of music21's bundled corpora as MIDI files, one for each tune.

    Every file is whole at any moment, so that the work can be stopped, and begun again from its start.

    Parameters
    ----------
    name : str
        One of `seqgan_music.scores.CORPORA`.
    directory : path-like
        Made if it is missing. Files are named by the tune's place in the collection and its title. Where the collection
        has a condition, it stands beside them in ``LICENCE.txt``.
    processes : int
        As for `read_corpus`.
    accept_licence : bool
        The collection's condition is agreed to.
    progress : callable
        Told how many of how many tunes or works are done.

    Raises
    ------
    UsageError
        Unknown corpus, or its condition is not agreed to.
    Failure
        The directory cannot be written to.
    """
    sources = scores.corpus_sources(name)
    corpus = scores.CORPORA[name]
    if corpus.condition and not accept_licence:
        raise UsageError(f"{corpus.condition} To agree, add --accept-licence, or accept_licence=True in Python")
    directory = Path(directory)
    make_folder(directory)
    if corpus.condition:
        paragraphs = (corpus.title, corpus.rights, corpus.condition)
        write_whole(directory / "LICENCE.txt", _filled(paragraphs).encode())
    names: list[str] = []
    refusals: list[Refusal] = []
    first_of: dict[object, str] = {}
    for number, (identifier, outcome) in enumerate(_tunes(sources, corpus, processes, progress), start=1):
        if isinstance(outcome, PieceRefused):
            refusals.append(Refusal(identifier, outcome.reason, outcome.detail))
        elif (first := first_of.setdefault(tune(outcome), identifier)) != identifier:
            refusals.append(Refusal(identifier, "duplicate", f"same notes as {first}"))
        else:
            file = f"{number:04d}-{_slug(outcome.title or identifier)}.mid"
            midi.write(outcome if outcome.title else replace(outcome, title=identifier), directory / file)
            names.append(file)
    return Written(tuple(names), tuple(refusals))


def _tunes(
    sources: list[scores.Source],
    corpus: scores.BundledCorpus,
    processes: int,
    progress: Callable[[int, int], None],
) -> Iterator[tuple[str, Piece | PieceRefused]]:
    progress(0, len(sources))
    read = in_processes(partial(scores.source_pieces, corpus=corpus), sources, processes)
    for done, (source, found) in enumerate(zip(sources, read, strict=True), start=1):
        if isinstance(found, Lost):
            yield source.identifier, PieceRefused("cannot be read", found.why)
        else:
            yield from found
        progress(done, len(sources))


def _slug(title: str) -> str:
    ascii_only = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode("ascii")
    words = re.sub(r"[^a-z0-9]+", "-", ascii_only.lower().replace("'", "")).strip("-")
    return words[:48].rstrip("-") or "untitled"


def _filled(paragraphs: tuple[str, ...]) -> str:
    return "\n\n".join(textwrap.fill(text, 100, break_on_hyphens=False) for text in paragraphs) + "\n"
