"""The experiment to read, to draw and to compute with: Markdown, CSV, JSON, and the paper's Figures 2 to 4."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqgan_music import files
from seqgan_music.comparison.output import table as markdown_table
from seqgan_music.evaluation import finite
from seqgan_music.metrics.bleu import EPSILON
from seqgan_music.reproduction.oracle import (
    BASELINES,
    EARLY_PATIENCE,
    IMPROVED,
    IMPROVED_MLE,
    RANDOM,
    SEQGAN,
    STRATEGIES,
    size_of,
    strategy,
)
from seqgan_music.reproduction.oracle.measuring import (
    NLL_ORACLE,
    NLL_TEST,
    SECONDS,
    SELF_BLEU,
    SPREAD,
    UNIQUE,
)
from seqgan_music.reproduction.oracle.verdict import (
    DIVERSITY,
    LIKELIHOOD,
    OVER_ALL_SAMPLES,
    OVER_SAMPLES,
    OVER_SEEDS,
    Answer,
    Contrast,
    Point,
    Verdict,
    contrasts,
    corrected,
    judge,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from seqgan_music.reproduction.oracle.measuring import Figures, Table

HEADS = {
    NLL_ORACLE: "NLL_oracle ↓",
    SPREAD: "spread over samples",
    NLL_TEST: "NLL_test ↓",
    UNIQUE: "unique",
    **{name: f"Self-BLEU-{n}" for name, n in SELF_BLEU.items()},
    SECONDS: "seconds",
}
DECIMALS = {UNIQUE: 4, SECONDS: 0}
"""Three for all others."""
PUBLISHED = {"random": 10.310, "MLE": 9.038, "scheduled sampling": 8.985, "PG-BLEU": 8.946, "SeqGAN": 8.736}
"""NLL_oracle of the paper's Table 1, nats per token."""
END_OF_LOG = 8.683
"""Where the log that the authors' program comes with ends: the figure to be below."""
PUBLISHED_P = "< 1e-6"
ASKED = (SEQGAN, IMPROVED)
"""What is tested against the other rows, and asked for a verdict in words."""
SHORT_SEQGAN = "short-seqgan"
CHOICES = {
    "sequences": "{sequences} of {length} tokens to train on; those to validate and to test with are others of the "
    "same oracle. A sequence that comes twice is taken once.",
    "NLL": "In nats per token, the mean over the {length} positions: so are the paper's tables, though its equation "
    "has the sum. NLL_test is that of the test sequences under the model, of the oracle's row under the oracle.",
    "random": "Uniform tokens. On the oracle that the authors have published they score 11.43, not the 10.310 of the "
    "paper's table.",
    "which weights": "*Best epoch* and *MLE, improved* stop when the NLL of the validation sequences has not fallen "
    "for {patience} epochs, and have the weights of the best; all others those after their last epoch or round.",
    "one pre-training": "Models that have the same pre-training go on from one: trained again with the same seed it "
    "would come out the same. *Seconds* has its time too, and leaves out NLL_oracle on the way.",
    "scheduled sampling": "ω falls by 0.002 an epoch, from 1, and is one for all positions of an epoch.",
    "PG-BLEU": "The reward is the BLEU of the finished sequence against the training sequences, smoothed by method 1 "
    f"with epsilon {EPSILON}. The paper names neither the order nor the smoothing.",
    "samples": "{samples} of each model and seed, at temperature 1. A model of one seed has the same random numbers at "
    "every temperature, another has others.",
    "temperature": "It divides the logits, for the samples and for NLL_test alike.",
    "Self-BLEU": f"Method 1 smoothing with epsilon {EPSILON}; of a sample against the others of its group of "
    "{group}, mean over groups.",
    "epochs": "Of likelihood, then rounds: a round of any strategy is one epoch, though (100, 1, 10) has a hundred "
    "generator steps in it.",
    "curves": "Every point is of {curve_samples} samples, drawn with the same random numbers each time.",
    "test": "The paper's is over the samples of one run, and says that two networks differ, not that two methods do. "
    "Here it stands beside Welch's over seeds, which is cautious where rows of one seed go on from one pre-training. "
    "All seeds have one oracle and its training sequences, and say nothing of others.",
    "improved": "Over the settings of all other rows: {improved}. docs/log.md has how they were found.",
}
"""What the paper does not say, and what we do."""


