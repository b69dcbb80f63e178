"""The runs of the experiment, in one directory: ``DIR/seed-1/tonality-0.6/`` and so on, each an ordinary run."""

from __future__ import annotations

from collections.abc import Iterable

from seqgan_music.reproduction import organ, runs


class Runs(runs.Runs):
    """The directory of the experiment, whose settings are those of `seqgan_music.reproduction.organ.settings`."""

    FILE = "organ.json"

    def named(self, names: Iterable[str]) -> list[organ.Model]:
        """The models of these names; see `seqgan_music.reproduction.organ.named`."""
        return organ.named(names)
