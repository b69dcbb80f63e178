"""Folders of MIDI files, what is refused in them, and how they are split."""

import os
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from seqgan_music import corpus, midi, processes
from seqgan_music.cache import Cache
from seqgan_music.corpus import read_corpus, split
from seqgan_music.errors import UsageError
from seqgan_music.midi import Reading
from seqgan_music.notes import Note, Part, Piece
from seqgan_music.processes import Lost


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
    monkeypatch.setattr(processes, "WORTH_A_PROCESS", 4)
    assert read_corpus(tmp_path, processes=2) == alone
    with pytest.raises(UsageError, match="processes"):
        read_corpus(tmp_path, processes=-1)


def test_a_reader_that_is_lost_costs_only_its_file(tmp_path, monkeypatch):
    folder_of(tmp_path / "midi", ["a.mid", "b.mid", "c.mid"])
    cache = Cache(tmp_path / "cache")

    def second_is_lost(function, items, processes, *, seconds):
        yield from (Lost("took more than 15 seconds") if "b.mid" in item else function(item) for item in items)

    monkeypatch.setattr(corpus, "in_processes", second_is_lost)
    found = read_corpus(tmp_path / "midi", cache=cache)
    assert found.names == ("a.mid", "c.mid")
    assert found.refusals == (corpus.Refusal("b.mid", "cannot be read", "reading it took more than 15 seconds"),)
    monkeypatch.undo()
    assert read_corpus(tmp_path / "midi", cache=cache).names == ("a.mid", "b.mid", "c.mid")  # it was not kept


# What was read before


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """A folder of several kinds of files, a cache, and the number of files that were interpreted since."""
    folder = tmp_path / "midi"
    folder_of(folder, [f"{n}.mid" for n in range(9)])
    parts = (Part(40), Part(0, True))
    midi.write(Piece([Note(0, 99, 60), Note(99, 9, 62), Note(0, 7, 38, 80, 1)], parts=parts), folder / "band.mid")
    (folder / "copy.mid").write_bytes((folder / "2.mid").read_bytes())
    (folder / "bad.mid").write_bytes(b"MThd")
    (folder / "empty.mid").write_bytes(b"")
    (folder / "sub.mid").mkdir()
    (folder / "link.mid").symlink_to("nowhere")

    class Cached:
        def __init__(self):
            self.folder, self.place, self.interpreted = folder, tmp_path / "cache", 0

        def read(self, **options):
            self.interpreted = 0
            return read_corpus(folder, cache=Cache(self.place), **options)

    this = Cached()
    interpret = midi.interpret

    def counted(*arguments, **options):
        this.interpreted += 1
        return interpret(*arguments, **options)

    monkeypatch.setattr(midi, "interpret", counted)
    return this


def test_a_second_reading_is_the_same_and_interprets_nothing(cached):
    plain = read_corpus(cached.folder)
    first = cached.read()
    assert cached.interpreted == 13
    assert cached.read() == first == plain
    assert cached.interpreted == 0
    assert len(first) == 10
    assert [piece.title for piece in first.pieces][-1] == "band"
    assert [refusal.reason for refusal in first.refusals] == ["cut short", "duplicate", "empty file", "not a file"]
    assert first.accounts[-1].left_out == ("drums (1 note)",)
    assert cached.read(duplicates=True) == read_corpus(cached.folder, duplicates=True)


def test_only_what_has_changed_is_read_anew(cached):
    before = cached.read()
    midi.write(tune(77), cached.folder / "5.mid")
    after = cached.read()
    assert cached.interpreted == 1
    assert after.pieces[5] == tune(77)
    assert after.digest != before.digest
    assert (cached.folder / "5.mid").rename(cached.folder / "new.mid")
    (cached.folder / "band.mid").rename(cached.folder / "zzz.mid")
    moved = cached.read()
    assert cached.interpreted == 0
    assert dict(zip(moved.names, moved.pieces, strict=True))["new.mid"] == tune(77)
    assert (moved.names[-1], moved.pieces[-1].title) == ("zzz.mid", "zzz")  # the title of the file's name, not kept
    assert moved == read_corpus(cached.folder)


def test_readings_with_other_options_do_not_mix(cached):
    for options in [
        {},
        {"every_part": True},
        {"reading": Reading(track="1")},
        {"reading": Reading(max_steps=7)},
        {"reading": Reading(program=40)},
        {"reading": Reading(skyline=True)},
    ]:
        first = outcome(cached.read, **options)
        assert cached.interpreted == 13
        assert outcome(cached.read, **options) == first == outcome(partial(read_corpus, cached.folder), **options)


