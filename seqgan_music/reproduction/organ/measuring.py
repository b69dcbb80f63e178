"""Songs of every model, and what they are like: objectives, diversity, likeness to real music.

All sets are measured in the same way: models by `samples` songs of each seed, real music by the windows of the
validation part, noise by as many uniform tokens. BLEU-4 is against the windows of the test part. Diversity is the mean
normalised edit distance of note events over pairs of songs. What was measured is kept with the run in ``songs.npz``,
with the songs, and used again as long as nothing has changed that it depends on.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from seqgan_music import checkpoint, files, measurements, registry, reproduction, run_directory
from seqgan_music.cache import digest
from seqgan_music.evaluation import MelodySet, draw, finite
from seqgan_music.evaluation.objectives import OBJECTIVE, Objectives
from seqgan_music.metrics.bleu import References
from seqgan_music.metrics.diversity import edit_distance_diversity, unique_share
from seqgan_music.objectives import OBJECTIVES as KNOWN
from seqgan_music.reproduction import organ
from seqgan_music.reproduction.organ import MIXTURE, MLE, OBJECTIVES, TARGETS
from seqgan_music.versions import versions

if TYPE_CHECKING:
    from seqgan_music.dataset import Dataset, Windows
    from seqgan_music.reproduction.organ import Model
    from seqgan_music.reproduction.organ.training import Runs
    from seqgan_music.run import Run
    from seqgan_music.tokenizers import Tokenizer

FILE = "songs.npz"
AUTHORS = tuple(f"organ_{name}" for name in OBJECTIVES)
MEASURED = (*OBJECTIVES, *AUTHORS, "key_clarity")
DIVERSITY, BLEU, UNIQUE, UNDEFINED = "diversity", "bleu_4", "unique", "undefined"
REAL, NOISE = "real", "noise"
BLEU_ORDER = 4
PAIRS = 10_000

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Table:
    """What was measured of the models that are trained.

    Parameters
    ----------
    models : list of Model
        Those of which a seed was measured, the pre-training of the discriminator left out.
    rows : dict of str to dict of int to dict of str to float
        Model → seed → figure → value; NaN where it is not defined.
    curve : dict of float to dict of int to dict of str to float
        Temperature of MLE → seed → figure → value.
    anchors : dict of str to dict of str to float
        `REAL` and `NOISE`.
    rounds : list of dict
        Of every model, seed and round what the log has of it.
    facts : dict
        Sizes, seeds, versions: what the numbers depend on.
    """

    models: list[Model]
    rows: dict[str, dict[int, Figures]]
    curve: dict[float, dict[int, Figures]]
    anchors: dict[str, Figures]
    rounds: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def figures(songs: MelodySet, references: References) -> Figures:
    """What a set of songs is like.

    Parameters
    ----------
    songs : MelodySet
        With its tokens.
    references : References
        Note events of real music.

    Returns
    -------
    dict of str to float
        Means of the objectives over the songs of which they are defined, `MIXTURE` the mean of the three; `UNDEFINED`
        the largest share of songs of which one of the three is not defined; `DIVERSITY`, `BLEU`, `UNIQUE`.
    """
    values = _objectives().measure(songs.melodies)
    means = {name: _mean(values[OBJECTIVE + name]) for name in MEASURED}
    assert songs.ids is not None
    return {
        **means,
        MIXTURE: float(np.mean([means[name] for name in OBJECTIVES])),
        DIVERSITY: edit_distance_diversity(songs.events, PAIRS).mean,
        BLEU: _mean(references.bleu(songs.events)[:, BLEU_ORDER - 1]),
        UNIQUE: unique_share(songs.ids),
        UNDEFINED: max(float(np.isnan(values[OBJECTIVE + name]).mean()) for name in OBJECTIVES),
    }


def measure(
    runs: Runs,
    models: Iterable[Model],
    seeds: Sequence[int],
    *,
    samples: int,
    temperatures: Sequence[float],
    device: str = "auto",
    on_measuring: Callable[[Run], None] | None = None,
) -> Table:
    """Measure those of some models that are finished, and add what was measured before of all others in the directory.

    Nothing that holds is measured again; other models, seeds and temperatures are only read. So two processes may
    measure parts of one experiment, and the later one has both.

    Parameters
    ----------
    runs : Runs
    models : iterable of Model
    seeds : sequence of int
        What is to be measured.
    samples : int
        Songs of every model and seed, at least 2.
    temperatures : sequence of float
        At which MLE is measured beside 1.
    device : str
        Where songs are drawn.
    on_measuring : callable, optional
        Called before a run is measured anew.
    """
    data, tokenizer = runs.material.data, runs.material.tokenizer
    known = References(_windows(data.test, tokenizer).events, BLEU_ORDER)
    anchors = {
        REAL: figures(_windows(data.validation, tokenizer), known),
        NOISE: figures(_noise(data, tokenizer, samples), known),
    }
    asked = {(seed, model.name) for model in models for seed in seeds}
    measured: dict[tuple[int, str], dict[float, Figures]] = {}
    for seed, model in _shown(runs):
        if (seed, model.name) in asked:
            grid = sorted({1.0, *temperatures}) if model.name == MLE else [1.0]
            run = runs.run(seed, model.name)
            measured[seed, model.name] = of_run(
                run, known, grid, samples=samples, device=device, on_measuring=on_measuring
            )
    # Measuring takes long: what another process has measured meanwhile is read after it.
    rows: dict[str, dict[int, Figures]] = {}
    curve: dict[float, dict[int, Figures]] = {}
    left_out = []
    for seed, model in _shown(runs):
        found = measured.get((seed, model.name))
        if found is None:
            found = of_run(runs.run(seed, model.name), known, [], samples=samples, device=device)
        if 1.0 not in found:
            left_out.append(f"seed-{seed}/{model.name}")
            continue
        rows.setdefault(model.name, {})[seed] = found[1.0]
        if model.name == MLE:
            for temperature, values in found.items():
                curve.setdefault(temperature, {})[seed] = values
    ordered = organ.named(rows)
    rows = {model.name: rows[model.name] for model in ordered}
    rounds = [
        {"model": name, "seed": seed, "round": record["step"]}
        | {figure: value for figure, value in record.items() if figure not in ("phase", "step", "of")}
        for name, of_seeds in rows.items()
        for seed in of_seeds
        for record in run_directory.read_log(runs.place(seed, name))
        if record["phase"] == "adversarial"
    ]
    facts = {
        "samples": samples,
        "real": len(_windows(data.validation, tokenizer)),
        "references": len(_windows(data.test, tokenizer)),
        "pairs for edit distance": PAIRS,
        "corpus": runs.material.corpus["root"],
        "pieces": runs.material.corpus["pieces"],
        "windows": runs.material.corpus["windows"],
        "seeds": sorted({seed for of in rows.values() for seed in of}),
        "finished, not measured like this": left_out,
        "settings": runs.resolved,
        "versions": versions(),
    }
    return Table(ordered, rows, curve, anchors, rounds, facts)


def _shown(runs: Runs) -> list[tuple[int, Model]]:
    """What is finished, but for the pre-training of the discriminator, whose generator is MLE's."""
    return [(seed, model) for seed, model in runs.all_finished() if model.name != organ.DISCRIMINATOR]


