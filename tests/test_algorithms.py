import functools
import itertools
import math

import pytest
import torch

from seqgan_music import checkpoint
from seqgan_music.algorithms import Parts
from seqgan_music.algorithms.pretraining import (
    DiscriminatorTraining,
    MaximumLikelihood,
    generate,
    negative_log_likelihood,
)
from seqgan_music.algorithms.seqgan import SeqGAN
from seqgan_music.dataset import Dataset, Windows
from seqgan_music.discriminators.cnn import CNNDiscriminator
from seqgan_music.errors import UsageError
from seqgan_music.experiment import Experiment
from seqgan_music.generators.lstm import LSTMGenerator
from seqgan_music.losses import BinaryCrossEntropy
from seqgan_music.optimizers import Adam
from seqgan_music.rewards import Reward
from seqgan_music.run import Run

VOCABULARY, LENGTH, START = 9, 8, 8
SMALL = {"batch_size": 16, "discriminator_sets": 1, "discriminator_samples": 32, "rollouts": 2, "rounds": 2}


def counting_language(n, seed):
    """Sequences that count upwards, modulo 8."""
    first = torch.randint(0, 8, (n, 1), generator=torch.Generator().manual_seed(seed))
    ids = (first + torch.arange(LENGTH)) % 8
    return Windows(ids, torch.full((n,), START), torch.arange(n))


def known_score(ids):
    """Share of steps that count upwards."""
    return ((ids[:, 1:] - ids[:, :-1]) % 8 == 1).float().mean().item()


def parts(seed=0, dropout=0.0, d_dropout=0.25):
    data = Dataset(
        counting_language(256, 1), counting_language(64, 2), counting_language(64, 3), VOCABULARY, never=(START,)
    )
    weights = torch.Generator().manual_seed(seed)
    generator = LSTMGenerator(VOCABULARY, data.never, embedding=8, hidden=16, dropout=dropout)
    discriminator = CNNDiscriminator(
        VOCABULARY, LENGTH, embedding=8, filters=[[1, 8], [2, 16], [3, 8]], dropout=d_dropout
    )
    for network in (generator, discriminator):
        network.reset_parameters(weights)
    loss = BinaryCrossEntropy()
    rng = torch.Generator().manual_seed(seed)
    return Parts(generator, discriminator, loss, Reward(discriminator, loss), data, rng)


def weights_of(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()]).clone()


def test_adversarial_training_improves_the_known_score_of_a_toy_language():
    gains = []
    start = torch.full((512,), START)
    for seed in range(2):
        algorithm = SeqGAN(
            parts(seed),
            generator_epochs=6,
            generator_learning_rate=1e-2,
            discriminator_sets=5,
            discriminator_samples=128,
            discriminator_learning_rate=1e-3,
            policy_learning_rate=1e-2,
            rounds=60,
            d_steps=1,
            d_epochs=1,
            rollouts=4,
        )
        for record in algorithm:
            if record.completed and record.phase == "mle":
                before = known_score(generate(algorithm.parts, start))
        gains.append(known_score(generate(algorithm.parts, start)) - before)
    assert min(gains) > 0.1


def test_the_lines_of_algorithm_1_happen_in_its_order(monkeypatch):
    happened = []

    def noting(owner, name, line):
        original = getattr(owner, name)

        def wrapper(*args, **kwargs):
            happened.append(line)
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, wrapper)

    algorithm = SeqGAN(parts(), generator_epochs=1, g_steps=2, d_steps=2, d_epochs=3, **{**SMALL, "rounds": 2})
    noting(algorithm.policy, "update_rollout_policy", "β ← θ")
    noting(algorithm.policy, "generate", "Y ~ G")
    noting(algorithm.policy, "search", "Q")
    noting(algorithm.policy, "update", "θ")
    noting(algorithm.discriminator_training, "train_on_fresh_set", "negatives")
    noting(algorithm.discriminator_training, "train_epoch", "φ")
    for record in algorithm:
        happened.append(record.phase)
    pre = ["mle", "β ← θ", "negatives", "φ", "φ", "φ", "discriminator"]
    one_round = ["Y ~ G", "Q", "θ"] * 2 + ["negatives", "φ", "φ", "φ"] * 2 + ["β ← θ", "adversarial"]
    assert happened == pre + one_round * 2


def test_the_rollout_policy_stands_still_within_a_round_and_follows_at_its_end():
    algorithm = SeqGAN(parts(), generator_epochs=1, policy_learning_rate=0.1, **SMALL)
    records = iter(algorithm)
    next(records)
    next(records)
    seen = []
    search = algorithm.policy.search

    def noting(ids, start):
        seen.append(weights_of(algorithm.policy.rollout_policy))
        return search(ids, start)

    algorithm.policy.search = noting
    mle = weights_of(algorithm.parts.generator)
    next(records)
    assert torch.equal(seen[0], mle)
    theta = weights_of(algorithm.parts.generator)
    assert not torch.equal(theta, mle)
    assert torch.equal(weights_of(algorithm.policy.rollout_policy), theta)


