import itertools
import math

import numpy as np
import pytest
import torch

from seqgan_music import losses, registry, run_directory
from seqgan_music.algorithms import Parts
from seqgan_music.algorithms.pretraining import DiscriminatorTraining, generate
from seqgan_music.dataset import Dataset, Windows
from seqgan_music.discriminators.cnn import CNNDiscriminator
from seqgan_music.errors import UsageError
from seqgan_music.experiment import Experiment
from seqgan_music.generators.lstm import LSTMGenerator
from seqgan_music.losses import (
    DISCRIMINATOR_LOSSES,
    BinaryCrossEntropy,
    LeastSquares,
    Wasserstein,
    WassersteinGradientPenalty,
    advantages,
    likelihood_loss,
    likelihood_loss_of,
    log_prob_of,
    policy_divergence,
    policy_entropy,
    policy_gradient_loss,
    policy_loss_of,
    sequence_log_prob,
)
from seqgan_music.modes import evaluating
from seqgan_music.rewards import Reward

PAD = 3
VOCABULARY, LENGTH, START = 9, 8, 8


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


def wide(never=(PAD, START), **options):
    generator = LSTMGenerator(VOCABULARY, never, embedding=5, hidden=6, **options).double()
    generator.reset_parameters(torch.Generator().manual_seed(0))
    return generator


def loss_and_gradients(loss, generator):
    generator.zero_grad()
    (3 * loss).backward()
    return [loss.detach(), *(weights.grad for weights in generator.parameters())]


@pytest.mark.parametrize("at_once", [1, 4 * VOCABULARY, 10**6])
def test_a_wide_vocabulary_has_the_same_likelihood_and_gradient(at_once, monkeypatch):
    monkeypatch.setitem(losses.LOGITS_AT_ONCE, "cpu", at_once)
    generator, rng = wide(), torch.Generator().manual_seed(1)
    ids, read = torch.randint(4, START, (2, 7, LENGTH), generator=rng)
    ids[0, 3:] = ids[1] = PAD
    start = torch.full((7,), START)
    for pad_id in (PAD, -1):
        if pad_id == -1:
            ids[ids == PAD] = 4
        expected = loss_and_gradients(likelihood_loss(generator(read, start), ids, pad_id), generator)
        found = loss_and_gradients(likelihood_loss_of(generator, read, start, ids, pad_id), generator)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, atol=1e-12, rtol=0)
        log_prob = log_prob_of(generator, ids, start, pad_id)
        torch.testing.assert_close(log_prob, sequence_log_prob(generator(ids, start), ids, pad_id), atol=1e-12, rtol=0)
        assert not log_prob.requires_grad


POLICIES = [{}, {"entropy_bonus": 0.3}, {"kl": 0.7}, {"entropy_bonus": 0.3, "kl": 0.7}]


def sequences_that_end():
    ids = torch.randint(4, START, (7, LENGTH), generator=torch.Generator().manual_seed(1))
    ids[0, 3:] = ids[1, 1:] = PAD
    return ids, torch.full((7,), START), ids != PAD


def held_to():
    other = wide()
    other.reset_parameters(torch.Generator().manual_seed(5))
    return other


