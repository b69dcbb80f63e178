"""What a report says of a run, read from the run's files."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from seqgan_music.errors import Failure
from seqgan_music.evaluation import ANCHORS, COLUMNS, REAL
from seqgan_music.evaluation.objectives import UNDEFINED, undefined
from seqgan_music.evaluation.temperatures import PLANE
from seqgan_music.html_report import curves
from seqgan_music.metrics import METRICS, Metric
from seqgan_music.report import figure_text
from seqgan_music.run_settings import TABLES

if TYPE_CHECKING:
    from pathlib import Path

    from seqgan_music.run import Run

EVALUATION, TEMPERATURES = "report.json", "temperatures.json"
UNPAID = {"mle": "by likelihood alone", "scheduled_sampling": "by likelihood alone", "random": "nothing is trained"}
MEASURE, CURVE = "evaluate {}", "evaluate {} --temperatures default"  # what makes them


@dataclass(frozen=True, slots=True)
class Row:
    """A metric, and its value for every set of samples.

    Parameters
    ----------
    name : str
    metric : Metric
    cells : list of (str, bool)
        The value, and whether this stage comes nearest to the target.
    """

    name: str
    metric: Metric
    cells: list[tuple[str, bool]]


@dataclass(frozen=True, slots=True)
class Table:
    """Metrics by sets of samples.

    Parameters
    ----------
    heads : list of str
        Stages, then anchors.
    rows, others : list of Row
        Those that `train` prints too and the objectives that are looked at first, and all others.
    facts : list of (str, str)
        What the numbers depend on.
    """

    heads: list[str]
    rows: list[Row]
    others: list[Row]
    facts: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Temperatures:
    """Quality against diversity.

    Parameters
    ----------
    figure : Figure
    heads : list of str
    rows : list of list of str
    best, distance : str
        The best temperature of each stage, and how far its curve is from real music's point, in words.
    """

    figure: curves.Figure
    heads: list[str]
    rows: list[list[str]]
    best: str
    distance: str


def measurements(run: Run) -> Table | None:
    """The table of the run's ``report.json``; None where it was not measured.

    Raises
    ------
    Failure
        The file is damaged.
    """
    file = run.directory / EVALUATION
    found = _json(file, _again(run, MEASURE))
    if found is None:
        return None
    try:
        sets: dict[str, dict[str, float | None]] = found["rows"]
        heads = [name for name in sets if name not in ANCHORS] + [name for name in ANCHORS if name in sets]
        names = list(dict.fromkeys(name for values in sets.values() for name in values))
        rows = []
        for name in names:
            told = found["metrics"].get(name, {})
            unknown = Metric(told.get("title", name), told.get("meaning", ""), told.get("target", ""))
            metric = METRICS.get(name, unknown)
            values = {head: _number(sets[head].get(name)) for head in heads}
            if name.startswith(UNDEFINED) and not any(values.values()):
                continue
            best = nearest(values, metric.target)
            rows.append(Row(name, metric, [(figure_text(values[head]), head == best) for head in heads]))
        facts = [(name, _words(value)) for name, value in found["facts"].items() if name not in {"versions", "run"}]
        objectives = found.get("objectives", [])
        first = [*COLUMNS, *(name for one in objectives for name in (one, undefined(one)))]
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(file, _again(run, MEASURE)) from error
    shown = sorted((row for row in rows if row.name in first), key=lambda row: first.index(row.name))
    return Table(heads, shown, [row for row in rows if row not in shown], facts)


def nearest(values: Mapping[str, float], target: str) -> str | None:
    """The stage whose value comes nearest to a target, of two or more; None where the target is none of those known.

    Examples
    --------
    >>> nearest({"mle": 0.61, "best": 0.64, "real": 0.50, "Markov-1": 0.5}, "equal to real")
    'mle'
    >>> nearest({"mle": 1.13, "best": 1.15}, "lower")
    'mle'
    """
    stages = {name: value for name, value in values.items() if name not in ANCHORS and not math.isnan(value)}
    real = values.get(REAL, math.nan)
    if target.startswith("equal to real") and not math.isnan(real):
        distance = {name: abs(value - real) for name, value in stages.items()}
    elif target.startswith("lower"):
        distance = dict(stages)
    elif target.startswith("higher"):
        distance = {name: -value for name, value in stages.items()}
    else:
        return None
    if len(set(distance.values())) < 2:
        return None
    return min(distance, key=lambda name: distance[name])


def temperatures(run: Run) -> Temperatures | None:
    """The curves of the run's ``temperatures.json``; None where they were not measured.

    Raises
    ------
    Failure
        The file is damaged.
    """
    file = run.directory / TEMPERATURES
    found = _json(file, _again(run, CURVE))
    if found is None:
        return None
    try:
        diversity, quality = PLANE
        figure = curves.temperatures(found, quality, diversity, (METRICS[quality].title, METRICS[diversity].title))
        names = [name for name in COLUMNS if any(name in row for row in found["rows"])]
        lines = [(row["stage"], f"{row['temperature']:g}", row) for row in found["rows"]]
        lines.append((REAL, "–", found["real"]))
        rows = [[stage, at, *(figure_text(_number(row.get(name))) for name in names)] for stage, at, row in lines]
        heads = ["samples", "temperature", *(METRICS[name].title for name in names)]
        facts = found["facts"]
        best = ", ".join(f"{at:g} for {stage}" for stage, at in facts.get("best_temperature", {}).items())
        distance = ", ".join(
            f"{stage} {figure_text(_number(far['distance']))} "
            f"({figure_text(_number(far['low']))} to {figure_text(_number(far['high']))})"
            for stage, far in facts.get("distance_of_curve_to_real", {}).items()
        )
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(file, _again(run, CURVE)) from error
    return Temperatures(figure, heads, rows, best, distance)


def summary(run: Run, lines: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """What was trained on what."""
    corpus, data = run.facts["corpus"], run.settings["data"]
    said = [
        ("Corpus", f"{corpus_name(run)}: {corpus['pieces']} tunes, {len(corpus['refused'])} refused"),
        ("Windows", ", ".join(f"{number} {part}" for part, number in corpus["windows"].items())
         + f"; of {data['length']} tokens"),
        ("Tokens", f"{run.settings['tokenizer']['name']}, vocabulary of {run.dataset.vocab_size}"),
        ("Algorithm", run.settings["algorithm"]["name"]),
        ("Reward", reward(run)),
        ("Seed", str(run.settings["run"]["seed"])),
        ("Training", f"{len(lines)} records, {_duration(sum(line.get('seconds') or 0.0 for line in lines))}"),
    ]  # fmt: skip
    if "init" in run.facts:
        said.insert(4, ("Started from", f"{run.facts['init']['run']} ({run.facts['init']['stage']})"))
    return said


def reward(run: Run) -> str:
    """Of what the reward is made, in words."""
    settings = run.settings
    weights, how, loss = settings["objectives"], settings["reward"], settings["loss"]["name"]
    algorithm = settings["algorithm"]
    if algorithm["name"] in UNPAID:
        return f"none: {UNPAID[algorithm['name']]}"
    critic = "the discriminator" if loss == "bce" else f"the discriminator (loss {loss})"
    paid = ", ".join(f"{text} {weight:g}" for text, weight in weights.items())
    if algorithm["name"] == "pg_bleu":
        said = [f"BLEU-{algorithm['bleu_n']} of tokens against the training windows"]
        said += [f"measured beside it: {', '.join(weights)}"] if weights else []
    elif not weights:
        said = [f"{critic} alone"]
    elif points := how["lambda_schedule"]:
        course = ", ".join(f"{share:g} in round {at + 1}" for at, share in points)
        said = [f"λ of {critic}: {course}{', in a straight line between' if len(points) > 1 else ''}", paid]
    elif how["lambda"] == 1:
        said = [f"{critic} alone", f"measured beside it: {', '.join(weights)}"]
    elif how["lambda"] == 0:
        said = ["objectives alone (naive reinforcement learning)", paid]
    else:
        said = [f"λ = {how['lambda']:g} of {critic}", paid]
    if programme := how["programme"]:
        stages = [f"{', '.join(names)} for {rounds} rounds" for rounds, names in programme[:-1]]
        said.append("in turn: " + ", then ".join([*stages, f"{', '.join(programme[-1][1])} from then on"]))
    if how["rescale"] == "batch":
        said.append("objectives stretched to [0, 1] within each batch")
    if how["uniqueness"]:
        said.append("times the share of different melodies in the batch, divided by a melody's copies there")
    return "; ".join(said)


def corpus_name(run: Run) -> str:
    """The folder's name: its place is nobody's business."""
    return PurePath(run.facts["corpus"]["root"]).name or "corpus"


def command(run: Run) -> str:
    """Repeats the training, beside the corpus and ``config.toml``."""
    source = ["--tokens"] if "unit" in run.facts["corpus"] else []
    words = ["seqgan-music", "train", *source, f"./{corpus_name(run)}", "-c", "config.toml"]
    if "init" in run.facts:
        words += ["--init", f"./{run.facts['init']['run']}"]
    return f"OMP_NUM_THREADS={run.facts['threads']} {shlex.join(words)} --run again"


def own_code(run: Run) -> list[str]:
    """Files and modules outside the package that the settings name, as they are written there."""
    named = [(run.settings[section]["name"], table) for section, table in TABLES.items()]
    own = [name for name, table in named if name not in table]
    own += [text for text in run.settings["objectives"] if ":" in text]
    return list(dict.fromkeys(name.rpartition(":")[0] for name in own))


def _json(file: Path, remedy: str) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise Failure(f"{file} cannot be read: {error}; {remedy}") from error


def _again(run: Run, command: str) -> str:
    return f"make it anew with: seqgan-music {command.format(shlex.quote(str(run.directory)))}"


def _damaged(file: Path, remedy: str) -> Failure:
    return Failure(f"{file} is not what seqgan-music writes; {remedy}")


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(item)}" for name, item in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
