"""``seqgan-music reproduce``."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from seqgan_music_cli import options

from seqgan_music import config
from seqgan_music.errors import Failure, UsageError

NOT_YET = 75  # what a shell's loop can go on by: sysexits.h calls it "try again later"
FOLDER = Path("runs")
MIDI_FOLDER = Path("midi_data")
DEVICE = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), help="Where to compute.  [default: auto]"
)
SEEDS = click.option(
    "--seeds", type=click.IntRange(min=1), default=5, show_default=True, help="Runs, with the seeds from 1."
)


@click.group("reproduce", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Make a paper's experiment again, as far as the paper says what it is.

    Published figures stand in a table of their own, with what the paper leaves open and what is done here.
    """
    if ctx.invoked_subcommand is None:
        raise UsageError(f"name an experiment: {', '.join(command.commands)}; see seqgan-music reproduce --help")


@command.command("music", short_help="SeqGAN's music experiment: likelihood against SeqGAN on pitches.")
@click.argument("source", required=False, type=click.Path(path_type=Path), metavar="MIDI_FOLDER")
@click.option("--quick", is_flag=True, help="A schedule of minutes in place of days: to see that it works.")
@SEEDS
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="Directory of the runs and the tables.  [default: runs/reproduce-music, or with --quick "
    "runs/reproduce-music-quick]",
)
@DEVICE
def music(source: Path | None, quick: bool, seeds: int, out: Path | None, device: str | None) -> None:
    """SeqGAN's music experiment (Yu et al. 2017, Table 4): likelihood against SeqGAN on pitches, BLEU-4 and MSE.

    One pitch every 0.4 seconds, 32 in a sequence, trained by the paper's schedule, once for each seed; measured on test
    tunes beside real music, Markov chains and noise. The same command goes on where it was stopped.

    \b
    seqgan-music reproduce music midi_data/ --quick --seeds 2
    seqgan-music reproduce music midi_data/ --device cuda
    """
    if source is None:
        raise UsageError("name a folder of MIDI, such as: seqgan-music reproduce music midi_data/")
    from seqgan_music_cli.train import stopped, train_members

    from seqgan_music import building, corpus, timing
    from seqgan_music.cache import Cache
    from seqgan_music.formats import check_folder
    from seqgan_music.reproduction import music as experiment
    from seqgan_music.run_settings import reading_options, resolve

    directory = out or FOLDER / f"reproduce-music{'-quick' if quick else ''}"
    check_folder(directory)
    settings = resolve(experiment.settings(quick))
    building.choose_device(device or "auto")  # before anything is written
    go_on = _again("music", source, quick=quick, seeds=seeds, out=out, device=device)
    cache = Cache.of_user()
    timer = None if quick else timing.Timer(cache=cache)
    try:
        with options.progress("reading") as progress:
            found = corpus.read_corpus(source, processes=0, cache=cache, progress=progress, **reading_options(settings))
        group = experiment.begin(found, directory, seeds=seeds, quick=quick, adjust=timer, cache=cache)
    except KeyboardInterrupt:
        click.echo("stopped before the training began; what was read so far is kept in the cache", err=True)
        sys.exit(130)
    begun = f"; {len(group.finished)} of them finished before" if group.finished else ""
    click.echo(f"{options.counted(seeds, 'run')} in {directory}{begun}\n{experiment.size(settings)}", err=True)
    for line in [*timer.remarks(), *([str(timer.estimate)] if timer.estimate else [])] if timer else []:
        click.echo(f"each run: {line}", err=True)
    try:
        failures = train_members(group, device, go_on, pages=False)
        if not group.finished:
            raise Failure(f"no run could be finished: {'; '.join(failures)}")
        table = experiment.measure(
            group,
            device=device or "auto",
            on_measuring=lambda run: click.echo(f"measuring {run.directory} ...", err=True),
        )
        written = experiment.write(table, directory)
    except KeyboardInterrupt:
        stopped(go_on)
    click.echo(experiment.markdown(table))
    _end(written, failures, seeds)


