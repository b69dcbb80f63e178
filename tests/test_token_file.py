import json
import zipfile

import numpy as np
import pytest
import torch

from seqgan_music import config, token_file
from seqgan_music.errors import UsageError
from seqgan_music.experiment import Experiment
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
