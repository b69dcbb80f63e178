import pytest
import torch

from seqgan_music.errors import PieceRefused, UsageError
from seqgan_music.metrics.events import event_parts
from seqgan_music.notes import Note, Piece
from seqgan_music.tokenizers.pitch import LOWEST, PitchTokenizer


def piece(*notes, metre=(4, 4), tempo=120.0, resolution=480):
    """Notes as (onset, duration, pitch) in quarter notes."""
    made = [Note(round(o * resolution), round(d * resolution), p) for o, d, p in notes]
    return Piece(made, resolution, tempo=tempo, metre=metre)


def pitches(ids):
    return [token + LOWEST for token in ids[1:-1]]


def test_the_vocabulary_of_seqgan():
    tokenizer = PitchTokenizer()
    assert (tokenizer.end_id, tokenizer.pad_id, tokenizer.vocab_size) == (88, 89, 91)
    assert tokenizer.to_dict()["step_seconds"] == 0.4
    assert tokenizer.encode(piece((0, 0.5, 21), (0.8, 0.5, 108))) == [90, 0, 87, 88]


def test_what_a_step_takes_is_what_sounds_as_it_begins_and_what_is_lost_is_counted():
    tune = piece((0.5, 0.5, 60), (1, 1, 62), (2.2, 0.1, 64), (2.4, 0.6, 65), (4, 1, 65))
    tokenizer = PitchTokenizer(step_quarters=1.0)
    assert pitches(tokenizer.encode(tune)) == [60, 62, 62, 65, 65]
    assert tokenizer.loss(tune) == {
        "steps": 5,
        "notes": 5,
        "rests": 3,  # before the first note, after the second and after the fourth
        "between_steps": 3,
        "unheard": 1,  # 64
        "repeated": 1,
    }
    assert not any([*tokenizer.loss(piece((0, 1, 60), (1, 2, 62))).values()][2:])


def test_equal_pitches_are_one_held_note():
    notes = PitchTokenizer().decode([90, 0, 0, 5, 5, 88, 7]).notes
    assert [(n.onset, n.duration, n.pitch) for n in notes] == [(0, 768, 21), (768, 768, 26)]


def test_steps_in_seconds_follow_the_tempo():
    tokenizer = PitchTokenizer(step_seconds=0.5)
    notes = [(i, 1, 60 + i) for i in range(4)]
    assert pitches(tokenizer.encode(piece(*notes))) == [60, 61, 62, 63]  # at 120 half a second is a quarter note
    assert pitches(tokenizer.encode(piece(*notes, tempo=60.0))) == [60, 60, 61, 61, 62, 62, 63, 63]
    back = tokenizer.decode(tokenizer.encode(piece(*notes, tempo=60.0)))
    assert back.tempo == 120
    assert [n.duration for n in back.notes] == [960] * 4  # as many seconds
    in_quarters = PitchTokenizer(step_quarters=1.0)
    assert in_quarters.encode(piece(*notes)) == in_quarters.encode(piece(*notes, tempo=60.0))


@pytest.mark.parametrize("tempo", [60.0, 97.3, 120.0, 200.0])
def test_windows_start_at_the_steps_nearest_to_bar_lines_at_any_tempo(tempo):
    tune = piece(*[(i, 1, 40 + i) for i in range(40)], metre=(3, 4), tempo=tempo)
    tokenizer = PitchTokenizer.fit([tune])
    ids = tokenizer.encode(tune)
    windows = tokenizer.windows(ids, 8, every_bar=True)
    step = 0.4 * tempo / 60
    starts = [int(3 * bar / step + 0.5) for bar in range(len(windows))]
    assert windows.tolist() == [([*ids[1:], *[tokenizer.pad_id] * 8])[s : s + 8] for s in starts]
    assert len(windows) > 5
    apart = tokenizer.windows(ids, 8, every_bar=False).tolist()
    assert apart[0] == windows[0].tolist()
    assert apart[1] == windows[next(k for k, s in enumerate(starts) if s >= 8)].tolist()


def test_a_plain_list_of_ids_is_cut_at_the_bars_of_tempo_120():
    tune = piece(*[(i, 1, 40 + i) for i in range(40)])
    tokenizer = PitchTokenizer.fit([tune])
    ids = tokenizer.encode(tune)
    assert (
        tokenizer.windows(list(ids), 8, every_bar=True).tolist() == tokenizer.windows(ids, 8, every_bar=True).tolist()
    )


@pytest.mark.parametrize("options", [{}, {"step_quarters": 0.25}, {"step_quarters": 2.0}, {"step_quarters": 1 / 3}])
def test_a_step_is_one_grid_step_of_the_metrics(options):
    from seqgan_music.evaluation import MelodySet

    tokenizer = PitchTokenizer(**options)
    ids = torch.tensor([[40, 40, 40, 41, 40, 88, 89, 89], [3, 3, 3, 3, 3, 3, 3, 3]])
    measured = MelodySet.of(tokenizer.melodies(ids))
    (pitch, duration), (low, long) = (event_parts(row) for row in measured.events.to_lists())
    assert [*zip(pitch.tolist(), duration.tolist(), strict=True)] == [(61, 3), (62, 1), (61, 1)]
    assert [*zip(low.tolist(), long.tolist(), strict=True)] == [(24, 8)]
    assert measured.steps.tolist() == [[61, 61, 61, 62, 61, -3, -3, -3], [24] * 8]


def test_bars_are_filled_with_the_nearest_number_of_steps():
    tokenizer = PitchTokenizer(metres=[[4, 4], [3, 4]])
    four, three = tokenizer.start_ids.values()
    assert [tokenizer.bar_tokens(four, bars) for bars in (1, 2, 16)] == [5, 10, 80]
    assert [tokenizer.bar_tokens(three, bars) for bars in (1, 2, 16)] == [4, 8, 60]
    assert PitchTokenizer(step_quarters=0.25).bar_tokens(90, 2) == 32


def test_other_keys_than_a_pianos_are_refused():
    for pitch in (20, 109):
        with pytest.raises(PieceRefused, match=f"MIDI {pitch}; the range is 21..108"):
            PitchTokenizer().encode(piece((0, 1, pitch)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"step_seconds": 0.5, "step_quarters": 0.25}, "cannot both hold"),
        ({"step_seconds": 0.0}, "cannot both hold"),
        ({"step_seconds": 0.001}, r"tokenizer\.step_seconds must lie in"),
        ({"step_quarters": -1.0}, r"tokenizer\.step_quarters must lie in"),
        ({"step_quarters": float("nan")}, r"tokenizer\.step_quarters must lie in"),
    ],
)
def test_options_out_of_range_are_refused_by_name(options, words):
    with pytest.raises(UsageError, match=words):
        PitchTokenizer(**options)
