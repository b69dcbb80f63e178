"""The log of a run as event files, for TensorBoard: written where the package `tensorboard` is installed, else nothing.

They say nothing that ``metrics.jsonl`` does not, so they are made anew from it whenever a training begins or goes on: a
resumed run has every point once.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from seqgan_music.errors import Failure

FOLDER = "tensorboard"
NOT_FIGURES = ("phase", "step", "of")


class EventFiles:
    """A context that adds records of a log to the folder ``tensorboard`` of a run.

    A figure stands under ``phase/name``, at the step of its phase. A record is on disk once it was added.

    Parameters
    ----------
    directory : Path
        Of the run.
    log : callable
        Gives the lines of its log, so far.

    Raises
    ------
    Failure
        The folder cannot be written.
    """

    def __init__(self, directory: Path, log: Callable[[], Sequence[Mapping[str, Any]]]) -> None:
        self._writer: Any = None
        if importlib.util.find_spec("tensorboard") is None:
            return
        from torch.utils.tensorboard import SummaryWriter

        folder, lines = directory / FOLDER, log()
        ago = sum(line.get("seconds") or 0.0 for line in lines)
        try:
            for file in folder.glob("events.out.tfevents.*"):
                file.unlink()
            # A Ctrl-C can swallow what wakes the writing thread, which then sleeps for so long.
            self._writer = SummaryWriter(folder, flush_secs=1)
        except OSError as error:
            raise Failure(f"cannot write {folder}: {error.strerror or error}") from error
        for line in lines:
            ago -= line.get("seconds") or 0.0
            self.add(line, time.time() - ago)

    def add(self, line: Mapping[str, Any], when: float | None = None) -> None:
        """One line of the log, of some seconds since 1970 or of now."""
        if self._writer is None:
            return
        for name, value in line.items():
            if name not in NOT_FIGURES and value is not None:
                self._writer.add_scalar(f"{line['phase']}/{name}", value, line["step"], when)
        self._writer.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
