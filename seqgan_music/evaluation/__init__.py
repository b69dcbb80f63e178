"""Numbers about a generator, each beside its anchors.

Every set of samples stands beside *real* (held-out real music), *Markov-1* and *Markov-2* (chains of note events
fitted to the training part) and *uniform* (random tokens): a number alone says nothing, and the target of most is the
value of *real*.

All sets are windows of T tokens, read as melodies and compared as note events (pitch and duration in grid steps),
whatever the tokenizer. References are the non-overlapping windows of the *test* tunes, the *real* row is those of the
*validation* tunes; a window that a repeat brings twice counts once. Samples have the metres of the row *real*. What
depends on the size of a set (the figures of diversity, the largest copy, the reverse likelihood) is taken over equally
many samples of every set, evenly spaced; distributions and the Fréchet distance over equally many samples and
references. Self-BLEU is taken within groups of as many samples as there are validation tunes: windows of one tune are
more alike than independent samples can be, and stand in different groups.

Musical objectives are measured of every set too, whether or not a run was steered towards them; see `objectives`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from seqgan_music import corpus, dataset, sampling, transposition
from seqgan_music.errors import UsageError
from seqgan_music.evaluation.objectives import Objectives, undefined
from seqgan_music.metrics import Metric, musicality
from seqgan_music.metrics.bleu import EPSILON, References, self_bleu
from seqgan_music.metrics.diversity import distinct_n, edit_distance_diversity, unique_share
from seqgan_music.metrics.events import REST_EVENT, event_notes, events_to_steps, note_events, struck_steps
from seqgan_music.metrics.frechet import frechet_distance
from seqgan_music.metrics.likelihood import WittenBell
from seqgan_music.metrics.markov import Markov
from seqgan_music.metrics.mse import fill_rests, nearest_mse, pairs_mse
from seqgan_music.metrics.novelty import copied_share, longest_copy, longest_matches
from seqgan_music.metrics.sequences import Sequences
from seqgan_music.metrics.yang_lerch import FEATURES, compare, features, vectors
from seqgan_music.notes import OUTSIDE, Melodies
from seqgan_music.versions import versions

if TYPE_CHECKING:
    from seqgan_music.dataset import Dataset, Windows
    from seqgan_music.generators import Generator
    from seqgan_music.run import Run
    from seqgan_music.tokenizers import Tokenizer

BLEU_ORDERS = (2, 3, 4, 5)
COLUMNS = (
    "bleu_4",
    "mse_nearest",
    "mse_pairs",
    "self_bleu_4",
    "unique",
    "copied_8",
    "overlap_area",
    "bars_back",
    "nll",
)
"""What is looked at first."""
NGRAMS = (4, 8)
"""Notes in the runs of which the copied share is taken."""
LEAST_INDEPENDENT = 10
"""Samples among which Self-BLEU is taken at least, however few tunes there are."""
REVERSE_ORDER = 2
MOST_PER_SIDE = 1000
"""Samples, and references, between which distributions are compared at most."""
REAL = "real"
ANCHORS = (REAL, "Markov-1", "Markov-2", "uniform")
ROWS_AT_ONCE = 1 << 14  # of the training windows, of which there may be very many


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A table of measurements.

    Parameters
    ----------
    rows : dict of str to dict of str to float
        Set of samples → metric (a name of `metrics`) → value; NaN where it is not defined.
    facts : dict
        Sizes, smoothing, versions: what the numbers depend on.
    scores : dict of str to dict of str to ndarray
        Set of samples → metric → one number for each sample (M,), NaN where it is not defined, for the metrics that
        judge a sample by itself. A row's value is their mean over what is defined.
    sets : dict of str to MelodySet
        What was measured.
    references : MelodySet, optional
        What it was measured against.
    objectives : Objectives
        Those that were measured.
    """

    rows: dict[str, dict[str, float]]
    facts: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    sets: dict[str, MelodySet] = field(default_factory=dict)
    references: MelodySet | None = None
    objectives: Objectives = field(default_factory=Objectives.built_in)

    @property
    def metrics(self) -> dict[str, Metric]:
        """What its columns mean."""
        return self.objectives.metrics

    def to_dict(self) -> dict[str, Any]:
        """Rows, facts, what the metrics mean and which objectives are looked at first, for JSON: NaN becomes None."""
        rows = {row: finite(values) for row, values in self.rows.items()}
        meanings = {name: asdict(metric) for name, metric in self.metrics.items()}
        return {"rows": rows, "facts": self.facts, "metrics": meanings, "objectives": self.objectives.columns}


