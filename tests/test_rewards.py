import math

import pytest
import torch

from seqgan_music import dataset, registry, rewards
from seqgan_music.dataset import Dataset, Windows
from seqgan_music.errors import UsageError
from seqgan_music.losses import BinaryCrossEntropy
from seqgan_music.objectives import OBJECTIVES, terms
from seqgan_music.objectives.intervals import Melodicity, RatioOfSteps, Tonality
from seqgan_music.rewards import Reward, check_rounds, uniqueness
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
    objectives = {text: (terms.read(text), weight) for text, weight in weights.items()}
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


def test_an_undefined_objective_counts_as_zero():
    one_note = [14, 1, 1, 1]
    organ = reward(0.5, tonality=1.0)
    found = organ(torch.tensor([FIFTHS, one_note]), GROUP[:2], GROUP[:2])
    expected = 0.5 * torch.tensor([FIFTHS[0], 14.0]).sigmoid() + 0.5 * torch.tensor([1.0, 0.0])
    torch.testing.assert_close(found.float(), expected)
    assert organ.means()["reward_tonality"] == 0.5, "what was paid"


def test_means_by_name_cover_all_calls_since_the_last():
    organ = reward(0.5, ratio_of_steps=1.0)
    organ(IDS[:1], GROUP[:1], GROUP[:1])
    organ(IDS[1:], GROUP[1:], GROUP[1:])
    means = organ.means()
    assert means["reward_ratio_of_steps"] == pytest.approx((0 + 1 + 1 / 3) / 3)
    assert means["reward_discriminator"] == pytest.approx(IDS[:, 0].sigmoid().mean().item())
    assert organ.means() == {}


def test_without_objectives_there_are_no_means():
    plain = Reward(Scores(), BinaryCrossEntropy())
    plain(IDS, GROUP, GROUP)
    assert plain.means() == {}


@pytest.mark.parametrize("lambda_", [0.0, 0.5, 1.0])
def test_objectives_are_measured_by_their_own_values_whatever_they_pay(lambda_):
    one_note = [14, 1, 1, 1]
    made = reward(lambda_, **{"tonality~0.5": 1.0, "ratio_of_steps": 0.0})
    found = made.measure(torch.tensor([FIFTHS, STEPS, one_note]), GROUP)
    expected = {
        "objective_tonality~0.5": 0.5,
        "undefined_tonality~0.5": 1 / 3,
        "objective_ratio_of_steps": 0.5,
        "undefined_ratio_of_steps": 1 / 3,
    }
    assert found == pytest.approx(expected)


def test_a_wish_is_paid_by_how_near_it_is():
    found = reward(0.0, **{"tonality>=0.5": 1.0})(IDS, GROUP, GROUP)
    torch.testing.assert_close(found, torch.tensor([1.0, 0.0, 2 / 3]))


def brute_uniqueness(ids, group):
    rows = [(g, *row) for g, row in zip(group.tolist(), ids.tolist(), strict=True)]
    found = []
    for row in rows:
        batch = [other for other in rows if other[0] == row[0]]
        found.append(len(set(batch)) / len(batch) / batch.count(row))
    return torch.tensor(found)


def test_uniqueness_is_the_share_of_different_ones_over_the_copies_in_each_batch():
    rng = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 2, (60, 3), generator=rng)
    group = torch.randint(0, 5, (60,), generator=rng)
    torch.testing.assert_close(uniqueness(ids, group), brute_uniqueness(ids, group))
    permuted = torch.tensor([[1, 2, 3], [3, 2, 1], [2, 1, 3]])
    assert uniqueness(permuted, GROUP).tolist() == [1, 1, 1], "the order of tokens matters"


def test_uniqueness_multiplies_the_whole_reward_and_works_without_objectives():
    ids, group = torch.tensor([FIFTHS, FIFTHS, STEPS, FIFTHS]), torch.tensor([0, 0, 0, 1])
    plain = Reward(Scores(), BinaryCrossEntropy())(ids, group, group)
    found = Reward(Scores(), BinaryCrossEntropy(), uniqueness=True)(ids, group, group)
    torch.testing.assert_close(found, plain * torch.tensor([1 / 3, 1 / 3, 2 / 3, 1.0], dtype=plain.dtype))