def choices(found: Table) -> dict[str, str]:
    """`CHOICES` with the sizes of this experiment."""
    facts = found.facts
    sizes = {"sequences": facts["windows"]["train"], "length": facts["length"], "samples": facts["samples"]}
    sizes |= {"group": facts["group of Self-BLEU"], "curve_samples": facts["options"]["curve_samples"]}
    better = next((model.settings for model in found.models if model.name == IMPROVED), {})
    values = (f"{section}.{option} {value}" for section, of in better.items() for option, value in of.items())
    said = {**sizes, "patience": EARLY_PATIENCE, "improved": ", ".join(values)}
    return {what: ours.format(**said) for what, ours in CHOICES.items() if better or what != "improved"}


def write(found: Table, directory: str | Path) -> list[Path]:
    """Write ``table.md``, ``table.csv`` and ``curves.csv`` (every point), ``table.json``, and the pictures.

    A picture of which no model is there is not drawn.

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
        "curves.csv": curves_csv(found),
        "table.json": json.dumps(to_dict(found), indent=1, ensure_ascii=False),
    }
    for name, text in contents.items():
        files.write_whole(place / name, text.encode())
    pictures = drawable(found)
    for name, draw in pictures.items():
        files.write_whole(place / name, _png(found, draw))
    return [place / name for name in (*contents, *pictures)]


def drawable(found: Table) -> dict[str, Callable[[Table, Figure], None]]:
    """Pictures of which something is there, by file name."""
    there = set(found.rows)
    known: dict[str, tuple[set[str], Callable[[Table, Figure], None]]] = {
        "figure-2.png": ({model.name for model in _of_table(found)} - {RANDOM}, draw_rows),
        "figure-3.png": ({strategy(*one) for one in STRATEGIES}, draw_strategies),
        "figure-4.png": ({SHORT_SEQGAN}, draw_short),
        "temperatures.png": (set(found.curves), draw_temperatures),
    }
    return {name: draw for name, (models, draw) in known.items() if models & there}


def judged(found: Table) -> list[Verdict]:
    """The verdict on every model, at every temperature it was measured at, beside every likelihood model."""
    others = {name: _points(rows) for name, rows in found.rows.items() if name not in (*BASELINES, RANDOM)}
    for name, of_temperatures in found.curves.items():
        if name not in BASELINES:
            others |= {at(name, t): _points(rows, t) for t, rows in sorted(of_temperatures.items()) if t != 1}
    verdicts = []
    for baseline in BASELINES:
        if baseline in found.curves:
            curve = {temperature: _points(rows, temperature) for temperature, rows in found.curves[baseline].items()}
            verdicts += judge(others, curve, baseline)
    return verdicts


def at(model: str, temperature: float) -> str:
    """What a model at another temperature than 1 is called.

    Examples
    --------
    >>> at("improved", 0.8)
    'improved at 0.8'
    """
    return f"{model} at {temperature:g}"


def tests(found: Table) -> list[Contrast]:
    """SeqGAN, and what is better, against every other row; no pair twice."""
    asked = [name for name in ASKED if name in found.scores]
    return corrected([
        test
        for number, name in enumerate(asked)
        for test in contrasts(found.scores, name, [one for one in found.scores if one not in asked[number:]])
    ])  # fmt: skip


def sentence(found: Table, verdict: Verdict) -> str:
    """The verdict on a model in words."""
    names, mean = _titles(found), verdict.mean
    name, baseline = names[verdict.model], names[verdict.baseline]
    if mean.tempered is None:
        return f"{name} beside {baseline}: undefined, for {mean.why_not}. {_counted(verdict)}"
    lacking = " and ".join(
        f"{figure} is {direction} ({_number(mine, name_)} against {_number(theirs, name_)})"
        for question, figure, direction, name_, mine, theirs in (
            (LIKELIHOOD, "NLL_test", "higher", NLL_TEST, mean.point.nll_test, mean.tempered.nll_test),
            (DIVERSITY, "the unique share", "lower", UNIQUE, mean.point.unique, mean.tempered.unique),
        )
        if not mean[question]
    )
    what = f"not better, for {lacking}" if lacking else "better"
    return (
        f"{name} beside {baseline} at temperature {mean.tempered.temperature:.3f}, where NLL_oracle is "
        f"{_number(mean.point.nll_oracle, NLL_ORACLE)} too: {what}. {_counted(verdict)}"
    )


def aim(found: Table) -> str | None:
    """Whether NLL_oracle on the published oracle is below the authors' at no cost; None on any other oracle."""
    if not found.facts["oracle"]["published"]:
        return None
    what = (
        f"The aim, NLL_oracle below {END_OF_LOG} with NLL_test and unique share no worse than a likelihood model's of "
        "equal NLL_oracle"
    )
    below = [one for one in judged(found) if one.mean.point.nll_oracle < END_OF_LOG]
    if not below:
        return f"{what}: not reached, for no model beside likelihood's is below it in the mean over seeds."
    titles, words = _titles(found), {True: "reached", False: "not reached", None: "no answer"}
    said = (f"{titles[one.model]} beside {titles[one.baseline]}: {words[one.mean.holds]}" for one in below)
    return f"{what}, in the mean over seeds. {'; '.join(said)}."


