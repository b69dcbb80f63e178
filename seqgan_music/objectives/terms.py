"""A term of the reward: an objective, and which of its values are wanted.

A term is written as text, the same on the command line and as a key of the settings' section ``[objectives]``:

==========================  =====================================================================
``tonality``                the more, the better
``note_density~0.3``        a target: 0.3 is best
``note_density~0.2..0.4``   a range: anything within it is best
``tonality>=0.4``           a constraint: more than 0.4 earns no more
``pitch_range<=0.5``        likewise: less than 0.5 earns no more
``./mine.py:warmth~0.3``    an objective of one's own; see `seqgan_music.objectives.own`
==========================  =====================================================================

On the command line ``=WEIGHT`` may follow. All before the last colon belongs to the name, whatever a path is made of.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seqgan_music import registry
from seqgan_music.errors import UsageError
from seqgan_music.objectives import OBJECTIVES

if TYPE_CHECKING:
    from torch import Tensor

    from seqgan_music.notes import Melodies
    from seqgan_music.objectives import Objective

FORMS = "name, name~0.3, name~0.2..0.4, name>=0.4 or name<=0.4, and =0.5 after it for a weight"
# After the last colon; the part of a shape that is no number is refused where it is read.
_TEXT = re.compile(r"(?P<name>[^~<>=]*)((?P<sign>~|>=|<=)(?P<goal>[^~<>=]*))?(=(?P<weight>[^~<>=]*))?")


@dataclass(frozen=True, slots=True)
class Wish:
    """Which values of an objective are wanted: a range, of which a target and a constraint are cases.

    Parameters
    ----------
    low, high : float
        The best values; within [0, 1], and not all of it.
    """

    low: float
    high: float

    def __str__(self) -> str:
        if self.low == self.high:
            return f"near {self.low:g}"
        if self.high == 1:
            return f"at least {self.low:g}"
        return f"between {self.low:g} and {self.high:g}" if self.low else f"at most {self.high:g}"

    def pay(self, values: Tensor) -> Tensor:
        """What values (B,) are worth, in [0, 1]; NaN stays NaN.

        1 within the range; outside it falls with the distance, to 0 at the end of [0, 1] that is further away. So a
        target t pays 1 - |v - t| / max(t, 1 - t), ``>=c`` pays min(v, c) / c and ``<=c`` min(1 - v, 1 - c) / (1 - c).
        """
        distance = (self.low - values).clamp(min=0) + (values - self.high).clamp(min=0)
        return (1 - distance / max(self.low, 1 - self.high)).clamp(0, 1)


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """An objective and which of its values are wanted; made by `read`.

    Parameters
    ----------
    text : str
        As it was written, without a weight: its name in settings, logs and reports.
    name : str
        Of the objective.
    objective : Objective
    wish : Wish, optional
        Left out, more is better.
    """

    text: str
    name: str
    objective: Objective
    wish: Wish | None = None

    @property
    def title(self) -> str:
        """The objective's, and what is wanted of it."""
        return self.objective.title + (f", {self.wish}" if self.wish else "")

    @property
    def description(self) -> str:
        """The objective's."""
        return self.objective.description

    @property
    def per_piece(self) -> bool:
        """Whether the objective is a function of one piece, which Python calls for every melody that is new."""
        return bool(getattr(self.objective, "per_piece", False))

    @property
    def cost(self) -> str | None:
        """How often a function of one piece was called so far and how long it took, or None."""
        cost: str | None = getattr(self.objective, "cost", None)
        return cost

    @property
    def seconds_each(self) -> float | None:
        """Mean time of a call of a function of one piece so far, or None."""
        seconds: float | None = getattr(self.objective, "seconds_each", None)
        return seconds

    def value(self, melodies: Melodies) -> Tensor:
        """The objective itself, (B,) in [0, 1], NaN where undefined.

        Raises
        ------
        Failure
            Code outside the package raised, or gave something else.
        """
        return self.objective(melodies)

    def pay(self, values: Tensor) -> Tensor:
        """What values (B,) of the objective are worth, in [0, 1]; NaN stays NaN."""
        return values if self.wish is None else self.wish.pay(values)

    def __call__(self, melodies: Melodies) -> Tensor:
        """What melodies are worth, (B,) in [0, 1], NaN where the objective is undefined."""
        return self.pay(self.value(melodies))


