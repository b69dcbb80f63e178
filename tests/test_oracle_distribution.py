import itertools
import os

import numpy as np
import pytest
import torch

from seqgan_music.errors import UsageError
from seqgan_music.generators.lstm import LSTMGenerator
from seqgan_music.reproduction.oracle import distribution
from seqgan_music.reproduction.oracle.distribution import KEYS, Oracle, per_token_nll

PUBLISHED = os.environ.get("SEQGAN_MUSIC_ORACLE")


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def log_probabilities(w, rows, start=0):
    """log p (M, T, V) of the next token at every step, in float64 and by the equations of an LSTM."""

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    w = {name: np.asarray(array, dtype=np.float64) for name, array in w.items()}
    h = c = np.zeros((len(rows), len(w["bi"])))
    token, found = np.full(len(rows), start), []
    for t in range(rows.shape[1]):
        x = w["emb"][token]
        i = sigmoid(x @ w["Wi"] + h @ w["Ui"] + w["bi"])
        f = sigmoid(x @ w["Wf"] + h @ w["Uf"] + w["bf"])
        o = sigmoid(x @ w["Wo_gate"] + h @ w["Uo_gate"] + w["bo_gate"])
        c = f * c + i * np.tanh(x @ w["Wc"] + h @ w["Uc"] + w["bc"])
        h = o * np.tanh(c)
        logits = h @ w["W_out"] + w["b_out"]
        top = logits.max(1, keepdims=True)
        found.append(logits - top - np.log(np.exp(logits - top).sum(1, keepdims=True)))
        token = rows[:, t]
    return np.stack(found, 1)


def own_nll(w, rows):
    of_tokens = np.take_along_axis(log_probabilities(w, rows), rows[:, :, None], 2)[:, :, 0]
    return -of_tokens.mean(1)


@pytest.mark.parametrize("sizes", [(50, 5, 7), (5000, 32, 32)])
def test_probabilities_are_those_of_numpy(sizes):
    oracle = Oracle.random(3, vocab_size=sizes[0], embedding=sizes[1], hidden=sizes[2])
    rows = np.random.default_rng(0).integers(0, sizes[0], (30, 20))
    ids = torch.from_numpy(rows)
    found = oracle.nll(ids)
    assert found.dtype == np.float64
    assert found.shape == (30,)
    np.testing.assert_allclose(found, own_nll(oracle.weights, rows), atol=1e-5)
    expected = log_probabilities(oracle.weights, rows)
    start = torch.zeros(30, dtype=torch.int64)
    with torch.no_grad():
        at_once = oracle.network(ids, start).log_softmax(-1).numpy()
        np.testing.assert_allclose(at_once, expected, atol=1e-4)
        token, state = start, oracle.network.start(30)
        for t in range(20):
            logits, state = oracle.network.step(token, state)
            np.testing.assert_allclose(logits.log_softmax(-1).numpy(), expected[:, t], atol=1e-4)
            token = ids[:, t]


def test_what_is_drawn_has_the_probabilities_of_numpy():
    oracle = Oracle.random(1, vocab_size=4, embedding=3, hidden=3)
    every = np.array(list(itertools.product(range(4), repeat=3)))
    exact = np.exp(-3 * own_nll(oracle.weights, every))
    assert exact.sum() == pytest.approx(1)
    n = 20_000
    ids = oracle.sample(n, 3, rng(5))
    assert ids.shape == (n, 3)
    assert ids.dtype == torch.int64
    counts = np.bincount((ids.numpy() * [16, 4, 1]).sum(1), minlength=64)
    off = np.abs(counts / n - exact) / np.sqrt(exact * (1 - exact) / n)
    assert off.max() < 4.5, "standard errors"
    entropy = -(exact * np.log(exact)).sum() / 3
    assert oracle.nll(ids).mean() == pytest.approx(entropy, abs=0.02)


def test_blocks_of_any_size_give_the_same(monkeypatch):
    oracle = Oracle.random(1, vocab_size=20, embedding=4, hidden=4)
    ids = oracle.sample(33, 6, rng())
    whole = oracle.nll(ids)
    monkeypatch.setattr(distribution, "FLOATS_AT_ONCE", 7 * 20)
    np.testing.assert_allclose(oracle.nll(ids), whole, atol=1e-6)
    monkeypatch.setattr(distribution, "FLOATS_AT_ONCE", 1)
    np.testing.assert_allclose(oracle.nll(ids[:3]), whole[:3], atol=1e-6)
    assert oracle.nll(ids[:0]).shape == (0,)


