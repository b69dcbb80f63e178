"""The experiment to read, to draw and to compute with: Markdown, CSV, JSON, and a picture for each objective."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqgan_music import files
from seqgan_music.comparison.output import table as markdown_table
from seqgan_music.evaluation import finite
from seqgan_music.metrics.bleu import EPSILON
from seqgan_music.reproduction.organ import MIXTURE, MLE, OBJECTIVES, TARGETS, exact, size
from seqgan_music.reproduction.organ.measuring import AUTHORS, BLEU, DIVERSITY, NOISE, REAL, UNDEFINED, UNIQUE
from seqgan_music.reproduction.organ.verdict import (
    ABOVE,
    BETTER,
    EARLY,
    NEARER,
    OVER,
    QUESTIONS,
    Answers,
    Point,
    judge,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from seqgan_music.reproduction.organ.measuring import Figures, Table

HEADS = {
    "tonality": "tonality",
    "melodicity": "melodicity",
    "ratio_of_steps": "ratio of steps",
    DIVERSITY: "diversity",
    "key_clarity": "key clarity",
    BLEU: "BLEU-4",
    UNIQUE: "unique",
    UNDEFINED: "undefined",
}
NAMES = {**{name: HEADS[name] for name in OBJECTIVES}, MIXTURE: "all three"}
PUBLISHED = {
    "tonality": {
        "naive RL": (0.629, 0.640, 0.023, 0.086),
        "ORGAN λ = 0.6": (0.449, 0.452, 0.010, 0.274),
        "SeqGAN": (0.048, 0.101, 0.317, 0.377),
    },
    "melodicity": {
        "naive RL": (0.467, 0.629, 0.062, 0.238),
        "ORGAN λ = 0.6": (0.594, 0.679, 0.033, 0.386),
        "SeqGAN": (0.057, 0.103, 0.304, 0.535),
    },
    "ratio of steps": {
        "naive RL": (0.001, 0.003, 0.901, 0.278),
        "ORGAN λ = 0.8": (0.010, 0.030, 0.771, 0.551),
        "SeqGAN": (0.044, 0.084, 0.302, 0.648),
    },
    "(any)": {"MLE": (0.055, 0.097, 0.280, 0.560)},
}
"""Trained for → model → tonality, melodicity, ratio of steps, diversity, from a summary of the paper's results."""
WHY_NOT = (
    "They are of other tunes in another encoding, in which steps were counted in letters of a scale by an earlier "
    "version of the authors' program; its released definitions, `organ_tonality` and so on in our CSV and JSON, give "
    "0.002, 0.007 and 0.021 on the authors' own data. No value for real music or noise was published beside them."
)
CHOICES = {
    "tunes": "The paper's folk melodies are not to be had; here it is the folder or the file of tokens that is named.",
    "split": "By tune, 80 % training, 10 % validation, 10 % test; copies are left out before. Rows of a file of tokens "
    "are split row by row.",
    "sequences": "{length} sixteenths. Training windows of a folder begin at every bar line; rows of a file are the "
    "windows.",
    "objectives": "By note: of two successive notes, in either direction, unisons in the denominator, intervals across "
    "rests counted. Tonality is the share of fifths, melodicity that of fourths, fifths and sixths, ratio of steps "
    "that of one or two semitones. The authors' readings of the same names count expanded sixteenths, so that a held "
    "note is a unison; they are in CSV and JSON. Only steps tell music from noise: the other two are styles to steer "
    "to.",
    "mixture": "The reward has the three in equal shares; the figure is the mean of the three columns.",
    "undefined": "A song with fewer than two notes has no objective: it is paid nothing, and left out of the mean. The "
    "column *undefined* is the share of such songs.",
    "uniqueness": "A song's reward is multiplied by the share of different songs in its batch over its copies there, "
    "as in the authors' program.",
    "one pre-training": "All models of a seed go on from one likelihood training, those with a discriminator from one "
    "pre-training of it: trained again with the same seed they would be the same.",
    "naive RL": "No discriminator is built. The figures are those after the last round, as for all; `rounds.csv` has "
    "every round of every model.",
    "MLE's temperature": "All temperatures of a seed are drawn from the same random numbers.",
    "diversity": "Mean normalised edit distance between note events (a pitch and for how long it sounds) of two songs.",
    "BLEU": "Note events against the windows of the test part, mean sentence BLEU-4, method 1 smoothing with epsilon "
    f"{EPSILON}. The row *real* is the validation part; to be equal to it is the target, not to be high.",
}
"""What the paper does not say, and what we do; `choices` has the length."""


