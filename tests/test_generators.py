import copy

import numpy as np
import pytest
import torch

from seqgan_music import generators, jit, pretrained, registry, sampling
from seqgan_music.errors import UsageError
from seqgan_music.generators import GENERATORS, lstm, lstm_kernels
from seqgan_music.generators.lstm import LSTMGenerator
from seqgan_music.losses import sequence_log_prob
from seqgan_music.modes import Dropout, evaluating, set_rng
from seqgan_music.rollout import action_values
from seqgan_music.run import Run

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


@pytest.mark.parametrize("options", [{}, {"layers": 3}, {"lookback": [3, 1, 6]}, {"layers": 2, "lookback": [2]}])
def test_what_advances_in_place_gives_the_logits_of_forward(options, batch, back_end):
    generator = LSTMGenerator(VOCABULARY, NEVER, embedding=5, hidden=7, **options).double()
    generator.reset_parameters(torch.Generator().manual_seed(0))
    ids, start = batch
    with evaluating(generator):
        expected = generator(ids, start)
        token, state = start, generator.start(len(ids))
        for t in range(ids.shape[1]):
            before = [part.data_ptr() for part in (state.hidden, state.cell, state.past)]
            logits = generator.advance(token, state)
            torch.testing.assert_close(logits, expected[:, t], rtol=0, atol=1e-13)
            assert [part.data_ptr() for part in (state.hidden, state.cell, state.past)] == before
            token = ids[:, t]


@pytest.mark.parametrize("options", [{"layers": 2}, {"lookback": [3, 1]}])
def test_rows_of_a_room_are_filled_and_advance_alone(options, batch, back_end):
    generator = LSTMGenerator(VOCABULARY, NEVER, embedding=5, hidden=7, **options).double()
    generator.reset_parameters(torch.Generator().manual_seed(0))
    ids, start = batch
    with evaluating(generator):
        _, first = generator.step(start, generator.start(6))
        expected, second = generator.step(ids[:, 0], first)
        room = first.room(20)
        for part in (room.hidden, room.cell):
            part.fill_(torch.nan)
        room[:12] = first
        logits = generator.advance(ids[:, 0].repeat(2), room[:12])
        torch.testing.assert_close(logits, expected.repeat(2, 1), rtol=0, atol=1e-13)
        room[12:18] = second
        expected, _ = generator.step(ids[:, 1], second)
        found = generator.advance(ids[:, 1].repeat(3), room[:18])
        torch.testing.assert_close(found, expected.repeat(3, 1), rtol=0, atol=1e-13)
        assert room.cell[:, 18:].isnan().all()
        again, _ = generator.step(ids[:, 1], second)
        assert torch.equal(again, expected), "the state it was filled with stands"


def test_a_derived_class_that_changes_a_step_alone_is_not_asked_to_advance_in_place(batch):
    class Louder(LSTMGenerator):
        def step(self, ids, state):
            logits, state = super().step(ids, state)
            return 2 * logits, state

    generator = Louder(VOCABULARY, NEVER, embedding=5, hidden=7)
    generator.reset_parameters(torch.Generator().manual_seed(0))
    ids, _ = batch
    with evaluating(generator):
        state = generator.start(6)
        logits, after = generators.advance(generator, ids[:, 0], state)
        assert torch.equal(logits, generator.step(ids[:, 0], state)[0])
        assert not torch.equal(after.cell, state.cell)
        plain = LSTMGenerator.step(generator, ids[:, 0], state)[0]
        torch.testing.assert_close(logits, 2 * plain)


@pytest.mark.skipif(not jit.available(), reason="numba is not installed")
def test_the_kernel_s_tanh_and_rounding_are_those():
    x = np.linspace(-12, 12, 4_001).astype(np.float32)
    found = np.array([lstm_kernels._tanh(value, True) for value in x])
    assert np.abs(found - np.tanh(x.astype(np.float64))).max() < 3e-7
    found = np.array([lstm_kernels._sigmoid(value, True) for value in x])
    assert np.abs(found - 1 / (1 + np.exp(-x.astype(np.float64)))).max() < 3e-7
    values = torch.cat([torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 0.0]), torch.from_numpy(x)])  # ties first
    bits = np.array([lstm_kernels._narrowed(value, True) for value in values.numpy()], np.uint16)
    assert np.array_equal(bits, jit.array(values.bfloat16()))
    back = [lstm_kernels._widened(value, True) for value in bits]
    assert np.array_equal(np.array(back, np.float32), values.bfloat16().float().numpy())


