import ast
import fnmatch
import re
from pathlib import Path

from seqgan_music import checkpoint, config, pretrained
from seqgan_music.run import Run

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "seqgan_music"
README = (PACKAGE / "pretrained" / "README.md").read_text("utf-8")


def test_it_opens_and_writes_music():
    run = Run(pretrained.directory())
    pieces = run.generate(6, seed=1, bars=8)
    assert all(len(piece.notes) > 10 for piece in pieces)
    assert len({tuple(piece.notes.pitch) for piece in pieces}) == 6
    jig = run.generate(1, metre=(6, 8))[0]
    assert jig.metre == (6, 8)


def test_it_is_small():
    size = sum(file.stat().st_size for file in pretrained.directory().rglob("*") if file.is_file())
    assert 100_000 < size < 2_000_000


def test_its_readme_says_what_it_is():
    run = Run(pretrained.directory())
    exported = run.facts["exported"]
    digest = checkpoint.digest(run.generator().state_dict())
    assert digest == exported["weights"]
    assert re.findall(r"\b[0-9a-f]{64}\b", README) == [run.facts["corpus"]["digest"], digest]
    assert f"stage `{exported['stage']}`" in README
    assert f"{run.facts['corpus']['pieces']} tunes" in README
    assert f"seqgan-music train midi_data/ --seed {run.settings['run']['seed']} " in README
    metres = ", ".join(f"{a}/{b}" for a, b in run.tokenizer.metres)
    assert metres in README
    assert f"MIDI {run.tokenizer.low} to {run.tokenizer.high}" in README


def test_it_was_trained_by_the_default_preset():
    settings = Run(pretrained.directory()).settings
    for section, options in config.preset("default").items():
        assert options.items() <= settings[section].items()


def test_it_tells_no_place_of_the_machine_it_was_made_on():
    for name in ("run.json", "config.toml", "tokenizer.json"):
        assert not re.search(r'"/\w|Linux|\\\\', (pretrained.directory() / name).read_text("utf-8"))


def test_every_file_of_it_is_installed():
    calls = [node for node in ast.walk(ast.parse((ROOT / "setup.py").read_text("utf-8"))) if isinstance(node, ast.Call)]
    (given,) = [word.value for call in calls for word in call.keywords if word.arg == "package_data"]
    patterns = ast.literal_eval(given)["seqgan_music"]
    folder = PACKAGE / "pretrained"
    files = [file for file in folder.rglob("*") if file.is_file() and file.suffix not in (".py", ".pyc")]
    assert len(files) > 5
    for file in files:
        path = file.relative_to(PACKAGE).as_posix()
        depth = path.count("/")
        assert any(fnmatch.fnmatch(path, pattern) and pattern.count("/") == depth for pattern in patterns), path
