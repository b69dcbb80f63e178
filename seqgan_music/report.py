"""What a person looks at: a table of results, and melodies as piano rolls."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqgan_music import files
from seqgan_music.errors import UsageError
from seqgan_music.evaluation import COLUMNS
from seqgan_music.metrics import METRICS

if TYPE_CHECKING:
    from seqgan_music.evaluation import Evaluation
    from seqgan_music.notes import Part, Piece

COLOURS = ("#2b6cb0", "#c05621", "#2f855a", "#97266d", "#b7791f", "#4a5568", "#2c7a7b", "#9b2c2c")


def table(evaluation: Evaluation, columns: Sequence[str] = COLUMNS) -> str:
    """The rows of an evaluation as Markdown, which reads as plain text too."""
    head = ["", *(METRICS[name].title for name in columns)]
    lines = [[row, *(_figure(values[name]) for name in columns)] for row, values in evaluation.rows.items()]
    widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]

    def formatted(cells: list[str]) -> str:
        first, *others = cells
        padded = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        return f"| {' | '.join(padded)} |"

    return "\n".join(formatted(cells) for cells in [head, rule, *lines])


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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = math.ceil(len(pieces) / columns)
    width = min(max(6.5, 0.35 * max(_bars(piece) for piece in pieces)), 90)
    figure = Figure(figsize=(width * columns, 2.1 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    ending = Path(path).suffix[1:].lower()
    if ending not in figure.canvas.get_supported_filetypes():
        known = ", ".join(sorted(figure.canvas.get_supported_filetypes()))
        raise UsageError(f"cannot draw {path}: its ending must be one of {known}")
    for i, piece in enumerate(pieces):
        _draw(piece, figure.add_subplot(rows, columns, i + 1), width)
    picture = io.BytesIO()
    figure.savefig(picture, format=ending, dpi=110)
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


def _figure(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"
