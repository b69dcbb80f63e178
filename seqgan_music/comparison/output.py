"""A comparison to read, to draw and to compute with: Markdown, a picture, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqgan_music import files
from seqgan_music.comparison.statistics import CONFIDENCE
from seqgan_music.evaluation import REAL, finite
from seqgan_music.evaluation.objectives import STEERED

if TYPE_CHECKING:
    from seqgan_music.comparison import Comparison, Configuration, Contrast, Row

NAME = "compare"  # of the files, without their ending
TESTS = {
    ("seeds", "distance"): "distance, seeds",
    ("paired", "distance"): "distance, paired",
    ("seeds", "value"): "value, seeds",
    ("paired", "value"): "value, paired",
    ("samples", "value"): "value, samples",
}  # (kind, of) of a contrast → head of its column
EXPLANATION = (
    "Every cell is mean ± standard deviation over seeds. Read each column against *real*, whose value is the target, "
    "but for those marked ↓, of which lower is better. *Distance* is |value − real| of each seed: less of it is nearer "
    "to real.\n\n"
    "p-values are of two-sided t-tests. *Seeds*: Welch's over seeds. *Paired*: Student's over seeds, of two stages of "
    "the same runs. *Samples*: Welch's over single samples, which takes those of one run for independent of the luck "
    "of its training; it says that these networks differ, not that the settings do. All are corrected by Holm's "
    "method; a family is one column of p-values over all tables below ({sizes})."
)


def markdown(comparison: Comparison, head: Sequence[str] = ("# Comparison",)) -> str:
    """Means, tests and every point, as tables that read as plain text too; `head` are the blocks that come first."""
    names = comparison.metrics
    columns = ["", "seeds", *(_head(comparison, name) for name in names)]
    lines = [
        [label, str(len(row.seeds)), *(_mean_and_spread(row.values[name]) for name in names)]
        for label, row in comparison.rows.items()
    ]
    lines += [
        [label, "", *(_figure(values[name], values[name]) for name in names)]
        for label, values in comparison.anchors.items()
    ]
    blocks = [*head, table(columns, lines), EXPLANATION.format(sizes=_family_sizes(comparison))]
    if steered := [one for one in map(comparison.meanings.get, names) if one and one.target.startswith(STEERED)]:
        wanted = "; ".join(f"{one.title} {one.target}" for one in steered)
        blocks.append(f"† These objectives some of the runs were rewarded for, so that real is no target: {wanted}.")
    blocks += [f"Note: {note}" for note in comparison.notes]
    for row, baseline in dict.fromkeys((test.row, test.baseline) for test in comparison.tests):
        blocks += [f"## {row} against {baseline}", _contrasts(comparison, row, baseline)]
    blocks += ["## Every point", _points(comparison)]
    blocks += ["## Runs", "\n".join(map(_runs, comparison.configurations))]
    return "\n\n".join(blocks) + "\n"


def to_dict(comparison: Comparison) -> dict[str, Any]:
    """Everything, for JSON: NaN becomes None."""
    rows = {
        label: {
            "configuration": row.configuration,
            "stage": row.stage,
            "seeds": row.seeds,
            "metrics": {name: _summary(row, name) for name in row.values},
        }
        for label, row in comparison.rows.items()
    }
    tests = [
        {"row": one.row, "baseline": one.baseline, "metric": one.metric, "test": one.kind, "of": one.of}
        | {"n": list(one.result.n)}
        | finite({name: getattr(one.result, name) for name in ("difference", "low", "high", "t", "df", "p")})
        | finite({"p_holm": one.p_holm})
        for one in comparison.tests
    ]
    configurations = {
        one.name: {"differs": one.differs, "runs": {str(seed): str(run.directory) for seed, run in one.runs.items()}}
        for one in comparison.configurations
    }
    return {
        "configurations": configurations,
        "tested": comparison.metrics,
        "metrics": {name: asdict(metric) for name, metric in comparison.meanings.items()},
        "rows": rows,
        "anchors": {name: finite(values) for name, values in comparison.anchors.items()},
        "tests": tests,
        "confidence": CONFIDENCE,
        "family": "all tests with the same values of test and of",
        "notes": comparison.notes,
        "facts": comparison.facts,
    }


def to_csv(comparison: Comparison) -> str:
    """Every point of every metric in long form: one line a row, seed and metric."""
    stream = io.StringIO(newline="")
    lines = csv.writer(stream, lineterminator="\n")
    lines.writerow(["configuration", "stage", "seed", "run", "metric", "value", "distance"])
    directories = {
        (one.name, seed): run.directory for one in comparison.configurations for seed, run in one.runs.items()
    }
    for row in comparison.rows.values():
        for name, values in row.values.items():
            for i, seed in enumerate(row.seeds):
                distance = row.distances[name][i] if name in row.distances else math.nan
                run = directories[row.configuration, seed]
                lines.writerow([row.configuration, row.stage, seed, run, name, _cell(values[i]), _cell(distance)])
    for label, anchor in comparison.anchors.items():
        for name, value in anchor.items():
            lines.writerow(["", label, "", "", name, _cell(value), ""])
    return stream.getvalue()


def draw(comparison: Comparison, path: str | Path) -> None:
    """A small panel for each tested metric: every seed a point, the mean a line, real music a dashed one across.

    Raises
    ------
    Failure
        The file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = list(comparison.rows.items())
    columns = min(3, len(comparison.metrics))
    longest = max(len(label) for label, _ in rows)
    size = (columns * max(3.2, 0.45 * len(rows) + 1.2), math.ceil(len(comparison.metrics) / columns))
    figure = Figure(figsize=(size[0], size[1] * (2.4 + 0.05 * min(longest, 60))), layout="constrained")
    FigureCanvasAgg(figure)
    colours = {name: f"C{i % 10}" for i, name in enumerate(dict.fromkeys(row.configuration for _, row in rows))}
    for number, name in enumerate(comparison.metrics, 1):
        axes = figure.add_subplot(size[1], columns, number)
        for x, (_, row) in enumerate(rows):
            values = row.values[name]
            # Side by side, always in the same order, so that equal values and pairs of stages are seen.
            places = x + (np.linspace(-0.2, 0.2, len(values)) if len(values) > 1 else np.zeros(1))
            axes.plot(places, values, "o", color=colours[row.configuration], markersize=4, alpha=0.7)
            known = values[np.isfinite(values)]
            if len(known):
                axes.hlines(known.mean(), x - 0.35, x + 0.35, color=colours[row.configuration], linewidth=2)
        real = comparison.anchors[REAL][name]
        if math.isfinite(real):
            axes.axhline(real, color="black", linestyle="--", linewidth=1)
            axes.annotate("real", (1, real), xycoords=("axes fraction", "data"), fontsize=7, ha="right", va="bottom")
        axes.set_title(_head(comparison, name), fontsize=9, parse_math=False)
        axes.set_xticks(range(len(rows)), [label for label, _ in rows], rotation=90 if longest > 12 else 0, fontsize=7)
        for text in axes.get_xticklabels():
            text.set_parse_math(False)
        axes.set_xlim(-0.6, len(rows) - 0.4)
        axes.tick_params(axis="y", labelsize=7)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=130)
    files.write_whole(path, picture.getvalue())