@pytest.mark.skipif(not jit.available(), reason="numba is not installed")
def test_the_kernel_refuses_tokens_beyond_the_vocabulary(batch):
    generator = LSTMGenerator(VOCABULARY, embedding=5, hidden=7)
    with evaluating(generator), pytest.raises(IndexError, match="beyond the vocabulary"):
        generator.advance(torch.tensor([3, VOCABULARY]), generator.start(2))


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_threads_change_no_state(dtype, monkeypatch):
    generator = LSTMGenerator(VOCABULARY, NEVER, embedding=5, hidden=7)
    generator.product_dtype = dtype
    generator.reset_parameters(torch.Generator().manual_seed(0))
    ids = torch.arange(101) % 9
    found = []
    for threads in (1, 3):
        monkeypatch.setattr(lstm, "CELLS_A_THREAD", 1)
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        with evaluating(generator):
            state = generator.start(101)
            logits = [generator.advance(ids, state).clone() for _ in range(3)]
            found.append([*logits, state.hidden, state.cell])
    assert all(torch.equal(one, three) for one, three in zip(*found, strict=True))


@pytest.fixture(scope="module")
def shipped():
    """The run that ships with the package: its generator, START and 32 of its melodies."""
    run = Run(pretrained.directory())
    generator, vocabulary = run.generator(device="cpu"), run.tokenizer
    start = torch.full((32,), run._start_id((4, 4)))
    ends = {"end_id": vocabulary.end_id, "pad_id": vocabulary.pad_id}
    return generator, start, sampling.sample(generator, start, 64, torch.Generator().manual_seed(0), **ends), ends


def test_bfloat16_moves_hardly_any_probability(shipped, back_end):
    generator, start, ids, ends = shipped
    rounded = copy.deepcopy(generator)
    rounded.product_dtype = torch.bfloat16
    with evaluating(generator, rounded):
        expected = generator(ids, start).softmax(2)
        for step in (generators.advance, lambda network, *read: network.step(*read)):
            token, state, found = start, rounded.start(len(start)), []
            for t in range(ids.shape[1]):
                logits, state = step(rounded, token, state)
                found.append(logits.float().softmax(1))
                token = ids[:, t]
            moved = (torch.stack(found, 1) - expected).abs().sum(2)[ids != ends["pad_id"]] / 2
            assert 1e-5 < moved.mean() < 0.003, "total variation"
            assert moved.max() < 0.03
            assert state.hidden.dtype == torch.bfloat16
            assert state.cell.dtype == torch.float32


def test_bfloat16_moves_likelihood_and_its_gradient_by_hardly_anything(shipped):
    generator, start, ids, ends = shipped
    found = {}
    for dtype in (None, torch.bfloat16):
        network = copy.deepcopy(generator)
        network.product_dtype = dtype
        loss = -sequence_log_prob(network(ids, start), ids, ends["pad_id"]).sum() / len(ids)
        loss.backward()
        found[dtype] = loss.item(), {name: weights.grad for name, weights in network.named_parameters()}
    (expected, gradients), (loss, rounded) = found[None], found[torch.bfloat16]
    assert 0 < abs(loss / expected - 1) < 1e-3
    for name, gradient in rounded.items():
        assert gradient.dtype == torch.float32
        assert (gradient - gradients[name]).norm() < 0.03 * gradients[name].norm(), name


def test_bfloat16_moves_action_values_less_than_other_draws_do(shipped):
    generator, start, ids, ends = shipped
    start, ids = start[:8], ids[:8]
    rounded = copy.deepcopy(generator)
    rounded.product_dtype = torch.bfloat16

    def again(ids, group, start):
        """Share of tokens that stood a bar ago."""
        return (ids[:, 16:] == ids[:, :-16]).float().mean(1)

    def values(network, seed):
        return action_values(network, again, ids, start, 8, torch.Generator().manual_seed(seed), **ends)

    expected = values(generator, 1)
    found, other = values(rounded, 1), values(generator, 2)
    assert expected.std() > 0.05
    assert (found.mean() - expected.mean()).abs() < 0.002
    assert (found.mean(0) - expected.mean(0)).abs().max() < 0.02
    assert 0 < (found - expected).abs().mean() < 0.5 * (other - expected).abs().mean()


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
