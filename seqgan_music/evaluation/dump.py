"""What an evaluation measured, sample by sample, as NumPy archives for an analysis of one's own."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqgan_music.dataset import PARTS
from seqgan_music.evaluation.melodies import MelodySet
from seqgan_music.files import make_folder, write_whole

if TYPE_CHECKING:
    from seqgan_music.evaluation import Evaluation
    from seqgan_music.metrics import Metric
    from seqgan_music.run import Run

REFERENCES, WINDOWS, README = "references", "windows", "README.json"
ARRAYS = {
    "tokens": "(M, T) tokens of each sample, -1 after the last; words are numbered in `tokenizer`",
    "ids": "(M, T) tokens of each sample without its start token; what they mean is in `tokenizer`",
    "start": "(M,) start token of each sample, which says its metre",
    "events": "(M, K) note events: duration in grid steps * 129 + MIDI pitch, 128 for a rest; 0 after the last",
    "lengths": "(M,) note events of each sample",
    "bar": "(M,) grid steps in a bar of each sample",
    "steps": "(M, S) what sounds in each grid step: MIDI pitch, -1 for a rest, -2 for a note held from before the "
    "window, -3 outside the melody",
}
SCORE = "(M,) score of each sample, NaN where it is not defined: "


def dump(evaluation: Evaluation, run: Run, directory: str | Path) -> list[Path]:
    """Write what an evaluation of a run measured: samples and scores of every row, the references, the run's windows.

    Each row becomes ``ROW.npz``; ``README.json`` says what every array of every file is. All of it is read by
    ``numpy.load`` without pickle.

    Parameters
    ----------
    evaluation : Evaluation
        From `seqgan_music.evaluation.evaluate_run`.
    run : Run
        The one it measured.
    directory : str or Path
        Made if it is missing; files of other names in it stay.

    Returns
    -------
    list of Path
        What was written, ``README.json`` last.

    Raises
    ------
    ValueError
        The evaluation has no sets: it was read from a file.
    Failure
        A file or the directory cannot be written.
    """
    if evaluation.references is None or not evaluation.sets:
        raise ValueError("this evaluation does not hold the sets that it measured")
    directory = Path(directory)
    make_folder(directory)
    contents: dict[str, dict[str, np.ndarray]] = {}
    for name, one in {**evaluation.sets, REFERENCES: evaluation.references}.items():
        contents[name] = one.arrays() | evaluation.scores.get(name, {})
    contents[WINDOWS] = {
        f"{part}_{key}": getattr(getattr(run.dataset, part), key).cpu().numpy()
        for part in PARTS
        for key in ("ids", "start", "piece")
    }
    written = []
    for name, held in contents.items():
        packed = io.BytesIO()
        np.savez_compressed(packed, **held)  # type: ignore[arg-type]  # its first keyword might be an option
        written.append(directory / f"{name}.npz")
        write_whole(written[-1], packed.getvalue())
    about = {
        "what": "Samples, anchors and references of an evaluation by seqgan-music, one file for each row of its table; "
        "windows.npz holds the windows of the run's corpus. Read them with numpy.load.",
        "files": {f"{name}.npz": _described(name, held, evaluation.metrics) for name, held in contents.items()},
        "tokenizer": run.tokenizer.to_dict(),
        "pad_id": run.dataset.pad_id,
        "end_id": run.dataset.end_id,
        "tunes": _tunes(run),
        "means": evaluation.to_dict()["rows"],
        "facts": evaluation.facts,
    }
    if isinstance(evaluation.references, MelodySet):
        about["steps_per_quarter"] = evaluation.references.steps_per_quarter
    written.append(directory / README)
    write_whole(written[-1], json.dumps(about, indent=1, ensure_ascii=False).encode())
    return written


def _described(name: str, arrays: dict[str, np.ndarray], metrics: Mapping[str, Metric]) -> dict[str, Any]:
    """Shape, kind and meaning of every array of a file."""
    return {
        key: {"shape": list(array.shape), "dtype": str(array.dtype), "meaning": _meaning(name, key, metrics)}
        for key, array in arrays.items()
    }


def _meaning(name: str, key: str, metrics: Mapping[str, Metric]) -> str:
    if name == WINDOWS:
        part, _, what = key.partition("_")
        cut = "from every bar line" if part == "train" else "without overlap"
        of = f"{part} part: windows {cut}, or whole sequences that are no music; "
        return (
            of
            + {
                "ids": "(M, T) tokens",
                "start": "(M,) start token of each",
                "piece": "(M,) number of the tune or sequence each was cut from, see `tunes`",
            }[what]
        )
    return ARRAYS[key] if key in ARRAYS else f"{SCORE}{metrics[key].meaning}"


def _tunes(run: Run) -> dict[str, str]:
    """Number of a tune → its file; of a sequence that is no music, where it stands in the file of tokens."""
    split = run.facts.get("corpus", {}).get("split", {})
    tunes: dict[str, str] = {}
    for part in PARTS:
        pieces = getattr(run.dataset, part).piece.tolist()
        numbers = list(dict.fromkeys(pieces))  # windows stand in the order of the split
        if len(numbers) == len(split.get(part, ())):
            tunes |= {str(number): name for number, name in zip(numbers, split[part], strict=True)}
    return tunes
