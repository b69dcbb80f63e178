"""Numbers about a generator, each beside its anchors.

Every set of samples stands beside *real* (held-out real music), *Markov-1* and *Markov-2* (chains of note events
fitted to the training part) and *uniform* (random tokens): a number alone says nothing, and the target of most is the
value of *real*.

All sets are windows of T tokens, read as melodies and compared as note events (pitch and duration in grid steps),
whatever the tokenizer. References are the non-overlapping windows of the *test* tunes, the *real* row is those of the
*validation* tunes; a window that a repeat brings twice counts once. Self-BLEU and the unique share depend on the size
of a set, so they are taken over equally many samples of every set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from seqgan_music import corpus, dataset, sampling, transposition
from seqgan_music.errors import UsageError
from seqgan_music.metrics import METRICS
from seqgan_music.metrics.bleu import EPSILON, References, self_bleu
from seqgan_music.metrics.diversity import unique_share
from seqgan_music.metrics.events import events_to_steps, note_events
from seqgan_music.metrics.markov import Markov
from seqgan_music.metrics.mse import fill_rests, nearest_mse, pairs_mse
from seqgan_music.metrics.sequences import Sequences
from seqgan_music.versions import versions

if TYPE_CHECKING:
    from seqgan_music.dataset import Dataset, Windows
    from seqgan_music.generators import Generator
    from seqgan_music.notes import Melodies
    from seqgan_music.run import Run
    from seqgan_music.tokenizers import Tokenizer

BLEU_ORDERS = (2, 3, 4, 5)
COLUMNS = (*(f"bleu_{n}" for n in BLEU_ORDERS), "mse_nearest", "mse_pairs", "self_bleu_4", "unique", "nll")
REAL = "real"
ANCHORS = (REAL, "Markov-1", "Markov-2", "uniform")
ROWS_AT_ONCE = 1 << 14  # of the training windows, of which there may be very many


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A table of measurements.

    Parameters
    ----------
    rows : dict of str to dict of str to float
        Set of samples → metric (a name of `seqgan_music.metrics.METRICS`) → value; NaN where it is not defined.
    facts : dict
        Sizes, smoothing, versions: what the numbers depend on.
    """

    rows: dict[str, dict[str, float]]
    facts: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Values for JSON: NaN becomes None."""
        rows = {
            row: {name: value if math.isfinite(value) else None for name, value in values.items()}
            for row, values in self.rows.items()
        }
        meanings = {name: {"meaning": METRICS[name].meaning, "target": METRICS[name].target} for name in METRICS}
        return {"rows": rows, "facts": self.facts, "metrics": meanings}


@dataclass(frozen=True, slots=True, eq=False)
class MelodySet:
    """A set of windows as the metrics take it.

    Parameters
    ----------
    events : Sequences
        Note events, M rows.
    steps : ndarray (M, S), int
        What sounds in each grid step.
    """

    events: Sequences
    steps: np.ndarray

    @classmethod
    def of(cls, melodies: Melodies) -> MelodySet:
        """From a batch of melodies."""
        names = ("pitch", "onset", "duration", "mask", "length")
        fields = {name: getattr(melodies, name).cpu().numpy() for name in names}
        events = note_events(**fields, steps_per_quarter=melodies.steps_per_quarter)
        return cls(events, melodies.steps.cpu().numpy())

    def __len__(self) -> int:
        return len(self.events)


def evaluate(
    sets: Mapping[str, MelodySet], references: MelodySet, *, equal_sizes: int | None = None
) -> dict[str, dict[str, float]]:
    """Measure sets of melodies against references.

    Parameters
    ----------
    sets : mapping of str to MelodySet
    references : MelodySet
    equal_sizes : int, optional
        Samples of every set over which Self-BLEU and the unique share are taken; the size of the smallest set, if left
        out.

    Returns
    -------
    dict of str to dict of str to float
        BLEU-2 to 5, Self-BLEU-2 to 5, both mean squared errors and the unique share of every set.
    """
    known = References(references.events, max(BLEU_ORDERS))
    equal = equal_sizes or min(len(one) for one in sets.values())
    reference_curves = fill_rests(references.steps)
    rows = {}
    for name, one in sets.items():
        bleu = known.bleu(one.events)
        own = self_bleu(one.events[:equal], max(BLEU_ORDERS))
        curves = fill_rests(one.steps)
        rows[name] = {
            **{f"bleu_{n}": _mean(bleu[:, n - 1]) for n in BLEU_ORDERS},
            **{f"self_bleu_{n}": _mean(own[:, n - 1]) for n in BLEU_ORDERS},
            "mse_nearest": _mean(nearest_mse(curves, reference_curves)),
            "mse_pairs": _mean(pairs_mse(curves, reference_curves)),
            "unique": unique_share(one.events[:equal]),
        }
    return rows


class Closeness:
    """How near samples come to real music on the validation part: what the best adversarial weights are chosen by.

    Real music's own values are the target: the BLEU-4 of training windows against the validation windows, and the
    Self-BLEU-4 of the validation windows. The test part is not looked at.

    Parameters
    ----------
    data : Dataset
        In main memory.
    tokenizer : Tokenizer
    seed : int
        Of the training windows that stand for real music.
    """

    ORDER = 4
    MOST = 1000

    def __init__(self, data: Dataset, tokenizer: Tokenizer, seed: int) -> None:
        self.tokenizer = tokenizer
        ids, start = _without_repeats(data.validation)
        validation = MelodySet.of(tokenizer.melodies(ids, start)).events[: self.MOST]
        self.size = max(2, len(validation))
        self.references = References(validation, self.ORDER)
        training = tokenizer.melodies(*data.train.random(self.size, _torch_rng(seed)))
        self.target = self._figures(MelodySet.of(training).events)[0], self._figures(validation)[1]

    def measure(self, ids: Tensor, start: Tensor) -> dict[str, float]:
        """BLEU-4 and Self-BLEU-4 of samples (`size`, T), and the sum of their distances from real music's."""
        bleu, own = self._figures(MelodySet.of(self.tokenizer.melodies(ids, start)).events)
        distance = abs(bleu - self.target[0]) + abs(own - self.target[1])
        return {"bleu_4_validation": bleu, "self_bleu_4_validation": own, "distance_validation": distance}

    def of_generator(self, generator: Generator, data: Dataset, seed: int) -> dict[str, float]:
        """`measure` fresh samples of a generator, drawn by random numbers of their own: no training notices."""
        rng = torch.Generator(data.train.ids.device).manual_seed(seed)
        _, start = data.train.random(self.size, rng)
        return self.measure(
            sampling.sample(generator, start, data.length, rng, end_id=data.end_id, pad_id=data.pad_id), start
        )

    def _figures(self, events: Sequences) -> tuple[float, float]:
        bleu = self.references.bleu(events)[:, self.ORDER - 1]
        return _mean(bleu), _mean(self_bleu(events, self.ORDER)[:, self.ORDER - 1])


