"""How good are a generator's melodies, and how different from one another?

Each module opens with the question it answers and its conventions, and holds pure functions of NumPy arrays:

- `bleu`: BLEU and Self-BLEU; do the phrases of the samples occur in real music, and in one another?
- `mse`: the distance between pitch curves, the second figure of SeqGAN's music experiment.
- `diversity`: unique share, distinct n-grams, edit distance.
- `events`: melodies as note events, the one alphabet in which all tokenizers are compared.
- `key`: which key, and how clearly?
- `markov`: the Markov chain that stands as a baseline in every table.
- `sequences`: ragged sequences as one array, and the exact numbering of their n-grams.

Malformed input raises `ValueError`. Where a number is not defined, because there is nothing to measure, it is NaN and
its docstring says when; a 0.0 is always a measured one.
"""

from __future__ import annotations

from dataclasses import dataclass


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


METRICS: dict[str, Metric] = {
    "bleu_2": Metric("BLEU-2", "share of a sample's phrases of 1 to 2 notes found in real tunes", "equal to real"),
    "bleu_3": Metric("BLEU-3", "share of a sample's phrases of 1 to 3 notes found in real tunes", "equal to real"),
    "bleu_4": Metric("BLEU-4", "share of a sample's phrases of 1 to 4 notes found in real tunes", "equal to real"),
    "bleu_5": Metric("BLEU-5", "share of a sample's phrases of 1 to 5 notes found in real tunes", "equal to real"),
    "self_bleu_2": Metric("Self-BLEU-2", "the same with the other samples in place of real tunes", "equal to real"),
    "self_bleu_3": Metric("Self-BLEU-3", "the same with the other samples in place of real tunes", "equal to real"),
    "self_bleu_4": Metric("Self-BLEU-4", "the same with the other samples in place of real tunes", "equal to real"),
    "self_bleu_5": Metric("Self-BLEU-5", "the same with the other samples in place of real tunes", "equal to real"),
    "mse_nearest": Metric("MSE nearest", "semitones² between a sample and its nearest real window", "equal to real"),
    "mse_pairs": Metric("MSE pairs", "semitones² between a sample and all real windows, on average", "equal to real"),
    "unique": Metric("unique", "share of different sequences among the samples", "equal to real"),
    "distinct_2": Metric("distinct-2", "different note pairs over all note pairs", "equal to real"),
    "edit_distance": Metric(
        "edit distance", "share of its notes one sample must change to be another", "equal to real"
    ),
    "nll": Metric("NLL", "negative log-likelihood of held-out real music, nats per token", "lower"),
}
"""Name in records and reports → what it means."""
