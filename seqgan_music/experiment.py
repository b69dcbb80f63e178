"""A run from settings to a finished directory: builds the parts, iterates the algorithm, logs and saves."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w
import torch

from seqgan_music import (
    building,
    checkpoint,
    config,
    corpus,
    distributed,
    finetuning,
    precision,
    run_directory,
    run_settings,
    tensorboard,
    timing,
)
from seqgan_music.algorithms.record import STAGES, Record
from seqgan_music.errors import Failure, UsageError
from seqgan_music.evaluation import closeness, finite
from seqgan_music.material import Material, prepare
from seqgan_music.modes import each_within
from seqgan_music.rewards import check_rounds
from seqgan_music.run import Run
from seqgan_music.token_file import TokenFile
from seqgan_music.tokenizers import Tokenizer
from seqgan_music.versions import versions

if TYPE_CHECKING:
    from seqgan_music.cache import Cache
    from seqgan_music.corpus import Corpus
    from seqgan_music.dataset import Dataset

Measure = Callable[[Any, "Dataset"], dict[str, float]]
"""Figures of a generator and the data it is trained on; it draws no random numbers of the training's."""

PERFECT_DISCRIMINATOR, GUESSING, COLLAPSED = 0.99, 0.6, 0.5  # two accuracies on held-out music, a share of samples