@dataclass(frozen=True, slots=True, eq=False)
class MelodySet:
    """A set of windows as the metrics take it.

    Parameters
    ----------
    events : Sequences
        Note events, M rows.
    melodies : Melodies
        The same as objectives read them, in main memory.
    polyphony : ndarray (M,)
        How many notes sound at once; NaN where none does.
    ids, start : ndarray (M, T) and (M,), int64, optional
        Tokens and start tokens, where the melodies were made of them.
    """

    events: Sequences
    melodies: Melodies
    polyphony: np.ndarray
    ids: np.ndarray | None = None
    start: np.ndarray | None = None

    @classmethod
    def of_tokens(cls, tokenizer: Tokenizer, ids: Tensor, start: Tensor) -> MelodySet:
        """From tokens (M, T) and start tokens (M,)."""
        read = cls.of(tokenizer.melodies(ids, start))
        return replace(read, ids=ids.cpu().numpy(), start=start.cpu().numpy())

    @classmethod
    def of(cls, melodies: Melodies) -> MelodySet:
        """From a batch of melodies."""
        melodies = melodies.to("cpu")
        names = ("pitch", "onset", "duration", "mask", "length")
        fields = {name: getattr(melodies, name).numpy() for name in names}
        events = note_events(**fields, steps_per_quarter=melodies.steps_per_quarter)
        voices = musicality.polyphony(fields["onset"], fields["duration"], fields["mask"])
        return cls(events, melodies, voices)

    @classmethod
    def of_events(cls, events: Sequences, steps: int, metre: np.ndarray, steps_per_quarter: float) -> MelodySet:
        """From note events of M melodies on a grid of S steps, with metres (M, 2)."""
        pitch, onset, duration, mask = event_notes(events)
        grid = events_to_steps(events, steps)
        melodies = Melodies(
            pitch=torch.from_numpy(pitch),
            onset=torch.from_numpy(onset) / steps_per_quarter,
            duration=torch.from_numpy(duration) / steps_per_quarter,
            mask=torch.from_numpy(mask),
            length=torch.from_numpy((grid != OUTSIDE).sum(1)) / steps_per_quarter,
            metre=torch.from_numpy(np.asarray(metre, dtype=np.int64)),
            steps=torch.from_numpy(grid),
            steps_per_quarter=steps_per_quarter,
        )
        return cls(events, melodies, musicality.polyphony(onset, duration, mask))

    @property
    def steps(self) -> np.ndarray:
        """What sounds in each grid step, (M, S)."""
        return self.melodies.steps.numpy()

    @property
    def steps_per_quarter(self) -> float:
        """Grid steps in a quarter note."""
        return self.melodies.steps_per_quarter

    @property
    def metre(self) -> np.ndarray:
        """Numerator and denominator of each, (M, 2)."""
        return self.melodies.metre.numpy()

    @property
    def bar(self) -> np.ndarray:
        """Grid steps in a bar of each, (M,)."""
        numerator, denominator = self.metre.astype(np.float64).T
        steps: np.ndarray = self.steps_per_quarter * 4 * numerator / denominator
        return steps

    def __len__(self) -> int:
        return len(self.events)

    def digest(self) -> str:
        """SHA-256 of the melodies: equal references have equal digests, on any machine."""
        sha = hashlib.sha256()
        for values in (self.events.lengths, self.events.tokens[self.events.valid], self.bar, self.steps_per_quarter):
            sha.update(np.asarray(values).astype("<f8").tobytes())
        return sha.hexdigest()


