"""How long does each objective take for a batch, and what has it on real music and on noise?

python benchmarks/objectives.py --means midi_data/

The batch is that of Monte-Carlo search: 35,000 sequences of 36 steps, two bars and more of tunes with some tokens
changed. The best of some repeats, in milliseconds. The means are over the training windows of the default preset and
over as many rows of tokens drawn uniformly from its notes, holds and rests: the objectives' `REAL` and `NOISE`.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import click
import torch
from torch import Tensor

from seqgan_music import config, corpus, experiment, objectives, registry
from seqgan_music.dataset import Dataset
from seqgan_music.experiment import Material
from seqgan_music.notes import Melodies
from seqgan_music.objectives import Objective

MIDI_DATA = Path(__file__).parents[1] / "midi_data"
CHANGED = 0.1  # of the tokens of the timed batch
AT_ONCE = 8192


def every_objective() -> dict[str, Objective]:
    table = objectives.OBJECTIVES
    return {name: registry.resolve(table, "objective", name)() for name in table}


def material(folder: Path) -> Material:
    """The default preset's tokenizer and windows of a folder."""
    return experiment.prepare(corpus.read_corpus(folder), config.preset("default"))


def noise(data: Dataset, rows: int, length: int, rng: torch.Generator) -> Tensor:
    """Tokens (rows, length) drawn uniformly from those that make music."""
    drawable = torch.tensor([token for token in range(data.vocab_size) if token not in {*data.never, data.end_id}])
    return drawable[torch.randint(len(drawable), (rows, length), generator=rng)]


def means(from_: Material) -> dict[str, tuple[float, float, float]]:
    """Mean of each objective on real windows and on noise, and the share of the real ones where it is undefined."""
    ids, start = from_.data.train[:]
    random = noise(from_.data, len(ids), ids.shape[1], torch.Generator().manual_seed(1))
    found = {}
    for name, objective in every_objective().items():
        real, made_up = (
            torch.cat(
                [
                    objective(from_.tokenizer.melodies(*rows))
                    for rows in zip(tokens.split(AT_ONCE), start.split(AT_ONCE), strict=True)
                ]
            )
            for tokens in (ids, random)
        )
        found[name] = real.nanmean().item(), made_up.nanmean().item(), real.isnan().float().mean().item()
    return found


def batch(from_: Material, rows: int, length: int) -> Melodies:
    """Real windows with some tokens changed, so many of such a length."""
    rng = torch.Generator().manual_seed(1)
    ids, start = from_.data.train[torch.randint(len(from_.data.train), (rows,), generator=rng)]
    ids = ids.repeat(1, math.ceil(length / ids.shape[1]))[:, :length]
    changed = torch.rand(ids.shape, generator=rng) < CHANGED
    return from_.tokenizer.melodies(torch.where(changed, noise(from_.data, rows, length, rng), ids), start)


def milliseconds(objective: Objective, melodies: Melodies, repeats: int) -> float:
    best = math.inf
    for _ in range(repeats + 1):
        began = time.perf_counter()
        objective(melodies)
        best = min(best, time.perf_counter() - began)
    return best * 1000


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default=MIDI_DATA)
@click.option("--rows", default=35_000, show_default=True)
@click.option("--length", default=36, show_default=True)
@click.option("--repeats", default=5, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--means", "with_means", is_flag=True, help="Of real windows and of noise, too.")
def main(folder: Path, rows: int, length: int, repeats: int, threads: int, with_means: bool) -> None:
    torch.set_num_threads(threads)
    read = material(folder)
    melodies = batch(read, rows, length)
    measured = means(read) if with_means else {}
    click.echo(f"{rows} sequences of {length} steps, at most {melodies.pitch.shape[1]} notes, {threads} threads")
    click.echo(f"{'':<22}{'ms':>7}" + (f"{'real':>9}{'noise':>9}{'undefined':>11}" if with_means else ""))
    for name, objective in every_objective().items():
        taken = f"{name:<22}{milliseconds(objective, melodies, repeats):7.1f}"
        if with_means:
            real, made_up, undefined = measured[name]
            taken += f"{real:9.4f}{made_up:9.4f}{undefined:11.2%}"
        click.echo(taken)


if __name__ == "__main__":
    main()