def read(text: str, *, own_code: bool = False) -> Term:
    """A term from its text.

    Parameters
    ----------
    text : str
        As this module's description has it, without a weight.
    own_code : bool
        Whether the user gave it now, so that code outside the package may be loaded.

    Raises
    ------
    UsageError
        It cannot be read, the objective is unknown (with the nearest name), or is code that cannot be used.
    """
    name, wish, weight = _parts(text)
    if weight is not None:
        plain = text[: -len(weight) - 1]
        raise UsageError(f"objective {text!r} has its weight in its name; in the settings write {plain!r} = {weight}")
    if ":" in name:
        from seqgan_music.objectives import own

        return Term(text, name, own.load(name, own_code=own_code), wish)
    factory = registry.resolve(OBJECTIVES, "objective", name)
    return Term(text, name, factory(), wish)


def name_and_wish(text: str) -> tuple[str, Wish | None]:
    """The objective's name in a term's text, and what is wanted of it; nothing is loaded.

    Examples
    --------
    >>> name_and_wish("./mine.py:warmth~0.3")
    ('./mine.py:warmth', Wish(low=0.3, high=0.3))
    """
    name, wish, _ = _parts(text)
    return name, wish


def parse_option(text: str) -> tuple[str, float]:
    """A term's text and its weight, 1 unless given, from what stands behind ``-O``; nothing is loaded.

    Raises
    ------
    UsageError
        It cannot be read.

    Examples
    --------
    >>> parse_option("note_density~0.2..0.4=0.5")
    ('note_density~0.2..0.4', 0.5)
    >>> parse_option("tonality>=0.4")
    ('tonality>=0.4', 1.0)
    """
    _, _, weight = _parts(text)
    if weight is None:
        return text, 1.0
    try:
        value = float(weight)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"objective {text!r}: the weight {weight!r} is not a number; write {FORMS}")
    return text[: -len(weight) - 1], value


def _parts(text: str) -> tuple[str, Wish | None, str | None]:
    """Name, wish and weight of a text, the weight unread."""
    place, colon, rest = text.rpartition(":")
    found = _TEXT.fullmatch(rest)
    if found is None:
        raise UsageError(f"objective {text!r} cannot be read; write {FORMS}")
    attribute = found["name"]
    file = any(mark in (rest if not colon else attribute) for mark in "/\\") or attribute.endswith(".py")
    if file or (colon and not (place and attribute.isidentifier())):
        raise UsageError(f"objective {text!r} does not say which function or class of it; write ./mine.py:name")
    if not attribute:
        raise UsageError(f"objective {text!r} has no name; write {FORMS}")
    return place + colon + attribute, _wish(text, found["sign"], found["goal"]), found["weight"]


def _wish(text: str, sign: str | None, goal: str) -> Wish | None:
    if sign is None:
        return None
    if sign == "~":
        lowest, dots, highest = goal.partition("..")
        low = _fraction(text, lowest)
        high = _fraction(text, highest) if dots else low
    else:
        bound = _fraction(text, goal)
        low, high = (bound, 1.0) if sign == ">=" else (0.0, bound)
    if low > high:
        raise UsageError(f"objective {text!r}: write a range from low to high, as ~{high:g}..{low:g}")
    if low == 0 and high == 1:
        raise UsageError(f"objective {text!r} asks for nothing: every value lies within 0 and 1; name other bounds")
    return Wish(low, high)


def _fraction(text: str, number: str) -> float:
    try:
        value = float(number)
    except ValueError:
        raise UsageError(f"objective {text!r}: {number!r} is not a number; write {FORMS}") from None
    if not 0 <= value <= 1:
        raise UsageError(f"objective {text!r}: {number} lies outside [0, 1], where all objectives lie")
    return value
