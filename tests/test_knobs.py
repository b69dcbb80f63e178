"""Every knob does something, and the one that must not change a result does not.

A new option needs a line here: another legal value, and where it only works beside others, those.
"""

import copy
from typing import Any

import pytest

from seqgan_music import checkpoint, config, registry, run_directory, run_settings
from seqgan_music.algorithms import ALGORITHMS
from seqgan_music.objectives import OBJECTIVES
from seqgan_music.run import Run

MLE = {"algorithm": {"name": "mle", "epochs": 2, "patience": 3, "batch_size": 32, "learning_rate": 1e-2}}
# So fast that some epoch is worse than the one before, long before the last.
WILD_MLE = {"algorithm": {"name": "mle", "epochs": 12, "patience": 12, "learning_rate": 0.1}}
WILD_SEQGAN = {"algorithm": {"generator_epochs": 12, "patience": 12, "generator_learning_rate": 0.1}}
ORGAN = {"reward": {"lambda": 0.5}, "objectives": {"tonality": 1.0, "ratio_of_steps": 1.0}}
NAIVE_RL = {"objectives": {"ratio_of_steps": 1.0}}
SCHEDULED = {"algorithm": {"name": "scheduled_sampling", "epochs": 3, "learning_rate": 1e-2, "omega_decay": 0.2}}
KNOBS: dict[tuple[str, str, str], Any] = {
    ("tokenizer", "grid", "steps_per_quarter"): 8,
    ("tokenizer", "grid", "low"): 60,
    ("tokenizer", "grid", "high"): 90,
    ("tokenizer", "grid", "metres"): [[2, 4], [4, 4]],
    ("tokenizer", "grid", "max_off_grid"): 0.0,
    ("tokenizer", "note", "steps_per_quarter"): 8,
    ("tokenizer", "note", "low"): 60,
    ("tokenizer", "note", "high"): 90,
    ("tokenizer", "note", "durations"): [1, 4],
    ("tokenizer", "note", "metres"): [[2, 4], [4, 4]],
    ("tokenizer", "note", "max_off_grid"): 0.0,
    ("tokenizer", "pitch", "step_seconds"): 0.5,
    ("tokenizer", "pitch", "step_quarters"): 0.25,
    ("tokenizer", "pitch", "metres"): [[2, 4], [4, 4]],
    ("tokenizer", "miditok:REMI", "steps_per_quarter"): 8,
    ("tokenizer", "miditok:REMI", "low"): 60,
    ("tokenizer", "miditok:REMI", "high"): 90,
    ("tokenizer", "miditok:REMI", "drums"): [36, 40],
    ("tokenizer", "miditok:REMI", "programs"): [0, 40],
    ("tokenizer", "miditok:REMI", "velocities"): 2,
    ("tokenizer", "miditok:REMI", "max_duration"): 8,
    ("tokenizer", "miditok:REMI", "metres"): [[2, 4], [4, 4]],
    ("tokenizer", "miditok:REMI", "max_off_grid"): 0.0,
    ("generator", "lstm", "embedding"): 12,
    ("generator", "lstm", "hidden"): 12,
    ("generator", "lstm", "layers"): 2,
    ("generator", "lstm", "dropout"): 0.5,
    ("generator", "lstm", "lookback"): [4, 8],
    ("discriminator", "cnn", "embedding"): 12,
    ("discriminator", "cnn", "filters"): [[1, 8], [3, 8]],
    ("discriminator", "cnn", "dropout"): 0.5,
    ("discriminator", "cnn", "l2"): 0.0,
    ("discriminator", "cnn", "self_similarity"): 8,
    ("loss", "wgan-gp", "weight"): 1.0,
    ("loss", "wgan-clip", "clip"): 0.1,
    ("algorithm", "seqgan", "batch_size"): 16,
    ("algorithm", "seqgan", "generator_epochs"): 1,
    ("algorithm", "seqgan", "patience"): (1, WILD_SEQGAN),
    ("algorithm", "seqgan", "generator_learning_rate"): 5e-3,
    ("algorithm", "seqgan", "discriminator_sets"): 1,
    ("algorithm", "seqgan", "discriminator_set_epochs"): 2,
    ("algorithm", "seqgan", "discriminator_samples"): 32,
    ("algorithm", "seqgan", "discriminator_learning_rate"): 2e-3,
    ("algorithm", "seqgan", "rounds"): 1,
    ("algorithm", "seqgan", "g_steps"): 2,
    ("algorithm", "seqgan", "d_steps"): 2,
    ("algorithm", "seqgan", "d_epochs"): 2,
    ("algorithm", "seqgan", "rollouts"): 3,
    ("algorithm", "seqgan", "rollout_rate"): 0.5,
    ("algorithm", "seqgan", "policy_learning_rate"): 5e-3,
    ("algorithm", "seqgan", "policy_batch_size"): 8,
    ("algorithm", "seqgan", "baseline"): "prefix",
    ("algorithm", "seqgan", "normalize_advantage"): True,
    ("algorithm", "seqgan", "likelihood_steps"): 1,
    ("algorithm", "seqgan", "kl"): 5.0,
    ("algorithm", "seqgan", "entropy_bonus"): 0.5,
    ("algorithm", "seqgan", "clip"): 0.01,
    ("algorithm", "seqgan", "memory_budget"): 1,
    ("algorithm", "mle", "epochs"): (1, MLE),
    ("algorithm", "mle", "patience"): (1, WILD_MLE),
    ("algorithm", "mle", "batch_size"): (16, MLE),
    ("algorithm", "mle", "learning_rate"): (5e-3, MLE),
    ("algorithm", "mle", "clip"): (0.01, MLE),
    ("algorithm", "scheduled_sampling", "epochs"): (2, SCHEDULED),
    ("algorithm", "scheduled_sampling", "batch_size"): (16, SCHEDULED),
    ("algorithm", "scheduled_sampling", "learning_rate"): (5e-3, SCHEDULED),
    ("algorithm", "scheduled_sampling", "clip"): (0.01, SCHEDULED),
    ("algorithm", "scheduled_sampling", "omega_start"): (0.7, SCHEDULED),
    ("algorithm", "scheduled_sampling", "omega_decay"): (0.4, SCHEDULED),
    ("algorithm", "scheduled_sampling", "omega_least"): (0.9, SCHEDULED),
    ("algorithm", "pg_bleu", "bleu_n"): 2,
    ("run", "", "seed"): 2,
    ("run", "", "precision"): "bfloat16",
    ("data", "", "length"): 20,
    ("data", "", "fractions"): [0.6, 0.2, 0.2],
    ("data", "", "split_seed"): 1,
    ("data", "", "transpose"): "key",
    ("reward", "", "lambda"): (0.2, ORGAN),
    ("reward", "", "uniqueness"): True,
    ("reward", "", "rescale"): ("batch", ORGAN),
    ("reward", "", "lambda_schedule"): ([[0, 0.2]], {"objectives": ORGAN["objectives"]}),
    ("reward", "", "programme"): ([[1, ["ratio_of_steps"]]], ORGAN),
    **{
        ("objectives", "", name): (3.0, {"reward": {"lambda": 0.5}, "objectives": dict.fromkeys(OBJECTIVES, 1.0)})
        for name in OBJECTIVES
    },
}
for _option in registry.options_of(registry.resolve(ALGORITHMS, "algorithm", "naive_rl")):
    # What SeqGAN has too means the same.
    _value = KNOBS["algorithm", "seqgan", _option]
    _value, _beside = _value if isinstance(_value, tuple) else (_value, {})
    KNOBS["algorithm", "naive_rl", _option] = (_value, {**NAIVE_RL, **_beside})
    KNOBS["algorithm", "pg_bleu", _option] = (_value, _beside)
