"""A run's measurements kept beside it in ``scores.npz``, with the score of every sample.

``report.json`` has the means, which are what a person reads; a test over samples needs each sample's number. They are
used again as long as nothing has changed that they depend on: weights, windows, number and seed of the samples, device,
code and versions.
"""

from __future__ import annotations

import functools
import inspect
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from seqgan_music import checkpoint, files
from seqgan_music.cache import digest
from seqgan_music.evaluation import Evaluation, beside_anchors, check_run, draw, evaluate_run
from seqgan_music.versions import versions

if TYPE_CHECKING:
    from seqgan_music.run import Run

FILE = "scores.npz"
CODE = ("evaluation/__init__.py", "metrics/*.py", "run.py", "sampling.py", "dataset.py", "notes.py", "tokenizers/*.py")
"""What measures and samples, beside the run's own tokenizer and generator."""


def of(
    run: Run,
    *,
    samples: int = 1000,
    seed: int = 0,
    device: str = "auto",
    temperatures: Sequence[tuple[str, float]] = (),
    on_measuring: Callable[[Run], None] | None = None,
) -> Evaluation:
    """`seqgan_music.evaluation.evaluate_run`, unless the run has the same measurements already; kept for the next time.

    Parameters
    ----------
    run, samples, seed, device
        As there.
    temperatures : sequence of (str, float)
        A stage and a temperature: more rows, called `at`, whose likelihood is not measured.
    on_measuring : callable, optional
        Called before the run is measured anew, which takes a while.

    Returns
    -------
    Evaluation
        With rows, facts and scores; without sets and references where it was kept.
    """
    check_run(run, samples, seed)
    depends = _depends(run, samples, seed, device)
    found = _read(run.directory / FILE, depends)
    missing = [one for one in temperatures if found is None or at(*one) not in found.rows]
    if found is not None and not missing:
        return found
    if on_measuring is not None:
        on_measuring(run)
    evaluation = found or evaluate_run(run, samples=samples, seed=seed, device=device)
    if missing:
        sets = {
            at(stage, temperature): draw(run, samples, stage=stage, temperature=temperature, seed=seed, device=device)
            for stage, temperature in missing
        }
        more = beside_anchors(sets, run.dataset, run.dataset.test, run.tokenizer, samples=samples, seed=seed)
        evaluation.rows.update({name: more.rows[name] for name in sets})
        evaluation.scores.update({name: more.scores[name] for name in sets})
    _write(run.directory / FILE, depends, evaluation)
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
    _write(run.directory / FILE, _depends(run, samples, evaluation.facts["seed"], device), evaluation)


def _depends(run: Run, samples: int, seed: int, device: str) -> dict[str, Any]:
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
        "versions": versions(),
    }


@functools.cache
def _content(path: Path) -> bytes:
    """Of a file of code, once: what is loaded does not change when the file does."""
    return path.read_bytes()


def _write(path: Path, depends: dict[str, Any], evaluation: Evaluation) -> None:
    arrays: dict[str, Any] = {
        f"{row}/{name}": one for row, of_row in evaluation.scores.items() for name, one in of_row.items()
    }
    about = {"depends": depends, "rows": evaluation.rows, "facts": evaluation.facts}
    stream = io.BytesIO()
    np.savez_compressed(stream, about=np.array(json.dumps(about)), **arrays)
    files.write_whole(path, stream.getvalue())


def _read(path: Path, depends: dict[str, Any]) -> Evaluation | None:
    """What was kept, unless it is missing, damaged or stale."""
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as found:
            about = json.loads(str(found["about"]))
            if about["depends"] != json.loads(json.dumps(depends)):
                return None
            scores: dict[str, dict[str, np.ndarray]] = {row: {} for row in about["rows"]}
            for key in found.files:
                row, slash, name = key.rpartition("/")
                if slash:
                    scores[row][name] = found[key]
            return Evaluation(about["rows"], about["facts"], scores)
    except (OSError, ValueError, LookupError, TypeError, EOFError, zipfile.BadZipFile):
        return None
