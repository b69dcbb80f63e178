"""The convolutional discriminator of SeqGAN: Kim's sentence CNN with a highway layer.

Yu et al. 2017 (arXiv 1609.05473), section 3.3 and the tables of its appendix; Kim 2014 (arXiv 1408.5882);
highway layer: Srivastava et al. 2015 (arXiv 1505.00387).

A filter sees as many tokens as it is wide, and its maximum is the same wherever and however often the pattern comes: of
form this network knows nothing. With `self_similarity` it is also shown how alike tokens are that stand 1, 2, 3, ...
steps apart, on the whole and where they are most alike: the diagonals of the self-similarity matrix (Foote 1999,
"Visualizing Music and Audio using Self-Similarity").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqgan_music import jit
from seqgan_music.discriminators import dense_convolution
from seqgan_music.discriminators.passages import earlier, passages_of_tokens, passages_that_return
from seqgan_music.discriminators.table_convolution import (
    additions,
    max_over_time,
    max_over_time_of_completions,
    table_of,
)
from seqgan_music.errors import UsageError
from seqgan_music.modes import Dropout

_TO_TEN = ((1, 100), (2, 200), (3, 200), (4, 200), (5, 200), (6, 100), (7, 100), (8, 100), (9, 100), (10, 100))
PAPER_FILTERS = {
    20: (*_TO_TEN, (15, 160), (20, 160)),
    32: (*_TO_TEN, (16, 160), (24, 160), (32, 160)),
}
"""Widths and numbers of filters for a length T, as the paper has them."""
SMALL_FILTERS = ((1, 32), (2, 64), (3, 64), (4, 64), (6, 48), (8, 48), (12, 32), (16, 32))
"""For the lengths of which the paper says nothing."""
TABLE_COST = 4
"""Time to make a table and its gradient, over that of as many products in a convolution over embedded tokens."""
TABLE_BYTES = 2**28 + 2**26
"""Most memory for a table that is kept during a search."""


class CNNDiscriminator(nn.Module):
    """Embedding, convolutions of several widths, maximum over time, highway layer, dropout, one score.

    The paper's softmax over two classes is the logistic function of the difference of their logits, so one score is the
    same family of functions.

    Parameters
    ----------
    vocab_size : int
        V.
    length : int
        T; filters wider than it are left out.
    embedding : int
        E.
    filters : "auto", "paper", "small" or list of [width, number]
        "paper" is the table for T = 20 or 32; "auto" is that where it exists and "small" elsewhere.
    dropout : float
        Probability of dropping a feature before the output layer, in train mode only. The paper keeps 0.75.
    l2 : float
        Weight of half the squared norm of the output layer in `penalty`, which a Wasserstein critic goes without.
    self_similarity : int
        Distances 1, 2, 3, ... in tokens at which a sequence is compared with itself, those below T; 0 is the paper's
        network.
    """

    product_dtype: torch.dtype | None = None

    def __init__(
        self,
        vocab_size: int,
        length: int,
        *,
        embedding: int = 64,
        filters: str | Sequence[Sequence[int]] = "auto",
        dropout: float = 0.25,
        l2: float = 0.2,
        self_similarity: int = 0,
    ) -> None:
        super().__init__()
        if embedding < 1:
            raise UsageError(f"discriminator.embedding must be at least 1, not {embedding!r}")
        if l2 < 0:
            raise UsageError(f"discriminator.l2 must not be negative, not {l2!r}")
        if self_similarity < 0:
            raise UsageError(f"discriminator.self_similarity must not be negative, not {self_similarity!r}")
        table = _filters(filters, length)
        self.layers = tuple(table)  # widths and numbers of filters
        self.self_similarity = min(self_similarity, length - 1)
        self.vocab_size = vocab_size
        self.l2 = l2
        self.embedding = nn.Embedding(vocab_size, embedding)
        self.convolutions = nn.ModuleList(nn.Conv1d(embedding, number, width) for width, number in table)
        features = sum(number for _, number in table) + 2 * self.self_similarity
        self.highway = nn.Linear(features, 2 * features)
        self.dropout = Dropout(dropout, "discriminator.dropout")
        self.output = nn.Linear(features, 1)

    @torch.no_grad()
    def reset_parameters(self, rng: torch.Generator) -> None:
        """Draw weights: embedding uniform in ±1, the others N(0, 2 / fan-in) and biases 0; highway gates start closed
        by −2."""
        nn.init.uniform_(self.embedding.weight, -1.0, 1.0, generator=rng)
        for layer in [*self.convolutions, self.highway, self.output]:
            assert isinstance(layer, nn.Conv1d | nn.Linear)
            nn.init.kaiming_normal_(layer.weight, generator=rng)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        self.highway.bias[self.highway.in_features :] = -2.0

    def forward(self, ids: Tensor) -> Tensor:
        """Scores (B,) of ids (B, T); logits of "real" when trained by cross entropy."""
        # A table has a row for each token: for all there are, or, if those are too many, for all that come.
        if ids.device.type == "cpu":
            columns = sum(width * filters for width, filters in self.layers)
            sums = len(ids) * additions(ids.shape[1], self.layers)
            tokens = torch.arange(self.vocab_size) if TABLE_COST * self.vocab_size * columns < sums else ids.unique()
            if TABLE_COST * len(tokens) * columns < sums:
                embedding = self.embedding.weight
                rows = ids
                if len(tokens) < self.vocab_size:
                    embedding, rows = F.embedding(tokens, embedding), torch.searchsorted(tokens, ids)
                strongest = max_over_time(rows, self._table(embedding), self.layers) + self._bias()
                return self._head(strongest, self._returning_tokens(rows, self._alike(embedding)))
        embedded = self.embed(ids)
        strongest = dense_convolution.max_over_time(embedded, self._weights(), self.product_dtype)
        return self._head(strongest + self._bias(), self._returning(embedded))

    def for_search(self) -> Callable[[Tensor, range], Tensor] | None:
        """Scores of completions of prefixes for as long as the weights stay what they are; None where there is no
        shorter way to them."""
        weight = self.embedding.weight
        columns = sum(width * filters for width, filters in self.layers)
        columns += self.vocab_size if self.self_similarity else 0
        size = self.vocab_size * columns * weight.element_size()
        if weight.device.type != "cpu" or not jit.available() or size > TABLE_BYTES:
            return None
        with torch.no_grad():
            table, bias, alike = self._table(weight, kept=True), self._bias(), self._alike(weight)
            highway = self._highway_weight()

        def scores(lanes: Tensor, lengths: range) -> Tensor:
            strongest = max_over_time_of_completions(lanes, lengths, table, self.layers).flatten(0, 2).add_(bias)
            returning = self._returning_tokens(lanes.flatten(0, 2), alike)
            return self._head(strongest, returning, highway).view(lanes.shape[:3])

        return scores

    def embed(self, ids: Tensor) -> Tensor:
        """Embedding (B, T, E) of ids (B, T), or of rows (B, T, V) over the vocabulary."""
        if ids.is_floating_point():
            return ids @ self.embedding.weight
        return F.embedding(ids, self.embedding.weight)

    def score(self, embedded: Tensor) -> Tensor:
        """Scores (B,) of an embedding (B, T, E)."""
        across = embedded.transpose(1, 2)  # (B, E, T)
        strongest = torch.cat([conv(across).amax(2) for conv in self.convolutions], 1)
        return self._head(strongest, self._returning(embedded))

    def penalty(self) -> Tensor:
        """Half the squared norm of the output layer, times `l2`."""
        norm: Tensor = self.output.weight.square().sum() + self.output.bias.square().sum()
        return 0.5 * self.l2 * norm

    def _table(self, embedding: Tensor, *, kept: bool = False) -> Tensor:
        """What the taps of all convolutions give for tokens of an embedding (V, E)."""
        return table_of(embedding, self._weights(), kept=kept)

    def _weights(self) -> list[Tensor]:
        return [conv.weight for conv in self._layers()]

    def _bias(self) -> Tensor:
        return torch.cat([conv.bias for conv in self._layers()])

    def _alike(self, embedding: Tensor) -> Tensor | None:
        """Likeness (V, V) of tokens, the cosine of their embeddings (V, E), if it is looked at."""
        if not self.self_similarity:
            return None
        unit = F.normalize(embedding, dim=1)
        return unit @ unit.t()

    def _returning_tokens(self, ids: Tensor, alike: Tensor | None) -> tuple[Tensor, ...]:
        """`_returning` of ids (B, T) by the likeness (V, V) of tokens."""
        return () if alike is None else passages_of_tokens(ids, alike, self.self_similarity)

    def _layers(self) -> list[Any]:
        """The convolutions, which a `ModuleList` hands out as any module."""
        return list(self.convolutions)

    def _returning(self, embedded: Tensor) -> tuple[Tensor, ...]:
        """What `passages_that_return` says of an embedding (B, T, E), if it is looked at."""
        if not self.self_similarity:
            return ()
        unit = F.normalize(embedded, dim=2)
        before = earlier(embedded.shape[1], self.self_similarity, embedded.device).expand(len(embedded), -1, -1)
        return passages_that_return((unit @ unit.transpose(1, 2)).gather(2, before))

    def _head(self, strongest: Tensor, returning: tuple[Tensor, ...], highway: Tensor | None = None) -> Tensor:
        """Scores from the filters' maxima (B, F) and both measures (B, K) of what returns; `highway` spares
        `_highway_weight`."""
        together = torch.cat([strongest.relu(), *returning], 1)
        change, gate = self._highway(together, self._highway_weight() if highway is None else highway).chunk(2, 1)
        if torch.is_grad_enabled():
            together = torch.lerp(together, change.relu(), gate.sigmoid())
        else:  # in place, for fresh memory takes longer than what is written into it
            together.lerp_(change.relu_(), gate.sigmoid_())
        scores: Tensor = self.output(self.dropout(together)).squeeze(1)
        return scores

    def _highway_weight(self) -> Tensor:
        """The highway layer's weight (2 · features, features) as it is multiplied with."""
        weight = self.highway.weight
        return weight if self.product_dtype is None else weight.to(self.product_dtype)

    def _highway(self, features: Tensor, weight: Tensor) -> Tensor:
        """The highway layer's two halves before their nonlinearities, (B, 2 · features)."""
        if weight.dtype == features.dtype:
            return F.linear(features, weight, self.highway.bias)
        return F.linear(features.to(weight.dtype), weight).to(features.dtype).add_(self.highway.bias)


def _filters(filters: str | Sequence[Sequence[int]], length: int) -> list[tuple[int, int]]:
    if filters == "auto":
        filters = "paper" if length in PAPER_FILTERS else "small"
    if filters == "paper":
        if length not in PAPER_FILTERS:
            raise UsageError(
                f"discriminator.filters='paper': the paper has tables for T = 20 and 32, not {length}; "
                f"use 'small' or a list of [width, number]"
            )
        return list(PAPER_FILTERS[length])
    if filters == "small":
        filters = SMALL_FILTERS
    if isinstance(filters, str):
        raise UsageError(
            f"discriminator.filters must be 'auto', 'paper', 'small' or a list of [width, number], not {filters!r}"
        )
    try:
        table = [(int(width), int(number)) for width, number in filters if width <= length]
    except (TypeError, ValueError):
        table = []
    if not table or min(min(pair) for pair in table) < 1:
        raise UsageError(
            f"discriminator.filters must be pairs of a width of 1..{length} and a number of at least 1, "
            f"such as [[1, 32], [2, 64]], not {filters!r}"
        )
    return table
