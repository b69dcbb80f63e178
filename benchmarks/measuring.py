"""Clocks, memory, and where and when something was measured."""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from seqgan_music import jit
from seqgan_music.versions import versions


class Clock:
    """Seconds since the last lap, of the clock on the wall or of the processor."""

    def __init__(self, processor: bool = False) -> None:
        self.seconds: Callable[[], float] = time.process_time if processor else time.perf_counter
        self.last = self.seconds()

    def lap(self) -> float:
        before, self.last = self.last, self.seconds()
        return self.last - before


def ratios(above: list[float], below: list[float]) -> dict[str, float]:
    """Of seconds taken in turn: the median of the ratios in each turn, and their range."""
    found = [one / other for one, other in zip(above, below, strict=True)]
    return {"median": statistics.median(found), "min": min(found), "max": max(found)}


def peak_memory() -> float:
    """Most memory this process has held, in MiB.

    On Linux a process starts with its parent's peak in `ru_maxrss`, so the kernel's mark of the process itself is read.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


@contextmanager
def settings(threads: int, kernels: bool | None = None) -> Iterator[None]:
    """So many threads of PyTorch, and compiled kernels or none (None: as the environment has it), put back after."""
    before, variable = torch.get_num_threads(), os.environ.get("SEQGAN_MUSIC_JIT")
    torch.set_num_threads(threads)
    if kernels is not None:
        os.environ["SEQGAN_MUSIC_JIT"] = str(int(kernels))
    try:
        yield
    finally:
        torch.set_num_threads(before)
        if kernels is not None:
            os.environ.pop("SEQGAN_MUSIC_JIT")
            if variable is not None:
                os.environ["SEQGAN_MUSIC_JIT"] = variable


def json_file(text: str) -> Path:
    """A file to write to, for `argparse`: its folder is looked for before anything is measured."""
    file = Path(text)
    if file.is_dir() or not file.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} cannot be written: no such folder, or no file")
    return file


def conditions() -> dict[str, Any]:
    """Machine, threads, kernels, versions, commit and date of a measurement."""
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "kernels": jit.available(),
        "versions": versions(),
        "commit": _commit(),
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def in_words(found: dict[str, Any]) -> str:
    """`conditions` in a line."""
    kernels = "compiled kernels" if found["kernels"] else "no compiled kernels"
    return (
        f"{found['processor']}, {found['cores']} cores, {found['threads']} threads, torch "
        f"{found['versions']['torch']}, {kernels}, commit {found['commit'] or 'unknown'}, {found['date']}"
    )


def _commit() -> str | None:
    """What is checked out, with a + where files have been changed since; None outside a checkout."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
