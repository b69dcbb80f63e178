"""Maxima over time as sums of table rows: by kernels and without, with gradients, and of completions of prefixes."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seqgan_music import jit
from seqgan_music.discriminators import table_convolution
from seqgan_music.discriminators.cnn import CNNDiscriminator
from seqgan_music.discriminators.table_convolution import (
    additions,
    max_over_time,
    max_over_time_of_completions,
    table_of,
)
from seqgan_music.losses import BinaryCrossEntropy, scores_in_search, scores_of
from seqgan_music.modes import evaluating
from seqgan_music.rewards import Reward

BATCH, LENGTH, EMBEDDING, COPIES = 6, 9, 3, 4
LAYERS = [(1, 3), (2, 5), (4, 17), (5, 1), (LENGTH, 2)]
BACK_ENDS = [pytest.param("1", marks=pytest.mark.skipif(not jit.available(), reason="numba is not installed")), "0"]


@pytest.fixture(params=BACK_ENDS, ids=["kernels", "torch"])
def back_end(request, monkeypatch):
    monkeypatch.setenv("SEQGAN_MUSIC_JIT", request.param)


@pytest.fixture(params=[1, 2, 5], ids="{}-threads".format)
def threads(request, monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    monkeypatch.setattr(table_convolution, "ADDITIONS_FOR_A_THREAD", 1)
    yield
    torch.set_num_threads(before)


def weights(vocabulary, dtype=torch.float64):
    """An embedding (V, E) and a weight (F, E, W) for each of `LAYERS`."""
    rng = torch.Generator().manual_seed(0)
    embedding = torch.randn(vocabulary, EMBEDDING, generator=rng, dtype=dtype)
    return embedding, [torch.randn(number, EMBEDDING, width, generator=rng, dtype=dtype) for width, number in LAYERS]


def sequences(vocabulary, *shape):
    return torch.randint(vocabulary, shape, generator=torch.Generator().manual_seed(1))


def completions(vocabulary, lengths):
    """Lanes (t, n, B, T) of prefixes, the first of them ended early."""
    ids = sequences(vocabulary, BATCH, LENGTH)
    lanes = torch.randint(vocabulary, (len(lengths), COPIES, BATCH, LENGTH), generator=torch.Generator().manual_seed(2))
    lanes[:, 0, :, -3:] = vocabulary - 1  # END, or PAD
    for lane, length in zip(lanes, lengths, strict=True):
        lane[:, :, :length] = ids[:, :length]
    return lanes


def by_convolution(ids, embedding, kernels):
    return torch.cat([F.conv1d(embedding[ids].transpose(1, 2), weight).amax(2) for weight in kernels], 1)


def test_a_table_holds_what_each_tap_gives_for_each_token():
    embedding, kernels = weights(5)
    table = table_of(embedding, kernels)
    assert table.shape == (5, sum(width * number for width, number in LAYERS))
    # The second tap of the second layer comes after the layer of width 1 and the first tap.
    torch.testing.assert_close(table[3, 3 + 5 + 2], embedding[3] @ kernels[1][2, :, 1])


def test_additions_are_counted():
    assert additions(9, [(1, 3), (4, 2)]) == 9 * 3 + 6 * 4 * 2


@pytest.mark.parametrize("vocabulary", [1, 5, 300])
def test_maxima_and_gradients_are_those_of_the_convolution(vocabulary, back_end, threads):
    embedding, kernels = weights(vocabulary)
    ids = sequences(vocabulary, BATCH, LENGTH)
    if vocabulary == 1:  # all windows are alike, and the gradient is the same whichever has it
        assert len(ids.unique()) == 1
    for tensor in (embedding, *kernels):
        tensor.requires_grad_()
    weight = torch.randn(BATCH, sum(number for _, number in LAYERS), dtype=torch.float64)
    found = max_over_time(ids, table_of(embedding, kernels), LAYERS)
    expected = by_convolution(ids, embedding, kernels)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    gradients = [torch.autograd.grad((each * weight).sum(), (embedding, *kernels)) for each in (found, expected)]
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


def test_the_gradient_of_a_table_is_that_of_differences(back_end):
    table = table_of(*weights(5)).requires_grad_()
    ids = sequences(5, BATCH, LENGTH)
    assert torch.autograd.gradcheck(lambda table: max_over_time(ids, table, LAYERS), (table,))
    assert not max_over_time(ids, table.detach(), LAYERS).requires_grad


def test_one_of_equal_windows_has_the_whole_gradient(back_end):
    table = torch.tensor([[2.0], [1.0]], dtype=torch.float64, requires_grad=True)
    strongest = max_over_time(torch.tensor([[1, 0, 0, 1]]), table, [(1, 1)])
    strongest.sum().backward()
    assert strongest.item() == 2.0
    assert table.grad.tolist() == [[1.0], [0.0]]


def test_threads_and_rows_change_nothing(back_end, threads, monkeypatch):
    table = table_of(*weights(30, torch.float32))
    ids = sequences(30, 40, LENGTH)
    grad = torch.randn(40, sum(number for _, number in LAYERS), generator=torch.Generator().manual_seed(3))
    found = []
    for count in (torch.get_num_threads(), 1):
        torch.set_num_threads(count)
        mine = table.clone().requires_grad_()
        strongest = max_over_time(ids, mine, LAYERS)
        (strongest * grad).sum().backward()
        found.append((strongest.detach(), mine.grad))
    assert found[0][0].equal(found[1][0])
    assert found[0][1].equal(found[1][1])
    assert found[0][0].equal(torch.cat([max_over_time(rows, table, LAYERS) for rows in ids.split(7)]))


@pytest.mark.parametrize("beyond", [-1, 7, 10**9])
def test_a_token_beyond_the_vocabulary_is_refused(beyond, back_end):
    table = table_of(*weights(7))
    lanes = completions(7, range(2, 5))
    lanes[:, -1, -1, -1] = beyond
    with pytest.raises((IndexError, RuntimeError)):
        max_over_time(lanes.flatten(0, 2), table, LAYERS)
    with pytest.raises((IndexError, RuntimeError)):
        max_over_time_of_completions(lanes, range(2, 5), table, LAYERS)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_is_not_lost(value, back_end):
    table = torch.zeros(3, 2)
    table[1, 0] = value
    strongest = max_over_time(torch.tensor([[0, 1, 2], [1, 1, 1]]), table, [(1, 2)])
    expected = by_convolution_of_table(table)
    torch.testing.assert_close(strongest, expected, equal_nan=True)


def by_convolution_of_table(table):
    return torch.stack([table[[0, 1, 2]].amax(0), table[1]])


@pytest.mark.parametrize("vocabulary", [1, 7])
@pytest.mark.parametrize("shortest", range(1, LENGTH + 1))
def test_sharing_prefixes_changes_nothing(shortest, vocabulary, back_end, threads):
    table = table_of(*weights(vocabulary))
    for last in {shortest, min(shortest + 2, LENGTH), LENGTH}:
        lengths = range(shortest, last + 1)
        lanes = completions(vocabulary, lengths)
        expected = max_over_time(lanes.flatten(0, 2), table, LAYERS).view(*lanes.shape[:3], -1)
        found = max_over_time_of_completions(lanes, lengths, table, LAYERS)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_ids_and_gradients_may_lie_in_memory_as_they_like(back_end):
    table = table_of(*weights(7)).requires_grad_()
    ids = sequences(7, LENGTH, BATCH).t()
    strongest = max_over_time(ids, table, LAYERS)
    strongest.sum().backward()  # a gradient that is one number, expanded
    mine, table.grad = table.grad, None
    max_over_time(ids.contiguous(), table, LAYERS).backward(torch.ones_like(strongest))
    assert mine.equal(table.grad)
    lanes = completions(7, range(2, 5))
    strided = lanes.permute(3, 0, 1, 2).contiguous().permute(1, 2, 3, 0)
    with torch.no_grad():
        shared = [max_over_time_of_completions(each, range(2, 5), table, LAYERS) for each in (lanes, strided)]
    assert shared[0].equal(shared[1])


@pytest.mark.parametrize("options", [{}, {"self_similarity": 4}, {"filters": [[LENGTH, 3]]}], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_in_a_search_are_the_scores(dtype, options, back_end):
    discriminator = CNNDiscriminator(7, LENGTH, **options).to(dtype)
    discriminator.reset_parameters(torch.Generator().manual_seed(0))
    search = scores_in_search(discriminator.train())
    for lengths in (range(1, LENGTH), range(3, 5), range(LENGTH, LENGTH + 1)):
        lanes = completions(7, lengths)
        with evaluating(discriminator):
            expected = discriminator.score(discriminator.embed(lanes.flatten(0, 2))).sigmoid()
        found = search(lanes, lengths).sigmoid()
        assert found.shape == lanes.shape[:3]
        torch.testing.assert_close(found.flatten(), expected, rtol=0, atol={4: 1e-5, 8: 1e-12}[dtype.itemsize])
    assert discriminator.training
    assert not found.requires_grad


def test_scores_in_a_search_with_products_in_bfloat16_are_close(back_end):
    discriminator = CNNDiscriminator(7, LENGTH)
    discriminator.reset_parameters(torch.Generator().manual_seed(0))
    lengths = range(1, LENGTH)
    lanes = completions(7, lengths)
    exact = scores_in_search(discriminator)(lanes, lengths).sigmoid()
    discriminator.product_dtype = torch.bfloat16
    found = scores_in_search(discriminator)(lanes, lengths).sigmoid()
    assert found.dtype == torch.float32
    assert 0 < (found - exact).abs().max() < 0.01


def test_rows_at_once_change_no_score_of_a_search(back_end, monkeypatch):
    discriminator = CNNDiscriminator(7, LENGTH).double()
    discriminator.reset_parameters(torch.Generator().manual_seed(0))
    lengths = range(1, LENGTH)
    lanes = completions(7, lengths)
    whole = scores_in_search(discriminator)(lanes, lengths)
    monkeypatch.setattr("seqgan_music.losses.ROWS_AT_ONCE", 50)
    torch.testing.assert_close(scores_in_search(discriminator)(lanes, lengths), whole, rtol=0, atol=1e-12)


@pytest.mark.skipif(not jit.available(), reason="numba is not installed")
def test_a_search_builds_its_table_once_if_it_is_small_enough(monkeypatch):
    discriminator = CNNDiscriminator(7, LENGTH)
    discriminator.reset_parameters(torch.Generator().manual_seed(0))
    built = []
    monkeypatch.setattr(
        "seqgan_music.discriminators.cnn.table_of", lambda *call, **how: built.append(call) or table_of(*call, **how)
    )
    lengths = range(2, 5)
    lanes = completions(7, lengths)
    search = scores_in_search(discriminator)
    few = search(lanes, lengths)
    assert few.equal(search(lanes, lengths))
    assert len(built) == 1
    monkeypatch.setattr("seqgan_music.discriminators.cnn.TABLE_BYTES", 1)
    assert discriminator.for_search() is None
    torch.testing.assert_close(scores_in_search(discriminator)(lanes, lengths), few)


class Listener(nn.Module):
    """A discriminator of somebody's own, which knows of no search."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def forward(self, ids):
        assert not self.training
        self.rows.append(len(ids))
        return (ids * torch.arange(1.0, LENGTH + 1)).sum(1)


