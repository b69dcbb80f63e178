"""Generators: the policy G_θ(y_t | Y_{1:t-1}) as a network over token ids.

A generator is a `torch.nn.Module` with these members; one line here makes it known everywhere.

``Generator(vocab_size, never, *, options)``
    Its keyword-only options are the settings of ``[generator]``.
``reset_parameters(rng)``
    Draw the initial weights from an explicit `torch.Generator`.
``forward(ids (B, T), start (B,)) -> logits (B, T, V)``
    ``logits[:, t]`` is the distribution of ``ids[:, t]``: forward puts the start token in front itself.
``start(B) -> state``
    The state before anything has been read. A state can be indexed along its batch, and states of one ``start`` joined
    by ``state.cat(others)``.
``step(ids (B,), state) -> (logits (B, V), state)``
    Read one more token. While weights stand still, one ``start`` may serve many steps; a state outlives no update.
``floats_per_row``
    Numbers that one row of ``step`` takes, so that a memory budget can be kept.
``factors(ids (B, T), start (B,)) -> (hidden (B, T, H), weight (V, H), bias (V,)) or None``
    May be left out. Of ``forward``'s logits, if they are hidden · weightᵀ + bias, so that those of a wide vocabulary
    need not be held all at once. A derived class that changes ``forward`` alone is not asked for it.

``advance(ids (B,), state) -> logits (B, V)``
    May be left out. As ``step``, but in place: into the state it is given, and with logits that hold, perhaps in
    ``product_dtype``, until the next call with a state of the same ``start``. States then have ``room(rows)``, a state
    of the same ``start`` for so many rows with nothing in it yet; a slice of rows is a view; and ``state[rows] =
    other`` copies a state of the same ``start``, as often in turn as it goes into the rows. It may be called in
    several threads at once, with rows of their own; the logits hold until the thread's next call. A derived class that
    changes ``step`` alone is not asked for it.
``product_dtype``
    May be left out: a class attribute, None, in whose place ``[run] precision`` puts the dtype of large matrix products
    and of tables of what they give. None is the dtype of the weights. Weights, softmax and what is summed over many
    terms stay in float32, and so do the logits that come out.

On a CUDA GPU what it computes is recorded (`seqgan_music.graphs`): it may depend on arguments, weights and buffers, but
on no other number that changes.

The constructor is told the ids that are never drawn (START and PAD); their logits are −inf.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from seqgan_music import registry

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor

GENERATORS = {
    "lstm": "seqgan_music.generators.lstm:LSTMGenerator",
}


class State(Protocol):
    """What a generator remembers of a batch of prefixes."""

    def __getitem__(self, rows: Any) -> State:
        """The states of some rows."""

    def cat(self, others: Sequence[Any]) -> State:
        """These rows, then those of the others."""


class Generator(Protocol):
    """What the rest of the program may ask of a generator; see the module's description."""

    vocab_size: int
    floats_per_row: int

    def __call__(self, ids: Tensor, start: Tensor) -> Tensor:
        """Logits (B, T, V) of every token given those before it."""

    def start(self, batch: int) -> State:
        """State before anything has been read."""

    def step(self, ids: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Read one token a row; logits (B, V) of the next and the new state."""

    def reset_parameters(self, rng: torch.Generator) -> None:
        """Draw the initial weights."""


def advance(generator: Generator, ids: Tensor, state: Any) -> tuple[Tensor, Any]:
    """`Generator.step`, which may write into the state it is given and into the logits it gave before."""
    in_place = registry.shortcut(generator, "advance", of="step")
    return (in_place(ids, state), state) if in_place else generator.step(ids, state)
