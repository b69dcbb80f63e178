"""The only place where a token is drawn.

Every draw is an inverse-CDF look-up of a uniform number that belongs to one step and one row, so that the number of
rows computed at once changes no draw.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from seqgan_music.errors import UsageError
from seqgan_music.modes import evaluating

if TYPE_CHECKING:
    from seqgan_music.generators import Generator

MEMORY_BUDGET = {"cpu": 12 * 2**20, "cuda": 4 * 2**30, "mps": 2**30}
"""Bytes that the rows computed at once may take; on a processor about what its cache holds."""
BLOCK = 64
WIDE = 1024  # ids, from which two short cumulative sums are quicker than a long one


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draw token ids by inverting the cumulative distribution.

    Parameters
    ----------
    logits : Tensor (B, V)
        −inf for what must never be drawn; at least one finite in a row.
    uniform : Tensor (B,) or (B, K)
        In [0, 1): one draw for each.

    Returns
    -------
    Tensor (B,) or (B, K), int64
        The smallest id whose cumulative probability exceeds the uniform number, but for rounding: with more than
        `WIDE` ids the sum is taken in blocks.
    """
    probability = logits.softmax(1)  # (B, V)
    vocabulary = probability.shape[1]
    wanted = uniform.contiguous() if uniform.dim() == 2 else uniform[:, None]  # (B, K)
    if vocabulary <= WIDE:
        cumulative = probability.cumsum(1)
        return _first_beyond(cumulative, wanted * cumulative[:, -1:]).view(uniform.shape)
    # First the block of ids, by the blocks' sums, then the id in it.
    whole = vocabulary // BLOCK * BLOCK
    sums = probability[:, :whole].unflatten(1, (-1, BLOCK)).sum(2)
    cumulative = torch.cat([sums, probability[:, whole:].sum(1, keepdim=True)], 1).cumsum(1)
    wanted = wanted * cumulative[:, -1:]
    block = _first_beyond(cumulative, wanted)
    wanted = wanted - F.pad(cumulative, (1, 0)).gather(1, block)
    ids = block[..., None] * BLOCK + torch.arange(BLOCK, device=block.device)  # (B, K, BLOCK)
    inside = probability.gather(1, ids.clamp(max=vocabulary - 1).flatten(1)).view(ids.shape)
    inside = torch.where(ids < vocabulary, inside, 0.0).cumsum(2)
    # A GPU's cumulative sums need not ascend in their last bits, so that a look-up could end beyond the vocabulary.
    chosen = (block * BLOCK + _first_beyond(inside, wanted[..., None])[..., 0]).clamp(max=vocabulary - 1)
    return chosen.view(uniform.shape)


def _first_beyond(cumulative: Tensor, wanted: Tensor) -> Tensor:
    """Smallest index (..., K) whose cumulative sum (..., V) exceeds what is wanted (..., K)."""
    total = cumulative[..., -1:]
    # Rounding must not lift what is wanted to the total, which no index exceeds.
    return torch.searchsorted(
        cumulative, torch.minimum(wanted, torch.nextafter(total, torch.zeros_like(total))), right=True
    )


