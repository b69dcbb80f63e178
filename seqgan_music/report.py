"""What a person looks at: a table of results, temperature curves, and melodies as piano rolls."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqgan_music import files
from seqgan_music.errors import UsageError
from seqgan_music.evaluation import REAL
from seqgan_music.evaluation.objectives import OBJECTIVE, Objectives, undefined
from seqgan_music.evaluation.temperatures import PLANE
from seqgan_music.metrics import TABLES, TOKEN_TABLES

if TYPE_CHECKING:
    from seqgan_music.evaluation import Evaluation
    from seqgan_music.evaluation.temperatures import Curves
    from seqgan_music.metrics import Metric
    from seqgan_music.notes import Part, Piece

COLOURS = ("#2b6cb0", "#c05621", "#2f855a", "#97266d", "#b7791f", "#4a5568", "#2c7a7b", "#9b2c2c")
MARKERS = ("o", "s", "^", "D")
OBJECTIVES = "Musical objectives: how much is there of each?"
UNDEFINED = "Samples of which an objective is undefined are left out of its mean; their share stands below it."
LABELS = ((9, -9), (-9, 7), (-30, 13), (30, -19))  # points from a curve's marker to its label, for each curve another


def table(evaluation: Evaluation, columns: Sequence[str] | None = None) -> str:
    """The rows of an evaluation as Markdown, which reads as plain text too; its own `columns`, if left out."""
    columns = evaluation.columns if columns is None else columns
    head = ["", *(evaluation.metrics[name].title for name in columns)]
    return _aligned(head, [[row, *(figure_text(of[name]) for name in columns)] for row, of in evaluation.rows.items()])


def objectives(evaluation: Evaluation, *, every: bool = False) -> str:
    """A table of musical objectives, a line for each, with a line for the share of undefined samples where there are
    any; above it what the run was steered towards.

    Parameters
    ----------
    evaluation : Evaluation
    every : bool
        All that were measured, in place of those that are looked at first.
    """
    known = evaluation.objectives
    lines = []
    for name in _objectives(evaluation, every):
        lines.append([evaluation.metrics[name].title, *(figure_text(of[name]) for of in evaluation.rows.values())])
        shares = [of.get(undefined(name), 0.0) for of in evaluation.rows.values()]
        if any(shares):
            lines.append(["  undefined", *(f"{share:.1%}" if share else "" for share in shares)])
    wishes = [f"{known.metrics[OBJECTIVE + name].title} ({'; '.join(of)})" for name, of in known.wishes.items()]
    said = [f"Steered towards {', '.join(wishes)}. Of all others real's value is the target."] if wishes else []
    if known.left_out:
        said.append(f"Not measured, for want of --own-code: {', '.join(known.left_out)}.")
    return "\n".join([*said, *([""] if said else []), _aligned(["", *evaluation.rows], lines)])


def summary(evaluation: Evaluation) -> str:
    """What a training ends with: `table`, and `objectives` where it was steered towards some."""
    return "\n\n".join([table(evaluation), *([objectives(evaluation)] if evaluation.objectives.wishes else [])])


def tables(evaluation: Evaluation, *, explain: bool = False) -> str:
    """A table for each question of `seqgan_music.metrics.TABLES`, or `TOKEN_TABLES`, of the metrics that were measured,
    and `objectives`.

    Parameters
    ----------
    evaluation : Evaluation
    explain : bool
        Under each table what its columns mean and where their target lies; all objectives.
    """
    measured = {name for values in evaluation.rows.values() for name in values}
    meanings = evaluation.metrics
    blocks = []
    for question, names in (TABLES if evaluation.objectives.musical else TOKEN_TABLES).items():
        if columns := [name for name in names if name in measured]:
            explained = ["", _explained(columns, meanings)] if explain else []
            blocks.append("\n".join([question, "", table(evaluation, columns), *explained]))
    if shown := _objectives(evaluation, every=explain):
        explained = ["", _explained(shown, meanings), UNDEFINED] if explain else []
        blocks.append("\n".join([OBJECTIVES, "", objectives(evaluation, every=explain), *explained]))
    return "\n\n".join(blocks)


def explanation() -> str:
    """What each column of `tables` means, and where its target lies."""
    known = Objectives.built_in()
    explained = {question: _explained(names, known.metrics) for question, names in TABLES.items()}
    explained[OBJECTIVES] = f"{_explained([OBJECTIVE + name for name in known.measured], known.metrics)}\n{UNDEFINED}"
    return "\n\n".join(f"{question}\n\n{lines}" for question, lines in explained.items())


def _explained(names: Sequence[str], metrics: Mapping[str, Metric]) -> str:
    width = max(len(metrics[name].title) for name in names)
    return "\n".join(
        f"{metrics[name].title.ljust(width)}  {metrics[name].meaning}; target: {metrics[name].target}" for name in names
    )


def _objectives(evaluation: Evaluation, every: bool) -> list[str]:
    """Metrics of objectives that were measured, those that are looked at first before the others."""
    first, known = evaluation.objectives.columns, evaluation.objectives.measured
    names = dict.fromkeys([*first, *([OBJECTIVE + name for name in known] if every else [])])
    return [name for name in names if all(name in values for values in evaluation.rows.values())]


def _aligned(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Markdown whose first column stands to the left and all others to the right."""
    widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]

    def formatted(cells: Sequence[str]) -> str:
        first, *others = cells
        padded = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        return f"| {' | '.join(padded)} |"

    return "\n".join(formatted(cells) for cells in [head, rule, *lines])


