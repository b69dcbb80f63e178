"""Settings of a run: plain dictionaries in sections, from TOML, presets and ``section.option=value``.

A section holds keyword arguments of one constructor, whose signature is their schema: see `seqgan_music.experiment`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from seqgan_music.errors import UsageError

Config = dict[str, dict[str, Any]]


def preset_names() -> list[str]:
    """Names of the settings that ship with the package."""
    return sorted(file.name.removesuffix(".toml") for file in resources.files("seqgan_music.presets").iterdir()
                  if file.name.endswith(".toml"))  # fmt: skip


def preset(name: str) -> Config:
    """Settings that ship with the package, by name.

    Raises
    ------
    UsageError
        No such preset.
    """
    if name not in preset_names():
        raise UsageError(f"unknown preset {name!r}; there are: {', '.join(preset_names())}")
    text = resources.files("seqgan_music.presets").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    return _sections(tomllib.loads(text), f"preset {name!r}")


def read_config(path: str | Path) -> Config:
    """Settings from a TOML file.

    Raises
    ------
    UsageError
        The file is missing, not TOML, or has options outside a section.
    """
    try:
        with open(path, "rb") as file:
            return _sections(tomllib.load(file), str(path))
    except OSError as error:
        raise UsageError(f"cannot read the config {str(path)!r}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error


def parse_assignment(text: str) -> Config:
    """``section.option=value`` as settings; the value is read as TOML, else as a bare string.

    Examples
    --------
    >>> parse_assignment("algorithm.rounds=20")
    {'algorithm': {'rounds': 20}}
    >>> parse_assignment("generator.name=lstm")
    {'generator': {'name': 'lstm'}}
    """
    target, equals, value = text.partition("=")
    section, dot, option = target.strip().partition(".")
    if not (equals and dot and section and option):
        raise UsageError(f"--set {text!r}: write it as section.option=value, for example algorithm.rounds=20")
    try:
        parsed = tomllib.loads(f"value = {value.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    return {section: {option: parsed}}


def merge(*layers: Mapping[str, Mapping[str, Any]]) -> Config:
    """Lay settings over each other, the later ones on top.

    A section in which a later layer changes ``name`` starts afresh: one component's options mean nothing to another.

    Examples
    --------
    >>> merge({"data": {"length": 32, "seed": 1}}, {"data": {"length": 64}})
    {'data': {'length': 64, 'seed': 1}}
    """
    merged: Config = {}
    for layer in layers:
        for section, options in layer.items():
            old = merged.get(section, {})
            renamed = "name" in options and "name" in old and options["name"] != old["name"]
            merged[section] = {**({} if renamed else old), **options}
    return merged


def _sections(settings: Mapping[str, Any], source: str) -> Config:
    for section, options in settings.items():
        if not isinstance(options, dict):
            raise UsageError(f"{source}: {section!r} stands outside a section; write it under one, such as [algorithm]")
    return {section: dict(options) for section, options in settings.items()}
