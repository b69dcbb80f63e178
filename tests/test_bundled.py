"""music21's corpora as folders of MIDI: names, duplicates, conditions, progress, and stopping in between."""

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from seqgan_music_cli import corpus as verb
from seqgan_music_cli.main import main

from seqgan_music import files, midi, scores
from seqgan_music.bundled import write_corpus
from seqgan_music.corpus import read_corpus, summary
from seqgan_music.errors import Failure, PieceRefused, UsageError
from seqgan_music.notes import Note, Piece

TUNES = Path(__file__).parent.parent / "midi_data"


def tune(seed, length=8):
    return Piece(tuple(Note(240 * n, 240, 60 + (seed + n * n) % 24) for n in range(length)), title=f"Tune {seed}")


@pytest.fixture
def collection(monkeypatch):
    """Make ryansMammoth and essenFolksong out of some outcomes."""

    def made_of(outcomes):
        sources = [scores.Source(f"file{number}.abc", None) for number in range(len(outcomes))]
        by_name = {source.identifier: outcome for source, outcome in zip(sources, outcomes, strict=True)}
        monkeypatch.setattr(scores, "corpus_sources", lambda name: sources)
        monkeypatch.setattr(
            scores, "source_pieces", lambda source, corpus: [(source.identifier, by_name[source.identifier])]
        )

    return made_of


def test_a_collection_is_written_under_safe_names(tmp_path, collection):
    outcomes = [
        replace(tune(1), title="Größe & ../Élan's"),
        PieceRefused("not monophonic", "has chords"),
        replace(tune(2), title="", key="A dorian"),
        replace(tune(1), title="Again"),
        replace(tune(3), title="亀"),
        replace(tune(4), title="long " * 40),
    ]
    collection(outcomes)
    told = []
    written = write_corpus("ryansMammoth", tmp_path / "new" / "folder", progress=lambda *counts: told.append(counts))
    assert written.names[:3] == ("0001-groe-elans.mid", "0003-file2-abc.mid", "0005-untitled.mid")
    assert all(name.isascii() and len(name) <= 60 for name in written.names)
    assert [(refusal.path, refusal.reason) for refusal in written.refusals] == [
        ("file1.abc", "not monophonic"),
        ("file3.abc", "duplicate"),
    ]
    assert summary(written.refusals).startswith("1 × duplicate, such as file3.abc (same notes as file0.abc); 1 × not")
    assert told == [(done, 6) for done in range(7)]
    assert sorted(file.name for file in (tmp_path / "new" / "folder").iterdir()) == sorted(written.names)
    again = read_corpus(tmp_path / "new" / "folder")
    assert again.names == written.names
    assert again.pieces[0] == outcomes[0]
    assert again.pieces[1].key == "A dorian"


def test_real_tunes_are_written_as_they_are_shipped(tmp_path, monkeypatch):
    chosen = scores.corpus_sources("ryansMammoth")[:3]
    monkeypatch.setattr(scores, "corpus_sources", lambda name: chosen)
    written = write_corpus("ryansMammoth", tmp_path)
    assert len(written.names) == 3
    for name in written.names:
        assert (tmp_path / name).read_bytes() == (TUNES / name).read_bytes()


def test_a_source_that_takes_its_process_down_is_left_out(tmp_path, monkeypatch, collection):
    from seqgan_music import bundled
    from seqgan_music.processes import Lost

    collection([tune(1), tune(2)])
    results = [Lost("took more than 60 seconds"), [("file1.abc", tune(2))]]
    monkeypatch.setattr(bundled, "in_processes", lambda function, items, processes: iter(results))
    written = write_corpus("ryansMammoth", tmp_path)
    assert written.names == ("0002-tune-2.mid",)
    (refusal,) = written.refusals
    assert (refusal.path, refusal.reason, refusal.detail) == (
        *("file0.abc", "cannot be read", "took more than 60 seconds"),
    )


def test_a_condition_has_to_be_agreed_to_and_is_left_beside_the_files(tmp_path, collection):
    collection([tune(1)])
    with pytest.raises(UsageError, match=r"non-commercial.*--accept-licence") as raised:
        write_corpus("essenFolksong", tmp_path / "essen")
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())
    write_corpus("essenFolksong", tmp_path / "essen", accept_licence=True)
    licence = " ".join((tmp_path / "essen" / "LICENCE.txt").read_text("utf-8").split())
    assert scores.CORPORA["essenFolksong"].condition in licence
    assert scores.CORPORA["essenFolksong"].rights in licence
    assert read_corpus(tmp_path / "essen").names == ("0001-tune-1.mid",)


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1), ("", 1)])
def test_on_a_terminal_one_is_asked(answer, code, tmp_path, monkeypatch, collection):
    collection([tune(1)])
    monkeypatch.setattr(verb, "_asks", lambda: True)
    done = CliRunner().invoke(main, ["corpus", "essenFolksong", str(tmp_path / "out")], input=answer)
    assert done.exit_code == code
    assert "has given permission for non-commercial distribution" in done.stderr
    assert (tmp_path / "out" / "LICENCE.txt").exists() == (code == 0)
    assert "Traceback" not in done.output


def test_an_option_agrees_without_a_question(tmp_path, collection):
    collection([tune(1)])
    done = CliRunner().invoke(main, ["corpus", "essenFolksong", str(tmp_path / "out"), "--accept-licence"])
    assert done.exit_code == 0
    assert "Do you agree" not in done.output
    assert "non-commercial use alone" in done.stdout


def test_stopping_leaves_whole_files_and_nothing_else(tmp_path, collection):
    collection([tune(seed) for seed in range(4)])

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_corpus("ryansMammoth", tmp_path, progress=stop)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["0001-tune-0.mid", "0002-tune-1.mid"]
    assert [midi.read(file) for file in sorted(tmp_path.iterdir())] == [tune(0), tune(1)]


def test_a_folder_that_cannot_be_made(tmp_path, collection):
    collection([tune(1)])
    (tmp_path / "file").write_text("")
    with pytest.raises(Failure, match="cannot make the folder"):
        write_corpus("ryansMammoth", tmp_path / "file")


def test_a_file_is_whole_or_not_there(tmp_path, monkeypatch):
    files.write_whole(tmp_path / "a", b"old")
    for error, raised in [(KeyboardInterrupt, KeyboardInterrupt), (OSError(28, "No space left on device"), Failure)]:

        def fail(_, error=error):
            raise error

        monkeypatch.setattr(files.os, "fsync", fail)
        with pytest.raises(raised):
            files.write_whole(tmp_path / "a", b"new")
        assert (tmp_path / "a").read_bytes() == b"old"
        assert [file.name for file in tmp_path.iterdir()] == ["a"]
    monkeypatch.undo()
    files.write_whole(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
