"""The shape of the house, read from the imports: who may use whom, and what is loaded when."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = [
    {"errors", "modes", "versions", "notes", "registry", "config", "presets", "pretrained", "files"}
    | {"midi_events", "melody", "processes", "cache", "token_file"}
    | {"jit", "threads", "graphs", "precision", "distributed"},
    {"midi", "scores", "tokenizers", "objectives", "generators", "discriminators", "losses", "optimizers", "metrics"},
    {"corpus", "sampling", "transposition", "sound"},
    {"rollout", "dataset", "rewards", "bundled"},
    {"algorithms"},
    {"evaluation", "checkpoint", "report", "formats", "tensorboard"},
    {"run_settings", "building"},
    {"run_directory"},
    {"run", "html_report"},
    {"finetuning", "timing", "export", "measurements"},
    {"material"},
    {"experiment"},
    {"group", "comparison"},
    {"reproduction"},
    {"cli"},
]
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}
# Sideways within a layer: everything may raise an error; a report shows an evaluation; a finished run leaves pages;
# objectives have the metrics' keys and scales.
SIDEWAYS = {
    ("processes", "errors"),
    ("files", "errors"),
    ("token_file", "errors"),
    ("midi_events", "errors"),
    ("midi_events", "notes"),
    ("melody", "errors"),
    ("melody", "notes"),
    ("modes", "errors"),
    ("modes", "distributed"),
    ("distributed", "errors"),
    ("registry", "errors"),
    ("config", "errors"),
    ("precision", "errors"),
    ("graphs", "errors"),
    ("objectives", "metrics"),
    ("report", "evaluation"),
    ("formats", "report"),
    ("run", "html_report"),
}
MUSIC = {"notes", "midi_events", "melody", "midi", "scores", "tokenizers", "objectives", "metrics", "corpus"} | {
    "bundled",
    "transposition",
    "sound",
}
TENSORS = {"generators", "discriminators", "losses", "optimizers", "sampling", "rollout"}
BRIDGES = {"dataset", "rewards"}
DOORS = {"", "__main__"}  # the package itself, which imports on demand, and the door to the command


def parts(name):
    """``seqgan_music.tokenizers.grid`` -> ``tokenizers``; None for what is not ours."""
    package, _, rest = name.partition(".")
    if package in ("seqgan_music_cli", "cli"):
        return "cli"
    return rest.partition(".")[0] if package == "seqgan_music" else None


def imports(source):
    """Names that a module imports when it runs, in functions too, with ``package.name`` for each imported name."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str))


def broken(module, source):
    """Imports of a module that break a rule, each as a sentence."""
    me = parts(module)
    if me in DOORS:
        return
    for name in imports(source):
        other = parts(name)
        if other is None or other == me:
            continue
        if other not in LAYER:
            if name != "seqgan_music.__version__":
                yield f"{module} imports {name}, which stands in no layer"
        elif LAYER[other] > LAYER[me]:
            yield f"{module} (layer {LAYER[me]}) imports {name} (layer {LAYER[other]})"
        elif LAYER[other] == LAYER[me] and (me, other) not in SIDEWAYS:
            yield f"{module} imports {name} of its own layer {LAYER[me]}"
        elif me in MUSIC and other in TENSORS:
            yield f"{module} is music and imports {name}"
        elif me in TENSORS and other in MUSIC:
            yield f"{module} knows tensors alone and imports {name}"
        elif LAYER[me] <= 4 and me not in MUSIC | TENSORS | BRIDGES and other in MUSIC:
            yield f"{module} is no bridge and imports {name}"


def modules():
    for folder, package in [(ROOT / "seqgan_music", "seqgan_music"), (ROOT / "cli", "seqgan_music_cli")]:
        for file in sorted(folder.rglob("*.py")):
            steps = file.relative_to(folder).with_suffix("").parts
            yield ".".join([package, *(step for step in steps if step != "__init__")]), file.read_text("utf-8")


def test_imports_only_go_down():
    sentences = [sentence for module, source in modules() for sentence in broken(module, source)]
    assert not sentences, "\n".join(sentences)


