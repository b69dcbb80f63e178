"""Samples of every model, and what they are like: how probable the oracle finds them, and how different they are.

All models are measured in the same way, by `samples` sequences of each seed from the generator that the training ended
with; the likelihood models at other temperatures too. Beside them stand as many fresh sequences of the oracle itself
and as many of uniform tokens. What was measured is kept, with the samples, in ``samples.npz`` of a run and
``anchors.npz`` of the experiment, and used again as long as nothing has changed that it depends on.
"""

from __future__ import annotations

import functools
import inspect
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
from torch import Tensor

from seqgan_music import building, checkpoint, files, reproduction, run_directory
from seqgan_music.cache import digest
from seqgan_music.evaluation import finite
from seqgan_music.metrics.bleu import self_bleu
from seqgan_music.metrics.diversity import unique_share
from seqgan_music.reproduction.oracle.distribution import per_token_nll
from seqgan_music.versions import versions

if TYPE_CHECKING:
    from seqgan_music.dataset import Dataset
    from seqgan_music.reproduction.oracle import Model
    from seqgan_music.reproduction.oracle.distribution import Oracle
    from seqgan_music.reproduction.oracle.training import Runs
    from seqgan_music.run import Run

FILE, ANCHORS = "samples.npz", "anchors.npz"
ADVERSARIAL = "adversarial"
ORACLE, UNIFORM = "oracle", "uniform"
NLL_ORACLE, SPREAD, NLL_TEST, UNIQUE, SECONDS = "nll_oracle", "nll_oracle_std", "nll_test", "unique", "seconds"
SELF_BLEU = {f"self_bleu_{n}": n for n in (2, 3, 4, 5)}
FIGURES = (NLL_ORACLE, SPREAD, NLL_TEST, UNIQUE, *SELF_BLEU)
"""Of samples; of a run there is `SECONDS` too."""
GROUP = 1000
"""Samples within which Self-BLEU is taken, for it grows with their number."""
SEED_OF_ANCHORS = 711_262_016
"""One that nobody draws training sequences with, or the oracle's fresh sequences could be those."""
CODE = (
    *("reproduction/oracle/measuring.py", "reproduction/oracle/distribution.py"),
    *("run.py", "sampling.py", "losses.py", "dataset.py", "generators/lstm.py"),
    *("metrics/bleu.py", "metrics/diversity.py", "metrics/sequences.py"),
)
"""What measures and samples."""

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Measured:
    """A set of samples.

    Parameters
    ----------
    figures : dict of str to float
        NaN where a figure is not defined.
    ids : ndarray (M, T), int
    nll : ndarray (M,), float64
        NLL_oracle of each sample, in nats per token.
    """

    figures: Figures
    ids: np.ndarray
    nll: np.ndarray


@dataclass(frozen=True, slots=True)
class Table:
    """What was measured of the models that are trained.

    Parameters
    ----------
    models : list of Model
        Those of which a seed was measured.
    rows : dict of str to dict of int to dict of str to float
        Model → seed → figure → value; NaN where it is not defined.
    curves : dict of str to dict of float to dict of int to dict of str to float
        Model that is measured at other temperatures → temperature → seed → figure → value.
    anchors : dict of str to dict of str to float
        `ORACLE` and `UNIFORM`.
    scores : dict of str to dict of int to ndarray
        Model → seed → NLL_oracle of each sample.
    epochs : list of dict
        The log of every model and seed, but for the training of the discriminator, with ``epoch``: likelihood epochs
        and rounds, counted through.
    facts : dict
        Sizes, seeds, versions: what the numbers depend on.
    """

    models: list[Model]
    rows: dict[str, dict[int, Figures]]
    curves: dict[str, dict[float, dict[int, Figures]]]
    anchors: dict[str, Figures]
    scores: dict[str, dict[int, np.ndarray]] = field(default_factory=dict)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def figures(ids: Tensor, nll: np.ndarray) -> Figures:
    """What a set of samples is like.

    Parameters
    ----------
    ids : Tensor (M, T), int64
    nll : ndarray (M,)
        NLL_oracle of each, in nats per token.

    Returns
    -------
    dict of str to float
        `NLL_ORACLE`, its mean; `SPREAD`, its standard deviation over samples; `UNIQUE`, the share of different samples;
        Self-BLEU-n of each sample against the others of its group of `GROUP`, mean over all groups that are full (of
        all samples, where there are fewer).
    """
    rows = ids.numpy()
    size = min(GROUP, len(rows))
    own = [self_bleu(rows[first : first + size], max(SELF_BLEU.values())) for first in range(0, len(rows), size)]
    groups = np.concatenate([group for group in own if len(group) == size])
    return {
        NLL_ORACLE: float(nll.mean()),
        SPREAD: float(nll.std(ddof=1)) if len(nll) > 1 else math.nan,
        UNIQUE: unique_share(rows),
        **{name: float(groups[:, n - 1].mean()) for name, n in SELF_BLEU.items()},
    }


