import os
import xml.etree.ElementTree

import matplotlib.image
import pytest
from scipy.io import wavfile

from seqgan_music import files, formats, midi, sound
from seqgan_music.errors import Failure, UsageError
from seqgan_music.notes import Note, Piece

SCALE = Piece([Note(480 * i, 480, 60 + 2 * i) for i in range(4)], title="a scale")
ARPEGGIO = Piece([Note(480 * i, 480, 60 + 4 * i) for i in range(4)], title="an arpeggio", metre=(3, 4))


def test_a_piece_is_written_in_every_format_under_one_name(tmp_path):
    written = formats.write_all([SCALE, ARPEGGIO], tmp_path / "new" / "folder", formats.FORMATS)
    names = [f"{stem}.{ending}" for stem in ("a-scale", "an-arpeggio") for ending in formats.FORMATS]
    assert [file.name for file in written.files] == names
    assert sorted(file.name for file in (tmp_path / "new" / "folder").iterdir()) == sorted(names)
    folder = tmp_path / "new" / "folder"
    assert midi.read(folder / "a-scale.mid").notes == SCALE.notes
    assert wavfile.read(folder / "a-scale.wav")[1].any()
    assert matplotlib.image.imread(folder / "a-scale.png").std() > 0
    steps = xml.etree.ElementTree.parse(folder / "a-scale.musicxml").findall(".//step")
    assert [step.text for step in steps] == ["C", "D", "E", "F"]


def test_only_what_is_asked_for_is_written(tmp_path):
    written = formats.write_all([SCALE], tmp_path, ["png"])
    assert [file.name for file in tmp_path.iterdir()] == ["a-scale.png"]
    assert written.others == 0


def test_files_of_other_names_stay_and_are_counted(tmp_path):
    formats.write_all([SCALE, ARPEGGIO], tmp_path, ["mid", "png"])
    before = (tmp_path / "an-arpeggio.mid").read_bytes()
    (tmp_path / ".hidden").write_text("")
    (tmp_path / "folder").mkdir()
    again = formats.write_all([SCALE], tmp_path)
    assert again.others == 3, "a-scale.png and two files of the arpeggio"
    assert (tmp_path / "an-arpeggio.mid").read_bytes() == before


def test_formats_have_an_order_and_come_once():
    assert formats.check(["png", "mid", "png"]) == ("mid", "png")
    for wrong, says in ((["mid", "mp3"], "unknown format 'mp3'"), ([], "no format")):
        with pytest.raises(UsageError, match=f"{says}; there are: mid, wav, png, musicxml"):
            formats.check(wrong)


def test_the_synthesizer_that_is_given_plays(tmp_path):
    synthesizer = sound.Synthesizer(midi.soundfont())
    synthesizer.complaint = "of no matter"
    formats.write_all([SCALE], tmp_path, ["wav"], synthesizer=synthesizer)
    assert wavfile.read(tmp_path / "a-scale.wav")[1].ndim == 1, "sine waves are mono"


def test_what_stands_in_the_way_is_said_and_stays(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Failure, match="cannot make the folder"):
        formats.write_all([SCALE], tmp_path / "file")
    for ending in formats.FORMATS:
        (tmp_path / f"a-scale.{ending}").mkdir()
        with pytest.raises(Failure, match=rf"cannot write .*a-scale\.{ending}"):
            formats.write_all([SCALE], tmp_path, [ending])
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(
        ["file", *(f"a-scale.{ending}" for ending in formats.FORMATS)]
    ), "and nothing half written is left"


def test_a_file_that_cannot_be_finished_leaves_the_one_before(tmp_path, monkeypatch):
    files.write_whole(tmp_path / "file", b"before")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Failure, match=r"cannot write .*file: No space left on device"):
        files.write_whole(tmp_path / "file", b"after")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"before"