def of_run(
    run: Run,
    known: References,
    temperatures: Sequence[float],
    *,
    samples: int,
    device: str = "auto",
    on_measuring: Callable[[Run], None] | None = None,
) -> dict[float, Figures]:
    """Figures of a run's last generator at these temperatures and at those that were measured before.

    They are measured once, by the same random numbers for all.
    """
    stage = "adversarial" if "adversarial" in run.stages else MLE
    depends = _depends(run, stage, samples, device)
    found, arrays = _read(run.directory / FILE, depends)
    missing = [temperature for temperature in temperatures if temperature not in found]
    if missing and on_measuring is not None:
        on_measuring(run)
    for temperature in missing:
        songs = draw(
            run, samples, stage=stage, temperature=temperature, seed=run.settings["run"]["seed"], device=device
        )
        assert songs.ids is not None
        assert songs.start is not None
        found[temperature] = figures(songs, known)
        small = np.int16 if run.dataset.vocab_size < 1 << 15 else np.int32
        at = organ.exact(temperature)
        arrays[f"ids {at}"], arrays[f"start {at}"] = songs.ids.astype(small), songs.start.astype(small)
    if missing:
        about = {"depends": depends, "figures": [[at, finite(values)] for at, values in found.items()]}
        stream = io.BytesIO()
        np.savez_compressed(stream, about=np.array(json.dumps(about)), **arrays)
        files.write_whole(run.directory / FILE, stream.getvalue())
    return found


def _read(path: Path, depends: Mapping[str, Any]) -> tuple[dict[float, Figures], dict[str, Any]]:
    """What was kept, unless it is missing, damaged or stale."""
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as kept:
            about = json.loads(str(kept["about"]))
            if about["depends"] != depends:
                return {}, {}
            found = {
                float(at): {name: math.nan if value is None else float(value) for name, value in values.items()}
                for at, values in about["figures"]
            }
            return found, {name: kept[name] for name in kept.files if name != "about"}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, EOFError, zipfile.BadZipFile):
        return {}, {}


def _depends(run: Run, stage: str, samples: int, device: str) -> dict[str, Any]:
    """What figures depend on, as JSON gives it back."""
    package = Path(reproduction.__file__).parent.parent
    code = [path for pattern in measurements.CODE for path in sorted(package.glob(pattern))]
    generator = run.generator(stage, device)
    depends = {
        "stage": stage,
        "weights": checkpoint.digest(generator.state_dict()),
        "windows": run.dataset.digest(),
        "samples": samples,
        "device": next(generator.parameters()).device.type,
        "threads": torch.get_num_threads(),
        "code": digest(*(path.read_bytes() for path in [*code, Path(__file__)])).hex(),
        "versions": versions(),
    }
    return reproduction.plain(depends)


def _objectives() -> Objectives:
    return Objectives({name: registry.resolve(KNOWN, "objective", name)() for name in MEASURED}, OBJECTIVES)


def _windows(windows: Windows, tokenizer: Tokenizer) -> MelodySet:
    """Each once, in their order."""
    ids, start = windows[slice(None)]
    rows = np.sort(np.unique(torch.cat([start[:, None], ids], 1).numpy(), axis=0, return_index=True)[1])
    return MelodySet.of_tokens(tokenizer, ids[torch.from_numpy(rows)], start[torch.from_numpy(rows)])


def _noise(data: Dataset, tokenizer: Tokenizer, samples: int) -> MelodySet:
    """Uniform tokens, in the metres of the validation part."""
    rng = np.random.default_rng(0)
    drawable = [token for token in range(data.vocab_size) if token not in {*data.never, data.end_id}]
    start = data.validation.start[torch.arange(samples) % len(data.validation)].long()
    return MelodySet.of_tokens(tokenizer, torch.from_numpy(rng.choice(drawable, (samples, data.length))), start)


def _mean(values: np.ndarray) -> float:
    """Of what is defined; NaN if nothing is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else math.nan


assert set(TARGETS) <= {*OBJECTIVES, MIXTURE}, "every target is a figure of its own name"