def _seeds(_: click.Context, __: click.Parameter, text: str) -> range:
    """``5`` for the seeds from 1 to 5, ``3-5`` for those from 3."""
    first, dash, last = text.partition("-")
    first, last = (first, last) if dash else ("1", first)
    if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise click.BadParameter(f"{text!r} is no number of seeds; write it as 5, or 3-5 for those from 3 to 5")
    return range(int(first), int(last) + 1)


def _numbers(_: click.Context, parameter: click.Parameter, text: str | None) -> tuple[float, ...] | None:
    """``0.2,0.4`` as numbers."""
    if text is None:
        return None
    try:
        return tuple(float(one) for one in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list of numbers; write it as 0.4,0.6") from None


@command.command("organ", short_help="ORGAN's music experiment: objectives against diversity, over lambda.")
@click.argument("source", required=False, type=click.Path(path_type=Path), metavar="[MIDI_FOLDER]")
@click.option(
    "--tokens",
    type=click.Path(path_type=Path),
    metavar="FILE.npz",
    help="In place of a folder: an array `tokens` of sequences, 0 rest, 1 hold, 2 to 47 the pitches C3 to A6.",
)
@click.option("--quick", is_flag=True, help="Small networks and a schedule of minutes: to see that it works.")
@click.option(
    "--seeds",
    callback=_seeds,
    default="5",
    show_default=True,
    help="Runs, with the seeds from 1; 3-5 for a part of them.",
)
@click.option(
    "--only", multiple=True, metavar="OBJECTIVE", help="Part of it: tonality, melodicity, ratio_of_steps or mixture."
)
@click.option("--lambdas", callback=_numbers, help="Shares of the discriminator.  [default: 0.2,0.4,0.6,0.8]")
@click.option("--temperatures", callback=_numbers, help="Of MLE, the curve to beat.  [default: 0.5,0.6,... 1.4]")
@click.option(
    "--samples",
    type=click.IntRange(min=2),
    help="Songs of every model and seed.  [default: 6400, or with --quick 1600]",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="Directory of the runs and the tables.  [default: runs/reproduce-organ, or with --quick "
    "runs/reproduce-organ-quick]",
)
@DEVICE
def organ(
    source: Path | None,
    tokens: Path | None,
    quick: bool,
    seeds: range,
    only: tuple[str, ...],
    lambdas: tuple[float, ...] | None,
    temperatures: tuple[float, ...] | None,
    samples: int | None,
    out: Path | None,
    device: str | None,
) -> None:
    """ORGAN's music experiment (Guimaraes et al. 2017, Table 3): likelihood, SeqGAN, naive RL and ORGAN over lambda.

    Each is trained for tonality, melodicity, ratio of steps and all three, once for each seed, and stands beside real
    music, noise, and likelihood at other temperatures: the curve to beat. The same command goes on where it was
    stopped; with more seeds, objectives or lambdas it trains what is missing. The tables cover all that was measured.

    \b
    seqgan-music reproduce organ midi_data/ --quick --seeds 2
    seqgan-music reproduce organ midi_data/ --quick --only tonality --lambdas 0.4,0.6
    seqgan-music reproduce organ --tokens tokens.npz --device cuda
    """
    if source is not None and tokens is not None:
        raise UsageError("name a folder of MIDI or --tokens, not both")
    if source is None and tokens is None:
        source = MIDI_FOLDER
        if not source.is_dir():
            raise UsageError("name a folder of MIDI, such as: seqgan-music reproduce organ midi_data/")
    from seqgan_music_cli.train import stopped

    from seqgan_music import building, corpus, sampling, token_file
    from seqgan_music.cache import Cache
    from seqgan_music.formats import check_folder
    from seqgan_music.reproduction import organ as experiment
    from seqgan_music.reproduction.organ import measuring, output
    from seqgan_music.reproduction.organ.training import Runs
    from seqgan_music.run_settings import reading_options, resolve

    directory = out or FOLDER / f"reproduce-organ{'-quick' if quick else ''}"
    check_folder(directory)
    models = experiment.models(only or experiment.TARGETS, lambdas or experiment.LAMBDAS)
    grid = temperatures or experiment.TEMPERATURES
    for temperature in grid:
        sampling.check_narrowing(temperature, 0, 1.0)
    building.choose_device(device or "auto")  # before anything is written
    words = [options.shown(source)] if source is not None else [f"--tokens {options.shown(tokens)}"] if tokens else []
    words += ["--quick"] if quick else []
    words += [f"--seeds {_shown(seeds)}", *(f"--only {one}" for one in only)]
    words += [f"--lambdas {_listed(lambdas)}"] if lambdas else []
    words += [f"--temperatures {_listed(temperatures)}"] if temperatures else []
    words += [f"--samples {samples}"] if samples else []
    words += [f"-o {options.shown(out)}"] if out else []
    words += [f"--device {device}"] if device else []
    go_on = " ".join(["seqgan-music reproduce organ", *words])
    cache = Cache.of_user()
    found: Any
    try:
        if tokens is not None:
            found = token_file.read_tokens(tokens)
            settings = experiment.settings(quick, found)
        else:
            settings = experiment.settings(quick)
            how = reading_options(resolve(settings))
            with options.progress("reading") as progress:
                found = corpus.read_corpus(source or "", processes=0, cache=cache, progress=progress, **how)
        runs = Runs(found, settings, directory, cache=cache)
    except KeyboardInterrupt:
        click.echo("stopped before the training began; what was read so far is kept in the cache", err=True)
        sys.exit(130)
    total = len(seeds) * len(models)
    done = sum(model.name in runs.finished(seed) for seed in seeds for model in models)
    begun = f"; {done} of them finished before" if done else ""
    click.echo(f"{options.counted(total, 'run')} in {directory}{begun}\n{experiment.size(runs.resolved)}", err=True)
    failures: list[str] = []
    table = None
    try:
        for turn, seed in enumerate(seeds):
            failures += _train_models(runs, seed, models, device, (turn * len(models), total))
            table = measuring.measure(
                runs,
                models,
                seeds[: turn + 1],
                samples=samples or (experiment.QUICK_SAMPLES if quick else experiment.SAMPLES),
                temperatures=grid,
                device=device or "auto",
                on_measuring=lambda run: click.echo(f"measuring {run.directory} ...", err=True),
            )
            if table.rows:
                written = output.write(table, directory)
    except KeyboardInterrupt:
        stopped(go_on)
    if table is None or not table.rows:
        raise Failure(f"no run could be finished: {'; '.join(failures)}")
    click.echo(output.markdown(table))
    _end(written, failures, total)


@command.command("oracle", short_help="SeqGAN's oracle experiment: every row of its Table 1, and its curves.")
@click.option(
    "--size",
    type=click.Choice(["paper", "small", "tiny"]),
    default="small",
    show_default=True,
    help="paper: as published, days on a CPU. small: minutes. tiny: seconds, to see that it works.",
)
@click.option(
    "--oracle",
    "oracle_file",
    type=click.Path(path_type=Path),
    metavar="FILE.npz",
    help="The true distribution, such as the authors' own.  [default: random weights by oracle.seed]",
)
@click.option(
    "--seeds",
    callback=_seeds,
    default="3",
    show_default=True,
    help="Runs, with the seeds from 1; 3-5 for a part of them.",
)
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(["table", "improved", "strategies", "short"]),
    help="Part of it: Table 1 with Figure 2, what is better, Figure 3 or Figure 4; repeatable. The runs of Figures 3 "
    "and 4 have seed 1 alone.",
)
@click.option("--temperatures", callback=_numbers, help="Of MLE, the curve to beat.  [default: 0.5,0.6,... 1.2]")
@click.option(
    "-s",
    "--set",
    "assignments",
    multiple=True,
    metavar="SECTION.OPTION=VALUE",
    help="One setting, over those of the size but below those of the improved rows; [oracle] has vocab_size, length, "
    "embedding, hidden, seed, sequences, held_out, samples, curve_samples and strategy_rounds; repeatable.",
)
@click.option(
    "--better",
    multiple=True,
    metavar="SECTION.OPTION=VALUE",
    help="One setting of the improved rows, over what helped before; repeatable.",
)
@click.option(
    "--stop-after",
    type=float,
    metavar="MINUTES",
    help=f"Stop after the epoch or round in which the time is over, with exit code {NOT_YET} while something is left.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="Directory of the runs and the tables.  [default: runs/reproduce-oracle-SIZE]",
)
@DEVICE
def oracle(
    size: str,
    oracle_file: Path | None,
    seeds: range,
    only: tuple[str, ...],
    temperatures: tuple[float, ...] | None,
    assignments: tuple[str, ...],
    better: tuple[str, ...],
    stop_after: float | None,
    out: Path | None,
    device: str | None,
) -> None:
    """SeqGAN's oracle experiment (Yu et al. 2017, Table 1, Figures 2 to 4): an LSTM with random weights is the truth.

    Random, MLE, scheduled sampling, PG-BLEU and SeqGAN, once for each seed, are judged by the NLL the oracle gives to
    their samples, beside the NLL they give to held-out sequences, and MLE at other temperatures: the curve to beat. The
    same command goes on where it was stopped, at any epoch or round.

    \b
    seqgan-music reproduce oracle
    seqgan-music reproduce oracle --only table --seeds 5 -s oracle.vocab_size=1000
    seqgan-music reproduce oracle --size paper --oracle oracle.npz --device cuda --stop-after 10
    """
    if stop_after is not None and not stop_after > 0:
        raise UsageError(f"--stop-after must be above 0, not {stop_after:g}")
    own = config.merge(*[config.parse_assignment(text) for text in assignments])
    improved = config.merge(*[config.parse_assignment(text) for text in better])
    from seqgan_music_cli.train import stopped

    from seqgan_music import building, sampling
    from seqgan_music.formats import check_folder
    from seqgan_music.reproduction import oracle as experiment
    from seqgan_music.reproduction.oracle import measuring, output
    from seqgan_music.reproduction.oracle.training import Runs

    directory = out or FOLDER / f"reproduce-oracle-{size}"
    check_folder(directory)
    of_oracle = own.pop("oracle", {})
    chosen = experiment.options(size, of_oracle)
    if oracle_file and (sized := [one for one in ("vocab_size", "embedding", "hidden") if one in of_oracle]):
        raise UsageError(f"--oracle has a {sized[0]} of its own; leave out -s oracle.{sized[0]}")
    parts = set(only or experiment.PARTS)
    parts_of = {seed: parts if seed == 1 else parts - experiment.ONE_SEED for seed in seeds}
    if not any(parts_of.values()):
        raise UsageError(f"--only {' --only '.join(only)} is of seed 1 alone, which --seeds {_shown(seeds)} leaves out")
    grid = temperatures or experiment.TEMPERATURES
    for temperature in grid:
        sampling.check_narrowing(temperature, 0, 1.0)
    building.choose_device(device or "auto")  # before anything is written
    words = [f"--size {size}", *([f"--oracle {options.shown(oracle_file)}"] if oracle_file else [])]
    words += [f"--seeds {_shown(seeds)}", *(f"--only {one}" for one in only)]
    words += [f"--temperatures {_listed(temperatures)}"] if temperatures else []
    words += [f"-s {shlex.quote(text)}" for text in assignments]
    words += [f"--better {shlex.quote(text)}" for text in better]
    words += [f"--stop-after {stop_after:g}"] if stop_after else []
    words += [f"-o {options.shown(out)}"] if out else []
    words += [f"--device {device}"] if device else []
    go_on = " ".join(["seqgan-music reproduce oracle", *words])
    clock = _Clock(stop_after)
    try:
        runs = Runs(chosen, size, directory, own=own, better=improved, file=oracle_file)
    except KeyboardInterrupt:
        click.echo("stopped before the training began", err=True)
        sys.exit(130)
    turns = [(seed, runs.models(parts)) for seed, parts in parts_of.items() if parts]
    total = sum(len(models) for _, models in turns)
    done = sum(model.name in runs.finished(seed) for seed, models in turns for model in models)
    begun = f"; {done} of them finished before" if done else ""
    click.echo(
        f"{options.counted(total, 'run')} in {directory}{begun}\n{experiment.size_of(runs.options, runs.resolved)}",
        err=True,
    )
    failures: list[str] = []
    table, before = None, 0
    try:
        for turn, (seed, models) in enumerate(turns, 1):
            try:
                failures += _train_models(runs, seed, models, device, (before, total), clock)
            except TimeIsUp:
                clock.over = True
            before += len(models)
            table = measuring.measure(
                runs,
                turns[:turn],
                runs.oracle,
                samples=runs.options["samples"],
                temperatures=grid,
                device=device or "auto",
                on_measuring=lambda run: click.echo(f"measuring {run.directory} ...", err=True),
            )
            if table.rows:
                written = output.write(table, directory)
            if clock.over:
                break
    except KeyboardInterrupt:
        stopped(go_on)
    if clock.over and any(model.name not in runs.finished(seed) for seed, models in turns for model in models):
        click.echo(f"the time is up; everything so far is saved. Go on with:\n  {go_on}", err=True)
        sys.exit(NOT_YET)
    if table is None or not table.rows:
        raise Failure(f"no run could be finished: {'; '.join(failures)}")
    click.echo(output.markdown(table))
    _end(written, failures, total)