def narrow(logits: Tensor, *, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Sharpen or cut off a distribution.

    Parameters
    ----------
    logits : Tensor (B, V)
    temperature : float
        Divides the logits; below 1 sharpens.
    top_k : int
        Keep the k most likely tokens; 0 keeps all.
    top_p : float
        Keep the smallest set of most likely tokens whose probability reaches p (Holtzman et al. 2020, arXiv
        1904.09751).

    Returns
    -------
    Tensor (B, V)
        −inf for what is cut off.
    """
    if temperature != 1.0:
        logits = logits / temperature
    if top_k:
        smallest = logits.topk(min(top_k, logits.shape[1])).values[:, -1:]
        logits = logits.masked_fill(logits < smallest, -torch.inf)
    if top_p < 1.0:
        ordered, order = logits.sort(dim=1, descending=True)
        probability = ordered.softmax(1)
        before = probability.cumsum(1) - probability
        cut = torch.zeros_like(before, dtype=torch.bool).scatter_(1, order, before >= top_p)
        logits = logits.masked_fill(cut, -torch.inf)
    return logits


def check_narrowing(temperature: float, top_k: int, top_p: float) -> None:
    """Refuse values that mean nothing.

    Raises
    ------
    UsageError
    """
    if not 1e-6 <= temperature <= 1e6:  # beyond them logits overflow, or −∞ becomes NaN
        raise UsageError(f"temperature must lie in [1e-6, 1e6], not {temperature!r}")
    if top_k < 0:
        raise UsageError(f"top-k must be 0 (off) or more, not {top_k!r}")
    if not 0 < top_p <= 1:
        raise UsageError(f"top-p must lie in (0, 1], not {top_p!r}")


def sample(
    generator: Generator,
    start: Tensor,
    length: int,
    rng: torch.Generator,
    *,
    end_id: int = -1,
    pad_id: int = -1,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    end_from: int = 0,
    prefix: Tensor | None = None,
) -> Tensor:
    """Draw sequences from a generator, in eval mode and without gradients.

    Parameters
    ----------
    generator : Generator
    start : Tensor (B,), int64
        Start token of each sequence.
    length : int
        T, with the prefix.
    rng : torch.Generator
        On the generator's device.
    end_id, pad_id : int
        After END follows PAD; −1 where the vocabulary has none.
    temperature, top_k, top_p
        See `narrow`.
    end_from : int
        END is not drawn before this step.
    prefix : Tensor (B, P), int64, optional
        First tokens of each sequence, which are read and not drawn. It takes no random number from the steps after it:
        a sequence whose own beginning is its prefix is drawn again.

    Returns
    -------
    Tensor (B, T), int64
        Without START.
    """
    check_narrowing(temperature, top_k, top_p)
    uniform = torch.rand(length, len(start), generator=rng, device=start.device)  # (T, B)
    ids = torch.empty(len(start), length, dtype=torch.int64, device=start.device)
    given = 0 if prefix is None else prefix.shape[1]
    row = 4 * generator.floats_per_row + 8 * length
    at_once = max(1, MEMORY_BUDGET[start.device.type] // row)
    with evaluating(generator):
        for first in range(0, len(start), at_once):
            rows = slice(first, first + at_once)
            token = start[rows]
            state = generator.start(len(token))
            ended = torch.zeros_like(token, dtype=torch.bool)
            for t in range(length):
                logits, state = generator.step(token, state)
                if prefix is not None and t < given:
                    token = prefix[rows, t]
                else:
                    if t < end_from and end_id >= 0:
                        logits[:, end_id] = -torch.inf  # before narrowing, which might leave nothing but END
                    logits = narrow(logits, temperature=temperature, top_k=top_k, top_p=top_p)
                    token = torch.where(ended, pad_id, draw(logits, uniform[t, rows]))
                ended |= token == end_id
                ids[rows, t] = token
    return ids


def resample(ids: Tensor, logits: Tensor, uniform: Tensor) -> Tensor:
    """Keep one of K candidates, with probability proportional to a discriminator's odds D / (1 − D).

    Sampling importance resampling (Rubin 1987, J. Am. Stat. Assoc. 82, 543-546): the odds of a discriminator that is
    right are the ratio of the data's density to the generator's, so that what is kept comes nearer to the data as K
    grows. They are as wrong as the discriminator is badly calibrated. Related: discriminator rejection sampling (Azadi
    et al. 2019, arXiv 1810.06758), MH-GAN (Turner et al. 2019, arXiv 1811.11357).

    Parameters
    ----------
    ids : Tensor (B, K, T), int64
        Candidates, drawn independently from the generator.
    logits : Tensor (B, K)
        Logits of D, whose exponentials are its odds.
    uniform : Tensor (B,)
        In [0, 1).

    Returns
    -------
    Tensor (B, T), int64
    """
    return ids[torch.arange(len(ids), device=ids.device), draw(logits, uniform)]


def padding_after_end(ids: Tensor, end_id: int) -> Tensor:
    """Which steps of ids (B, T) lie after END; END's own step does not."""
    return (ids == end_id).cumsum(1) > (ids == end_id).long()
