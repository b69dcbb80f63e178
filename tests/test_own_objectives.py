"""Objectives of one's own, and docs/extending/objective.md, which says how they are written."""

import math
import re
import sys
from pathlib import Path

import pytest
import tomli_w
import torch
from click.testing import CliRunner
from seqgan_music_cli import train
from seqgan_music_cli.main import main

from seqgan_music import config, run_directory, run_settings
from seqgan_music.errors import Failure, UsageError
from seqgan_music.experiment import Experiment
from seqgan_music.notes import Piece
from seqgan_music.objectives import own
from seqgan_music.objectives.terms import read
from seqgan_music.tokenizers import TOKENIZERS
from seqgan_music.tokenizers.grid import GridTokenizer

PAGE = Path(__file__).parent.parent / "docs" / "extending" / "objective.md"
GRID = GridTokenizer(low=48, high=93, metres=[[4, 4], [6, 8]])


def melody(*pitches):
    return [pitch - 48 + 2 for pitch in pitches]


LOW, HIGH, MIXED, SILENT = melody(50, 52, 50, 52), melody(72, 74, 72, 74), melody(50, 74, 72, 52), [0, 0, 0, 0]
IDS = torch.tensor([LOW, HIGH, MIXED, SILENT])


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Write functions into a file of the current directory; gives what -O calls them."""
    monkeypatch.chdir(tmp_path)

    def write(code):
        Path("mine.py").write_text(f"import torch\n{code}\n", "utf-8")
        return "./mine.py:f"

    return write


def block():
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return code


# The page


@pytest.fixture
def template(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(block(), "utf-8")


@pytest.mark.parametrize("name", ["warmth", "calm", "Arrival"])
def test_the_page_s_template_is_trained_by_for_two_steps(name, template, tiny_experiment, tmp_path):
    text = f"./mine.py:{name}~0.5"
    experiment = tiny_experiment(tmp_path / "run", objectives={text: 1.0}, algorithm={"rounds": 2})
    rounds = [record.values for record, _ in experiment if record.phase == "adversarial"]
    assert len(rounds) == 2
    for values in rounds:
        assert 0 <= values[f"objective_{text}"] <= 1
        assert 0 < values[f"reward_{text}"] <= 1
        assert 0 <= values[f"undefined_{text}"] < 1
    (term,) = (term for term, _ in experiment.parts.reward.objectives.values())
    assert term.per_piece == (name == "warmth")


def test_the_page_s_template_gives_what_it_says(template):
    grid = torch.tensor([[*melody(60), 1, *melody(67), 1, 1, 1, 1, 1], [*melody(50, 52, 72, 74), 1, 1, 0, 0], [0] * 8])
    melodies = GRID.melodies(grid)
    found = {name: read(f"./mine.py:{name}", own_code=True) for name in ("warmth", "calm", "Arrival")}
    expected = {"warmth": [0.5, 0.5, math.nan], "calm": [0.5, 0, math.nan], "Arrival": [1, 1, math.nan]}
    for name, values in expected.items():
        torch.testing.assert_close(found[name].value(melodies), torch.tensor(values), equal_nan=True)
    assert found["warmth"].description == "Share of the notes that lie below the E above middle C"
    assert (found["Arrival"].title, found["calm"].title) == ("arrival", "calm")


def test_every_option_of_the_page_is_read(template):
    found = re.findall(r'-O (?:"([^"]+)"|(\S+))', PAGE.read_text("utf-8"))
    texts = [quoted or plain for quoted, plain in found]
    assert len(texts) > 5
    for text in texts:
        for term in train.parse_objectives((text,)):
            assert read(term, own_code=True).pay(torch.tensor([0.4])).isfinite()
    for key in re.findall(r'^"(.*)" = ', PAGE.read_text("utf-8"), re.MULTILINE):
        assert read(key, own_code=True).per_piece


# Which form it is


@pytest.mark.parametrize(
    ("code", "per_piece"),
    [
        ("def f(piece): return 0.5", True),
        ("def f(melodies): return torch.full((len(melodies),), 0.5)", False),
        ("from seqgan_music import Piece\ndef f(tune: Piece): return 0.5", True),
        ("def f(tune: 'Piece'): return 0.5", True),
        ("from __future__ import annotations\ndef f(tune: notes.Piece) -> float: return 0.5", True),
        ("from seqgan_music.notes import Melodies\ndef f(piece: Melodies): return torch.full((4,), 0.5)", False),
        ("def f(batch: 'Melodies'): return torch.full((4,), 0.5)", False),
        ("def f(piece: 'list[int]', limit=3): return 0.5", True),
        ("def f(piece, *rest, **more): return 0.5", True),
        ("f = lambda piece: 0.5", True),
        ("import functools\ndef g(piece, limit): return limit\nf = functools.partial(g, limit=0.5)", True),
        ("class f:\n    def __call__(self, piece): return 0.5", True),
        ("class f:\n    def __call__(self, some: 'Melodies'): return torch.full((4,), 0.5)", False),
        ("class g:\n    def __call__(self, piece): return 0.5\nf = g()", True),
    ],
)
def test_a_form_is_told_by_annotation_or_name(code, per_piece, mine):
    # A future import has to come first.
    term = read(mine(code) if "__future__" not in code else mine("") and _write(code), own_code=True)
    assert term.per_piece == per_piece
    values = term.value(GRID.melodies(IDS))
    assert values.tolist()[:3] == [0.5] * 3
    assert math.isnan(values[3]) == per_piece


def _write(code):
    Path("mine.py").write_text(code, "utf-8")
    return "./mine.py:f"


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("def f(x): return 0.5", r"does not say what its argument 'x' is; write `def f\(piece: Piece\) -> float"),
        ("def f(pieces: 'list[Piece]'): return 0.5", "does not say what its argument 'pieces' is"),
        ("def f(): return 0.5", r"must take one argument and takes \(\); write"),
        ("def f(piece, other): return 0.5", r"must take one argument and takes \(piece, other\); write"),
        ("def f(piece, *, other): return 0.5", "must take one argument and takes"),
        ("def f(*piece): return 0.5", "must take one argument and takes"),
        ("class f:\n    def __init__(self, x): pass", "cannot be made without arguments: TypeError"),
        ("class f:\n    def __init__(self): 1 / 0", r"made without arguments: ZeroDivisionError: .*\(line 3\)"),
        ("class f: pass", "neither a function nor a class with __call__"),
        ("f = 3", "neither a function nor a class with __call__"),
        ("f = max", "does not say what it takes"),
        ("g = 3", "has nothing named 'f'"),
        ("def f(piece) return 0.5", "cannot be loaded: SyntaxError"),
    ],
)
def test_a_wrong_signature_is_refused_when_it_is_read(code, says, mine):
    name = mine(code)
    with pytest.raises(UsageError, match=says) as refused:
        run_settings.resolve({"objectives": {name: 1.0}})
    assert "\n" not in str(refused.value)
    assert "mine.py" in str(refused.value)


# What it gives


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return 2", "gave 2, which lies outside [0, 1]"),
        ("return -0.1", "gave -0.1, which lies outside [0, 1]"),
        ("return float('inf')", "gave inf, which lies outside [0, 1]"),
        ("return '0.5'", "gave a str where a number is due, or None"),
        ("return [0.5]", "gave a list where a number is due, or None"),
        ("return torch.tensor([0.5])", "gave a Tensor where a number is due, or None"),
        ("raise ValueError('too\\n  many')", "raised ValueError: too many (line 3)"),
        ("raise KeyError", "raised KeyError (line 3)"),
    ],
)
def test_what_a_function_of_a_piece_gives_is_checked(body, says, mine):
    name = mine(f"def f(piece):\n    if piece.notes[0].pitch == 72: {body}\n    return 0.5")
    term = read(name, own_code=True)
    with pytest.raises(Failure) as failed:
        term.value(GRID.melodies(IDS))
    assert str(failed.value) == f"objective './mine.py:f' {says}, for the melody C5 D5 C5 D5 in 4/4"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (
            "return [0.5] * 4",
            "gave a list where a tensor of floats is due, a value a melody, for a batch of 4 melodies",
        ),
        ("return None", "gave None where a tensor of floats is due, a value a melody, for a batch of 4 melodies"),
        ("return torch.zeros(4, 1)", "gave a tensor of shape (4, 1), torch.float32, where floats (4,) are due"),
        ("return torch.zeros(())", "gave a tensor of shape (), torch.float32, where floats (4,) are due"),
        ("return torch.zeros(4, dtype=torch.int64)", "gave a tensor of shape (4,), torch.int64, where floats (4,)"),
        (
            "return torch.tensor([0, 1.5, 0, 0])",
            "gave 1.5, which lies outside [0, 1], for the melody C5 D5 C5 D5 in 4/4",
        ),
        (
            "return torch.tensor([0, 0, 0, -1.0])",
            "gave -1, which lies outside [0, 1], for the melody without notes in 4/4",
        ),
        (
            "return melodies.x",
            "raised AttributeError: 'Melodies' object has no attribute 'x' (line 3), for a batch of 4",
        ),
    ],
)
def test_what_a_function_of_melodies_gives_is_checked(body, says, mine):
    term = read(mine(f"def f(melodies):\n    {body}"), own_code=True)
    with pytest.raises(Failure) as failed:
        term.value(GRID.melodies(IDS))
    assert str(failed.value).startswith(f"objective './mine.py:f' {says}")


def test_the_line_of_the_user_s_file_is_named_where_a_library_raised(mine):
    code = "import statistics\ndef f(piece):\n    return g(piece)\ndef g(piece):\n    return statistics.mean([])"
    with pytest.raises(Failure, match=r"raised StatisticsError: .* \(line 6\)"):
        read(mine(code), own_code=True).value(GRID.melodies(IDS))


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ("return None", math.nan),
        ("return float('nan')", math.nan),
        ("return True", 1.0),
        ("return 1", 1.0),
        ("return torch.tensor(0.25)", 0.25),
        ("import numpy; return numpy.float32(0.25)", 0.25),
        ("import fractions; return fractions.Fraction(1, 4)", 0.25),
        ("return 1 + 1e-9", 1.0),  # a sum, rounded
        ("return -1e-9", 0.0),
    ],
)
def test_numbers_of_every_kind_are_taken(body, value, mine):
    term = read(mine(f"def f(piece):\n    {body}"), own_code=True)
    torch.testing.assert_close(term.value(GRID.melodies(IDS[:1])), torch.tensor([value]), equal_nan=True)


def test_a_batch_s_values_are_floats_without_a_graph_and_without_rounding(mine):
    code = "def f(melodies): return torch.tensor([1 + 1e-9, -1e-9, torch.nan, 0.5], dtype=float, requires_grad=True)"
    values = read(mine(code), own_code=True).value(GRID.melodies(IDS))
    assert values.dtype == torch.float32
    assert not values.requires_grad
    torch.testing.assert_close(values, torch.tensor([1, 0, math.nan, 0.5]), rtol=0, atol=0, equal_nan=True)


# Pieces


@pytest.mark.parametrize("tokenizer", [name for name in TOKENIZERS if "miditok" not in name])
def test_pieces_are_what_the_tokenizer_decodes(tokenizer, tiny_experiment, tmp_path):
    experiment = tiny_experiment(tmp_path / "run", tokenizer={"name": tokenizer})
    read_by, (ids, start) = experiment.parts.reward.tokenizer, experiment.parts.dataset.train[:40]
    seen = []

    def keep(piece):
        seen.append(piece)
        return 0.5

    own.OfPiece(keep, "keep")(read_by.melodies(ids, start))
    pieces = [read_by.decode(row) for row in torch.cat([start[:, None], ids], 1).tolist()]
    decoded = {in_quarters(piece) for piece in pieces if piece.notes}
    assert {in_quarters(piece) for piece in seen} == decoded
    assert len(seen) == len(decoded)


def in_quarters(piece: Piece):
    notes = [
        (note.pitch, *(round(x / piece.resolution, 2) for x in (note.onset, note.duration))) for note in piece.notes
    ]
    return (piece.metre, *notes)


def test_a_piece_is_asked_for_once_and_its_metre_counts():
    asked = []

    def note_it(piece):
        asked.append((piece.metre, piece.notes[0].pitch))
        return 0.5 if piece.notes[0].pitch < 60 else None

    objective = own.OfPiece(note_it, "note_it")
    four, six = GRID.start_ids[4, 4], GRID.start_ids[6, 8]
    ids, start = torch.tensor([LOW, HIGH, LOW, LOW, SILENT]), torch.tensor([four, four, four, six, six])
    for rows in (slice(None), slice(1, 4), slice(4, 5)):
        objective(GRID.melodies(ids[rows], start[rows]))
    values = objective(GRID.melodies(ids, start))
    torch.testing.assert_close(
        values, torch.tensor([0.5, math.nan, 0.5, 0.5, math.nan]), rtol=0, atol=0, equal_nan=True
    )
    assert asked == [((4, 4), 50), ((4, 4), 72), ((6, 8), 50)]
    assert (objective.calls, objective.melodies) == (3, 14)
    assert objective.cost.startswith("objective 'note_it': 3 calls for 14 melodies, ")
    assert 0 < objective.seconds_each == objective.seconds / 3


def test_memory_is_bounded_and_the_last_used_stay(monkeypatch):
    monkeypatch.setattr(own, "REMEMBERED", 2)
    objective = own.OfPiece(lambda piece: 0.5, "half")
    for rows, calls in [([0, 1, 2], 3), ([1, 2], 3), ([1], 3), ([0], 4), ([1], 4), ([2], 5)]:
        objective(GRID.melodies(IDS[rows]))
        assert objective.calls == calls, rows
        assert len(objective._known) == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_values_lie_on_the_melodies_device():
    melodies = GRID.melodies(IDS.cuda())
    assert own.OfPiece(lambda piece: 0.5, "half")(melodies).device.type == "cuda"
    assert own.OfMelodies(lambda melodies: torch.zeros(4), "zeros")(melodies).device.type == "cuda"


# Where it is found


def test_a_module_is_found_in_the_current_directory_and_replaces_no_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    package = tmp_path / "my_package_of_objectives"
    package.mkdir()
    (package / "warm.py").write_text("def f(piece): return 0.25", "utf-8")
    (tmp_path / "colorsys.py").write_text("1 / 0", "utf-8")
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    term = read("my_package_of_objectives.warm:f~0.3", own_code=True)
    assert term.value(GRID.melodies(IDS[:1])).item() == 0.25
    with pytest.raises(UsageError, match="must take one argument"):
        read("colorsys:rgb_to_hls", own_code=True)


def test_a_file_is_found_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "mine at home.py").write_text("def f(piece): return 0.25", "utf-8")
    assert read("~/mine at home.py:f~0.3", own_code=True).per_piece


def test_a_file_is_loaded_once_until_it_changes(mine):
    name = mine(
        "from pathlib import Path\nlog = Path('log')\nlog.write_text(log.read_text() + 'x')\n"
        "def f(piece): return 0.25\ng = f"
    )
    Path("log").touch()
    for _ in range(2):
        run_settings.resolve({"objectives": {name: 1.0, "./mine.py:g": 1.0}})
    assert Path("log").read_text() == "x"
    assert read(mine("def f(piece): return 0.75"), own_code=True).value(GRID.melodies(IDS[:1])).item() == 0.75


# Training


@pytest.fixture
def verb(mine, tiny_settings):
    """A command where tiny.toml and mine.py lie; gives exit code, stdout and stderr."""
    Path("tiny.toml").write_text(tomli_w.dumps(tiny_settings), "utf-8")

    def call(*words):
        done = CliRunner().invoke(main, [str(word) for word in words])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.stdout, done.stderr

    return call


def test_what_it_costs_is_told_before_and_after(verb, mine, few_tunes):
    name = mine("def f(piece): return 0.5")
    words = ["train", few_tunes, "-c", "tiny.toml", "--no-evaluate", "-s", "algorithm.policy_batch_size=8"]
    code, _, err = verb(*words, "-O", f"{name}~0.5=2", "-O", "tonality", "-o", "run")
    assert code == 0, err
    before, after = (line for line in err.splitlines() if "'./mine.py:f'" in line)
    assert re.search(r"one melody at a time, [\d.e-]+ ms each; a policy step scores 248 melodies, which takes", before)
    assert re.search(r"^objective './mine.py:f': [\d,]+ calls for [\d,]+ melodies, [\d.e-]+ ms each, ", after)
    assert err.index(before) < err.index("mle  ") < err.index(after)


def test_the_cost_is_told_for_a_group_too(verb, mine, few_tunes):
    words = ["train", few_tunes, "-c", "tiny.toml", "--no-evaluate", "--seeds", 2, "-s", "algorithm.rounds=1"]
    code, _, err = verb(*words, "-O", mine("def f(piece): return 0.5"), "-o", "group")
    assert code == 0, err
    assert err.count("is asked for one melody at a time") == 1
    assert len(re.findall(r"objective './mine.py:f': [\d,]+ calls", err)) == 2


def test_what_fails_on_the_corpus_is_refused_and_nothing_is_written(verb, mine, few_tunes):
    name = mine("def f(piece): return 2")
    code, _, err = verb("train", few_tunes, "-c", "tiny.toml", "-O", name, "-o", "run")
    assert code == 2, err
    assert "seqgan-music: objective './mine.py:f' gave 2, which lies outside [0, 1], for the melody " in err
    assert not Path("run").exists()


def test_what_fails_in_training_keeps_what_was_made_and_goes_on_once_it_is_right(verb, mine, few_tunes, tiny_corpus):
    # Fails in the second round: what is asked for by then is not known, so a file says when.
    broken = (
        "from pathlib import Path\n"
        "def f(melodies): return torch.full((len(melodies),), 2.0 if Path('now').exists() else 0.5)"
    )
    settings = {"objectives": {mine(broken): 1.0}}
    experiment = Experiment.create(tiny_corpus, config.merge(config.read_config("tiny.toml"), settings), Path("run"))
    told = []

    def records():
        for record, warnings in experiment:
            told.append(record)
            yield record, warnings
            if record.phase == "adversarial":
                Path("now").touch()

    class Watched:
        parts = experiment.parts
        __iter__ = staticmethod(records)

    with pytest.raises(Failure) as failed:
        train.train(Watched(), train.resume_command(Path("run"), experiment.settings))
    assert str(failed.value).startswith("objective './mine.py:f' gave 2, which lies outside [0, 1], for the melody")
    assert str(failed.value).endswith("is kept; go on with: seqgan-music train --resume run --own-code")
    assert [record.phase for record in told][-2:] == ["discriminator", "adversarial"]
    mine(broken.replace("2.0 if", "0.75 if"))
    code, _, err = verb("train", "--resume", "run", "--no-evaluate")
    assert (code, "say --own-code" in err) == (2, True)
    code, _, err = verb("train", "--resume", "run", "--own-code", "--no-evaluate")
    assert code == 0, err
    assert f"after {len(told)} records" in err
    log = [
        record["objective_./mine.py:f"]
        for record in run_directory.read_log(Path("run"))
        if record["phase"] == "adversarial"
    ]
    assert log == [0.5, 0.75]


def test_a_run_is_used_without_the_code_it_was_trained_by(verb, mine, few_tunes):
    words = ["train", few_tunes, "-c", "tiny.toml", "--no-evaluate", "-O", mine("def f(piece): return 0.5")]
    assert verb(*words, "-o", "run")[0] == 0
    Path("mine.py").unlink()
    code, _, err = verb("generate", "run", "-n", 2, "-o", "out")
    assert code == 0, err
    assert len(list(Path("out").glob("*.mid"))) == 2
    code, _, err = verb("train", "--resume", "run", "--own-code")
    assert code == 2
    assert "no such file: mine.py" in err
