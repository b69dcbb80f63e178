"""The command line as a person meets it: what it prints, what it leaves behind, and what it says to a mistake."""

import dataclasses
import json
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tomli_w
from click.testing import CliRunner
from seqgan_music_cli.main import VERBS, main
from seqgan_music_cli.train import Progress

from seqgan_music import config, midi, run_directory, scores
from seqgan_music.algorithms.record import Record
from seqgan_music.notes import Note, Part, Piece
from seqgan_music.run import Run

COMMAND = [sys.executable, "-m", "seqgan_music"]


def call(*words):
    """Exit code, stdout and stderr of a command that must not end in a traceback."""
    done = CliRunner().invoke(main, [str(word) for word in words], prog_name="seqgan-music")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def tiny_toml(tiny_settings, tmp_path):
    file = tmp_path / "tiny.toml"
    file.write_text(tomli_w.dumps(tiny_settings), "utf-8")
    return file


def test_training_ends_with_a_run_its_numbers_and_its_melodies(few_tunes, tiny_toml, tmp_path):
    run = tmp_path / "run"
    code, out, err = call("train", few_tunes, "-c", tiny_toml, "-o", run, "--seed", 3, "-s", "algorithm.rounds=1")
    assert code == 0, err
    assert Run(run).settings["run"]["seed"] == 3
    assert Run(run).settings["algorithm"]["rounds"] == 1
    for stage in ("mle", "adversarial"):
        written = sorted((run / "samples" / stage).iterdir())
        assert len(written) == 8
        assert [midi.read(file).title for file in written] == [f"sample {n:02}" for n in range(1, 9)]
    assert set(json.loads((run / "report.json").read_text("utf-8"))["rows"]) >= {"mle", "adversarial", "real"}
    assert "| adversarial |" in out
    assert f"seqgan-music generate {shlex.quote(str(run))}" in out
    lines = err.splitlines()
    assert lines[0].startswith("12 tunes; 0 refused")
    progress = [line.split()[:2] for line in lines if "left in this phase" in line]
    phases = [
        ["mle", "1/2"],
        ["mle", "2/2"],
        ["discriminator", "1/2"],
        ["discriminator", "2/2"],
        ["adversarial", "1/1"],
    ]
    assert progress == phases
    assert "\r" not in err, "no moving line where there is no terminal"


def test_objectives_and_lambda_reach_the_reward(few_tunes, tiny_toml, tmp_path):
    words = ["train", few_tunes, "-c", tiny_toml, "--no-evaluate", "-s", "algorithm.rounds=1"]
    code, _, err = call(*words, "-o", tmp_path / "a", "-O", "tonality=2", "-O", "melodicity", "--lambda", 0.25)
    assert code == 0, err
    settings = Run(tmp_path / "a").settings
    assert settings["objectives"] == {"tonality": 2.0, "melodicity": 1.0}
    assert settings["reward"]["lambda"] == 0.25
    assert not (tmp_path / "a" / "report.json").exists()
    code, _, err = call(*words, "-o", tmp_path / "b", "-O", "tonality=3")
    assert Run(tmp_path / "b").settings["reward"]["lambda"] == 0.5
    assert "weights are relative" in err


def test_the_loss_of_the_discriminator_is_named_on_the_command_line(few_tunes, tiny_toml, tmp_path):
    run = tmp_path / "run"
    words = ["train", few_tunes, "-c", tiny_toml, "--no-evaluate", "-s", "algorithm.rounds=1", "-o", run]
    code, _, err = call(*words, "--d-loss", "wgan-clip", "-s", "loss.clip=0.05")
    assert code == 0, err
    assert Run(run).settings["loss"] == {"name": "wgan-clip", "clip": 0.05}
    weights = run_directory.stage_weights(run, "adversarial")["discriminator"]
    assert max(tensor.abs().max().item() for tensor in weights.values()) == pytest.approx(0.05)
    for line in run_directory.read_log(run)[2:]:
        assert line["d_loss"] < 1
        assert 0 <= line["d_accuracy"] <= 1
    code, _, err = call("generate", run, "--best-of", 2, "-o", tmp_path / "out")
    assert code == 2
    assert "trained by loss 'wgan-clip', whose score is no logit" in err


def test_the_algorithm_of_the_command_line_replaces_the_preset_s(few_tunes, tmp_path):
    words = ["-p", "quick", "-a", "mle", "-s", "algorithm.epochs=1", "-s", "data.length=16", "--no-evaluate"]
    code, _, err = call("train", few_tunes, *words, "-o", tmp_path / "run")
    assert code == 0, err
    assert Run(tmp_path / "run").settings["algorithm"]["name"] == "mle"


