"""Join the evaluations of runs that differ in their seed alone: mean and range of every figure, as Markdown.

python benchmarks/results.py runs/seed-1 runs/seed-2 runs/seed-3 --rolls docs/piano_rolls.png
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click
from torch import Tensor

from seqgan_music import evaluation, report
from seqgan_music.metrics import METRICS
from seqgan_music.run import Run
from seqgan_music.run_directory import read_log


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
    for record in read_log(run.directory):
        phases[record["phase"]] = phases.get(record["phase"], 0.0) + record["seconds"]
    return ", ".join(f"{phase} {total:.0f} s" for phase, total in phases.items())


def bars_brought_back(run: Run, ids: Tensor, start: Tensor) -> float:
    """Share of the bars after the first, in windows (M, T), that are token for token an earlier bar of their window."""
    again = bars = 0
    for row, first in zip(ids.tolist(), start.tolist(), strict=True):
        width = run.tokenizer.bar_tokens(first, 1)
        cut = [tuple(row[i : i + width]) for i in range(0, len(row) - width + 1, width)]
        whole = [bar for bar in cut if run.dataset.pad_id not in bar]
        again += sum(bar in whole[:i] for i, bar in enumerate(whole))
        bars += max(0, len(whole) - 1)
    return again / bars


def in_best_scale(run: Run, ids: Tensor, start: Tensor) -> float:
    """Mean share of the notes of windows (M, T) that lie in that major scale which holds most of them."""
    shares = []
    for row, first in zip(ids.tolist(), start.tolist(), strict=True):
        classes = [note.pitch % 12 for note in run.tokenizer.decode([first, *row]).notes]
        if classes:
            held = [sum((pitch - tonic) % 12 in (0, 2, 4, 5, 7, 9, 11) for pitch in classes) for tonic in range(12)]
            shares.append(max(held) / len(classes))
    return sum(shares) / len(shares)


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
        sets = {"test tunes": run.dataset.test[:], **{stage: run.sample(1000, stage=stage) for stage in run.stages}}
        for name, windows in sets.items():
            again, inside = bars_brought_back(run, *windows), in_best_scale(run, *windows)
            click.echo(f"  {name}: {again:.1%} of bars are an earlier bar again, {inside:.1%} of notes in one scale")
    if picture is not None:
        rolls(runs[0], picture)


if __name__ == "__main__":
    main()
