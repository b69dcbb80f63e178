"""A piece as sound, looked at with the eyes: spectrum, loudness and length."""

import os
import shutil
import stat

import numpy as np
import pytest
from scipy.io import wavfile

from seqgan_music import midi, sound
from seqgan_music.errors import UsageError
from seqgan_music.notes import Note, Part, Piece
from seqgan_music.sound import RATE, Synthesizer, find_soundfont

PITCHES = (55, 60, 64, 67, 72, 79, 84)
VIOLIN = 40
TUNE = Piece(
    [Note(480 * i, 480, pitch) for i, pitch in enumerate(PITCHES)], title="A tune", tempo=120, parts=(Part(VIOLIN),)
)

real_fluidsynth = pytest.mark.skipif(not shutil.which("fluidsynth"), reason="the program fluidsynth is not installed")


def program(folder, script, monkeypatch):
    """Let a shell script be the program fluidsynth; ``$out`` is the file it is to write."""
    folder.mkdir()
    file = folder / "fluidsynth"
    file.write_text(f'#!/bin/sh\nwhile [ "$1" != -F ]; do shift; done\nout=$2\n{script}\n')
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def without_fluidsynth(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))


def heard(samples, begin, end):
    """MIDI number of the loudest partial between two times in seconds."""
    part = samples.reshape(len(samples), -1).mean(1)[round(begin * RATE) : round(end * RATE)]
    spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), 2**18))
    return 69 + 12 * np.log2(np.fft.rfftfreq(2**18, 1 / RATE)[spectrum.argmax()] / 440)


def decibels(samples):
    """Loudness and largest sample, full scale being 0."""
    scaled = samples / np.iinfo(np.int16).max
    return 20 * np.log10(np.sqrt(np.square(scaled).mean())), 20 * np.log10(np.abs(scaled).max())


def check_tune(samples, octaves):
    """The notes are heard at their times, some instruments' loudest partial being an overtone."""
    for i, pitch in enumerate(PITCHES):
        above = heard(samples, i / 2 + 0.1, i / 2 + 0.45) - pitch
        assert min(abs(above - 12 * octave) for octave in octaves) < 0.3, (pitch, above)
    loudness, largest = decibels(samples)
    assert loudness == pytest.approx(-20, abs=0.2)
    assert largest < -0.9
    assert len(PITCHES) / 2 <= len(samples) / RATE < len(PITCHES) / 2 + 4


def test_sine_waves_have_the_notes_of_the_piece(without_fluidsynth):
    synthesizer = Synthesizer()
    samples = synthesizer.play(TUNE)
    assert samples.dtype == np.int16
    check_tune(samples, octaves=[0])
    assert str(synthesizer) == "sine waves by pretty_midi, as the program fluidsynth is not installed"


@real_fluidsynth
@pytest.mark.parametrize("instrument", [0, VIOLIN, 73])
def test_fluidsynth_plays_the_notes_of_the_piece(instrument):
    synthesizer = Synthesizer(midi.soundfont())
    piece = Piece(TUNE.notes, title="A tune", parts=(Part(instrument),))
    samples = synthesizer.play(piece)
    assert str(synthesizer) == f"FluidSynth with {midi.soundfont()}"
    check_tune(samples, octaves=[0, 1, 2])
    assert samples.shape[1] == 2
    assert np.abs(samples[-200:]).max() < 0.01 * np.abs(samples).max(), "the last note dies away"
    assert np.array_equal(samples, synthesizer.play(piece))


@real_fluidsynth
def test_the_program_of_the_part_is_what_plays():
    synthesizer = Synthesizer(midi.soundfont())
    violin, flute = (synthesizer.play(Piece(TUNE.notes, parts=(Part(number),))) for number in (VIOLIN, 73))
    shorter = min(len(violin), len(flute))
    assert np.corrcoef(violin[:shorter, 0], flute[:shorter, 0])[0, 1] < 0.9


@real_fluidsynth
def test_a_crowd_of_loud_notes_is_not_clipped():
    notes = sorted((Note(0, 1920, pitch, 127) for pitch in range(36, 96)), key=lambda note: note.pitch)
    for synthesizer in (Synthesizer(midi.soundfont()), Synthesizer(midi.soundfont())):
        samples = synthesizer.play(Piece(notes))
        assert decibels(samples)[1] <= -0.99
        assert (np.abs(samples) == np.abs(samples).max()).sum() < 5, "nothing is cut flat"
        synthesizer.complaint = "to hear the other"


