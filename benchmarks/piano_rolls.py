"""Draw the first six melodies of a run, none chosen, each beside a window of its test tunes.

python benchmarks/piano_rolls.py runs/seed-1 docs/piano_rolls.png
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from seqgan_music import report
from seqgan_music.run import Run

NUMBER = 6


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.argument("picture", type=click.Path(path_type=Path))
def main(directory: Path, picture: Path) -> None:
    """Draw melodies of the run DIRECTORY beside real ones into PICTURE."""
    run = Run(directory)
    ids, start = run.dataset.test[slice(0, None, max(1, len(run.dataset.test) // NUMBER))]
    pieces = []
    for number, sample in enumerate(run.generate(NUMBER)):
        real = run.tokenizer.decode([int(start[number]), *ids[number].tolist()])
        pieces.append(dataclasses.replace(sample, title=f"generated {number + 1}"))
        pieces.append(dataclasses.replace(real, title=f"real {number + 1}"))
    report.piano_rolls(pieces, picture)


if __name__ == "__main__":
    main()
