"""Runs beside each other: what their settings change, over seeds, and whether it is more than chance.

Runs with equal settings, but for the seed and the device, are one *configuration*. Every stage of a configuration is a
row: for each metric one value a seed, their mean and their spread. Where a metric's target is to be equal to real
music, what counts is the distance |value − real| of each seed; of raw values a test says only that they differ.

A test over seeds asks whether training again, with other seeds, would give the difference again. A test over samples,
as in Yu et al. 2017, takes every sample for independent of all others, although those of one run share the luck of its
training: it says that these very networks differ, not that the settings do.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqgan_music import checkpoint, measurements, run_directory, timing
from seqgan_music.comparison.statistics import TTest, holm, paired, welch
from seqgan_music.errors import UsageError
from seqgan_music.evaluation import ANCHORS, REAL, check_run, sample_set
from seqgan_music.evaluation.objectives import OBJECTIVE, UNDEFINED, Objectives, Told, undefined
from seqgan_music.metrics import METRICS, TOKEN_METRICS
from seqgan_music.run import Run
from seqgan_music.sampling import check_narrowing

if TYPE_CHECKING:
    from seqgan_music.evaluation import Evaluation
    from seqgan_music.metrics import Metric

MAIN = ("bleu_4", "mse_nearest", "mse_pairs", "overlap_area", "self_bleu_4", "copied_8", "bars_back", "nll")
"""Metrics that are shown and tested unless others are named: few, for each makes the correction for all harder."""
WITH_OBJECTIVES = "edit_distance"
"""And this one beside the objectives that runs were steered towards, which are often bought with diversity."""
EQUAL_TO_REAL = "equal to real"
ENOUGH_SEEDS = 5
LONGEST_NAME = 60  # of a configuration; a longer one makes no row of a table
CURVES = "temperatures.json"  # of a run, see `seqgan_music.evaluation.temperatures`
Key = tuple[str, str]  # section and option of a setting


@dataclass(frozen=True, slots=True, eq=False)
class Configuration:
    """Runs with equal settings, but for the seed and the device.

    Parameters
    ----------
    name : str
        What sets it apart from the others compared with it; where that is too long, what its directory is called.
    runs : dict of int to Run
        By seed.
    differs : str
        All that sets it apart.
    """

    name: str
    runs: dict[int, Run]
    differs: str


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A stage of a configuration, measured.

    Parameters
    ----------
    configuration, stage : str
    seeds : list of int
    values : dict of str to ndarray (seeds,)
        Metric → one value a seed.
    distances : dict of str to ndarray (seeds,)
        |value − real|, of metrics whose target is to be equal to real.
    scores : dict of str to ndarray
        Metric → one number for every sample of every seed, where a sample has one.
    """

    configuration: str
    stage: str
    seeds: list[int]
    values: dict[str, np.ndarray]
    distances: dict[str, np.ndarray]
    scores: dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Contrast:
    """One test of one row against another.

    Parameters
    ----------
    row, baseline : str
        Names of the rows.
    metric : str
    kind : str
        ``"seeds"`` (Welch's t over seeds), ``"paired"`` (Student's t over seeds, of two stages of the same runs) or
        ``"samples"`` (Welch's t over samples).
    of : str
        ``"value"`` or ``"distance"`` from real.
    result : TTest
    p_holm : float
        Corrected for the family: all tests of this kind and of the same quantity in one comparison.
    """

    row: str
    baseline: str
    metric: str
    kind: str
    of: str
    result: TTest
    p_holm: float = math.nan


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """What `compare` finds.

    Parameters
    ----------
    configurations : list of Configuration
    metrics : list of str
        Those that are tested.
    meanings : dict of str to Metric
        What each metric means; the target of an objective that any of the runs was steered towards is not real's value.
    rows : dict of str to Row
    anchors : dict of str to dict of str to float
        Real music, Markov chains and noise: metric → mean over all runs.
    tests : list of Contrast
    notes : list of str
        What a reader has to know, one sentence each.
    facts : dict
        Sizes and versions: what the numbers depend on.
    """

    configurations: list[Configuration]
    metrics: list[str]
    meanings: dict[str, Metric]
    rows: dict[str, Row]
    anchors: dict[str, dict[str, float]]
    tests: list[Contrast]
    notes: list[str]
    facts: dict[str, Any] = field(default_factory=dict)


