import math

import pytest
import torch
from torch import nn

from seqgan_music import checkpoint, run_directory
from seqgan_music.algorithms import Parts
from seqgan_music.algorithms.pretraining import generate
from seqgan_music.algorithms.random import Random
from seqgan_music.dataset import Dataset, Windows
from seqgan_music.errors import UsageError
from seqgan_music.experiment import Experiment
from seqgan_music.generators.lstm import LSTMGenerator
from seqgan_music.losses import BinaryCrossEntropy
from seqgan_music.rewards import MeasuredObjectives
from seqgan_music.run import Run
from seqgan_music.timing import Timer

END, PAD, START = 6, 7, 8


def parts(generator):
    ids = torch.tensor([[0, 1, 2, END, PAD], [3, 3, 3, 3, 3]])
    windows = Windows(ids, torch.full((2,), START), torch.arange(2))
    data = Dataset(windows, windows, windows, 9, END, PAD, never=(PAD, START))
    rng = torch.Generator().manual_seed(0)
    return Parts(generator, None, BinaryCrossEntropy(), MeasuredObjectives(), data, rng)


def lstm(**options):
    made = LSTMGenerator(9, (PAD, START), embedding=4, hidden=6, **options)
    made.reset_parameters(torch.Generator().manual_seed(3))
    return made


@pytest.mark.parametrize("options", [{}, {"layers": 2, "dropout": 0.5}, {"lookback": [1, 3]}])
def test_every_token_that_may_be_drawn_is_equally_likely(options):
    made = parts(lstm(**options))
    (record,) = Random(made)
    assert (record.phase, record.step, record.of, record.completed) == ("random", 1, 1, True)
    assert record.values == {"nll_validation": pytest.approx(math.log(7))}
    ids = generate(made, torch.full((4000,), START))
    first = torch.bincount(ids[:, 0], minlength=9)
    expected = torch.tensor([4000 / 7] * 7 + [0, 0])
    assert (first - expected).abs().max() < 4 * (4000 * 6 / 49) ** 0.5
    assert first[PAD] == first[START] == 0


class Biased(nn.Module):
    """Prefers its first token, whatever its weights."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(9))

    def forward(self, ids, start):
        return (self.weight + torch.eye(9)[0]).expand(*ids.shape, 9)


def test_a_generator_that_cannot_be_made_uniform_is_refused():
    with pytest.raises(UsageError, match="Biased still prefers some tokens to others; take a generator"):
        list(Random(parts(Biased())))


@pytest.fixture
def finished(tiny_experiment, tmp_path):
    made = tiny_experiment(tmp_path / "run", algorithm={"name": "random"}, objectives={"tonality": 1.0})
    records = [record for record, _ in made]
    assert len(records) == 1
    assert {"bleu_4_validation", "distance_validation", "seconds"} <= records[0].values.keys()
    return tmp_path / "run"


def test_a_run_of_it_has_one_stage_which_generates_and_is_measured(finished):
    run = Run(finished)
    assert run.stages == ["random"]
    assert len(run.generate(3)) == 3
    values = run.evaluate(samples=16).rows
    drawable = run.dataset.vocab_size - len(run.dataset.never)
    assert values["random"]["nll"] == pytest.approx(math.log(drawable), rel=1e-5)
    assert not any(weight.any() for weight in run.generator().parameters())
    assert run_directory.stage_weights(finished, "random").keys() == {"generator"}


def test_resumed_it_is_done(finished):
    before = checkpoint.load(finished / "checkpoints" / "last")
    assert before["algorithm"] == {"completed": True}
    again = Experiment.resume(finished)
    assert again.algorithm.state_dict() == {"completed": True}
    assert list(again) == []
    assert len(run_directory.read_log(finished)) == 1


def test_it_is_timed_though_no_option_counts_its_records(tiny_experiment, tmp_path):
    made = tiny_experiment(tmp_path / "run", algorithm={"name": "random"})
    for timer in (Timer(), Timer(1.0)):
        settings = timer(made.settings, made.closeness.tokenizer, made.parts.dataset)
        assert settings == made.settings
        assert timer.estimate.counts == {"random": 1}
        assert "1 random generator 0:00" in str(timer.estimate)