def test_training_says_how_long_it_takes_and_keeps_to_a_given_time(few_tunes, tiny_toml, tmp_path, monkeypatch):
    from seqgan_music import timing

    words = ["train", few_tunes, "-c", tiny_toml, "--no-evaluate"]
    code, _, err = call(*words, "-o", tmp_path / "a")
    assert code == 0, err
    assert "about " in err
    assert ": at most 2 likelihood epochs 0:0" in err
    costs = timing.Costs({"mle": 3.0, "discriminator": 3.0, "adversarial": 3.0})
    monkeypatch.setattr(timing, "measure", lambda *_, **__: costs)
    code, _, err = call(*words, "-o", tmp_path / "b", "--minutes", 0.2, "-s", "algorithm.discriminator_sets=1")
    assert code == 0, err
    assert "algorithm.discriminator_sets as set, not fitted to 0.2 minutes" in err
    assert "about 9 seconds: at most 1 likelihood epoch 0:03, 1 discriminator set 0:03, 1 round 0:03" in err
    assert [line["phase"] for line in run_directory.read_log(tmp_path / "b")] == ["mle", "discriminator", "adversarial"]


def test_a_run_is_exported_and_started_from(tiny_run, few_tunes, tiny_toml, tmp_path):
    code, out, err = call("export", tiny_run.directory, tmp_path / "small", "--stage", "mle")
    assert code == 0, err
    assert out.startswith(f"{tmp_path / 'small'}: 0.0 MB, stage mle, weights ")
    shutil.copytree(few_tunes, tmp_path / "midi")
    odd = midi.read(next(iter(sorted(few_tunes.iterdir()))))
    midi.write(dataclasses.replace(odd, metre=(5, 4)), tmp_path / "midi" / "odd.mid")
    high = [dataclasses.replace(note, pitch=note.pitch + 24) for note in odd.notes]
    midi.write(dataclasses.replace(odd, notes=high[:-1]), tmp_path / "midi" / "high.mid")
    words = ["--init", tmp_path / "small", "-c", tiny_toml, "--no-evaluate", "-s", "algorithm.rounds=1"]
    code, _, err = call("train", tmp_path / "midi", *words, "-o", tmp_path / "run")
    assert code == 0, err
    assert "refused: 1 × metre outside the vocabulary, such as odd.mid (5/4, where there are " in err
    assert "1 tune moved by octaves into the range of its tokenizer" in err
    assert "starting from small (mle), with a new discriminator: " in err
    init = Run(tmp_path / "run").facts["init"]
    assert init["weights"] == out.split()[-1]
    assert init["octaves"] == {"high.mid": -2} or init["octaves"] == {"high.mid": -1}


def test_generate_writes_files_that_depend_on_the_seed_alone(tiny_run, tmp_path):
    code, out, _ = call("generate", tiny_run.directory, "-n", 3, "-o", tmp_path / "a" / "b", "--seed", 5)
    assert code == 0
    assert out == f"3 melodies in {tmp_path / 'a' / 'b'}\n"
    names = ["sample-01.mid", "sample-02.mid", "sample-03.mid"]
    assert sorted(file.name for file in (tmp_path / "a" / "b").iterdir()) == names
    call("generate", tiny_run.directory, "-n", 3, "-o", tmp_path / "c", "--seed", 5)
    call("generate", tiny_run.directory, "-n", 3, "-o", tmp_path / "d", "--seed", 6)
    content = {folder: [(tmp_path / folder / name).read_bytes() for name in names] for folder in ("a/b", "c", "d")}
    assert content["a/b"] == content["c"] != content["d"]


