import pytest
import torch

from seqgan_music import registry
from seqgan_music.errors import UsageError
from seqgan_music.generators import GENERATORS
from seqgan_music.generators.lstm import LSTMGenerator
from seqgan_music.losses import sequence_log_prob
from seqgan_music.modes import Dropout, evaluating, set_rng

NEVER = (9, 10)
VOCABULARY = 11


VARIANTS = [(name, {}) for name in sorted(GENERATORS)] + [("lstm", {"lookback": [3, 1, 6]})]


@pytest.fixture(params=VARIANTS, ids=lambda variant: "-".join([variant[0], *variant[1]]))
def generator(request):
    name, options = request.param
    factory = registry.resolve(GENERATORS, "generator", name)
    network = factory(VOCABULARY, NEVER, **options).double()
    network.reset_parameters(torch.Generator().manual_seed(0))
    return network.eval()


@pytest.fixture
def batch():
    rng = torch.Generator().manual_seed(1)
    return torch.randint(0, 9, (6, 8), generator=rng), torch.tensor([9, 10, 10, 9, 10, 9])


def test_step_by_step_gives_the_logits_of_forward(generator, batch):
    ids, start = batch
    expected = generator(ids, start)
    token, state = start, generator.start(len(ids))
    for t in range(ids.shape[1]):
        logits, state = generator.step(token, state)
        torch.testing.assert_close(logits, expected[:, t])
        token = ids[:, t]


def test_factors_are_those_of_the_logits(generator, batch):
    found = generator.factors(*batch)
    assert (found is None) == bool(generator.lookback)
    if found is not None:
        hidden, weight, bias = found
        torch.testing.assert_close(hidden @ weight.t() + bias, generator(*batch))


def test_a_logit_depends_on_what_came_before_it_and_on_the_start_alone(generator, batch):
    ids, start = batch
    expected = generator(ids, start)
    changed = ids.clone()
    changed[:, 4] = (changed[:, 4] + 1) % 9
    logits = generator(changed, start)
    assert torch.equal(logits[:, :5], expected[:, :5])
    assert not torch.isclose(logits[:, 5], expected[:, 5]).all(1).any()
    other_start = generator(ids, 19 - start)
    assert not torch.isclose(other_start[:, 0], expected[:, 0]).all(1).any()


def test_a_state_can_be_indexed_and_joined(generator, batch):
    ids, start = batch
    _, state = generator.step(start, generator.start(6))
    logits, _ = generator.step(ids[:, 0], state)
    rows = torch.tensor([4, 1, 1])
    torch.testing.assert_close(generator.step(ids[rows, 0], state[rows])[0], logits[rows])
    joined = state[:2].cat([state[2:3], state[3:]])
    torch.testing.assert_close(generator.step(ids[:, 0], joined)[0], logits)


def test_start_and_pad_have_no_probability(generator, batch):
    logits = generator(*batch)
    assert logits[..., NEVER].isneginf().all()
    assert logits[..., :9].isfinite().all()


def test_weights_come_from_the_given_random_numbers_alone(generator):
    weights = {name: value.clone() for name, value in generator.state_dict().items()}
    torch.manual_seed(123)
    generator.reset_parameters(torch.Generator().manual_seed(0))
    assert all(torch.equal(value, weights[name]) for name, value in generator.state_dict().items())
    generator.reset_parameters(torch.Generator().manual_seed(1))
    assert not any(torch.equal(value, weights[name]) for name, value in generator.state_dict().items())


def test_several_layers_step_like_forward(batch):
    generator = LSTMGenerator(VOCABULARY, NEVER, embedding=5, hidden=7, layers=3).double()
    generator.reset_parameters(torch.Generator().manual_seed(0))
    ids, start = batch
    logits, state = generator.step(start, generator.start(6))
    for t in range(3):
        logits, state = generator.step(ids[:, t], state)
    torch.testing.assert_close(logits, generator(ids, start)[:, 3])


def test_dropout_drops_with_its_probability_in_train_mode_only():
    dropout = Dropout(0.2)
    dropout.rng = torch.Generator().manual_seed(0)
    ones = torch.ones(100_000)
    dropped = dropout(ones)
    assert (dropped == 0).float().mean() == pytest.approx(0.2, abs=0.01)
    assert dropped.mean() == pytest.approx(1.0, abs=0.01)
    dropout.eval()
    assert torch.equal(dropout(ones), ones)


def test_dropout_draws_from_its_own_random_numbers(batch):
    generator = LSTMGenerator(VOCABULARY, NEVER, dropout=0.5)
    outcomes = []
    for global_seed in (1, 2):
        generator.reset_parameters(torch.Generator().manual_seed(0))
        set_rng(generator, torch.Generator().manual_seed(5))
        torch.manual_seed(global_seed)
        outcomes.append(generator(*batch))
    assert torch.equal(*outcomes)
    assert not torch.equal(generator(*batch), outcomes[0])


def test_evaluating_gives_modes_back_even_after_an_error():
    training, resting = Dropout(0.5).train(), Dropout(0.5).eval()
    seen = []

    def fail():
        with evaluating(training, resting, None):
            seen.append((training.training, torch.is_grad_enabled()))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert seen == [(False, False)]
    assert training.training
    assert not resting.training
    assert torch.is_grad_enabled()


def test_lookback_learns_to_repeat_what_an_lstm_alone_does_not():
    """Sequences whose second half is their first again, of random tokens: nothing else can be learnt."""
    rng = torch.Generator().manual_seed(2)
    half = torch.randint(0, 9, (256, 8), generator=rng)
    ids, start = torch.cat([half, half], 1), torch.full((256,), 9)
    losses = []
    for lookback in ([], [8]):
        generator = LSTMGenerator(VOCABULARY, NEVER, embedding=8, hidden=16, lookback=lookback)
        generator.reset_parameters(rng)
        optimizer = torch.optim.SGD(generator.parameters(), 1.0)
        for _ in range(60):
            optimizer.zero_grad()
            loss = -sequence_log_prob(generator(ids, start), ids, -1)[:, 8:].mean()
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 2.0
    assert losses[1] < 0.5


def test_lookback_reaches_as_far_as_it_says(batch):
    generator = LSTMGenerator(VOCABULARY, NEVER, lookback=[4])
    generator.reset_parameters(torch.Generator().manual_seed(0))
    torch.nn.init.zeros_(generator.lstm.weight_hh_l0)  # no memory but the lookback
    torch.nn.init.zeros_(generator.embedding.weight)
    ids, start = batch
    changed = ids.clone()
    changed[:, 1] = (changed[:, 1] + 1) % 9
    before, after = generator(ids, start), generator(changed, start)
    moved = ~torch.isclose(before, after).all(2).all(0)
    assert moved[5]
    assert not moved[[0, 1, 3, 4]].any()


@pytest.mark.parametrize(
    "options",
    [
        {"hidden": 0},
        {"layers": 0},
        {"embedding": -1},
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"lookback": [0]},
        {"lookback": [2.5]},
        {"lookback": 8},
    ],
)
def test_options_out_of_range_are_refused_by_name(options):
    with pytest.raises(UsageError, match=rf"generator\.{next(iter(options))}"):
        LSTMGenerator(VOCABULARY, **options)