def markdown(found: Table) -> str:
    """The table of the paper, what is said of it, and the published figures."""
    blocks = ["# The oracle experiment of SeqGAN (Yu et al. 2017, Table 1)", about(found), *_missing(found)]
    blocks += [
        "Cells are mean ± standard deviation over seeds; *spread over samples* is the standard deviation of NLL_oracle "
        "over the samples of one seed, mean over seeds. NLL_oracle can be bought: by a lower temperature, or by "
        "learning the training sequences by heart. NLL_test and *unique* show it, and so does the row *oracle*, fresh "
        "sequences of the true distribution, which is the target of all columns.",
        _rows_table(found),
    ]
    table_1 = {model.name for model in _of_table(found)}
    judgement, contrasted = judged(found), tests(found)
    if verdicts := [one for one in judgement if one.model in table_1]:
        blocks += [
            "## Better than likelihood of equal NLL_oracle?",
            f"A model stands beside the likelihood model at the temperature where that has the same NLL_oracle. There "
            f"{LIKELIHOOD} and {DIVERSITY} is the question; where no measured temperature has it, there is no answer. "
            "No allowance is made for chance: a difference in the last place decides, so read it with the column of "
            "single seeds. `table.json` has it of every model and seed.",
            _verdict_table(found, verdicts),
            "\n".join(f"- {sentence(found, one)}" for one in verdicts if one.model in ASKED),
        ]
    if said := aim(found):
        blocks.append(f"**{said}**")
    for name, of_temperatures in found.curves.items():
        blocks += [f"## {_titles(found)[name]} at temperatures", _temperatures_table(of_temperatures)]
        own = {at(name, temperature) for temperature in of_temperatures} | {name}
        if verdicts := [one for one in judgement if one.model in own and one.baseline == IMPROVED_MLE]:
            blocks += ["Beside likelihood of the same settings:", _verdict_table(found, verdicts)]
    for asked in ASKED:
        mine = [test for test in contrasted if test.row == asked]
        if mine:
            blocks += [f"## NLL_oracle of {_titles(found)[asked]} against other rows", _tests_table(found, mine)]
    if contrasted:
        blocks.append(
            "Differences and tests are of the seeds that both rows have. p-values are of Welch's two-sided t-test, in "
            "brackets after Holm's correction. A family is all tests over seeds; all over the samples of these seeds "
            "together, which takes samples of one training for independent of each other; all over the samples of "
            "single seeds."
        )
    blocks += [*_published(found), "## What the paper does not say, and what is done here"]
    blocks.append("\n".join(f"- **{what}.** {ours}" for what, ours in choices(found).items()))
    return "\n\n".join(block for block in blocks if block) + "\n"


