import os
import sys

import pytest

from seqgan_music import registry, run_directory, run_settings
from seqgan_music.errors import UsageError
from seqgan_music.experiment import Experiment
from seqgan_music.objectives import OBJECTIVES
from seqgan_music.registry import check_options, describe, options_of, resolve

TABLE = {"lstm": "seqgan_music.generators.lstm:LSTMGenerator", "gru": "seqgan_music.nowhere:Nothing"}
OWN = """
from pathlib import Path
from seqgan_music.generators.lstm import LSTMGenerator
Path({marker!r}).touch()
class Mine(LSTMGenerator):
    "My own."
"""


@pytest.fixture
def own_code(tmp_path):
    """A user's file, and the file that it makes when it is loaded."""
    marker = tmp_path / "marker"
    file = tmp_path / "my models.py"
    file.write_text(OWN.format(marker=str(marker)), encoding="utf-8")
    return file, marker


def test_a_name_of_the_table_loads_only_what_it_names():
    assert resolve(TABLE, "generator", "lstm").__name__ == "LSTMGenerator"


@pytest.mark.parametrize("own", [False, True])
def test_an_unknown_name_is_refused_with_the_nearest_or_all(own):
    with pytest.raises(UsageError, match=r"unknown generator 'lsmt'; did you mean 'lstm'\?"):
        resolve(TABLE, "generator", "lsmt", own_code=own)
    with pytest.raises(UsageError, match="unknown generator 'transformer'; there are: lstm, gru"):
        resolve(TABLE, "generator", "transformer", own_code=own)
    with pytest.raises(UsageError, match="must be a text, not 5"):
        resolve(TABLE, "generator", 5, own_code=own)


def test_ones_own_file_and_module_work_where_a_name_does(own_code):
    file, marker = own_code
    assert describe(resolve(TABLE, "generator", f"{file}:Mine", own_code=True)) == "My own."
    assert marker.exists()
    assert resolve(TABLE, "generator", "seqgan_music.generators.lstm:LSTMState", own_code=True).__name__ == "LSTMState"


def test_a_files_code_has_the_name_of_its_module(tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    (tmp_path / "mine.py").write_text("def value(): pass\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path / "there")
    value = resolve({}, "objective", "../mine.py:value", own_code=True)
    assert value.__code__.co_filename == sys.modules[value.__module__].__file__ == str(tmp_path / "mine.py")


def test_a_file_that_changed_within_a_second_is_read_again(tmp_path):
    file = tmp_path / "mine.py"
    for nanoseconds, number in enumerate((10, 20)):
        file.write_text(f"def value():\n    return {number}\n", encoding="utf-8")
        os.utime(file, ns=(10**18 + nanoseconds, 10**18 + nanoseconds))
        assert resolve({}, "objective", f"{file}:value", own_code=True)() == number
    assert list(tmp_path.iterdir()) == [file], "nothing is left beside it"


def test_ones_own_code_is_not_loaded_unless_the_user_named_it(own_code):
    file, marker = own_code
    for name in (f"{file}:Mine", "os:system", "seqgan_music.generators.lstm:LSTMState"):
        with pytest.raises(UsageError, match="does not get to load by itself"):
            resolve(TABLE, "generator", name)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere.py:Net", r"no such file: nowhere\.py"),
        ("no_such_module:Net", "cannot import 'no_such_module'"),
        (":Net", "cannot import ''"),
        ("seqgan_music.losses:Nothing", "has nothing named 'Nothing'"),
    ],
)
def test_own_code_that_cannot_be_found_is_named(name, says):
    with pytest.raises(UsageError, match=says):
        resolve(TABLE, "generator", name, own_code=True)


def test_own_code_that_raises_is_named_with_what_it_raised(tmp_path):
    file = tmp_path / "bad.py"
    file.write_text("1 / 0")
    with pytest.raises(UsageError, match=r"bad\.py cannot be loaded: ZeroDivisionError"):
        resolve(TABLE, "generator", f"{file}:Net", own_code=True)


def component(data, *, size: int = 1, rate: float = 0.5, fast: bool = False, label: str = "", any_="x"):
    """One line.

    More.
    """


def test_options_are_the_keyword_only_arguments():
    assert options_of(component) == {"size": 1, "rate": 0.5, "fast": False, "label": "", "any_": "x"}
    assert describe(component) == "One line."


def test_an_unknown_option_is_refused_with_those_there_are():
    with pytest.raises(UsageError, match=r"thing has no option 'sise'; did you mean 'size'\? it has: .*label, rate"):
        check_options(component, {"sise": 2}, "thing")
    with pytest.raises(UsageError, match="has no option 'data'"):  # positional: not the user's to give
        check_options(component, {"data": 2}, "thing")