def test_own_discriminators_are_just_called():
    discriminator = Listener()
    lengths = range(2, 5)
    lanes = completions(7, lengths)
    scores = scores_in_search(discriminator)(lanes, lengths)
    assert scores.equal(scores_of(discriminator, lanes.flatten(0, 2)).view(lanes.shape[:3]))
    assert sum(discriminator.rows) == 2 * lanes[..., 0].numel()


def test_a_derived_class_that_changes_its_scores_alone_is_asked_for_them():
    class Louder(CNNDiscriminator):
        def forward(self, ids):
            return 2 * super().forward(ids)

    discriminator = Louder(7, LENGTH)
    discriminator.reset_parameters(torch.Generator().manual_seed(0))
    lanes = completions(7, range(2, 5))
    expected = scores_of(discriminator, lanes.flatten(0, 2)).view(lanes.shape[:3])
    torch.testing.assert_close(scores_in_search(discriminator)(lanes, range(2, 5)), expected)


@pytest.mark.parametrize("options", [{}, {"uniqueness": True}])
def test_a_reward_in_a_search_is_the_reward_and_counts_the_same(options, back_end):
    discriminator = CNNDiscriminator(3, LENGTH)
    discriminator.reset_parameters(torch.Generator().manual_seed(0))
    rewards = [Reward(discriminator, BinaryCrossEntropy(), **options) for _ in range(2)]
    for reward in rewards:
        reward.objectives = {"shown": (None, 0.0)}  # or no means are given
    lengths = range(LENGTH - 3, LENGTH)
    lanes = completions(3, lengths)
    start = torch.zeros(lanes[..., 0].numel(), dtype=torch.int64)
    group = torch.arange(len(start)) // BATCH
    expected = rewards[0](lanes.flatten(0, 2), group, start)
    found = rewards[1].for_search(lanes[-1, 0], start[:BATCH])(lanes, lengths, group, start)
    assert found.shape == lanes.shape[:3]
    torch.testing.assert_close(found.flatten(), expected, rtol=0, atol=1e-5)
    assert rewards[1].means() == pytest.approx(rewards[0].means())
