"""Monte-Carlo search: the action value of every position of every sequence (Yu et al. 2017, Eq. 3 and 4).

The paper completes one prefix after another, reading each from its beginning. Here the policy reads a sequence once,
and its state after every prefix is kept. From each state leave the N lanes of that prefix, and all lanes of a block of
prefixes advance together. A block is as large as the memory budget: on a processor small enough to stay in its cache,
with a block in each thread, on a GPU usually everything, which is T steps in all in place of N · T² / 2.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from seqgan_music import distributed, registry
from seqgan_music.graphs import Graphs, tensors_of
from seqgan_music.modes import evaluating
from seqgan_music.sampling import MEMORY_BUDGET, draw, in_order_for

if TYPE_CHECKING:
    from seqgan_music.generators import Generator


class SequenceReward(Protocol):
    """What finished sequences are worth.

    A reward may also have ``for_search(ids (B, T), start (B,)) -> PrefixReward``, which gives the same for completions
    of the prefixes of these sequences as long as no weights change; it spares what completions of a prefix share. A
    search asks for it once and then calls it in place of the reward.
    """

    def __call__(self, ids: Tensor, group: Tensor, start: Tensor) -> Tensor:
        """Reward (M,) of each of ids (M, T); `group` (M,) is one number for the B sequences of one roll-out and
        prefix."""


class PrefixReward(Protocol):
    """What completions of the prefixes of some sequences ids (B, T) are worth."""

    def __call__(self, lanes: Tensor, lengths: range, group: Tensor, start: Tensor) -> Tensor:
        """Reward (t, n, B) of each of lanes (t, n, B, T), those of ``lanes[i, :, b]`` beginning with
        ``ids[b, : lengths[i]]``; `group` and `start` (t·n·B,) as in `SequenceReward`. With
        ``lengths = range(T, T + 1)`` the lanes are the sequences themselves."""


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
    graphs: Graphs | None = None,
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
        Bytes for the lanes computed at once, by all threads together; 0 for the device's `MEMORY_BUDGET`. Changes no
        draw.
    graphs : Graphs, optional
        Records the completing of a block.

    Returns
    -------
    Tensor (B, T)
        Mean reward of the N completions of Y_{1:t}; in the last column the reward of Y itself.
    """
    batch, length = ids.shape
    with evaluating(policy, getattr(reward, "discriminator", None)):
        of_prefixes = _of_prefixes(reward, ids, start)
        last = None
        if distributed.rank() == 0:  # of several processes, one scores the sequences themselves
            last = of_prefixes(ids[None, None], range(length, length + 1), ids.new_zeros(batch), start).view(batch)
        dtype = distributed.gathered_values(None if last is None else last.dtype)[0]
        values = torch.zeros(length, batch, dtype=dtype, device=ids.device)
        if last is not None:
            values[-1] = last
        if not rollouts:
            return distributed.summed(values[-1])[:, None].expand(batch, length)
        uniforms = rollout_uniforms(batch, length, rollouts, rng, dtype)
        completed: Callable[[range, range], Tensor]
        recorded = graphs is not None and graphs.recorder is not None
        if graphs is None or graphs.recorder is None:
            prefixes = read_prefixes(policy, ids, start)
            completed = functools.partial(complete, policy, ids, prefixes, uniforms, end_id=end_id, pad_id=pad_id)
        else:
            completed = functools.partial(_recorded, graphs, policy, ids, start, uniforms, end_id=end_id, pad_id=pad_id)
        in_order = map if recorded else in_order_for(policy, ids.device)
        threads = 1 if in_order is map else torch.get_num_threads()
        budget = max(1, memory_budget // threads) if memory_budget else MEMORY_BUDGET[ids.device.type]
        for lengths, numbers in sections(batch, length, rollouts, budget * threads):
            lanes = _completed(completed, in_order, list(blocks(policy, ids, lengths, numbers, budget)))
            pairs = lanes.shape[0] * lanes.shape[1]
            group = torch.arange(pairs, device=ids.device).repeat_interleave(batch)
            rewards = of_prefixes(lanes, lengths, group, start.repeat(pairs))
            values[lengths.start - 1 : lengths.stop - 1] += rewards.sum(1)
        values = distributed.summed(values)
        values[:-1] /= rollouts
    return values.t()


def _of_prefixes(reward: SequenceReward, ids: Tensor, start: Tensor) -> PrefixReward:
    """What a reward itself makes of prefixes, or the reward of every finished sequence alone."""
    for_search = registry.shortcut(reward, "for_search", of="__call__")
    if for_search:
        of_prefixes: PrefixReward = for_search(ids, start)
        return of_prefixes

    def alone(lanes: Tensor, lengths: range, group: Tensor, start: Tensor) -> Tensor:
        return reward(lanes.view(-1, lanes.shape[3]), group, start).view(lanes.shape[:3])

    return alone


def read_prefixes(policy: Generator, ids: Tensor, start: Tensor) -> list[tuple[Tensor, Any]]:
    """Logits (B, V) of the next token and the policy's state after each prefix of 0 ... T − 1 tokens."""
    read = [policy.step(start, policy.start(len(ids)))]
    for token in ids[:, :-1].unbind(1):
        read.append(policy.step(token, read[-1][1]))
    return read


def sections(batch: int, length: int, rollouts: int, memory_budget: int) -> Iterator[tuple[range, range]]:
    """Cut a search into parts that are scored together: prefix lengths and numbers of roll-outs, B lanes for each pair.

    Their tokens fit the budget. Several processes have a share of the roll-outs of every prefix each, which takes all
    of them equally long.
    """
    mine = range(rollouts)[distributed.share(rollouts)]
    if mine:
        yield from _cut(range(1, length), mine, memory_budget // (8 * length * batch))


def blocks(
    policy: Generator, ids: Tensor, lengths: range, numbers: range, memory_budget: int
) -> Iterator[tuple[range, range]]:
    """Cut a section of a search for ids (B, T) into blocks, all that is computed of which fits the budget."""
    batch, length = ids.shape
    lane = 4 * policy.floats_per_row + 8 * length  # tokens are int64, everything else counts as float32
    return _cut(lengths, numbers, memory_budget // (lane * batch))


def _cut(lengths: range, numbers: range, pairs: int) -> Iterator[tuple[range, range]]:
    """So many pairs at most, but one: several prefixes with all their roll-outs or, where those of one prefix are too
    many, some of one prefix. The B sequences of one roll-out and prefix always stay together."""
    at_once = max(1, pairs)
    prefixes = max(1, at_once // len(numbers))
    for first in range(lengths.start, lengths.stop, prefixes):
        for number in range(numbers.start, numbers.stop, at_once):
            yield range(first, min(first + prefixes, lengths.stop)), range(number, min(number + at_once, numbers.stop))


def _completed(completed: Callable[[range, range], Tensor], in_order: Any, parts: list[tuple[range, range]]) -> Tensor:
    """Completions (t, n, B, T) of a section, from those of its blocks."""
    done = in_order(lambda part: completed(*part), parts)
    whole: list[Tensor] = []
    for _, some in itertools.groupby(zip(parts, done, strict=True), lambda one: one[0][0]):
        of_lengths = [lanes for _, lanes in some]
        whole.append(torch.cat(of_lengths, 1) if len(of_lengths) > 1 else of_lengths[0])
    return torch.cat(whole) if len(whole) > 1 else whole[0]


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
    together = n * batch  # lanes of a prefix
    lanes = ids.expand(len(lengths), n, batch, length).clone()
    # For each lane whether its sequence has ended, first in its prefix.
    ended = torch.stack([(ids[:, :s] == end_id).any(1) for s in lengths]).repeat_interleave(n, 0).view(-1)
    drawn = torch.empty_like(ended, dtype=ids.dtype)
    left = _Left(policy, len(drawn))  # one after another, in the prefixes' order
    for s in range(lengths.start, length):
        old = left.count
        uniform = uniforms[s - 1][lengths.start - 1 : lengths.stop - 1, numbers.start : numbers.stop]
        if old:
            drawn[:old] = draw(left.advance(drawn[:old]), uniform[: old // together].reshape(-1))
        if s in lengths:
            logits, state = prefixes[s]
            drawn[old : old + together] = draw(logits, uniform[-1].t()).t().reshape(-1)
            left.join(state, batch, n)
        count = left.count
        drawn[:count].masked_fill_(ended[:count], pad_id)
        ended[:count] |= drawn[:count] == end_id
        lanes[: count // together, :, :, s] = drawn[:count].view(-1, n, batch)
    return lanes


def _recorded(
    graphs: Graphs,
    policy: Generator,
    ids: Tensor,
    start: Tensor,
    uniforms: list[Tensor],
    lengths: range,
    numbers: range,
    *,
    end_id: int,
    pad_id: int,
) -> Tensor:
    """`complete` from a recording, which reads the prefixes itself: in a search on a GPU there is hardly ever a second
    block to read them for."""

    def read_and_complete(ids: Tensor, start: Tensor, *uniforms: Tensor) -> Tensor:
        prefixes = read_prefixes(policy, ids, start)
        return complete(policy, ids, prefixes, list(uniforms), lengths, numbers, end_id=end_id, pad_id=pad_id)

    key = "roll-outs", id(policy), lengths, numbers, end_id, pad_id
    state = functools.partial(tensors_of, policy)
    return graphs.run(key, read_and_complete, ids, start, *uniforms, state=state)


class _Left:
    """The lanes of a block that have left their prefixes, and the policy's state of them."""

    def __init__(self, policy: Generator, most: int) -> None:
        self.policy, self.most, self.count = policy, most, 0
        self.in_place = registry.shortcut(policy, "advance", of="step")
        self.state: Any = None

    def advance(self, ids: Tensor) -> Tensor:
        """Let each read one more token; logits of the next."""
        if self.in_place:
            logits: Tensor = self.in_place(ids, self.state[: self.count])
        else:
            logits, self.state = self.policy.step(ids.clone(), self.state)  # which it may keep
        return logits

    def join(self, state: Any, batch: int, copies: int) -> None:
        """Add so many copies of what the policy remembers of a prefix, B rows."""
        before = self.count
        self.count += batch * copies
        if self.in_place:
            if self.state is None:
                self.state = state.room(self.most)
            self.state[before : self.count] = state
        elif self.state is None:
            self.state = state.cat([state] * (copies - 1))
        else:
            self.state = self.state.cat([state] * copies)
