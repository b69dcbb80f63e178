import math

import matplotlib.image
import pytest

from seqgan_music.errors import Failure, UsageError
from seqgan_music.evaluation import COLUMNS, Evaluation
from seqgan_music.notes import Note, Piece
from seqgan_music.report import piano_rolls, table

SCALE = Piece(tuple(Note(480 * i, 480, 60 + 2 * i) for i in range(8)), title="A scale", metre=(4, 4))


def test_a_table_has_a_row_for_every_set_and_aligned_columns():
    values = dict.fromkeys(COLUMNS, 0.12345) | {"mse_pairs": 123.456, "nll": math.nan}
    lines = table(Evaluation({"mle": values, "Markov-1": values})).splitlines()
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1, "it reads as plain text"
    assert all(line.startswith("| ") and line.endswith(" |") for line in lines)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == [
        "",
        "BLEU-2",
        "BLEU-3",
        "BLEU-4",
        "BLEU-5",
        "MSE nearest",
        "MSE pairs",
        "Self-BLEU-4",
        "unique",
        "NLL",
    ]
    assert cells[2] == ["mle", "0.123", "0.123", "0.123", "0.123", "0.123", "123.5", "0.123", "0.123", "–"]
    assert cells[3][0] == "Markov-1"
    assert set("".join(cells[1])) == {"-", ":"}


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
