import math

import matplotlib.image
import pytest

from seqgan_music.errors import Failure, UsageError
from seqgan_music.evaluation import COLUMNS, Evaluation
from seqgan_music.metrics import METRICS, TABLES
from seqgan_music.notes import Note, Notes, Part, Piece
from seqgan_music.report import COLOURS, explanation, piano_rolls, table, tables

SCALE = Piece(tuple(Note(480 * i, 480, 60 + 2 * i) for i in range(8)), title="A scale", metre=(4, 4))


def test_a_table_has_a_row_for_every_set_and_aligned_columns():
    values = dict.fromkeys(COLUMNS, 0.12345) | {"mse_pairs": 123.456, "nll": math.nan}
    lines = table(Evaluation({"mle": values, "Markov-1": values})).splitlines()
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1, "it reads as plain text"
    assert all(line.startswith("| ") and line.endswith(" |") for line in lines)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["", *(METRICS[name].title for name in COLUMNS)]
    assert cells[2] == ["mle", "0.123", "0.123", "123.5", *["0.123"] * 5, "–"]
    assert cells[3][0] == "Markov-1"
    assert set("".join(cells[1])) == {"-", ":"}


def test_there_is_a_table_for_each_question_of_what_was_measured():
    values = dict.fromkeys(METRICS, 0.5)
    text = tables(Evaluation({"mle": values, "real": values}))
    lines = text.splitlines()
    assert [line for line in lines if line and not line.startswith("|")] == list(TABLES)
    assert max(map(len, lines)) <= 120
    titles = [cell.strip() for line in lines if line.startswith("|  ") for cell in line.strip("|").split("|")[1:]]
    assert titles == [METRICS[name].title for names in TABLES.values() for name in names]
    few = tables(Evaluation({"mle": {"bleu_4": 0.5, "copied_8": 0.25}}))
    assert few.count("| mle |") == 2, "what was not measured has neither column nor table"


def test_every_column_is_explained():
    values = dict.fromkeys(METRICS, 0.5)
    for text in (explanation(), tables(Evaluation({"mle": values}), explain=True)):
        for names in TABLES.values():
            for name in names:
                assert f"{METRICS[name].meaning}; target: {METRICS[name].target}" in text
    assert METRICS["bleu_4"].meaning not in tables(Evaluation({"mle": values}))


def test_columns_can_be_chosen():
    (head, _, row) = table(Evaluation({"mle": {"nll": 2.0, "unique": 1.0}}), columns=("unique",)).splitlines()
    assert "unique" in head
    assert "NLL" not in head
    assert "1.000" in row


def pixels(path):
    return matplotlib.image.imread(path)[..., :3]


def test_piano_rolls_are_a_picture_with_the_notes_on_it(tmp_path):
    piano_rolls([SCALE, SCALE, SCALE], tmp_path / "rolls.png")
    picture = pixels(tmp_path / "rolls.png")
    assert picture.shape[1] == round(2 * 6.5 * 110)
    assert picture.shape[0] == pytest.approx(2 * 2.1 * 110, abs=1), "two rows for three pieces"
    ink = (abs(picture - [0x2B / 255, 0x6C / 255, 0xB0 / 255]) < 0.02).all(-1)
    half, middle = ink.shape[0] // 2, ink.shape[1] // 2
    quarters = [ink[:half, :middle], ink[:half, middle:], ink[half:, :middle]]
    assert all(quarter.mean() > 0.01 for quarter in quarters)
    assert not ink[half:, middle:].any(), "no fourth piece"


def test_another_melody_is_another_picture(tmp_path):
    piano_rolls([SCALE], tmp_path / "a.png", columns=1)
    piano_rolls([Piece(SCALE.notes[::2], title="A scale")], tmp_path / "b.png", columns=1)
    assert (pixels(tmp_path / "a.png") != pixels(tmp_path / "b.png")).any()


def shares(path, colours):
    """Share of a picture that has each colour."""
    picture = pixels(path)
    wanted = [[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in colours]
    return [(abs(picture - rgb) < 0.02).all(-1).mean() for rgb in wanted]


def test_parts_have_colours_and_a_legend(tmp_path):
    lower = [Note(480 * i, 480, 40 + 2 * i, part=1) for i in range(8)]
    notes = sorted([*SCALE.notes, *lower], key=lambda note: (note.onset, note.pitch))
    parts = (Part(40), Part(32, name="_a $bass$"), Part(0, drums=True))
    piano_rolls([Piece(notes, title="A duet", parts=parts)], tmp_path / "duet.png", columns=1)
    both = shares(tmp_path / "duet.png", COLOURS)
    assert all(share > 0.002 for share in both[:2])
    assert not any(both[2:]), "a part without notes is not in the legend"
    alone = Piece(SCALE.notes, title="A duet")
    piano_rolls([alone], tmp_path / "alone.png", columns=1)
    one = shares(tmp_path / "alone.png", COLOURS)
    assert one[0] > 0.002
    assert not any(one[1:])
    unnamed = (Part(40), Part(32), Part(0, drums=True))
    piano_rolls([Piece(notes, title="A duet", parts=unnamed)], tmp_path / "unnamed.png", columns=1)
    assert (pixels(tmp_path / "unnamed.png") != pixels(tmp_path / "duet.png")).any(), "the instrument, where no name is"


def test_a_long_piece_has_a_wide_picture_up_to_a_limit(tmp_path):
    widths = []
    for bars in (8, 40, 3000):
        notes = Notes.from_table([[1920 * bar, 1920, 60 + bar % 12, 80, 0] for bar in range(bars)])
        piano_rolls([Piece(notes, title="long")], tmp_path / "rolls.png", columns=1)
        widths.append(pixels(tmp_path / "rolls.png").shape[1])
    assert widths == [715, pytest.approx(40 * 0.35 * 110, abs=1), 9900]


def test_a_piece_without_notes_and_a_title_with_any_signs_are_drawn(tmp_path):
    piano_rolls([Piece((), title=r"$\nothing{$ 100 % _ ^")], tmp_path / "rolls.png", columns=1)
    assert pixels(tmp_path / "rolls.png").std() > 0


def test_what_cannot_be_drawn_or_written_is_said(tmp_path):
    with pytest.raises(UsageError, match="no piece"):
        piano_rolls([], tmp_path / "rolls.png")
    with pytest.raises(UsageError, match=r"rolls\.mid: its ending must be one of .*png"):
        piano_rolls([SCALE], tmp_path / "rolls.mid")
    with pytest.raises(Failure, match="cannot write"):
        piano_rolls([SCALE], tmp_path / "nowhere" / "rolls.png")
