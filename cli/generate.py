"""``seqgan-music generate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from seqgan_music_cli import options


@click.command("generate")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option("-n", default=8, show_default=True, help="Number of melodies.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), default=Path("out"), show_default=True, help="Folder for them."
)
@click.option("--seed", default=0, callback=options.seed, show_default=True, help="The same seed gives the same files.")
@click.option("--temperature", default=1.0, show_default=True, help="Below 1 is more predictable, above 1 wilder.")
@click.option("--top-k", default=0, show_default=True, help="Draw among the k most likely tokens; 0 is all.")
@click.option(
    "--top-p", default=1.0, show_default=True, help="Draw among the likeliest tokens that together make up p."
)
@click.option("--metre", callback=options.metre, help="Such as 6/8.  [default: drawn like those of the corpus]")
@click.option(
    "--bars", type=int, help="Bars of every melody, any number.  [default: until it ends, at most the training length]"
)
@click.option(
    "--stage",
    type=click.Choice(["mle", "adversarial", "best"]),
    help="Weights after pre-training, after the last round, or of the round whose samples were closest to real music.  "
    "[default: best]",
)
@options.device
@options.own_code
def command(run: Path, n: int, out: Path, own_code: bool, **choices: Any) -> None:
    """Write new .mid files with a trained run.

    \b
    seqgan-music generate runs/latest -n 16 -o out/
    seqgan-music generate runs/latest --metre 6/8 --bars 16 --temperature 0.9
    """
    from seqgan_music import midi
    from seqgan_music.run import Run

    pieces = Run(run, own_code=own_code).generate(n, **choices)
    midi.write_all(pieces, out)
    silent = sum(not piece.notes for piece in pieces)
    click.echo(f"{len(pieces)} melodies in {out}" + (f", {silent} of them without a note" if silent else ""))
