"""A run's measurements kept beside it in ``scores.npz``, with the score of every sample.

``report.json`` has the means, which are what a person reads; a test over samples needs each sample's number. They are
used again as long as nothing has changed that they depend on: weights, windows, number and seed of the samples, device,
code, the objectives of one's own among it, and versions. Where code of one's own may not be loaded, what was kept of it
is read, and not written over.
"""

from __future__ import annotations

import functools
import inspect
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from seqgan_music import checkpoint, files
from seqgan_music.cache import digest
from seqgan_music.evaluation import Evaluation, beside_anchors, check_run, draw, evaluate_run
from seqgan_music.evaluation.objectives import OBJECTIVE, UNDEFINED, Objectives, Told, unchanged
from seqgan_music.objectives.terms import name_and_wish
from seqgan_music.versions import versions

if TYPE_CHECKING:
    from seqgan_music.run import Run

FILE = "scores.npz"
CODE = (
    *(f"evaluation/{name}.py" for name in ("__init__", "melodies", "objectives", "phrases", "tokens", "windows")),
    *("metrics/*.py", "objectives/*.py"),
    *("run.py", "sampling.py", "dataset.py", "notes.py", "tokenizers/*.py"),
)
"""What measures and samples, beside the run's own tokenizer and generator."""


def of(
    run: Run,
    *,
    samples: int = 1000,
    seed: int = 0,
    device: str = "auto",
    temperatures: Sequence[tuple[str, float]] = (),
    objectives: Objectives | None = None,
    on_measuring: Callable[[Run], None] | None = None,
) -> Evaluation:
    """`seqgan_music.evaluation.evaluate_run`, unless the run has the same measurements already; kept for the next time.

    Parameters
    ----------
    run, samples, seed, device
        As there.
    temperatures : sequence of (str, float)
        A stage and a temperature: more rows, called `at`, whose likelihood is not measured.
    objectives : Objectives, optional
        `Objectives.of` the run, if left out.
    on_measuring : callable, optional
        Called before the run is measured anew, which takes a while.

    Returns
    -------
    Evaluation
        With rows, facts and scores; without sets and references where it was kept.
    """
    check_run(run, samples, seed)
    objectives = objectives or Objectives.of(run)
    depends = _depends(run, samples, seed, device, objectives)
    found = _read(run.directory / FILE, depends, objectives)
    missing = [one for one in temperatures if found is None or at(*one) not in found.rows]
    if found is not None and not missing:
        return found
    if on_measuring is not None:
        on_measuring(run)
    evaluation = found or evaluate_run(run, samples=samples, seed=seed, device=device, objectives=objectives)
    if missing:
        sets = {
            at(stage, temperature): draw(run, samples, stage=stage, temperature=temperature, seed=seed, device=device)
            for stage, temperature in missing
        }
        how: dict[str, Any] = {"samples": samples, "seed": seed, "objectives": objectives}
        more = beside_anchors(sets, run.dataset, run.dataset.test, run.tokenizer, **how)
        evaluation.rows.update({name: more.rows[name] for name in sets})
        evaluation.scores.update({name: more.scores[name] for name in sets})
    _write(run.directory / FILE, depends, replace(evaluation, objectives=objectives))
    return evaluation


def at(stage: str, temperature: float) -> str:
    """Name of the row of a stage at a temperature.

    Examples
    --------
    >>> at("mle", 0.9)
    'mle at 0.9'
    """
    return f"{stage} at {temperature:g}"


def keep(run: Run, evaluation: Evaluation, device: str = "auto") -> None:
    """Keep what `evaluate_run` has measured on the run's own test tunes, so that `of` finds it.

    Raises
    ------
    Failure
        The file cannot be written.
    """
    samples = evaluation.facts["samples"][run.stages[0]]
    depends = _depends(run, samples, evaluation.facts["seed"], device, evaluation.objectives)
    _write(run.directory / FILE, depends, evaluation)


