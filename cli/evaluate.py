"""``seqgan-music evaluate``."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import click
from seqgan_music_cli import options

from seqgan_music.errors import UsageError


@click.command("evaluate")
@click.argument("what", type=click.Path(path_type=Path), metavar="RUN|MIDI_FOLDER")
@click.option(
    "--against", type=click.Path(path_type=Path), help="Folder of real MIDI.  [default: the run's test tunes]"
)
@click.option(
    "-n",
    "--samples",
    type=click.IntRange(min=2),
    default=1000,
    show_default=True,
    help="Samples of every stage, and of every anchor that is not real music.",
)
@click.option(
    "--length",
    type=click.IntRange(min=2),
    default=64,
    show_default=True,
    help="Grid steps of a window, for a folder of MIDI; a run has its own.",
)
@click.option("--seed", default=0, callback=options.seed, show_default=True, help="Of the samples.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON alone.")
@options.reading
@options.device
@options.own_code
def command(
    what: Path,
    against: Path | None,
    samples: int,
    length: int,
    seed: int,
    as_json: bool,
    device: str,
    own_code: bool,
    **reading: Any,
) -> None:
    """Measure a run, or a folder of MIDI, beside its anchors: real, Markov-1, Markov-2 and uniform.

    \b
    seqgan-music evaluate runs/latest
    seqgan-music evaluate out/ --against midi_data/ --json
    """
    from seqgan_music import checkpoint, corpus, evaluation, report, run_directory
    from seqgan_music.cache import Cache
    from seqgan_music.midi import Reading
    from seqgan_music.run import Run

    how = options.reading_settings(**reading)
    read = functools.partial(corpus.read_corpus, processes=0, cache=Cache.of_user())
    if (what / run_directory.RUN).is_file():
        if how:
            raise UsageError(f"a run reads as its own corpus was read; leave out {', '.join(map(str, how))}")
        run = Run(what, own_code=own_code)
        result = run.evaluate(samples=samples, seed=seed, device=device, against=against, read=read)
        if against is None:
            checkpoint.write_report(run.directory, result)
    elif not what.exists():
        raise UsageError(f"no such run or folder: {what}")
    elif against is None:
        raise UsageError(f"{str(what)!r} is not a run; for a folder of MIDI, name the real music with --against DIR")
    else:
        read = functools.partial(read, reading=Reading(**how))
        result = evaluation.evaluate_folder(what, against, length=length, samples=samples, seed=seed, read=read)
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=1, ensure_ascii=False))
        return
    click.echo(report.table(result))
    facts = result.facts
    click.echo(
        f"\n{facts['references']} reference windows; samples: "
        + ", ".join(f"{name} {n}" for name, n in facts["samples"].items())
        + f"; Self-BLEU and unique over {facts['samples for Self-BLEU and unique']} of each. "
        "The target is the row `real`, except NLL: lower."
    )