@pytest.mark.parametrize("at_once", [1, 4 * VOCABULARY, 10**6])
@pytest.mark.parametrize("options", POLICIES)
def test_a_policys_loss_is_the_sum_of_its_terms(options, at_once, monkeypatch):
    generator, reference = wide(), held_to()
    ids, start, mask = sequences_that_end()
    values = torch.randn(ids.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    values[2, 2] = 0.0
    logits = generator(ids, start)
    surprise = policy_gradient_loss(sequence_log_prob(logits, ids, PAD), values, mask) * len(ids)
    entropy = policy_entropy(logits, mask) * mask.sum()
    divergence = policy_divergence(logits, reference(ids, start).detach(), mask) * len(ids)
    bonus, kl = options.get("entropy_bonus", 0.0), options.get("kl", 0.0)
    expected = loss_and_gradients(surprise - bonus * entropy + kl * divergence, generator)
    monkeypatch.setitem(losses.LOGITS_AT_ONCE, "cpu", at_once)
    loss, sums = policy_loss_of(generator, ids, start, values, mask, reference=reference, **options)
    for one, other in zip(loss_and_gradients(loss, generator), expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-11, rtol=0)
    assert not sums.requires_grad
    measured = torch.stack([surprise, entropy, divergence if kl else torch.zeros_like(entropy)]).detach()
    torch.testing.assert_close(sums, measured, atol=1e-11, rtol=0)
    assert all(weights.grad is None for weights in reference.parameters())


def test_a_policy_whose_logits_are_no_product_has_the_same_loss(monkeypatch):
    monkeypatch.setitem(losses.LOGITS_AT_ONCE, "cpu", 1)
    generator, reference = wide(lookback=[2]), held_to()
    ids, start, mask = sequences_that_end()
    values = torch.rand(ids.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    loss, sums = policy_loss_of(generator, ids, start, values, mask, entropy_bonus=0.3, kl=0.7, reference=reference)
    log_prob = sequence_log_prob(generator(ids, start), ids, PAD)
    torch.testing.assert_close(sums[0], 7 * policy_gradient_loss(log_prob, values, mask).detach())
    torch.testing.assert_close(loss.detach(), sums[0] - 0.3 * sums[1] + 0.7 * sums[2])
    assert sums[2] > 0


def test_a_token_of_the_policy_beyond_any_probability_has_finite_terms(monkeypatch):
    monkeypatch.setitem(losses.LOGITS_AT_ONCE, "cpu", 1)
    generator, reference = wide().float(), held_to().float()
    with torch.no_grad():
        generator.output.bias[5] = 300.0  # e^-300 is 0 in float32
    ids, start, mask = sequences_that_end()
    values = torch.ones(ids.shape)
    loss, sums = policy_loss_of(generator, ids, start, values, mask, entropy_bonus=0.3, kl=0.7, reference=reference)
    loss.backward()
    assert sums.isfinite().all()
    assert sums[1].abs() < 1e-3
    assert all(weights.grad.isfinite().all() for weights in generator.parameters())


def test_a_token_beyond_any_probability_has_a_finite_loss_in_a_wide_vocabulary(monkeypatch):
    monkeypatch.setitem(losses.LOGITS_AT_ONCE, "cpu", 1)
    generator = wide().float()
    with torch.no_grad():
        generator.output.bias[5] = 300.0  # e^-300 is 0 in float32
    ids, start = torch.zeros(2, LENGTH, dtype=torch.int64), torch.full((2,), START)
    loss = likelihood_loss_of(generator, ids, start, ids, PAD)
    torch.testing.assert_close(loss, likelihood_loss(generator(ids, start), ids, PAD))
    assert loss > 290
    loss.backward()
    assert all(weights.grad.isfinite().all() for weights in generator.parameters())


class Colder(LSTMGenerator):
    """Changes the logits, and knows nothing of their factors."""

    def forward(self, ids, start):
        return 3 * super().forward(ids, start)


def test_factors_are_not_taken_from_a_class_whose_logits_were_changed(monkeypatch):
    monkeypatch.setitem(losses.LOGITS_AT_ONCE, "cpu", 1)
    generator = Colder(VOCABULARY, (PAD, START), embedding=5, hidden=6)
    generator.reset_parameters(torch.Generator().manual_seed(0))
    ids, start = torch.zeros(2, LENGTH, dtype=torch.int64), torch.full((2,), START)
    whole = likelihood_loss(generator(ids, start), ids, PAD)
    torch.testing.assert_close(likelihood_loss_of(generator, ids, start, ids, PAD), whole)
    torch.testing.assert_close(-log_prob_of(generator, ids, start, PAD).mean(), whole)


def test_logits_that_are_no_product_are_computed_whole(monkeypatch):
    monkeypatch.setitem(losses.LOGITS_AT_ONCE, "cpu", 1)
    ids, start = (
        torch.randint(4, START, (3, LENGTH), generator=torch.Generator().manual_seed(1)),
        torch.full((3,), START),
    )
    generator = wide(lookback=[2])
    assert generator.factors(ids, start) is None
    whole = likelihood_loss(generator(ids, start), ids, PAD)
    torch.testing.assert_close(likelihood_loss_of(generator, ids, start, ids, PAD), whole)
    torch.testing.assert_close(-log_prob_of(generator, ids, start, PAD).mean(), whole)


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


@pytest.mark.parametrize(("loss", "best"), [(BinaryCrossEntropy(), math.log(3)), (LeastSquares(), 0.75)])
def test_the_best_score_is_worth_the_share_of_the_data(loss, best):
    """One token makes up 3/4 of the data and 1/4 of the samples, another the reverse."""
    score = torch.tensor([best, -best if best > 1 else 1 - best], requires_grad=True)
    loss.loss(score[torch.tensor([0, 0, 0, 1])], score[torch.tensor([0, 1, 1, 1])]).backward()
    torch.testing.assert_close(score.grad, torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(loss.reward(score.detach()), torch.tensor([0.75, 0.25]))


def made(name, **options):
    return registry.resolve(DISCRIMINATOR_LOSSES, "loss", name)(**options)


REAL, FAKE = np.array([0.3, -2.0, 1.4]), np.array([1.5, 0.1])


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (LeastSquares(), 0.5 * np.mean((REAL - 1) ** 2) + 0.5 * np.mean(FAKE**2)),
        (Wasserstein(), np.mean(FAKE) - np.mean(REAL)),
    ],
)
def test_losses_are_those_of_their_papers(loss, expected):
    assert loss.loss(torch.tensor(REAL), torch.tensor(FAKE)).item() == pytest.approx(expected)


@pytest.mark.parametrize("name", DISCRIMINATOR_LOSSES)
def test_guessing_costs_what_is_said(name):
    loss = made(name)
    score = torch.full((4,), 0.5 if name == "lsgan" else 0.0)
    assert loss.loss(score, score).item() == pytest.approx(loss.guessing)
    assert loss.reward(score).tolist() == pytest.approx([0.5] * 4)


class TableCritic(torch.nn.Module):
    """A linear critic: a score is the sum over steps of the product of the token's embedding and the step's weight."""

    def __init__(self, stretch=1.0):
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.vocab_size = VOCABULARY
        self.embedding = torch.nn.Parameter(torch.randn(VOCABULARY, 3, generator=rng) * stretch)
        self.weight = torch.nn.Parameter(torch.randn(LENGTH, 3, generator=rng) / stretch)

    def forward(self, ids):
        return self.score(self.embed(ids))

    def embed(self, ids):
        return ids @ self.embedding if ids.is_floating_point() else self.embedding[ids]

    def score(self, embedded):
        return (embedded * self.weight).sum((1, 2))

    def penalty(self):
        return self.weight.square().sum()


def test_a_critic_is_worth_what_its_last_training_set_says():
    ids = torch.randint(0, VOCABULARY, (2, 40, LENGTH), generator=torch.Generator().manual_seed(1))
    critic, loss = TableCritic(), Wasserstein()
    score = torch.tensor([-3.0, 0.0, 0.5])
    torch.testing.assert_close(loss.reward(score), score.sigmoid())
    loss.calibrate(critic, *ids)
    real, fake = (critic(rows).detach().numpy() for rows in ids)
    middle, spread = (real.mean() + fake.mean()) / 2, np.sqrt((real.var() + fake.var()) / 2)
    expected = 1 / (1 + np.exp(-(score.numpy() - middle) / spread))
    np.testing.assert_allclose(loss.reward(score), expected, rtol=1e-5)
    assert loss.reward(torch.tensor([middle])).item() == pytest.approx(0.5)
    again = Wasserstein()
    again.load_state_dict(loss.state_dict())
    assert torch.equal(again.reward(score), loss.reward(score))


def test_a_critic_that_scores_all_alike_gives_no_reward_to_rounding():
    critic, loss = TableCritic(), Wasserstein()
    ids = torch.zeros(8, LENGTH, dtype=torch.int64)
    loss.calibrate(critic, ids, ids)
    torch.testing.assert_close(loss.reward(critic(ids).detach() * (1 + 1e-6)), torch.full((8,), 0.5))


@pytest.mark.parametrize("name", DISCRIMINATOR_LOSSES)
def test_rewards_lie_between_0_and_1_whatever_the_score(name):
    loss = made(name)
    rewards = loss.reward(torch.tensor([-math.inf, -1e30, -2.0, 0.3, 1.7, 1e30, math.inf]))
    assert rewards.min() == 0
    assert rewards.max() == 1
    assert (rewards.diff() >= 0).all()


def test_the_gradient_of_a_linear_critic_is_its_weights():
    """With respect to one-hot rows it is the table of what a token is worth at a step, wherever it is taken."""
    rng = torch.Generator().manual_seed(0)
    real, fake = torch.randint(0, VOCABULARY, (2, 6, LENGTH), generator=rng)
    critic = TableCritic()
    norm = (critic.weight @ critic.embedding.t()).norm().item()
    expected = 7.0 * (norm - 1) ** 2
    assert WassersteinGradientPenalty(weight=7.0).penalty(critic, real, fake, rng).item() == pytest.approx(
        expected, rel=1e-5
    )


def test_a_critic_gains_nothing_by_stretching_its_embedding():
    rng = torch.Generator().manual_seed(0)
    real, fake = torch.randint(0, VOCABULARY, (2, 6, LENGTH), generator=rng)
    plain, stretched = (
        WassersteinGradientPenalty().penalty(TableCritic(stretch), real, fake, rng) for stretch in (1.0, 100.0)
    )
    torch.testing.assert_close(plain, stretched)


class SquareCritic(TableCritic):
    """Half the squared norm of an embedding: its gradient is the point it is taken at."""

    def score(self, embedded):
        return 0.5 * embedded.square().sum((1, 2))


def test_the_gradient_is_taken_between_both_sequences_at_places_of_the_given_generator():
    rng = torch.Generator().manual_seed(5)
    real, fake = torch.zeros(500, LENGTH, dtype=torch.int64), torch.ones(500, LENGTH, dtype=torch.int64)
    critic = SquareCritic()
    critic.embedding.data = torch.eye(VOCABULARY)
    found = WassersteinGradientPenalty().penalty(critic, real, fake, torch.Generator().manual_seed(5)).item()
    place = torch.rand((500, 1, 1), generator=rng).flatten()
    norm = (LENGTH * (place.square() + (1 - place).square())).sqrt()
    assert found == pytest.approx((10 * (norm - 1).square()).mean().item(), rel=1e-5)


def network(**options):
    options = {"embedding": 8, "filters": [[1, 8], [2, 16], [3, 8]], "dropout": 0.25, **options}
    discriminator = CNNDiscriminator(VOCABULARY, LENGTH, **options)
    discriminator.reset_parameters(torch.Generator().manual_seed(0))
    return discriminator


def test_the_penalty_of_the_convolutional_critic_can_be_descended():
    """Its gradient with respect to the weights, which is one of second order, against finite differences."""
    torch.set_default_dtype(torch.float64)
    try:
        critic = network(dropout=0.0, self_similarity=4)
        rng = torch.Generator().manual_seed(1)
        real, fake = torch.randint(0, VOCABULARY, (2, 5, LENGTH), generator=rng)
        loss = WassersteinGradientPenalty()

        def penalty():
            return loss.penalty(critic, real, fake, torch.Generator().manual_seed(2))

        weights = list(critic.parameters())
        gradients = torch.autograd.grad(penalty(), weights, allow_unused=True)
        for weight, gradient in zip(weights, gradients, strict=True):
            along = torch.randn(weight.shape, generator=rng)
            expected = 0.0 if gradient is None else (gradient * along).sum().item()
            values = []
            with torch.no_grad():
                for step in (1e-6, -2e-6):
                    weight += step * along
                    with torch.enable_grad():
                        values.append(penalty().item())
                weight += 1e-6 * along
            assert (values[0] - values[1]) / 2e-6 == pytest.approx(expected, rel=1e-3, abs=1e-4)
        assert sum(gradient is not None and bool(gradient.any()) for gradient in gradients) > len(weights) / 2
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_critic_without_any_slope_has_a_finite_penalty():
    critic = network(dropout=0.0, self_similarity=4)
    critic.output.weight.data.zero_()
    ids = torch.zeros(3, LENGTH, dtype=torch.int64)
    penalty = WassersteinGradientPenalty().penalty(critic, ids, ids + 1, torch.Generator())
    penalty.backward()
    assert penalty.item() == pytest.approx(10.0, rel=1e-4)
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in critic.parameters())


