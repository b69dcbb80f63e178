"""What every tokenizer of the table owes, over pieces that are hard in some way."""

import copy
import functools
import itertools
import math
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgan_music import midi, registry
from seqgan_music.errors import PieceRefused, UsageError
from seqgan_music.notes import HELD, OUTSIDE, REST, Note, Part, Piece
from seqgan_music.tokenizers import TOKENIZERS

MIDI_DATA = Path(__file__).parent.parent / "midi_data"
STEP = 120  # a sixteenth in ticks
BASS, DRUMS = Part(33), Part(0, True)


PIANO = Part()


def piece(title, *notes, metre=(4, 4), parts=(PIANO,), step=STEP):
    """Notes as (onset, duration, pitch) and perhaps a part, in steps."""
    made = [Note(round(n[0] * step), round(n[1] * step), n[2], 80, *n[3:]) for n in notes]
    return Piece(sorted(made, key=lambda n: (n.onset, n.pitch, n.part)), 480, metre=metre, title=title, parts=parts)


PIECES = {
    one.title: one
    for one in [
        piece("a scale", *[(2 * i, 2, p) for i, p in enumerate((60, 62, 64, 65, 67, 69, 71, 72))]),
        piece(
            "a jig with a pickup",
            *[(10 + 2 * i, 2, 67 + (5 * i) % 12) for i in range(25)],
            (60, 6, 79),
            metre=(6, 8),
        ),
        piece("rests", (3, 1, 60), (8, 4, 64), (30, 2, 67), (33, 1, 72), metre=(2, 4)),
        piece("repeated notes", *[(2 * i, 2, 60) for i in range(10)], (20, 1, 62), (21, 1, 62), (24, 4, 62)),
        piece("ties over bar lines", (0, 7, 60), (7, 12, 62), (20, 30, 64), (50, 2, 60), metre=(2, 4)),
        piece("the ends of the piano", (0, 4, 21), (4, 4, 108), (8, 8, 21), (16, 2, 64)),
        piece("one note", (5, 3, 66), metre=(3, 4)),
    ]
}
TRIPLETS = piece("triplets", *[(4 * i, 4, 60 + i % 5) for i in range(18)], (72, 1, 70), (75, 9, 72), step=40)
SCORE = piece(
    "two parts and drums",
    *[(4 * i + o, d, p) for i in range(12) for o, d, p in ((0, 2, 72 + i % 5), (2, 1, 76), (2, 2, 67))],
    *[(14 * i, 14, 40 + i, 1) for i in range(4)],
    *[(4 * i, 1, 36 + 2 * (i % 2), 2) for i in range(12)],
    metre=(3, 4),
    parts=(Part(40), BASS, DRUMS),
)
CASES = {
    "grid": ("grid", {}),
    "grid in 12": ("grid", {"steps_per_quarter": 12}),
    "note": ("note", {}),
    "note of single steps": ("note", {"durations": [1]}),
    "note in 12": ("note", {"steps_per_quarter": 12}),
    "pitch": ("pitch", {}),
    "pitch in sixteenths": ("pitch", {"step_quarters": 0.25}),
    "pitch in bars": ("pitch", {"step_quarters": 4.0}),
    "miditok:REMI": ("miditok:REMI", {}),
    "miditok:REMI in 12": ("miditok:REMI", {"steps_per_quarter": 12}),
    "miditok:REMI, loud and soft": ("miditok:REMI", {"velocities": 5}),
}
EVERYTHING = [*PIECES.values(), TRIPLETS, SCORE]
PAIRS = [
    (case, tune)
    for case, (name, _) in CASES.items()
    for tune in EVERYTHING
    if (tune is not SCORE or "miditok" in name) and (tune is not TRIPLETS or "12" in case or "pitch" in case)
]