def test_the_rollout_rate_takes_effect():
    algorithm = SeqGAN(parts(), generator_epochs=1, rollout_rate=0.25, policy_learning_rate=0.1, **SMALL)
    records = iter(algorithm)
    next(records)
    next(records)
    old = weights_of(algorithm.policy.rollout_policy)
    next(records)
    theta = weights_of(algorithm.parts.generator)
    torch.testing.assert_close(weights_of(algorithm.policy.rollout_policy), 0.75 * old + 0.25 * theta)


def test_the_generator_moves_in_its_steps_alone_and_the_discriminator_in_its_own():
    algorithm = SeqGAN(parts(), generator_epochs=1, **SMALL)
    theta, phi = weights_of(algorithm.parts.generator), weights_of(algorithm.parts.discriminator)
    ids, start = algorithm.policy.generate()
    values = algorithm.policy.search(ids, start)
    assert torch.equal(weights_of(algorithm.parts.generator), theta)
    algorithm.policy.update(ids, start, values)
    assert not torch.equal(weights_of(algorithm.parts.generator), theta)
    assert torch.equal(weights_of(algorithm.parts.discriminator), phi)
    theta = weights_of(algorithm.parts.generator)
    algorithm.discriminator_training.train_on_fresh_set(1)
    assert torch.equal(weights_of(algorithm.parts.generator), theta)
    assert not torch.equal(weights_of(algorithm.parts.discriminator), phi)


def test_updates_run_in_train_mode_and_everything_else_in_eval_mode(monkeypatch):
    modes = {"forward": set(), "step": set(), "D": set()}

    def note(owner, method, name):
        original = getattr(owner, method)

        def wrapper(self, *args):
            modes[name].add((self.training, torch.is_grad_enabled()))
            return original(self, *args)

        monkeypatch.setattr(owner, method, wrapper)

    note(LSTMGenerator, "forward", "forward")
    note(LSTMGenerator, "step", "step")
    note(CNNDiscriminator, "forward", "D")
    list(SeqGAN(parts(dropout=0.3), generator_epochs=1, **SMALL))
    assert modes["forward"] == {(True, True), (False, False)}, "updates, and the validation likelihood"
    assert modes["step"] == {(False, False)}, "sampling and roll-outs"
    assert modes["D"] == {(True, True), (False, False)}, "updates, and rewards"


def test_a_reward_is_the_same_with_dropout_in_the_discriminator():
    made = parts(d_dropout=0.9)
    ids, start = made.dataset.validation[:8]
    made.discriminator.train()
    assert torch.equal(made.reward(ids, start, start), made.reward(ids, start, start))


def test_real_and_generated_sequences_reach_the_discriminator_in_the_same_form():
    made = parts()
    seen = []
    train_epoch = DiscriminatorTraining.train_epoch

    def noting(self, real, fake):
        seen.append((real, fake))
        return train_epoch(self, real, fake)

    training = DiscriminatorTraining(made, sets=1, epochs=1, samples=32, batch_size=8, learning_rate=1e-3)
    training.train_epoch = noting.__get__(training)
    list(training)
    real, fake = seen[0]
    assert real.shape == fake.shape == (32, LENGTH)
    assert real.dtype == fake.dtype
    assert not (fake == START).any()
    assert not (real == START).any()


def test_the_whole_training_part_can_be_a_set():
    training = DiscriminatorTraining(parts(), sets=1, epochs=1, samples=0, batch_size=8, learning_rate=1e-3)
    sizes = []
    training.train_epoch = lambda real, fake: sizes.append((len(real), len(fake))) or 0.0
    training.train_on_fresh_set(1)
    assert sizes == [(256, 256)]


def test_accuracy_is_the_share_told_right():
    made = parts()
    training = DiscriminatorTraining(made, sets=1, epochs=1, samples=0, batch_size=8, learning_rate=1e-3)
    made.reward.realness = lambda ids: torch.full((len(ids),), 0.9)  # says "real" to everything
    accuracy, fake, _ = training.accuracy()
    assert accuracy == 0.5
    assert fake.shape == (64, LENGTH)


