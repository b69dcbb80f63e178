"""A group: runs that differ in their seed alone, in one directory, trained one after the other.

``GROUP/group.json`` says which seeds there are and which runs are finished; ``GROUP/seed-1/`` and so on are ordinary
run directories. All of them are there, with their settings and windows, before the first is trained: the corpus is not
needed again, and a group goes on wherever it was stopped.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqgan_music import checkpoint, config, measurements, run_directory, run_settings
from seqgan_music.errors import UsageError
from seqgan_music.experiment import Experiment
from seqgan_music.run import Run

if TYPE_CHECKING:
    from seqgan_music.algorithms.record import Record
    from seqgan_music.cache import Cache
    from seqgan_music.corpus import Corpus
    from seqgan_music.dataset import Dataset
    from seqgan_music.evaluation import Evaluation
    from seqgan_music.token_file import TokenFile
    from seqgan_music.tokenizers import Tokenizer

Adjust = Callable[[config.Config, "Tokenizer", "Dataset"], config.Config]


class Group:
    """A group's directory.

    Parameters
    ----------
    directory : str or Path
        Where `Group.create` put it.
    own_code : bool
        Whether its runs may load the code outside the package that they name.

    Attributes
    ----------
    seeds : list of int
        In the order of training.
    finished : list of int
        Seeds whose runs are trained to the end, with their samples written and, if that was wanted, figures taken.

    Raises
    ------
    UsageError
        Not a group.
    Failure
        It is damaged.
    """

    def __init__(self, directory: str | Path, *, own_code: bool = False) -> None:
        self.directory, self.own_code = Path(directory), own_code
        values = run_directory.read_group(self.directory)
        self.seeds, self.finished = values["seeds"], values["finished"]

    @classmethod
    def create(
        cls,
        source: Corpus | TokenFile,
        settings: Mapping[str, Mapping[str, Any]],
        directory: Path,
        seeds: Sequence[int],
        *,
        init: Run | None = None,
        adjust: Adjust | None = None,
        cache: Cache | None = None,
    ) -> Group:
        """Make the directories of all runs, none of them begun.

        Parameters
        ----------
        source : Corpus or TokenFile
        settings : mapping
            Sections of options, see `seqgan_music.finetuning.lay_under` for those of a run to start from; ``run.seed``
            does not matter.
        directory : Path
            New or empty.
        seeds : sequence of int
            One run each.
        init, adjust, cache
            As for `seqgan_music.experiment.Experiment.create`. What `adjust` makes of the first run's schedule is every
            run's schedule.

        Raises
        ------
        UsageError
            Settings or corpus cannot be used; nothing is written then.
        Failure
            The directory cannot be written.
        """
        if not seeds or len(set(seeds)) < len(seeds):
            raise UsageError(f"a group needs one seed or more, each once, not {list(seeds)}")
        for seed in seeds:
            run_settings.resolve(_with_seed(settings, seed))
        if directory.exists() and not directory.is_dir():
            raise UsageError(f"{directory} is a file; name a directory for the group")
        if directory.exists() and any(directory.iterdir()):
            raise UsageError(f"{directory} is not empty; name another directory, or go on with --resume {directory}")
        was_there = directory.exists()
        try:
            for seed in seeds:
                place = run_directory.member(directory, seed)
                made = Experiment.create(
                    source, _with_seed(settings, seed), place, init=init, adjust=adjust, cache=cache
                )
                adjust = _schedule_of(made)
            _write(directory, seeds, [])
        except BaseException:
            for seed in seeds:
                shutil.rmtree(run_directory.member(directory, seed), ignore_errors=True)
            if directory.exists() and not was_there:
                directory.rmdir()
            raise
        return cls(directory, own_code=True)

    @property
    def runs(self) -> dict[int, Path]:
        """Run directory of every seed."""
        return {seed: run_directory.member(self.directory, seed) for seed in self.seeds}

    def experiment(self, seed: int, device: str | None = None) -> Experiment:
        """The run of a seed as it stands: iterate over it to train it, then `finish`."""
        return Experiment.resume(self.runs[seed], device, own_code=self.own_code)

    def finish(self, seed: int, *, evaluate: bool = True, pages: bool = True) -> Evaluation | None:
        """Leave with a run what its training ends with, see `seqgan_music.run.Run.finish`, and mark it as finished."""
        run = Run(self.runs[seed], own_code=self.own_code)
        evaluation = run.finish(evaluate=evaluate, pages=pages)
        if evaluation is not None:
            measurements.keep(run, evaluation)
        self.finished = [*self.finished, seed]
        _write(self.directory, self.seeds, self.finished)
        return evaluation

    def train(
        self,
        *,
        device: str | None = None,
        evaluate: bool = True,
        pages: bool = True,
        on_record: Callable[[int, Record, list[str]], None] | None = None,
    ) -> list[Run]:
        """Train what is not finished, one run after the other.

        Parameters
        ----------
        device : str, optional
            In place of that of the settings.
        evaluate : bool
            Measure every finished run and keep the figures with it.
        pages : bool
            Write every finished run's report and listening page.
        on_record : callable, optional
            Called with the seed, every `Record` and the words of warning about it.

        Returns
        -------
        list of Run
            All runs of the group, in the order of `seeds`.
        """
        for seed in self.seeds:
            if seed in self.finished:
                continue
            for record, warnings in self.experiment(seed, device):
                if on_record is not None:
                    on_record(seed, record, warnings)
            self.finish(seed, evaluate=evaluate, pages=pages)
        return [Run(run, own_code=self.own_code) for run in self.runs.values()]


def _with_seed(settings: Mapping[str, Mapping[str, Any]], seed: int) -> config.Config:
    return config.merge(settings, {"run": {"seed": seed}})


def _schedule_of(experiment: Experiment) -> Adjust:
    """Gives other runs the options of its algorithm, which may have been fitted to a time."""
    algorithm = experiment.settings["algorithm"]
    return lambda settings, tokenizer, data: config.merge(settings, {"algorithm": algorithm})


def _write(directory: Path, seeds: Sequence[int], finished: Sequence[int]) -> None:
    values = {"seeds": list(seeds), "finished": list(finished)}
    checkpoint.write_text(directory / run_directory.GROUP, json.dumps(values, indent=1))
