from __future__ import annotations

import copy
import importlib
import json
import math
import os
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from seqgan_music import config, jit, losses
from seqgan_music.algorithms import Parts
from seqgan_music.algorithms.pretraining import DiscriminatorTraining, likelihood_epoch
from seqgan_music.dataset import Dataset, Windows
from seqgan_music.discriminators.cnn import CNNDiscriminator
from seqgan_music.generators.lstm import LSTMGenerator
from seqgan_music.losses import BinaryCrossEntropy, policy_loss_of
from seqgan_music.rewards import Reward
from seqgan_music.rollout import action_values, rollout_uniforms
from seqgan_music.run import Run
from seqgan_music.sampling import padding_after_end, sample

VOCABULARY, LENGTH, BATCH, ROLLOUTS = 9, 11, 6, 3
START, END, PAD = 6, 7, 8
ENDS = {"end_id": END, "pad_id": PAD}
WHO = ("textbook", "program")
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


MORE = {"lookback": [1, 3, 8]}, {"self_similarity": 6}


def networks(
    dtype: torch.dtype = torch.float64,
    more: tuple[dict[str, Any], dict[str, Any]] = ({}, {}),
    vocabulary: int = VOCABULARY,
) -> tuple[LSTMGenerator, CNNDiscriminator]:
    """Those of the paper, and `more` that it does not have."""
    generator = LSTMGenerator(vocabulary, (START, PAD), embedding=5, hidden=7, layers=2, **more[0]).to(dtype)
    filters = [[1, 3], [2, 5], [5, 4], [11, 2]]
    discriminator = CNNDiscriminator(vocabulary, LENGTH, embedding=4, filters=filters, **more[1])
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


