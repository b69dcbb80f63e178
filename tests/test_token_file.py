import json
import zipfile

import numpy as np
import pytest
import torch

from seqgan_music import config, token_file
from seqgan_music.errors import UsageError
from seqgan_music.experiment import Experiment
from seqgan_music.html_report import contents
from seqgan_music.material import prepare
from seqgan_music.run import Run

RANGE = {"tokenizer": {"name": "grid", "low": 48, "high": 93}}


def rows(n=60, length=16, seed=0):
    """Scales with holds and rests."""
    rng = np.random.default_rng(seed)
    first = rng.integers(2, 30, (n, 1))
    tokens = first + np.arange(length) % rng.integers(3, 9, (n, 1))
    return np.where(rng.random((n, length)) < 0.3, rng.integers(0, 2, (n, length)), tokens)


@pytest.fixture
def file(tmp_path):
    np.savez(tmp_path / "rows.npz", tokens=rows().astype(np.int16))
    return tmp_path / "rows.npz"


def test_rows_are_read_as_they_are(file, tmp_path):
    read = token_file.read_tokens(file)
    np.testing.assert_array_equal(read.tokens, rows())
    assert (len(read), read.length, read.names[:2]) == (60, 16, ["row 1", "row 2"])
    np.savez_compressed(tmp_path / "same.npz", tokens=rows().astype(np.uint32), other=np.ones(3))
    assert token_file.read_tokens(tmp_path / "same.npz").digest == read.digest, "the type and the packing do not matter"
    np.savez(tmp_path / "other.npz", tokens=rows().reshape(30, 32))
    assert token_file.read_tokens(tmp_path / "other.npz").digest != read.digest


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ({"ids": rows()}, "has no array 'tokens'; it has: ids"),
        ({}, "has no array 'tokens'; it has: none"),
        ({"tokens": rows().astype(float)}, r"must be a table of integers.*shape \(60, 16\) and type float64"),
        ({"tokens": rows()[0]}, r"a sequence in each row; it has shape \(16,\)"),
        ({"tokens": rows()[:2]}, "has 2 rows of 16 tokens; 3 rows of 2 are the least"),
        ({"tokens": rows()[:, :1]}, "has 60 rows of 1 tokens"),
        ({"tokens": rows() - 5}, "has tokens from -5 to .*; they are numbers from 0 upwards"),
        ({"tokens": np.full((3, 4), 2**63, np.uint64)}, "they are numbers from 0 upwards"),
        ({"tokens": np.array([["a", "b"]] * 3)}, "must be a table of integers"),
        ({"tokens": np.array([[{}, None]] * 3)}, "the array 'tokens' of .* cannot be read: Object arrays"),
    ],
)
def test_what_is_no_table_of_tokens_is_refused(arrays, why, tmp_path):
    np.savez(tmp_path / "wrong.npz", **arrays)
    with pytest.raises(UsageError, match=why) as refusal:
        token_file.read_tokens(tmp_path / "wrong.npz")
    assert str(tmp_path / "wrong.npz") in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_what_is_no_npz_is_refused(file, tmp_path):
    np.save(tmp_path / "rows.npy", rows())
    with pytest.raises(UsageError, match=r"is not a \.npz file; numpy\.savez"):
        token_file.read_tokens(tmp_path / "rows.npy")
    with pytest.raises(UsageError, match=r"cannot read .*nowhere\.npz: No such file"):
        token_file.read_tokens(tmp_path / "nowhere.npz")
    with pytest.raises(UsageError, match=r"cannot read .*: Is a directory"):
        token_file.read_tokens(tmp_path)
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("tokens.npy", "not an array")
    with pytest.raises(UsageError, match=r"the array 'tokens' of .*text\.npz cannot be read"):
        token_file.read_tokens(tmp_path / "text.npz")
    content = bytearray(file.read_bytes())
    content[200:260] = bytes(60)
    (tmp_path / "damaged.npz").write_bytes(content)
    with pytest.raises(UsageError, match="cannot be read"):
        token_file.read_tokens(tmp_path / "damaged.npz")


