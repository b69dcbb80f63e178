"""How soon does ``seqgan-music train`` begin, and what does a whole training spend its time on?

python benchmarks/whole_job.py midi_data/ --preset default

The seconds from the start of the command to its first epoch: with an empty cache, where kernels have to be compiled
too; with the corpus read and the kernels compiled before, but no estimate of the time for these settings; and with all.
Then a training with few records of each phase, whose seconds are scaled to the whole schedule: of each kind of work the
share of the time.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import click
import measuring
import torch

from seqgan_music import (
    checkpoint,
    config,
    corpus,
    experiment,
    formats,
    html_report,
    run_settings,
    tensorboard,
    timing,
)
from seqgan_music.algorithms import policy, pretraining
from seqgan_music.errors import UsageError
from seqgan_music.run import Run

MIDI_DATA = Path(__file__).parents[1] / "midi_data"
STOPPED_AT_THE_FIRST_EPOCH = """
import os, sys, time
from seqgan_music import dataset, experiment

if __name__ == "__main__":
    train = experiment.Experiment.__iter__

    def stop_at_the_first_batch(self):
        def first(*_):
            print(time.time(), flush=True)
            os._exit(0)

        dataset.Windows.batches = first
        return train(self)

    experiment.Experiment.__iter__ = stop_at_the_first_batch
    from seqgan_music_cli.main import main
    main(sys.argv[1:])
"""
NETWORKS = ("likelihood epochs", "sampling", "search", "policy updates", "training of D")
ELSE = "everything else"
WORK: dict[str, list[tuple[Any, str]]] = {
    "likelihood epochs": [(pretraining, "likelihood_epoch")],
    "sampling": [(pretraining, "generate"), (policy, "generate")],
    "search": [(policy.PolicyTraining, "search")],
    "policy updates": [(policy.PolicyTraining, "update")],
    "training of D": [(pretraining.DiscriminatorTraining, "train_epoch")],
    "accuracy of D": [(pretraining.DiscriminatorTraining, "accuracy")],
    "validation likelihood": [(pretraining, "negative_log_likelihood"), (policy, "negative_log_likelihood")],
    "objectives and unique share": [(policy.PolicyTraining, "measure")],
    "closeness": [(experiment.Experiment, "_closeness")],
    "checkpoints": [(checkpoint, "save")],
    "log": [(experiment.Experiment, "_log")],
    "TensorBoard": [(tensorboard.EventFiles, name) for name in ("__enter__", "add", "__exit__")],
    "building": [(experiment.Experiment, "create")],
    "evaluation": [(Run, "evaluate")],
    "samples as MIDI": [(formats, "write_all")],
    "pages": [(html_report, "write")],
}
"""The functions that do each kind of work; what is called within another counts for itself."""


class Stopwatch:
    """Seconds by kind of work, each second counted once: for the innermost work that runs."""

    def __init__(self, processor: bool = False) -> None:
        self.running = [ELSE]
        self.clock = measuring.Clock(processor)
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def take(self) -> dict[str, float]:
        """Seconds since the last time this was asked."""
        self._count()
        taken, self.seconds = dict(self.seconds), defaultdict(float)
        return taken

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Count all of `WORK`."""
        with contextlib.ExitStack() as patches:
            for kind, functions in WORK.items():
                for owner, name in functions:
                    original = vars(owner)[name]
                    bound = isinstance(original, classmethod)
                    counted = self._counted(kind, original.__func__ if bound else original)
                    patches.enter_context(mock.patch.object(owner, name, classmethod(counted) if bound else counted))
            yield

    def _counted(self, kind: str, function: Any) -> Any:
        @functools.wraps(function)
        def run(*arguments: Any, **options: Any) -> Any:
            self._count()
            self.running.append(kind)
            try:
                return function(*arguments, **options)
            finally:
                self._count()
                self.running.pop()

        return run

    def _count(self) -> None:
        self.seconds[self.running[-1]] += self.clock.lap()


