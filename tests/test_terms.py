import math
import subprocess
import sys

import pytest
import torch

from seqgan_music import run_settings
from seqgan_music.errors import UsageError
from seqgan_music.objectives.intervals import Tonality
from seqgan_music.objectives.terms import Wish, parse_option, read
from seqgan_music.tokenizers.grid import GridTokenizer

GRID = GridTokenizer(low=48, high=93)
VALUES = torch.tensor([0.0, 0.1, 0.3, 0.5, 0.75, 1.0, math.nan])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tonality", [0, 0.1, 0.3, 0.5, 0.75, 1]),
        ("tonality~0.3", [1 - 0.3 / 0.7, 1 - 0.2 / 0.7, 1, 1 - 0.2 / 0.7, 1 - 0.45 / 0.7, 0]),
        ("tonality~0", [1, 0.9, 0.7, 0.5, 0.25, 0]),
        ("tonality~1", [0, 0.1, 0.3, 0.5, 0.75, 1]),
        ("tonality~0.3..0.5", [0.4, 0.6, 1, 1, 0.5, 0]),
        ("tonality~.3..5e-1", [0.4, 0.6, 1, 1, 0.5, 0]),
        ("tonality>=0.5", [0, 0.2, 0.6, 1, 1, 1]),
        ("tonality>=1", [0, 0.1, 0.3, 0.5, 0.75, 1]),
        ("tonality<=0.5", [1, 1, 1, 1, 0.5, 0]),
        ("tonality<=0", [1, 0.9, 0.7, 0.5, 0.25, 0]),
    ],
)
def test_what_a_value_is_worth(text, expected):
    torch.testing.assert_close(read(text).pay(VALUES), torch.tensor([*expected, math.nan]), equal_nan=True)


@pytest.mark.parametrize("wish", [Wish(0.1, 0.1), Wish(0.9, 0.9), Wish(0.2, 0.7), Wish(0.3, 1.0), Wish(0.0, 0.7)])
def test_pay_lies_in_0_to_1_and_reaches_both(wish):
    pay = wish.pay(torch.linspace(0, 1, 1001))
    assert pay.min().item() == pytest.approx(0, abs=1e-6)
    assert pay.max().item() == 1
    assert ((pay >= 0) & (pay <= 1)).all()


def test_a_term_pays_for_its_objective_s_value():
    term = read("tonality>=0.4")
    melodies = GRID.melodies(torch.tensor([[14, 21, 14, 21], [14, 16, 17, 19], [14, 21, 23, 14], [14, 1, 1, 1]]))
    assert isinstance(term.objective, Tonality)
    torch.testing.assert_close(term.value(melodies), torch.tensor([1, 0, 1 / 3, math.nan]), equal_nan=True)
    torch.testing.assert_close(term(melodies), torch.tensor([1, 0, 1 / 1.2, math.nan]), equal_nan=True)
    assert (term.text, term.name) == ("tonality>=0.4", "tonality")
    assert (term.per_piece, term.cost, term.seconds_each) == (False, None, None)


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("tonality", "tonality"),
        ("tonality~0.30", "tonality, near 0.3"),
        ("tonality~0..0.3", "tonality, at most 0.3"),
        ("tonality<=0.3", "tonality, at most 0.3"),
        ("tonality>=0.3", "tonality, at least 0.3"),
        ("tonality~0.2..0.3", "tonality, between 0.2 and 0.3"),
    ],
)
def test_a_title_says_what_is_wanted(text, title):
    assert read(text).title == title
    assert read(text).description == Tonality.description


@pytest.mark.parametrize(
    ("option", "text", "weight"),
    [
        ("tonality", "tonality", 1.0),
        ("tonality=2", "tonality", 2.0),
        ("tonality=-1", "tonality", -1.0),  # refused with the other weights
        ("tonality~0.3=1e-1", "tonality~0.3", 0.1),
        ("tonality~0.2..0.4=5", "tonality~0.2..0.4", 5.0),
        ("tonality>=0.4", "tonality>=0.4", 1.0),
        ("tonality<=0.4=0.5", "tonality<=0.4", 0.5),
        ("./mine.py:warmth", "./mine.py:warmth", 1.0),
        ("~/a=b/c>=d~0.mine.py:warmth=0.3", "~/a=b/c>=d~0.mine.py:warmth", 0.3),
        (r"C:\RUNNER~1\mine.py:warmth~0.3=2", r"C:\RUNNER~1\mine.py:warmth~0.3", 2.0),
        ("package.module:warmth>=0.5=2", "package.module:warmth>=0.5", 2.0),
    ],
)
def test_an_option_is_a_term_and_its_weight(option, text, weight):
    assert parse_option(option) == (text, weight)