def training(name, learning_rate=4e-3, **options):
    """D's training on sequences that count upwards, modulo 8, beside those of a generator that has learnt nothing."""

    def part(n, seed):
        first = torch.randint(0, 8, (n, 1), generator=torch.Generator().manual_seed(seed))
        return Windows((first + torch.arange(LENGTH)) % 8, torch.full((n,), START), torch.arange(n))

    data = Dataset(part(256, 1), part(64, 2), part(64, 3), VOCABULARY, never=(START,))
    generator = LSTMGenerator(VOCABULARY, data.never, embedding=8, hidden=16)
    generator.reset_parameters(torch.Generator().manual_seed(0))
    loss, discriminator = made(name, **options), network()
    parts = Parts(generator, discriminator, loss, Reward(discriminator, loss), data, torch.Generator().manual_seed(0))
    return DiscriminatorTraining(parts, sets=12, epochs=1, samples=128, batch_size=16, learning_rate=learning_rate)


@pytest.mark.parametrize("name", DISCRIMINATOR_LOSSES)
def test_every_loss_teaches_a_discriminator_to_tell_real_from_generated(name):
    trained = training(name)
    records = list(trained)
    assert records[-1].values["d_accuracy"] > 0.85
    assert records[-1].values["d_loss"] < trained.parts.loss.guessing
    fake = generate(trained.parts, trained.parts.dataset.test.start)
    real, fake = (trained.parts.reward.realness(ids) for ids in (trained.parts.dataset.test.ids, fake))
    assert (real[:, None] > fake).float().mean() > 0.9
    for rewards in (real, fake):
        assert rewards.min() >= 0
        assert rewards.max() <= 1