def test_every_module_stands_in_a_layer():
    assert {parts(module) for module, _ in modules()} - DOORS == set(LAYER)


@pytest.mark.parametrize(
    ("module", "source", "rule"),
    [
        ("seqgan_music.sampling", "from seqgan_music import rollout", "layer 3"),
        ("seqgan_music.corpus", "def f():\n    from seqgan_music.experiment import train", "layer 11"),
        ("seqgan_music.config", "import seqgan_music.midi", "layer 1"),
        ("seqgan_music.checkpoint", "from seqgan_music_cli.main import main", "layer 14"),
        ("seqgan_music.checkpoint", "import cli.main", "layer 14"),
        ("seqgan_music.midi", "from seqgan_music import scores", "own layer"),
        ("seqgan_music.rollout", "from seqgan_music import notes", "tensors alone"),
        ("seqgan_music.corpus", "from seqgan_music import losses", "is music"),
        ("seqgan_music.algorithms.seqgan", "from seqgan_music.tokenizers.grid import GridTokenizer", "no bridge"),
        ("seqgan_music.midi", "import importlib\nimportlib.import_module('seqgan_music.run')", "layer 8"),
        ("seqgan_music.midi", "from seqgan_music import helpers", "no layer"),
    ],
)
def test_the_rules_bite(module, source, rule):
    (sentence,) = broken(module, source)
    assert rule in sentence
    assert sentence.startswith(module)
    assert not list(broken(module, f"if TYPE_CHECKING:\n    {source.splitlines()[-1].strip()}"))


def test_nothing_imports_the_command_line_but_its_door():
    users = {module for module, source in modules() if any(parts(name) == "cli" for name in imports(source))}
    assert {user for user in users if not user.startswith("seqgan_music_cli")} == {"seqgan_music.__main__"}
    named_cli = {module for module, source in modules() if any(name.split(".")[0] == "cli" for name in imports(source))}
    assert not named_cli


@pytest.mark.parametrize(
    ("library", "only"),
    [
        ("pretty_midi", "midi"),
        ("mido", "midi"),
        ("music21", "scores"),
        ("miditok", "tokenizers.remi"),
        ("symusic", "tokenizers.remi"),
    ],
)
def test_one_module_stands_between_us_and_a_music_library(library, only):
    users = {module for module, source in modules() if any(name.split(".")[0] == library for name in imports(source))}
    assert users <= {f"seqgan_music.{only}"}
    assert users or library == "mido"


def loaded_after(code):
    """Top-level modules that are loaded after some code in a fresh interpreter."""
    code += "\nimport sys; print('\\n'.join(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_music_column_loads_no_torch():
    loaded = loaded_after(
        "import seqgan_music, seqgan_music.notes, seqgan_music.midi, seqgan_music.corpus, seqgan_music.scores\n"
        "import seqgan_music.sound, seqgan_music.files, seqgan_music.transposition\n"
        "import seqgan_music.tokenizers.grid, seqgan_music.config, seqgan_music.registry, seqgan_music.objectives\n"
        "assert seqgan_music.read_corpus and seqgan_music.Piece\n"
    )
    assert "seqgan_music" in loaded
    assert not loaded & {"torch", "music21", "matplotlib"}


def test_training_loads_no_compiler():
    loaded = loaded_after(
        "import torch, sys\nfrom seqgan_music.optimizers import Adam\n"
        "weight = torch.zeros(2, requires_grad=True)\nadam = Adam([weight])\nweight.sum().backward()\n"
        "adam.step()\nadam.zero_grad()\n"
        "adam.load_state_dict(adam.state_dict())\nassert weight[0] < 0 and 'torch._dynamo' not in sys.modules"
    )
    assert "torch" in loaded


def test_help_answers_without_loading_anything_slow():
    loaded = loaded_after("from seqgan_music_cli.main import main\nmain(['--help'], standalone_mode=False)")
    assert "click" in loaded
    assert not loaded & {"torch", "music21", "pretty_midi", "numpy", "scipy", "matplotlib"}