UNREADABLE = {
    "tonality>0.4": "'tonality>0.4' cannot be read; write name, name~0.3, name~0.2..0.4, name>=0.4 or name<=0.4",
    "tonality=>0.4": "cannot be read",
    "tonality~0.3~0.4": "cannot be read",
    "tonality=1~0.4": "cannot be read",
    "tonality~1.2": r"1.2 lies outside \[0, 1\]",
    "tonality~-0.1": r"-0.1 lies outside \[0, 1\]",
    "tonality~nan": r"nan lies outside \[0, 1\]",
    "tonality>=2": r"2 lies outside \[0, 1\]",
    "tonality~": "'' is not a number",
    "tonality~0.2..": "'' is not a number",
    "tonality~0.2-0.4": "'0.2-0.4' is not a number",
    "tonality>=0.2..0.4": "'0.2..0.4' is not a number",
    "tonality~0.4..0.2": "write a range from low to high, as ~0.2..0.4",
    "tonality>=0": "asks for nothing",
    "tonality<=1": "asks for nothing",
    "tonality~0..1": "asks for nothing",
    "": "has no name",
    "~0.4": "has no name",
    "=2": "has no name",
    "./mine.py": "which function or class of it; write ./mine.py:name",
    "mine.py~0.3": "which function or class of it",
    "~/mine.py": "which function or class of it",
    "./mine.py:": "which function or class of it",
    r"C:\mine.py": "which function or class of it",
    ":warmth": "which function or class of it",
}


@pytest.mark.parametrize("text", UNREADABLE)
def test_what_cannot_be_read_is_refused_wherever_it_stands(text):
    for reader in (read, parse_option):
        with pytest.raises(UsageError, match=UNREADABLE[text]) as refused:
            reader(text)
        assert "\n" not in str(refused.value)
    with pytest.raises(UsageError, match=UNREADABLE[text]):
        run_settings.resolve({"objectives": {text: 1.0}})


@pytest.mark.parametrize("option", ["tonality=high", "tonality=", "tonality=nan", "tonality>=0.4=inf"])
def test_a_weight_is_a_number(option):
    with pytest.raises(UsageError, match="is not a number; write name"):
        parse_option(option)


def test_names_are_the_registry_s():
    with pytest.raises(UsageError, match="unknown objective 'tonalty'; did you mean 'tonality'"):
        read("tonalty~0.3")
    with pytest.raises(UsageError, match="does not get to load by itself"):
        read("os:getcwd")
    with pytest.raises(UsageError, match=r"weight in its name; in the settings write 'tonality' = 0\.3"):
        read("tonality=0.3")


def test_the_same_objective_may_be_wanted_in_several_ways():
    wanted = {"tonality>=0.2": 1.0, "tonality~0.1..0.5": 2, "tonality": 0.0}
    resolved = run_settings.resolve({"objectives": wanted})
    assert resolved["objectives"] == wanted
    assert resolved["reward"]["lambda"] == 0.5


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"objectives": {"tonality": -1.0, "melodicity": 2.0}}, "weight of objective 'tonality' must not be negative"),
        ({"objectives": {"tonality": math.inf}}, "negative or infinite"),
        ({"objectives": {"tonality": "0.3"}}, "weight of objective 'tonality' must be a number"),
        ({"objectives": {"tonality": 0.0, "melodicity": 0}}, "weight above 0"),
        ({"objectives": {"tonality": 1.0}, "reward": {"lambda": 1.5}}, r"lambda must lie in \[0, 1\]"),
        ({"objectives": {"tonality": 1.0}, "reward": {"lambda": -0.5}}, r"lambda must lie in \[0, 1\]"),
        ({"reward": {"lambda": 0.5}}, "needs an objective"),
    ],
)
def test_a_reward_that_means_nothing_is_refused_before_anything_is_read(settings, says):
    with pytest.raises(UsageError, match=says):
        run_settings.resolve(settings)


def test_an_option_is_read_without_loading_torch():
    code = (
        "import sys; from seqgan_music.objectives import terms; terms.parse_option('tonality~0.3=2'); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
