"""``seqgan-music train``."""

from __future__ import annotations

import shutil
import sys
import time
import warnings
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import click
from click.core import ParameterSource
from seqgan_music_cli import options

from seqgan_music import config
from seqgan_music.errors import Failure, SeqganMusicWarning, UsageError

OF_MUSIC = ("track", "program", "skyline", "monophonic_only", "limits")  # how MIDI is read


def parse_objectives(texts: tuple[str, ...]) -> dict[str, float]:
    """Objectives and their weights.

    Examples
    --------
    >>> parse_objectives(("tonality=0.5", "note_density~0.3"))
    {'tonality': 0.5, 'note_density~0.3': 1.0}
    """
    from seqgan_music.objectives import terms

    weights: dict[str, float] = {}
    for text, weight in map(terms.parse_option, texts):
        if text in weights:
            raise UsageError(f"-O {text} is given twice; say what it weighs once")
        weights[text] = weight
    return weights


@click.command("train")
@click.argument("source", required=False, type=click.Path(path_type=Path), metavar="MIDI_FOLDER")
@click.option(
    "--tokens",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="In place of a folder: sequences that are no music, as text (a line each, integers or words) or .npz (array "
    "`tokens`).",
)
@click.option(
    "-p",
    "--preset",
    help="Settings to start from; `list` has all.  [default: default; steered with objectives, tokens with --tokens]",
)
@click.option(
    "-c",
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="TOML file of settings, laid over the preset.",
)
@click.option(
    "-s",
    "--set",
    "assignments",
    multiple=True,
    metavar="SECTION.OPTION=VALUE",
    help="One setting, over all others; repeatable.",
)
@click.option("-a", "--algorithm", help="How to train; `list` has all.  [default: the preset's]")
@click.option(
    "--d-loss",
    metavar="NAME",
    help="What the discriminator is trained by: bce, lsgan, wgan-gp or wgan-clip.  [default: bce]",
)
@click.option(
    "-O",
    "--objective",
    "objectives",
    multiple=True,
    metavar="NAME[~TARGET|~LOW..HIGH|>=C|<=C][=WEIGHT]",
    help="What to steer towards (ORGAN): as much as possible, a target, a range, or no more than needed; repeatable. "
    "`list` has all names, and ./mine.py:name is one of your own.",
)
@click.option("--lambda", "lambda_", type=float, help="Share of the discriminator in the reward; 0.5 with -O, else 1.")
@click.option(
    "-o",
    "--run",
    "out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Run directory.  [default: runs/DATE-TIME-ALGORITHM]",
)
@click.option(
    "--transpose",
    type=click.Choice(["none", "key", "augment"]),
    help="key: all tunes in C major or A minor. augment: every tune in up to 12 keys, and an epoch as many times as "
    "long.  [default: none]",
)
@click.option(
    "--seed", type=int, callback=options.seed, help="Of the first weights and of everything drawn.  [default: 1]"
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    metavar="N",
    help="Train a group: N runs, one after the other, of this seed and those that follow it.",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), help="Where to compute.  [default: auto]")
@click.option(
    "--precision",
    type=click.Choice(["float32", "tf32", "bfloat16"]),
    help="How exactly training multiplies: float32; tf32 on CUDA GPUs alone; bfloat16 for large products.  "
    "[default: float32]",
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="RUN|GROUP",
    help="Go on with a run or a group, which has its own settings.",
)
@click.option(
    "--init",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Start from a run's weights, with its tokenizer and networks; `pretrained` is the one that ships with this "
    "program.",
)
@click.option(
    "--minutes",
    type=float,
    help="Shorten the schedule so that training takes about as long, all runs of --seeds together.  [default: all of "
    "it]",
)
@options.reading
@options.own_code
@click.option("--evaluate/--no-evaluate", "evaluated", default=True, help="Measure the finished run.")
@click.pass_context
def command(ctx: click.Context, **choices: Any) -> None:
    """Train on a folder of MIDI or a file of tokens, or go on with a run.

    \b
    seqgan-music train midi_data/
    seqgan-music train midi_data/ -O tonality=0.5 -O melodicity=0.5 --lambda 0.6
    seqgan-music train my_midi/ --init pretrained --minutes 5
    seqgan-music train midi_data/ --seeds 5
    seqgan-music train --tokens lines.txt
    seqgan-music train --resume runs/latest
    torchrun --nproc-per-node 2 -m seqgan_music train midi_data/
    """
    if not options.is_one_of_several():
        _lead(ctx, **choices)
        return
    if choices["minutes"] is not None:
        options.refuse_to_several(
            "--minutes clocks a training of one process; leave it out under torchrun, or set the schedule"
        )
    from seqgan_music import distributed

    with distributed.processes():
        if distributed.leads():
            _lead(ctx, **choices)
            distributed.from_leader(None)  # there is nothing more to do
        else:
            _follow()


