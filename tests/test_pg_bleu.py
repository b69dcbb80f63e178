"""The reward is NLTK's BLEU against the whole training part; no discriminator; everything else is policy gradient."""

import math

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from seqgan_music_cli.main import main

from seqgan_music import building, checkpoint, rewards, run_settings
from seqgan_music.algorithms import Parts
from seqgan_music.algorithms.pg_bleu import PgBleu
from seqgan_music.dataset import Dataset, Windows
from seqgan_music.errors import UsageError
from seqgan_music.experiment import Experiment
from seqgan_music.generators.lstm import LSTMGenerator
from seqgan_music.losses import BinaryCrossEntropy
from seqgan_music.metrics.bleu import References
from seqgan_music.rewards import BleuReward, MeasuredObjectives
from seqgan_music.run import Run
from seqgan_music.run_directory import read_log

SMOOTHING = SmoothingFunction().method1
START = 8


def dataset(ids, *, end_id=-1, pad_id=-1, vocab_size=9):
    windows = Windows(ids, torch.full((len(ids),), START), torch.arange(len(ids)))
    return Dataset(windows, windows, windows, vocab_size, end_id, pad_id, never=(START,))


def reward_of(data, n=4):
    return BleuReward(data, n, MeasuredObjectives())


def scored(reward, ids):
    """Rewards in double precision, as they were counted."""
    torch.set_default_dtype(torch.float64)
    try:
        return reward(ids, torch.zeros(len(ids), dtype=torch.int64), torch.zeros(len(ids), dtype=torch.int64)).numpy()
    finally:
        torch.set_default_dtype(torch.float32)


def nltk(ids, references, n, stops=()):
    """Of each row, up to the first of `stops`."""

    def words(row):
        ends = [at for at, token in enumerate(row) if token in stops]
        return row[: ends[0]] if ends else row

    known = [words(row) for row in references.tolist()]
    weights = (1 / n,) * n
    return [sentence_bleu(known, words(row), weights, SMOOTHING) for row in ids.tolist()]


@pytest.mark.parametrize("n", [1, 2, 4])
def test_the_reward_of_tokens_is_nltks_bleu(n):
    rng = torch.Generator().manual_seed(0)
    train = torch.randint(0, 6, (40, 10), generator=rng)
    ids = torch.randint(0, 7, (60, 10), generator=rng)
    ids[0] = train[7]
    found = scored(reward_of(dataset(train), n), ids)
    np.testing.assert_allclose(found, nltk(ids, train, n), rtol=0, atol=1e-12)
    assert found[0] == 1


def test_the_reward_of_windows_of_midi_is_nltks_bleu_of_the_tokens_before_end(tiny_run):
    data = tiny_run.dataset
    real, _ = data.validation[:12]
    rng = torch.Generator().manual_seed(2)
    ids = torch.cat([real, data.train[torch.randperm(len(data.train), generator=rng)[:12]][0]])
    ends = torch.arange(2, 14)
    for row, end in enumerate(ends):  # as sequences that ended there
        ids[row, end] = data.end_id
        ids[row, end + 1 :] = data.pad_id
    assert (data.train.ids == data.end_id).any(), "some references end too"
    found = scored(reward_of(data), ids)
    expected = nltk(ids, data.train.ids, 4, stops=(data.end_id, data.pad_id))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert found[-1] == 1
    assert 0 < found[0] < 1


def test_a_sequence_without_a_token_is_worth_nothing():
    data = dataset(torch.tensor([[1, 2, 3, 6]]), end_id=6, pad_id=7)
    found = scored(reward_of(data), torch.tensor([[6, 7, 7, 7], [1, 2, 3, 6]]))
    assert found.tolist() == [0.0, 1.0 * nltk(torch.tensor([[1, 2, 3]]), torch.tensor([[1, 2, 3]]), 4)[0]]


def test_references_are_counted_at_the_first_use_and_once(monkeypatch):
    made = []
    monkeypatch.setattr(rewards, "References", lambda *how: made.append(how) or References(*how))
    reward = reward_of(dataset(torch.zeros(3, 5, dtype=torch.int64)))
    assert not made
    for _ in range(2):
        scored(reward, torch.ones(4, 5, dtype=torch.int64))
    assert len(made) == 1


def test_the_mean_is_of_every_sequence_since_the_last_call():
    reward = reward_of(dataset(torch.tensor([[1, 2, 3, 4, 5]])))
    first = scored(reward, torch.tensor([[1, 2, 3, 4, 5], [5, 4, 3, 2, 1]]))
    second = scored(reward, torch.tensor([[1, 2, 3, 3, 3]]))
    assert reward.means() == {"reward_bleu": pytest.approx(np.concatenate([first, second]).mean())}
    third = scored(reward, torch.tensor([[1, 2, 5, 4, 5]]))
    assert reward.means() == {"reward_bleu": pytest.approx(third.mean())}


def counting(rollouts, **options):
    first = torch.randint(0, 8, (256, 1), generator=torch.Generator().manual_seed(1))
    data = dataset((first + torch.arange(8)) % 8)
    generator = LSTMGenerator(9, data.never, embedding=8, hidden=16)
    generator.reset_parameters(torch.Generator().manual_seed(0))
    rng = torch.Generator().manual_seed(0)
    made = Parts(generator, None, BinaryCrossEntropy(), MeasuredObjectives(), data, rng)
    return PgBleu(made, generator_epochs=2, rollouts=rollouts, policy_learning_rate=2e-2, **options)