def choices(found: Table) -> dict[str, str]:
    """`CHOICES` with the length of this experiment's sequences."""
    length = found.facts["settings"]["data"]["length"]
    return {what: ours.replace("{length}", str(length)) for what, ours in CHOICES.items()}


def write(found: Table, directory: str | Path) -> list[Path]:
    """Write ``table.md``, ``table.csv`` (every point), ``rounds.csv``, ``table.json`` and a picture for each objective.

    Raises
    ------
    Failure
        A file cannot be written.
    """
    place = Path(directory)
    files.make_folder(place)
    contents = {
        "table.md": markdown(found),
        "table.csv": to_csv(found),
        "rounds.csv": rounds_csv(found),
        "table.json": json.dumps(to_dict(found), indent=1, ensure_ascii=False),
    }
    for name, text in contents.items():
        files.write_whole(place / name, text.encode())
    pictures = [place / f"{target}.png" for target in targets(found)]
    for target, path in zip(targets(found), pictures, strict=True):
        draw(found, target, path)
    return [*(place / name for name in contents), *pictures]


def paths(found: Table, target: str) -> dict[int, list[Point]]:
    """Seed → where naive RL for a target stood after each round, by the few samples that are looked at then."""
    by_seed: dict[int, list[Point]] = {}
    for one in found.rounds:
        if one["model"] == f"{target}-0":
            values = [_number(one.get(f"objective_{name}")) for name in TARGETS[target]]
            point = Point(float(np.mean(values)), _number(one.get("edit_distance")), math.nan)
            by_seed.setdefault(one["seed"], []).append(point)
    return by_seed


def targets(found: Table) -> list[str]:
    """What the models that were measured are trained for."""
    return list(dict.fromkeys(model.target for model in found.models if model.target))


def judged(found: Table, target: str) -> list[Answers]:
    """The verdict on every λ of a target; empty where naive RL or MLE has not been measured."""
    by_lambda = {
        model.lambda_: _points(found.rows[model.name], target)
        for model in found.models
        if model.target == target and model.lambda_ is not None
    }
    naive = by_lambda.pop(0.0, {})
    curve = {temperature: _points(of_seeds, target) for temperature, of_seeds in found.curve.items()}
    if not curve:
        return []
    return judge(by_lambda, naive, curve, found.anchors[REAL][BLEU], paths(found, target))


def sentence(answers: Sequence[Answers], target: str) -> str:
    """The verdict on a target in words."""
    name = NAMES[target]
    if not answers:
        return f"{name}: no verdict, for naive RL, MLE or every λ is missing."
    reached = [one for one in answers if one.holds]
    if reached:
        counts = "; ".join(f"λ = {exact(one.lambda_)}: {len(one.everywhere)} of {len(one.asked)}" for one in reached)
        return f"{name}: reached in the mean over seeds. Seeds of which all three hold: {counts}."
    nearest = max(answers, key=lambda one: (sum(one.mean[question] for question in QUESTIONS), len(one.everywhere)))
    lacking = ", ".join(f"not {question}" for question in QUESTIONS if not nearest.mean[question])
    return f"{name}: not reached. The nearest is λ = {exact(nearest.lambda_)}: {lacking}."


def markdown(found: Table) -> str:
    """Tables for each objective with the verdict on it; then, in a table of their own, the published figures."""
    blocks = ["# The music experiment of ORGAN (Guimaraes et al. 2017, Table 3)", about(found)]
    blocks.append(
        "Cells are mean ± standard deviation over seeds. Read BLEU-4, diversity and key clarity against *real*. An "
        "objective can be had by songs that are all alike, and by another temperature of the likelihood model: so a "
        "model is worth something only above that curve."
    )
    for target in targets(found):
        blocks += [f"## Trained for {NAMES[target]}", _target_table(found, target)]
        answers = judged(found, target)
        blocks.append(f"**Verdict.** {sentence(answers, target)}")
        if answers:
            blocks.append(_verdict_table(answers))
    if found.curve:
        blocks += ["## MLE at other temperatures", _curve_table(found)]
    blocks += [
        f"The questions, answered for the means and for single seeds: *{BETTER}* is a higher objective at equal or "
        f"higher diversity. *{ABOVE}*: at no temperature has MLE both figures as high or higher, straight lines "
        "between neighbouring temperatures counted. It asks for a new point of the frontier: whatever has more of the "
        "objective than MLE has at any temperature passes, with however little diversity, naive RL too. "
        f"*{NEARER}* compares |BLEU-4 − real's|. Two have no part in the verdict. *{EARLY}*: as with MLE's curve, with "
        "the path of naive RL's rounds, by the few samples that are looked at then. "
        f"*{OVER}*: the objective is higher, and diversity equal or higher, than MLE's at each "
        "of its temperatures. For the means the curve has the temperatures of all the seeds that are asked.",
        "## What was published: other data, another encoding, not comparable",
        markdown_table(
            ["trained for", "model", *list(HEADS.values())[:4]],
            [
                [target, model, *(f"{value:.3f}" for value in values)]
                for target, of in PUBLISHED.items()
                for model, values in of.items()
            ],
        ),
        WHY_NOT,
        "## What the paper does not say, and what is done here",
        "\n".join(f"- **{what}.** {ours}" for what, ours in choices(found).items()),
    ]
    return "\n\n".join(blocks) + "\n"