def test_a_run_on_rows_of_tokens(file, tiny_settings, tmp_path):
    settings = config.merge(tiny_settings, RANGE)
    for _ in Experiment.create(token_file.read_tokens(file), settings, tmp_path / "run"):
        pass
    run = Run(tmp_path / "run")
    assert run.tokenizer.to_dict()["low"] == 48
    every = np.concatenate([getattr(run.dataset, part).ids.numpy() for part in ("train", "validation", "test")])
    assert sorted(map(tuple, every)) == sorted(map(tuple, rows())), "the windows are the rows, each once"
    assert [len(run.dataset.train), len(run.dataset.validation), len(run.dataset.test)] == [48, 6, 6]
    corpus = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))["corpus"]
    assert corpus["root"] == str(file)
    assert corpus["pieces"] == 60
    assert len(corpus["split"]["train"]) == 48
    assert corpus["split"]["train"][0].startswith("row ")

    ids, start = run.sample(500)
    assert int(ids.max()) < run.tokenizer.end_id, "rows do not end, so neither do samples"
    assert set(start.tolist()) == {run.tokenizer.start_ids[4, 4]}
    assert torch.isfinite(run.generator()(ids[:4], start[:4])[..., run.tokenizer.end_id]).sum() == 0
    assert "seqgan-music train --tokens ./rows.npz -c config.toml" in contents.command(run)
    pieces = run.generate(2)
    assert all(piece.metre == (4, 4) for piece in pieces)
    assert run.evaluate(samples=50, device="cpu").rows["real"]["bleu_4"] > 0


def test_tokens_mean_what_the_grid_says(file, tiny_settings):
    """MIDI = token + 46, as in ORGAN's data."""
    material = prepare(token_file.read_tokens(file), config.merge(tiny_settings, RANGE))
    ids = torch.tensor([[2, 1, 0, 47]])
    assert material.tokenizer.melodies(ids).pitch[0, :2].tolist() == [48, 93]


def test_a_copy_of_a_row_is_left_out_whichever_part_it_would_be_in(tiny_settings, tmp_path):
    np.savez(tmp_path / "twice.npz", tokens=np.concatenate([rows(30), rows(30), rows(10, seed=1)]))
    material = prepare(token_file.read_tokens(tmp_path / "twice.npz"), config.merge(tiny_settings, RANGE))
    assert material.corpus["pieces"] == 40
    assert len(material.corpus["refused"]) == 30
    assert material.corpus["refused"][0] == {"path": "row 31", "reason": "duplicate", "detail": "same tokens as row 1"}


def test_rows_that_do_not_fit_the_settings_are_refused(file, tiny_settings, tmp_path):
    read, settings = token_file.read_tokens(file), config.merge(tiny_settings, RANGE)

    def refused(why, source=read, **sections):
        with pytest.raises(UsageError, match=why):
            Experiment.create(source, config.merge(settings, sections), tmp_path / "run")
        assert not (tmp_path / "run").exists()

    refused("has rows of 16 tokens, but data.length is 24; make it 16", data={"length": 24})
    refused("leave data.transpose at 'none'", data={"transpose": "key"})
    wide = rows()
    wide[7, 3] = 48
    np.savez(tmp_path / "wide.npz", tokens=wide)
    refused(
        "has token 48 in row 8, but tokenizer 'grid' has 48, from 0 to 47",
        token_file.read_tokens(tmp_path / "wide.npz"),
    )
    np.savez(tmp_path / "same.npz", tokens=np.repeat(rows(2), 5, 0))
    refused("same.npz has 2 distinct rows in ", token_file.read_tokens(tmp_path / "same.npz"))


