"""Draw the first melodies of runs, none chosen, each beside windows of the test tunes.

python benchmarks/piano_rolls.py runs/seed-1 -o docs/piano_rolls.png
python benchmarks/piano_rolls.py runs/tonality-0.4 runs/tonality-0 -n 2 -o rolls.png
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from seqgan_music import report
from seqgan_music.run import Run


@click.command()
@click.argument("directories", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("-n", "--number", default=6, show_default=True, help="Melodies of each run, and real ones.")
@click.option("-o", "--out", "picture", required=True, type=click.Path(path_type=Path))
def main(directories: tuple[Path, ...], number: int, picture: Path) -> None:
    """Draw melodies of every RUN beside real ones: a column for each, the last of real music."""
    runs = [Run(directory) for directory in directories]
    first = runs[0]
    ids, start = first.dataset.test[slice(0, None, max(1, len(first.dataset.test) // number))]
    columns = {run.directory.name if len(runs) > 1 else "generated": list(run.generate(number)) for run in runs}
    columns["real"] = [first.tokenizer.decode([int(start[row]), *ids[row].tolist()]) for row in range(number)]
    pieces = [
        dataclasses.replace(of_run[row], title=f"{name} {row + 1}")
        for row in range(number)
        for name, of_run in columns.items()
    ]
    report.piano_rolls(pieces, picture, columns=len(columns))


if __name__ == "__main__":
    main()
