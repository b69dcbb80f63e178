from __future__ import annotations

import os
import subprocess
import sys

import pytest

from seqgan_music import threads


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"GOMP_SPINCOUNT": threads.SPINS}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE"}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}),
    ],
)
def test_threads_sleep_soon_unless_the_environment_says_how_they_wait(monkeypatch, before, after):
    monkeypatch.setattr(os, "environ", dict(before))
    threads.let_them_sleep()
    assert os.environ == after


def test_the_program_says_so_before_torch_is_there():
    code = (
        "import sys\nfrom seqgan_music import threads\n"
        "def asked(): print('torch' in sys.modules)\n"
        "threads.let_them_sleep = asked\n"
        "from seqgan_music_cli.main import main\nmain(['list'], standalone_mode=False)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "False"