def to_dict(found: Table) -> dict[str, Any]:
    """Everything but the rounds, for JSON: NaN becomes None."""
    by_name = {model.name: model for model in found.models}
    return {
        "experiment": "organ",
        "about": about(found),
        "rows": [
            {"model": name, "title": by_name[name].title, "target": by_name[name].target}
            | {"lambda": by_name[name].lambda_, "seeds": {str(seed): finite(of) for seed, of in of_seeds.items()}}
            for name, of_seeds in found.rows.items()
        ],
        "mle_at_temperatures": [
            {"temperature": temperature, "seeds": {str(seed): finite(of) for seed, of in of_seeds.items()}}
            for temperature, of_seeds in sorted(found.curve.items())
        ],
        "anchors": {name: finite(values) for name, values in found.anchors.items()},
        "verdicts": {
            target: {
                "verdict": sentence(judged(found, target), target),
                "lambdas": [dataclasses.asdict(one) for one in judged(found, target)],
            }
            for target in targets(found)
        },
        "published": {
            "comparable": False,
            "why": WHY_NOT,
            "columns": [*OBJECTIVES, DIVERSITY],
            "rows": PUBLISHED,
        },
        "choices": choices(found),
        "facts": found.facts,
    }


def to_csv(found: Table) -> str:
    """Every point in long form: a line for each row, seed and figure."""
    stream = io.StringIO(newline="")
    lines = csv.writer(stream, lineterminator="\n")
    lines.writerow(["model", "trained_for", "lambda", "temperature", "seed", "figure", "value"])
    for model in found.models:
        for seed, values in found.rows[model.name].items():
            start = [model.name, model.target or "", "" if model.lambda_ is None else exact(model.lambda_), "1", seed]
            lines.writerows([*start, name, _cell(value)] for name, value in values.items())
    for temperature, of_seeds in sorted(found.curve.items()):
        if temperature != 1:
            for seed, values in of_seeds.items():
                start = [MLE, "", "", exact(temperature), seed]
                lines.writerows([*start, name, _cell(value)] for name, value in values.items())
    for anchor, values in found.anchors.items():
        lines.writerows([anchor, "", "", "", "", name, _cell(value)] for name, value in values.items())
    return stream.getvalue()


def rounds_csv(found: Table) -> str:
    """A line for every round of every model and seed: the frontier in time."""
    return files.csv_of(found.rounds, ("model", "seed", "round"))


def about(found: Table) -> str:
    """Which tunes, how many songs against how many references, and by which schedule."""
    facts = found.facts
    windows, seeds = facts["windows"], len(facts["seeds"])
    left_out = facts["finished, not measured like this"]
    more = f" Not in these tables, for they were not measured like this: {', '.join(left_out)}." if left_out else ""
    return (
        f"{facts['pieces']} pieces of {Path(facts['corpus']).name}; windows: {windows['train']} training, "
        f"{windows['validation']} validation, {windows['test']} test. {seeds} seed{'' if seeds == 1 else 's'}; "
        f"{facts['samples']} songs of each model and seed against {facts['references']} test windows; real: "
        f"{facts['real']} validation windows, each once; noise: {facts['samples']} sequences of uniform tokens. "
        f"Settings: {size(facts['settings'])}.{more}"
    )


