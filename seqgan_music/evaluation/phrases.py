"""What is measured of sequences whatever they say: note events of melodies, or tokens that are no music.

BLEU, Self-BLEU and copies judge a sample by itself; the share of different samples and n-grams, edit distance and
reverse likelihood judge a set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from seqgan_music.metrics.bleu import References, self_bleu
from seqgan_music.metrics.diversity import distinct_n, edit_distance_diversity, unique_share
from seqgan_music.metrics.likelihood import WittenBell
from seqgan_music.metrics.markov import Markov
from seqgan_music.metrics.novelty import copied_share, longest_copy, longest_matches
from seqgan_music.metrics.sequences import Sequences

BLEU_ORDERS = (2, 3, 4, 5)
NGRAMS = (4, 8)
"""Notes or tokens in the runs of which the copied share is taken."""
REVERSE_ORDER = 2


def bleu(events: Sequences, known: References, independent: int) -> dict[str, np.ndarray]:
    """BLEU (M,) of each sequence, and Self-BLEU within groups of `independent`, without those too few for a last one.

    Parameters
    ----------
    events : Sequences
    known : References
        Counted for the highest of `BLEU_ORDERS`.
    independent : int
        Sequences in a group, one after another.
    """
    found = known.bleu(events)
    own = np.full_like(found, np.nan)
    for first in range(0, len(events) - independent + 1, independent):
        rows = slice(first, first + independent)
        own[rows] = self_bleu(events[rows], max(BLEU_ORDERS))
    return {
        **{f"bleu_{n}": found[:, n - 1] for n in BLEU_ORDERS},
        **{f"self_bleu_{n}": own[:, n - 1] for n in BLEU_ORDERS},
    }


def copies(sets: Mapping[str, Sequences], training: Sequences | None) -> dict[str, dict[str, np.ndarray]]:
    """What each sequence copies from the training part; all sets are looked up at once, for sorting takes the time.

    Returns
    -------
    dict of str to dict of str to ndarray (M,)
        Set → metric → one number a sequence; without `training` no metric.
    """
    if training is None:
        return {name: {} for name in sets}
    everything = Sequences.concatenate(list(sets.values()))
    matches = longest_matches(everything, training)
    figures = {f"copied_{n}": copied_share(everything, matches, n) for n in NGRAMS}
    figures["longest_copy"] = longest_copy(everything, matches)
    ends = np.cumsum([len(one) for one in sets.values()])
    return {
        name: {metric: values[end - len(one) : end] for metric, values in figures.items()}
        for (name, one), end in zip(sets.items(), ends, strict=True)
    }


def of_set(events: Sequences, references: Sequences, alphabet: int) -> tuple[dict[str, float], int]:
    """What depends on the number of sequences, and how many pairs the edit distance is the mean of.

    Parameters
    ----------
    events : Sequences
        As many of every set.
    references : Sequences
        Whose likelihood is taken by a model of `events`.
    alphabet : int
        How many different events there can be.
    """
    apart = edit_distance_diversity(events)
    # Padding may be a symbol too many.
    model = WittenBell(REVERSE_ORDER, max(len(np.unique(events.tokens)), alphabet)).fit(events)
    values = {
        "unique": unique_share(events),
        "distinct_2": distinct_n(events, 2),
        "edit_distance": apart.mean,
        "reverse_nll": model.nats(references),
    }
    return values, apart.pairs


def chains(
    training: Sequences, ended: np.ndarray, samples: int, rng: np.random.Generator, **size: Any
) -> dict[str, Sequences]:
    """Samples of the Markov chains that stand as anchors; `size` is `Markov.sample`'s."""
    return {f"Markov-{order}": Markov(order).fit(training, ended).sample(samples, rng, **size) for order in (1, 2)}


def spread(size: int, wanted: int) -> np.ndarray:
    """Numbers of up to `wanted` of so many rows, evenly spaced: the windows of a folder stand tune by tune."""
    wanted = min(size, wanted)
    return np.arange(wanted) * size // max(wanted, 1)


def few(named: Mapping[str, np.ndarray], wanted: int) -> dict[str, np.ndarray]:
    """Up to so many rows of each, evenly spaced."""
    return {name: values[spread(len(values), wanted)] for name, values in named.items()}


def mean(values: np.ndarray) -> float:
    """Mean of what is defined; NaN if nothing is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else math.nan


def largest(values: np.ndarray) -> float:
    """Of what is defined; NaN if nothing is."""
    defined = values[~np.isnan(values)]
    return float(defined.max()) if len(defined) else math.nan
