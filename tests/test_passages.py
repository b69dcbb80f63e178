"""Passages that return, of tokens: by kernels as without, with gradients."""

import pytest
import torch

from seqgan_music import jit
from seqgan_music.discriminators import passages
from seqgan_music.discriminators.passages import PASSAGE, earlier, passages_of_tokens, passages_that_return

pytestmark = pytest.mark.skipif(not jit.available(), reason="numba is not installed")


def example(batch, length, vocabulary=7):
    rng = torch.Generator().manual_seed(length)
    alike = torch.randn(vocabulary, vocabulary, generator=rng, dtype=torch.float64, requires_grad=True)
    return torch.randint(vocabulary, (batch, length), generator=rng), alike


@pytest.mark.parametrize(("length", "count"), [(2, 1), (PASSAGE - 3, 4), (PASSAGE, 3), (PASSAGE + 1, 8), (40, 12)])
def test_passages_of_tokens_are_those_of_their_likeness(length, count, monkeypatch):
    ids, alike = example(5, length)
    weight = torch.randn(2, 5, count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = []
    for environment in ("1", "0"):
        monkeypatch.setenv("SEQGAN_MUSIC_JIT", environment)
        both = torch.stack(passages_of_tokens(ids, alike, count))
        found.append((both, *torch.autograd.grad((both * weight).sum(), alike)))
    expected = passages_that_return(alike[ids[:, :, None], ids[:, earlier(length, count, ids.device)]])
    torch.testing.assert_close(found[0][0], torch.stack(expected), rtol=0, atol=1e-12)
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


def test_one_of_equal_passages_has_the_gradient():
    alike = torch.ones(1, 1, dtype=torch.float64, requires_grad=True)
    mean, strongest = passages_of_tokens(torch.zeros(1, 20, dtype=torch.int64), alike, 2)
    assert mean.tolist() == strongest.tolist() == [[1.0, 1.0]]
    (of_mean,) = torch.autograd.grad(mean.sum(), alike, retain_graph=True)
    (of_strongest,) = torch.autograd.grad(strongest.sum(), alike)
    assert of_mean.item() == pytest.approx(2.0)
    assert of_strongest.item() == pytest.approx(2.0)


def test_nan_is_not_lost():
    alike = torch.zeros(2, 2)
    alike[1, 0] = torch.nan
    mean, strongest = passages_of_tokens(torch.tensor([[0, 1] + [0] * 18, [0] * 20]), alike, 1)
    assert mean.isnan().tolist() == strongest.isnan().tolist() == [[True], [False]]


@pytest.mark.parametrize("beyond", [-1, 7, 10**9])
def test_a_token_beyond_the_vocabulary_is_refused(beyond):
    ids, alike = example(5, 40)
    ids[-1, -1] = beyond
    with pytest.raises(IndexError):
        passages_of_tokens(ids, alike, 3)


def test_threads_change_nothing(monkeypatch):
    monkeypatch.setattr(passages, "ROWS_FOR_A_THREAD", 1)
    ids, alike = example(40, 30)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (3, 1):
            torch.set_num_threads(threads)
            both = torch.stack(passages_of_tokens(ids, alike, 9))
            found.append((both, *torch.autograd.grad(both.sum(), alike)))
    finally:
        torch.set_num_threads(before)
    for mine, theirs in zip(*found, strict=True):
        assert mine.equal(theirs)