def to_dict(found: Table) -> dict[str, Any]:
    """Everything but the curves over epochs, for JSON: NaN becomes None."""
    return {
        "experiment": "oracle",
        "about": about(found),
        "rows": [
            {"model": model.name, "title": model.title, "seeds": _by_seed(found.rows[model.name])}
            for model in found.models
        ],
        "at_temperatures": [
            {"model": name, "temperature": temperature, "seeds": _by_seed(of_seeds)}
            for name, of_temperatures in found.curves.items()
            for temperature, of_seeds in sorted(of_temperatures.items())
        ],
        "anchors": {name: finite(values) for name, values in found.anchors.items()},
        "tests": [
            {"row": one.row, "baseline": one.baseline, "over": one.over, "seed": one.seed, "n": list(one.result.n)}
            | finite({name: getattr(one.result, name) for name in ("difference", "low", "high", "t", "df", "p")})
            | finite({"p_holm": one.p_holm})
            for one in tests(found)
        ],
        "verdicts": [
            {"model": one.model, "baseline": one.baseline, "verdict": sentence(found, one), "mean": _plain(one.mean)}
            | {"seeds": {str(seed): _plain(answer) for seed, answer in one.seeds.items()}}
            for one in judged(found)
        ],
        "aim": aim(found),
        "published": {
            "comparable": found.facts["oracle"]["published"],
            "nll_oracle": PUBLISHED,
            "p": PUBLISHED_P,
            "end of the released log": END_OF_LOG,
        },
        "choices": choices(found),
        "facts": found.facts,
    }


def to_csv(found: Table) -> str:
    """Every point in long form: a line for each row, seed and figure."""
    stream = io.StringIO(newline="")
    lines = csv.writer(stream, lineterminator="\n")
    lines.writerow(["model", "temperature", "seed", "figure", "value"])
    for name, of_seeds in found.rows.items():
        lines.writerows(_lines_of(name, "1.0", of_seeds))
    for name, of_temperatures in found.curves.items():
        for temperature, of_seeds in sorted(of_temperatures.items()):
            if temperature != 1:
                lines.writerows(_lines_of(name, repr(temperature), of_seeds))
    for name, values in found.anchors.items():
        lines.writerows([name, "", "", figure, _cell(value)] for figure, value in values.items())
    return stream.getvalue()


def curves_csv(found: Table) -> str:
    """A line for every epoch and round of every model and seed."""
    return files.csv_of(found.epochs, ("model", "seed", "epoch"))


def about(found: Table) -> str:
    """Which oracle, how many sequences and samples, and by which schedule."""
    facts = found.facts
    oracle, windows, seeds = facts["oracle"], facts["windows"], len(facts["seeds"])
    which = "The oracle that the authors have published" if oracle["published"] else "An oracle of our own"
    return (
        f"{which}: V = {oracle['vocab_size']}, T = {facts['length']}, embedding {oracle['embedding']}, hidden "
        f"{oracle['hidden']}. Sequences: {windows['train']} training, {windows['validation']} validation, "
        f"{windows['test']} test. {seeds} seed{'' if seeds == 1 else 's'}; {facts['samples']} samples of each model "
        f"and seed, of the oracle and of uniform tokens. Settings: {size_of(facts['options'], facts['settings'])}."
    )