def test_rescaling_stretches_what_an_objective_pays_within_its_batch():
    ids = torch.tensor([FIFTHS, STEPS, MIXED, MIXED, STEPS, MIXED, MIXED])
    group = torch.tensor([0, 0, 0, 1, 1, 2, 2])
    objectives = {"tonality": (terms.read("tonality"), 1.0)}
    found = Reward(None, BinaryCrossEntropy(), GRID, objectives, 0.0, rescale="batch")(ids, group, group)
    torch.testing.assert_close(found, torch.tensor([1, 0, 1 / 3, 1, 0, 1 / 3, 1 / 3]))


def test_what_looks_at_a_batch_does_not_depend_on_how_many_batches_are_scored_at_once():
    rng = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 8, (40, 6), generator=rng)
    group = torch.arange(10).repeat_interleave(4)
    objectives = {"ratio_of_steps": (terms.read("ratio_of_steps"), 1.0)}
    made = Reward(Scores(), BinaryCrossEntropy(), GRID, objectives, 0.5, rescale="batch", uniqueness=True)
    together = made(ids, group, group)
    apart = [made(ids[rows], group[rows] - group[rows[0]], group[rows]) for rows in torch.arange(40).split(8)]
    torch.testing.assert_close(together, torch.cat(apart))


@pytest.mark.parametrize("rescale", ["none", "batch"])
def test_so_many_melodies_are_read_at_once(rescale, monkeypatch):
    rng = torch.Generator().manual_seed(0)
    ids, group = torch.randint(0, 8, (40, 6), generator=rng), torch.arange(10).repeat_interleave(4)
    objectives = {"ratio_of_steps": (terms.read("ratio_of_steps"), 1.0), "tonality": (terms.read("tonality"), 0.5)}
    made = Reward(Scores(), BinaryCrossEntropy(), GRID, objectives, 0.5, rescale=rescale)
    expected, means = made(ids, group, group), made.means()
    sizes, read = [], GRID.melodies
    monkeypatch.setattr(GRID, "melodies", lambda rows, start: sizes.append(len(rows)) or read(rows, start))
    monkeypatch.setattr(rewards, "MELODIES_AT_ONCE", 7)
    assert torch.equal(made(ids, group, group), expected)
    assert made.means() == pytest.approx(means)
    assert sizes == [7, 7, 7, 7, 7, 5]


def test_lambda_follows_its_schedule():
    objectives = {"tonality": (terms.read("tonality"), 1.0)}
    made = Reward(Scores(), BinaryCrossEntropy(), GRID, objectives, lambda_schedule=[[2, 1.0], [6, 0.5]])
    found = []
    for number in (0, 2, 3, 4, 6, 9):
        made.begin_round(number)
        found.append(made.lambda_)
        only = made(IDS, GROUP, GROUP)
        torch.testing.assert_close(only, reward(made.lambda_, tonality=1.0)(IDS, GROUP, GROUP))
    assert found == [1.0, 1.0, 0.875, 0.75, 0.5, 0.5]


def test_a_programme_pays_one_objective_after_the_other():
    objectives = {name: (terms.read(name), 1.0) for name in ("tonality", "ratio_of_steps")}
    programme = [[2, ["tonality"]], [1, ["ratio_of_steps"]], [1, ["ratio_of_steps", "tonality"]]]
    made = Reward(None, BinaryCrossEntropy(), GRID, objectives, 0.0, programme=programme)
    found = []
    for number in range(6):
        made.begin_round(number)
        found.append([round(value, 3) for value in made(IDS, GROUP, GROUP).tolist()])
    assert found == [[1, 0, 0.333]] * 2 + [[0, 1, 0.333]] + [[0.5, 0.5, 0.333]] * 3


def test_real_music_and_noise_are_measured_before_training(tiny_corpus):
    tokenizer = GridTokenizer.fit(tiny_corpus.pieces)
    encoded, _ = dataset.encode(tiny_corpus.pieces, tiny_corpus.names, tokenizer)
    data = dataset.build(encoded, {part: list(encoded) for part in dataset.PARTS}, tokenizer, length=24)
    objectives = {name: (terms.read(name), 1.0) for name in ("ratio_of_steps", "tonality~0.2")}
    made = Reward(None, BinaryCrossEntropy(), tokenizer, objectives, 0.0)
    found = made.on_real_music(data)
    values = RatioOfSteps()(tokenizer.melodies(data.train.ids, data.train.start))
    steps = found["ratio_of_steps"]
    assert steps["real"] == pytest.approx(values.nanmean().item())
    assert steps["undefined"] == pytest.approx(values.isnan().float().mean().item())
    assert steps["real"] > 2 * steps["noise"] > 0, "noise leaps"
    assert found["tonality~0.2"]["real"] == pytest.approx(
        Tonality()(tokenizer.melodies(data.train.ids, data.train.start)).nanmean().item()
    ), "the value itself, not what it pays"
    assert found == made.on_real_music(data)


def test_an_objective_that_no_window_has_a_value_for_is_refused():
    rests = Windows(torch.zeros(20, 8, dtype=torch.int64), torch.full((20,), GRID.vocab_size - 1), torch.arange(20))
    data = Dataset(rests, rests, rests, GRID.vocab_size, GRID.end_id, GRID.pad_id)
    made = reward(0.5, tonality=1.0)
    with pytest.raises(UsageError, match="objective 'tonality' is undefined for all of 20 training windows"):
        made.on_real_music(data)


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
    # Undefined, but for the number of notes, which is 0, and ORGAN's, which say 0 of what begins with a hold.
    assert (together[:5].nan_to_num(0) == 0).all()
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
        (0.5, {"tonality": 0.0}, "all weights of the objectives are 0"),
        (0.5, {"tonality": -1.0, "melodicity": 2.0}, "tonality"),
        (0.5, {"tonality": math.nan}, "tonality"),
    ],
)
def test_what_means_nothing_is_refused(lambda_, weights, message):
    with pytest.raises(UsageError, match=message):
        reward(lambda_, **weights)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rescale": "each"}, "reward.rescale must be one of none, batch"),
        ({"lambda_schedule": [[0, 1.5]]}, "lambda_schedule"),
        ({"lambda_schedule": [[0.5, 1.0]]}, "lambda_schedule"),
        ({"lambda_schedule": [0.5]}, "lambda_schedule"),
        ({"lambda_schedule": [[4, 1.0], [2, 0.5]]}, "ascending"),
        ({"programme": [["tonality", 3]]}, "programme must be pairs"),
        ({"programme": [[0, ["tonality"]]]}, "programme must be pairs"),
        ({"programme": [[3, "tonality"]]}, "programme must be pairs"),
        ({"programme": [[3, [["tonality"]]]]}, "programme must be pairs"),
        ({"programme": [[3, ["tonality", "tonality"]]]}, "programme must be pairs"),
        ({"programme": [[3, ["melodicity"]]]}, "names 'melodicity', which is no objective of this run"),
        ({"programme": [[3, ["cadence"]]]}, "no weight above 0"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, message):
    objectives = {"tonality": (terms.read("tonality"), 1.0), "cadence": (terms.read("tonality"), 0.0)}
    with pytest.raises(UsageError, match=message):
        Reward(Scores(), BinaryCrossEntropy(), GRID, objectives, 0.5, **options)


@pytest.mark.parametrize(
    ("rounds", "schedule", "programme", "message"),
    [
        (8, [[0, 1.0], [8, 0.5]], [], "ends in round 8, counted from 0, but there are 8 rounds"),
        (9, [[0, 1.0], [8, 0.5]], [], None),
        (3, [], [[3, ["tonality"]], [1, ["cadence"]]], "cadence would begin after 3 rounds, but there are 3 rounds"),
        (4, [], [[3, ["tonality"]], [9, ["cadence"]]], None),
        (0, [], [[3, ["tonality"]]], None),
        (0, [], [], None),
    ],
)
def test_what_never_comes_is_refused(rounds, schedule, programme, message):
    if message is None:
        check_rounds(rounds, schedule, programme)
        return
    with pytest.raises(UsageError, match=message):
        check_rounds(rounds, schedule, programme)


def test_what_was_paid_is_noted_as_it_was_paid():
    objectives = {"tonality": (terms.read("tonality"), 1.0)}
    made = Reward(None, BinaryCrossEntropy(), GRID, objectives, 0.0, rescale="batch")
    ids = torch.tensor([MIXED, STEPS])
    found = made(ids, GROUP[:2], GROUP[:2])
    assert made.means() == pytest.approx({"reward_tonality": found.mean().item()})


def test_weights_that_are_all_zero_are_refused_even_where_nothing_is_paid():
    with pytest.raises(UsageError, match="all weights of the objectives are 0"):
        reward(1.0, tonality=0.0)


def test_objectives_need_notes():
    with pytest.raises(UsageError, match="not music"):
        Reward(Scores(), BinaryCrossEntropy(), None, {"tonality": (Tonality(), 1.0)}, 0.5)
