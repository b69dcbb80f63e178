"""``seqgan-music reproduce``."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from seqgan_music_cli import options

from seqgan_music.errors import Failure, UsageError

FOLDER = Path("runs")


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
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True, help="Runs, with the seeds from 1.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="Directory of the runs and the tables.  [default: runs/reproduce-music, or with --quick "
    "runs/reproduce-music-quick]",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), help="Where to compute.  [default: auto]")
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
    click.echo(f"written: {', '.join(map(str, written))}", err=True)
    if failures:
        raise Failure(f"{len(failures)} of {seeds} runs failed: {'; '.join(failures)}")


def _again(name: str, source: Path, *, quick: bool, seeds: int, out: Path | None, device: str | None) -> str:
    """The same command once more, to be pasted into a shell."""
    words = ["seqgan-music reproduce", name, options.shown(source), *(["--quick"] if quick else []), f"--seeds {seeds}"]
    words += [f"-o {options.shown(out)}"] if out else []
    return " ".join([*words, *([f"--device {device}"] if device else [])])