class Experiment:
    """A run that is being trained: iterate over it to train, each record being on disk before it is seen.

    Make one with `Experiment.create` or `Experiment.resume`.

    Parameters
    ----------
    directory : Path
        Of the run.
    settings : Config
        Resolved.
    tokenizer : Tokenizer
    data : Dataset
    own_code : bool
        Whether the settings come from the user now, so that components outside the package may be loaded.
    weights : mapping of str to state, optional
        To begin with, see `build`.
    measure : Measure, optional
        Adds figures to every record after which the generator has changed.
    """

    def __init__(
        self,
        directory: Path,
        settings: config.Config,
        tokenizer: Tokenizer,
        data: Dataset,
        *,
        own_code: bool = False,
        weights: Mapping[str, Mapping[str, torch.Tensor]] | None = None,
        measure: Measure | None = None,
    ) -> None:
        self.directory, self.settings, self.measure = directory, settings, measure
        self.tokenizer, self.own_code = tokenizer, own_code
        self.parts, self.algorithm = building.build(settings, tokenizer, data, weights=weights, own_code=own_code)
        self.device = self.parts.rng.device
        self.closeness = closeness(data, tokenizer, settings["run"]["seed"])
        self.records = 0
        self.best_distance: float | None = None

    @classmethod
    def create(
        cls,
        source: Corpus | TokenFile | Material,
        settings: Mapping[str, Mapping[str, Any]],
        directory: Path,
        *,
        init: Run | None = None,
        adjust: Callable[[config.Config, Tokenizer, Dataset], config.Config] | None = None,
        cache: Cache | None = None,
    ) -> Experiment:
        """Start a run on a corpus.

        Parameters
        ----------
        source : Corpus, TokenFile or Material
            Material is what `prepare` makes of the others, for many runs whose settings differ in neither data nor
            tokenizer.
        settings : mapping
            Sections of options; see `seqgan_music.finetuning.lay_under` for those of a run to start from.
        directory : Path
            New or empty.
        init : Run, optional
            Start from its weights, with its tokenizer.
        adjust : callable, optional
            Changes the resolved settings once the windows are known, before anything is written; see
            `seqgan_music.timing`.
        cache : Cache, optional
            Where tokens of pieces that were encoded before are found again.

        Raises
        ------
        UsageError
            Settings or corpus cannot be used; nothing is written then.
        Failure
            The directory cannot be written.
        """
        resolved = run_settings.resolve(settings)
        if directory.exists() and not directory.is_dir():
            raise UsageError(f"{directory} is a file; name a directory for the run")
        if directory.exists() and any(directory.iterdir()):
            raise UsageError(f"{directory} is not empty; name another directory, or go on with --resume {directory}")
        material = source if isinstance(source, Material) else prepare(source, settings, init=init, cache=cache)
        tokenizer, data = material.tokenizer, material.data
        resolved["reading"] = material.reading or resolved["reading"]
        resolved["data"]["length"] = data.length  # which plain tokens say themselves
        weights = {} if init is None else finetuning.weights(resolved, data, init)
        experiment = cls(directory, resolved, tokenizer, data, own_code=True, weights=weights)
        # Before a training is clocked, which takes longer and would score what an untrained generator makes.
        objectives = experiment.parts.reward.on_real_music(experiment.parts.dataset, resolved["run"]["seed"])
        if adjust is not None and (adjusted := adjust(resolved, tokenizer, data)) != resolved:
            resolved = adjusted
            experiment = cls(directory, resolved, tokenizer, data, own_code=True, weights=weights)
        if "rounds" in resolved["algorithm"]:
            reward = resolved["reward"]
            check_rounds(resolved["algorithm"]["rounds"], reward["lambda_schedule"], reward["programme"])
        facts: dict[str, Any] = {
            "versions": versions(),
            "threads": torch.get_num_threads(),
            "corpus": material.corpus,
            "real": finite(experiment.closeness.target),
        }
        if init is not None:
            facts["init"] = finetuning.facts(init, weights, experiment.parts, material.moved)
        if objectives:
            facts["objectives"] = objectives
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Failure(f"cannot make the run directory {directory}: {error.strerror}") from error
        checkpoint.write_text(directory / run_directory.CONFIG, tomli_w.dumps(resolved))
        checkpoint.write_text(directory / run_directory.TOKENIZER, _as_json(resolved, tokenizer))
        checkpoint.save_dataset(directory / run_directory.WINDOWS, data)
        checkpoint.write_text(directory / run_directory.LOG, "")
        if init is not None:
            experiment._save_state("init")  # or a run killed before its first record would go on without the weights
        checkpoint.write_text(directory / run_directory.RUN, json.dumps(facts, indent=1, ensure_ascii=False))
        return experiment

    @classmethod
    def resume(
        cls,
        directory: Path,
        device: str | None = None,
        *,
        own_code: bool = False,
        measure: Measure | None = None,
    ) -> Experiment:
        """Go on with a run after its last record; `own_code` lets it load the code outside the package that it names.

        Raises
        ------
        UsageError
            Not a run directory.
        Failure
            The run is damaged.
        """
        settings, tokenizer, data = run_directory.open_directory(directory, own_code=own_code)
        if "exported" in run_directory.read_facts(directory):
            raise UsageError(
                f"{directory} is an exported run, without the state of its training; "
                f"start a new run from it: seqgan-music train SOURCE --init {directory}"
            )
        if device is not None:
            settings["run"]["device"] = device
        experiment = cls(directory, settings, tokenizer, data, own_code=own_code, measure=measure)
        last = directory / run_directory.CHECKPOINTS / "last"
        if checkpoint.exists(last):
            state = checkpoint.load(last)
            try:
                experiment.parts.load_state_dict(state["parts"])
                experiment.algorithm.load_state_dict(state["algorithm"])
            except (RuntimeError, ValueError, LookupError) as error:
                raise Failure(
                    f"the checkpoint {last} does not fit {directory / run_directory.CONFIG}: {error}"
                ) from error
            experiment.records = state["records"]
            experiment.best_distance = state["best_distance"]
        try:
            lines = (directory / run_directory.LOG).read_text(encoding="utf-8").splitlines(keepends=True)
        except OSError as error:
            raise Failure(f"cannot read {directory / run_directory.LOG}: {error.strerror}") from error
        checkpoint.write_text(directory / run_directory.LOG, "".join(lines[: experiment.records]))
        return experiment

    def go_on_from(self, directory: Path) -> None:
        """Begin where another run ended, with its log and its weights, as if all of it had been trained here.

        That is what it would have been where the two have the same seed and the same settings of everything that has
        been trained so far. What this run does not have, a discriminator for one, is left behind.

        Raises
        ------
        Failure
            That run is damaged, or has other networks.
        """
        saved, own = directory / run_directory.CHECKPOINTS, self.directory / run_directory.CHECKPOINTS
        state = checkpoint.load(saved / "last")
        parts, algorithm = self.parts.state_dict(), self.algorithm.state_dict()
        if not state["algorithm"].get("round"):  # the policy has not been trained: its learning rate is this run's own
            state["algorithm"]["optimizer"] = algorithm["optimizer"]
        try:
            self.parts.load_state_dict({name: state["parts"][name] for name in parts})
            self.algorithm.load_state_dict({name: state["algorithm"][name] for name in algorithm})
        except (RuntimeError, ValueError, LookupError) as error:
            raise Failure(f"the checkpoint {saved / 'last'} does not fit {self.directory}: {error}") from error
        for stage in ("mle", "discriminator"):
            if checkpoint.exists(saved / stage):
                networks = checkpoint.load(saved / stage)
                checkpoint.save(own / stage, {name: of for name, of in networks.items() if name in parts})
        lines = run_directory.read_log(directory)[: state["records"]]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        checkpoint.write_text(self.directory / run_directory.LOG, text)
        self.records, self.best_distance = state["records"], state["best_distance"]
        self._save_state(state["phase"])  # last, for it is what says that this run has begun

    def __iter__(self) -> Iterator[tuple[Record, list[str]]]:
        """Train; yields every record, with its seconds among the values, and words of warning about it.

        Raises
        ------
        Failure
            A loss is not finite; the checkpoint before it is kept.
        """
        distributed.check_device(self.device)
        if distributed.joined():
            distributed.from_leader(self._job())
        log = functools.partial(run_directory.read_log, self.directory)
        with tensorboard.EventFiles(self.directory, log) as events:
            yield from self._train(events)

    def _train(self, events: tensorboard.EventFiles) -> Iterator[tuple[Record, list[str]]]:
        began = time.perf_counter()
        for plain in self._records():
            now = time.perf_counter()
            self._check_finite(plain)
            self.records += 1
            measured = plain.phase == "adversarial" or (plain.phase in STAGES and plain.completed)
            close = self._closeness() if measured else {}
            if self.measure is not None and plain.phase != "discriminator":
                close |= self.measure(self.parts.generator, self.parts.dataset)
            record = dataclasses.replace(plain, values={**plain.values, **close, "seconds": now - began})
            events.add(self._log(record))
            networks = {"generator": self.parts.generator.state_dict()}
            if record.phase != "mle" and self.parts.discriminator is not None:
                networks["discriminator"] = self.parts.discriminator.state_dict()
            if record.completed:
                checkpoint.save(self.directory / run_directory.CHECKPOINTS / record.phase, networks)
            if record.phase == "adversarial" and not self.parts.reward.steers:
                distance = record.values["distance_validation"]
                if self.best_distance is None or not distance >= self.best_distance:  # NaN gives way to anything
                    self.best_distance = distance
                    checkpoint.save(self.directory / run_directory.CHECKPOINTS / "best", networks)
            self._save_state(record.phase)
            yield record, warnings_about(record, self.parts.loss.memorised)
            began = time.perf_counter()

    def _records(self) -> Iterator[Record]:
        """The algorithm's, computed by all processes there are."""
        in_force = functools.partial(precision.in_force, self.settings["run"]["precision"], self.device)
        return each_within(distributed.sharing, map(self._checked_alike, each_within(in_force, self.algorithm)))

    def _checked_alike(self, record: Record) -> Record:
        """Processes that do not hold the same would go on to train nothing in particular."""
        if distributed.size() == 1:
            return record
        state = {"rng": {"state": self.parts.rng.get_state()}, "generator": self.parts.generator.state_dict()}
        if self.parts.discriminator is not None:
            state["discriminator"] = self.parts.discriminator.state_dict()
        found = distributed.gathered_values({name: checkpoint.digest(of) for name, of in state.items()})
        for name, value in found[0].items():
            if any(other[name] != value for other in found):
                raise Failure(
                    f"the processes no longer agree on {name} after {record.phase} {record.step}: code of one's own "
                    "that draws random numbers must draw those of the whole batch, see seqgan_music.distributed.rand"
                )
        return record

    def _job(self) -> dict[str, Any]:
        """All that `follow` needs."""
        return {
            "directory": self.directory,
            "device": self.device.type,
            "settings": self.settings,
            "tokenizer": _as_json(self.settings, self.tokenizer),
            "dataset": self.parts.dataset.to("cpu"),
            "own_code": self.own_code,
            # Others would put tensors of a GPU on that of the leading process, where they cost its memory.
            "parts": _in_main_memory(self.parts.state_dict()),
            "algorithm": _in_main_memory(self.algorithm.state_dict()),
        }

    def _save_state(self, phase: str) -> None:
        """Everything that `resume` goes on from."""
        state = {
            "parts": self.parts.state_dict(),
            "algorithm": self.algorithm.state_dict(),
            "phase": phase,
            "records": self.records,
            "best_distance": self.best_distance,
        }
        checkpoint.save(self.directory / run_directory.CHECKPOINTS / "last", state)

    def _closeness(self) -> dict[str, float]:
        return self.closeness.of_generator(self.parts.generator, self.parts.dataset, self.settings["run"]["seed"])

    def _log(self, record: Record) -> dict[str, Any]:
        """Write a line, and give it."""
        finite = {name: value if math.isfinite(value) else None for name, value in record.values.items()}
        line = {"phase": record.phase, "step": record.step, "of": record.of, **finite}
        try:
            with open(self.directory / run_directory.LOG, "a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
        except OSError as error:
            raise Failure(f"cannot write {self.directory / run_directory.LOG}: {error.strerror}") from error
        return line

    def _check_finite(self, record: Record) -> None:
        for name in ("g_loss", "d_loss", "nll_validation"):
            value = record.values.get(name, 0.0)
            if not math.isfinite(value):
                raise Failure(
                    f"{name} is {value} in {record.phase} {record.step}; the state before it is kept in "
                    f"{self.directory}. Try smaller learning rates (algorithm.*learning_rate)"
                )


def _as_json(settings: config.Config, tokenizer: Tokenizer) -> str:
    return json.dumps({"name": settings["tokenizer"]["name"], **tokenizer.to_dict()})


def _in_main_memory(state: Any) -> Any:
    """A nested state with its tensors there."""
    if isinstance(state, torch.Tensor):
        return state.cpu()
    if isinstance(state, Mapping):
        return {name: _in_main_memory(value) for name, value in state.items()}
    if isinstance(state, list | tuple):
        return [_in_main_memory(value) for value in state]
    return state


def follow() -> None:
    """Compute with the leading process whatever it trains, until it trains no more; write and say nothing.

    It may be on another machine, which sees none of the leading one's files.

    Raises
    ------
    Failure
        It computes on another kind of device.
    seqgan_music.distributed.ProcessLost
        The leading process has ended before its time.
    """
    while (job := distributed.from_leader()) is not None:
        tokenizer = run_directory.tokenizer_of(json.loads(job["tokenizer"]), own_code=job["own_code"])
        experiment = Experiment(job["directory"], job["settings"], tokenizer, job["dataset"], own_code=job["own_code"])
        distributed.check_device(experiment.device)
        if experiment.device.type != job["device"]:
            raise Failure(
                f"one process computes on {experiment.device.type}, the leading one on {job['device']}; "
                "all must have the same kind of device: add --device cpu"
            )
        experiment.parts.load_state_dict(job["parts"])
        experiment.algorithm.load_state_dict(job["algorithm"])
        for _ in experiment._records():
            pass


def train(
    source: Corpus | TokenFile | str | Path,
    *,
    algorithm: str | None = None,
    objectives: Mapping[str, float] | None = None,
    lambda_: float | None = None,
    preset: str | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    directory: str | Path | None = None,
    seed: int | None = None,
    device: str | None = None,
    transpose: str | None = None,
    init: Run | str | Path | None = None,
    minutes: float | None = None,
    evaluate: bool = True,
    pages: bool = True,
    on_record: Callable[[Record, list[str]], None] | None = None,
) -> Any:
    """Train on a corpus, or on a file of tokens, and open the finished run.

    Parameters
    ----------
    source : Corpus, TokenFile, str or Path
        A corpus, or the folder or file to read it from; or what `seqgan_music.token_file.read_tokens` read, which is no
        music unless the settings name a tokenizer of music.
    algorithm : str, optional
        A name of `seqgan_music.algorithms.ALGORITHMS`.
    objectives : mapping of str to float, optional
        Objectives and their weights.
    lambda_ : float, optional
        Share of the discriminator in the reward; 0.5 where objectives are given.
    preset : str, optional
        Settings to start from; if left out ``"default"``, or ``"steered"`` where objectives have a share in the reward,
        or ``"tokens"`` for what is no music.
    settings : mapping, optional
        Sections of options laid over the preset.
    directory : str or Path, optional
        Where the run goes; a new one under ``runs/`` if left out.
    seed, device : optional
        Of ``[run]``.
    transpose : "none", "key" or "augment", optional
        Of ``[data]``, see `seqgan_music.transposition`.
    init : Run, str or Path, optional
        A run to start from, ``"pretrained"`` for the one that ships with the package: its weights, tokenizer, networks
        and length, see `seqgan_music.finetuning`.
    minutes : float, optional
        Shorten the schedule so that training takes about as long, see `seqgan_music.timing`; what `settings` say of it
        stays.
    evaluate : bool
        Measure the finished run and keep the figures with it.
    pages : bool
        Write ``report.html`` and ``listen.html``, see `seqgan_music.html_report`.
    on_record : callable, optional
        Called with every `Record` and the words of warning about it.

    Returns
    -------
    Run

    Raises
    ------
    UsageError, Failure
    """
    start = finetuning.open_run(init) if init is not None else None
    given = [
        run_settings.shortcuts(algorithm, objectives, lambda_, seed=seed, device=device, transpose=transpose),
        settings or {},
    ]
    named = config.preset(preset) if preset is not None else {}
    plain = run_settings.of_token_file(named, *given) if isinstance(source, TokenFile) else {}
    base = run_settings.for_tokens(named) if plain else named or config.preset(run_settings.default_preset(*given))
    layers = run_settings.lay(finetuning.lay_under(base, start), plain, *given)
    resolved = run_settings.resolve(layers)
    if not isinstance(source, corpus.Corpus | TokenFile):
        source = corpus.read_corpus(source, **run_settings.reading_options(resolved))
    where = Path(directory) if directory is not None else run_directory.new_directory(resolved["algorithm"]["name"])
    timer = None
    if minutes is not None:
        timer = timing.Timer(minutes, fixed=(settings or {}).get("algorithm", {}), evaluate=evaluate)
    experiment = Experiment.create(source, layers, where, init=start, adjust=timer)
    if directory is None:
        run_directory.point_latest_at(where)
    for record, warnings in experiment:
        if on_record is not None:
            on_record(record, warnings)
    run = Run(where, own_code=True)  # whoever called this named whatever code it uses
    run.finish(evaluate=evaluate, pages=pages)
    return run


def warnings_about(record: Record, memorised: float | None = None) -> list[str]:
    """What a person should know about a record before trusting the run.

    Parameters
    ----------
    record : Record
    memorised : float, optional
        Of the discriminator's loss, see `seqgan_music.losses.DiscriminatorLoss`.
    """
    warnings = []
    values = record.values
    if record.phase == "adversarial" and values.get("d_accuracy", 0.0) > PERFECT_DISCRIMINATOR:
        warnings.append(
            f"the discriminator tells {values['d_accuracy']:.0%} apart, so its reward says little; "
            "lower algorithm.discriminator_learning_rate or d_steps, or train the generator longer first"
        )
    if (
        record.phase == "adversarial"
        and memorised is not None
        and values.get("d_loss", memorised) < memorised
        and values.get("d_accuracy", 1.0) < GUESSING
    ):
        warnings.append(
            "the discriminator knows its training windows by heart and takes all other music for generated, so its "
            "reward says nothing; use more music, or train by likelihood alone (algorithm.name=mle)"
        )
    if values.get("unique", 1.0) < COLLAPSED:
        warnings.append(
            f"only {values['unique']:.0%} of the samples are unique: the generator is collapsing; "
            "lower algorithm.policy_learning_rate or stop earlier"
        )
    return warnings
