"""How good are a generator's melodies, and how different from one another?

Each module opens with the question it answers and its conventions, and holds pure functions of NumPy arrays:

- `bleu`: BLEU and Self-BLEU; do the phrases of the samples occur in real music, and in one another?
- `mse`: the distance between pitch curves, the second figure of SeqGAN's music experiment.
- `diversity`: unique share, distinct n-grams, edit distance.
- `novelty`: how much is copied from the training tunes?
- `yang_lerch`: nine musical features, as distributed as in real music? Overlap area and divergence.
- `frechet`: the distance between two clouds of feature vectors.
- `likelihood`: can real music be learned from the samples? Reverse likelihood.
- `musicality`: MusPy's measures of pitch and rhythm, and how many bars come back.
- `events`: melodies as note events, the one alphabet in which all tokenizers are compared.
- `key`: which key, and how clearly?
- `markov`: the Markov chain that stands as a baseline in every table.
- `sequences`: ragged sequences as one array, and the exact numbering of their n-grams.

Malformed input raises `ValueError`. Where a number is not defined, because there is nothing to measure, it is NaN and
its docstring says when; a 0.0 is always a measured one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Metric:
    """What a number in a table of results means.

    Parameters
    ----------
    title : str
        As it stands at the head of a column.
    meaning : str
        One line.
    target : str
        Where the best value lies, such as ``"equal to real"``: the value of held-out real music, neither more nor less.
    """

    title: str
    meaning: str
    target: str


_TO_REAL = "equal to real"
_LENGTH = {n: f"share of a sample's phrases of 1 to {n} notes found in real tunes" for n in range(2, 6)}
_FEATURES = {
    "pitch_count": "the number of different pitches",
    "pitch_class_histogram": "the shares of the twelve pitch classes",
    "pitch_range": "the highest less the lowest pitch",
    "pitch_interval": "the mean size of the intervals",
    "note_count": "the number of notes",
    "inter_onset_interval": "the mean time from note to note",
    "note_length_histogram": "the shares of twelve note lengths",
    "pitch_class_transitions": "the shares of the steps from pitch class to pitch class",
    "note_length_transitions": "the shares of the steps from note length to note length",
}

METRICS: dict[str, Metric] = {
    **{f"bleu_{n}": Metric(f"BLEU-{n}", meaning, _TO_REAL) for n, meaning in _LENGTH.items()},
    "mse_nearest": Metric("MSE nearest", "semitones² between a sample and its nearest real window", _TO_REAL),
    "mse_pairs": Metric("MSE pairs", "semitones² between a sample and all real windows, on average", _TO_REAL),
    "nll": Metric("NLL", "negative log-likelihood of held-out real music, nats per token", "lower"),
    "reverse_nll": Metric(
        "reverse NLL", "the same by a trigram model of the samples, nats per note or rest; real: of as many", "lower"
    ),
    **{
        f"self_bleu_{n}": Metric(f"Self-BLEU-{n}", "BLEU with the other samples in place of real tunes", _TO_REAL)
        for n in range(2, 6)
    },
    "unique": Metric("unique", "share of different sequences among the samples", _TO_REAL),
    "distinct_2": Metric("distinct-2", "different pairs of notes over all pairs of successive notes", _TO_REAL),
    "edit_distance": Metric("edit distance", "share of its notes one sample must change to be another", _TO_REAL),
    "copied_4": Metric("copied-4", "share of the runs of 4 notes that stand so in a training tune", _TO_REAL),
    "copied_8": Metric("copied-8", "share of the runs of 8 notes that stand so in a training tune", _TO_REAL),
    "longest_copy": Metric(
        "longest copy", "notes in a sample's longest run copied from training, on average", _TO_REAL
    ),
    "longest_copy_max": Metric("largest", "notes in the longest copied run of any sample", _TO_REAL),
    "overlap_area": Metric(
        "overlap area", "how alike nine musical features are distributed (0 to 1), mean of Yang and Lerch's", _TO_REAL
    ),
    "kl_divergence": Metric("KL", "the same as a divergence, nats; 0 if alike", _TO_REAL),
    "frechet": Metric(
        "Fréchet", "distance between the clouds of 29 features of samples and real windows; real: the floor", _TO_REAL
    ),
    **{
        f"overlap_area_{name}": Metric(f"overlap {name.replace('_', ' ')}", f"overlap area of {meaning}", _TO_REAL)
        for name, meaning in _FEATURES.items()
    },
    **{
        f"kl_divergence_{name}": Metric(f"KL {name.replace('_', ' ')}", f"divergence of {meaning}, nats", _TO_REAL)
        for name, meaning in _FEATURES.items()
    },
    "pitch_class_entropy": Metric("class entropy", "spread of the notes over the pitch classes, bits", _TO_REAL),
    "scale_consistency": Metric("in scale", "share of the notes in the scale that holds most of them", _TO_REAL),
    "groove_consistency": Metric("groove", "how alike neighbouring bars are in where notes begin, 0 to 1", _TO_REAL),
    "empty_beat_rate": Metric("empty beats", "share of the quarter notes in which nothing sounds", _TO_REAL),
    "polyphony": Metric("polyphony", "notes that sound at once, on average; 1 in a melody", _TO_REAL),
    "bars_back": Metric("bars back", "share of the bars after the first that are an earlier bar again", _TO_REAL),
}
"""Name in records and reports → what it means."""

TOKEN_METRICS: dict[str, Metric] = {
    name: replace(METRICS[name], meaning=meaning)
    for name, meaning in {
        **{
            f"bleu_{n}": f"share of a sample's runs of 1 to {n} tokens found in held-out sequences" for n in range(2, 6)
        },
        "nll": "negative log-likelihood of held-out sequences, nats per token",
        "reverse_nll": "the same by a trigram model of the samples; real: of as many",
        **{f"self_bleu_{n}": "BLEU with the other samples in place of held-out sequences" for n in range(2, 6)},
        "unique": METRICS["unique"].meaning,
        "distinct_2": "different pairs of tokens over all pairs of successive tokens",
        "edit_distance": "share of its tokens one sample must change to be another",
        "copied_4": "share of the runs of 4 tokens that stand so in a training sequence",
        "copied_8": "share of the runs of 8 tokens that stand so in a training sequence",
        "longest_copy": "tokens in a sample's longest run copied from training, on average",
        "longest_copy_max": "tokens in the longest copied run of any sample",
    }.items()
}
"""The same of sequences that are no music."""

TABLES: dict[str, tuple[str, ...]] = {
    "Like real tunes? Phrases, pitch curves, likelihood": (
        *(f"bleu_{n}" for n in range(2, 6)),
        "mse_nearest",
        "mse_pairs",
        "nll",
        "reverse_nll",
    ),
    "Different from one another?": (
        *(f"self_bleu_{n}" for n in range(2, 6)),
        "unique",
        "distinct_2",
        "edit_distance",
    ),
    "New, or copied from the training tunes?": ("copied_4", "copied_8", "longest_copy", "longest_copy_max"),
    "Musical features distributed as in real tunes?": ("overlap_area", "kl_divergence", "frechet"),
    "In key, in time, with form?": (
        "pitch_class_entropy",
        "scale_consistency",
        "groove_consistency",
        "empty_beat_rate",
        "polyphony",
        "bars_back",
    ),
}
"""Question → metrics that answer it; overlap area and divergence of the single features are in JSON alone."""

TOKEN_TABLES: dict[str, tuple[str, ...]] = {
    "Like held-out sequences? Runs of tokens, likelihood": (*(f"bleu_{n}" for n in range(2, 6)), "nll", "reverse_nll"),
    "Different from one another?": TABLES["Different from one another?"],
    "New, or copied from the training sequences?": ("copied_4", "copied_8", "longest_copy", "longest_copy_max"),
}
"""The same of sequences that are no music."""