def _follow() -> None:
    """Compute with the process that leads; what there is to say, it says."""
    from seqgan_music.distributed import ProcessLost

    warnings.simplefilter("ignore", SeqganMusicWarning)
    try:
        from seqgan_music.experiment import follow  # slow enough to be stopped in, by an error of the other's options

        follow()
    except ProcessLost:
        pass  # whichever has ended says why, and by its exit code is found to be the cause
    except KeyboardInterrupt:
        sys.exit(130)


def _lead(
    ctx: click.Context,
    *,
    source: Path | None,
    tokens: Path | None,
    resume: Path | None,
    device: str | None,
    own_code: bool,
    evaluated: bool,
    **choices: Any,
) -> None:
    if resume is not None:
        if given := _given(ctx, {"source", "tokens", *choices}):
            raise UsageError(f"--resume takes its settings from the run; leave out {given}")
        training = _resumed(resume, device, own_code)
    elif tokens is not None and (given := _given(ctx, {"source", "transpose", *OF_MUSIC})):
        raise UsageError(f"--tokens names what is trained on, which is no folder of MIDI; leave out {given}")
    elif source is None and tokens is None:
        raise UsageError("name a folder of MIDI, such as: seqgan-music train midi_data/, or a file with --tokens")
    else:
        try:
            training = _created(source, tokens, device=device, own_code=own_code, evaluated=evaluated, **choices)
        except KeyboardInterrupt:
            click.echo("stopped before the training began; what was read so far is kept in the cache", err=True)
            sys.exit(130)
    from seqgan_music.group import Group

    if isinstance(training, Group):
        _train_group(training, device, evaluated)
    else:
        _train_run(training, own_code=own_code or resume is None, evaluated=evaluated)


def _given(ctx: click.Context, names: Collection[str]) -> str:
    """Parameters of some names that stand on the command line, as they are written there."""
    return ", ".join(
        str(parameter.metavar if parameter.name == "source" else parameter.opts[-1])
        for parameter in ctx.command.params
        if parameter.name in names and ctx.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    )


def _train_run(experiment: Any, *, own_code: bool, evaluated: bool) -> None:
    from seqgan_music.run import Run

    train(experiment, resume_command(experiment.directory, experiment.settings))
    run = Run(experiment.directory, own_code=own_code)
    if evaluated:
        click.echo("measuring ...", err=True)
    try:
        evaluation = run.finish(evaluate=evaluated)
    except KeyboardInterrupt:
        click.echo(
            f"stopped; the training is done and saved. Measure it with:\n"
            f"  seqgan-music evaluate {options.shown(run.directory)}",
            err=True,
        )
        sys.exit(130)
    if evaluation is not None:
        from seqgan_music import report

        click.echo(report.summary(evaluation))
    click.echo(f"run: {run.directory}")
    if run.pages is not None:
        click.echo(f"report: {run.pages.report}")
    click.echo(_next_command(run))


def _next_command(run: Any) -> str:
    what = "new melodies" if run.is_music else "new sequences"
    return f"{what}: seqgan-music generate {options.shown(run.directory)} -n 16 -o out/"


def _train_group(group: Any, device: str | None, evaluated: bool) -> None:
    from seqgan_music.run import Run
    from seqgan_music.run_directory import CONFIG

    go_on = resume_command(group.directory, config.read_config(group.runs[group.seeds[0]] / CONFIG))
    try:
        failures = train_members(group, device, go_on, evaluated=evaluated)
        if evaluated and group.finished:
            from seqgan_music import comparison
            from seqgan_music.comparison import output

            found = comparison.compare([group.directory], own_code=group.own_code)
            output.write(found, group.directory)
            click.echo(output.markdown(found))
    except KeyboardInterrupt:
        stopped(go_on)
    if failures:
        raise Failure(f"{len(failures)} of {len(group.seeds)} runs failed: {'; '.join(failures)}")
    click.echo(
        f"group: {group.directory}\n"
        f"{_next_command(Run(group.runs[group.seeds[0]], own_code=group.own_code))}\n"
        f"beside another: seqgan-music compare {options.shown(group.directory)} GROUP"
    )


