"""Sequences of tokens that are no music, as the metrics take them: each token is an event, up to END."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from torch import Tensor

from seqgan_music import dataset
from seqgan_music.errors import UsageError
from seqgan_music.evaluation import phrases
from seqgan_music.evaluation.objectives import Objectives
from seqgan_music.evaluation.phrases import BLEU_ORDERS, spread
from seqgan_music.evaluation.result import Evaluation
from seqgan_music.metrics.bleu import References
from seqgan_music.metrics.sequences import Sequences
from seqgan_music.token_file import read_tokens

if TYPE_CHECKING:
    from seqgan_music.dataset import Dataset, Windows


@dataclass(frozen=True, slots=True, eq=False)
class TokenSet:
    """A set of sequences as the metrics take it.

    Parameters
    ----------
    events : Sequences
        Tokens without END and PAD, M rows.
    alphabet : int
        How many different tokens there can be.
    """

    events: Sequences
    alphabet: int
    UNIT: ClassVar[str] = "token"

    @classmethod
    def of_tokens(cls, tokenizer: Any, ids: Tensor, start: Tensor | None = None) -> TokenSet:
        """From tokens (M, T) of a `PlainTokens`, each row up to its first END or PAD; `start` is no part of it."""
        tokens = ids.cpu().numpy().astype(np.int64)
        closing = (tokens == tokenizer.end_id) | (tokens == tokenizer.pad_id)
        lengths = np.where(closing.any(1), closing.argmax(1), tokens.shape[1])
        return cls(Sequences(tokens, lengths), tokenizer.size)

    def of_chain(self, events: Sequences) -> TokenSet:
        """Other sequences of the same tokens."""
        return TokenSet(events, self.alphabet)

    def __len__(self) -> int:
        return len(self.events)

    @property
    def empty(self) -> int:
        """Sequences that end before their first token."""
        return int((self.events.lengths == 0).sum())

    def digest(self) -> str:
        """SHA-256 of the sequences: equal references have equal digests, on any machine."""
        sha = hashlib.sha256()
        for values in (self.events.lengths, self.events.tokens[self.events.valid]):
            sha.update(values.astype("<i8").tobytes())
        return sha.hexdigest()

    def arrays(self) -> dict[str, np.ndarray]:
        """What it holds, for an archive."""
        return {"tokens": np.where(self.events.valid, self.events.tokens, -1)}


def evaluate(
    sets: Mapping[str, TokenSet],
    references: TokenSet,
    *,
    training: Sequences | None = None,
    equal_sizes: int | None = None,
    independent: int | None = None,
) -> Evaluation:
    """Measure sets of sequences against references, as `seqgan_music.evaluation.evaluate` measures melodies.

    Parameters
    ----------
    sets, references, training, equal_sizes, independent
        As there, of tokens.

    Returns
    -------
    Evaluation
        Every metric of `seqgan_music.metrics.TOKEN_METRICS` but `nll`, which networks alone have.
    """
    known = References(references.events, max(BLEU_ORDERS))
    equal = equal_sizes or min(map(len, sets.values()))
    copied = phrases.copies({name: one.events for name, one in sets.items()}, training)
    result = Evaluation({}, sets=sets, references=references, objectives=Objectives.none())
    for name, one in sets.items():
        result.scores[name] = scores = phrases.bleu(one.events, known, min(independent or equal, equal)) | copied[name]
        rows = spread(len(one), equal)
        of_set, pairs = phrases.of_set(one.events[rows], references.events, one.alphabet)
        result.rows[name] = {metric: phrases.mean(of_each) for metric, of_each in scores.items()} | of_set
        if "longest_copy" in scores:
            result.rows[name]["longest_copy_max"] = phrases.largest(scores["longest_copy"][rows])
        result.facts["pairs for edit distance"] = pairs
    return result


def held_out(path: str | Path, tokenizer: Any, data: Dataset) -> Windows:
    """The sequences of a token file, to be measured against in place of a run's own.

    Parameters
    ----------
    path : str or Path
    tokenizer : PlainTokens
        The run's, whose tokens the file must have.
    data : Dataset
        The run's, whose length they must fit.

    Raises
    ------
    UsageError
        No such file, or sequences that the run cannot say.
    """
    if Path(path).is_dir():
        raise UsageError(f"{path} is a folder; a run of tokens that are no music is measured against a token file")
    source = read_tokens(path)
    ids = tokenizer.ids(source)
    room = data.length - tokenizer.ends
    wrong = source.lengths > room if tokenizer.ends else source.lengths != room
    if wrong.any():
        row = int(wrong.argmax())
        most = "at most " if tokenizer.ends else ""
        raise UsageError(
            f"{path} has {source.lengths[row]} tokens in {source.names[row]}, but sequences of this run have {most}"
            f"{room}; measure it against a file of such sequences"
        )
    rows = dict.fromkeys(dataset.PARTS, range(len(ids)))
    return dataset.of_rows(ids, rows, tokenizer, int(data.test.start[0]), length=data.length).test
