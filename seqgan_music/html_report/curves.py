"""Curves as SVG that stands in a page: its colours are the page's, so that they follow light and dark."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
from markupsafe import Markup

from seqgan_music.evaluation import Closeness
from seqgan_music.evaluation.objectives import OBJECTIVE, UNDEFINED

Line = Mapping[str, Any]
INK, FAINT, LINES = "#010101", "#020202", 6
"""Colours that stand for those of the style sheet; `_hue` has the others."""
SVG = "http://www.w3.org/2000/svg"
PHASES = {"mle": "likelihood", "discriminator": "discriminator", "adversarial": "adversarial"}
CLOSEST = ("distance_validation",)
BLANK = ("phase", "step", "of", "seconds")


@dataclass(frozen=True, slots=True)
class Panel:
    """Curves that share an axis.

    Parameters
    ----------
    title : str
        With the unit.
    names : tuple of str
        Figures of a record, see the glossary.
    phases : tuple of str
        Those whose figures are meant; all, if empty.
    level : float, optional
        A value to be read against.
    note : str
        How to read it.
    band : str
        Figure that is the spread of the first.
    best : bool
        Mark the round that is kept as best.
    """

    title: str
    names: tuple[str, ...]
    phases: tuple[str, ...] = ()
    level: float | None = None
    note: str = ""
    band: str = ""
    best: bool = False


PANELS = (
    Panel("Likelihood on validation tunes, nats per token", ("nll_validation",), note="Lower is better."),
    Panel(
        "Generator's loss in pre-training, nats per token",
        ("g_loss",),
        ("mle",),
        note="On the windows it is trained on.",
    ),
    Panel(
        "Reward of finished sequences",
        ("reward_mean",),
        note="The generator is trained to raise it; the band is one standard deviation to either side.",
        band="reward_std",
    ),
    Panel("Policy-gradient loss", ("g_loss",), ("adversarial",), note="Not comparable between rounds."),
    Panel("Discriminator's loss", ("d_loss",)),
    Panel(
        "Discriminator's accuracy",
        ("d_accuracy",),
        level=0.5,
        note="On held-out real and on fresh generated sequences; 0.5, the line, would be a perfect generator.",
    ),
    Panel("Entropy of the policy, nats per token", ("entropy",), note="Falling fast, it says that variety is lost."),
    Panel("Distance from the likelihood's policy (KL), nats per sequence", ("kl",)),
    Panel("Share of different samples", ("unique",), level=1.0),
    Panel(
        "Edit distance between samples",
        (Closeness.EDIT_DISTANCE,),
        note="Share of its notes that one must change to be another; falling, it says that variety is lost.",
    ),
    Panel(
        "Samples beside real music, validation tunes",
        Closeness.FIGURES,
        note="The target is real music's value.",
    ),
    Panel(
        "Distance from real music, validation tunes",
        CLOSEST,
        note="Summed over the figures that count.",
    ),
    Panel(
        "Share of true input tokens",
        ("omega",),
        note="ω of scheduled sampling; the others that the generator read were its own.",
    ),
)


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing and the words that go with it."""

    title: str
    note: str
    svg: Markup


def learning(
    lines: Sequence[Line],
    guessing: float | None = None,
    objectives: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    best: bool = True,
    rollouts: bool = True,
    real: Mapping[str, float] | None = None,
) -> list[Figure]:
    """Learning curves of a log, the phases marked; figures that no panel knows have panels of their own.

    Parameters
    ----------
    lines : sequence of Line
    guessing : float, optional
        The loss of a discriminator that knows nothing, see `seqgan_music.losses.DiscriminatorLoss`.
    objectives : mapping of str to mapping, optional
        What ``run.json`` says of each objective.
    best : bool
        Whether the run keeps the round that is closest to real music.
    rollouts : bool
        Whether the run rewards by them.
    real : mapping of str to float, optional
        What ``run.json`` says of real music, see `seqgan_music.evaluation.Closeness`.
    """
    panels = list(PANELS)
    if guessing is not None:
        note = f"{guessing:.3g}, the line, is what guessing costs."
        panels = [replace(panel, level=guessing, note=note) if "d_loss" in panel.names else panel for panel in panels]
    if best:
        note = "Summed over the figures that count; the round with the smallest, in the circle, is kept as best."
        panels = [replace(panel, best=True, note=note) if panel.names == CLOSEST else panel for panel in panels]
    if (apart := (real or {}).get(Closeness.EDIT_DISTANCE)) is not None:
        panels = [
            replace(panel, level=apart, note=f"{panel.note} Real music, the line: {apart:.3f}.")
            if panel.names == (Closeness.EDIT_DISTANCE,)
            else panel
            for panel in panels
        ]
    panels[4:4] = _of_the_reward(lines, objectives or {}, rollouts)
    known = {name for panel in panels for name in (*panel.names, panel.band)} | set(BLANK)
    others = dict.fromkeys(
        name for line in lines for name in line if name not in known and not name.startswith(UNDEFINED)
    )
    panels += [Panel(name, (name,)) for name in others]
    figures = []
    for number, panel in enumerate(panels):
        if any(_value(line, name, panel) is not None for line in lines for name in panel.names):
            figures.append(Figure(panel.title, panel.note, _learning_curve(lines, panel, f"curve{number}")))
    return figures