def test_likelihood_training_stops_early_and_keeps_the_best_weights(monkeypatch):
    made = parts()
    scores = iter([3.5, 3.0, 2.0, 2.5, 2.2, 9.9])  # before the first epoch, and after each
    monkeypatch.setattr(
        "seqgan_music.algorithms.pretraining.negative_log_likelihood", lambda *args, **kwargs: next(scores)
    )
    training = MaximumLikelihood(made, epochs=50, patience=2, batch_size=64)
    records, kept = zip(*((record, weights_of(made.generator)) for record in training), strict=True)
    record = records[-1]
    assert record.step == 4
    assert record.completed
    assert (record.of, record.values["nll_validation"]) == (50, 2.2)
    assert torch.equal(weights_of(made.generator), kept[1])


def test_likelihood_training_that_only_makes_it_worse_keeps_the_weights_it_began_with(monkeypatch):
    made = parts()
    before = weights_of(made.generator)
    scores = iter([1.0, 1.5, 1.2])
    monkeypatch.setattr(
        "seqgan_music.algorithms.pretraining.negative_log_likelihood", lambda *args, **kwargs: next(scores)
    )
    records = list(MaximumLikelihood(made, epochs=50, patience=2, batch_size=64))
    assert [record.completed for record in records] == [False, True]
    assert torch.equal(weights_of(made.generator), before)


def test_without_patience_likelihood_training_keeps_the_last_weights(monkeypatch):
    made = parts()
    scores = iter([2.0, 3.0, 4.0, 9.0])  # after each epoch
    monkeypatch.setattr(
        "seqgan_music.algorithms.pretraining.negative_log_likelihood", lambda *args, **kwargs: next(scores)
    )
    training = MaximumLikelihood(made, epochs=4, patience=0, batch_size=64)
    records, kept = zip(*((record, weights_of(made.generator)) for record in training), strict=True)
    assert [record.completed for record in records] == [False, False, False, True]
    assert [record.values["nll_validation"] for record in records] == [2.0, 3.0, 4.0, 9.0]
    assert all(not torch.equal(one, other) for one, other in itertools.pairwise(kept))
    assert torch.equal(weights_of(made.generator), kept[-1])
    assert training.state_dict()["best_weights"] == {}


@pytest.mark.parametrize("after", [1, 3])
def test_resumed_without_patience_equals_uninterrupted(after, tiny_experiment, tmp_path):
    options = {"name": "mle", "epochs": 4, "patience": 0, "learning_rate": 1.0}  # so that the last is not the best
    for directory in ("whole", "resumed"):
        records = iter(tiny_experiment(tmp_path / directory, algorithm=options))
        losses = [record.values["nll_validation"] for record, _ in itertools.islice(records, after)]
        if directory == "resumed":
            del records
            records = iter(Experiment.resume(tmp_path / directory))
        losses += [record.values["nll_validation"] for record, _ in records]
        assert len(losses) == 4
        assert losses[-1] > min(losses)
    whole, resumed = (checkpoint.load(tmp_path / name / "checkpoints/last") for name in ("whole", "resumed"))
    assert torch.equal(whole["parts"]["rng"], resumed["parts"]["rng"])
    for name, weight in whole["parts"]["generator"].items():
        assert torch.equal(weight, resumed["parts"]["generator"][name])
    run = Run(tmp_path / "resumed")
    kept = negative_log_likelihood(run.generator("mle", device="cpu"), run.dataset.validation, run.dataset.pad_id)
    assert kept == pytest.approx(losses[-1], rel=1e-5)


def test_likelihood_training_learns_the_language():
    made = parts()
    list(MaximumLikelihood(made, epochs=40, patience=40, batch_size=32, learning_rate=1e-2))
    # The first token is one of 8; all others follow.
    assert negative_log_likelihood(made.generator, made.dataset.validation, -1) < 1.1 * math.log(8) / LENGTH


def test_the_likelihood_weighs_windows_by_their_tokens():
    made, pad = parts(), 7
    ids = made.dataset.validation.ids.clone()
    ids[::2, 5:] = pad
    windows = Windows(ids, made.dataset.validation.start, made.dataset.validation.piece)
    with torch.no_grad():
        log_prob = made.generator(ids, windows.start).log_softmax(2).gather(2, ids[..., None])[..., 0]
    expected = -log_prob[ids != pad].mean().item()
    assert negative_log_likelihood(made.generator, windows, pad) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"rollouts": -1},
        {"batch_size": 0},
        {"policy_batch_size": 0},
        {"rollout_rate": 0.0},
        {"rollout_rate": 1.5},
        {"policy_learning_rate": -1.0},
        {"baseline": "median"},
        {"baseline": "prefix", "rollouts": 0},
        {"likelihood_steps": -1},
        {"kl": -0.1},
        {"entropy_bonus": -0.1},
    ],
)
def test_options_out_of_range_are_refused_by_name(options):
    with pytest.raises(UsageError, match=rf"algorithm\.{next(iter(options))}"):
        SeqGAN(parts(), **options)