def compare(
    paths: Sequence[str | Path],
    *,
    baseline: str | None = None,
    metrics: Sequence[str] = (),
    temperatures: Sequence[tuple[str, float | None]] = (),
    samples: int = 1000,
    seed: int = 0,
    device: str = "auto",
    own_code: bool = False,
    on_measuring: Callable[[Run], None] | None = None,
) -> Comparison:
    """Measure runs, put those of equal settings together, and test the others against a baseline.

    Parameters
    ----------
    paths : sequence of str or Path
        Runs, and groups of runs, see `seqgan_music.group`.
    baseline : str, optional
        A configuration (its name, or a path of `paths`): its stages are what those of the others are tested against. A
        stage: what the other stages of each configuration are tested against. A row, ``CONFIGURATION@STAGE``: what all
        others are tested against. The first configuration and the first stage, if left out.
    metrics : sequence of str
        Names of metrics to test. If left out, `MAIN`; where runs were steered towards objectives, these and the edit
        distance too.
    temperatures : sequence of (str, float or None)
        A stage and a temperature: another row, such as ``"mle at 0.9"``. None is the best temperature of each run,
        which `seqgan_music.evaluation.temperatures` has chosen on its validation part: ``"mle at best"``.
    samples, seed, device
        See `seqgan_music.evaluation.evaluate_run`; what was measured before is found again, see
        `seqgan_music.measurements`.
    own_code : bool
        Whether the runs may load the code outside the package that they name.
    on_measuring : callable, optional
        Called with each run before it is measured anew.

    Raises
    ------
    UsageError
        Not runs, runs that cannot be compared, or no such baseline or metric.
    """
    runs, notes = _opened(paths, own_code)
    objectives = Objectives.of(*runs)
    for name in metrics:
        if name not in objectives.metrics:
            of_music = (
                f"; and {OBJECTIVE}NAME and {UNDEFINED}NAME of each objective: {', '.join(objectives.measured)}"
                if objectives.musical
                else ""
            )
            known = METRICS if objectives.musical else TOKEN_METRICS
            raise UsageError(f"unknown metric {name!r}; there are: {', '.join(known)}{of_music}")
    for run in runs:
        check_run(run, samples, seed)
    _check_comparable(runs)
    configurations = _configurations(runs)
    more = {_at(stage, temperature): (stage, temperature) for stage, temperature in temperatures}
    chosen_temperatures = {run: _temperatures(run, more) for run in runs}
    stages = {
        _label(one, stage, configurations): (one, stage)
        for one in configurations
        for stage in [*next(iter(one.runs.values())).stages, *chosen_temperatures[next(iter(one.runs.values()))]]
    }
    pairs = _pairs(stages, configurations, baseline, paths)
    how: dict[str, Any] = {"samples": samples, "seed": seed, "device": device, "on_measuring": on_measuring}
    how["objectives"] = objectives
    evaluations = {}
    for run, own in chosen_temperatures.items():
        evaluations[run] = found = measurements.of(run, temperatures=list(own.values()), **how)
        for name, place in own.items():
            exact = measurements.at(*place)
            found.rows[name], found.scores[name] = found.rows[exact], found.scores[exact]
    if told := _told(evaluations.values(), objectives):
        objectives = Objectives.of(*runs, told=told)
        notes.append(f"Measured before, and read without loading its code: {', '.join(told)}")
    rows = {label: _row(one, stage, evaluations, objectives.metrics) for label, (one, stage) in stages.items()}
    anchors = {name: _means([evaluation.rows[name] for evaluation in evaluations.values()]) for name in ANCHORS}
    first = next(iter(rows.values()))
    steered = [OBJECTIVE + name for name in objectives.wishes]
    usual = [*MAIN, *([WITH_OBJECTIVES, *steered] if steered else [])]
    chosen = list(dict.fromkeys(metrics)) or [name for name in usual if name in first.values]
    for name in chosen:
        if name not in first.values:
            raise UsageError(f"metric {name!r} is not measured of runs; these are: {', '.join(first.values)}")
    tests = [test for row, other in pairs for name in chosen for test in _tests(row, other, name, rows)]
    fewest = min(len(one.runs) for one in configurations)
    if fewest < 2:
        notes.append("A configuration of one run has no spread over seeds: no test over seeds is defined for it.")
    elif fewest < ENOUGH_SEEDS:
        notes.append(f"There are configurations of {fewest} seeds; a claim should rest on {ENOUGH_SEEDS} at least.")
    for name in (name for name, (_, temperature) in more.items() if temperature is None):
        best = ", ".join(
            f"{own[name][1]:g} ({run.directory})" for run, own in chosen_temperatures.items() if name in own
        )
        notes.append(f"{name}: {best}")
    for name in chosen:
        if shares := _undefined(name, rows):
            title = objectives.metrics[name].title
            notes.append(f"Undefined, and left out of {title}: {shares}; means over seeds.")
    if objectives.left_out:
        notes.append(f"Not measured, for want of --own-code: {', '.join(objectives.left_out)}")
    of_one_run = {"run", "against", "transpose"}
    facts = {name: fact for name, fact in evaluations[runs[0]].facts.items() if name not in of_one_run}
    return Comparison(configurations, chosen, objectives.metrics, rows, anchors, _corrected(tests), notes, facts)


