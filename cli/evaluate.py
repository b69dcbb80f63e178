"""``seqgan-music evaluate``."""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from seqgan_music_cli import options

from seqgan_music.errors import UsageError

if TYPE_CHECKING:
    from seqgan_music.evaluation import Evaluation
    from seqgan_music.evaluation.temperatures import Curves
    from seqgan_music.run import Run


@click.command("evaluate")
@click.argument("what", required=False, type=click.Path(path_type=Path), metavar="RUN|MIDI_FOLDER")
@click.option(
    "--against", type=click.Path(path_type=Path),
    help="Folder of real MIDI, or a token file for a run of tokens.  [default: the run's test part]",
)  # fmt: skip
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
@click.option(
    "--temperatures", metavar="T,T,...|default",
    help="Measure every stage of a run at each of these temperatures, and at 1, such as 0.6,0.8,1.2; default is 0.6 to "
    "1.4 in steps of 0.1. Leaves temperatures.json, .csv and .png in the run.",
)  # fmt: skip
@click.option(
    "--stage", "stages", multiple=True, type=click.Choice(options.STAGES),
    help="With --temperatures: this stage; repeatable.  [default: all]",
)  # fmt: skip
@click.option(
    "--dump", type=click.Path(path_type=Path), metavar="DIR",
    help="Write tokens, note events and scores of every sample of a run's evaluation, and its windows, as .npz.",
)  # fmt: skip
@click.option(
    "--explain", is_flag=True, help="Say what each column means and where its target lies; without RUN, say it."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON alone.")
@options.reading
@options.device
@options.own_code
def command(
    what: Path | None,
    against: Path | None,
    samples: int,
    length: int,
    seed: int,
    temperatures: str | None,
    stages: tuple[str, ...],
    dump: Path | None,
    explain: bool,
    as_json: bool,
    device: str,
    own_code: bool,
    **reading: Any,
) -> None:
    """Measure a run, or a folder of MIDI, beside its anchors: real, Markov-1, Markov-2 and uniform.

    A run of tokens that are no music is measured without the figures of music.

    \b
    seqgan-music evaluate runs/latest
    seqgan-music evaluate runs/latest --temperatures 0.6,0.8,1,1.2
    seqgan-music evaluate out/ --against midi_data/ --json
    """
    from seqgan_music import checkpoint, corpus, evaluation, formats, report, run_directory
    from seqgan_music.cache import Cache
    from seqgan_music.evaluation.dump import dump as write_dump
    from seqgan_music.midi import Reading
    from seqgan_music.run import Run

    if what is None:
        if not explain:
            raise UsageError("name a run, or a folder of MIDI with --against DIR")
        click.echo(report.explanation())
        return
    how = options.reading_settings(**reading)
    grid = _numbers(temperatures) if temperatures is not None else None
    if grid is None and stages:
        raise UsageError("--stage is for temperature curves; name the temperatures with --temperatures")
    if grid is not None and (against is not None or dump is not None):
        raise UsageError("temperatures are measured on the run's test part and not dumped; leave out --against, --dump")
    if dump is not None:
        formats.check_folder(dump)  # before the work, which may be long
    read = functools.partial(corpus.read_corpus, processes=0, cache=Cache.of_user())
    if (what / run_directory.RUN).is_file() or (what / run_directory.GROUP).is_file():
        if how:
            raise UsageError(f"a run reads as its own corpus was read; leave out {', '.join(map(str, how))}")
        run = Run(what, own_code=own_code)
        if grid is not None:
            _temperatures(run, grid, stages or None, samples, seed, device, as_json)
            return
        result = run.evaluate(samples=samples, seed=seed, device=device, against=against, read=read)
        if against is None:
            checkpoint.write_report(run.directory, result)
        if dump is not None:
            written = write_dump(result, run, dump)
            click.echo(f"{len(written)} files in {dump}; {written[-1].name} says what they hold", err=True)
    elif not what.exists():
        raise UsageError(f"no such run or folder: {what}")
    elif grid is not None or dump is not None:
        option = "--dump" if grid is None else "--temperatures"
        raise UsageError(f"{str(what)!r} is not a run; {option} needs one")
    elif against is None:
        raise UsageError(f"{str(what)!r} is not a run; for a folder of MIDI, name the real music with --against DIR")
    else:
        read = functools.partial(read, reading=Reading(**how))
        result = evaluation.evaluate_folder(what, against, length=length, samples=samples, seed=seed, read=read)
    for objective in result.objectives.measured.values():
        if cost := getattr(objective, "cost", None):  # of a function of one piece, which Python calls for each melody
            click.echo(cost, err=True)
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=1, ensure_ascii=False))
        return
    click.echo(report.tables(result, explain=explain))
    facts = result.facts
    empty = facts.get("empty, and left out of BLEU")  # which sequences that are no music may be
    without = f" Empty, and left out of BLEU: {', '.join(f'{name} {n}' for name, n in empty.items())}." if empty else ""
    steered = ", and what it was steered towards" if result.objectives.wishes else ""
    side = facts.get("samples for distributions")  # which music has alone
    click.echo(
        f"\n{_references(result)}; samples: "
        + ", ".join(f"{name} {n}" for name, n in facts["samples"].items())
        + f"; Self-BLEU among {facts['samples for Self-BLEU']}, what else depends on their number over "
        f"{facts['equal sizes']} of each{f', distributions between {side} and as many references' if side else ''}. "
        f"The target is the row `real`, except NLL and reverse NLL: lower{steered}.{without}"
        + ("" if explain else " What the columns mean: --explain.")
    )


