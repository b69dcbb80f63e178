"""How fast is a folder read?

python benchmarks/reading.py midi_data/

Files a second, cold, the start of the processes left out, beside pretty_midi in turn. How soon a training begins:
`whole_job.py`.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

import click
import pretty_midi

from seqgan_music import corpus


def files_a_second(folder: Path, processes: int) -> float:
    """Files read by so many processes, after the first result has come."""
    began = 0.0

    def note_the_first(done: int, _: int) -> None:
        nonlocal began
        began = began or time.perf_counter()

    found = corpus.read_corpus(folder, processes=processes, progress=note_the_first)
    return (len(found) + len(found.refusals) - 1) / (time.perf_counter() - began)


def by_pretty_midi(files: list[Path]) -> float:
    """Files a second that pretty_midi opens."""
    began = time.perf_counter()
    for file in files:
        pretty_midi.PrettyMIDI(str(file))
    return len(files) / (time.perf_counter() - began)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--repeats", default=3, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures there, too.")
def main(folder: Path, repeats: int, json_file: Path | None) -> None:
    """Measure reading on a folder of MIDI."""
    files = sorted(folder.rglob("*.mid"))
    figures: dict[str, list[float]] = {name: [] for name in ("1 process", "2 processes", "pretty_midi")}
    for _ in range(repeats):
        figures["1 process"].append(files_a_second(folder, 1))
        figures["2 processes"].append(files_a_second(folder, 2))
        figures["pretty_midi"].append(by_pretty_midi(files[: max(1, len(files) // 4)]))
    for name, values in figures.items():
        click.echo(f"{name:<12} {statistics.median(values):8.0f} files a second ({min(values):.0f}-{max(values):.0f})")
    if json_file:
        json_file.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
