"""Experiments of published papers, made again: a module each.

A module of this package says which presets are the experiment's settings, what the paper has published, and what the
paper leaves open, with our choice. Published figures and ours never stand in one table: they are of other data.

Its runs are a group, `seqgan_music.group`, in a directory of its own, so that the same call goes on where it was
stopped.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqgan_music import config, run_directory, run_settings
from seqgan_music.errors import UsageError
from seqgan_music.group import Group

if TYPE_CHECKING:
    from seqgan_music.cache import Cache
    from seqgan_music.corpus import Corpus
    from seqgan_music.group import Adjust

OF_A_RUN = ("seed", "device")  # options of [run], which are none of the experiment's


def open_group(
    source: Corpus,
    settings: Mapping[str, Mapping[str, Any]],
    directory: Path,
    seeds: Sequence[int],
    *,
    adjust: Adjust | None = None,
    cache: Cache | None = None,
) -> Group:
    """The group of an experiment: a new one, or the one that was begun in that directory.

    Parameters
    ----------
    source, settings, directory, seeds, adjust, cache
        As for `seqgan_music.group.Group.create`, but that the directory may hold the same experiment already.

    Raises
    ------
    UsageError
        The directory holds something else, or an experiment with other settings, seeds or tunes.
    Failure
        The directory cannot be written, or what is there is damaged.
    """
    if not (directory / run_directory.GROUP).is_file():
        if directory.is_dir() and any(directory.iterdir()):
            raise UsageError(f"{directory} is not empty, and no experiment is in it; name another directory")
        return Group.create(source, settings, directory, seeds, adjust=adjust, cache=cache)
    group = Group(directory)
    if differing := _differing(group, source, settings, seeds):
        raise UsageError(f"{directory} holds an experiment of other settings ({differing}); name another directory")
    return group


def departures(settings: Mapping[str, Mapping[str, Any]], whole: Mapping[str, Mapping[str, Any]]) -> str:
    """Which options of the whole experiment other settings do not share.

    Examples
    --------
    >>> departures({"algorithm": {"rounds": 8, "g_steps": 1}}, {"algorithm": {"rounds": 200, "g_steps": 1}})
    'rounds 8, not 200'
    """
    return ", ".join(
        f"{option} {settings[section][option]}, not {value}"
        for section, of in whole.items()
        for option, value in of.items()
        if settings[section][option] != value
    )


def difference(there: config.Config, asked: config.Config) -> str | None:
    """The first option in which `plain` resolved settings that are there are not those asked for."""
    for section, options in asked.items():
        for option in dict.fromkeys([*options, *there[section]]):
            mine, theirs = options.get(option), there[section].get(option)
            if mine != theirs and not (section == "run" and option in OF_A_RUN):
                return f"{section}.{option}={theirs!r}, not {mine!r}"
    return None


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings, or what a measurement depends on, with lists for tuples, as a file gives them back."""
    found: dict[str, Any] = json.loads(json.dumps(settings))
    return found


def _differing(
    group: Group, source: Corpus, settings: Mapping[str, Mapping[str, Any]], seeds: Sequence[int]
) -> str | None:
    """The first thing in which the group is not what is asked for."""
    if group.seeds != list(seeds):
        return f"the seeds {_few(group.seeds)}, not {_few(seeds)}"
    first = group.runs[group.seeds[0]]
    there = plain(run_settings.resolve(config.read_config(first / run_directory.CONFIG)))
    asked = plain(run_settings.resolve(settings) | {"reading": dataclasses.asdict(source.reading)})
    if found := difference(there, asked):
        return found
    facts = run_directory.read_facts(first)["corpus"]
    if facts["digest"] != source.digest:
        return f"the tunes of {facts['root']} as they were, not those of {Path(source.root).resolve()} as they are"
    return None


def _few(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds)) if len(seeds) <= 5 else f"{seeds[0]} to {seeds[-1]}"
