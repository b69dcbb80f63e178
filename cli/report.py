"""``seqgan-music report``."""

from __future__ import annotations

from pathlib import Path

import click
from seqgan_music_cli import options


@click.command("report")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option(
    "-n",
    "--samples",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="Melodies of each source in the report.",
)
@click.option(
    "--listening",
    type=click.IntRange(min=0),
    default=6,
    show_default=True,
    help="Melodies of each source in the listening test; 0 for none.",
)
@click.option("--seed", default=0, callback=options.seed, show_default=True, help="Which melodies, in which order.")
@click.option(
    "--soundfont",
    type=click.Path(path_type=Path),
    metavar="FILE.sf2",
    help="For sound by the program FluidSynth.  [default: $SOUNDFONT, one of the system's, a small one]",
)
@options.device
@options.own_code
def command(
    run: Path, samples: int, listening: int, seed: int, soundfont: Path | None, device: str, own_code: bool
) -> None:
    """Write RUN/report.html, a page with everything about a run, and RUN/listen.html, a blind listening test.

    Each is one file that needs no network. What `evaluate` and `evaluate --temperatures` left in the run is shown.

    \b
    seqgan-music report runs/latest
    seqgan-music report runs/latest --listening 20 --seed 7
    """
    from seqgan_music import html_report
    from seqgan_music.run import Run

    pages = html_report.write(
        Run(run, own_code=own_code),
        samples=samples,
        listening=listening,
        seed=seed,
        device=device,
        soundfont=soundfont,
    )
    click.echo(f"sound: {pages.sound}", err=True)
    click.echo(f"report: {pages.report}")
    if pages.listening is not None:
        click.echo(f"listening test: {pages.listening}")