def draw_rows(found: Table, figure: Figure) -> None:
    """Figure 2: NLL_oracle of all rows of the table against epochs."""
    axes = figure.add_subplot()
    models = _of_table(found)
    for number, model in enumerate(models):
        if model.name == RANDOM:
            axes.axhline(_mean(found.rows[RANDOM], NLL_ORACLE), color="black", linestyle=":", label=model.title)
        else:
            # Above those that go on from it, which begin with the same curve.
            _plot(axes, found, model.name, model.title, f"C{number % 10}", zorder=3 - number / 100)
    ends: dict[tuple[int, ...], list[str]] = {}
    for model in models:
        if known := _pretrained(found, model.name):
            ends.setdefault(known, []).append(model.title)
    for of_seeds, titles in sorted(ends.items()):
        for end in of_seeds:
            axes.axvline(end, color="black", linestyle="--", linewidth=0.8)
        axes.annotate(
            f"end of pre-training: {', '.join(titles)}",
            (of_seeds[-1], 0.98),
            xytext=(3, 0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            rotation=90,
            va="top",
            fontsize=7,
        )
    _finish(axes)


def draw_strategies(found: Table, figure: Figure) -> None:
    """Figure 3: a panel for each (g, d, k)."""
    there = [one for one in STRATEGIES if strategy(*one) in found.rows]
    columns = min(2, len(there))
    panels = figure.subplots(math.ceil(len(there) / columns), columns, sharex=True, sharey=True, squeeze=False)
    for axes, one in itertools.zip_longest(panels.flat, there):
        if one is None:
            axes.set_axis_off()
            continue
        name = strategy(*one)
        _plot(axes, found, name, "SeqGAN", "C0")
        for end in _pretrained(found, name):
            axes.axvline(end, color="black", linestyle="--", linewidth=0.8, label="end of pre-training")
        _finish(axes)
        axes.set_title("(g, d, k) = ({}, {}, {})".format(*one), fontsize=9)


def draw_short(found: Table, figure: Figure) -> None:
    """Figure 4: too short a pre-training against the whole one."""
    axes = figure.add_subplot()
    titles = _titles(found)
    for colour, name in (("C0", SEQGAN), ("C1", SHORT_SEQGAN)):
        if name in found.rows:
            _plot(axes, found, name, titles[name], colour)
            for end in _pretrained(found, name):
                axes.axvline(end, color=colour, linestyle="--", linewidth=1, label="end of its pre-training")
    _finish(axes)


def draw_temperatures(found: Table, figure: Figure) -> None:
    """NLL_test against NLL_oracle: the likelihood models by temperature, and the others of the table beside them."""
    axes = figure.add_subplot()
    titles = _titles(found)
    colours = {model.name: f"C{number % 10}" for number, model in enumerate(found.models)}
    for name, of_temperatures in found.curves.items():
        line = [[_mean(of_temperatures[t], name_) for name_ in (NLL_ORACLE, NLL_TEST)] for t in sorted(of_temperatures)]
        axes.plot(*np.transpose(line), "-o", color=colours[name], markersize=3, label=f"{titles[name]} by temperature")
        for temperature, point in zip(sorted(of_temperatures), line, strict=True):
            axes.annotate(
                f"{temperature:g}",
                (point[0], point[1]),
                xytext=(3, 3),
                textcoords="offset points",
                fontsize=7,
                color=colours[name],
            )
    for name in (model.name for model in _of_table(found)):
        if name not in (*found.curves, RANDOM):
            x, y = (_values(found.rows[name], name_) for name_ in (NLL_ORACLE, NLL_TEST))
            spread = {"xerr": x.std(ddof=1), "yerr": y.std(ddof=1)} if len(x) > 1 and len(y) > 1 else {}
            if len(x) and len(y):
                axes.errorbar(x.mean(), y.mean(), fmt="s", color=colours[name], capsize=2, label=titles[name], **spread)
    axes.set_xlabel("NLL_oracle of samples, nats per token")
    axes.set_ylabel("NLL_test, nats per token")
    axes.margins(0.1)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=7)


def _png(found: Table, draw: Callable[[Table, Figure], None]) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    draw(found, figure)
    if draw is not draw_temperatures:
        banded = any(axes.collections for axes in figure.axes)
        band = "; mean over seeds, band: their standard deviation" if banded else ""
        figure.supxlabel(f"epochs: of likelihood, then rounds{band}", fontsize=8)
        figure.supylabel("NLL_oracle of samples, nats per token", fontsize=8)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=130)
    return picture.getvalue()


def _plot(axes: Axes, found: Table, model: str, title: str, colour: str, zorder: float = 2.0) -> None:
    """NLL_oracle against epochs: mean over seeds, with a band of their standard deviation; of seeds that stopped at
    different epochs a line each, for a mean of different phases is none of any."""
    by_seed: dict[int, list[float]] = {}
    for one in found.epochs:
        if one["model"] == model:
            by_seed.setdefault(one["seed"], []).append(_or_nan(one.get(NLL_ORACLE)))
    if not by_seed:
        return
    if len({len(values) for values in by_seed.values()}) > 1:
        for number, line in enumerate(by_seed.values()):
            label = None if number else f"{title}, a line for each seed"
            axes.plot(range(1, len(line) + 1), line, color=colour, linewidth=0.7, label=label, zorder=zorder)
        return
    values = np.array(list(by_seed.values()))  # (seeds, epochs)
    epochs, mean = np.arange(1, values.shape[1] + 1), values.mean(0)
    marker = "." if len(epochs) < 3 else ""
    axes.plot(epochs, mean, color=colour, linewidth=1.2, label=title, marker=marker, zorder=zorder)
    if len(values) > 1:
        spread = values.std(0, ddof=1)
        axes.fill_between(epochs, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0)


def _finish(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=7)