def evaluate(
    sets: Mapping[str, MelodySet],
    references: MelodySet,
    *,
    training: Sequences | None = None,
    equal_sizes: int | None = None,
    independent: int | None = None,
    objectives: Objectives | None = None,
) -> Evaluation:
    """Measure sets of melodies against references.

    Parameters
    ----------
    sets : mapping of str to MelodySet
    references : MelodySet
    training : Sequences, optional
        Note events of what the samples may be copied from; without it no copies are looked for.
    equal_sizes : int, optional
        Samples of every set over which is taken what depends on their number; the size of the smallest set, if left
        out.
    independent : int, optional
        Samples in each of the groups, one after another, within which Self-BLEU is taken; as `equal_sizes`, if left
        out.
    objectives : Objectives, optional
        Those that are built in, if left out.

    Returns
    -------
    Evaluation
        Every metric of `seqgan_music.metrics.METRICS` but `nll`, which networks alone have, and of the objectives;
        facts on sizes.
    """
    known = References(references.events, max(BLEU_ORDERS))
    equal = equal_sizes or min(len(one) for one in sets.values())
    side = min(equal, len(references), MOST_PER_SIDE)
    real = _few(features(references.events, references.steps_per_quarter), side)
    curves = fill_rests(references.steps)
    longest = max([references.steps.shape[1], *(one.steps.shape[1] for one in sets.values())])
    copies = _copies(sets, training)
    measured = objectives or Objectives.built_in()
    result = Evaluation({}, sets=dict(sets), references=references, objectives=measured)
    pairs = 0
    for name, one in sets.items():
        few = one.events[_spread(len(one), equal)]
        distances = edit_distance_diversity(few)
        pairs = max(pairs, distances.pairs)
        result.scores[name] = scores = _scores(one, known, curves, min(independent or equal, equal)) | copies.get(
            name, {}
        )
        result.rows[name] = values = {metric: _mean(of_each) for metric, of_each in scores.items()}
        of_objectives = measured.measure(one.melodies)
        scores |= of_objectives
        for metric, of_each in of_objectives.items():
            values |= {metric: _mean(of_each), undefined(metric): float(np.isnan(of_each).mean())}
        values["unique"] = unique_share(few)
        values["distinct_2"] = distinct_n(few, 2)
        values["edit_distance"] = distances.mean
        if "longest_copy" in scores:
            values["longest_copy_max"] = _largest(scores["longest_copy"][_spread(len(one), equal)])
        # As many events as pitches and a rest have durations up to a whole window.
        model = WittenBell(REVERSE_ORDER, max(len(np.unique(few.tokens)), (REST_EVENT + 1) * longest)).fit(few)
        values["reverse_nll"] = model.nats(references.events)
        values |= _distributions(_few(features(one.events, one.steps_per_quarter), side), real)
    result.facts.update({"samples for distributions": side, "pairs for edit distance": pairs})
    return result


def _scores(one: MelodySet, known: References, curves: np.ndarray, independent: int) -> dict[str, np.ndarray]:
    """What is measured of each sample by itself; Self-BLEU within groups, without those too few for a last one."""
    bleu = known.bleu(one.events)
    own = np.full_like(bleu, np.nan)
    for first in range(0, len(one) - independent + 1, independent):
        rows = slice(first, first + independent)
        own[rows] = self_bleu(one.events[rows], max(BLEU_ORDERS))
    own_curves = fill_rests(one.steps)
    pitch, _, _, mask = event_notes(one.events)
    steps, struck = _on_grid(one)
    return {
        **{f"bleu_{n}": bleu[:, n - 1] for n in BLEU_ORDERS},
        **{f"self_bleu_{n}": own[:, n - 1] for n in BLEU_ORDERS},
        "mse_nearest": nearest_mse(own_curves, curves),
        "mse_pairs": pairs_mse(own_curves, curves),
        "pitch_class_entropy": musicality.pitch_class_entropy(pitch, mask),
        "scale_consistency": musicality.scale_consistency(pitch, mask),
        "groove_consistency": musicality.groove_consistency(steps, struck, one.bar),
        "empty_beat_rate": musicality.empty_beat_rate(steps, np.full(len(one), one.steps_per_quarter)),
        "polyphony": one.polyphony,
        "bars_back": musicality.bars_back(steps, struck, one.bar),
    }


def _on_grid(one: MelodySet) -> tuple[np.ndarray, np.ndarray]:
    """What sounds in each grid step (M, S), and where a note begins."""
    width = one.steps.shape[1]
    return events_to_steps(one.events, width), struck_steps(one.events, width)


def _copies(sets: Mapping[str, MelodySet], training: Sequences | None) -> dict[str, dict[str, np.ndarray]]:
    """What is copied from the training windows; all sets are looked up at once, for sorting takes the time."""
    if training is None:
        return {}
    everything = Sequences.concatenate([one.events for one in sets.values()])
    matches = longest_matches(everything, training)
    figures = {f"copied_{n}": copied_share(everything, matches, n) for n in NGRAMS}
    figures["longest_copy"] = longest_copy(everything, matches)
    ends = np.cumsum([len(one) for one in sets.values()])
    return {
        name: {metric: values[end - len(one) : end] for metric, values in figures.items()}
        for (name, one), end in zip(sets.items(), ends, strict=True)
    }