def train_members(
    group: Any, device: str | None, go_on: str, *, evaluated: bool = True, pages: bool = True
) -> list[str]:
    """Train and finish every run that is not finished; what went wrong with one does not stop the others."""
    from seqgan_music.distributed import ProcessLost, joined

    failures = []
    for seed in group.seeds:
        if seed in group.finished:
            continue
        try:
            experiment = group.experiment(seed, device)
            after = f" after {experiment.records} records" if experiment.records else ""
            number = f"run {group.seeds.index(seed) + 1} of {len(group.seeds)}"
            click.echo(f"{number}: {experiment.directory}{after}", err=True)
            train(experiment, go_on)
            if evaluated:
                click.echo("measuring ...", err=True)
            group.finish(seed, evaluate=evaluated, pages=pages)
        except ProcessLost:
            raise  # no other seed can be trained either
        except Failure as failure:
            if joined():  # the other processes wait in the midst of this run
                others = f"One process, without torchrun, goes on with the other seeds: {go_on}"
                raise Failure(f"seed {seed} failed: {failure}. {others}") from failure
            click.echo(f"seed {seed} failed: {failure}", err=True)
            failures.append(f"seed {seed}: {failure}")
    return failures


def _created(
    source: Path | None,
    tokens: Path | None,
    *,
    preset: str | None,
    config_file: Path | None,
    assignments: tuple[str, ...],
    algorithm: str | None,
    d_loss: str | None,
    objectives: tuple[str, ...],
    lambda_: float | None,
    out: Path | None,
    transpose: str | None,
    seed: int | None,
    seeds: int | None,
    device: str | None,
    precision: str | None,
    init: Path | None,
    minutes: float | None,
    own_code: bool,
    evaluated: bool,
    **reading: Any,
) -> Any:
    named = config.preset(preset) if preset is not None else {}
    own = config.read_config(config_file) if config_file else {}
    single = config.merge(*[config.parse_assignment(text) for text in assignments])
    weights = parse_objectives(objectives)
    # Slow imports come after what can be refused without them.
    from seqgan_music import corpus, distributed, finetuning, timing
    from seqgan_music.building import has_discriminator
    from seqgan_music.cache import Cache
    from seqgan_music.experiment import Experiment
    from seqgan_music.group import Group
    from seqgan_music.run_directory import new_directory, point_latest_at, read_facts
    from seqgan_music.run_settings import (
        default_preset,
        for_tokens,
        is_steerable,
        lay,
        of_token_file,
        reading_options,
        resolve,
        shortcuts,
    )
    from seqgan_music.token_file import read_tokens

    start = finetuning.open_run(init, own_code=own_code) if init else None
    of_run = {"seed": seed, "device": device, "precision": precision}
    shorts = shortcuts(algorithm, weights, lambda_, d_loss=d_loss, transpose=transpose, **of_run)
    if read := options.reading_settings(**reading):
        shorts["reading"] = read
    plain = of_token_file(named, own, single) if tokens is not None else {}
    base = for_tokens(named) if plain else named or config.preset(default_preset(own, shorts, single))
    settings = lay(finetuning.lay_under(base, start), plain, own, shorts, single)
    resolved = resolve(settings)
    adversarial = has_discriminator(resolved, own_code=True)
    if d_loss is not None and not adversarial:
        raise UsageError("--d-loss says what the discriminator is trained by, and here is none; leave it out")
    cache = Cache.of_user()
    each = minutes / seeds if minutes is not None and seeds is not None else minutes
    timer = None
    processes = distributed.launched()
    if processes == 1:
        fixed = single.get("algorithm", {})
        timer = timing.Timer(each, fixed=fixed, evaluate=evaluated, cache=cache, begins=_say_what_takes_so_long)
    found: Any
    if tokens is not None:
        found = read_tokens(tokens)
    else:
        with options.progress("reading") as progress:
            how_read = reading_options(resolved)
            found = corpus.read_corpus(source or "", processes=0, cache=cache, progress=progress, **how_read)
    name = resolved["algorithm"]["name"]
    how: dict[str, Any] = {"init": start, "adjust": timer, "cache": cache}
    group = None
    if seeds is None:
        directory = out or new_directory(name)
        experiment = Experiment.create(found, settings, directory, **how)
    else:
        directory = out or new_directory(f"{name}-{seeds}-seeds")
        first = resolved["run"]["seed"]
        group = Group.create(found, settings, directory, range(first, first + seeds), **how)
        experiment = Experiment.resume(group.runs[first], own_code=True)
    if out is None:
        point_latest_at(directory)
    facts = read_facts(experiment.directory)
    data, used = experiment.parts.dataset, facts["corpus"]
    # `inspect` knows of no other run, nothing of these options, and of no file of tokens.
    of_music = tokens is None
    told = "" if source is None or start is not None or read else f", see seqgan-music inspect {options.shown(source)}"
    refused = corpus.summary(corpus.Refusal(**refusal) for refusal in used["refused"])
    if refused and not of_music:
        told = f": {refused}"
    click.echo(
        f"{used['pieces']} {'tunes' if of_music else 'sequences'}; {len(used['refused'])} refused{told}\n"
        f"{'windows' if of_music else 'rows'} of {data.length} tokens: {len(data.train)} train, "
        f"{len(data.validation)} validation, {len(data.test)} test; "
        f"vocabulary {data.vocab_size}{'' if of_music or not found.words else ' of words'}; device {experiment.device}"
        f"{f'; {processes} processes' if processes > 1 else ''}",
        err=True,
    )
    weighed = resolved["objectives"]
    if not is_steerable(name) and (weighed or any("reward" in layer for layer in (own, shorts, single))):
        measured = "; they are only measured" if weighed else ""
        click.echo(f"note: algorithm {name} is not paid by objectives{measured}, and [reward] has no say", err=True)
    elif len(weighed) == 1 and next(iter(weighed.values())) != 1:
        click.echo("note: weights are relative, so that of a single objective changes nothing; --lambda does", err=True)
    for line in _costs_of_pieces(experiment):
        click.echo(line, err=True)
    if start is not None:
        if refused and of_music:  # for reasons that `inspect`, which knows of no other run, need not have
            click.echo(f"refused: {refused}", err=True)
        _say_where_it_starts(facts["init"], adversarial)
    for line in [] if timer is None else [*timer.remarks(), *([str(timer.estimate)] if timer.estimate else [])]:
        click.echo(line if group is None else f"each of {seeds} runs: {line}", err=True)
    return group or experiment