def test_a_policy_step_is_the_same_whatever_part_of_it_is_computed_at_once(monkeypatch):
    weights = []
    for rows in (256, 10):
        monkeypatch.setattr("seqgan_music.algorithms.policy.ROWS_AT_ONCE", rows)
        made = parts(dropout=0.5)
        algorithm = SeqGAN(
            made, policy_batch_size=64, rollouts=1, baseline="prefix", kl=0.5, entropy_bonus=0.1, clip=0.0
        )
        made.generator.output.bias.data += 0.1  # so that there is something to diverge from
        algorithm.policy.optimizer = torch.optim.SGD(made.generator.parameters(), 1.0)
        ids, start = algorithm.policy.generate()
        values = algorithm.policy.update(ids, start, algorithm.policy.search(ids, start))
        weights.append((weights_of(made.generator), values))
    torch.testing.assert_close(weights[0][0], weights[1][0])
    assert weights[0][1] == pytest.approx(weights[1][1])
    assert weights[0][1]["kl"] > 0


def test_the_policy_gradient_is_taken_without_dropout():
    seen = []
    for dropout in (0.0, 0.9):
        made = parts(dropout=dropout)
        algorithm = SeqGAN(made, rollouts=0)
        ids, start = algorithm.policy.generate()
        algorithm.policy.update(ids, start, algorithm.policy.search(ids, start))
        seen.append(weights_of(made.generator))
    assert torch.equal(*seen)


def test_without_roll_outs_every_step_is_worth_what_the_sequence_is():
    made = parts()
    algorithm = SeqGAN(made, policy_batch_size=24, rollouts=0)
    ids, start = algorithm.policy.generate()
    assert ids.shape == (24, LENGTH)
    found = algorithm.policy.search(ids, start)
    torch.testing.assert_close(found, made.reward.realness(ids)[:, None].expand(24, LENGTH))


def test_kl_control_holds_the_policy_to_the_pre_trained_one():
    far = {}
    for kl in (0.0, 30.0):
        algorithm = SeqGAN(parts(), generator_epochs=2, policy_learning_rate=2e-2, kl=kl, **{**SMALL, "rounds": 6})
        for record in algorithm:
            if record.phase == "mle" and record.completed:
                begun = weights_of(algorithm.parts.generator)
        far[kl] = (weights_of(algorithm.parts.generator) - begun).norm().item()
        assert ("kl" in record.values) == (kl > 0)
    assert far[30.0] < 0.7 * far[0.0]


def test_likelihood_steps_in_between_keep_the_likelihood():
    last = {}
    for steps in (0, 2):
        *_, record = SeqGAN(
            parts(), generator_epochs=8, policy_learning_rate=2e-2, likelihood_steps=steps, **{**SMALL, "rounds": 8}
        )
        last[steps] = record.values["nll_validation"]
    assert last[2] < last[0]


def test_a_record_of_a_round_has_every_figure():
    *_, record = SeqGAN(parts(), generator_epochs=1, **SMALL)
    expected = {"g_loss", "d_loss", "d_accuracy", "reward_mean", "reward_std", "entropy", "unique", "nll_validation"}
    assert set(record.values) == expected
    assert all(math.isfinite(value) for value in record.values.values())
    assert record.completed


def adam_trained(first, then):
    """A weight and its state after 10 steps of one Adam and, as when a run is resumed, 10 of another, and whether that
    is fused."""
    rng = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(torch.ones(3, 4))
    optimizer = first([weight], 1e-2)
    for step in range(20):
        if step == 10:
            state = optimizer.state_dict()
            optimizer = then([weight], 5e-2)
            optimizer.load_state_dict(state)
        optimizer.zero_grad()
        (torch.randn(3, 4, generator=rng) @ weight.T).square().sum().backward()
        optimizer.step()
    return weight, optimizer.state_dict()["state"][0], optimizer.param_groups[0]["fused"]


def test_adam_is_that_of_torch():
    fused = functools.partial(torch.optim.Adam, fused=True)
    (ours, state, _), (theirs, expected, _) = adam_trained(Adam, Adam), adam_trained(fused, fused)
    assert torch.equal(ours, theirs)
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    plain, _, _ = adam_trained(torch.optim.Adam, torch.optim.Adam)
    torch.testing.assert_close(ours, plain)


def test_adam_goes_on_fused_from_what_another_version_saved():
    plain, _, _ = adam_trained(torch.optim.Adam, torch.optim.Adam)
    weight, _, is_fused = adam_trained(torch.optim.Adam, Adam)
    torch.testing.assert_close(weight, plain)
    assert is_fused
