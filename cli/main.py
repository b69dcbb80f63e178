"""The command itself: finds the verb, and turns what goes wrong into one line and an exit code."""

from __future__ import annotations

import importlib
import sys
import warnings
from typing import Any

import click

from seqgan_music import __version__, threads
from seqgan_music.errors import SeqganMusicError, SeqganMusicWarning

VERBS = {
    "train": "Train on a folder of MIDI or a file of tokens, or go on with a run.",
    "generate": "Write new .mid files, or sequences of tokens, with a trained run.",
    "export": "Write a small copy of a run to share.",
    "evaluate": "Measure a run, or a folder of MIDI, beside its anchors.",
    "compare": "Compare settings over seeds: means, spreads, every point, and tests.",
    "reproduce": "Make a paper's experiment again, as far as the paper says what it is.",
    "report": "Write a page with a run's curves, numbers and melodies, and a blind listening test.",
    "inspect": "Say what of a folder would be used, and what is refused and why.",
    "list": "List every tokenizer, model, loss, algorithm, objective, preset and corpus.",
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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a verb; refuse those that several processes cannot do together."""
        name, command, rest = super().resolve_command(ctx, args)
        from seqgan_music_cli import options  # not for --help, which is to answer at once

        if name != "train" and options.is_one_of_several():
            options.refuse_to_several(f"several processes only train together; start {name} without torchrun")
        return name, command, rest

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; a message for the user is one line on stderr."""
        threads.let_them_sleep()
        try:
            with warnings.catch_warnings():
                _show_our_warnings()
                return super().invoke(ctx)
        except click.UsageError as error:
            from seqgan_music_cli import options

            if options.is_led():
                sys.exit(error.exit_code)
            asked = error.ctx or ctx
            click.echo(f"seqgan-music: {error.format_message().rstrip('.')}; see {asked.command_path} --help", err=True)
            sys.exit(error.exit_code)
        except SeqganMusicError as error:
            click.echo(f"seqgan-music: {error}", err=True)
            sys.exit(error.exit_code)
        except BrokenPipeError:  # the reader of our output has gone: `seqgan-music list | head`
            sys.stderr.close()
            sys.exit(1)


def _show_our_warnings() -> None:
    """As one line, each time; those of others as Python shows them."""
    as_python_does = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *rest: Any) -> None:
        if issubclass(category, SeqganMusicWarning):
            click.echo(f"warning: {message}", err=True)
        else:
            as_python_does(message, category, *rest)

    warnings.simplefilter("always", SeqganMusicWarning)
    warnings.showwarning = show


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, package_name="seqgan-music")
def main() -> None:
    """Train a sequence GAN on a folder of MIDI and write new melodies."""