def _depends(run: Run, samples: int, seed: int, device: str, objectives: Objectives) -> dict[str, Any]:
    """What measurements depend on, as JSON gives it back."""
    generators = {stage: run.generator(stage, device) for stage in run.stages}
    package = Path(__file__).parent
    code = [path for pattern in CODE for path in sorted(package.glob(pattern))]
    code += [Path(inspect.getfile(type(part))) for part in (run.tokenizer, *generators.values())]  # of one's own, too
    return {
        "weights": {stage: checkpoint.digest(generator.state_dict()) for stage, generator in generators.items()},
        "windows": run.dataset.digest(),
        "tokenizer": run.tokenizer.to_dict(),
        "samples": samples,
        "seed": seed,
        "device": str(next(generators[run.stages[0]].parameters()).device),
        "threads": torch.get_num_threads(),
        "code": digest(*map(_content, code)).hex(),
        "own objectives": objectives.code(),
        "versions": versions(),
    }


@functools.cache
def _content(path: Path) -> bytes:
    """Of a file of code, once: what is loaded does not change when the file does."""
    return path.read_bytes()


def _write(path: Path, depends: dict[str, Any], evaluation: Evaluation) -> None:
    """Keep measurements, unless those that are there hold and have more objectives, or some that are withheld here."""
    objectives, there = evaluation.objectives, _about(path)
    if there is not None:
        more = set(there["depends"]["own objectives"]).difference(depends["own objectives"])
        if more and (_holds(there, depends) or not more.isdisjoint(objectives.withheld)):
            return
    arrays: dict[str, Any] = {
        f"{row}/{name}": one for row, of_row in evaluation.scores.items() for name, one in of_row.items()
    }
    own = {name: objectives.measured[name] for name in depends["own objectives"]}
    told = {name: [objective.title, objective.description] for name, objective in own.items()}
    about = {"depends": depends, "rows": evaluation.rows, "facts": evaluation.facts, "told": told}
    stream = io.BytesIO()
    np.savez_compressed(stream, about=np.array(json.dumps(about)), **arrays)
    files.write_whole(path, stream.getvalue())


def _about(path: Path) -> dict[str, Any] | None:
    """What a file says of itself, unless it is missing or damaged."""
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as found:
            about: dict[str, Any] = json.loads(str(found["about"]))
            return about if isinstance(about["depends"]["own objectives"], dict) else None
    except (OSError, ValueError, LookupError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def _holds(about: dict[str, Any], depends: dict[str, Any]) -> bool:
    """Whether nothing has changed that measurements depend on; they may have more objectives than are asked for."""
    kept, asked = about["depends"]["own objectives"], depends["own objectives"]
    if any(kept.get(name) != source for name, source in asked.items()):
        return False
    same: bool = about["depends"] | {"own objectives": asked} == json.loads(json.dumps(depends))
    return same


def _read(path: Path, depends: dict[str, Any], objectives: Objectives) -> Evaluation | None:
    """What was kept, unless it is missing, damaged or stale; of objectives those that are asked for or withheld."""
    about = _about(path)
    if about is None:
        return None
    if not _holds(about, depends):
        return None
    kept, asked = about["depends"]["own objectives"], depends["own objectives"]
    try:
        told = {
            name: Told(*about["told"][name])
            for name in objectives.withheld
            if name in kept and unchanged(name, kept[name])
        }
        dropped = {kind + name for name in kept if name not in {*asked, *told} for kind in (OBJECTIVE, UNDEFINED)}
        rows = {
            row: {name: value for name, value in of.items() if name not in dropped} for row, of in about["rows"].items()
        }
        scores: dict[str, dict[str, np.ndarray]] = {row: {} for row in rows}
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as found:
            for key in found.files:
                row, slash, name = key.partition("/")  # an objective of one's own may have more of them
                if slash and name not in dropped:
                    scores[row][name] = found[key]
    except (OSError, ValueError, LookupError, TypeError, EOFError, zipfile.BadZipFile):
        return None
    left_out = tuple(text for text in objectives.left_out if name_and_wish(text)[0] not in told)
    known = replace(objectives, measured={**objectives.measured, **told}, left_out=left_out)
    return Evaluation(rows, about["facts"], scores, objectives=known)
