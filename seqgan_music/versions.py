"""Versions of what a result may depend on."""

from __future__ import annotations

import platform
from importlib import metadata

PACKAGES = ("seqgan-music", "torch", "numpy", "numba", "scipy", "pretty_midi", "music21")


def versions() -> dict[str, str]:
    """Version of Python, of this package and of those it computes with, by name."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
