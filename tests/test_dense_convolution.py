import copy

import pytest
import torch
from torch.nn import functional as F

from seqgan_music import jit
from seqgan_music.discriminators.cnn import CNNDiscriminator
from seqgan_music.discriminators.dense_convolution import max_over_time
from seqgan_music.losses import BinaryCrossEntropy, WassersteinGradientPenalty
from seqgan_music.modes import set_rng
from seqgan_music.optimizers import Adam

BATCH, LENGTH, WIDTH = 37, 11, 5
TABLE = ((1, 3), (2, 70), (4, 9), (11, 2))
VOCABULARY = 700  # more than a batch has tokens
WAYS = ["plain", pytest.param("kernels", marks=pytest.mark.skipif(not jit.available(), reason="numba is missing"))]


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    if request.param == "plain":
        monkeypatch.setenv("SEQGAN_MUSIC_JIT", "0")
    assert jit.available() == (request.param == "kernels")
    return request.param


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def tensors(dtype=torch.float64):
    embedded = torch.randn(BATCH, LENGTH, WIDTH, generator=rng(), dtype=dtype)
    weights = [torch.randn(number, WIDTH, width, generator=rng(1), dtype=dtype) for width, number in TABLE]
    return embedded.requires_grad_(), [weight.requires_grad_() for weight in weights]


def by_definition(embedded, weights):
    return torch.cat([F.conv1d(embedded.transpose(1, 2), weight).amax(2) for weight in weights], 1)


def test_maxima_and_their_gradients_are_those_of_convolutions(way, threads):
    embedded, weights = tensors()
    expected, found = by_definition(embedded, weights), max_over_time(embedded, weights)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)
    with torch.no_grad():
        torch.testing.assert_close(max_over_time(embedded, weights), expected, atol=1e-10, rtol=0)
    worth = torch.randn(expected.shape, generator=rng(2), dtype=torch.float64)
    worth[worth.abs() < 0.3] = 0.0  # as behind a ReLU: any number of windows counts
    worth[:, 4] = 0.0
    gradients = [torch.autograd.grad(values, [embedded, *weights], worth) for values in (expected, found)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(other, one, atol=1e-10, rtol=0)
        assert way == "plain" or other.is_contiguous()  # or autograd copies it


def test_of_equal_windows_one_has_the_gradient(way):
    embedded = torch.ones(2, LENGTH, WIDTH, dtype=torch.float64, requires_grad=True)
    weight = torch.ones(1, WIDTH, 2, dtype=torch.float64, requires_grad=True)
    max_over_time(embedded, [weight]).sum().backward()
    assert weight.grad.tolist() == [[[2.0, 2.0]] * WIDTH]
    assert embedded.grad.sum(2).tolist() == [[WIDTH, WIDTH] + [0] * (LENGTH - 2)] * 2


@pytest.mark.parametrize("step", [0, 5, LENGTH - 1])
def test_nan_is_not_lost(way, step):
    embedded, weights = tensors()
    embedded = embedded.detach()
    embedded[3, step] = torch.nan
    found = max_over_time(embedded, weights)
    assert torch.equal(found.isnan(), by_definition(embedded, weights).isnan())
    assert found[3].isnan().all()


def test_only_the_gradients_there_are_to_be_are_needed(way):
    embedded, weights = tensors()
    frozen = [weight.detach() for weight in weights]
    max_over_time(embedded, frozen).sum().backward()
    expected = torch.autograd.grad(by_definition(embedded, weights).sum(), [embedded, *weights])
    torch.testing.assert_close(embedded.grad, expected[0])
    max_over_time(embedded.detach(), weights).sum().backward()
    for weight, gradient in zip(weights, expected[1:], strict=True):
        torch.testing.assert_close(weight.grad, gradient)


@pytest.mark.parametrize("differentiable", [False, True])
def test_no_sequences_have_no_maxima(way, differentiable):
    embedded, weights = tensors()
    with torch.set_grad_enabled(differentiable):
        assert max_over_time(embedded[:0], weights).shape == (0, sum(number for _, number in TABLE))


def test_products_in_bfloat16_stay_within_its_rounding(way):
    embedded, weights = tensors(torch.float32)
    worth = torch.randn(BATCH, sum(number for _, number in TABLE), generator=rng(2))
    exact, rounded = (max_over_time(embedded, weights, dtype) for dtype in (None, torch.bfloat16))
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).abs().max() < 2**-6 * exact.abs().max()
    with torch.no_grad():
        torch.testing.assert_close(max_over_time(embedded, weights, torch.bfloat16), rounded, atol=0.05, rtol=0)
    gradients = [torch.autograd.grad(values, weights, worth) for values in (exact, rounded)]
    for one, other in zip(*gradients, strict=True):
        assert other.dtype == torch.float32
        assert F.cosine_similarity(one.flatten(), other.flatten(), dim=0) > 0.99


