"""Monte-Carlo search: the action value of every position of every sequence (Yu et al. 2017, Eq. 3 and 4).

The paper completes one prefix after another, reading each from its beginning. Here the policy reads a sequence once,
and its state after every prefix is kept. From each state leave the N lanes of that prefix, and all lanes of a block of
prefixes advance together. A block is as large as the memory budget: on a processor small enough to stay in its cache,
on a GPU usually everything, which is T steps in all in place of N · T² / 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from seqgan_music.modes import evaluating
from seqgan_music.sampling import MEMORY_BUDGET, draw

if TYPE_CHECKING:
    from seqgan_music.generators import Generator


class SequenceReward(Protocol):
    """What finished sequences are worth."""

    def __call__(self, ids: Tensor, group: Tensor, start: Tensor) -> Tensor:
        """Reward (M,) of each of ids (M, T); `group` (M,) is one number for the B sequences of one roll-out and
        prefix."""


def rollout_uniforms(batch: int, length: int, rollouts: int, rng: torch.Generator, dtype: torch.dtype) -> list[Tensor]:
    """Uniform numbers for every draw of a search.

    Returns
    -------
    list of Tensor (s, N, B)
        Element s − 1 draws step s (counted from 0) of the lanes with prefixes of 1 ... s tokens.
    """
    return [torch.rand(s, rollouts, batch, generator=rng, device=rng.device, dtype=dtype) for s in range(1, length)]


def action_values(
    policy: Generator,
    reward: SequenceReward,
    ids: Tensor,
    start: Tensor,
    rollouts: int,
    rng: torch.Generator,
    *,
    end_id: int = -1,
    pad_id: int = -1,
    memory_budget: int = 0,
) -> Tensor:
    """Action values Q(s = Y_{1:t-1}, a = y_t) of sequences, by Eq. 4.

    Parameters
    ----------
    policy : Generator
        G_β, which completes the prefixes; used in eval mode and without gradients.
    reward : SequenceReward
        D_φ, or whatever scores finished sequences.
    ids : Tensor (B, T), int64
        Sequences Y, PAD after END.
    start : Tensor (B,), int64
        Their start tokens.
    rollouts : int
        N, completions of every prefix; 0 searches nothing, and every step is worth what the sequence is worth.
    rng : torch.Generator
        On the ids' device.
    end_id, pad_id : int
        A lane that has drawn END is filled with PAD; −1 where the vocabulary has none.
    memory_budget : int
        Bytes for the lanes computed at once, 0 for the device's `MEMORY_BUDGET`; changes no draw.

    Returns
    -------
    Tensor (B, T)
        Mean reward of the N completions of Y_{1:t}; in the last column the reward of Y itself.
    """
    batch, length = ids.shape
    with evaluating(policy, getattr(reward, "discriminator", None)):
        last = reward(ids, ids.new_zeros(batch), start)
        if not rollouts:
            return last[:, None].expand(batch, length)
        values = last.repeat(length, 1)  # (T, B)
        values[:-1] = 0.0
        uniforms = rollout_uniforms(batch, length, rollouts, rng, last.dtype)
        prefixes = read_prefixes(policy, ids, start)
        budget = memory_budget or MEMORY_BUDGET[ids.device.type]
        for lengths, numbers in blocks(policy, batch, length, rollouts, budget):
            lanes = complete(policy, ids, prefixes, uniforms, lengths, numbers, end_id=end_id, pad_id=pad_id)
            shape = lanes.shape[:3]
            group = torch.arange(shape[0] * shape[1], device=ids.device).repeat_interleave(batch)
            rewards = reward(lanes.view(-1, length), group, start.repeat(shape[0] * shape[1]))
            values[lengths.start - 1 : lengths.stop - 1] += rewards.view(shape).sum(1)
        values[:-1] /= rollouts
    return values.t()


def read_prefixes(policy: Generator, ids: Tensor, start: Tensor) -> list[tuple[Tensor, Any]]:
    """Logits (B, V) of the next token and the policy's state after each prefix of 0 ... T − 1 tokens."""
    read = [policy.step(start, policy.start(len(ids)))]
    for token in ids[:, :-1].unbind(1):
        read.append(policy.step(token, read[-1][1]))
    return read


def blocks(
    policy: Generator, batch: int, length: int, rollouts: int, memory_budget: int
) -> Iterator[tuple[range, range]]:
    """Cut a search into parts that fit the budget: prefix lengths and numbers of roll-outs, B lanes for each pair.

    A block is several prefixes with all their roll-outs or, where those of one prefix are too many, some of one
    prefix. The B sequences of one roll-out and prefix always stay together.
    """
    lane = 4 * policy.floats_per_row + 8 * length  # tokens are int64, everything else counts as float32
    pairs = max(1, memory_budget // (lane * batch))
    for first in range(1, length, max(1, pairs // rollouts)):
        lengths = range(first, min(first + max(1, pairs // rollouts), length))
        for number in range(0, rollouts, min(pairs, rollouts)):
            yield lengths, range(number, min(number + pairs, rollouts))


def complete(
    policy: Generator,
    ids: Tensor,
    prefixes: list[tuple[Tensor, Any]],
    uniforms: list[Tensor],
    lengths: range,
    numbers: range,
    *,
    end_id: int = -1,
    pad_id: int = -1,
) -> Tensor:
    """Complete a block of prefixes of every sequence.

    Parameters
    ----------
    policy, ids, end_id, pad_id
        See `action_values`.
    prefixes : list of (Tensor (B, V), state)
        From `read_prefixes`.
    uniforms : list of Tensor (s, N, B)
        From `rollout_uniforms`.
    lengths, numbers : range
        Of the prefixes, and of the roll-outs: those of a block.

    Returns
    -------
    Tensor (t, n, B, T), int64
        One completion for each of the block's prefixes and roll-outs; the first begins with ``lengths[0]`` given
        tokens.
    """
    batch, length = ids.shape
    n = len(numbers)
    lanes = ids.expand(len(lengths), n, batch, length).clone()
    ended = (ids[:, : lengths.start] == end_id).any(1).repeat(n)
    drawn, state = ids.new_empty(0), None
    for s in range(lengths.start, length):
        left = min(s, lengths.stop - 1) - lengths.start + 1  # prefixes whose lanes have left
        uniform = uniforms[s - 1][lengths.start - 1 : lengths.start - 1 + left, numbers.start : numbers.stop]
        tokens = []
        if state is not None:
            logits, state = policy.step(drawn, state)
            old = uniform if s >= lengths.stop else uniform[:-1]
            tokens.append(draw(logits, old.reshape(-1)))
        if s in lengths:
            logits, fresh = prefixes[s]
            tokens.append(draw(logits, uniform[-1].t()).t().reshape(-1))
            state = fresh.cat([fresh] * (n - 1)) if state is None else state.cat([fresh] * n)
            if s > lengths.start:
                ended = torch.cat([ended, (ids[:, :s] == end_id).any(1).repeat(n)])
        drawn = torch.where(ended, pad_id, torch.cat(tokens))
        ended = ended | (drawn == end_id)
        lanes[:left, :, :, s] = drawn.view(left, n, batch)
    return lanes
