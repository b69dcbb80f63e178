"""The runs of the experiment, in one directory: ``DIR/seed-1/seqgan/`` and so on, each an ordinary run.

``DIR/oracle.npz`` is the true distribution, ``DIR/sequences.npz`` what it has made to train on and to test with: they
are made once, so that an experiment may go on elsewhere.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from seqgan_music import files, run_settings, sampling, token_file
from seqgan_music.errors import UsageError
from seqgan_music.reproduction import oracle as experiment
from seqgan_music.reproduction import runs
from seqgan_music.reproduction.oracle.distribution import Oracle

if TYPE_CHECKING:
    from seqgan_music.dataset import Dataset
    from seqgan_music.reproduction.oracle import Model
    from seqgan_music.token_file import TokenFile

ORACLE, SEQUENCES = "oracle.npz", "sequences.npz"
SETTLED = {
    "tokenizer": "oracle.vocab_size says how many tokens there are",
    "data.length": "set oracle.length",
    "data.fractions": "set oracle.sequences and oracle.held_out",
    "run.seed": "--seeds says which",
    "algorithm.name": "every row has its own; --only says which are trained",
}
"""Sections and options that are no user's here, and what says them."""


class Runs(runs.Runs):
    """The directory of the experiment.

    Parameters
    ----------
    options : mapping
        Of ``[oracle]``, see `seqgan_music.reproduction.oracle.options`; where a file is read, V and the widths of its
        network are its own.
    size : str
        Of `seqgan_music.reproduction.oracle.SIZES`.
    directory : Path
        New, empty, or where the same experiment was begun.
    own : mapping, optional
        Settings laid over those of the size.
    better : mapping, optional
        Settings of the improved rows, laid over `seqgan_music.reproduction.oracle.BETTER`.
    file : Path, optional
        An oracle to take in place of a random one, see `Oracle.read`.

    Attributes
    ----------
    options : dict
    oracle : Oracle

    Raises
    ------
    UsageError
        The oracle or the settings cannot be used, or the directory holds something else.
    Failure
        The directory cannot be written, or what is there is damaged.
    """

    FILE = "oracle.json"
    FIRST = frozenset({ORACLE, SEQUENCES})

    def __init__(
        self,
        options: Mapping[str, Any],
        size: str,
        directory: Path,
        *,
        own: Mapping[str, Mapping[str, Any]] | None = None,
        better: Mapping[str, Mapping[str, Any]] | None = None,
        file: Path | None = None,
    ) -> None:
        self.better = dict(better or {})
        _check_own(own or {})
        _check_own(self.better)
        given = None if file is None else Oracle.read(file)
        self.options = dict(options)
        if given is not None:
            self.options |= {"vocab_size": given.vocab_size, "embedding": given.embedding, "hidden": given.hidden}
        settings = experiment.settings(size, self.options, own)
        for model in experiment.models(run_settings.resolve(settings), better=self.better):
            run_settings.resolve(run_settings.lay(settings, model.settings))  # before anything is written
        self.check_directory(directory)
        self.oracle = _oracle(directory, self.options, given)
        about = {
            # Samples are measured, not trained on; another number of them is the same experiment.
            **{f"oracle.{name}": value for name, value in self.options.items() if name != "samples"},
            "oracle file": None if given is None else given.digest,
            # Another release may have found what helps more.
            "better": {
                f"{section}.{option}": value
                for section, options in run_settings.lay(experiment.BETTER, self.better).items()
                for option, value in options.items()
            },
        }
        super().__init__(
            _sequences(directory, self.options, self.oracle),
            settings,
            directory,
            about=about,
            measure=_Curve(self.oracle, self.options),
        )

    def models(self, parts: Iterable[str] = experiment.PARTS) -> list[Model]:
        """What is trained, see `seqgan_music.reproduction.oracle.models`."""
        return experiment.models(
            self.resolved, parts, strategy_rounds=self.options["strategy_rounds"], better=self.better
        )

    def named(self, names: Iterable[str]) -> list[Model]:
        """The models of these names, each after the one it goes on from."""
        known = {model.name: model for model in self.models()}
        wanted = set(names)
        if unknown := wanted - set(known):
            raise ValueError(f"there is no model {min(unknown)!r}")
        return [model for name, model in known.items() if name in wanted]


class _Curve:
    """NLL_oracle of a generator's samples, drawn from the same random numbers each time: a point of its curve."""

    def __init__(self, oracle: Oracle, options: Mapping[str, Any]) -> None:
        self.oracle, self.samples = oracle, int(options["curve_samples"])

    def __call__(self, generator: Any, data: Dataset) -> dict[str, float]:
        where = data.train.ids.device
        if self.oracle.device != where:
            self.oracle = self.oracle.to(where)
        rng = torch.Generator(where).manual_seed(0)
        start = torch.full((self.samples,), self.oracle.start, device=where)
        ids: Tensor = sampling.sample(generator, start, data.length, rng)
        return {"nll_oracle": float(self.oracle.nll(ids).mean())}


def _check_own(own: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse what is not the user's to set: it would have no effect, or make another experiment of it."""
    for section, options in own.items():
        for option in options:
            if why := SETTLED.get(section) or SETTLED.get(f"{section}.{option}"):
                raise UsageError(f"{section}.{option} is settled by the oracle experiment itself: {why}")


def _oracle(directory: Path, options: Mapping[str, Any], given: Oracle | None) -> Oracle:
    """That of the directory, where the experiment was begun."""
    if (directory / Runs.FILE).is_file():
        return Oracle.read(directory / ORACLE)
    made = given
    if made is None:
        sizes = {name: options[name] for name in ("vocab_size", "embedding", "hidden")}
        made = Oracle.random(options["seed"], **sizes)
    files.make_folder(directory)
    made.write(directory / ORACLE)
    return made


def _sequences(directory: Path, options: Mapping[str, Any], oracle: Oracle) -> TokenFile:
    """What the oracle has made, where the experiment was begun; made now if not."""
    path = directory / SEQUENCES
    if not (directory / Runs.FILE).is_file():
        number = options["sequences"] + 2 * options["held_out"]
        rng = torch.Generator().manual_seed(options["seed"])
        tokens = oracle.sample(number, options["length"], rng).numpy()
        stream = io.BytesIO()
        np.savez_compressed(stream, tokens=tokens.astype(np.int32))
        files.write_whole(path, stream.getvalue())
    return token_file.read_tokens(path)