@pytest.mark.parametrize("name", ["wgan-gp", "wgan-clip"])
def test_the_middle_is_measured_on_the_last_set_without_dropout(name):
    trained = training(name)
    sets, train_epoch = [], trained.train_epoch
    trained.train_epoch = lambda real, fake: sets.append((real, fake)) or train_epoch(real, fake)
    trained.train_on_fresh_set(2)
    assert len(sets) == 2
    with evaluating(trained.parts.discriminator):
        real, fake = map(trained.parts.discriminator, sets[-1])
    state = trained.parts.loss.state_dict()
    assert state["middle"] == pytest.approx(((real.mean() + fake.mean()) / 2).item(), rel=1e-4, abs=1e-6)
    assert state["spread"] == pytest.approx(((real.var() + fake.var()) / 2).sqrt().item(), rel=0.02)


def test_weights_are_clipped_after_every_step():
    trained = training("wgan-clip", clip=0.02)
    seen = []
    discriminator = trained.parts.discriminator
    discriminator.register_forward_pre_hook(
        lambda *_: seen.append(max(parameter.abs().max().item() for parameter in discriminator.parameters()))
    )
    trained.train_on_fresh_set(1)
    assert seen[0] > 0.5
    assert seen[1:] == pytest.approx([0.02] * len(seen[1:]))
    assert len(seen) > 8


