"""``seqgan-music inspect``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from seqgan_music_cli import options


@click.command("inspect")
@click.argument("source", type=click.Path(path_type=Path), metavar="MIDI_FOLDER")
@click.option("--length", type=click.IntRange(min=2), default=64, show_default=True, help="Tokens of a window.")
@click.option("--tokenizer", "name", default="grid", show_default=True, help="What a token is; `list` has all.")
@click.option(
    "--steps-per-quarter", type=int, help="Grid steps of a quarter note; 4 are sixteenths.  [default: the tokenizer's]"
)
@options.reading
@click.option(
    "-v", "--verbose", is_flag=True, help="Say of every file which part is used, why, and what of it is left out."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON alone.")
def command(
    source: Path, length: int, name: str, steps_per_quarter: int | None, verbose: bool, as_json: bool, **reading: Any
) -> None:
    """Say what of a folder would be used, and what is refused and why.

    \b
    seqgan-music inspect midi_data/
    seqgan-music inspect my_midi/ --verbose --track vocals
    """
    from seqgan_music import corpus, dataset, registry
    from seqgan_music.cache import Cache
    from seqgan_music.run_settings import reading_options, resolve
    from seqgan_music.tokenizers import TOKENIZERS

    steps = {} if steps_per_quarter is None else {"steps_per_quarter": steps_per_quarter}
    resolved = resolve({"tokenizer": {"name": name, **steps}, "reading": options.reading_settings(**reading)})
    with options.progress("reading") as progress:
        found = corpus.read_corpus(
            source, processes=0, cache=Cache.of_user(), progress=progress, **reading_options(resolved)
        )
    tokenizer = registry.resolve(TOKENIZERS, "tokenizer", name, own_code=True).fit(found.pieces, **steps)
    facts = dataset.describe(found, tokenizer, length=length)
    if as_json:
        if verbose:
            facts["files"] = [
                {"path": name, "part": account.chosen, "why": account.why, "left_out": account.left_out}
                for name, account in zip(found.names, found.accounts, strict=True)
            ]
        click.echo(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    if verbose:
        for name, account in zip(found.names, found.accounts, strict=True):
            click.echo(f"{name}: {account.chosen}: {account.why}")
            for what in account.left_out:
                click.echo(f"    left out: {what}")
    click.echo(
        f"{options.counted(facts['tunes'], 'tune')}, {facts['notes']} notes, {facts['tokens']} tokens, "
        f"{facts['windows']} windows of {length} tokens (one from every bar line)"
    )
    if facts["tunes"]:
        low, high = facts["pitch_range"]
        click.echo(
            f"MIDI pitches {low} to {high}{_lost(facts['lost'])}\n"
            f"metres: {', '.join(f'{metre} ({count})' for metre, count in facts['metres'].items())}"
        )
    if facts["refused"]:
        click.echo(f"{options.counted(sum(map(len, facts['refused'].values())), 'file')} refused:")
    for reason, files in facts["refused"].items():
        click.echo(f"  {reason} ({len(files)}):")
        shown = files if verbose else files[:5]
        for file in shown:
            click.echo(f"    {file['path']}" + (f": {file['detail']}" if file["detail"] else ""))
        if len(files) > len(shown):
            click.echo(f"    and {len(files) - len(shown)} more; --verbose lists them all")


def _lost(counts: dict[str, int]) -> str:
    """What the tokens do not say."""
    if "rounded" in counts:
        return f"; {counts['rounded']} onsets off the grid, which are rounded"
    if "steps" in counts:
        return (
            f"; lost in {counts['steps']} steps: rests in {counts['rests']}; of {counts['notes']} notes "
            f"{counts['unheard']} are not heard, {counts['repeated']} go on from one of their pitch, and "
            f"{counts['between_steps']} onsets move"
        )
    return ""