def test_every_option_of_generate_reaches_the_run(tiny_run, tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr(Run, "generate", lambda self, n, **options: asked.update(n=n, **options) or [])
    words = "-n 2 --seed 3 --temperature 0.5 --top-k 4 --top-p 0.6 --metre 6/8 --bars 7 --stage mle --device cpu"
    more = "--prime a.mid --tempo 90.5 --program violin --best-of 3"
    code, _, _ = call("generate", tiny_run.directory, "-o", tmp_path / "out", *words.split(), *more.split())
    assert code == 0
    expected = {"n": 2, "seed": 3, "temperature": 0.5, "top_k": 4, "top_p": 0.6, "metre": (6, 8), "bars": 7}
    expected |= {"prime": Path("a.mid"), "tempo": 90.5, "program": "violin", "best_of": 3}
    assert asked == expected | {"stage": "mle", "device": "cpu"}


def test_generate_writes_what_is_asked_for_and_says_what_was_there_before(tiny_run, few_tunes, tmp_path):
    words = ["generate", tiny_run.directory, "-o", tmp_path / "out"]
    code, out, err = call(*words, "-n", 2, "--format", "png, wav", "--soundfont", midi.soundfont())
    assert code == 0
    names = ["sample-01.png", "sample-01.wav", "sample-02.png", "sample-02.wav"]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == names
    assert out == f"2 melodies in {tmp_path / 'out'}\n"
    assert err.startswith(("sound: FluidSynth with ", "sound: sine waves by pretty_midi, as "))
    assert len(err.splitlines()) == 1
    prime = next(file for file in sorted(few_tunes.iterdir()) if midi.read(file).metre == (6, 8))
    code, out, err = call(*words, "-n", 1, "--prime", prime, "--format", "mid,png", "--program", "flute", "--tempo", 80)
    assert (code, err) == (0, "")
    assert out == f"1 melody in {tmp_path / 'out'}; 3 files there are not of them\n"
    piece = midi.read(tmp_path / "out" / "sample-01.mid")
    assert (piece.tempo, piece.parts[0].program) == (pytest.approx(80), 73)
    begin = midi.read(prime).notes.pitch
    assert piece.notes.pitch[: len(begin)].tolist() == begin.tolist()


def test_without_a_run_generate_takes_the_model_that_ships_with_the_package(tiny_run, tmp_path, monkeypatch):
    from seqgan_music import pretrained

    monkeypatch.setattr(pretrained, "directory", lambda: tiny_run.directory)
    code, out, err = call("generate", "-n", 2, "-o", tmp_path / "a")
    assert (code, out) == (0, f"2 melodies in {tmp_path / 'a'}\n")
    assert "the small model that ships with seqgan-music" in err
    assert "seqgan-music train" in err
    assert len(err.splitlines()) == 1
    call("generate", tiny_run.directory, "-n", 2, "-o", tmp_path / "b")
    assert (tmp_path / "a" / "sample-02.mid").read_bytes() == (tmp_path / "b" / "sample-02.mid").read_bytes()


def test_evaluate_prints_a_table_or_json_alone_and_keeps_it(own_run):
    code, out, _ = call("evaluate", own_run, "-n", 20)
    assert code == 0
    assert "| real " in out
    assert "reference windows" in out
    code, out, _ = call("evaluate", own_run, "-n", 20, "--json", "--seed", 1)
    values = json.loads(out)
    assert code == 0
    assert set(values["rows"]) == {"mle", "adversarial", "best", "real", "Markov-1", "Markov-2", "uniform"}
    assert values == json.loads((own_run / "report.json").read_text("utf-8"))
    assert values["facts"]["seed"] == 1


def test_evaluate_explains_its_columns(own_run):
    code, alone, _ = call("evaluate", "--explain")
    assert code == 0
    assert "BLEU-4" in alone
    assert "target: equal to real" in alone
    code, out, _ = call("evaluate", own_run, "-n", 20, "--explain")
    assert code == 0
    assert "| real " in out
    assert set(filter(None, alone.splitlines())) <= set(out.splitlines())
    code, _, err = call("evaluate")
    assert code == 2
    assert "name a run" in err


def test_evaluate_against_a_folder(own_run, few_tunes):
    (own_run / "report.json").unlink()
    code, out, _ = call("evaluate", own_run, "-n", 20, "--against", few_tunes, "--json")
    assert code == 0
    assert json.loads(out)["facts"]["against"] == str(few_tunes)
    assert not (own_run / "report.json").exists(), "that is measured against the run's own test tunes"
    code, out, _ = call("evaluate", few_tunes, "--against", few_tunes, "--length", 16, "-n", 20, "--json")
    assert code == 0
    assert str(few_tunes) in json.loads(out)["rows"]


def song(path):
    """Two bars of rest, then a sung scale four times, over chords and drums."""
    sung = [Note(2 * 1920 + 240 * n, 240, 60 + [0, 2, 4, 5, 7, 9, 11, 12][n % 8], part=1) for n in range(32)]
    chords = [Note(960 * n, 960, pitch) for n in range(12) for pitch in (72, 76, 79)]
    drums = [Note(480 * n, 120, 36, part=2) for n in range(24)]
    notes = sorted([*sung, *chords, *drums], key=lambda note: (note.onset, note.pitch, note.part))
    parts = (Part(0, name="Piano"), Part(52, name="Lead Vocal"), Part(0, drums=True, name="Drums"))
    midi.write(Piece(notes, title="A song", parts=parts), path)
    return path


def test_inspect_says_which_part_is_the_melody_why_and_what_is_left_out(tmp_path):
    file = song(tmp_path / "song.mid")
    code, out, _ = call("inspect", file, "--verbose")
    assert code == 0
    assert "song.mid: part 2 'Lead Vocal' (program 52, 32 notes): named as melody\n" in out
    assert "left out: part 1 'Piano' (program 0, 36 notes)" in out
    assert "left out: drums (24 notes)" in out
    assert "left out: 2 bars in which the melody is silent" in out
    assert "1 tune, 32 notes" in out
    listed = json.loads(call("inspect", file, "--verbose", "--json", "--track", "piano")[1])["files"]
    assert listed[0]["why"] == "--track piano, its skyline"
    assert "36 notes" in listed[0]["part"]
    _, out, _ = call("inspect", file, "--verbose", "--skyline")
    assert "song.mid: 2 parts together (68 notes): --skyline of all parts\n" in out
    code, _, err = call("inspect", file, "--limit", "notes=80")
    assert code == 2
    assert "too many notes" in err


def test_inspect_says_what_the_tokens_of_a_tokenizer_lose(few_tunes):
    code, out, err = call("inspect", few_tunes, "--tokenizer", "pitch")
    assert code == 0, err
    assert "; lost in " in out
    assert "onsets off the grid" not in out
    lost = json.loads(call("inspect", few_tunes, "--tokenizer", "pitch", "--json")[1])["lost"]
    assert lost["unheard"] > lost["rests"] >= 0
    assert call("inspect", few_tunes, "--tokenizer", "note", "--steps-per-quarter", 12)[0] == 0
    code, _, err = call("inspect", few_tunes, "--tokenizer", "pitch", "--steps-per-quarter", 12)
    assert code == 2
    assert "steps_per_quarter" in err


def test_the_way_files_are_read_is_kept_with_the_run_and_used_again(tmp_path, few_tunes):
    folder = tmp_path / "midi"
    shutil.copytree(few_tunes, folder)
    song(folder / "song.mid")
    options = ["-s", "generator.hidden=8", "-s", "data.length=16", "--no-evaluate"]
    quick = ["-a", "mle", "-s", "algorithm.epochs=1", "--run", tmp_path / "run"]
    code, _, err = call("train", folder, *options, *quick, "--skyline", "--limit", "seconds=9")
    assert code == 0, err
    kept = config.read_config(tmp_path / "run" / "config.toml")["reading"]
    assert (kept["skyline"], kept["max_seconds"], kept["max_notes"]) == (True, 9.0, 50_000)
    code, _, err = call("evaluate", tmp_path / "run", "--against", folder, "--track", "2")
    assert code == 2
    assert "leave out track" in err
    assert call("evaluate", tmp_path / "run", "-n", 20, "--against", folder)[0] == 0


def test_inspect_counts_what_would_be_used_and_names_what_is_refused(few_tunes, tmp_path):
    shutil.copytree(few_tunes, tmp_path / "midi")
    for number in range(7):
        (tmp_path / "midi" / f"bad {number}.mid").write_bytes(b"")
    code, out, _ = call("inspect", tmp_path / "midi")
    assert code == 0
    assert out.startswith("12 tunes, ")
    assert "metres: 2/4 (" in out
    assert "empty file (7):" in out
    assert "bad 0.mid" in out
    assert "and 2 more; --verbose" in out
    code, out, _ = call("inspect", tmp_path / "midi", "--json", "--length", 16)
    facts = json.loads(out)
    assert code == 0
    assert facts["tunes"] == 12
    assert [file["path"] for file in facts["refused"]["empty file"]] == [f"bad {number}.mid" for number in range(7)]
    assert facts["windows"] > json.loads(call("inspect", few_tunes, "--json")[1])["windows"]


def test_inspecting_a_folder_of_which_the_grid_can_say_nothing(tmp_path):
    notes = tuple(Note(480 * i + 50, 100, 60 + i) for i in range(8))
    midi.write(Piece(notes), tmp_path / "swing.mid")
    code, out, _ = call("inspect", tmp_path)
    assert code == 0
    assert out.startswith("0 tunes, ")
    assert "rhythm off the grid (1):" in out


def test_list_names_every_component_with_its_options():
    code, out, _ = call("list")
    assert code == 0
    words = ["seqgan", "mle", "lstm", "cnn", "grid", "bce", "tonality", "ryansMammoth", *config.preset_names()]
    assert not [word for word in words if f"  {word}" not in out]
    assert "rollouts = 16" in out


def test_corpus_writes_a_collection_and_says_what_was_left_out(tmp_path, monkeypatch):
    from seqgan_music.errors import PieceRefused

    piece = Piece(tuple(Note(240 * n, 240, 60 + n) for n in range(8)), title="Sailor's Hornpipe")
    monkeypatch.setattr(scores, "corpus_sources", lambda name: [name])
    monkeypatch.setattr(
        scores, "source_pieces", lambda _, corpus: [("1", piece), ("2", PieceRefused("not monophonic", "chords"))]
    )
    code, out, err = call("corpus", "ryansMammoth", tmp_path / "new" / "folder", "--processes", 1)
    assert code == 0
    assert out.startswith(f"1 tunes written to {tmp_path / 'new' / 'folder'}\n1 left out:\n  1 × not monophonic")
    assert "public domain" in out.splitlines()[-1]
    assert "ryansMammoth" in err, "the name stands before the progress bar"
    assert [file.name for file in (tmp_path / "new" / "folder").iterdir()] == ["0001-sailors-hornpipe.mid"]


MISUSE = {
    "no such verb": (["frobnicate"], "'frobnicate'"),
    "no such option": (["train", "--frobnicate"], "--frobnicate"),
    "no folder": (["train"], "name a folder of MIDI"),
    "missing folder": (["train", "{tmp}/nowhere"], "no such file or folder: {tmp}/nowhere"),
    "empty folder": (["train", "{tmp}/empty"], "no .kar, .mid, .midi files in {tmp}/empty"),
    "one tune": (["train", "{tmp}/one"], "only 1 usable piece"),
    "no MIDI": (["train", "{tmp}/tiny.toml"], "neither a folder nor a file whose name ends in .kar, .mid, .midi"),
    "preset": (["train", "{midi}", "-p", "fast"], "unknown preset 'fast'; there are: default"),
    "config": (["train", "{midi}", "-c", "{tmp}/none.toml"], "none.toml"),
    "objective": (["train", "{midi}", "-O", "tonalty"], "did you mean 'tonality'"),
    "weight": (["train", "{midi}", "-O", "foo=bar"], "objective 'foo=bar': the weight 'bar' is not a number"),
    "weight in front": (["train", "{midi}", "-O", "tonality=0.5~0.3"], "'tonality=0.5~0.3' cannot be read; write name"),
    "objective twice": (["train", "{midi}", "-O", "tonality", "-O", "tonality=2"], "-O tonality is given twice"),
    "no target": (["train", "{midi}", "-O", "note_density~2"], "2 lies outside [0, 1]"),
    "own objective": (["train", "{midi}", "-O", "nowhere.py:warmth=2"], "no such file: nowhere.py"),
    "only a file": (["train", "{midi}", "-O", "./mine.py=2"], "which function or class of it; write ./mine.py:name"),
    "weight without end": (["train", "{midi}", "-O", "tonality=inf"], "is not a number"),
    "negative weight": (["train", "{midi}", "-O", "tonality=-1"], "must not be negative"),
    "algorithm": (["train", "{midi}", "-a", "seqgun"], "did you mean 'seqgan'"),
    "loss": (["train", "{midi}", "--d-loss", "wgan-pg"], "unknown loss 'wgan-pg'; did you mean 'wgan-gp'"),
    "option of the loss": (["train", "{midi}", "-s", "loss.clip=1"], "loss 'bce' has no option 'clip'"),
    "no clipping": (["train", "{midi}", "--d-loss", "wgan-clip", "-s", "loss.clip=0"], "loss.clip must be above 0"),
    "resume and a loss": (["train", "--resume", "{run}", "--d-loss", "lsgan"], "leave out --d-loss"),
    "option of the algorithm": (["train", "{midi}", "-s", "algorithm.roundz=2"], "did you mean 'rounds'"),
    "value": (["train", "{midi}", "-s", "algorithm.rounds=many"], "rounds must be a whole number, not 'many'"),
    "length of a window": (
        ["train", "{midi}", "-s", "data.length=abc"],
        "data.length must be a whole number, not 'abc'",
    ),
    "seed as a text": (["train", "{midi}", "-s", "run.seed=abc"], "run.seed must be a whole number, not 'abc'"),
    "huge seed": (["train", "{midi}", "-s", "run.seed=99999999999999999999"], "run.seed must lie within"),
    "fractions": (["train", "{midi}", "-s", "data.fractions=abc"], "data.fractions must be a list"),
    "share": (["train", "{midi}", "-s", "data.fractions=['a', 'b', 'c']"], "data.fractions: each of the list"),
    "weight as a text": (["train", "{midi}", "-s", "objectives.tonality=high"], "weight of objective 'tonality'"),
    "metres": (["train", "{midi}", "-s", "tokenizer.metres=abc"], "tokenizer.metres must be pairs"),
    "filters": (["train", "{midi}", "-s", "discriminator.filters=[1, 2]"], "discriminator.filters must be pairs"),
    "negative clip": (["train", "{midi}", "-s", "algorithm.clip=-1"], "algorithm.clip must be 0 or more"),
    "negative rounds": (["train", "{midi}", "-s", "algorithm.rounds=-1"], "algorithm.rounds must be 0 or more"),
    "endless temperature": (["generate", "{run}", "--temperature", "inf"], "temperature must lie in"),
    "section": (["train", "{midi}", "-s", "algorithms.rounds=2"], "unknown section [algorithms]"),
    "assignment": (["train", "{midi}", "-s", "rounds=2"], "section.option=value"),
    "lambda": (["train", "{midi}", "-O", "tonality", "--lambda", "2"], "lambda must lie in [0, 1]"),
    "lambda without objective": (["train", "{midi}", "--lambda", "0.5"], "lambda below 1 needs an objective"),
    "own code": (["train", "{midi}", "-s", "generator.name=nowhere.py:Net"], "no such file: nowhere.py"),
    "in use": (["train", "{midi}", "-o", "{run}"], "is not empty"),
    "a file in the way": (["train", "{midi}", "-o", "{tmp}/tiny.toml"], "is a file"),
    "resume and a folder": (["train", "{midi}", "--resume", "{run}"], "leave out MIDI_FOLDER"),
    "resume and a setting": (["train", "--resume", "{run}", "--seed", "0", "-s", "a.b=1"], "leave out --set, --seed"),
    "resume and a start": (["train", "--resume", "{run}", "--init", "{run}"], "leave out --init"),
    "resume and a time": (["train", "--resume", "{run}", "--minutes", "3"], "leave out --minutes"),
    "resume and seeds": (["train", "--resume", "{run}", "--seeds", "3"], "leave out --seeds"),
    "no seeds": (["train", "{midi}", "--seeds", "0"], "--seeds"),
    "seeds beyond the last": (["train", "{midi}", "--seeds", "2", "--seed", str(2**63 - 1)], "run.seed must lie"),
    "group in use": (["train", "{midi}", "--seeds", "2", "-o", "{run}"], "is not empty"),
    "no time": (["train", "{midi}", "--minutes", "0"], "minutes must be above 0"),
    "start from no run": (["train", "{midi}", "--init", "{midi}"], "is not a run"),
    "another vocabulary": (["train", "{midi}", "--init", "{run}", "-s", "tokenizer.low=1"], "tokenizer.low=1"),
    "another size": (["train", "{midi}", "--init", "{run}", "-s", "generator.hidden=8"], "generator.hidden=8"),
    "export of no run": (["export", "{midi}", "{tmp}/new"], "is not a run"),
    "export into a run": (["export", "{run}", "{run}"], "is in use"),
    "resume of no run": (["train", "--resume", "{midi}"], "is not a run"),
    "generate of no run": (["generate", "{midi}"], "is not a run"),
    "metre": (["generate", "{run}", "--metre", "six"], "'six' is not a metre; write it as 6/8"),
    "digits": (["generate", "{run}", "--metre", "²/4"], "is not a metre"),
    "unknown metre": (["generate", "{run}", "--metre", "7/8"], "knows no metre 7/8"),
    "stage": (["generate", "{run}", "--stage", "worst"], "worst"),
    "bars": (["generate", "{run}", "--bars", "0"], "number of bars"),
    "format": (["generate", "{run}", "--format", "mid,mp3"], "unknown format 'mp3'; there are: mid, wav, png"),
    "no format": (["generate", "{run}", "--format", ","], "no format; there are: mid"),
    "soundfont": (["generate", "{run}", "--format", "wav", "--soundfont", "{tmp}/tiny.toml"], "is not a soundfont"),
    "soundfont for MIDI": (["generate", "{run}", "--soundfont", "{tmp}/tiny.toml"], "ask for it with --format wav"),
    "no prime": (["generate", "{run}", "--prime", "{tmp}/none.mid"], "cannot continue {tmp}/none.mid: not a file"),
    "tempo": (["generate", "{run}", "--tempo", "nan"], "tempo must lie in 4..1000"),
    "instrument": (["generate", "{run}", "--program", "vilin"], "did you mean 'violin'"),
    "best of none": (["generate", "{run}", "--best-of", "0"], "best-of must be at least 1"),
    "best of bars": (["generate", "{run}", "--best-of", "2", "--bars", "3"], "leave out bars and prime"),
    "seed": (["generate", "{run}", "--seed", "99999999999999999999"], "seed"),
    "negative seed": (["evaluate", "{run}", "--seed", "-1"], "seed"),
    "samples": (["evaluate", "{run}", "-n", "1"], "samples"),
    "temperature": (["evaluate", "{run}", "--temperatures", "0.6:1.4"], "write numbers with commas, such as 0.6,0.8"),
    "no temperature": (["evaluate", "{run}", "--temperatures", ""], "write numbers with commas"),
    "temperature of 0": (["evaluate", "{run}", "--temperatures", "0,1"], "temperature must lie in"),
    "temperature of a folder": (["evaluate", "{midi}", "--temperatures", "1"], "not a run; --temperatures needs one"),
    "temperature against": (["evaluate", "{run}", "--temperatures", "1", "--against", "{midi}"], "leave out --against"),
    "temperature dumped": (["evaluate", "{run}", "--temperatures", "1", "--dump", "{tmp}/d"], "leave out --against"),
    "curve of a stage": (["evaluate", "{run}", "--stage", "mle"], "name the temperatures with --temperatures"),
    "dump of a folder": (["evaluate", "{midi}", "--dump", "{tmp}/d"], "is not a run; --dump needs one"),
    "evaluate nothing": (["evaluate", "{tmp}/nowhere"], "no such run or folder: {tmp}/nowhere"),
    "evaluate without music": (["evaluate", "{midi}"], "--against"),
    "inspect nothing": (["inspect", "{tmp}/nowhere"], "no such file or folder"),
    "length": (["inspect", "{midi}", "--length", "0"], "length"),
    "grid": (["inspect", "{midi}", "--steps-per-quarter", "0"], "steps_per_quarter"),
    "corpus": (["corpus", "nottingham", "{tmp}/out"], "unknown corpus 'nottingham'; there are: ryansMammoth"),
    "corpus with a condition": (["corpus", "essenFolksong", "{tmp}/out"], "To agree, add --accept-licence"),
}


@pytest.mark.parametrize("case", MISUSE)
def test_misuse_is_one_line_on_stderr_and_exit_code_2(case, few_tunes, tiny_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "one").mkdir()
    shutil.copy(next(few_tunes.iterdir()), tmp_path / "one")
    (tmp_path / "tiny.toml").write_text("")
    before = sorted(tmp_path.rglob("*"))
    places = {"tmp": tmp_path, "midi": few_tunes, "run": tiny_run.directory}
    words, says = MISUSE[case]
    code, out, err = call(*(word.format(**places) for word in words))
    assert code == 2
    assert out == ""
    assert says.format(**places) in err
    assert err.startswith("seqgan-music: ")
    assert len(err.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before, "nothing is left behind"


def test_a_folder_with_broken_files_alone_is_refused_with_the_reasons_before_any_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "midi").mkdir()
    (tmp_path / "midi" / "a.mid").write_bytes(b"")
    (tmp_path / "midi" / "b.mid").write_text("not music")
    for verb in ("train", "inspect"):
        code, out, err = call(verb, "midi")
        assert (code, out) == (2, "")
        assert "1 × empty file, such as a.mid" in err
        assert "1 × not MIDI, such as b.mid" in err
    assert [file.name for file in tmp_path.iterdir()] == ["midi"]


def test_what_cannot_be_written_is_exit_code_1(tiny_run, tmp_path):
    (tmp_path / "file").write_text("in the way")
    code, _, err = call("generate", tiny_run.directory, "-o", tmp_path / "file")
    assert code == 1
    assert err.startswith(f"seqgan-music: cannot make the folder {tmp_path / 'file'}: ")


def test_a_damaged_run_is_exit_code_1(own_run, tmp_path):
    (own_run / "windows.safetensors").write_bytes(b"")
    code, _, err = call("generate", own_run, "-o", tmp_path / "out")
    assert code == 1
    assert "windows.safetensors" in err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb):
    for flag in ("-h", "--help"):
        code, out, _ = call(verb, flag)
        assert code == 0
        assert out.startswith(f"Usage: seqgan-music {verb}")
    described = out.split("Options:")[1]
    assert described.count("--") >= 1
    assert verb in call("--help")[1]


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_has_a_help_text(verb):
    command = main.get_command(None, verb)
    assert command.help
    assert not [
        parameter.name for parameter in command.params if parameter.param_type_name == "option" and not parameter.help
    ]