def test_likelihood_at_a_temperature_is_that_of_divided_logits():
    generator = LSTMGenerator(9, embedding=4, hidden=5)
    generator.reset_parameters(rng(2))
    generator.train()
    ids, start = torch.randint(9, (12, 7), generator=rng()), torch.arange(12) % 9
    for temperature in (0.5, 1.0, 1.7):
        with torch.no_grad():
            log_p = (generator(ids, start) / temperature).log_softmax(-1)
        expected = -log_p.gather(2, ids[:, :, None])[:, :, 0].double().mean(1).numpy()
        np.testing.assert_allclose(per_token_nll(generator, ids, start, temperature=temperature), expected, atol=1e-5)
    assert generator.training, "it is given its mode back"


def test_weights_are_standard_normal_and_belong_to_the_seed():
    before = torch.random.get_rng_state()
    oracle = Oracle.random(7, vocab_size=500)
    assert torch.equal(torch.random.get_rng_state(), before), "the global random numbers are neither used nor moved"
    assert (oracle.vocab_size, oracle.embedding, oracle.hidden, oracle.start) == (500, 32, 32, 0)
    for name in KEYS:
        values = oracle.weights[name].ravel()
        assert abs(values.mean()) < 5 / len(values) ** 0.5
        assert abs(values.std() - 1) < 4 / len(values) ** 0.5
    assert Oracle.random(7, vocab_size=500).digest == oracle.digest
    assert Oracle.random(8, vocab_size=500).digest != oracle.digest
    # What an experiment was begun with on one machine must be the same on another.
    assert Oracle.random(0).digest == "f0f07666e3724130c93ebffd4411f2e7959ad46dd6d990fe62efc52090f900dc"
    assert not oracle.published


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"vocab_size": 1}, "vocab_size of an oracle must be at least 2, not 1"),
        ({"embedding": 0}, "embedding of an oracle must be at least 1, not 0"),
        ({"hidden": 0}, "hidden of an oracle must be at least 1, not 0"),
    ],
)
def test_sizes_that_are_none(options, says):
    with pytest.raises(UsageError, match=says):
        Oracle.random(0, **options)
    with pytest.raises(UsageError, match="the seed of an oracle must be 0 or more, not -1"):
        Oracle.random(-1)


def test_what_is_written_is_read_again(tmp_path):
    oracle = Oracle.random(1, vocab_size=30, embedding=3, hidden=5)
    oracle.write(tmp_path / "oracle.npz")
    again = Oracle.read(tmp_path / "oracle.npz")
    assert again.digest == oracle.digest
    assert (again.vocab_size, again.embedding, again.hidden) == (30, 3, 5)
    ids = oracle.sample(20, 8, rng())
    assert torch.equal(again.sample(20, 8, rng()), ids)
    np.testing.assert_array_equal(again.nll(ids), oracle.nll(ids))
    with np.load(tmp_path / "oracle.npz", allow_pickle=False) as found:
        assert set(found.files) == set(KEYS)
        assert found["Wo_gate"].shape == (3, 5)
    for name in KEYS:
        weights = {key: array.copy() for key, array in oracle.weights.items()}
        weights[name].flat[0] += 1
        changed = Oracle(weights)
        assert changed.digest != oracle.digest
        assert not np.allclose(changed.nll(torch.zeros(1, 8).long()), oracle.nll(torch.zeros(1, 8).long()), atol=1e-7)
    oracle.write(tmp_path / "same.npz")
    assert (tmp_path / "same.npz").read_bytes() == (tmp_path / "oracle.npz").read_bytes()


def _without(name):
    return lambda w: w.pop(name)