def write(comparison: Comparison, directory: str | Path) -> list[Path]:
    """Write ``compare.md``, ``compare.csv``, ``compare.json`` and ``compare.png``.

    Raises
    ------
    Failure
        A file cannot be written.
    """
    files.make_folder(directory)
    places = [Path(directory) / f"{NAME}.{ending}" for ending in ("md", "csv", "json", "png")]
    files.write_whole(places[0], markdown(comparison).encode())
    files.write_whole(places[1], to_csv(comparison).encode())
    files.write_whole(places[2], json.dumps(to_dict(comparison), indent=1, ensure_ascii=False).encode())
    draw(comparison, places[3])
    return places


def _head(comparison: Comparison, name: str) -> str:
    metric = comparison.meanings[name]
    mark = " ↓" if metric.target == "lower" else " †" if metric.target.startswith(STEERED) else ""
    return metric.title + mark


def _family_sizes(comparison: Comparison) -> str:
    sizes = []
    for family, title in TESTS.items():
        tests = [one for one in comparison.tests if (one.kind, one.of) == family and math.isfinite(one.result.p)]
        if tests:
            sizes.append(f"{title}: {len(tests)}")
    return "; ".join(sizes) or "none is defined"


def _contrasts(comparison: Comparison, row: str, baseline: str) -> str:
    """One pair of rows: for each metric where it was, where it is, and whether that is more than chance."""
    mine = [one for one in comparison.tests if (one.row, one.baseline) == (row, baseline)]
    kinds = [family for family in TESTS if any((one.kind, one.of) == family for one in mine)]
    a, b = comparison.rows[row], comparison.rows[baseline]
    head = ["", "change", "distance before", "after", "", *(f"p {TESTS[family]}" for family in kinds)]
    lines = []
    for name in comparison.metrics:
        tests = {(one.kind, one.of): one for one in mine if one.metric == name}
        distances = [_mean(one.distances[name]) if name in one.distances else math.nan for one in (b, a)]
        change = _mean(a.values[name]) - _mean(b.values[name])
        cells = [comparison.meanings[name].title, _figure(change, sign="+"), *map(_figure, distances)]
        lines.append([*cells, _direction(*distances), *(_p(tests.get(family)) for family in kinds)])
    return table(head, lines)


