"""The loops of SeqGAN as the paper prints them (Yu et al. 2017, arXiv 1609.05473), in plain PyTorch.

One prefix and one roll-out at a time, every prefix read again from its beginning, every sequence scored by ordinary
convolutions in batches of B, everything in the dtype of the weights. Of the program's networks only the layers with
their weights are used: what they compute is written out here, so that nothing gets faster with the program. Tests
compare the program with this, and `race.py` races it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from seqgan_music.modes import set_rng, without_dropout

PASSAGE = 8  # steps


class State(NamedTuple):
    """What the LSTM remembers: hidden and cell state (B, H) of every layer, the last tokens (B, M), those (B, lags)
    that may come again, and the first layer's input gates by token, the one thing that is not computed again while the
    weights stand still."""

    hidden: list[Tensor]
    cell: list[Tensor]
    past: Tensor
    ago: Tensor | None
    gates_of_token: Tensor


def before_any(policy: Any, batch: int) -> State:
    """State of an `LSTMGenerator` before anything has been read."""
    lstm, lags = policy.lstm, policy.lookback
    zeros = [lstm.weight_hh_l0.new_zeros(batch, lstm.hidden_size)] * lstm.num_layers
    past = torch.full((batch, max(lags) + 1 if lags else 0), policy.vocab_size, device=zeros[0].device)
    tables = [policy.embedding, *policy.lookback_embeddings]
    columns = lstm.weight_ih_l0.split([*(table.embedding_dim for table in tables), len(lags)], 1)
    gates = [F.linear(table.weight, part) for table, part in zip(tables, columns, strict=False)]
    gates[0] = gates[0] + lstm.bias_ih_l0 + lstm.bias_hh_l0
    return State(zeros, zeros, past, None, torch.cat(gates))


def read(policy: Any, ids: Tensor, state: State) -> State:
    """The state after reading ids (B,)."""
    lstm, lags, past = policy.lstm, policy.lookback, state.past
    gates, ago = state.gates_of_token[ids], None
    if lags:
        past = torch.cat([past[:, 1:], ids[:, None]], 1)
        ago = torch.stack([past[:, -lag] for lag in lags], 1)  # of the token to come
        first = policy.vocab_size + (policy.vocab_size + 1) * torch.arange(len(lags), device=ids.device)
        repeated = torch.stack([past[:, -1 - lag] == ids for lag in lags], 1).to(gates.dtype)
        gates = gates + state.gates_of_token[ago + first].sum(1)
        gates = gates + F.linear(repeated, lstm.weight_ih_l0[:, -len(lags) :])
    hidden, cell = [], []
    for layer in range(lstm.num_layers):
        weight, recurrent, bias, bias_too = lstm.all_weights[layer]
        if layer:
            gates = F.linear(hidden[-1], weight, bias + bias_too)
        into, forget, candidate, out = torch.addmm(gates, state.hidden[layer], recurrent.t()).chunk(4, 1)
        cell.append(forget.sigmoid() * state.cell[layer] + into.sigmoid() * candidate.tanh())
        hidden.append(out.sigmoid() * cell[-1].tanh())
    return State(hidden, cell, past, ago, state.gates_of_token)


def next_logits(policy: Any, state: State) -> Tensor:
    """Logits (B, V) of the next token."""
    return to_logits(policy, state.hidden[-1], state.ago)


def all_logits(policy: Any, ids: Tensor, start: Tensor) -> Tensor:
    """Logits (B, T, V) of every token of ids (B, T) given those before it."""
    length, far = ids.shape[1], max(policy.lookback, default=0)
    tokens = torch.cat([ids.new_full((len(ids), far), policy.vocab_size), start[:, None], ids[:, :-1]], 1)
    last = tokens[:, far:]
    ago = [tokens[:, far + 1 - lag :][:, :length] for lag in policy.lookback]
    embedded = [policy.embedding(last)]
    embedded += [table(token) for table, token in zip(policy.lookback_embeddings, ago, strict=True)]
    inputs = policy.dropout(torch.cat(embedded, 2))
    repeated = [(last == tokens[:, far - lag :][:, :length]).to(inputs.dtype) for lag in policy.lookback]
    hidden, _ = policy.lstm(torch.cat([inputs, torch.stack(repeated, 2)], 2) if ago else inputs)
    return to_logits(policy, policy.dropout(hidden), torch.stack(ago, 2) if ago else None)


def to_logits(policy: Any, hidden: Tensor, ago: Tensor | None) -> Tensor:
    """Logits (..., V) from outputs (..., H); those of the tokens `ago` (..., lags) are raised."""
    logits = F.linear(hidden, policy.output.weight, policy.output.bias + policy.never)
    if ago is None:
        return logits
    return F.pad(logits, (0, 1)).scatter_add(-1, ago, policy.repeat(hidden))[..., :-1]


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
    token, state = start, before_any(policy, len(start))
    ended = torch.zeros(len(start), dtype=torch.bool, device=start.device)
    sequence = []
    for uniform in uniforms:
        state = read(policy, token, state)
        token = draw(next_logits(policy, state), uniform)
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
    first = before_any(policy, batch)  # weights stand still, so one is enough
    rollouts = uniforms[0].shape[1] if uniforms else 0
    for n in range(rollouts):
        for t in range(1, length):
            state = read(policy, start, first)
            for s in range(t):
                state = read(policy, ids[:, s], state)
            finished = ids.clone()
            ended = (ids[:, :t] == end_id).any(1)
            for s in range(t, length):
                token = draw(next_logits(policy, state), uniforms[s - 1][t - 1, n])
                token[ended] = pad_id
                ended = ended | (token == end_id)
                finished[:, s] = token
                if s + 1 < length:
                    state = read(policy, token, state)
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
    set_rng(generator, rng)
    generator.train()
    losses = []
    for rows in torch.randperm(len(ids), generator=rng, device=ids.device).split(batch_size):
        logits = all_logits(generator, ids[rows], start[rows])  # (B, T, V)
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
    chosen = ids.clamp(min=0)[:, :, None]
    with without_dropout(generator):
        log_prob = torch.log_softmax(all_logits(generator, ids, start), 2).gather(2, chosen).squeeze(2)  # (B, T)
    ended_before = ((ids == end_id).cumsum(1) - (ids == end_id).long()) > 0
    loss = -(log_prob * values).masked_fill(ended_before, 0.0).sum() / len(ids)
    optimizer.zero_grad()
    loss.backward()
    if clip:
        torch.nn.utils.clip_grad_norm_(generator.parameters(), clip)
    optimizer.step()
    return loss.item()


def discriminator_scores(discriminator: Any, ids: Tensor) -> Tensor:
    """Scores (B,) of ids (B, T) by a `CNNDiscriminator`: ordinary convolutions over the embedded sequence."""
    embedded = discriminator.embedding(ids)  # (B, T, E)
    across = embedded.transpose(1, 2)
    features = [conv(across).amax(2).relu() for conv in discriminator.convolutions]
    if discriminator.self_similarity:
        features += passages_that_return(embedded, discriminator.self_similarity)
    together = torch.cat(features, 1)
    change, gate = discriminator.highway(together).chunk(2, 1)
    gate = gate.sigmoid()
    together = gate * change.relu() + (1 - gate) * together
    return discriminator.output(discriminator.dropout(together)).squeeze(1)


def passages_that_return(embedded: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """How alike tokens of embedded (B, T, E) are that stand 1 ... K steps apart, (B, K) each: on the whole, and in the
    passage where they are most alike."""
    length = embedded.shape[1]
    unit = F.normalize(embedded, dim=2)
    step = torch.arange(length, device=embedded.device)[:, None]
    distance = torch.arange(1, count + 1, device=embedded.device)
    earlier = (step - distance).clamp(min=0).expand(len(embedded), -1, -1)
    likeness = (unit @ unit.transpose(1, 2)).gather(2, earlier)  # (B, T, K)
    likeness = torch.where(step >= distance, likeness, 0.0)
    passages = F.avg_pool1d(likeness.transpose(1, 2), min(PASSAGE, length), stride=1)
    return likeness.sum(1) / (length - distance), passages.amax(2)


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