def draw(found: Table, target: str, path: str | Path) -> None:
    """Objective against diversity: MLE's curve, each λ with a cross of its spread, real music and noise.

    Raises
    ------
    Failure
        The file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for temperature in sorted(found.curve):
        x, y = (_mean(found.curve[temperature], name) for name in (DIVERSITY, target))
        axes.annotate(exact(temperature), (x, y), xytext=(3, 4), textcoords="offset points", fontsize=7, color="C0")
    line = [[_mean(found.curve[t], name) for name in (DIVERSITY, target)] for t in sorted(found.curve)]
    if line:
        axes.plot(*np.transpose(line), "-o", color="C0", markersize=3, label="MLE by temperature")
    shown = [model for model in found.models if model.target == target or (model.lambda_ == 1 and not model.target)]
    for number, path_of_rounds in enumerate(paths(found, target).values()):
        line = [[one.diversity, one.objective] for one in path_of_rounds]
        label = "" if number else "naive RL, every round"
        axes.plot(*np.transpose(line), ".-", color="C3", alpha=0.4, markersize=3, linewidth=0.8, label=label)
    for model in sorted(shown, key=lambda one: one.lambda_ or 0.0):
        assert model.lambda_ is not None
        _cross(axes, found.rows[model.name], target, f"λ = {exact(model.lambda_)}", model.title, model.lambda_)
    for name, mark in ((REAL, "*"), (NOISE, "X")):
        values = found.anchors[name]
        axes.plot(values[DIVERSITY], values[target], mark, color="black", markersize=10, label=name, linestyle="")
    axes.set_xlabel("diversity: mean normalised edit distance")
    axes.set_ylabel(NAMES[target])
    axes.set_title(f"Trained for {NAMES[target]}", fontsize=10)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=7)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=130)
    files.write_whole(path, picture.getvalue())


def _cross(axes: Axes, of_seeds: Mapping[int, Figures], target: str, mark: str, title: str, lambda_: float) -> None:
    x, y = (np.array([values[name] for values in of_seeds.values()]) for name in (DIVERSITY, target))
    colour = {0.0: "C3", 1.0: "C2"}.get(lambda_, (0.55 + 0.4 * lambda_, 0.75 - 0.55 * lambda_, 0.9 * lambda_))
    spread = {"xerr": x.std(ddof=1), "yerr": y.std(ddof=1)} if len(x) > 1 else {}
    axes.errorbar(x.mean(), y.mean(), fmt="s", color=colour, markersize=5, capsize=2, label=title, **spread)
    axes.annotate(mark, (x.mean(), y.mean()), xytext=(5, 5), textcoords="offset points", fontsize=7, color=colour)


def _target_table(found: Table, target: str) -> str:
    of_target = [model for model in found.models if model.target == target]  # naive RL, then by λ
    rows = [*(model for model in found.models if model.target is None), *reversed(of_target)]
    lines = [[model.title, str(len(found.rows[model.name])), *_cells(found.rows[model.name])] for model in rows]
    lines += [[name, "", *_cells({0: values})] for name, values in found.anchors.items()]
    heads = [f"{head} ←" if name == target else head for name, head in HEADS.items()]
    return markdown_table(["", "seeds", *heads], lines)


def _curve_table(found: Table) -> str:
    lines = [[exact(t), str(len(found.curve[t])), *_cells(found.curve[t])] for t in sorted(found.curve)]
    return markdown_table(["temperature", "seeds", *HEADS.values()], lines)


def _verdict_table(answers: Sequence[Answers]) -> str:
    lines = [
        [exact(one.lambda_)]
        + [_answer(one, question) for question in QUESTIONS]
        + [f"{len(one.everywhere)} of {len(one.asked)}", _answer(one, EARLY), _answer(one, OVER)]
        for one in answers
    ]
    return markdown_table(["λ", *QUESTIONS, "seeds with all three", EARLY, OVER], lines)


def _answer(one: Answers, question: str) -> str:
    return f"{'yes' if one.mean[question] else 'no'}, {len(one.seeds[question])} of {len(one.asked)}"


def _cells(of_seeds: Mapping[int, Figures]) -> list[str]:
    cells = []
    for name in HEADS:
        values = np.array([values[name] for values in of_seeds.values()])
        known = values[np.isfinite(values)]
        text = f"{known.mean():.3f}" if len(known) else "–"
        cells.append(f"{text} ± {known.std(ddof=1):.3f}" if len(known) > 1 else text)
    return cells


def _points(of_seeds: Mapping[int, Figures], target: str) -> dict[int, Point]:
    return {seed: Point(values[target], values[DIVERSITY], values[BLEU]) for seed, values in of_seeds.items()}


def _mean(of_seeds: Mapping[int, Figures], name: str) -> float:
    return float(np.mean([values[name] for values in of_seeds.values()]))


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _cell(value: float) -> str:
    return repr(float(value)) if math.isfinite(value) else ""


assert set(AUTHORS) & set(HEADS) == set(), "the authors' readings are in CSV and JSON alone"
assert set(NAMES) == set(TARGETS)