@pytest.fixture
def no_table(monkeypatch):
    """A discriminator that takes the sums of table rows fails."""
    monkeypatch.setattr("seqgan_music.discriminators.cnn.max_over_time", None)


def discriminator(dtype=torch.float32, **options):
    wide = [[1, 3], [8, 30], [9, 9], [11, 2]]  # in few windows each, which makes tables longer
    network = CNNDiscriminator(VOCABULARY, LENGTH, embedding=WIDTH, filters=wide, **options).to(dtype)
    network.reset_parameters(rng())
    for layer in network.convolutions:
        torch.nn.init.normal_(layer.bias, generator=rng(4))
    return network.eval()


def sequences(seed=3):
    ids = torch.randint(0, VOCABULARY, (BATCH, LENGTH), generator=rng(seed))
    ids[: BATCH // 2, 4:] = 0  # the end of many sequences: windows that are equal
    return ids


@pytest.mark.parametrize("options", [{}, {"self_similarity": 4}])
def test_scores_and_gradients_of_a_wide_vocabulary_are_those_of_the_contract(way, no_table, options):
    network, ids = discriminator(torch.float64, **options), sequences()
    results = []
    for scores in (network.score(network.embed(ids)), network(ids)):
        network.zero_grad()
        scores.square().sum().backward()
        results.append([scores.detach(), *(parameter.grad.clone() for parameter in network.parameters())])
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)
    network.float()
    with torch.no_grad():
        by_contract = network.score(network.embed(ids)).sigmoid()
        torch.testing.assert_close(network(ids).sigmoid(), by_contract, atol=1e-5, rtol=0)


def test_probabilities_in_bfloat16_stay_within_its_rounding(way, no_table):
    network = discriminator()
    exact = [network(sequences()).sigmoid().detach()]
    with torch.no_grad():
        exact.append(network(sequences()).sigmoid())
    assert exact[0].std() > 0.05
    network.product_dtype = torch.bfloat16
    with torch.no_grad():
        rounded = network(sequences()).sigmoid()
    for probabilities in (network(sequences()).sigmoid().detach(), rounded):
        for expected in exact:
            assert 0 < (probabilities - expected).abs().max() < 0.02


@pytest.fixture
def in_float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_a_critics_slope_is_bounded_by_a_second_derivative(way, no_table, in_float64):
    network = discriminator(torch.float64)
    real, fake = sequences(3), sequences(4)
    penalty = WassersteinGradientPenalty().penalty(network, real, fake, rng())
    (penalty + network(real).mean()).backward()
    gradients = [parameter.grad.clone() for parameter in network.parameters()]
    assert all(gradient.isfinite().all() for gradient in gradients)
    # Along its own gradient the loss rises by the square of the gradient's norm.
    slope, step = sum(gradient.square().sum() for gradient in gradients), 1e-6
    losses = []
    for sign in (1, -1):
        moved = copy.deepcopy(network)
        with torch.no_grad():
            for parameter, gradient in zip(moved.parameters(), gradients, strict=True):
                parameter += sign * step * gradient / slope.sqrt()
        losses.append((WassersteinGradientPenalty().penalty(moved, real, fake, rng()) + moved(real).mean()).detach())
    torch.testing.assert_close((losses[0] - losses[1]) / (2 * step), slope.sqrt(), rtol=1e-4, atol=0)


def area_under_the_curve(real, fake):
    """How often a real sequence scores above a generated one."""
    return (real[:, None] > fake).double().mean() + 0.5 * (real[:, None] == fake).double().mean()


def test_a_training_in_bfloat16_tells_as_much_apart(way, no_table):
    """Real sequences have more even tokens; measured on others than trained."""

    def drawn(share, count, seed):
        even = torch.rand(count, LENGTH, generator=rng(seed)) < share
        return 2 * torch.randint(0, VOCABULARY // 2, (count, LENGTH), generator=rng(seed + 1)) + ~even

    loss, areas = BinaryCrossEntropy(), {}
    for dtype in (None, torch.bfloat16):
        network = discriminator().train()
        network.product_dtype = dtype
        set_rng(network, rng(5))
        optimizer = Adam(network.parameters(), 3e-2)
        for batch in range(120):
            real, fake = drawn(0.75, 30, 4 * batch), drawn(0.5, 30, 4 * batch + 2)
            optimizer.zero_grad()
            scores = network(torch.cat([real, fake]))
            loss.loss(scores[:30], scores[30:]).backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            scores = [torch.cat([network(rows) for rows in drawn(share, 400, 9000).split(40)]) for share in (0.75, 0.5)]
        areas[dtype] = area_under_the_curve(*scores).item()
    assert areas[None] > 0.75
    assert abs(areas[None] - areas[torch.bfloat16]) < 0.03, areas