def _told(evaluations: Collection[Evaluation], objectives: Objectives) -> dict[str, Told]:
    """Withheld objectives of which every run has kept the values; those of which only some have them are taken out."""
    known: dict[str, Told] = {}
    for name in objectives.withheld:
        kept = [one.objectives.measured.get(name) for one in evaluations]
        everywhere = all(OBJECTIVE + name in values for one in evaluations for values in one.rows.values())
        if everywhere and isinstance(kept[0], Told):
            known[name] = kept[0]
            continue
        for one in evaluations:
            for kind in (OBJECTIVE, UNDEFINED):
                for values in one.rows.values():
                    values.pop(kind + name, None)
                for scores in one.scores.values():
                    scores.pop(kind + name, None)
    return known


def _opened(paths: Sequence[str | Path], own_code: bool) -> tuple[list[Run], list[str]]:
    """All runs, each once, and which runs of groups are left out."""
    runs: dict[Path, Run] = {}
    notes = []
    for path in map(Path, paths):
        group = (path / run_directory.GROUP).is_file()
        left_out = []
        for place in run_directory.members(path) if group else [path]:
            run = Run(place, own_code=own_code)
            if _trained(run):
                runs.setdefault(place.resolve(), run)
            elif group:
                left_out.append(place.name)
            else:
                raise UsageError(f"{place} is not trained to its end; go on with: seqgan-music train --resume {place}")
        if left_out:
            notes.append(
                f"Left out, for not being trained to the end: {', '.join(left_out)} of {path}; go on with: "
                f"seqgan-music train --resume {path}"
            )
    if not runs:
        raise UsageError(f"no run to compare. {' '.join(notes)}".strip())
    return list(runs.values()), notes


def _trained(run: Run) -> bool:
    """Whether the last phase that the run's settings ask for has been completed."""
    if "exported" in run.facts or not run.stages:
        return bool(run.stages)
    phases = timing.schedule_of(run.settings, own_code=run.own_code)
    if phases is None:  # an algorithm of one's own may not say
        return True
    options = run.settings["algorithm"]
    asked = [phase for phase, entry in phases.items() if not entry.records or options[entry.records]]
    return not asked or checkpoint.exists(run.directory / run_directory.CHECKPOINTS / asked[-1])


def _check_comparable(runs: Sequence[Run]) -> None:
    """Refuse runs that are measured against other music than the first."""
    first = runs[0]
    for run in runs[1:]:
        if run.dataset.length != first.dataset.length:
            why = f"windows of {run.dataset.length} tokens, not {first.dataset.length}"
        elif _held_out(run) == _held_out(first):
            continue
        elif differing := [
            f"{section}.{option}={run.settings[section].get(option)!r}, not {value!r}"
            for section in ("data", "reading", "tokenizer")
            for option, value in first.settings[section].items()
            if run.settings[section].get(option) != value
        ]:
            why = "; ".join(differing)
        elif run.facts["corpus"]["digest"] != first.facts["corpus"]["digest"]:
            why = f"another corpus: {run.facts['corpus']['root']}, not {first.facts['corpus']['root']}"
        else:
            why = "other windows of the same corpus, which another version of this program cut"
        raise UsageError(
            f"{run.directory} cannot be compared with {first.directory}, for it is measured against other test or "
            f"validation windows: {why}"
        )


def _held_out(run: Run) -> list[str]:
    """Digests of the music in the test and the validation windows, whatever the tokens; else of the tokens."""
    parts = (run.dataset.test, run.dataset.validation)
    return [sample_set(run.tokenizer, *part[slice(None)]).digest() for part in parts]


