"""The convolutional discriminator of SeqGAN: Kim's sentence CNN with a highway layer.

Yu et al. 2017 (arXiv 1609.05473), section 3.3 and the tables of its appendix; Kim 2014 (arXiv 1408.5882);
highway layer: Srivastava et al. 2015 (arXiv 1505.00387).

A filter sees as many tokens as it is wide, and its maximum is the same wherever and however often the pattern comes: of
form this network knows nothing. With `self_similarity` it is also shown how alike tokens are that stand 1, 2, 3, ...
steps apart, on the whole and where they are most alike: the diagonals of the self-similarity matrix (Foote 1999,
"Visualizing Music and Audio using Self-Similarity").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqgan_music.discriminators.table_convolution import max_over_time, table_of
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
PASSAGE = 8
"""Tokens that make a passage worth noticing when it returns: half a bar of sixteenths."""


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
        if ids.device.type != "cpu" or self.vocab_size > ids.numel():
            return self.score(self.embed(ids))
        strongest = [
            max_over_time(ids, table_of(self.embedding.weight, conv.weight)) + conv.bias for conv in self._layers()
        ]
        likeness = None
        if self.self_similarity:
            unit = F.normalize(self.embedding.weight, dim=1)
            likeness = (unit @ unit.t())[ids[:, :, None], ids[:, self._earlier(ids)]]
        return self._head(torch.cat(strongest, 1), likeness)

    def embed(self, ids: Tensor) -> Tensor:
        """Embedding (B, T, E) of ids (B, T), or of rows (B, T, V) over the vocabulary."""
        if ids.is_floating_point():
            return ids @ self.embedding.weight
        return F.embedding(ids, self.embedding.weight)

    def score(self, embedded: Tensor) -> Tensor:
        """Scores (B,) of an embedding (B, T, E)."""
        across = embedded.transpose(1, 2)  # (B, E, T)
        strongest = torch.cat([conv(across).amax(2) for conv in self.convolutions], 1)
        likeness = None
        if self.self_similarity:
            unit = F.normalize(embedded, dim=2)
            likeness = (unit @ unit.transpose(1, 2)).gather(2, self._earlier(embedded).expand(len(embedded), -1, -1))
        return self._head(strongest, likeness)

    def penalty(self) -> Tensor:
        """Half the squared norm of the output layer, times `l2`."""
        norm: Tensor = self.output.weight.square().sum() + self.output.bias.square().sum()
        return 0.5 * self.l2 * norm

    def _layers(self) -> list[Any]:
        """The convolutions, which a `ModuleList` hands out as any module."""
        return list(self.convolutions)

    def _earlier(self, sequences: Tensor) -> Tensor:
        """Positions (T, K) that stand 1 ... K steps before each; 0 where there is none."""
        steps = torch.arange(sequences.shape[1], device=sequences.device)
        return (steps[:, None] - 1 - torch.arange(self.self_similarity, device=sequences.device)).clamp(min=0)

    def _head(self, strongest: Tensor, likeness: Tensor | None) -> Tensor:
        """Scores from the filters' maxima (B, F) and the likeness (B, T, K) of each token to the K before it."""
        features = [strongest.relu()]
        if likeness is not None:
            features += passages_that_return(likeness)
        together = torch.cat(features, 1)
        change, gate = self.highway(together).chunk(2, 1)
        gate = gate.sigmoid()
        together = gate * change.relu() + (1 - gate) * together
        scores: Tensor = self.output(self.dropout(together)).squeeze(1)
        return scores


def passages_that_return(likeness: Tensor) -> tuple[Tensor, Tensor]:
    """How much of a sequence comes again after each number of steps.

    Parameters
    ----------
    likeness : Tensor (B, T, K)
        Of the token at each step to the one 1 ... K steps before it; what stands where there is none does not count.

    Returns
    -------
    mean : Tensor (B, K)
        Over the sequence.
    strongest : Tensor (B, K)
        The largest mean over `PASSAGE` steps.
    """
    _, length, count = likeness.shape
    distance = torch.arange(1, count + 1, device=likeness.device)
    there = torch.arange(length, device=likeness.device)[:, None] >= distance  # (T, K)
    likeness = torch.where(there, likeness, 0.0)
    mean = likeness.sum(1) / (length - distance)
    passages = F.avg_pool1d(likeness.transpose(1, 2), min(PASSAGE, length), stride=1)
    return mean, passages.amax(2)


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
