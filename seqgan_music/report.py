"""What a person looks at: a table of results, and melodies as piano rolls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seqgan_music.errors import Failure, UsageError
from seqgan_music.evaluation import COLUMNS
from seqgan_music.metrics import METRICS

if TYPE_CHECKING:
    from seqgan_music.evaluation import Evaluation
    from seqgan_music.notes import Piece


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
    """Draw pieces side by side as piano rolls with bar lines.

    Parameters
    ----------
    pieces : sequence of Piece
        Each under its title, in rows of `columns`.
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
    figure = Figure(figsize=(6.5 * columns, 2.1 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for i, piece in enumerate(pieces):
        axes = figure.add_subplot(rows, columns, i + 1)
        quarters = piece.resolution
        for note in piece.notes:
            length = max(note.duration / quarters - 0.04, 0.04)  # a gap, so that repeated notes are seen apart
            axes.barh(note.pitch, length, left=note.onset / quarters, height=0.9, color="#2b6cb0")
        bar = piece.ticks_per_bar / quarters
        bars = max(1, math.ceil(piece.end / quarters / bar - 1e-9))
        for number in range(bars + 1):
            axes.axvline(number * bar, color="#cbd5e0", linewidth=0.8, zorder=0)
        pitches = [note.pitch for note in piece.notes] or [60]
        axes.set_ylim(min(pitches) - 3, max(pitches) + 3)
        axes.set_xlim(0, bars * bar)
        axes.set_xticks(
            [number * bar for number in range(bars)], [str(number + 1) for number in range(bars)], fontsize=6
        )
        named = [pitch for pitch in range(min(pitches) - 3, max(pitches) + 4) if pitch % 12 in (0, 7)]
        axes.set_yticks(named, [f"{'C' if pitch % 12 == 0 else 'G'}{pitch // 12 - 1}" for pitch in named], fontsize=7)
        axes.set_title(f"{piece.title}  ({piece.metre[0]}/{piece.metre[1]})", fontsize=9, loc="left", parse_math=False)
    try:
        if Path(path).suffix[1:].lower() not in figure.canvas.get_supported_filetypes():
            known = ", ".join(sorted(figure.canvas.get_supported_filetypes()))
            raise UsageError(f"cannot draw {path}: its ending must be one of {known}")
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}") from error


def _figure(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"
