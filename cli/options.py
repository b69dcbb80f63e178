"""Options that more than one verb has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def metre(_: click.Context, __: click.Parameter, text: str | None) -> tuple[int, int] | None:
    """``6/8`` as a pair."""
    if text is None:
        return None
    numerator, slash, denominator = text.partition("/")
    if not (slash and numerator.isdigit() and denominator.isdigit()):
        raise click.BadParameter(f"{text!r} is no metre; write it as 6/8")
    return int(numerator), int(denominator)


def device(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--device``."""
    return click.option(
        "--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True,
        help="Where to compute.",
    )(function)  # fmt: skip
