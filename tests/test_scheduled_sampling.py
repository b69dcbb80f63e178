"""ω mixes at the stated rate, what is mixed in is the generator's own, and with ω = 1 it is likelihood training."""

import math

import pytest
import torch
from torch import nn

from seqgan_music import checkpoint
from seqgan_music.algorithms import Parts
from seqgan_music.algorithms.pretraining import MaximumLikelihood
from seqgan_music.algorithms.scheduled_sampling import ScheduledSampling
from seqgan_music.dataset import Dataset, Windows
from seqgan_music.errors import UsageError
from seqgan_music.experiment import Experiment
from seqgan_music.generators.lstm import LSTMGenerator
from seqgan_music.losses import BinaryCrossEntropy, likelihood_loss
from seqgan_music.rewards import MeasuredObjectives
from seqgan_music.run import Run

START = 8


def parts(generator, rows=256, length=8, end_id=-1):
    first = torch.randint(0, 8, (rows, 1), generator=torch.Generator().manual_seed(1))
    windows = Windows((first + torch.arange(length)) % 8, torch.full((rows,), START), torch.arange(rows))
    data = Dataset(windows, windows, windows, 9, end_id, -1, never=(START,))
    rng = torch.Generator().manual_seed(5)
    return Parts(generator, None, BinaryCrossEntropy(), MeasuredObjectives(), data, rng)


def lstm(dropout=0.0):
    made = LSTMGenerator(9, (START,), embedding=8, hidden=16, dropout=dropout)
    made.reset_parameters(torch.Generator().manual_seed(3))
    return made


class Known(nn.Module):
    """Logits (V,) that depend on nothing; or, if `counts`, the token after the last one, for certain."""

    def __init__(self, logits=None, *, counts=False):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(9) if logits is None else logits)
        self.counts = counts

    def start(self, batch):
        return None

    def step(self, ids, state):
        assert not self.training
        assert not torch.is_grad_enabled()
        if self.counts:
            return torch.where(nn.functional.one_hot((ids + 1) % 9, 9) > 0, 0.0, -torch.inf), None
        return self.logits.expand(len(ids), 9).clone(), None


def of_omega(made, omega, **options):
    return ScheduledSampling(made, omega_start=omega, **options)


@pytest.mark.parametrize("omega", [0.0, 0.3, 0.7, 0.95])
def test_inputs_are_the_true_tokens_at_the_stated_rate(omega):
    made = parts(Known(torch.full((9,), -torch.inf).index_fill(0, torch.tensor([8]), 0.0)), rows=4000)  # always 8
    ids, start = made.dataset.train[:]
    read = of_omega(made, omega).mixed(ids, start)
    replaced = read == 8
    assert torch.equal(read[~replaced], ids[~replaced])
    n = replaced[:, :-1].numel()
    assert abs(replaced[:, :-1].sum() - (1 - omega) * n) <= 3 * math.sqrt(n * omega * (1 - omega))
    assert torch.equal(read[:, -1], ids[:, -1]), "which is no input"
    by_step = replaced[:, :-1].float().mean(0)
    assert (by_step - (1 - omega)).abs().max() <= 4 * math.sqrt(omega * (1 - omega) / 4000), "at every step"


def test_what_is_mixed_in_is_drawn_from_the_generator():
    probability = torch.tensor([0.4, 0.3, 0.2, 0.1, 0, 0, 0, 0, 0])
    made = parts(Known(probability.log()), rows=4000)
    ids, start = made.dataset.train[:]
    read = of_omega(made, 0.0).mixed(ids, start)[:, :-1]
    n = read.numel()
    found = torch.bincount(read.flatten(), minlength=9)
    assert ((found - n * probability).abs() <= 4 * (n * probability * (1 - probability)).sqrt()).all()


def test_it_is_drawn_given_the_inputs_before_it_mixed_ones_among_them():
    made = parts(Known(counts=True), rows=2000)
    ids = torch.zeros(2000, 8, dtype=torch.int64)
    read = of_omega(made, 0.5).mixed(ids, torch.full((2000,), START))
    before = torch.cat([torch.full((2000, 1), START), read[:, :-2]], 1)
    assert ((read[:, :-1] == 0) | (read[:, :-1] == (before + 1) % 9)).all()
    assert (read == 5).any(), "five in a row that are its own"


def test_end_is_never_read():
    made = parts(Known(), rows=2000, end_id=3)
    ids = torch.zeros(2000, 8, dtype=torch.int64)
    read = of_omega(made, 0.0).mixed(ids, torch.full((2000,), START))[:, :-1]
    found = torch.bincount(read.flatten(), minlength=9)
    assert found[3] == 0
    assert (found[[0, 1, 2, 4, 5, 6, 7, 8]] > 0).all()


