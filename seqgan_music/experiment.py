"""A run from settings to a finished directory: builds the parts, iterates the algorithm, decides when to log and save.

Settings are sections of options. Each section belongs to one component, whose constructor's keyword-only arguments are
the options it takes; ``name`` says which component of a table it is.

==================  ===============================================================
``[run]``           ``seed``, ``device`` (auto, cpu, cuda, mps)
``[data]``          ``length`` (T), ``fractions`` and ``split_seed`` of the split by tune
``[tokenizer]``     a name of `seqgan_music.tokenizers.TOKENIZERS` and its options
``[generator]``     likewise
``[discriminator]`` likewise
``[loss]``          ``name``: what the discriminator is trained by
``[reward]``        ``lambda``: share of the discriminator in the reward
``[objectives]``    an objective's name = its weight
``[algorithm]``     a name of `seqgan_music.algorithms.ALGORITHMS` and its options
==================  ===============================================================
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w
import torch

from seqgan_music import checkpoint, config, corpus, dataset, registry, sampling
from seqgan_music.algorithms import ALGORITHMS, Algorithm, Parts
from seqgan_music.algorithms.record import Record
from seqgan_music.discriminators import DISCRIMINATORS
from seqgan_music.errors import Failure, UsageError
from seqgan_music.evaluation import Closeness
from seqgan_music.generators import GENERATORS
from seqgan_music.losses import DISCRIMINATOR_LOSSES
from seqgan_music.objectives import OBJECTIVES
from seqgan_music.rewards import Reward
from seqgan_music.tokenizers import TOKENIZERS, Tokenizer
from seqgan_music.versions import versions

if TYPE_CHECKING:
    from seqgan_music.corpus import Corpus
    from seqgan_music.dataset import Dataset

TABLES = {
    "tokenizer": TOKENIZERS,
    "generator": GENERATORS,
    "discriminator": DISCRIMINATORS,
    "loss": DISCRIMINATOR_LOSSES,
    "algorithm": ALGORITHMS,
}
DEFAULTS: config.Config = {
    "run": {"seed": 1, "device": "auto"},
    "data": {"length": 64, "fractions": [0.8, 0.1, 0.1], "split_seed": 0},
    "tokenizer": {"name": "grid"},
    "generator": {"name": "lstm"},
    "discriminator": {"name": "cnn"},
    "loss": {"name": "bce"},
    "reward": {"lambda": 1.0},
    "objectives": {},
    "algorithm": {"name": "seqgan"},
}
LAMBDA_WITH_OBJECTIVES = 0.5
PERFECT_DISCRIMINATOR, COLLAPSED = 0.99, 0.5
CONFIG, TOKENIZER, WINDOWS, RUN, LOG, CHECKPOINTS = (
    "config.toml",
    "tokenizer.json",
    "windows.safetensors",
    "run.json",
    "metrics.jsonl",
    "checkpoints",
)  # files of a run directory


def resolve(settings: Mapping[str, Mapping[str, Any]], *, own_code: bool = True) -> config.Config:
    """Fill in every default and refuse what no component knows.

    The tokenizer's options stay as given: what is left out is fitted to the corpus and recorded with the run.

    Raises
    ------
    UsageError
        Unknown section, component or option.
    """
    for section in settings:
        if section not in DEFAULTS:
            raise UsageError(f"unknown section [{section}]; there are: {', '.join(DEFAULTS)}")
    resolved = config.merge(DEFAULTS, settings)
    if resolved["objectives"] and "lambda" not in settings.get("reward", {}):
        resolved["reward"]["lambda"] = LAMBDA_WITH_OBJECTIVES
    for section in ("run", "data", "reward"):
        unknown = set(resolved[section]) - set(DEFAULTS[section])
        if unknown:
            raise UsageError(f"[{section}] has no option {min(unknown)!r}; it has: {', '.join(DEFAULTS[section])}")
        for option, value in resolved[section].items():
            _check_like(value, DEFAULTS[section][option], f"{section}.{option}")
    if not 0 <= resolved["run"]["seed"] < 2**63:
        raise UsageError(f"run.seed must lie within 0 and 2^63 - 1, not {resolved['run']['seed']!r}")
    for section, table in TABLES.items():
        options = dict(resolved[section])
        name = options.pop("name")
        factory = registry.resolve(table, section, name, own_code=own_code)
        registry.check_options(factory, options, f"{section} {name!r}")
        if section != "tokenizer":
            resolved[section] = {"name": name, **registry.options_of(factory), **options}
    for name, weight in resolved["objectives"].items():
        registry.check_type(weight, float, f"the weight of objective {name!r}")
        registry.resolve(OBJECTIVES, "objective", name, own_code=own_code)
    return resolved


def _objective(name: str, *, own_code: bool) -> Any:
    factory = registry.resolve(OBJECTIVES, "objective", name, own_code=own_code)
    if not isinstance(factory, type):
        raise UsageError(f"objective {name!r} is not a class; seqgan_music/objectives/__init__.py says what one has")
    return factory()


def _check_like(value: Any, default: Any, what: str) -> None:
    """Refuse a value of another kind than the default's."""
    if not isinstance(default, list):
        registry.check_type(value, type(default), what)
    elif not isinstance(value, list | tuple):
        raise UsageError(f"{what} must be a list such as {default}, not {value!r}")
    else:
        for one in value:
            registry.check_type(one, type(default[0]), f"{what}: each of the list")


