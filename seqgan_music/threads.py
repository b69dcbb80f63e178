"""How PyTorch's threads wait for work."""

from __future__ import annotations

import os

SPINS = "10000"  # some microseconds


def let_them_sleep() -> None:
    """Have PyTorch's threads sleep soon after they have nothing to do, unless the environment says something of it.

    GNU's OpenMP, which PyTorch's builds for Linux bring along, lets them spin for milliseconds first, on cores that
    kernels need (`seqgan_music.jit`). It asks the environment once: this must come before torch is imported.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPINS
