"""``seqgan-music compare``."""

from __future__ import annotations

import json
from pathlib import Path

import click
from seqgan_music_cli import options


def parse_temperatures(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> list[tuple[str, float | None]]:
    """``mle=0.9`` as a stage and a number, ``mle=best`` as a stage and None."""
    found: list[tuple[str, float | None]] = []
    for text in texts:
        stage, _, value = text.partition("=")
        if stage not in options.STAGES:
            stages = ", ".join(options.STAGES)
            raise click.BadParameter(f"{text!r} names no stage; write it as mle=0.9; there are {stages}")
        try:
            found.append((stage, None if value == "best" else float(value)))
        except ValueError:
            raise click.BadParameter(f"{text!r}: {value!r} is no number; write it as mle=0.9 or mle=best") from None
    return found


@click.command("compare")
@click.argument("runs", type=click.Path(path_type=Path), metavar="RUN|GROUP ...", nargs=-1, required=True)
@click.option(
    "--baseline",
    metavar="NAME",
    help="What the others are tested against: a configuration (by name, or by a RUN or GROUP of it), a stage, or "
    "CONFIGURATION@STAGE.  [default: the first configuration, and within each the stage mle]",
)
@click.option(
    "-m",
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help="What to show and to test, such as bleu_4; repeatable. compare.csv and compare.json have all.",
)
@click.option(
    "--temperature",
    "temperatures",
    multiple=True,
    metavar="STAGE=T",
    callback=parse_temperatures,
    help="One more row: a stage at a temperature, such as mle=0.9, or at the best of each run, mle=best, which "
    "`evaluate --temperatures` finds; repeatable. The row is called `mle at 0.9`, or `mle at best`.",
)
@click.option(
    "-o", "--out", type=click.Path(path_type=Path),
    help="Folder for compare.md, .csv, .json and .png.  [default: the group, if one is compared; else compare/]",
)  # fmt: skip
@click.option(
    "-n",
    "--samples",
    type=click.IntRange(min=2),
    default=1000,
    show_default=True,
    help="Samples of every stage of every run.",
)
@click.option("--seed", default=0, callback=options.seed, show_default=True, help="Of the samples.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON alone.")
@options.device
@options.own_code
def command(
    runs: tuple[Path, ...],
    baseline: str | None,
    metrics: tuple[str, ...],
    temperatures: list[tuple[str, float | None]],
    out: Path | None,
    samples: int,
    seed: int,
    as_json: bool,
    device: str,
    own_code: bool,
) -> None:
    """Compare settings over seeds: means, spreads, every point, and tests.

    Runs with equal settings but for the seed are put together; what was measured before is not measured again.

    \b
    seqgan-music compare runs/latest
    seqgan-music compare runs/plain runs/with-tonality --baseline runs/plain
    seqgan-music compare runs/plain runs/with-tonality --baseline mle -m bleu_4 -m mse_pairs
    """
    from seqgan_music import comparison, run_directory
    from seqgan_music.comparison import output
    from seqgan_music.formats import check_folder

    alone = len(runs) == 1 and (runs[0] / run_directory.GROUP).is_file()
    folder = out or (runs[0] if alone else Path("compare"))
    check_folder(folder)  # before the work, which may be long
    found = comparison.compare(
        runs,
        baseline=baseline,
        metrics=metrics,
        temperatures=temperatures,
        samples=samples,
        seed=seed,
        device=device,
        own_code=own_code,
        on_measuring=lambda run: click.echo(f"measuring {run.directory} ...", err=True),
    )
    written = output.write(found, folder)
    click.echo(json.dumps(output.to_dict(found), indent=1, ensure_ascii=False) if as_json else output.markdown(found))
    click.echo(f"written: {', '.join(map(str, written))}", err=True)
