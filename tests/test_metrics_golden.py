"""Small fixed melodies in, stored numbers out: what any change of a metric's definition has to answer for.

``python tests/test_metrics_golden.py`` writes the numbers anew.
"""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest

from seqgan_music.evaluation import MelodySet, evaluate, finite
from seqgan_music.metrics import METRICS
from seqgan_music.metrics.sequences import Sequences

FILE = Path(__file__).parent / "golden" / "metrics.json"


def measured(values):
    """Every metric of the file's samples; objectives have tests of their own."""

    def melodies(name):
        return Sequences.from_lists(values[name]["events"])

    def of(name):
        metre = np.array(values[name]["metre"])
        return MelodySet.of_events(melodies(name), values["steps"], metre, values["steps_per_quarter"])

    result = evaluate(
        {name: of(name) for name in ("generated", "real")}, of("references"), training=melodies("training")
    )
    return {
        name: finite({metric: value for metric, value in row.items() if metric in METRICS})
        for name, row in result.rows.items()
    }


@pytest.fixture(scope="module")
def values():
    return json.loads(FILE.read_text("utf-8"))


@pytest.mark.parametrize("row", ["generated", "real"])
def test_the_numbers_are_those_stored(values, row):
    found = measured(values)[row]
    assert set(found) == set(METRICS) - {"nll"}, "every metric is held here but that of networks"
    assert found == pytest.approx(values["expected"][row], rel=1e-7, abs=1e-9)


def test_the_numbers_can_be_told_apart(values):
    """A golden file whose every number is 0 or 1 would hold nothing."""
    for row in values["expected"].values():
        informative = [value for value in row.values() if value is not None and value not in (0, 1)]
        assert len(informative) > 0.8 * len(row)
    generated, real = values["expected"]["generated"], values["expected"]["real"]
    same = [name for name in generated if generated[name] == real[name]]
    assert set(same) <= {"unique", "polyphony", "empty_beat_rate"}


@pytest.mark.parametrize("row", ["generated", "real"])
def test_the_simplest_of_them_are_those_of_plain_loops(values, row):
    tunes = [[(event % 129, event // 129) for event in tune] for tune in values[row]["events"]]
    expected = values["expected"][row]
    entropies, copied = [], []
    training = {tuple(tune[i : i + 4]) for tune in values["training"]["events"] for i in range(len(tune) - 3)}
    for tune, events in zip(tunes, values[row]["events"], strict=True):
        classes = [pitch % 12 for pitch, _ in tune if pitch < 128]
        shares = [classes.count(kind) / len(classes) for kind in set(classes)]
        entropies.append(-sum(share * math.log2(share) for share in shares))
        grams = [tuple(events[i : i + 4]) for i in range(len(events) - 3)]
        copied.append(sum(gram in training for gram in grams) / len(grams))
    assert expected["pitch_class_entropy"] == pytest.approx(np.mean(entropies))
    assert expected["copied_4"] == pytest.approx(np.mean(copied))
    pairs = [pair for tune in values[row]["events"] for pair in itertools.pairwise(tune)]
    assert expected["distinct_2"] == pytest.approx(len(set(pairs)) / len(pairs))


if __name__ == "__main__":
    stored = json.loads(FILE.read_text("utf-8"))
    stored["expected"] = measured(stored)
    lines = [f'"{key}": {json.dumps(value)}' for key, value in stored.items()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