def _pretrained(found: Table, model: str) -> tuple[int, ...]:
    """Epochs after which a model's adversarial phase begins, each once; it may be another with every seed."""
    ends: dict[int, int] = {}
    adversarial = set()
    for one in found.epochs:
        if one["model"] == model:
            if one["phase"] == "adversarial":
                adversarial.add(one["seed"])
            elif one["phase"] == "mle":
                ends[one["seed"]] = one["epoch"]
    return tuple(sorted({ends[seed] for seed in adversarial & set(ends)}))


def _of_table(found: Table) -> list[Any]:
    """Models of Table 1 and what is better: all but those of Figures 3 and 4."""
    others = {*(strategy(*one) for one in STRATEGIES), SHORT_SEQGAN}
    return [model for model in found.models if model.name not in others]


def _titles(found: Table) -> dict[str, str]:
    titles = {model.name: model.title for model in found.models}
    return titles | {at(name, t): at(titles[name], t) for name, of in found.curves.items() for t in of}


def _missing(found: Table) -> list[str]:
    """What is not there, in words."""
    said = []
    if names := found.facts["not finished"]:
        said.append(f"Not in these tables and pictures, for they are not trained to the end: {', '.join(names)}.")
    if names := found.facts["finished, not measured like this"]:
        said.append(f"Not in these tables and pictures, for they were not measured like this: {', '.join(names)}.")
    return said


def _rows_table(found: Table) -> str:
    lines = [[model.title, str(len(found.rows[model.name])), *_cells(found.rows[model.name])] for model in found.models]
    lines += [[name, "", *_cells({0: values})] for name, values in reversed(found.anchors.items())]
    return markdown_table(["", "seeds", *HEADS.values()], lines)


def _temperatures_table(of_temperatures: Mapping[float, Mapping[int, Figures]]) -> str:
    heads = {name: head for name, head in HEADS.items() if name != SECONDS}
    lines = [
        [f"{t:g}", str(len(of_temperatures[t])), *_cells(of_temperatures[t], heads)] for t in sorted(of_temperatures)
    ]
    return markdown_table(["temperature", "seeds", *heads.values()], lines)


def _verdict_table(found: Table, verdicts: Sequence[Verdict]) -> str:
    titles, lines = _titles(found), []
    for one in verdicts:
        mine, theirs, words = one.mean.point, one.mean.tempered, {True: "yes", False: "no", None: "–"}
        beside = (
            dataclasses.replace(mine, nll_test=math.nan, unique=math.nan, temperature=math.nan)
            if theirs is None
            else theirs
        )
        lines.append([
            titles[one.model],
            titles[one.baseline],
            _number(mine.nll_oracle, NLL_ORACLE),
            _number(beside.temperature),
            _number(mine.nll_test, NLL_TEST),
            _number(beside.nll_test, NLL_TEST),
            words[one.mean[LIKELIHOOD]],
            _number(mine.unique, UNIQUE),
            _number(beside.unique, UNIQUE),
            words[one.mean[DIVERSITY]],
            "undefined" if one.mean.holds is None else words[one.mean.holds],
            _seeds(one),
        ])  # fmt: skip
    heads = ["", "beside", "NLL_oracle", "at temperature", "NLL_test", "there", "no higher", "unique", "there"]
    return markdown_table([*heads, "no lower", "both", "seeds"], lines)


def _tests_table(found: Table, mine: Sequence[Contrast]) -> str:
    """A line for each other row: how far it is off, and every kind of test."""
    seeds = sorted({test.seed for test in mine if test.seed is not None})
    kinds = [(OVER_SEEDS, None), (OVER_ALL_SAMPLES, None), *((OVER_SAMPLES, seed) for seed in seeds)]
    lines = []
    for baseline in dict.fromkeys(test.baseline for test in mine):
        of = {(test.over, test.seed): test for test in mine if test.baseline == baseline}
        change = of[OVER_SEEDS, None].result.difference
        text = f"{change:+.3f}" if math.isfinite(change) else "–"
        lines.append([_titles(found)[baseline], text, *(_p(of.get(kind)) for kind in kinds)])
    heads = ["p over seeds", "all samples", *(f"samples of seed {seed}" for seed in seeds)]
    return markdown_table(["", "difference of means", *heads], lines)