def choose_device(name: str) -> torch.device:
    """The device a name stands for; ``auto`` is a CUDA GPU where there is one, else the CPU.

    Raises
    ------
    UsageError
        Unknown, or not to be had on this machine.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device("cuda" if available["cuda"] else "cpu")
    if name not in available:
        raise UsageError(f"unknown device {name!r}; there are: auto, {', '.join(available)}")
    if not available[name]:
        raise UsageError(f"device {name!r} is not to be had on this machine; use auto or cpu")
    return torch.device(name)


def build_generator(settings: config.Config, data: Dataset, *, own_code: bool = False) -> Any:
    """The generator that settings describe, its weights not yet drawn."""
    options = dict(settings["generator"])
    factory = registry.resolve(GENERATORS, "generator", options.pop("name"), own_code=own_code)
    with _keeping_the_global_random_numbers():
        return factory(data.vocab_size, data.never, **options)


def build_discriminator(settings: config.Config, data: Dataset, *, own_code: bool = False) -> Any:
    """The discriminator that settings describe, its weights not yet drawn."""
    options = dict(settings["discriminator"])
    factory = registry.resolve(DISCRIMINATORS, "discriminator", options.pop("name"), own_code=own_code)
    with _keeping_the_global_random_numbers():
        return factory(data.vocab_size, data.length, **options)


def _keeping_the_global_random_numbers() -> Any:
    """Layers of torch draw weights when they are built, which `reset_parameters` or saved weights then replace."""
    return torch.random.fork_rng(devices=[])


def read_tokenizer(directory: Path, *, own_code: bool = False) -> Tokenizer:
    """The tokenizer saved with a run.

    Raises
    ------
    Failure
        It is missing or damaged.
    """
    try:
        values = json.loads((directory / TOKENIZER).read_text(encoding="utf-8"))
        name = values.pop("name")
    except (OSError, ValueError, LookupError) as error:
        raise Failure(f"the run's {directory / TOKENIZER} is damaged: {type(error).__name__}: {error}") from error
    factory = registry.resolve(TOKENIZERS, "tokenizer", name, own_code=own_code)
    tokenizer: Tokenizer = factory.from_dict(values)
    return tokenizer


def read_facts(directory: Path) -> dict[str, Any]:
    """Versions, corpus, refusals and split of a run.

    Raises
    ------
    Failure
        They cannot be read.
    """
    try:
        facts: dict[str, Any] = json.loads((directory / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Failure(f"{directory / RUN} is damaged: {error}") from error
    return facts


def read_log(directory: Path) -> list[dict[str, Any]]:
    """Records of a run, one dictionary each."""
    lines = (directory / LOG).read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]  # a killed run may leave half a line


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
    """

    def __init__(
        self, directory: Path, settings: config.Config, tokenizer: Tokenizer, data: Dataset, *, own_code: bool = False
    ) -> None:
        self.directory, self.settings = directory, settings
        self.device = choose_device(settings["run"]["device"])
        seed = settings["run"]["seed"]
        # On the CPU, so that every device starts from the same weights.
        weights_rng = torch.Generator().manual_seed(seed)
        generator = build_generator(settings, data, own_code=own_code)
        discriminator = build_discriminator(settings, data, own_code=own_code)
        for network in (generator, discriminator):
            network.reset_parameters(weights_rng)
            network.to(self.device)
        loss = registry.resolve(DISCRIMINATOR_LOSSES, "loss", settings["loss"]["name"], own_code=own_code)()
        objectives = {
            name: (_objective(name, own_code=own_code), weight) for name, weight in settings["objectives"].items()
        }
        reward = Reward(discriminator, loss, tokenizer, objectives, settings["reward"]["lambda"])
        rng = torch.Generator(self.device).manual_seed(seed)
        self.parts = Parts(generator, discriminator, loss, reward, data.to(self.device), rng)
        options = dict(settings["algorithm"])
        factory = registry.resolve(ALGORITHMS, "algorithm", options.pop("name"), own_code=own_code)
        self.algorithm: Algorithm = factory(self.parts, **options)
        self.closeness = Closeness(data, tokenizer, seed)
        self.records = 0
        self.best_distance: float | None = None

    @classmethod
    def create(cls, source: Corpus, settings: Mapping[str, Mapping[str, Any]], directory: Path) -> Experiment:
        """Start a run on a corpus.

        Raises
        ------
        UsageError
            Settings or corpus cannot be used; nothing is written then.
        Failure
            The directory cannot be written.
        """
        resolved = resolve(settings)
        if directory.exists() and not directory.is_dir():
            raise UsageError(f"{directory} is a file; name a directory for the run")
        if directory.exists() and any(directory.iterdir()):
            raise UsageError(f"{directory} is not empty; name another directory, or go on with --resume {directory}")
        options = dict(resolved["tokenizer"])
        name = options.pop("name")
        factory = registry.resolve(TOKENIZERS, "tokenizer", name, own_code=True)
        tokenizer = factory.fit(source.pieces, **options)
        encoded, refused = dataset.encode(source.pieces, source.names, tokenizer)
        if not encoded:
            raise UsageError(f"no piece of {source.root} can be used: {corpus.summary(refused)}")
        split = corpus.split(list(encoded), resolved["data"]["fractions"], resolved["data"]["split_seed"])
        data = dataset.build(encoded, split, tokenizer, length=resolved["data"]["length"])
        experiment = cls(directory, resolved, tokenizer, data, own_code=True)
        facts = {
            "versions": versions(),
            "threads": torch.get_num_threads(),
            "corpus": {
                "root": str(Path(source.root).resolve()),
                "digest": source.digest,
                "pieces": len(encoded),
                "refused": [dataclasses.asdict(refusal) for refusal in [*source.refusals, *refused]],
                "split": {part: [source.names[number] for number in numbers] for part, numbers in split.items()},
                "windows": {part: len(getattr(data, part)) for part in dataset.PARTS},
                "windows_digest": data.digest(),
            },
        }
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Failure(f"cannot make the run directory {directory}: {error.strerror}") from error
        checkpoint.write_text(directory / CONFIG, tomli_w.dumps(resolved))
        checkpoint.write_text(directory / TOKENIZER, json.dumps({"name": name, **tokenizer.to_dict()}))
        checkpoint.save_dataset(directory / WINDOWS, data)
        checkpoint.write_text(directory / LOG, "")
        checkpoint.write_text(directory / RUN, json.dumps(facts, indent=1, ensure_ascii=False))
        return experiment

    @classmethod
    def resume(cls, directory: Path, device: str | None = None, *, own_code: bool = False) -> Experiment:
        """Go on with a run after its last record; `own_code` lets it load the code outside the package that it names.

        Raises
        ------
        UsageError
            Not a run directory.
        Failure
            The run is damaged.
        """
        settings, tokenizer, data = open_directory(directory, own_code=own_code)
        if device is not None:
            settings["run"]["device"] = device
        experiment = cls(directory, settings, tokenizer, data, own_code=own_code)
        last = directory / CHECKPOINTS / "last"
        if checkpoint.exists(last):
            state = checkpoint.load(last)
            try:
                experiment.parts.load_state_dict(state["parts"])
                experiment.algorithm.load_state_dict(state["algorithm"])
            except (RuntimeError, ValueError, LookupError) as error:
                raise Failure(f"the checkpoint {last} does not fit {directory / CONFIG}: {error}") from error
            experiment.records = state["records"]
            experiment.best_distance = state["best_distance"]
        try:
            lines = (directory / LOG).read_text(encoding="utf-8").splitlines(keepends=True)
        except OSError as error:
            raise Failure(f"cannot read {directory / LOG}: {error.strerror}") from error
        checkpoint.write_text(directory / LOG, "".join(lines[: experiment.records]))
        return experiment

    def __iter__(self) -> Iterator[tuple[Record, list[str]]]:
        """Train; yields every record, with its seconds among the values, and words of warning about it.

        Raises
        ------
        Failure
            A loss is not finite; the checkpoint before it is kept.
        """
        began = time.perf_counter()
        for plain in self.algorithm:
            now = time.perf_counter()
            self._check_finite(plain)
            self.records += 1
            measured = plain.phase == "adversarial" or (plain.phase == "mle" and plain.completed)
            close = self._measure_closeness() if measured else {}
            record = dataclasses.replace(plain, values={**plain.values, **close, "seconds": now - began})
            self._log(record)
            networks = {"generator": self.parts.generator.state_dict()}
            if record.phase != "mle":
                networks["discriminator"] = self.parts.discriminator.state_dict()
            if record.completed:
                checkpoint.save(self.directory / CHECKPOINTS / record.phase, networks)
            if record.phase == "adversarial":
                distance = record.values["distance_validation"]
                if self.best_distance is None or not distance >= self.best_distance:  # NaN gives way to anything
                    self.best_distance = distance
                    checkpoint.save(self.directory / CHECKPOINTS / "best", networks)
            state = {
                "parts": self.parts.state_dict(),
                "algorithm": self.algorithm.state_dict(),
                "phase": record.phase,
                "records": self.records,
                "best_distance": self.best_distance,
            }
            checkpoint.save(self.directory / CHECKPOINTS / "last", state)
            yield record, warnings_about(record)
            began = time.perf_counter()

    def _measure_closeness(self) -> dict[str, float]:
        """Closeness of fresh samples, drawn by random numbers of their own so that the training does not notice."""
        data = self.parts.dataset
        rng = torch.Generator(self.device).manual_seed(self.settings["run"]["seed"])
        _, start = data.train.random(self.closeness.size, rng)
        ids = sampling.sample(self.parts.generator, start, data.length, rng, end_id=data.end_id, pad_id=data.pad_id)
        return self.closeness.measure(ids, start)

    def _log(self, record: Record) -> None:
        finite = {name: value if math.isfinite(value) else None for name, value in record.values.items()}
        line = {"phase": record.phase, "step": record.step, "of": record.of, **finite}
        try:
            with open(self.directory / LOG, "a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
        except OSError as error:
            raise Failure(f"cannot write {self.directory / LOG}: {error.strerror}") from error

    def _check_finite(self, record: Record) -> None:
        for name in ("g_loss", "d_loss", "nll_validation"):
            value = record.values.get(name, 0.0)
            if not math.isfinite(value):
                raise Failure(
                    f"{name} is {value} in {record.phase} {record.step}; the state before it is kept in "
                    f"{self.directory}. Try smaller learning rates (algorithm.*learning_rate)"
                )


def train(
    source: Corpus | str | Path,
    *,
    algorithm: str | None = None,
    objectives: Mapping[str, float] | None = None,
    lambda_: float | None = None,
    preset: str = "default",
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    directory: str | Path | None = None,
    seed: int | None = None,
    device: str | None = None,
    evaluate: bool = True,
    on_record: Callable[[Record, list[str]], None] | None = None,
) -> Any:
    """Train on a corpus and open the finished run.

    Parameters
    ----------
    source : Corpus, str or Path
        A corpus, or the folder or file to read it from.
    algorithm : str, optional
        A name of `seqgan_music.algorithms.ALGORITHMS`.
    objectives : mapping of str to float, optional
        Objectives and their weights.
    lambda_ : float, optional
        Share of the discriminator in the reward; 0.5 where objectives are given.
    preset : str
        Settings to start from.
    settings : mapping, optional
        Sections of options laid over the preset.
    directory : str or Path, optional
        Where the run goes; a new one under ``runs/`` if left out.
    seed, device : optional
        Of ``[run]``.
    evaluate : bool
        Measure the finished run and keep the figures with it.
    on_record : callable, optional
        Called with every `Record` and the words of warning about it.

    Returns
    -------
    Run

    Raises
    ------
    UsageError, Failure
    """
    from seqgan_music.run import Run

    if not isinstance(source, corpus.Corpus):
        source = corpus.read_corpus(source)
    layers = config.merge(
        config.preset(preset), shortcuts(algorithm, objectives, lambda_, seed=seed, device=device), settings or {}
    )
    where = Path(directory) if directory is not None else new_directory(resolve(layers)["algorithm"]["name"])
    experiment = Experiment.create(source, layers, where)
    if directory is None:
        point_latest_at(where)
    for record, warnings in experiment:
        if on_record is not None:
            on_record(record, warnings)
    run = Run(where, own_code=True)  # whoever called this named whatever code it uses
    run.finish(evaluate=evaluate)
    return run


def shortcuts(
    algorithm: str | None = None,
    objectives: Mapping[str, float] | None = None,
    lambda_: float | None = None,
    *,
    seed: int | None = None,
    device: str | None = None,
) -> config.Config:
    """The settings that have an argument of their own, as sections."""
    sections: config.Config = {}
    if algorithm is not None:
        sections["algorithm"] = {"name": algorithm}
    if objectives:
        sections["objectives"] = dict(objectives)
    if lambda_ is not None:
        sections["reward"] = {"lambda": lambda_}
    run = {"seed": seed, "device": device}
    if given := {name: value for name, value in run.items() if value is not None}:
        sections["run"] = given
    return sections


def new_directory(algorithm: str, parent: Path = Path("runs")) -> Path:
    """A directory that does not exist yet, named by date, time and algorithm."""
    base = f"{time.strftime('%Y-%m-%d-%H%M%S')}-{algorithm.rpartition(':')[2]}"
    directory, number = parent / base, 1
    while directory.exists():
        number += 1
        directory = parent / f"{base}-{number}"
    return directory


def open_directory(directory: Path, *, own_code: bool = False) -> tuple[config.Config, Tokenizer, Dataset]:
    """Settings, tokenizer and windows of a run; `own_code` lets it load the code outside the package that it names.

    Raises
    ------
    UsageError
        Not a run directory.
    """
    if not (directory / RUN).is_file():
        raise UsageError(f"{str(directory)!r} is not a run: it has no {RUN}; seqgan-music train makes one")
    settings = resolve(config.read_config(directory / CONFIG), own_code=own_code)
    return settings, read_tokenizer(directory, own_code=own_code), checkpoint.load_dataset(directory / WINDOWS)


def warnings_about(record: Record) -> list[str]:
    """What a person should know about a record before trusting the run."""
    warnings = []
    values = record.values
    if record.phase == "adversarial" and values.get("d_accuracy", 0.0) > PERFECT_DISCRIMINATOR:
        warnings.append(
            f"the discriminator tells {values['d_accuracy']:.0%} apart, so its reward says little; "
            "lower algorithm.discriminator_learning_rate or d_steps, or train the generator longer first"
        )
    if values.get("unique", 1.0) < COLLAPSED:
        warnings.append(
            f"only {values['unique']:.0%} of the samples are unique: the generator is collapsing; "
            "lower algorithm.policy_learning_rate or stop earlier"
        )
    return warnings


def point_latest_at(directory: Path) -> None:
    """Let ``latest`` beside the run be the run, where the file system has links."""
    latest = directory.parent / "latest"
    if latest.is_symlink() or not latest.exists():
        try:
            latest.unlink(missing_ok=True)
            latest.symlink_to(directory.name)
        except OSError:
            return