def _references(measured: Evaluation | Curves) -> str:
    return f"{measured.facts['references']} reference {'windows' if measured.objectives.musical else 'sequences'}"


def _numbers(text: str) -> Sequence[float]:
    """``0.6,0.8`` or ``default`` as temperatures."""
    from seqgan_music.evaluation import temperatures

    if text == "default":
        return temperatures.DEFAULT
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise UsageError(
            f"--temperatures {text}: write numbers with commas, such as 0.6,0.8,1.2, or the word default"
        ) from None


def _temperatures(
    run: Run, grid: Sequence[float], stages: Sequence[str] | None, samples: int, seed: int, device: str, as_json: bool
) -> None:
    """Measure a run's temperature curves, keep them with it and print them."""
    from seqgan_music import report
    from seqgan_music.evaluation import Evaluation, temperatures
    from seqgan_music.evaluation.objectives import OBJECTIVE

    with options.progress("temperatures") as progress:
        curves = temperatures.measure(
            run, grid, stages=stages, samples=samples, seed=seed, device=device, progress=progress
        )
    written = report.write_curves(curves, run.directory)
    if as_json:
        click.echo(json.dumps(curves.to_dict(), indent=1, ensure_ascii=False))
        return
    wanted = [OBJECTIVE + name for name in curves.objectives.wishes]
    measured = Evaluation(curves.rows(), objectives=curves.objectives)
    click.echo(report.table(measured, [*measured.columns, *wanted]))
    facts = curves.facts
    click.echo(
        f"\n{_references(curves)}; {samples} samples of every point; Self-BLEU among "
        f"{facts['samples for Self-BLEU']} of each. The target is the row `real`, except NLL: lower"
        f"{', and what it was steered towards' if wanted else ''}."
    )
    tried = facts["temperatures"]
    ends = {tried[0]: ", the lowest tried", tried[-1]: ", the highest tried"} if len(tried) > 1 else {}
    best = [f"{stage} {t:g}{ends.get(t, '')}" for stage, t in curves.best.items()]
    if best:
        click.echo(f"Best temperature, chosen on the validation part: {'; '.join(best)}.")
    if all(math.isfinite(curves.distance(stage)) for stage in curves.points):
        _say_distances(curves)
    else:
        click.echo("No distance of the curves to real, for Self-BLEU is not defined of so few sequences.")
    click.echo(f"In {options.shown(run.directory)}: {', '.join(path.name for path in written)}")


def _say_distances(curves: Curves) -> None:
    """How near each curve comes to the row `real`, and which is nearer."""
    distances = sorted((curves.distance(stage), stage) for stage in curves.points)
    click.echo(
        "Distance of the curve to real in BLEU-4 and Self-BLEU-4, smallest first: "
        + ", ".join(
            "{} {:.3f} ({:.3f} to {:.3f})".format(stage, distance, *curves.interval(stage))
            for distance, stage in distances
        )
        + "; in brackets 95 % of resamplings."
    )
    for stage, other in itertools.combinations(curves.points, 2):
        click.echo(f"The curve of {stage} is nearer than that of {other} in {curves.nearer(stage, other):.0%} of them.")