def written(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def test_a_text_of_numbers(tmp_path):
    read = token_file.read_tokens(written(tmp_path / "rows.txt", "1 2 3\n\n 4\t5 6 \r\n007 8 9"))
    np.testing.assert_array_equal(read.tokens, [[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    assert (read.words, read.names, read.length) == ((), ["line 1", "line 3", "line 4"], 3)
    np.savez(tmp_path / "same.npz", tokens=np.arange(1, 10).reshape(3, 3))
    assert token_file.read_tokens(tmp_path / "same.npz").digest == read.digest, "what holds them does not matter"


def test_a_text_of_words(tmp_path):
    text = "\ufeffthe cat in 1984\nça va\n-5 degrees in the sun\n"
    read = token_file.read_tokens(written(tmp_path / "lines.txt", text))
    assert read.lengths.tolist() == [4, 2, 5]
    assert read.words == ("-5", "1984", "cat", "degrees", "in", "sun", "the", "va", "ça")
    said = [[read.words[token] for token in row if token >= 0] for row in read.tokens.tolist()]
    assert said == [line.split() for line in text.removeprefix("\ufeff").splitlines()]
    other = token_file.read_tokens(written(tmp_path / "other.txt", text.replace("cat", "can")))
    np.testing.assert_array_equal(other.tokens, read.tokens)
    assert other.digest != read.digest, "the same numbers of other words"


def test_rows_of_an_npz_may_differ_in_length_and_mean_words(tmp_path):
    tokens = np.array([[3, 1, -1], [-1, -1, -1], [0, -1, -1], [2, 2, 0]], np.int16)
    np.savez(tmp_path / "rows.npz", tokens=np.pad(tokens, ((0, 0), (0, 2)), constant_values=-1))
    read = token_file.read_tokens(tmp_path / "rows.npz")
    np.testing.assert_array_equal(read.tokens, tokens[[0, 2, 3]])
    assert (read.lengths.tolist(), read.names) == ([2, 1, 3], ["row 1", "row 3", "row 4"])
    np.savez(tmp_path / "words.npz", tokens=tokens, words=np.array(["a", "b", "c", "d"]))
    assert token_file.read_tokens(tmp_path / "words.npz").words == ("a", "b", "c", "d")


@pytest.mark.parametrize("sequences", [[[3, 1], [0], [2, 2, 5]], [["no", "way"], ["no"], ["a", "b", "c"]]])
def test_what_is_written_is_read_again(sequences, tmp_path):
    written(tmp_path / "a.txt", token_file.text_of(sequences))
    (tmp_path / "a.npz").write_bytes(token_file.npz_of(sequences))
    made = token_file.from_sequences(sequences)
    for name in ("a.txt", "a.npz"):
        read = token_file.read_tokens(tmp_path / name)
        np.testing.assert_array_equal(read.tokens, made.tokens)
        assert (read.digest, read.words) == (made.digest, made.words)


@pytest.mark.parametrize(
    "sequences", [[[1, 2], [3, "a"]], [[1, 2], [3, -1]], [[0.5, 1], [2, 3]], [[1, None], [2, 3]], [[2**70, 1], [2, 3]]]
)
def test_sequences_that_are_neither_integers_nor_words_are_refused(sequences):
    with pytest.raises(UsageError, match=r"row [12] must have integers from 0 upwards, or words, but not both"):
        token_file.from_sequences(sequences)


@pytest.mark.parametrize(
    ("text", "encoding", "why"),
    [
        ("", "utf-8", "has 0 lines of 0 tokens; 3 lines of 2 are the least"),
        ("1 2\n\n3 4\n", "utf-8", "has 2 lines of 2 tokens"),
        ("1,2,3\n4,5,6\n7,8,9\n", "utf-8", "has 3 lines of 1 tokens; .* least, with white space between tokens"),
        ("1 2\n3 -4\n5 6\n", "utf-8", "has -4 in line 2; tokens are numbers from 0 to 2147483647, or words"),
        ("1 2\n3 4\n5 99999999999\n", "utf-8", "has 99999999999 in line 3"),
        ("a b\nc d\ncafé noir\n", "latin-1", "is not text in UTF-8: see line 3; save it in UTF-8"),
        ("a b\nc d\ne f\n", "utf-16", "is not a .npz file; .* Nor is it text in UTF-8"),
        (
            "a b\n" + "x " * 10_001 + "\nc d\n",
            "utf-8",
            "has 10001 tokens in line 2; 10000 are the most in one sequence",
        ),
        (
            "x " * 10_000 + "\n" + "a b\n" * 27_000,
            "utf-8",
            "10000 tokens in line 1, and 27001 lines: too much for memory",
        ),
    ],
)
def test_a_text_that_cannot_be_used_is_refused(text, encoding, why, tmp_path):
    path = written(tmp_path / "wrong.txt", text, encoding)
    with pytest.raises(UsageError, match=why) as refusal:
        token_file.read_tokens(path)
    assert str(refusal.value).startswith(str(path))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ({"tokens": np.array([[1, 2], [-1, 3], [4, 5]])}, "has -1 within row 2; it only fills a row up"),
        (
            {"tokens": rows(), "words": np.array(["a", "b"])},
            "has token .*, but its array 'words' has 2, from 0 upwards",
        ),
        ({"tokens": rows(), "words": np.arange(99)}, "the array 'words' of .* must be a list of words"),
        (
            {"tokens": rows() % 3, "words": np.array(["a", "b c", "d"])},
            r"wrong\.npz has the word 'b c'; .* white space",
        ),
        ({"tokens": rows() % 3, "words": np.array(["a", "", "d"])}, r"wrong\.npz has the word ''; .* not be empty"),
        ({"tokens": rows() % 3, "words": np.array(["a", "b", "a"])}, r"'words' of .*wrong\.npz has 'a' twice"),
    ],
)
def test_a_ragged_table_that_makes_no_sense_is_refused(arrays, why, tmp_path):
    np.savez(tmp_path / "wrong.npz", **arrays)
    with pytest.raises(UsageError, match=why):
        token_file.read_tokens(tmp_path / "wrong.npz")


def test_a_tokenizer_of_music_reads_integers_in_rows_of_one_length(tiny_settings):
    settings = config.merge(tiny_settings, RANGE)
    words, ragged = [["a"] * 16, ["b"] * 16, ["c"] * 16], [*rows(5).tolist(), [1, 2, 3]]
    with pytest.raises(UsageError, match="has words, such as 'a', but tokenizer 'grid' reads integers"):
        prepare(token_file.from_sequences(words), settings)
    with pytest.raises(
        UsageError, match="has 3 tokens in row 6, but 16 in others; for tokenizer 'grid' all need as many"
    ):
        prepare(token_file.from_sequences(ragged), settings)