def _say_what_takes_so_long() -> None:
    if sys.stderr.isatty():  # nobody waits before a file
        click.echo("clocking a small part of every phase; the first training also compiles kernels", err=True)


def _per_piece(experiment: Any) -> list[Any]:
    """Terms of the reward for which Python is asked melody by melody."""
    return [term for term, _ in experiment.parts.reward.objectives.values() if term.per_piece]


def _costs_of_pieces(experiment: Any) -> Iterator[str]:
    """What such terms will cost, by what they cost on the corpus."""
    from seqgan_music.timing import duration

    windows, options = experiment.parts.dataset.train, experiment.settings["algorithm"]
    prefixes = options.get("rollouts", 0) * (experiment.parts.dataset.length - 1)
    scored = options.get("policy_batch_size", 0) * (prefixes + 1)
    for term, weight in experiment.parts.reward.objectives.values():
        if not (term.per_piece and weight and experiment.parts.reward.steers):
            continue
        if term.seconds_each is None:  # the first run of a group was made, and opened again
            term.value(experiment.parts.reward.tokenizer.melodies(*windows[:64]))
        if term.seconds_each is not None and scored:
            yield (
                f"note: objective {term.name!r} is asked for one melody at a time, {1000 * term.seconds_each:.3g} ms "
                f"each; a policy step scores {scored:,} melodies, which takes up to "
                f"{duration(scored * term.seconds_each)}, less for melodies that were scored before"
            )


def _say_where_it_starts(init: dict[str, Any], adversarial: bool) -> None:
    own = "with its discriminator" if init["discriminator"] else "with a new discriminator"
    discriminator = own if adversarial else "without a discriminator"
    click.echo(
        f"starting from {init['run']} ({init['stage']}), {discriminator}: "
        f"{init['nll_validation']:.3f} nats a token on the validation part",
        err=True,
    )
    if moved := len(init["octaves"]):
        click.echo(f"{moved} tune{'s' if moved > 1 else ''} moved by octaves into the range of its tokenizer", err=True)


