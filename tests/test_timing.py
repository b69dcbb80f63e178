import math
import time
from pathlib import Path

import pytest
import torch

from seqgan_music import building, checkpoint, config, experiment, jit, run_settings, timing
from seqgan_music.cache import Cache
from seqgan_music.errors import UsageError
from seqgan_music.experiment import Experiment
from seqgan_music.run_directory import read_log
from seqgan_music.timing import Costs, Estimate, Timer, fit

COSTS = Costs({"mle": 10.0, "discriminator": 2.0, "adversarial": 20.0}, finish=5.0)
COUNTS = {"mle": 12, "discriminator": 10, "adversarial": 20}
WHOLE = 12 * 10 + 10 * 2 + 20 * 20 + 5

PROPORTIONAL = '''
"""An algorithm that says what it costs by moving the hands of the clock."""
import time
from seqgan_music.algorithms.record import Phase, Record

class Proportional:
    SCHEDULE = {
        "mle": Phase("epochs", size=""),
        "discriminator": Phase("sets", size="samples"),
        "adversarial": Phase("rounds", steps={"g_steps": "rollouts", "d_steps": "samples"}),
    }

    def __init__(self, parts, *, epochs: int = 6, sets: int = 5, samples: int = 0, rounds: int = 7, g_steps: int = 3,
                 d_steps: int = 2, rollouts: int = 8):
        self.windows = len(parts.dataset.train)
        self.samples = samples or self.windows
        self.counts, self.g, self.d = (epochs, sets, rounds), g_steps * rollouts, d_steps * self.samples

    def __iter__(self):
        costs = {"mle": 0.01 * self.windows, "discriminator": 0.03 * self.samples,
                 "adversarial": 4 + 0.5 * self.g + 0.02 * self.d}
        for (phase, cost), count in zip(costs.items(), self.counts):
            for step in range(count):
                time.perf_counter.now += cost
                yield Record(phase, step + 1, count, {}, step + 1 == count)

    def state_dict(self):
        return {}
'''


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def windows(tiny_experiment, tmp_path):
    made = tiny_experiment(tmp_path / "for its windows")
    return made.settings, made.closeness.tokenizer, made.parts.dataset


@pytest.mark.parametrize("samples", [0, 40, 4000])
def test_the_full_cost_is_told_from_small_parts(samples, windows, tmp_path, monkeypatch):
    settings, tokenizer, data = windows
    (tmp_path / "own.py").write_text(PROPORTIONAL)
    own = {"name": f"{tmp_path / 'own.py'}:Proportional", "samples": samples}
    settings = run_settings.resolve({**settings, "algorithm": own})
    monkeypatch.setattr(time, "perf_counter", Clock())
    monkeypatch.setattr(timing, "PATIENCE", math.inf)
    timer = Timer()
    assert timer(settings, tokenizer, data) == settings
    n = samples or len(data.train)
    costs = {"mle": 0.01 * len(data.train), "discriminator": 0.03 * n, "adversarial": 4 + 0.5 * 3 * 8 + 0.02 * 2 * n}
    assert len(data.train) != timing.LIKELIHOOD_ROWS
    assert timer.estimate.costs.records == pytest.approx(costs)
    assert timer.estimate.counts == {"mle": 6, "discriminator": 5, "adversarial": 7}
    _, algorithm = building.build(settings, tokenizer, data, own_code=True)
    before = time.perf_counter.now
    assert len(list(algorithm)) == 18
    assert timer.estimate.seconds == pytest.approx(time.perf_counter.now - before)
    assert timer.spent < timer.estimate.seconds, "only a part was run"


def test_what_is_slow_the_first_time_is_not_taken_for_a_step(windows, tmp_path, monkeypatch):
    """Such as a kernel that is compiled when it is first used."""
    settings, tokenizer, data = windows
    first = "self.first() + 0.5 * self.g"
    (tmp_path / "own.py").write_text(f"""{PROPORTIONAL.replace("0.5 * self.g", first)}
    def first(self):
        new = {{step for step in "gd" if getattr(self, step)}} - time.perf_counter.compiled
        time.perf_counter.compiled |= new
        return 50.0 * len(new)
""")
    settings = run_settings.resolve({**settings, "algorithm": {"name": f"{tmp_path / 'own.py'}:Proportional"}})
    monkeypatch.setattr(time, "perf_counter", Clock())
    monkeypatch.setattr(time.perf_counter, "compiled", set(), raising=False)
    monkeypatch.setattr(timing, "PATIENCE", math.inf)
    timer = Timer()
    timer(settings, tokenizer, data)
    expected = 4 + 0.5 * 3 * 8 + 0.02 * 2 * len(data.train)
    assert timer.estimate.costs.records["adversarial"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("reward", "clocked"),
    [
        ({"lambda_schedule": [[0, 1.0], [1, 0.3]]}, 0.5),
        ({"lambda_schedule": [[0, 0.0], [1, 0.3]]}, 0.5),
        ({"lambda_schedule": [[0, 1.0]]}, 1.0),
        ({"lambda": 0.3, "programme": [[1, ["tonality"]], [1, ["cadence"]]]}, 0.5),
        ({"lambda": 0.0}, 0.0),
    ],
)
def test_the_dearest_round_is_clocked_whatever_the_first_is_paid(reward, clocked, windows, monkeypatch):
    settings, tokenizer, data = windows
    given = {**settings, "objectives": {"tonality": 1.0, "cadence": 1.0}, "reward": reward}
    seen = []
    build = building.build

    def noting(settings, *args, **options):
        made = build(settings, *args, **options)
        seen.append((made[0].reward.lambda_, len(made[0].reward.shares)))
        return made

    monkeypatch.setattr(building, "build", noting)
    timer = Timer()
    timer(run_settings.resolve(given), tokenizer, data)
    assert set(seen[:-1]) == {(clocked, 2)}
    assert timer.estimate is not None