@functools.cache
def make(case, pieces=tuple(EVERYTHING)):
    """The tokenizer of a case, fitted."""
    name, options = CASES[case]
    if "miditok" in name:
        pytest.importorskip("miditok", reason="the extra miditok is not installed")
    else:
        pieces = [one for one in pieces if one is not SCORE]
    return registry.resolve(TOKENIZERS, "tokenizer", name).fit(pieces, **options)


def sound(tune):
    """Notes with their instruments, in the order of their onsets."""
    parts = [(part.program, part.drums) for part in tune.parts]
    return sorted((n.onset, n.duration, n.pitch, *parts[n.part]) for n in tune.notes)


def sampled(tune, quarters):
    """The pitch that sounds, or sounded last, as each step begins; equal ones as one note."""
    step = Fraction(quarters).limit_denominator(1000) * tune.resolution
    pitches, all_notes, begun = [], list(tune.notes), 0
    for at in range(max(1, math.ceil(tune.end / step))):
        while begun < len(all_notes) and all_notes[begun].onset <= at * step:
            begun += 1
        pitches.append(all_notes[max(0, begun - 1)].pitch)
    notes, at = [], 0
    for pitch, run in itertools.groupby(pitches):
        long = len(list(run))
        notes.append((round(at * step), round((at + long) * step) - round(at * step), pitch, 0, False))
        at += long
    return notes


def expected(case, tune):
    """What is to come back of a piece: all of it, but for pitches alone."""
    name, options = CASES[case]
    return sampled(tune, options.get("step_quarters", 0.8)) if name == "pitch" else sound(tune)


def check_round_trip(tokenizer, tune, wanted, folder):
    """Encode, decode, encode; what fails can be listened to."""
    ids = tokenizer.encode(tune)
    back = tokenizer.decode(ids)
    if tokenizer.encode(back) == ids and sound(back) == wanted and back.metre == tune.metre:
        return
    before, after = folder / f"{tune.title}, before.mid", folder / f"{tune.title}, after.mid"
    midi.write(tune, before)
    midi.write(back, after)
    pytest.fail(f"{tune.title} does not come back; listen to {before} and {after}")


@pytest.mark.parametrize(("case", "tune"), PAIRS, ids=[f"{case}, {tune.title}" for case, tune in PAIRS])
def test_a_piece_comes_back(case, tune, tmp_path):
    check_round_trip(make(case), tune, expected(case, tune), tmp_path)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_every_tokenizer_of_the_table_is_tried(name):
    assert name in {name for name, _ in CASES.values()}


def test_what_does_not_come_back_can_be_listened_to(tmp_path):
    tokenizer, tune = copy.copy(make("grid")), PIECES["a scale"]
    whole = tokenizer.decode
    tokenizer.decode = lambda ids: whole(ids[:-3])  # the last note is lost
    with pytest.raises(pytest.fail.Exception, match="a scale does not come back") as failed:
        check_round_trip(tokenizer, tune, sound(tune), tmp_path)
    before, after = sorted(tmp_path.iterdir(), reverse=True)
    assert str(before) in str(failed.value)
    assert str(after) in str(failed.value)
    assert sound(midi.read(before)) == sound(tune)
    assert [n[2] for n in sound(midi.read(after))] == [n[2] for n in sound(tune)[:-1]]


@pytest.fixture(scope="module")
def tunes():
    return [midi.read(path) for path in sorted(MIDI_DATA.rglob("*.mid"))]


@pytest.mark.parametrize("case", [case for case in CASES if "12" not in case])
def test_every_tune_of_the_corpus_comes_back(case, tunes):
    some = tunes if "miditok" not in case else tunes[::4]
    tokenizer = make(case, tuple(some))
    exact = refused = 0
    for tune in some:
        try:
            ids = tokenizer.encode(tune)
        except PieceRefused:
            refused += 1
            continue
        back = tokenizer.decode(ids)
        assert tokenizer.encode(back) == ids, tune.title
        assert back.metre == tune.metre
        if (tune.notes.onset % STEP == 0).all() and (tune.notes.end % STEP == 0).all() and tune.tempo == 120:
            heard = [n[:3] for n in sound(back)]
            assert heard == [n[:3] for n in expected(case, tune)], tune.title
            exact += 1
    assert exact > 0.6 * len(some)
    assert refused < 0.05 * len(some)


