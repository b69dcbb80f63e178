"""The only place where a token is drawn.

Every draw is an inverse-CDF look-up of a uniform number that belongs to one step and one row, so that the number of
rows computed at once changes no draw. On a processor a kernel reads the logits while they are in its cache, and stores
neither their exponentials nor the cumulative sum of more than the blocks.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from seqgan_music import distributed, jit, registry
from seqgan_music.errors import UsageError
from seqgan_music.generators import advance
from seqgan_music.graphs import Graphs, tensors_of
from seqgan_music.modes import evaluating

if TYPE_CHECKING:
    from seqgan_music.generators import Generator

MEMORY_BUDGET = {"cpu": 24 * 2**20, "cuda": 4 * 2**30, "mps": 2**30}
"""Bytes that the rows computed at once may take, on a processor those of a thread; there few enough for its cache."""
BLOCK = 64
WIDE = 1024  # ids, from which two short cumulative sums are quicker than a long one
LOGITS_A_THREAD = 2**17  # fewer are drawn from sooner than another thread begins


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draw token ids by inverting the cumulative distribution.

    Parameters
    ----------
    logits : Tensor (B, V)
        −inf for what must never be drawn; at least one finite in a row. In bfloat16 they are read as they are and
        computed with in float32.
    uniform : Tensor (B,) or (B, K)
        In [0, 1): one draw for each.

    Returns
    -------
    Tensor (B,) or (B, K), int64
        The smallest id whose cumulative probability exceeds the uniform number, but for rounding: the sum is taken in
        blocks.
    """
    wanted = uniform.contiguous() if uniform.dim() == 2 else uniform[:, None]  # (B, K)
    if logits.device.type == "cpu" and logits.dtype in jit.FLOATS and jit.available():
        return _draw_by_kernel(logits, wanted).view(uniform.shape)
    probability = logits.softmax(1, dtype=torch.promote_types(logits.dtype, torch.float32))  # (B, V)
    vocabulary = probability.shape[1]
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
    chosen = block * BLOCK + _first_beyond(inside, wanted[..., None])[..., 0]
    return chosen.clamp(max=vocabulary - 1).view(uniform.shape)


def _first_beyond(cumulative: Tensor, wanted: Tensor) -> Tensor:
    """Smallest index (..., K) whose cumulative sum (..., V) exceeds what is wanted (..., K)."""
    total = cumulative[..., -1:]
    # Rounding must not lift what is wanted to the total, which no index exceeds.
    wanted = torch.minimum(wanted, torch.nextafter(total, torch.zeros_like(total)))
    # Nothing exceeds NaN, and a GPU's cumulative sums need not ascend in their last bits.
    return torch.searchsorted(cumulative, wanted, right=True).clamp(max=cumulative.shape[-1] - 1)


def _draw_by_kernel(logits: Tensor, uniform: Tensor) -> Tensor:
    rows, vocabulary = logits.shape
    ids = torch.empty(uniform.shape, dtype=torch.int64)
    arrays = jit.array(logits.contiguous()), jit.array(uniform), ids.numpy()
    single = None if logits.dtype == torch.float64 else True
    half = True if logits.dtype == torch.bfloat16 else None

    def work(first: int, last: int) -> None:
        _draw_rows(*arrays, first, last, BLOCK, single, half)

    jit.in_threads(work, rows, least=LOGITS_A_THREAD // vocabulary + 1)
    return ids


# A kernel's `single` and `half` are None or True: with None, Numba leaves their branch out. `single` says that it is
# computed in float32, `half` that logits are the bits of bfloat16.


@jit.kernel
def _draw_rows(
    logits: Any, uniform: Any, ids: Any, first: int, last: int, block: int, single: bool | None, half: bool | None
) -> None:
    """Draw ids (B, K) for uniform numbers (B, K) from the rows first ... last − 1 of logits (B, V)."""
    vocabulary = logits.shape[1]
    blocks = (vocabulary + block - 1) // block
    cumulative = np.empty(blocks, np.float64)
    inside = np.empty(block, np.float64)
    for r in range(first, last):
        row = logits[r]
        largest = _largest(row, single, half)
        total = 0.0
        for j in range(blocks):
            total += _sum_of_exponentials(row[j * block : (j + 1) * block], largest, single, half)
            cumulative[j] = total
        for k in range(uniform.shape[1]):
            wanted = uniform[r, k] * total
            j = 0
            while cumulative[j] <= wanted and cumulative[j] < total:  # blocks after the total hold nothing
                j += 1
            reached = cumulative[j - 1] if j else 0.0
            ahead = row[j * block : (j + 1) * block]
            for i in range(len(ahead)):
                inside[i] = _exponential(_widened(ahead[i], half) - largest, single)
            chosen = 0
            for i in range(len(ahead)):
                if inside[i] > 0:  # rounding of the block's sum must not lead to what is never drawn
                    chosen = i
                    reached += inside[i]
                    if reached > wanted:
                        break
            ids[r, k] = j * block + chosen


@jit.kernel
def _sum_of_exponentials(logits: Any, largest: Any, single: bool | None, half: bool | None) -> Any:
    total = largest - largest
    for i in range(len(logits)):
        total += _exponential(_widened(logits[i], half) - largest, single)
    return total


@jit.kernel
def _largest(logits: Any, single: bool | None, half: bool | None) -> Any:
    if single is None:
        largest = logits[0]
        for i in range(len(logits)):
            largest = max(largest, logits[i])
        return largest
    # As integers, for compilers do not rearrange a maximum of floating-point numbers: with all but the sign flipped
    # where it is set, their bits are in the numbers' order.
    highest = np.int32(-(2**31))
    for i in range(len(logits)):
        bits = np.float32(_widened(logits[i], half)).view(np.int32)
        highest = max(highest, np.int32(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))))
    return np.int32(highest ^ ((highest >> np.int32(31)) & np.int32(0x7FFFFFFF))).view(np.float32)