def _of_the_reward(lines: Sequence[Line], objectives: Mapping[str, Mapping[str, Any]], rollouts: bool) -> list[Panel]:
    """Panels of the reward's parts, of every objective beside real music's value, and of where they are undefined."""
    names = sorted({name for line in lines for name, value in line.items() if value is not None})
    parts = [name for name in names if name.startswith("reward_") and name not in ("reward_mean", "reward_std")]
    note = f"Mean over the {'roll-outs' if rollouts else 'finished sequences'} of the last policy step."
    panels = [Panel("Parts of the reward", tuple(parts), note=note)]
    titles = [told.get("title") for told in objectives.values()]
    for name in names:
        if name.startswith(OBJECTIVE):
            text = name.removeprefix(OBJECTIVE)
            told = objectives.get(text, {})
            sources = {"Real music, the line": told.get("real"), "Noise": told.get("noise")}
            said = [f" {source}: {value:.3f}." for source, value in sources.items() if value is not None]
            note = f"Mean of fresh samples.{''.join(said)}"
            title = told.get("title", text)
            said_as = title if titles.count(title) < 2 else f"{title} ({text})"
            panels.append(Panel(f"Objective: {said_as}", (name,), level=told.get("real"), note=note))
    missing = [name for name in names if name.startswith(UNDEFINED) and any(line.get(name) for line in lines)]
    note = "Such samples earn nothing by it and are left out of its mean."
    panels.append(Panel("Share of samples of which an objective is undefined", tuple(missing), note=note))
    return [panel for panel in panels if panel.names]


def temperatures(table: Mapping[str, Any], quality: str, diversity: str, titles: tuple[str, str]) -> Figure:
    """Quality against diversity, a curve for every stage with its temperatures, and real music's point.

    Parameters
    ----------
    table : mapping
        What ``temperatures.json`` holds.
    quality, diversity : str
        Metrics.
    titles : tuple of str
        Of both.

    Raises
    ------
    ValueError
        There is no point to draw.
    """
    points = [row for row in table["rows"] if row.get(quality) is not None and row.get(diversity) is not None]
    if not points:
        raise ValueError("no point")
    with _canvas("temperatures", 6.4, 4.4) as (axes, result):
        for number, (stage, group) in enumerate(groupby(points, key=lambda row: row["stage"])):
            rows = sorted(group, key=lambda row: row["temperature"])
            x, y = [row[diversity] for row in rows], [row[quality] for row in rows]
            axes.plot(x, y, "o-", color=_hue(number), label=stage, markersize=4)
            for row in rows:
                place = (row[diversity], row[quality])
                label = f"{row['temperature']:g}"
                axes.annotate(label, place, xytext=(4, 4), textcoords="offset points", fontsize=8)
        real = table.get("real") or {}
        if real.get(quality) is not None and real.get(diversity) is not None:
            axes.plot(real[diversity], real[quality], "*", color=INK, markersize=13, label="real", linestyle="none")
        axes.set_xlabel(titles[1])
        axes.set_ylabel(titles[0])
        _legend(axes)
    note = (
        f"Each point is a temperature. {titles[1]} says how much the samples are alike: further right is less variety. "
        "The star is real music, the target. A model is better only where its curve comes nearer to it."
    )
    return Figure("Quality against diversity", note, result())


