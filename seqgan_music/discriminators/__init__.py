"""Discriminators: networks that tell sequences of the data from generated ones.

A discriminator is a `torch.nn.Module` with these members; one line here makes it known everywhere.

``Discriminator(vocab_size, length, *, options)``
    Its keyword-only options are the settings of ``[discriminator]``.
``vocab_size``
    V, as given.
``reset_parameters(rng)``
    Draw the initial weights from an explicit `torch.Generator`.
``embed(ids (B, T) or rows (B, T, V)) -> (B, T, E)``
    Rows of the vocabulary (one-hot, softmax) are embedded like ids, so that gradients can reach a generator.
``score(embedded (B, T, E)) -> (B,)``
    ``forward = score(embed(·))``. How a score becomes a reward is said by the loss it was trained with
    (`seqgan_music.losses`).
``forward(ids (B, T)) -> (B,)``
    May take a shorter way to the same scores, up to rounding; has gradients, but may have no second derivative.
``penalty() -> scalar``
    What regularises the weights, added to the loss; a Wasserstein critic's loss has its own in its place.
``for_search() -> callable(lanes (t, n, B, T), lengths) -> scores (t, n, B), or None``
    May be left out: a shorter way to the same scores while the weights stand still, in eval mode without gradients. All
    of ``lanes[i, :, b]`` begin with the same ``lengths[i]`` tokens, those of ``lanes[i − 1, :, b]`` and one more; so
    what they share need not be computed again. None where there is no such way. On a processor several threads call it
    at once. A derived class that changes ``forward`` alone is not asked for it.
``product_dtype``
    May be left out: a class attribute, None, in whose place ``[run] precision`` puts the dtype of large matrix products
    and of tables of what they give. None is the dtype of the weights. Weights and what is summed over many terms stay
    in float32, and so do the scores that come out.

On a CUDA GPU its training is recorded (`seqgan_music.graphs`): what it computes may depend on arguments, weights and
buffers, but on no other number that changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

DISCRIMINATORS = {
    "cnn": "seqgan_music.discriminators.cnn:CNNDiscriminator",
}


class Discriminator(Protocol):
    """What the rest of the program may ask of a discriminator; see the module's description."""

    vocab_size: int

    def __call__(self, ids: Tensor) -> Tensor:
        """Scores (B,) of ids (B, T)."""

    def embed(self, ids: Tensor) -> Tensor:
        """Embedding (B, T, E) of ids (B, T) or of rows (B, T, V)."""

    def score(self, embedded: Tensor) -> Tensor:
        """Scores (B,) of an embedding (B, T, E)."""

    def penalty(self) -> Tensor:
        """Regularisation of the weights."""

    def reset_parameters(self, rng: torch.Generator) -> None:
        """Draw the initial weights."""
