import math

import pytest
import torch

from seqgan_music.losses import (
    BinaryCrossEntropy,
    likelihood_loss,
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


def test_cross_entropy_is_that_of_eq_5_and_its_reward_is_the_probability():
    loss, real, fake = BinaryCrossEntropy(), torch.tensor([0.3, -2.0]), torch.tensor([1.5])
    expected = 0.5 * (-real.sigmoid().log().mean() - (1 - fake.sigmoid()).log().mean())
    torch.testing.assert_close(loss.loss(real, fake), expected)
    torch.testing.assert_close(loss.reward(real), real.sigmoid())
    assert loss.loss(torch.tensor([200.0]), torch.tensor([-200.0])).isfinite()