@pytest.mark.parametrize("options", [{"size": 2, "rate": 1, "fast": True, "label": "a", "any_": [1]}, {"rate": 0.1}])
def test_values_of_the_right_kind_pass(options):
    check_options(component, options, "thing")


@pytest.mark.parametrize(
    "options", [{"size": "many"}, {"size": 1.5}, {"size": True}, {"rate": "x"}, {"fast": 1}, {"label": 3}]
)
def test_a_value_of_another_kind_is_refused_with_its_option(options):
    with pytest.raises(UsageError, match=f"thing: {next(iter(options))} must be "):
        check_options(component, options, "thing")


@pytest.mark.parametrize("kind", [*run_settings.TABLES, "objective"])
def test_every_entry_of_every_table_loads_and_describes_itself(kind):
    for name, where in {**run_settings.TABLES, "objective": OBJECTIVES}[kind].items():
        factory = resolve({name: where}, kind, name)
        assert describe(factory).endswith("."), where


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"generatr": {}}, r"unknown section \[generatr\]; there are: .*generator"),
        ({"generator": {"hiden": 4}}, "did you mean 'hidden'"),
        ({"generator": {"name": "lstn"}}, "did you mean 'lstm'"),
        ({"data": {"lenght": 4}}, r"\[data\] has no option 'lenght'; it has: length"),
        ({"objectives": {"tonalty": 1}}, "unknown objective 'tonalty'; did you mean 'tonality'"),
        ({"algorithm": {"rounds": "many"}}, "rounds must be a whole number, not 'many'"),
    ],
)
def test_settings_that_no_component_knows_are_refused(settings, says):
    with pytest.raises(UsageError, match=says):
        run_settings.resolve(settings)


@pytest.mark.parametrize(("section", "attribute"), [("generator", "Mine"), ("objectives", "Mine")])
def test_a_run_directory_does_not_get_to_load_code(own_run, own_code, section, attribute):
    file, marker = own_code
    text = (own_run / run_directory.CONFIG).read_text("utf-8")
    name = f"{file}:{attribute}"
    if section == "generator":
        text = text.replace('name = "lstm"', f'name = "{name}"')
    else:
        text = text.replace("[objectives]", f'[objectives]\n"{name}" = 1.0')
    (own_run / run_directory.CONFIG).write_text(text, "utf-8")
    with pytest.raises(UsageError, match="does not get to load by itself"):
        Experiment.resume(own_run)
    if section == "generator":
        from seqgan_music.run import Run

        with pytest.raises(UsageError, match="does not get to load by itself"):
            Run(own_run).generate(1)
    assert not marker.exists()


def test_own_code_named_by_the_user_is_trained(own_code, tiny_corpus, tiny_settings, tmp_path):
    file, _ = own_code
    tiny_settings["generator"] = {"name": f"{file}:Mine", "hidden": 8}
    made = Experiment.create(tiny_corpus, tiny_settings, tmp_path / "run")
    assert type(made.parts.generator).__name__ == "Mine"
    assert registry.options_of(type(made.parts.generator))["hidden"] == 128


class Base:
    """What derived classes share."""

    def __init__(self, parts, *, size: int = 4, rate: float = 0.5):
        self.options = {"size": size, "rate": rate}


class Derived(Base):
    """Hands on what is not its own."""

    def __init__(self, parts, *, depth: int = 2, **options):
        super().__init__(parts, **options)
        self.options["depth"] = depth


class Further(Derived):
    """Has no constructor of its own."""


class Closed(Base):
    """Hands nothing on."""

    def __init__(self, parts, *, depth: int = 2):
        super().__init__(parts)


def handing(parts, *, depth=2, **anything):
    """A function has no class to hand on to."""


@pytest.mark.parametrize("factory", [Derived, Further])
def test_options_that_are_handed_on_are_options(factory):
    assert options_of(factory) == {"size": 4, "rate": 0.5, "depth": 2}
    check_options(factory, {"size": 5, "depth": 3}, "thing")
    assert factory(None, size=5, depth=3).options == {"size": 5, "rate": 0.5, "depth": 3}
    with pytest.raises(UsageError, match=r"thing: size must be a whole number, not 0\.5"):
        check_options(factory, {"size": 0.5}, "thing")
    with pytest.raises(UsageError, match="no option 'sise'; did you mean 'size'"):
        check_options(factory, {"sise": 5}, "thing")


@pytest.mark.parametrize("factory", [Closed, handing])
def test_options_that_are_not_handed_on_are_none(factory):
    assert options_of(factory) == {"depth": 2}
