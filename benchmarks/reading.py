"""How fast is a folder read, and how soon does a training begin?

python benchmarks/reading.py midi_data/

Files a second, cold, the start of the processes left out, beside pretty_midi in turn; and the seconds from the start of
the command `train` to its first batch, the first time and once the cache is filled.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import pretty_midi

from seqgan_music import corpus

TO_THE_FIRST_BATCH = """
import os, sys
from seqgan_music import dataset, experiment

train = experiment.Experiment.__iter__

def stop_at_the_first_batch(self):
    dataset.Windows.batches = lambda *_: os._exit(0)
    return train(self)

experiment.Experiment.__iter__ = stop_at_the_first_batch
from seqgan_music_cli.main import main
main(sys.argv[1:])
"""


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


def seconds_to_first_batch(folder: Path, work: Path, number: int) -> float:
    """From the start of ``seqgan-music train`` to the first batch of its first epoch."""
    began = time.perf_counter()
    environment = os.environ | {"SEQGAN_MUSIC_CACHE": str(work / "cache")}
    command = [sys.executable, "-c", TO_THE_FIRST_BATCH, "train", str(folder), "--run", str(work / f"run-{number}")]
    subprocess.run(command, check=True, env=environment, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--repeats", default=3, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures there, too.")
def main(folder: Path, repeats: int, json_file: Path | None) -> None:
    """Measure reading and starting on a folder of MIDI."""
    files = sorted(folder.rglob("*.mid"))
    figures: dict[str, list[float]] = {name: [] for name in ("1 process", "2 processes", "pretty_midi")}
    for _ in range(repeats):
        figures["1 process"].append(files_a_second(folder, 1))
        figures["2 processes"].append(files_a_second(folder, 2))
        figures["pretty_midi"].append(by_pretty_midi(files[: max(1, len(files) // 4)]))
    with tempfile.TemporaryDirectory() as work:
        starts = [seconds_to_first_batch(folder, Path(work), number) for number in range(1 + repeats)]
    for name, values in figures.items():
        click.echo(f"{name:<12} {statistics.median(values):8.0f} files a second ({min(values):.0f}-{max(values):.0f})")
    click.echo(f"first start  {starts[0]:8.2f} s to the first batch, the estimate of the time among them")
    click.echo(f"later starts {statistics.median(starts[1:]):8.2f} s ({min(starts[1:]):.2f}-{max(starts[1:]):.2f})")
    if json_file:
        json_file.write_text(json.dumps(figures | {"first batch": starts}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
