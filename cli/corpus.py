"""``seqgan-music corpus``: one of music21's bundled corpora as a folder of MIDI files."""

from __future__ import annotations

from pathlib import Path

import click

from seqgan_music.scores import CORPORA

_HELP = f"""Write the corpus NAME of music21 as MIDI files into DIRECTORY; takes some minutes.

{"; ".join(f"{name}: {corpus.title}" for name, corpus in CORPORA.items())}.
"""


@click.command("corpus", help=_HELP, short_help="Write one of music21's corpora as MIDI files.")
@click.argument("name", metavar="NAME")
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIRECTORY")
@click.option("--processes", default=0, help="Processes that share the work.  [default: one per core]")
def command(name: str, directory: Path, processes: int) -> None:
    """Call the library and print what came of it."""
    from seqgan_music.bundled import write_corpus
    from seqgan_music.corpus import summary

    written = write_corpus(name, directory, processes=processes)
    click.echo(f"{len(written.names)} tunes written to {directory}")
    if written.refusals:
        click.echo(f"{len(written.refusals)} left out:")
        click.echo("  " + summary(written.refusals, separator="\n  "))