# Any ids


def melody(tune):
    """The melody line, as `RemiTokenizer.melodies` says which it is; of a tune it is all notes."""
    by_program = {}
    for note in tune.notes:
        if not tune.parts[note.part].drums:
            by_program.setdefault(tune.parts[note.part].program, []).append(note)
    if not by_program:
        return []
    enough = max(map(len, by_program.values())) / 2
    long = {program: notes for program, notes in by_program.items() if len(notes) >= enough}
    chosen = max(sorted(long), key=lambda program: sum(n.pitch for n in long[program]) / len(long[program]))
    best = {}
    for note in by_program[chosen]:
        here = best.get(note.onset)
        if here is None or (note.pitch, note.duration) > (here.pitch, here.duration):
            best[note.onset] = note
    line = [best[onset] for onset in sorted(best)]
    ends = [min(a.end, b.onset) for a, b in itertools.pairwise(line)] + [n.end for n in line[-1:]]
    return [(n.onset, end - n.onset, n.pitch) for n, end in zip(line, ends, strict=True)]


def check_melody(tokenizer, melodies, row, read):
    """One row of melodies is what was decoded."""
    mask = melodies.mask[row]
    onset, end = melodies.onset[row].double(), (melodies.onset[row] + melodies.duration[row]).double()
    edges = [(480 * onset[mask]).round().tolist(), (480 * end[mask]).round().tolist()]
    ticks = [(o, e - o, p) for o, e, p in zip(*edges, melodies.pitch[row][mask].tolist(), strict=True)]
    assert ticks == melody(read)
    assert mask.tolist() == sorted(mask.tolist(), reverse=True), "notes come first"
    assert list(read.metre) == melodies.metre[row].tolist()
    per_step = 480 / melodies.steps_per_quarter
    sounding = {}
    for onset, duration, pitch in ticks:
        sounding |= dict.fromkeys(range(round(onset / per_step), round((onset + duration) / per_step)), pitch)
    steps = melodies.steps[row].tolist()
    long = round(float(melodies.length[row]) * melodies.steps_per_quarter)
    assert [step for step, pitch in enumerate(steps) if pitch == OUTSIDE] == list(range(long, len(steps)))
    assert {s: p for s, p in enumerate(steps) if p >= 0} == {s: p for s, p in sounding.items() if s < len(steps)}
    assert set(steps) <= {*range(128), REST, HELD, OUTSIDE}
    assert HELD not in steps[min(sounding, default=0) :] or not sounding
    assert read.end <= long * per_step + 1


def some_ids(tokenizer):
    """Ids of which most are music, some are none, and runs of what belongs together are frequent."""
    music = st.integers(0, tokenizer.end_id - 1)
    anything = st.integers(-3, tokenizer.vocab_size + 3)
    runs = st.just([])
    if tokenizer.polyphonic:
        kinds = [
            [number for number, token in enumerate(tokenizer._token) if token.startswith(start)]
            for start in ("Bar", "Program", "Position", "Pitch", "Velocity", "Duration")
        ]
        runs = st.one_of(
            st.tuples(*map(st.sampled_from, filter(None, kinds[3:]))).map(list),
            st.sampled_from([token for kind in kinds[:3] for token in kind]).map(lambda one: [one]),
            st.sampled_from(kinds[0]).map(lambda one: [one]),
        )
    parts = st.one_of(runs, runs, runs, music.map(lambda one: [one]), anything.map(lambda one: [one]))
    return st.lists(parts, max_size=40).map(lambda those: [token for part in those for token in part])