def _set(name, change):
    return lambda w: w.update({name: change(w[name])})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_without("Uf"), r"oracle\.npz is no oracle: it has no array Uf$"),
        (_set("Wc", lambda a: a.T), r"the array Wc of .* must have shape \(3, 5\), as emb and Ui say, not \(5, 3\)"),
        (_set("Ui", lambda a: a[:, :4]), r"the array Ui of .* must have shape \(5, 5\), .* not \(5, 4\)"),
        (_set("b_out", lambda a: a[:-1]), r"the array b_out of .* must have shape \(30,\), .* not \(29,\)"),
        (
            _set("emb", lambda a: a[:, 0]),
            r"array emb of .* decimal numbers in 2 dimensions \(V × E\); .* shape \(30,\)",
        ),
        (_set("emb", lambda a: a[:, :0]), r"array emb of .* it has shape \(30, 0\)"),
        (_set("bi", lambda a: a.astype(int)), r"the array bi of .* must hold decimal numbers .* type int64"),
        (_set("bo_gate", lambda a: a * np.nan), r"the array bo_gate of .* has numbers that are not finite"),
        (_set("W_out", lambda a: a.astype(np.float64) * 1e300), r"the array W_out of .* not finite"),
        (_set("bf", lambda a: a.astype(object)), r"oracle\.npz cannot be read as an oracle: "),
        (lambda w: w.update({n: w[n][..., :1] for n in ("W_out", "b_out")} | {"emb": w["emb"][:1]}), "1 token, and 2"),
    ],
)
def test_a_file_that_is_no_oracle_is_refused_in_one_line(change, says, tmp_path):
    weights = dict(Oracle.random(1, vocab_size=30, embedding=3, hidden=5).weights)
    change(weights)
    np.savez(tmp_path / "oracle.npz", **weights)
    with pytest.raises(UsageError, match=says) as error:
        Oracle.read(tmp_path / "oracle.npz")
    assert "\n" not in str(error.value)


def test_a_file_that_is_none_or_nothing_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"cannot read .*nowhere\.npz: No such file"):
        Oracle.read(tmp_path / "nowhere.npz")
    with pytest.raises(UsageError, match=r"cannot read .*: Is a directory"):
        Oracle.read(tmp_path)
    (tmp_path / "text.npz").write_text("emb")
    with pytest.raises(UsageError, match=r"text\.npz is not a \.npz file; an oracle is one with the arrays emb, Wi, "):
        Oracle.read(tmp_path / "text.npz")
    Oracle.random(1, vocab_size=30, embedding=3, hidden=5).write(tmp_path / "half.npz")
    whole = (tmp_path / "half.npz").read_bytes()
    place = whole.index(b"Wc.npy") + 200
    (tmp_path / "half.npz").write_bytes(whole[:place] + b"\xff" * 20 + whole[place + 20 :])
    with pytest.raises(UsageError, match=r"half\.npz cannot be read as an oracle: "):
        Oracle.read(tmp_path / "half.npz")


def test_more_decimals_and_other_arrays_are_no_hindrance(tmp_path):
    oracle = Oracle.random(1, vocab_size=30, embedding=3, hidden=5)
    double = {name: array.astype(np.float64) for name, array in oracle.weights.items()}
    np.savez_compressed(tmp_path / "oracle.npz", notes=np.array("mine"), **double)
    assert Oracle.read(tmp_path / "oracle.npz").digest == oracle.digest


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_a_gpu_finds_the_same():
    oracle = Oracle.random(0)
    ids = oracle.sample(500, 20, rng())
    np.testing.assert_allclose(oracle.to("cuda").nll(ids), oracle.nll(ids), atol=1e-4)
    drawn = oracle.to("cuda").sample(2000, 20, torch.Generator("cuda").manual_seed(0))
    assert oracle.nll(drawn.cpu()).mean() == pytest.approx(oracle.nll(ids).mean(), abs=0.1)


@pytest.mark.skipif(not PUBLISHED, reason="SEQGAN_MUSIC_ORACLE names no file of the published oracle")
def test_the_published_oracle():
    oracle = Oracle.read(PUBLISHED)
    assert oracle.published
    assert (oracle.vocab_size, oracle.embedding, oracle.hidden) == (5000, 32, 32)
    uniform = torch.randint(5000, (2000, 20), generator=rng(1))
    assert oracle.nll(uniform).mean() == pytest.approx(11.43, abs=0.02)
    assert oracle.nll(oracle.sample(2000, 20, rng())).mean() == pytest.approx(5.74, abs=0.03)