def test_a_critic_is_trained_without_the_discriminators_own_penalty_and_without_momentum():
    critic, rng = TableCritic(), torch.Generator()
    ids = torch.zeros(2, LENGTH, dtype=torch.int64)
    for name in DISCRIMINATOR_LOSSES:
        penalty = made(name).penalty(critic, ids, ids, rng).item()
        if not name.startswith("wgan"):
            assert penalty == pytest.approx(critic.penalty().item())
        elif name == "wgan-clip":
            assert penalty == 0
        assert (training(name).optimizer.param_groups[0]["betas"][0] == 0) == name.startswith("wgan")


@pytest.mark.parametrize(
    ("name", "option"), [("wgan-gp", {"weight": 0.0}), ("wgan-gp", {"weight": math.nan}), ("wgan-clip", {"clip": -1.0})]
)
def test_options_that_mean_nothing_are_refused_by_name(name, option):
    with pytest.raises(UsageError, match=rf"loss\.{next(iter(option))} must be above 0"):
        made(name, **option)


@pytest.mark.parametrize("name", DISCRIMINATOR_LOSSES)
def test_a_resumed_run_equals_one_that_never_stopped(name, tiny_experiment, tmp_path):
    def kept(directory):
        log = [{**line, "seconds": 0} for line in run_directory.read_log(directory)]
        files = sorted((directory / run_directory.CHECKPOINTS).rglob("*.*"))
        return log, {str(file.relative_to(directory)): file.read_bytes() for file in files}

    straight = tiny_experiment(tmp_path / "straight", loss={"name": name})
    list(straight)
    state = straight.parts.loss.state_dict()
    assert bool(state) == name.startswith("wgan")
    assert state != made(name).state_dict() or not state
    for k in (3, 5):  # within the discriminator's training, and between two rounds
        stopped = tiny_experiment(tmp_path / f"{k}", loss={"name": name})
        list(itertools.islice(stopped, k))
        list(Experiment.resume(tmp_path / f"{k}"))
        assert kept(tmp_path / f"{k}") == kept(tmp_path / "straight")


def test_a_loss_of_ones_own_derives_from_the_package_s(tiny_experiment, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from seqgan_music.losses import DiscriminatorLoss\n\n\n"
        "class Hinge(DiscriminatorLoss):\n"
        "    def __init__(self, *, margin: float = 1.0):\n        self.margin = margin\n\n"
        "    def loss(self, real, fake):\n"
        "        return (self.margin - real).relu().mean() + (self.margin + fake).relu().mean()\n\n"
        "    def reward(self, score):\n        return score.sigmoid()\n\n\n"
        "class Bare:\n    def loss(self, real, fake): ...\n",
        "utf-8",
    )
    settings = {"loss": {"name": f"{file}:Hinge", "margin": 0.5}, "algorithm": {"rounds": 1}}
    experiment = tiny_experiment(tmp_path / "run", **settings)
    assert experiment.parts.loss.margin == 0.5
    assert len(list(experiment)) == 5
    with pytest.raises(UsageError, match=r"Bare' is no class derived from seqgan_music\.losses\.DiscriminatorLoss"):
        tiny_experiment(tmp_path / "other", loss={"name": f"{file}:Bare"})