@pytest.mark.parametrize("installed", [pytest.param(True, marks=real_fluidsynth), False])
@pytest.mark.parametrize(
    ("piece", "seconds"),
    [
        (Piece(()), 2),
        (Piece((), metre=(3, 4), tempo=60), 3),
        (Piece([Note(0, 0, 60)]), 2),
        (Piece([Note(9600, 0, 60)]), 10),
    ],
)
def test_a_piece_without_a_sounding_note_is_silent(piece, seconds, installed, tmp_path):
    synthesizer = Synthesizer(midi.soundfont())
    if not installed:
        synthesizer.complaint = "not asked"
    synthesizer.write(piece, tmp_path / "silence.wav")
    rate, samples = wavfile.read(tmp_path / "silence.wav")
    assert (rate, samples.dtype) == (RATE, np.int16)
    assert len(samples) == seconds * RATE
    assert not samples.any()


def test_drums_alone_are_silent_where_sine_waves_play(without_fluidsynth):
    piece = Piece([Note(480 * i, 240, 36) for i in range(4)], parts=(Part(0, drums=True),))
    assert not Synthesizer().play(piece).any()


@real_fluidsynth
def test_drums_are_heard_where_fluidsynth_plays():
    piece = Piece([Note(480 * i, 240, 36) for i in range(4)], parts=(Part(0, drums=True),))
    assert Synthesizer(midi.soundfont()).play(piece).any()


def silent_wave(folder):
    wavfile.write(folder / "silent.wav", RATE, np.zeros((1000, 2), np.float32))
    return f'cp "{folder}/silent.wav" "$out"'


FAILURES = {
    "exit code": ("exit 3", "exit code 3"),
    "words": ('echo "fluidsynth: error: out of luck" >&2; exit 1', "out of luck"),
    "no file": ("exit 0", "no sound: No such file"),
    "no sound file": ('echo not a wave > "$out"', "no sound: "),
    "silence": (silent_wave, "it gave silence"),
    "silence with words": (
        lambda folder: f"{silent_wave(folder)}; echo 'fluidsynth: error: no such soundfont' >&2",
        "no such soundfont",
    ),
    "no end": ("exec sleep 60", "no end after"),
    "not to be run": (None, "Exec format error"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_where_fluidsynth_fails_sine_waves_play_and_the_reason_is_said(failure, tmp_path, monkeypatch):
    script, reason = FAILURES[failure]
    program(tmp_path / "bin", script(tmp_path) if callable(script) else script, monkeypatch)
    if script is None:
        (tmp_path / "bin" / "fluidsynth").write_bytes(b"\x7fnonsense")
    monkeypatch.setattr(sound, "PATIENCE", -3.0 if failure == "no end" else 60.0)
    synthesizer = Synthesizer()
    assert str(synthesizer).startswith("FluidSynth with ")
    check_tune(synthesizer.play(TUNE), octaves=[0])
    assert str(synthesizer).startswith("sine waves by pretty_midi, as FluidSynth failed at A tune (")
    assert reason in str(synthesizer)
    assert len(str(synthesizer).splitlines()) == 1


def test_the_soundfont_is_the_named_one_then_the_variable_s_then_the_system_s(tmp_path, monkeypatch):
    monkeypatch.delenv("SOUNDFONT", raising=False)
    monkeypatch.setattr(sound, "FOLDERS", (str(tmp_path / "none"), str(tmp_path / "system")))
    assert find_soundfont() == midi.soundfont()
    (tmp_path / "system").mkdir()
    for name in ("a.sf2", "default.sf3", "b.sf2"):
        shutil.copy(midi.soundfont(), tmp_path / "system" / name)
    (tmp_path / "system" / "default-broken.sf2").write_bytes(b"RIFF")
    assert find_soundfont() == tmp_path / "system" / "default.sf3"
    (tmp_path / "system" / "default.sf3").unlink()
    assert find_soundfont() == tmp_path / "system" / "a.sf2"
    monkeypatch.setenv("SOUNDFONT", str(tmp_path / "system" / "b.sf2"))
    assert find_soundfont() == tmp_path / "system" / "b.sf2"
    assert Synthesizer(tmp_path / "system" / "a.sf2").soundfont == tmp_path / "system" / "a.sf2"


def test_what_is_no_soundfont_is_refused_with_the_place_that_names_it(tmp_path, monkeypatch):
    (tmp_path / "text.sf2").write_text("no music in here")
    for file, says in (("text.sf2", "is not a soundfont"), ("none.sf2", "is no file"), ("", "is no file")):
        with pytest.raises(UsageError, match=f"^soundfont .*{file} {says}"):
            Synthesizer(tmp_path / file)
        monkeypatch.setenv("SOUNDFONT", str(tmp_path / file))
        with pytest.raises(UsageError, match=f"^SOUNDFONT = .*{file} {says}"):
            Synthesizer()


def test_hours_of_sound_are_refused_before_they_are_made(tmp_path):
    long = Piece([Note(0, 480, 60), Note(480 * 4000, 480, 62)], title="A march")
    with pytest.raises(UsageError, match="A march would sound for 33 minutes"):
        Synthesizer().write(long, tmp_path / "a.wav")
    assert not list(tmp_path.iterdir())