def evaluate_run(
    run: Run,
    *,
    samples: int = 1000,
    seed: int = 0,
    device: str = "auto",
    against: str | Path | None = None,
    read: Callable[..., corpus.Corpus] = corpus.read_corpus,
) -> Evaluation:
    """Measure every stage of a run beside its anchors.

    Parameters
    ----------
    run : Run
    samples : int
        Samples of every stage and of every made-up anchor.
    seed : int
        Of the samples.
    device : str
        Where the generator samples.
    against : str or Path, optional
        A folder of MIDI whose windows are the references, in place of the run's test tunes; it is transposed as they
        were.
    read : callable
        `seqgan_music.corpus.read_corpus`, with options of one's own.
    """
    from seqgan_music.algorithms.pretraining import negative_log_likelihood

    _check(samples, seed)
    if "exported" in run.facts:
        raise UsageError(
            f"{run.directory} is an exported run, which lacks the corpus's windows: evaluate the run it was made from, "
            f"or melodies of it with generate, then evaluate DIR --against MIDI_FOLDER"
        )
    data, tokenizer = run.dataset, run.tokenizer
    held_out = data.test
    if against is not None:
        transpose, moved = run.settings["data"]["transpose"], "init" in run.facts
        held_out = _cut(read(against), tokenizer, data.length, transpose, by_octaves=moved)
    drawn = {stage: run.sample(samples, stage=stage, seed=seed, device=device) for stage in run.stages}
    sets = {stage: MelodySet.of(tokenizer.melodies(ids, start)) for stage, (ids, start) in drawn.items()}
    rows, facts = _beside_anchors(sets, data, held_out, tokenizer, samples=samples, seed=seed)
    for stage in drawn:
        generator = run.generator(stage, device)
        where = next(generator.parameters()).device
        rows[stage]["nll"] = negative_log_likelihood(generator, held_out.to(where), data.pad_id, limit=len(held_out))
    facts |= {"run": str(run.directory), "against": str(against) if against else "the run's test tunes"}
    facts["transpose"] = run.settings["data"]["transpose"]
    return Evaluation(rows, facts)


def evaluate_folder(
    folder: str | Path,
    against: str | Path,
    *,
    length: int = 64,
    samples: int = 1000,
    seed: int = 0,
    read: Callable[..., corpus.Corpus] = corpus.read_corpus,
) -> Evaluation:
    """Measure a folder of MIDI against another, which is split by tune into references, *real* and what Markov learns
    from.

    Parameters
    ----------
    folder, against : str or Path
        What is measured, and the real music.
    length : int
        T, grid steps of a window.
    samples : int
        Samples of the made-up anchors.
    seed : int
        Of the anchors and of the split.
    read : callable
        `seqgan_music.corpus.read_corpus`, with options of one's own.
    """
    from seqgan_music.tokenizers.grid import GridTokenizer

    _check(samples, seed)
    measured, real = read(folder, duplicates=True), read(against)
    tokenizer = GridTokenizer.fit([*measured.pieces, *real.pieces])
    encoded, _ = dataset.encode(real.pieces, real.names, tokenizer)
    dataset.drop_copies(encoded, real.names)
    if len(encoded) < len(dataset.PARTS):
        raise UsageError(
            f"too few usable tunes in {against}: {len(encoded)}; it is divided into references, the row real and what "
            "the chains learn from, so it needs three at least"
        )
    data = dataset.build(encoded, corpus.split(list(encoded), (1 / 3, 1 / 3, 1 / 3), seed), tokenizer, length=length)
    ids, start = _cut(measured, tokenizer, length)[slice(None)]
    one = MelodySet.of(tokenizer.melodies(ids, start))
    rows, facts = _beside_anchors({_row_of(folder): one}, data, data.test, tokenizer, samples=samples, seed=seed)
    return Evaluation(rows, facts | {"against": str(against), "tokenizer": tokenizer.to_dict(), "length": length})


