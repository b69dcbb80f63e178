"""A small trained run that ships with the package; its README says what it is and how it was made."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

NAME = "ryans_mammoth"


def directory() -> Path:
    """The run, to be opened with `seqgan_music.Run`."""
    return Path(str(resources.files(__name__).joinpath(NAME)))
