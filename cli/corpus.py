"""``seqgan-music corpus``: one of music21's bundled corpora as a folder of MIDI files."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from seqgan_music.errors import Failure
from seqgan_music.scores import CORPORA

_HELP = """Write the corpus NAME of music21 as MIDI files into DIRECTORY; takes some minutes.

\b
""" + "\n".join(f"{name}: {corpus.title}" for name, corpus in CORPORA.items())


@click.command("corpus", help=_HELP, short_help="Write one of music21's corpora as MIDI files.")
@click.argument("name", metavar="NAME")
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIRECTORY")
@click.option("--processes", default=0, help="Processes that share the work.  [default: one per core]")
@click.option("--accept-licence", is_flag=True, help="Agree to the corpus's condition, where it has one.")
def command(name: str, directory: Path, processes: int, accept_licence: bool) -> None:
    """Call the library and print what came of it."""
    from seqgan_music.bundled import write_corpus
    from seqgan_music.corpus import summary

    condition = CORPORA[name].condition if name in CORPORA else ""
    if condition and not accept_licence and _asks():
        click.echo(condition, err=True)
        if not click.confirm("Do you agree?", err=True):
            raise Failure("nothing was written, as you did not agree")
        accept_licence = True
    with ExitStack() as stack:
        bars: list[Any] = []

        def progress(done: int, total: int) -> None:
            if not bars:  # once it is known that there is something to do
                bars.append(stack.enter_context(click.progressbar(length=total, label=name, file=sys.stderr)))
            bars[0].update(done - bars[0].pos)

        written = write_corpus(name, directory, processes=processes, accept_licence=accept_licence, progress=progress)
    click.echo(f"{len(written.names)} tunes written to {directory}")
    if written.refusals:
        click.echo(f"{len(written.refusals)} left out:")
        click.echo("  " + summary(written.refusals, separator="\n  "))
    click.echo(CORPORA[name].rights)


def _asks() -> bool:
    """Whether somebody is there to answer."""
    return sys.stdin.isatty()
