"""The program on a CUDA GPU: recorded or not, it computes the same, and what it computes is what a processor does."""

import copy
import warnings

import pytest
import torch

from seqgan_music import graphs, precision
from seqgan_music.algorithms import Parts
from seqgan_music.algorithms.policy import PolicyTraining
from seqgan_music.algorithms.pretraining import DiscriminatorTraining, MaximumLikelihood, generate, likelihood_epoch
from seqgan_music.dataset import Dataset, Windows
from seqgan_music.discriminators.cnn import CNNDiscriminator
from seqgan_music.errors import SeqganMusicWarning
from seqgan_music.experiment import Experiment
from seqgan_music.generators.lstm import LSTMGenerator
from seqgan_music.graphs import REHEARSALS, Graphs
from seqgan_music.losses import DISCRIMINATOR_LOSSES, BinaryCrossEntropy
from seqgan_music.modes import set_rng
from seqgan_music.registry import resolve
from seqgan_music.rewards import Reward
from seqgan_music.rollout import action_values

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")]

VOCABULARY, LENGTH, END, PAD, BATCH, ROWS = 300, 20, 298, 299, 16, 72


@pytest.fixture(autouse=True)
def exact():
    with precision.in_force("float32", torch.device("cuda")):
        yield


def parts(device="cuda", *, recorded=True, loss=None, dtype=torch.float32, dropout=0.2):
    weights_rng = torch.Generator().manual_seed(1)
    generator = LSTMGenerator(VOCABULARY, [PAD], embedding=16, hidden=24, dropout=dropout)
    options = {"embedding": 16, "filters": [[1, 16], [3, 16], [20, 8]], "dropout": dropout}
    discriminator = CNNDiscriminator(VOCABULARY, LENGTH, **options)
    rng = torch.Generator(device).manual_seed(2)
    for network in (generator, discriminator):
        network.reset_parameters(weights_rng)
        network.to(device, dtype)
        set_rng(network, rng)
    ids = torch.randint(END, (ROWS, LENGTH), generator=weights_rng)
    windows = Windows(ids, torch.zeros(ROWS, dtype=torch.int64), torch.arange(ROWS))
    data = Dataset(windows, windows, windows, VOCABULARY, end_id=END, pad_id=PAD).to(device)
    loss = loss or BinaryCrossEntropy()
    made = graphs.for_generator(rng) if recorded else Graphs()
    return Parts(generator, discriminator, loss, Reward(discriminator, loss), data, rng, made)


def discriminator_training(made):
    return DiscriminatorTraining(made, sets=1, epochs=1, samples=0, batch_size=BATCH, learning_rate=1e-3)


def policy_training(made, **options):
    how = {"rollout_rate": 1.0, "learning_rate": 1e-3, "baseline": "none", "normalize_advantage": False, "kl": 0.0}
    how |= {"likelihood_steps": 0, "entropy_bonus": 0.0, "clip": 5.0, "memory_budget": 0, "rollouts": 4, **options}
    return PolicyTraining(made, batch_size=BATCH, likelihood_batch_size=BATCH, **how)


def replayed(made):
    """Functions of which there is a recording that is used; nothing may have been given up."""
    recordings = made.graphs._recordings.values()
    assert not any(recording.plain for recording in recordings)
    return sum(recording.replay is not None for recording in recordings)


@pytest.mark.parametrize("memory_budget", [0, 3_000_000])
def test_action_values_are_the_same_recorded(memory_budget):
    found = []
    for recorded in (False, True):
        made = parts(recorded=recorded)
        trained = policy_training(made, memory_budget=memory_budget)
        ids, start = made.dataset.train[slice(BATCH)]
        found.append(torch.stack([trained.search(ids, start) for _ in range(REHEARSALS + 3)]))
        if recorded:
            assert replayed(made) >= 1
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)
    assert not torch.equal(found[0][0], found[0][1]), "every search draws its own"