@pytest.mark.parametrize("more", [({}, {}), MORE])
@pytest.mark.parametrize("memory_budget", BUDGETS)
@pytest.mark.parametrize("kind", ["discriminator", "spelling", "rank"])
def test_action_values_equal_the_textbook_draw_for_draw(
    textbook: ModuleType, kind: str, memory_budget: int, more: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    generator, discriminator = networks(more=more)
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


@pytest.mark.parametrize("more", [({}, {}), MORE])
def test_textbook_epoch_of_likelihood_equals_the_programs(
    textbook: ModuleType, monkeypatch: pytest.MonkeyPatch, more: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    generator, discriminator = networks(more=more)
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


@pytest.mark.parametrize("at_once", [20, 2**20])  # as with a wide vocabulary and with a narrow one
def test_textbook_update_follows_the_programs_loss(
    textbook: ModuleType, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(losses.LOGITS_AT_ONCE, "cpu", at_once)
    generator, _ = networks()
    ids, start = sequences(generator)
    values = torch.rand(ids.shape, generator=rng(4), dtype=torch.float64)
    plain = copy.deepcopy(generator)
    optimizer = torch.optim.SGD(plain.parameters(), 1.0)
    loss = textbook.update_policy(plain, optimizer, ids, start, values, clip=0.0, end_id=END)
    expected = policy_loss_of(generator, ids, start, values, ~padding_after_end(ids, END))[0] / len(ids)
    expected.backward()
    assert loss == pytest.approx(expected.item(), abs=1e-12)
    for before, after in zip(generator.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(after, before - before.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("vocabulary", [VOCABULARY, 600])
@pytest.mark.parametrize("more", [({}, {}), MORE])
def test_textbook_epoch_of_the_discriminator_equals_the_programs(
    textbook: ModuleType, more: tuple[dict[str, Any], dict[str, Any]], vocabulary: int
) -> None:
    generator, discriminator = networks(more=more, vocabulary=vocabulary)
    real, fake = (torch.randint(vocabulary, (20, LENGTH), generator=rng(seed)) for seed in (1, 2))
    windows = Windows(real, torch.full((20,), START), torch.arange(20))
    dataset = Dataset(windows, windows, windows, vocabulary, END, PAD, (START, PAD))
    plain = copy.deepcopy(discriminator)
    loss = BinaryCrossEntropy()
    parts = Parts(generator, discriminator, loss, Reward(discriminator, loss), dataset, rng(9))
    training = DiscriminatorTraining(parts, sets=1, epochs=1, samples=20, batch_size=8, learning_rate=1e-3)
    optimizer = torch.optim.Adam(plain.parameters(), 1e-3)
    expected = textbook.train_discriminator_epoch(plain, optimizer, real, fake, 8, rng(9))
    assert training.train_epoch(real, fake) == pytest.approx(expected, abs=1e-9)
    torch.testing.assert_close(discriminator(real), plain(real), rtol=0, atol=1e-6)


def test_the_programs_networks_may_change_but_not_the_textbooks(
    textbook: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator, discriminator = networks(more=MORE)
    ids, start = sequences(generator)
    uniforms = rollout_uniforms(BATCH, LENGTH, ROLLOUTS, rng(3), torch.float64)

    def values() -> Tensor:
        reward = lambda ids, group, start: textbook.discriminator_scores(discriminator, ids).sigmoid()  # noqa: E731
        return textbook.action_values(generator, reward, ids, start, uniforms, **ENDS)

    expected = values()
    for network, methods in ((generator, ("forward", "start", "step")), (discriminator, ("forward", "embed", "score"))):
        for method in methods:
            monkeypatch.setattr(type(network), method, None)
    assert values().equal(expected)


PARTS = {"generator step", "scoring of roll-outs", "policy update", "epoch of D", "sampling", "likelihood epoch"}


def raced(race: ModuleType, tmp_path: Path, *options: str) -> dict[str, Any]:
    file = tmp_path / "race.json"
    assert race.main(["--configuration", "tiny", "--threads", "1", "--json", str(file), *options]) == 0
    result: dict[str, Any] = json.loads(file.read_text())
    return result


def test_race_writes_what_the_readme_promises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    race = benchmark("race", monkeypatch)
    threads = torch.get_num_threads()
    result = raced(race, tmp_path, "--repeats", "2")
    assert set(result) == {"precision", "clock", "repeats", "conditions", "races"}
    assert set(result["conditions"]) == {"processor", "cores", "threads", "kernels", "versions", "commit", "date"}
    found = result["races"]["tiny"]
    assert set(found) == {"sizes", "schedule", "parts", "memory_mib", "mean_difference"}
    assert set(found["parts"]) == PARTS | {"whole round, measured", "whole round, computed"}
    for part in found["parts"].values():
        assert part["ratio"]["min"] <= part["ratio"]["median"] <= part["ratio"]["max"]
        assert len(part["seconds"]["textbook"]) == len(part["seconds"]["program"]) == 2
        assert min(*part["seconds"]["textbook"], *part["seconds"]["program"]) > 0
    seconds = {name: part["seconds"]["program"][1] for name, part in found["parts"].items()}
    whole = seconds["generator step"] + 1 * (16 / 16) * (seconds["sampling"] + 3 * seconds["epoch of D"])
    assert seconds["whole round, computed"] == pytest.approx(whole)
    assert seconds["scoring of roll-outs"] + seconds["policy update"] < seconds["generator step"]
    assert set(found["memory_mib"]) == {"textbook", "program"}
    assert all(value["peak"] >= value["before"] > 0 for value in found["memory_mib"].values())
    assert found["mean_difference"] < 1e-3
    printed = capsys.readouterr().out
    assert "generator step" in printed
    assert "whole round, measured (1 steps, 1 × 3 epochs of 16 + 16)" in printed
    assert torch.get_num_threads() == threads


def test_race_scales_a_textbook_with_fewer_rollouts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    competitors = benchmark("competitors", monkeypatch)
    track = competitors.Race(competitors.CONFIGURATIONS["tiny"], 2)
    assert (track.scale, track.textbook_rollouts, track.policy.rollouts) == (2.0, 2, 4)
    whole = competitors.Race(competitors.CONFIGURATIONS["tiny"], 4)
    assert whole.scale == 1.0
    race = benchmark("race", monkeypatch)
    schedule = raced(race, tmp_path, "--repeats", "1", "--no-memory", "--textbook-rollouts", "9")["races"]["tiny"]
    assert (schedule["schedule"]["rollouts"], schedule["schedule"]["textbook_rollouts"]) == (4, 4)


def test_the_program_is_raced_by_its_shortest_way(monkeypatch: pytest.MonkeyPatch) -> None:
    competitors = benchmark("competitors", monkeypatch)
    track = competitors.Race(competitors.CONFIGURATIONS["tiny"], 1)
    searched, prepare = [], Reward.for_search

    def noting(reward: Reward, ids: Tensor, start: Tensor) -> Any:
        searched.append(ids.shape)
        return prepare(reward, ids, start)

    monkeypatch.setattr(Reward, "for_search", noting)
    laps = track.generator_step()
    assert searched == [(4, 8)], "what roll-outs of a prefix share is scored once"
    assert 0 < laps["scoring of roll-outs"]["program"] < laps["generator step"]["program"]


def test_a_whole_round_of_the_textbook_has_all_rollouts(monkeypatch: pytest.MonkeyPatch) -> None:
    competitors = benchmark("competitors", monkeypatch)
    track = competitors.Race(competitors.CONFIGURATIONS["tiny"], 1)
    searched, search = [], competitors.textbook.action_values

    def noting(policy: Any, reward: Any, ids: Tensor, start: Tensor, uniforms: list[Tensor]) -> Tensor:
        searched.append(uniforms[0].shape[1])
        return search(policy, reward, ids, start, uniforms)

    monkeypatch.setattr(competitors.textbook, "action_values", noting)
    track.generator_step()
    track.round()
    assert searched == [1, 4], "the time of a step is scaled, that of a round is not"


def test_race_clocks_the_processor_and_leaves_the_kernels_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    race = benchmark("race", monkeypatch)
    monkeypatch.delenv("SEQGAN_MUSIC_JIT", raising=False)
    options = ["--repeats", "1", "--no-memory", "--processor", "--no-jit", "--precision", "bfloat16"]
    result = raced(race, tmp_path, *options)
    assert (result["clock"], result["conditions"]["kernels"], result["precision"]) == ("processor", False, "bfloat16")
    assert result["races"]["tiny"]["mean_difference"] < 0.05
    assert "SEQGAN_MUSIC_JIT" not in os.environ


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--processor", "--threads", "2"], "give --threads 1"),
        (["--repeats", "0"], "at least 1"),
        (["--textbook-rollouts", "0"], "at least 1"),
        (["--quality", "--folder", "nowhere"], "--folder nowhere"),
        (["--json", "nowhere/race.json"], "cannot be written"),
        (["--json", "."], "cannot be written"),
    ],
)
def test_race_refuses_what_cannot_be_meant_before_it_measures(
    options: list[str], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    race = benchmark("race", monkeypatch)
    monkeypatch.setattr(race, "_measured", None)
    with pytest.raises(SystemExit):
        race.main(["--configuration", "tiny", *options])
    assert says in capsys.readouterr().err


def test_precision_is_the_programs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    competitors = benchmark("competitors", monkeypatch)
    track = competitors.Race(competitors.CONFIGURATIONS["tiny"], 1, arithmetic="bfloat16")
    assert track.parts.generator.product_dtype == track.parts.discriminator.product_dtype == torch.bfloat16
    assert track.policy.rollout_policy.product_dtype == torch.bfloat16
    assert track.generator.product_dtype is track.discriminator.product_dtype is None


def test_the_default_presets_round_is_raced_with_its_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    competitors = benchmark("competitors", monkeypatch)
    track = competitors.Race(competitors.CONFIGURATIONS["preset"], 1)
    settings = config.preset("default")
    algorithm = settings["algorithm"]
    assert track.policy.batch_size == algorithm["policy_batch_size"]
    assert (track.algorithm.g_steps, track.algorithm.d_steps) == (algorithm["g_steps"], algorithm["d_steps"])
    assert list(track.generator.lookback) == settings["generator"]["lookback"]
    assert track.parts.discriminator.self_similarity == settings["discriminator"]["self_similarity"]


def test_growth_finds_the_power_of_a_power_law(monkeypatch: pytest.MonkeyPatch) -> None:
    growth = benchmark("growth", monkeypatch)
    sizes = [16, 32, 64, 128]
    assert growth.fit(sizes, [3e-6 * size**1.5 for size in sizes]) == pytest.approx(
        {"exponent": 1.5, "residual": 0.0}, abs=1e-9
    )
    crooked = growth.fit([1, 2, 4], [1.0, 4.0, 4.0])  # logarithms to base 2: 0, 2, 2 on a line of slope 1
    assert crooked["exponent"] == pytest.approx(1.0)
    assert crooked["residual"] == pytest.approx(math.log(2) * (2 / 9) ** 0.5)


def test_growth_doubles_each_size_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    growth = benchmark("growth", monkeypatch)
    asked = []

    def seconds(point: Any, *_: Any) -> dict[str, dict[str, float]]:
        asked.append(point)
        step, epoch = point.T**2 * point.N * point.B, point.T * point.B
        return {"generator step": {"textbook": step, "program": point.T}, "epoch of D": dict.fromkeys(WHO, epoch)}

    monkeypatch.setattr(growth, "_seconds", seconds)
    result = growth.growth(2, 1)
    step = result["parts"]["generator step"]
    assert {name: round(found["textbook"]["exponent"], 6) for name, found in step.items()} == {
        "T": 2,
        "N": 1,
        "B": 1,
        "V": 0,
        "H": 0,
    }
    assert round(step["T"]["program"]["exponent"], 6) == 1
    assert set(result["parts"]["epoch of D"]) == {"T", "B", "V"}
    middle = growth.Point()
    assert all(sum(vars(point)[name] != vars(middle)[name] for name in "TNBVH") <= 1 for point in asked)
    assert "generator step, T (length) 16 - 64" in growth.describe(result)


def test_growth_times_both(monkeypatch: pytest.MonkeyPatch) -> None:
    growth = benchmark("growth", monkeypatch)
    result = growth.growth(1, 1, middle=growth.Point(T=4, N=1, B=2, V=6, H=3))
    for sizes in result["parts"].values():
        for found in sizes.values():
            assert all(len(found[who]["seconds"]) == 2 and min(found[who]["seconds"]) > 0 for who in WHO)


def test_quality_compares_precisions_on_real_tokens(few_tunes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quality = benchmark("quality", monkeypatch)
    small = {"small": ({"embedding": 8, "filters": [[1, 8], [3, 8]], "dropout": 0.0}, 2)}
    result = quality.quality(few_tunes, 2, samples=192, rollouts=2, policy_batch=4, networks=small)
    found = result["networks"]["small"]["figures"]
    assert set(found) == {"auc", "trained_so", "scored_so", "action_values"}
    assert all(0.0 < value["float32"] < 1.0 for value in found["auc"]["seeds"])
    assert all(abs(value["bfloat16"]) < 0.05 for value in found["auc"]["seeds"])
    assert found["trained_so"]["mean"]["float32, other order: mean |difference|"] > 0
    assert found["scored_so"]["mean"]["bfloat16: correlation"] > 0.99
    assert found["scored_so"]["mean"]["bfloat16: mean |difference|"] < 0.01
    assert all(abs(value["bfloat16"]) < 0.02 for value in found["action_values"]["seeds"])
    first, second = (value["float32"] for value in found["auc"]["seeds"])
    assert found["auc"]["mean"]["float32"] == pytest.approx((first + second) / 2)
    assert found["auc"]["deviation"]["float32"] == pytest.approx(abs(first - second) / 2**0.5)
    assert "AUC on held-out music" in quality.describe(result)


def test_area_is_how_often_real_is_above_generated(monkeypatch: pytest.MonkeyPatch) -> None:
    quality = benchmark("quality", monkeypatch)
    assert quality._area(torch.tensor([0.9, 0.4]), torch.tensor([0.5, 0.1, 0.4])) == pytest.approx((3 + 1.5) / 6)


def test_whole_job_counts_each_second_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole_job = benchmark("whole_job", monkeypatch)
    now = iter([0.0, 1.0, 3.0, 6.0, 10.0, 15.0])
    watch = whole_job.Stopwatch()
    monkeypatch.setattr(watch, "clock", SimpleNamespace(lap=lambda: next(now)))
    inner = watch._counted("inner", lambda: None)
    watch._counted("outer", lambda: inner())()
    assert watch.take() == {whole_job.ELSE: 10.0, "outer": 1.0 + 6.0, "inner": 3.0}


def test_whole_job_gives_shares_of_the_whole_schedule(
    tiny_corpus: Any, tiny_settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_job = benchmark("whole_job", monkeypatch)
    before = [vars(owner)[name] for functions in whole_job.WORK.values() for owner, name in functions]
    tiny_settings["algorithm"]["rounds"] = 40
    few = {"mle": 1, "discriminator": 1, "adversarial": 2}
    monkeypatch.setattr(whole_job.measuring.Clock, "lap", lambda _: 1.0)  # whatever is done takes a second
    result = whole_job.shares(tiny_corpus, tiny_settings, tmp_path / "run", few)
    work = result["work"]
    steps = 2 * tiny_settings["algorithm"].get("g_steps", 1)
    assert work["policy updates"]["seconds"] == pytest.approx(40 / 2 * steps)
    assert set(work) <= {*whole_job.WORK, whole_job.ELSE}
    assert set(whole_job.NETWORKS) < set(work)
    assert sum(found["share"] for found in work.values()) == pytest.approx(1)
    assert 0 < result["outside"] < 1
    assert result["seconds"] == pytest.approx(sum(found["seconds"] for found in work.values()))
    assert result["first_record"] > 0
    assert [vars(owner)[name] for functions in whole_job.WORK.values() for owner, name in functions] == before
    told = whole_job.describe({"starts": {"all known": [2.0, 1.0, 4.0]}, "whole": result})
    assert "2.00 s to the first epoch (1.00 - 4.00)" in told


def test_whole_job_stops_at_the_first_epoch(few_tunes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole_job = benchmark("whole_job", monkeypatch)
    small = [
        "-p",
        "quick",
        "-s",
        "generator.hidden=8",
        "-s",
        "data.length=16",
        "-s",
        "algorithm.discriminator_samples=32",
    ]
    run = tmp_path / "run"
    assert 0.1 < whole_job.seconds_to_first_epoch([str(few_tunes), *small], tmp_path / "cache", run) < 120
    assert (run / "config.toml").is_file()
    assert not (run / "metrics.jsonl").read_text()
    assert list((tmp_path / "cache" / "kernels").rglob("*.nbi")) or not jit.available(), "compiled anew"
    with pytest.raises(RuntimeError, match="did not begin"):
        whole_job.seconds_to_first_epoch([str(tmp_path / "nothing")], tmp_path / "cache", tmp_path / "other")


def test_whole_job_refuses_a_preset_there_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole_job = benchmark("whole_job", monkeypatch)
    result = CliRunner().invoke(whole_job.main, [str(tmp_path), "--preset", "nothing"])
    assert result.exit_code == 2
    assert "unknown preset 'nothing'" in result.output


def test_whole_job_starts_with_as_many_threads_as_it_was_given(
    few_tunes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_job = benchmark("whole_job", monkeypatch)
    begun = []

    def begin(command: list[str], *, env: dict[str, str], **_: Any) -> SimpleNamespace:
        begun.append(env["OMP_NUM_THREADS"])
        return SimpleNamespace(returncode=0, stdout="0.0")

    monkeypatch.setattr(whole_job.subprocess, "run", begin)
    with whole_job.measuring.settings(3):
        whole_job.seconds_to_first_epoch([str(few_tunes)], tmp_path / "cache", tmp_path / "run")
    assert begun == ["3"]


def test_race_of_the_oracle_writes_what_the_readme_promises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    oracle = benchmark("oracle", monkeypatch)
    threads = torch.get_num_threads()
    file = tmp_path / "oracle.json"
    sizes = "--sequences 20 --length 6 --vocabulary 30 --width 4 --batch 8"
    assert oracle.main([*sizes.split(), "--repeats", "2", "--threads", "1", "--json", str(file)]) == 0
    result = json.loads(file.read_text())
    assert set(result) == {"sizes", "parts", "loss_difference", "repeats", "clock", "conditions"}
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
