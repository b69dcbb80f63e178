"""What an algorithm says after each of its epochs or rounds."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the log.

    Parameters
    ----------
    phase : str
        ``"mle"``, ``"discriminator"`` or ``"adversarial"``.
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