def _check(samples: int, seed: int) -> None:
    if samples < 2:
        raise UsageError(f"an evaluation needs at least 2 samples, not {samples!r}")
    if seed < 0:
        raise UsageError(f"the seed must be 0 or more, not {seed!r}")


def _row_of(folder: str | Path) -> str:
    """A folder's name, told apart from an anchor's."""
    return f"{folder}/" if str(folder) in ANCHORS else str(folder)


def _beside_anchors(
    sets: Mapping[str, MelodySet], data: Dataset, held_out: Windows, tokenizer: Tokenizer, *, samples: int, seed: int
) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    references = MelodySet.of(tokenizer.melodies(*_without_repeats(held_out)))
    anchors = {REAL: MelodySet.of(tokenizer.melodies(*_without_repeats(data.validation)))}
    training = _events(data.train, tokenizer)
    ended = (data.train.ids == data.end_id).any(1).numpy()
    width = references.steps.shape[1]
    rng = np.random.default_rng(seed)
    for order in (1, 2):
        events = Markov(order).fit(training, ended).sample(samples, rng, steps=width)
        anchors[f"Markov-{order}"] = MelodySet(events, events_to_steps(events, width))
    drawable = [token for token in range(data.vocab_size) if token not in {*data.never, data.end_id}]
    uniform = torch.from_numpy(rng.choice(drawable, (samples, data.length)))
    anchors["uniform"] = MelodySet.of(tokenizer.melodies(uniform, data.train.random(samples, _torch_rng(seed))[1]))
    everything = {**sets, **anchors}
    equal = min(len(one) for one in everything.values())
    rows = evaluate(everything, references, equal_sizes=equal)
    rows["uniform"]["nll"] = math.log(len(drawable) + 1)  # END, which ends held-out tunes, is one more choice
    for values in rows.values():
        values.setdefault("nll", math.nan)
    facts = {
        "samples": {name: len(one) for name, one in everything.items()},
        "references": len(references),
        "samples for Self-BLEU and unique": equal,
        "BLEU": f"mean sentence BLEU of note events, all references, method 1 smoothing with epsilon {EPSILON}",
        "MSE": "semitones² on the grid, held notes expanded, a rest carries the last pitch",
        "seed": seed,
        "versions": versions(),
    }
    return rows, facts


def _events(windows: Windows, tokenizer: Tokenizer) -> Sequences:
    """Note events of many windows."""
    blocks = [slice(first, first + ROWS_AT_ONCE) for first in range(0, len(windows), ROWS_AT_ONCE)]
    parts = [MelodySet.of(tokenizer.melodies(*windows[block])).events for block in blocks]
    width = max(part.tokens.shape[1] for part in parts)
    padded = [np.pad(part.tokens, ((0, 0), (0, width - part.tokens.shape[1]))) for part in parts]
    return Sequences(np.concatenate(padded), np.concatenate([part.lengths for part in parts]))


def _without_repeats(windows: Windows) -> tuple[Tensor, Tensor]:
    """Windows (M, T) and start tokens (M,) in their order, each once."""
    ids, start = windows[slice(None)]
    both = torch.cat([start[:, None], ids], 1).numpy()
    _, first = np.unique(both, axis=0, return_index=True)
    rows = torch.from_numpy(np.sort(first))
    return ids[rows], start[rows]


def _cut(
    source: corpus.Corpus, tokenizer: Tokenizer, length: int, transpose: str = "none", *, by_octaves: bool = False
) -> Windows:
    """Windows without overlap of all pieces that the tokenizer can say, if wanted by moving them by octaves."""
    pieces = [transposition.apply(piece, transpose) for piece in source.pieces]
    if by_octaves:
        pieces, _ = transposition.into_range(pieces, source.names, tokenizer)
    encoded, refused = dataset.encode(pieces, source.names, tokenizer, transposition.shifts(transpose))
    if not encoded:
        raise UsageError(f"no piece of {source.root} can be measured: {corpus.summary(refused)}")
    return dataset.cut(encoded, list(encoded), tokenizer, length)


def _mean(values: np.ndarray) -> float:
    """Mean of what is defined; NaN if nothing is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else math.nan


def _torch_rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