@pytest.mark.parametrize("name", DISCRIMINATOR_LOSSES)
def test_epochs_of_d_are_the_same_recorded(name):
    found = []
    for recorded in (False, True):
        made = parts(recorded=recorded, loss=resolve(DISCRIMINATOR_LOSSES, "loss", name)())
        trained = discriminator_training(made)
        real = made.dataset.train.ids
        losses = [trained.train_epoch(real, real.flip(1)) for _ in range(REHEARSALS + 3)]
        if recorded:
            assert replayed(made) == 2, "whole batches, and the last one"
        found.append((losses, made.discriminator.state_dict(), made.rng.get_state()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-3, abs=1e-4)
    for name, weight in found[0][1].items():
        torch.testing.assert_close(weight, found[1][1][name], rtol=1e-2, atol=1e-3)
    assert torch.equal(found[0][2], found[1][2]), "both drew as many random numbers"


def test_epochs_of_likelihood_are_the_same_recorded():
    found = []
    for recorded in (False, True):
        made = parts(recorded=recorded)
        optimizer = MaximumLikelihood(made).optimizer
        found.append([likelihood_epoch(made, optimizer, BATCH, 5.0) for _ in range(REHEARSALS + 3)])
        if recorded:
            assert replayed(made) == 2
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    assert found[0][-1] < found[0][0]


def test_a_search_on_a_gpu_equals_one_on_a_processor_draw_for_draw():
    """In float64, from the same uniform numbers."""
    found = []
    for device in ("cpu", "cuda"):
        made = parts(device, recorded=False, dtype=torch.float64)
        ids, start = made.dataset.train[slice(BATCH)]
        with pytest.MonkeyPatch.context() as patch:
            numbers = torch.Generator().manual_seed(7)
            patch.setattr(
                "seqgan_music.rollout.rollout_uniforms",
                lambda batch, length, rollouts, rng, dtype, numbers=numbers, device=device: [
                    torch.rand(s, rollouts, batch, generator=numbers, dtype=dtype).to(device) for s in range(1, length)
                ],
            )
            ends = {"end_id": END, "pad_id": PAD}
            found.append(action_values(made.generator, made.reward, ids, start, 4, made.rng, **ends).cpu())
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-9)


def test_draws_lie_within_the_vocabulary_and_padding_follows_the_end():
    made = parts()
    start = made.dataset.train.start.repeat(50)
    for _ in range(REHEARSALS + 3):
        ids = generate(made, start)
        assert ids.min() >= 0
        assert ids.max() < VOCABULARY
        ended = ((ids == END).cumsum(1) - (ids == END).long()).bool()
        assert (ids[ended] == PAD).all()
        assert not (ids[~ended] == PAD).any()


def test_nothing_waits_for_the_gpu():
    made = parts()
    trained, searched = discriminator_training(made), policy_training(made)
    ids, start = made.dataset.train[slice(BATCH)]
    with warnings.catch_warnings():
        warnings.simplefilter("error", SeqganMusicWarning)  # which would name what waits
        for _ in range(REHEARSALS + 2):
            trained.train_epoch(ids, ids)
            searched.search(ids, start)
            generate(made, start)
    assert replayed(made) >= 3


@pytest.mark.parametrize("name", precision.PRECISIONS)
def test_scores_in_every_precision_are_near_those_of_float64(name):
    made = parts(recorded=False, dropout=0.0)
    ids = made.dataset.train.ids
    expected = copy.deepcopy(made.discriminator).double()(ids).sigmoid()
    precision.apply(name, made.discriminator)
    with torch.no_grad(), precision.in_force(name, torch.device("cuda")):
        found = made.discriminator.eval()(ids).sigmoid()
    assert (found - expected).abs().max() < {"float32": 1e-5, "tf32": 1e-2, "bfloat16": 5e-2}[name]


def test_the_memory_budget_bounds_a_search():
    made = parts(recorded=False)
    trained = policy_training(made, rollouts=64)
    ids, start = made.dataset.train[slice(BATCH)]
    peaks = []
    for budget in (2**24, 2**30):
        trained.memory_budget = budget
        trained.search(ids, start)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        trained.search(ids, start)
        peaks.append(torch.cuda.max_memory_allocated() - before)
    assert peaks[0] < peaks[1]
    uniforms = 4 * 64 * BATCH * LENGTH * LENGTH // 2
    prefixes = 4 * BATCH * LENGTH * 2 * made.generator.floats_per_row
    scoring = 4 * 64 * BATCH * LENGTH * 16 * 8
    assert peaks[0] < 2**25 + uniforms + prefixes + scoring


@pytest.mark.parametrize("recorded", ["1", "0"])
def test_a_run_goes_on_where_it_stopped(tiny_experiment, tmp_path, recorded, monkeypatch):
    monkeypatch.setenv("SEQGAN_MUSIC_GRAPHS", recorded)
    made = tiny_experiment(tmp_path / "run", run={"device": "cuda"}, algorithm={"rounds": 3})
    before = []
    for record, _ in made:
        before.append(record)
        if record.phase == "adversarial":
            break
    state = {name: weight.cpu() for name, weight in made.parts.generator.state_dict().items()}
    resumed = Experiment.resume(tmp_path / "run")
    assert resumed.device.type == "cuda"
    assert all(torch.equal(weight.cpu(), state[name]) for name, weight in resumed.parts.generator.state_dict().items())
    assert torch.equal(resumed.parts.rng.get_state(), made.parts.rng.get_state())
    assert [record.step for record, _ in resumed] == [2, 3]