@pytest.mark.parametrize("case", CASES)
def test_any_ids_decode_and_melodies_read_them_alike(case):
    tokenizer = make(case)

    @settings(deadline=None, max_examples=80)
    @given(rows=st.lists(some_ids(tokenizer), min_size=1, max_size=4), data=st.data())
    def check(rows, data):
        width = max(map(len, rows))
        padded = [row + [tokenizer.pad_id] * (width - len(row)) for row in rows]
        ids = torch.tensor(padded, dtype=torch.int64).reshape(len(rows), width)
        start = data.draw(st.sampled_from(list(tokenizer.start_ids.values())))
        melodies = tokenizer.melodies(ids, torch.full((len(rows),), start))
        assert len(melodies) == len(rows)
        for number, row in enumerate(padded):
            check_melody(tokenizer, melodies, number, tokenizer.decode([start, *row]))

    check()


@pytest.mark.parametrize("case", CASES)
def test_no_melodies_and_melodies_without_notes(case):
    tokenizer = make(case)
    assert len(tokenizer.melodies(torch.zeros(0, 8, dtype=torch.int64))) == 0
    nothing = tokenizer.melodies(torch.full((3, 8), tokenizer.end_id))
    assert nothing.mask.sum() == 0
    assert (nothing.steps == OUTSIDE).all()
    assert nothing.length.tolist() == [0, 0, 0]
    assert tokenizer.melodies(torch.zeros(2, 0, dtype=torch.int64)).mask.sum() == 0
    for ids in ([], [tokenizer.end_id], [tokenizer.pad_id] * 3, [tokenizer.vocab_size - 1]):
        assert len(tokenizer.decode(ids).notes) == 0
    assert tokenizer.decode([tokenizer.vocab_size - 1]).metre == tokenizer.metres[-1]


@pytest.mark.parametrize("case", CASES)
def test_as_many_steps_for_any_ids_of_one_length(case):
    tokenizer = make(case)
    rng = torch.Generator().manual_seed(0)
    a, b = (tokenizer.melodies(torch.randint(tokenizer.vocab_size, (5, 24), generator=rng)) for _ in range(2))
    assert a.steps.shape == b.steps.shape
    assert a.steps.shape[1] > 0


# Windows


def from_bar(tokenizer, ids, number):
    """What is decoded from a bar line on, notes held over it cut there; and the bar line in ticks."""
    whole = tokenizer.decode(ids)
    if hasattr(tokenizer, "step_quarters"):
        step = (tokenizer.step_quarters or 2 * tokenizer.step_seconds) * 480
        line = round(math.floor(number * whole.ticks_per_bar / step + 0.5) * step)
    else:
        line = round(number * whole.ticks_per_bar)
    cut = [
        (max(o, line) - line, o + d - max(o, line), p, program, drums)
        for o, d, p, program, drums in sound(whole)
        if o + d > line
    ]
    return sorted(cut), line


@pytest.mark.parametrize(("case", "tune"), PAIRS, ids=[f"{case}, {tune.title}" for case, tune in PAIRS])
@pytest.mark.parametrize("length", [2, 8, 20, 64])
def test_windows_go_on_from_bar_lines(case, tune, length):
    tokenizer = make(case)
    ids = tokenizer.encode(tune)
    windows = tokenizer.windows(ids, length, every_bar=True)
    assert windows.shape[1] == length
    assert len(windows)
    for number, window in enumerate(windows.tolist()):
        assert not set(window) & set(tokenizer.start_ids.values())
        music = window[: window.index(tokenizer.end_id)] if tokenizer.end_id in window else window
        assert tokenizer.pad_id not in music
        assert set(window[len(music) + 1 :]) <= {tokenizer.pad_id}
        heard = sound(tokenizer.decode([ids[0], *window]))
        if case == "pitch in bars":
            continue  # several bar lines are nearest to one step
        left, _ = from_bar(tokenizer, ids, number)
        if len(music) < length:
            assert heard == left, f"the end, from bar {number}"
        elif heard:
            # The window may end within a note, or among those of one onset.
            last = heard[-1][0]
            early = [note for note in heard if note[0] < last]
            assert early == [note for note in left if note[0] < last], f"from bar {number}"
            for onset, duration, *what in heard[len(early) :]:
                assert any(onset == o and duration <= d + 1 and what == list(w) for o, d, *w in left), (
                    f"from bar {number}"
                )
        if number:
            assert len(music) + (len(music) < length) > length // 2, "not mostly PAD"


