"""Join the evaluations of runs that differ in their seed alone: mean and range of every figure, as Markdown.

python benchmarks/results.py runs/seed-1 runs/seed-2 runs/seed-3 --rolls docs/piano_rolls.png
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from seqgan_music import evaluation, report
from seqgan_music.experiment import LOG
from seqgan_music.metrics import METRICS
from seqgan_music.run import Run


def joined(runs: list[Run]) -> str:
    """Rows of all evaluations; a figure is the mean over the runs, with the smallest and the largest below it."""
    tables = [json.loads((run.directory / "report.json").read_text(encoding="utf-8"))["rows"] for run in runs]
    lines = ["| | " + " | ".join(METRICS[name].title for name in evaluation.COLUMNS) + " |"]
    lines.append("|---|" + "---:|" * len(evaluation.COLUMNS))
    for row in tables[0]:
        cells = [figure([table[row][name] for table in tables]) for name in evaluation.COLUMNS]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def figure(values: list[float | None]) -> str:
    """Mean and range, or a dash where a value is not defined."""
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values):
        return "–"
    digits = 1 if max(numbers) >= 10 else 3
    mean, low, high = sum(numbers) / len(numbers), min(numbers), max(numbers)
    spread = "" if f"{low:.{digits}f}" == f"{high:.{digits}f}" else f"<br>{low:.{digits}f}–{high:.{digits}f}"
    return f"{mean:.{digits}f}{spread}"


def seconds(run: Run) -> str:
    """Seconds of every phase of a run."""
    phases: dict[str, float] = {}
    for line in (run.directory / LOG).read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        phases[record["phase"]] = phases.get(record["phase"], 0.0) + record["seconds"]
    return ", ".join(f"{phase} {total:.0f} s" for phase, total in phases.items())


def rolls(run: Run, path: Path) -> None:
    """The first six samples of a run, each beside one of the first six windows of its test tunes."""
    ids, start = run.dataset.test[slice(0, None, max(1, len(run.dataset.test) // 6))]
    pieces = []
    for number, sample in enumerate(run.generate(6)):
        real = run.tokenizer.decode([int(start[number]), *ids[number].tolist()])
        pieces.append(dataclasses.replace(sample, title=f"generated {number + 1}"))
        pieces.append(dataclasses.replace(real, title=f"real {number + 1}"))
    report.piano_rolls(pieces, path)


@click.command()
@click.argument("directories", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--rolls", "picture", type=click.Path(path_type=Path), help="Draw melodies of the first run there.")
def main(directories: tuple[Path, ...], picture: Path | None) -> None:
    """Join the evaluations of runs that differ in their seed alone."""
    runs = [Run(directory) for directory in directories]
    click.echo(joined(runs))
    for run in runs:
        click.echo(f"seed {run.settings['run']['seed']}: {seconds(run)}; threads {run.facts['threads']}")
    if picture is not None:
        rolls(runs[0], picture)


if __name__ == "__main__":
    main()