def shares(
    source: Any,
    settings: Mapping[str, Mapping[str, Any]],
    directory: Path,
    few: Mapping[str, int],
    processor: bool = False,
) -> dict[str, Any]:
    """Train with few records of each phase, and finish the run.

    Parameters
    ----------
    source : Corpus
    settings : mapping
        Sections of options.
    directory : Path
        For the run.
    few : mapping of str to int
        Records of each phase, by phase.
    processor : bool
        Count seconds of the processor.

    Returns
    -------
    dict
        ``work``: of each kind of work its ``seconds`` in a training with all records there can be, and their ``share``;
        ``outside``: the share of all that is done outside the networks' own training and sampling; ``seconds`` of it
        all; ``first_record``: seconds of the first epoch.
    """
    resolved = run_settings.resolve(settings)
    phases = timing.schedule_of(resolved)
    assert phases is not None
    full = {phase: int(resolved["algorithm"][entry.records]) for phase, entry in phases.items() if entry.records}
    shortened = config.merge(resolved, {"algorithm": {phases[phase].records: number for phase, number in few.items()}})
    watch = Stopwatch(processor)
    by_phase: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    counts: defaultdict[str, int] = defaultdict(int)
    first_record = 0.0

    def add(phase: str) -> None:
        for kind, seconds in watch.take().items():
            by_phase[phase][kind] += seconds

    with tempfile.TemporaryDirectory() as elsewhere:  # clocks all phases, and so has their kernels compiled
        experiment.Experiment.create(source, shortened, Path(elsewhere) / "run", adjust=timing.Timer())
    watch.take()
    with watch.watching():
        training = experiment.Experiment.create(source, shortened, directory)
        add("once")
        for record, _ in training:
            first_record = first_record or record.values["seconds"]
            add(record.phase)
            counts[record.phase] += 1
        Run(directory).finish()
        add("once")
    work: defaultdict[str, float] = defaultdict(float)
    for phase, kinds in by_phase.items():
        for kind, seconds in kinds.items():
            work[kind] += seconds * full.get(phase, 1) / counts.get(phase, 1)
    total = sum(work.values())
    return {
        "work": {
            kind: {"seconds": work[kind], "share": work[kind] / total} for kind in sorted(work, key=work.get)[::-1]
        },
        "outside": sum(seconds for kind, seconds in work.items() if kind not in NETWORKS) / total,
        "seconds": total,
        "first_record": first_record,
    }


def seconds_to_first_epoch(arguments: list[str], cache: Path, directory: Path) -> float:
    """From the start of ``seqgan-music train`` to the first batch of its first epoch."""
    caches = {"SEQGAN_MUSIC_CACHE": str(cache), "NUMBA_CACHE_DIR": str(cache / "kernels")}
    environment = os.environ | caches | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "stopped.py"  # a file, for reading starts processes
        script.write_text(STOPPED_AT_THE_FIRST_EPOCH)
        command = [sys.executable, str(script), "train", *arguments, "--run", str(directory)]
        began = time.time()
        child = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if child.returncode:
        raise RuntimeError(f"the training did not begin:\n{child.stderr}")
    return float(child.stdout) - began


def starts(folder: Path, preset: str, repeats: int) -> dict[str, list[float]]:
    """Seconds to the first epoch with an empty cache, one that lacks only an estimate of the time, and one with all."""
    found: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as work:
        for repeat in range(repeats):
            for name, seed in (("empty cache", 1), ("corpus read before", 2), ("all known", 2)):
                cache = Path(work) / f"cache-{repeat}"
                arguments = [str(folder), "-p", preset, "--seed", str(seed)]
                run = Path(work) / f"run-{repeat}-{name}"
                found[name].append(seconds_to_first_epoch(arguments, cache, run))
    return dict(found)


def describe(result: dict[str, Any]) -> str:
    """Seconds of the starts, shares of the rest."""
    lines = []
    for name, seconds in result["starts"].items():
        middle, low, high = statistics.median(seconds), min(seconds), max(seconds)
        lines.append(f"{name:32} {middle:6.2f} s to the first epoch ({low:.2f} - {high:.2f})")
    whole = result["whole"]
    lines.append(f"the first epoch took {whole['first_record']:.2f} s; of a whole training")
    for kind, found in whole["work"].items():
        lines.append(f"  {kind:30} {found['share']:7.1%}{'' if kind in NETWORKS else '   outside the networks'}")
    lines.append(f"outside the networks in all: {whole['outside']:.1%}")
    return "\n".join(lines)


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default=MIDI_DATA)
@click.option("--preset", default="default", show_default=True)
@click.option("--repeats", default=3, show_default=True, type=click.IntRange(min=1), help="Of each start.")
@click.option("--epochs", default=1, show_default=True, type=click.IntRange(min=1), help="Of likelihood training.")
@click.option("--sets", default=2, show_default=True, type=click.IntRange(min=1), help="Of discriminator training.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(min=1))
@click.option("--threads", default=torch.get_num_threads(), type=click.IntRange(min=1), help="Of PyTorch.")
@click.option("--processor", is_flag=True, help="For the shares, seconds of the processor: with one thread.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures there.")
def main(
    folder: Path,
    preset: str,
    repeats: int,
    epochs: int,
    sets: int,
    rounds: int,
    threads: int,
    processor: bool,
    json_file: Path | None,
) -> None:
    if processor and threads > 1:
        raise click.UsageError("--processor counts threads that wait for each other too; give --threads 1")
    try:
        settings = config.preset(preset)
    except UsageError as error:
        raise click.UsageError(str(error)) from error
    with measuring.settings(threads), tempfile.TemporaryDirectory() as work:
        result = {
            "preset": preset,
            "starts": starts(folder, preset, repeats),
            "whole": shares(
                corpus.read_corpus(folder),
                settings,
                Path(work) / "run",
                {"mle": epochs, "discriminator": sets, "adversarial": rounds},
                processor,
            ),
            "conditions": measuring.conditions(),
        }
    click.echo(measuring.in_words(result["conditions"]))
    click.echo(describe(result))
    if json_file:
        json_file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