def test_list_is_told_in_the_same_words_by_both_helps():
    assert main.get_command(None, "list").help == VERBS["list"]


def test_the_module_is_the_command(tmp_path):
    for words, says in [(["--help"], "Usage: seqgan-music"), (["--version"], "0.")]:
        done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, cwd=tmp_path, check=True)
        assert says in done.stdout
    done = subprocess.run([*COMMAND, "train", "nowhere"], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "seqgan-music: no such file or folder: nowhere\n"


def test_ctrl_c_saves_and_prints_the_command_that_goes_on(few_tunes, tiny_toml, tmp_path):
    words = ["train", str(few_tunes), "-c", str(tiny_toml), "-o", "my rüns/-first", "-s", "algorithm.rounds=40"]
    process = subprocess.Popen(
        [*COMMAND, *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )
    for line in process.stderr:
        if line.startswith("adversarial   2/"):
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert out == ""
    assert "stopped; everything up to the last line is saved" in err
    command = shlex.split(err.strip().splitlines()[-1])
    assert command[:3] == ["seqgan-music", "train", "--resume"]
    done_so_far = len((tmp_path / "my rüns" / "-first" / "metrics.jsonl").read_text("utf-8").splitlines())
    assert 6 <= done_so_far < 44
    resumed = subprocess.run(
        [*COMMAND, *command[1:], "--no-evaluate"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert resumed.returncode == 0, resumed.stderr
    assert "going on with" in resumed.stderr
    log = (tmp_path / "my rüns" / "-first" / "metrics.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["step"] for line in log[4:]] == list(range(1, 41))
    assert len(list((tmp_path / "my rüns" / "-first" / "samples" / "adversarial").iterdir())) == 8


def test_names_with_spaces_accents_and_a_leading_dash(few_tunes, tiny_toml, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(few_tunes, "-été à la mer")
    code, _, err = call("train", "-c", tiny_toml, "-o", "-mon run", "--no-evaluate", "--", "-été à la mer")
    assert code == 0, err
    code, out, err = call("train", "-c", tiny_toml, "-o", "-mon run 2", "--no-evaluate", "./-été à la mer")
    assert code == 0, err
    printed = shlex.split(out.splitlines()[-1].partition(": ")[2])
    assert printed[:2] == ["seqgan-music", "generate"]
    code, out, err = call(*printed[1:3], "-n", 1, "-o", "-où?")
    assert code == 0, err
    assert Path("-où?/sample-01.mid").exists()
    assert call("inspect", "--", "-été à la mer")[0] == 0


def test_the_newest_run_can_be_named_latest(few_tunes, tiny_toml, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in (1, 2):
        words = ["-c", tiny_toml, "-a", "seqgan", "-s", "algorithm.rounds=1", "--no-evaluate", "--seed", seed]
        assert call("train", few_tunes, *words)[0] == 0
    runs = sorted(path for path in Path("runs").iterdir() if path.name != "latest")
    assert len(runs) == 2
    assert all(run.name.removesuffix("-2").endswith("-seqgan") for run in runs)
    assert Run("runs/latest").settings["run"]["seed"] == 2
    assert call("generate", "runs/latest", "-n", 1, "-o", "out")[0] == 0


def test_a_reader_that_has_gone_is_no_error():
    done = subprocess.run(
        f"{shlex.join(COMMAND)} list | head -1", shell=True, capture_output=True, text=True, check=True
    )
    assert done.stdout == "tokenizer:\n"
    assert "Traceback" not in done.stderr


def test_the_order_of_settings_of_one_section_does_not_matter(few_tunes, tiny_toml, tmp_path):
    words = ["-s", "algorithm.epochs=1", "-s", "algorithm.name=mle", "--no-evaluate"]
    code, _, err = call("train", few_tunes, "-c", tiny_toml, "--run", tmp_path / "run", *words)
    assert code == 0, err
    assert [line["of"] for line in run_directory.read_log(tmp_path / "run")] == [1]


def test_objectives_have_a_place_in_the_lines_of_a_training(capsys):
    values = {"g_loss": 1.0, "reward_mean": 0.5, "entropy": 2.0, "seconds": 1.0, "undefined_tonality": 0.0}
    values |= {f"objective_{name}": 0.25 for name in ("tonality", "note_density~0.3", "cadence>=0.4", "syncopation")}
    Progress().show(Record("adversarial", 1, 2, values), [])
    line = capsys.readouterr().err
    shown = "g_loss 1  reward_mean 0.5  tonality 0.25  note_density~0.3 0.25  cadence>=0.4 0.25  entropy 2  ("
    assert shown in line, "few, for a line has little room"
