import numpy as np
import pytest
import torch

from seqgan_music import jit, sampling
from seqgan_music.errors import UsageError
from seqgan_music.generators.lstm import LSTMGenerator

END, PAD, START = 5, 6, 7
VOCABULARY = 8


@pytest.fixture
def generator():
    network = LSTMGenerator(VOCABULARY, (PAD, START), embedding=4, hidden=6)
    network.reset_parameters(torch.Generator().manual_seed(0))
    return network


def sampled(generator, n=64, length=12, seed=0, **options):
    start = torch.full((n,), START)
    rng = torch.Generator().manual_seed(seed)
    return sampling.sample(generator, start, length, rng, end_id=END, pad_id=PAD, **options)


def test_a_draw_is_the_first_id_whose_cumulative_probability_exceeds_the_uniform_number(back_end):
    logits = torch.tensor([0.1, 0.2, 0.0, 0.7], dtype=torch.float64).log().expand(6, 4)
    uniform = torch.tensor([0.0, 0.0999, 0.1001, 0.2999, 0.3001, 1 - 2**-53], dtype=torch.float64)
    assert sampling.draw(logits, uniform).tolist() == [0, 0, 1, 1, 3, 3]


def test_frequencies_of_draws_are_the_probabilities(back_end):
    rng = torch.Generator().manual_seed(0)
    logits = torch.tensor([[0.5, -1.0, 2.0, -torch.inf, 0.0]])
    drawn = sampling.draw(logits, torch.rand(1, 200_000, generator=rng))
    shares = torch.bincount(drawn[0], minlength=5) / drawn.numel()
    torch.testing.assert_close(shares, logits[0].softmax(0), atol=0.005, rtol=0)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_what_has_no_probability_is_never_drawn(dtype, wide, back_end, monkeypatch):
    # The impossible ids stand last, where rounding of the cumulative sum would hand them the largest uniform numbers;
    # of the blocks of a wide vocabulary one begins with such an id, one ends with it, one has no other.
    monkeypatch.setattr(sampling, "BLOCK", 5)
    if wide:
        monkeypatch.setattr(sampling, "WIDE", 0)
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(20_000, 52, generator=rng).to(dtype)
    never = torch.tensor([0, 14, 20, 21, 22, 23, 24, 49, 50, 51])
    logits[:, never] = -torch.inf
    uniforms = torch.rand(20_000, 4, generator=rng, dtype=torch.promote_types(dtype, torch.float32))
    uniforms[:, 0], uniforms[:, 1] = 1 - torch.finfo(uniforms.dtype).eps / 2, 0.0
    drawn = sampling.draw(logits, uniforms)
    assert not torch.isin(drawn, never).any()
    assert len(drawn.unique()) == 52 - len(never)


@pytest.mark.parametrize(("vocabulary", "block"), [(50, 64), (50, 5), (53, 5), (53, 1)])
def test_a_wide_vocabulary_is_drawn_from_by_the_same_definition(vocabulary, block, back_end, monkeypatch):
    rng = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(500, vocabulary, generator=rng, dtype=torch.float64)
    uniform = torch.rand(500, 3, generator=rng, dtype=torch.float64)
    expected = (logits.softmax(1).cumsum(1)[:, None] > uniform[..., None]).int().argmax(2)
    assert torch.equal(sampling.draw(logits, uniform), expected)
    monkeypatch.setattr(sampling, "BLOCK", block)
    monkeypatch.setattr(sampling, "WIDE", 0)
    assert torch.equal(sampling.draw(logits, uniform), expected)
    assert torch.equal(sampling.draw(logits, uniform[:, 1]), expected[:, 1])


def test_5000_ids_are_drawn_as_often_as_they_should_be(back_end):
    logits = torch.linspace(0, 4, 5000)[None]
    uniforms = (torch.arange(2_000_000) / 2_000_000)[None].split(100_000, 1)
    drawn = torch.cat([sampling.draw(logits, some)[0] for some in uniforms])
    drawn = torch.bincount(drawn, minlength=5000) / 2_000_000
    torch.testing.assert_close(drawn, logits[0].softmax(0), atol=2e-6, rtol=0)  # evenly spaced: one more or fewer


