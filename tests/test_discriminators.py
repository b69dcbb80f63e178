import pytest
import torch
from torch.nn import functional as F

from seqgan_music import registry
from seqgan_music.discriminators import DISCRIMINATORS
from seqgan_music.discriminators.cnn import PAPER_FILTERS, SMALL_FILTERS, CNNDiscriminator
from seqgan_music.discriminators.passages import passages_that_return
from seqgan_music.errors import UsageError
from seqgan_music.losses import BinaryCrossEntropy
from seqgan_music.modes import set_rng

VOCABULARY, LENGTH = 13, 20


VARIANTS = [(name, {}) for name in sorted(DISCRIMINATORS)] + [("cnn", {"self_similarity": 12})]


@pytest.fixture(params=VARIANTS, ids=lambda variant: "-".join([variant[0], *variant[1]]))
def discriminator(request):
    name, options = request.param
    factory = registry.resolve(DISCRIMINATORS, "discriminator", name)
    network = factory(VOCABULARY, LENGTH, **options)
    network.reset_parameters(torch.Generator().manual_seed(0))
    return network.eval()


@pytest.fixture
def ids():
    return torch.randint(0, VOCABULARY, (32, LENGTH), generator=torch.Generator().manual_seed(1))


def test_forward_is_score_of_embed(discriminator, ids):
    with torch.no_grad():
        by_contract = discriminator.score(discriminator.embed(ids)).sigmoid()
        torch.testing.assert_close(discriminator(ids).sigmoid(), by_contract, atol=1e-5, rtol=0)
    assert by_contract.shape == (32,)
    assert by_contract.std() > 0.01


def test_gradients_of_forward_are_those_of_score_of_embed(discriminator, ids):
    discriminator.double()
    gradients = []
    for scores in (discriminator.score(discriminator.embed(ids)), discriminator(ids)):
        discriminator.zero_grad()
        scores.square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in discriminator.parameters()])
    for expected, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected)


def test_rows_of_the_vocabulary_are_embedded_like_ids_and_carry_gradients(discriminator, ids):
    rows = F.one_hot(ids, VOCABULARY).float().requires_grad_()
    torch.testing.assert_close(discriminator.embed(rows), discriminator.embed(ids))
    discriminator.score(discriminator.embed(rows)).sum().backward()
    assert rows.grad.abs().sum() > 0


def test_a_large_vocabulary_takes_the_convolution_and_gives_the_same(ids):
    discriminator = CNNDiscriminator(10_000, LENGTH)
    discriminator.reset_parameters(torch.Generator().manual_seed(0))
    with torch.no_grad():
        discriminator.eval()
        few, many = discriminator(ids[:4]), discriminator(ids.repeat(20, 1))[:4]
    torch.testing.assert_close(few, many, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("length", "filters"), [(20, PAPER_FILTERS[20]), (32, PAPER_FILTERS[32]), (64, SMALL_FILTERS)])
def test_filter_tables(length, filters):
    layers = CNNDiscriminator(VOCABULARY, length).convolutions
    assert tuple((layer.kernel_size[0], layer.out_channels) for layer in layers) == tuple(filters)


def test_the_papers_tables():
    assert sum(number for _, number in PAPER_FILTERS[20]) == 1720
    assert [width for width, _ in PAPER_FILTERS[32]] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 16, 24, 32]


def test_filters_wider_than_a_sequence_are_left_out():
    layers = CNNDiscriminator(VOCABULARY, 5).convolutions
    assert max(layer.kernel_size[0] for layer in layers) == 4


@pytest.mark.parametrize(
    "options",
    [
        {"filters": "paper"},
        {"filters": "large"},
        {"filters": [[9, 4]]},
        {"filters": [[0, 4]]},
        {"embedding": 0},
        {"l2": -1.0},
        {"self_similarity": -1},
    ],
)
def test_options_that_mean_nothing_are_refused_by_name(options):
    with pytest.raises(UsageError, match=rf"discriminator\.{next(iter(options))}"):
        CNNDiscriminator(VOCABULARY, 8, **options)


def test_the_penalty_is_half_the_squared_norm_of_the_output_layer(discriminator):
    output = discriminator.output
    expected = 0.2 * 0.5 * (output.weight.square().sum() + output.bias.square().sum())
    torch.testing.assert_close(discriminator.penalty(), expected)


def test_passages_that_return():
    """A sequence of 4 different tokens, three times; and one with nothing twice."""
    ids = torch.tensor([[0, 1, 2, 3] * 3, list(range(12))])
    same = (ids[:, :, None] == ids[:, None, :]).double()
    earlier = (torch.arange(12)[:, None] - torch.arange(1, 7)).clamp(min=0)
    mean, strongest = passages_that_return(same.gather(2, earlier.expand(2, -1, -1)))
    assert mean.tolist() == [[0, 0, 0, 1, 0, 0], [0] * 6]
    assert strongest.tolist() == [[0, 0, 0, 1, 0, 0], [0] * 6]
    late = torch.zeros(1, 12, 6, dtype=torch.float64)
    late[0, 10:, 1] = 1.0  # two of the last eight tokens, of ten pairs
    mean, strongest = passages_that_return(late)
    assert mean[0, 1] == pytest.approx(0.2)
    assert strongest[0, 1] == pytest.approx(0.25)


def test_self_similarity_hears_form():
    """Real: two random passages in the order a b a b; generated: a b b a, the same to filters of width 1."""
    rng = torch.Generator().manual_seed(0)
    loss, accuracies = BinaryCrossEntropy(), []
    for self_similarity in (0, 32):
        network = CNNDiscriminator(VOCABULARY, 32, filters=[[1, 8]], dropout=0.0, self_similarity=self_similarity)
        network.reset_parameters(rng)
        optimizer = torch.optim.Adam(network.parameters(), 1e-2)

        def batch():
            a, b = torch.randint(0, VOCABULARY, (2, 64, 8), generator=rng)
            return torch.cat([a, b, a, b], 1), torch.cat([a, b, b, a], 1)

        for _ in range(60):
            optimizer.zero_grad()
            loss.loss(*map(network, batch())).backward()
            optimizer.step()
        with torch.no_grad():
            real, fake = map(network, batch())
        accuracies.append(((real > 0).float().mean() + (fake < 0).float().mean()).item() / 2)
    assert accuracies[0] == 0.5
    assert accuracies[1] > 0.95


def test_dropout_is_on_in_train_mode_only(discriminator, ids):
    set_rng(discriminator, torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(discriminator(ids), discriminator(ids))
        discriminator.train()
        assert not torch.equal(discriminator(ids), discriminator(ids))


def test_a_few_steps_of_training_tell_two_languages_apart(discriminator):
    rng = torch.Generator().manual_seed(0)
    set_rng(discriminator.train(), rng)
    real = (torch.arange(LENGTH) + torch.randint(0, VOCABULARY, (64, 1), generator=rng)) % VOCABULARY
    fake = torch.randint(0, VOCABULARY, (64, LENGTH), generator=rng)
    loss, optimizer = BinaryCrossEntropy(), torch.optim.Adam(discriminator.parameters(), 1e-3)
    for _ in range(30):
        optimizer.zero_grad()
        loss.loss(discriminator(real), discriminator(fake)).backward()
        optimizer.step()
    discriminator.eval()
    with torch.no_grad():
        assert loss.reward(discriminator(real)).min() > 0.5 > loss.reward(discriminator(fake)).max()