class TimeIsUp(Exception):
    """The training stops here, to be gone on with."""


class _Clock:
    """Raises `TimeIsUp` after some minutes, if there is an end to them."""

    def __init__(self, minutes: float | None) -> None:
        self.end = None if minutes is None else time.monotonic() + 60 * minutes
        self.over = False

    def check(self) -> None:
        """Called after each record, which is saved then."""
        if self.end is not None and time.monotonic() >= self.end:
            raise TimeIsUp


def _train_models(
    runs: Any,
    seed: int,
    models: Sequence[Any],
    device: str | None,
    place: tuple[int, int],
    clock: _Clock | None = None,
) -> list[str]:
    """Train what is not finished of a seed, with a line for each run; what fails does not stop what needs it not."""
    from seqgan_music_cli.train import Progress

    from seqgan_music.timing import duration

    failures: list[str] = []
    before, total = place
    for number, model in enumerate(models, before + 1):
        finished = runs.finished(seed)
        if model.name in finished:
            continue
        if model.parent is not None and model.parent not in finished:
            failures.append(f"seed {seed}, {model.name}: {model.parent}, which it goes on from, is not finished")
            continue
        began = time.monotonic()
        progress = Progress(quiet=not sys.stderr.isatty())

        def on_record(record: Any, warnings: list[str], show: Any = progress.show) -> None:
            show(record, warnings)
            if clock is not None:
                clock.check()

        how = "stopped after"
        try:
            runs.train(seed, model, device=device, on_record=on_record)
            how = "trained in"
        except Failure as failure:
            failures.append(f"seed {seed}, {model.name}: {failure}")
            how = f"failed ({failure}) after"
        finally:
            progress.finish()
            spent = duration(time.monotonic() - began)
            click.echo(f"run {number} of {total}: {runs.place(seed, model.name)} {how} {spent}", err=True)
    return failures


def _end(written: Sequence[Path], failures: Sequence[str], total: int) -> None:
    """Say where the tables are, and fail if a run has."""
    click.echo(f"written: {', '.join(map(str, written))}", err=True)
    if failures:
        raise Failure(f"{len(failures)} of {total} runs failed: {'; '.join(failures)}")


def _shown(seeds: range) -> str:
    return str(seeds[-1]) if seeds[0] == 1 else f"{seeds[0]}-{seeds[-1]}"


def _listed(numbers: Sequence[float]) -> str:
    from seqgan_music.reproduction.organ import exact

    return ",".join(map(exact, numbers))


def _again(name: str, source: Path, *, quick: bool, seeds: int, out: Path | None, device: str | None) -> str:
    """The same command once more, to be pasted into a shell."""
    words = ["seqgan-music reproduce", name, options.shown(source), *(["--quick"] if quick else []), f"--seeds {seeds}"]
    words += [f"-o {options.shown(out)}"] if out else []
    return " ".join([*words, *([f"--device {device}"] if device else [])])
