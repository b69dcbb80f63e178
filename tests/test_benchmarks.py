from __future__ import annotations

import copy
import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from seqgan_music import losses
from seqgan_music.algorithms import Parts
from seqgan_music.algorithms.pretraining import DiscriminatorTraining, likelihood_epoch
from seqgan_music.dataset import Dataset, Windows
from seqgan_music.discriminators.cnn import CNNDiscriminator
from seqgan_music.generators.lstm import LSTMGenerator
from seqgan_music.losses import BinaryCrossEntropy, policy_gradient_loss, sequence_log_prob
from seqgan_music.rewards import Reward
from seqgan_music.rollout import action_values, rollout_uniforms
from seqgan_music.run import Run
from seqgan_music.sampling import padding_after_end, sample

VOCABULARY, LENGTH, BATCH, ROLLOUTS = 9, 11, 6, 3
START, END, PAD = 6, 7, 8
ENDS = {"end_id": END, "pad_id": PAD}
BUDGETS = [1, 40_000, 2**30]  # one lane's batch at a time, a few prefixes, everything


@pytest.fixture
def textbook(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return benchmark("textbook", monkeypatch)


def benchmark(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A file of benchmarks/, which is not installed."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    return importlib.import_module(name)


def rng(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def networks(dtype: torch.dtype = torch.float64) -> tuple[LSTMGenerator, CNNDiscriminator]:
    generator = LSTMGenerator(VOCABULARY, (START, PAD), embedding=5, hidden=7, layers=2).to(dtype)
    discriminator = CNNDiscriminator(VOCABULARY, LENGTH, embedding=4, filters=[[1, 3], [2, 5], [5, 4], [11, 2]])
    generator.reset_parameters(rng())
    discriminator.to(dtype).reset_parameters(rng())
    return generator.eval(), discriminator.eval()


def sequences(generator: LSTMGenerator) -> tuple[Tensor, Tensor]:
    start = torch.full((BATCH,), START)
    ids = sample(generator, start, LENGTH, rng(5), **ENDS)
    ids[0] = torch.tensor([END] + [PAD] * (LENGTH - 1))
    ids[1, -1] = END
    ids[1, :-1] = torch.arange(LENGTH - 1) % START
    ids[2] = 2
    return ids, start


def spelling(ids: Tensor, group: Tensor, start: Tensor) -> Tensor:
    """A reward that no two sequences share, so that one other draw anywhere changes an action value."""
    place = torch.arange(1, ids.shape[1] + 1, dtype=torch.float64).sqrt()
    return ((ids + 1).double() * place).sum(1).frac()


def rank_in_group(ids: Tensor, group: Tensor, start: Tensor) -> Tensor:
    """A reward that looks at the other sequences of the same roll-out and prefix."""
    score = spelling(ids, group, start)
    mine = group[:, None] == group
    return ((score[:, None] > score) & mine).double().sum(1) / mine.sum(1)


@pytest.mark.parametrize("memory_budget", BUDGETS)
@pytest.mark.parametrize("kind", ["discriminator", "spelling", "rank"])
def test_action_values_equal_the_textbook_draw_for_draw(textbook: ModuleType, kind: str, memory_budget: int) -> None:
    generator, discriminator = networks()
    ids, start = sequences(generator)
    ends_at = (ids == END).int().argmax(1)[(ids == END).any(1)]
    assert ends_at.min() == 0
    assert ends_at.max() == LENGTH - 1
    assert not (ids == END).any(1).all()
    plain = {
        "discriminator": lambda ids, group, start: textbook.discriminator_scores(discriminator, ids).sigmoid(),
        "spelling": spelling,
        "rank": rank_in_group,
    }[kind]
    fast = Reward(discriminator, BinaryCrossEntropy()) if kind == "discriminator" else plain
    uniforms = rollout_uniforms(BATCH, LENGTH, ROLLOUTS, rng(3), torch.float64)
    expected = textbook.action_values(generator, plain, ids, start, uniforms, **ENDS)
    values = action_values(generator, fast, ids, start, ROLLOUTS, rng(3), memory_budget=memory_budget, **ENDS)
    assert values.dtype == torch.float64
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-12)


def test_textbook_draw_is_the_inverse_of_the_cumulative_distribution(textbook: ModuleType) -> None:
    logits = torch.tensor([0.25, 0.0, 0.5, 0.25, 0.0]).log().repeat(6, 1)
    uniform = torch.tensor([0.0, 0.2499, 0.25, 0.7499, 0.75, 1 - 2**-24])
    assert textbook.draw(logits, uniform).tolist() == [0, 0, 2, 2, 3, 3]


def test_textbook_samples_equal_the_programs(textbook: ModuleType) -> None:
    generator, _ = networks(torch.float32)
    start = torch.full((40,), START)
    uniforms = torch.rand(LENGTH, 40, generator=rng(2))
    ids = textbook.sample(generator, start, uniforms, **ENDS)
    assert (ids == END).any()
    assert ids.equal(sample(generator, start, LENGTH, rng(2), **ENDS))


def test_textbook_draws_by_multinomial_what_it_draws_otherwise(textbook: ModuleType) -> None:
    generator = LSTMGenerator(VOCABULARY, embedding=5, hidden=7, layers=2)
    generator.reset_parameters(rng())
    with torch.no_grad():
        numbers = rng()
        for weights in generator.parameters():
            weights.normal_(generator=numbers)
        generator.output.weight *= 1e4  # so that there is one token to draw
    start = torch.arange(VOCABULARY)
    ids = textbook.sample_by_multinomial(generator, start, LENGTH, rng())
    assert len(ids.unique()) > 3
    assert ids.equal(textbook.sample(generator, start, torch.full((LENGTH, VOCABULARY), 0.5)))


def test_textbook_epoch_of_likelihood_equals_the_programs(
    textbook: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator, discriminator = networks()
    ids, start = sequences(generator)
    windows = Windows(ids, start, torch.arange(len(ids)))
    loss = BinaryCrossEntropy()
    dataset = Dataset(windows, windows, windows, VOCABULARY, END, PAD, (START, PAD))
    plain = copy.deepcopy(generator)
    parts = Parts(generator, discriminator, loss, Reward(discriminator, loss), dataset, rng(9))
    optimizers = [torch.optim.Adam(network.parameters(), 1e-2) for network in (generator, plain)]
    monkeypatch.setitem(losses.LOGITS_AT_ONCE, "cpu", 20)  # as with a wide vocabulary
    expected = textbook.train_likelihood_epoch(plain, optimizers[1], ids, start, 4, rng(9), clip=0.5, pad_id=PAD)
    assert likelihood_epoch(parts, optimizers[0], 4, clip=0.5) == pytest.approx(expected, abs=1e-9)
    for found, weights in zip(generator.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(found, weights, rtol=0, atol=1e-6)


def test_textbook_update_follows_the_programs_loss(textbook: ModuleType) -> None:
    generator, _ = networks()
    ids, start = sequences(generator)
    values = torch.rand(ids.shape, generator=rng(4), dtype=torch.float64)
    plain = copy.deepcopy(generator)
    optimizer = torch.optim.SGD(plain.parameters(), 1.0)
    loss = textbook.update_policy(plain, optimizer, ids, start, values, clip=0.0, end_id=END)
    log_prob = sequence_log_prob(generator(ids, start), ids, PAD)
    expected = policy_gradient_loss(log_prob, values, ~padding_after_end(ids, END))
    expected.backward()
    assert loss == pytest.approx(expected.item(), abs=1e-12)
    for before, after in zip(generator.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(after, before - before.grad, rtol=0, atol=1e-12)


def test_textbook_epoch_of_the_discriminator_equals_the_programs(textbook: ModuleType) -> None:
    generator, discriminator = networks()
    real, fake = (torch.randint(VOCABULARY, (20, LENGTH), generator=rng(seed)) for seed in (1, 2))
    windows = Windows(real, torch.full((20,), START), torch.arange(20))
    dataset = Dataset(windows, windows, windows, VOCABULARY, END, PAD, (START, PAD))
    plain = copy.deepcopy(discriminator)
    loss = BinaryCrossEntropy()
    parts = Parts(generator, discriminator, loss, Reward(discriminator, loss), dataset, rng(9))
    training = DiscriminatorTraining(parts, sets=1, epochs=1, samples=20, batch_size=8, learning_rate=1e-3)
    optimizer = torch.optim.Adam(plain.parameters(), 1e-3)
    expected = textbook.train_discriminator_epoch(plain, optimizer, real, fake, 8, rng(9))
    assert training.train_epoch(real, fake) == pytest.approx(expected, abs=1e-9)
    torch.testing.assert_close(discriminator(real), plain(real), rtol=0, atol=1e-6)


def test_race_writes_what_the_readme_promises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    race = benchmark("race", monkeypatch)
    threads = torch.get_num_threads()
    file = tmp_path / "race.json"
    assert race.main(["--configuration", "tiny", "--repeats", "2", "--threads", "1", "--json", str(file)]) == 0
    result = json.loads(file.read_text())
    assert set(result) == {
        "configuration", "sizes", "parts", "round", "memory_mib", "mean_difference", "repeats", "machine", "date",
    }  # fmt: skip
    assert set(result["parts"]) == {"generator step", "scoring of roll-outs", "epoch of D", "sampling"}
    for part in result["parts"].values():
        assert part["ratio"]["min"] <= part["ratio"]["median"] <= part["ratio"]["max"]
        assert len(part["seconds"]["textbook"]) == len(part["seconds"]["program"]) == 2
    assert set(result["memory_mib"]) == {"textbook", "program"}
    assert all(value["peak"] >= value["before"] > 0 for value in result["memory_mib"].values())
    assert result["mean_difference"] < 1e-3
    assert set(result["machine"]) == {"processor", "cores", "threads", "torch", "python"}
    assert "generator step" in capsys.readouterr().out
    assert torch.get_num_threads() == threads


def test_race_of_the_oracle_writes_what_the_readme_promises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    oracle = benchmark("oracle", monkeypatch)
    threads = torch.get_num_threads()
    file = tmp_path / "oracle.json"
    sizes = "--sequences 20 --length 6 --vocabulary 30 --width 4 --batch 8"
    assert oracle.main([*sizes.split(), "--repeats", "2", "--threads", "1", "--json", str(file)]) == 0
    result = json.loads(file.read_text())
    assert set(result) == {"sizes", "parts", "loss_difference", "repeats", "clock", "machine", "date"}
    assert result["sizes"] == {"sequences": 20, "length": 6, "vocabulary": 30, "width": 4, "batch": 8}
    competitors = {
        "likelihood epoch": ["textbook", "program"],
        "sampling": ["textbook, cumulative sum", "textbook, multinomial", "program"],
    }
    assert {name: list(part) for name, part in result["parts"].items()} == competitors
    for part in result["parts"].values():
        for laps in part.values():
            assert laps["ratio"] == pytest.approx(
                [plain / fast for plain, fast in zip(laps["seconds"], part["program"]["seconds"], strict=True)]
            )
    assert result["loss_difference"] < 1e-4
    assert "sampling, textbook, multinomial" in capsys.readouterr().out
    assert torch.get_num_threads() == threads
    with pytest.raises(SystemExit):
        oracle.main(["--batch", "0"])
    with pytest.raises(SystemExit):
        oracle.main(["--processor", "--threads", "2"])
    assert oracle.main([*sizes.split(), "--repeats", "1", "--threads", "1", "--processor"]) == 0
    assert "seconds of the processor" in capsys.readouterr().out


def test_pilots_branch_from_one_generator_and_are_told_apart(
    tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pilots = benchmark("pilots", monkeypatch)
    small = "algorithm.rounds=2 algorithm.discriminator_sets=1 algorithm.discriminator_samples=32"
    variants = [f"{name} {small} {own}" for name, own in {"one": "", "two": "algorithm.kl=1.0", "three": ""}.items()]
    options = ["--preset", "quick", "--seconds", "600", "-o", str(tmp_path)]
    result = CliRunner().invoke(pilots.main, [str(tiny_run.directory), *variants, *options], catch_exceptions=False)
    assert result.exit_code == 0
    rounds = {name: read(tmp_path / f"{name}.jsonl") for name in ("one", "two", "three")}
    for values in rounds.values():
        assert [value["round"] for value in values] == [1, 2]
        assert 0 < values[0].pop("seconds") < values[1].pop("seconds")
    assert rounds["one"] == rounds["three"] != rounds["two"]
    rows = [line.split("|")[1].strip() for line in result.output.splitlines() if line.startswith("|")]
    assert [row.split()[0] for row in rows] == ["variant", "---", "real", "mle", "one", "two", "three"]


def read(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_race_scales_a_textbook_with_fewer_rollouts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    race = benchmark("race", monkeypatch)
    assert race.main(["--configuration", "tiny", "--repeats", "1", "--textbook-rollouts", "2", "--no-memory"]) == 0
    assert "2 of 4 roll-outs" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        race.main(["--configuration", "tiny", "--textbook-rollouts", "5"])