def test_likelihood_alone_is_timed_too(windows, monkeypatch):
    settings, tokenizer, data = windows
    settings = run_settings.resolve({**settings, "algorithm": {"name": "mle", "epochs": 40}})
    timer = Timer()
    timer(settings, tokenizer, data)
    assert set(timer.estimate.costs.records) == {"mle"}
    assert timer.estimate.seconds > timer.estimate.costs.records["mle"] * 40 > 0


@pytest.mark.parametrize("seconds", [0, 36.9, 37, 60, 120, 300, 500, 544, 545, 1e6])
def test_the_longest_schedule_in_proportion_that_fits(seconds):
    counts = fit(COSTS, COUNTS, seconds)
    spent = Estimate(COSTS, counts).seconds
    assert spent <= seconds or counts == dict.fromkeys(COUNTS, 1)
    assert all(1 <= counts[phase] <= COUNTS[phase] for phase in COUNTS)
    if seconds >= WHOLE:
        assert counts == COUNTS, "and never longer"
        return
    for shares in range(100):
        proportional = {phase: max(1, round(shares / 100 * COUNTS[phase])) for phase in COUNTS}
        if Estimate(COSTS, proportional).seconds <= seconds:
            assert all(counts[phase] >= proportional[phase] for phase in COUNTS)
    for phase in COUNTS:
        longer = {**counts, phase: counts[phase] + 1}
        assert counts[phase] == COUNTS[phase] or Estimate(COSTS, longer).seconds > seconds


def test_a_phase_that_costs_nothing_is_not_shortened():
    cheap = Costs({"mle": 0.01, "discriminator": 1.0, "adversarial": 30.0})
    assert fit(cheap, COUNTS, 65) == {"mle": 12, "discriminator": 4, "adversarial": 2}
    assert fit(cheap, COUNTS, 10) == {"mle": 1, "discriminator": 1, "adversarial": 1}


def test_what_is_fixed_or_left_out_stays():
    assert fit(COSTS, COUNTS, 100, {"adversarial"})["adversarial"] == 20
    fitted = fit(COSTS, COUNTS, 450, {"adversarial"})
    assert fitted["adversarial"] == 20
    assert 1 <= fitted["mle"] < 12
    assert fit(COSTS, {**COUNTS, "discriminator": 0}, 100)["discriminator"] == 0


def test_an_estimate_in_words():
    assert str(Estimate(COSTS, COUNTS)) == (
        "about 9 minutes: at most 12 likelihood epochs 2:00, 10 discriminator sets 0:20, 20 rounds 6:40, figures 0:05"
    )
    assert str(Estimate(Costs({"own": 1.0}), {"own": 20})).startswith("about 20 seconds: 20 own 0:20")
    assert str(Estimate(Costs({"own": 3600.0}), {"own": 20})).startswith("about 20.0 hours")


@pytest.fixture
def known_costs(monkeypatch):
    monkeypatch.setattr(timing, "measure", lambda *_, **__: COSTS)


@pytest.mark.parametrize(
    ("minutes", "fixed", "expected", "says"),
    [
        (1e3, (), (12, 10, 20), "the whole schedule fits into 1000 minutes"),
        (5, (), (6, 7, 11), None),
        (0.1, (), (1, 1, 1), "0.1 minutes will not do"),
        (5, {"rounds", "clip"}, (1, 1, 20), "algorithm.rounds as set, not fitted to 5 minutes"),
    ],
)
def test_the_schedule_is_written_into_the_config(
    minutes, fixed, expected, says, known_costs, tiny_corpus, tiny_settings, tmp_path
):
    tiny_settings["algorithm"] |= {"generator_epochs": 12, "discriminator_sets": 10, "rounds": 20}
    timer = Timer(minutes, fixed=fixed)
    Experiment.create(tiny_corpus, tiny_settings, tmp_path / "run", adjust=timer)
    written = config.read_config(tmp_path / "run" / "config.toml")["algorithm"]
    chosen = tuple(written[option] for option in ("generator_epochs", "discriminator_sets", "rounds"))
    assert chosen == expected
    assert tuple(timer.estimate.counts.values()) == chosen
    assert {**tiny_settings["algorithm"], **written} == written | {"name": "seqgan"}, "nothing else has changed"
    assert any(says in remark for remark in timer.remarks()) if says else not timer.remarks()