def _identity(run: Run) -> dict[Key, Any]:
    """Settings and what else makes a training, but for the seed and the device."""
    settings = {(section, option): value for section, of in run.settings.items() for option, value in of.items()}
    for key in (("run", "seed"), ("run", "device")):
        settings.pop(key, None)
    train = run.dataset.train
    windows = hashlib.sha256(train.ids.numpy().tobytes() + train.start.numpy().tobytes()).hexdigest()
    settings["data", "training windows"] = windows[:8]
    if init := run.facts.get("init"):
        settings["init", "weights"] = f"{init['run']} ({init['stage']}, {init['weights'][:8]})"
    return settings


def _configurations(runs: Sequence[Run]) -> list[Configuration]:
    """Runs of equal settings, in the order in which they come; a seed occurs once."""
    found: dict[str, dict[int, Run]] = {}
    identities = {}
    for run in runs:
        identity = _identity(run)
        key = json.dumps([[*name, value] for name, value in sorted(identity.items())], default=str)
        seed = run.settings["run"]["seed"]
        if seed in found.setdefault(key, {}):
            raise UsageError(
                f"{found[key][seed].directory} and {run.directory} have equal settings and the same seed, {seed}: they "
                "are one training, not two; leave one out"
            )
        found[key][seed] = run
        identities[key] = identity
    differs = configuration_names(list(identities.values()))
    names = differs
    if max(map(len, names)) > LONGEST_NAME:
        names = _all_different([_folder(next(iter(runs.values()))) for runs in found.values()])
    return [
        Configuration(name, dict(sorted(runs.items())), what)
        for name, runs, what in zip(names, found.values(), differs, strict=True)
    ]


def _folder(run: Run) -> str:
    """What a person has called the directory of a run, or of its group."""
    place = run.directory.resolve()
    return place.parent.name if (place.parent / run_directory.GROUP).is_file() else place.name


def _all_different(names: Sequence[str]) -> list[str]:
    return [name if name not in names[:i] else f"{name} ({i + 1})" for i, name in enumerate(names)]


def configuration_names(identities: Sequence[dict[Key, Any]]) -> list[str]:
    """Short names, all different, that say what differs between settings.

    Options of two components are not compared with each other: beside ``algorithm=mle`` and ``algorithm=seqgan`` their
    options are said only where two of the settings have the same algorithm and not the same options.

    Examples
    --------
    >>> configuration_names([{("algorithm", "rounds"): 20}, {("algorithm", "rounds"): 40}])
    ['rounds=20', 'rounds=40']
    """
    missing = object()

    def differs(mine: dict[Key, Any], key: Key) -> bool:
        section, option = key
        name = (section, "name")
        peers = [one for one in identities if option == "name" or one.get(name) == mine.get(name)]
        return any(one.get(key, missing) != mine.get(key, missing) for one in peers)

    differing = [[key for key in one if differs(one, key)] for one in identities]
    sections = {key for keys in differing for key in keys}

    def said(key: Key, value: Any) -> str:
        section, option = key
        alone = sum(other == option for _, other in sections) == 1
        what = section if option == "name" else option if alone else f"{section}.{option}"
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        return f"{what}={text if len(text) <= 40 else text[:39] + '…'}"

    names = [
        ", ".join(said(key, one[key]) for key in keys) or str(one.get(("algorithm", "name"), "runs"))
        for one, keys in zip(identities, differing, strict=True)
    ]
    return _all_different(names)


def _at(stage: str, temperature: float | None) -> str:
    return f"{stage} at best" if temperature is None else measurements.at(stage, temperature)


def _temperatures(run: Run, wanted: dict[str, tuple[str, float | None]]) -> dict[str, tuple[str, float]]:
    """Rows at other temperatures than 1 that a run has: name → stage and temperature.

    Raises
    ------
    UsageError
        Its best temperature is asked for, but has not been measured.
    """
    found = {}
    for name, (stage, temperature) in wanted.items():
        if stage not in run.stages:
            continue
        if temperature is None:
            try:
                file = (run.directory / CURVES).read_text(encoding="utf-8")
                temperature = float(json.loads(file)["facts"]["best_temperature"][stage])
            except (OSError, ValueError, LookupError, TypeError):
                raise UsageError(
                    f"the best temperature of {stage} is not known for {run.directory}; measure it with: "
                    f"seqgan-music evaluate {run.directory} --temperatures default"
                ) from None
        check_narrowing(temperature, 0, 1.0)
        found[name] = (stage, temperature)
    return found