def measure(
    runs: Runs,
    asked: Iterable[tuple[int, Iterable[Model]]],
    oracle: Oracle,
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
    asked : iterable of (int, iterable of Model)
        Seeds and models that are to be measured; one that is not shown is not.
    oracle : Oracle
    samples : int
        Of every model and seed, at least 2.
    temperatures : sequence of float
        At which models that are to be are measured beside 1.
    device : str
        Where samples are drawn and judged.
    on_measuring : callable, optional
        Called before a run is measured anew.
    """
    oracle = oracle.to(building.choose_device(device))
    wanted = {(seed, model.name) for seed, models in asked for model in models if model.shown}
    measured: dict[tuple[int, str], dict[float, Measured]] = {}
    for seed, model in _shown(runs):
        if (seed, model.name) in wanted:
            grid = sorted({1.0, *temperatures}) if model.tempered else [1.0]
            run = runs.run(seed, model.name)
            measured[seed, model.name] = of_run(
                run, oracle, grid, samples=samples, device=device, on_measuring=on_measuring
            )
    # Measuring takes long: what another process has measured meanwhile is read after it.
    rows: dict[str, dict[int, Figures]] = {}
    curves: dict[str, dict[float, dict[int, Figures]]] = {}
    scores: dict[str, dict[int, np.ndarray]] = {}
    left_out = []
    finished = _shown(runs)
    for seed, model in finished:
        found = measured.get((seed, model.name))
        if found is None:
            found = of_run(runs.run(seed, model.name), oracle, [], samples=samples, device=device)
        if 1.0 not in found:
            left_out.append(f"seed-{seed}/{model.name}")
            continue
        log = run_directory.read_log(runs.place(seed, model.name))
        seconds = {SECONDS: math.fsum(record.get("seconds") or 0.0 for record in log)}
        rows.setdefault(model.name, {})[seed] = found[1.0].figures | seconds
        scores.setdefault(model.name, {})[seed] = found[1.0].nll
        if model.tempered:
            for temperature, one in found.items():
                curves.setdefault(model.name, {}).setdefault(temperature, {})[seed] = one.figures
    ordered: list[Model] = runs.named(rows)
    missing = sorted(wanted - {(seed, model.name) for seed, model in finished})
    data = runs.material.data
    return Table(
        ordered,
        {model.name: rows[model.name] for model in ordered},
        {model.name: curves[model.name] for model in ordered if model.name in curves},
        _anchors(runs.directory / ANCHORS, data, oracle, samples),
        {model.name: scores[model.name] for model in ordered},
        [one for model in ordered for seed in rows[model.name] for one in epochs(runs, seed, model.name)],
        {
            "oracle": {
                "vocab_size": oracle.vocab_size,
                "embedding": oracle.embedding,
                "hidden": oracle.hidden,
                "digest": oracle.digest,
                "published": oracle.published,
            },
            "options": dict(runs.options),
            "samples": samples,
            "group of Self-BLEU": min(GROUP, samples),
            "length": data.length,
            "windows": {part: len(getattr(data, part)) for part in ("train", "validation", "test")},
            "seeds": sorted({seed for of in rows.values() for seed in of}),
            "not finished": [f"seed-{seed}/{name}" for seed, name in missing],
            "finished, not measured like this": left_out,
            "settings": runs.resolved,
            "versions": versions(),
        },
    )


def _shown(runs: Runs) -> list[tuple[int, Model]]:
    return [(seed, model) for seed, model in runs.all_finished() if model.shown]


def epochs(runs: Runs, seed: int, model: str) -> list[dict[str, Any]]:
    """The log of a run on the axis of the paper's figures: likelihood epochs, then rounds."""
    log = [one for one in run_directory.read_log(runs.place(seed, model)) if one["phase"] != "discriminator"]
    return [
        {"model": model, "seed": seed, "epoch": epoch}
        | {name: value for name, value in record.items() if name not in ("model", "seed", "epoch", "of")}
        for epoch, record in enumerate(log, 1)
    ]


def of_run(
    run: Run,
    oracle: Oracle,
    temperatures: Sequence[float],
    *,
    samples: int,
    device: str = "auto",
    on_measuring: Callable[[Run], None] | None = None,
) -> dict[float, Measured]:
    """A run's last generator at these temperatures and at those that were measured before.

    Samples are drawn with the same random numbers for all temperatures.

    Parameters
    ----------
    run : Run
    oracle : Oracle
        On the device.
    temperatures : sequence of float
    samples : int
        At least 2.
    device : str
    on_measuring : callable, optional
        Called if anything is measured anew.
    """
    stage = ADVERSARIAL if ADVERSARIAL in run.stages else run.stages[-1]
    generator = run.generator(stage, device)
    ids, start = run.dataset.test.to(oracle.device)[slice(None)]

    def at(temperature: float) -> Measured:
        drawn, _ = run.sample(samples, stage=stage, temperature=temperature, seed=seed_of_samples(run), device=device)
        test = per_token_nll(generator, ids, start, temperature=temperature)
        return _measured(drawn, oracle, float(test.mean()))

    depends = _depends(oracle, run.dataset, samples) | {
        "stage": stage,
        "weights": checkpoint.digest(generator.state_dict()),
        "generator": digest(Path(inspect.getfile(type(generator))).read_bytes()).hex(),
    }

    def begin() -> None:
        if on_measuring is not None:
            on_measuring(run)

    wanted = {repr(float(temperature)): functools.partial(at, temperature) for temperature in temperatures}
    found = _kept(run.directory / FILE, depends, wanted, begin)
    return {float(name): one for name, one in sorted(found.items(), key=lambda item: float(item[0]))}


def seed_of_samples(run: Run) -> int:
    """Another for every model and seed: a test takes the samples of two models for independent of each other."""
    name = f"{run.directory.name} {run.settings['run']['seed']}"
    return int.from_bytes(digest(name)[:4], "big")


def _anchors(path: Path, data: Dataset, oracle: Oracle, samples: int) -> dict[str, Figures]:
    """The oracle's own sequences, and uniform tokens."""

    def of_oracle() -> Measured:
        rng = torch.Generator(oracle.device).manual_seed(SEED_OF_ANCHORS)
        test = oracle.nll(data.test[slice(None)][0])
        return _measured(oracle.sample(samples, data.length, rng).cpu(), oracle, float(test.mean()))

    def uniform() -> Measured:
        rng = np.random.default_rng(SEED_OF_ANCHORS)
        drawn = torch.from_numpy(rng.integers(0, oracle.vocab_size, (samples, data.length)))
        return _measured(drawn, oracle, math.log(oracle.vocab_size))

    found = _kept(path, _depends(oracle, data, samples), {ORACLE: of_oracle, UNIFORM: uniform})
    return {name: found[name].figures for name in (ORACLE, UNIFORM)}


def _measured(ids: Tensor, oracle: Oracle, nll_test: float) -> Measured:
    nll = oracle.nll(ids)
    of_samples = figures(ids, nll) | {NLL_TEST: nll_test}
    return Measured({name: of_samples[name] for name in FIGURES}, ids.numpy(), nll)


def _depends(oracle: Oracle, data: Dataset, samples: int) -> dict[str, Any]:
    """What every measurement depends on, as JSON gives it back."""
    package = Path(reproduction.__file__).parent.parent
    depends = {
        "oracle": oracle.digest,
        "windows": data.digest(),
        "samples": samples,
        "device": oracle.device.type,
        "threads": torch.get_num_threads(),
        "code": digest(*((package / name).read_bytes() for name in CODE)).hex(),
        "versions": versions(),
    }
    return reproduction.plain(depends)


def _kept(
    path: Path,
    depends: Mapping[str, Any],
    wanted: Mapping[str, Callable[[], Measured]],
    begin: Callable[[], None] = lambda: None,
) -> dict[str, Measured]:
    """What a file has, if it still holds, and of what is wanted the rest, which is measured and kept with it."""
    found = _read(path, depends)
    missing = [name for name in wanted if name not in found]
    if not missing:
        return found
    begin()
    for name in missing:
        found[name] = wanted[name]()
        arrays: dict[str, Any] = {}
        for other, one in found.items():
            small = np.int16 if one.ids.max() < 1 << 15 else np.int32
            arrays |= {f"ids {other}": one.ids.astype(small), f"nll {other}": one.nll}
        about = {"depends": depends, "figures": {other: finite(one.figures) for other, one in found.items()}}
        stream = io.BytesIO()
        np.savez_compressed(stream, about=np.array(json.dumps(about)), **arrays)
        files.write_whole(path, stream.getvalue())
    return found


def _read(path: Path, depends: Mapping[str, Any]) -> dict[str, Measured]:
    """What was kept, unless it is missing, damaged or stale."""
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as kept:
            about = json.loads(str(kept["about"]))
            if about["depends"] != depends:
                return {}
            return {
                name: Measured(
                    {figure: math.nan if value is None else float(value) for figure, value in values.items()},
                    kept[f"ids {name}"],
                    kept[f"nll {name}"],
                )
                for name, values in about["figures"].items()
            }
    except (OSError, ValueError, LookupError, TypeError, AttributeError, EOFError, zipfile.BadZipFile):
        return {}
