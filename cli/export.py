"""``seqgan-music export``."""

from __future__ import annotations

from pathlib import Path

import click
from seqgan_music_cli import options


@click.command("export")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--stage",
    type=click.Choice(options.STAGES),
    help="Whose weights.  [default: those that generate takes]",
)
@click.option(
    "--with-discriminator",
    is_flag=True,
    help="Its weights too, for --best-of; the copy is then three times as big.",
)
@options.own_code
def command(run: Path, directory: Path, stage: str | None, with_discriminator: bool, own_code: bool) -> None:
    """Write a small copy of a run to share: it generates, and train --init starts from it.

    It holds none of the corpus's music and no state of the training, so it can be neither evaluated nor resumed.

    \b
    seqgan-music export runs/latest my_run/
    seqgan-music generate my_run/ -n 16 -o out/
    """
    from seqgan_music.export import export
    from seqgan_music.run import Run

    exported = export(Run(run, own_code=own_code), directory, stage=stage, with_discriminator=with_discriminator)
    size = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
    click.echo(f"{directory}: {size / 1e6:.1f} MB, stage {exported['stage']}, weights {exported['weights']}")
