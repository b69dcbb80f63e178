"""Options that more than one verb has."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import click

from seqgan_music.algorithms.record import STAGES as STAGES
from seqgan_music.errors import UsageError


def is_one_of_several() -> bool:
    """Whether `torchrun` started this process as one of several.

    Raises
    ------
    UsageError
        See `seqgan_music.distributed.launched`.
    """
    if "WORLD_SIZE" not in os.environ:  # nothing else is worth the import of torch
        return False
    from seqgan_music.distributed import launched

    return launched() > 1


def is_led() -> bool:
    """Whether another of several processes says what there is to say."""
    try:
        if not is_one_of_several():
            return False
    except UsageError:
        return False
    from seqgan_music.distributed import leads

    return not leads()


def refuse_to_several(what: str) -> NoReturn:
    """One of them says what cannot be done by several processes, and all end."""
    if is_led():
        sys.exit(UsageError.exit_code)
    raise UsageError(what)


def metre(_: click.Context, __: click.Parameter, text: str | None) -> tuple[int, int] | None:
    """``6/8`` as a pair."""
    if text is None:
        return None
    numerator, slash, denominator = text.partition("/")
    if not (slash and numerator.isdecimal() and denominator.isdecimal()):
        raise click.BadParameter(f"{text!r} is not a metre; write it as 6/8")
    return int(numerator), int(denominator)


def seed(_: click.Context, __: click.Parameter, value: int | None) -> int | None:
    """What torch and NumPy both take."""
    if value is not None and not 0 <= value < 2**63:
        raise click.BadParameter(f"{value} is not within 0 and 2^63 - 1")
    return value


def shown(path: Path) -> str:
    """A path as it can be pasted into a shell."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def counted(number: int, what: str) -> str:
    """``1 tune``, ``2 tunes``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def device(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--device``."""
    return click.option(
        "--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True,
        help="Where to compute.",
    )(function)  # fmt: skip


LIMITS = {"bytes": int, "notes": int, "steps": int, "seconds": float}


def reading(function: Callable[..., Any]) -> Callable[..., Any]:
    """How files are read: what their melody is, and limits."""
    for option in reversed((
        click.option("--track", help="Melody: the part with this number or name; `inspect --verbose` lists them."),
        click.option("--program", type=click.IntRange(0, 127), help="Melody: among parts with this instrument."),
        click.option("--skyline", is_flag=True, help="Melody: the highest note of each onset over all parts."),
        click.option("--monophonic-only", is_flag=True, help="Refuse files without a monophonic part."),
        click.option(
            "--limit", "limits", multiple=True, metavar="WHAT=VALUE",
            help="Largest file that is read: bytes, notes, steps (sixteenths of the melody) or seconds; repeatable.",
        ),
    )):  # fmt: skip
        function = option(function)
    return function


def reading_settings(
    *, track: str | None, program: int | None, skyline: bool, monophonic_only: bool, limits: tuple[str, ...]
) -> dict[str, Any]:
    """Options of `reading` that were given, as settings of the section of that name."""
    given = {"track": track, "program": program, "skyline": skyline or None, "monophonic_only": monophonic_only or None}
    settings = {name: value for name, value in given.items() if value is not None}
    for text in limits:
        name, _, value = text.partition("=")
        if name not in LIMITS:
            raise UsageError(f"--limit {text}: write it as bytes=8000000; there are {', '.join(LIMITS)}")
        try:
            settings[f"max_{name}"] = LIMITS[name](value)
        except ValueError:
            kind = "whole number" if LIMITS[name] is int else "number"
            raise UsageError(f"--limit {text}: write it as {name}=VALUE, a {kind}") from None
    return settings


@contextlib.contextmanager
def progress(label: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on stderr, moved by a function that is told how many of how many are done; none but on a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    with contextlib.ExitStack() as stack:
        bars: list[Any] = []

        def show(done: int, total: int) -> None:
            if not bars:
                bars.append(
                    stack.enter_context(click.progressbar(length=total, label=label, file=sys.stderr, show_pos=True))
                )
            if done == total or 100 * (done - bars[0].pos) >= total:
                bars[0].update(done - bars[0].pos)

        yield show


def own_code(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--own-code``."""
    return click.option(
        "--own-code", is_flag=True,
        help="Let the run load code outside seqgan-music that it names; only for runs you trust.",
    )(function)  # fmt: skip