def _distributions(made: dict[str, np.ndarray], real: dict[str, np.ndarray]) -> dict[str, float]:
    """Overlap area and divergence of every feature and their means, and the Fréchet distance."""
    found = {name: compare(made[name], real[name]) for name in FEATURES}
    areas = {f"overlap_area_{name}": one.overlap_area for name, one in found.items()}
    divergences = {f"kl_divergence_{name}": one.kl_divergence for name, one in found.items()}
    return {
        "overlap_area": _mean(np.array([*areas.values()])),
        "kl_divergence": _mean(np.array([*divergences.values()])),
        "frechet": frechet_distance(vectors(made, real), vectors(real, real)),
        **areas,
        **divergences,
    }


def _spread(size: int, wanted: int) -> np.ndarray:
    """Numbers of up to `wanted` of so many rows, evenly spaced: the windows of a folder stand tune by tune."""
    wanted = min(size, wanted)
    return np.arange(wanted) * size // max(wanted, 1)


def _few(named: dict[str, np.ndarray], wanted: int) -> dict[str, np.ndarray]:
    return {name: values[_spread(len(values), wanted)] for name, values in named.items()}


class Closeness:
    """How near samples come to real music on the validation part: what is tuned by, and the best round is chosen by.

    Real music is one window of every training tune, so that its windows are as independent of one another as samples
    are; the samples have the same start tokens, so the same metres. For both are taken BLEU-4 against the validation
    windows, Self-BLEU-4, the mean overlap area with the validation windows, and the share of bars that come back; real
    music's own values are the target. The test part is not looked at. How far two of the samples lie apart,
    `EDIT_DISTANCE`, is measured beside them and has no part in the distance.

    Parameters
    ----------
    data : Dataset
        In main memory.
    tokenizer : Tokenizer
    seed : int
        Of the training windows that stand for real music.

    Attributes
    ----------
    start : Tensor (M,), int64
        Start tokens that samples are to have.
    target : dict of str to float
        Real music's figures, `EDIT_DISTANCE` among them.
    """

    ORDER = 4
    MOST = 500
    PAIRS = 2000
    FIGURES = ("bleu_4_validation", "self_bleu_4_validation", "overlap_area_validation", "bars_back_validation")
    EDIT_DISTANCE = "edit_distance"

    def __init__(self, data: Dataset, tokenizer: Tokenizer, seed: int) -> None:
        self.tokenizer = tokenizer
        rng = _torch_rng(seed)
        order = torch.randperm(len(data.train), generator=rng)
        _, first = np.unique(data.train.piece[order].numpy(), return_index=True)
        rows = order[np.sort(first)][: self.MOST]  # in random order of tunes
        ids, self.start = data.train[rows]
        ids_held_out, start_held_out = _without_repeats(data.validation)
        held_out = self._read(ids_held_out[: 2 * self.MOST], start_held_out[: 2 * self.MOST])
        self.references = References(held_out.events, self.ORDER)
        self.features = _few(features(held_out.events, held_out.steps_per_quarter), self.MOST)
        self.target = self._figures(self._read(ids, self.start))

    @property
    def size(self) -> int:
        """Samples that are to be measured at once."""
        return len(self.start)

    def measure(self, ids: Tensor, start: Tensor) -> dict[str, float]:
        """Figures of samples (`size`, T) with the start tokens `start`, and the sum of the distances of `FIGURES` from
        real music's."""
        found = self._figures(self._read(ids, start))
        return {**found, "distance_validation": sum(abs(found[name] - self.target[name]) for name in self.FIGURES)}

    def of_generator(self, generator: Generator, data: Dataset, seed: int) -> dict[str, float]:
        """`measure` fresh samples of a generator, drawn by random numbers of their own: no training notices."""
        where = data.train.ids.device
        rng = torch.Generator(where).manual_seed(seed)
        start = self.start.to(where)
        ids = sampling.sample(generator, start, data.length, rng, end_id=data.end_id, pad_id=data.pad_id)
        return self.measure(ids, start)

    def _figures(self, one: MelodySet) -> dict[str, float]:
        bleu, own = self.references.bleu(one.events), self_bleu(one.events, self.ORDER)
        made = features(one.events, one.steps_per_quarter)
        areas = [compare(made[name], self.features[name]).overlap_area for name in FEATURES]
        back = musicality.bars_back(*_on_grid(one), one.bar)
        found = (bleu[:, self.ORDER - 1], own[:, self.ORDER - 1], np.array(areas), back)
        apart = edit_distance_diversity(one.events, self.PAIRS).mean
        return {**dict(zip(self.FIGURES, map(_mean, found), strict=True)), self.EDIT_DISTANCE: apart}

    def _read(self, ids: Tensor, start: Tensor) -> MelodySet:
        return MelodySet.of(self.tokenizer.melodies(ids, start))


