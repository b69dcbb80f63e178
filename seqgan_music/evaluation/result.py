"""What an evaluation gives: a table of measurements, and what each of them means."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from seqgan_music.evaluation.objectives import Objectives
from seqgan_music.metrics import Metric

if TYPE_CHECKING:
    from seqgan_music.evaluation.melodies import MelodySet
    from seqgan_music.evaluation.tokens import TokenSet

COLUMNS = (
    "bleu_4",
    "mse_nearest",
    "mse_pairs",
    "self_bleu_4",
    "unique",
    "copied_8",
    "overlap_area",
    "bars_back",
    "nll",
)
"""What is looked at first."""
REAL = "real"
ANCHORS = (REAL, "Markov-1", "Markov-2", "uniform")
SampleSet: TypeAlias = "MelodySet | TokenSet"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A table of measurements.

    Parameters
    ----------
    rows : dict of str to dict of str to float
        Set of samples → metric (a name of `metrics`) → value; NaN where it is not defined.
    facts : dict
        Sizes, smoothing, versions: what the numbers depend on.
    scores : dict of str to dict of str to ndarray
        Set of samples → metric → one number for each sample (M,), NaN where it is not defined, for the metrics that
        judge a sample by itself. A row's value is their mean over what is defined.
    sets : dict of str to MelodySet or TokenSet
        What was measured.
    references : MelodySet or TokenSet, optional
        What it was measured against.
    objectives : Objectives
        Those that were measured.
    """

    rows: dict[str, dict[str, float]]
    facts: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    sets: Mapping[str, SampleSet] = field(default_factory=dict)
    references: SampleSet | None = None
    objectives: Objectives = field(default_factory=Objectives.built_in)

    @property
    def metrics(self) -> dict[str, Metric]:
        """What its columns mean."""
        return self.objectives.metrics

    @property
    def columns(self) -> list[str]:
        """Those that are looked at first."""
        return [name for name in COLUMNS if name in self.metrics]

    def to_dict(self) -> dict[str, Any]:
        """Rows, facts, what the metrics mean and which objectives are looked at first, for JSON: NaN becomes None."""
        rows = {row: finite(values) for row, values in self.rows.items()}
        meanings = {name: asdict(metric) for name, metric in self.metrics.items()}
        return {"rows": rows, "facts": self.facts, "metrics": meanings, "objectives": self.objectives.columns}


def finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """Values for JSON, which knows no NaN and no infinity: None in their place."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
