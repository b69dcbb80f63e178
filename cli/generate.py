"""``seqgan-music generate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from seqgan_music_cli import options

from seqgan_music.errors import UsageError

OF_MUSIC = ("prime", "metre", "bars", "tempo", "program", "soundfont")


@click.command("generate")
@click.argument("run", type=click.Path(path_type=Path), metavar="[RUN]", required=False)
@click.option("-n", default=8, show_default=True, help="Number of melodies, or of sequences.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), default=Path("out"), show_default=True,
    help="Folder for them; files of other names in it stay.",
)  # fmt: skip
@click.option(
    "--format", "formats", metavar="mid,wav,png,musicxml",
    help="What to write of each melody: MIDI, sound, piano roll, score; any of them with commas. Of a run of train "
    "--tokens: txt, npz.  [default: mid; txt]",
)  # fmt: skip
@click.option("--seed", default=0, callback=options.seed, show_default=True, help="The same seed gives the same files.")
@click.option("--temperature", default=1.0, show_default=True, help="Below 1 is more predictable, above 1 wilder.")
@click.option("--top-k", default=0, show_default=True, help="Draw among the k most likely tokens; 0 is all.")
@click.option(
    "--top-p", default=1.0, show_default=True, help="Draw among the likeliest tokens that together make up p."
)
@click.option(
    "--prime", type=click.Path(path_type=Path), metavar="FILE.mid",
    help="Begin with this melody and go on from its end, in its metre and key.",
)  # fmt: skip
@click.option("--metre", callback=options.metre, help="Such as 6/8.  [default: drawn like those of the corpus]")
@click.option(
    "--bars", type=int,
    help="Bars of every melody, any number, those of --prime among them.  [default: until it ends, at most the "
    "training length, beside --prime]",
)  # fmt: skip
@click.option("--tempo", type=float, help="Quarter notes in a minute.  [default: that of --prime, or 120]")
@click.option(
    "--program", metavar="NUMBER|NAME",
    help="General MIDI instrument, 0 to 127 or such as violin.  [default: that of --prime, or piano]",
)  # fmt: skip
@click.option(
    "--best-of", default=1, metavar="K", show_default=True,
    help="Draw K candidates of every melody and keep one by the odds the run's discriminator gives it of being real; "
    "not with --bars or --prime.",
)  # fmt: skip
@click.option(
    "--soundfont", type=click.Path(path_type=Path), metavar="FILE.sf2",
    help="For sound by the program FluidSynth.  [default: $SOUNDFONT, one of the system's, a small one]",
)  # fmt: skip
@click.option(
    "--stage",
    type=click.Choice(options.STAGES),
    help="Weights after pre-training, after the last round, or of the round whose samples were closest to real music.  "
    "[default: best]",
)
@options.device
@options.own_code
def command(
    run: Path | None,
    n: int,
    out: Path,
    formats: str | None,
    soundfont: Path | None,
    own_code: bool,
    **choices: Any,
) -> None:
    """Write new melodies with a trained run; without RUN, with the small one that ships with seqgan-music.

    A run of train --tokens writes sequences, all into one file.

    \b
    seqgan-music generate runs/latest -n 16 -o out/
    seqgan-music generate runs/latest --metre 6/8 --bars 16 --temperature 0.9
    seqgan-music generate --prime mine.mid --format mid,wav,png --program violin
    """
    from seqgan_music import formats as files
    from seqgan_music import pretrained
    from seqgan_music.run import Run
    from seqgan_music.sound import Synthesizer

    opened = Run(run or pretrained.directory(), own_code=own_code)
    asked = formats or ("mid" if opened.is_music else "txt")
    wanted = files.check([name.strip().lower() for name in asked.split(",") if name.strip()], musical=opened.is_music)
    if not opened.is_music:
        _write_sequences(opened, n, out, wanted, soundfont=soundfont, **choices)
        return
    if soundfont is not None and "wav" not in wanted:
        raise UsageError("--soundfont is for sound; ask for it with --format wav")
    synthesizer = Synthesizer(soundfont) if "wav" in wanted else None
    if run is None:
        click.echo(
            "with the small model that ships with seqgan-music; to train your own: seqgan-music train MIDI_FOLDER, "
            "then generate runs/latest",
            err=True,
        )
    files.check_folder(out)  # before the work, which may be long
    pieces = opened.generate(n, **choices)
    written = files.write_all(pieces, out, wanted, synthesizer=synthesizer)
    if synthesizer is not None:
        click.echo(f"sound: {synthesizer}", err=True)
    silent = sum(not piece.notes for piece in pieces)
    click.echo(
        f"{len(pieces)} melod{'y' if len(pieces) == 1 else 'ies'} in {out}"
        + (f", {silent} of them without a note" if silent else "")
        + (f"; {written.others} files there are not of them" if written.others else "")
    )


def _write_sequences(run: Any, n: int, out: Path, formats: tuple[str, ...], **choices: Any) -> None:
    """What a run writes that is no music."""
    from seqgan_music.formats import check_folder, write_sequences

    of_music = {name: choices.pop(name) for name in OF_MUSIC}
    if given := [f"--{name}" for name, value in of_music.items() if value is not None]:
        raise UsageError(f"the sequences of {run.directory} are no music; leave out {', '.join(given)}")
    check_folder(out)
    sequences = run.sequences(n, **choices)
    written = write_sequences(sequences, out, formats)
    empty = sum(not sequence for sequence in sequences)
    click.echo(
        f"{options.counted(n, 'sequence')} in {', '.join(map(str, written.files))}"
        + (f", {empty} of them empty" if empty else "")
        + (f"; {written.others} files there are not of them" if written.others else "")
    )