def _published(found: Table) -> list[str]:
    """The paper's figures in a table of their own; ours beside them where the oracle is the same."""
    same = found.facts["oracle"]["published"]
    lines = [[title, f"{value:.3f}"] for title, value in PUBLISHED.items()]
    lines.append(["SeqGAN, end of the released log", f"{END_OF_LOG:.3f}"])
    if not same:
        return [
            "## What was published: another oracle, not to be put in one column",
            markdown_table(["", "NLL_oracle"], lines),
            f"NLL_oracle depends on the oracle's weights; p {PUBLISHED_P} for SeqGAN against each row.",
        ]
    ours = {model.title: _cell_of(found.rows[model.name], NLL_ORACLE) for model in found.models}
    return [
        "## What was published, and ours on the same oracle",
        markdown_table(["", "published", "here"], [[*line, ours.get(line[0], "")] for line in lines]),
        f"The training sequences are others than the authors', drawn from the same oracle; p {PUBLISHED_P} for SeqGAN "
        "against each row in the paper. Uniform tokens on this oracle are no 10.310 by any draw, so the paper's table "
        "may be of another one.",
    ]


def _counted(verdict: Verdict) -> str:
    return f"Seeds of which both hold: {_seeds(verdict)}."


def _seeds(verdict: Verdict) -> str:
    """Of how many seeds it is true."""
    answers = [answer.holds for answer in verdict.seeds.values()]
    unknown = answers.count(None)
    return f"{answers.count(True)} of {len(answers)}{f', {unknown} undefined' if unknown else ''}"


def _plain(answer: Answer) -> dict[str, Any]:
    tempered = None if answer.tempered is None else finite(dataclasses.asdict(answer.tempered))
    values = {"point": finite(dataclasses.asdict(answer.point)), "tempered": tempered, "why_not": answer.why_not}
    return values | {LIKELIHOOD: answer[LIKELIHOOD], DIVERSITY: answer[DIVERSITY], "holds": answer.holds}


def _by_seed(of_seeds: Mapping[int, Figures]) -> dict[str, Any]:
    return {str(seed): finite(values) for seed, values in sorted(of_seeds.items())}


def _points(of_seeds: Mapping[int, Figures], temperature: float = 1.0) -> dict[int, Point]:
    return {
        seed: Point(values[NLL_ORACLE], values[NLL_TEST], values[UNIQUE], temperature)
        for seed, values in of_seeds.items()
    }


def _lines_of(name: str, temperature: str, of_seeds: Mapping[int, Figures]) -> Iterable[list[Any]]:
    for seed, values in sorted(of_seeds.items()):
        yield from ([name, temperature, seed, figure, _cell(value)] for figure, value in values.items())


def _cells(of_seeds: Mapping[int, Figures], names: Iterable[str] = tuple(HEADS)) -> list[str]:
    return [_cell_of(of_seeds, name) for name in names]


def _cell_of(of_seeds: Mapping[int, Figures], name: str) -> str:
    """Mean ± standard deviation over seeds; of the spread over samples the mean alone."""
    known = _values(of_seeds, name)
    text = _number(float(known.mean()), name) if len(known) else "–"
    return f"{text} ± {_number(float(known.std(ddof=1)), name)}" if len(known) > 1 and name != SPREAD else text


def _values(of_seeds: Mapping[int, Figures], name: str) -> np.ndarray:
    """Those that are defined."""
    values = np.array([of_seeds[seed].get(name, math.nan) for seed in sorted(of_seeds)], dtype=float)
    known: np.ndarray = values[np.isfinite(values)]
    return known


def _mean(of_seeds: Mapping[int, Figures], name: str) -> float:
    known = _values(of_seeds, name)
    return float(known.mean()) if len(known) else math.nan


def _number(value: float, name: str = "") -> str:
    return f"{value:.{DECIMALS.get(name, 3)}f}" if math.isfinite(value) else "–"


def _p(test: Contrast | None) -> str:
    if test is None or math.isnan(test.result.p):
        return "–"
    return f"{_small(test.result.p)} ({_small(test.p_holm)})"


def _small(p: float) -> str:
    if p < 1e-300:  # what a double cannot tell from 0
        return "< 1e-300"
    return f"{p:.3f}" if p >= 0.001 else f"{p:.0e}"


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _cell(value: float) -> str:
    return repr(float(value)) if math.isfinite(value) else ""
