"""What an algorithm says after each of its epochs or rounds, and what the time of one depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

STAGES = ("random", "mle", "adversarial", "best")
"""Phases whose result is a generator, in their order, and the best round of the last."""


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the log.

    Parameters
    ----------
    phase : str
        ``"random"``, ``"mle"``, ``"discriminator"`` or ``"adversarial"``.
    step : int
        Epoch or round within the phase, from 1.
    of : int
        The most steps the phase can have.
    values : dict of str to float
        Measurements by name; see the glossary.
    completed : bool
        The phase has just ended, and the generator's weights are its result.
    """

    phase: str
    step: int
    of: int
    values: dict[str, float] = field(default_factory=dict)
    completed: bool = False


@dataclass(frozen=True, slots=True)
class Phase:
    """Which options say how long a phase takes, so that its time can be told from a small part of it.

    A size is an option that the time of a piece of work is proportional to; where that option is 0, and where it is
    "", the time is proportional to the windows of the training part.

    Parameters
    ----------
    records : str
        Option that counts the phase's records, at most; "" where there is one.
    size : str or None
        Of a record, apart from its steps; None where a record has a fixed part alone.
    steps : mapping of str to str
        Options that say how often a record repeats some work, and the size of each. Such an option may be 0.
    clocked_with : mapping
        Options to clock a record with, where the first costs less than those that follow.
    """

    records: str = ""
    size: str | None = None
    steps: Mapping[str, str] = field(default_factory=dict)
    clocked_with: Mapping[str, Any] = field(default_factory=dict)
