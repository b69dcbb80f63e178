"""λ = 0: no discriminator is built, trained or saved, and it is the same however it is asked for."""

import pytest
import torch

from seqgan_music import building, config, run_settings
from seqgan_music.checkpoint import load
from seqgan_music.errors import UsageError
from seqgan_music.run import Run
from seqgan_music.run_directory import read_log

STEPS = {"objectives": {"ratio_of_steps": 1.0}}


def naive(**sections):
    return run_settings.resolve(run_settings.lay(config.preset("default"), STEPS, sections))


def test_lambda_zero_is_naive_rl_with_the_options_that_it_shares():
    by_lambda, by_name = naive(reward={"lambda": 0.0}), naive(algorithm={"name": "naive_rl"})
    assert by_lambda == by_name
    preset = config.preset("default")["algorithm"]
    kept = by_name["algorithm"]
    assert kept["name"] == "naive_rl"
    assert {name: kept[name] for name in preset if name in kept and name != "name"} == {
        name: value for name, value in preset.items() if name != "name" and not name.startswith(("d_", "discriminator"))
    }
    assert not any(name.startswith(("d_", "discriminator")) for name in kept)


def test_a_schedule_that_is_ever_above_zero_keeps_the_discriminator():
    kept = naive(reward={"lambda_schedule": [[0, 0.0], [4, 0.5]]})
    assert kept["reward"]["lambda"] == 0.0, "that of the first round"
    assert run_settings.resolve(kept) == kept
    with pytest.raises(UsageError, match=r"lambda_schedule begins with 0, but lambda is 0\.9"):
        naive(reward={"lambda": 0.9, "lambda_schedule": [[0, 0.0], [4, 0.5]]})
    assert kept["algorithm"]["name"] == "seqgan"
    assert building.has_discriminator(kept)
    assert not building.has_discriminator(naive(reward={"lambda_schedule": [[0, 0.0]]}))


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"algorithm": {"name": "naive_rl"}, "reward": {"lambda": 0.5}}, "naive_rl has no discriminator"),
        (
            {"algorithm": {"name": "naive_rl"}, "objectives": {"ratio_of_steps": 0.0}},
            "all weights of the objectives are 0",
        ),
        ({"algorithm": {"name": "naive_rl", "d_steps": 3}}, "has no option 'd_steps'"),
    ],
)
def test_what_contradicts_it_is_refused(sections, message):
    with pytest.raises(UsageError, match=message):
        naive(**sections)


def test_naive_rl_needs_an_objective():
    with pytest.raises(UsageError, match="name one, such as -O tonality"):
        run_settings.resolve({"algorithm": {"name": "naive_rl"}})


def test_an_algorithm_takes_over_the_options_it_shares_with_the_one_before():
    laid = run_settings.lay(
        {"algorithm": {"name": "seqgan", "patience": 7, "rounds": 3}}, {"algorithm": {"name": "mle", "epochs": 5}}
    )
    assert laid["algorithm"] == {"name": "mle", "patience": 7, "epochs": 5}
    assert run_settings.lay(laid, {"data": {"length": 32}})["algorithm"] == laid["algorithm"]


@pytest.mark.parametrize("name", ["mle", "scheduled_sampling", "random", "pg_bleu"])
def test_what_pays_no_objective_takes_no_reward(name):
    for reward in ({}, {"lambda": 0.5}, {"lambda_schedule": [[0, 0.0], [4, 0.5]]}, {"uniqueness": True}):
        resolved = naive(algorithm={"name": name}, reward=reward)
        assert resolved["reward"] == run_settings.DEFAULTS["reward"]
        assert run_settings.resolve(resolved) == resolved
        assert not building.has_discriminator(resolved)


@pytest.mark.parametrize(
    ("sections", "name"),
    [
        ({}, "steered"),
        ({"objectives": {}}, "default"),
        ({"reward": {"lambda": 1}}, "default"),
        ({"reward": {"lambda": 0.9}}, "steered"),
        ({"reward": {"lambda_schedule": [[0, 1.0], [5, 0.5]]}}, "steered"),
        ({"reward": {"lambda_schedule": [[0, 1.0]]}}, "default"),
        ({"algorithm": {"name": "naive_rl"}}, "steered"),
        ({"algorithm": {"name": "mle"}}, "default"),
        ({"algorithm": {"name": "pg_bleu"}}, "default"),
    ],
)
def test_the_steered_preset_is_for_objectives_that_are_paid(sections, name):
    assert run_settings.default_preset({**STEPS, **sections}) == name


@pytest.mark.parametrize("schedule", [5, "often", [5], [[0]], [[0, "much"]], [[3, 1.0], [1, 0.5]]])
def test_a_schedule_that_makes_no_sense_is_refused_whoever_looks_first(schedule):
    for look in (run_settings.default_preset, run_settings.resolve):
        with pytest.raises(UsageError, match="lambda_schedule must"):
            look({**STEPS, "reward": {"lambda_schedule": schedule}})


OWN = """
from seqgan_music.algorithms.naive_rl import NaiveRL
class Mine(NaiveRL):
    "Without a discriminator."
"""


