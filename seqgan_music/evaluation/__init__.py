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

Sequences that are no music (`train --tokens`) go the same way with tokens in place of note events and each sequence in
place of a tune, without what is musical: `phrases` has what is measured of both, `melodies` and `tokens` the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from seqgan_music import corpus, dataset, transposition
from seqgan_music.errors import UsageError
from seqgan_music.evaluation import melodies, phrases, tokens
from seqgan_music.evaluation.melodies import MelodySet as MelodySet
from seqgan_music.evaluation.objectives import Objectives, undefined
from seqgan_music.evaluation.phrases import BLEU_ORDERS, REVERSE_ORDER, few, mean, spread
from seqgan_music.evaluation.result import ANCHORS as ANCHORS
from seqgan_music.evaluation.result import COLUMNS as COLUMNS
from seqgan_music.evaluation.result import REAL as REAL
from seqgan_music.evaluation.result import Evaluation as Evaluation
from seqgan_music.evaluation.result import finite as finite
from seqgan_music.evaluation.tokens import TokenSet
from seqgan_music.evaluation.validation import Closeness as Closeness
from seqgan_music.evaluation.validation import closeness as closeness
from seqgan_music.evaluation.windows import metres_of_real, tunes_by_turns, without_repeats
from seqgan_music.metrics.bleu import EPSILON, References
from seqgan_music.metrics.events import REST_EVENT
from seqgan_music.metrics.mse import fill_rests
from seqgan_music.metrics.sequences import Sequences
from seqgan_music.metrics.yang_lerch import features
from seqgan_music.tokenizers import is_musical
from seqgan_music.versions import versions

if TYPE_CHECKING:
    from seqgan_music.dataset import Dataset, Windows
    from seqgan_music.run import Run
    from seqgan_music.tokenizers import Tokenizer

LEAST_INDEPENDENT = 10
"""Samples among which Self-BLEU is taken at least, however few tunes there are."""
MOST_PER_SIDE = 1000
"""Samples, and references, between which distributions are compared at most."""
ROWS_AT_ONCE = 1 << 14  # of the training windows, of which there may be very many


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
    real = few(features(references.events, references.steps_per_quarter), side)
    curves = fill_rests(references.steps)
    # As many events as pitches and a rest have durations up to a whole window.
    longest = max([references.steps.shape[1], *(one.steps.shape[1] for one in sets.values())])
    alphabet = (REST_EVENT + 1) * longest
    copied = phrases.copies({name: one.events for name, one in sets.items()}, training)
    measured = objectives or Objectives.built_in()
    result = Evaluation({}, sets=dict(sets), references=references, objectives=measured)
    for name, one in sets.items():
        said = phrases.bleu(one.events, known, min(independent or equal, equal))
        result.scores[name] = scores = said | melodies.scores(one, curves) | copied[name]
        result.rows[name] = values = {metric: mean(of_each) for metric, of_each in scores.items()}
        of_objectives = measured.measure(one.melodies)
        scores |= of_objectives
        for metric, of_each in of_objectives.items():
            values |= {metric: mean(of_each), undefined(metric): float(np.isnan(of_each).mean())}
        rows = spread(len(one), equal)
        of_set, pairs = phrases.of_set(one.events[rows], references.events, alphabet)
        values |= of_set
        if "longest_copy" in scores:
            values["longest_copy_max"] = phrases.largest(scores["longest_copy"][rows])
        values |= melodies.distributions(few(features(one.events, one.steps_per_quarter), side), real)
        result.facts["pairs for edit distance"] = pairs
    result.facts["samples for distributions"] = side
    return result


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
        were. Of a run of tokens that are no music: a token file.
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
        held_out = _music_of(run, read(against)) if is_musical(tokenizer) else tokens.held_out(against, tokenizer, data)
    sets = {stage: draw(run, samples, stage=stage, seed=seed, device=device) for stage in run.stages}
    how: dict[str, Any] = {"samples": samples, "seed": seed, "objectives": objectives}
    result = beside_anchors(sets, data, held_out, tokenizer, **how)
    for stage in sets:
        generator = run.generator(stage, device)
        where = next(generator.parameters()).device
        result.rows[stage]["nll"] = negative_log_likelihood(
            generator, held_out.to(where), data.pad_id, limit=len(held_out)
        )
    own = f"the run's test {'tunes' if is_musical(tokenizer) else 'sequences'}"
    result.facts.update(run=str(run.directory), against=str(against) if against else own)
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
    one = MelodySet.of_tokens(tokenizer, *tunes_by_turns(_cut(measured, tokenizer, length)))
    result = beside_anchors({_row_of(folder): one}, data, data.test, tokenizer, samples=samples, seed=seed)
    result.facts.update(against=str(against), tokenizer=tokenizer.to_dict(), length=length)
    return result


def draw(run: Run, samples: int, *, seed: int, **options: Any) -> Any:
    """Samples of a run as it is measured by: with the metres of the row *real*, each as often as there.

    Parameters
    ----------
    run : Run
    samples : int
    seed : int
    options
        Stage, temperature and device, see `seqgan_music.run.Run.sample`.

    Returns
    -------
    MelodySet or TokenSet
        As the run's tokens are music or not.
    """
    start = metres_of_real(run.dataset, samples, seed)
    return sample_set(run.tokenizer, *run.sample(samples, seed=seed, start=start, **options))


