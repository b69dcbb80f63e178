import math

import pytest
import torch

from seqgan_music import registry
from seqgan_music.errors import UsageError
from seqgan_music.losses import BinaryCrossEntropy
from seqgan_music.objectives import OBJECTIVES
from seqgan_music.objectives.intervals import Melodicity, RatioOfSteps, Tonality
from seqgan_music.rewards import Reward
from seqgan_music.tokenizers.grid import GridTokenizer

GRID = GridTokenizer(low=48, high=93)


class Scores(torch.nn.Module):
    """A discriminator whose score is the first token."""

    def forward(self, ids):
        return ids[:, 0].double()


def melody(*pitches):
    return [pitch - 48 + 2 for pitch in pitches]


FIFTHS, STEPS, MIXED = melody(60, 67, 60, 67), melody(60, 62, 63, 65), melody(60, 67, 69, 60)
IDS = torch.tensor([FIFTHS, STEPS, MIXED])
GROUP = torch.zeros(3, dtype=torch.int64)


def reward(lambda_, **weights):
    objectives = {name: (registry.resolve(OBJECTIVES, "objective", name)(), weight) for name, weight in weights.items()}
    return Reward(Scores(), BinaryCrossEntropy(), GRID, objectives, lambda_)


def test_lambda_one_is_the_discriminator_alone():
    plain = Reward(Scores(), BinaryCrossEntropy())
    assert torch.equal(plain(IDS, GROUP, GROUP), IDS[:, 0].double().sigmoid())
    assert torch.equal(reward(1.0, tonality=0.5)(IDS, GROUP, GROUP), plain(IDS, GROUP, GROUP))


def test_the_mixture_is_organs():
    tonality, steps = torch.tensor([1, 0, 1 / 3]), torch.tensor([0, 1, 1 / 3])
    expected = 0.6 * IDS[:, 0].sigmoid() + 0.4 * (3 * tonality + steps) / 4
    found = reward(0.6, tonality=0.75, ratio_of_steps=0.25)(IDS, GROUP, GROUP)
    torch.testing.assert_close(found.float(), expected)


def test_weights_are_relative():
    one, other = reward(0.3, tonality=0.2, melodicity=0.1), reward(0.3, tonality=20, melodicity=10)
    torch.testing.assert_close(one(IDS, GROUP, GROUP), other(IDS, GROUP, GROUP))


def test_lambda_zero_never_asks_the_discriminator():
    naive = reward(0.0, tonality=1.0)
    naive.discriminator.forward = None
    torch.testing.assert_close(naive(IDS, GROUP, GROUP), torch.tensor([1, 0, 1 / 3]))


def test_an_undefined_objective_counts_as_zero_and_is_left_out_of_the_mean():
    one_note = [14, 1, 1, 1]
    organ = reward(0.5, tonality=1.0)
    found = organ(torch.tensor([FIFTHS, one_note]), GROUP[:2], GROUP[:2])
    expected = 0.5 * torch.tensor([FIFTHS[0], 14.0]).sigmoid() + 0.5 * torch.tensor([1.0, 0.0])
    torch.testing.assert_close(found.float(), expected)
    assert organ.means()["tonality"] == 1.0


def test_means_by_name_cover_all_calls_since_the_last():
    organ = reward(0.5, ratio_of_steps=1.0)
    organ(IDS[:1], GROUP[:1], GROUP[:1])
    organ(IDS[1:], GROUP[1:], GROUP[1:])
    means = organ.means()
    assert means["ratio_of_steps"] == pytest.approx((0 + 1 + 1 / 3) / 3)
    assert means["discriminator"] == pytest.approx(IDS[:, 0].sigmoid().mean().item())
    assert organ.means() == {}


@pytest.mark.parametrize(
    ("objective", "values"),
    [(Tonality(), [1, 0, 1 / 3]), (Melodicity(), [1, 0, 2 / 3]), (RatioOfSteps(), [0, 1, 1 / 3])],
)
def test_objectives_of_intervals(objective, values):
    torch.testing.assert_close(objective(GRID.melodies(IDS)), torch.tensor(values, dtype=torch.float32))


def test_unisons_are_in_the_denominator_and_rests_do_not_part_notes():
    ids = torch.tensor([[*melody(60, 60), 0, *melody(67)]])
    assert Tonality()(GRID.melodies(ids)).item() == 0.5


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_every_objective_lies_in_0_to_1_or_is_nan_and_looks_at_one_melody_alone(name):
    objective = registry.resolve(OBJECTIVES, "objective", name)()
    rng = torch.Generator().manual_seed(0)
    ids = torch.randint(0, GRID.vocab_size, (200, 24), generator=rng)
    ids[:5, :] = 1  # never a note
    together = objective(GRID.melodies(ids))
    alone = torch.cat([objective(GRID.melodies(row[None])) for row in ids])
    torch.testing.assert_close(together, alone, equal_nan=True)
    assert together[:5].isnan().all()
    defined = together[~together.isnan()]
    assert len(defined) > 100
    assert ((defined >= 0) & (defined <= 1)).all()
    assert objective.title
    assert objective.description


@pytest.mark.parametrize(
    ("lambda_", "weights", "message"),
    [
        (1.5, {}, "lambda"),
        (-0.1, {"tonality": 1}, "lambda"),
        (math.nan, {"tonality": 1}, "lambda"),
        (0.5, {}, "needs an objective"),
        (0.5, {"tonality": 0.0}, "needs an objective"),
        (0.5, {"tonality": -1.0, "melodicity": 2.0}, "tonality"),
        (0.5, {"tonality": math.nan}, "tonality"),
    ],
)
def test_what_means_nothing_is_refused(lambda_, weights, message):
    with pytest.raises(UsageError, match=message):
        reward(lambda_, **weights)


def test_objectives_need_notes():
    with pytest.raises(UsageError, match="not music"):
        Reward(Scores(), BinaryCrossEntropy(), None, {"tonality": (Tonality(), 1.0)}, 0.5)
