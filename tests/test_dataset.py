import pytest
import torch

from seqgan_music import dataset, registry
from seqgan_music.cache import Cache
from seqgan_music.corpus import Corpus
from seqgan_music.errors import UsageError
from seqgan_music.midi import Reading
from seqgan_music.notes import Note, Piece
from seqgan_music.tokenizers import TOKENIZERS
from seqgan_music.tokenizers.grid import GridTokenizer

SPLIT = {"train": (0, 1, 2, 3), "validation": (4,), "test": (5, 6)}


def tune(number, notes=64, metre=(2, 4)):
    """A tune whose pitches tell its number."""
    return Piece(tuple(Note(120 * i, 120, 50 + 5 * number + i % 5) for i in range(notes)), metre=metre)


PIECES = [tune(number) for number in range(7)]


@pytest.fixture
def built():
    tokenizer = GridTokenizer.fit(PIECES)
    encoded, refused = dataset.encode(PIECES, list("abcdefg"), tokenizer)
    assert not refused
    return dataset.build(encoded, SPLIT, tokenizer, length=16)


def test_no_tune_is_in_two_parts(built):
    for part, numbers in SPLIT.items():
        windows = getattr(built, part)
        assert set(windows.piece.tolist()) == set(numbers)
        for ids, number in zip(windows.ids, windows.piece.tolist(), strict=True):
            pitches = [int(token) - 2 + 50 for token in ids if 2 <= token < built.end_id]
            assert {(pitch - 50) // 5 for pitch in pitches} == {number}, "no window reaches across tunes"


def test_training_windows_overlap_and_others_do_not(built):
    assert len(built.train) == 4 * 8  # bars of 8 steps in 64; the last of them half PAD
    assert len(built.validation) == 4
    assert built.length == 16


def test_what_a_generator_never_draws(built):
    assert set(built.never) == {built.pad_id, built.vocab_size - 1}
    assert built.end_id not in built.never


def test_batches_are_every_row_once_in_an_order_of_the_rng(built):
    rng = torch.Generator().manual_seed(0)
    batches = list(built.train.batches(5, rng))
    assert [len(ids) for ids, _ in batches] == [5] * 6 + [2]
    joined = torch.cat([ids for ids, _ in batches])
    assert not torch.equal(joined, built.train.ids.long())
    assert sorted(joined.tolist()) == sorted(built.train.ids.tolist())
    assert joined.dtype == torch.int64
    again = list(built.train.batches(5, torch.Generator().manual_seed(0)))
    assert torch.equal(torch.cat([ids for ids, _ in again]), joined)


def test_random_rows_are_distinct_while_there_are_enough(built):
    rng = torch.Generator().manual_seed(0)
    few, _ = built.test.random(5, rng)
    assert len(few) == 5
    ids, start = built.test.random(100, rng)
    assert ids.shape == (100, 16)
    assert set(start.tolist()) == {built.vocab_size - 1}


def test_refused_pieces_are_left_out_with_the_reason():
    off_grid = Piece(tuple(Note(160 * i, 160, 60) for i in range(30)), metre=(2, 4))
    pieces = [*PIECES, off_grid]
    encoded, refused = dataset.encode(pieces, list("abcdefgh"), GridTokenizer.fit(pieces))
    assert list(encoded) == list(range(7))
    assert [(refusal.path, refusal.reason) for refusal in refused] == [("h", "rhythm off the grid")]


def test_a_part_without_a_piece_is_refused():
    tokenizer = GridTokenizer.fit(PIECES)
    encoded, _ = dataset.encode(PIECES[:5], list("abcde"), tokenizer)
    with pytest.raises(UsageError, match="test part"):
        dataset.build(encoded, SPLIT, tokenizer, length=16)


def test_a_length_that_means_nothing_is_refused():
    tokenizer = GridTokenizer.fit(PIECES)
    encoded, _ = dataset.encode(PIECES, list("abcdefg"), tokenizer)
    with pytest.raises(UsageError, match=r"data\.length"):
        dataset.build(encoded, SPLIT, tokenizer, length=1)


def test_the_digest_tells_data_sets_apart(built):
    tokenizer = GridTokenizer.fit(PIECES)
    encoded, _ = dataset.encode(PIECES, list("abcdefg"), tokenizer)
    assert dataset.build(encoded, SPLIT, tokenizer, length=16).digest() == built.digest()
    assert dataset.build(encoded, SPLIT, tokenizer, length=24).digest() != built.digest()


def test_a_description_counts_what_is_used_and_refused():
    off_grid = Piece(tuple(Note(160 * i, 160, 90) for i in range(30)), metre=(6, 8))
    swung = Piece((Note(30, 90, 52), *tune(0).notes[1:]), metre=(2, 4))
    corpus = Corpus((*PIECES, off_grid, swung), tuple("abcdefghi"), (), (), "somewhere", "", Reading())
    facts = dataset.describe(corpus, GridTokenizer.fit(corpus.pieces), length=16)
    assert facts["tunes"] == 8
    assert facts["notes"] == 8 * 64
    assert facts["tokens"] == 8 * 64
    assert facts["windows"] == 8 * 8
    assert facts["pitch_range"] == [50, 84]
    assert facts["metres"] == {"2/4": 8}
    assert facts["lost"] == {"rounded": 1}
    assert facts["refused"] == {"rhythm off the grid": [{"path": "h", "detail": "20 of 30 onsets"}]}


@pytest.mark.parametrize("options", [{}, {"name": "note"}, {"name": "pitch"}])
def test_tokens_from_the_cache_are_the_tokenizers_own(tmp_path, options):
    tokenizer = registry.resolve(TOKENIZERS, "tokenizer", options.get("name", "grid")).fit(PIECES)
    names = tuple("abcdefghi"[: len(PIECES)])
    too_high = Piece((Note(0, 480, 126),), metre=PIECES[0].metre)
    pieces, names = (*PIECES, too_high), (*names, "too high")
    plain = dataset.encode(pieces, names, tokenizer, shifts=(0, 2))
    cache = Cache(tmp_path)
    first = dataset.encode(pieces, names, tokenizer, shifts=(0, 2), cache=cache)

    class Silent(type(tokenizer)):
        """Says nothing afresh; its code and options are the same."""

    Silent.__module__, Silent.__qualname__ = type(tokenizer).__module__, type(tokenizer).__qualname__
    if options.get("name") != "pitch":  # whose tokens know a tempo beside them, so that they are not kept
        Silent.encode = lambda *_: pytest.fail("not from the cache")
    again = dataset.encode(pieces, names, Silent.from_dict(tokenizer.to_dict()), shifts=(0, 2), cache=Cache(tmp_path))
    assert plain == first == again
    assert plain[1][-1].path == "too high"
    split = {"train": [0, 1], "validation": [2], "test": [3]}
    assert dataset.build(first[0], split, tokenizer).digest() == dataset.build(again[0], split, tokenizer).digest()