@jit.kernel
def _widened(value: Any, half: bool | None) -> Any:
    if half is None:
        return value
    return np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)


LOG2_E, LOWEST, ROUND, SHIFT = np.float32(math.log2(math.e)), np.float32(-127), np.float32(0.5), np.int32(2**23)
# 2^f by a polynomial, for f in [-1/2, 1/2] to 1e-7 of it: least squares of the relative error at Chebyshev's points.
C0, C1, C2 = np.float32(1.00000007), np.float32(0.69314695), np.float32(0.24022122)
C3, C4, C5 = np.float32(0.05550743), np.float32(0.00967546), np.float32(0.0013267)


@jit.kernel
def _exponential(x: Any, single: bool | None) -> Any:
    """e^x of x <= 0; 0 where float32 has it among its subnormal numbers."""
    if single is None:
        return math.exp(x)
    power = max(x * LOG2_E, LOWEST)
    whole = np.int32(power - ROUND)  # rounds, for it cuts towards 0
    f = power - np.float32(whole)
    fraction = C0 + f * (C1 + f * (C2 + f * (C3 + f * (C4 + f * C5))))
    return fraction * np.int32((whole + np.int32(127)) * SHIFT).view(np.float32)  # 2^-127 has the bits of 0


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
    graphs: Graphs | None = None,
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
    graphs : Graphs, optional
        Records the drawing of the rows computed at once.

    Returns
    -------
    Tensor (B, T), int64
        Without START.
    """
    check_narrowing(temperature, top_k, top_p)
    uniform = torch.rand(length, len(start), generator=rng, device=start.device)  # (T, B)
    given = start.new_empty(len(start), 0) if prefix is None else prefix
    row = 4 * generator.floats_per_row + 8 * length
    at_once = max(1, MEMORY_BUDGET[start.device.type] // row)
    mine = distributed.share(len(start))

    def drawn(token: Tensor, given: Tensor, uniform: Tensor) -> Tensor:
        """Sequences (b, T) of start tokens (b,), first tokens (b, P) and uniform numbers (T, b)."""
        ids = token.new_empty(len(token), length)
        state = generator.start(len(token))
        ended = torch.zeros_like(token, dtype=torch.bool)
        for t in range(length):
            logits, state = advance(generator, token, state)
            if t < given.shape[1]:
                token = given[:, t]
            else:
                if t < end_from and end_id >= 0:
                    logits[:, end_id] = -torch.inf  # before narrowing, which might leave nothing but END
                logits = narrow(logits, temperature=temperature, top_k=top_k, top_p=top_p)
                token = torch.where(ended, pad_id, draw(logits, uniform[t]))
            ended |= token == end_id
            ids[:, t] = token
        return ids

    graphs = graphs or Graphs()
    key = "samples", id(generator), length, end_id, pad_id, temperature, top_k, top_p, end_from
    state = functools.partial(tensors_of, generator)

    def run(first: int) -> Tensor:
        rows = slice(first, min(first + at_once, mine.stop))
        return graphs.run(key, drawn, start[rows], given[rows], uniform[:, rows], state=state)

    in_order = map if graphs.recorder is not None else in_order_for(generator, start.device)
    with evaluating(generator):
        parts = list(in_order(run, range(mine.start, mine.stop, at_once)))
    return distributed.gathered(torch.cat([start.new_empty(0, length), *parts]), len(start))


def in_order_for(generator: Generator, device: torch.device) -> Callable[..., Any]:
    """`map`, or on a processor what does it in several threads, where the generator says that it can."""
    apart = device.type == "cpu" and registry.shortcut(generator, "advance", of="step")
    return jit.each_in_a_thread if apart else map


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