CURVES = "temperatures"
"""The name, without its ending, of the files of temperature curves in a run's directory."""


def write_curves(curves: Curves, directory: str | Path) -> list[Path]:
    """Write temperature curves as ``temperatures.json``, ``.csv`` and ``.png``.

    Raises
    ------
    Failure
        A file cannot be written.
    """
    files_of = {ending: Path(directory) / f"{CURVES}.{ending}" for ending in ("json", "csv", "png")}
    text = json.dumps(curves.to_dict(), indent=1, ensure_ascii=False)
    files.write_whole(files_of["json"], text.encode())
    files.write_whole(files_of["csv"], curves.to_csv().encode())
    draw_curves(curves, files_of["png"])
    return list(files_of.values())


def draw_curves(curves: Curves, path: str | Path) -> None:
    """Draw quality against diversity, a line for every stage with its temperatures written beside it.

    The temperature chosen on the validation part has a ring. An anchor far from everything else is named below the
    picture.

    Parameters
    ----------
    curves : Curves
    path : str or Path
        Of the picture; its ending says the format, such as ``.png``.

    Raises
    ------
    UsageError
        An ending that is no format of pictures.
    Failure
        The file cannot be written.
    """
    figure = _new_figure((9, 6.5), path)
    axes = figure.add_subplot()
    seen = [(curves.anchors[REAL][PLANE[0]], curves.anchors[REAL][PLANE[1]])]
    for number, (stage, curve) in enumerate(curves.points.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = np.array([[values[name] for name in PLANE] for values in curve.values()])
        seen += [tuple(point) for point in points]
        axes.plot(*points.T, color=colour, marker=MARKERS[number % len(MARKERS)], markersize=4, label=stage)
        if stage in curves.best:
            chosen = curve[curves.best[stage]]
            place = [[chosen[name]] for name in PLANE]
            axes.plot(*place, "o", markersize=12, fillstyle="none", color=colour)
        away = LABELS[number % len(LABELS)]
        for temperature, point in zip(curve, points, strict=True):
            if np.isfinite(point).all():
                axes.annotate(
                    f"{temperature:g}", point, away, textcoords="offset points", color=colour, fontsize=7,
                    ha="right" if away[0] < 0 else "left", va="center",
                    arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.4, "shrinkA": 0, "shrinkB": 2},
                )  # fmt: skip
    known = np.array([point for point in seen if np.isfinite(point).all()])
    low, high = (known.min(0), known.max(0)) if len(known) else (np.zeros(2), np.ones(2))
    room = np.maximum(high - low, 0.05)
    outside = []
    for name, values in curves.anchors.items():
        point = np.array([values[axis] for axis in PLANE])
        if not np.isfinite(point).all():
            continue
        if ((point < low - 0.5 * room) | (point > high + 0.5 * room)).any():
            outside.append(f"{name} ({point[0]:.2f}, {point[1]:.2f})")
            continue
        real = name == REAL
        axes.plot(*point, "*" if real else "X", color="#1a202c" if real else "#718096", markersize=15 if real else 7)
        axes.annotate(
            "real,\nthe target" if real else name, point, (0, -9), textcoords="offset points", fontsize=8,
            ha="center", va="top", weight="bold" if real else "normal",
        )  # fmt: skip
    axes.margins(0.1)
    axes.grid(color="#e2e8f0", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("← samples more varied      Self-BLEU-4      samples more alike →")
    phrases = "phrases of real tunes" if curves.objectives.musical else "runs of tokens of held-out sequences"
    axes.set_ylabel(f"← fewer {phrases}      BLEU-4      more →")
    note = "Numbers are temperatures, a ring the one chosen on the validation part."
    axes.set_title(f"Quality against diversity\n{note}", fontsize=9, loc="left")
    if outside:
        figure.supxlabel(f"outside the picture: {', '.join(outside)}", fontsize=7)
    figure.legend(fontsize=8, loc="outside right upper")
    _save(figure, path)


def piano_rolls(pieces: Sequence[Piece], path: str | Path, *, columns: int = 2) -> None:
    """Draw pieces side by side as piano rolls with bar lines; the parts of a piece have colours and a legend.

    Parameters
    ----------
    pieces : sequence of Piece
        Each under its title, in rows of `columns`; the picture is as wide as the longest needs.
    path : str or Path
        Of the picture; its ending says the format, such as ``.png``.

    Raises
    ------
    UsageError
        No pieces, or an ending that is no format of pictures.
    Failure
        The file cannot be written.
    """
    if not pieces:
        raise UsageError("there is no piece to draw")
    rows = math.ceil(len(pieces) / columns)
    width = min(max(6.5, 0.35 * max(_bars(piece) for piece in pieces)), 90)
    figure = _new_figure((width * columns, 2.1 * rows), path)
    for i, piece in enumerate(pieces):
        _draw(piece, figure.add_subplot(rows, columns, i + 1), width)
    _save(figure, path)


def _new_figure(size: tuple[float, float], path: str | Path) -> Any:
    """A figure of so many inches, for a file whose ending says a format there is."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    known = figure.canvas.get_supported_filetypes()
    if Path(path).suffix[1:].lower() not in known:
        raise UsageError(f"cannot draw {path}: its ending must be one of {', '.join(sorted(known))}")
    return figure


def _save(figure: Any, path: str | Path) -> None:
    picture = io.BytesIO()
    figure.savefig(picture, format=Path(path).suffix[1:].lower(), dpi=110)
    files.write_whole(path, picture.getvalue())


def _draw(piece: Piece, axes: Any, width: float) -> None:
    """One piano roll on axes that are `width` inches wide."""
    quarters = piece.resolution
    notes = piece.notes
    for number, part in enumerate(piece.parts):
        mine = notes.part == number
        if mine.any():
            # A gap, so that repeated notes are seen apart.
            length = np.maximum(notes.duration[mine] / quarters - 0.04, 0.04)
            colour = COLOURS[number % len(COLOURS)]
            onset = notes.onset[mine] / quarters
            name = _name(part)
            axes.barh(notes.pitch[mine], length, left=onset, height=0.9, color=colour, label=name)
    bar, bars = piece.ticks_per_bar / quarters, _bars(piece)
    lines = np.arange(bars + 1) * bar
    axes.vlines(lines, 0, 1, transform=axes.get_xaxis_transform(), color="#cbd5e0", linewidth=0.8, zorder=0)
    low, high = (int(notes.pitch.min()), int(notes.pitch.max())) if len(notes) else (60, 60)
    axes.set_ylim(low - 3, high + 3)
    axes.set_xlim(0, bars * bar)
    every = math.ceil(bars / (4 * width))  # bars that have a number: at most four an inch
    axes.set_xticks(
        [number * bar for number in range(0, bars, every)], [str(n + 1) for n in range(0, bars, every)], fontsize=6
    )
    steps = (0, 7) if high - low < 48 else (0,)
    named = [pitch for pitch in range(low - 3, high + 4) if pitch % 12 in steps]
    axes.set_yticks(named, [f"{'C' if pitch % 12 == 0 else 'G'}{pitch // 12 - 1}" for pitch in named], fontsize=7)
    metre = "{}/{}".format(*piece.metre)
    axes.set_title(f"{piece.title}  ({metre})", fontsize=9, loc="left", parse_math=False)
    if len(piece.parts) > 1 and len(notes):
        legend = axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=6, frameon=False)
        for text in legend.get_texts():
            text.set_parse_math(False)


def _name(part: Part) -> str:
    """A part's own name, else that of its instrument."""
    from seqgan_music import midi

    if part.name.strip():
        return part.name.strip().lstrip("_")  # matplotlib leaves names that begin so out of a legend
    return "drums" if part.drums else midi.program_name(part.program)


def _bars(piece: Piece) -> int:
    return max(1, math.ceil(piece.end / piece.ticks_per_bar - 1e-9))


def figure_text(value: float) -> str:
    """A value with as many digits as it deserves; a dash for NaN, which says that it is not defined."""
    if math.isnan(value):
        return "–"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"