def test_training_with_an_estimate_equals_training_without(tiny_experiment, tiny_corpus, tiny_settings, tmp_path):
    timer = Timer()
    timed = Experiment.create(tiny_corpus, tiny_settings, tmp_path / "timed", adjust=timer)
    assert timer.estimate.seconds > 0
    assert timer.remarks() == []
    before = torch.get_rng_state()
    Timer()(timed.settings, timed.closeness.tokenizer, timed.parts.dataset)
    assert torch.equal(torch.get_rng_state(), before)
    list(timed)
    list(tiny_experiment(tmp_path / "plain"))
    one, other = (checkpoint.load(tmp_path / name / "checkpoints" / "last") for name in ("timed", "plain"))
    assert flat(one) == flat(other)
    logs = [[{**line, "seconds": 0} for line in read_log(tmp_path / name)] for name in ("timed", "plain")]
    assert logs[0] == logs[1]
    configs = [(tmp_path / name / "config.toml").read_bytes() for name in ("timed", "plain")]
    assert configs[0] == configs[1]


def flat(value, path=()):
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {key: leaf for name, item in items for key, leaf in flat(item, (*path, name)).items()}
    return {path: value.numpy().tobytes() if isinstance(value, torch.Tensor) else value}


def test_an_algorithm_that_does_not_say_what_it_costs(windows, tmp_path):
    settings, tokenizer, data = windows
    (tmp_path / "own.py").write_text(PROPORTIONAL.replace("SCHEDULE", "OTHER"))
    settings = run_settings.resolve({**settings, "algorithm": {"name": f"{tmp_path / 'own.py'}:Proportional"}})
    timer = Timer()
    assert timer(settings, tokenizer, data) is settings
    assert timer.estimate is None
    with pytest.raises(UsageError, match=r"has no SCHEDULE.*leave out --minutes"):
        Timer(3)(settings, tokenizer, data)


@pytest.mark.parametrize("minutes", [0, -1, math.inf, math.nan])
def test_minutes_that_mean_nothing(minutes):
    with pytest.raises(UsageError, match="minutes must be above 0"):
        Timer(minutes)


def test_every_algorithm_of_the_table_says_what_it_costs():
    from seqgan_music import registry
    from seqgan_music.algorithms import ALGORITHMS

    for name in ALGORITHMS:
        factory = registry.resolve(ALGORITHMS, "algorithm", name)
        options = registry.options_of(factory)
        for entry in factory.SCHEDULE.values():
            named = {entry.records, entry.size, *entry.steps, *entry.steps.values()} - {None, ""}
            assert named <= set(options)


def test_a_training_of_some_minutes_by_the_function(known_costs, few_tunes, tiny_settings, tmp_path):
    heard = []
    tiny_settings["algorithm"] |= {"generator_epochs": 4, "rounds": 3}
    experiment.train(
        few_tunes,
        preset="quick",
        settings={**tiny_settings, "algorithm": {"rounds": 1, "rollouts": 1, "g_steps": 1}},
        directory=Path(tmp_path / "run"),
        minutes=0.01,
        evaluate=False,
        on_record=lambda record, _: heard.append((record.phase, record.of)),
    )
    assert heard == [("mle", 1), ("discriminator", 1), ("adversarial", 1)]


def test_a_machine_too_busy_for_an_estimate_is_no_reason_to_wait(windows, monkeypatch):
    settings, tokenizer, data = windows
    monkeypatch.setattr(timing, "PATIENCE", 0.0)
    timer = Timer()
    assert timer(settings, tokenizer, data) == settings
    assert timer.estimate is None
    (remark,) = timer.remarks()
    assert remark.startswith("no estimate of the time")
    fitted = Timer(1e-6)  # which needs the costs, whatever it takes
    assert fitted(settings, tokenizer, data) != settings
    assert fitted.estimate is not None


def test_costs_are_found_again_unless_a_schedule_is_fitted(windows, monkeypatch, tmp_path):
    settings, tokenizer, data = windows
    told = []
    first = Timer(cache=Cache(tmp_path), begins=lambda: told.append("clocking"))
    first(settings, tokenizer, data)
    monkeypatch.setattr(timing, "measure", lambda *_, **__: pytest.fail("clocked again"))
    again = Timer(cache=Cache(tmp_path), begins=lambda: told.append("clocking again"))
    again(settings, tokenizer, data)
    assert told == ["clocking"]
    assert again.estimate == first.estimate
    for other in (Timer(1.0, cache=Cache(tmp_path)), Timer(cache=Cache(tmp_path), evaluate=False)):
        with pytest.raises(pytest.fail.Exception):
            other(settings, tokenizer, data)
    compiled = jit.available()
    monkeypatch.setattr(jit, "available", lambda: not compiled)
    with pytest.raises(pytest.fail.Exception):
        Timer(cache=Cache(tmp_path))(settings, tokenizer, data)
