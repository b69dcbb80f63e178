"""Branch adversarial trainings of different settings from one pre-trained generator: how near to real comes each?

    seqgan-music train midi_data/ -a mle -s algorithm.epochs=12 -s algorithm.patience=2 -o runs/start
    python benchmarks/pilots.py runs/start --seconds 240 \\
        "plain" "kl algorithm.kl=0.1" "roll-outs algorithm.rollouts=8 algorithm.policy_batch_size=64"

A variant is a name and settings over those of the preset; what is said of the generator is that of the run. All
variants start from the run's weights of the generator, from the same random numbers, and are measured on the validation
tunes alone (`seqgan_music.evaluation.Closeness`): nothing here looks at a test tune. The seconds are those of the
processor, in which a variant may do as many rounds as it can, so that a slow one is compared with a quick one at equal
cost. The table has, for each, the mean over its last rounds and its best round; the best of many noisy rounds is too
good, so judge by the mean.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from seqgan_music import building, config
from seqgan_music.evaluation import Closeness
from seqgan_music.run import Run
from seqgan_music.run_settings import resolve

FIGURES = (*Closeness.FIGURES, "distance_validation")
LAST = 5


def variant(text: str, run: Run, preset: str) -> tuple[str, config.Config]:
    """Name and resolved settings."""
    name, *assignments = text.split()
    own = config.merge(*[config.parse_assignment(assignment) for assignment in assignments])
    base = config.preset(preset)
    of_run = {section: run.settings[section] for section in ("run", "reading", "data", "tokenizer", "generator")}
    return name, resolve(config.merge(base, of_run, own))


def pilot(run: Run, settings: config.Config, closeness: Closeness, seconds: float, out: Any) -> list[dict[str, float]]:
    """What every round of the adversarial phase gave, until the time is over."""
    parts, algorithm = building.build(settings, run.tokenizer, run.dataset)
    parts.generator.load_state_dict(run.generator("mle", "cpu").state_dict())
    algorithm.pretraining.completed = True
    seed = settings["run"]["seed"]
    begun, beside, rounds = time.process_time(), 0.0, []
    for record in algorithm:
        spent = time.process_time() - begun - beside
        if record.phase != "adversarial":
            continue
        measured = closeness.of_generator(parts.generator, parts.dataset, seed)
        rounds.append({"round": record.step, "seconds": spent, **record.values, **measured})
        out.write(json.dumps(rounds[-1]) + "\n")
        out.flush()
        beside = time.process_time() - begun - spent
        if spent >= seconds:
            break
    return rounds


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("variants", nargs=-1, required=True)
@click.option("--preset", default="default", show_default=True)
@click.option("--seconds", default=240.0, show_default=True, help="Of the processor, for each variant.")
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("pilots"), show_default=True)
def main(run: Path, variants: tuple[str, ...], preset: str, seconds: float, out: Path) -> None:
    """Pilot adversarial trainings from the generator of RUN's stage mle."""
    opened = Run(run)
    closeness = Closeness(opened.dataset, opened.tokenizer, opened.settings["run"]["seed"])
    out.mkdir(parents=True, exist_ok=True)
    click.echo(f"threads {torch.get_num_threads()}; {closeness.size} samples a round")
    click.echo(f"| variant | rounds | seconds | {' | '.join(FIGURES)} | nll | unique | best distance (round) |")
    click.echo("|" + "---|" * (6 + len(FIGURES)))
    real = " | ".join(f"{closeness.target[name]:.3f}" for name in closeness.FIGURES)
    click.echo(f"| real | | | {real} | 0 | | | |")
    start = closeness.of_generator(opened.generator("mle", "cpu"), opened.dataset, opened.settings["run"]["seed"])
    click.echo(f"| mle | | | {' | '.join(f'{start[name]:.3f}' for name in FIGURES)} | | | |")
    for text in variants:
        name, settings = variant(text, opened, preset)
        with open(out / f"{name}.jsonl", "w", encoding="utf-8") as file:
            rounds = pilot(opened, settings, closeness, seconds, file)
        last = rounds[-LAST:]
        best = min(rounds, key=lambda values: values["distance_validation"])
        means = {key: float(np.mean([values[key] for values in last])) for key in last[0]}
        click.echo(
            f"| {text} | {len(rounds)} | {rounds[-1]['seconds']:.0f} | "
            + " | ".join(f"{means[name]:.3f}" for name in FIGURES)
            + f" | {means['nll_validation']:.3f} | {means['unique']:.3f} "
            f"| {best['distance_validation']:.3f} ({best['round']}) |"
        )


if __name__ == "__main__":
    main()
