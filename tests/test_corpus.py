"""Folders of MIDI files, what is refused in them, and how they are split."""

import subprocess
import sys
from dataclasses import replace

import pytest

from seqgan_music import corpus, midi, scores
from seqgan_music.bundled import write_corpus
from seqgan_music.corpus import read_corpus, refusals_by_reason, split, summary
from seqgan_music.errors import PieceRefused, UsageError
from seqgan_music.notes import Note, Piece


def tune(seed, length=8):
    return Piece(tuple(Note(240 * n, 240, 60 + (seed + n * n) % 24) for n in range(length)), title=f"Tune {seed}")


def folder_of(tmp_path, names):
    for seed, name in enumerate(names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        midi.write(tune(seed), tmp_path / name)
    return tmp_path


def test_a_folder_is_read_in_order_with_its_subfolders(tmp_path):
    names = ["b.mid", "a.MID", "deep/er/c.midi", "deep/Ünïcode 🎻.MiDi", "-rf.mid", "two words.mid"]
    found = read_corpus(folder_of(tmp_path, names))
    assert list(found.names) == sorted(names)
    assert len(found) == len(found.pieces) == 6
    assert found.refusals == ()
    assert found.pieces[found.names.index("b.mid")] == tune(0)


def test_what_is_no_midi_file_by_name_or_hidden_is_passed_over(tmp_path):
    folder_of(tmp_path, ["a.mid", ".hidden.mid", ".git/b.mid", "sub/.c.mid"])
    (tmp_path / "notes.txt").write_text("text")
    assert read_corpus(tmp_path).names == ("a.mid",)


def test_one_file_is_a_corpus(tmp_path):
    folder_of(tmp_path, ["a.mid", "b.mid"])
    assert read_corpus(tmp_path / "b.mid").names == ("b.mid",)


def test_a_bad_file_does_not_stop_the_others(tmp_path):
    folder_of(tmp_path, ["a.mid", "z.mid"])
    (tmp_path / "bad.mid").write_bytes(b"")
    (tmp_path / "worse.mid").write_text("not music")
    (tmp_path / "x.mid").mkdir()
    midi.write(tune(7), tmp_path / "x.mid" / "inside.mid")
    (tmp_path / "broken.mid").symlink_to("nowhere.mid")
    found = read_corpus(tmp_path)
    assert found.names == ("a.mid", "x.mid/inside.mid", "z.mid")
    assert {(refusal.path, refusal.reason) for refusal in found.refusals} == {
        ("bad.mid", "empty file"),
        ("broken.mid", "not a file"),
        ("worse.mid", "not MIDI"),
    }
    assert refusals_by_reason(found) == {"empty file": 1, "not MIDI": 1, "not a file": 1}


def test_link_loops_end_and_links_are_followed_once(tmp_path):
    folder_of(tmp_path / "root", ["a.mid", "sub/b.mid"])
    folder_of(tmp_path / "elsewhere", ["x.mid", "y.mid", "c.mid"])
    (tmp_path / "root" / "sub" / "loop").symlink_to(tmp_path / "root", target_is_directory=True)
    (tmp_path / "root" / "away").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "root" / "self").symlink_to("self")
    found = read_corpus(tmp_path / "root")
    # x.mid and y.mid hold the same notes as a.mid and b.mid
    assert set(found.names) | {refusal.path for refusal in found.refusals} == {
        "a.mid",
        "sub/b.mid",
        "away/c.mid",
        "away/x.mid",
        "away/y.mid",
    }


def test_names_that_are_no_utf_8_can_be_printed(tmp_path):
    midi.write(tune(1), tmp_path / "a.mid")
    (tmp_path / "a.mid").rename(tmp_path / b"caf\xe9.mid".decode("utf-8", "surrogateescape"))
    found = read_corpus(tmp_path)
    assert found.names[0].encode() == b"caf\\udce9.mid"


def test_exact_duplicates_are_kept_out(tmp_path):
    midi.write(tune(1), tmp_path / "a.mid")
    midi.write(replace(tune(1), title="Another name", tempo=90.0), tmp_path / "b.mid")
    midi.write(replace(tune(1), metre=(2, 4)), tmp_path / "c.mid")
    found = read_corpus(tmp_path)
    assert found.names == ("a.mid", "c.mid")
    (refusal,) = found.refusals
    assert (refusal.path, refusal.reason) == ("b.mid", "duplicate")
    assert "a.mid" in refusal.detail


def test_the_digest_is_of_names_and_contents_of_what_is_used(tmp_path):
    folder_of(tmp_path, ["a.mid", "b.mid"])
    first = read_corpus(tmp_path).digest
    (tmp_path / "bad.mid").write_bytes(b"")
    assert read_corpus(tmp_path).digest == first
    midi.write(replace(tune(1), title="Renamed"), tmp_path / "b.mid")
    second = read_corpus(tmp_path).digest
    assert second != first
    (tmp_path / "b.mid").rename(tmp_path / "c.mid")
    assert read_corpus(tmp_path).digest not in {first, second}