def _label(one: Configuration, stage: str, configurations: Sequence[Configuration]) -> str:
    return f"{one.name}@{stage}" if len(configurations) > 1 else stage


def _pairs(
    stages: dict[str, tuple[Configuration, str]],
    configurations: Sequence[Configuration],
    baseline: str | None,
    paths: Sequence[str | Path],
) -> list[tuple[str, str]]:
    """Rows to test, each with the row it is tested against."""
    if baseline in stages:
        return [(label, baseline) for label in stages if label != baseline]
    labels = {(one.name, stage): label for label, (one, stage) in stages.items()}
    first, base_stage = configurations[0], None
    named = [one for one in configurations if baseline == one.name]
    if baseline is not None and not named and Path(baseline).resolve() in {Path(path).resolve() for path in paths}:
        inside = Path(baseline).resolve()
        named = [
            one
            for one in configurations
            if any(inside in (place := run.directory.resolve(), place.parent) for run in one.runs.values())
        ][:1]
    if named:
        first = named[0]
    elif baseline in {stage for _, stage in stages.values()}:
        base_stage = baseline
    elif baseline is not None:
        known = dict.fromkeys([*(one.name for one in configurations), *(stage for _, stage in labels)])
        both = " and CONFIGURATION@STAGE" if len(configurations) > 1 else ""
        raise UsageError(f"there is no baseline {baseline!r}; there are: {'; '.join(known)}{both}")
    pairs = []
    for one in configurations:
        own = [stage for name, stage in labels if name == one.name]
        against = own[0] if base_stage is None else base_stage
        if against in own:
            pairs += [(labels[one.name, stage], labels[one.name, against]) for stage in own if stage != against]
    if base_stage is None:
        pairs += [
            (label, labels[first.name, stage])
            for label, (one, stage) in stages.items()
            if one is not first and (first.name, stage) in labels
        ]
    return pairs


def _row(one: Configuration, stage: str, evaluations: dict[Run, Evaluation], meanings: Mapping[str, Metric]) -> Row:
    found = [evaluations[run] for run in one.runs.values()]
    names = list(found[0].rows[stage])
    values = {name: np.array([one.rows[stage][name] for one in found]) for name in names}
    real = {name: np.array([one.rows[REAL][name] for one in found]) for name in names}
    # Of a metric without a meaning nothing is known, so that it is not taken for one.
    equal = [name for name in names if name in meanings and meanings[name].target == EQUAL_TO_REAL]
    distances = {name: np.abs(values[name] - real[name]) for name in equal}
    pooled = {name: np.concatenate([one.scores[stage][name] for one in found]) for name in found[0].scores[stage]}
    return Row(one.name, stage, list(one.runs), values, distances, pooled)


def _undefined(metric: str, rows: dict[str, Row]) -> str:
    """Of which rows an objective is undefined for some samples, and for what share."""
    if not metric.startswith(OBJECTIVE):
        return ""
    shares = {label: float(row.values[undefined(metric)].mean()) for label, row in rows.items()}
    return ", ".join(f"{share:.1%} of {label}" for label, share in shares.items() if share)


def _tests(row: str, baseline: str, metric: str, rows: dict[str, Row]) -> list[Contrast]:
    a, b = rows[row], rows[baseline]
    tests = []
    for of, mine, theirs in [("distance", a.distances, b.distances), ("value", a.values, b.values)]:
        if metric in mine:
            tests.append(Contrast(row, baseline, metric, "seeds", of, welch(mine[metric], theirs[metric])))
            if a.configuration == b.configuration:
                tests.append(Contrast(row, baseline, metric, "paired", of, paired(mine[metric], theirs[metric])))
    if metric in a.scores:
        tests.append(Contrast(row, baseline, metric, "samples", "value", welch(a.scores[metric], b.scores[metric])))
    return tests


def _corrected(tests: Sequence[Contrast]) -> list[Contrast]:
    """The same with Holm's correction within each kind of test and quantity."""
    corrected: dict[int, float] = {}
    for family in {(test.kind, test.of) for test in tests}:
        members = [i for i, test in enumerate(tests) if (test.kind, test.of) == family]
        corrected.update(zip(members, holm([tests[i].result.p for i in members]).tolist(), strict=True))
    return [
        Contrast(test.row, test.baseline, test.metric, test.kind, test.of, test.result, corrected[i])
        for i, test in enumerate(tests)
    ]


def _means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
