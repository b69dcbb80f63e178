"""The runs of an experiment with many models, in one directory: ``DIR/seed-1/MODEL/``, each an ordinary run.

A file of ``DIR`` has the settings and what is trained on, ``DIR/seed-1/finished.json`` which runs are finished. A run
is made when its turn comes, from what the run before it has left; one that was stopped goes on after its last record.
Two processes may work in one directory at the same time, on different seeds.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from seqgan_music import checkpoint, config, files, reproduction, run_directory, run_settings
from seqgan_music.errors import Failure, UsageError
from seqgan_music.experiment import Experiment
from seqgan_music.material import Material, prepare
from seqgan_music.run import Run

if TYPE_CHECKING:
    from seqgan_music.algorithms.record import Record
    from seqgan_music.cache import Cache
    from seqgan_music.corpus import Corpus
    from seqgan_music.experiment import Measure
    from seqgan_music.token_file import TokenFile

FINISHED = "finished.json"


@dataclass(frozen=True, slots=True)
class Model:
    """One run of every seed.

    Parameters
    ----------
    name : str
        Of its directory.
    title : str
        In tables.
    settings : Config
        Over those of the experiment.
    parent : str, optional
        The run that it goes on from, which has the same settings so far.
    """

    name: str
    title: str
    settings: config.Config
    parent: str | None = None


class Runs:
    """The directory of an experiment; one derived from it says which.

    Parameters
    ----------
    source : Corpus or TokenFile
    settings : mapping
        Of the experiment.
    directory : Path
        New, empty, or where the same experiment was begun. More seeds and models may be asked for than then.
    about : mapping, optional
        What the experiment is beside that, plain values.
    cache : Cache, optional
        Where tokens of pieces that were encoded before are found again.
    measure : Measure, optional
        Adds figures to the records, see `seqgan_music.experiment.Experiment`.

    Attributes
    ----------
    FILE : str
        In the directory, with what the experiment is.
    FIRST : frozenset of str
        Files of the experiment that may lie in its directory before that one.
    resolved : Config
        Settings of the experiment, every option among them.
    material : Material
        What all runs are trained on.

    Raises
    ------
    UsageError
        The source cannot be used, or the directory holds something else.
    Failure
        The directory cannot be written, or what is there is damaged.
    """

    FILE: ClassVar[str]
    FIRST: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self,
        source: Corpus | TokenFile,
        settings: Mapping[str, Mapping[str, Any]],
        directory: Path,
        *,
        about: Mapping[str, Any] | None = None,
        cache: Cache | None = None,
        measure: Measure | None = None,
    ) -> None:
        self.directory, self.settings, self.measure = directory, config.merge(settings), measure
        self.check_directory(directory)
        begun = self._begun(about or {})
        self.material: Material = prepare(source, settings, cache=cache)
        self.resolved = reproduction.plain(run_settings.resolve(settings))
        self.resolved["reading"] = self.material.reading or self.resolved["reading"]
        if begun is None:
            files.make_folder(directory)
            corpus = {name: self.material.corpus[name] for name in ("root", "digest")}
            values = {"settings": self.resolved, "corpus": corpus, **(about or {})}
            checkpoint.write_text(directory / self.FILE, json.dumps(values, indent=1, ensure_ascii=False))
        else:
            self._check(begun)

    def named(self, names: Iterable[str]) -> list[Any]:
        """The models of these names, each after the one it goes on from.

        Raises
        ------
        ValueError
            A name that no model has.
        """
        raise NotImplementedError

    def place(self, seed: int, model: str) -> Path:
        """Run directory of a model."""
        return self.directory / f"seed-{seed}" / model

    def finished(self, seed: int) -> list[str]:
        """Models that are trained to the end.

        Raises
        ------
        Failure
            What says so is damaged.
        """
        path = self.place(seed, FINISHED)
        try:
            return [str(name) for name in json.loads(path.read_text(encoding="utf-8"))]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError) as error:
            raise Failure(f"{path} is damaged: {type(error).__name__}: {error}") from error

    def all_finished(self) -> list[tuple[int, Any]]:
        """Every seed and model that is trained to the end, whichever call has asked for it, by seed.

        Raises
        ------
        Failure
            What says so is damaged.
        """
        names = (path.parent.name.removeprefix("seed-") for path in self.directory.glob(f"seed-*/{FINISHED}"))
        found = []
        for seed in sorted(int(name) for name in names if name.isdecimal()):
            try:
                found += [(seed, model) for model in self.named(self.finished(seed))]
            except ValueError as error:
                raise Failure(f"{self.place(seed, FINISHED)} is damaged: {error}") from error
        return found

    def run(self, seed: int, model: str) -> Run:
        """A run that is finished."""
        return Run(self.place(seed, model))

    def train(
        self,
        seed: int,
        model: Model,
        *,
        device: str | None = None,
        on_record: Callable[[Record, list[str]], None] | None = None,
    ) -> None:
        """Train a model to the end from wherever it stands; the one it goes on from must be finished.

        Parameters
        ----------
        seed, model
        device : str, optional
            In place of that of the settings.
        on_record : callable, optional
            Called with every `Record` and the words of warning about it.

        Raises
        ------
        Failure
            The training failed; what is saved before stays.
        """
        place = self.place(seed, model.name)
        if not (place / run_directory.RUN).is_file():
            if place.exists():  # stopped while it was made: nothing is trained in it
                shutil.rmtree(place)
            own = run_settings.lay(self.settings, model.settings, {"run": {"seed": seed}})
            Experiment.create(self.material, own, place)
        experiment = Experiment.resume(place, device, measure=self.measure)
        if model.parent is not None and not experiment.records:
            experiment.go_on_from(self.place(seed, model.parent))
        for record, warnings in experiment:
            if on_record is not None:
                on_record(record, warnings)
        Run(place).finish(evaluate=False, pages=False)
        checkpoint.write_text(self.place(seed, FINISHED), json.dumps([*self.finished(seed), model.name]))

    @classmethod
    def check_directory(cls, directory: Path) -> None:
        """Refuse a directory that holds something else, which is not to be written into.

        Raises
        ------
        UsageError
        """
        if directory.exists() and not directory.is_dir():
            raise UsageError(f"{directory} is a file; name a directory for the experiment")
        there = {one.name for one in directory.iterdir()} if directory.is_dir() else set()
        there = {name for name in there if not files.is_partial(name)}  # of a call that was killed, or one beside this
        if cls.FILE not in there and there - cls.FIRST:
            raise UsageError(f"{directory} is not empty, and no experiment is in it; name another directory")

    def _begun(self, about: Mapping[str, Any]) -> dict[str, Any] | None:
        """What the directory says of its experiment, if it has one, which is to be `about` the same."""
        path = self.directory / self.FILE
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            others = [name for name, value in about.items() if found[name] != value]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise self._damaged(error) from error
        if others:
            there, asked = found[others[0]], about[others[0]]
            if isinstance(there, dict) and isinstance(asked, dict):  # where they differ alone
                there, asked = (
                    {name: value for name, value in one.items() if (name, value) not in other.items()}
                    for one, other in ((there, asked), (asked, there))
                )
            self._refuse(f"{others[0]}={there!r}, not {asked!r}")
        return found

    def _check(self, begun: Mapping[str, Any]) -> None:
        """Refuse what is not the experiment that was begun."""
        try:
            differing = reproduction.difference(begun["settings"], self.resolved)
            digest, root = begun["corpus"]["digest"], begun["corpus"]["root"]
        except (LookupError, TypeError, AttributeError) as error:
            raise self._damaged(error) from error
        if differing:
            self._refuse(differing)
        if digest != self.material.corpus["digest"]:
            self._refuse(f"what is trained on: {root} as it was, not {self.material.corpus['root']} as it is")

    def _damaged(self, error: Exception) -> Failure:
        return Failure(f"{self.directory / self.FILE} is damaged: {type(error).__name__}: {error}")

    def _refuse(self, differing: str) -> NoReturn:
        raise UsageError(
            f"{self.directory} holds an experiment of other settings ({differing}); name another directory"
        )