def test_many_draws_a_row_are_the_draws_of_as_many_rows(back_end):
    rng = torch.Generator().manual_seed(0)
    logits, uniform = torch.randn(5, 9, generator=rng), torch.rand(5, 7, generator=rng)
    together = sampling.draw(logits, uniform)
    one_by_one = torch.stack([sampling.draw(logits, column) for column in uniform.unbind(1)], 1)
    assert torch.equal(together, one_by_one)


def test_bfloat16_is_drawn_from_as_the_float32_it_stands_for(back_end):
    rng = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(2_000, 300, generator=rng)
    logits[:, 7] = -torch.inf
    uniform = torch.rand(2_000, generator=rng)
    logits = logits.bfloat16()
    drawn = sampling.draw(logits, uniform)
    assert torch.equal(drawn, sampling.draw(logits.float(), uniform))
    assert len(drawn.unique()) > 200


@pytest.mark.parametrize("vocabulary", [3, 64, 130, 5000])
def test_in_float32_a_draw_is_another_one_at_a_boundary_alone(vocabulary, back_end):
    rng = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(1_000, vocabulary, generator=rng)
    uniform = torch.rand(1_000, generator=rng)
    drawn = sampling.draw(logits, uniform)
    cumulative = torch.nn.functional.pad(logits.double().softmax(1).cumsum(1), (1, 0))
    below, above = cumulative.gather(1, drawn[:, None])[:, 0], cumulative.gather(1, drawn[:, None] + 1)[:, 0]
    assert ((below - 1e-6 <= uniform) & (uniform <= above + 1e-6)).all()
    assert ((below <= uniform) & (uniform < above)).double().mean() > 0.99


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_threads_change_no_draw(dtype, back_end, monkeypatch):
    rng = torch.Generator().manual_seed(0)
    logits, uniform = torch.randn(101, 70, generator=rng).to(dtype), torch.rand(101, 3, generator=rng)
    expected = sampling.draw(logits, uniform)
    monkeypatch.setattr(sampling, "LOGITS_A_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    parts, in_threads = [], jit.in_threads

    def noting(work, count, least=1):
        in_threads(lambda first, last: (parts.append((first, last)), work(first, last)), count, least)

    monkeypatch.setattr(jit, "in_threads", noting)
    assert torch.equal(sampling.draw(logits, uniform), expected)
    assert len(parts) == (3 if back_end == "kernel" else 0)


@pytest.mark.skipif(not jit.available(), reason="numba is not installed")
def test_the_kernel_s_exponential_is_one():
    x = np.linspace(-100, 0, 20_001).astype(np.float32)
    found = np.array([sampling._exponential(value, True) for value in x])
    expected = np.exp(x.astype(np.float64))
    assert np.abs(found - expected)[x > -87].max() < 2e-7
    np.testing.assert_allclose(found[x > -87], expected[x > -87], rtol=5e-6)
    assert (found[x < -88.1] == 0).all(), "and not a subnormal number, however small"
    assert sampling._exponential(np.float32(-np.inf), True) == 0
    assert sampling._exponential(np.float32(0), True) == pytest.approx(1, abs=2e-7)


NEGATIVE_NAN = torch.tensor(-4194304, dtype=torch.int32).view(torch.float32).item()  # that of ∞ − ∞ on most processors


@pytest.mark.parametrize("vocabulary", [1, 5, 64, 1500])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("value", [torch.nan, NEGATIVE_NAN, torch.inf, -torch.inf])
def test_of_what_is_not_finite_some_id_is_drawn(value, dtype, vocabulary, back_end):
    # So that a training whose weights are NaN comes to its loss, which says so.
    logits = torch.zeros(4, vocabulary)
    logits[0], logits[1, 0], logits[2, -1], logits[3, vocabulary // 2] = value, value, value, value
    drawn = sampling.draw(logits.to(dtype), torch.linspace(0, 1 - 2**-24, 5).expand(4, 5))
    assert drawn.min() >= 0
    assert drawn.max() < vocabulary


def test_pad_follows_end_and_nothing_else_is_pad_or_start(generator):
    ids = sampled(generator)
    for row in ids.tolist():
        before, end, after = (
            (row, [], []) if END not in row else (row[: row.index(END)], [END], row[row.index(END) + 1 :])
        )
        assert set(before) <= set(range(END))
        assert set(after) <= {PAD}
        assert len(before) + len(end) + len(after) == 12
    assert (ids == END).any()


def test_padding_after_end_leaves_ends_own_step():
    ids = torch.tensor([[1, END, PAD, PAD], [1, 2, 3, 4], [1, 2, 3, END]])
    assert sampling.padding_after_end(ids, END).tolist() == [[False, False, True, True], [False] * 4, [False] * 4]
    assert not sampling.padding_after_end(ids, -1).any()


def test_end_can_be_put_off(generator):
    ids = sampled(generator, n=400, end_from=9)
    assert not (ids[:, :9] == END).any()
    assert (ids[:, 9:] == END).any()


def test_rows_computed_at_once_change_no_draw(generator, back_end, monkeypatch):
    together = sampled(generator, n=50)
    monkeypatch.setitem(sampling.MEMORY_BUDGET, "cpu", 1)
    assert torch.equal(sampled(generator, n=50), together)


def test_samples_follow_the_generator(generator, back_end):
    ids = sampled(generator, n=20_000, length=1)
    with torch.no_grad():
        expected = generator(ids[:1], torch.tensor([START]))[0, 0].softmax(0)
    torch.testing.assert_close(torch.bincount(ids[:, 0], minlength=VOCABULARY) / 20_000, expected, atol=0.015, rtol=0)


def test_low_temperature_and_top_k_of_one_are_the_most_likely_token(generator):
    greedy = sampled(generator, top_k=1)
    assert torch.equal(greedy[:1].expand_as(greedy), greedy)
    assert torch.equal(sampled(generator, temperature=1e-4), greedy)


def test_narrow_keeps_what_it_says():
    logits = torch.tensor([[0.1, 0.4, 0.3, 0.2]]).log()
    assert sampling.narrow(logits, top_k=2).isfinite().tolist() == [[False, True, True, False]]
    assert sampling.narrow(logits, top_p=0.69).isfinite().tolist() == [[False, True, True, False]]
    assert sampling.narrow(logits, top_p=0.71).isfinite().tolist() == [[False, True, True, True]]
    assert sampling.narrow(logits, top_p=0.01).isfinite().tolist() == [[False, True, False, False]]
    torch.testing.assert_close(sampling.narrow(logits, temperature=2.0), logits / 2)


@pytest.mark.parametrize(
    "options", [{"temperature": 0.0}, {"temperature": -1.0}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.1}]
)
def test_narrowing_that_means_nothing_is_refused(generator, options):
    with pytest.raises(UsageError, match=next(iter(options)).replace("_", "-")):
        sampled(generator, **options)


def test_sampling_leaves_the_mode_and_draws_without_dropout():
    generator = LSTMGenerator(VOCABULARY, (PAD, START), embedding=4, hidden=6, dropout=0.9)
    generator.reset_parameters(torch.Generator().manual_seed(0))
    generator.train()
    first = sampled(generator)  # dropout in train mode without a generator of random numbers would raise
    assert generator.training
    generator.eval()
    assert torch.equal(sampled(generator), first)
    assert not first.requires_grad


def test_an_end_that_is_put_off_is_not_all_that_narrowing_leaves(generator):
    with torch.no_grad():
        generator.output.bias[END] = 50.0
    ids = sampled(generator, end_from=12, top_k=1)
    assert ids.max() < END


def test_a_prefix_is_read_and_the_next_token_follows_the_generator(generator):
    with torch.no_grad():
        for weights in generator.parameters():
            weights *= 3  # so that what was read matters
    prefix = torch.tensor([[3, 0, 4, 4, 1]]).expand(20_000, -1)
    ids = sampled(generator, n=20_000, length=6, prefix=prefix)
    assert torch.equal(ids[:, :5], prefix)
    with torch.no_grad():
        expected = generator(ids[:1], torch.tensor([START]))[0, 5].softmax(0)
        without = generator(ids[:1, 5:], torch.tensor([START]))[0, 0].softmax(0)
    shares = torch.bincount(ids[:, 5], minlength=VOCABULARY) / len(ids)
    torch.testing.assert_close(shares, expected, atol=0.015, rtol=0)
    assert (expected - without).abs().max() > 0.1, "or the prefix might as well not have been read"


@pytest.mark.parametrize("floats", [0, 10**12])
def test_any_size_of_a_row_will_do(generator, floats):
    together = sampled(generator, n=50)
    generator.floats_per_row = floats
    assert torch.equal(sampled(generator, n=50), together)


@pytest.mark.parametrize("given", [1, 5, 11, 12])
def test_a_sequence_s_own_beginning_as_its_prefix_draws_it_again(generator, given, monkeypatch):
    ids = sampled(generator, n=50, end_from=8, temperature=1.5)
    monkeypatch.setitem(sampling.MEMORY_BUDGET, "cpu", 1)
    again = sampled(generator, n=50, end_from=8, temperature=1.5, prefix=ids[:, :given])
    assert torch.equal(again, ids)


def test_nothing_but_pad_follows_an_end_in_the_prefix(generator):
    ids = sampled(generator, n=2, length=5, prefix=torch.tensor([[1, END], [1, 2]]))
    assert ids[0].tolist() == [1, END, PAD, PAD, PAD]
    assert ids[1, 2] != PAD


def resampled(p, odds, k, rows=200_000):
    """Shares of what is kept of k candidates with probabilities p, where the odds of each are known."""
    rng = torch.Generator().manual_seed(0)
    candidates = torch.multinomial(p, rows * k, replacement=True, generator=rng).view(rows, k)
    kept = sampling.resample(candidates[..., None], odds.log()[candidates], torch.rand(rows, generator=rng))
    return torch.bincount(kept[:, 0], minlength=len(p)) / rows


def test_of_two_candidates_one_is_kept_by_its_odds():
    p, odds = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.25, 1.0, 4.0])
    win = odds[:, None] / (odds[:, None] + odds)  # of a against b
    torch.testing.assert_close(resampled(p, odds, 2), 2 * p * (win * p).sum(1), atol=0.004, rtol=0)


def test_with_many_candidates_a_discriminator_that_is_right_gives_the_data():
    generated, real = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.1, 0.3, 0.6])
    torch.testing.assert_close(resampled(generated, real / generated, 100, 20_000), real, atol=0.015, rtol=0)
    assert torch.equal(resampled(generated, real / generated, 1), resampled(generated, torch.ones(3), 1))


def test_one_candidate_is_kept_whatever_its_odds():
    ids = torch.arange(12).view(4, 1, 3)
    logits = torch.tensor([[-90.0], [0.0], [90.0], [5.0]])
    assert torch.equal(sampling.resample(ids, logits, torch.linspace(0, 0.99, 4)), ids[:, 0])


def test_odds_beyond_any_floating_point_number_still_choose():
    ids = torch.tensor([[[0], [1], [2]]]).expand(100, -1, -1)
    logits = torch.tensor([[-500.0, 500.0, 0.0]]).expand(100, -1)
    assert (sampling.resample(ids, logits, torch.linspace(0, 0.999, 100)) == 1).all()