def _direction(before: float, after: float) -> str:
    if not (math.isfinite(before) and math.isfinite(after)) or before == after:
        return ""
    return "nearer" if after < before else "further"


def _points(comparison: Comparison) -> str:
    lines = [
        [label, str(seed), *(_figure(row.values[name][i], row.values[name]) for name in comparison.metrics)]
        for label, row in comparison.rows.items()
        for i, seed in enumerate(row.seeds)
    ]
    return table(["", "seed", *(_head(comparison, name) for name in comparison.metrics)], lines)


def _runs(one: Configuration) -> str:
    what = f" ({one.differs})" if one.differs != one.name else ""
    return f"- {one.name}{what}: {', '.join(str(run.directory) for run in one.runs.values())}"


def _summary(row: Row, name: str) -> dict[str, Any]:
    values = row.values[name]
    summary: dict[str, Any] = {"values": _list(values), **finite({"mean": _mean(values), "spread": _spread(values)})}
    if name in row.distances:
        summary["distances"] = _list(row.distances[name])
        summary |= finite({"distance": _mean(row.distances[name])})
    return summary


def _list(values: np.ndarray) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values.tolist()]


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan


def _spread(values: np.ndarray) -> float:
    """Standard deviation of a sample."""
    known = values[np.isfinite(values)]
    return float(known.std(ddof=1)) if len(known) > 1 else math.nan


def _mean_and_spread(values: np.ndarray) -> str:
    mean, spread = _mean(values), _spread(values)
    text = _figure(mean, values)
    return text if math.isnan(spread) else f"{text} ± {_figure(spread, values)}"


def _figure(value: float, beside: Any = 0.0, sign: str = "") -> str:
    """A number with as many decimals as those it stands beside."""
    if not math.isfinite(value):
        return "–"
    return f"{value:{sign}.{2 if max(abs(value), np.nanmax(np.abs(beside))) >= 10 else 4}f}"


def _p(test: Contrast | None) -> str:
    if test is None or math.isnan(test.p_holm):
        return "–"
    return f"{test.p_holm:.3f}" if test.p_holm >= 0.001 else f"{test.p_holm:.0e}"


def _cell(value: float) -> str:
    return repr(float(value)) if math.isfinite(value) else ""


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Markdown, in columns."""
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in [head, *lines]]
    widths = [max(3, *(len(line[i]) for line in escaped)) for i in range(len(head))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(
        f"| {line[0].ljust(widths[0])} | "
        + " | ".join(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))
        + " |"
        for line in [escaped[0], rule, *escaped[1:]]
    )