def _learning_curve(lines: Sequence[Line], panel: Panel, key: str) -> Markup:
    with _canvas(key, 5.2, 2.3) as (axes, result):
        numbers = range(1, len(lines) + 1)
        drawn = [name for name in panel.names if any(_value(line, name, panel) is not None for line in lines)]
        for hue, name in enumerate(drawn):
            values = [_value(line, name, panel) for line in lines]
            y = np.array(values, dtype=float)  # NaN where there is none, which leaves a gap
            axes.plot(numbers, y, "o-", color=_hue(hue), label=name, markersize=3)
            if panel.band:
                spread = np.array([line.get(panel.band) or 0.0 for line in lines])
                axes.fill_between(numbers, y - spread, y + spread, color=_hue(hue), alpha=0.18, linewidth=0)
        if panel.best:
            rounds = [(line["distance_validation"], number) for number, line in zip(numbers, lines, strict=True)
                      if line["phase"] == "adversarial" and line.get("distance_validation") is not None]  # fmt: skip
            for smallest, number in sorted(rounds)[:1]:
                axes.plot(number, smallest, "o", color=INK, markersize=9, fillstyle="none")
        if panel.level is not None:
            axes.axhline(panel.level, color=FAINT, linewidth=1, linestyle="--")
        _mark_phases(axes, lines)
        if len(drawn) > 1:
            _legend(axes)
        return result()


def _value(line: Line, name: str, panel: Panel) -> float | None:
    value: float | None = line.get(name) if not panel.phases or line["phase"] in panel.phases else None
    return value


def _mark_phases(axes: Any, lines: Sequence[Line]) -> None:
    """Bands with names above them, and steps of the phases below."""
    ticks, labels = [], []
    first = 1
    every = max(1, len(lines) // 12)
    for number, (phase, group) in enumerate(groupby(lines, key=lambda line: line["phase"])):
        members = list(group)
        last = first + len(members) - 1
        if number % 2:
            axes.axvspan(first - 0.5, last + 0.5, color=FAINT, alpha=0.1, linewidth=0, zorder=0)
        # Narrow bands have no room for a name that stands beside another.
        if len(members) >= len(lines) / 8:
            place = axes.get_xaxis_transform()
            axes.text((first + last) / 2, 1.02, PHASES.get(phase, phase), transform=place, ha="center", fontsize=9)
        for offset, line in enumerate(members):
            if offset == 0 or (offset % every == 0 and len(members) - offset > every / 2):
                ticks.append(first + offset)
                labels.append(str(line["step"]))
        first = last + 1
    axes.set_xticks(ticks, labels)
    axes.set_xlim(0.5, max(len(lines), 1) + 0.5)


def _legend(axes: Any) -> None:
    legend = axes.legend(fontsize=9, frameon=False, labelcolor=INK)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _hue(number: int) -> str:
    return f"#0300{number % LINES:02x}"


@contextmanager
def _canvas(key: str, width: float, height: float) -> Iterator[tuple[Any, Callable[[], Markup]]]:
    """Axes of so many inches, and a function that gives the drawing on them."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas

    look = {
        "svg.fonttype": "none",
        "svg.hashsalt": key,
        "font.size": 10,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": FAINT,
        "axes.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "grid.color": FAINT,
        "grid.alpha": 0.25,
        "xtick.color": FAINT,
        "ytick.color": FAINT,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "lines.linewidth": 1.6,
    }
    with matplotlib.rc_context(look):
        figure = Canvas(figsize=(width, height), layout="constrained")
        figure.patch.set_visible(False)
        FigureCanvasSVG(figure)

        def result() -> Markup:
            stream = io.BytesIO()
            with matplotlib.rc_context(look):
                figure.savefig(stream, format="svg", metadata={"Date": None})
            return _inline(stream.getvalue())

        yield figure.add_subplot(), result


def _inline(drawing: bytes) -> Markup:
    """An SVG file as part of a page: without what only a file needs, and in the page's colours."""
    root = ElementTree.fromstring(drawing)
    parents = {child: parent for parent in root.iter() for child in parent}
    for element in list(root.iter()):
        kind = element.tag.rpartition("}")[2]
        if kind in ("metadata", "style"):
            parents[element].remove(element)
            continue
        if kind in ("g", "svg"):
            element.attrib.pop("id", None)  # the same in every drawing of a page, where an id may be there once
        element.tag = kind  # HTML knows SVG without its name space
        for name in list(element.attrib):
            if name.endswith("}href"):
                element.attrib["href"] = element.attrib.pop(name)
        if "style" in element.attrib:
            element.attrib["style"] = _styled(element.attrib["style"])
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib |= {"aria-hidden": "true", "focusable": "false"}  # the caption and the table beside it say it in words
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _styled(style: str) -> str:
    style = style.replace(INK, "var(--ink)").replace(FAINT, "var(--faint)")
    style = re.sub(r"#0300(\d\d)", lambda found: f"var(--line-{int(found[1])})", style)
    return re.sub(r"font-family: [^;]*", "font-family: var(--letters)", style)
