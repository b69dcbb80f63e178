"""Options that more than one verb has."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


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


def device(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--device``."""
    return click.option(
        "--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True,
        help="Where to compute.",
    )(function)  # fmt: skip


def own_code(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--own-code``."""
    return click.option(
        "--own-code", is_flag=True,
        help="Let the run load code outside seqgan-music that it names; only for runs you trust.",
    )(function)  # fmt: skip
