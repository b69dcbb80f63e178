"""``seqgan-music evaluate``."""

from __future__ import annotations

import json
from pathlib import Path

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
@options.device
@options.own_code
def command(
    what: Path, against: Path | None, samples: int, length: int, seed: int, as_json: bool, device: str, own_code: bool
) -> None:
    """Measure a run, or a folder of MIDI, beside its anchors: real, Markov-1, Markov-2 and uniform.

    \b
    seqgan-music evaluate runs/latest
    seqgan-music evaluate out/ --against midi_data/ --json
    """
    from seqgan_music import checkpoint, evaluation, experiment, report
    from seqgan_music.run import Run

    if (what / experiment.RUN).is_file():
        run = Run(what, own_code=own_code)
        result = evaluation.evaluate_run(run, samples=samples, seed=seed, device=device, against=against)
        if against is None:
            checkpoint.write_report(run.directory, result)
    elif not what.exists():
        raise UsageError(f"no such run or folder: {what}")
    elif against is None:
        raise UsageError(f"{str(what)!r} is not a run; for a folder of MIDI, name the real music with --against DIR")
    else:
        result = evaluation.evaluate_folder(what, against, length=length, samples=samples, seed=seed)
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