@pytest.mark.parametrize("rollouts", [0, 4])
def test_the_policy_learns_what_is_paid(rollouts):
    algorithm = counting(rollouts, rounds=25, baseline="mean", normalize_advantage=True)
    records = [record for record in algorithm if record.phase == "adversarial"]
    first, last = (np.mean([record.values["reward_mean"] for record in part]) for part in (records[:3], records[-3:]))
    assert last > first + 0.15
    for record in records:
        assert {"g_loss", "entropy", "unique", "nll_validation", "reward_bleu"} <= record.values.keys()
        if not rollouts:
            assert record.values["reward_bleu"] == pytest.approx(record.values["reward_mean"], abs=1e-6)


def test_action_values_are_bleu_of_what_the_prefixes_are_completed_to(monkeypatch):
    algorithm = counting(3, policy_batch_size=4)
    ids, start = algorithm.policy.generate()
    paid, call = [], BleuReward.__call__
    monkeypatch.setattr(BleuReward, "__call__", lambda self, ids, *rest: paid.append(ids) or call(self, ids, *rest))
    values = algorithm.policy.search(ids, start)
    whole, lanes = paid
    assert torch.equal(whole, ids)
    by_prefix = lanes.view(7, 3, 4, 8)
    for t, completions in enumerate(by_prefix, 1):
        assert torch.equal(completions[..., :t], ids[:, :t].expand(3, 4, t))
    known = algorithm.parts.dataset.train.ids
    expected = np.array(nltk(lanes, known, 4)).reshape(7, 3, 4).mean(1)
    np.testing.assert_allclose(values.t(), np.vstack([expected, nltk(ids, known, 4)]), rtol=1e-5)


def test_its_n_must_be_one_or_more():
    with pytest.raises(UsageError, match="bleu_n must be at least 1, not 0"):
        counting(0, bleu_n=0)


OPTIONS = {"algorithm": {"name": "pg_bleu"}, "objectives": {"tonality": 1.0}}


@pytest.fixture(scope="module")
def finished(tiny_experiment, tmp_path_factory):
    directory = tmp_path_factory.mktemp("pg bleu") / "run"
    for _ in tiny_experiment(directory, **OPTIONS):
        pass
    return directory


def test_a_run_has_no_discriminator_and_pays_no_objective(finished):
    run = Run(finished)
    assert [line["phase"] for line in read_log(finished)] == ["mle", "mle", "adversarial", "adversarial"]
    last = read_log(finished)[-1]
    assert {"reward_bleu", "objective_tonality", "distance_validation"} <= last.keys()
    assert not {"d_loss", "d_accuracy", "reward_tonality", "reward_discriminator"} & last.keys()
    assert run.stages == ["mle", "adversarial", "best"], "it is not steered away from real music"
    assert run.settings["reward"] == run_settings.DEFAULTS["reward"]
    assert run.settings["algorithm"]["rollouts"] == 2, "shared with what the settings had before"
    assert not building.has_discriminator(run.settings)
    assert "discriminator" not in checkpoint.load(finished / "checkpoints" / "last")["parts"]
    with pytest.raises(UsageError, match="has no trained discriminator"):
        run.generate(1, best_of=2)


@pytest.mark.parametrize("after", [1, 3])
def test_resumed_equals_uninterrupted(after, finished, tiny_experiment, tmp_path):
    records = iter(tiny_experiment(tmp_path / "run", **OPTIONS))
    for _ in range(after):
        next(records)
    del records
    for _ in Experiment.resume(tmp_path / "run"):
        pass
    one, other = (checkpoint.load(directory / "checkpoints" / "last") for directory in (finished, tmp_path / "run"))
    for name, weight in one["parts"]["generator"].items():
        assert torch.equal(weight, other["parts"]["generator"][name])
    assert torch.equal(one["parts"]["rng"], other["parts"]["rng"])
    for before, again in zip(read_log(finished), read_log(tmp_path / "run"), strict=True):
        assert {name: value for name, value in before.items() if name != "seconds"} == {
            name: value for name, value in again.items() if name != "seconds"
        }


def test_all_rewards_are_numbers_in_the_unit_interval(tiny_run):
    data = tiny_run.dataset
    noise = torch.randint(0, data.vocab_size, (500, data.length), generator=torch.Generator().manual_seed(0))
    found = scored(reward_of(data), noise)
    assert found.min() >= 0
    assert found.max() <= 1
    assert not any(map(math.isnan, found))


@pytest.mark.parametrize(
    ("words", "note"),
    [
        ([], None),
        (["-O", "tonality"], "is not paid by objectives; they are only measured, and [reward] has no say"),
        (["--lambda", "0.5"], "is not paid by objectives, and [reward] has no say"),
    ],
)
def test_the_command_says_what_has_no_say(words, note, few_tunes, tmp_path):
    sizes = ["data.length=16", "generator.hidden=8", "algorithm.generator_epochs=1", "algorithm.rounds=1"]
    sizes = [word for size in [*sizes, "algorithm.policy_batch_size=16"] for word in ("-s", size)]
    words = ["train", str(few_tunes), "-a", "pg_bleu", "-o", str(tmp_path / "run"), "--no-evaluate", *sizes, *words]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.stderr
    assert (f"note: algorithm pg_bleu {note}\n" in done.stderr) if note else ("note:" not in done.stderr)
    assert "adversarial   1/1" in done.stderr
