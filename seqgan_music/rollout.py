"""Monte-Carlo search: the action value of every position of every sequence (Yu et al. 2017, Eq. 3 and 4).

The paper completes one prefix after another. Here the continuations of all prefixes advance together: the policy reads the
sequence once, after each token N lanes leave it, and all lanes that have left take every further step as one batch. That is
T steps in all, instead of N · T² / 2, and no prefix is read twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from seqgan_music.modes import evaluating
from seqgan_music.sampling import draw

if TYPE_CHECKING:
    from seqgan_music.generators import Generator

MEMORY_BUDGET = 256 * 2**20
"""Bytes that the lanes of one chunk may take."""


class SequenceReward(Protocol):
    """What finished sequences are worth."""

    def __call__(self, ids: Tensor, group: Tensor, start: Tensor) -> Tensor:
        """Reward (M,) of each of ids (M, T); `group` (M,) is one number for the B sequences of one roll-out and prefix."""


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
    memory_budget: int = MEMORY_BUDGET,
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
        N, completions of every prefix.
    rng : torch.Generator
        On the ids' device.
    end_id, pad_id : int
        A lane that has drawn END is filled with PAD; −1 where the vocabulary has none.
    memory_budget : int
        Bytes for the lanes computed at once; changes no value.

    Returns
    -------
    Tensor (B, T)
        Mean reward of the N completions of Y_{1:t}; in the last column the reward of Y itself.
    """
    batch, length = ids.shape
    with evaluating(policy, getattr(reward, "discriminator", None)):
        last = reward(ids, ids.new_zeros(batch), start)
        values = last[:, None].repeat(1, length)
        values[:, :-1] = 0.0
        uniforms = rollout_uniforms(batch, length, rollouts, rng, last.dtype)
        at_once = min(rollouts, _rollouts_at_once(policy, batch, length, memory_budget))
        for first in range(0, rollouts, at_once):
            chunk = [uniform[:, first : first + at_once] for uniform in uniforms]
            lanes = complete(policy, ids, start, chunk, end_id=end_id, pad_id=pad_id)  # (T-1, n, B, T)
            prefixes, n = lanes.shape[:2]
            group = torch.arange(prefixes * n, device=ids.device).repeat_interleave(batch)
            rewards = reward(lanes.view(-1, length), group, start.repeat(prefixes * n))
            values[:, :-1] += rewards.view(prefixes, n, batch).sum(1).t()
        values[:, :-1] /= rollouts
    return values


def complete(
    policy: Generator, ids: Tensor, start: Tensor, uniforms: list[Tensor], *, end_id: int = -1, pad_id: int = -1
) -> Tensor:
    """Complete every prefix of every sequence.

    Parameters
    ----------
    policy, ids, start, end_id, pad_id
        See `action_values`.
    uniforms : list of Tensor (s, n, B)
        See `rollout_uniforms`.

    Returns
    -------
    Tensor (T − 1, n, B, T), int64
        ``[t - 1, k, b]`` begins with the first t tokens of ``ids[b]``.
    """
    batch, length = ids.shape
    n = uniforms[0].shape[1] if uniforms else 1
    lanes = ids.expand(max(length - 1, 0), n, batch, length).clone()
    token, state = start, policy.start(batch)
    ended = torch.zeros(batch, dtype=torch.bool, device=ids.device)
    for s in range(length):
        # Rows: the B sequences themselves, then the lanes that have left them, those of the shortest prefixes first.
        logits, state = policy.step(token, state)
        if s == 0:
            token = ids[:, 0]
        else:
            uniform = uniforms[s - 1]
            fresh = draw(logits[:batch], uniform[-1].t()).t().reshape(-1)  # N lanes leave after s tokens
            old = draw(logits[batch:], uniform[:-1].reshape(-1))
            state = state.cat([state[:batch]] * n)
            ended = torch.cat([ended, ended[:batch].repeat(n)])
            drawn = torch.where(ended[batch:], pad_id, torch.cat([old, fresh]))
            lanes[:s, :, :, s] = drawn.view(s, n, batch)
            token = torch.cat([ids[:, s], drawn])
        ended = ended | (token == end_id)
    return lanes


def _rollouts_at_once(policy: Generator, batch: int, length: int, memory_budget: int) -> int:
    """Roll-outs whose lanes fit the budget; their tokens are int64, everything else counts as float32."""
    row = 4 * policy.floats_per_row + 8 * length
    return max(1, memory_budget // (row * batch * max(1, length - 1)))