def outcome(read, **options):
    try:
        return read(**options)
    except UsageError as error:
        return str(error)


@pytest.mark.parametrize("damage", ["words", "half", "bits", "no place"])
def test_a_damaged_or_unwritable_cache_changes_nothing(cached, damage):
    first = cached.read()
    path = Cache(cached.place).path
    content = bytearray(path.read_bytes())
    if damage == "words":
        path.write_text("words" * 1000)
    elif damage == "half":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "bits":
        for at in range(5000, len(content), 97):
            content[at] ^= 1
        path.write_bytes(content)
    else:
        shutil.rmtree(cached.place)
        cached.place.write_text("a file")
    assert cached.read() == first
    assert cached.interpreted > 0


@pytest.mark.parametrize("how", ["rows", "folder"])
def test_a_cache_may_be_emptied_while_a_folder_is_read(cached, how):
    first = cached.read()

    def empty(done, total):
        if done == 3 and how == "folder":
            shutil.rmtree(cached.place)
        elif done == 3:
            with sqlite3.connect(Cache(cached.place).path) as database:
                database.execute("DELETE FROM entries")

    assert cached.read(progress=empty) == first
    assert cached.interpreted == (10 if how == "rows" else 0)  # what is open can still be read
    assert cached.read() == first


def test_an_interrupted_reading_keeps_what_was_read(cached):
    def stop(done, total):
        assert total == 14
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached.read(progress=stop)
    assert cached.interpreted == 6
    assert cached.read() == read_corpus(cached.folder)
    assert cached.interpreted == 6 + 13  # the rest but the copy of one; and all, without a cache
    cached.read()
    assert cached.interpreted == 0


def test_a_file_that_changes_while_it_is_read_is_not_kept_for_what_it_was(cached, monkeypatch):
    keys = corpus._keys

    def then_changed(*arguments):
        found = keys(*arguments)
        midi.write(tune(88), cached.folder / "4.mid")
        return found

    before = (cached.folder / "4.mid").read_bytes()
    monkeypatch.setattr(corpus, "_keys", then_changed)
    assert cached.read().pieces[4] == tune(88)
    monkeypatch.setattr(corpus, "_keys", keys)
    (cached.folder / "4.mid").write_bytes(before)
    assert cached.read().pieces[4] == tune(4)


def test_what_took_too_long_is_tried_again(cached):
    with pytest.raises(UsageError, match="11 × takes too long"):
        cached.read(reading=Reading(max_seconds=1e-9))
    with pytest.raises(UsageError, match="11 × takes too long"):
        cached.read(reading=Reading(max_seconds=1e-9))
    assert cached.interpreted > 10


def test_two_may_read_with_one_cache_at_once(cached):
    code = """
import sys
from pathlib import Path
from seqgan_music.cache import Cache
from seqgan_music.corpus import read_corpus
print(read_corpus(sys.argv[1], cache=Cache(Path(sys.argv[2]))).digest)
"""
    command = [sys.executable, "-c", code, cached.folder, cached.place]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert {reader.communicate(timeout=60)[0].strip() for reader in both} == {read_corpus(cached.folder).digest}
    cached.read()
    assert cached.interpreted == 0


def test_reading_imports_neither_torch_nor_music21():
    code = "import sys, seqgan_music.corpus; print({'torch', 'music21'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_paths_that_cannot_be_meant(tmp_path):
    (tmp_path / "tune.txt").write_text("text")
    (tmp_path / "empty").mkdir()
    for path, complaint in [
        (tmp_path / "missing", "no such file or folder: .*missing"),
        (tmp_path / "tune.txt", "neither a folder nor"),
        (tmp_path / ("x" * 300), "cannot be read: File name too long"),
        (f"{tmp_path}/a\0b", "no such file or folder"),
        (tmp_path / "empty", r"no \.kar, \.mid, \.midi files in .*empty"),
    ]:
        with pytest.raises(UsageError, match=complaint):
            read_corpus(path)


def test_a_folder_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    folder_of(tmp_path, ["a.mid", "shut/b.mid", "shut/er/c.mid"])
    scandir = os.scandir

    def forbidden(path):  # the rights of a folder mean nothing to root
        if Path(path) in shut:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbidden)
    shut = [tmp_path / "shut"]
    found = read_corpus(tmp_path)
    assert found.names == ("a.mid",)
    assert found.refusals == (corpus.Refusal("shut", "unreadable", "a folder: Permission denied"),)
    shut = [tmp_path]
    with pytest.raises(
        UsageError, match=r"no \.kar, .* files in .*: 1 × unreadable, such as \. \(a folder: Permission"
    ):
        read_corpus(tmp_path)


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
