"""The loops of SeqGAN as the paper prints them (Yu et al. 2017, arXiv 1609.05473), in plain PyTorch.

One prefix and one roll-out at a time, every prefix read again from its beginning, every sequence scored by ordinary
convolutions in batches of B. Tests compare the program with this, and `race.py` races it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqgan_music.modes import set_rng


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """Token ids (B,) of logits (B, V): the first whose cumulative probability exceeds a uniform number (B,)."""
    cumulative = torch.softmax(logits, 1).cumsum(1)
    cumulative = cumulative / cumulative[:, -1:]  # ends in 1 exactly, which every uniform number stays below
    return (cumulative > uniform[:, None]).int().argmax(1)


@torch.no_grad()
def sample(policy: Any, start: Tensor, uniforms: Tensor, *, end_id: int = -1, pad_id: int = -1) -> Tensor:
    """Sequences Y ~ G_θ.

    Parameters
    ----------
    policy : Generator
    start : Tensor (B,), int64
    uniforms : Tensor (T, B)
        One for every draw.
    end_id, pad_id : int
        After END follows PAD; −1 where the vocabulary has none.

    Returns
    -------
    Tensor (B, T), int64
    """
    token, state = start, policy.start(len(start))
    ended = torch.zeros(len(start), dtype=torch.bool, device=start.device)
    sequence = []
    for uniform in uniforms:
        logits, state = policy.step(token, state)
        token = draw(logits, uniform)
        token[ended] = pad_id
        ended = ended | (token == end_id)
        sequence.append(token)
    return torch.stack(sequence, 1)


@torch.no_grad()
def sample_by_multinomial(policy: Any, start: Tensor, length: int, rng: torch.Generator) -> Tensor:
    """Sequences (B, T) ~ G_θ as most programs draw them: the LSTM reads a token, `torch.multinomial` draws the next."""
    token, state, sequence = start, None, []
    for _ in range(length):
        hidden, state = policy.lstm(policy.embedding(token)[:, None], state)
        probability = torch.softmax(policy.output(hidden[:, 0]), 1)
        token = torch.multinomial(probability, 1, generator=rng)[:, 0]
        sequence.append(token)
    return torch.stack(sequence, 1)


@torch.no_grad()
def action_values(
    policy: Any,
    reward: Any,
    ids: Tensor,
    start: Tensor,
    uniforms: list[Tensor],
    *,
    end_id: int = -1,
    pad_id: int = -1,
) -> Tensor:
    """Action values by Eq. 4, lines 9 to 11 of Algorithm 1.

    Parameters
    ----------
    policy : Generator
        G_β, in eval mode.
    reward : callable
        ``reward(ids (B, T), group (B,), start (B,)) -> (B,)``, in eval mode.
    ids : Tensor (B, T), int64
    start : Tensor (B,), int64
    uniforms : list of Tensor (s, N, B)
        From `seqgan_music.rollout.rollout_uniforms`: step s of the lanes with prefixes of t tokens is drawn with
        ``uniforms[s - 1][t - 1]``.
    end_id, pad_id : int
        After END follows PAD; −1 where the vocabulary has none.

    Returns
    -------
    Tensor (B, T)
    """
    batch, length = ids.shape
    last = reward(ids, ids.new_zeros(batch), start)
    values = last.new_zeros(batch, length)
    values[:, -1] = last
    before_any = policy.start(batch)  # weights stand still, so one is enough
    rollouts = uniforms[0].shape[1] if uniforms else 0
    for n in range(rollouts):
        for t in range(1, length):
            logits, state = policy.step(start, before_any)
            for s in range(t):
                logits, state = policy.step(ids[:, s], state)
            finished = ids.clone()
            ended = (ids[:, :t] == end_id).any(1)
            for s in range(t, length):
                token = draw(logits, uniforms[s - 1][t - 1, n])
                token[ended] = pad_id
                ended = ended | (token == end_id)
                finished[:, s] = token
                if s + 1 < length:
                    logits, state = policy.step(token, state)
            group = ids.new_full((batch,), n * (length - 1) + t - 1)
            values[:, t - 1] += reward(finished, group, start) / rollouts
    return values


def train_likelihood_epoch(
    generator: Any,
    optimizer: torch.optim.Optimizer,
    ids: Tensor,
    start: Tensor,
    batch_size: int,
    rng: torch.Generator,
    *,
    clip: float = 5.0,
    pad_id: int = -1,
) -> float:
    """One pass over sequences (M, T) by maximum likelihood, line 2 of Algorithm 1; mean loss of its batches."""
    generator.train()
    losses = []
    for rows in torch.randperm(len(ids), generator=rng, device=ids.device).split(batch_size):
        logits = generator(ids[rows], start[rows])  # (B, T, V)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[rows].flatten(), ignore_index=pad_id)
        optimizer.zero_grad()
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(generator.parameters(), clip)
        optimizer.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)


def update_policy(
    generator: Any,
    optimizer: torch.optim.Optimizer,
    ids: Tensor,
    start: Tensor,
    values: Tensor,
    *,
    clip: float = 5.0,
    end_id: int = -1,
) -> float:
    """One step of Eq. 8 on −Σ log G · Q ÷ B, the PAD after END left out; the loss."""
    generator.train()
    chosen = ids.clamp(min=0)[:, :, None]
    log_prob = torch.log_softmax(generator(ids, start), 2).gather(2, chosen).squeeze(2)  # (B, T)
    ended_before = ((ids == end_id).cumsum(1) - (ids == end_id).long()) > 0
    loss = -(log_prob * values).masked_fill(ended_before, 0.0).sum() / len(ids)
    optimizer.zero_grad()
    loss.backward()
    if clip:
        torch.nn.utils.clip_grad_norm_(generator.parameters(), clip)
    optimizer.step()
    return loss.item()


def discriminator_scores(discriminator: Any, ids: Tensor) -> Tensor:
    """Scores (B,) of ids (B, T) by ordinary convolutions over the embedded sequence."""
    return discriminator.score(discriminator.embed(ids))


def train_discriminator_epoch(
    discriminator: Any,
    optimizer: torch.optim.Optimizer,
    real: Tensor,
    fake: Tensor,
    batch_size: int,
    rng: torch.Generator,
) -> float:
    """One pass over as many real as generated sequences (M, T) by Eq. 5; mean loss.

    A batch is `batch_size` of each, as in the program, so that both take the same number of steps.
    """
    set_rng(discriminator, rng)
    discriminator.train()
    order_of_real = torch.randperm(len(real), generator=rng, device=real.device)
    order_of_fake = torch.randperm(len(fake), generator=rng, device=fake.device)
    losses = []
    for first in range(0, len(real), batch_size):
        rows = slice(first, first + batch_size)
        batch = torch.cat([real[order_of_real[rows]], fake[order_of_fake[rows]]])
        label = torch.cat([torch.ones(len(batch) // 2), torch.zeros(len(batch) // 2)]).to(batch.device)
        scores = discriminator_scores(discriminator, batch)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(scores, label.to(scores.dtype))
        optimizer.zero_grad()
        (loss + discriminator.penalty()).backward()
        optimizer.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)
