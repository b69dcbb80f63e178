import math

import pytest
import torch

from seqgan_music.losses import (
    BinaryCrossEntropy,
    advantages,
    likelihood_loss,
    policy_divergence,
    policy_entropy,
    policy_gradient_loss,
    sequence_log_prob,
)

PAD = 3


@pytest.fixture
def logits():
    values = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values[..., PAD] = -torch.inf
    return values


IDS = torch.tensor([[0, 1, 2, 4], [4, 2, PAD, PAD]])


def test_log_probabilities_are_those_of_the_tokens_and_zero_for_pad(logits):
    found = sequence_log_prob(logits, IDS, PAD)
    for b in range(2):
        for t in range(4):
            token = int(IDS[b, t])
            expected = 0.0 if token == PAD else float(logits[b, t].softmax(0)[token].log())
            assert float(found[b, t]) == pytest.approx(expected)


def test_the_likelihood_loss_is_the_mean_over_tokens_without_pad(logits):
    expected = -sequence_log_prob(logits, IDS, PAD).sum() / 6
    torch.testing.assert_close(likelihood_loss(logits, IDS, PAD), expected)


def test_the_policy_gradient_is_that_of_eq_7_divided_by_b(logits):
    values = torch.rand(2, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mask = IDS != PAD
    logits.requires_grad_()
    policy_gradient_loss(sequence_log_prob(logits, IDS, PAD), values, mask).backward()
    for b in range(2):
        for t in range(4):
            if not mask[b, t]:
                assert logits.grad[b, t].abs().sum() == 0
                continue
            probability = logits[b, t].detach().softmax(0)
            one_hot = torch.eye(5, dtype=torch.float64)[IDS[b, t]]
            # d log softmax = one-hot − probability; the loss descends on −J, summed over steps, over B = 2 sequences
            torch.testing.assert_close(logits.grad[b, t], -(one_hot - probability) * values[b, t] / 2)


def test_values_carry_no_gradient(logits):
    values = torch.ones(2, 4, dtype=torch.float64, requires_grad=True)
    log_prob = sequence_log_prob(logits, IDS, PAD).requires_grad_()
    policy_gradient_loss(log_prob, values, IDS != PAD).backward()
    assert values.grad is None


def test_entropy_of_a_uniform_policy_is_the_logarithm_of_its_choices(logits):
    uniform = torch.where(logits.isinf(), -torch.inf, 0.0)
    assert float(policy_entropy(uniform, IDS != PAD)) == pytest.approx(math.log(4))


def test_the_entropy_and_the_divergence_have_gradients_where_a_token_is_never_drawn(logits):
    reference = logits.roll(1, dims=0)
    for measure in (lambda x: policy_entropy(x, IDS != PAD), lambda x: policy_divergence(x, reference, IDS != PAD)):
        values = logits.clone().requires_grad_()
        measure(values).backward()
        assert values.grad.isfinite().all()
        assert values.grad[0].abs().sum() > 0
        assert values.grad[1, 2:].abs().sum() == 0


def test_the_divergence_is_that_of_the_distributions(logits):
    reference, mask = logits.roll(1, dims=1), IDS != PAD
    expected = 0.0
    for b, t in mask.nonzero().tolist():
        p, q = (x[b, t][:PAD].tolist() + x[b, t][PAD + 1 :].tolist() for x in (logits.softmax(2), reference.softmax(2)))
        expected += sum(a * math.log(a / c) for a, c in zip(p, q, strict=True)) / 2
    assert float(policy_divergence(logits, reference, mask)) == pytest.approx(expected)
    assert float(policy_divergence(logits, logits + 3, mask)) == pytest.approx(0.0, abs=1e-12)


VALUES = torch.tensor([[0.2, 0.4, 0.4, 0.9], [0.6, 0.8, 7.0, 7.0]], dtype=torch.float64)


def test_baselines_worked_out_by_hand():
    mask = IDS != PAD  # the second sequence has ended after two steps
    assert torch.equal(advantages(VALUES, mask), VALUES)
    mean = advantages(VALUES, mask, baseline="mean")
    torch.testing.assert_close(mean[0], VALUES.new_tensor([-0.2, -0.2, 0.0, 0.0]))
    torch.testing.assert_close(mean[1, :2], VALUES.new_tensor([0.2, 0.2]))
    prefix = advantages(VALUES, mask, baseline="prefix")
    torch.testing.assert_close(prefix[0], VALUES.new_tensor([-0.2, 0.2, 0.0, 0.5]))
    torch.testing.assert_close(prefix[1, :2], VALUES.new_tensor([0.2, 0.2]))
    with pytest.raises(ValueError, match="none, mean, prefix"):
        advantages(VALUES, mask, baseline="median")


def test_normalised_advantages_have_unit_deviation_over_what_is_not_padding():
    mask = IDS != PAD
    for baseline in ("none", "mean", "prefix"):
        found = advantages(VALUES, mask, baseline=baseline, normalize=True)
        plain = advantages(VALUES, mask, baseline=baseline)
        assert float(found[mask].std(correction=0)) == pytest.approx(1.0)
        ratio = plain[mask] / found[mask]
        torch.testing.assert_close(ratio[found[mask] != 0], ratio[0].expand((found[mask] != 0).sum()))
    assert torch.equal(advantages(torch.ones(2, 4), mask, baseline="mean", normalize=True), torch.zeros(2, 4))


def test_a_baseline_leaves_the_mean_of_the_gradient_and_lessens_its_variance():
    """One step, three tokens with known values: Williams 1992, over many batches."""
    rng = torch.Generator().manual_seed(0)
    logits, worth = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64), torch.tensor([0.9, 0.6, 0.7]).double()
    probability = logits.softmax(0)
    expected = probability * (worth - (probability * worth).sum())
    spread = {}
    for baseline in ("none", "mean"):
        tokens = torch.multinomial(probability.expand(4000, 3), 32, replacement=True, generator=rng)  # batches of 32
        gradients = []
        for drawn in tokens:
            values = advantages(worth[drawn][:, None], torch.ones(32, 1, dtype=torch.bool), baseline=baseline)
            gradients.append(((torch.eye(3).double()[drawn] - probability) * values).mean(0))
        gradients = torch.stack(gradients)
        share = 31 / 32 if baseline == "mean" else 1.0  # a sample is a 32nd of its own baseline
        torch.testing.assert_close(gradients.mean(0), share * expected, atol=4e-3, rtol=0)
        spread[baseline] = float(gradients.var(0).sum())
    assert spread["mean"] < 0.1 * spread["none"]


def test_cross_entropy_is_that_of_eq_5_and_its_reward_is_the_probability():
    loss, real, fake = BinaryCrossEntropy(), torch.tensor([0.3, -2.0]), torch.tensor([1.5])
    expected = 0.5 * (-real.sigmoid().log().mean() - (1 - fake.sigmoid()).log().mean())
    torch.testing.assert_close(loss.loss(real, fake), expected)
    torch.testing.assert_close(loss.reward(real), real.sigmoid())
    assert loss.loss(torch.tensor([200.0]), torch.tensor([-200.0])).isfinite()
