"""Every command of docs/tutorial.md, in its order."""

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parent.parent
TUTORIAL = ROOT / "docs" / "tutorial.md"
# Minutes in which nobody wants to wait for a test: the shortest schedule is taken then.
SHORTER = [(r"--minutes \d+", "--minutes 0.01 -s algorithm.policy_batch_size=64 -s algorithm.discriminator_samples=64")]
EXPECTED = {
    "first": {".mid", ".wav", ".png"},
    "new": {".mid", ".wav", ".png", ".musicxml"},
    "calm": {".mid"},
    "continued": {".mid"},
    "chosen": {".mid"},
    "steps": {".mid"},
}


def commands():
    blocks = re.findall(r"^```\n(.*?)^```$", TUTORIAL.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines()]


def test_every_command_of_the_tutorial_works(tmp_path):
    (tmp_path / "midi_data").symlink_to(ROOT / "midi_data", target_is_directory=True)
    program = f"{sys.executable} -m seqgan_music"
    said = {}
    for command in commands():
        shorter = re.sub(r"^seqgan-music", program, command)
        for long, short in SHORTER:
            shorter = re.sub(long, short, shorter)
        done = subprocess.run(shorter, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        said[command] = done.stdout + done.stderr
    for folder, endings in EXPECTED.items():
        assert {file.suffix for file in (tmp_path / folder).iterdir()} == endings
    assert len(commands()) > 12
    assert any("will not do: this is the shortest schedule" in text for text in said.values())


@pytest.mark.parametrize("page", ["README.md", "docs/commands.md"])
def test_every_option_that_a_page_shows_exists(page):
    from seqgan_music_cli.main import VERBS, main

    for verb, rest in re.findall(r"^seqgan-music (\w+)(.*)$", (ROOT / page).read_text("utf-8"), re.MULTILINE):
        assert verb in VERBS
        command = main.get_command(None, verb)
        if isinstance(command, click.Group):
            word, _, rest = rest.strip().partition(" ")
            command = command.get_command(None, word)
            rest = f" {rest}"
        known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        used = set(re.findall(r"(?<=\s)-{1,2}[a-zA-Z][\w-]*", rest.partition("#")[0]))
        assert used <= known, f"{page}: {verb} has no {used - known}"