def evaluate_run(
    run: Run,
    *,
    samples: int = 1000,
    seed: int = 0,
    device: str = "auto",
    against: str | Path | None = None,
    read: Callable[..., corpus.Corpus] = corpus.read_corpus,
    objectives: Objectives | None = None,
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
    objectives : Objectives, optional
        `Objectives.of` the run, if left out.
    """
    from seqgan_music.algorithms.pretraining import negative_log_likelihood

    check_run(run, samples, seed)
    objectives = objectives or Objectives.of(run)
    data, tokenizer = run.dataset, run.tokenizer
    held_out = data.test
    if against is not None:
        transpose, moved = run.settings["data"]["transpose"], "init" in run.facts
        held_out = _cut(read(against), tokenizer, data.length, transpose, by_octaves=moved)
    sets = {stage: draw(run, samples, stage=stage, seed=seed, device=device) for stage in run.stages}
    how: dict[str, Any] = {"samples": samples, "seed": seed, "objectives": objectives}
    result = beside_anchors(sets, data, held_out, tokenizer, **how)
    for stage in sets:
        generator = run.generator(stage, device)
        where = next(generator.parameters()).device
        result.rows[stage]["nll"] = negative_log_likelihood(
            generator, held_out.to(where), data.pad_id, limit=len(held_out)
        )
    result.facts.update(run=str(run.directory), against=str(against) if against else "the run's test tunes")
    result.facts["transpose"] = run.settings["data"]["transpose"]
    if objectives.left_out:
        result.facts["not measured, for want of --own-code"] = list(objectives.left_out)
    return result


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
    one = MelodySet.of_tokens(tokenizer, *_tunes_by_turns(_cut(measured, tokenizer, length)))
    result = beside_anchors({_row_of(folder): one}, data, data.test, tokenizer, samples=samples, seed=seed)
    result.facts.update(against=str(against), tokenizer=tokenizer.to_dict(), length=length)
    return result


def draw(run: Run, samples: int, *, seed: int, **options: Any) -> MelodySet:
    """Samples of a run as it is measured by: with the metres of the row *real*, each as often as there.

    Parameters
    ----------
    run : Run
    samples : int
    seed : int
    options
        Stage, temperature and device, see `seqgan_music.run.Run.sample`.
    """
    start = _metres_of_real(run.dataset, samples, seed)
    return MelodySet.of_tokens(run.tokenizer, *run.sample(samples, seed=seed, start=start, **options))


def check_run(run: Run, samples: int, seed: int) -> None:
    """Refuse a run that cannot be measured, and what cannot be meant.

    Raises
    ------
    UsageError
    """
    _check(samples, seed)
    if "exported" in run.facts:
        raise UsageError(
            f"{run.directory} is an exported run, which lacks the corpus's windows: evaluate the run it was made from, "
            f"or melodies of it with generate, then evaluate DIR --against MIDI_FOLDER"
        )


def finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """Values for JSON, which knows no NaN and no infinity: None in their place."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _check(samples: int, seed: int) -> None:
    if samples < 2:
        raise UsageError(f"an evaluation needs at least 2 samples, not {samples!r}")
    if seed < 0:
        raise UsageError(f"the seed must be 0 or more, not {seed!r}")


def _row_of(folder: str | Path) -> str:
    """A folder's name, told apart from an anchor's."""
    return f"{folder}/" if str(folder) in ANCHORS else str(folder)


def beside_anchors(
    sets: Mapping[str, MelodySet],
    data: Dataset,
    held_out: Windows,
    tokenizer: Tokenizer,
    *,
    samples: int,
    seed: int,
    objectives: Objectives | None = None,
) -> Evaluation:
    """Measure sets of melodies, and real music, Markov chains and noise beside them, against held-out windows.

    Parameters
    ----------
    sets : mapping of str to MelodySet
    data : Dataset
        What the chains learn from, and the row *real*.
    held_out : Windows
        The references.
    tokenizer : Tokenizer
    samples : int
        Of every made-up anchor.
    seed : int
        Of their draws.
    objectives : Objectives, optional
        As `evaluate` takes them.
    """
    references = MelodySet.of_tokens(tokenizer, *_without_repeats(held_out))
    anchors = {REAL: MelodySet.of_tokens(tokenizer, *_tunes_by_turns(data.validation))}
    starts = _metres_of_real(data, samples, seed)
    training = _events(data.train, tokenizer)
    ended = (data.train.ids == data.end_id).any(1).numpy()
    rng = np.random.default_rng(seed)
    chains = {
        f"Markov-{order}": Markov(order).fit(training, ended).sample(samples, rng, steps=references.steps.shape[1])
        for order in (1, 2)
    }
    drawable = [token for token in range(data.vocab_size) if token not in {*data.never, data.end_id}]
    tokens = torch.from_numpy(rng.choice(drawable, (samples, data.length)))
    uniform = MelodySet.of_tokens(tokenizer, tokens, starts)
    for name, events in chains.items():
        anchors[name] = MelodySet.of_events(
            events, references.steps.shape[1], uniform.metre, references.steps_per_quarter
        )
    anchors["uniform"] = uniform
    everything = {**sets, **anchors}
    equal = min(len(one) for one in everything.values())
    independent = min(equal, max(LEAST_INDEPENDENT, len(data.validation.piece.unique())))
    result = evaluate(
        everything,
        references,
        training=training,
        equal_sizes=equal,
        independent=independent,
        objectives=objectives,
    )
    result.rows["uniform"]["nll"] = math.log(len(drawable) + 1)  # END, which ends held-out tunes, is one more choice
    for values in result.rows.values():
        values.setdefault("nll", math.nan)
    facts = {
        "samples": {name: len(one) for name, one in everything.items()},
        "references": len(references),
        "references_sha256": references.digest(),
        "training windows": len(training),
        "equal sizes": equal,
        "samples for Self-BLEU": independent,
        "BLEU": f"mean sentence BLEU of note events, all references, method 1 smoothing with epsilon {EPSILON}",
        "reverse NLL": f"Witten-Bell model of note events, order {REVERSE_ORDER}",
        "MSE": "semitones² on the grid, held notes expanded, a rest carries the last pitch",
        "seed": seed,
        "versions": versions(),
    }
    result.facts.update(facts)
    return result


def _events(windows: Windows, tokenizer: Tokenizer) -> Sequences:
    """Note events of many windows."""
    blocks = [slice(first, first + ROWS_AT_ONCE) for first in range(0, len(windows), ROWS_AT_ONCE)]
    return Sequences.concatenate([MelodySet.of(tokenizer.melodies(*windows[block])).events for block in blocks])


def _without_repeats(windows: Windows) -> tuple[Tensor, Tensor]:
    """Windows (M, T) and start tokens (M,) in their order, each once."""
    ids, start = windows[slice(None)]
    rows = torch.from_numpy(_each_once(ids, start))
    return ids[rows], start[rows]


def _each_once(ids: Tensor, start: Tensor) -> np.ndarray:
    """Numbers of the rows whose window and start token have not come before, in their order."""
    both = torch.cat([start[:, None], ids], 1).numpy()
    return np.sort(np.unique(both, axis=0, return_index=True)[1])


def _tunes_by_turns(windows: Windows) -> tuple[Tensor, Tensor]:
    """Windows and start tokens, each once: one of every tune, then another of every tune that has one left, and so on,
    so that neighbours are of different tunes; which comes first is random, but always the same."""
    ids, start = windows[slice(None)]
    rows = np.random.default_rng(0).permutation(_each_once(ids, start))
    piece = windows.piece.numpy()[rows]
    by_tune = np.argsort(piece, kind="stable")
    sizes = np.unique(piece, return_counts=True)[1]
    turn = np.empty(len(rows), dtype=np.int64)
    turn[by_tune] = np.concatenate([np.arange(size) for size in sizes])
    chosen = torch.from_numpy(rows[np.argsort(turn, kind="stable")])
    return ids[chosen], start[chosen]


def _metres_of_real(data: Dataset, samples: int, seed: int) -> Tensor:
    """Start tokens (n,) in the shares they have in the row *real*, in random order."""
    start = _without_repeats(data.validation)[1]
    repeated = start[torch.arange(samples) * len(start) // samples]
    return repeated[torch.randperm(samples, generator=_torch_rng(seed))]


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


def _largest(values: np.ndarray) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.max()) if len(defined) else math.nan


def _torch_rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
