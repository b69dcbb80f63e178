import numpy as np
import pytest

from seqgan_music import config, experiment, run_settings, token_file
from seqgan_music.config import merge, parse_assignment, preset, preset_names, read_config
from seqgan_music.errors import UsageError


def test_later_layers_lie_on_top_and_the_lower_ones_stay_as_they_are():
    low, high = {"data": {"length": 32, "seed": 1}}, {"data": {"length": 64}, "run": {"seed": 2}}
    assert merge(low, high) == {"data": {"length": 64, "seed": 1}, "run": {"seed": 2}}
    assert low == {"data": {"length": 32, "seed": 1}}
    assert merge() == {}


def test_another_component_starts_without_the_options_of_the_one_before():
    low = {"algorithm": {"name": "seqgan", "rounds": 5}}
    assert merge(low, {"algorithm": {"name": "mle"}}) == {"algorithm": {"name": "mle"}}
    assert merge(low, {"algorithm": {"name": "seqgan"}}) == low
    assert merge(low, {"algorithm": {"g_steps": 2}}) == {"algorithm": {"name": "seqgan", "rounds": 5, "g_steps": 2}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("20", 20),
        ("2e-3", 2e-3),
        ("true", True),
        ("[[1, 8], [2, 4]]", [[1, 8], [2, 4]]),
        ('"20"', "20"),
        ("lstm", "lstm"),
        ("./my models.py:Net", "./my models.py:Net"),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_values_are_read_as_toml_or_else_as_they_stand(text, value):
    assert parse_assignment(f"section.option={text}") == {"section": {"option": value}}


@pytest.mark.parametrize("text", ["rounds=2", "algorithm.rounds", "algorithm.=2", ".rounds=2", "", "="])
def test_an_assignment_that_cannot_be_read_says_how_to_write_it(text):
    with pytest.raises(UsageError, match=r"--set .* section\.option=value"):
        parse_assignment(text)


def test_a_file_of_settings(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('[generator]\nname = "lstm"\n', encoding="utf-8")
    assert read_config(file) == {"generator": {"name": "lstm"}}


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"[generator\n", "not valid TOML"), (b"\xff\xfe", "not valid TOML"), (b"rounds = 2\n", "outside a section")],
)
def test_a_bad_file_of_settings_is_named_with_what_is_wrong(tmp_path, content, says):
    (tmp_path / "mine.toml").write_bytes(content)
    with pytest.raises(UsageError, match=says) as refusal:
        read_config(tmp_path / "mine.toml")
    assert "mine.toml" in str(refusal.value)


def test_a_missing_file_or_preset_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"none\.toml"):
        read_config(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="cannot read"):
        read_config(tmp_path)
    with pytest.raises(UsageError, match=r"unknown preset 'fast'.*default.*quick"):
        preset("fast")


def test_the_presets_of_the_readme_exist():
    assert {"default", "paper", "quick"} <= set(preset_names())


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_resolves_and_names_its_components(name):
    settings = preset(name)
    resolved = run_settings.resolve(settings)
    for section, options in settings.items():
        if section in run_settings.TABLES:
            assert "name" in options, "or its options would be taken for another component's"
        for option, value in options.items():
            assert resolved[section][option] == value
    assert set(resolved) == set(run_settings.DEFAULTS)


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_trains_for_two_steps(name, tiny_corpus, tiny_settings, tmp_path):
    sizes = {
        "run": {"device": "cpu"},
        "generator": {"embedding": 8, "hidden": 8},
        "discriminator": {"embedding": 8},
        "algorithm": {
            "batch_size": 16,
            "generator_epochs": 2,
            "discriminator_sets": 2,
            "discriminator_samples": 16,
            "rounds": 2,
            "policy_batch_size": 16,
        },
    }
    settings = merge(config.preset(name), sizes)
    source = tiny_corpus
    if not run_settings.is_music(run_settings.resolve(settings)):
        length = settings.get("data", {}).get("length", 20)
        source = token_file.from_sequences(np.random.default_rng(0).integers(0, 30, (100, length)).tolist())
    made = experiment.Experiment.create(source, settings, tmp_path / "run")
    steps = [(record.phase, record.step) for record, _ in made]
    assert steps == [(phase, step) for phase in ("mle", "discriminator", "adversarial") for step in (1, 2)]