def sample_set(tokenizer: Tokenizer, ids: Tensor, start: Tensor) -> Any:
    """Tokens (M, T) with start tokens (M,) as the metrics take them: a `MelodySet`, or a `TokenSet` of no music."""
    return (MelodySet if is_musical(tokenizer) else TokenSet).of_tokens(tokenizer, ids, start)


def check_run(run: Run, samples: int, seed: int) -> None:
    """Refuse a run that cannot be measured, and what cannot be meant.

    Raises
    ------
    UsageError
    """
    _check(samples, seed)
    if "exported" in run.facts:
        or_else = ", or melodies of it with generate, then evaluate DIR --against MIDI_FOLDER" if run.is_music else ""
        raise UsageError(
            f"{run.directory} is an exported run, which lacks the corpus's windows: evaluate the run it was made from"
            f"{or_else}"
        )


def _check(samples: int, seed: int) -> None:
    if samples < 2:
        raise UsageError(f"an evaluation needs at least 2 samples, not {samples!r}")
    if seed < 0:
        raise UsageError(f"the seed must be 0 or more, not {seed!r}")


def _row_of(folder: str | Path) -> str:
    """A folder's name, told apart from an anchor's."""
    return f"{folder}/" if str(folder) in ANCHORS else str(folder)


def beside_anchors(
    sets: Mapping[str, Any],
    data: Dataset,
    held_out: Windows,
    tokenizer: Tokenizer,
    *,
    samples: int,
    seed: int,
    objectives: Objectives | None = None,
) -> Evaluation:
    """Measure sets of samples, and real ones, Markov chains and noise beside them, against held-out windows.

    Parameters
    ----------
    sets : mapping of str to MelodySet or TokenSet
        As the tokenizer's tokens are music or not.
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
    musical = is_musical(tokenizer)
    references = sample_set(tokenizer, *without_repeats(held_out))
    real = sample_set(tokenizer, *tunes_by_turns(data.validation))
    starts = metres_of_real(data, samples, seed)
    training = _events(data.train, tokenizer)
    ended = (data.train.ids == data.end_id).any(1).numpy()
    rng = np.random.default_rng(seed)
    limit = {"steps": references.steps.shape[1]} if musical else {"length": data.length}
    chains = phrases.chains(training, ended, samples, rng, **limit)
    drawable = [token for token in range(data.vocab_size) if token not in data.never]
    if musical:  # noise of whole windows, without END
        drawable = [token for token in drawable if token != data.end_id]
    noise = torch.from_numpy(rng.choice(drawable, (samples, data.length)))
    uniform = sample_set(tokenizer, noise, starts)
    anchors = {REAL: real, **{name: uniform.of_chain(events) for name, events in chains.items()}, "uniform": uniform}
    everything = {**sets, **anchors}
    equal = min(len(one) for one in everything.values())
    independent = min(equal, max(LEAST_INDEPENDENT, len(data.validation.piece.unique())))
    sizes: dict[str, Any] = {"training": training, "equal_sizes": equal, "independent": independent}
    if musical:
        result = evaluate(everything, references, objectives=objectives, **sizes)
        choices = len(drawable) + 1  # END, which ends held-out tunes, is one more
    else:
        result = tokens.evaluate(everything, references, **sizes)
        choices = len(drawable)
    result.rows["uniform"]["nll"] = math.log(choices)
    for values in result.rows.values():
        values.setdefault("nll", math.nan)
    facts = {
        "samples": {name: len(one) for name, one in everything.items()},
        "references": len(references),
        "references_sha256": references.digest(),
        "training windows": len(training),
        "equal sizes": equal,
        "samples for Self-BLEU": independent,
        "BLEU": f"mean sentence BLEU of {references.UNIT}s, all references, method 1 smoothing with epsilon {EPSILON}",
        "reverse NLL": f"Witten-Bell model of {references.UNIT}s, order {REVERSE_ORDER}",
        "seed": seed,
        "versions": versions(),
    }
    if musical:
        facts["MSE"] = "semitones² on the grid, held notes expanded, a rest carries the last pitch"
    else:
        facts["empty, and left out of BLEU"] = {name: one.empty for name, one in everything.items() if one.empty}
    result.facts.update(facts)
    return result


def _events(windows: Windows, tokenizer: Tokenizer) -> Sequences:
    """Note events, or tokens, of many windows."""
    blocks = [slice(first, first + ROWS_AT_ONCE) for first in range(0, len(windows), ROWS_AT_ONCE)]
    return Sequences.concatenate([sample_set(tokenizer, *windows[block]).events for block in blocks])


def _music_of(run: Run, source: corpus.Corpus) -> Windows:
    """Windows of other music, read as a run's own."""
    transpose, moved = run.settings["data"]["transpose"], "init" in run.facts
    return _cut(source, run.tokenizer, run.dataset.length, transpose, by_octaves=moved)


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