def test_processes_do_not_change_what_is_read(tmp_path, monkeypatch):
    folder_of(tmp_path, [f"{n}.mid" for n in range(12)])
    (tmp_path / "bad.mid").write_bytes(b"MThd")
    alone = read_corpus(tmp_path)
    monkeypatch.setattr(corpus, "_WORTH_A_PROCESS", 4)
    assert read_corpus(tmp_path, processes=2) == alone
    with pytest.raises(UsageError, match="processes"):
        read_corpus(tmp_path, processes=-1)


def test_reading_imports_neither_torch_nor_music21():
    code = "import sys, seqgan_music.corpus; print({'torch', 'music21'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_paths_that_cannot_be_meant(tmp_path):
    (tmp_path / "tune.txt").write_text("text")
    (tmp_path / "empty").mkdir()
    for path, complaint in [
        (tmp_path / "missing", "no such file or folder: .*missing"),
        (tmp_path / "tune.txt", "neither a folder nor"),
        (tmp_path / "empty", r"no \.mid or \.midi files in .*empty"),
    ]:
        with pytest.raises(UsageError, match=complaint):
            read_corpus(path)


def test_nothing_usable_says_why(tmp_path):
    (tmp_path / "a.mid").write_bytes(b"")
    (tmp_path / "b.mid").write_bytes(b"")
    (tmp_path / "c.mid").write_bytes(b"hello")
    with pytest.raises(UsageError) as refusal:
        read_corpus(tmp_path)
    assert "2 × empty file, such as a.mid" in str(refusal.value)
    assert "1 × not MIDI, such as c.mid" in str(refusal.value)


# Splitting


@pytest.mark.parametrize("count", [3, 4, 5, 10, 97])
@pytest.mark.parametrize("fractions", [(0.8, 0.1, 0.1), (0.1, 0.45, 0.45), (0.98, 0.01, 0.01), (0.01, 0.01, 0.98)])
def test_every_piece_falls_into_one_part_and_no_part_is_empty(count, fractions):
    parts = split(range(count), fractions)
    assert list(parts) == ["train", "validation", "test"]
    assert sorted(number for part in parts.values() for number in part) == list(range(count))
    assert all(parts.values())


def test_a_split_follows_its_fractions_and_its_seed(tmp_path):
    parts = split(range(100), (0.7, 0.2, 0.1), seed=3)
    assert [len(part) for part in parts.values()] == [70, 20, 10]
    assert parts == split(range(100), (0.7, 0.2, 0.1), seed=3)
    assert parts != split(range(100), (0.7, 0.2, 0.1), seed=4)
    found = read_corpus(folder_of(tmp_path, [f"{n}.mid" for n in range(5)]))
    assert split(found) == split(range(5))
    assert set(split([10, 20, 30, 40])["train"]) < {10, 20, 30, 40}


@pytest.mark.parametrize(
    "fractions", [(0.8, 0.2), (0.8, 0.2, 0.0), (1.2, -0.1, -0.1), (0.5, 0.1, 0.1), (float("nan"),) * 3]
)
def test_senseless_fractions(fractions):
    with pytest.raises(UsageError, match="fractions"):
        split(range(10), fractions)


def test_too_few_pieces_to_split():
    with pytest.raises(UsageError, match="only 2 usable pieces"):
        split(range(2))


# Writing a collection


def test_a_collection_is_written_under_safe_names(tmp_path, monkeypatch):
    outcomes = [
        replace(tune(1), title="Größe & ../Élan's"),
        PieceRefused("not monophonic", "has chords"),
        replace(tune(2), title="", key="A dorian"),
        replace(tune(1), title="Again"),
        replace(tune(3), title="亀"),
        replace(tune(4), title="long " * 40),
    ]
    monkeypatch.setattr(scores, "corpus_files", lambda name: list(range(len(outcomes))))
    monkeypatch.setattr(scores, "file_pieces", lambda number: [(f"file{number}.abc", outcomes[number])])
    written = write_corpus("any", tmp_path / "new" / "folder")
    assert written.names[:3] == ("0001-groe-elans.mid", "0003-file2-abc.mid", "0005-untitled.mid")
    assert all(name.isascii() and len(name) <= 60 for name in written.names)
    assert [(refusal.path, refusal.reason) for refusal in written.refusals] == [
        ("file1.abc", "not monophonic"),
        ("file3.abc", "duplicate"),
    ]
    assert summary(written.refusals).startswith("1 × duplicate, such as file3.abc (same notes as file0.abc); 1 × not")
    again = read_corpus(tmp_path / "new" / "folder")
    assert again.names == written.names
    assert again.pieces[0] == outcomes[0]
    assert again.pieces[1].key == "A dorian"
