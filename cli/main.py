"""The command itself: finds the verb, and turns what goes wrong into one line and an exit code."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from seqgan_music import __version__
from seqgan_music.errors import SeqganMusicError

VERBS = {
    "train": "Train on a folder of MIDI, or go on with a run.",
    "generate": "Write new .mid files with a trained run.",
    "export": "Write a small copy of a run to share.",
    "evaluate": "Measure a run, or a folder of MIDI, beside its anchors.",
    "inspect": "Say what of a folder would be used, and what is refused and why.",
    "list": "List every tokenizer, objective, model, algorithm, preset and corpus.",
    "corpus": "Write one of music21's corpora as a folder of MIDI.",
}


class Verbs(click.Group):
    """A group whose verbs are imported when they are used, so that ``--help`` answers at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Verbs in the order in which a person meets them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb."""
        if cmd_name not in VERBS:
            return None
        module = "listing" if cmd_name == "list" else cmd_name
        command: click.Command = importlib.import_module(f"seqgan_music_cli.{module}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; a message for the user is one line on stderr."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            asked = error.ctx or ctx
            click.echo(f"seqgan-music: {error.format_message().rstrip('.')}; see {asked.command_path} --help", err=True)
            sys.exit(error.exit_code)
        except SeqganMusicError as error:
            click.echo(f"seqgan-music: {error}", err=True)
            sys.exit(error.exit_code)
        except BrokenPipeError:  # the reader of our output has gone: `seqgan-music list | head`
            sys.stderr.close()
            sys.exit(1)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, package_name="seqgan-music")
def main() -> None:
    """Train a sequence GAN on a folder of MIDI and write new melodies."""