def test_an_algorithm_of_ones_own_may_have_no_discriminator(tiny_experiment, tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    name = f"{tmp_path / 'own.py'}:Mine"
    with pytest.raises(UsageError, match=r"Mine is trained by objectives alone; name one"):
        run_settings.resolve({"algorithm": {"name": name}})
    made = tiny_experiment(tmp_path / "run", **STEPS, algorithm={"name": name})
    assert made.parts.discriminator is None
    assert made.settings["reward"]["lambda"] == 0
    assert [record.phase for record, _ in made] == ["mle", "mle", "adversarial", "adversarial"]


@pytest.fixture(scope="module")
def finished(tiny_experiment, tmp_path_factory):
    directory = tmp_path_factory.mktemp("naive") / "run"
    for _ in tiny_experiment(directory, **STEPS, reward={"lambda": 0.0}):
        pass
    return directory


def test_no_discriminator_is_built_trained_or_saved(finished):
    log = read_log(finished)
    assert [line["phase"] for line in log] == ["mle", "mle", "adversarial", "adversarial"]
    for line in log:
        assert not {"d_loss", "d_accuracy", "reward_discriminator"} & set(line)
    assert {"reward_ratio_of_steps", "objective_ratio_of_steps", "undefined_ratio_of_steps"} <= set(log[-1])
    for checkpoint in (finished / "checkpoints").iterdir():
        state = load(checkpoint)
        assert "discriminator" not in state
        assert "discriminator" not in state.get("parts", {})
    assert Run(finished).stages == ["mle", "adversarial"]
    assert len(list(Run(finished).generate(2, seed=0))) == 2
    with pytest.raises(UsageError, match="has no trained discriminator"):
        Run(finished).generate(2, seed=0, best_of=4)


def test_resumed_equals_uninterrupted(finished, tiny_experiment, tmp_path):
    from seqgan_music.experiment import Experiment

    records = iter(tiny_experiment(tmp_path / "run", **STEPS, reward={"lambda": 0.0}))
    for _ in range(3):
        next(records)
    del records
    for _ in Experiment.resume(tmp_path / "run"):
        pass
    one, other = (load(directory / "checkpoints" / "last") for directory in (finished, tmp_path / "run"))
    for name, weight in one["parts"]["generator"].items():
        assert torch.equal(weight, other["parts"]["generator"][name])
    assert torch.equal(one["parts"]["rng"], other["parts"]["rng"])


def test_the_pre_training_is_that_of_organ(finished, tiny_experiment, tmp_path):
    records = iter(tiny_experiment(tmp_path / "run", **STEPS, reward={"lambda": 0.5}))
    for _ in range(2):
        next(records)
    one, other = (load(directory / "checkpoints" / "mle") for directory in (finished, tmp_path / "run"))
    for name, weight in one["generator"].items():
        assert torch.equal(weight, other["generator"][name])


def test_it_moves_towards_its_objective(tiny_experiment, tmp_path):
    settings = {"policy_learning_rate": 0.02, "policy_batch_size": 128, "rollouts": 0, "baseline": "mean", "rounds": 12}
    made = tiny_experiment(tmp_path / "run", **STEPS, reward={"lambda": 0.0}, algorithm=settings)
    values = [record.values["objective_ratio_of_steps"] for record, _ in made if record.phase == "adversarial"]
    assert values[-1] > values[0] + 0.2


def test_with_lambda_one_objectives_change_nothing_but_the_log(tiny_experiment, tmp_path):
    plain, logged = tmp_path / "plain", tmp_path / "logged"
    for directory, sections in ((plain, {}), (logged, {**STEPS, "reward": {"lambda": 1.0}})):
        for _ in tiny_experiment(directory, **sections):
            pass
    one, other = (load(directory / "checkpoints" / "last")["parts"] for directory in (plain, logged))
    for network in ("generator", "discriminator"):
        for name, weight in one[network].items():
            assert torch.equal(weight, other[network][name])
    for before, after in zip(read_log(plain), read_log(logged), strict=True):
        assert {name: after[name] for name in before if name != "seconds"} == {
            name: value for name, value in before.items() if name != "seconds"
        }
        more = set(after) - set(before)
        assert more == (
            {"objective_ratio_of_steps", "undefined_ratio_of_steps", "reward_discriminator"}
            if after["phase"] == "adversarial"
            else set()
        )


def test_a_wrong_option_is_refused_with_lambda_zero_too():
    with pytest.raises(UsageError, match="no option 'g_stepz'"):
        naive(reward={"lambda": 0.0}, algorithm={"g_stepz": 3})
    with pytest.raises(UsageError, match="d_steps must be a whole number"):
        naive(reward={"lambda": 0.0}, algorithm={"d_steps": "many"})


def test_a_run_that_goes_on_from_another_keeps_the_learning_rate_of_what_was_not_trained(tiny_experiment, tmp_path):
    first = tiny_experiment(tmp_path / "first", **STEPS, algorithm={"rounds": 0, "policy_learning_rate": 0.01})
    for _ in first:
        pass
    made = tiny_experiment(
        tmp_path / "made", **STEPS, algorithm={"policy_learning_rate": 1e-5, "discriminator_learning_rate": 1e-3}
    )
    made.go_on_from(tmp_path / "first")
    assert made.algorithm.policy.optimizer.param_groups[0]["lr"] == 1e-5
    assert made.algorithm.discriminator_training.set == 2