CHANGES_NOTHING = {("algorithm", name, "memory_budget") for name in ("seqgan", "naive_rl", "pg_bleu")}
ELSEWHERE = {
    ("run", "", "device"),  # needs another device than a CPU
    # How much of melodies an evaluation takes the squared errors of, see tests/test_tokenizers_note.py.
    *(("tokenizer", name, "steps_per_token") for name in ("note", "miditok:REMI")),
    # These are of sequences that are no music, see tests/test_plain_tokens.py.
    *(("tokenizer", "tokens", option) for option in ("size", "words", "ends", "start")),
    # These need files, see tests/test_melody.py and tests/test_midi_events.py.
    *(("reading", "", option) for option in run_settings.DEFAULTS["reading"]),
}


def knobs():
    for section, table in run_settings.TABLES.items():
        for name in table:
            for option in registry.options_of(registry.resolve(table, section, name)):
                yield section, name, option
    for section in ("run", "reading", "data", "reward"):
        yield from ((section, "", option) for option in run_settings.DEFAULTS[section])
    yield from (("objectives", "", name) for name in OBJECTIVES)


@pytest.fixture(scope="module")
def outcome(tiny_experiment, tmp_path_factory):
    """What a run with some settings gives: metrics, weights and samples."""
    known = {}

    def run(settings):
        key = repr(settings)
        if key not in known:
            directory = tmp_path_factory.mktemp("knobs") / "run"
            list(tiny_experiment(directory, **settings))
            log = [{**line, "seconds": 0} for line in run_directory.read_log(directory)]
            generator = checkpoint.load(directory / "checkpoints" / "last")["parts"]["generator"]
            weights = {name: tensor.numpy().tobytes() for name, tensor in generator.items()}
            known[key] = log, weights, str(Run(directory).generate(8))
        return known[key]

    return run


def test_every_knob_has_a_line_and_every_line_a_knob():
    assert set(knobs()) == set(KNOBS) | ELSEWHERE
    assert set(ALGORITHMS) - {"random"} == {name for section, name, _ in KNOBS if section == "algorithm"}


@pytest.mark.parametrize("knob", KNOBS, ids=[".".join(filter(None, knob)) for knob in KNOBS])
def test_a_knob_changes_something(knob, outcome):
    section, name, option = knob
    if "miditok" in name:
        pytest.importorskip("miditok", reason="the extra miditok is not installed")
    value, beside = KNOBS[knob] if isinstance(KNOBS[knob], tuple) else (KNOBS[knob], {})
    base = copy.deepcopy(beside)
    if name:
        base.setdefault(section, {}).setdefault("name", name)
    turned = config.merge(base, {section: {option: value}})
    resolved = run_settings.resolve(base)
    assert resolved[section].get(option) != value, "that is what it is anyway"
    assert (outcome(turned) == outcome(base)) == (knob in CHANGES_NOTHING)


def test_clipping_reaches_the_adversarial_phase_too(tiny_experiment, tmp_path):
    def last_likelihood(name, clip):
        made = tiny_experiment(tmp_path / name)
        for record, _ in made:
            if record.phase == "discriminator":
                made.algorithm.policy.clip = clip  # pre-training is over and had its own
        return record.values["nll_validation"]

    assert last_likelihood("a", 0.0) != last_likelihood("b", 0.01)
