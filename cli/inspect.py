"""``seqgan-music inspect``."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command("inspect")
@click.argument("source", type=click.Path(path_type=Path), metavar="MIDI_FOLDER")
@click.option("--length", type=click.IntRange(min=2), default=64, show_default=True, help="Tokens of a window.")
@click.option(
    "--steps-per-quarter", default=4, show_default=True, help="Grid steps of a quarter note; 4 are sixteenths."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON alone.")
def command(source: Path, length: int, steps_per_quarter: int, as_json: bool) -> None:
    """Say what of a folder would be used, and what is refused and why.

    \b
    seqgan-music inspect midi_data/
    """
    from seqgan_music import corpus, dataset

    found = corpus.read_corpus(source, processes=0)
    facts = dataset.describe(found, length=length, steps_per_quarter=steps_per_quarter)
    if as_json:
        click.echo(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    click.echo(
        f"{facts['tunes']} tunes, {facts['notes']} notes, {facts['tokens']} tokens, "
        f"{facts['windows']} windows of {length} tokens (one from every bar line)"
    )
    if facts["tunes"]:
        low, high = facts["pitch_range"]
        click.echo(
            f"MIDI pitches {low} to {high}; {facts['off_grid']} onsets off the grid, which are rounded\n"
            f"metres: {', '.join(f'{metre} ({count})' for metre, count in facts['metres'].items())}"
        )
    if facts["refused"]:
        click.echo(f"{sum(len(files) for files in facts['refused'].values())} files refused:")
    for reason, files in facts["refused"].items():
        click.echo(f"  {reason} ({len(files)}):")
        for file in files[:5]:
            click.echo(f"    {file['path']}" + (f": {file['detail']}" if file["detail"] else ""))
        if len(files) > 5:
            click.echo(f"    and {len(files) - 5} more; --json lists them all")