def test_the_targets_are_the_true_tokens():
    made = parts(lstm(), rows=64)
    twin = parts(lstm(), rows=64)
    rows = torch.randperm(64, generator=twin.rng)
    ids, start = twin.dataset.train[rows]
    read = of_omega(twin, 0.0).mixed(ids, start)
    assert (read != ids).any()
    expected = likelihood_loss(twin.generator(read, start), ids, -1).item()
    record = next(iter(of_omega(made, 0.0, epochs=1, batch_size=64)))
    assert record.values["g_loss"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_with_omega_one_it_is_likelihood_training_tensor_for_tensor(dropout):
    one, other = parts(lstm(dropout)), parts(lstm(dropout))
    options = {"epochs": 4, "batch_size": 32, "learning_rate": 1e-2}
    first = list(MaximumLikelihood(one, **options, patience=4))
    second = list(ScheduledSampling(other, **options, omega_decay=0.0))
    assert [record.values for record in first] == [
        {name: value for name, value in record.values.items() if name != "omega"} for record in second
    ]
    for name, weight in one.generator.state_dict().items():
        assert torch.equal(weight, other.generator.state_dict()[name])
    assert torch.equal(one.rng.get_state(), other.rng.get_state())


def test_omega_falls_by_its_decay_to_the_least():
    records = list(ScheduledSampling(parts(lstm(), rows=32), epochs=5, omega_decay=0.2, omega_least=0.5))
    assert [record.values["omega"] for record in records] == pytest.approx([1.0, 0.8, 0.6, 0.5, 0.5])
    assert [record.phase for record in records] == ["mle"] * 5
    assert [record.completed for record in records] == [False] * 4 + [True]
    assert next(iter(ScheduledSampling(parts(lstm(), rows=32)))).values["omega"] == 1


def test_the_last_weights_are_kept_though_others_fit_better():
    made = parts(lstm())
    seen = [
        (record.values["nll_validation"], {n: w.clone() for n, w in made.generator.state_dict().items()})
        for record in ScheduledSampling(made, epochs=8, learning_rate=0.3, omega_decay=0.14)
    ]
    assert seen[-1][0] > min(nll for nll, _ in seen)
    for name, weight in made.generator.state_dict().items():
        assert torch.equal(weight, seen[-1][1][name])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"omega_start": 1.5}, "are probabilities, the first not above the second; not 0.0 and 1.5"),
        ({"omega_least": -0.1}, "are probabilities"),
        ({"omega_start": 0.4, "omega_least": 0.6}, "not 0.6 and 0.4"),
        ({"omega_decay": -0.1}, "omega_decay must be 0 or more"),
        ({"epochs": 0}, "epochs must be above 0"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, says):
    with pytest.raises(UsageError, match=says):
        ScheduledSampling(parts(lstm()), **options)


OPTIONS = {"name": "scheduled_sampling", "epochs": 3, "batch_size": 32, "learning_rate": 1e-2, "omega_decay": 0.3}


@pytest.fixture(scope="module")
def finished(tiny_experiment, tmp_path_factory):
    directory = tmp_path_factory.mktemp("scheduled sampling") / "run"
    for _ in tiny_experiment(directory, algorithm=OPTIONS):
        pass
    return directory


def test_a_run_of_it_generates_from_the_stage_mle(finished):
    run = Run(finished)
    assert run.stages == ["mle"]
    assert len(run.generate(2)) == 2
    last = checkpoint.load(finished / "checkpoints" / "last")["parts"]
    assert "discriminator" not in last
    for name, weight in checkpoint.load(finished / "checkpoints" / "mle")["generator"].items():
        assert torch.equal(weight, last["generator"][name])


@pytest.mark.parametrize("after", [1, 2])
def test_resumed_equals_uninterrupted(after, finished, tiny_experiment, tmp_path):
    records = iter(tiny_experiment(tmp_path / "run", algorithm=OPTIONS))
    for _ in range(after):
        next(records)
    del records
    resumed = [record.values["omega"] for record, _ in Experiment.resume(tmp_path / "run")]
    assert resumed == pytest.approx([1.0, 0.7, 0.4][after:])
    one, other = (checkpoint.load(directory / "checkpoints" / "last") for directory in (finished, tmp_path / "run"))
    for name, weight in one["parts"]["generator"].items():
        assert torch.equal(weight, other["parts"]["generator"][name])
    assert torch.equal(one["parts"]["rng"], other["parts"]["rng"])


@pytest.mark.parametrize("least", [0.0, 0.7])
def test_what_is_clocked_is_an_epoch_that_draws(least, tiny_experiment, tmp_path, monkeypatch):
    from seqgan_music.timing import Timer

    drawn = []
    mixed = ScheduledSampling.mixed

    def noted(self, ids, start):
        drawn.append(self.omega)
        return mixed(self, ids, start)

    made = tiny_experiment(tmp_path / "run", algorithm={**OPTIONS, "omega_least": least})
    monkeypatch.setattr(ScheduledSampling, "mixed", noted)
    timer = Timer()
    assert timer(made.settings, made.closeness.tokenizer, made.parts.dataset) == made.settings
    assert set(drawn) == {0.5}
    assert timer.estimate.counts == {"mle": 3}