def _resumed(directory: Path, device: str | None, own_code: bool) -> Any:
    from seqgan_music.experiment import Experiment
    from seqgan_music.group import Group
    from seqgan_music.run_directory import CONFIG, GROUP
    from seqgan_music.run_settings import has_own_code

    directory = directory.resolve()
    if (directory / GROUP).is_file():
        group = Group(directory, own_code=own_code)
        settings = config.read_config(group.runs[group.seeds[0]] / CONFIG)
        if has_own_code(settings) and not own_code:  # a group that is finished would be compared without it
            raise UsageError(
                f"the runs of {directory} name code outside the package, which is not loaded from a saved run; "
                f"if you trust it, go on with: {resume_command(directory, settings)}"
            )
        click.echo(
            f"going on with {directory}: {len(group.finished)} of {len(group.seeds)} runs are finished", err=True
        )
        return group
    experiment = Experiment.resume(directory, device, own_code=own_code)
    click.echo(f"going on with {experiment.directory} after {experiment.records} records", err=True)
    return experiment


def resume_command(directory: Path, settings: config.Config) -> str:
    """What goes on with a run or a group of these settings."""
    from seqgan_music.run_settings import has_own_code

    return f"seqgan-music train --resume {options.shown(directory)}{' --own-code' if has_own_code(settings) else ''}"


def train(experiment: Any, go_on: str) -> None:
    """Train; stopped by Ctrl-C or by the user's own code, say the command that goes on."""
    from seqgan_music.distributed import ProcessLost
    from seqgan_music.objectives.own import OwnCodeFailure

    progress = Progress()
    try:
        for record, warnings in experiment:
            progress.show(record, warnings)
    except KeyboardInterrupt:
        progress.finish()
        stopped(go_on)
    except (OwnCodeFailure, ProcessLost) as failure:
        progress.finish()
        kind = ProcessLost if isinstance(failure, ProcessLost) else Failure
        raise kind(f"{failure}. What was trained so far is kept; go on with: {go_on}") from failure
    progress.finish()
    for term in _per_piece(experiment):
        if term.cost is not None:
            click.echo(term.cost, err=True)


def stopped(go_on: str) -> NoReturn:
    """Say what goes on, and end as Ctrl-C does."""
    click.echo(f"stopped; everything up to the last line is saved. Go on with:\n  {go_on}", err=True)
    sys.exit(130)


class Progress:
    """Records as they come: one line that moves on a terminal, plain lines elsewhere; quiet: words of warning alone."""

    SHOWN = (
        "g_loss",
        "omega",
        "d_loss",
        "d_accuracy",
        "reward_mean",
        "reward_std",
        "entropy",
        "unique",
        "nll_validation",
    )
    OBJECTIVES = 3  # at most, for a line has little room

    def __init__(self, *, quiet: bool = False) -> None:
        self.terminal, self.quiet = sys.stderr.isatty(), quiet
        self.phase = ""
        self.began = time.monotonic()
        self.steps = 0
        self.said: set[str] = set()

    def show(self, record: Any, warnings: list[str]) -> None:
        """One record."""
        from seqgan_music.timing import duration

        if record.phase != self.phase:
            self.finish()
            self.phase, self.steps, self.began = record.phase, 0, time.monotonic() - record.values["seconds"]
        self.steps += 1
        left = (time.monotonic() - self.began) / self.steps * (record.of - record.step)
        figures = "  ".join(f"{name} {value:.4g}" for name, value in self._shown(record.values).items())
        limit = "at most " if record.phase == "mle" else ""
        line = f"{record.phase:<13} {record.step}/{record.of}  {figures}  ({limit}{duration(left)} left in this phase)"
        if self.terminal:
            width = shutil.get_terminal_size().columns
            click.echo(f"\r\x1b[K{line[: width - 1]}", nl=False, err=True)
        elif not self.quiet:
            click.echo(line, err=True)
        for warning in warnings:
            kind = warning.rpartition("; ")[2]
            if kind not in self.said:  # once is enough
                self.said.add(kind)
                self.finish()
                click.echo(f"warning: {record.phase} {record.step}: {warning}", err=True)

    def _shown(self, values: Mapping[str, float]) -> dict[str, float]:
        """Figures that have a place in the line: the objectives come right after the reward."""
        objectives = [name for name in values if name.startswith("objective_")][: self.OBJECTIVES]
        place = self.SHOWN.index("entropy")
        names = (*self.SHOWN[:place], *objectives, *self.SHOWN[place:])
        return {name.removeprefix("objective_"): values[name] for name in names if name in values}

    def finish(self) -> None:
        """End the line that moves."""
        if self.terminal and self.phase:
            click.echo(err=True)