@pytest.mark.parametrize(("case", "tune"), PAIRS, ids=[f"{case}, {tune.title}" for case, tune in PAIRS])
@pytest.mark.parametrize("length", [8, 20])
def test_windows_apart_are_some_of_all_and_do_not_overlap(case, tune, length):
    tokenizer = make(case)
    ids = tokenizer.encode(tune)
    every = tokenizer.windows(ids, length, every_bar=True).tolist()
    apart = tokenizer.windows(ids, length, every_bar=False).tolist()
    assert apart[0] == every[0]
    if case == "pitch in bars":
        return
    start = torch.tensor([ids[0]])
    number, taken = 0, [every[0]]
    for later in range(1, len(every)):
        if tokenizer.polyphonic:  # a window is over with its last token, whatever sounds on
            before = sum(token == 0 for token in every[number])  # its bars
            over = later - number >= before
        else:
            long = float(tokenizer.melodies(torch.tensor([every[number]]), start).length) * 480
            over = from_bar(tokenizer, ids, later)[1] >= from_bar(tokenizer, ids, number)[1] + long - 1
        if over:
            taken.append(every[later])
            number = later
    assert apart == taken


# Building


@pytest.mark.parametrize("case", CASES)
def test_it_can_be_saved(case):
    import json

    tokenizer = make(case)
    again = type(tokenizer).from_dict(json.loads(json.dumps(tokenizer.to_dict())))
    assert again.to_dict() == tokenizer.to_dict()
    assert set(tokenizer.to_dict()) == set(registry.options_of(type(tokenizer)))
    assert again.vocab_size == tokenizer.vocab_size
    assert {**again.start_ids} == {**tokenizer.start_ids}
    for tune in PIECES.values():
        assert again.encode(tune) == tokenizer.encode(tune)


@pytest.mark.parametrize("case", CASES)
def test_fit_covers_the_pieces_and_options_come_first(case):
    tokenizer = make(case, tuple(PIECES.values()))
    assert set(tokenizer.metres) == {one.metre for one in PIECES.values()}
    assert tokenizer.metres[0] == (4, 4), "the most frequent first"
    assert all(0 <= token < tokenizer.vocab_size for one in PIECES.values() for token in tokenizer.encode(one))
    name, options = CASES[case]
    named = registry.resolve(TOKENIZERS, "tokenizer", name).fit([*PIECES.values()], **options, metres=[[4, 4]])
    assert named.metres == ((4, 4),)
    with pytest.raises(PieceRefused, match="metre outside the vocabulary: 6/8"):
        named.encode(PIECES["a jig with a pickup"])
    assert make(case, ()).vocab_size > 0


@pytest.mark.parametrize("case", CASES)
def test_a_piece_without_notes_is_refused(case):
    with pytest.raises(PieceRefused, match="no notes"):
        make(case).encode(piece("nothing"))


@pytest.mark.parametrize("case", [case for case in CASES if case != "pitch"])
def test_a_pitch_outside_the_vocabulary_is_refused(case):
    tokenizer = make(case)
    with pytest.raises(PieceRefused, match="pitch outside the vocabulary: 1 notes, for example MIDI 20"):
        tokenizer.encode(piece("too low", (0, 4, 60), (4, 4, 20)))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("metres", [[], [[4, 4], [4, 4]], [[0, 4]], [4, 4], ["4/4"]])
def test_metres_that_are_none_are_refused(case, metres):
    name, options = CASES[case]
    if "miditok" in name:
        pytest.importorskip("miditok", reason="the extra miditok is not installed")
    with pytest.raises(UsageError, match=r"tokenizer\.metres"):
        registry.resolve(TOKENIZERS, "tokenizer", name)(**{**options, "metres": metres})
